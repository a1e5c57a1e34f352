//! Traffic: connections that open, move on and end. What is true of each is
//! known here, and only moves forward; a firewall learns of it when one of
//! the packets passes it.

use crate::freebsd::pf::rules::NO_SYNC;
use crate::freebsd::pf::traffic::{Connection, Endpoint, Id};
use crate::lab::{connection, Firewall, OUTSIDE};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use sys_bindings as sys;

/// What is true of both ends of a connection.
#[derive(Clone, Copy)]
struct Truth {
    states: [u8; 2],
    seqlo: [u32; 2],
}

impl Truth {
    /// One end sends something.
    fn packet(&mut self, end: usize, is_tcp: bool, rng: &mut ChaCha8Rng) {
        let state = &mut self.states[end];
        if !is_tcp {
            *state = (*state + 1).min(sys::PFUDPS_MULTIPLE as u8);
            return;
        }
        // pf knows no sequence numbers of an end before its SYN.
        *state = (*state + 1).clamp(sys::TCPS_SYN_SENT as u8, sys::TCPS_ESTABLISHED as u8);
        self.seqlo[end] = self.seqlo[end].wrapping_add(rng.gen_range(1..50_000));
    }
}

struct Flow {
    id: Id,
    proto: u8,
    truth: Truth,
}

/// A deferred packet: its number, and the firewall that held it.
pub type Held = (u32, String);

/// All connections of a simulation.
#[derive(Default)]
pub struct Workload {
    opened: u32,
    flows: Rc<RefCell<Vec<Flow>>>,
    held: Rc<RefCell<Vec<Held>>>,
    nosync: Rc<RefCell<HashSet<Id>>>,
}

/// A packet with a number in it.
fn packet(number: u32) -> Vec<u8> {
    let mut packet = vec![0x45; 40];
    packet.extend(number.to_be_bytes());
    packet
}

/// The number in a packet of [`packet`].
pub fn number_of(packet: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(packet.get(40..44)?.try_into().ok()?))
}

/// A connection of any kind.
fn any_connection(rng: &mut ChaCha8Rng, number: u32) -> Connection {
    let proto =
        [sys::IPPROTO_TCP, sys::IPPROTO_TCP, sys::IPPROTO_UDP, sys::IPPROTO_ICMP][rng.gen_range(0..4)];
    let mut made = connection(number, proto);
    made.is_inet6 = rng.gen_bool(0.2);
    if rng.gen_bool(0.2) {
        let mut addr = made.client.addr;
        addr[0] = 203;
        made.nat = Some(Endpoint { addr, port: made.client.port });
    }
    if rng.gen_bool(0.1) {
        made.route_to = Some(OUTSIDE);
    }
    if rng.gen_bool(0.1) {
        made.rule = NO_SYNC;
    }
    made
}

impl Workload {
    /// A new connection's first packet arrives at a firewall.
    pub fn open(&mut self, rng: &mut ChaCha8Rng, firewall: &Firewall, defer: bool) {
        self.opened += 1;
        let number = self.opened;
        let connection = any_connection(rng, number);
        let (flows, held, nosync) = (self.flows.clone(), self.held.clone(), self.nosync.clone());
        let name = firewall.kernel.name.clone();
        firewall.start("em1", move |vnet| {
            let first = defer.then(|| packet(number));
            let Some((id, was_held)) = vnet.pf.open(&connection, first.as_deref()) else { return };
            let truth = Truth { states: [2, 0], seqlo: [1000, 0] };
            flows.borrow_mut().push(Flow { id, proto: connection.proto, truth });
            if connection.rule == NO_SYNC {
                nosync.borrow_mut().insert(id);
            }
            if was_held {
                held.borrow_mut().push((number, name));
            }
        });
    }

    /// A packet of some connection passes a firewall, in either direction.
    pub fn pass(&mut self, rng: &mut ChaCha8Rng, firewall: &Firewall) {
        let mut flows = self.flows.borrow_mut();
        let count = flows.len();
        if count == 0 {
            return;
        }
        // Mostly recent ones: old connections fall silent.
        let index = count - 1 - rng.gen_range(0..count.min(40));
        let flow = &mut flows[index];
        let end = usize::from(rng.gen_bool(0.5));
        flow.truth.packet(end, u32::from(flow.proto) == sys::IPPROTO_TCP, rng);
        let (id, truth) = (flow.id, flow.truth);
        firewall.start("em1", move |vnet| {
            vnet.pf.pass(id, |st| advance(st, end, truth));
        });
    }

    /// Ends a connection.
    pub fn end(&mut self, rng: &mut ChaCha8Rng, firewall: &Firewall) {
        let mut flows = self.flows.borrow_mut();
        if flows.is_empty() {
            return;
        }
        let index = rng.gen_range(0..flows.len());
        let id = flows.swap_remove(index).id;
        firewall.start("pfctl", move |vnet| vnet.pf.kill(id));
    }

    /// Connections so far.
    pub fn count(&self) -> usize {
        self.opened as usize
    }

    /// States that a no-sync rule made.
    pub fn nosync(&self) -> HashSet<Id> {
        self.nosync.borrow().clone()
    }

    /// Packets that were held back.
    pub fn held(&self) -> Vec<Held> {
        self.held.borrow().clone()
    }
}

/// Moves one end of a state on to what is true.
fn advance(st: &mut sys::pf_kstate, end: usize, truth: Truth) {
    let peer = if end == 0 { &mut st.src } else { &mut st.dst };
    peer.state = peer.state.max(truth.states[end]);
    if truth.seqlo[end].wrapping_sub(peer.seqlo) as i32 > 0 {
        peer.seqlo = truth.seqlo[end];
        peer.seqhi = peer.seqlo.wrapping_add(65_535);
    }
    if u32::from(st.timeout) <= sys::PFTM_TCP_OPENING
        && truth.states.iter().all(|state| u32::from(*state) >= sys::TCPS_ESTABLISHED)
    {
        st.timeout = sys::PFTM_TCP_ESTABLISHED as u8;
    }
}
