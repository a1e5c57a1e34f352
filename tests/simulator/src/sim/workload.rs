// SPDX-License-Identifier: BSD-2-Clause
//! Traffic: connections that open, transfer data and end. The workload knows the
//! true state of each connection, which only advances. A firewall learns about it
//! from the packets that pass it.

use crate::freebsd::pf::rules::NO_SYNC;
use crate::freebsd::pf::traffic::{protocol, Connection, Endpoint, Id};
use crate::lab::{connection, Firewall, OUTSIDE};
use rand::Rng;
use rand_chacha::ChaCha8Rng;
use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;
use sys_bindings as sys;

/// The true state of both endpoints of a connection.
#[derive(Clone, Copy)]
struct Truth {
    states: [u8; 2],
    seqlo: [u32; 2],
}

impl Truth {
    /// One endpoint sends a packet.
    fn packet(&mut self, endpoint: usize, is_tcp: bool, rng: &mut ChaCha8Rng) {
        let state = &mut self.states[endpoint];
        if !is_tcp {
            *state = (*state + 1).min(sys::PFUDPS_MULTIPLE as u8);
            return;
        }
        // pf knows no sequence numbers of an endpoint before its SYN.
        *state = (*state + 1).clamp(sys::TCPS_SYN_SENT as u8, sys::TCPS_ESTABLISHED as u8);
        self.seqlo[endpoint] = self.seqlo[endpoint].wrapping_add(rng.gen_range(1..50_000));
    }
}

struct Flow {
    id: Id,
    proto: u8,
    truth: Truth,
}

/// A deferred packet: its number, and the firewall that deferred it.
type Deferred = (u32, String);

/// All connections of a simulation.
#[derive(Default)]
pub(super) struct Workload {
    opened: u32,
    flows: Rc<RefCell<Vec<Flow>>>,
    deferred: Rc<RefCell<Vec<Deferred>>>,
    nosync: Rc<RefCell<HashSet<Id>>>,
}

/// A packet that carries a number.
fn packet(number: u32) -> Vec<u8> {
    let mut packet = vec![0x45; 40];
    packet.extend(number.to_be_bytes());
    packet
}

/// The number that a packet carries.
pub(super) fn number_of(packet: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(packet.get(40..44)?.try_into().ok()?))
}

/// A random connection.
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
    /// The first packet of a new connection arrives at a firewall.
    pub(super) fn open(&mut self, rng: &mut ChaCha8Rng, firewall: &Firewall, defer: bool) {
        self.opened += 1;
        let number = self.opened;
        let connection = any_connection(rng, number);
        let (flows, deferred, nosync) = (self.flows.clone(), self.deferred.clone(), self.nosync.clone());
        let name = firewall.kernel.name.clone();
        firewall.start("em1", move |vnet| {
            let first = defer.then(|| packet(number));
            let Some((id, was_deferred)) = vnet.pf.open(&connection, first.as_deref()) else { return };
            let truth = Truth { states: [2, 0], seqlo: [1000, 0] };
            flows.borrow_mut().push(Flow { id, proto: connection.proto, truth });
            if connection.rule == NO_SYNC {
                nosync.borrow_mut().insert(id);
            }
            if was_deferred {
                deferred.borrow_mut().push((number, name));
            }
        });
    }

    /// A packet of some connection passes a firewall, in either direction.
    pub(super) fn pass(&mut self, rng: &mut ChaCha8Rng, firewall: &Firewall) {
        let mut flows = self.flows.borrow_mut();
        let count = flows.len();
        if count == 0 {
            return;
        }
        // Only recent connections send packets.
        let index = count - 1 - rng.gen_range(0..count.min(40));
        let flow = &mut flows[index];
        let endpoint = usize::from(rng.gen_bool(0.5));
        flow.truth.packet(endpoint, u32::from(flow.proto) == sys::IPPROTO_TCP, rng);
        let Flow { id, proto, truth } = *flow;
        firewall.start("em1", move |vnet| {
            vnet.pf.pass(id, |st| {
                // A damaged insert may have given the peer a state of another protocol.
                if protocol(st) == proto {
                    advance(st, endpoint, truth);
                }
            });
        });
    }

    /// Ends a connection.
    pub(super) fn end(&mut self, rng: &mut ChaCha8Rng, firewall: &Firewall) {
        let mut flows = self.flows.borrow_mut();
        if flows.is_empty() {
            return;
        }
        let index = rng.gen_range(0..flows.len());
        let id = flows.swap_remove(index).id;
        firewall.start("pfctl", move |vnet| vnet.pf.kill(id));
    }

    /// How many connections have opened.
    pub(super) fn count(&self) -> usize {
        self.opened as usize
    }

    /// The states of `no-sync` rules.
    pub(super) fn nosync(&self) -> HashSet<Id> {
        self.nosync.borrow().clone()
    }

    /// The packets that were deferred.
    pub(super) fn deferred(&self) -> Vec<Deferred> {
        self.deferred.borrow().clone()
    }
}

/// Advances one endpoint of a state to the truth.
fn advance(st: &mut sys::pf_kstate, endpoint: usize, truth: Truth) {
    let known = if endpoint == 0 { &mut st.src } else { &mut st.dst };
    known.state = known.state.max(truth.states[endpoint]);
    if truth.seqlo[endpoint].wrapping_sub(known.seqlo) as i32 > 0 {
        known.seqlo = truth.seqlo[endpoint];
        known.seqhi = known.seqlo.wrapping_add(65_535);
    }
    if u32::from(st.timeout) <= sys::PFTM_TCP_OPENING
        && truth.states.iter().all(|state| u32::from(*state) >= sys::TCPS_ESTABLISHED)
    {
        st.timeout = sys::PFTM_TCP_ESTABLISHED as u8;
    }
}
