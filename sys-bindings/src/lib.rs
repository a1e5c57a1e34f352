// SPDX-License-Identifier: BSD-2-Clause
//! The FreeBSD kernel's structures, constants and functions as bindgen reads
//! them from the kernel's own headers, with the option set that the GENERIC
//! kernel is built with; `wrapper.h` lists the headers and `build.rs` the names
//! taken from them. By hand is only what gives one name to what FreeBSD's
//! releases call or place differently: `freebsd14.rs` and `freebsd15.rs`, which
//! have the same items.
//!
//! Layout assertions are compiled in: a header that disagrees with itself
//! fails the build.
#![no_std]
#![allow(non_camel_case_types, non_snake_case, non_upper_case_globals)]
#![allow(clippy::all, missing_docs, unnecessary_transmutes)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));

#[cfg_attr(freebsd = "14", path = "freebsd14.rs")]
#[cfg_attr(freebsd = "15", path = "freebsd15.rs")]
mod release;

pub use release::*;

/// Where a state has how its packets are routed.
pub struct pfs_route {
    /// `PF_ROUTETO` and the like.
    pub kind: *mut u8,
    pub kif: *mut *mut pfi_kkif,
    pub addr: *mut pf_addr,
}
