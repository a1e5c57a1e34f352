//! callout(9): a function called after a time.

use super::alloc::{Box, Wait};
use super::error::Result;
use super::time::Sbt;
use super::vnet::Vnet;
use core::cell::UnsafeCell;
use core::ffi::c_void;
use sys_bindings as sys;

/// What a callout's function is told: which one it is, in the network stack
/// that it belongs to. It has nothing that could dangle; what it works on it
/// looks up.
#[derive(Clone, Copy)]
pub struct Handler {
    pub vnet: Vnet,
    pub index: usize,
    /// Called without locks, in the callout's stack. Must not sleep.
    pub run: fn(usize),
}

struct Inner {
    callout: UnsafeCell<sys::callout>,
    handler: Handler,
}

/// A callout. Dropping it waits for its function to return, and so may sleep;
/// it must not happen in the function, or with a lock held that it takes.
pub struct Callout {
    inner: Box<Inner>,
}

// SAFETY: the kernel serialises operations on a callout by its own lock.
unsafe impl Send for Callout {}
// SAFETY: the same lock serialises threads that share it.
unsafe impl Sync for Callout {}

extern "C" fn trampoline(inner: *mut c_void) {
    // SAFETY: `inner` is the Inner that armed the callout; it lives until the
    // callout is drained.
    let handler = unsafe { (*inner.cast::<Inner>()).handler };
    handler.vnet.with(|| (handler.run)(handler.index));
}

impl Callout {
    /// A callout that is not armed.
    pub fn new(handler: Handler, wait: Wait) -> Result<Callout> {
        // SAFETY: all zeroes is what callout_init starts from.
        let callout = unsafe { core::mem::zeroed::<sys::callout>() };
        let inner = Box::new(Inner { callout: UnsafeCell::new(callout), handler }, wait)?;
        // SAFETY: the callout lies where it will stay. 1: no Giant.
        unsafe { sys::callout_init(inner.callout.get(), 1) };
        Ok(Callout { inner })
    }

    /// Has the function called once after `delay`, and not at the time that
    /// was set before.
    pub fn arm(&self, delay: Sbt) {
        let arg = self.inner.as_ptr().cast();
        // SAFETY: the callout is initialised, and `arg` lives until it is
        // drained in `drop`.
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

    /// Disarms and waits until the function does not run.
    pub fn drain(&self) {
        // SAFETY: the callout is initialised; the caller may sleep.
        unsafe { sys::pfs_callout_drain(self.inner.callout.get()) };
    }
}

impl Drop for Callout {
    fn drop(&mut self) {
        self.drain();
    }
}
