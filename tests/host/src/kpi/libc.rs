//! The C library of the kernel.

use super::symbols;
use std::ffi::{c_char, c_void};
use std::ptr;

symbols! {
    pub unsafe extern "C" fn memcpy(to: *mut c_void, from: *const c_void, len: usize) -> *mut c_void {
        // SAFETY: as the caller promises.
        unsafe { ptr::copy_nonoverlapping(from.cast::<u8>(), to.cast(), len) };
        to
    }

    pub unsafe extern "C" fn memmove(to: *mut c_void, from: *const c_void, len: usize) -> *mut c_void {
        // SAFETY: as the caller promises.
        unsafe { ptr::copy(from.cast::<u8>(), to.cast(), len) };
        to
    }

    pub unsafe extern "C" fn memset(to: *mut c_void, byte: i32, len: usize) -> *mut c_void {
        // SAFETY: as the caller promises.
        unsafe { ptr::write_bytes(to.cast::<u8>(), byte as u8, len) };
        to
    }

    pub unsafe extern "C" fn memcmp(a: *const c_void, b: *const c_void, len: usize) -> i32 {
        // SAFETY: as the caller promises.
        unsafe { ::libc::memcmp(a.cast(), b.cast(), len) }
    }

    pub unsafe extern "C" fn strlen(text: *const c_char) -> usize {
        // SAFETY: as the caller promises.
        unsafe { ::libc::strlen(text) }
    }
}
