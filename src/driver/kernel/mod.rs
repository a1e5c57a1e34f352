//! FreeBSD's kernel interfaces as safe types. Nothing here knows what pfsync
//! does: another network module could use this directory, with a malloc type
//! of its own.
//!
//! A type stands for each rule: a mutex owns what it protects, a guard shows
//! that a lock is held, [`epoch::NetEpoch`] that the network epoch is entered,
//! and what a callout or an interrupt handler uses is looked up under the
//! epoch instead of being pointed to. Where the kernel's rule cannot be put
//! into a type, the `unsafe` block says who keeps it.

pub mod alloc;
pub mod callout;
pub mod carp;
pub mod epoch;
pub mod error;
pub mod ifnet;
pub mod ip;
pub mod mbuf;
pub mod mutex;
pub mod nvlist;
pub mod softint;
pub mod sx;
pub mod time;
pub mod user;
pub mod vnet;
