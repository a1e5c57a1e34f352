// SPDX-License-Identifier: BSD-2-Clause
//! States that ended lately, here or at a peer.
//!
//! A message about a state may arrive after the end of the state: from another peer, which
//! does not know of the end yet, or in a frame that was overtaken. Such a message must not
//! bring the state back.
//!
//! A peer may also send the message because the connection lives on there. The two look
//! alike. So messages about the state are refused for a moment, in which every peer hears of
//! the end. Then the state is requested, and whoever still has it answers.
//!
//! ```
//! use pfsync::engine::ended::{Ended, Slot, LATELY_SECONDS};
//! use pfsync::wire::StateId;
//!
//! let mut ended = Ended::new([Slot::UNUSED; 64], [Slot::UNUSED; 64]);
//! let id = StateId { id: [0, 0, 0, 0, 0, 0, 0, 7], creator: [1, 2, 3, 4] };
//! ended.note(id, 100);
//! assert!(ended.refuses(id, None, 101));
//! assert_eq!(ended.next_to_request(101), None);
//! assert_eq!(ended.next_to_request(100 + LATELY_SECONDS), Some(id));
//! assert!(!ended.refuses(id, None, 100 + LATELY_SECONDS));
//! ```

use crate::wire::trailer::Epoch;
use crate::wire::StateId;

/// How many seconds the end of a state is remembered. An update that a peer has made before it
/// hears of the end waits up to a second for its frame, and may be told again after that.
pub const LATELY_SECONDS: u32 = 3;

/// A state that has ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Slot {
    id: StateId,
    /// In seconds of uptime.
    at: u32,
}

impl Slot {
    /// A slot that is not in use: no state has this id.
    pub const UNUSED: Slot = Slot { id: StateId::ALL, at: 0 };

    fn is_free(&self) -> bool {
        self.id == StateId::ALL
    }
}

/// Whether what was at a time is still remembered. Both times are in seconds of uptime.
fn is_recent(at: u32, now: u32) -> bool {
    now.wrapping_sub(at) < LATELY_SECONDS
}

/// The states that have ended, in slots that the caller provides. Each state has one slot,
/// which it may have to give to another.
#[derive(Debug)]
pub struct Ended<S> {
    slots: S,
    /// States that were refused, to be requested [`LATELY_SECONDS`] after `at`.
    refused: S,
    /// A state was refused that found no slot, so that it will not be requested.
    has_overflowed: bool,
    /// The last clears: that of this firewall, and that of a peer.
    cleared: [Option<Cleared>; 2],
}

/// A clear of the states of a creator.
#[derive(Clone, Copy, Debug)]
struct Cleared {
    creator: [u8; 4],
    /// The peer that told of it. `None` for this firewall.
    by: Option<Epoch>,
    /// In seconds of uptime.
    at: u32,
}

impl Cleared {
    /// Whether a state ended by this clear, and a peer that tells of it does not know.
    fn ends(&self, id: StateId, from: Option<Epoch>, now: u32) -> bool {
        self.creator == id.creator && (self.by.is_none() || self.by != from) && is_recent(self.at, now)
    }
}

impl<S: AsMut<[Slot]>> Ended<S> {
    /// No state has ended. All slots are unused.
    pub const fn new(slots: S, refused: S) -> Ended<S> {
        Ended { slots, refused, has_overflowed: false, cleared: [None; 2] }
    }

    /// A state ended here or at a peer. `now` is in seconds of uptime.
    pub fn note(&mut self, id: StateId, now: u32) {
        if let Some(slot) = self.slot(id) {
            *slot = Slot { id, at: now };
        }
    }

    /// The states of a creator are cleared `by` a peer, or by this firewall, which tells its peers
    /// so. What others tell of them until they hear of that is about states that end there.
    /// `now` is in seconds of uptime.
    pub fn note_clear(&mut self, creator: [u8; 4], by: Option<Epoch>, now: u32) {
        let [own, peers] = &mut self.cleared;
        let last = if by.is_none() { own } else { peers };
        *last = Some(Cleared { creator, by, at: now });
    }

    /// Whether a state that is unknown here ended within the last [`LATELY_SECONDS`], or was
    /// cleared by another than the peer that the message is `from`. Then the message is refused,
    /// and the state will be requested.
    pub fn refuses(&mut self, id: StateId, from: Option<Epoch>, now: u32) -> bool {
        let Some(at) = self.end(id, from, now) else { return false };
        self.has_overflowed |= self.request(Slot { id, at }).is_err();
        true
    }

    /// When a state ended, as far as a peer that tells of it does not know, in seconds of uptime.
    fn end(&mut self, id: StateId, from: Option<Epoch>, now: u32) -> Option<u32> {
        match self.slot(id) {
            Some(slot) if slot.id == id && is_recent(slot.at, now) => Some(slot.at),
            _ => self.cleared.iter().flatten().find(|clear| clear.ends(id, from, now)).map(|clear| clear.at),
        }
    }

    /// A state could not be taken in for lack of memory. It will be requested if there is a slot.
    pub fn miss(&mut self, id: StateId, now: u32) {
        let _ = self.request(Slot { id, at: now });
    }

    /// `Err` if all slots are in use.
    fn request(&mut self, state: Slot) -> Result<(), ()> {
        let refused = self.refused.as_mut();
        if refused.iter().all(|known| known.id != state.id) {
            *refused.iter_mut().find(|slot| slot.is_free()).ok_or(())? = state;
        }
        Ok(())
    }

    /// Whether a state was refused since the last call that will not be requested.
    pub fn take_overflow(&mut self) -> bool {
        core::mem::take(&mut self.has_overflowed)
    }

    /// A state to request now, because a message about it was refused.
    pub fn next_to_request(&mut self, now: u32) -> Option<StateId> {
        let is_due = |slot: &&mut Slot| !slot.is_free() && !is_recent(slot.at, now);
        let due = self.refused.as_mut().iter_mut().find(is_due)?;
        Some(core::mem::replace(due, Slot::UNUSED).id)
    }

    fn slot(&mut self, id: StateId) -> Option<&mut Slot> {
        let slots = self.slots.as_mut();
        slots.get_mut(id.slot(slots.len())?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_of_a_creator_that_was_cleared_are_refused() {
        let mut ended = Ended::new(vec![Slot::UNUSED; 64], vec![Slot::UNUSED; 2]);
        let id = |n, creator| StateId { id: [0, 0, 0, 0, 0, 0, 0, n], creator: [creator; 4] };
        // An end long ago does not hide the clear.
        ended.note(id(1, 1), 90);
        ended.note_clear([1; 4], None, 100);
        assert!(!ended.refuses(id(1, 2), None, 100));
        assert!(ended.refuses(id(1, 1), None, 100));
        assert!(ended.refuses(id(2, 1), Epoch::new(7), 100 + LATELY_SECONDS - 1));
        assert!(!ended.refuses(id(3, 1), None, 100 + LATELY_SECONDS));
        let requested = [(); 3].map(|()| ended.next_to_request(100 + LATELY_SECONDS));
        assert_eq!(requested, [Some(id(1, 1)), Some(id(2, 1)), None]);
    }

    #[test]
    fn a_peer_that_cleared_states_may_tell_of_others() {
        let mut ended = Ended::new(vec![Slot::UNUSED; 64], vec![Slot::UNUSED; 2]);
        let id = StateId { id: [1; 8], creator: [1; 4] };
        ended.note_clear([1; 4], Epoch::new(7), 100);
        assert!(!ended.refuses(id, Epoch::new(7), 101));
        assert!(ended.refuses(id, Epoch::new(8), 101) && ended.refuses(id, None, 101));
    }

    #[test]
    fn refused_states_beyond_the_slots_are_an_overflow() {
        let mut ended = Ended::new(vec![Slot::UNUSED; 64], vec![Slot::UNUSED; 1]);
        let id = |n| StateId { id: [0, 0, 0, 0, 0, 0, 0, n], creator: [1; 4] };
        (1..=2).for_each(|n| ended.note(id(n), 100));
        assert!(ended.refuses(id(1), None, 100) && ended.refuses(id(1), None, 101));
        assert!(!ended.take_overflow());
        assert!(ended.refuses(id(2), None, 101));
        assert!(ended.take_overflow() && !ended.take_overflow());
        ended.miss(id(3), 101);
        assert!(!ended.take_overflow());
    }
}
