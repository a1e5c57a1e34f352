// SPDX-License-Identifier: BSD-2-Clause
//! What C stores for the module: `struct pfs_vnet` (kmod/shims.h) in each vnet, and a
//! tunable.

use crate::atomic::{AtomicI32, AtomicPtr, Ordering};
use crate::driver::kernel::ifnet::Cloner;
use crate::driver::kernel::softint::SoftInterrupt;
use crate::driver::kernel::sx::Sx;
use crate::driver::kernel::time::{self, Sbt};
use core::ffi::c_void;
use core::num::NonZeroUsize;
use core::ptr::{self, NonNull};
use sys_bindings as sys;

/// The values of sysctls that belong to a vnet.
pub(crate) struct Sysctls {
    /// `net.pfsync.carp_demotion_factor`
    pub(crate) carp_demotion_factor: i32,
    /// `net.pfsync.defer_delay`
    pub(crate) defer_delay: Sbt,
    /// `net.pfsync.peer_share`, in percent.
    pub(crate) peer_share: u32,
    /// `net.pfsync.peer_inserts`, in states per second, 0 for no limit.
    pub(crate) peer_inserts: u32,
    /// `net.pfsync.peer_requests`, in states per second, 0 for no limit.
    pub(crate) peer_requests: u32,
    /// `net.pfsync.only_peer`
    pub(crate) only_peer: bool,
    /// `net.pfsync.numbered`
    pub(crate) numbered: bool,
    /// `net.pfsync.require_key`
    pub(crate) require_key: bool,
}

/// The values of the current vnet's sysctls at this moment.
pub(crate) fn sysctls() -> Sysctls {
    // SAFETY: the storage lives as long as the vnet. Each field is one word. sysctl(8)
    // may be writing it: this reads the old value or the new one. Nothing orders them, and
    // none says anything about another.
    unsafe {
        let vnet = sys::pfs_vnet();
        Sysctls {
            carp_demotion_factor: (&raw const (*vnet).carp_adj).read_volatile(),
            defer_delay: time::milliseconds((&raw const (*vnet).defer_delay).read_volatile()),
            peer_share: (&raw const (*vnet).peer_share).read_volatile(),
            peer_inserts: (&raw const (*vnet).peer_inserts).read_volatile(),
            peer_requests: (&raw const (*vnet).peer_requests).read_volatile(),
            only_peer: (&raw const (*vnet).only_peer).read_volatile() != 0,
            numbered: (&raw const (*vnet).numbered).read_volatile() != 0,
            require_key: (&raw const (*vnet).require_key).read_volatile() != 0,
        }
    }
}

/// The number of buckets (`net.pfsync.pfsync_buckets`): twice the number of CPUs unless
/// an operator set it at boot.
pub(crate) fn bucket_count() -> NonZeroUsize {
    /// More buckets would only cost memory.
    const MAX: u64 = 4096;
    // SAFETY: the kernel writes the tunable at boot, and after that only this function
    // does. If two threads write it, they write the same, so that no order is needed.
    let count = unsafe {
        let buckets = &raw mut sys::pfs_buckets;
        let count = match buckets.read_volatile() {
            0 => 2 * ptr::addr_of!(sys::mp_ncpus).read() as u64,
            set => set.min(MAX),
        };
        buckets.write_volatile(count);
        count
    };
    NonZeroUsize::new(count as usize).unwrap_or(NonZeroUsize::MIN)
}

/// `net.pfsync.numbered` of the current vnet.
pub(crate) fn is_numbered() -> bool {
    // SAFETY: as in `sysctls`.
    unsafe { (&raw const (*sys::pfs_vnet()).numbered).read_volatile() != 0 }
}

/// The length of the log that remembers what frames told (`net.pfsync.log_entries`).
pub(crate) fn log_entries() -> usize {
    /// 256 MiB.
    const MAX: u32 = 1 << 24;
    // SAFETY: the kernel writes the tunable at boot.
    let entries = unsafe { (&raw const sys::pfs_log_entries).read_volatile() };
    entries.min(MAX) as usize
}

/// The keys of the current vnet (`net.pfsync.key`, `net.pfsync.key_also`): all zeroes stand
/// for no key. `keys` says which threads use them.
pub(crate) fn keys() -> *mut [[u8; 32]; 2] {
    // SAFETY: this only computes the address of a field. The storage lives as long as the
    // vnet.
    unsafe { &raw mut (*sys::pfs_vnet()).keys }
}

/// The pointer to the current vnet's interface, null without one. Only `instance` uses
/// it.
pub(crate) fn softc_slot() -> &'static AtomicPtr<c_void> {
    // SAFETY: the storage lives as long as the vnet, which outlives every use, because
    // the module takes down its part of a vnet first. The field is only used atomically.
    unsafe { AtomicPtr::from_ptr(&raw mut (*sys::pfs_vnet()).softc) }
}

/// The lock of the current vnet's configuration. Only `instance` uses it.
///
/// # Safety
///
/// As for [`Sx::from_raw`].
pub(crate) unsafe fn config_lock() -> Sx {
    // SAFETY: the caller keeps the rule above, and the storage lives as long as the vnet.
    unsafe { Sx::from_raw(NonNull::new_unchecked(&raw mut (*sys::pfs_vnet()).config_lock)) }
}

/// How many threads have the lock of the current vnet's configuration or are about to take it.
/// Only `instance` uses it.
pub(crate) fn config_users() -> &'static AtomicI32 {
    // SAFETY: as in `softc_slot`.
    unsafe { AtomicI32::from_ptr(&raw mut (*sys::pfs_vnet()).config_users) }
}

/// Whether the current vnet has its part of the module: 1 or 0. Only `lifecycle` uses
/// it.
pub(crate) fn present() -> &'static AtomicI32 {
    // SAFETY: as in `softc_slot`.
    unsafe { AtomicI32::from_ptr(&raw mut (*sys::pfs_vnet()).present) }
}

/// Stores the sender's interrupt for [`schedule_sender`].
pub(crate) fn keep_sender(sender: SoftInterrupt) {
    let (cookie, event) = sender.into_raw();
    // SAFETY: written before any interface exists, and read after: publishing the interface
    // orders that.
    unsafe {
        let vnet = sys::pfs_vnet();
        (*vnet).swi_cookie = cookie;
        (*vnet).swi_event = event;
    }
}

/// Takes the sender's interrupt back. There is no interface any more.
pub(crate) fn take_sender() -> Option<SoftInterrupt> {
    // SAFETY: one thread alone takes down the vnet's part of the module and calls this;
    // see `lifecycle::leave`. What `keep_sender` stored is taken out once.
    unsafe {
        let vnet = sys::pfs_vnet();
        let cookie = core::mem::take(&mut (*vnet).swi_cookie);
        let event = core::mem::take(&mut (*vnet).swi_event);
        (!cookie.is_null()).then(|| SoftInterrupt::from_raw(cookie, event))
    }
}

/// Lets the sender of the current vnet run.
pub(crate) fn schedule_sender() {
    // SAFETY: the interrupt is registered as long as there is an interface, and only
    // functions of an interface call this.
    unsafe { SoftInterrupt::schedule_raw((*sys::pfs_vnet()).swi_cookie) };
}

fn cloner() -> &'static AtomicPtr<sys::if_clone> {
    // SAFETY: as in `softc_slot`.
    unsafe { AtomicPtr::from_ptr(&raw mut (*sys::pfs_vnet()).cloner) }
}

/// Stores the cloner. `lifecycle` orders this before [`take_cloner`].
pub(crate) fn keep_cloner(new: Cloner) {
    cloner().store(new.into_raw(), Ordering::Release);
}

/// Takes the cloner back, once.
pub(crate) fn take_cloner() -> Option<Cloner> {
    let taken = cloner().swap(ptr::null_mut(), Ordering::AcqRel);
    // SAFETY: what `keep_cloner` stored is taken out once.
    NonNull::new(taken).map(|taken| unsafe { Cloner::from_raw(taken) })
}
