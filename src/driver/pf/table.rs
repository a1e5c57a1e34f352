//! Finding states, and walking the table.

use super::state::{Found, Locked};
use crate::wire::StateId;
use core::marker::PhantomData;
use core::ptr::NonNull;
use sys_bindings as sys;

/// The state of that identity, with its row locked.
pub fn find(id: StateId) -> Option<Found<'static>> {
    let creator = u32::from_ne_bytes(id.creator);
    // SAFETY: looks up in the current network stack's table; what is found
    // comes with its row locked.
    unsafe {
        NonNull::new(sys::pf_find_state_byid(u64::from_ne_bytes(id.id), creator)).map(|st| Found::assume(st))
    }
}

/// Number of rows in the id hash.
pub fn rows() -> usize {
    // SAFETY: set when pf starts in the network stack.
    (unsafe { sys::pfs_pf_hashmask() } as usize).wrapping_add(1)
}

/// A row of the id hash, locked.
pub struct Row {
    row: NonNull<sys::pf_idhash>,
    thread: PhantomData<*const ()>,
}

impl Row {
    /// Locks a row; `None` beyond the last, or when it is empty at a glance.
    pub fn lock(index: usize) -> Option<Row> {
        if index >= rows() {
            return None;
        }
        // SAFETY: the index is within the table, which lives as long as pf.
        // An empty row is one whose first pointer is null: a state that comes
        // in at this moment is announced by its own hook.
        unsafe {
            let row = NonNull::new(sys::pfs_pf_idhash().add(index))?;
            if (&raw const (*row.as_ptr()).states.lh_first).read_volatile().is_null() {
                return None;
            }
            sys::pfs_pf_row_lock(row.as_ptr());
            Some(Row { row, thread: PhantomData })
        }
    }

    /// The states of the row.
    pub fn states(&self) -> impl Iterator<Item = Locked<'_>> {
        // SAFETY: the row is locked: its list stays as it is.
        let first = NonNull::new(unsafe { (*self.row.as_ptr()).states.lh_first });
        let following = |st: &NonNull<sys::pf_kstate>| {
            // SAFETY: as above.
            NonNull::new(unsafe { (*st.as_ptr()).entry.le_next })
        };
        // SAFETY: the states of a locked row are locked, and linked.
        core::iter::successors(first, following).map(|st| unsafe { Locked::of_locked_row(st) })
    }

    /// Unlinks the first state that matches, without telling the peers, and
    /// with it unlocks the row. Returns whether there was one.
    pub fn unlink_first(self, matches: impl Fn(&Locked<'_>) -> bool) -> bool {
        let Some(st) = self.states().find(|state| matches(state)).map(|state| state.pointer()) else {
            return false;
        };
        core::mem::forget(self);
        // SAFETY: the row is locked, and from here on Found's to unlock.
        unsafe { Found::assume(st) }.unlink();
        true
    }
}

impl Drop for Row {
    fn drop(&mut self) {
        // SAFETY: the row is held by this value.
        unsafe { sys::pfs_pf_row_unlock(self.row.as_ptr()) };
    }
}

/// Waits until no thread is in the midst of something with a locked state.
/// Whoever saw a pointer to a hook in such a section has called it by then.
pub fn quiesce() {
    for index in 0..rows() {
        // SAFETY: the index is within the table. Rows are taken whether or
        // not they are empty: a hook may be under way for a state that was
        // just unlinked.
        unsafe {
            let row = sys::pfs_pf_idhash().add(index);
            sys::pfs_pf_row_lock(row);
            sys::pfs_pf_row_unlock(row);
        }
    }
}
