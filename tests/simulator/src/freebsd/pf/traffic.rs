// SPDX-License-Identifier: BSD-2-Clause
//! What packets do to states. All of this is called in a thread of the vnet.

use super::keys::{STACK, WIRE};
use super::{release, zone, Pf};
use crate::freebsd::kernel::sleep::{epoch_enter, epoch_exit};
use crate::freebsd::kernel::thread;
use crate::freebsd::kpi::{mbuf, memory};
use crate::freebsd::machine::cpu::{self, into_module};
use std::ptr;
use sys_bindings as sys;

/// The identity of a state: id and creator id, in network byte order as in pf.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Id {
    /// The id.
    pub id: u64,
    /// The creator id.
    pub creator: u32,
}

/// Address and port of one end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Endpoint {
    /// The address; one of IPv4 has only the first four bytes.
    pub addr: [u8; 16],
    /// The port, in host byte order.
    pub port: u16,
}

/// A connection through the firewall.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Connection {
    /// Whether it is one of IPv6.
    pub is_inet6: bool,
    /// The IP protocol.
    pub proto: u8,
    /// The end that opens it.
    pub client: Endpoint,
    /// The other end.
    pub server: Endpoint,
    /// What the client is translated to.
    pub nat: Option<Endpoint>,
    /// The index of the rule that passes it.
    pub rule: usize,
    /// The interface of `route-to`.
    pub route_to: Option<&'static str>,
    /// The interface that it leaves by.
    pub interface: &'static str,
}

/// What was read of a state at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Seen {
    /// Its identity.
    pub id: Id,
    /// The states of source and destination endpoint.
    pub states: [u8; 2],
    /// `seqlo` of source and destination endpoint.
    pub seqlo: [u32; 2],
    /// Whether a `no-sync` rule made it.
    pub of_nosync_rule: bool,
    /// Its timeout, a `PFTM_*`.
    pub timeout: u8,
    /// Distinguishes states that had the same identity one after the other.
    pub generation: u64,
}

/// The IP protocol of a state that is linked and locked.
pub fn protocol(st: &sys::pf_kstate) -> u8 {
    // SAFETY: a linked state has keys.
    unsafe { (*st.key[WIRE]).proto }
}

impl Pf {
    fn make_key(&self, connection: &Connection, client: Endpoint) -> Option<*mut sys::pf_state_key> {
        let zone = zone::KEYS.raw();
        // SAFETY: pf's own zone; the key is fresh.
        unsafe {
            let key = memory::uma_zalloc_arg(zone, ptr::null_mut(), sys::M_NOWAIT as i32)
                .cast::<sys::pf_state_key>();
            if key.is_null() {
                return None;
            }
            (*key).addr[0].__bindgen_anon_1.addr8 = client.addr;
            (*key).addr[1].__bindgen_anon_1.addr8 = connection.server.addr;
            (*key).port = [client.port.to_be(), connection.server.port.to_be()];
            (*key).af = if connection.is_inet6 { sys::AF_INET6 } else { sys::AF_INET } as u8;
            (*key).proto = connection.proto;
            Some(key)
        }
    }

    /// The first packet of a connection. Returns the identity of the state, if one
    /// could be made, and whether the packet was deferred.
    pub fn open(&self, connection: &Connection, packet: Option<&[u8]>) -> Option<(Id, bool)> {
        if !self.is_running() {
            return None;
        }
        epoch_enter();
        let made = self.with_rules(|| self.create_state(connection, packet));
        epoch_exit();
        made
    }

    fn create_state(&self, connection: &Connection, packet: Option<&[u8]>) -> Option<(Id, bool)> {
        let kif = self.kif(connection.interface)?;
        // SAFETY: the same as any caller's; the thread is in pf.
        let st = unsafe { super::exported::pf_alloc_state(sys::M_NOWAIT as i32) };
        if st.is_null() {
            return None;
        }
        let wire = self.make_key(connection, connection.nat.unwrap_or(connection.client));
        let stack = match connection.nat {
            None => wire,
            Some(_) => self.make_key(connection, connection.client),
        };
        let rule = self.rules.rule(connection.rule);
        // SAFETY: the state is fresh, the rule stays while rules are locked.
        unsafe {
            *sys::pfs_rules(st)[0] = rule;
            (*st).direction = sys::PF_OUT as u8;
            (*st).creation = release::now();
            (*st).expire = release::now();
            (*st).act.rtableid = -1;
            (*st).sync_state = sys::PFSYNC_S_NONE as u8;
            if let Some(kif) = connection.route_to.and_then(|name| self.kif(name)) {
                let route = sys::pfs_route(st);
                *route.kind = 1;
                *route.kif = kif;
                let family = if connection.is_inet6 { sys::AF_INET6 } else { sys::AF_INET };
                sys::pfs_set_route_family(st, family as u8);
            }
            self.start_protocol(st, connection.proto);
        }
        let (Some(wire), Some(stack)) = (wire, stack) else {
            self.discard(st, [wire, stack]);
            return None;
        };
        // SAFETY: rules live as long as pf.
        unsafe { *cpu::value_of((*rule).states_cur) += 1 };
        if self.insert([kif, kif], [wire, stack], st).is_err() {
            self.forget_failed(st, rule, [wire, stack]);
            return None;
        }
        // SAFETY: inserted, and its row locked.
        let id = unsafe { Id { id: (*st).id, creator: (*st).creatorid } };
        self.count_half_open(false, self.is_half_open(st));
        let deferred = packet.is_some_and(|packet| self.offer(st, packet));
        self.unlock_state(st);
        Some((id, deferred))
    }

    /// # Safety
    ///
    /// The state is fresh.
    unsafe fn start_protocol(&self, st: *mut sys::pf_kstate, proto: u8) {
        // SAFETY: as the caller promises.
        unsafe {
            match u32::from(proto) {
                sys::IPPROTO_TCP => {
                    (*st).timeout = sys::PFTM_TCP_FIRST_PACKET as u8;
                    (*st).src.state = sys::TCPS_SYN_SENT as u8;
                    (*st).src.seqlo = 1000;
                    (*st).src.seqhi = 1001;
                    (*st).src.max_win = 1;
                    (*st).dst.max_win = 1;
                }
                sys::IPPROTO_UDP => (*st).timeout = sys::PFTM_UDP_FIRST_PACKET as u8,
                _ => (*st).timeout = sys::PFTM_ICMP_FIRST_PACKET as u8,
            }
        }
    }

    fn discard(&self, st: *mut sys::pf_kstate, keys: [Option<*mut sys::pf_state_key>; 2]) {
        let heap = &thread::current().kernel.heap;
        let [wire, stack] = keys;
        wire.iter().for_each(|key| heap.free(*key as usize, zone::KEYS.name));
        stack
            .filter(|key| Some(*key) != wire)
            .iter()
            .for_each(|key| heap.free(*key as usize, zone::KEYS.name));
        // SAFETY: the state was never linked.
        unsafe { (*st).timeout = sys::PFTM_UNLINKED as u8 };
        self.free(st);
    }

    /// Frees a state that collided, and those of its keys that pf has not freed.
    fn forget_failed(
        &self,
        st: *mut sys::pf_kstate,
        rule: *mut sys::pf_krule,
        keys: [*mut sys::pf_state_key; 2],
    ) {
        let [wire, stack] = keys;
        // SAFETY: the state is not linked, and only this function has it.
        unsafe {
            *cpu::value_of((*rule).states_cur) -= 1;
            let was_attached = [WIRE, STACK].map(|index| !(*st).key_list[index].tqe_prev.is_null());
            let is_forgotten = match was_attached {
                [false, _] => stack != wire && release::forgets_stack_key(WIRE),
                [true, false] => release::forgets_stack_key(STACK),
                [true, true] => false,
            };
            if is_forgotten {
                thread::current().kernel.heap.free(stack as usize, zone::KEYS.name);
            }
            (*st).timeout = sys::PFTM_UNLINKED as u8;
        }
        self.free(st);
    }

    /// Lets pfsync defer the first packet. The state's row is locked.
    fn offer(&self, st: *mut sys::pf_kstate, packet: &[u8]) -> bool {
        // SAFETY: the row is locked; the variables are the vnet's own.
        let hook = unsafe {
            let nosync = (*st).state_flags & sys::PFSTATE_NOSYNC as u16 != 0;
            (*self.variables).defer.filter(|_| !nosync)
        };
        let Some(hook) = hook else { return false };
        let m = mbuf::received(packet, ptr::null_mut(), usize::MAX);
        // SAFETY: the hook owns the packet if it returns that it does.
        let deferred = into_module(|| unsafe { hook(st, m) }) != 0;
        if !deferred {
            mbuf::free_chain(m);
        }
        deferred
    }

    /// A further packet of a connection, which changes the state. Returns whether
    /// there is such a state.
    pub fn pass(&self, id: Id, change: impl FnOnce(&mut sys::pf_kstate)) -> bool {
        if !self.is_running() {
            return false;
        }
        epoch_enter();
        let found = self.with_rules(|| {
            let Some(st) = self.find(id.id, id.creator) else { return false };
            // SAFETY: found with its row locked.
            unsafe {
                if u32::from((*st).timeout) < sys::PFTM_MAX {
                    self.check_usable(&*st);
                    let before = self.is_half_open(st);
                    change(&mut *st);
                    self.count_half_open(before, self.is_half_open(st));
                    (*st).expire = release::now();
                    (*st).packets[0] += 1;
                    if let Some(hook) = (*self.variables).update {
                        into_module(|| hook(st));
                    }
                }
            }
            self.unlock_state(st);
            true
        });
        epoch_exit();
        found
    }

    /// Ends a state, as `pfctl -k` does.
    pub fn kill(&self, id: Id) {
        if let Some(st) = self.find(id.id, id.creator) {
            self.unlink(st);
        }
    }

    /// Reads every state, while no thread runs.
    pub fn see(&self) -> Vec<Seen> {
        let mut all = Vec::new();
        self.for_each(|st| {
            // SAFETY: linked states live, with their keys and rules.
            unsafe {
                all.push(Seen {
                    id: Id { id: (*st).id, creator: (*st).creatorid },
                    states: [(*st).src.state, (*st).dst.state],
                    seqlo: [(*st).src.seqlo, (*st).dst.seqlo],
                    of_nosync_rule: (**sys::pfs_rules(st)[0]).rule_flag & sys::PFRULE_NOSYNC != 0,
                    timeout: (*st).timeout,
                    generation: self.generation(st),
                });
            }
        });
        all
    }
}
