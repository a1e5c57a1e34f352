// SPDX-License-Identifier: BSD-2-Clause
//! Messages that belong to no local state: update requests and clears.
//!
//! A limited number of each waits to be sent. A request beyond it is dropped and
//! counted. The peer's next update of the state causes the request again.

use crate::wire::{Clear, IfName, StateId};
use core::marker::PhantomData;

/// The most update requests that wait to be sent. They fill a few frames.
pub const MAX_QUEUED_REQUESTS: usize = 256;
/// The most clears that wait to be sent. `pfctl -F states` causes one, or one
/// per interface.
pub const MAX_QUEUED_CLEARS: usize = 16;

/// The most messages wait already. This one was not added.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueFull;

/// A set of limited size, in slots that the caller provides.
struct BoundedSet<T, S> {
    slots: S,
    /// The number of items. They are in the first slots.
    len: usize,
    item: PhantomData<T>,
}

impl<T: Copy + PartialEq, S: AsMut<[Option<T>]>> BoundedSet<T, S> {
    fn new(slots: S) -> Self {
        BoundedSet { slots, len: 0, item: PhantomData }
    }

    fn insert(&mut self, item: T) -> Result<(), QueueFull> {
        let slots = self.slots.as_mut();
        if slots.iter().take(self.len).any(|other| *other == Some(item)) {
            return Ok(());
        }
        *slots.get_mut(self.len).ok_or(QueueFull)? = Some(item);
        self.len = self.len.saturating_add(1);
        Ok(())
    }

    fn pop(&mut self) -> Option<T> {
        self.len = self.len.checked_sub(1)?;
        self.slots.as_mut().get_mut(self.len)?.take()
    }
}

/// The update requests and clears that wait to be sent. The caller holds the
/// lock that protects them, and provides [`MAX_QUEUED_REQUESTS`] slots.
pub struct Control<S> {
    /// The whole table is to be requested.
    bulk_request: bool,
    requests: BoundedSet<StateId, S>,
    /// The interfaces whose states were cleared. `None` stands for all.
    clears: BoundedSet<Option<IfName>, [Option<Option<IfName>>; MAX_QUEUED_CLEARS]>,
}

impl<S: AsMut<[Option<StateId>]>> Control<S> {
    /// No message waits yet. All slots must be `None`.
    pub fn new(slots: S) -> Control<S> {
        Control {
            bulk_request: false,
            requests: BoundedSet::new(slots),
            clears: BoundedSet::new([None; MAX_QUEUED_CLEARS]),
        }
    }

    /// Requests a state from the peers. Does nothing if a request for it waits
    /// already.
    pub fn request(&mut self, state: StateId) -> Result<(), QueueFull> {
        self.requests.insert(state)
    }

    /// Requests the whole table from the peers.
    pub fn request_all(&mut self) {
        self.bulk_request = true;
    }

    /// Tells the peers that the states of an interface were cleared, or all
    /// states for `None`.
    pub fn clear(&mut self, ifname: Option<IfName>) -> Result<(), QueueFull> {
        self.clears.insert(ifname)
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        !self.bulk_request && self.requests.len == 0 && self.clears.len == 0
    }

    /// Whether a clear waits.
    pub fn has_clears(&self) -> bool {
        self.clears.len > 0
    }

    /// Takes out the next request. The request for the whole table comes first.
    pub fn next_request(&mut self) -> Option<StateId> {
        if core::mem::take(&mut self.bulk_request) {
            return Some(StateId::ALL);
        }
        self.requests.pop()
    }

    /// Takes out the next clear. `creator` is this firewall's host id, in network
    /// byte order.
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

    fn control() -> Control<[Option<StateId>; MAX_QUEUED_REQUESTS]> {
        Control::new([None; MAX_QUEUED_REQUESTS])
    }

    #[test]
    fn a_state_is_requested_once() {
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
    #[cfg_attr(miri, ignore = "takes minutes under Miri")]
    fn a_flood_of_requests_is_bounded() {
        let mut control = control();
        for n in 0..MAX_QUEUED_REQUESTS {
            control.request(id(n)).unwrap();
        }
        assert_eq!(control.request(id(MAX_QUEUED_REQUESTS)), Err(QueueFull));
        control.request_all();
        assert_eq!(control.next_request(), Some(StateId::ALL));
        assert_eq!(std::iter::from_fn(|| control.next_request()).count(), MAX_QUEUED_REQUESTS);
        assert!(control.is_empty());
    }

    #[test]
    fn clears_name_their_creator() {
        let mut control = control();
        assert!(!control.has_clears());
        control.clear(None).unwrap();
        control.clear(None).unwrap();
        assert!(control.has_clears());
        assert_eq!(control.next_clear([9; 4]), Some(Clear { ifname: None, creator: [9; 4] }));
        assert!(!control.has_clears());
        assert_eq!(control.next_clear([9; 4]), None);
    }
}
