// SPDX-License-Identifier: BSD-2-Clause
//! Models of what pfsync's threads share without a lock, for the model checker loom.
//!
//! loom runs each model in every order of its threads, and has loads return every value that
//! the memory model of Rust allows, as on a machine that does not keep loads and stores in
//! order.
//!
//! The code under test is the module's own: this crate compiles some source files of `src/`
//! a second time. In the place of what they import it puts atomics and locks of loom
//! ([`atomic`], [`driver::kernel`]), and plays what they ask of FreeBSD and pf ([`freebsd`]).
//!
//! Each model has a mutant that it must catch: weaker orderings ([`atomic::weaken`]), or steps
//! in another order.
#![cfg(test)]
// The states of the models are plain numbers, which the module's code drops as references.
#![allow(clippy::drop_non_drop)]

// The files say `use sys_bindings as sys`.
extern crate self as sys_bindings;

mod atomic;
mod driver;
mod freebsd;
/// The engine: files of the module with atomics.
#[path = "../../../src/engine"]
#[allow(dead_code, unreachable_pub)]
mod engine {
    pub(crate) mod bucket;
    #[path = "limit/rate.rs"]
    pub(crate) mod rate;
}

mod bucket;
mod collapse;
mod instance;
mod lifecycle;
mod limit;
mod link;
mod rows;

pub(crate) use freebsd::*;
pub(crate) use pfsync::wire;
