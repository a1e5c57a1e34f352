// SPDX-License-Identifier: BSD-2-Clause
//! The agreement between peers: which frames arrived, what was lost, and what is told
//! again.
//!
//! Every frame with messages has a *number*. A peer that sees a gap in the numbers says so
//! in a *hello*, and the sender looks in its *log* what these frames told, and tells what
//! is true of it now. [`crate::wire::trailer`] is what is on the wire.
//!
//! # Once or not at all
//!
//! A frame is taken once: a window of the latest numbers tells which arrived. So a frame
//! cannot be replayed within an epoch. A frame that was overtaken is taken too, unless it
//! clears states, or was overtaken by one that does: a clear ends the states that were
//! made before it, and no others. What a dropped frame told is missing, and is told again
//! like what was lost. An insert may arrive after the delete of its state, but does not
//! bring it back: see [`crate::engine::ended`].
//!
//! # What is told again
//!
//! The log knows identities. A state that exists is told of as it is now. For the end of a
//! state, a delete is sent if the state does not exist. Nothing is sent for a state that has
//! ended since it was told of: its end was told in a frame with a number of its own. A request
//! is made again if its state is still unknown; one for a bulk update, while that is awaited,
//! and later if the peer was known when it was made. What several of the lost frames told is
//! told again once. Frames that tell something again have numbers too, and what is lost of
//! them is told once more.
//!
//! Once all that a peer had reported is told again, the next hello says so: the peer
//! then misses only what it lacks of the newer numbers.
//!
//! # When repair is not possible
//!
//! If a peer lacks numbers that the log has forgotten, or more than any log has, it needs a
//! bulk update, and [`Reception::needs_bulk`] says so. The bulk update counts if its start
//! mark and its end mark arrived, in any order, and is complete when nothing is missing any
//! more. If a peer begins a new epoch just after a request, what its old epoch told does not
//! answer the request.
//!
//! A bulk update tells of the states that exist. Another firewall may have told the requester
//! of a state that has ended since. So a node reports as missing what a peer told before the
//! two met, too. Of that, the peer tells the ends again, as far as its log goes back; the bulk
//! update tells the rest.
//!
//! # Keys
//!
//! [`Keys::judge`] looks at the tag. If a key is required, a frame counts only if its epoch is
//! *fresh*: a hello of it has repeated this node's *challenge*, a random number. When a
//! fresh epoch is forgotten, the challenge is replaced, so that nobody can bring the epoch
//! back with what was recorded.
//!
//! The caller holds the lock of an [`Agreement`]. Messages are only sent by one thread at a
//! time: what [`Agreement::next_to_repair`] returns must be in the next frame that is given
//! a number, before a hello is written.

mod flow;
mod gaps;
mod hello;
mod log;
mod peer;
mod reception;
mod repair;
mod table;
mod tag;
mod window;

#[cfg(test)]
mod tests;

pub use flow::{MAX_WINDOW, MIN_WINDOW, REPORT_FRAMES};
pub use gaps::{Gaps, MAX_GAPS};
pub use hello::{ALONE, BUSY, GREETING, IDLE, SPACING};
pub use log::{Entry, Log, Record, Told};
pub use peer::{Kind, Peer, Standing, View, MAX_DOUBTS, MAX_GAP, MAX_PEERS, SILENCE};
pub use reception::{Received, Reception, Refusal, Verdict};
pub use repair::{Retold, RETOLD_SLOTS};
pub use table::{write_table, TABLE_LEN};
pub use tag::{seal, tag, BadTag, Key, Keys, Trust, KEY_LEN};
pub use window::WINDOW;

use crate::engine::bulk::Instant;
use crate::wire::trailer::{Block, Epoch, Ident, Node, Repaired, Report, Trailer, TrailerWriter};
use crate::wire::{BulkMark, Format, Frame, PeerAddress, Run};
use hello::{Pace, Schedule};
use peer::ReportNews;
use repair::Repair;

/// Time in which a peer that requested a bulk update must report, or the bulk update does
/// not wait for its reports.
const REPORT_TIMEOUT: Instant = 1 << 32;
/// Epochs that are answered without being known: recorded ones, or peers that are not
/// proved yet.
const MAX_STRANGERS: usize = 4;

/// What an [`Agreement`] has counted since the link was opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Numbers that were missing here.
    pub lost: u64,
    /// Of these, those that came late, or were told again.
    pub repaired: u64,
    /// Frames that were late or doubled.
    pub late: u64,
    /// Messages that were told again for peers.
    pub retold: u64,
    /// Times that a peer did not know any more what was missing here, or that too much
    /// was.
    pub bulk_needed: u64,
    /// Hellos sent.
    pub hellos_sent: u64,
    /// Hellos received.
    pub hellos_received: u64,
    /// Packets of peers for which there was no place.
    pub untracked: u64,
}

/// The storage of an [`Agreement`].
pub struct Storage<P, L, R> {
    /// [`MAX_PEERS`] places.
    pub peers: P,
    /// The slots of the log.
    pub log: L,
    /// [`RETOLD_SLOTS`] slots.
    pub retold: R,
}

/// What this node and its peers know of each other's frames.
pub struct Agreement<P, L, R> {
    epoch: Epoch,
    /// What a peer must repeat to prove that it is no recording.
    challenge: u64,
    peers: P,
    log: Log<L>,
    repair: Repair<R>,
    schedule: Schedule,
    strangers: [Option<Ident>; MAX_STRANGERS],
    /// The place of the peer that the next hello names first, in case that not all fit.
    first_in_hello: usize,
    /// A peer can hear this node that could not before.
    has_listener: bool,
    counts: Counts,
}

impl<P, L, R> Agreement<P, L, R>
where
    P: AsMut<[Peer]> + AsRef<[Peer]>,
    L: AsMut<[Entry]>,
    R: AsMut<[Retold]>,
{
    /// A link was opened. All places and slots are free. `challenge` is random.
    pub fn new(storage: Storage<P, L, R>, epoch: Epoch, challenge: u64, now: Instant) -> Self {
        Agreement {
            epoch,
            challenge,
            peers: storage.peers,
            log: Log::new(storage.log),
            repair: Repair::new(storage.retold),
            schedule: Schedule::new(now),
            strangers: [None; MAX_STRANGERS],
            first_in_hello: 0,
            has_listener: false,
            counts: Counts::default(),
        }
    }

    /// Whether the log has any slots.
    pub fn has_log(&mut self) -> bool {
        self.log.has_slots()
    }

    /// Gives the log slots, before a link is opened, and returns the old ones. The log is
    /// empty then.
    pub fn replace_log(&mut self, slots: L) -> L {
        self.log.replace(slots)
    }

    /// Another link was opened: a new epoch begins, and all peers are forgotten.
    pub fn restart(&mut self, epoch: Epoch, challenge: u64, now: Instant) {
        self.epoch = epoch;
        self.challenge = challenge;
        self.peers.as_mut().iter_mut().for_each(|peer| peer.reset(Kind::Free, PeerAddress([0; 16])));
        self.log.restart();
        self.repair.restart();
        self.schedule = Schedule::new(now);
        self.strangers = [None; MAX_STRANGERS];
        self.has_listener = false;
        self.counts = Counts::default();
    }

    /// This node's epoch.
    pub fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// The number of the last frame.
    pub fn number(&self) -> u64 {
        self.log.number()
    }

    /// What was counted.
    pub fn counts(&self) -> &Counts {
        &self.counts
    }

    /// The places of the table of peers.
    pub fn peers(&self) -> &[Peer] {
        self.peers.as_ref()
    }

    /// Whether a peer is heard that numbers its frames. Only then do frames get trailers:
    /// without one, they are those of a stock module. They have numbers all the same.
    pub fn is_spoken(&self, now: Instant) -> bool {
        self.peers.as_ref().iter().any(|peer| peer.is_live(now))
    }

    /// Whether nothing is missing here that a peer which is heard has told.
    pub fn is_whole(&self, now: Instant) -> bool {
        self.peers.as_ref().iter().filter(|peer| peer.is_live(now)).all(Peer::is_whole)
    }

    /// Whether a bulk update is needed, of a peer that can hear a request.
    pub fn needs_bulk(&self, now: Instant) -> bool {
        self.peers.as_ref().iter().any(|peer| peer.is_live(now) && peer.needs_bulk() && !peer.is_deaf)
    }

    /// Gives a frame, which is written and about to be sent, the next number.
    pub fn number_frame(&mut self, frame: Frame, now: Instant) -> u64 {
        self.log.append(frame, now)
    }

    /// A packet arrived.
    pub fn receive(&mut self, packet: &Received, now: Instant) -> Reception {
        let reception = match &packet.trailer {
            None => self.receive_unnumbered(packet, now),
            Some(trailer) if trailer.epoch == self.epoch => {
                Reception::verdict(Verdict::Refuse(Refusal::Reflected))
            }
            Some(trailer) if packet.frame.has_messages() => self.receive_messages(packet, trailer, now),
            Some(trailer) => self.receive_hello(packet, trailer, now),
        };
        self.counts.lost = self.counts.lost.saturating_add(reception.gap.map_or(0, |gap| gap.count()));
        self.counts.late = self.counts.late.saturating_add(u64::from(reception.verdict == Verdict::Late));
        self.counts.bulk_needed = self.counts.bulk_needed.saturating_add(u64::from(reception.needs_bulk));
        if reception.gap.is_some() {
            self.schedule.hurry();
        }
        reception
    }

    /// A packet without a trailer: of a stock peer, or of a peer that hears no other that
    /// numbers its frames.
    fn receive_unnumbered(&mut self, packet: &Received, now: Instant) -> Reception {
        let peers = self.peers.as_ref();
        let is_numbered = peers.iter().any(|peer| peer.is_live(now) && peer.address == packet.from);
        if !is_numbered {
            match self.place(Kind::Stock, packet, now) {
                Some(peer) => peer.hear(packet.from, packet.frame.announced, now),
                None => self.counts.untracked = self.counts.untracked.saturating_add(1),
            }
        }
        Reception::verdict(Verdict::Take)
    }

    /// A stock peer sent states in this format.
    pub fn hear_format(&mut self, from: PeerAddress, format: Format) {
        let is_it = |peer: &&mut Peer| peer.kind == Kind::Stock && peer.address == from;
        if let Some(peer) = self.peers.as_mut().iter_mut().find(is_it) {
            peer.reads = Some(format);
        }
    }

    /// A numbered frame with messages.
    fn receive_messages(&mut self, packet: &Received, trailer: &Trailer, now: Instant) -> Reception {
        let was_distrusted = self.distrust(packet, trailer.epoch);
        let must_be_fresh = packet.trust == Trust::MustBeFresh;
        if must_be_fresh && !self.find(trailer.epoch).is_some_and(|peer| peer.is_fresh) {
            let refused = Reception::verdict(Verdict::Refuse(Refusal::NotFresh));
            return Reception { needs_bulk: was_distrusted, wake: was_distrusted, ..refused };
        }
        let Some(peer) = self.place(Kind::Numbered(trailer.epoch), packet, now) else {
            self.counts.untracked = self.counts.untracked.saturating_add(1);
            return Reception::verdict(Verdict::Take);
        };
        peer.is_tainted |= packet.trust == Trust::Anyone;
        let is_new = peer.highest.is_none();
        let before = peer.repaired;
        let noted = peer.note_number(trailer.number, false);
        let is_old_news = || trailer.number < peer.cleared || clears(packet.frame);
        if noted.is_late && (is_old_news() || !peer.catch_up(trailer.number)) {
            peer.late = peer.late.saturating_add(1);
            return Reception::verdict(Verdict::Late);
        }
        peer.hear(packet.from, packet.frame.announced, now);
        peer.unreported = peer.unreported.saturating_add(1);
        let is_busy = packet.awaits_bulk || !peer.missing.is_empty();
        let is_report_due = is_busy && peer.unreported >= REPORT_FRAMES;
        let caught_up = peer.repaired.saturating_sub(before);
        self.counts.repaired = self.counts.repaired.saturating_add(caught_up);
        if is_new || is_report_due {
            self.schedule.hurry();
        }
        Reception {
            verdict: Verdict::Take,
            gap: noted.gap,
            needs_bulk: noted.needs_bulk,
            wake: is_new || is_report_due || noted.gap.is_some(),
        }
    }

    /// A hello.
    fn receive_hello(&mut self, packet: &Received, trailer: &Trailer, now: Instant) -> Reception {
        self.counts.hellos_received = self.counts.hellos_received.saturating_add(1);
        let Some(hello) = Hello::read(trailer, self.epoch) else {
            return Reception::verdict(Verdict::Refuse(Refusal::BadHello));
        };
        let was_distrusted = self.distrust(packet, trailer.epoch);
        let repeats_challenge = hello.report.is_some_and(|report| report.of.challenge == self.challenge);
        let is_proof = packet.trust != Trust::Anyone && repeats_challenge;
        let must_be_fresh = packet.trust == Trust::MustBeFresh;
        let is_fresh = is_proof || self.find(trailer.epoch).is_some_and(|peer| peer.is_fresh);
        if must_be_fresh && !is_fresh {
            self.greet(Ident { epoch: trailer.epoch, challenge: hello.node.challenge });
            let greeting = Reception::verdict(Verdict::Greeting);
            return Reception { needs_bulk: was_distrusted, wake: true, ..greeting };
        }
        let last_number = self.log.number();
        let Some(peer) = self.place(Kind::Numbered(trailer.epoch), packet, now) else {
            self.counts.untracked = self.counts.untracked.saturating_add(1);
            let refusal = Verdict::Refuse(Refusal::TooManyPeers);
            return Reception::verdict(if must_be_fresh { refusal } else { Verdict::Take });
        };
        let was_doubted = peer.doubt(hello.node.hello, trailer.number, must_be_fresh);
        if peer.node.is_some_and(|node| node.hello >= hello.node.hello) {
            peer.late = peer.late.saturating_add(1);
            return Reception::verdict(Verdict::Late);
        }
        peer.is_tainted |= packet.trust == Trust::Anyone;
        peer.is_deaf |= must_be_fresh && !peer.is_fresh;
        peer.is_fresh |= is_proof;
        peer.hear(packet.from, packet.frame.announced, now);
        let is_new = peer.node.is_none();
        peer.node = Some(hello.node);
        let noted = peer.note_number(trailer.number, true);
        let before = peer.repaired;
        let has_forgotten = hello.repaired.is_some_and(|repaired| peer.receive_repaired(&repaired));
        let repaired = peer.repaired.saturating_sub(before);
        let news = hello.report.map(|report| peer.receive_report(&report, last_number, now));
        if !peer.lacks.is_empty() {
            self.repair.restart_frame();
        }
        self.counts.repaired = self.counts.repaired.saturating_add(repaired);
        if is_new || news == Some(ReportNews::Unaware) {
            self.schedule.hurry();
        }
        Reception {
            verdict: Verdict::Take,
            gap: noted.gap,
            needs_bulk: noted.needs_bulk || has_forgotten || was_doubted,
            wake: is_new || news.is_some_and(|news| news != ReportNews::Nothing) || noted.gap.is_some(),
        }
    }

    fn find(&mut self, epoch: Epoch) -> Option<&mut Peer> {
        self.peers.as_mut().iter_mut().find(|peer| peer.epoch() == Some(epoch))
    }

    /// The place of the sender of a packet: its own, that of what was at its address
    /// before, a free one, or that of the peer which has been silent for longest. A peer
    /// that is heard keeps its place, however many others come.
    fn place(&mut self, kind: Kind, packet: &Received, now: Instant) -> Option<&mut Peer> {
        let peers = self.peers.as_ref();
        let position = |is_it: &dyn Fn(&Peer) -> bool| peers.iter().position(is_it);
        let is_own = |peer: &Peer| match kind {
            Kind::Numbered(_) => peer.kind == kind,
            _ => peer.kind == kind && peer.address == packet.from,
        };
        let own = position(&is_own);
        let silent = || {
            let silent = peers.iter().enumerate().filter(|(_, peer)| peer.is_silent(now));
            silent.min_by_key(|(_, peer)| (peer.kind != Kind::Free, peer.heard)).map(|(index, _)| index)
        };
        let before = || position(&|peer| peer.kind != Kind::Free && peer.address == packet.from);
        let index = own.or_else(before).or_else(silent)?;
        let last_number = self.log.number();
        let peer = self.peers.as_mut().get_mut(index)?;
        if own.is_none() {
            if peer.is_fresh {
                // Nothing that was recorded of its epoch may prove it fresh again.
                self.challenge = packet.random;
            }
            let is_same = peer.address == packet.from;
            let was_there = is_same && peer.epoch().is_some();
            let lacked = was_there && !peer.is_whole();
            // A peer numbers its frames as soon as it has heard one that is numbered.
            let met_at = if is_same && peer.kind == Kind::Stock { peer.met_at } else { last_number };
            peer.reset(kind, packet.from);
            peer.met_at = met_at;
            if lacked || (was_there && packet.has_requested_bulk) {
                // The epoch that could have repaired what was missing is over, and what it told
                // in a bulk update may be older than the request.
                peer.needs_bulk_after = Some(0);
            }
        }
        Some(peer)
    }

    /// Once a key is required, what was taken of an epoch without it counts for nothing, and
    /// the peer must prove itself again, with a new challenge: what was recorded may hold the
    /// old one. Returns whether that is so.
    fn distrust(&mut self, packet: &Received, epoch: Epoch) -> bool {
        if packet.trust != Trust::MustBeFresh {
            return false;
        }
        let Some(peer) = self.find(epoch).filter(|peer| peer.is_tainted) else { return false };
        peer.distrust();
        peer.is_deaf = true;
        self.challenge = packet.random;
        self.schedule.hurry();
        true
    }

    /// Has the next hello name an epoch that must prove itself.
    fn greet(&mut self, stranger: Ident) {
        self.schedule.hurry();
        if !self.strangers.contains(&Some(stranger)) {
            self.strangers.rotate_right(1);
            if let Some(first) = self.strangers.first_mut() {
                *first = Some(stranger);
            }
        }
    }

    /// A mark of a bulk update arrived in the frame of this epoch with this number, which was
    /// taken.
    pub fn receive_mark(&mut self, epoch: Epoch, number: u64, mark: BulkMark) {
        if let Some(peer) = self.find(epoch) {
            peer.receive_mark(number, mark);
        }
    }

    /// A clear arrived in the frame of this epoch with this number, which was taken.
    pub fn receive_clear(&mut self, epoch: Epoch, number: u64) {
        if let Some(peer) = self.find(epoch) {
            peer.cleared = number;
        }
    }

    /// The peer in an epoch requests a bulk update. Its reports will pace it.
    pub fn receive_bulk_request(&mut self, epoch: Epoch) {
        if let Some(peer) = self.find(epoch) {
            if !peer.is_in_bulk() {
                peer.flow = flow::Flow::new();
            }
            peer.requests_bulk = true;
        }
    }

    /// A bulk update begins, for all peers that requested one. Until then, a peer that lacks a
    /// state gets it by a repair: the bulk update under way may have told of it already.
    pub fn begin_bulk(&mut self) {
        let number = self.log.number();
        for peer in self.peers.as_mut().iter_mut().filter(|peer| peer.requests_bulk) {
            (peer.requests_bulk, peer.awaits_bulk) = (false, true);
            peer.bulk_began_at = number;
        }
    }

    /// The bulk update was sent.
    pub fn finish_bulk(&mut self) {
        self.peers.as_mut().iter_mut().for_each(|peer| peer.awaits_bulk = false);
    }

    /// How many more frames of a bulk update the peers that requested it can take. `None`
    /// if none of them reports.
    pub fn bulk_space(&self, now: Instant) -> Option<u64> {
        let reports = |peer: &&Peer| {
            let since = peer.reported_at.map(|at| now.saturating_sub(at));
            peer.is_in_bulk() && since.is_some_and(|since| since < REPORT_TIMEOUT)
        };
        let waiting = self.peers.as_ref().iter().filter(reports);
        waiting.map(|peer| peer.flow.space(peer.reported, self.log.number())).min()
    }

    /// Whether a peer can hear this node now that could not before. Returns it once.
    pub fn take_listener(&mut self) -> bool {
        core::mem::take(&mut self.has_listener)
    }

    /// Whether somebody may take what this node sends: where a key is required, only a peer to
    /// which a hello has proved this node.
    pub fn has_audience(&self, is_key_required: bool, now: Instant) -> bool {
        let hears = |peer: &Peer| peer.is_live(now) && peer.is_fresh && !peer.is_deaf;
        !is_key_required || self.peers.as_ref().iter().any(hears)
    }

    /// How many frames of a repair may be sent now: what the reports of the peers that lack
    /// something leave, but at least one while reports come. Without this, what is lost of a
    /// repair would be told again faster than it arrives.
    pub fn repair_space(&self, now: Instant) -> u64 {
        let reports = |peer: &&Peer| {
            !peer.lacks.is_empty()
                && peer.reported_at.is_some_and(|at| now.saturating_sub(at) < REPORT_TIMEOUT)
        };
        let lacking = self.peers.as_ref().iter().filter(reports);
        lacking.map(|peer| peer.flow.space(peer.reported, self.log.number()).max(1)).min().unwrap_or(0)
    }

    /// Whether a peer lacks something that can be told again.
    pub fn is_repairing(&self, now: Instant) -> bool {
        self.peers.as_ref().iter().any(|peer| peer.is_live(now) && !peer.lacks.is_empty())
    }

    /// The next thing to tell again, which must be in the next frame. `None` if there is
    /// none at the moment; [`Agreement::is_repairing`] says whether there will be.
    /// `awaits_bulk`: a bulk update is awaited, so that every peer should hear the request.
    pub fn next_to_repair(&mut self, awaits_bulk: bool) -> Option<Told> {
        let told = self.repair.next(&mut self.log, self.peers.as_mut(), awaits_bulk);
        if self.repair.take_finished() {
            self.schedule.hurry();
        }
        let told = told?;
        self.counts.retold = self.counts.retold.saturating_add(1);
        Some(told)
    }

    /// When the next hello is due: in the past if it is. `is_bulk`: a bulk update is being
    /// sent or awaited.
    pub fn hello_due(&self, is_bulk: bool, now: Instant) -> Instant {
        let peers = self.peers.as_ref();
        let live = || peers.iter().filter(|peer| peer.is_live(now));
        let is_busy = |peer: &Peer| !peer.is_whole() || !peer.lacks.is_empty();
        // A peer that fell silent may come back, and should not wait long for a hello.
        let is_known = peers.iter().any(|peer| peer.epoch().is_some());
        let pace = match live().next() {
            Some(_) if is_bulk || live().any(is_busy) => Pace::Busy,
            _ if is_known => Pace::Idle,
            _ => Pace::Alone,
        };
        self.schedule.due(pace, now)
    }

    /// Writes the blocks of a hello, which is sent now. `node` is this node, whose
    /// challenge and count are filled in here.
    pub fn write_hello(&mut self, writer: &mut TrailerWriter, node: Node, now: Instant) {
        let hello = self.schedule.send(now);
        self.counts.hellos_sent = self.counts.hellos_sent.saturating_add(1);
        let _ = writer.node(&Node { challenge: self.challenge, hello, ..node });
        let peers = self.peers.as_mut();
        let (before, from) = peers.split_at_mut(self.first_in_hello.min(peers.len()));
        for peer in from.iter_mut().chain(before).filter(|peer| peer.is_live(now)) {
            if let Some(repaired) = peer.repaired_block() {
                let _ = writer.repaired(&repaired);
            }
            if let Some(ident) = peer.ident() {
                let _ = writer.report(ident, peer.highest.unwrap_or(0), peer.missing.iter());
            }
            peer.unreported = 0;
            self.has_listener |= peer.is_deaf && peer.is_fresh;
            peer.is_deaf &= !peer.is_fresh;
        }
        let next = self.first_in_hello.saturating_add(1);
        self.first_in_hello = if next < self.peers.as_ref().len() { next } else { 0 };
        for stranger in self.strangers.iter_mut().filter_map(Option::take) {
            let _ = writer.report(stranger, 0, []);
        }
    }
}

/// Whether a frame clears states.
fn clears(frame: &Frame) -> bool {
    frame.clone().any(|run| matches!(run, Ok(Run::Clear(_))))
}

/// The blocks of a hello that matter here.
struct Hello<'a> {
    node: Node,
    report: Option<Report<'a>>,
    repaired: Option<Repaired>,
}

impl<'a> Hello<'a> {
    /// Reads a hello: what its sender says of itself and of the node in the epoch `own`.
    /// `None` without a node block. A block with a bad value is ignored.
    fn read(trailer: &Trailer<'a>, own: Epoch) -> Option<Hello<'a>> {
        let (mut node, mut report, mut repaired) = (None, None, None);
        for block in trailer.blocks().flatten() {
            match block {
                Block::Node(block) => node = Some(block),
                Block::Report(block) if block.of.epoch == own => report = Some(block),
                Block::Repaired(block) if block.of == own => repaired = Some(block),
                Block::Report(_) | Block::Repaired(_) => {}
            }
        }
        Some(Hello { node: node?, report, repaired })
    }
}
