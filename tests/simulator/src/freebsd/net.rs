// SPDX-License-Identifier: BSD-2-Clause
//! The network between the kernels: segments with multicast, faults and
//! observers.

use crate::freebsd::kernel::sleep::{epoch_enter, epoch_exit};
use crate::freebsd::kernel::vnet::Vnet;
use crate::freebsd::kernel::world::{milliseconds, Sbt, World};
use crate::freebsd::kernel::{interface, thread, Kernel};
use crate::freebsd::kpi::mbuf;
use crate::freebsd::machine::cpu::into_module;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::{Rc, Weak};
use sys_bindings as sys;

/// Faults of the network.
#[derive(Clone, Copy, Debug)]
pub struct Faults {
    /// The probability that a packet is lost.
    pub loss: f64,
    /// The probability that a packet arrives twice.
    pub duplication: f64,
    /// The probability that a bit of a packet is flipped.
    pub corruption: f64,
    /// The probability that a sender gets its own packet back.
    pub reflection: f64,
    /// The longest time that a packet takes. Packets overtake each other.
    pub delay: Sbt,
}

impl Faults {
    /// No faults.
    pub const NONE: Faults =
        Faults { loss: 0.0, duplication: 0.0, corruption: 0.0, reflection: 0.0, delay: 0 };
}

struct Port {
    kernel: Weak<Kernel>,
    vnet: Weak<Vnet>,
    ifp: usize,
    segment: usize,
}

/// The membership of an interface in a multicast group.
struct Membership {
    ifp: usize,
    group: Vec<u8>,
    kind: &'static str,
}

/// A packet that went over a segment.
#[derive(Clone)]
pub struct Sent {
    /// When it was sent.
    pub(crate) at: Sbt,
    /// The name of the kernel that sent it.
    pub from: String,
    /// Whether it is lost.
    pub(crate) lost: bool,
    /// The packet, beginning with its IP header.
    pub packet: Vec<u8>,
}

impl Sent {
    /// See [`frame_of`].
    pub fn frame(&self) -> &[u8] {
        frame_of(&self.packet)
    }
}

/// What follows the IP header of a packet: a frame, since pfsync alone sends packets.
pub fn frame_of(packet: &[u8]) -> &[u8] {
    let (_, header, _) = header_of(packet);
    &packet[header..]
}

/// A function that chooses packets.
type Choice = Box<dyn Fn(&Sent) -> bool>;
/// A function that is called for every packet.
type Observer = Box<dyn Fn(&Sent)>;

/// A function that is called with the name of a kernel and a packet that arrives there.
type Receiver = Box<dyn Fn(&str, &[u8])>;

/// All segments, each known by a number.
pub struct Network {
    ports: RefCell<Vec<Port>>,
    memberships: RefCell<HashMap<usize, Membership>>,
    faults: Cell<Faults>,
    /// Says which packets are lost, beside those of the faults.
    loses: RefCell<Option<Choice>>,
    rng: RefCell<ChaCha8Rng>,
    observers: RefCell<Vec<Observer>>,
    receivers: RefCell<Vec<Receiver>>,
    forwarded: RefCell<Vec<(String, Vec<u8>)>>,
}

/// The least time that a packet takes.
const LATENCY: Sbt = milliseconds(1) / 10;

/// The destination in an IP header.
fn destination(packet: &[u8]) -> &[u8] {
    match packet[0] >> 4 {
        4 => &packet[16..20],
        _ => &packet[24..40],
    }
}

/// Version, length in bytes and protocol of an IP header.
fn header_of(packet: &[u8]) -> (u8, usize, u8) {
    match packet[0] >> 4 {
        4 => (4, 20, packet[9]),
        _ => (6, 40, packet[6]),
    }
}

impl Network {
    pub(crate) fn new(seed: u64) -> Network {
        Network {
            ports: RefCell::default(),
            memberships: RefCell::default(),
            faults: Cell::new(Faults::NONE),
            loses: RefCell::default(),
            rng: RefCell::new(ChaCha8Rng::seed_from_u64(seed ^ 0x6e65_7477)),
            observers: RefCell::default(),
            receivers: RefCell::default(),
            forwarded: RefCell::default(),
        }
    }

    /// Plugs an interface into a segment.
    pub fn plug(&self, kernel: &Rc<Kernel>, vnet: &Rc<Vnet>, ifp: *mut sys::ifnet, segment: usize) {
        let port =
            Port { kernel: Rc::downgrade(kernel), vnet: Rc::downgrade(vnet), ifp: ifp as usize, segment };
        let mut ports = self.ports.borrow_mut();
        // The memory of a kernel that is gone, and so the address of its interface, is used again.
        ports.retain(|port| port.kernel.strong_count() > 0);
        assert!(ports.iter().all(|other| other.ifp != port.ifp), "the interface is plugged in twice");
        ports.push(port);
    }

    /// Unplugs the interfaces of a kernel that stopped.
    pub(crate) fn unplug(&self, kernel: &Kernel) {
        let is_own = |port: &Port| std::ptr::eq(port.kernel.as_ptr(), kernel);
        let own: Vec<_> =
            self.ports.borrow().iter().filter(|port| is_own(port)).map(|port| port.ifp).collect();
        self.ports.borrow_mut().retain(|port| !is_own(port));
        // The memory of the memberships is released with the kernel's.
        self.memberships.borrow_mut().retain(|_, membership| !own.contains(&membership.ifp));
    }

    /// Sets the faults from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.faults.set(faults);
    }

    /// Loses the packets that `choice` chooses from now on.
    pub fn lose(&self, choice: impl Fn(&Sent) -> bool + 'static) {
        *self.loses.borrow_mut() = Some(Box::new(choice));
    }

    /// Calls `observer` for every packet from now on.
    pub fn observe(&self, observer: impl Fn(&Sent) + 'static) {
        self.observers.borrow_mut().push(Box::new(observer));
    }

    /// Calls `receiver` for every packet that arrives from now on, just before the kernel
    /// handles it.
    pub fn observe_arrivals(&self, receiver: impl Fn(&str, &[u8]) + 'static) {
        self.receivers.borrow_mut().push(Box::new(receiver));
    }

    /// `in_joingroup`
    pub(crate) fn join(&self, ifp: *mut sys::ifnet, group: &[u8], membership: usize, kind: &'static str) {
        let entry = Membership { ifp: ifp as usize, group: group.to_vec(), kind };
        self.memberships.borrow_mut().insert(membership, entry);
    }

    /// `in_leavegroup`
    pub(crate) fn leave(&self, membership: usize) {
        self.memberships.borrow_mut().remove(&membership);
    }

    /// Removes an interface and its memberships.
    pub(crate) fn leave_all(&self, ifp: *mut sys::ifnet) {
        self.ports.borrow_mut().retain(|port| port.ifp != ifp as usize);
        let mut gone = Vec::new();
        self.memberships.borrow_mut().retain(|membership, entry| {
            let stays = entry.ifp != ifp as usize;
            if !stays {
                gone.push((*membership, entry.kind));
            }
            stays
        });
        let kernel = thread::current().kernel.clone();
        gone.into_iter().for_each(|(membership, kind)| kernel.heap.free(membership, kind));
    }

    /// The interface of a vnet that a unicast packet leaves by.
    pub(crate) fn route(&self, vnet: &Rc<Vnet>, packet: &[u8]) -> Option<*mut sys::ifnet> {
        let ports = self.ports.borrow();
        let target = ports.iter().find(|port| port.has_address(destination(packet)))?;
        let own = ports.iter().find(|port| port.segment == target.segment && port.is_of(vnet))?;
        Some(own.ifp as *mut sys::ifnet)
    }

    /// Records a deferred packet that pfsync sends on.
    pub(crate) fn forwarded(&self, kernel: &Kernel, packet: Vec<u8>) {
        self.forwarded.borrow_mut().push((kernel.name.clone(), packet));
    }

    /// The deferred packets that were sent on since the last call, each with the name of its kernel.
    pub fn take_forwarded(&self) -> Vec<(String, Vec<u8>)> {
        self.forwarded.take()
    }

    /// Sends a packet by an interface.
    pub fn transmit(&self, world: &Rc<World>, ifp: *mut sys::ifnet, packet: Vec<u8>) {
        let ports = self.ports.borrow();
        let Some(port) = ports.iter().find(|port| port.ifp == ifp as usize) else { return };
        if !interface::has_link(ifp) {
            return;
        }
        let from = port.kernel.upgrade().map_or(String::new(), |kernel| kernel.name.clone());
        let segment = port.segment;
        let receivers: Vec<_> = ports
            .iter()
            .filter(|other| other.segment == segment && other.ifp != port.ifp)
            .map(|other| other.ifp)
            .collect();
        drop(ports);
        let lost = self.happens(self.faults.get().loss);
        let mut sent = Sent { at: world.now(), from, lost, packet };
        sent.lost |= self.loses.borrow().as_ref().is_some_and(|loses| loses(&sent));
        self.observers.borrow().iter().for_each(|observer| observer(&sent));
        if sent.lost {
            return;
        }
        if self.happens(self.faults.get().reflection) {
            self.send_copy(world, ifp as usize, sent.packet.clone());
        }
        for receiver in receivers {
            let copies = 1 + usize::from(self.happens(self.faults.get().duplication));
            for _ in 0..copies {
                self.send_copy(world, receiver, sent.packet.clone());
            }
        }
    }

    fn happens(&self, probability: f64) -> bool {
        probability > 0.0 && self.rng.borrow_mut().gen_bool(probability)
    }

    fn send_copy(&self, world: &Rc<World>, receiver: usize, mut packet: Vec<u8>) {
        let faults = self.faults.get();
        if self.happens(faults.corruption) {
            let (_, header, _) = header_of(&packet);
            let mut rng = self.rng.borrow_mut();
            // The header's checksum would reveal a flipped bit in it.
            let at = rng.gen_range(header..packet.len());
            packet[at] ^= 1 << rng.gen_range(0..8);
        }
        let delay = if faults.delay > 0 { self.rng.borrow_mut().gen_range(0..faults.delay) } else { 0 };
        world.at(LATENCY + delay, move |world| world.network.deliver(world, receiver, &packet));
    }

    /// Delivers a packet to an interface.
    pub fn deliver(&self, world: &Rc<World>, receiver: usize, packet: &[u8]) {
        let ports = self.ports.borrow();
        let Some(port) = ports.iter().find(|port| port.ifp == receiver) else { return };
        let is_member = self
            .memberships
            .borrow()
            .values()
            .any(|membership| membership.ifp == receiver && membership.group == destination(packet));
        let (Some(kernel), Some(vnet)) = (port.kernel.upgrade(), port.vnet.upgrade()) else { return };
        let ifp = receiver as *const sys::ifnet;
        let for_us = is_member || port.has_address(destination(packet));
        let for_us = for_us && interface::is_up(ifp) && interface::has_link(ifp);
        drop(ports);
        if for_us && !kernel.is_crashed() {
            self.receivers.borrow().iter().for_each(|receiver| receiver(&kernel.name, packet));
            let piece = self.piece(packet.len());
            let packet = packet.to_vec();
            world.spawn(&kernel, "netisr", vnet.raw(), move || {
                receive(&packet, receiver as *mut sys::ifnet, piece)
            });
        }
    }

    /// The size of the pieces that a received packet comes in: some drivers split
    /// packets.
    fn piece(&self, len: usize) -> usize {
        let mut rng = self.rng.borrow_mut();
        if rng.gen_bool(0.8) {
            len
        } else {
            rng.gen_range(40.min(len)..=len)
        }
    }
}

/// The kernel receives a packet in pieces of `piece` bytes and calls the protocol's
/// input function.
pub fn receive(packet: &[u8], ifp: *mut sys::ifnet, piece: usize) {
    input(packet, mbuf::received(packet, ifp, piece));
}

/// The same for a packet that ipsec(4) has decrypted.
pub fn receive_decrypted(packet: &[u8], ifp: *mut sys::ifnet) {
    let m = mbuf::received(packet, ifp, packet.len());
    mbuf::mark_decrypted(m);
    input(packet, m);
}

fn input(packet: &[u8], mut m: *mut sys::mbuf) {
    let thread = thread::current();
    let (family, header, protocol) = header_of(packet);
    let input = thread.kernel.protocols.borrow().get(&(family, protocol)).copied();
    let Some(input) = input else { return mbuf::free_chain(m) };
    thread.no_sleep.borrow_mut().push("the network's input");
    epoch_enter();
    let mut offset = header as i32;
    // SAFETY: the function is the module's, which owns the packet from now on.
    into_module(|| unsafe { input(&mut m, &mut offset, i32::from(protocol)) });
    epoch_exit();
}

impl Port {
    fn has_address(&self, addr: &[u8]) -> bool {
        let Some(vnet) = self.vnet.upgrade() else { return false };
        let found = vnet.interfaces.get(self.ifp as *const _, |interface| interface.has_address(addr));
        found.unwrap_or(false)
    }

    fn is_of(&self, vnet: &Rc<Vnet>) -> bool {
        self.vnet.upgrade().is_some_and(|own| Rc::ptr_eq(&own, vnet))
    }
}
