// SPDX-License-Identifier: BSD-2-Clause
//! States as messages carry them.

use super::state::{Kstate, Locked, Side};
use crate::driver::kernel::time;
use crate::wire::{
    Changes, Content, Direction, Endpoint, Family, IfName, Key, RouteTo, RuleActions, StateFlags, StateId,
    TagName,
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
    /// One of the state's keys (`PF_SK_*`). `None` if its address family is one that pfsync
    /// does not know.
    pub(super) fn key(&self, index: u32) -> Option<StateKey<'_>> {
        // SAFETY: a linked state has its keys, which do not change any more.
        let key = unsafe { (*self.raw()).key.get(index as usize)?.as_ref()? };
        Some(StateKey { key, family: family(key.af)? })
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

    /// What a message says about the state. `None` if pf is about to remove the state, or if
    /// pfsync cannot describe it. `may_await_ack`: whether the message may say that a packet
    /// waits for its acknowledgement.
    #[inline(always)]
    pub(crate) fn content(&self, may_await_ack: bool) -> Option<StateContent<'_>> {
        if !self.is_alive() {
            return None;
        }
        let (wire, stack) = (self.key(sys::PF_SK_WIRE)?, self.key(sys::PF_SK_STACK)?);
        // SAFETY: the row is locked. A linked state references its kif.
        let ifname = unsafe { kif_name((*self.raw()).kif) }?;
        Some(StateContent {
            state: Locked::copy(self),
            wire: wire.key,
            stack: stack.key,
            families: [wire.family, stack.family],
            ifname,
            direction: self.direction()?,
            route: self.export_route().unwrap_or(RouteTo::No),
            may_await_ack,
        })
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
}

/// A key of a state.
#[derive(Clone, Copy)]
pub(super) struct StateKey<'a> {
    key: &'a sys::pf_state_key,
    /// Its address family.
    pub(super) family: Family,
}

impl StateKey<'_> {
    /// Whether a message's key is the same, and has the same family and protocol.
    pub(super) fn is_same(self, other: &Key, family: Family, proto: u8) -> bool {
        self.key.proto == proto && self.family == family && on_wire(self.key).is_same(other, family)
    }
}

/// A key as a message carries it.
#[inline(always)]
fn on_wire(key: &sys::pf_state_key) -> Key {
    // SAFETY: nothing writes the addresses of a key in pf's table.
    let addr = unsafe { [octets(&key.addr[0]), octets(&key.addr[1])] };
    Key { addr, port: key.port.map(u16::to_ne_bytes) }
}

/// What a message says about a state in pf's table, read where it lies.
pub(crate) struct StateContent<'a> {
    state: Locked<'a>,
    wire: &'a sys::pf_state_key,
    stack: &'a sys::pf_state_key,
    families: [Family; 2],
    ifname: IfName,
    direction: Direction,
    route: RouteTo,
    may_await_ack: bool,
}

impl StateContent<'_> {
    fn rules(&self) -> [Option<u32>; 3] {
        // SAFETY: the row is locked. A linked state references its rules.
        unsafe { sys::pfs_rules(self.state.raw()).map(|rule| number(*rule)) }
    }
}

impl Changes for Locked<'_> {
    fn id(&self) -> StateId {
        Kstate::id(self)
    }

    fn src(&self) -> Endpoint {
        self.endpoint(Side::Src)
    }

    fn dst(&self) -> Endpoint {
        self.endpoint(Side::Dst)
    }

    fn timeout(&self) -> u8 {
        Locked::timeout(self)
    }
}

impl Changes for StateContent<'_> {
    fn id(&self) -> StateId {
        Kstate::id(&self.state)
    }

    fn src(&self) -> Endpoint {
        self.state.endpoint(Side::Src)
    }

    fn dst(&self) -> Endpoint {
        self.state.endpoint(Side::Dst)
    }

    fn timeout(&self) -> u8 {
        Locked::timeout(&self.state)
    }
}

impl Content for StateContent<'_> {
    fn ifname(&self) -> IfName {
        self.ifname
    }

    fn orig_ifname(&self) -> Option<IfName> {
        // SAFETY: a linked state references its kif.
        unsafe { kif_name((*self.state.raw()).orig_kif) }
    }

    fn wire(&self) -> Key {
        on_wire(self.wire)
    }

    fn stack(&self) -> Key {
        on_wire(self.stack)
    }

    fn family(&self) -> Family {
        let [wire, _] = self.families;
        wire
    }

    fn proto(&self) -> u8 {
        self.wire.proto
    }

    fn stack_family(&self) -> Family {
        let [_, stack] = self.families;
        stack
    }

    fn stack_proto(&self) -> u8 {
        self.stack.proto
    }

    fn direction(&self) -> Direction {
        self.direction
    }

    fn rt_addr(&self) -> [u8; 16] {
        // SAFETY: the row is locked.
        unsafe { octets(sys::pfs_route(self.state.raw()).addr) }
    }

    fn rule(&self) -> Option<u32> {
        let [rule, _, _] = self.rules();
        rule
    }

    fn anchor(&self) -> Option<u32> {
        let [_, anchor, _] = self.rules();
        anchor
    }

    fn nat_rule(&self) -> Option<u32> {
        let [_, _, nat_rule] = self.rules();
        nat_rule
    }

    fn age(&self) -> u32 {
        // SAFETY: the row is locked.
        time::uptime().wrapping_sub(sys::pfs_uptime_of(unsafe { (*self.state.raw()).creation }))
    }

    fn expires_in(&self) -> u32 {
        // SAFETY: the row is locked, and the state is not one that pf is unlinking.
        unsafe { sys::pf_state_expires(self.state.raw()) }.saturating_sub(time::uptime())
    }

    fn packets(&self) -> [u64; 2] {
        // SAFETY: the row is locked.
        unsafe { (*self.state.raw()).packets }
    }

    fn bytes(&self) -> [u64; 2] {
        // SAFETY: the row is locked.
        unsafe { (*self.state.raw()).bytes }
    }

    fn log(&self) -> u8 {
        // SAFETY: the row is locked.
        unsafe { (*self.state.raw()).act.log }
    }

    fn flags(&self) -> StateFlags {
        // SAFETY: the row is locked.
        let flags = StateFlags::from_bits_truncate(unsafe { (*self.state.raw()).state_flags });
        if self.may_await_ack {
            flags
        } else {
            flags - StateFlags::ACK
        }
    }

    fn sync_flags(&self) -> u8 {
        // SAFETY: the row is locked.
        let [limit_node, nat_node] = unsafe { sys::pfs_source_nodes(self.state.raw()) };
        let flag = |has: bool, flag: u32| if has { flag as u8 } else { 0 };
        flag(limit_node, sys::PFSYNC_FLAG_SRCNODE) | flag(nat_node, sys::PFSYNC_FLAG_NATSRCNODE)
    }

    fn updates(&self) -> u8 {
        0
    }

    fn rule_actions(&self) -> Option<RuleActions> {
        // SAFETY: the row is locked.
        unsafe {
            let act = &raw const (*self.state.raw()).act;
            Some(RuleActions {
                qid: (*act).qid,
                pqid: (*act).pqid,
                dnpipe: (*act).dnpipe,
                dnrpipe: (*act).dnrpipe,
                rtableid: (*act).rtableid,
                min_ttl: (*act).min_ttl,
                set_tos: (*act).set_tos,
                max_mss: (*act).max_mss,
                set_prio: (*act).set_prio,
                route: self.route,
            })
        }
    }

    fn gateway_family(&self) -> Option<Family> {
        self.route.gateway_family()
    }

    fn tag(&self) -> Option<TagName> {
        // SAFETY: the row is locked.
        unsafe { sys::pfs_tag(self.state.raw()) }.and_then(|name| TagName::new(&name).ok().flatten())
    }
}
