// SPDX-License-Identifier: BSD-2-Clause
//! Owned memory. It is never freed, so that a mutant reads what was dropped, which loom reports,
//! and not memory of another value.

use std::ops::Deref;
use std::ptr::{self, NonNull};

pub(crate) struct KBox<T>(NonNull<T>);

// SAFETY: a KBox is the only owner of its value.
unsafe impl<T: Send> Send for KBox<T> {}

impl<T> KBox<T> {
    pub(crate) fn new(value: T) -> KBox<T> {
        KBox(NonNull::from(Box::leak(Box::new(value))))
    }

    pub(crate) fn into_raw(self) -> *mut T {
        let raw = self.0.as_ptr();
        std::mem::forget(self);
        raw
    }

    /// # Safety
    ///
    /// `raw` came from `into_raw`, and is taken back once.
    pub(crate) unsafe fn from_raw(raw: NonNull<T>) -> KBox<T> {
        KBox(raw)
    }
}

impl<T> Deref for KBox<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: the KBox owns the value.
        unsafe { self.0.as_ref() }
    }
}

impl<T> Drop for KBox<T> {
    fn drop(&mut self) {
        // SAFETY: the value is dropped once.
        unsafe { ptr::drop_in_place(self.0.as_ptr()) };
    }
}
