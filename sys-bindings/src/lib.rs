//! The FreeBSD kernel's structures, constants and functions as bindgen reads
//! them from the kernel's own headers, with the option set that the GENERIC
//! kernel is built with. Nothing here is written by hand; `wrapper.h` lists
//! the headers and `build.rs` the names taken from them.
//!
//! Layout assertions are compiled in: a header that disagrees with itself
//! fails the build.
#![no_std]
#![allow(non_camel_case_types, non_snake_case, non_upper_case_globals)]
#![allow(clippy::all, missing_docs, unnecessary_transmutes)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
