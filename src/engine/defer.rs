// SPDX-License-Identifier: BSD-2-Clause
//! Deferred packets, which wait until a peer has acknowledged their state.
//!
//! With `defer` set, the first packet of a connection waits for the
//! acknowledgement of the insert, or for a short time. When it is sent, the peer
//! has the state, so the reply passes whichever firewall it arrives at.

use crate::wire::StateId;
use core::marker::PhantomData;

/// The most packets that a bucket defers at a time.
pub const DEFERRALS_PER_BUCKET: usize = 128;

/// A deferred packet.
pub struct Deferral<P> {
    /// The state whose insert must be acknowledged.
    pub state: StateId,
    /// The packet.
    pub packet: P,
    /// When the packet is sent at the latest, in the unit of the caller's clock.
    pub deadline: i64,
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

    /// Defers a packet. Hands it back if all slots are taken.
    pub fn add(&mut self, deferral: Deferral<P>) -> Result<(), Deferral<P>> {
        let Some(slot) = self.slots.as_mut().get_mut(self.len) else { return Err(deferral) };
        *slot = Some(deferral);
        self.len = self.len.saturating_add(1);
        Ok(())
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
            assert!(list.add(deferral(n, i64::from(n))).is_ok());
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
    fn a_full_list_hands_a_packet_back() {
        for capacity in [0, 2] {
            let mut list = deferrals(capacity);
            for n in 0..capacity as u8 {
                assert!(list.add(deferral(n, 1)).is_ok());
            }
            assert_eq!(packet(list.add(deferral(9, 1)).err()), Some(9));
            assert_eq!((0..4).filter_map(|_| packet(list.pop())).count(), capacity);
        }
    }
}
