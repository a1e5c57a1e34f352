//! What C stores for each vnet (`struct pfs_vnet` of kmod/shims.h), and the
//! tunable that holds for all of them.

use crate::driver::kernel::ifnet::Cloner;
use crate::driver::kernel::softint::SoftInterrupt;
use crate::driver::kernel::time::{self, Sbt};
use core::ffi::c_void;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicI32, AtomicPtr, Ordering};
use sys_bindings as sys;

/// The operator's settings in one vnet, `net.pfsync.*`.
pub struct Settings {
    /// `carp_demotion_factor`
    pub carp_demotion: i32,
    /// `defer_delay`
    pub defer_delay: Sbt,
    /// `peer_share`, percent.
    pub peer_share: u32,
    /// `peer_inserts`, states a second, 0 for no limit.
    pub peer_inserts: u32,
    /// `peer_requests`, states a second, 0 for no limit.
    pub peer_requests: u32,
}

/// The settings of the current vnet, as they are now.
pub fn settings() -> Settings {
    // SAFETY: the storage lives as long as the vnet. Each field is one word,
    // which sysctl(8) may be writing: any value of it will do.
    unsafe {
        let vnet = sys::pfs_vnet();
        Settings {
            carp_demotion: (&raw const (*vnet).carp_adj).read_volatile(),
            defer_delay: time::milliseconds((&raw const (*vnet).defer_delay).read_volatile()),
            peer_share: (&raw const (*vnet).peer_share).read_volatile(),
            peer_inserts: (&raw const (*vnet).peer_inserts).read_volatile(),
            peer_requests: (&raw const (*vnet).peer_requests).read_volatile(),
        }
    }
}

/// The number of buckets (`net.pfsync.pfsync_buckets`): twice the number of CPUs
/// unless it was set at boot. Never 0.
pub fn bucket_count() -> usize {
    /// More would only cost memory.
    const MAX: u64 = 4096;
    // SAFETY: a tunable that is written at boot and here. If two threads write
    // it here, they write the same.
    unsafe {
        let buckets = &raw mut sys::pfs_buckets;
        let count = match buckets.read_volatile() {
            0 => 2 * ptr::addr_of!(sys::mp_ncpus).read() as u64,
            set => set.min(MAX),
        };
        buckets.write_volatile(count);
        count as usize
    }
}

/// The slot for the current vnet's interface. Only `instance` uses it.
pub fn softc_slot() -> &'static AtomicPtr<c_void> {
    // SAFETY: the storage lives as long as the vnet, which outlives every use:
    // the module takes down its part of a vnet first. The field is only used
    // atomically.
    unsafe { AtomicPtr::from_ptr(&raw mut (*sys::pfs_vnet()).softc) }
}

/// Whether the current vnet has its part of the module: 1 or 0. Only `lifecycle`
/// uses it.
pub fn present() -> &'static AtomicI32 {
    // SAFETY: as in `softc_slot`.
    unsafe { AtomicI32::from_ptr(&raw mut (*sys::pfs_vnet()).present) }
}

/// Stores the sender's interrupt for [`schedule_sender`].
pub fn keep_sender(sender: SoftInterrupt) {
    let (cookie, event) = sender.into_raw();
    // SAFETY: written before any interface exists, and read after.
    unsafe {
        let vnet = sys::pfs_vnet();
        (*vnet).swi_cookie = cookie;
        (*vnet).swi_event = event;
    }
}

/// Takes the sender's interrupt back. There must be no interface any more.
pub fn take_sender() -> Option<SoftInterrupt> {
    // SAFETY: only the one thread that takes down the vnet's part of the module
    // calls this; see `lifecycle::leave`. What `keep_sender` stored is taken out
    // once.
    unsafe {
        let vnet = sys::pfs_vnet();
        let cookie = core::mem::take(&mut (*vnet).swi_cookie);
        let event = core::mem::take(&mut (*vnet).swi_event);
        (!cookie.is_null()).then(|| SoftInterrupt::from_raw(cookie, event))
    }
}

/// Lets the sender run.
pub fn schedule_sender() {
    // SAFETY: the interrupt is registered as long as there is an interface, and
    // only functions of the interface call this.
    unsafe { SoftInterrupt::schedule_raw((*sys::pfs_vnet()).swi_cookie) };
}

fn cloner() -> &'static AtomicPtr<sys::if_clone> {
    // SAFETY: as in `softc_slot`.
    unsafe { AtomicPtr::from_ptr(&raw mut (*sys::pfs_vnet()).cloner) }
}

/// Stores the cloner.
pub fn keep_cloner(new: Cloner) {
    cloner().store(new.into_raw(), Ordering::Release);
}

/// Takes the cloner back, once.
pub fn take_cloner() -> Option<Cloner> {
    let taken = cloner().swap(ptr::null_mut(), Ordering::AcqRel);
    // SAFETY: what `keep_cloner` stored is taken out once.
    NonNull::new(taken).map(|taken| unsafe { Cloner::from_raw(taken) })
}
