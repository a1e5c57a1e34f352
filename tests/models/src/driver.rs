// SPDX-License-Identifier: BSD-2-Clause
//! The driver: files of the module, among stand-ins for the modules that they import.
#![allow(dead_code)]

#[path = "../../../src/driver/instance.rs"]
pub(crate) mod instance;
pub(crate) mod kernel;
#[path = "../../../src/driver/lifecycle.rs"]
pub(crate) mod lifecycle;
pub(crate) mod pf;
#[path = "../../../src/driver/queues.rs"]
pub(crate) mod queues;
#[path = "../../../src/driver/schedule.rs"]
pub(crate) mod schedule;
pub(crate) mod softc;
pub(crate) mod storage;
