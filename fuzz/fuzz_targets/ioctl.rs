// SPDX-License-Identifier: BSD-2-Clause
//! The fuzz target `ioctl`.
#![cfg_attr(fuzzing, no_main)]

pfsync_fuzz::target!(pfsync_fuzz::ioctl::run);
