// SPDX-License-Identifier: BSD-2-Clause
//! The keys of states: attaches and detaches them, with pf's rules for collisions.

use super::{list, release, zone, Pf};
use crate::freebsd::kernel::lock::Mode;
use crate::freebsd::kernel::thread;
use crate::freebsd::kernel::violation::violation;
use crate::freebsd::native;
use std::mem::offset_of;
use sys_bindings as sys;

pub(super) const WIRE: usize = sys::PF_SK_WIRE as usize;
pub(super) const STACK: usize = sys::PF_SK_STACK as usize;

/// The part of a key that is compared.
fn compared<'a>(key: *const sys::pf_state_key) -> &'a [u8] {
    // SAFETY: a live key, whose compared part has no padding between fields.
    unsafe { std::slice::from_raw_parts(key.cast(), offset_of!(sys::pf_state_key, entry)) }
}

/// The locked rows of one or two keys.
struct KeyRows(Vec<usize>);

impl KeyRows {
    /// Locks the rows of both keys, the one with the lower address first.
    fn lock(rows: [*mut native::pf_keyhash; 2]) -> KeyRows {
        // SAFETY: only the locks' addresses are taken.
        let mut locks = rows.map(|row| unsafe { &raw mut (*row).lock as usize }).to_vec();
        locks.sort_unstable();
        locks.dedup();
        let kernel = thread::current().kernel.clone();
        locks.iter().for_each(|lock| kernel.locks.lock(*lock, Mode::Exclusive));
        KeyRows(locks)
    }

    fn unlock(self) {
        let kernel = thread::current().kernel.clone();
        self.0.iter().for_each(|lock| kernel.locks.unlock(*lock, Mode::Exclusive));
    }
}

/// Another state has the same key, interface and direction.
struct Collision;

impl Pf {
    fn key_row(&self, key: *const sys::pf_state_key) -> *mut native::pf_keyhash {
        let hash =
            compared(key).iter().fold(5381usize, |hash, byte| hash.wrapping_mul(33) ^ usize::from(*byte));
        // SAFETY: the index is within the array.
        unsafe { self.keyhash.add(hash % self.rows) }
    }

    /// Attaches a state to its keys, which pf owns from then on. Returns whether it
    /// succeeded; then the state's row is locked.
    pub(super) fn attach_keys(
        &self,
        wire: *mut sys::pf_state_key,
        stack: *mut sys::pf_state_key,
        st: *mut sys::pf_kstate,
    ) -> bool {
        // SAFETY: a state that is being inserted is the caller's alone.
        unsafe {
            if (*st).refs != 0
                || !(*st).key[WIRE].is_null()
                || !(*st).key[STACK].is_null()
                || !(*st).lock.is_null()
            {
                violation("inserts a state that is not pristine".into());
            }
        }
        let rows = KeyRows::lock([self.key_row(wire), self.key_row(stack)]);
        // SAFETY: the row's lock lives as long as pf.
        unsafe { (*st).lock = &raw mut (*self.row_of(st)).lock };
        if self.attach_key(WIRE, wire, st).is_err() {
            rows.unlock();
            self.free_key(wire);
            if !release::forgets_stack_key(WIRE) && stack != wire {
                self.free_key(stack);
            }
            return false;
        }
        if stack == wire {
            // SAFETY: the wire key's row is locked.
            unsafe { (*st).key[STACK] = (*st).key[WIRE] };
            self.list_state(STACK, st);
        } else if self.attach_key(STACK, stack, st).is_err() {
            rows.unlock();
            if !release::forgets_stack_key(STACK) {
                self.free_key(stack);
            }
            self.detach_keys(st);
            return false;
        }
        self.lock_state(st);
        rows.unlock();
        true
    }

    fn attach_key(
        &self,
        index: usize,
        key: *mut sys::pf_state_key,
        st: *mut sys::pf_kstate,
    ) -> Result<(), Collision> {
        let row = self.key_row(key);
        // SAFETY: the key's row is locked by the caller.
        unsafe {
            let mut present = (*row).keys.lh_first;
            while !present.is_null() && compared(present) != compared(key) {
                present = (*present).entry.le_next;
            }
            if present.is_null() {
                list::key_insert(&raw mut (*row).keys.lh_first, key);
                (*st).key[index] = key;
                self.list_state(index, st);
                return Ok(());
            }
            let displaced = self.find_collision(index, present, st)?;
            self.free_key(key);
            (*st).key[index] = present;
            self.list_state(index, st);
            if let Some(old) = displaced {
                list::state_remove(present, index, old);
                list::state_insert_tail(present, index, old);
            }
        }
        Ok(())
    }

    /// The state of the same interface and direction that this key has already, if
    /// it is closing and must give way. Fails if it is not closing.
    ///
    /// # Safety
    ///
    /// The key's row is locked.
    unsafe fn find_collision(
        &self,
        index: usize,
        key: *mut sys::pf_state_key,
        st: *mut sys::pf_kstate,
    ) -> Result<Option<*mut sys::pf_kstate>, Collision> {
        let mut displaced = None;
        // SAFETY: states of a key whose row is locked stay in its list.
        unsafe {
            let mut other = (*key).states[index].tqh_first;
            while !other.is_null() {
                self.lock_state(other);
                let same = (*other).kif == (*st).kif && (*other).direction == (*st).direction;
                let closing = u32::from((*key).proto) == sys::IPPROTO_TCP
                    && u32::from((*other).src.state) >= sys::TCPS_FIN_WAIT_2
                    && u32::from((*other).dst.state) >= sys::TCPS_FIN_WAIT_2;
                if same && !closing {
                    (*st).timeout = sys::PFTM_UNLINKED as u8;
                    self.unlock_state(other);
                    return Err(Collision);
                }
                if same {
                    (*other).src.state = sys::TCPS_CLOSED as u8;
                    (*other).dst.state = sys::TCPS_CLOSED as u8;
                    (*other).timeout = sys::PFTM_PURGE as u8;
                    displaced = Some(other);
                }
                self.unlock_state(other);
                other = (*other).key_list[index].tqe_next;
            }
        }
        Ok(displaced)
    }

    /// Adds a state to the list of its key: bound states come before floating ones.
    fn list_state(&self, index: usize, st: *mut sys::pf_kstate) {
        // SAFETY: the key's row is locked by the caller.
        unsafe {
            let key = (*st).key[index];
            if (*st).kif == self.kif_all() {
                list::state_insert_tail(key, index, st);
            } else {
                list::state_insert_head(key, index, st);
            }
        }
    }

    fn free_key(&self, key: *mut sys::pf_state_key) {
        thread::current().kernel.heap.free(key as usize, zone::KEYS.name);
    }

    /// `pf_find_state_all`: the first state with that key as its wire key, if `direction` is
    /// `PF_IN`, or as its stack key, and how many others there are. Its row is locked.
    pub(crate) fn find_by_key(
        &self,
        key: *const sys::pf_state_key_cmp,
        direction: u32,
    ) -> Option<(*mut sys::pf_kstate, i32)> {
        // The compared part of a key comes first.
        let key = key.cast::<sys::pf_state_key>();
        let index = if direction == sys::PF_IN { WIRE } else { STACK };
        let row = self.key_row(key);
        let rows = KeyRows::lock([row, row]);
        // SAFETY: the key's row is locked.
        let found = unsafe {
            let mut present = (*row).keys.lh_first;
            while !present.is_null() && compared(present) != compared(key) {
                present = (*present).entry.le_next;
            }
            let first = present.as_ref().map_or(std::ptr::null_mut(), |key| key.states[index].tqh_first);
            first.as_ref().map(|state| {
                let next = |state: *mut sys::pf_kstate| (*state).key_list[index].tqe_next.as_mut();
                let others =
                    std::iter::successors(next(first), |state| next(std::ptr::from_ref(*state).cast_mut()));
                (std::ptr::from_ref(state).cast_mut(), others.count() as i32)
            })
        };
        if let Some((st, _)) = found {
            self.lock_state(st);
        }
        rows.unlock();
        found
    }

    /// Detaches an unlinked state from its keys.
    pub(super) fn detach_keys(&self, st: *mut sys::pf_kstate) {
        // SAFETY: the caller has unlinked the state: nobody else attaches or
        // detaches its keys.
        let (stack, wire) = unsafe { ((*st).key[STACK], (*st).key[WIRE]) };
        if !stack.is_null() {
            let row = self.key_row(stack);
            let rows = KeyRows::lock([row, row]);
            self.detach_key(STACK, st);
            if wire == stack {
                self.detach_key(WIRE, st);
            }
            rows.unlock();
        }
        // SAFETY: as above.
        let wire = unsafe { (*st).key[WIRE] };
        if !wire.is_null() {
            let row = self.key_row(wire);
            let rows = KeyRows::lock([row, row]);
            self.detach_key(WIRE, st);
            rows.unlock();
        }
    }

    fn detach_key(&self, index: usize, st: *mut sys::pf_kstate) {
        // SAFETY: the key's row is locked by the caller.
        unsafe {
            let key = (*st).key[index];
            list::state_remove(key, index, st);
            (*st).key[index] = std::ptr::null_mut();
            if (*key).states.iter().all(|states| states.tqh_first.is_null()) {
                list::key_remove(key);
                self.free_key(key);
            }
        }
    }
}
