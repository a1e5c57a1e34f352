// SPDX-License-Identifier: BSD-2-Clause
//! mutex(9): a mutex owns what it protects.

use super::alloc::{KBox, Wait};
use super::error::Result;
use core::cell::UnsafeCell;
use core::ffi::CStr;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ops::{Deref, DerefMut};
use sys_bindings as sys;

struct Inner<T> {
    mtx: UnsafeCell<sys::mtx>,
    value: UnsafeCell<T>,
}

/// A default mutex (`MTX_DEF`) and the value that it protects. Both are in memory
/// of their own, because the kernel's lists point at the mutex, which must not
/// move.
pub(crate) struct Mutex<T> {
    inner: KBox<Inner<T>>,
}

// SAFETY: only one thread at a time reaches the value.
unsafe impl<T: Send> Send for Mutex<T> {}
// SAFETY: threads that share the mutex reach the value one at a time.
unsafe impl<T: Send> Sync for Mutex<T> {}

impl<T> Mutex<T> {
    /// A mutex that WITNESS shows as `name`. `ENOMEM` if there is no memory.
    pub(crate) fn new(name: &'static CStr, value: T, wait: Wait) -> Result<Mutex<T>> {
        // The value goes straight to its place: a copy on the way would cost stack.
        let memory = KBox::new(MaybeUninit::<Inner<T>>::uninit(), wait)?;
        let place = memory.as_ptr().cast::<Inner<T>>();
        // SAFETY: the memory is fresh. Both fields are written, and mtx_init starts from all
        // zeroes.
        let inner = unsafe {
            (&raw mut (*place).mtx).write_bytes(0, 1);
            (&raw mut (*place).value).write(UnsafeCell::new(value));
            memory.assume_init()
        };
        // SAFETY: the mutex lies where it will stay and is not initialised yet. The
        // name is static.
        unsafe { sys::_mtx_init(word(&inner.mtx), name.as_ptr(), core::ptr::null(), sys::MTX_DEF as i32) };
        Ok(Mutex { inner })
    }

    /// Locks the mutex. The thread must not hold it already, must not be in a
    /// critical section, and must not hold a spin lock: INVARIANTS and WITNESS check
    /// that.
    pub(crate) fn lock(&self) -> Guard<'_, T> {
        // SAFETY: the mutex is initialised as long as `self` lives.
        unsafe { sys::__mtx_lock_flags(word(&self.inner.mtx), 0, FILE.as_ptr(), line!() as i32) };
        Guard { mutex: self, thread: PhantomData }
    }
}

/// The place of every lock operation, as INVARIANTS and WITNESS show it.
const FILE: &CStr = c"kernel/mutex.rs";

/// The lock word. The kernel finds the mutex around it.
fn word(mtx: &UnsafeCell<sys::mtx>) -> *mut usize {
    // SAFETY: this only takes the address of the field.
    unsafe { (&raw mut (*mtx.get()).mtx_lock).cast() }
}

impl<T> Drop for Mutex<T> {
    fn drop(&mut self) {
        // SAFETY: the mutex is owned exclusively here, so that no thread holds it or
        // waits for it.
        unsafe { sys::_mtx_destroy(word(&self.inner.mtx)) };
    }
}

/// Proves that the thread holds the mutex. Dropping it unlocks the mutex.
#[must_use = "dropping it unlocks the mutex"]
pub(crate) struct Guard<'a, T> {
    mutex: &'a Mutex<T>,
    /// Keeps the guard in its thread: the thread that locked a mutex unlocks it.
    thread: PhantomData<*const ()>,
}

impl<T> Deref for Guard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the thread holds the mutex.
        unsafe { &*self.mutex.inner.value.get() }
    }
}

impl<T> DerefMut for Guard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the thread holds the mutex, and the guard is borrowed
        // exclusively.
        unsafe { &mut *self.mutex.inner.value.get() }
    }
}

impl<T> Drop for Guard<'_, T> {
    fn drop(&mut self) {
        // SAFETY: this thread holds the mutex, because a guard stays in its thread.
        unsafe { sys::__mtx_unlock_flags(word(&self.mutex.inner.mtx), 0, FILE.as_ptr(), line!() as i32) };
    }
}
