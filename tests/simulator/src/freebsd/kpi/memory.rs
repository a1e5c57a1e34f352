// SPDX-License-Identifier: BSD-2-Clause
//! malloc(9), uma(9), counter(9), and memory of user programs.

use super::symbols;
use super::time;
use crate::freebsd::kernel::heap::{may_fail, wants_zero};
use crate::freebsd::kernel::sleep::{hold_nothing, may_sleep};
use crate::freebsd::kernel::thread;
use crate::freebsd::kernel::violation::violation;
use crate::freebsd::machine::cpu;
use crate::freebsd::pf::zone::Zone;
use std::ffi::{c_void, CStr};
use std::ptr;
use sys_bindings as sys;

/// Allocates memory as `flags` say. Returns 0 if the call may fail and does.
pub(crate) fn allocate(size: usize, kind: &'static str, flags: i32) -> usize {
    let kernel = thread::current().kernel.clone();
    kernel.world().preemption_point();
    if !may_fail(flags) {
        may_sleep("malloc(M_WAITOK)");
    } else if kernel.heap.fails() {
        return 0;
    }
    kernel.heap.allocate(size, kind, wants_zero(flags))
}

/// Lets other threads run while a page of a user program is fetched.
fn fetch_user_memory() {
    let delay = thread::current().kernel.user_memory_delay.get();
    if delay > 0 {
        time::sleep("user memory", delay);
    }
}

/// The kind that a module's block is recorded as, by its malloc type.
fn kind_of(kind: *const sys::malloc_type) -> &'static str {
    // SAFETY: a malloc type's description is terminated.
    let name = unsafe { CStr::from_ptr((*kind).ks_shortdesc) };
    match name.to_bytes() {
        b"pfsync" => "pfsync",
        b"nvlist" => "nvlist",
        _ => violation(format!("uses the malloc type {name:?}, which is not known")),
    }
}

symbols! {
    pub unsafe extern "C" fn malloc(size: usize, kind: *const sys::malloc_type, flags: i32) -> *mut c_void {
        allocate(size, kind_of(kind), flags) as *mut c_void
    }

    pub unsafe extern "C" fn free(memory: *mut c_void, kind: *const sys::malloc_type) {
        if !memory.is_null() {
            thread::current().kernel.heap.free(memory as usize, kind_of(kind));
        }
    }

    pub unsafe extern "C" fn malloc_init(_kind: *const c_void) {}

    pub unsafe extern "C" fn malloc_uninit(kind: *const c_void) {
        let kernel = thread::current().kernel.clone();
        let leaks = kernel.heap.leaks(&kernel, &[kind_of(kind.cast())]);
        if !leaks.is_empty() {
            violation(format!("leaks memory: {}", leaks.join("; ")));
        }
    }

    pub unsafe extern "C" fn uma_zalloc_arg(
        zone: sys::uma_zone_t,
        _arg: *mut c_void,
        flags: i32,
    ) -> *mut c_void {
        // SAFETY: every zone that modules can get at is a Zone.
        let zone = unsafe { &*zone.cast::<Zone>() };
        let item = allocate(zone.size, zone.name, flags);
        if item == 0 {
            return ptr::null_mut();
        }
        (zone.construct)(item);
        item as *mut c_void
    }

    pub unsafe extern "C" fn uma_zfree_arg(zone: sys::uma_zone_t, item: *mut c_void, _arg: *mut c_void) {
        // SAFETY: as above.
        let zone = unsafe { &*zone.cast::<Zone>() };
        if !item.is_null() {
            thread::current().kernel.heap.free(item as usize, zone.name);
        }
    }

    pub unsafe extern "C" fn counter_u64_fetch(counter: sys::counter_u64_t) -> u64 {
        // SAFETY: the counter was made by `cpu::counter_of` for a live value.
        unsafe { *cpu::value_of(counter) }
    }

    pub unsafe extern "C" fn copyin(from: *const c_void, to: *mut c_void, len: usize) -> i32 {
        may_sleep("copyin");
        hold_nothing("copyin");
        fetch_user_memory();
        if from.is_null() || thread::current().kernel.heap.fails() {
            return sys::EFAULT as i32;
        }
        // SAFETY: the user program is the test, which passes enough memory.
        unsafe { ptr::copy_nonoverlapping(from.cast::<u8>(), to.cast(), len) };
        0
    }

    pub unsafe extern "C" fn copyout(from: *const c_void, to: *mut c_void, len: usize) -> i32 {
        may_sleep("copyout");
        hold_nothing("copyout");
        fetch_user_memory();
        if to.is_null() || thread::current().kernel.heap.fails() {
            return sys::EFAULT as i32;
        }
        // SAFETY: as above.
        unsafe { ptr::copy_nonoverlapping(from.cast::<u8>(), to.cast(), len) };
        0
    }

    pub unsafe extern "C" fn ifr_data_get_ptr(request: *mut c_void) -> *mut c_void {
        // SAFETY: the caller's request.
        let pointer = unsafe { (*request.cast::<sys::ifreq>()).ifr_ifru.ifru_data } as usize;
        let mask = if thread::current().kernel.has_32bit_programs.get() { 0xffff_ffff } else { usize::MAX };
        (pointer & mask) as *mut c_void
    }

    pub unsafe extern "C" fn priv_check(_thread: *mut sys::thread, _privilege: i32) -> i32 {
        0
    }
}
