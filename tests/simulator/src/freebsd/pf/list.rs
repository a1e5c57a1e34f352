// SPDX-License-Identifier: BSD-2-Clause
//! The kernel's lists (queue(3)), on its own structures.

use std::ptr;
use sys_bindings as sys;

/// `LIST_INSERT_HEAD` into a row of the id hash.
///
/// # Safety
///
/// The row is locked, and the state in no row.
pub(super) unsafe fn row_insert(row: *mut sys::pf_idhash, st: *mut sys::pf_kstate) {
    // SAFETY: as the caller promises.
    unsafe {
        let head = &raw mut (*row).states.lh_first;
        (*st).entry.le_next = *head;
        if let Some(next) = (*head).as_mut() {
            next.entry.le_prev = &raw mut (*st).entry.le_next;
        }
        *head = st;
        (*st).entry.le_prev = head;
    }
}

/// `LIST_REMOVE` from a row of the id hash.
///
/// # Safety
///
/// The row is locked, and the state in it.
pub(super) unsafe fn row_remove(st: *mut sys::pf_kstate) {
    // SAFETY: as the caller promises.
    unsafe {
        let next = (*st).entry.le_next;
        if let Some(next) = next.as_mut() {
            next.entry.le_prev = (*st).entry.le_prev;
        }
        *(*st).entry.le_prev = next;
    }
}

/// `LIST_INSERT_HEAD` of a key.
///
/// # Safety
///
/// The key's row is locked, and the key in none.
pub(super) unsafe fn key_insert(head: *mut *mut sys::pf_state_key, key: *mut sys::pf_state_key) {
    // SAFETY: as the caller promises.
    unsafe {
        (*key).entry.le_next = *head;
        if let Some(next) = (*head).as_mut() {
            next.entry.le_prev = &raw mut (*key).entry.le_next;
        }
        *head = key;
        (*key).entry.le_prev = head;
    }
}

/// `LIST_REMOVE` of a key.
///
/// # Safety
///
/// The key's row is locked, and the key in it.
pub(super) unsafe fn key_remove(key: *mut sys::pf_state_key) {
    // SAFETY: as the caller promises.
    unsafe {
        let next = (*key).entry.le_next;
        if let Some(next) = next.as_mut() {
            next.entry.le_prev = (*key).entry.le_prev;
        }
        *(*key).entry.le_prev = next;
    }
}

/// `TAILQ_INSERT_HEAD` of a state into its key's list.
///
/// # Safety
///
/// The key's row is locked; the state is not in that list.
pub(super) unsafe fn state_insert_head(key: *mut sys::pf_state_key, index: usize, st: *mut sys::pf_kstate) {
    // SAFETY: as the caller promises.
    unsafe {
        let head = &raw mut (*key).states[index];
        let link = &raw mut (*st).key_list[index];
        (*link).tqe_next = (*head).tqh_first;
        match (*head).tqh_first.as_mut() {
            Some(first) => first.key_list[index].tqe_prev = &raw mut (*link).tqe_next,
            None => (*head).tqh_last = &raw mut (*link).tqe_next,
        }
        (*head).tqh_first = st;
        (*link).tqe_prev = &raw mut (*head).tqh_first;
    }
}

/// `TAILQ_INSERT_TAIL` of a state into its key's list.
///
/// # Safety
///
/// As for [`state_insert_head`].
pub(super) unsafe fn state_insert_tail(key: *mut sys::pf_state_key, index: usize, st: *mut sys::pf_kstate) {
    // SAFETY: as the caller promises.
    unsafe {
        let head = &raw mut (*key).states[index];
        let link = &raw mut (*st).key_list[index];
        (*link).tqe_next = ptr::null_mut();
        (*link).tqe_prev = (*head).tqh_last;
        *(*head).tqh_last = st;
        (*head).tqh_last = &raw mut (*link).tqe_next;
    }
}

/// `TAILQ_REMOVE` of a state from its key's list.
///
/// # Safety
///
/// The key's row is locked; the state is in that list.
pub(super) unsafe fn state_remove(key: *mut sys::pf_state_key, index: usize, st: *mut sys::pf_kstate) {
    // SAFETY: as the caller promises.
    unsafe {
        let head = &raw mut (*key).states[index];
        let link = &raw mut (*st).key_list[index];
        match (*link).tqe_next.as_mut() {
            Some(next) => next.key_list[index].tqe_prev = (*link).tqe_prev,
            None => (*head).tqh_last = (*link).tqe_prev,
        }
        *(*link).tqe_prev = (*link).tqe_next;
    }
}
