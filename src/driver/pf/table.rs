// SPDX-License-Identifier: BSD-2-Clause
//! pf's table of states: finding a state, and walking through all of them.

use super::state::{Found, Locked};
use crate::wire::{Family, Key, StateId};
use core::ffi::c_int;
use core::marker::PhantomData;
use core::ptr::NonNull;
use sys_bindings as sys;

/// The state with that identity. Its row is locked.
pub(crate) fn find(id: StateId) -> Option<Found<'static>> {
    let creator = u32::from_ne_bytes(id.creator);
    // SAFETY: pf looks the state up in the current vnet's table, and returns it with
    // its row locked.
    unsafe {
        NonNull::new(sys::pf_find_state_byid(u64::from_ne_bytes(id.id), creator)).map(|st| Found::assume(st))
    }
}

/// The first state in pf's list of those that have a key in one or the other role, and how
/// many others there are. The state's row is locked. It may be unlinked already: pf detaches a
/// state from its keys after that.
pub(super) fn find_by_key(
    key: &Key,
    family: Family,
    proto: u8,
    role: KeyRole,
) -> Option<(Found<'static>, c_int)> {
    // SAFETY: all zeroes are a key. pf compares every byte, and its own keys have zeroes where
    // this has them.
    let mut wanted = unsafe { core::mem::zeroed::<sys::pf_state_key_cmp>() };
    for (to, from) in wanted.addr.iter_mut().zip(key.addr) {
        to.__bindgen_anon_1.addr8 = from;
    }
    wanted.port = key.port.map(u16::from_ne_bytes);
    wanted.af = family as u8;
    wanted.proto = proto;
    // pf names the lists by the directions of the packets that it looks up there.
    let direction = match role {
        KeyRole::Wire => sys::PF_IN,
        KeyRole::Stack => sys::PF_OUT,
    };
    let mut others = 0;
    // SAFETY: pf looks the state up in the current vnet's table, and returns it with its row
    // locked.
    let first = unsafe {
        NonNull::new(sys::pf_find_state_all(&wanted, direction, &mut others)).map(|st| Found::assume(st))
    };
    first.map(|first| (first, others))
}

/// Which key of a state.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyRole {
    /// Addresses and ports on the wire.
    Wire,
    /// Those before translation.
    Stack,
}

/// The number of rows in the id hash.
pub(crate) fn rows() -> usize {
    // SAFETY: pf sets the mask when it starts in the vnet.
    (unsafe { sys::pfs_pf_hashmask() } as usize).wrapping_add(1)
}

/// A locked row of the id hash. Dropping it unlocks the row.
#[must_use = "dropping it unlocks the row"]
pub(crate) struct Row {
    row: NonNull<sys::pf_idhash>,
    thread: PhantomData<*const ()>,
}

impl Row {
    /// Locks a row. `None` if the index is beyond the last row, or if the row is empty.
    pub(crate) fn lock(index: usize) -> Option<Row> {
        if index >= rows() {
            return None;
        }
        // SAFETY: the index lies within the table, which lives as long as pf. Without
        // the lock only one pointer is read. If it is null, the row is empty, but for
        // a state that pf is inserting at this moment, whose own hook announces it.
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
    pub(crate) fn states(&self) -> impl Iterator<Item = Locked<'_>> {
        // SAFETY: the row is locked, so that its list does not change.
        let first = NonNull::new(unsafe { (*self.row.as_ptr()).states.lh_first });
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
pub(crate) fn quiesce() {
    for index in 0..rows() {
        // SAFETY: the index lies within the table. Empty rows are locked too: a hook
        // may be running for a state that was just unlinked.
        unsafe {
            let row = sys::pfs_pf_idhash().add(index);
            sys::pfs_pf_row_lock(row);
            sys::pfs_pf_row_unlock(row);
        }
    }
}
