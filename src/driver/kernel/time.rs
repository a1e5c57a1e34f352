// SPDX-License-Identifier: BSD-2-Clause
//! Clocks.

use core::ffi::CStr;
use sys_bindings as sys;

/// A time in units of 2^-32 seconds (`sbintime_t`).
pub(crate) type Sbt = i64;

/// One second.
pub(crate) const SECOND: Sbt = 1 << 32;

/// Seconds since boot (`time_uptime`), which pf's states use.
pub(crate) fn uptime() -> u32 {
    // SAFETY: the kernel updates this word once a tick. It is read whole, and nothing is ordered
    // by it.
    unsafe { core::ptr::addr_of!(sys::time_uptime).read_volatile() as u32 }
}

/// Time since boot, exact to a tick of the clock.
pub(crate) fn now() -> Sbt {
    // SAFETY: only reads the cached value of the timecounter.
    unsafe { sys::pfs_getsbinuptime() }
}

/// The number of this moment, which lasts a 1024th of a second or a tick of the clock, whichever
/// is longer. The numbers begin anew after 48 days.
pub(crate) fn moment() -> u32 {
    (now() >> 22) as u32
}

/// Sleeps for a tick of the clock, and shows `name` to ps(1) meanwhile. The thread
/// must be allowed to sleep.
pub(crate) fn pause(name: &'static CStr) {
    // SAFETY: the name is static.
    unsafe { sys::pfs_pause(name.as_ptr()) };
}

/// Milliseconds as an [`Sbt`].
pub(crate) fn milliseconds(count: u32) -> Sbt {
    i64::from(count).saturating_mul(SECOND / 1000)
}

/// The length of a tick of the clock (1/`kern.hz`).
pub(crate) fn tick() -> Sbt {
    // SAFETY: the kernel sets this word at boot, before modules run.
    unsafe { core::ptr::addr_of!(sys::tick_sbt).read() }
}
