// SPDX-License-Identifier: BSD-2-Clause
//! Reading and writing whole frames.

use super::trailer::{trailer_len, Trailer, TrailerError};
use super::{
    Action, Content, Format, Header, RawState1301, RawState1400, RawState1500, Run, States, Subheader,
    VERSION,
};
use zerocopy::byteorder::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Why a frame is refused because of its header. None of its messages is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// The packet is shorter than a header.
    Short,
    /// The version is this one and not [`VERSION`].
    Version(u8),
    /// The header gives a length that is shorter than a header or longer than the
    /// packet.
    Length,
}

/// Why the rest of a frame is refused. The runs before it are valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// The action is unknown or not in use.
    Action {
        /// The number in the subheader.
        number: u8,
        /// The number of messages in the subheader.
        count: u16,
    },
    /// The frame ends before the run does.
    Length {
        /// The action of the run.
        action: Action,
        /// The number of messages in the subheader.
        count: u16,
    },
    /// Bytes follow the end mark, in the frame or behind it.
    TrailingBytes,
}

/// A received frame with a valid header: an iterator over its runs.
///
/// The iteration ends after the end mark, after the last whole run, or after the
/// first error.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    /// The MD5 checksum of the sender's ruleset.
    pub checksum: &'a [u8; 16],
    /// The newest format that the sender says it reads. `None` if it does not
    /// say so, as FreeBSD's own module, or names a format that is unknown here.
    pub announced: Option<Format>,
    /// The part of the frame that was not read yet.
    rest: &'a [u8],
    /// What follows the frame in the packet.
    behind: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Reads the header of a frame. `packet` is everything that follows the IP
    /// header.
    pub fn parse(packet: &'a [u8]) -> Result<Frame<'a>, HeaderError> {
        let (header, _) = Header::ref_from_prefix(packet).map_err(|_| HeaderError::Short)?;
        if header.version != VERSION {
            return Err(HeaderError::Version(header.version));
        }
        let len = usize::from(header.len.get());
        let (frame, behind) = packet.split_at_checked(len).ok_or(HeaderError::Length)?;
        let rest = frame.get(size_of::<Header>()..).ok_or(HeaderError::Length)?;
        let announced = Format::announced_as(header.reads);
        Ok(Frame { checksum: &header.pfcksum, announced, rest, behind })
    }

    /// Whether the frame carries messages that were not read yet. A frame without any
    /// is a hello, if it has a trailer.
    pub fn has_messages(&self) -> bool {
        !self.rest.is_empty()
    }

    /// The trailer of the frame, if it has one.
    pub fn trailer(&self) -> Result<Option<Trailer<'a>>, TrailerError> {
        Trailer::parse(self.behind)
    }

    /// Bytes of the frame that were not read yet.
    pub fn unread(&self) -> usize {
        self.rest.len()
    }

    fn messages<T>(&mut self, count: u16) -> Option<&'a [T]>
    where
        T: FromBytes + KnownLayout + Immutable + Unaligned,
    {
        let (messages, rest) = <[T]>::ref_from_prefix_with_elems(self.rest, usize::from(count)).ok()?;
        self.rest = rest;
        Some(messages)
    }

    fn states(&mut self, format: Format, count: u16) -> Option<States<'a>> {
        match format {
            Format::V1301 => self.messages(count).map(States::V1301),
            Format::V1400 => self.messages(count).map(States::V1400),
            Format::V1500 => self.messages(count).map(States::V1500),
        }
    }

    fn run(&mut self, action: Action, count: u16) -> Result<Run<'a>, FrameError> {
        let run = match action {
            Action::Clear => self.messages(count).map(Run::Clear),
            Action::Insert1301 => self.states(Format::V1301, count).map(Run::Insert),
            Action::Insert1400 => self.states(Format::V1400, count).map(Run::Insert),
            Action::Insert1500 => self.states(Format::V1500, count).map(Run::Insert),
            Action::InsertAck => self.messages(count).map(Run::InsertAck),
            Action::Update1301 => self.states(Format::V1301, count).map(Run::Update),
            Action::Update1400 => self.states(Format::V1400, count).map(Run::Update),
            Action::Update1500 => self.states(Format::V1500, count).map(Run::Update),
            Action::UpdateCompressed => self.messages(count).map(Run::UpdateCompressed),
            Action::UpdateRequest => self.messages(count).map(Run::UpdateRequest),
            Action::DeleteCompressed => self.messages(count).map(Run::DeleteCompressed),
            Action::BulkStatus => self.messages(count).map(Run::BulkStatus),
            Action::Tdb => self.messages(count).map(Run::Tdb),
            Action::Eof if self.rest.is_empty() && self.behind.is_empty() => Some(Run::Eof(count)),
            Action::Eof => return Err(FrameError::TrailingBytes),
            Action::Delete | Action::InsertFragment | Action::DeleteFragment => {
                return Err(FrameError::Action { number: action as u8, count });
            }
        };
        run.ok_or(FrameError::Length { action, count })
    }
}

impl<'a> Iterator for Frame<'a> {
    type Item = Result<Run<'a>, FrameError>;

    fn next(&mut self) -> Option<Self::Item> {
        let (subheader, rest) = Subheader::ref_from_prefix(self.rest).ok()?;
        self.rest = rest;
        let count = subheader.count.get();
        let run = match Action::from_number(subheader.action) {
            Some(action) => self.run(action, count),
            None => Err(FrameError::Action { number: subheader.action, count }),
        };
        if matches!(run, Ok(Run::Eof(_)) | Err(_)) {
            self.rest = &[];
        }
        Some(run)
    }
}

/// There is no space for the message. It was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// The most bytes of messages after one subheader (`MCLBYTES`). The stock module
/// drops a frame with a longer run, which m_pulldown(9) cannot make contiguous.
const RUN_MAX: usize = 2048;

/// Bytes of a frame without messages: the header and the end mark.
const EMPTY_LEN: usize = size_of::<Header>() + size_of::<Subheader>();

/// Writes a frame into a buffer that the caller provides. The frame grows up to
/// the length of the buffer.
///
/// Messages of one action that are appended one after the other become one run,
/// or several if they exceed 2,048 bytes. The writer always keeps space for the
/// end mark, or for a trailer.
pub struct FrameWriter<'b> {
    buffer: &'b mut [u8],
    /// Bytes of the buffer that a header and runs may fill. The ending has the others.
    limit: usize,
    /// Whether the end mark ends the frame, and not a trailer. A stock receiver
    /// refuses bytes that follow an end mark.
    has_mark: bool,
    /// Bytes written.
    used: usize,
    /// The run that the next message may join.
    last_run: Option<WrittenRun>,
}

/// A run in the buffer. Its subheader is written when the run is ended.
#[derive(Clone, Copy)]
struct WrittenRun {
    action: Action,
    /// Where its subheader begins.
    offset: usize,
    /// Where its first message begins.
    start: usize,
    /// Number of messages.
    count: u16,
}

fn subheader(action: Action, count: u16) -> Subheader {
    Subheader { action: action as u8, pad: 0, count: U16::new(count) }
}

impl<'b> FrameWriter<'b> {
    /// Begins a frame with the checksum of this firewall's ruleset, which
    /// announces nothing. Fails if the buffer cannot hold a header and an end
    /// mark.
    pub fn new(buffer: &'b mut [u8], checksum: &[u8; 16]) -> Result<FrameWriter<'b>, Full> {
        let header = Header { version: VERSION, reads: 0, len: U16::new(0), pfcksum: *checksum };
        if buffer.len() < EMPTY_LEN {
            return Err(Full);
        }
        header.write_to_prefix(buffer).map_err(|_| Full)?;
        let limit = buffer.len().saturating_sub(size_of::<Subheader>());
        Ok(FrameWriter { buffer, limit, has_mark: true, used: size_of::<Header>(), last_run: None })
    }

    /// Announces the newest format that the sender reads.
    pub fn announce(&mut self, format: Format) {
        if let Ok((header, _)) = Header::mut_from_prefix(self.buffer) {
            header.reads = format.announcement();
        }
    }

    /// Lets a trailer end the frame, with or without a tag, and keeps space for its
    /// head. To be called before the first message is appended.
    pub fn end_with_trailer(&mut self, has_tag: bool) {
        self.has_mark = false;
        self.limit = self.buffer.len().saturating_sub(trailer_len(has_tag));
    }

    /// Whether the frame has no message yet.
    pub fn is_empty(&self) -> bool {
        self.used == size_of::<Header>()
    }

    /// Ends the run: the next message begins a new one, even if the action is
    /// the same.
    pub fn end_run(&mut self) {
        if let Some(WrittenRun { action, offset, count, .. }) = self.last_run.take() {
            // It fits: the run began with space for it.
            let _ = self.write_at(offset, &subheader(action, count));
        }
    }

    /// Bytes of the run that a message of this action and `size` bytes joins. `None` if it
    /// begins a new one.
    fn run_to_join(&self, action: Action, size: usize) -> Option<usize> {
        let run = self.last_run.as_ref().filter(|run| run.action == action)?;
        let len = self.used.saturating_sub(run.start);
        (len.saturating_add(size) <= RUN_MAX).then_some(len)
    }

    /// Bytes that are free for messages and subheaders.
    fn free(&self) -> usize {
        self.limit.saturating_sub(self.used)
    }

    /// How many messages of this action and `size` bytes can be appended to one
    /// run. When they are written, a new run of the same action may still fit.
    pub fn fits(&self, action: Action, size: usize) -> usize {
        let (free, run_len) = match self.run_to_join(action, size) {
            Some(run_len) => (self.free(), run_len),
            None => (self.free().saturating_sub(size_of::<Subheader>()), 0),
        };
        free.min(RUN_MAX.saturating_sub(run_len)).checked_div(size).unwrap_or(0)
    }

    /// Appends a message. Fails if there is no space for it.
    pub fn append<T: IntoBytes + Immutable>(&mut self, action: Action, message: &T) -> Result<(), Full> {
        let space = self.reserve(action, size_of::<T>())?;
        message.write_to(space).map_err(|_| Full)
    }

    /// Appends a message that `write` writes where it belongs. It must write every field:
    /// the bytes are those of an earlier frame. Fails if there is no space for the message.
    #[inline(always)]
    pub fn append_with<T>(&mut self, action: Action, write: impl FnOnce(&mut T)) -> Result<(), Full>
    where
        T: FromBytes + IntoBytes + KnownLayout + Unaligned,
    {
        let space = self.reserve(action, size_of::<T>())?;
        write(T::mut_from_bytes(space).map_err(|_| Full)?);
        Ok(())
    }

    /// Counts a message of `size` bytes, and returns the space for it.
    #[inline(always)]
    fn reserve(&mut self, action: Action, size: usize) -> Result<&mut [u8], Full> {
        if self.run_to_join(action, size).is_none() {
            self.begin_run(action, size)?;
        }
        let (start, end) = (self.used, self.used.saturating_add(size));
        if end > self.limit {
            return Err(Full);
        }
        let space = self.buffer.get_mut(start..end).ok_or(Full)?;
        if let Some(run) = &mut self.last_run {
            run.count = run.count.saturating_add(1);
        }
        self.used = end;
        Ok(space)
    }

    /// Begins a run, if a message of `size` bytes fits after its subheader.
    #[inline(never)]
    fn begin_run(&mut self, action: Action, size: usize) -> Result<(), Full> {
        if self.free() < size_of::<Subheader>().saturating_add(size) {
            return Err(Full);
        }
        self.end_run();
        let start = self.used.saturating_add(size_of::<Subheader>());
        self.last_run = Some(WrittenRun { action, offset: self.used, start, count: 0 });
        self.used = start;
        Ok(())
    }

    /// Appends a whole state in the format of `action`. Fails if there is no space for it.
    /// Appends nothing if the action has no format, or if the format cannot carry the state.
    #[inline(always)]
    pub fn append_state(&mut self, action: Action, state: &impl Content) -> Result<(), Full> {
        let Some(format) = action.format().filter(|format| state.is_expressible_in(*format)) else {
            return Ok(());
        };
        match format {
            Format::V1301 => self.append_with(action, |raw: &mut RawState1301| raw.write(state)),
            Format::V1400 => self.append_with(action, |raw: &mut RawState1400| raw.write(state)),
            Format::V1500 => self.append_with(action, |raw: &mut RawState1500| raw.write(state)),
        }
    }

    /// Writes the end mark, unless a trailer ends the frame, and the length into the
    /// header. Returns the length of the frame in bytes, where a trailer begins.
    pub fn finish(mut self) -> usize {
        self.end_run();
        let mark = subheader(Action::Eof, 1);
        // It fits: `new` leaves space for it.
        if self.has_mark && self.write_at(self.used, &mark).is_ok() {
            self.used = self.used.saturating_add(size_of::<Subheader>());
        }
        if let Ok((header, _)) = Header::mut_from_prefix(self.buffer) {
            header.len = U16::new(self.used.try_into().unwrap_or(u16::MAX));
        }
        self.used
    }

    fn write_at(&mut self, offset: usize, subheader: &Subheader) -> Result<(), Full> {
        let space = self.buffer.get_mut(offset..).ok_or(Full)?;
        subheader.write_to_prefix(space).map_err(|_| Full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::RawId;
    use proptest::prelude::*;
    use zerocopy::FromZeros;

    fn id(n: u8) -> RawId {
        RawId { id: [n; 8], creator: [n; 4] }
    }

    fn written(size: usize, fill: impl FnOnce(&mut FrameWriter)) -> Vec<u8> {
        let mut buffer = vec![0xaa; size];
        let mut writer = FrameWriter::new(&mut buffer, &[7; 16]).unwrap();
        fill(&mut writer);
        let len = writer.finish();
        buffer.truncate(len);
        buffer
    }

    #[test]
    fn runs_come_back_as_written() {
        let bytes = written(1500, |w| {
            w.append(Action::InsertAck, &id(1)).unwrap();
            w.append(Action::InsertAck, &id(2)).unwrap();
            w.append(Action::DeleteCompressed, &id(3)).unwrap();
        });
        let frame = Frame::parse(&bytes).unwrap();
        assert_eq!(frame.checksum, &[7; 16]);
        let runs: Vec<_> = frame.map(Result::unwrap).collect();
        assert_eq!(runs, [Run::InsertAck(&[id(1), id(2)]), Run::DeleteCompressed(&[id(3)]), Run::Eof(1)]);
    }

    #[test]
    fn an_empty_frame_is_a_header_and_an_end_mark() {
        let bytes = written(24, |w| assert!(w.is_empty()));
        assert_eq!(bytes.len(), 24);
        assert_eq!(Frame::parse(&bytes).unwrap().map(Result::unwrap).collect::<Vec<_>>(), [Run::Eof(1)]);
        assert!(FrameWriter::new(&mut [0; 23], &[0; 16]).is_err());
    }

    #[test]
    fn a_full_frame_refuses_a_message_and_stays_valid() {
        let len = 20 + 4 + 2 * 12 + 4;
        let bytes = written(len + 11, |w| {
            assert_eq!(w.fits(Action::InsertAck, 12), 2);
            w.append(Action::InsertAck, &id(1)).unwrap();
            assert_eq!(w.fits(Action::InsertAck, 12), 1);
            assert_eq!(w.fits(Action::DeleteCompressed, 12), 1);
            w.append(Action::InsertAck, &id(2)).unwrap();
            assert_eq!(w.append(Action::InsertAck, &id(3)), Err(Full));
        });
        assert_eq!(bytes.len(), len);
        assert_eq!(Frame::parse(&bytes).unwrap().next(), Some(Ok(Run::InsertAck(&[id(1), id(2)]))));
    }

    #[test]
    fn a_run_fits_an_mbuf_cluster() {
        let state = RawState1400::new_zeroed();
        let bytes = written(8960, |w| {
            assert_eq!(w.fits(Action::Update1400, 277), 7);
            while w.append(Action::Update1400, &state).is_ok() {}
        });
        let runs: Vec<_> = Frame::parse(&bytes).unwrap().map(|run| run.unwrap().count()).collect();
        assert_eq!(runs, [7, 7, 7, 7, 4, 1]);
    }

    #[test]
    fn a_message_does_not_join_an_ended_run() {
        let bytes = written(100, |w| {
            w.append(Action::InsertAck, &id(1)).unwrap();
            w.end_run();
            w.append(Action::InsertAck, &id(2)).unwrap();
        });
        let runs: Vec<_> = Frame::parse(&bytes).unwrap().map(Result::unwrap).collect();
        assert_eq!(runs, [Run::InsertAck(&[id(1)]), Run::InsertAck(&[id(2)]), Run::Eof(1)]);
    }

    #[test]
    fn headers_are_checked() {
        let good = written(100, |w| w.append(Action::InsertAck, &id(1)).unwrap());
        assert_eq!(Frame::parse(&good[..19]).unwrap_err(), HeaderError::Short);
        assert_eq!(Frame::parse(&good[..good.len() - 1]).unwrap_err(), HeaderError::Length);
        let mut bad = good.clone();
        bad[0] = 4;
        assert_eq!(Frame::parse(&bad).unwrap_err(), HeaderError::Version(4));
        bad = good.clone();
        bad[3] = 19;
        assert_eq!(Frame::parse(&bad).unwrap_err(), HeaderError::Length);
    }

    #[test]
    fn an_error_ends_the_frame() {
        let mut bytes = written(100, |w| w.append(Action::InsertAck, &id(1)).unwrap());
        bytes.push(0);
        let mut frame = Frame::parse(&bytes).unwrap();
        assert!(frame.next().unwrap().is_ok());
        assert_eq!(frame.next(), Some(Err(FrameError::TrailingBytes)));
        assert_eq!(frame.next(), None);

        for number in [6, 8, 9, 17, 255] {
            bytes[20] = number;
            let mut frame = Frame::parse(&bytes).unwrap();
            assert_eq!(frame.next(), Some(Err(FrameError::Action { number, count: 1 })));
            assert_eq!(frame.next(), None);
        }

        bytes[20] = Action::Update1400 as u8;
        let error = FrameError::Length { action: Action::Update1400, count: 1 };
        assert_eq!(Frame::parse(&bytes).unwrap().next(), Some(Err(error)));
    }

    /// How many states fit a packet of 1,500 bytes over IPv6.
    fn states_in_packet<T: IntoBytes + Immutable + FromZeros>(action: Action) -> usize {
        let bytes = written(1460, |w| while w.append(action, &T::new_zeroed()).is_ok() {});
        Frame::parse(&bytes).unwrap().next().unwrap().unwrap().count()
    }

    #[test]
    fn states_fit_a_packet() {
        assert_eq!(states_in_packet::<RawState1301>(Action::Update1301), 5);
        assert_eq!(states_in_packet::<RawState1400>(Action::Update1400), 5);
        assert_eq!(states_in_packet::<RawState1500>(Action::Update1500), 3);
    }

    #[test]
    fn a_frame_announces_what_its_sender_reads() {
        assert_eq!(Frame::parse(&written(24, |_| ())).unwrap().announced, None);
        for (number, format) in [(1, Format::V1301), (2, Format::V1400), (3, Format::V1500)] {
            let bytes = written(24, |w| w.announce(format));
            assert_eq!(bytes[1], number);
            assert_eq!(Frame::parse(&bytes).unwrap().announced, Some(format));
        }
    }

    #[test]
    fn who_announces_a_later_format_reads_the_newest_known_one() {
        let mut bytes = written(24, |_| ());
        for number in 4..=255 {
            bytes[1] = number;
            assert_eq!(Frame::parse(&bytes).unwrap().announced, Some(Format::NEWEST));
        }
    }

    #[test]
    fn a_trailer_takes_the_place_of_the_end_mark() {
        for (has_tag, len) in [(false, 16), (true, 36)] {
            let bytes = written(20 + 4 + 2 * 12 + len, |w| {
                w.end_with_trailer(has_tag);
                assert_eq!(w.fits(Action::InsertAck, 12), 2);
                while w.append(Action::InsertAck, &id(1)).is_ok() {}
            });
            let frame = Frame::parse(&bytes).unwrap();
            assert!(frame.has_messages());
            assert_eq!(frame.map(Result::unwrap).collect::<Vec<_>>(), [Run::InsertAck(&[id(1), id(1)])]);
        }
    }

    /// A trailer costs no state in a packet of 1,500 bytes, except with a key and format
    /// 1500.
    #[test]
    fn states_fit_a_packet_with_a_trailer() {
        let fit = |len, has_tag, format: Format| {
            let mut buffer = vec![0; len];
            let mut writer = FrameWriter::new(&mut buffer, &[0; 16]).unwrap();
            writer.end_with_trailer(has_tag);
            writer.fits(format.update(), format.size())
        };
        for ip_header in [20, 40] {
            assert_eq!(fit(1500 - ip_header, false, Format::V1400), 5);
            assert_eq!(fit(1500 - ip_header, true, Format::V1400), 5);
        }
        assert_eq!(fit(1480, false, Format::V1500), 4);
        assert_eq!(fit(1480, true, Format::V1500), 3);
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(frame) = Frame::parse(&bytes) {
                for run in frame {
                    let _ = run.map(|run| (run.action(), run.count()));
                }
            }
        }

        #[test]
        fn what_is_written_is_read(kinds in proptest::collection::vec((0..3u8, any::<u8>()), 0..200), len in 24..2000usize) {
            let mut appended = Vec::new();
            let bytes = written(len, |w| {
                for (kind, n) in kinds {
                    let action = [Action::InsertAck, Action::UpdateRequest, Action::DeleteCompressed][kind as usize];
                    if w.append(action, &id(n)).is_ok() {
                        appended.push((action, id(n)));
                    }
                }
            });
            prop_assert!(bytes.len() <= len);
            let mut read = Vec::new();
            for run in Frame::parse(&bytes).unwrap() {
                match run.unwrap() {
                    Run::InsertAck(ids) => read.extend(ids.iter().map(|id| (Action::InsertAck, *id))),
                    Run::UpdateRequest(ids) => read.extend(ids.iter().map(|id| (Action::UpdateRequest, *id))),
                    Run::DeleteCompressed(ids) => read.extend(ids.iter().map(|id| (Action::DeleteCompressed, *id))),
                    Run::Eof(_) => {}
                    other => panic!("{other:?} was not written"),
                }
            }
            prop_assert_eq!(read, appended);
        }
    }
}
