// SPDX-License-Identifier: BSD-2-Clause
//! States: referenced, which counts nothing here because they are never freed, and locked.

use crate::atomic::Ordering;
use std::cell::UnsafeCell;
use std::marker::PhantomData;
use std::ops::Deref;
use std::ptr::{self, NonNull};
use sys_bindings as sys;

#[repr(transparent)]
pub(crate) struct Kstate(UnsafeCell<sys::pf_kstate>);

// SAFETY: pf's states are shared. What is in them belongs to locks.
unsafe impl Sync for Kstate {}

impl Kstate {
    /// A new state.
    pub(crate) fn leak() -> &'static Kstate {
        // SAFETY: a Kstate has the layout of a pf_kstate, and the state is never freed.
        unsafe { &*ptr::from_mut(sys::pf_kstate::leak()).cast::<Kstate>() }
    }

    /// Looks at each atomic of the state.
    pub(crate) fn touch(&self) {
        // SAFETY: the state is never freed.
        let st = unsafe { &*self.as_ptr() };
        st.sync_state.load(Ordering::Relaxed);
        st.sync_updates.load(Ordering::Relaxed);
    }

    /// The address of the state.
    pub(crate) fn raw(&self) -> *mut sys::pf_kstate {
        self.as_ptr()
    }

    pub(super) fn as_ptr(&self) -> *mut sys::pf_kstate {
        self.0.get()
    }

    pub(super) fn reference(&self) -> StateRef {
        StateRef(NonNull::new(self.as_ptr()).unwrap())
    }

    /// Locks the row of the state.
    pub(crate) fn lock(&self) -> Found<'_> {
        // SAFETY: neither the state nor the row is ever freed.
        unsafe { sys::pfs_pf_row_lock(sys::pfs_pf_idhash()) };
        Found(Locked { st: NonNull::new(self.as_ptr()).unwrap(), row: PhantomData })
    }
}

pub(crate) struct StateRef(NonNull<sys::pf_kstate>);

impl StateRef {
    pub(super) unsafe fn from_raw(st: NonNull<sys::pf_kstate>) -> StateRef {
        StateRef(st)
    }

    pub(super) fn into_raw(self) -> *mut sys::pf_kstate {
        self.0.as_ptr()
    }
}

impl Deref for StateRef {
    type Target = Kstate;

    fn deref(&self) -> &Kstate {
        // SAFETY: the state is never freed.
        unsafe { self.0.cast::<Kstate>().as_ref() }
    }
}

/// A state whose row is locked.
pub(crate) struct Locked<'row> {
    st: NonNull<sys::pf_kstate>,
    row: PhantomData<&'row ()>,
}

impl Locked<'_> {
    pub(super) unsafe fn of_locked_row(st: NonNull<sys::pf_kstate>) -> Self {
        Locked { st, row: PhantomData }
    }

    pub(super) unsafe fn seems_empty(row: NonNull<sys::pf_idhash>) -> bool {
        // SAFETY: as below.
        unsafe { Locked::first_of(row) }.is_none()
    }

    pub(super) unsafe fn first_of(row: NonNull<sys::pf_idhash>) -> Option<NonNull<sys::pf_kstate>> {
        // SAFETY: the row is never freed.
        NonNull::new(unsafe { row.as_ref() }.states.lh_first.load(Ordering::Relaxed))
    }

    pub(super) fn pointer(&self) -> NonNull<sys::pf_kstate> {
        self.st
    }

    /// What a message tells of the state.
    pub(crate) fn content(&self) -> u32 {
        // SAFETY: the state is never freed.
        unsafe { (*self.st.as_ptr()).content.read() }
    }

    /// pf changes the state.
    pub(crate) fn set_content(&self, content: u32) {
        // SAFETY: as above.
        unsafe { (*self.st.as_ptr()).content.write(content) };
    }
}

impl Deref for Locked<'_> {
    type Target = Kstate;

    fn deref(&self) -> &Kstate {
        // SAFETY: the state is never freed.
        unsafe { self.st.cast::<Kstate>().as_ref() }
    }
}

/// A state whose row this value holds locked.
pub(crate) struct Found<'row>(Locked<'row>);

impl Found<'_> {
    pub(crate) unsafe fn assume(st: NonNull<sys::pf_kstate>) -> Self {
        Found(Locked { st, row: PhantomData })
    }

    /// Takes the state, which is the first of its row, out of that.
    pub(crate) fn unlink(self) {
        // SAFETY: this value holds the row locked, and the state is never freed.
        let (row, st) = unsafe { (&*sys::pfs_pf_idhash(), &*self.st.as_ptr()) };
        assert_eq!(row.states.lh_first.load(Ordering::Relaxed), self.st.as_ptr());
        row.states.lh_first.store(st.entry.le_next, Ordering::Relaxed);
    }
}

impl<'row> Deref for Found<'row> {
    type Target = Locked<'row>;

    fn deref(&self) -> &Locked<'row> {
        &self.0
    }
}

impl Drop for Found<'_> {
    fn drop(&mut self) {
        // SAFETY: this value holds the row locked.
        unsafe { sys::pfs_pf_row_unlock(sys::pfs_pf_idhash()) };
    }
}
