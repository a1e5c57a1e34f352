// SPDX-License-Identifier: BSD-2-Clause
//! The C library of the kernel.

use super::symbols;
use crate::freebsd::kernel::thread;
use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::collections::hash_map::DefaultHasher;
use std::ffi::{c_char, c_void, CStr};
use std::hash::{Hash, Hasher};
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

    /// The numbers depend only on the firewall's name, the time of its start and how many were
    /// drawn before.
    pub unsafe extern "C" fn arc4random_buf(to: *mut c_void, len: usize) {
        let kernel = thread::current().kernel.clone();
        let drawn = kernel.drawn.get();
        kernel.drawn.set(drawn + 1);
        let mut hasher = DefaultHasher::new();
        (&kernel.name, kernel.booted(), drawn).hash(&mut hasher);
        let mut rng = ChaCha8Rng::seed_from_u64(hasher.finish());
        // SAFETY: the caller promises that `len` bytes may be written.
        rng.fill_bytes(unsafe { std::slice::from_raw_parts_mut(to.cast(), len) });
    }

    /// Takes as many arguments as registers hold, unlike the kernel's.
    pub unsafe extern "C" fn printf(
        format: *const c_char,
        a: usize,
        b: usize,
        c: usize,
        d: usize,
        e: usize,
    ) -> i32 {
        let mut line = [0; 256];
        // SAFETY: the caller promises that the arguments are what the format
        // says; `snprintf` terminates what it writes.
        let (len, line) = unsafe {
            let len = ::libc::snprintf(line.as_mut_ptr(), line.len(), format, a, b, c, d, e);
            (len, CStr::from_ptr(line.as_ptr()))
        };
        thread::current().kernel.console.borrow_mut().push_str(&line.to_string_lossy());
        len
    }
}
