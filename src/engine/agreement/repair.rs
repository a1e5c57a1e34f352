// SPDX-License-Identifier: BSD-2-Clause
//! Telling again what peers lack: a pass over the log, in the order of the numbers.

use super::log::{Entry, Log, Told};
use super::peer::Peer;
use crate::wire::StateId;

/// The least number of [`Retold`] slots that is of use.
pub const RETOLD_SLOTS: usize = 1024;
/// Entries that are looked at in a call of [`Repair::next`]. Most of them are told; others
/// are passed over because their state was told since.
const STEPS: usize = 64;

/// A state that was told again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retold {
    id: StateId,
    /// The number of the frame that told of it. 0 if the slot is not in use.
    number: u64,
    /// It was told of because it had ended. If it was not, the frame may not have told
    /// anything: nothing is sent for a state that does not exist.
    is_end: bool,
}

impl Retold {
    /// A slot that is not in use.
    pub const UNUSED: Retold = Retold { id: StateId::ALL, number: 0, is_end: false };
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
}

impl<R: AsMut<[Retold]>> Repair<R> {
    pub(super) fn new(retold: R) -> Repair<R> {
        Repair { within: None, is_finished: false, retold }
    }

    pub(super) fn restart(&mut self) {
        self.within = None;
        self.retold.as_mut().fill(Retold::UNUSED);
    }

    /// The next entry that a peer lacks. `None` if there is none, or if this call has
    /// looked at enough of them: then some peer still lacks something.
    pub(super) fn next<L: AsMut<[Entry]>>(&mut self, log: &mut Log<L>, peers: &mut [Peer]) -> Option<Told> {
        for _ in 0..STEPS {
            let lacks = peers.iter().filter_map(|peer| peer.lacks.first_from(0));
            let lacking = lacks.map(|gap| gap.first).min()?;
            if let Some(told) = self.step(lacking, log, peers) {
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
        record.told.filter(|told| self.is_news(told, lacking, log.number().saturating_add(1)))
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
        let (id, is_end) = match told {
            Told::State(id) => (*id, false),
            Told::Deleted(id) => (*id, true),
            Told::Cleared(_) | Told::BulkEnded(_) => return true,
        };
        let slots = self.retold.as_mut();
        let index = hash(id).checked_rem(slots.len() as u64).unwrap_or(0);
        let Some(slot) = slots.get_mut(index as usize) else { return true };
        if slot.id == id && slot.number > lacking && slot.is_end >= is_end {
            return false;
        }
        *slot = Retold { id, number: next, is_end };
        true
    }
}

/// Spreads states over the slots. Their ids are counted up, and the creators random.
fn hash(id: StateId) -> u64 {
    u64::from_be_bytes(id.id) ^ u64::from(u32::from_be_bytes(id.creator))
}
