// SPDX-License-Identifier: BSD-2-Clause
//! The rows of pf's id hash: walking through all states.

use super::state::{Found, Locked};
use core::marker::PhantomData;
use core::ptr::NonNull;
use sys_bindings as sys;

/// All rows of the id hash of the current vnet.
#[derive(Clone, Copy)]
pub(crate) struct Rows {
    first: *mut sys::pf_idhash,
    count: usize,
}

impl Rows {
    /// The rows, which live as long as pf's part of the vnet.
    pub(crate) fn all() -> Rows {
        // SAFETY: pf sets the mask and the table when it starts in the vnet.
        unsafe {
            Rows { first: sys::pfs_pf_idhash(), count: (sys::pfs_pf_hashmask() as usize).wrapping_add(1) }
        }
    }

    /// How many there are.
    pub(crate) fn count(self) -> usize {
        self.count
    }

    /// Locks a row. `None` if the index is beyond the last row, or if the row is empty.
    ///
    /// An empty row is not locked. Nothing orders the look at it, so that it may miss a state
    /// that pf inserts at this moment. The state's own hook announces such a state to the
    /// peers: pf calls it after that, and the bucket's lock orders the insertion before the
    /// sender takes the announcement out of its queue. So what this misses, the sender announces
    /// later. A state of which the hook announces nothing, because there was no link when it
    /// looked, is missed only if it was inserted in the same moment as the link was made.
    /// Then the peers get it when it changes.
    pub(crate) fn lock(self, index: usize) -> Option<Row> {
        if index >= self.count {
            return None;
        }
        // SAFETY: the index lies within the table, which lives as long as pf.
        unsafe { Row::lock_unless_empty(NonNull::new(self.first.add(index))?) }
    }
}

/// A locked row of the id hash. Dropping it unlocks the row.
#[must_use = "dropping it unlocks the row"]
pub(crate) struct Row {
    row: NonNull<sys::pf_idhash>,
    thread: PhantomData<*const ()>,
}

impl Row {
    /// Locks the row that the state of a draft belongs to, unless the row is empty.
    ///
    /// # Safety
    ///
    /// `st` has its id and its creator.
    pub(super) unsafe fn of_draft(st: NonNull<sys::pf_kstate>) -> Option<Row> {
        // SAFETY: the caller promises that the state has its id. pf finds a row of its table.
        unsafe { Row::lock_unless_empty(NonNull::new(sys::pfs_pf_row_of(st.as_ptr()))?) }
    }

    /// Locks a row, unless it seems empty.
    ///
    /// # Safety
    ///
    /// `row` is a row of pf's table.
    unsafe fn lock_unless_empty(row: NonNull<sys::pf_idhash>) -> Option<Row> {
        // SAFETY: the caller promises that this is a row of pf's table, which lives as long as
        // pf's part of the vnet.
        unsafe {
            if Locked::seems_empty(row) {
                return None;
            }
            sys::pfs_pf_row_lock(row.as_ptr());
        }
        Some(Row { row, thread: PhantomData })
    }

    /// The states of the row.
    pub(crate) fn states(&self) -> impl Iterator<Item = Locked<'_>> {
        // SAFETY: the row is locked, so that its list does not change.
        let first = unsafe { Locked::first_of(self.row) };
        let following = |st: &NonNull<sys::pf_kstate>| {
            // SAFETY: as above.
            NonNull::new(unsafe { (*st.as_ptr()).entry.le_next })
        };
        // SAFETY: the states of a locked row are locked and linked.
        core::iter::successors(first, following).map(|st| unsafe { Locked::of_locked_row(st) })
    }

    /// Unlinks the first state that matches, without telling the peers, and unlocks the
    /// row. Returns whether there was such a state.
    pub(crate) fn unlink_first(self, matches: impl Fn(&Locked<'_>) -> bool) -> bool {
        let Some(st) = self.states().find(|state| matches(state)).map(|state| state.pointer()) else {
            return false;
        };
        core::mem::forget(self);
        // SAFETY: the row is locked. `self` was forgotten, so that Found unlocks it.
        unsafe { Found::assume(st) }.unlink();
        true
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        // SAFETY: this value holds the row locked.
        unsafe { sys::pfs_pf_row_unlock(self.row.as_ptr()) };
    }
}

/// Locks and unlocks every row once. pf reads the pointer to a hook with a row locked,
/// and calls it before it unlocks the row. So when this returns, no thread is about to
/// call a hook that it read before this began.
///
/// The lock of each row orders that: a thread that had the row before this is done with the
/// hook, and one that has it later sees that the pointers were cleared.
pub(crate) fn quiesce() {
    let rows = Rows::all();
    for index in 0..rows.count() {
        // SAFETY: the index lies within the table. Empty rows are locked too: a hook
        // may be running for a state that was just unlinked.
        unsafe {
            let row = rows.first.add(index);
            sys::pfs_pf_row_lock(row);
            sys::pfs_pf_row_unlock(row);
        }
    }
}
