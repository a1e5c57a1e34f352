// SPDX-License-Identifier: BSD-2-Clause
//! Software interrupts: swi(9).

use super::sleep::may_sleep;
use super::thread;
use super::violation::violation;
use crate::freebsd::kpi;
use crate::freebsd::machine::cpu::into_module;
use std::cell::RefCell;
use std::collections::HashMap;
use std::ffi::{c_char, c_void};
use sys_bindings as sys;

type Function = unsafe extern "C" fn(*mut c_void);

struct Handler {
    event: usize,
    function: Function,
    arg: usize,
    scheduled: bool,
    running: bool,
}

/// The software interrupts of a kernel, by cookie.
#[derive(Default)]
pub(crate) struct Interrupts {
    handlers: RefCell<HashMap<usize, Handler>>,
}

const EVENT: &str = "intr_event";
const COOKIE: &str = "intr_handler";

impl Interrupts {
    /// Schedules a handler. Returns whether it needs a thread to run in.
    fn schedule(&self, cookie: usize) -> bool {
        let mut handlers = self.handlers.borrow_mut();
        let Some(handler) = handlers.get_mut(&cookie) else {
            drop(handlers);
            violation("schedules a software interrupt that is not registered".into())
        };
        handler.scheduled = true;
        !std::mem::replace(&mut handler.running, true)
    }

    /// The function that a handler's thread must run next; `None` ends the thread.
    fn next(&self, cookie: usize) -> Option<(Function, usize)> {
        let mut handlers = self.handlers.borrow_mut();
        let handler = handlers.get_mut(&cookie)?;
        handler.running = std::mem::replace(&mut handler.scheduled, false);
        handler.running.then_some((handler.function, handler.arg))
    }

    fn is_running(&self, cookie: usize) -> bool {
        self.handlers.borrow().get(&cookie).is_some_and(|handler| handler.running)
    }
}

fn serve(cookie: usize) {
    let thread = thread::current();
    thread.no_sleep.borrow_mut().push("a software interrupt");
    while let Some((function, arg)) = thread.kernel.interrupts.next(cookie) {
        // SAFETY: the module registered the function with this argument, and
        // removes it only while it does not run.
        into_module(|| unsafe { function(arg as *mut c_void) });
    }
}

kpi::symbols! {
    pub unsafe extern "C" fn swi_add(
        eventp: *mut *mut sys::intr_event,
        _name: *const c_char,
        function: Option<Function>,
        arg: *mut c_void,
        _priority: i32,
        _flags: i32,
        cookiep: *mut *mut c_void,
    ) -> i32 {
        may_sleep("swi_add");
        let kernel = thread::current().kernel.clone();
        let Some(function) = function else {
            violation("registers a software interrupt without a function".into())
        };
        let event = kernel.heap.allocate(size_of::<sys::intr_event>(), EVENT, true);
        let cookie = kernel.heap.allocate(1, COOKIE, true);
        let handler = Handler { event, function, arg: arg as usize, scheduled: false, running: false };
        kernel.interrupts.handlers.borrow_mut().insert(cookie, handler);
        // SAFETY: both point to the caller's variables.
        unsafe {
            *eventp = event as *mut sys::intr_event;
            *cookiep = cookie as *mut c_void;
        }
        0
    }

    pub unsafe extern "C" fn swi_sched(cookie: *mut c_void, _flags: i32) {
        let thread = thread::current();
        let kernel = thread.kernel.clone();
        if kernel.interrupts.schedule(cookie as usize) {
            let cookie = cookie as usize;
            kernel.world().spawn(&kernel, "swi", std::ptr::null_mut(), move || serve(cookie));
        }
    }

    pub unsafe extern "C" fn swi_remove(cookie: *mut c_void) -> i32 {
        may_sleep("swi_remove");
        let thread = thread::current();
        let kernel = thread.kernel.clone();
        let cookie = cookie as usize;
        thread.wait("a software interrupt", move || !kernel.interrupts.is_running(cookie));
        if thread.kernel.interrupts.handlers.borrow_mut().remove(&cookie).is_none() {
            violation("removes a software interrupt that is not registered".into());
        }
        thread.kernel.heap.free(cookie, COOKIE);
        0
    }

    pub unsafe extern "C" fn intr_event_destroy(event: *mut sys::intr_event) -> i32 {
        let kernel = thread::current().kernel.clone();
        let event = event as usize;
        if kernel.interrupts.handlers.borrow().values().any(|handler| handler.event == event) {
            violation("destroys an interrupt event that has a handler".into());
        }
        kernel.heap.free(event, EVENT);
        0
    }
}
