// SPDX-License-Identifier: BSD-2-Clause
//! Decodes a frame with the module's own reader, and keeps track of the offset of
//! each message.

use std::mem::offset_of;

use pfsync::wire::{
    Action, BulkStatus, Clear, CompressedUpdate, Format, Frame, FrameError, Header, Invalid, RawTdb, Run,
    State, StateId, States, Subheader,
};

use crate::reason::{Reason, Rejection};

/// The content of a frame.
#[derive(Debug, Default)]
pub(crate) struct Decoded {
    /// The checksum of the sender's ruleset. `None` if the header was refused.
    pub(crate) checksum: Option<[u8; 16]>,
    /// The newest message format that the sender says it reads. The byte itself if it stands for
    /// no format. `None` if the sender says nothing.
    pub(crate) announces: Option<u16>,
    pub(crate) runs: Vec<DecodedRun>,
    /// What ended the frame before the end mark.
    pub(crate) rejection: Option<Rejection>,
}

/// A run: messages of one action that follow each other.
#[derive(Debug)]
pub(crate) struct DecodedRun {
    pub(crate) action: Action,
    /// Bytes of the subheader and of the messages.
    pub(crate) len: usize,
    /// Empty for the end mark.
    pub(crate) messages: Vec<DecodedMessage>,
}

/// A message, whether or not it passed the checks.
#[derive(Debug)]
pub(crate) struct DecodedMessage {
    /// Where the message begins in the recorded packet.
    pub(crate) offset: usize,
    /// The state that the message is about.
    pub(crate) id: Option<StateId>,
    pub(crate) content: Result<Message, Invalid>,
}

/// A checked message.
#[derive(Debug)]
pub(crate) enum Message {
    Clear(Clear),
    /// An insert or an update.
    State(Box<State>),
    Update(CompressedUpdate),
    /// An update request.
    Request(StateId),
    /// An insert acknowledgement or a delete.
    Id(StateId),
    BulkStatus(BulkStatus),
    Tdb(RawTdb),
}

impl Message {
    /// The firewall that the message names as creator.
    pub(crate) fn creator(&self) -> Option<[u8; 4]> {
        match self {
            Message::Clear(clear) => Some(clear.creator),
            Message::State(state) => Some(state.id.creator),
            Message::Update(update) => Some(update.id.creator),
            Message::Request(StateId::ALL) => None,
            Message::Request(id) | Message::Id(id) => Some(id.creator),
            Message::BulkStatus(status) => Some(status.creator),
            Message::Tdb(_) => None,
        }
    }
}

impl Decoded {
    /// A packet in which nothing could be read.
    pub(crate) fn rejected(rejection: Rejection) -> Decoded {
        Decoded { rejection: Some(rejection), ..Decoded::default() }
    }

    /// Reads a frame. `offset` is where it begins in the recorded packet.
    pub(crate) fn read(bytes: &[u8], offset: usize) -> Decoded {
        let frame = match Frame::parse(bytes) {
            Ok(frame) => frame,
            Err(error) => {
                return Decoded::rejected(Rejection { offset, action: None, reason: Reason::Header(error) });
            }
        };
        let mut decoded = Decoded {
            checksum: Some(*frame.checksum),
            announces: bytes.get(offset_of!(Header, reads)).copied().and_then(announced),
            ..Decoded::default()
        };
        decoded.read_runs(frame, offset + size_of::<Header>());
        decoded
    }

    fn read_runs(&mut self, mut frame: Frame, start: usize) {
        let len = frame.unread();
        let mut unread = len;
        while let Some(run) = frame.next() {
            let offset = start + len - unread;
            match run {
                Ok(run) => self.runs.push(DecodedRun::new(&run, offset, unread - frame.unread())),
                Err(error) => self.rejection = Some(refused(error, offset)),
            }
            unread = frame.unread();
        }
        let ended = self.runs.last().is_some_and(|run| run.action == Action::Eof);
        if !ended && self.rejection.is_none() {
            let offset = start + len - unread;
            self.rejection = Some(Rejection { offset, action: None, reason: Reason::NoEnd });
        }
    }
}

/// What the byte says that a header has for this.
fn announced(byte: u8) -> Option<u16> {
    let format = Format::announced_as(byte).filter(|format| format.announcement() == byte);
    let number = format.map_or(u16::from(byte), |format| format as u16);
    (byte != 0).then_some(number)
}

fn refused(error: FrameError, offset: usize) -> Rejection {
    let action = match error {
        FrameError::Action { number, .. } => Action::from_number(number),
        FrameError::Length { action, .. } => Some(action),
        FrameError::TrailingBytes => Some(Action::Eof),
    };
    Rejection { offset, action, reason: Reason::Frame(error) }
}

impl DecodedRun {
    fn new(run: &Run, offset: usize, len: usize) -> DecodedRun {
        let messages = messages(run, offset + size_of::<Subheader>());
        DecodedRun { action: run.action(), len, messages }
    }
}

/// Checks the messages of a run.
fn messages(run: &Run, start: usize) -> Vec<DecodedMessage> {
    match run {
        Run::Clear(raw) => each(raw, start, |raw| (None, raw.check().map(Message::Clear))),
        Run::Insert(read) | Run::Update(read) => states(read, start),
        Run::UpdateRequest(raw) => {
            each(raw, start, |raw| (Some((*raw).into()), Ok(Message::Request((*raw).into()))))
        }
        Run::InsertAck(raw) | Run::DeleteCompressed(raw) => {
            each(raw, start, |raw| (Some((*raw).into()), Ok(Message::Id((*raw).into()))))
        }
        Run::UpdateCompressed(raw) => {
            each(raw, start, |raw| (Some(raw.state_id()), raw.check(None).map(Message::Update)))
        }
        Run::BulkStatus(raw) => each(raw, start, |raw| (None, raw.check().map(Message::BulkStatus))),
        Run::Tdb(raw) => each(raw, start, |raw| (None, Ok(Message::Tdb(*raw)))),
        Run::Eof(_) => Vec::new(),
    }
}

/// The states of a run that begins at `start`.
fn states(states: &States, start: usize) -> Vec<DecodedMessage> {
    let offsets = (start..).step_by(states.format().size());
    let decoded = offsets.zip(states.ids()).zip(states.clone()).map(|((offset, id), state)| {
        let content = state.map(|state| Message::State(Box::new(state)));
        DecodedMessage { offset, id: Some(id), content }
    });
    decoded.collect()
}

/// The messages of a run that begins at `start`.
fn each<T>(
    raw: &[T],
    start: usize,
    read: impl Fn(&T) -> (Option<StateId>, Result<Message, Invalid>),
) -> Vec<DecodedMessage> {
    let offsets = (start..).step_by(size_of::<T>());
    let decoded = offsets.zip(raw).map(|(offset, raw)| {
        let (id, content) = read(raw);
        DecodedMessage { offset, id, content }
    });
    decoded.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use pfsync::wire::{FrameWriter, HeaderError, RawBulkStatus, RawId};

    const ID: RawId = RawId { id: [1; 8], creator: [2; 4] };

    /// A frame with two deletes, an invalid bulk status, and a valid one.
    fn frame() -> Vec<u8> {
        let mut buffer = vec![0; 200];
        let mut writer = FrameWriter::new(&mut buffer, &[7; 16]).unwrap();
        for _ in 0..2 {
            writer.append(Action::DeleteCompressed, &ID).unwrap();
        }
        for status in 0..2 {
            let message = RawBulkStatus { creator: [3; 4], endtime: 0.into(), status, pad: [0; 3] };
            writer.append(Action::BulkStatus, &message).unwrap();
        }
        let len = writer.finish();
        buffer.truncate(len);
        buffer
    }

    #[test]
    fn messages_are_found_at_their_offset() {
        let decoded = Decoded::read(&frame(), 100);
        assert_eq!(decoded.checksum, Some([7; 16]));
        assert_eq!(decoded.rejection, None);
        let lens: Vec<_> = decoded.runs.iter().map(|run| (run.action, run.len)).collect();
        assert_eq!(lens, [(Action::DeleteCompressed, 28), (Action::BulkStatus, 28), (Action::Eof, 4)]);
        let messages = || decoded.runs.iter().flat_map(|run| &run.messages);
        assert_eq!(messages().map(|message| message.offset).collect::<Vec<_>>(), [124, 136, 152, 164]);
        assert_eq!(messages().nth(1).unwrap().id, Some(ID.into()));
    }

    #[test]
    fn the_announced_format_is_read() {
        let announces = |byte| {
            let mut bytes = frame();
            bytes[1] = byte;
            Decoded::read(&bytes, 0).announces
        };
        assert_eq!([0, 2, 3, 9].map(announces), [None, Some(1400), Some(1500), Some(9)]);
    }

    #[test]
    fn a_bad_message_does_not_hide_the_next() {
        let decoded = Decoded::read(&frame(), 0);
        let messages = &decoded.runs[1].messages;
        assert_eq!(messages[0].content.as_ref().unwrap_err(), &Invalid::BulkStatus);
        assert_eq!(messages[1].content.as_ref().unwrap().creator(), Some([3; 4]));
    }

    #[test]
    fn errors_say_where_they_are() {
        let rejection = |bytes: &[u8]| Decoded::read(bytes, 100).rejection.unwrap();
        let reason = Reason::Header(HeaderError::Short);
        assert_eq!(rejection(&frame()[..19]), Rejection { offset: 100, action: None, reason });
        let mut bytes = frame();
        bytes[48] = Action::Delete as u8;
        let reason = Reason::Frame(FrameError::Action { number: Action::Delete as u8, count: 2 });
        assert_eq!(rejection(&bytes), Rejection { offset: 148, action: Some(Action::Delete), reason });
        bytes = frame();
        bytes[51] = 4;
        let reason = Reason::Frame(FrameError::Length { action: Action::BulkStatus, count: 4 });
        assert_eq!(rejection(&bytes), Rejection { offset: 148, action: Some(Action::BulkStatus), reason });
    }

    #[test]
    fn a_frame_without_end_mark_is_told() {
        let mut bytes = frame();
        let len = bytes.len() - 4;
        bytes.truncate(len);
        bytes[3] = len as u8;
        let decoded = Decoded::read(&bytes, 0);
        assert_eq!(decoded.runs.len(), 2);
        assert_eq!(decoded.rejection, Some(Rejection { offset: len, action: None, reason: Reason::NoEnd }));
    }
}
