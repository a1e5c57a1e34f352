// SPDX-License-Identifier: BSD-2-Clause
//! The log: which states the frames of this node told of.
//!
//! It remembers identity and kind, not bytes. What is repaired is what is true
//! then, so that an update which was lost ten times is sent once.

use crate::engine::bulk::Instant;
use crate::wire::{BulkMark, Clear, Frame, RawClear, Run, StateId};

/// What a frame told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Told {
    /// Something about a state that exists.
    State(StateId),
    /// The end of a state.
    Deleted(StateId),
    /// The end of the states of a creator.
    Cleared(Clear),
    /// The end of a bulk update, which answered a request that arrived at this time. Only
    /// the last is told again, and only while no other has begun.
    BulkEnded(Instant),
    /// A bulk update was requested.
    Requested,
}

/// A place in the log, 16 bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    /// The id of a state, or the first bytes of something else.
    head: [u8; 8],
    /// The creator of a state, or further bytes of something else.
    tail: [u8; 4],
    /// The kind in the highest four bits, the lowest 28 bits of the frame's number
    /// in the others.
    word: u32,
}

impl Entry {
    /// A place that was not used yet.
    pub const UNUSED: Entry = Entry { head: [0; 8], tail: [0; 4], word: 0 };

    fn kind(&self) -> u32 {
        self.word >> NUMBER_BITS
    }

    fn state_id(&self) -> StateId {
        StateId { id: self.head, creator: self.tail }
    }
}

const NUMBER_BITS: u32 = 28;
const NUMBER_MASK: u32 = (1 << NUMBER_BITS) - 1;
/// Entries of frames that are this many numbers back are forgotten, so that 28 bits
/// tell all others apart.
const MAX_SPAN: u64 = 1 << (NUMBER_BITS - 1);

const STATE: u32 = 1;
const DELETED: u32 = 2;
/// A clear takes two entries: the first has twelve bytes of the interface's name, the
/// second the other four and the creator.
const CLEARED: u32 = 3;
const CLEARED_REST: u32 = 4;
const BULK_ENDED: u32 = 5;
const REQUESTED: u32 = 6;

/// A ring of [`Entry`], in slots that the caller provides. It also gives the frames
/// their numbers.
#[derive(Debug)]
pub struct Log<S> {
    slots: S,
    /// Entries written since the slots were given. An entry's sequence number is what this was
    /// before.
    written: u64,
    /// The slot of the next entry.
    next: usize,
    /// Entries in the ring.
    len: u64,
    /// The number of the last frame.
    number: u64,
    /// What the frames up to this one told is not complete in the log.
    forgotten: u64,
    /// When the request arrived that the last bulk update answered, if its end mark was
    /// the last mark.
    bulk_ended: Option<Instant>,
}

impl<S: AsMut<[Entry]>> Log<S> {
    /// An empty log. No frame has a number yet: the next is number 1.
    pub fn new(slots: S) -> Log<S> {
        Log { slots, written: 0, next: 0, len: 0, number: 0, forgotten: 0, bulk_ended: None }
    }

    /// Empties the log, and begins with number 1 again.
    pub fn restart(&mut self) {
        (self.written, self.next, self.len) = (0, 0, 0);
        (self.number, self.forgotten) = (0, 0);
        self.bulk_ended = None;
    }

    /// Whether the log can remember anything.
    pub fn has_slots(&mut self) -> bool {
        !self.slots.as_mut().is_empty()
    }

    /// Gives the log other slots, and empties it. Returns the old slots.
    pub fn replace(&mut self, slots: S) -> S {
        (self.written, self.next, self.len) = (0, 0, 0);
        self.forgotten = self.number;
        core::mem::replace(&mut self.slots, slots)
    }

    /// The number of the last frame, 0 if there was none.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// What the frames up to this number told is not known any more. 0 if all is.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Gives a frame the next number, and remembers what it tells. Returns the
    /// number. `frame` is a frame that this node wrote, and `now` the time.
    pub fn append(&mut self, frame: Frame, now: Instant) -> u64 {
        self.number = self.number.saturating_add(1);
        while self.oldest_number().is_some_and(|oldest| oldest.saturating_add(MAX_SPAN) <= self.number) {
            self.drop_oldest();
        }
        for run in frame.flatten() {
            self.append_run(run, now);
        }
        self.number
    }

    fn append_run(&mut self, run: Run, now: Instant) {
        match run {
            Run::Insert(states) | Run::Update(states) => {
                states.ids().for_each(|id| self.write(STATE, id.id, id.creator));
            }
            Run::UpdateCompressed(messages) => {
                messages.iter().for_each(|message| self.write(STATE, message.id, message.creator));
            }
            Run::DeleteCompressed(messages) => {
                messages.iter().for_each(|message| self.write(DELETED, message.id, message.creator));
            }
            Run::Clear(messages) => messages.iter().for_each(|message| self.write_clear(message)),
            Run::BulkStatus(messages) => {
                for status in messages.iter().filter_map(|raw| raw.check().ok()) {
                    let requested = now.saturating_sub(i64::from(status.age) << 32);
                    self.bulk_ended = (status.mark == BulkMark::End).then_some(requested);
                    self.bulk_ended.into_iter().for_each(|requested| self.write_bulk_end(requested));
                }
            }
            Run::UpdateRequest(messages) => {
                let all = messages.iter().filter(|raw| StateId::from(**raw) == StateId::ALL);
                all.for_each(|_| self.write(REQUESTED, [0; 8], [0; 4]));
            }
            // Who waits for an acknowledgement has a timer.
            Run::InsertAck(_) | Run::Tdb(_) | Run::Eof(_) => {}
        }
    }

    fn write_clear(&mut self, clear: &RawClear) {
        let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = clear.ifname;
        let [q, r, s, t] = clear.creator;
        self.write(CLEARED, [a, b, c, d, e, f, g, h], [i, j, k, l]);
        self.write(CLEARED_REST, [m, n, o, p, q, r, s, t], [0; 4]);
    }

    fn write_bulk_end(&mut self, requested: Instant) {
        self.write(BULK_ENDED, requested.to_be_bytes(), [0; 4]);
    }

    fn write(&mut self, kind: u32, head: [u8; 8], tail: [u8; 4]) {
        let word = kind << NUMBER_BITS | self.number as u32 & NUMBER_MASK;
        let slots = self.slots.as_mut();
        let capacity = slots.len();
        // There may be no space for anything.
        let Some(slot) = slots.get_mut(self.next) else { return self.forgotten = self.number };
        let oldest = core::mem::replace(slot, Entry { head, tail, word });
        self.next = self.next.wrapping_add(1);
        if self.next == capacity {
            self.next = 0;
        }
        self.written = self.written.wrapping_add(1);
        if self.len == capacity as u64 {
            self.forgotten = number_of(oldest, self.number);
        } else {
            self.len = self.len.wrapping_add(1);
        }
    }

    /// The sequence number of the oldest entry.
    fn oldest(&self) -> u64 {
        self.written.saturating_sub(self.len)
    }

    fn oldest_number(&mut self) -> Option<u64> {
        self.entry(self.oldest()).map(|(number, _)| number)
    }

    fn drop_oldest(&mut self) {
        if let Some(number) = self.oldest_number() {
            self.forgotten = number;
            self.len = self.len.saturating_sub(1);
        }
    }

    /// The entry with a sequence number, and the number of its frame.
    fn entry(&mut self, sequence: u64) -> Option<(u64, Entry)> {
        if sequence < self.oldest() || sequence >= self.written {
            return None;
        }
        let slots = self.slots.as_mut();
        let index = sequence.checked_rem(slots.len() as u64)? as usize;
        let entry = *slots.get(index)?;
        Some((number_of(entry, self.number), entry))
    }

    /// The sequence number of the first entry of a frame with this number or a later
    /// one. If there is none, that of the next entry to be written.
    pub fn find(&mut self, number: u64) -> u64 {
        let (mut low, mut high) = (self.oldest(), self.written);
        while low < high {
            let middle = low.midpoint(high);
            match self.entry(middle) {
                Some((other, _)) if other < number => low = middle.saturating_add(1),
                _ => high = middle,
            }
        }
        low
    }

    /// What the entry with a sequence number says: the number of its frame, what the
    /// frame told, and the sequence number of the next entry. `None` behind the last
    /// entry.
    pub fn read(&mut self, sequence: u64) -> Option<Record> {
        let (number, entry) = self.entry(sequence)?;
        let next = sequence.saturating_add(1);
        let told = match entry.kind() {
            STATE => Some(Told::State(entry.state_id())),
            DELETED => Some(Told::Deleted(entry.state_id())),
            CLEARED => {
                let rest = self.entry(next).map(|(_, rest)| rest);
                let told = rest.and_then(|rest| clear(entry, rest)).map(Told::Cleared);
                return Some(Record { number, told, next: next.saturating_add(1) });
            }
            BULK_ENDED => {
                let requested = Instant::from_be_bytes(entry.head);
                // Within a later bulk update, it would look like the end of that.
                Some(Told::BulkEnded(requested)).filter(|_| self.bulk_ended == Some(requested))
            }
            REQUESTED => Some(Told::Requested),
            // The first entry of the clear is gone.
            _ => None,
        };
        Some(Record { number, told, next })
    }
}

/// What [`Log::read`] returns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record {
    /// The number of the frame.
    pub number: u64,
    /// What it told.
    pub told: Option<Told>,
    /// The sequence number of the next entry.
    pub next: u64,
}

/// The number of the frame of an entry. `last` is the last number.
fn number_of(entry: Entry, last: u64) -> u64 {
    let back = (last as u32).wrapping_sub(entry.word) & NUMBER_MASK;
    last.saturating_sub(back.into())
}

fn clear(first: Entry, rest: Entry) -> Option<Clear> {
    let ([a, b, c, d, e, f, g, h], [i, j, k, l]) = (first.head, first.tail);
    let [m, n, o, p, q, r, s, t] = rest.head;
    let ifname = [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p];
    RawClear { ifname, creator: [q, r, s, t] }.check().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Action, BulkStatus, FrameWriter, IfName, RawBulkStatus, RawId};
    use proptest::prelude::*;

    fn id(n: u64) -> StateId {
        StateId { id: n.to_be_bytes(), creator: [1; 4] }
    }

    fn frame(fill: impl FnOnce(&mut FrameWriter)) -> Vec<u8> {
        let mut buffer = vec![0; 4000];
        let mut writer = FrameWriter::new(&mut buffer, &[0; 16]).unwrap();
        fill(&mut writer);
        let len = writer.finish();
        buffer.truncate(len);
        buffer
    }

    /// A frame that tells of the end of these states.
    fn deletes(states: std::ops::Range<u64>) -> Vec<u8> {
        frame(|w| states.for_each(|n| w.append(Action::DeleteCompressed, &RawId::from(id(n))).unwrap()))
    }

    fn append(log: &mut Log<Vec<Entry>>, bytes: &[u8]) -> u64 {
        log.append(Frame::parse(bytes).unwrap(), 100 << 32)
    }

    fn told(log: &mut Log<Vec<Entry>>, number: u64) -> Vec<Told> {
        let (mut told, mut sequence) = (Vec::new(), log.find(number));
        while let Some(record) = log.read(sequence).filter(|record| record.number == number) {
            told.extend(record.told);
            sequence = record.next;
        }
        told
    }

    #[test]
    fn an_entry_has_sixteen_bytes() {
        assert_eq!(size_of::<Entry>(), 16);
    }

    #[test]
    fn each_frame_is_found_by_its_number() {
        let mut log = Log::new(vec![Entry::UNUSED; 10]);
        assert_eq!(append(&mut log, &deletes(0..3)), 1);
        assert_eq!(
            append(&mut log, &frame(|w| w.append(Action::InsertAck, &RawId::from(id(9))).unwrap())),
            2
        );
        assert_eq!(append(&mut log, &deletes(3..5)), 3);
        assert_eq!(told(&mut log, 1), [0, 1, 2].map(|n| Told::Deleted(id(n))));
        assert_eq!(told(&mut log, 2), []);
        assert_eq!(told(&mut log, 3), [3, 4].map(|n| Told::Deleted(id(n))));
        assert_eq!(told(&mut log, 4), []);
        assert_eq!((log.number(), log.forgotten()), (3, 0));
    }

    #[test]
    fn a_full_log_forgets_the_oldest_frames() {
        let mut log = Log::new(vec![Entry::UNUSED; 10]);
        for n in 0..4 {
            append(&mut log, &deletes(n * 4..n * 4 + 4));
        }
        // Six entries are gone: all of frame 1 and half of frame 2.
        assert_eq!(log.forgotten(), 2);
        assert_eq!(told(&mut log, 3), [8, 9, 10, 11].map(|n| Told::Deleted(id(n))));
        log.restart();
        assert_eq!((log.number(), log.forgotten(), log.read(0)), (0, 0, None));
    }

    #[test]
    fn a_log_without_space_forgets_everything() {
        let mut log = Log::new(Vec::new());
        append(&mut log, &deletes(0..1));
        assert_eq!((log.number(), log.forgotten(), log.find(1)), (1, 1, 0));
    }

    #[test]
    fn clears_and_end_marks_come_back_whole() {
        let ifname = IfName::new(b"an_interface_15\0").unwrap();
        let clears =
            [Clear { ifname: Some(ifname), creator: [7; 4] }, Clear { ifname: None, creator: [8; 4] }];
        let end = BulkStatus { creator: [1; 4], age: 30, mark: BulkMark::End };
        let bytes = frame(|w| {
            clears.iter().for_each(|clear| w.append(Action::Clear, &RawClear::from(clear)).unwrap());
            for mark in [BulkMark::Start, BulkMark::End] {
                w.append(Action::BulkStatus, &RawBulkStatus::from(&BulkStatus { mark, ..end })).unwrap();
            }
        });
        let mut log = Log::new(vec![Entry::UNUSED; 5]);
        append(&mut log, &bytes);
        let [first, second] = clears.map(Told::Cleared);
        assert_eq!(told(&mut log, 1), [first, second, Told::BulkEnded(70 << 32)]);
        // Another bulk update has begun.
        let start = BulkStatus { mark: BulkMark::Start, ..end };
        append(&mut log, &frame(|w| w.append(Action::BulkStatus, &RawBulkStatus::from(&start)).unwrap()));
        assert_eq!(told(&mut log, 1), [first, second]);
        // Half a clear is not told.
        append(&mut log, &deletes(0..1));
        assert_eq!((told(&mut log, 1), log.forgotten()), (vec![second], 1));
    }

    #[test]
    fn numbers_are_told_apart_however_many_there_are() {
        let ack = frame(|w| w.append(Action::InsertAck, &RawId::from(id(9))).unwrap());
        let mut log = Log::new(vec![Entry::UNUSED; 10]);
        log.number = (1 << 40) - 3;
        append(&mut log, &deletes(0..1));
        log.number += MAX_SPAN - 2;
        append(&mut log, &deletes(1..2));
        assert_eq!(told(&mut log, (1 << 40) - 2), [Told::Deleted(id(0))]);
        append(&mut log, &ack);
        assert_eq!(log.forgotten(), (1 << 40) - 2);
        let number = log.number() - 1;
        assert_eq!(told(&mut log, number), [Told::Deleted(id(1))]);
    }

    proptest! {
        /// The log tells what every frame told, except of the frames that it says it
        /// has forgotten.
        #[test]
        #[cfg_attr(miri, ignore = "takes minutes under Miri")]
        fn what_is_not_forgotten_is_known(lens in proptest::collection::vec(0..30u64, 1..80), capacity in 0..200usize) {
            let mut log = Log::new(vec![Entry::UNUSED; capacity]);
            let (mut frames, mut next) = (Vec::new(), 0);
            for len in lens {
                append(&mut log, &deletes(next..next + len));
                frames.push((next..next + len).map(|n| Told::Deleted(id(n))).collect::<Vec<_>>());
                next += len;
            }
            let forgotten = log.forgotten();
            let kept: usize = frames.iter().skip(forgotten as usize).map(Vec::len).sum();
            prop_assert!(kept <= capacity);
            for (index, frame) in frames.iter().enumerate() {
                let number = index as u64 + 1;
                if number > forgotten {
                    prop_assert_eq!(&told(&mut log, number), frame);
                }
            }
        }
    }
}
