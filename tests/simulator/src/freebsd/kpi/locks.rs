// SPDX-License-Identifier: BSD-2-Clause
//! The lock functions, on the kernel's own structures.

use super::symbols;
use crate::freebsd::kernel::lock::{Flags, Kind, Mode};
use crate::freebsd::kernel::sleep::{epoch_enter, epoch_exit, epoch_wait};
use crate::freebsd::kernel::thread;
use crate::freebsd::kernel::violation::violation;
use crate::freebsd::native;
use std::ffi::{c_char, c_void, CStr};
use sys_bindings as sys;

/// The mutex of a lock word.
fn mutex_of(word: *mut usize) -> usize {
    word as usize - std::mem::offset_of!(sys::mtx, mtx_lock)
}

fn lock(address: usize, mode: Mode) {
    thread::current().kernel.locks.lock(address, mode);
}

fn unlock(address: usize, mode: Mode) {
    thread::current().kernel.locks.unlock(address, mode);
}

/// The reader-writer lock of a lock word.
fn rwlock_of(word: *mut usize) -> usize {
    word as usize - std::mem::offset_of!(native::rwlock, rw_lock)
}

symbols! {
    pub unsafe extern "C" fn _mtx_init(
        word: *mut usize,
        name: *const c_char,
        _kind: *const c_char,
        options: i32,
    ) {
        // SAFETY: the caller's name is terminated.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
        let flags = Flags {
            recursive: options as u32 & sys::MTX_RECURSE != 0,
            duplicates: options as u32 & sys::MTX_DUPOK != 0,
        };
        thread::current().kernel.locks.init(mutex_of(word), &name, Kind::Mutex, flags);
    }

    pub unsafe extern "C" fn _mtx_destroy(word: *mut usize) {
        thread::current().kernel.locks.destroy(mutex_of(word));
    }

    pub unsafe extern "C" fn __mtx_lock_flags(
        word: *mut usize,
        _options: i32,
        _file: *const c_char,
        _line: i32,
    ) {
        lock(mutex_of(word), Mode::Exclusive);
    }

    pub unsafe extern "C" fn __mtx_unlock_flags(
        word: *mut usize,
        _options: i32,
        _file: *const c_char,
        _line: i32,
    ) {
        unlock(mutex_of(word), Mode::Exclusive);
    }

    pub unsafe extern "C" fn sx_init_flags(sx: *mut sys::sx, name: *const c_char, _options: i32) {
        // SAFETY: the caller's name is terminated.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
        thread::current().kernel.locks.init(sx as usize, &name, Kind::Sx, Flags::default());
    }

    pub unsafe extern "C" fn sx_destroy(sx: *mut sys::sx) {
        thread::current().kernel.locks.destroy(sx as usize);
    }

    pub unsafe extern "C" fn _sx_xlock(
        sx: *mut sys::sx,
        _options: i32,
        _file: *const c_char,
        _line: i32,
    ) -> i32 {
        lock(sx as usize, Mode::Exclusive);
        0
    }

    pub unsafe extern "C" fn sx_try_xlock_(sx: *mut sys::sx, _file: *const c_char, _line: i32) -> i32 {
        thread::current().kernel.locks.try_lock(sx as usize, Mode::Exclusive).into()
    }

    pub unsafe extern "C" fn _sx_xunlock(sx: *mut sys::sx, _file: *const c_char, _line: i32) {
        unlock(sx as usize, Mode::Exclusive);
    }

    pub unsafe extern "C" fn _rm_rlock_debug(
        rm: *mut sys::rmlock,
        _tracker: *mut c_void,
        _try: i32,
        _file: *const c_char,
        _line: i32,
    ) -> i32 {
        lock(rm as usize, Mode::Shared);
        1
    }

    pub unsafe extern "C" fn _rm_runlock_debug(
        rm: *mut sys::rmlock,
        _tracker: *mut c_void,
        _file: *const c_char,
        _line: i32,
    ) {
        unlock(rm as usize, Mode::Shared);
    }

    pub unsafe extern "C" fn _rm_wlock_debug(rm: *mut sys::rmlock, _file: *const c_char, _line: i32) {
        lock(rm as usize, Mode::Exclusive);
    }

    pub unsafe extern "C" fn _rm_wunlock_debug(rm: *mut sys::rmlock, _file: *const c_char, _line: i32) {
        unlock(rm as usize, Mode::Exclusive);
    }

    pub unsafe extern "C" fn __rw_rlock(word: *mut usize, _file: *const c_char, _line: i32) {
        lock(rwlock_of(word), Mode::Shared);
    }

    pub unsafe extern "C" fn _rw_runlock_cookie(word: *mut usize, _file: *const c_char, _line: i32) {
        unlock(rwlock_of(word), Mode::Shared);
    }

    pub unsafe extern "C" fn _epoch_enter_preempt(epoch: usize, tracker: *mut sys::epoch_tracker) {
        check_epoch(epoch);
        epoch_enter();
        // SAFETY: the caller's tracker.
        unsafe { (*tracker).et_td = thread::current().td() };
    }

    pub unsafe extern "C" fn _epoch_exit_preempt(epoch: usize, tracker: *mut sys::epoch_tracker) {
        check_epoch(epoch);
        // SAFETY: the caller's tracker.
        if unsafe { (*tracker).et_td } != thread::current().td() {
            violation("exits the network epoch with a tracker that did not enter it".into());
        }
        epoch_exit();
    }

    pub unsafe extern "C" fn epoch_wait_preempt(epoch: usize) {
        check_epoch(epoch);
        epoch_wait();
    }
}

/// Reports a violation for an epoch other than the network's, the only one.
fn check_epoch(epoch: usize) {
    // SAFETY: the kernel's own variables.
    let known = unsafe { (*thread::current().kernel.variables.globals()).net_epoch };
    if epoch != known {
        violation("uses an epoch that does not exist".into());
    }
}
