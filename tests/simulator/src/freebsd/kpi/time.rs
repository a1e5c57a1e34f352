// SPDX-License-Identifier: BSD-2-Clause
//! The clock, and sleeping for a time.

use super::symbols;
use crate::freebsd::kernel::sleep::may_sleep;
use crate::freebsd::kernel::thread;
use crate::freebsd::kernel::violation::violation;
use crate::freebsd::kernel::world::{milliseconds, Sbt};
use crate::freebsd::native;
use std::cell::Cell;
use std::ffi::c_char;
use std::rc::Rc;
use sys_bindings as sys;

/// Has the thread sleep for a time.
pub(crate) fn sleep(reason: &str, time: Sbt) {
    let thread = thread::current();
    let over = Rc::new(Cell::new(false));
    let flag = over.clone();
    thread.kernel.world().at(time, move |_| flag.set(true));
    thread.wait(reason, move || over.get());
}

symbols! {
    pub unsafe extern "C" fn getbinuptime(time: *mut native::bintime) {
        let uptime = thread::current().kernel.uptime();
        // SAFETY: the caller's variable.
        unsafe {
            (*time).sec = uptime >> 32;
            (*time).frac = (uptime as u64) << 32;
        }
    }

    /// With `PDROP`: every CPU switches to another thread. Here, every thread that can run
    /// does.
    pub unsafe extern "C" fn quiesce_all_cpus(name: *const c_char, flags: i32) -> i32 {
        if flags != sys::PDROP as i32 {
            violation("waits for idle CPUs, which may take for ever".into());
        }
        let kernel = thread::current().kernel.clone();
        // SAFETY: the kernel's own variables.
        let departs = unsafe { (*kernel.variables.globals()).detach_ifnet };
        let clears = kernel.vnets.borrow().iter().any(|vnet| vnet.pf.has_clear_hook());
        kernel.forgot_unlocked_callers.set(departs.is_none() && !clears);
        // SAFETY: the same as any caller's.
        unsafe { pause_sbt(name, milliseconds(1), 0, 0) }
    }

    pub unsafe extern "C" fn pause_sbt(_name: *const c_char, time: Sbt, _precision: Sbt, _flags: i32) -> i32 {
        may_sleep("pause");
        sleep("a pause", time);
        0
    }
}
