// SPDX-License-Identifier: BSD-2-Clause
//! FreeBSD 14.

use crate::*;

/// The newest message format that pf knows, and the default.
pub const PFSYNC_MSG_VERSION_NEWEST: u32 = PFSYNC_MSG_VERSION_1400;

/// Not a flag of states yet.
pub const PFSTATE_PFLOW: u32 = 0;

/// A time in a state: seconds of uptime.
pub type pfs_time = u32;

/// A second of uptime as a state has it.
pub fn pfs_time_of(uptime: u32) -> pfs_time {
    uptime
}

/// The second of uptime of a time in a state.
pub fn pfs_uptime_of(time: pfs_time) -> u32 {
    time
}

/// When a state is as old as that, which may be older than the system.
pub fn pfs_time_ago(uptime: u32, age: u32) -> pfs_time {
    uptime.wrapping_sub(age)
}

/// Where a state has its rule, its anchor and its NAT rule.
///
/// # Safety
///
/// `st` points to a state.
pub unsafe fn pfs_rules(st: *mut pf_kstate) -> [*mut *mut pf_krule; 3] {
    // SAFETY: only addresses are taken.
    unsafe { [&raw mut (*st).rule.ptr, &raw mut (*st).anchor.ptr, &raw mut (*st).nat_rule.ptr] }
}

/// # Safety
///
/// `st` points to a state.
pub unsafe fn pfs_route(st: *mut pf_kstate) -> pfs_route {
    // SAFETY: only addresses are taken.
    unsafe { pfs_route { kind: &raw mut (*st).rt, kif: &raw mut (*st).rt_kif, addr: &raw mut (*st).rt_addr } }
}

/// Address family of the route's address (`AF_*`): the state's.
///
/// # Safety
///
/// `st` is a linked state whose row is locked.
pub unsafe fn pfs_route_family(st: *mut pf_kstate) -> u8 {
    // SAFETY: a linked state has its keys.
    unsafe { (*(*st).key[PF_SK_WIRE as usize]).af }
}

/// # Safety
///
/// `st` is a state that is locked or not linked yet.
pub unsafe fn pfs_set_route_family(_st: *mut pf_kstate, _af: u8) {}

/// Lets packets of a state have IP options (`allow-opts`): pf looks at the
/// state's flag itself.
///
/// # Safety
///
/// `st` is a state that is locked or not linked yet.
pub unsafe fn pfs_set_allow_opts(_st: *mut pf_kstate, _allow: bool) {}

/// Whether a state has source nodes: to limit the source, for its address.
///
/// # Safety
///
/// `st` is a state whose row is locked.
pub unsafe fn pfs_source_nodes(st: *mut pf_kstate) -> [bool; 2] {
    // SAFETY: as the caller promises.
    unsafe { [!(*st).src_node.is_null(), !(*st).nat_src_node.is_null()] }
}

/// The rule of that number in the main ruleset, null if there is none.
///
/// # Safety
///
/// The rules are locked.
pub unsafe fn pfs_rule(number: u32) -> *mut pf_krule {
    // SAFETY: the array has `rcount` entries.
    unsafe {
        let active = &(*pfs_pf_main_ruleset()).rules[PF_RULESET_FILTER as usize].active;
        if number < active.rcount {
            *active.ptr_array.add(number as usize)
        } else {
            core::ptr::null_mut()
        }
    }
}

/// The stack key, if `pf_state_insert` refused a state and left that key to the
/// caller. Up to 14.2 it frees those that it attached, and the wire key when
/// that collides; then it forgets a stack key that it never looked at. Later it
/// frees both, and freeing one again would be worse than a key that is lost.
///
/// # Safety
///
/// `st` was refused just now.
pub unsafe fn pfs_stack_key_left(st: *mut pf_kstate, stack: *mut pf_state_key) -> *mut pf_state_key {
    const FREES_BOTH: i32 = 1403000;
    // SAFETY: a constant of the kernel; the state is the caller's alone.
    let (release, wire_was_attached) =
        unsafe { (osreldate, !(*st).key_list[PF_SK_WIRE as usize].tqe_prev.is_null()) };
    if wire_was_attached || release >= FREES_BOTH {
        core::ptr::null_mut()
    } else {
        stack
    }
}

/// Gives a state's packets a tag. No message carries one here.
///
/// # Safety
///
/// `st` is a state that is not linked yet, `name` terminated.
pub unsafe fn pfs_set_tag(_st: *mut pf_kstate, _name: &[u8; PF_TAG_NAME_SIZE as usize]) -> bool {
    true
}

/// The name of the tag of a state's packets. No message carries it here.
///
/// # Safety
///
/// `st` is a state whose row is locked.
pub unsafe fn pfs_tag(_st: *mut pf_kstate) -> Option<[u8; PF_TAG_NAME_SIZE as usize]> {
    None
}
