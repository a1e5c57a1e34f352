// SPDX-License-Identifier: BSD-2-Clause
//! callout(9): a function that is called after a time.

use super::alloc::{KBox, Wait};
use super::error::Result;
use super::time::Sbt;
use super::vnet::Vnet;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use sys_bindings as sys;

/// What a callout calls. The function gets a number and runs in a vnet. It gets no
/// pointer, which could dangle: the function looks up what it works on.
#[derive(Clone, Copy)]
pub(crate) struct Handler {
    /// The vnet that the function runs in.
    pub(crate) vnet: Vnet,
    /// The function's argument.
    pub(crate) index: usize,
    /// The function. It is called without locks in a callout thread and must not
    /// sleep.
    pub(crate) run: fn(usize),
}

struct Inner {
    callout: UnsafeCell<sys::callout>,
    handler: Handler,
}

/// A callout. Dropping it waits until its function has returned, and so may sleep.
/// It must not be dropped in its function, nor with a lock held that the function
/// takes.
pub(crate) struct Callout {
    inner: KBox<Inner>,
}

// SAFETY: the kernel serialises operations on a callout by the callout's own lock.
unsafe impl Send for Callout {}
// SAFETY: the same lock serialises threads that share the callout.
unsafe impl Sync for Callout {}

extern "C" fn trampoline(inner: *mut c_void) {
    // SAFETY: `inner` is the Inner of the callout that was armed. It lives until
    // the callout is drained.
    let handler = unsafe { (*inner.cast::<Inner>()).handler };
    handler.vnet.with(|| (handler.run)(handler.index));
}

impl Callout {
    /// A callout that is not armed. `ENOMEM` if there is no memory.
    pub(crate) fn new(handler: Handler, wait: Wait) -> Result<Callout> {
        // SAFETY: callout_init starts from all zeroes.
        let callout = unsafe { core::mem::zeroed::<sys::callout>() };
        let inner = KBox::new(Inner { callout: UnsafeCell::new(callout), handler }, wait)?;
        // SAFETY: the callout lies where it will stay. 1 means without Giant.
        unsafe { sys::callout_init(inner.callout.get(), 1) };
        Ok(Callout { inner })
    }

    /// Has the function called once after `delay`. A time that was set before is
    /// forgotten. The kernel's lock of the callout orders what the thread has done before this
    /// before the call.
    pub(crate) fn arm(&self, delay: Sbt) {
        let arg = self.inner.as_ptr().cast();
        // SAFETY: the callout is initialised. `arg` lives until `drop` drains the
        // callout.
        unsafe {
            sys::callout_reset_sbt_on(
                self.inner.callout.get(),
                delay,
                0,
                Some(trampoline),
                arg,
                -1,
                sys::C_HARDCLOCK as i32,
            );
        }
    }

    /// Disarms the callout and waits until its function does not run. May sleep.
    pub(crate) fn drain(&self) {
        // SAFETY: the callout is initialised. The caller may sleep, as said above.
        unsafe { sys::pfs_callout_drain(self.inner.callout.get()) };
    }
}

impl Drop for Callout {
    fn drop(&mut self) {
        self.drain();
    }
}
