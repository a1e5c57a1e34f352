// SPDX-License-Identifier: BSD-2-Clause
//! The fuzz target `frame`.
#![cfg_attr(fuzzing, no_main)]

pfsync_fuzz::target!(pfsync_fuzz::frame::run);
