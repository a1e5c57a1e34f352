// SPDX-License-Identifier: BSD-2-Clause
//! pf's status, limits and counts in the current vnet. Nothing orders them: each is what it was
//! a moment ago.

use crate::atomic::{AtomicU32, Ordering};
use sys_bindings as sys;

/// Whether pf is enabled and filters.
pub(crate) fn is_running() -> bool {
    // SAFETY: pf's status lives as long as the vnet, and the field is one word.
    unsafe { (&raw const (*sys::pfs_pf_status()).running).read_volatile() != 0 }
}

/// When pf was enabled or disabled last, or its counters were cleared, in seconds of the
/// wall clock. It differs after pf was restarted.
pub(crate) fn since() -> u32 {
    // SAFETY: as in `is_running`.
    unsafe { (&raw const (*sys::pfs_pf_status()).since).read_volatile() }
}

/// The host id of this firewall, in network byte order.
pub(crate) fn host_id() -> [u8; 4] {
    // SAFETY: as in `is_running`.
    unsafe { (&raw const (*sys::pfs_pf_status()).hostid).read_volatile().to_ne_bytes() }
}

/// The MD5 checksum of the ruleset. If the rules are being replaced, it may be a mix of
/// both checksums; a peer then trusts no rule number of the packet.
pub(crate) fn checksum() -> [u8; 16] {
    const { assert!(core::mem::offset_of!(sys::pf_kstatus, pf_chksum) % align_of::<u64>() == 0) };
    // SAFETY: pf's status lives as long as the vnet. The field is an array of bytes,
    // which may have any value, and is aligned for words.
    let [low, high] =
        unsafe { (&raw const (*sys::pfs_pf_status()).pf_chksum).cast::<[u64; 2]>().read_volatile() };
    zerocopy::transmute!([low, high])
}

/// Keeps pf's count of half-open connections, by which pf turns syncookies on and off,
/// when a state was half open `before` or is so `now`.
pub(super) fn count_half_open(before: bool, now: bool) {
    if before == now {
        return;
    }
    // SAFETY: pf's status lives as long as the vnet, and pf changes this word only
    // atomically. Relaxed, as pf's own additions: no other memory belongs to the count.
    let count = unsafe { AtomicU32::from_ptr(&raw mut (*sys::pfs_pf_status()).states_halfopen) };
    if now {
        count.fetch_add(1, Ordering::Relaxed);
    } else {
        count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The number of states: those in the table, and those that pf is inserting or
/// freeing.
pub(crate) fn states() -> u64 {
    // SAFETY: pf's zone of states lives as long as pf.
    u64::try_from(unsafe { sys::uma_zone_get_cur(sys::pfs_pf_state_z()) }).unwrap_or(0)
}

/// The number of states that pf allows (`set limit states`), 0 for no limit.
pub(crate) fn state_limit() -> u64 {
    // SAFETY: only reads one word.
    u64::from(unsafe { sys::pfs_pf_state_limit() })
}

/// The number of routing tables (FIBs) that the system has.
pub(crate) fn routing_tables() -> u32 {
    // SAFETY: only reads one word.
    unsafe { sys::pfs_rt_numfibs() }
}
