// SPDX-License-Identifier: BSD-2-Clause
//! Deferred packets, which wait until a peer has acknowledged their state.
//!
//! With `defer` set, the first packet of a connection waits for the
//! acknowledgement of the insert, or for a short time. When it is sent, the peer
//! has the state, so the reply passes whichever firewall it arrives at.

use crate::wire::StateId;
use core::marker::PhantomData;

/// The most packets that a bucket defers for their whole time. Beyond them, the
/// oldest one's time is over.
pub const DEFERRALS_PER_BUCKET: usize = 256;

/// The places for the packets of a bucket: those that are deferred, and those whose
/// time was ended and that leave at the next tick of the clock.
pub const PLACES_PER_BUCKET: usize = DEFERRALS_PER_BUCKET + 128;

/// A deferred packet.
pub struct Deferral<P> {
    /// The state whose insert must be acknowledged.
    pub state: StateId,
    /// The packet.
    pub packet: P,
    /// When the packet is sent at the latest, in the unit of the caller's clock.
    pub deadline: i64,
}

/// What else happened when a packet was deferred.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Added {
    /// Nothing: no other packet is deferred.
    First,
    /// Nothing that changes when the next packet leaves.
    Behind,
    /// The time of the oldest deferred packet is over, before it was due.
    OldestLeaves,
}

/// The deferred packets of a bucket, oldest first, in slots that the caller
/// provides. The caller holds the lock that protects them.
///
/// No packet is ever dropped: what does not fit is handed back.
pub struct Deferrals<P, S> {
    slots: S,
    /// The number of packets. They are in the first slots.
    len: usize,
    packet: PhantomData<P>,
}

impl<P, S: AsMut<[Option<Deferral<P>>]>> Deferrals<P, S> {
    /// An empty list. All slots must be `None`.
    pub fn new(slots: S) -> Deferrals<P, S> {
        Deferrals { slots, len: 0, packet: PhantomData }
    }

    /// Defers a packet. If [`DEFERRALS_PER_BUCKET`] packets are deferred already, ends the
    /// time of the oldest of them, at `now`: a peer is more likely to have its state by now
    /// than that of a new packet. Hands the packet back if all slots are taken.
    pub fn add(&mut self, deferral: Deferral<P>, now: i64) -> Result<Added, Deferral<P>> {
        let slots = self.slots.as_mut();
        let Some(slot) = slots.get_mut(self.len) else { return Err(deferral) };
        *slot = Some(deferral);
        let index = self.len.checked_sub(DEFERRALS_PER_BUCKET);
        let added = match index.and_then(|index| slots.get_mut(index)?.as_mut()) {
            Some(oldest) => {
                oldest.deadline = oldest.deadline.min(now);
                if index == Some(0) {
                    Added::OldestLeaves
                } else {
                    Added::Behind
                }
            }
            None if self.len == 0 => Added::First,
            None => Added::Behind,
        };
        self.len = self.len.saturating_add(1);
        Ok(added)
    }

    /// Takes out the packet that waits for a state.
    pub fn release(&mut self, state: StateId) -> Option<Deferral<P>> {
        let deferrals = self.slots.as_mut().get(..self.len)?;
        let index = deferrals.iter().flatten().position(|deferral| deferral.state == state)?;
        self.take(index)
    }

    /// Takes out the oldest packet, if its deadline is `now` or before.
    pub fn pop_expired(&mut self, now: i64) -> Option<Deferral<P>> {
        if self.next_deadline()? > now {
            return None;
        }
        self.take(0)
    }

    /// Takes out the oldest packet.
    pub fn pop(&mut self) -> Option<Deferral<P>> {
        self.take(0)
    }

    /// The deadline of the oldest packet.
    pub fn next_deadline(&mut self) -> Option<i64> {
        Some(self.slots.as_mut().first()?.as_ref()?.deadline)
    }

    fn take(&mut self, index: usize) -> Option<Deferral<P>> {
        let deferrals = self.slots.as_mut().get_mut(index..self.len)?;
        let taken = deferrals.first_mut()?.take();
        deferrals.rotate_left(1);
        self.len = self.len.saturating_sub(1);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> StateId {
        StateId { id: [n; 8], creator: [1; 4] }
    }

    fn deferrals(capacity: usize) -> Deferrals<u8, Vec<Option<Deferral<u8>>>> {
        Deferrals::new((0..capacity).map(|_| None).collect())
    }

    fn deferral(n: u8, deadline: i64) -> Deferral<u8> {
        Deferral { state: id(n), packet: n, deadline }
    }

    fn packet(deferral: Option<Deferral<u8>>) -> Option<u8> {
        deferral.map(|deferral| deferral.packet)
    }

    #[test]
    fn each_packet_is_taken_out_once() {
        let mut list = deferrals(4);
        for n in 1..=3 {
            assert!(list.add(deferral(n, i64::from(n)), 0).is_ok());
        }
        assert_eq!(packet(list.release(id(2))), Some(2));
        assert_eq!(packet(list.release(id(2))), None);
        assert_eq!(packet(list.pop_expired(0)), None);
        assert_eq!(packet(list.pop_expired(1)), Some(1));
        assert_eq!(list.next_deadline(), Some(3));
        assert_eq!(packet(list.pop()), Some(3));
        assert_eq!(packet(list.pop()), None);
        assert_eq!(list.next_deadline(), None);
    }

    #[test]
    fn beyond_the_limit_the_oldest_packets_leave() {
        let mut list = deferrals(PLACES_PER_BUCKET);
        assert_eq!(list.add(deferral(0, 50), 10).ok(), Some(Added::First));
        for n in 1..DEFERRALS_PER_BUCKET {
            assert_eq!(list.add(deferral((n % 200) as u8, 50), 10).ok(), Some(Added::Behind));
        }
        assert_eq!(packet(list.pop_expired(20)), None);
        for (n, added) in [(200, Added::OldestLeaves), (201, Added::Behind), (202, Added::Behind)] {
            assert_eq!(list.add(deferral(n, 60), 20).ok(), Some(added));
        }
        let left: Vec<_> = std::iter::from_fn(|| packet(list.pop_expired(20))).collect();
        assert_eq!(left, [0, 1, 2]);
        assert_eq!(list.next_deadline(), Some(50));
    }

    #[test]
    fn a_full_list_hands_a_packet_back() {
        for capacity in [0, 2] {
            let mut list = deferrals(capacity);
            for n in 0..capacity as u8 {
                assert!(list.add(deferral(n, 1), 0).is_ok());
            }
            assert_eq!(packet(list.add(deferral(9, 1), 0).err()), Some(9));
            assert_eq!((0..4).filter_map(|_| packet(list.pop())).count(), capacity);
        }
    }
}
