// SPDX-License-Identifier: BSD-2-Clause
//! The machine: memory at low addresses, a per-CPU area behind `%gs`, and
//! `pfsync.ko` linked into that memory.

pub mod cpu;
pub mod image;
pub(crate) mod low;
pub mod steps;
