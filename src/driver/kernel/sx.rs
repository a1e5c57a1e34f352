// SPDX-License-Identifier: BSD-2-Clause
//! sx(9): a lock that a thread may hold while it sleeps.

use core::ffi::CStr;
use core::marker::PhantomData;
use core::ptr::NonNull;
use sys_bindings as sys;

/// An sx lock that C defines, and that is always locked exclusively.
pub(crate) struct Sx(NonNull<sys::sx>);

const FILE: &CStr = c"kernel/sx.rs";

impl Sx {
    /// The lock at an address.
    ///
    /// # Safety
    ///
    /// The memory lives, and the lock is initialised as long as the result is used, but for
    /// [`Sx::init`].
    pub(crate) unsafe fn from_raw(sx: NonNull<sys::sx>) -> Sx {
        Sx(sx)
    }

    /// Initialises the lock, which WITNESS shows as `name`.
    ///
    /// # Safety
    ///
    /// The lock is not initialised.
    pub(crate) unsafe fn init(self, name: &'static CStr) {
        // SAFETY: the caller keeps the rule above.
        unsafe { sys::sx_init_flags(self.0.as_ptr(), name.as_ptr(), 0) };
    }

    /// Ends the lock.
    ///
    /// # Safety
    ///
    /// The lock is initialised, and no thread has it or wants it.
    pub(crate) unsafe fn destroy(self) {
        // SAFETY: the caller keeps the rule above.
        unsafe { sys::sx_destroy(self.0.as_ptr()) };
    }

    /// Locks the lock. The thread must be allowed to sleep: WITNESS checks that.
    pub(crate) fn lock(self) -> Guard {
        // SAFETY: the lock is initialised, as promised in `from_raw`. Without
        // SX_INTERRUPTIBLE this cannot fail.
        unsafe { sys::_sx_xlock(self.0.as_ptr(), 0, FILE.as_ptr(), line!() as i32) };
        Guard { sx: self.0, thread: PhantomData }
    }

    /// Locks the lock, unless another thread holds it.
    pub(crate) fn try_lock(self) -> Option<Guard> {
        // SAFETY: as in `lock`.
        let locked = unsafe { sys::sx_try_xlock_(self.0.as_ptr(), FILE.as_ptr(), line!() as i32) } != 0;
        locked.then(|| Guard { sx: self.0, thread: PhantomData })
    }
}

/// Proves that the thread holds the lock. Dropping it unlocks the lock.
#[must_use = "dropping it unlocks the lock"]
pub(crate) struct Guard {
    sx: NonNull<sys::sx>,
    thread: PhantomData<*const ()>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        // SAFETY: this thread holds the lock, because a guard stays in its thread.
        unsafe { sys::_sx_xunlock(self.sx.as_ptr(), FILE.as_ptr(), line!() as i32) };
    }
}
