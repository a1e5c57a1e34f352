// SPDX-License-Identifier: BSD-2-Clause
//! Violations: the module did something for which a kernel with INVARIANTS and
//! WITNESS would panic. A violation ends the run.

use super::thread::{self, Thread};
use crate::freebsd::machine::cpu;
use std::fmt;
use std::rc::Rc;

/// A violation.
#[derive(Clone, Debug)]
pub struct Violation {
    /// What was done.
    pub what: String,
    /// The name of the kernel.
    pub kernel: String,
    /// The name of the thread.
    pub thread: String,
    /// Functions of the module, innermost first.
    pub trace: Vec<String>,
    /// The seed of the run.
    pub seed: u64,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(f, "{} (kernel {}, thread {}, seed {})", self.what, self.kernel, self.thread, self.seed)?;
        for function in &self.trace {
            writeln!(f, "    in {function}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Violation {}

impl Violation {
    /// A violation by a thread, where the module last called the simulator.
    pub(crate) fn by(thread: &Thread, what: String) -> Violation {
        let kernel = &thread.kernel;
        let seed = kernel.world().policy.seed;
        let trace = kernel.backtrace(cpu::this().call.get());
        Violation { what, kernel: kernel.name.clone(), thread: thread.name.clone(), trace, seed }
    }
}

/// Reports a violation, which ends the run. The current thread never goes on.
pub(crate) fn violation(what: String) -> ! {
    let Some(thread) = thread::try_current() else { panic!("{what}") };
    thread.kernel.world().fail(Violation::by(&thread, what));
    loop {
        thread.give_way();
    }
}

/// The violation of a thread that ends, if it must not end in its state.
pub(crate) fn at_end_of(thread: &Rc<Thread>) -> Option<Violation> {
    let held = thread.held.borrow();
    let what = if let Some(lock) = held.first() {
        format!("thread ends with {} locked since {}", lock.class, lock.place)
    } else if thread.epoch.get() != 0 {
        "thread ends in the network epoch".to_string()
    } else {
        return None;
    };
    Some(Violation::by(thread, what))
}
