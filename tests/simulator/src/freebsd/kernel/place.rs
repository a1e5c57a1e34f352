// SPDX-License-Identifier: BSD-2-Clause
//! Places in the module, recorded as addresses and named when they are printed.

use super::{thread, Kernel};
use crate::freebsd::machine::cpu::{self, Call};
use std::fmt;

/// Addresses in the module's functions that led to a call of the simulator,
/// innermost first.
#[derive(Clone, Copy, Default)]
pub(crate) struct Place([usize; DEPTH]);

/// Enough to look through a wrapper or two.
const DEPTH: usize = 4;

impl Place {
    /// Where the current thread is in the module.
    pub(crate) fn here() -> Place {
        let mut place = Place::default();
        if let Some(thread) = thread::try_current() {
            place.fill(&thread.kernel, cpu::this().call.get());
        }
        place
    }

    fn fill(&mut self, kernel: &Kernel, call: Call) {
        let mut walk = kernel.walk(call);
        self.0 = std::array::from_fn(|_| walk.next().unwrap_or(0));
    }

    /// The functions' names.
    pub(crate) fn name(&self, kernel: &Kernel) -> String {
        let names = self.0.iter().filter_map(|address| kernel.symbolise(address.wrapping_sub(1)));
        let names: Vec<_> = names.collect();
        if names.is_empty() {
            "the simulator".to_string()
        } else {
            names.join(" < ")
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        match thread::try_current() {
            Some(thread) => f.write_str(&self.name(&thread.kernel)),
            None => f.write_str("a thread that ended"),
        }
    }
}
