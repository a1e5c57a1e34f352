//! carp(4)'s demotion counter.

use core::ffi::{c_char, CStr};
use sys_bindings as sys;

/// carp's function that adds to its demotion, if carp is loaded.
fn adjust() -> Option<unsafe extern "C" fn(i32, *mut c_char)> {
    // SAFETY: one word of the kernel.
    unsafe { core::ptr::addr_of!(sys::carp_demote_adj_p).read_volatile() }
}

/// Whether there is a demotion to add to.
pub fn is_loaded() -> bool {
    adjust().is_some()
}

/// Adds to the demotion of the current network stack, if carp is there.
/// Takes carp's own lock.
pub fn demote(by: i32, reason: &'static CStr) {
    let Some(adjust) = adjust().filter(|_| by != 0) else { return };
    // SAFETY: carp only reads the reason. It clears the pointer before it goes,
    // and like the rest of the kernel this relies on that nobody unloads it in
    // the instant between.
    unsafe { adjust(by, reason.as_ptr().cast_mut()) };
}
