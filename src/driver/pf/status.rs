//! pf's global status, in the current network stack.

use core::sync::atomic::{AtomicU32, Ordering};
use sys_bindings as sys;

/// Whether pf filters.
pub fn is_running() -> bool {
    // SAFETY: one word of pf's status is read.
    unsafe { (&raw const (*sys::pfs_pf_status()).running).read_volatile() != 0 }
}

/// This firewall's host id, in network byte order.
pub fn host_id() -> [u8; 4] {
    // SAFETY: as above.
    unsafe { (&raw const (*sys::pfs_pf_status()).hostid).read_volatile().to_ne_bytes() }
}

/// MD5 over the ruleset. Torn if the rules are being replaced; a peer then
/// trusts no rule number of that packet.
pub fn checksum() -> [u8; 16] {
    // SAFETY: sixteen bytes of pf's status are read.
    unsafe { (&raw const (*sys::pfs_pf_status()).pf_chksum).read_volatile() }
}

/// Keeps pf's count of half-open connections, by which it turns syncookies on
/// and off, for a state that was one or not and is one or not now.
pub(super) fn count_half_open(before: bool, now: bool) {
    // SAFETY: a word of pf's status, which is only changed atomically while pf
    // runs, and lives as long as the network stack.
    let count = unsafe { AtomicU32::from_ptr(&raw mut (*sys::pfs_pf_status()).states_halfopen) };
    match (before, now) {
        (true, false) => count.fetch_sub(1, Ordering::Relaxed),
        (false, true) => count.fetch_add(1, Ordering::Relaxed),
        _ => return,
    };
}

/// States that there are, in the table or on their way in or out of it.
pub fn states() -> u64 {
    // SAFETY: asks pf's zone of states, which lives as long as pf.
    u64::try_from(unsafe { sys::uma_zone_get_cur(sys::pfs_pf_state_z()) }).unwrap_or(0)
}

/// States that there may be (`set limit states`), 0 for any number.
pub fn state_limit() -> u64 {
    // SAFETY: one word of pf's limits is read.
    u64::from(unsafe { sys::pfs_pf_state_limit() })
}

/// Number of routing tables that the system has.
pub fn routing_tables() -> u32 {
    // SAFETY: reads a word of the kernel.
    unsafe { sys::pfs_rt_numfibs() }
}
