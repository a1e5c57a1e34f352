// SPDX-License-Identifier: BSD-2-Clause
//! States whose end a peer told lately.
//!
//! What was told of a state before its end may arrive after it: from another peer, which
//! does not know of the end yet, or in a frame that was overtaken. It must not bring the
//! state back.
//!
//! ```
//! use pfsync::engine::ended::{Ended, Slot, LATELY_SECONDS};
//! use pfsync::wire::StateId;
//!
//! let mut ended = Ended::new([Slot::UNUSED; 64]);
//! let id = StateId { id: [0, 0, 0, 0, 0, 0, 0, 7], creator: [1, 2, 3, 4] };
//! ended.note(id, 100);
//! assert!(ended.has_lately(id, 101));
//! assert!(!ended.has_lately(id, 100 + LATELY_SECONDS));
//! ```

use crate::wire::StateId;

/// How many seconds the end of a state is remembered: the time in which all peers hear of it.
pub const LATELY_SECONDS: u32 = 5;

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
}

/// The states that have ended, in slots that the caller provides. Each state has one slot,
/// which it may have to give to another.
#[derive(Debug)]
pub struct Ended<S> {
    slots: S,
}

impl<S: AsMut<[Slot]>> Ended<S> {
    /// No state has ended.
    pub const fn new(slots: S) -> Ended<S> {
        Ended { slots }
    }

    /// A peer tells the end of a state. `now` is in seconds of uptime.
    pub fn note(&mut self, id: StateId, now: u32) {
        if let Some(slot) = self.slot(id) {
            *slot = Slot { id, at: now };
        }
    }

    /// Whether a state has ended within the last [`LATELY_SECONDS`].
    pub fn has_lately(&mut self, id: StateId, now: u32) -> bool {
        self.slot(id).is_some_and(|slot| slot.id == id && now.wrapping_sub(slot.at) < LATELY_SECONDS)
    }

    fn slot(&mut self, id: StateId) -> Option<&mut Slot> {
        let slots = self.slots.as_mut();
        slots.get_mut(id.slot(slots.len())?)
    }
}
