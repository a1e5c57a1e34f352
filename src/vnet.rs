//! What the module keeps for each network stack.

use crate::kernel::alloc::Box;
use crate::kernel::epoch::{self, NetEpoch};
use crate::kernel::ifnet::{Cloner, DetachLock};
use crate::kernel::softint::SoftInterrupt;
use crate::kernel::sx::{self, Sx};
use crate::kernel::time::{self, Sbt};
use crate::kernel::vnet::Vnet;
use crate::softc::Softc;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicUsize, Ordering};
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
    // SAFETY: only the one thread that takes the stack's part down does
    // this, see `claim`. What `keep_sender` put there is taken
    // out once.
    unsafe {
        let vnet = sys::pfs_vnet();
        let cookie = core::mem::take(&mut (*vnet).swi_cookie);
        let event = core::mem::take(&mut (*vnet).swi_event);
        (!cookie.is_null()).then(|| SoftInterrupt::from_raw(cookie, event))
    }
}

/// Lets the sender run.
pub fn schedule_sender() {
    // SAFETY: the interrupt is registered as long as there is an interface,
    // whose functions are who calls this.
    unsafe { SoftInterrupt::schedule_raw((*sys::pfs_vnet()).swi_cookie) };
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

/// Whether the current network stack has its part of the module: 1 or 0.
fn present() -> &'static AtomicI32 {
    // SAFETY: part of the VNET variable, which is only used atomically.
    unsafe { AtomicI32::from_ptr(&raw mut (*sys::pfs_vnet()).present) }
}

/// Whether it falls to the caller to take down the current network stack's
/// part.
fn claim() -> bool {
    present().swap(0, Ordering::AcqRel) != 0
}

/// Network stacks that have a part of the module, or are about to find out
/// whether they get one.
static STACKS: AtomicUsize = AtomicUsize::new(0);

/// Set when unload begins: no network stack gets a part of the module any
/// more.
static UNLOADING: AtomicBool = AtomicBool::new(false);

/// Gives the current network stack its part of the module by `start`, unless
/// the module is being unloaded.
pub fn enter(start: impl FnOnce()) {
    // Either this sees that unload began, or unload sees that this did.
    STACKS.fetch_add(1, Ordering::SeqCst);
    if UNLOADING.load(Ordering::SeqCst) {
        STACKS.fetch_sub(1, Ordering::SeqCst);
        return;
    }
    start();
    present().store(1, Ordering::Release);
}

/// Takes down the current network stack's part by `stop`, unless unload has.
/// May sleep.
pub fn leave(stop: impl FnOnce()) {
    if claim() {
        stop();
        STACKS.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Takes down every network stack's part. May sleep.
pub fn leave_all(stop: impl Fn()) {
    UNLOADING.store(true, Ordering::SeqCst);
    while STACKS.load(Ordering::SeqCst) > 0 {
        // Network stacks end under this lock, and so not while one is being
        // left here; and who ends them never has to wait for who is here.
        let detaching = DetachLock::lock();
        let found = Vnet::find(|| present().load(Ordering::Acquire) != 0);
        if let Some(vnet) = found {
            vnet.with(|| leave(&stop));
        }
        drop(detaching);
        if found.is_none() {
            // One that starts is not in the list yet, and one that ends no more.
            time::pause(c"pfsync");
        }
    }
}

/// `net.pfsync.carp_demotion_factor`
pub fn carp_demotion() -> i32 {
    // SAFETY: one word of the VNET variable, which an operator may be writing.
    unsafe { (&raw const (*sys::pfs_vnet()).carp_adj).read_volatile() }
}

/// `net.pfsync.defer_delay`
pub fn defer_delay() -> Sbt {
    // SAFETY: as in `carp_demotion`.
    time::milliseconds(unsafe { (&raw const (*sys::pfs_vnet()).defer_delay).read_volatile() })
}

/// `net.pfsync.peer_share`, percent.
pub fn peer_share() -> u32 {
    // SAFETY: as in `carp_demotion`.
    unsafe { (&raw const (*sys::pfs_vnet()).peer_share).read_volatile() }
}

/// `net.pfsync.peer_inserts`, a second.
pub fn peer_inserts() -> u32 {
    // SAFETY: as in `carp_demotion`.
    unsafe { (&raw const (*sys::pfs_vnet()).peer_inserts).read_volatile() }
}

/// `net.pfsync.peer_requests`, a second.
pub fn peer_requests() -> u32 {
    // SAFETY: as in `carp_demotion`.
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
        let count = match buckets.read_volatile() {
            0 => 2 * ptr::addr_of!(sys::mp_ncpus).read() as u64,
            set => set.min(MAX),
        };
        buckets.write_volatile(count);
        count as usize
    }
}
