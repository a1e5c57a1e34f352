//! A FreeBSD kernel in a Linux process, as far as pfsync can tell. It loads
//! the `pfsync.ko` that ships; see README.md.
//!
//! - [`machine`]: memory, CPU and linker;
//! - [`kernel`]: threads, locks, memory, time, interfaces;
//! - [`kpi`]: the functions that the module calls;
//! - [`pf`]: the state table;
//! - [`net`]: the network between kernels;
//! - [`lab`]: firewalls made of all that;
//! - [`sim`]: the deterministic simulator;
//! - [`demo`]: two firewalls to watch;
//! - [`hot_paths`]: what the paths that matter cost, in instructions;
//! - [`history`]: what they cost in each release.

pub mod demo;
pub mod history;
pub mod hot_paths;
pub mod kernel;
pub mod kpi;
pub mod lab;
pub mod machine;
pub mod native;
pub mod net;
pub mod nv;
pub mod pf;
pub mod sim;
