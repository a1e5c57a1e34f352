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

/// Prints a message with a number. `%08x` in the format stands for it, and is the format's
/// only conversion.
pub(crate) fn say_number(format: &'static CStr, number: u32) {
    // SAFETY: the argument is the number of the format.
    unsafe { sys::printf(format.as_ptr(), number) };
}

/// Prints a message with two numbers. `%016lx` in the format stands for the first, and `%08x`
/// after that for the second. There is no other conversion.
pub(crate) fn say_numbers(format: &'static CStr, first: u64, second: u32) {
    // SAFETY: the arguments are the numbers of the format.
    unsafe { sys::printf(format.as_ptr(), first, second) };
}
