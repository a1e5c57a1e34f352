// SPDX-License-Identifier: BSD-2-Clause
//! The fuzz target `trailer`.
#![cfg_attr(fuzzing, no_main)]

pfsync_fuzz::target!(pfsync_fuzz::trailer::run);
