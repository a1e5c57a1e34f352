//! The network epoch (epoch(9)): what is read inside stays until it is left.

use super::alloc::Box;
use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::{self, NonNull};
use core::sync::atomic::{AtomicPtr, Ordering};
use sys_bindings as sys;

/// Shows that the thread is in the network epoch. It cannot be kept: it is
/// lent to the closure that runs inside.
pub struct NetEpoch {
    thread: PhantomData<*const ()>,
}

/// Runs `inside` in the network epoch. Sections nest.
pub fn enter<R>(inside: impl FnOnce(&NetEpoch) -> R) -> R {
    // SAFETY: a tracker needs no initial value.
    let mut tracker = unsafe { core::mem::zeroed::<sys::epoch_tracker>() };
    // SAFETY: the tracker stays where it is until the section is left below;
    // nothing in between unwinds.
    unsafe { sys::pfs_net_epoch_enter(&mut tracker) };
    let result = inside(&NetEpoch { thread: PhantomData });
    // SAFETY: the section was entered above with this tracker.
    unsafe { sys::pfs_net_epoch_exit(&mut tracker) };
    result
}

/// Runs `inside` for a caller that the kernel has put into the network epoch
/// already. A module built with INVARIANTS checks that.
///
/// # Safety
///
/// The thread is in the network epoch.
pub unsafe fn entered<R>(inside: impl FnOnce(&NetEpoch) -> R) -> R {
    if sys::pfs_invariants != 0 {
        // SAFETY: an assertion without arguments.
        unsafe { sys::pfs_net_epoch_assert() };
    }
    inside(&NetEpoch { thread: PhantomData })
}

/// Sleeps until every section that is entered now is left. The thread must be
/// allowed to sleep and not be in the epoch itself: WITNESS and INVARIANTS
/// check.
pub fn wait() {
    // SAFETY: no arguments; the rule above is the caller's.
    unsafe { sys::pfs_net_epoch_wait() };
}

/// A value that is read in the network epoch and replaced as a whole.
pub struct EpochCell<T> {
    current: AtomicPtr<T>,
    owned: PhantomData<Box<T>>,
}

impl<T> EpochCell<T> {
    pub const fn new() -> EpochCell<T> {
        EpochCell { current: AtomicPtr::new(ptr::null_mut()), owned: PhantomData }
    }

    /// The value, for as long as the epoch is not left.
    pub fn get<'e>(&self, _epoch: &'e NetEpoch) -> Option<&'e T> {
        // SAFETY: a value that is taken out is not dropped before every
        // section that may have seen it is left; see `Retired`.
        unsafe { self.current.load(Ordering::Acquire).as_ref() }
    }

    /// Puts in a value. The old one is to be waited for; callers serialise
    /// replacements.
    pub fn replace(&self, value: Option<Box<T>>) -> Option<Retired<T>> {
        let new = value.map_or(ptr::null_mut(), Box::into_raw);
        let old = self.current.swap(new, Ordering::AcqRel);
        // SAFETY: the pointer came from `into_raw`, and left the cell once.
        NonNull::new(old).map(|old| Retired(unsafe { Box::from_raw(old) }))
    }
}

impl<T> Drop for EpochCell<T> {
    fn drop(&mut self) {
        // Whoever drops the cell owns it alone: nobody reads it any more.
        drop(self.replace(None));
    }
}

/// A value that was taken out of an [`EpochCell`]. Readers may still use it;
/// dropping it waits for them, and so may sleep.
pub struct Retired<T>(Box<T>);

impl<T> Deref for Retired<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Retired<T> {
    /// Waits until no reader uses the value. May sleep.
    pub fn reclaim(self) -> Box<T> {
        wait();
        // SAFETY: `self` is forgotten right away: the Box is moved out once.
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
