// SPDX-License-Identifier: BSD-2-Clause
//! malloc(9): owned memory. An allocation can fail.

use super::error::{Errno, Result};
use core::mem::MaybeUninit;
use core::ops::{Deref, DerefMut};
use core::ptr::{self, NonNull};
use core::slice;
use sys_bindings as sys;

/// Whether an allocation may sleep.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// `M_WAITOK`: only where the thread may sleep.
    Sleep,
    /// `M_NOWAIT`
    No,
}

/// The alignment in bytes that malloc(9) guarantees for sizes from 16 bytes up.
const ALIGNMENT: usize = 16;

fn allocate(bytes: usize, wait: Wait) -> Result<NonNull<u8>> {
    let flags = match wait {
        Wait::Sleep => sys::M_WAITOK,
        Wait::No => sys::M_NOWAIT,
    };
    // SAFETY: malloc(9) may be called anywhere with M_NOWAIT. Callers pass
    // Wait::Sleep only where they may sleep, which WITNESS checks. The malloc type
    // is the module's own and outlives the memory.
    let memory = unsafe { sys::malloc(bytes, ptr::addr_of_mut!(sys::pfs_malloc_type).cast(), flags as i32) };
    NonNull::new(memory.cast()).ok_or(Errno::ENOMEM)
}

/// # Safety
///
/// `memory` came from [`allocate`], has not been freed, and is not used again.
unsafe fn release(memory: NonNull<u8>) {
    // SAFETY: the caller promises what free(9) asks for.
    unsafe { sys::free(memory.as_ptr().cast(), ptr::addr_of_mut!(sys::pfs_malloc_type).cast()) }
}

/// One value in its own memory, as Rust's `Box`.
pub(crate) struct KBox<T>(NonNull<T>);

// SAFETY: a KBox is the only owner of its value.
unsafe impl<T: Send> Send for KBox<T> {}
// SAFETY: a shared KBox hands out shared references only.
unsafe impl<T: Sync> Sync for KBox<T> {}

impl<T> KBox<T> {
    const ALIGNED: () = assert!(align_of::<T>() <= ALIGNMENT);

    /// Moves a value into fresh memory. `ENOMEM` if there is none.
    pub(crate) fn new(value: T, wait: Wait) -> Result<KBox<T>> {
        let () = Self::ALIGNED;
        let memory = allocate(size_of::<T>(), wait)?.cast::<T>();
        // SAFETY: the memory is fresh, large enough, and aligned for a T.
        unsafe { memory.as_ptr().write(value) };
        Ok(KBox(memory))
    }

    /// The address of the value, for C. The value stays there as long as the KBox
    /// lives.
    pub(crate) fn as_ptr(&self) -> *mut T {
        self.0.as_ptr()
    }

    /// Gives up ownership. [`KBox::from_raw`] takes it back.
    pub(crate) fn into_raw(self) -> *mut T {
        let memory = self.0.as_ptr();
        core::mem::forget(self);
        memory
    }

    /// Takes back the ownership that [`KBox::into_raw`] gave up.
    ///
    /// # Safety
    ///
    /// `raw` came from `into_raw`, and is taken back once.
    pub(crate) unsafe fn from_raw(raw: NonNull<T>) -> KBox<T> {
        KBox(raw)
    }
}

impl<T> KBox<MaybeUninit<T>> {
    /// The same memory with its value, which was made there and never passed over the stack.
    ///
    /// # Safety
    ///
    /// The caller has written the whole value through [`KBox::as_ptr`].
    pub(crate) unsafe fn assume_init(self) -> KBox<T> {
        let memory = self.0.cast();
        core::mem::forget(self);
        KBox(memory)
    }
}

impl<T> Deref for KBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the KBox owns an initialised T.
        unsafe { self.0.as_ref() }
    }
}

impl<T> DerefMut for KBox<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the KBox owns an initialised T and is borrowed exclusively.
        unsafe { self.0.as_mut() }
    }
}

impl<T> Drop for KBox<T> {
    fn drop(&mut self) {
        // SAFETY: the value is dropped once, and its memory is freed after that.
        unsafe {
            ptr::drop_in_place(self.0.as_ptr());
            release(self.0.cast());
        }
    }
}

/// A fixed number of values in their own memory, as Rust's `Box<[T]>`.
pub(crate) struct KSlice<T> {
    start: NonNull<T>,
    len: usize,
}

// SAFETY: a KSlice is the only owner of its values.
unsafe impl<T: Send> Send for KSlice<T> {}
// SAFETY: a shared KSlice hands out shared references only.
unsafe impl<T: Sync> Sync for KSlice<T> {}

impl<T> KSlice<T> {
    const ALIGNED: () = assert!(align_of::<T>() <= ALIGNMENT);

    /// Makes `len` values: `make` gets the index of each. The values are made in
    /// place, so that no large value passes over the stack. Fails with `ENOMEM`,
    /// or as `make` does.
    pub(crate) fn new(len: usize, wait: Wait, mut make: impl FnMut(usize) -> Result<T>) -> Result<KSlice<T>> {
        let () = Self::ALIGNED;
        let bytes = size_of::<T>().checked_mul(len).ok_or(Errno::ENOMEM)?;
        let start = allocate(bytes.max(1), wait)?.cast::<T>();
        let mut slice = KSlice { start, len: 0 };
        while slice.len < len {
            let value = make(slice.len)?;
            // SAFETY: slot `len` lies within the allocation, is aligned for a T,
            // and holds nothing.
            unsafe { start.as_ptr().add(slice.len).write(value) };
            slice.len += 1;
        }
        Ok(slice)
    }
}

impl<T> Deref for KSlice<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `len` values from `start` on are initialised.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for KSlice<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: `len` values from `start` on are initialised, and the KSlice is
        // borrowed exclusively.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl<T> AsRef<[T]> for KSlice<T> {
    fn as_ref(&self) -> &[T] {
        self
    }
}

impl<T> AsMut<[T]> for KSlice<T> {
    fn as_mut(&mut self) -> &mut [T] {
        self
    }
}

impl<T> Drop for KSlice<T> {
    fn drop(&mut self) {
        let values: *mut [T] = &mut **self;
        // SAFETY: the values are dropped once, and their memory is freed after
        // that.
        unsafe {
            ptr::drop_in_place(values);
            release(self.start.cast());
        }
    }
}
