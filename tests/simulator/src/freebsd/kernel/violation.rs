//! What ends a run: the module did something that a kernel with INVARIANTS
//! and WITNESS would punish.

use super::thread::{self, Thread};
use crate::freebsd::machine::cpu;
use std::fmt;
use std::rc::Rc;

/// What was done, by whom, where in the module, and in which run.
#[derive(Clone, Debug)]
pub struct Violation {
    pub what: String,
    pub kernel: String,
    pub thread: String,
    /// Functions of the module, innermost first.
    pub trace: Vec<String>,
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
    /// By a thread, at the place where the module called the host last.
    pub fn by(thread: &Thread, what: String) -> Violation {
        let kernel = &thread.kernel;
        let seed = kernel.world().policy.seed;
        let trace = kernel.backtrace(cpu::this().call.get());
        Violation { what, kernel: kernel.name.clone(), thread: thread.name.clone(), trace, seed }
    }
}

/// Ends the run. The current thread never goes on.
pub fn violation(what: String) -> ! {
    let Some(thread) = thread::try_current() else { panic!("{what}") };
    thread.kernel.world().fail(Violation::by(&thread, what));
    loop {
        thread.give_way();
    }
}

/// What is wrong with a thread that ends as it is.
pub fn at_end_of(thread: &Rc<Thread>) -> Option<Violation> {
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
