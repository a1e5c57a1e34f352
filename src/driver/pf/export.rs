// SPDX-License-Identifier: BSD-2-Clause
//! States as messages carry them.

use super::state::{Locked, Side};
use crate::driver::kernel::time;
use crate::wire::{
    CompressedUpdate, Direction, Family, IfName, Key, RouteTo, RuleActions, State, StateFlags, TagName,
};
use sys_bindings as sys;

/// The bytes of an address.
///
/// # Safety
///
/// `addr` points to an address that no thread writes.
unsafe fn octets(addr: *const sys::pf_addr) -> [u8; 16] {
    // SAFETY: a pf_addr is 16 bytes of any value.
    unsafe { (*addr).__bindgen_anon_1.addr8 }
}

/// The name of a kif, an interface as pf knows it.
///
/// # Safety
///
/// `kif` is valid.
pub(super) unsafe fn kif_name(kif: *const sys::pfi_kkif) -> Option<IfName> {
    // SAFETY: the caller promises that the kif is valid. Its name does not change.
    let name = unsafe { (&raw const (*kif).pfik_name).cast::<[u8; 16]>().read() };
    IfName::new(&name).ok()
}

/// The name of the kif that a floating state is bound to (`V_pfi_all`).
pub(super) const FLOATING: &[u8] = b"all";

/// The number of a rule.
///
/// # Safety
///
/// `rule` is null or valid.
unsafe fn number(rule: *const sys::pf_krule) -> Option<u32> {
    // SAFETY: the caller promises that the rule is null or valid.
    unsafe { rule.as_ref() }.map(|rule| rule.nr).filter(|number| *number != u32::MAX)
}

/// The address family with that number (`AF_*`). `None` for a family that pfsync does
/// not know.
fn family(af: u8) -> Option<Family> {
    match u32::from(af) {
        sys::AF_INET => Some(Family::Inet),
        sys::AF_INET6 => Some(Family::Inet6),
        _ => None,
    }
}

impl Locked<'_> {
    /// One of the state's keys (`PF_SK_*`) as a message carries it, with its address
    /// family and protocol. `None` for a family that pfsync does not know.
    pub(super) fn wire_key(&self, index: u32) -> Option<(Key, Family, u8)> {
        // SAFETY: a linked state has its keys.
        unsafe {
            let key = (*self.raw()).key.get(index as usize)?.as_ref()?;
            let on_wire = Key {
                addr: [octets(&key.addr[0]), octets(&key.addr[1])],
                port: key.port.map(u16::to_ne_bytes),
            };
            Some((on_wire, family(key.af)?, key.proto))
        }
    }

    /// The direction of the packet that created the state. `None` for one that pfsync
    /// does not know.
    pub(super) fn direction(&self) -> Option<Direction> {
        // SAFETY: pf sets the direction before other threads can find the state.
        match u32::from(unsafe { (*self.raw()).direction }) {
            sys::PF_IN => Some(Direction::In),
            sys::PF_OUT => Some(Direction::Out),
            _ => None,
        }
    }

    /// The interface that the state was created on.
    pub(crate) fn original_interface(&self) -> Option<IfName> {
        // SAFETY: a linked state references its kif.
        unsafe { kif_name((*self.raw()).orig_kif) }
    }

    /// The tag of the state's packets. This costs more than exporting all the rest.
    pub(crate) fn tag(&self) -> Option<TagName> {
        // SAFETY: the row is locked.
        unsafe { sys::pfs_tag(self.raw()) }.and_then(|name| TagName::new(&name).ok().flatten())
    }

    /// The state without its tag and without the interface that it was created on.
    /// `None` if pf is about to remove the state, or if pfsync cannot describe it.
    /// Inlined, so that a state goes straight into its message.
    #[inline(always)]
    pub(crate) fn export(&self) -> Option<State> {
        if !self.is_alive() {
            return None;
        }
        let uptime = time::uptime();
        let (wire, family, proto) = self.wire_key(sys::PF_SK_WIRE)?;
        let (stack, stack_family, stack_proto) = self.wire_key(sys::PF_SK_STACK)?;
        // SAFETY: the row is locked. A linked state references its rules and kifs.
        unsafe {
            let st = self.raw();
            let [rule, anchor, nat_rule] = sys::pfs_rules(st);
            let [limit_node, nat_node] = sys::pfs_source_nodes(st);
            let flag = |has: bool, flag: u32| if has { flag as u8 } else { 0 };
            Some(State {
                id: self.id(),
                ifname: kif_name((*st).kif)?,
                orig_ifname: None,
                wire,
                stack,
                family,
                proto,
                stack_family,
                stack_proto,
                direction: self.direction()?,
                src: self.endpoint(Side::Src),
                dst: self.endpoint(Side::Dst),
                rt_addr: octets(sys::pfs_route(st).addr),
                rule: number(*rule),
                anchor: number(*anchor),
                nat_rule: number(*nat_rule),
                age: uptime.wrapping_sub(sys::pfs_uptime_of((*st).creation)),
                expires_in: sys::pf_state_expires(st).saturating_sub(uptime),
                packets: (*st).packets,
                bytes: (*st).bytes,
                log: (*st).act.log,
                flags: StateFlags::from_bits_truncate((*st).state_flags),
                timeout: (*st).timeout,
                sync_flags: flag(limit_node, sys::PFSYNC_FLAG_SRCNODE)
                    | flag(nat_node, sys::PFSYNC_FLAG_NATSRCNODE),
                updates: 0,
                rule_actions: Some(self.export_rule_actions()),
                tag: None,
            })
        }
    }

    /// The actions that a rule gave to the state.
    fn export_rule_actions(&self) -> RuleActions {
        // SAFETY: the row is locked.
        unsafe {
            let st = self.raw();
            let act = &raw const (*st).act;
            RuleActions {
                qid: (*act).qid,
                pqid: (*act).pqid,
                dnpipe: (*act).dnpipe,
                dnrpipe: (*act).dnrpipe,
                rtableid: (*act).rtableid,
                min_ttl: (*act).min_ttl,
                set_tos: (*act).set_tos,
                max_mss: (*act).max_mss,
                set_prio: (*act).set_prio,
                route: self.export_route().unwrap_or(RouteTo::No),
            }
        }
    }

    /// How pf routes the state's packets. `None` without an interface to route to.
    fn export_route(&self) -> Option<RouteTo> {
        // SAFETY: the row is locked. The route's kif is null or referenced.
        unsafe {
            let route = sys::pfs_route(self.raw());
            let (kind, kif) = (*route.kind, *route.kif);
            if kind == 0 || kif.is_null() {
                return None;
            }
            Some(RouteTo::Via {
                kind,
                ifname: kif_name(kif)?,
                family: family(sys::pfs_route_family(self.raw()))?,
            })
        }
    }

    /// What changes in the life of the state. `None` if pf is about to remove it.
    pub(crate) fn export_compressed(&self) -> Option<CompressedUpdate> {
        self.is_alive().then(|| CompressedUpdate {
            id: self.id(),
            src: self.endpoint(Side::Src),
            dst: self.endpoint(Side::Dst),
            timeout: self.timeout(),
        })
    }
}
