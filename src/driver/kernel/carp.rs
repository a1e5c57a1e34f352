// SPDX-License-Identifier: BSD-2-Clause
//! carp(4)'s demotion counter. A node with a lower demotion is preferred as
//! master.

use core::ffi::{c_char, CStr};
use sys_bindings as sys;

/// carp's function that adds to the counter, if carp is loaded.
fn adjust() -> Option<unsafe extern "C" fn(i32, *mut c_char)> {
    // SAFETY: a pointer of the kernel, read whole.
    unsafe { core::ptr::addr_of!(sys::carp_demote_adj_p).read_volatile() }
}

/// Whether carp is loaded, and so has a demotion counter.
pub(crate) fn is_loaded() -> bool {
    adjust().is_some()
}

/// Adds to the demotion of the current vnet, if carp is loaded. Takes carp's own
/// lock. `reason` appears in carp's log message.
pub(crate) fn demote(by: i32, reason: &'static CStr) {
    let Some(adjust) = adjust().filter(|_| by != 0) else { return };
    // SAFETY: carp only reads the reason. It clears its pointer before it is unloaded.
    // Like the rest of the kernel, this relies on carp not being unloaded between the
    // read above and the call.
    unsafe { adjust(by, reason.as_ptr().cast_mut()) };
}
