// SPDX-License-Identifier: BSD-2-Clause
//! Threads in functions whose pointers the kernel reads, and calls, with no lock held and
//! outside of the network epoch.

use super::time;
use crate::atomic::{AtomicUsize, Ordering};
use sys_bindings as sys;

/// The threads that are in a function. `tests/models` has a model of this.
pub(crate) struct Callers(AtomicUsize);

/// A thread that is in the function.
#[must_use = "dropping it says that the thread has left"]
pub(crate) struct Inside<'a>(&'a Callers);

impl Callers {
    /// No thread is in the function.
    pub(crate) const fn new() -> Callers {
        Callers(AtomicUsize::new(0))
    }

    /// Counts this thread as long as the result lives.
    ///
    /// Sequentially consistent, as the look in [`Callers::wait`]: a thread that counts itself
    /// and then looks at a flag, and one that sets the flag and then waits here, cannot miss
    /// each other. So is leaving, which also releases what the thread did.
    pub(crate) fn enter(&self) -> Inside<'_> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Inside(self)
    }

    /// Waits for the threads that call the function by a pointer that was taken back before.
    /// May sleep.
    ///
    /// A thread may have read the pointer and not be counted yet, or be counted no longer
    /// and not have returned. Either takes it a few instructions, in which it does not
    /// sleep. So this lets every CPU switch to another thread, before and after it looks at
    /// the count. A thread that another one displaced from its CPU just then, and that does
    /// not get a CPU meanwhile, is not waited for: nothing in the kernel tells of it. The locks
    /// of the kernel's scheduler order what a thread did on a CPU before this thread's turn there.
    pub(crate) fn wait(&self) {
        switch_every_cpu();
        while self.0.load(Ordering::SeqCst) > 0 {
            time::pause(c"pfsync");
        }
        switch_every_cpu();
    }
}

impl Drop for Inside<'_> {
    fn drop(&mut self) {
        self.0 .0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Runs this thread on every CPU in turn, so that each has switched from the thread that it
/// runs now.
fn switch_every_cpu() {
    // SAFETY: the name is static. With PDROP, the function cannot fail.
    unsafe { sys::quiesce_all_cpus(c"pfsync".as_ptr(), sys::PDROP as i32) };
}
