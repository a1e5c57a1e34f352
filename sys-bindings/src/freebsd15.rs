// SPDX-License-Identifier: BSD-2-Clause
//! FreeBSD 15.

use crate::*;

/// The newest message format that pf knows, and the default.
pub const PFSYNC_MSG_VERSION_NEWEST: u32 = PFSYNC_MSG_VERSION_1500;

/// Unlinks a state, as it was called before.
pub use crate::pf_remove_state as pf_unlink_state;

/// A time in a state: milliseconds of uptime.
pub type pfs_time = u64;

/// A second of uptime as a state has it.
pub fn pfs_time_of(uptime: u32) -> pfs_time {
    u64::from(uptime) * 1000
}

/// The second of uptime of a time in a state.
pub fn pfs_uptime_of(time: pfs_time) -> u32 {
    (time / 1000) as u32
}

/// When a state is as old as that. pf's arithmetic has no time before uptime 0:
/// a state that is older than the system counts as made when that came up.
pub fn pfs_time_ago(uptime: u32, age: u32) -> pfs_time {
    pfs_time_of(uptime.saturating_sub(age))
}

/// Where a state has its rule, its anchor and its NAT rule.
///
/// # Safety
///
/// `st` points to a state.
pub unsafe fn pfs_rules(st: *mut pf_kstate) -> [*mut *mut pf_krule; 3] {
    // SAFETY: only addresses are taken.
    unsafe { [&raw mut (*st).rule, &raw mut (*st).anchor, &raw mut (*st).nat_rule] }
}

/// # Safety
///
/// `st` points to a state.
pub unsafe fn pfs_route(st: *mut pf_kstate) -> pfs_route {
    // SAFETY: only addresses are taken.
    unsafe {
        pfs_route {
            kind: &raw mut (*st).act.rt,
            kif: &raw mut (*st).act.rt_kif,
            addr: &raw mut (*st).act.rt_addr,
        }
    }
}

/// Address family of the route's address (`AF_*`): with `prefer-ipv6-nexthop`
/// not always the state's.
///
/// # Safety
///
/// `st` is a state whose row is locked.
pub unsafe fn pfs_route_family(st: *mut pf_kstate) -> u8 {
    // SAFETY: as the caller promises.
    unsafe { (*st).act.rt_af }
}

/// # Safety
///
/// `st` is a state that is locked or not linked yet.
pub unsafe fn pfs_set_route_family(st: *mut pf_kstate, af: u8) {
    // SAFETY: as the caller promises.
    unsafe { (*st).act.rt_af = af };
}

/// Lets packets of a state have IP options (`allow-opts`): pf looks at the
/// actions, not at the state's flag.
///
/// # Safety
///
/// `st` is a state that is locked or not linked yet.
pub unsafe fn pfs_set_allow_opts(st: *mut pf_kstate, allow: bool) {
    // SAFETY: as the caller promises.
    unsafe { (*st).act.allow_opts = allow.into() };
}

/// Whether a state has source nodes: to limit the source, for its address.
///
/// # Safety
///
/// `st` is a state whose row is locked.
pub unsafe fn pfs_source_nodes(st: *mut pf_kstate) -> [bool; 2] {
    // SAFETY: as the caller promises.
    let [limit, nat, route] = unsafe { (*st).sns }.map(|node| !node.is_null());
    [limit, nat || route]
}

/// The rule of that number in the main ruleset, null if there is none.
///
/// # Safety
///
/// The rules are locked.
pub unsafe fn pfs_rule(number: u32) -> *mut pf_krule {
    // SAFETY: the list of rules stays while they are locked.
    unsafe {
        let active = &(*pfs_pf_main_ruleset()).rules[PF_RULESET_FILTER as usize].active;
        let mut rule = (*active.ptr).tqh_first;
        while !rule.is_null() && (*rule).nr != number {
            rule = (*rule).entries.tqe_next;
        }
        rule
    }
}

/// The stack key, if `pf_state_insert` refused a state and left that key to the
/// caller: it frees both.
///
/// # Safety
///
/// `st` was refused just now.
pub unsafe fn pfs_stack_key_left(_st: *mut pf_kstate, _stack: *mut pf_state_key) -> *mut pf_state_key {
    core::ptr::null_mut()
}

/// Gives a state's packets a tag. Returns whether there was memory.
///
/// # Safety
///
/// `st` is a state that is not linked yet, `name` terminated.
pub unsafe fn pfs_set_tag(st: *mut pf_kstate, name: &[u8; PF_TAG_NAME_SIZE as usize]) -> bool {
    // SAFETY: as the caller promises; pf copies the name.
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
    // SAFETY: as the caller promises; a name takes that many bytes at most.
    unsafe {
        let mut name = [0; PF_TAG_NAME_SIZE as usize];
        if (*st).tag == 0 {
            return None;
        }
        pfs_pf_state_tagname(st, name.as_mut_ptr().cast());
        Some(name)
    }
}
