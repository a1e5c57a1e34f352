//! Memory of user programs, and what they may do.

use super::error::{Errno, Result};
use core::ffi::c_void;
use sys_bindings as sys;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Fails unless the current thread may configure the packet filter.
pub fn may_configure_pf() -> Result<()> {
    // SAFETY: checks the current thread's credentials.
    Errno::check(unsafe { sys::priv_check(sys::pfs_curthread(), sys::PRIV_NETINET_PF as i32) })
}

/// Copies bytes in from a user program. May sleep.
pub fn copy_in(from: *const c_void, to: &mut [u8]) -> Result<()> {
    // SAFETY: copyin(9) accepts any user address, and `to` is writable.
    Errno::check(unsafe { sys::copyin(from, to.as_mut_ptr().cast(), to.len()) })
}

/// Copies a value in from a user program. May sleep.
pub fn copy_in_value<T: FromBytes + IntoBytes>(from: *const c_void) -> Result<T> {
    let mut value = T::new_zeroed();
    copy_in(from, value.as_mut_bytes())?;
    Ok(value)
}

/// Copies bytes out to a user program. May sleep.
pub fn copy_out(from: &[u8], to: *mut c_void) -> Result<()> {
    // SAFETY: copyout(9) accepts any user address, and `from` is readable.
    Errno::check(unsafe { sys::copyout(from.as_ptr().cast(), to, from.len()) })
}

/// Copies a value out to a user program. May sleep.
pub fn copy_out_value<T: IntoBytes + Immutable>(from: &T, to: *mut c_void) -> Result<()> {
    copy_out(from.as_bytes(), to)
}
