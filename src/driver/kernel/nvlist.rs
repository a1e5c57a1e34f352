// SPDX-License-Identifier: BSD-2-Clause
//! nv(9): lists of named values, which ifconfig(8) exchanges with the kernel.

use super::error::{Errno, Result};
use core::ffi::{c_void, CStr};
use core::ops::Deref;
use core::ptr::{self, NonNull};
use core::slice;
use sys_bindings as sys;

/// An owned list of named values.
pub(crate) struct NvList(NonNull<sys::nvlist_t>);

impl NvList {
    /// An empty list. May sleep. `ENOMEM` if there is no memory.
    pub(crate) fn new() -> Result<NvList> {
        // SAFETY: only allocates.
        NonNull::new(unsafe { sys::nvlist_create(0) }).map(NvList).ok_or(Errno::ENOMEM)
    }

    /// Reads a packed list and checks its structure. May sleep. `EINVAL` if the bytes
    /// are not a list.
    pub(crate) fn unpack(bytes: &[u8]) -> Result<NvList> {
        // SAFETY: only reads the bytes.
        let list = unsafe { sys::nvlist_unpack(bytes.as_ptr().cast(), bytes.len(), 0) };
        NonNull::new(list).map(NvList).ok_or(Errno::EINVAL)
    }

    /// Adds a number. If there is no memory, [`NvList::pack`] fails.
    pub(crate) fn add_number(&mut self, name: &CStr, value: u64) {
        // SAFETY: the list is owned, and nv(9) copies the name.
        unsafe { sys::nvlist_add_number(self.0.as_ptr(), name.as_ptr(), value) };
    }

    /// Adds a string. If there is no memory, [`NvList::pack`] fails.
    pub(crate) fn add_string(&mut self, name: &CStr, value: &CStr) {
        // SAFETY: the list is owned, and nv(9) copies name and value.
        unsafe { sys::nvlist_add_string(self.0.as_ptr(), name.as_ptr(), value.as_ptr()) };
    }

    /// Adds bytes. If there is no memory, [`NvList::pack`] fails.
    pub(crate) fn add_binary(&mut self, name: &CStr, value: &[u8]) {
        // SAFETY: the list is owned, and nv(9) copies name and value.
        unsafe { sys::nvlist_add_binary(self.0.as_ptr(), name.as_ptr(), value.as_ptr().cast(), value.len()) };
    }

    /// Adds another list. If there is no memory, [`NvList::pack`] fails.
    pub(crate) fn add_list(&mut self, name: &CStr, value: NvList) {
        // SAFETY: both lists are owned. nv(9) copies the name and takes over the
        // value, which is forgotten below.
        unsafe { sys::nvlist_move_nvlist(self.0.as_ptr(), name.as_ptr(), value.0.as_ptr()) };
        core::mem::forget(value);
    }

    /// The list as bytes. `ENOMEM` if there is no memory, or was none for a value that
    /// was added.
    pub(crate) fn pack(&self) -> Result<Packed> {
        let mut len = 0;
        // SAFETY: the list is owned. The memory that nvlist_pack returns is the
        // caller's.
        let bytes = unsafe { sys::nvlist_pack(self.0.as_ptr(), &mut len) };
        NonNull::new(bytes).map(|bytes| Packed { bytes, len }).ok_or(Errno::ENOMEM)
    }

    /// A view of the list's values.
    pub(crate) fn values(&self) -> Values<'_> {
        // SAFETY: the list lives as long as `self`.
        Values(unsafe { self.0.as_ref() })
    }
}

impl Drop for NvList {
    fn drop(&mut self) {
        // SAFETY: the list is owned.
        unsafe { sys::nvlist_destroy(self.0.as_ptr()) };
    }
}

/// A view of a list's values. The value of a name is `None` if the name is absent,
/// or has a value of another type.
#[derive(Clone, Copy)]
pub(crate) struct Values<'a>(&'a sys::nvlist_t);

impl<'a> Values<'a> {
    fn list(&self) -> *const sys::nvlist_t {
        self.0
    }

    /// The number of that name.
    pub(crate) fn number(&self, name: &CStr) -> Option<u64> {
        // SAFETY: the list is valid. nvlist_get_number demands that the number
        // exists, which is checked first.
        unsafe {
            sys::nvlist_exists_number(self.list(), name.as_ptr())
                .then(|| sys::nvlist_get_number(self.list(), name.as_ptr()))
        }
    }

    /// The string of that name.
    pub(crate) fn string(&self, name: &CStr) -> Option<&'a CStr> {
        // SAFETY: the list is valid. The string exists, which is checked first, and
        // lives as long as the list.
        unsafe {
            sys::nvlist_exists_string(self.list(), name.as_ptr())
                .then(|| CStr::from_ptr(sys::nvlist_get_string(self.list(), name.as_ptr())))
        }
    }

    /// The bytes of that name.
    pub(crate) fn binary(&self, name: &CStr) -> Option<&'a [u8]> {
        // SAFETY: the list is valid. The bytes exist, which is checked first, and live
        // as long as the list.
        unsafe {
            if !sys::nvlist_exists_binary(self.list(), name.as_ptr()) {
                return None;
            }
            let mut len = 0;
            let bytes = sys::nvlist_get_binary(self.list(), name.as_ptr(), &mut len);
            Some(slice::from_raw_parts(bytes.cast(), len))
        }
    }

    /// The list of that name.
    pub(crate) fn list_of(&self, name: &CStr) -> Option<Values<'a>> {
        // SAFETY: the list is valid. The inner list exists, which is checked first,
        // and lives as long as the outer one.
        unsafe {
            sys::nvlist_exists_nvlist(self.list(), name.as_ptr())
                .then(|| Values(&*sys::nvlist_get_nvlist(self.list(), name.as_ptr())))
        }
    }

    /// The name of the last value in the list.
    pub(crate) fn last_name(&self) -> Option<&'a CStr> {
        let (mut cookie, mut last) = (ptr::null_mut(), None);
        loop {
            let mut kind = 0;
            // SAFETY: the list is valid, and the cookie is null or of this list. A name
            // lives as long as the list.
            let name = unsafe {
                let name = sys::nvlist_next(self.list(), &mut kind, &mut cookie);
                (!name.is_null()).then(|| CStr::from_ptr(name))
            };
            if name.is_none() {
                return last;
            }
            last = name;
        }
    }

    /// Whether the name exists, with a value of any type.
    pub(crate) fn has(&self, name: &CStr) -> bool {
        // SAFETY: the list is valid.
        unsafe { sys::nvlist_exists(self.list(), name.as_ptr()) }
    }
}

/// The bytes of a packed list.
pub(crate) struct Packed {
    bytes: NonNull<c_void>,
    len: usize,
}

impl Deref for Packed {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: nvlist_pack returned this many bytes.
        unsafe { slice::from_raw_parts(self.bytes.as_ptr().cast(), self.len) }
    }
}

impl Drop for Packed {
    fn drop(&mut self) {
        // SAFETY: nvlist_pack allocated the bytes with this malloc type.
        unsafe { sys::free(self.bytes.as_ptr(), ptr::addr_of_mut!(sys::M_NVLIST).cast()) };
    }
}
