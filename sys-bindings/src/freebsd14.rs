// SPDX-License-Identifier: BSD-2-Clause
//! FreeBSD 14.

use crate::*;

/// The newest message format that pf knows, which is the default.
pub const PFSYNC_MSG_VERSION_NEWEST: u32 = PFSYNC_MSG_VERSION_1400;

/// 0: this release has no such flag of states.
pub const PFSTATE_PFLOW: u32 = 0;

/// Whether pf may forget the stack key of a state that it refuses because of its wire key.
pub const PF_FORGETS_AT_WIRE_KEY: bool = true;

/// The same for a state that it refuses because of its stack key.
pub const PF_FORGETS_AT_STACK_KEY: bool = false;

/// A time in a state: seconds of uptime.
pub type pfs_time = u32;

/// A second of uptime as a time in a state.
pub fn pfs_time_of(uptime: u32) -> pfs_time {
    uptime
}

/// A time in a state as a second of uptime.
pub fn pfs_uptime_of(time: pfs_time) -> u32 {
    time
}

/// The time at which a state was created that is `age` seconds old. It wraps around for a
/// state that is older than the system.
pub fn pfs_time_ago(uptime: u32, age: u32) -> pfs_time {
    uptime.wrapping_sub(age)
}

/// Where a state has its rule, its anchor and its NAT rule.
///
/// # Safety
///
/// `st` points to a state.
pub unsafe fn pfs_rules(st: *mut pf_kstate) -> [*mut *mut pf_krule; 3] {
    // SAFETY: only computes addresses.
    unsafe { [&raw mut (*st).rule.ptr, &raw mut (*st).anchor.ptr, &raw mut (*st).nat_rule.ptr] }
}

/// Where a state says how pf routes its packets.
///
/// # Safety
///
/// `st` points to a state.
pub unsafe fn pfs_route(st: *mut pf_kstate) -> pfs_route {
    // SAFETY: only computes addresses.
    unsafe { pfs_route { kind: &raw mut (*st).rt, kif: &raw mut (*st).rt_kif, addr: &raw mut (*st).rt_addr } }
}

/// The address family of the gateway (`AF_*`), which is the state's.
///
/// # Safety
///
/// `st` is a linked state whose row is locked.
pub unsafe fn pfs_route_family(st: *mut pf_kstate) -> u8 {
    // SAFETY: a linked state has its keys.
    unsafe { (*(*st).key[PF_SK_WIRE as usize]).af }
}

/// Sets the address family of the gateway, which this release does not store.
///
/// # Safety
///
/// `st` is a state that is locked or not linked yet.
pub unsafe fn pfs_set_route_family(_st: *mut pf_kstate, _af: u8) {}

/// Sets whether packets of a state may have IP options (`allow-opts`). This release looks
/// at the state's flag instead.
///
/// # Safety
///
/// `st` is a state that is locked or not linked yet.
pub unsafe fn pfs_set_allow_opts(_st: *mut pf_kstate, _allow: bool) {}

/// Whether a state has source nodes: one that limits the source, and one for
/// translation or routing.
///
/// # Safety
///
/// `st` is a state whose row is locked.
pub unsafe fn pfs_source_nodes(st: *mut pf_kstate) -> [bool; 2] {
    // SAFETY: the caller promises that the row is locked.
    unsafe { [!(*st).src_node.is_null(), !(*st).nat_src_node.is_null()] }
}

/// The rule with that number in the main ruleset, null if there is none.
///
/// # Safety
///
/// The rules are locked.
pub unsafe fn pfs_rule(number: u32) -> *mut pf_krule {
    // SAFETY: the rules are locked, and the array has `rcount` entries.
    unsafe {
        let active = &(*pfs_pf_main_ruleset()).rules[PF_RULESET_FILTER as usize].active;
        if number < active.rcount {
            *active.ptr_array.add(number as usize)
        } else {
            core::ptr::null_mut()
        }
    }
}

/// The pools of a rule in which it may have its route, in the order in which pf looks.
///
/// # Safety
///
/// `rule` points to a rule.
pub unsafe fn pfs_route_pools(rule: *const pf_krule) -> [*const pf_kpool; 1] {
    // SAFETY: only computes an address.
    unsafe { [&raw const (*rule).rpool] }
}

/// Does nothing: no message carries a tag in this release.
///
/// # Safety
///
/// `st` is a state that is not linked yet, and `name` is terminated.
pub unsafe fn pfs_set_tag(_st: *mut pf_kstate, _name: &[u8; PF_TAG_NAME_SIZE as usize]) -> bool {
    true
}

/// `None`: no message carries a tag in this release.
///
/// # Safety
///
/// `st` is a state whose row is locked.
pub unsafe fn pfs_tag(_st: *mut pf_kstate) -> Option<[u8; PF_TAG_NAME_SIZE as usize]> {
    None
}
