//! Software interrupts: a thread that runs when it is asked to.

use super::error::{Errno, Result};
use super::vnet::Vnet;
use core::ffi::{c_void, CStr};
use core::ptr;
use sys_bindings as sys;

/// A handler in the network software interrupt's priority, with a thread of
/// its own. Dropping it waits for it to return, and so may sleep.
pub struct SoftInterrupt {
    cookie: *mut c_void,
    event: *mut sys::intr_event,
}

// SAFETY: the kernel serialises operations on an interrupt event.
unsafe impl Send for SoftInterrupt {}
// SAFETY: a shared SoftInterrupt can do nothing.
unsafe impl Sync for SoftInterrupt {}

impl SoftInterrupt {
    /// Registers `run`, to be called with `vnet` as its argument's stack.
    pub fn new(name: &'static CStr, vnet: Vnet, run: extern "C" fn(*mut c_void)) -> Result<SoftInterrupt> {
        let mut interrupt = SoftInterrupt { cookie: ptr::null_mut(), event: ptr::null_mut() };
        let flags = sys::INTR_MPSAFE;
        // SAFETY: the name lives for ever, the argument is handed back as it
        // is, and both out pointers are valid.
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

    /// The registration as pointers for C to keep, which
    /// [`SoftInterrupt::from_raw`] takes back.
    pub fn into_raw(self) -> (*mut c_void, *mut sys::intr_event) {
        let raw = (self.cookie, self.event);
        core::mem::forget(self);
        raw
    }

    /// Takes back what [`SoftInterrupt::into_raw`] gave up.
    ///
    /// # Safety
    ///
    /// Both came from one `into_raw`, and this happens once.
    pub unsafe fn from_raw(cookie: *mut c_void, event: *mut sys::intr_event) -> SoftInterrupt {
        SoftInterrupt { cookie, event }
    }

    /// Lets a handler run, once for any number of calls before it does.
    ///
    /// # Safety
    ///
    /// The cookie came from `into_raw`, and was not taken back.
    pub unsafe fn schedule_raw(cookie: *mut c_void) {
        // SAFETY: the handler is registered.
        unsafe { sys::swi_sched(cookie, 0) };
    }
}

impl Drop for SoftInterrupt {
    fn drop(&mut self) {
        // SAFETY: registered in `new`, removed once; the event has no other
        // handler.
        unsafe {
            sys::swi_remove(self.cookie);
            sys::intr_event_destroy(self.event);
        }
    }
}
