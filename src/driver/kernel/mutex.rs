//! mutex(9), as the owner of what it protects.

use super::alloc::{Box, Wait};
use super::error::Result;
use core::cell::UnsafeCell;
use core::ffi::CStr;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use sys_bindings as sys;

struct Inner<T> {
    mtx: UnsafeCell<sys::mtx>,
    value: UnsafeCell<T>,
}

/// A default mutex (`MTX_DEF`) and the value it protects, in memory of their
/// own: the kernel's lists point at the mutex, so that it must not move.
pub struct Mutex<T> {
    inner: Box<Inner<T>>,
}

// SAFETY: the mutex lets one thread at a time at the value.
unsafe impl<T: Send> Send for Mutex<T> {}
// SAFETY: threads that share the mutex get at the value one at a time.
unsafe impl<T: Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    /// A mutex that WITNESS knows by `name`.
    pub fn new(name: &'static CStr, value: T, wait: Wait) -> Result<Mutex<T>> {
        // SAFETY: all zeroes is what mtx_init wants to find.
        let mtx = unsafe { core::mem::zeroed::<sys::mtx>() };
        let inner = Box::new(Inner { mtx: UnsafeCell::new(mtx), value: UnsafeCell::new(value) }, wait)?;
        // SAFETY: the mutex lies where it will stay, is not initialised yet,
        // and its name lives for ever.
        unsafe { sys::_mtx_init(word(&inner.mtx), name.as_ptr(), core::ptr::null(), sys::MTX_DEF as i32) };
        Ok(Mutex { inner })
    }

    /// Locks. The thread must not hold the mutex already, nor may it be in a
    /// critical section or hold a spin lock: INVARIANTS and WITNESS check.
    pub fn lock(&self) -> Guard<'_, T> {
        // SAFETY: the mutex is initialised as long as `self` lives.
        unsafe { sys::__mtx_lock_flags(word(&self.inner.mtx), 0, FILE.as_ptr(), line!() as i32) };
        Guard { mutex: self, thread: PhantomData }
    }
}

/// What INVARIANTS and WITNESS show as the place of a lock operation.
const FILE: &CStr = c"kernel/mutex.rs";

/// The lock word, by which the kernel finds the mutex around it.
fn word(mtx: &UnsafeCell<sys::mtx>) -> *mut usize {
    // SAFETY: only the field's address is taken.
    unsafe { (&raw mut (*mtx.get()).mtx_lock).cast() }
}

impl<T> Drop for Mutex<T> {
    fn drop(&mut self) {
        // SAFETY: whoever drops the mutex owns it alone, so that nobody holds
        // it or waits for it.
        unsafe { sys::_mtx_destroy(word(&self.inner.mtx)) };
    }
}

/// Shows that the mutex is held, by the thread that has it.
pub struct Guard<'a, T> {
    mutex: &'a Mutex<T>,
    /// A mutex is released by the thread that took it.
    thread: PhantomData<*const ()>,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the mutex is held.
        unsafe { &*self.mutex.inner.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the mutex is held, and the guard is borrowed alone.
        unsafe { &mut *self.mutex.inner.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: this thread holds the mutex, since guards do not leave it.
        unsafe { sys::__mtx_unlock_flags(word(&self.mutex.inner.mtx), 0, FILE.as_ptr(), line!() as i32) };
    }
}
