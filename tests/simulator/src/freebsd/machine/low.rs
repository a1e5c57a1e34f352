// SPDX-License-Identifier: BSD-2-Clause
//! Memory below 2 GiB.
//!
//! Kernel code uses sign-extended 32-bit absolute addresses. In the kernel
//! they reach the upper 2 GiB; in a process they reach the lower 2 GiB.

use anyhow::{ensure, Result};
use std::cell::Cell;

/// A region that is handed out piece by piece and released as a whole.
pub(crate) struct LowMemory {
    start: usize,
    len: usize,
    used: Cell<usize>,
    mapped: Cell<bool>,
}

const PAGE: usize = 4096;

impl LowMemory {
    /// Maps `len` bytes of zeros.
    pub(crate) fn map(len: usize) -> Result<LowMemory> {
        let protection = libc::PROT_READ | libc::PROT_WRITE;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
        // SAFETY: a fresh anonymous mapping disturbs nobody's memory.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, protection, flags, -1, 0) };
        ensure!(start != libc::MAP_FAILED, "no memory below 2 GiB: {}", std::io::Error::last_os_error());
        Ok(LowMemory { start: start as usize, len, used: Cell::new(0), mapped: Cell::new(true) })
    }

    /// Hands out the next `len` bytes, aligned; `None` if too few are left.
    pub(crate) fn take(&self, len: usize, align: usize) -> Option<usize> {
        let at = (self.start + self.used.get()).next_multiple_of(align.max(1));
        let end = at.checked_add(len)?;
        if end > self.start + self.len {
            return None;
        }
        self.used.set(end - self.start);
        Some(at)
    }

    /// Makes the next piece begin on a page of its own. Returns that page's address.
    pub(crate) fn next_page(&self) -> usize {
        self.take(0, PAGE).unwrap_or(self.start + self.len)
    }

    /// Sets the protection of the pages from `from` to `to`.
    pub(crate) fn protect(&self, from: usize, to: usize, protection: i32) -> Result<()> {
        if from == to {
            return Ok(());
        }
        assert!(from >= self.start && to <= self.start + self.len && from.is_multiple_of(PAGE));
        // SAFETY: the pages lie within this mapping.
        let error = unsafe { libc::mprotect(from as *mut _, to - from, protection) };
        ensure!(error == 0, "mprotect: {}", std::io::Error::last_os_error());
        Ok(())
    }

    /// Releases the memory, which nothing may use any more.
    pub(crate) fn unmap(&self) {
        if self.mapped.replace(false) {
            // SAFETY: mapped in `map`, and given back once.
            unsafe { libc::munmap(self.start as *mut _, self.len) };
        }
    }
}

impl Drop for LowMemory {
    fn drop(&mut self) {
        self.unmap();
    }
}
