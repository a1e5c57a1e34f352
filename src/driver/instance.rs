//! The interface of the current vnet: who may use it, and when it appears and
//! disappears.

use crate::driver::kernel::alloc::Box;
use crate::driver::kernel::epoch::{self, NetEpoch};
use crate::driver::kernel::sx::{self, Sx};
use crate::driver::softc::Softc;
use crate::driver::storage;
use core::ptr::{self, NonNull};
use core::sync::atomic::Ordering;
use sys_bindings as sys;

/// The interface of the current vnet, if there is one.
pub fn current(_epoch: &NetEpoch) -> Option<&Softc> {
    // SAFETY: `publish` stored a Softc. `retract` waits until every thread has
    // left the network epoch before the interface goes.
    unsafe { storage::softc_slot().load(Ordering::Acquire).cast::<Softc>().as_ref() }
}

/// Shows that the thread may configure: interfaces neither come nor go, and no
/// other thread configures, in any vnet.
pub struct Configuration {
    _lock: sx::Guard,
}

impl Configuration {
    /// Waits for other threads that configure. May sleep.
    pub fn lock() -> Configuration {
        // SAFETY: SX_SYSINIT initialises the lock before any function of the
        // module runs.
        let lock = unsafe { Sx::from_raw(NonNull::new_unchecked(&raw mut sys::pfs_config_lock)) };
        Configuration { _lock: lock.lock() }
    }

    /// The interface of the current vnet, if there is one. Unlike with
    /// [`current`], the thread may sleep while it uses the interface.
    pub fn softc(&self) -> Option<&Softc> {
        // SAFETY: `publish` stored a Softc. `retract` takes the lock before the
        // interface goes.
        unsafe { storage::softc_slot().load(Ordering::Acquire).cast::<Softc>().as_ref() }
    }
}

/// Shows the interface to the other threads. There is none yet.
pub fn publish(softc: Box<Softc>) {
    let _configuration = Configuration::lock();
    storage::softc_slot().store(softc.into_raw().cast(), Ordering::Release);
}

/// Takes the interface back. No other thread uses it any more when this returns.
/// May sleep.
pub fn retract() -> Option<Box<Softc>> {
    let configuration = Configuration::lock();
    let softc = NonNull::new(storage::softc_slot().swap(ptr::null_mut(), Ordering::AcqRel))?;
    drop(configuration);
    epoch::wait();
    // SAFETY: `publish` stored it, and it left the slot once.
    Some(unsafe { Box::from_raw(softc.cast()) })
}
