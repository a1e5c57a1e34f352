// SPDX-License-Identifier: BSD-2-Clause
//! taskqueue(9): a function that runs later, in a thread that may sleep.

use super::alloc::{KBox, Wait};
use super::error::Result;
use super::time::Sbt;
use super::vnet::Vnet;
use core::cell::UnsafeCell;
use core::ffi::{c_int, c_void};
use sys_bindings as sys;

struct Inner {
    task: UnsafeCell<sys::timeout_task>,
    vnet: Vnet,
    run: fn(),
}

/// A task of the kernel's thread for tasks (`taskqueue_thread`). Dropping it waits until its
/// function has returned, and so may sleep. It must not be dropped with a lock held for which
/// the function waits.
pub(crate) struct Task {
    inner: KBox<Inner>,
}

// SAFETY: the kernel serialises operations on a task by the lock of its queue.
unsafe impl Send for Task {}
// SAFETY: the same lock serialises threads that share the task.
unsafe impl Sync for Task {}

/// The queue of the kernel's thread for tasks.
fn queue() -> *mut sys::taskqueue {
    // SAFETY: the kernel makes the queue at boot, before modules run.
    unsafe { core::ptr::addr_of!(sys::taskqueue_thread).read() }
}

extern "C" fn trampoline(inner: *mut c_void, _pending: c_int) {
    // SAFETY: `inner` is the Inner of the task that was queued. It lives until the task is
    // drained.
    let (vnet, run) = unsafe { ((*inner.cast::<Inner>()).vnet, (*inner.cast::<Inner>()).run) };
    vnet.with(run);
}

impl Task {
    /// A task that is not queued, whose function runs in a vnet. Like the function of a
    /// callout, it gets no pointer. The thread that runs it serves other tasks, too: the
    /// function must not wait for long. `ENOMEM` if there is no memory.
    pub(crate) fn new(vnet: Vnet, run: fn(), wait: Wait) -> Result<Task> {
        // SAFETY: _timeout_task_init starts from any value.
        let task = unsafe { core::mem::zeroed::<sys::timeout_task>() };
        let inner = KBox::new(Inner { task: UnsafeCell::new(task), vnet, run }, wait)?;
        // SAFETY: the task lies where it will stay. `inner` lives until `drop` drains it.
        unsafe {
            sys::_timeout_task_init(queue(), inner.task.get(), 0, Some(trampoline), inner.as_ptr().cast());
        }
        Ok(Task { inner })
    }

    /// Has the function called after `delay`, or at once if that is 0.
    pub(crate) fn run_after(&self, delay: Sbt) {
        // SAFETY: the task is initialised.
        unsafe {
            sys::taskqueue_enqueue_timeout_sbt(
                queue(),
                self.inner.task.get(),
                delay,
                0,
                sys::C_HARDCLOCK as i32,
            );
        }
    }

    /// Takes the task out of the queue and waits until its function does not run. Other tasks
    /// in the queue are not waited for: they may need a lock that the caller holds. May sleep.
    pub(crate) fn drain(&self) {
        // SAFETY: the task is initialised. The caller may sleep, as said above.
        unsafe {
            sys::taskqueue_cancel_timeout(queue(), self.inner.task.get(), core::ptr::null_mut());
            sys::taskqueue_drain_timeout(queue(), self.inner.task.get());
        }
    }
}

impl Drop for Task {
    fn drop(&mut self) {
        self.drain();
    }
}
