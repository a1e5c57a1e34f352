// SPDX-License-Identifier: BSD-2-Clause
//! FreeBSD's kernel interfaces as safe types. Nothing here knows pfsync: another
//! network module could use this directory, with a malloc type of its own.
//!
//! Where a type can keep a rule of the kernel, it does: a mutex owns what it
//! protects, a guard proves that a lock is held, and [`epoch::NetEpoch`] proves
//! that the thread is in the network epoch. A callout, a task or an interrupt handler
//! gets no pointer: it looks up what it works on under the epoch. Where no type can keep
//! a rule, the comment at the `unsafe` block says who keeps it.

pub(crate) mod alloc;
pub(crate) mod callers;
pub(crate) mod callout;
pub(crate) mod carp;
pub(crate) mod console;
pub(crate) mod epoch;
pub(crate) mod error;
pub(crate) mod event;
pub(crate) mod ifnet;
pub(crate) mod ip;
pub(crate) mod mbuf;
pub(crate) mod mutex;
pub(crate) mod nvlist;
pub(crate) mod random;
pub(crate) mod softint;
pub(crate) mod sx;
pub(crate) mod task;
pub(crate) mod time;
pub(crate) mod user;
pub(crate) mod vnet;
