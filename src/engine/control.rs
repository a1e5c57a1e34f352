//! Messages that belong to no local state: update requests and clears.
//!
//! Both have a fixed place to wait in. A request that finds it full is
//! dropped and counted: the peer's next update of that state asks again.

use crate::wire::{Clear, IfName, StateId};
use core::marker::PhantomData;

/// Requests that wait at most; a few packets full.
pub const REQUESTS: usize = 256;
/// Clears that wait at most. They come from `pfctl -Fs`, one an interface.
pub const CLEARS: usize = 16;

/// The place was full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NoRoom;

/// A list of different items in slots that the caller provides.
struct Few<T, S> {
    slots: S,
    len: usize,
    item: PhantomData<T>,
}

impl<T: Copy + PartialEq, S: AsMut<[Option<T>]>> Few<T, S> {
    fn new(slots: S) -> Self {
        Few { slots, len: 0, item: PhantomData }
    }

    fn add(&mut self, item: T) -> Result<(), NoRoom> {
        let slots = self.slots.as_mut();
        if slots.iter().take(self.len).any(|other| *other == Some(item)) {
            return Ok(());
        }
        *slots.get_mut(self.len).ok_or(NoRoom)? = Some(item);
        self.len = self.len.saturating_add(1);
        Ok(())
    }

    fn pop(&mut self) -> Option<T> {
        self.len = self.len.checked_sub(1)?;
        self.slots.as_mut().get_mut(self.len)?.take()
    }
}

/// What waits to be sent on behalf of no state. The caller holds its lock and
/// provides [`REQUESTS`] slots.
pub struct Control<S> {
    /// Ask for the whole table.
    bulk_request: bool,
    requests: Few<StateId, S>,
    /// Interfaces whose states were cleared; `None` is all of them.
    clears: Few<Option<IfName>, [Option<Option<IfName>>; CLEARS]>,
}

impl<S: AsMut<[Option<StateId>]>> Control<S> {
    pub fn new(slots: S) -> Control<S> {
        Control { bulk_request: false, requests: Few::new(slots), clears: Few::new([None; CLEARS]) }
    }

    /// Asks for a state; once, however often it is called before the request
    /// leaves.
    pub fn request(&mut self, state: StateId) -> Result<(), NoRoom> {
        self.requests.add(state)
    }

    /// Asks for every state.
    pub fn request_all(&mut self) {
        self.bulk_request = true;
    }

    /// Tells the peers that all states of an interface, or all, were cleared.
    pub fn clear(&mut self, ifname: Option<IfName>) -> Result<(), NoRoom> {
        self.clears.add(ifname)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        !self.bulk_request && self.requests.len == 0 && self.clears.len == 0
    }

    /// The next request to send.
    pub fn next_request(&mut self) -> Option<StateId> {
        if core::mem::take(&mut self.bulk_request) {
            return Some(StateId::ALL);
        }
        self.requests.pop()
    }

    /// The next clear to send, as the firewall `creator`.
    pub fn next_clear(&mut self, creator: [u8; 4]) -> Option<Clear> {
        self.clears.pop().map(|ifname| Clear { ifname, creator })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: usize) -> StateId {
        StateId { id: (n as u64 + 1).to_be_bytes(), creator: [1; 4] }
    }

    fn control() -> Control<[Option<StateId>; REQUESTS]> {
        Control::new([None; REQUESTS])
    }

    #[test]
    fn a_state_is_asked_for_once() {
        let mut control = control();
        assert!(control.is_empty());
        control.request(id(1)).unwrap();
        control.request(id(1)).unwrap();
        assert_eq!(control.next_request(), Some(id(1)));
        assert_eq!(control.next_request(), None);
        control.request(id(1)).unwrap();
        assert_eq!(control.next_request(), Some(id(1)));
    }

    #[test]
    fn a_flood_is_bounded() {
        let mut control = control();
        for n in 0..REQUESTS {
            control.request(id(n)).unwrap();
        }
        assert_eq!(control.request(id(REQUESTS)), Err(NoRoom));
        control.request_all();
        assert_eq!(control.next_request(), Some(StateId::ALL));
        assert_eq!(std::iter::from_fn(|| control.next_request()).count(), REQUESTS);
        assert!(control.is_empty());
    }

    #[test]
    fn clears_name_their_creator() {
        let mut control = control();
        control.clear(None).unwrap();
        control.clear(None).unwrap();
        assert_eq!(control.next_clear([9; 4]), Some(Clear { ifname: None, creator: [9; 4] }));
        assert_eq!(control.next_clear([9; 4]), None);
    }
}
