// SPDX-License-Identifier: BSD-2-Clause
//! States whose end a peer told lately.
//!
//! What was told of a state before its end may arrive after it: from another peer, which
//! does not know of the end yet, or in a frame that was overtaken. It must not bring the
//! state back.
//!
//! Or a peer tells it because the connection lives on there. The two look alike. So what is
//! told of the state is refused for a moment, in which every peer hears of the end. After
//! that, the state is requested from whoever still has it.
//!
//! ```
//! use pfsync::engine::ended::{Ended, Slot, LATELY_SECONDS};
//! use pfsync::wire::StateId;
//!
//! let mut ended = Ended::new([Slot::UNUSED; 64]);
//! let id = StateId { id: [0, 0, 0, 0, 0, 0, 0, 7], creator: [1, 2, 3, 4] };
//! ended.note(id, 100);
//! assert!(ended.refuses(id, 101));
//! assert_eq!(ended.next_to_request(101), None);
//! assert_eq!(ended.next_to_request(100 + LATELY_SECONDS), Some(id));
//! assert!(!ended.refuses(id, 100 + LATELY_SECONDS));
//! ```

use crate::wire::StateId;

/// How many seconds the end of a state is remembered: the time in which all peers hear of it.
pub const LATELY_SECONDS: u32 = 2;

/// The most states that wait to be requested. Others are not requested.
const MAX_DOUBTS: usize = 64;

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

    fn is_recent(&self, now: u32) -> bool {
        now.wrapping_sub(self.at) < LATELY_SECONDS
    }
}

/// The states that have ended, in slots that the caller provides. Each state has one slot,
/// which it may have to give to another.
#[derive(Debug)]
pub struct Ended<S> {
    slots: S,
    /// States of which something was refused.
    doubts: [Option<Slot>; MAX_DOUBTS],
}

impl<S: AsMut<[Slot]>> Ended<S> {
    /// No state has ended.
    pub const fn new(slots: S) -> Ended<S> {
        Ended { slots, doubts: [None; MAX_DOUBTS] }
    }

    /// A peer tells the end of a state. `now` is in seconds of uptime.
    pub fn note(&mut self, id: StateId, now: u32) {
        if let Some(slot) = self.slot(id) {
            *slot = Slot { id, at: now };
        }
    }

    /// Whether a state has ended within the last [`LATELY_SECONDS`], so that what is told of
    /// it is not taken in. It will be requested.
    pub fn refuses(&mut self, id: StateId, now: u32) -> bool {
        let Some(ended) = self.slot(id).copied().filter(|slot| slot.id == id && slot.is_recent(now)) else {
            return false;
        };
        let is_known = self.doubts.iter().flatten().any(|doubt| doubt.id == id);
        let free = self.doubts.iter_mut().find(|doubt| doubt.is_none());
        if let Some(place) = free.filter(|_| !is_known) {
            *place = Some(ended);
        }
        true
    }

    /// A state to request now, because something of it was refused.
    pub fn next_to_request(&mut self, now: u32) -> Option<StateId> {
        let is_due = |doubt: &&mut Option<Slot>| doubt.is_some_and(|slot| !slot.is_recent(now));
        self.doubts.iter_mut().find(is_due)?.take().map(|slot| slot.id)
    }

    fn slot(&mut self, id: StateId) -> Option<&mut Slot> {
        let slots = self.slots.as_mut();
        slots.get_mut(id.slot(slots.len())?)
    }
}
