//! Clocks.

use core::ffi::CStr;
use sys_bindings as sys;

/// Signed binary fraction of a second, 32 bits each (`sbintime_t`).
pub type Sbt = i64;

/// One second.
pub const SECOND: Sbt = 1 << 32;

/// Seconds since boot (`time_uptime`), as pf keeps them in its states.
pub fn uptime() -> u32 {
    // SAFETY: the kernel updates this word on every tick; it is read whole.
    unsafe { core::ptr::addr_of!(sys::time_uptime).read_volatile() as u32 }
}

/// Time since boot, good to a tick of the clock.
pub fn now() -> Sbt {
    // SAFETY: reads the timecounter's cached value.
    unsafe { sys::pfs_getsbinuptime() }
}

/// Sleeps for a tick. The thread must be allowed to sleep.
pub fn pause(name: &'static CStr) {
    // SAFETY: the name lives for ever.
    unsafe { sys::pfs_pause(name.as_ptr()) };
}

/// Milliseconds as an [`Sbt`].
pub fn milliseconds(count: u32) -> Sbt {
    i64::from(count).saturating_mul(SECOND / 1000)
}

/// The length of a tick of the clock (1/hz).
pub fn tick() -> Sbt {
    // SAFETY: set once at boot.
    unsafe { core::ptr::addr_of!(sys::tick_sbt).read() }
}
