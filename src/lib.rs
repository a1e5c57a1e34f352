// SPDX-License-Identifier: BSD-2-Clause
//! pfsync(4) for FreeBSD: keeps the state tables of several pf firewalls alike.
//!
//! What pfsync decides is plain Rust that runs anywhere: [`wire`] is the
//! messages that firewalls exchange, and [`engine`] decides what to send and
//! what to accept. `driver` connects both with the FreeBSD kernel. It exists
//! only in the kernel module, which is built for `target_os = "none"`.
#![cfg_attr(not(test), no_std)]

mod atomic;
pub mod engine;
pub mod wire;

#[cfg(target_os = "none")]
mod driver;
