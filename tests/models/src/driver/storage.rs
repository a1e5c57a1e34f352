// SPDX-License-Identifier: BSD-2-Clause
//! What C stores for the only vnet.

use crate::atomic::{AtomicI32, AtomicPtr};
use crate::driver::kernel::sx::Sx;
use std::ffi::c_void;
use std::ptr;

static SOFTC: AtomicPtr<c_void> = AtomicPtr::new(ptr::null_mut());
static CONFIG_USERS: AtomicI32 = AtomicI32::new(0);
static PRESENT: AtomicI32 = AtomicI32::new(0);

pub(crate) fn softc_slot() -> &'static AtomicPtr<c_void> {
    &SOFTC
}

pub(crate) fn config_users() -> &'static AtomicI32 {
    &CONFIG_USERS
}

pub(crate) fn present() -> &'static AtomicI32 {
    &PRESENT
}

pub(crate) unsafe fn config_lock() -> Sx {
    Sx::the_only_one()
}
