// SPDX-License-Identifier: BSD-2-Clause
//! User programs: their memory and their privileges.

use super::error::{Errno, Result};
use core::ffi::c_void;
use sys_bindings as sys;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// `EPERM` unless the current thread may configure the packet filter
/// (`PRIV_NETINET_PF`).
pub(crate) fn may_configure_pf() -> Result<()> {
    // SAFETY: only checks the credentials of the current thread.
    Errno::check(unsafe { sys::priv_check(sys::pfs_curthread(), sys::PRIV_NETINET_PF as i32) })
}

/// A pointer in an ioctl's request as the program that calls means it: that of a 32-bit
/// program has 32 bits, and what follows in the request is not part of it.
pub(crate) fn pointer(of_request: *mut c_void) -> *mut c_void {
    // SAFETY: all zeroes are a request. The kernel's function reads the one member that was
    // written, in the layout of the program.
    unsafe {
        let mut request = core::mem::zeroed::<sys::ifreq>();
        request.ifr_ifru.ifru_data = of_request.cast();
        sys::ifr_data_get_ptr((&raw mut request).cast())
    }
}

/// Copies bytes from a user program. May sleep. `EFAULT` if the address is bad.
pub(crate) fn copy_in(from: *const c_void, to: &mut [u8]) -> Result<()> {
    // SAFETY: copyin(9) accepts any user address, and `to` can be written.
    Errno::check(unsafe { sys::copyin(from, to.as_mut_ptr().cast(), to.len()) })
}

/// Copies a value from a user program. May sleep. `EFAULT` if the address is bad.
pub(crate) fn copy_in_value<T: FromBytes + IntoBytes>(from: *const c_void) -> Result<T> {
    let mut value = T::new_zeroed();
    copy_in(from, value.as_mut_bytes())?;
    Ok(value)
}

/// Copies bytes to a user program. May sleep. `EFAULT` if the address is bad.
pub(crate) fn copy_out(from: &[u8], to: *mut c_void) -> Result<()> {
    // SAFETY: copyout(9) accepts any user address, and `from` can be read.
    Errno::check(unsafe { sys::copyout(from.as_ptr().cast(), to, from.len()) })
}

/// Copies a value to a user program. May sleep. `EFAULT` if the address is bad.
pub(crate) fn copy_out_value<T: IntoBytes + Immutable>(from: &T, to: *mut c_void) -> Result<()> {
    copy_out(from.as_bytes(), to)
}
