//! sx(9), exclusive: a lock that may be held while sleeping.

use core::ffi::CStr;
use core::marker::PhantomData;
use core::ptr::NonNull;
use sys_bindings as sys;

/// An sx lock that C defines with `SX_SYSINIT`, and that is always taken
/// exclusively.
pub struct Sx(NonNull<sys::sx>);

const FILE: &CStr = c"kernel/sx.rs";

impl Sx {
    /// # Safety
    ///
    /// The lock is initialised as long as the result is used.
    pub unsafe fn from_raw(sx: NonNull<sys::sx>) -> Sx {
        Sx(sx)
    }

    /// Locks. The thread must be one that may sleep: WITNESS checks.
    pub fn lock(self) -> Guard {
        // SAFETY: the lock is initialised. Without SX_INTERRUPTIBLE this
        // cannot fail.
        unsafe { sys::_sx_xlock(self.0.as_ptr(), 0, FILE.as_ptr(), line!() as i32) };
        Guard { sx: self.0, thread: PhantomData }
    }
}

/// Shows that the lock is held, by the thread that has it.
pub struct Guard {
    sx: NonNull<sys::sx>,
    thread: PhantomData<*const ()>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        // SAFETY: this thread holds the lock, since guards do not leave it.
        unsafe { sys::_sx_xunlock(self.sx.as_ptr(), FILE.as_ptr(), line!() as i32) };
    }
}
