// SPDX-License-Identifier: BSD-2-Clause
//! arc4random(9): random numbers that nobody can foretell.

use sys_bindings as sys;

/// A random number.
pub(crate) fn number() -> u64 {
    let mut number = 0u64;
    // SAFETY: the kernel fills the bytes of the number. arc4random_buf may be called
    // anywhere.
    unsafe { sys::arc4random_buf((&raw mut number).cast(), size_of::<u64>()) };
    number
}
