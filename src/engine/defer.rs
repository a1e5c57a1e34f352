//! Packets that wait until the peers know their state.
//!
//! With `defer` set, the first packet of a connection is held back until a
//! peer has acknowledged the insert or a short time is over, so that the
//! answer finds the state on whichever firewall it comes by.

use crate::wire::StateId;
use core::marker::PhantomData;

/// Packets that one bucket holds back at most.
pub const CAPACITY: usize = 128;

/// A packet held back.
pub struct Deferral<P> {
    /// The state whose insert is to be acknowledged.
    pub state: StateId,
    pub packet: P,
    /// When it leaves at the latest, on the caller's clock.
    pub deadline: i64,
}

/// The packets that one bucket holds back, oldest first, in slots that the
/// caller provides. The caller holds the bucket's lock.
///
/// No packet is ever dropped here: what is not held is handed back.
pub struct Deferrals<P, S> {
    slots: S,
    len: usize,
    packet: PhantomData<P>,
}

impl<P, S: AsMut<[Option<Deferral<P>>]>> Deferrals<P, S> {
    /// An empty list over empty slots.
    pub fn new(slots: S) -> Deferrals<P, S> {
        Deferrals { slots, len: 0, packet: PhantomData }
    }

    /// Holds a packet back, or hands it back when the slots are full.
    pub fn add(&mut self, deferral: Deferral<P>) -> Result<(), Deferral<P>> {
        let Some(slot) = self.slots.as_mut().get_mut(self.len) else { return Err(deferral) };
        *slot = Some(deferral);
        self.len = self.len.saturating_add(1);
        Ok(())
    }

    /// Takes out the packet that waits for a state.
    pub fn release(&mut self, state: StateId) -> Option<Deferral<P>> {
        let held = self.slots.as_mut().get(..self.len)?;
        let index = held.iter().position(|slot| slot.as_ref().is_some_and(|held| held.state == state))?;
        self.take(index)
    }

    /// Takes out a packet whose time is over.
    pub fn expired(&mut self, now: i64) -> Option<Deferral<P>> {
        (self.next_deadline()? <= now).then(|| self.take(0))?
    }

    /// Takes out the oldest packet.
    pub fn pop(&mut self) -> Option<Deferral<P>> {
        self.take(0)
    }

    /// When the oldest packet has to leave.
    pub fn next_deadline(&mut self) -> Option<i64> {
        self.slots.as_mut().first()?.as_ref().map(|deferral| deferral.deadline)
    }

    fn take(&mut self, index: usize) -> Option<Deferral<P>> {
        let held = self.slots.as_mut().get_mut(index..self.len)?;
        let taken = held.first_mut()?.take();
        held.rotate_left(1);
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

    fn hold(n: u8, deadline: i64) -> Deferral<u8> {
        Deferral { state: id(n), packet: n, deadline }
    }

    fn packet(deferral: Option<Deferral<u8>>) -> Option<u8> {
        deferral.map(|deferral| deferral.packet)
    }

    #[test]
    fn each_packet_leaves_once() {
        let mut held = deferrals(4);
        for n in 1..=3 {
            assert!(held.add(hold(n, i64::from(n))).is_ok());
        }
        assert_eq!(packet(held.release(id(2))), Some(2));
        assert_eq!(packet(held.release(id(2))), None);
        assert_eq!(packet(held.expired(0)), None);
        assert_eq!(packet(held.expired(1)), Some(1));
        assert_eq!(held.next_deadline(), Some(3));
        assert_eq!(packet(held.pop()), Some(3));
        assert_eq!(packet(held.pop()), None);
        assert_eq!(held.next_deadline(), None);
    }

    #[test]
    fn a_full_list_hands_back_what_comes() {
        for capacity in [0, 2] {
            let mut held = deferrals(capacity);
            for n in 0..capacity as u8 {
                assert!(held.add(hold(n, 1)).is_ok());
            }
            assert_eq!(packet(held.add(hold(9, 1)).err()), Some(9));
            assert_eq!((0..4).filter_map(|_| packet(held.pop())).count(), capacity);
        }
    }
}
