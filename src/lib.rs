//! pfsync(4): pf's state table, shown and shared.
//!
//! What pfsync decides is plain Rust that runs anywhere: [`wire`] is what goes
//! over the network and [`engine`] what is done about it. What touches the
//! kernel is a skin around that: `kernel` makes FreeBSD's interfaces safe,
//! `pf` the state table, and the other modules carry data between them. The
//! skin exists only in the module itself, built for `target_os = "none"`.
//!
//! Data's way out: `hooks` → `engine::bucket` → `transmit` → `link`.
//! Data's way in: `input` → `wire` → `pf` and `engine::merge`.
#![cfg_attr(not(test), no_std)]

pub mod engine;
pub mod wire;

#[cfg(target_os = "none")]
mod bulk;
#[cfg(target_os = "none")]
mod configuration;
#[cfg(target_os = "none")]
mod hooks;
#[cfg(target_os = "none")]
mod ifconfig;
#[cfg(target_os = "none")]
mod input;
#[cfg(target_os = "none")]
mod kernel;
#[cfg(target_os = "none")]
mod link;
#[cfg(target_os = "none")]
mod module;
#[cfg(target_os = "none")]
mod pf;
#[cfg(target_os = "none")]
mod probe;
#[cfg(target_os = "none")]
mod softc;
#[cfg(target_os = "none")]
mod stats;
#[cfg(target_os = "none")]
mod transmit;
#[cfg(target_os = "none")]
mod vnet;
