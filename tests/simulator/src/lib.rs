// SPDX-License-Identifier: BSD-2-Clause
//! A simulator of a FreeBSD kernel, as far as pfsync can tell. It loads the
//! `pfsync.ko` that ships into a Linux process; see README.md.
//!
//! - [`freebsd`]: the FreeBSD that it plays;
//! - [`lab`]: firewalls made of all that;
//! - [`sim`]: random traffic and faults, decided by a seed;
//! - [`demo`]: two firewalls to watch;
//! - [`hot_paths`]: what the paths that matter cost, in instructions;
//! - [`history`]: what they cost in each release.

// The simulator passes around interfaces and states as the kernel does: by
// pointer.
#![allow(clippy::not_unsafe_ptr_arg_deref)]

pub mod demo;
pub mod freebsd;
pub mod history;
pub mod hot_paths;
pub mod lab;
pub mod sim;
