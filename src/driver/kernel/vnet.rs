// SPDX-License-Identifier: BSD-2-Clause
//! Vnets: virtual network stacks (vnet(9)).

use core::ffi::c_void;
use core::ptr::NonNull;
use sys_bindings as sys;

/// A vnet. Code that keeps one makes sure that the vnet outlives every use: what
/// belongs to a vnet is taken down before the vnet ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Vnet(NonNull<sys::vnet>);

// SAFETY: the pointer is only handed to the kernel.
unsafe impl Send for Vnet {}
// SAFETY: nor does a shared Vnet do more with the pointer.
unsafe impl Sync for Vnet {}

impl Vnet {
    /// The current vnet: the one that the thread works for (`curvnet`), if any.
    pub(crate) fn current() -> Option<Vnet> {
        // SAFETY: only reads a field of the current thread.
        NonNull::new(unsafe { sys::pfs_curvnet() }).map(Vnet)
    }

    /// The vnet as an argument for a function that C calls. [`Vnet::from_ptr`] reads
    /// it back.
    pub(crate) fn as_ptr(self) -> *mut c_void {
        self.0.as_ptr().cast()
    }

    /// The vnet of an argument that [`Vnet::as_ptr`] made.
    ///
    /// # Safety
    ///
    /// `raw` came from `as_ptr`, and the vnet lives.
    pub(crate) unsafe fn from_ptr(raw: *mut c_void) -> Option<Vnet> {
        NonNull::new(raw.cast()).map(Vnet)
    }

    /// The first vnet for which `wanted` returns true. `wanted` runs in each vnet and
    /// must not sleep. The vnet may have ended when this returns, unless the caller
    /// holds a lock that prevents it.
    pub(crate) fn find(wanted: impl Fn() -> bool) -> Option<Vnet> {
        // SAFETY: the list is locked during the walk.
        unsafe {
            sys::pfs_vnet_list_rlock();
            let first = NonNull::new(sys::pfs_vnet_list_first());
            let following = |vnet: &NonNull<sys::vnet>| NonNull::new(sys::pfs_vnet_list_next(vnet.as_ptr()));
            let found = core::iter::successors(first, following).map(Vnet).find(|vnet| vnet.with(&wanted));
            sys::pfs_vnet_list_runlock();
            found
        }
    }

    /// Runs `inside` in this vnet (`CURVNET_SET`, `CURVNET_RESTORE`).
    pub(crate) fn with<R>(self, inside: impl FnOnce() -> R) -> R {
        // SAFETY: the vnet lives, as said at the type.
        let previous = unsafe { sys::pfs_curvnet_set(self.0.as_ptr()) };
        let result = inside();
        // SAFETY: restores what was current before.
        unsafe { sys::pfs_curvnet_set(previous) };
        result
    }
}
