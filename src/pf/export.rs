//! States as they go over the wire.

use super::state::{End, Locked};
use crate::kernel::time;
use crate::wire::State;
use crate::wire::{CompressedUpdate, Direction, Extra, Family, IfName, Key, RouteTo, StateFlags};
use sys_bindings as sys;

/// The bytes of an address.
///
/// # Safety
///
/// `addr` points to an address that nobody writes.
unsafe fn octets(addr: *const sys::pf_addr) -> [u8; 16] {
    // SAFETY: a pf_addr is 16 bytes of any value.
    unsafe { (*addr).__bindgen_anon_1.addr8 }
}

/// The name of an interface as pf knows it.
///
/// # Safety
///
/// `kif` is valid.
unsafe fn name(kif: *const sys::pfi_kkif) -> Option<IfName> {
    // SAFETY: the name does not change as long as the kif is referenced.
    let name = unsafe { (&raw const (*kif).pfik_name).cast::<[u8; 16]>().read() };
    IfName::new(&name).ok()
}

/// The number of a rule.
///
/// # Safety
///
/// `rule` is null or valid.
unsafe fn number(rule: *const sys::pf_krule) -> Option<u32> {
    // SAFETY: as the caller promises.
    unsafe { rule.as_ref() }.map(|rule| rule.nr).filter(|number| *number != u32::MAX)
}

impl Locked<'_> {
    /// One of the state's keys (`PF_SK_*`) as it goes over the wire.
    pub(super) fn wire_key(&self, index: u32) -> Option<Key> {
        // SAFETY: a linked state has its keys.
        unsafe {
            let key = (*self.raw()).key.get(index as usize)?.as_ref()?;
            Some(Key {
                addr: [octets(&key.addr[0]), octets(&key.addr[1])],
                port: key.port.map(u16::to_ne_bytes),
            })
        }
    }

    /// `None` for one that pfsync does not know.
    pub(super) fn family(&self) -> Option<Family> {
        // SAFETY: a linked state has its keys.
        match unsafe { u32::from((*self.raw()).key[sys::PF_SK_WIRE as usize].as_ref()?.af) } {
            sys::AF_INET => Some(Family::Inet),
            sys::AF_INET6 => Some(Family::Inet6),
            _ => None,
        }
    }

    /// `None` for one that pfsync does not know.
    pub(super) fn direction(&self) -> Option<Direction> {
        // SAFETY: set before the state can be found.
        match u32::from(unsafe { (*self.raw()).direction }) {
            sys::PF_IN => Some(Direction::In),
            sys::PF_OUT => Some(Direction::Out),
            _ => None,
        }
    }

    /// The whole state, in the form of message format 1400. `None` when it is
    /// about to go, or is not one that pfsync can describe.
    pub fn export(&self) -> Option<State> {
        if !self.is_alive() {
            return None;
        }
        let uptime = time::uptime();
        // SAFETY: the row is locked; rule, anchor and kif are referenced by a
        // linked state; the keys are there.
        unsafe {
            let st = self.raw();
            let flag = |node: *mut sys::pf_ksrc_node, flag: u32| if node.is_null() { 0 } else { flag as u8 };
            Some(State {
                id: self.id(),
                ifname: name((*st).kif)?,
                wire: self.wire_key(sys::PF_SK_WIRE)?,
                stack: self.wire_key(sys::PF_SK_STACK)?,
                family: self.family()?,
                proto: self.proto(),
                direction: self.direction()?,
                src: self.peer(End::Src),
                dst: self.peer(End::Dst),
                rt_addr: octets(&(*st).rt_addr),
                rule: number((*st).rule.ptr),
                anchor: number((*st).anchor.ptr),
                nat_rule: number((*st).nat_rule.ptr),
                age: uptime.wrapping_sub((*st).creation),
                expires_in: sys::pf_state_expires(st).saturating_sub(uptime),
                packets: (*st).packets,
                bytes: (*st).bytes,
                log: (*st).act.log,
                flags: StateFlags::from_bits_truncate((*st).state_flags),
                timeout: (*st).timeout,
                sync_flags: flag((*st).src_node, sys::PFSYNC_FLAG_SRCNODE)
                    | flag((*st).nat_src_node, sys::PFSYNC_FLAG_NATSRCNODE),
                updates: 0,
                extra: Some(self.export_extra()),
            })
        }
    }

    fn export_extra(&self) -> Extra {
        // SAFETY: the row is locked; rt_kif is null or referenced.
        unsafe {
            let st = self.raw();
            let act = &raw const (*st).act;
            let rt_name = if (*st).rt_kif.is_null() { None } else { name((*st).rt_kif) };
            Extra {
                qid: (*act).qid,
                pqid: (*act).pqid,
                dnpipe: (*act).dnpipe,
                dnrpipe: (*act).dnrpipe,
                rtableid: (*act).rtableid,
                min_ttl: (*act).min_ttl,
                set_tos: (*act).set_tos,
                max_mss: (*act).max_mss,
                set_prio: (*act).set_prio,
                route: match ((*st).rt, rt_name) {
                    (0, _) | (_, None) => RouteTo::No,
                    (kind, Some(ifname)) => RouteTo::Fast { kind, ifname },
                },
            }
        }
    }

    /// What changes in the life of the state. `None` when it is about to go.
    pub fn export_compressed(&self) -> Option<CompressedUpdate> {
        self.is_alive().then(|| CompressedUpdate {
            id: self.id(),
            src: self.peer(End::Src),
            dst: self.peer(End::Dst),
            timeout: self.timeout(),
        })
    }
}
