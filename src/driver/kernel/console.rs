// SPDX-License-Identifier: BSD-2-Clause
//! Messages on the console.

use super::ifnet::Name;
use core::ffi::CStr;
use sys_bindings as sys;

/// Prints a message about an interface. `%s` in the format stands for its name, and is the
/// format's only conversion.
pub(crate) fn say(format: &'static CStr, name: &Name) {
    let mut terminated = *name;
    terminated[terminated.len() - 1] = 0;
    // SAFETY: the argument is the terminated string of the format.
    unsafe { sys::printf(format.as_ptr(), terminated.as_ptr()) };
}
