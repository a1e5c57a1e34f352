// SPDX-License-Identifier: BSD-2-Clause
//! FreeBSD 15.

use crate::*;

/// The newest message format that pf knows, which is the default.
pub const PFSYNC_MSG_VERSION_NEWEST: u32 = PFSYNC_MSG_VERSION_1500;

/// Unlinks a state. FreeBSD 14 calls it so.
pub use crate::pf_remove_state as pf_unlink_state;

/// Whether pf may forget the stack key of a state that it refuses because of its wire key.
pub const PF_FORGETS_AT_WIRE_KEY: bool = false;

/// The same for a state that it refuses because of its stack key.
pub const PF_FORGETS_AT_STACK_KEY: bool = true;

/// A time in a state: milliseconds of uptime.
pub type pfs_time = u64;

/// A second of uptime as a time in a state.
pub fn pfs_time_of(uptime: u32) -> pfs_time {
    u64::from(uptime) * 1000
}

/// A time in a state as a second of uptime.
pub fn pfs_uptime_of(time: pfs_time) -> u32 {
    (time / 1000) as u32
}

/// The time at which a state was created that is `age` seconds old. pf's arithmetic has no
/// times before uptime 0: a state that is older than the system counts as created when
/// the system started.
pub fn pfs_time_ago(uptime: u32, age: u32) -> pfs_time {
    pfs_time_of(uptime.saturating_sub(age))
}

/// Where a state has its rule, its anchor and its NAT rule.
///
/// # Safety
///
/// `st` points to a state.
pub unsafe fn pfs_rules(st: *mut pf_kstate) -> [*mut *mut pf_krule; 3] {
    // SAFETY: only computes addresses.
    unsafe { [&raw mut (*st).rule, &raw mut (*st).anchor, &raw mut (*st).nat_rule] }
}

/// Where a state says how pf routes its packets.
///
/// # Safety
///
/// `st` points to a state.
pub unsafe fn pfs_route(st: *mut pf_kstate) -> pfs_route {
    // SAFETY: only computes addresses.
    unsafe {
        pfs_route {
            kind: &raw mut (*st).act.rt,
            kif: &raw mut (*st).act.rt_kif,
            addr: &raw mut (*st).act.rt_addr,
        }
    }
}

/// The address family of the gateway (`AF_*`). With `prefer-ipv6-nexthop` it may differ
/// from the state's.
///
/// # Safety
///
/// `st` is a state whose row is locked.
pub unsafe fn pfs_route_family(st: *mut pf_kstate) -> u8 {
    // SAFETY: the caller promises that no other thread writes the state.
    unsafe { (*st).act.rt_af }
}

/// Sets the address family of the gateway (`AF_*`).
///
/// # Safety
///
/// `st` is a state that is locked or not linked yet.
pub unsafe fn pfs_set_route_family(st: *mut pf_kstate, af: u8) {
    // SAFETY: the caller promises that no other thread writes the state.
    unsafe { (*st).act.rt_af = af };
}

/// Sets whether packets of a state may have IP options (`allow-opts`). This release looks
/// at the state's actions, and not at its flag.
///
/// # Safety
///
/// `st` is a state that is locked or not linked yet.
pub unsafe fn pfs_set_allow_opts(st: *mut pf_kstate, allow: bool) {
    // SAFETY: the caller promises that no other thread writes the state.
    unsafe { (*st).act.allow_opts = allow.into() };
}

/// Whether a state has source nodes: one that limits the source, and one for
/// translation or routing.
///
/// # Safety
///
/// `st` is a state whose row is locked.
pub unsafe fn pfs_source_nodes(st: *mut pf_kstate) -> [bool; 2] {
    // SAFETY: the caller promises that no other thread writes the state.
    let [limit, nat, route] = unsafe { (*st).sns }.map(|node| !node.is_null());
    [limit, nat || route]
}

/// The rule with that number in the main ruleset, null if there is none.
///
/// # Safety
///
/// The rules are locked.
pub unsafe fn pfs_rule(number: u32) -> *mut pf_krule {
    // SAFETY: the rules are locked, so that the list does not change.
    unsafe {
        let active = &(*pfs_pf_main_ruleset()).rules[PF_RULESET_FILTER as usize].active;
        let mut rule = (*active.ptr).tqh_first;
        while !rule.is_null() && (*rule).nr != number {
            rule = (*rule).entries.tqe_next;
        }
        rule
    }
}

/// The pools of a rule in which it may have its route, in the order in which pf looks.
///
/// # Safety
///
/// `rule` points to a rule.
pub unsafe fn pfs_route_pools(rule: *const pf_krule) -> [*const pf_kpool; 2] {
    // SAFETY: only computes addresses.
    unsafe { [&raw const (*rule).route, &raw const (*rule).rdr] }
}

/// Gives a state's packets a tag. Returns false if there is no memory.
///
/// # Safety
///
/// `st` is a state that is not linked yet, and `name` is terminated.
pub unsafe fn pfs_set_tag(st: *mut pf_kstate, name: &[u8; PF_TAG_NAME_SIZE as usize]) -> bool {
    // SAFETY: no other thread has the state. pf copies the name.
    unsafe {
        (*st).tag = pfs_pf_tag(name.as_ptr().cast());
        (*st).tag != 0
    }
}

/// The name of the tag of a state's packets.
///
/// # Safety
///
/// `st` is a state whose row is locked.
pub unsafe fn pfs_tag(st: *mut pf_kstate) -> Option<[u8; PF_TAG_NAME_SIZE as usize]> {
    // SAFETY: the caller promises that the row is locked. A name has at most that many
    // bytes.
    unsafe {
        let mut name = [0; PF_TAG_NAME_SIZE as usize];
        if (*st).tag == 0 {
            return None;
        }
        pfs_pf_state_tagname(st, name.as_mut_ptr().cast());
        Some(name)
    }
}
