#![forbid(unsafe_code)]
//! What pfsync decides, without knowing a kernel: time and values go in,
//! decisions come out.

pub mod bucket;
pub mod bulk;
pub mod config;
pub mod control;
pub mod defer;
pub mod merge;
