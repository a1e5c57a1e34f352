// SPDX-License-Identifier: BSD-2-Clause
//! callout(9) on the simulated clock.

use super::sleep::may_sleep;
use super::violation::violation;
use super::world::Sbt;
use super::{thread, Kernel};
use crate::freebsd::kpi;
use crate::freebsd::machine::cpu::into_module;
use crate::freebsd::native;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::c_void;
use std::rc::Rc;
use sys_bindings as sys;

type Function = unsafe extern "C" fn(*mut c_void);

/// The callouts of a kernel, by address.
#[derive(Default)]
pub struct Callouts {
    known: RefCell<BTreeSet<usize>>,
    pending: RefCell<BTreeMap<usize, (Sbt, usize)>>,
    /// Each with the id of the thread that runs it.
    running: RefCell<HashMap<usize, usize>>,
}

impl Callouts {
    /// Number of callouts that are armed.
    pub fn pending(&self) -> usize {
        self.pending.borrow().len()
    }

    /// Reports a violation if a callout in this memory is armed or runs.
    pub fn check_freed(&self, address: usize, len: usize) {
        let range = address..address + len;
        let armed = self.pending.borrow().range(range.clone()).next().is_some();
        if armed || self.running.borrow().keys().any(|callout| range.contains(callout)) {
            violation("frees memory with a callout in it that is armed or runs".into());
        }
        self.known.borrow_mut().retain(|callout| !range.contains(callout));
    }

    fn check_known(&self, callout: usize) {
        if !self.known.borrow().contains(&callout) {
            violation("uses a callout that is not initialised".into());
        }
    }

    fn cancel(&self, kernel: &Kernel, callout: usize) -> bool {
        let key = self.pending.borrow_mut().remove(&callout);
        key.is_some_and(|key| kernel.world().cancel(key))
    }

    fn arm(&self, kernel: &Rc<Kernel>, callout: usize, delay: Sbt, function: Function, arg: usize) {
        let weak = Rc::downgrade(kernel);
        let key = kernel.world().at(delay, move |_| {
            if let Some(kernel) = weak.upgrade().filter(|kernel| !kernel.is_crashed()) {
                kernel.callouts.fire(&kernel, callout, function, arg);
            }
        });
        self.pending.borrow_mut().insert(callout, key);
    }

    fn fire(&self, kernel: &Rc<Kernel>, callout: usize, function: Function, arg: usize) {
        self.pending.borrow_mut().remove(&callout);
        let world = kernel.world();
        let inner = kernel.clone();
        let thread = world.spawn(kernel, "clock", std::ptr::null_mut(), move || {
            let thread = thread::current();
            thread.no_sleep.borrow_mut().push("a callout");
            // SAFETY: the module armed the callout with this function and
            // argument, and has not stopped it.
            into_module(|| unsafe { function(arg as *mut c_void) });
            inner.callouts.running.borrow_mut().remove(&callout);
        });
        self.running.borrow_mut().insert(callout, thread.id);
    }
}

kpi::symbols! {
    pub unsafe extern "C" fn callout_init(callout: *mut sys::callout, _mpsafe: i32) {
        let callouts = &thread::current().kernel.callouts;
        if callouts.pending.borrow().contains_key(&(callout as usize)) {
            violation("initialises a callout that is armed".into());
        }
        callouts.known.borrow_mut().insert(callout as usize);
    }

    pub unsafe extern "C" fn callout_reset_sbt_on(
        callout: *mut sys::callout,
        delay: Sbt,
        _precision: Sbt,
        function: Option<Function>,
        arg: *mut c_void,
        _cpu: i32,
        _flags: i32,
    ) -> i32 {
        let kernel = thread::current().kernel.clone();
        kernel.callouts.check_known(callout as usize);
        let Some(function) = function else { violation("arms a callout without a function".into()) };
        let cancelled = kernel.callouts.cancel(&kernel, callout as usize);
        // SAFETY: the kernel's own variables.
        let tick = unsafe { (*kernel.variables.globals()).tick };
        let ticks = delay.max(1).div_euclid(tick) + i64::from(delay.max(1).rem_euclid(tick) != 0);
        kernel.callouts.arm(&kernel, callout as usize, ticks * tick, function, arg as usize);
        i32::from(cancelled)
    }

    pub unsafe extern "C" fn _callout_stop_safe(callout: *mut sys::callout, flags: i32) -> i32 {
        let thread = thread::current();
        let kernel = thread.kernel.clone();
        let address = callout as usize;
        kernel.callouts.check_known(address);
        if flags as u32 & native::CS_DRAIN == 0 {
            return i32::from(kernel.callouts.cancel(&kernel, address));
        }
        may_sleep("callout_drain");
        if kernel.callouts.running.borrow().get(&address) == Some(&thread.id) {
            violation("a callout drains itself".into());
        }
        let inner = kernel.clone();
        thread.wait("a callout", move || !inner.callouts.running.borrow().contains_key(&address));
        i32::from(kernel.callouts.cancel(&kernel, address))
    }
}
