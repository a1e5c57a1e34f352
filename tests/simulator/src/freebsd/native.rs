// SPDX-License-Identifier: BSD-2-Clause
//! Structures that only the kernel's own side of its interfaces has. `build.rs`
//! reads them from the kernel's headers.
#![allow(non_camel_case_types, non_snake_case, non_upper_case_globals, unused_imports, missing_docs)]
#![allow(clippy::all, unnecessary_transmutes)]

include!(concat!(env!("OUT_DIR"), "/bindings.rs"));
