// SPDX-License-Identifier: BSD-2-Clause
//! Software interrupts (swi(9)): a thread that runs a handler on request.

use super::error::{Errno, Result};
use super::vnet::Vnet;
use core::ffi::{c_void, CStr};
use core::ptr;
use sys_bindings as sys;

/// A handler that runs in its own thread, with the priority of the network software
/// interrupt. Dropping it waits until the handler has returned, and so may sleep.
pub(crate) struct SoftInterrupt {
    cookie: *mut c_void,
    event: *mut sys::intr_event,
}

// SAFETY: the kernel serialises operations on an interrupt event.
unsafe impl Send for SoftInterrupt {}
// SAFETY: nothing can be done with a shared SoftInterrupt.
unsafe impl Sync for SoftInterrupt {}

impl SoftInterrupt {
    /// Registers `run`. It gets `vnet` as its argument, for [`Vnet::from_ptr`]. Fails
    /// if there is no memory or no thread.
    pub(crate) fn new(
        name: &'static CStr,
        vnet: Vnet,
        run: extern "C" fn(*mut c_void),
    ) -> Result<SoftInterrupt> {
        let mut interrupt = SoftInterrupt { cookie: ptr::null_mut(), event: ptr::null_mut() };
        let flags = sys::INTR_MPSAFE;
        // SAFETY: the name is static, the kernel only hands the argument back, and
        // both results have a place.
        let error = unsafe {
            sys::swi_add(
                &mut interrupt.event,
                name.as_ptr(),
                Some(run),
                vnet.as_ptr(),
                sys::SWI_NET as i32,
                flags,
                &mut interrupt.cookie,
            )
        };
        match Errno::check(error) {
            Ok(()) => Ok(interrupt),
            Err(error) => {
                core::mem::forget(interrupt);
                Err(error)
            }
        }
    }

    /// Gives up ownership. [`SoftInterrupt::from_raw`] takes it back.
    pub(crate) fn into_raw(self) -> (*mut c_void, *mut sys::intr_event) {
        let raw = (self.cookie, self.event);
        core::mem::forget(self);
        raw
    }

    /// Takes back the ownership that [`SoftInterrupt::into_raw`] gave up.
    ///
    /// # Safety
    ///
    /// Both came from one `into_raw`, and are taken back once.
    pub(crate) unsafe fn from_raw(cookie: *mut c_void, event: *mut sys::intr_event) -> SoftInterrupt {
        SoftInterrupt { cookie, event }
    }

    /// Requests a run of the handler. Requests that come before the run are one. What the
    /// thread has done before this, the kernel orders before the run: it stores the request
    /// with release semantics, and locks the handler's thread.
    ///
    /// # Safety
    ///
    /// `cookie` came from `into_raw`, and has not been taken back.
    pub(crate) unsafe fn schedule_raw(cookie: *mut c_void) {
        // SAFETY: the caller promises that the handler is registered.
        unsafe { sys::swi_sched(cookie, 0) };
    }
}

impl Drop for SoftInterrupt {
    fn drop(&mut self) {
        // SAFETY: `new` registered the handler, which is removed once. Its event has
        // no other handler.
        unsafe {
            sys::swi_remove(self.cookie);
            sys::intr_event_destroy(self.event);
        }
    }
}
