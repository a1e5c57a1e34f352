//! What the module keeps for each network stack.

use crate::kernel::alloc::Box;
use crate::kernel::epoch::{self, NetEpoch};
use crate::kernel::ifnet::Cloner;
use crate::kernel::softint::SoftInterrupt;
use crate::kernel::sx::{self, Sx};
use crate::kernel::time::{self, Sbt};
use crate::kernel::vnet::Vnet;
use crate::softc::Softc;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicI32, AtomicPtr, Ordering};
use sys_bindings as sys;

/// The pointer to the interface in the current network stack.
fn slot() -> &'static AtomicPtr<Softc> {
    // SAFETY: the VNET variable lives as long as the network stack, which
    // outlives every use: the module takes down its part first. It is only
    // used atomically.
    unsafe { AtomicPtr::from_ptr((&raw mut (*sys::pfs_vnet()).softc).cast()) }
}

/// The interface of the current network stack, if there is one.
pub fn softc(_epoch: &NetEpoch) -> Option<&Softc> {
    // SAFETY: `retract` waits until the network epoch is left before the
    // interface goes.
    unsafe { slot().load(Ordering::Acquire).as_ref() }
}

/// Shows that the thread may configure: interfaces neither come nor go, and
/// nobody else configures, in any network stack.
pub struct Configuration {
    _lock: sx::Guard,
}

impl Configuration {
    /// Waits for others that configure. May sleep.
    pub fn lock() -> Configuration {
        // SAFETY: SX_SYSINIT initialises the lock before any function of the
        // module runs.
        let lock = unsafe { Sx::from_raw(NonNull::new_unchecked(&raw mut sys::pfs_config_lock)) };
        Configuration { _lock: lock.lock() }
    }

    /// The interface of the current network stack, if there is one. Unlike
    /// [`softc`], whoever uses it so may sleep.
    pub fn softc(&self) -> Option<&Softc> {
        // SAFETY: `retract` takes the lock before the interface goes.
        unsafe { slot().load(Ordering::Acquire).as_ref() }
    }
}

/// Shows the interface to the rest. There is none yet.
pub fn publish(softc: Box<Softc>) {
    let _configuration = Configuration::lock();
    slot().store(softc.into_raw(), Ordering::Release);
}

/// Takes the interface back. Nobody uses it any more when this returns. May
/// sleep.
pub fn retract() -> Option<Box<Softc>> {
    let configuration = Configuration::lock();
    let softc = NonNull::new(slot().swap(ptr::null_mut(), Ordering::AcqRel))?;
    drop(configuration);
    epoch::wait();
    // SAFETY: `publish` put it there, and it left the slot once.
    Some(unsafe { Box::from_raw(softc) })
}

/// Keeps the sender's interrupt for [`schedule_sender`].
pub fn keep_sender(sender: SoftInterrupt) {
    let (cookie, event) = sender.into_raw();
    // SAFETY: set before any interface exists, and read after.
    unsafe {
        let vnet = sys::pfs_vnet();
        (*vnet).swi_cookie = cookie;
        (*vnet).swi_event = event;
    }
}

/// Takes the sender's interrupt back. There is no interface any more.
pub fn take_sender() -> Option<SoftInterrupt> {
    // SAFETY: what `keep_sender` put there is taken out once.
    unsafe {
        let vnet = sys::pfs_vnet();
        let cookie = core::mem::replace(&mut (*vnet).swi_cookie, ptr::null_mut());
        let event = core::mem::replace(&mut (*vnet).swi_event, ptr::null_mut());
        (!cookie.is_null()).then(|| SoftInterrupt::from_raw(cookie, event))
    }
}

/// Lets the sender run.
pub fn schedule_sender() {
    // SAFETY: the interrupt is registered as long as there is an interface,
    // whose functions are who calls this.
    unsafe {
        let cookie = (*sys::pfs_vnet()).swi_cookie;
        if !cookie.is_null() {
            SoftInterrupt::schedule_raw(cookie);
        }
    }
}

/// Where the cloner is kept.
fn cloner() -> &'static AtomicPtr<sys::if_clone> {
    // SAFETY: part of the VNET variable, which is only used atomically.
    unsafe { AtomicPtr::from_ptr(&raw mut (*sys::pfs_vnet()).cloner) }
}

/// Keeps the cloner.
pub fn keep_cloner(new: Cloner) {
    cloner().store(new.into_raw(), Ordering::Release);
}

/// Takes the cloner back, once.
pub fn take_cloner() -> Option<Cloner> {
    let taken = cloner().swap(ptr::null_mut(), Ordering::AcqRel);
    // SAFETY: what `keep_cloner` put there is taken out once.
    NonNull::new(taken).map(|taken| unsafe { Cloner::from_raw(taken) })
}

/// Whether unload takes this network stack's part down: then it does not go
/// away before [`release`].
fn claim_flag() -> &'static AtomicI32 {
    // SAFETY: part of the VNET variable, which is only used atomically.
    unsafe { AtomicI32::from_ptr(&raw mut (*sys::pfs_vnet()).claimed) }
}

/// A network stack that still has a part of the module, claimed to be taken
/// down; see [`wait_for_claim`].
pub fn claim_any() -> Option<Vnet> {
    Vnet::find(|| {
        // SAFETY: one word of the VNET variable.
        let registered = unsafe { !(&raw const (*sys::pfs_vnet()).cloner).read_volatile().is_null() };
        registered && claim_flag().swap(1, Ordering::AcqRel) == 0
    })
}

/// The current network stack's part is down: it may go.
pub fn release() {
    claim_flag().store(0, Ordering::Release);
}

/// Waits until nobody takes down the current network stack's part. Sleeping on
/// a lock here would order it against the list of network stacks.
pub fn wait_for_claim() {
    while claim_flag().load(Ordering::Acquire) != 0 {
        time::pause(c"pfsync");
    }
}

/// `net.pfsync.carp_demotion_factor`
pub fn carp_demotion() -> i32 {
    // SAFETY: one word of the VNET variable.
    unsafe { (&raw const (*sys::pfs_vnet()).carp_adj).read_volatile() }
}

/// `net.pfsync.defer_delay`
pub fn defer_delay() -> Sbt {
    // SAFETY: as above.
    time::milliseconds(unsafe { (&raw const (*sys::pfs_vnet()).defer_delay).read_volatile() })
}

/// `net.pfsync.peer_share`, percent.
pub fn peer_share() -> u32 {
    // SAFETY: as above.
    unsafe { (&raw const (*sys::pfs_vnet()).peer_share).read_volatile() }
}

/// `net.pfsync.peer_inserts`, a second.
pub fn peer_inserts() -> u32 {
    // SAFETY: as above.
    unsafe { (&raw const (*sys::pfs_vnet()).peer_inserts).read_volatile() }
}

/// `net.pfsync.peer_requests`, a second.
pub fn peer_requests() -> u32 {
    // SAFETY: as above.
    unsafe { (&raw const (*sys::pfs_vnet()).peer_requests).read_volatile() }
}

/// `net.pfsync.pfsync_buckets`, twice the CPUs unless set at boot.
pub fn bucket_count() -> usize {
    /// More would only cost memory.
    const MAX: u64 = 4096;
    // SAFETY: a tunable that is written at boot and here; whoever comes second
    // writes the same.
    unsafe {
        let buckets = &raw mut sys::pfs_buckets;
        if buckets.read_volatile() == 0 {
            buckets.write_volatile(2 * ptr::addr_of!(sys::mp_ncpus).read() as u64);
        }
        buckets.read_volatile().clamp(1, MAX) as usize
    }
}
