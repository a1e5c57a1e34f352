// SPDX-License-Identifier: BSD-2-Clause
//! The network epoch (epoch(9)): what a thread finds in an epoch section stays
//! valid until the thread leaves the section.

use super::alloc::KBox;
use crate::atomic::{AtomicPtr, Ordering};
use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::{self, NonNull};
use sys_bindings as sys;

/// Proves that the thread is in the network epoch. It is lent to a closure, which
/// cannot keep it.
pub(crate) struct NetEpoch {
    thread: PhantomData<*const ()>,
}

/// Runs `inside` in the network epoch. Sections may nest.
pub(crate) fn enter<R>(inside: impl FnOnce(&NetEpoch) -> R) -> R {
    // SAFETY: a tracker needs no initial value.
    let mut tracker = unsafe { core::mem::zeroed::<sys::epoch_tracker>() };
    // SAFETY: the tracker stays where it is until the section is left below.
    // Nothing in between unwinds, since panics abort.
    unsafe { sys::pfs_net_epoch_enter(&mut tracker) };
    let result = inside(&NetEpoch { thread: PhantomData });
    // SAFETY: the section was entered above with this tracker.
    unsafe { sys::pfs_net_epoch_exit(&mut tracker) };
    result
}

/// Runs `inside` for a caller that is in the network epoch already. A module built
/// with INVARIANTS checks that.
///
/// # Safety
///
/// The thread is in the network epoch.
pub(crate) unsafe fn entered<R>(inside: impl FnOnce(&NetEpoch) -> R) -> R {
    if sys::pfs_invariants != 0 {
        // SAFETY: the assertion takes no arguments.
        unsafe { sys::pfs_net_epoch_assert() };
    }
    inside(&NetEpoch { thread: PhantomData })
}

/// Sleeps until every thread has left the epoch section that it is in now. The
/// calling thread must be allowed to sleep and must not be in the epoch itself:
/// WITNESS and INVARIANTS check that.
pub(crate) fn wait() {
    // SAFETY: takes no arguments. The caller keeps the rule above.
    unsafe { sys::pfs_net_epoch_wait() };
}

/// A value that threads read in the network epoch, and that is replaced as a whole.
/// `tests/models` has a model of this.
pub(crate) struct EpochCell<T> {
    current: AtomicPtr<T>,
    owned: PhantomData<KBox<T>>,
}

impl<T> EpochCell<T> {
    /// A cell without a value.
    pub(crate) const fn new() -> EpochCell<T> {
        EpochCell { current: AtomicPtr::new(ptr::null_mut()), owned: PhantomData }
    }

    /// The value. It stays valid until the epoch section is left.
    pub(crate) fn get<'e>(&self, _epoch: &'e NetEpoch) -> Option<&'e T> {
        // SAFETY: a value that left the cell is dropped only after every thread
        // that may have seen it has left the epoch; see `Retired`. Acquire, with the
        // release of `replace`: the value is complete.
        unsafe { self.current.load(Ordering::Acquire).as_ref() }
    }

    /// Replaces the value and returns the old one. Callers make sure that no two
    /// threads replace at once.
    pub(crate) fn replace(&self, value: Option<KBox<T>>) -> Option<Retired<T>> {
        let new = value.map_or(ptr::null_mut(), KBox::into_raw);
        // Release: whoever finds the new value finds it complete. Acquire: the old one is
        // complete for this thread, too. What other threads do with the old one is ordered
        // before its end by the wait for the epoch.
        let old = self.current.swap(new, Ordering::AcqRel);
        // SAFETY: the pointer came from `into_raw`, and left the cell once.
        NonNull::new(old).map(|old| Retired(unsafe { KBox::from_raw(old) }))
    }
}

impl<T> Drop for EpochCell<T> {
    fn drop(&mut self) {
        drop(self.replace(None));
    }
}

/// A value that left an [`EpochCell`]. Other threads may still use it. Dropping it
/// waits for them, and so may sleep.
#[must_use = "dropping it sleeps"]
pub(crate) struct Retired<T>(KBox<T>);

impl<T> Deref for Retired<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Retired<T> {
    /// Waits until no other thread uses the value, and returns it. May sleep.
    pub(crate) fn reclaim(self) -> KBox<T> {
        wait();
        // SAFETY: `self` is forgotten at once, so that the KBox is moved out once.
        let value = unsafe { core::ptr::read(&self.0) };
        core::mem::forget(self);
        value
    }
}

impl<T> Drop for Retired<T> {
    fn drop(&mut self) {
        wait();
    }
}
