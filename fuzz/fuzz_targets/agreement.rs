// SPDX-License-Identifier: BSD-2-Clause
//! The fuzz target `agreement`.
#![cfg_attr(fuzzing, no_main)]

pfsync_fuzz::target!(pfsync_fuzz::agreement::run);
