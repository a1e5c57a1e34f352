//! malloc(9): owned memory whose allocation can fail.

use super::error::{Errno, Result};
use core::ops::{Deref, DerefMut};
use core::ptr::{self, NonNull};
use core::slice;
use sys_bindings as sys;

/// Whether an allocation may sleep.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// `M_WAITOK`: only where sleeping is allowed.
    Sleep,
    /// `M_NOWAIT`
    No,
}

fn allocate(bytes: usize, wait: Wait) -> Result<NonNull<u8>> {
    let flags = match wait {
        Wait::Sleep => sys::M_WAITOK,
        Wait::No => sys::M_NOWAIT,
    };
    // SAFETY: malloc(9) may be called anywhere with M_NOWAIT; callers choose
    // Wait::Sleep only where they may sleep, which WITNESS checks. The malloc
    // type is the module's own and outlives it.
    let memory = unsafe { sys::malloc(bytes, ptr::addr_of_mut!(sys::pfs_malloc_type).cast(), flags as i32) };
    NonNull::new(memory.cast()).ok_or(Errno::ENOMEM)
}

/// # Safety
///
/// `memory` came from [`allocate`], is not freed yet and not used again.
unsafe fn release(memory: NonNull<u8>) {
    // SAFETY: as the caller promises.
    unsafe { sys::free(memory.as_ptr().cast(), ptr::addr_of_mut!(sys::pfs_malloc_type).cast()) }
}

/// One value in memory of its own. malloc(9) aligns to 16 bytes for sizes from
/// 16 up, which is as much as any kernel structure here asks for.
pub struct Box<T>(NonNull<T>);

// SAFETY: a Box owns its value alone, as a value on the stack would be owned.
unsafe impl<T: Send> Send for Box<T> {}
// SAFETY: a shared Box gives out shared references only.
unsafe impl<T: Sync> Sync for Box<T> {}

impl<T> Box<T> {
    const ALIGNED: () = assert!(align_of::<T>() <= 16);

    /// Moves a value into fresh memory.
    pub fn new(value: T, wait: Wait) -> Result<Box<T>> {
        let () = Self::ALIGNED;
        let memory = allocate(size_of::<T>(), wait)?.cast::<T>();
        // SAFETY: the memory is fresh, large enough and aligned for a T.
        unsafe { memory.as_ptr().write(value) };
        Ok(Box(memory))
    }

    /// Where the value lies, for the C side. It stays there as long as the
    /// Box lives.
    pub fn as_ptr(&self) -> *mut T {
        self.0.as_ptr()
    }

    /// Gives up ownership; [`Box::from_raw`] takes it back.
    pub fn into_raw(self) -> *mut T {
        let memory = self.0.as_ptr();
        core::mem::forget(self);
        memory
    }

    /// Takes back what [`Box::into_raw`] gave up.
    ///
    /// # Safety
    ///
    /// `raw` came from `into_raw`, and this happens once.
    pub unsafe fn from_raw(raw: NonNull<T>) -> Box<T> {
        Box(raw)
    }
}

impl<T> Deref for Box<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the Box owns an initialised T.
        unsafe { self.0.as_ref() }
    }
}

impl<T> DerefMut for Box<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: the Box owns an initialised T, and is borrowed alone.
        unsafe { self.0.as_mut() }
    }
}

impl<T> Drop for Box<T> {
    fn drop(&mut self) {
        // SAFETY: the value is dropped once, and its memory freed after.
        unsafe {
            ptr::drop_in_place(self.0.as_ptr());
            release(self.0.cast());
        }
    }
}

/// A fixed number of values in a row.
pub struct Slice<T> {
    start: NonNull<T>,
    len: usize,
}

// SAFETY: a Slice owns its values alone, as an array on the stack would.
unsafe impl<T: Send> Send for Slice<T> {}
// SAFETY: a shared Slice gives out shared references only.
unsafe impl<T: Sync> Sync for Slice<T> {}

impl<T> Slice<T> {
    const ALIGNED: () = assert!(align_of::<T>() <= 16);

    /// `len` values, each made by `make` from its index. They are made in
    /// place: nothing large passes over the stack.
    pub fn new(len: usize, wait: Wait, mut make: impl FnMut(usize) -> Result<T>) -> Result<Slice<T>> {
        let () = Self::ALIGNED;
        let bytes = size_of::<T>().checked_mul(len).ok_or(Errno::ENOMEM)?;
        let start = allocate(bytes.max(1), wait)?.cast::<T>();
        let mut slice = Slice { start, len: 0 };
        while slice.len < len {
            let value = make(slice.len)?;
            // SAFETY: slot `len` lies within the allocation, is aligned for a T
            // and holds nothing.
            unsafe { start.as_ptr().add(slice.len).write(value) };
            slice.len += 1;
        }
        Ok(slice)
    }
}

impl<T> Deref for Slice<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        // SAFETY: `len` values from `start` on are initialised.
        unsafe { slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for Slice<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: `len` values from `start` on are initialised, and the Slice
        // is borrowed alone.
        unsafe { slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl<T> AsMut<[T]> for Slice<T> {
    fn as_mut(&mut self) -> &mut [T] {
        self
    }
}

impl<T> Drop for Slice<T> {
    fn drop(&mut self) {
        let values: *mut [T] = &mut **self;
        // SAFETY: the values are dropped once, and their memory freed after.
        unsafe {
            ptr::drop_in_place(values);
            release(self.start.cast());
        }
    }
}
