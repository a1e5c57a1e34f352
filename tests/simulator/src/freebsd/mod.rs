// SPDX-License-Identifier: BSD-2-Clause
//! The FreeBSD that the simulator plays.
//!
//! - [`machine`]: memory, CPU and linker;
//! - [`kernel`]: threads, locks, memory, time, interfaces;
//! - [`kpi`]: the functions that the module calls;
//! - [`native`]: the structures that only the kernel's side of them has;
//! - [`pf`]: the state table;
//! - [`net`]: the network between kernels;
//! - [`nv`]: nvlists as ifconfig(8) packs them.

pub mod kernel;
pub mod kpi;
pub mod machine;
pub mod native;
pub mod net;
pub mod nv;
pub mod pf;
