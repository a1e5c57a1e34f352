//! Virtual network stacks.

use core::ffi::c_void;
use core::ptr::NonNull;
use sys_bindings as sys;

/// A network stack. Whoever keeps one sees to it that it outlives the use:
/// what belongs to a stack is taken down before the stack is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Vnet(NonNull<sys::vnet>);

// SAFETY: the pointer is only handed back to the kernel.
unsafe impl Send for Vnet {}
// SAFETY: a shared Vnet does no more than that either.
unsafe impl Sync for Vnet {}

impl Vnet {
    /// The stack that the thread works for (`curvnet`), if any.
    pub fn current() -> Option<Vnet> {
        // SAFETY: reads a field of the current thread.
        NonNull::new(unsafe { sys::pfs_curvnet() }).map(Vnet)
    }

    /// The stack as an argument for C, which [`Vnet::from_ptr`] reads back.
    pub fn as_ptr(self) -> *mut c_void {
        self.0.as_ptr().cast()
    }

    /// Reads back what [`Vnet::as_ptr`] made.
    ///
    /// # Safety
    ///
    /// `raw` came from `as_ptr`, and the stack lives.
    pub unsafe fn from_ptr(raw: *mut c_void) -> Option<Vnet> {
        NonNull::new(raw.cast()).map(Vnet)
    }

    /// The first stack for which `wanted` says yes, asked in that stack's
    /// context. `wanted` must not sleep. Without further arrangement the stack
    /// may be gone when this returns.
    pub fn find(wanted: impl Fn() -> bool) -> Option<Vnet> {
        // SAFETY: the list is locked while it is walked.
        unsafe {
            sys::pfs_vnet_list_rlock();
            let first = NonNull::new(sys::pfs_vnet_list_first());
            let following = |vnet: &NonNull<sys::vnet>| NonNull::new(sys::pfs_vnet_list_next(vnet.as_ptr()));
            let found = core::iter::successors(first, following).map(Vnet).find(|vnet| vnet.with(&wanted));
            sys::pfs_vnet_list_runlock();
            found
        }
    }

    /// Runs `inside` for this stack (`CURVNET_SET`).
    pub fn with<R>(self, inside: impl FnOnce() -> R) -> R {
        // SAFETY: the stack lives, as said at the type.
        let previous = unsafe { sys::pfs_curvnet_set(self.0.as_ptr()) };
        let result = inside();
        // SAFETY: puts back what was found.
        unsafe { sys::pfs_curvnet_set(previous) };
        result
    }
}
