//! nv(9): named values, as ifconfig(8) exchanges them with the kernel.

use super::error::{Errno, Result};
use core::ffi::{c_void, CStr};
use core::ops::Deref;
use core::ptr::{self, NonNull};
use core::slice;
use sys_bindings as sys;

/// A list of named values, owned.
pub struct NvList(NonNull<sys::nvlist_t>);

impl NvList {
    /// An empty list. May sleep.
    pub fn new() -> Result<NvList> {
        // SAFETY: allocates.
        NonNull::new(unsafe { sys::nvlist_create(0) }).map(NvList).ok_or(Errno::ENOMEM)
    }

    /// Reads a packed list, checking all of its structure. May sleep.
    pub fn unpack(bytes: &[u8]) -> Result<NvList> {
        // SAFETY: reads the bytes given.
        let list = unsafe { sys::nvlist_unpack(bytes.as_ptr().cast(), bytes.len(), 0) };
        NonNull::new(list).map(NvList).ok_or(Errno::EINVAL)
    }

    pub fn add_number(&mut self, name: &CStr, value: u64) {
        // SAFETY: the list is owned, and the name is copied.
        unsafe { sys::nvlist_add_number(self.0.as_ptr(), name.as_ptr(), value) };
    }

    pub fn add_string(&mut self, name: &CStr, value: &CStr) {
        // SAFETY: the list is owned; name and value are copied.
        unsafe { sys::nvlist_add_string(self.0.as_ptr(), name.as_ptr(), value.as_ptr()) };
    }

    pub fn add_binary(&mut self, name: &CStr, value: &[u8]) {
        // SAFETY: the list is owned; name and value are copied.
        unsafe { sys::nvlist_add_binary(self.0.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len()) };
    }

    /// Puts another list into this one.
    pub fn add_list(&mut self, name: &CStr, value: NvList) {
        // SAFETY: both lists are owned; the name is copied, and the value's
        // ownership passes to this list.
        unsafe { sys::nvlist_move_nvlist(self.0.as_ptr(), name.as_ptr(), value.0.as_ptr()) };
        core::mem::forget(value);
    }

    /// The list as bytes. Fails when adding something to it had failed.
    pub fn pack(&self) -> Result<Packed> {
        let mut len = 0;
        // SAFETY: the list is valid; what comes back is ours to free.
        let bytes = unsafe { sys::nvlist_pack(self.0.as_ptr(), &mut len) };
        NonNull::new(bytes).map(|bytes| Packed { bytes, len }).ok_or(Errno::ENOMEM)
    }

    /// The values of the list.
    pub fn values(&self) -> Values<'_> {
        // SAFETY: the list is valid as long as `self` is.
        Values(unsafe { self.0.as_ref() })
    }
}

impl Drop for NvList {
    fn drop(&mut self) {
        // SAFETY: the list is owned.
        unsafe { sys::nvlist_destroy(self.0.as_ptr()) };
    }
}

/// A view of a list's values. What is absent or of another type is `None`.
#[derive(Clone, Copy)]
pub struct Values<'a>(&'a sys::nvlist_t);

impl<'a> Values<'a> {
    fn list(&self) -> *const sys::nvlist_t {
        self.0
    }

    pub fn number(&self, name: &CStr) -> Option<u64> {
        // SAFETY: the list is valid; the value is taken only if it is there,
        // as the function demands.
        unsafe {
            sys::nvlist_exists_number(self.list(), name.as_ptr())
                .then(|| sys::nvlist_get_number(self.list(), name.as_ptr()))
        }
    }

    pub fn string(&self, name: &CStr) -> Option<&'a CStr> {
        // SAFETY: the list is valid; the string is taken only if it is there,
        // and lives as long as the list.
        unsafe {
            sys::nvlist_exists_string(self.list(), name.as_ptr())
                .then(|| CStr::from_ptr(sys::nvlist_get_string(self.list(), name.as_ptr())))
        }
    }

    pub fn binary(&self, name: &CStr) -> Option<&'a [u8]> {
        // SAFETY: the list is valid; the bytes are taken only if they are
        // there, and live as long as the list.
        unsafe {
            if !sys::nvlist_exists_binary(self.list(), name.as_ptr()) {
                return None;
            }
            let mut len = 0;
            let bytes = sys::nvlist_get_binary(self.list(), name.as_ptr(), &mut len);
            Some(slice::from_raw_parts(bytes.cast(), len))
        }
    }

    pub fn list_of(&self, name: &CStr) -> Option<Values<'a>> {
        // SAFETY: the list is valid; the inner one is taken only if it is
        // there, and lives as long as the outer.
        unsafe {
            sys::nvlist_exists_nvlist(self.list(), name.as_ptr())
                .then(|| Values(&*sys::nvlist_get_nvlist(self.list(), name.as_ptr())))
        }
    }

    /// Whether the name is there with any type.
    pub fn has(&self, name: &CStr) -> bool {
        // SAFETY: the list is valid.
        unsafe { sys::nvlist_exists(self.list(), name.as_ptr()) }
    }
}

/// A packed list.
pub struct Packed {
    bytes: NonNull<c_void>,
    len: usize,
}

impl Deref for Packed {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: nvlist_pack gave this many bytes.
        unsafe { slice::from_raw_parts(self.bytes.as_ptr().cast(), self.len) }
    }
}

impl Drop for Packed {
    fn drop(&mut self) {
        // SAFETY: nvlist_pack allocated with this type.
        unsafe { sys::free(self.bytes.as_ptr(), ptr::addr_of_mut!(sys::M_NVLIST).cast()) };
    }
}
