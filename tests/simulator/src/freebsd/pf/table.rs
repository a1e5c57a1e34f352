// SPDX-License-Identifier: BSD-2-Clause
//! The state table: what pf does to a state from its insertion to its end.

use super::{list, zone, Pf};
use crate::freebsd::kernel::lock::Mode;
use crate::freebsd::kernel::thread;
use crate::freebsd::kernel::violation::violation;
use crate::freebsd::machine::cpu::{self, into_module};
use std::ptr;
use sys_bindings as sys;

/// How many references pf itself has to a linked state.
const OWN_REFERENCES: u32 = 2;

fn lock(address: usize) {
    thread::current().kernel.locks.lock(address, Mode::Exclusive);
}

fn unlock(address: usize) {
    thread::current().kernel.locks.unlock(address, Mode::Exclusive);
}

/// Seconds since boot.
pub(crate) fn uptime() -> u32 {
    (thread::current().kernel.uptime() >> 32) as u32
}

impl Pf {
    /// The row of a state.
    pub(super) fn row_of(&self, st: *const sys::pf_kstate) -> *mut sys::pf_idhash {
        // SAFETY: the caller's state lives; its id does not change.
        self.row(unsafe { u64::from_be((*st).id) } as usize % self.rows())
    }

    pub(super) fn lock_state(&self, st: *const sys::pf_kstate) {
        // SAFETY: only the lock's address is taken.
        lock(unsafe { &raw mut (*self.row_of(st)).lock as usize });
    }

    pub(super) fn unlock_state(&self, st: *const sys::pf_kstate) {
        // SAFETY: as above.
        unlock(unsafe { &raw mut (*self.row_of(st)).lock as usize });
    }

    fn assert_locked(&self, st: *const sys::pf_kstate, what: &str) {
        // SAFETY: as above.
        let lock = unsafe { &raw mut (*self.row_of(st)).lock as usize };
        thread::current().kernel.locks.assert_held(lock, what);
    }

    /// Runs `inside` with the rules locked for reading.
    pub(crate) fn with_rules<R>(&self, inside: impl FnOnce() -> R) -> R {
        // SAFETY: only the lock's address is taken.
        let rules = unsafe { &raw mut (*self.variables).rules_lock as usize };
        let kernel = thread::current().kernel.clone();
        kernel.locks.lock(rules, Mode::Shared);
        let result = inside();
        kernel.locks.unlock(rules, Mode::Shared);
        result
    }

    /// Reports a violation unless the rules are locked.
    pub(crate) fn assert_rules(&self, what: &str) {
        // SAFETY: only the lock's address is taken.
        let rules = unsafe { &raw mut (*self.variables).rules_lock as usize };
        thread::current().kernel.locks.assert_held(rules, what);
    }

    /// `pf_state_insert`, with the kif that the state is bound to and the original
    /// one. On success the state's row is locked.
    pub(crate) fn insert(
        &self,
        kifs: [*mut sys::pfi_kkif; 2],
        keys: [*mut sys::pf_state_key; 2],
        st: *mut sys::pf_kstate,
    ) -> Result<(), i32> {
        let [wire, stack] = keys;
        // SAFETY: only the caller has the state; the variables are the
        // vnet's own.
        unsafe {
            [(*st).kif, (*st).orig_kif] = kifs;
            if (*st).id == 0 && (*st).creatorid == 0 {
                (*st).id = self.next_id.get().to_be();
                self.next_id.set(self.next_id.get() + 1);
                (*st).creatorid = (*self.variables).status.hostid;
            }
        }
        if !self.attach_keys(wire, stack, st) {
            return Err(sys::EEXIST as i32);
        }
        // SAFETY: attaching has locked the row.
        unsafe {
            if !self.find_in_row((*st).id, (*st).creatorid, self.row_of(st)).is_null() {
                (*st).timeout = sys::PFTM_UNLINKED as u8;
                self.unlock_state(st);
                self.detach_keys(st);
                return Err(sys::EEXIST as i32);
            }
            list::row_insert(self.row_of(st), st);
            (*st).refs = OWN_REFERENCES;
            self.remember(st);
            if let Some(hook) = (*self.variables).insert {
                into_module(|| hook(st));
            }
        }
        Ok(())
    }

    fn remember(&self, st: *const sys::pf_kstate) {
        self.inserted.set(self.inserted.get() + 1);
        self.generations.borrow_mut().insert(st as usize, self.inserted.get());
    }

    /// The generation of a linked state.
    pub(crate) fn generation(&self, st: *const sys::pf_kstate) -> u64 {
        self.generations.borrow().get(&(st as usize)).copied().unwrap_or(0)
    }

    /// # Safety
    ///
    /// The row is locked.
    unsafe fn find_in_row(&self, id: u64, creator: u32, row: *mut sys::pf_idhash) -> *mut sys::pf_kstate {
        // SAFETY: as the caller promises.
        unsafe {
            let mut st = (*row).states.lh_first;
            while !st.is_null() && ((*st).id != id || (*st).creatorid != creator) {
                st = (*st).entry.le_next;
            }
            st
        }
    }

    /// `pf_find_state_byid`. The row of the state that is found is locked.
    pub(crate) fn find(&self, id: u64, creator: u32) -> Option<*mut sys::pf_kstate> {
        let row = self.row(u64::from_be(id) as usize % self.rows());
        // SAFETY: the row's lock lives as long as pf.
        let row_lock = unsafe { &raw mut (*row).lock as usize };
        lock(row_lock);
        // SAFETY: locked above.
        let st = unsafe { self.find_in_row(id, creator, row) };
        if st.is_null() {
            unlock(row_lock);
            return None;
        }
        Some(st)
    }

    /// `pf_unlink_state`. Unlocks the state's row, which the caller has locked.
    pub(crate) fn unlink(&self, st: *mut sys::pf_kstate) {
        self.assert_locked(st, "unlinks a state");
        // SAFETY: the row is locked, as was just checked.
        unsafe {
            if u32::from((*st).timeout) == sys::PFTM_UNLINKED {
                self.unlock_state(st);
                return;
            }
            list::row_remove(st);
            self.generations.borrow_mut().remove(&(st as usize));
            if let Some(hook) = (*self.variables).delete {
                into_module(|| hook(st));
            }
            *cpu::value_of((**sys::pfs_rules(st)[0]).states_cur) -= 1;
            (*st).timeout = sys::PFTM_UNLINKED as u8;
            self.count_half_open(self.is_half_open(st), false);
            if u32::from((*(*st).key[0]).proto) == sys::IPPROTO_TCP {
                (*st).src.state = sys::TCPS_CLOSED as u8;
                (*st).dst.state = sys::TCPS_CLOSED as u8;
            }
        }
        self.unlock_state(st);
        self.detach_keys(st);
        self.release(st, OWN_REFERENCES);
    }

    /// `pf_release_staten`
    pub(crate) fn release(&self, st: *mut sys::pf_kstate, count: u32) {
        // SAFETY: the caller has that many references.
        let left = unsafe {
            (*st).refs -= count;
            (*st).refs
        };
        if left == 0 {
            self.free(st);
        }
    }

    /// `pf_free_state`
    pub(crate) fn free(&self, st: *mut sys::pf_kstate) {
        let heap = &thread::current().kernel.heap;
        // SAFETY: there are no references to the state any more.
        unsafe {
            if (*st).refs != 0 {
                violation(format!("frees a state with {} references", (*st).refs));
            }
            if u32::from((*st).timeout) != sys::PFTM_UNLINKED {
                violation(format!("frees a state whose timeout is {}", (*st).timeout));
            }
            for scrub in [(*st).src.scrub, (*st).dst.scrub] {
                if !scrub.is_null() {
                    heap.free(scrub as usize, zone::SCRUBS.name);
                }
            }
        }
        heap.free(st as usize, zone::STATES.name);
    }

    /// `pf_state_expires`, in seconds of uptime.
    pub(crate) fn expires(&self, st: *const sys::pf_kstate) -> u32 {
        // SAFETY: the caller has the state locked.
        unsafe {
            let timeout = u32::from((*st).timeout);
            if timeout == sys::PFTM_PURGE {
                return uptime();
            }
            if timeout >= sys::PFTM_MAX {
                violation(format!("asks when a state expires whose timeout is {timeout}"));
            }
            let of_rule = (**sys::pfs_rules(st.cast_mut())[0]).timeout[timeout as usize];
            let seconds =
                if of_rule != 0 { of_rule } else { (*self.variables).default_rule.timeout[timeout as usize] };
            sys::pfs_uptime_of((*st).expire).wrapping_add(seconds)
        }
    }

    /// Unlinks the expired states, as pf's purge thread does.
    pub fn purge(&self) {
        for row in 0..self.rows() {
            // SAFETY: the row's lock lives as long as pf.
            let row_lock = unsafe { &raw mut (*self.row(row)).lock as usize };
            loop {
                lock(row_lock);
                match self.first_in(row, |st| self.expires(st) <= uptime()) {
                    Some(st) => self.unlink(st),
                    None => {
                        unlock(row_lock);
                        break;
                    }
                }
            }
        }
    }

    fn first_in(
        &self,
        row: usize,
        wanted: impl Fn(*mut sys::pf_kstate) -> bool,
    ) -> Option<*mut sys::pf_kstate> {
        // SAFETY: the row is locked by the caller.
        unsafe {
            let mut st = (*self.row(row)).states.lh_first;
            while !st.is_null() && !wanted(st) {
                st = (*st).entry.le_next;
            }
            (!st.is_null()).then_some(st)
        }
    }

    /// Unlinks every state, or those that are bound to the named interface, as
    /// `pfctl -i name -F states` does. With `tell`, calls pfsync's hook.
    pub fn flush(&self, interface: &str, tell: bool) {
        // SAFETY: the rows of linked states are locked, and kifs live as long as pf.
        let is_chosen = |st: *mut sys::pf_kstate| unsafe {
            interface.is_empty() || self.kif(interface).is_some_and(|kif| ptr::eq((*st).kif, kif))
        };
        for row in 0..self.rows() {
            // SAFETY: as in `purge`.
            let row_lock = unsafe { &raw mut (*self.row(row)).lock as usize };
            loop {
                lock(row_lock);
                let Some(st) = self.first_in(row, is_chosen) else {
                    unlock(row_lock);
                    break;
                };
                // SAFETY: the row is locked. One clear tells peers of all states.
                unsafe {
                    (*st).timeout = sys::PFTM_PURGE as u8;
                    (*st).state_flags |= sys::PFSTATE_NOSYNC as u16;
                }
                self.unlink(st);
            }
        }
        // SAFETY: the vnet's own variables; the name has IFNAMSIZ bytes.
        unsafe {
            if let Some(hook) = (*self.variables).clear.filter(|_| tell) {
                // pf holds no lock here, and other threads may run meanwhile.
                let thread = thread::current();
                (0..thread.kernel.world().random(40)).for_each(|_| thread.give_way());
                if thread.kernel.image().is_none() {
                    violation("leaves while a thread is about to call its hook for clears".into());
                }
                let mut name = [0i8; 16];
                name.iter_mut().zip(interface.bytes()).for_each(|(to, from)| *to = from as i8);
                into_module(|| hook((*self.variables).status.hostid, name.as_ptr()));
            }
        }
    }
}
