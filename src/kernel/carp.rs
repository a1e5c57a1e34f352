//! carp(4)'s demotion counter.

use core::ffi::CStr;
use sys_bindings as sys;

/// Adds to the demotion of the current network stack, if carp is there.
/// Takes carp's own lock.
pub fn demote(by: i32, reason: &'static CStr) {
    if by == 0 {
        return;
    }
    // SAFETY: carp sets the pointer when it is loaded, and the kernel never
    // calls it with a reason that it would write to.
    unsafe {
        if let Some(adjust) = core::ptr::addr_of!(sys::carp_demote_adj_p).read_volatile() {
            adjust(by, reason.as_ptr().cast_mut());
        }
    }
}
