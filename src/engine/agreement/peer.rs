// SPDX-License-Identifier: BSD-2-Clause
//! What is known of a peer: which of its frames arrived here, and which of this
//! node's frames it lacks.

use super::flow::Flow;
use super::gaps::Gaps;
use super::window::{Window, WINDOW};
use crate::engine::bulk::Instant;
use crate::wire::trailer::{Epoch, Gap, Ident, Node, Repaired, Report};
use crate::wire::{BulkMark, Format, PeerAddress};

/// The most peers that are remembered.
pub const MAX_PEERS: usize = 8;
/// Time after which a peer that was not heard is silent: it does not count any more, and
/// its place may go to another.
pub const SILENCE: Instant = 60 << 32;
/// Of more missing numbers than this, the oldest cannot be repaired, because no log is that
/// long.
pub const MAX_GAP: u64 = 1 << 16;
/// If this many hellos in a row say less than is known here, then what is known here is
/// wrong: a packet was damaged or forged. A few such hellos may be late or doubled.
pub const MAX_DOUBTS: u8 = 8;

/// What a place in the table holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Kind {
    /// Nothing.
    #[default]
    Free,
    /// A peer that does not number its frames.
    Stock,
    /// A peer in this epoch.
    Numbered(Epoch),
}

/// How a peer stands, for people and monitoring. The numbers are an interface: a sysctl
/// has them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Standing {
    /// Nothing that it told is missing here.
    InSync = 1,
    /// Something that it told is missing here, and it was asked to tell it again.
    Repairing = 2,
    /// A bulk update of it is needed.
    BulkUpdate = 3,
    /// It was not heard for [`SILENCE`].
    Silent = 4,
    /// It does not number its frames.
    Stock = 5,
    /// A key is required, and it has not proved that it is no recording.
    Unproven = 6,
}

/// What this node knows of itself when it judges how a peer stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct View {
    /// A key is required: only a peer that has proved itself counts.
    pub is_key_required: bool,
    /// A bulk update is awaited, of every peer.
    pub awaits_bulk: bool,
    /// The number of states here.
    pub states: u64,
    /// The time.
    pub now: Instant,
}

/// What became of the number of a frame or of a hello.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct Noted {
    /// The number is one that is known already.
    pub(super) is_late: bool,
    /// Numbers of which this was the first news.
    pub(super) gap: Option<Gap>,
    /// They are too many to be repaired.
    pub(super) needs_bulk: bool,
}

/// What is new in a report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum ReportNews {
    Nothing,
    /// The peer lacks something, and lacked nothing before.
    LacksMore,
    /// The peer does not know yet that something was told again.
    Unaware,
}

/// A place in the table of peers.
#[derive(Clone, Debug)]
pub struct Peer {
    pub(super) kind: Kind,
    /// Where its last frame came from.
    pub(super) address: PeerAddress,
    /// When its last frame came.
    pub(super) heard: Instant,
    /// The newest format that it says it reads, or the one that a stock peer sends.
    pub(super) reads: Option<Format>,
    /// Frames that were taken, hellos included.
    pub(super) frames: u64,

    /// What its last hello said of it.
    pub(super) node: Option<Node>,
    /// It has proved that it has the key, and that it is no recording.
    pub(super) is_fresh: bool,
    /// A key is required, and no hello has proved this node to the peer since the peer proved
    /// itself. Until then, the peer takes nothing of this node.
    pub(super) is_deaf: bool,
    /// Frames without a right tag were taken of it.
    pub(super) is_tainted: bool,
    /// The highest number that is known: of a frame that arrived, or that a hello
    /// announced. `None` before the first.
    pub(super) highest: Option<u64>,
    /// Which of the numbers up to `highest` arrived.
    window: Window,
    /// Numbers up to `highest` that are missing here.
    pub(super) missing: Gaps,
    /// A bulk update is needed that begins after this number: what was told before it is missing,
    /// and cannot be repaired.
    pub(super) needs_bulk_after: Option<u64>,
    /// The number of the last start mark. All states that existed then are told in later
    /// frames.
    bulk_started: u64,
    /// The number of the last end mark, which may overtake its start mark.
    bulk_ended: u64,
    /// The number of the last frame that cleared states. What earlier frames told was before that.
    pub(super) cleared: u64,
    /// The first number that could arrive here. What was told before was not lost.
    first: u64,
    /// Frames that arrived since the last hello of this node.
    pub(super) unreported: u32,
    /// Hellos in a row that knew less than is known here.
    doubts: u8,
    /// Numbers that were missing here at some time.
    pub(super) lost: u64,
    /// Of these, those that came late, or were told again.
    pub(super) repaired: u64,
    /// Frames that were dropped, because their number was known.
    pub(super) late: u64,

    /// The last number of this node when the peer was heard first.
    pub(super) met_at: u64,
    /// Numbers of this node that it reports as missing, without those that were told
    /// again.
    pub(super) lacks: Gaps,
    /// The highest number of this node that its report is about.
    pub(super) reported: u64,
    /// When it reported last.
    pub(super) reported_at: Option<Instant>,
    /// What it lacked up to this number was told again.
    pub(super) told_again: u64,
    /// Of what it lacked up to this number, nothing is known any more.
    pub(super) forgotten: u64,
    /// It requested a bulk update that has not begun.
    pub(super) requests_bulk: bool,
    /// It requested the bulk update that is being sent.
    pub(super) awaits_bulk: bool,
    /// The last number when a bulk update began that it had requested. The bulk update tells of
    /// all states that earlier frames told of, but not of those that have ended.
    pub(super) bulk_began_at: u64,
    pub(super) flow: Flow,
}

impl Peer {
    /// A free place.
    pub const FREE: Peer = Peer {
        kind: Kind::Free,
        address: PeerAddress([0; 16]),
        heard: 0,
        reads: None,
        frames: 0,
        node: None,
        is_fresh: false,
        is_deaf: false,
        is_tainted: false,
        highest: None,
        window: Window::new(),
        missing: Gaps::new(),
        needs_bulk_after: None,
        bulk_started: 0,
        bulk_ended: 0,
        cleared: 0,
        first: 0,
        unreported: 0,
        doubts: 0,
        lost: 0,
        repaired: 0,
        late: 0,
        met_at: 0,
        lacks: Gaps::new(),
        reported: 0,
        reported_at: None,
        told_again: 0,
        forgotten: 0,
        requests_bulk: false,
        awaits_bulk: false,
        bulk_began_at: 0,
        flow: Flow::new(),
    };

    /// Whether the place is free, or its peer was not heard for [`SILENCE`].
    pub fn is_silent(&self, now: Instant) -> bool {
        self.kind == Kind::Free || now.saturating_sub(self.heard) >= SILENCE
    }

    /// The peer's epoch, if it numbers its frames.
    pub fn epoch(&self) -> Option<Epoch> {
        match self.kind {
            Kind::Numbered(epoch) => Some(epoch),
            Kind::Free | Kind::Stock => None,
        }
    }

    /// Whether the place has a peer that numbers its frames and was heard lately.
    pub fn is_live(&self, now: Instant) -> bool {
        self.epoch().is_some() && !self.is_silent(now)
    }

    /// Whether nothing that the peer told is missing here.
    pub fn is_whole(&self) -> bool {
        self.missing.is_empty() && !self.needs_bulk()
    }

    /// Whether it requested a bulk update that was not sent to its end.
    pub(super) fn is_in_bulk(&self) -> bool {
        self.requests_bulk || self.awaits_bulk
    }

    /// How the peer stands. `None` for a free place.
    pub fn standing(&self, view: &View) -> Option<Standing> {
        Some(match self.kind {
            Kind::Free => return None,
            _ if self.is_silent(view.now) => Standing::Silent,
            Kind::Stock => Standing::Stock,
            Kind::Numbered(_) if view.is_key_required && !self.is_fresh => Standing::Unproven,
            Kind::Numbered(_) if view.awaits_bulk || self.needs_bulk() => Standing::BulkUpdate,
            Kind::Numbered(_) if !self.is_whole() => Standing::Repairing,
            Kind::Numbered(_) => Standing::InSync,
        })
    }

    /// The address that its last frame came from.
    pub fn address(&self) -> PeerAddress {
        self.address
    }

    /// When its last frame came.
    pub fn heard(&self) -> Instant {
        self.heard
    }

    /// How much of a bulk update may have arrived, in percent: as many states are here, of
    /// those that the peer has. `None` if it has not said how many it has.
    pub(super) fn progress(&self, view: &View) -> Option<u64> {
        let there = self.node.map(|node| u64::from(node.states)).filter(|states| *states > 0)?;
        view.states.saturating_mul(100).checked_div(there).map(|percent| percent.min(99))
    }

    /// The newest format that it says it reads, or the one that a stock peer sends.
    pub fn reads(&self) -> Option<Format> {
        self.reads
    }

    /// What its last hello said of it.
    pub fn node(&self) -> Option<&Node> {
        self.node.as_ref()
    }

    /// Frames that were taken, hellos included.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Numbers that were missing here at some time.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Of the numbers that were missing, those that came late, or were told again.
    pub fn repaired(&self) -> u64 {
        self.repaired
    }

    /// Frames that were dropped because they were late or doubled.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// Numbers of the peer that are missing here.
    pub fn missing(&self) -> u64 {
        self.missing.count()
    }

    /// Numbers of this node that the peer reports as missing, and that were not told
    /// again yet.
    pub fn lacks(&self) -> u64 {
        self.lacks.count()
    }

    /// Gives the place to another peer.
    pub(super) fn reset(&mut self, kind: Kind, address: PeerAddress) {
        self.clone_from(&Peer::FREE);
        self.kind = kind;
        self.address = address;
    }

    /// Notes that a frame was taken.
    pub(super) fn hear(&mut self, from: PeerAddress, reads: Option<Format>, now: Instant) {
        self.address = from;
        self.reads = reads.or(self.reads);
        self.heard = now;
        self.frames = self.frames.saturating_add(1);
    }

    /// Notes the number of a frame, or the last number, which a hello announces.
    pub(super) fn note_number(&mut self, number: u64, is_hello: bool) -> Noted {
        let is_known = self.highest.is_some_and(|highest| number <= highest);
        if is_known {
            let is_late = !is_hello || self.highest > Some(number);
            return Noted { is_late, ..Noted::default() };
        }
        let is_first = self.highest.is_none();
        let first = self.highest.map_or(1, |highest| highest.saturating_add(1));
        self.window.advance(self.highest.unwrap_or(0), number);
        if !is_hello {
            let _ = self.window.arrive(number);
        }
        let last = if is_hello { number } else { number.saturating_sub(1) };
        self.highest = Some(number);
        if is_first {
            self.first = last.saturating_add(1);
        }
        if last < first {
            return Noted::default();
        }
        let oldest = last.saturating_sub(MAX_GAP).saturating_add(1);
        let gap = Gap { first: first.max(oldest), last };
        self.missing.append(gap);
        let needs_bulk = oldest > first;
        if needs_bulk {
            self.needs_bulk_after = Some(last);
        }
        let gap = Some(gap).filter(|_| !is_first);
        self.lost = self.lost.saturating_add(gap.map_or(0, |gap| gap.count()));
        Noted { is_late: false, gap, needs_bulk }
    }

    /// Notes a frame that was overtaken. Returns whether it arrives for the first time, and may
    /// still be taken.
    pub(super) fn catch_up(&mut self, number: u64) -> bool {
        let highest = self.highest.unwrap_or(0);
        let is_late = number < self.first || number > highest || highest.saturating_sub(number) >= WINDOW;
        let is_taken = !is_late && self.window.arrive(number);
        if is_taken {
            let before = self.missing.count();
            self.missing.remove(number);
            self.repaired = self.repaired.saturating_add(before.saturating_sub(self.missing.count()));
        }
        is_taken
    }

    /// Missing numbers, without those before the first that could arrive.
    fn losses(&self) -> u64 {
        let lost = self.missing.iter().filter(|gap| gap.first >= self.first);
        lost.map(|gap| gap.count()).fold(0, u64::saturating_add)
    }

    /// Notes what a hello says of itself: its count and the last number. If too many say less
    /// than is known here, forgets all that the peer has told, and returns true. Where a frame
    /// `is_proved` to be of the peer, what is known is right, and what says less is old.
    pub(super) fn doubt(&mut self, hello: u32, number: u64, is_proved: bool) -> bool {
        let says_less = self.node.is_some_and(|node| node.hello >= hello) || self.highest > Some(number);
        self.doubts = if says_less && !is_proved { self.doubts.saturating_add(1) } else { 0 };
        let is_wrong = self.doubts >= MAX_DOUBTS;
        if is_wrong {
            self.distrust();
        }
        is_wrong
    }

    /// Forgets all that the peer has told, but not that it was heard: it needs a bulk update.
    pub(super) fn distrust(&mut self) {
        let heard = self.heard;
        self.reset(self.kind, self.address);
        self.heard = heard;
        self.needs_bulk_after = Some(0);
    }

    /// Whether a bulk update is needed.
    pub(super) fn needs_bulk(&self) -> bool {
        self.needs_bulk_after.is_some()
    }

    /// A mark of a bulk update arrived in the frame with this number.
    pub(super) fn receive_mark(&mut self, number: u64, mark: BulkMark) {
        let last = match mark {
            BulkMark::Start => &mut self.bulk_started,
            BulkMark::End => &mut self.bulk_ended,
        };
        *last = number.max(*last);
        self.needs_bulk_after = self
            .needs_bulk_after
            .filter(|missing| self.bulk_started <= *missing || self.bulk_ended < self.bulk_started);
    }

    /// The peer has told again what is missing here. Returns whether a bulk update is needed:
    /// the peer has forgotten some of it, and no bulk update that is under way brings that.
    pub(super) fn receive_repaired(&mut self, repaired: &Repaired) -> bool {
        let gone = self.missing.first_from(0).filter(|gap| gap.first <= repaired.forgotten);
        let last_gone = gone.map(|gap| gap.last.min(repaired.forgotten));
        let needs_bulk = last_gone.is_some_and(|last| last > self.bulk_started);
        if needs_bulk {
            self.needs_bulk_after = last_gone;
        }
        let before = self.losses();
        self.missing.remove_through(repaired.forgotten);
        let forgotten = before.saturating_sub(self.losses());
        self.missing.remove_through(repaired.through);
        let gone = before.saturating_sub(self.losses());
        self.repaired = self.repaired.saturating_add(gone.saturating_sub(forgotten));
        needs_bulk
    }

    /// The peer reports which frames of this node arrived. `number` is the last number
    /// that was given here. A report of numbers that were never given is ignored.
    pub(super) fn receive_report(&mut self, report: &Report, number: u64, now: Instant) -> ReportNews {
        if report.heard > number {
            return ReportNews::Nothing;
        }
        let had_told = self.lacks.is_empty();
        self.lacks.clear();
        let (mut last_missing, mut is_unaware) = (None, false);
        for gap in report.gaps() {
            last_missing = Some(gap.last);
            is_unaware |= gap.first <= self.told_again;
            if gap.last > self.told_again {
                self.lacks.append(Gap { first: gap.first.max(self.told_again.saturating_add(1)), ..gap });
            }
        }
        let frames = report.heard.saturating_sub(self.reported);
        self.flow.receive_report(frames, last_missing, number);
        self.reported = report.heard;
        self.reported_at = Some(now);
        if self.lacks.is_empty() {
            self.told_again = self.told_again.max(report.heard);
        }
        match () {
            () if had_told && !self.lacks.is_empty() => ReportNews::LacksMore,
            () if is_unaware => ReportNews::Unaware,
            () => ReportNews::Nothing,
        }
    }

    /// What the peer lacked up to a number was told again. Returns whether that was all.
    pub(super) fn tell_again_through(&mut self, number: u64) -> bool {
        if self.lacks.first_from(0).is_none_or(|gap| gap.first > number) {
            return false;
        }
        self.lacks.remove_through(number);
        let through = if self.lacks.is_empty() { self.reported } else { number.min(self.reported) };
        self.told_again = self.told_again.max(through);
        self.lacks.is_empty()
    }

    /// Nothing is known any more of what was told up to a number. Returns whether the peer
    /// lacks nothing else.
    pub(super) fn forget_through(&mut self, number: u64) -> bool {
        let first = self.lacks.first_from(0).filter(|gap| gap.first <= number);
        if let Some(gap) = first {
            self.forgotten = gap.last.min(number);
        }
        first.is_some() && self.tell_again_through(number)
    }

    /// What this node has to say about the numbers that the peer reported.
    pub(super) fn repaired_block(&self) -> Option<Repaired> {
        let of = self.epoch()?;
        (self.reported_at.is_some()).then_some(Repaired {
            of,
            through: self.told_again,
            forgotten: self.forgotten,
        })
    }

    /// How the peer names itself.
    pub(super) fn ident(&self) -> Option<Ident> {
        let challenge = self.node.as_ref().map_or(0, |node| node.challenge);
        self.epoch().map(|epoch| Ident { epoch, challenge })
    }
}
