//! Reading and writing whole frames.

use super::{
    Action, Format, Header, RawBulkStatus, RawClear, RawCompressedUpdate, RawId, RawState1301, RawState1400,
    RawState1500, RawTdb, Subheader, VERSION,
};
use zerocopy::byteorder::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// Why a frame is refused before any of its messages is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeaderError {
    /// Shorter than a header.
    Short,
    /// Not [`VERSION`].
    Version(u8),
    /// The header's length does not fit the packet.
    Length,
}

/// Why reading stops in the midst of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// An action that no version has, or that none carries.
    Action { number: u8, count: u16 },
    /// More messages announced than bytes are left.
    Length { action: Action, count: u16 },
    /// The end mark stands before the end of the packet.
    TrailingBytes,
}

/// Messages of one kind that follow each other in a frame.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Run<'a> {
    Clear(&'a [RawClear]),
    Insert1301(&'a [RawState1301]),
    Insert1400(&'a [RawState1400]),
    Insert1500(&'a [RawState1500]),
    InsertAck(&'a [RawId]),
    Update1301(&'a [RawState1301]),
    Update1400(&'a [RawState1400]),
    Update1500(&'a [RawState1500]),
    UpdateCompressed(&'a [RawCompressedUpdate]),
    UpdateRequest(&'a [RawId]),
    DeleteCompressed(&'a [RawId]),
    BulkStatus(&'a [RawBulkStatus]),
    Tdb(&'a [RawTdb]),
    /// The end mark, with the count it carries.
    Eof(u16),
}

impl Run<'_> {
    pub fn action(&self) -> Action {
        match self {
            Run::Clear(_) => Action::Clear,
            Run::Insert1301(_) => Action::Insert1301,
            Run::Insert1400(_) => Action::Insert1400,
            Run::Insert1500(_) => Action::Insert1500,
            Run::InsertAck(_) => Action::InsertAck,
            Run::Update1301(_) => Action::Update1301,
            Run::Update1400(_) => Action::Update1400,
            Run::Update1500(_) => Action::Update1500,
            Run::UpdateCompressed(_) => Action::UpdateCompressed,
            Run::UpdateRequest(_) => Action::UpdateRequest,
            Run::DeleteCompressed(_) => Action::DeleteCompressed,
            Run::BulkStatus(_) => Action::BulkStatus,
            Run::Tdb(_) => Action::Tdb,
            Run::Eof(_) => Action::Eof,
        }
    }

    /// Number of messages in the run.
    pub fn count(&self) -> usize {
        match self {
            Run::Clear(messages) => messages.len(),
            Run::Insert1301(messages) | Run::Update1301(messages) => messages.len(),
            Run::Insert1400(messages) | Run::Update1400(messages) => messages.len(),
            Run::Insert1500(messages) | Run::Update1500(messages) => messages.len(),
            Run::InsertAck(messages) | Run::UpdateRequest(messages) | Run::DeleteCompressed(messages) => {
                messages.len()
            }
            Run::UpdateCompressed(messages) => messages.len(),
            Run::BulkStatus(messages) => messages.len(),
            Run::Tdb(messages) => messages.len(),
            Run::Eof(count) => usize::from(*count),
        }
    }
}

/// A received frame whose header is in order: an iterator over its runs that
/// ends after the end mark, the last whole run, or the first error.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    /// The sender's ruleset checksum.
    pub checksum: &'a [u8; 16],
    /// What the header's length covers and was not read yet.
    rest: &'a [u8],
    /// Bytes of the packet behind what the header's length covers.
    beyond: usize,
    /// The newest format of a whole state that is understood.
    newest: Format,
}

impl<'a> Frame<'a> {
    /// Reads the header of a packet, given from behind its IP header to its
    /// end.
    pub fn parse(packet: &'a [u8]) -> Result<Frame<'a>, HeaderError> {
        let (header, _) = Header::ref_from_prefix(packet).map_err(|_| HeaderError::Short)?;
        if header.version != VERSION {
            return Err(HeaderError::Version(header.version));
        }
        let len = usize::from(header.len.get());
        let frame = packet.get(..len).ok_or(HeaderError::Length)?;
        let rest = frame.get(size_of::<Header>()..).ok_or(HeaderError::Length)?;
        let beyond = packet.len().saturating_sub(len);
        Ok(Frame { checksum: &header.pfcksum, rest, beyond, newest: Format::V1500 })
    }

    /// The same, read by a system that knows no format after `newest`: the
    /// actions that carry one are unknown to it.
    pub fn understood_until(self, newest: Format) -> Frame<'a> {
        Frame { newest, ..self }
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

    fn run(&mut self, action: Action, count: u16) -> Result<Run<'a>, FrameError> {
        let run = match action {
            Action::Clear => self.messages(count).map(Run::Clear),
            Action::Insert1301 => self.messages(count).map(Run::Insert1301),
            Action::Insert1400 => self.messages(count).map(Run::Insert1400),
            Action::Insert1500 => self.messages(count).map(Run::Insert1500),
            Action::InsertAck => self.messages(count).map(Run::InsertAck),
            Action::Update1301 => self.messages(count).map(Run::Update1301),
            Action::Update1400 => self.messages(count).map(Run::Update1400),
            Action::Update1500 => self.messages(count).map(Run::Update1500),
            Action::UpdateCompressed => self.messages(count).map(Run::UpdateCompressed),
            Action::UpdateRequest => self.messages(count).map(Run::UpdateRequest),
            Action::DeleteCompressed => self.messages(count).map(Run::DeleteCompressed),
            Action::BulkStatus => self.messages(count).map(Run::BulkStatus),
            Action::Tdb => self.messages(count).map(Run::Tdb),
            Action::Eof if self.rest.is_empty() && self.beyond == 0 => Some(Run::Eof(count)),
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
        let known = |action: &Action| action.format() <= Some(self.newest);
        let run = match Action::from_number(subheader.action).filter(known) {
            Some(action) => self.run(action, count),
            None => Err(FrameError::Action { number: subheader.action, count }),
        };
        if !matches!(run, Ok(ref run) if run.action() != Action::Eof) {
            self.rest = &[];
        }
        Some(run)
    }
}

/// The message did not fit and was not written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// Bytes of messages behind one subheader at most: the C module drops a frame
/// with a run that is longer than an mbuf cluster (`MCLBYTES`).
const RUN_MAX: usize = 2048;

/// Bytes of a frame without messages: a header and an end mark.
const EMPTY: usize = size_of::<Header>() + size_of::<Subheader>();

/// Builds a frame in a caller's buffer; its length is the buffer's at most.
///
/// Messages of one kind pushed in a row share a subheader, up to [`RUN_MAX`]
/// bytes. Room for the end mark is kept all along.
pub struct FrameWriter<'b> {
    buffer: &'b mut [u8],
    used: usize,
    /// The run being written: its action, where its subheader lies, and how
    /// many messages it has.
    run: Option<(Action, usize, u16)>,
}

impl<'b> FrameWriter<'b> {
    /// Starts a frame that carries the sender's ruleset checksum. Fails when
    /// the buffer cannot hold a header and an end mark.
    pub fn new(buffer: &'b mut [u8], checksum: &[u8; 16]) -> Result<FrameWriter<'b>, Full> {
        let header = Header { version: VERSION, pad: 0, len: U16::new(0), pfcksum: *checksum };
        if buffer.len() < EMPTY {
            return Err(Full);
        }
        header.write_to_prefix(buffer).map_err(|_| Full)?;
        Ok(FrameWriter { buffer, used: size_of::<Header>(), run: None })
    }

    /// Whether no message was written yet.
    pub fn is_empty(&self) -> bool {
        self.used == size_of::<Header>()
    }

    /// What is pushed next begins a run of its own, whatever its kind.
    pub fn end_run(&mut self) {
        self.run = None;
    }

    /// The run that a message of `size` bytes and kind `action` would join:
    /// where its subheader lies, and how many messages it has.
    fn open_run(&self, action: Action, size: usize) -> Option<(usize, u16)> {
        let (current, at, count) = self.run?;
        let len = usize::from(count).saturating_mul(size);
        (current == action && len.saturating_add(size) <= RUN_MAX).then_some((at, count))
    }

    /// How many messages of `size` bytes and kind `action` can be pushed in a
    /// row, at least: after that many there may be room for more in a run of
    /// their own.
    pub fn fits(&self, action: Action, size: usize) -> usize {
        let (subheader, run) = match self.open_run(action, size) {
            Some((_, count)) => (0, usize::from(count).saturating_mul(size)),
            None => (size_of::<Subheader>(), 0),
        };
        let in_run = RUN_MAX.saturating_sub(run).checked_div(size).unwrap_or(0);
        let taken = self.used.saturating_add(subheader).saturating_add(size_of::<Subheader>());
        self.buffer.len().saturating_sub(taken).checked_div(size).unwrap_or(0).min(in_run)
    }

    /// Appends a message.
    pub fn push<T: IntoBytes + Immutable>(&mut self, action: Action, message: &T) -> Result<(), Full> {
        if self.fits(action, size_of::<T>()) == 0 {
            return Err(Full);
        }
        let (at, count) = match self.open_run(action, size_of::<T>()) {
            Some(run) => run,
            None => {
                let at = self.used;
                self.append(&Subheader { action: action as u8, pad: 0, count: U16::new(0) })?;
                (at, 0)
            }
        };
        self.append(message)?;
        let count = count.saturating_add(1);
        self.write(at, &Subheader { action: action as u8, pad: 0, count: U16::new(count) })?;
        self.run = Some((action, at, count));
        Ok(())
    }

    /// Writes the end mark and the length. Returns the frame's length.
    pub fn finish(mut self) -> usize {
        let eof = Subheader { action: Action::Eof as u8, pad: 0, count: U16::new(1) };
        // `new` and `fits` kept the room that it takes.
        let _ = self.append(&eof);
        if let Ok((header, _)) = Header::mut_from_prefix(self.buffer) {
            header.len = U16::new(self.used.try_into().unwrap_or(u16::MAX));
        }
        self.used
    }

    fn append<T: IntoBytes + Immutable>(&mut self, value: &T) -> Result<(), Full> {
        self.write(self.used, value)?;
        self.used = self.used.saturating_add(size_of::<T>());
        Ok(())
    }

    fn write<T: IntoBytes + Immutable>(&mut self, at: usize, value: &T) -> Result<(), Full> {
        let room = self.buffer.get_mut(at..).ok_or(Full)?;
        value.write_to_prefix(room).map_err(|_| Full)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
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
            w.push(Action::InsertAck, &id(1)).unwrap();
            w.push(Action::InsertAck, &id(2)).unwrap();
            w.push(Action::DeleteCompressed, &id(3)).unwrap();
        });
        let frame = Frame::parse(&bytes).unwrap();
        assert_eq!(frame.checksum, &[7; 16]);
        let runs: Vec<_> = frame.map(Result::unwrap).collect();
        assert_eq!(runs, [Run::InsertAck(&[id(1), id(2)]), Run::DeleteCompressed(&[id(3)]), Run::Eof(1)]);
    }

    #[test]
    fn an_empty_frame_is_header_and_end_mark() {
        let bytes = written(24, |w| assert!(w.is_empty()));
        assert_eq!(bytes.len(), 24);
        assert_eq!(Frame::parse(&bytes).unwrap().map(Result::unwrap).collect::<Vec<_>>(), [Run::Eof(1)]);
        assert!(FrameWriter::new(&mut [0; 23], &[0; 16]).is_err());
    }

    #[test]
    fn a_full_frame_refuses_and_stays_whole() {
        let room = 20 + 4 + 2 * 12 + 4;
        let bytes = written(room + 11, |w| {
            assert_eq!(w.fits(Action::InsertAck, 12), 2);
            w.push(Action::InsertAck, &id(1)).unwrap();
            assert_eq!(w.fits(Action::InsertAck, 12), 1);
            assert_eq!(w.fits(Action::DeleteCompressed, 12), 1);
            w.push(Action::InsertAck, &id(2)).unwrap();
            assert_eq!(w.push(Action::InsertAck, &id(3)), Err(Full));
        });
        assert_eq!(bytes.len(), room);
        assert_eq!(Frame::parse(&bytes).unwrap().next(), Some(Ok(Run::InsertAck(&[id(1), id(2)]))));
    }

    #[test]
    fn a_run_fits_a_cluster() {
        let state = RawState1400::new_zeroed();
        let bytes = written(8960, |w| {
            assert_eq!(w.fits(Action::Update1400, 277), 7);
            while w.push(Action::Update1400, &state).is_ok() {}
        });
        let runs: Vec<_> = Frame::parse(&bytes).unwrap().map(|run| run.unwrap().count()).collect();
        assert_eq!(runs, [7, 7, 7, 7, 4, 1]);
    }

    #[test]
    fn an_ended_run_is_not_continued() {
        let bytes = written(100, |w| {
            w.push(Action::InsertAck, &id(1)).unwrap();
            w.end_run();
            w.push(Action::InsertAck, &id(2)).unwrap();
        });
        let runs: Vec<_> = Frame::parse(&bytes).unwrap().map(Result::unwrap).collect();
        assert_eq!(runs, [Run::InsertAck(&[id(1)]), Run::InsertAck(&[id(2)]), Run::Eof(1)]);
    }

    #[test]
    fn headers_are_checked() {
        let good = written(100, |w| w.push(Action::InsertAck, &id(1)).unwrap());
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
    fn errors_end_the_frame() {
        let mut bytes = written(100, |w| w.push(Action::InsertAck, &id(1)).unwrap());
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

    /// How many states fit a packet of 1,500 bytes with its IPv6 header.
    fn fit<T: IntoBytes + Immutable + FromZeros>(action: Action) -> usize {
        let bytes = written(1460, |w| while w.push(action, &T::new_zeroed()).is_ok() {});
        Frame::parse(&bytes).unwrap().next().unwrap().unwrap().count()
    }

    #[test]
    fn whole_states_fit_a_packet() {
        assert_eq!(fit::<RawState1301>(Action::Update1301), 5);
        assert_eq!(fit::<RawState1400>(Action::Update1400), 5);
        assert_eq!(fit::<RawState1500>(Action::Update1500), 3);
    }

    #[test]
    fn a_later_format_is_unknown_to_an_earlier_system() {
        let bytes = written(1460, |w| {
            w.push(Action::InsertAck, &id(1)).unwrap();
            w.push(Action::Update1500, &RawState1500::new_zeroed()).unwrap();
        });
        let runs = |newest| Frame::parse(&bytes).unwrap().understood_until(newest).collect::<Vec<_>>();
        let unknown = FrameError::Action { number: 16, count: 1 };
        assert_eq!(runs(Format::V1400), [Ok(Run::InsertAck(&[id(1)])), Err(unknown)]);
        assert_eq!(runs(Format::V1500).len(), 3);
    }

    proptest! {
        #[test]
        fn no_bytes_can_confuse_the_reader(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Ok(frame) = Frame::parse(&bytes) {
                for run in frame {
                    let _ = run.map(|run| (run.action(), run.count()));
                }
            }
        }

        #[test]
        fn what_is_written_is_read(kinds in proptest::collection::vec((0..3u8, any::<u8>()), 0..200), room in 24..2000usize) {
            let mut pushed = Vec::new();
            let bytes = written(room, |w| {
                for (kind, n) in kinds {
                    let action = [Action::InsertAck, Action::UpdateRequest, Action::DeleteCompressed][kind as usize];
                    if w.push(action, &id(n)).is_ok() {
                        pushed.push((action, id(n)));
                    }
                }
            });
            prop_assert!(bytes.len() <= room);
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
            prop_assert_eq!(read, pushed);
        }
    }
}
