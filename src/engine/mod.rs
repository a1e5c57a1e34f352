#![forbid(unsafe_code)]
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]
//! What pfsync decides, without knowing a kernel: time and values go in,
//! decisions come out.

pub mod bucket;
pub mod bulk;
pub mod config;
pub mod control;
pub mod defer;
pub mod format_choice;
pub mod limit;
pub mod merge;
