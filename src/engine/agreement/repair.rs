// SPDX-License-Identifier: BSD-2-Clause
//! Telling again what peers lack: a pass over the log, in the order of the numbers.

use super::log::{Entry, Log, Told};
use super::peer::Peer;
use crate::wire::{Clear, StateId};

/// The least number of [`Retold`] slots that is of use.
pub const RETOLD_SLOTS: usize = 4096;
/// Clears that are remembered, a power of two. pfctl(8) clears all interfaces or one.
const CLEARS: usize = 4;
/// Entries that are looked at in a call of [`Repair::next`]. Most of them are told; others
/// are passed over because their state was told since.
const STEPS: usize = 64;

/// What a frame tells of a state. What is greater also says what is less: a firewall that
/// tells of a state has it, and one that tells of its end does not want it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Kind {
    /// It is requested.
    Requested,
    /// It exists. If it does not, nothing is sent, so that the frame may not have told anything.
    Exists,
    /// It has ended.
    Ended,
}

/// A state that was told again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retold {
    id: StateId,
    /// The number of the frame that told of it. 0 if the slot is not in use.
    number: u64,
    kind: Kind,
}

impl Retold {
    /// A slot that is not in use.
    pub const UNUSED: Retold = Retold { id: StateId::ALL, number: 0, kind: Kind::Requested };
}

/// Where the pass is, and which states it has told of lately. A state that many frames
/// told of is told of once.
#[derive(Debug)]
pub(super) struct Repair<R> {
    /// Within the frame with this number, the sequence number of the next entry.
    within: Option<(u64, u64)>,
    /// All that a peer lacked was told again, and the peer should know.
    is_finished: bool,
    retold: R,
    /// Clears that were told again lately, and in which frame.
    clears: [Option<(Clear, u64)>; CLEARS],
    /// The place of the next clear.
    next_clear: usize,
    /// The frame that told again of the end of a bulk update, 0 if none did.
    bulk_ended: u64,
}

impl<R: AsMut<[Retold]>> Repair<R> {
    pub(super) fn new(retold: R) -> Repair<R> {
        Repair {
            within: None,
            is_finished: false,
            retold,
            clears: [None; CLEARS],
            next_clear: 0,
            bulk_ended: 0,
        }
    }

    pub(super) fn restart(&mut self) {
        (self.within, self.is_finished) = (None, false);
        self.retold.as_mut().fill(Retold::UNUSED);
        (self.clears, self.next_clear, self.bulk_ended) = ([None; CLEARS], 0, 0);
    }

    /// A peer lacks something. It may need entries that were passed over because others get
    /// them in a bulk update.
    pub(super) fn restart_frame(&mut self) {
        self.within = None;
    }

    /// The next entry that a peer lacks. `None` if there is none, or if this call has
    /// looked at enough of them: then some peer still lacks something.
    pub(super) fn next<L: AsMut<[Entry]>>(
        &mut self,
        log: &mut Log<L>,
        peers: &mut [Peer],
        awaits_bulk: bool,
    ) -> Option<Told> {
        for _ in 0..STEPS {
            let lacks = peers.iter().filter_map(|peer| peer.lacks.first_from(0));
            let lacking = lacks.map(|gap| gap.first).min()?;
            if let Some(told) = self.step(lacking, log, peers, awaits_bulk) {
                return Some(told);
            }
        }
        None
    }

    /// Looks at an entry of the frame that has the lowest number which a peer lacks.
    fn step<L: AsMut<[Entry]>>(
        &mut self,
        lacking: u64,
        log: &mut Log<L>,
        peers: &mut [Peer],
        awaits_bulk: bool,
    ) -> Option<Told> {
        if lacking <= log.forgotten() {
            self.finish(peers, |peer| peer.forget_through(log.forgotten()));
            return None;
        }
        let sequence = match self.within {
            Some((number, sequence)) if number == lacking => sequence,
            _ => log.find(lacking),
        };
        let Some(record) = log.read(sequence) else {
            // No frame from here on told anything.
            self.finish(peers, |peer| peer.tell_again_through(log.number()));
            return None;
        };
        if record.number > lacking {
            // The frames before that one told nothing more.
            let before = record.number.saturating_sub(1);
            self.finish(peers, |peer| peer.tell_again_through(before));
            return None;
        }
        self.within = Some((lacking, record.next));
        let told = record.told.filter(|told| is_needed(told, lacking, peers, awaits_bulk))?;
        self.is_news(&told, lacking, log.number().saturating_add(1)).then_some(told)
    }

    /// Does something with each peer that returns whether it is told all again.
    fn finish(&mut self, peers: &mut [Peer], mut of: impl FnMut(&mut Peer) -> bool) {
        for peer in peers {
            self.is_finished |= of(peer);
        }
    }

    /// Whether a peer should hear that all it lacked was told again. Returns it once.
    pub(super) fn take_finished(&mut self) -> bool {
        core::mem::take(&mut self.is_finished)
    }

    /// Whether what the frame `lacking` told was not told since. Notes that the frame
    /// `next` tells it.
    fn is_news(&mut self, told: &Told, lacking: u64, next: u64) -> bool {
        let (id, kind) = match told {
            Told::Requested(id) => (*id, Kind::Requested),
            Told::State(id) => (*id, Kind::Exists),
            Told::Deleted(id) => (*id, Kind::Ended),
            Told::Cleared(clear) => return self.is_new_clear(*clear, lacking, next),
            Told::BulkEnded(_) => return self.is_new_end(lacking, next),
        };
        let slots = self.retold.as_mut();
        let index = id.slot(slots.len());
        let Some(slot) = index.and_then(|index| slots.get_mut(index)) else { return true };
        if slot.id == id && slot.number > lacking && slot.kind >= kind {
            return false;
        }
        *slot = Retold { id, number: next, kind };
        true
    }

    /// The same for the end of the last bulk update.
    fn is_new_end(&mut self, lacking: u64, next: u64) -> bool {
        let is_new = self.bulk_ended <= lacking;
        if is_new {
            self.bulk_ended = next;
        }
        is_new
    }

    /// The same for a clear.
    fn is_new_clear(&mut self, clear: Clear, lacking: u64, next: u64) -> bool {
        let known = self.clears.iter().position(|known| known.is_some_and(|(known, _)| known == clear));
        let index = known.unwrap_or(self.next_clear);
        let Some(slot) = self.clears.get_mut(index) else { return true };
        if known.is_some() && slot.is_some_and(|(_, number)| number > lacking) {
            return false;
        }
        *slot = Some((clear, next));
        if known.is_none() {
            self.next_clear = index.saturating_add(1) & (CLEARS - 1);
        }
        true
    }
}

/// Whether a peer that lacks the frame `lacking` needs what the frame told. A state may be part
/// of the bulk update of the peer. A bulk update that has ended was not requested of a peer
/// that was heard later.
fn is_needed(told: &Told, lacking: u64, peers: &[Peer], awaits_bulk: bool) -> bool {
    let lacks = |peer: &&Peer| peer.lacks.first_from(0).is_some_and(|gap| gap.first <= lacking);
    peers.iter().filter(lacks).any(|peer| match told {
        Told::State(_) => lacking > peer.bulk_began_at,
        Told::Requested(StateId::ALL) => awaits_bulk || lacking > peer.met_at,
        Told::Requested(_) | Told::Deleted(_) | Told::Cleared(_) | Told::BulkEnded(_) => true,
    })
}
