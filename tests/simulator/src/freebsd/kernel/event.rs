// SPDX-License-Identifier: BSD-2-Clause
//! EVENTHANDLER(9): lists of functions that the kernel calls when something happens
//! to an interface.

use super::lock::{Flags, Kind, Mode};
use super::sleep::may_sleep;
use super::violation::violation;
use super::{thread, Kernel};
use crate::freebsd::kpi;
use crate::freebsd::machine::cpu::into_module;
use std::cell::{Cell, RefCell};
use std::ffi::{c_char, c_void, CStr};
use std::ptr;
use std::rc::Rc;
use sys_bindings as sys;

/// malloc type of the entries.
pub(super) const ENTRY: &str = "eventhandler";

/// A function of an event: it gets its argument, the interface, and what happened.
type Function = unsafe extern "C" fn(*mut c_void, *mut sys::ifnet, i32);

#[derive(Clone, Copy)]
struct Entry {
    function: Function,
    argument: *mut c_void,
    tag: usize,
}

/// The functions of one event. Its address is that of its lock.
struct List {
    name: String,
    entries: RefCell<Vec<Entry>>,
    /// The entries that were removed while functions ran.
    dead: RefCell<Vec<usize>>,
    /// How many threads call the functions.
    running: Cell<usize>,
}

/// The lists of a kernel.
#[derive(Default)]
pub(crate) struct Events {
    lists: RefCell<Vec<Rc<List>>>,
}

impl List {
    fn address(&self) -> usize {
        ptr::from_ref(self) as usize
    }

    fn lock(&self) {
        thread::current().kernel.locks.lock(self.address(), Mode::Exclusive);
    }

    fn unlock(&self) {
        thread::current().kernel.locks.unlock(self.address(), Mode::Exclusive);
    }

    /// Frees the entries that were removed while functions ran.
    fn prune(&self) {
        let dead = self.dead.take();
        self.entries.borrow_mut().retain(|entry| !dead.contains(&entry.tag));
        dead.into_iter().for_each(|tag| thread::current().kernel.heap.free(tag, ENTRY));
    }
}

impl Events {
    fn find(&self, name: &str) -> Option<Rc<List>> {
        self.lists.borrow().iter().find(|list| list.name == name).cloned()
    }

    fn find_or_make(&self, kernel: &Kernel, name: &str) -> Rc<List> {
        self.find(name).unwrap_or_else(|| {
            let list = Rc::new(List {
                name: name.to_string(),
                entries: RefCell::default(),
                dead: RefCell::default(),
                running: Cell::new(0),
            });
            kernel.locks.init(list.address(), "eventhandler list", Kind::Mutex, Flags::default());
            self.lists.borrow_mut().push(list.clone());
            list
        })
    }
}

/// Calls the functions of an event. Called in a thread of the interface's vnet.
pub(super) fn invoke(name: &str, ifp: *mut sys::ifnet, what: i32) {
    let thread = thread::current();
    let Some(list) = thread.kernel.events.find(name) else { return };
    list.lock();
    list.running.set(list.running.get() + 1);
    let entries = list.entries.borrow().clone();
    for entry in entries {
        if list.dead.borrow().contains(&entry.tag) {
            continue;
        }
        list.unlock();
        thread.no_sleep.borrow_mut().push("an event of an interface");
        // SAFETY: the function is the module's, which removes it and waits before it is
        // unloaded.
        into_module(|| unsafe { (entry.function)(entry.argument, ifp, what) });
        thread.no_sleep.borrow_mut().pop();
        list.lock();
    }
    list.running.set(list.running.get() - 1);
    if list.running.get() == 0 {
        list.prune();
    }
    list.unlock();
}

kpi::symbols! {
    pub unsafe extern "C" fn eventhandler_register(
        list: *mut c_void,
        name: *const c_char,
        function: Function,
        argument: *mut c_void,
        _priority: i32,
    ) -> usize {
        may_sleep("eventhandler_register");
        if !list.is_null() {
            violation("registers with a list instead of a name".into());
        }
        let kernel = thread::current().kernel.clone();
        // SAFETY: the caller's name is terminated.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
        let list = kernel.events.find_or_make(&kernel, &name);
        let tag = kernel.heap.allocate(size_of::<Entry>(), ENTRY, true);
        list.lock();
        list.entries.borrow_mut().push(Entry { function, argument, tag });
        list.unlock();
        tag
    }

    pub unsafe extern "C" fn eventhandler_find_list(name: *const c_char) -> usize {
        // SAFETY: the caller's name is terminated.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
        let Some(list) = thread::current().kernel.events.find(&name) else { return 0 };
        list.lock();
        list.address()
    }

    pub unsafe extern "C" fn eventhandler_deregister(address: usize, tag: usize) {
        let kernel = thread::current().kernel.clone();
        kernel.locks.assert_held(address, "eventhandler_deregister");
        let list = kernel.events.lists.borrow().iter().find(|list| list.address() == address).cloned();
        let Some(list) = list else { violation("deregisters from a list that does not exist".into()) };
        if !list.entries.borrow().iter().any(|entry| entry.tag == tag) {
            violation("deregisters what is not registered".into());
        }
        list.dead.borrow_mut().push(tag);
        if list.running.get() == 0 {
            list.prune();
        }
        while list.running.get() > 0 {
            list.unlock();
            may_sleep("eventhandler_deregister");
            let waited = list.clone();
            thread::current().wait("evhrm", move || waited.running.get() == 0);
            list.lock();
        }
        list.unlock();
    }
}
