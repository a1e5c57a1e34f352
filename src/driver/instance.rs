// SPDX-License-Identifier: BSD-2-Clause
//! The interface of the current vnet: which threads may use it, and how it appears and
//! disappears. `tests/models` has models of both.

use crate::atomic::Ordering;
use crate::driver::kernel::alloc::KBox;
use crate::driver::kernel::epoch::{self, NetEpoch};
use crate::driver::kernel::sx;
use crate::driver::kernel::time;
use crate::driver::softc::Softc;
use crate::driver::storage;
use core::ptr::{self, NonNull};

/// The interface of the current vnet, if there is one.
pub(crate) fn current(_epoch: &NetEpoch) -> Option<&Softc> {
    // SAFETY: `publish` stored a Softc. `retract` takes it out of the slot, and waits
    // until every thread has left the network epoch, before the Softc is dropped. Acquire,
    // with the release of `publish`: the Softc is complete.
    unsafe { storage::softc_slot().load(Ordering::Acquire).cast::<Softc>().as_ref() }
}

/// Proves that the thread may configure: no other thread configures or destroys the
/// interface of this vnet.
#[must_use = "dropping it unlocks the lock"]
pub(crate) struct Configuration {
    /// Dropped first.
    _lock: sx::Guard,
    _user: User,
}

/// A thread that has the lock, or is about to take it.
struct User;

impl User {
    fn enter() -> User {
        storage::config_users().fetch_add(1, Ordering::SeqCst);
        User
    }
}

impl Drop for User {
    fn drop(&mut self) {
        storage::config_users().fetch_sub(1, Ordering::SeqCst);
    }
}

/// Whether the current vnet has an interface that the kernel has not put into the list of its
/// cloner yet. May sleep.
pub(crate) fn is_being_made() -> bool {
    let configuration = Configuration::lock();
    let softc = configuration.as_ref().and_then(Configuration::softc);
    softc.is_some_and(|softc| !softc.ifp.is_in_cloner_list())
}

/// Makes the lock of the current vnet's configuration, before there is an interface.
pub(crate) fn make_lock() {
    // SAFETY: `destroy_lock` ends the lock. Nobody uses it yet: there is no interface.
    unsafe { storage::config_lock().init(c"pfsync config") };
}

/// Ends the lock of the current vnet's configuration. There is no interface any more. May
/// sleep.
pub(crate) fn destroy_lock() {
    // This load also acquires what the last user did with the lock, which `User` releases.
    while storage::config_users().load(Ordering::SeqCst) > 0 {
        time::pause(c"pfsync");
    }
    // SAFETY: `make_lock` made the lock. A thread that comes now finds no interface, and leaves
    // the lock alone.
    unsafe { storage::config_lock().destroy() };
}

impl Configuration {
    /// Waits for another thread that configures. `None` if the current vnet has no interface.
    /// May sleep.
    pub(crate) fn lock() -> Option<Configuration> {
        // Either this thread finds no interface, or `destroy_lock` finds this thread, because
        // the operations on both words are sequentially consistent. So the lock is there.
        let user = User::enter();
        if storage::softc_slot().load(Ordering::SeqCst).is_null() {
            return None;
        }
        // SAFETY: the lock is initialised as long as there is an interface, and after that
        // until no thread uses it.
        let lock = unsafe { storage::config_lock() };
        Some(Configuration { _lock: lock.lock(), _user: user })
    }

    /// The interface of the current vnet, if there still is one. Unlike with [`current`], the
    /// thread may sleep while it uses the interface.
    pub(crate) fn softc(&self) -> Option<&Softc> {
        // SAFETY: `publish` stored a Softc. `retract` locks this lock to take it out of
        // the slot, before the Softc is dropped. Acquire: as in `current`.
        unsafe { storage::softc_slot().load(Ordering::Acquire).cast::<Softc>().as_ref() }
    }
}

/// Makes the interface visible to other threads. The vnet has none yet.
pub(crate) fn publish(softc: KBox<Softc>) {
    storage::softc_slot().store(softc.into_raw().cast(), Ordering::Release);
}

/// Takes the interface back. When this returns, no other thread uses it any more. May
/// sleep.
pub(crate) fn retract() -> Option<KBox<Softc>> {
    let configuration = Configuration::lock()?;
    let softc = NonNull::new(storage::softc_slot().swap(ptr::null_mut(), Ordering::SeqCst))?;
    drop(configuration);
    epoch::wait();
    // SAFETY: `publish` stored the Softc, and it left the slot once.
    Some(unsafe { KBox::from_raw(softc.cast()) })
}
