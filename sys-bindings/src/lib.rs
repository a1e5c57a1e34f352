// SPDX-License-Identifier: BSD-2-Clause
//! The structures, constants and functions of the FreeBSD kernel, which bindgen reads
//! from the kernel's own headers with the options of the GENERIC kernel. kmod/kernel.h
//! lists the headers, and `build.rs` the names that are taken from them.
//!
//! `freebsd14.rs` and `freebsd15.rs` are written by hand. They have the same items, and
//! give one name to what the releases of FreeBSD call or place differently.
//!
//! bindgen's assertions of layouts are compiled in: the build fails if Rust and C
//! disagree about one.
#![no_std]
#![allow(non_camel_case_types, non_snake_case, non_upper_case_globals)]
#![allow(clippy::all, missing_docs, unnecessary_transmutes)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));

#[cfg_attr(freebsd = "14", path = "freebsd14.rs")]
#[cfg_attr(freebsd = "15", path = "freebsd15.rs")]
mod release;

pub use release::*;

/// Where a state says how pf routes its packets.
pub struct pfs_route {
    /// `PF_ROUTETO` and the like.
    pub kind: *mut u8,
    /// The interface to route to.
    pub kif: *mut *mut pfi_kkif,
    /// The gateway.
    pub addr: *mut pf_addr,
}
