// SPDX-License-Identifier: BSD-2-Clause
//! QEMU's processes, none of which outlives the harness.

use std::process::{Child, ChildStdin, ChildStdout, ExitStatus};
use std::sync::{Arc, Mutex, MutexGuard};

use anyhow::{Context, Result};

type Shared = Arc<Mutex<Child>>;

/// The running processes, for the signal handler.
static RUNNING: Mutex<Vec<Shared>> = Mutex::new(Vec::new());

/// The exit status of a program that was interrupted.
const INTERRUPTED: i32 = 130;

/// A process that ends with the harness, even if a signal ends the harness.
pub(crate) struct Process(Shared);

impl Process {
    /// Takes over a process that was started with pipes, and returns its pipes.
    pub(crate) fn watch(mut child: Child) -> (Self, ChildStdout, ChildStdin) {
        let (Some(output), Some(input)) = (child.stdout.take(), child.stdin.take()) else {
            unreachable!("QEMU is started with pipes");
        };
        let shared = Arc::new(Mutex::new(child));
        running().push(Arc::clone(&shared));
        (Process(shared), output, input)
    }

    pub(crate) fn has_ended(&self) -> Result<Option<ExitStatus>> {
        Ok(lock(&self.0).try_wait()?)
    }

    /// Ends the process at once if it still runs.
    pub(crate) fn end(&self) {
        end(&self.0);
        running().retain(|other| !Arc::ptr_eq(other, &self.0));
    }
}

/// Has a signal that ends the harness end the processes first.
pub(crate) fn end_all_on_signal() -> Result<()> {
    let end_all = || {
        running().iter().for_each(end);
        std::process::exit(INTERRUPTED);
    };
    ctrlc::set_handler(end_all).context("cannot wait for signals")
}

fn end(process: &Shared) {
    let mut child = lock(process);
    // It may have ended before.
    let _ = child.kill();
    let _ = child.wait();
}

fn running() -> MutexGuard<'static, Vec<Shared>> {
    RUNNING.lock().expect("nobody panics with the list of processes")
}

fn lock(process: &Shared) -> MutexGuard<'_, Child> {
    process.lock().expect("nobody panics with a process")
}
