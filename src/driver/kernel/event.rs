// SPDX-License-Identifier: BSD-2-Clause
//! Events of interfaces (EVENTHANDLER(9)).

use crate::atomic::{AtomicPtr, Ordering};
use core::ffi::{c_int, c_void, CStr};
use core::ptr;
use sys_bindings as sys;

/// The function of an event: it gets null, the interface, and a number that says what
/// happened. The kernel calls it in the interface's vnet. It must not sleep.
pub(crate) type Handler = unsafe extern "C" fn(*mut c_void, *mut sys::ifnet, c_int);

/// The same for an event that has no number.
pub(crate) type PlainHandler = unsafe extern "C" fn(*mut c_void, *mut sys::ifnet);

/// A registration for one kind of event. Only load and unload use it, one after the
/// other, in the order of the kernel's lock for modules.
pub(crate) struct Registration {
    event: &'static CStr,
    tag: AtomicPtr<sys::eventhandler_entry>,
}

impl Registration {
    /// A registration that was not made yet.
    pub(crate) const fn new(event: &'static CStr) -> Registration {
        Registration { event, tag: AtomicPtr::new(ptr::null_mut()) }
    }

    /// Has the kernel call `handler` from now on. May sleep.
    pub(crate) fn register(&self, handler: Handler) {
        self.register_pointer(handler as *mut c_void);
    }

    /// The same for an event that has no number.
    pub(crate) fn register_plain(&self, handler: PlainHandler) {
        self.register_pointer(handler as *mut c_void);
    }

    fn register_pointer(&self, handler: *mut c_void) {
        // SAFETY: the name is terminated, and the kernel finds the list of handlers by it.
        // The handler has the type that this kind of event has.
        let tag = unsafe {
            sys::eventhandler_register(
                ptr::null_mut(),
                self.event.as_ptr(),
                handler,
                ptr::null_mut(),
                sys::EVENTHANDLER_PRI_ANY as c_int,
            )
        };
        self.tag.store(tag, Ordering::Release);
    }

    /// Ends the registration, and waits until the handler has returned. May sleep.
    pub(crate) fn deregister(&self) {
        let tag = self.tag.swap(ptr::null_mut(), Ordering::AcqRel);
        if tag.is_null() {
            return;
        }
        // SAFETY: the kernel returns the list locked, and deregistering unlocks it. The tag
        // came from `register`, and is used once.
        unsafe {
            let list = sys::eventhandler_find_list(self.event.as_ptr());
            if !list.is_null() {
                sys::eventhandler_deregister(list, tag);
            }
        }
    }
}
