// SPDX-License-Identifier: BSD-2-Clause
//! sysctl(9): reads and writes a module's nodes, and handles the usual kinds.

use super::symbols;
use crate::freebsd::kernel::violation::violation;
use crate::freebsd::kernel::vnet::Vnet;
use crate::freebsd::kernel::{thread, Kernel};
use crate::freebsd::native;
use std::ffi::{c_void, CStr};
use std::ptr;
use std::rc::Rc;
use sys_bindings as sys;

impl Kernel {
    /// The node of that name, such as `net.pfsync.defer_delay`.
    fn sysctl(&self, name: &str) -> Option<*mut sys::sysctl_oid> {
        let nodes = self.sysctls.borrow();
        let nodes = || nodes.iter().map(|oid| *oid as *mut sys::sysctl_oid);
        // SAFETY: the nodes are the module's; names are terminated.
        let last = |oid: *mut sys::sysctl_oid| unsafe { CStr::from_ptr((*oid).oid_name) }.to_string_lossy();
        // SAFETY: as above. A node names its parent by the list of the parent's children.
        let is_parent = |parent: *mut sys::sysctl_oid, oid: *mut sys::sysctl_oid| unsafe {
            std::ptr::eq(&raw const (*parent).oid_children, (*oid).oid_parent)
        };
        let matches = |oid: *mut sys::sysctl_oid| {
            let (mut oid, mut names) = (Some(oid), name.rsplit('.'));
            // The node `net` is the kernel's.
            while let Some(child) = oid {
                if names.next() != Some(&*last(child)) {
                    return false;
                }
                oid = nodes().find(|parent| is_parent(*parent, child));
            }
            names.next() == Some("net")
        };
        nodes().find(|oid| matches(*oid))
    }

    /// Reads a node of `size` bytes.
    pub fn sysctl_read(self: &Rc<Self>, vnet: &Vnet, name: &str, size: usize) -> anyhow::Result<Vec<u8>> {
        self.sysctl_call(vnet, name, size, None)
    }

    /// Writes a node.
    pub fn sysctl_write(self: &Rc<Self>, vnet: &Vnet, name: &str, value: &[u8]) -> anyhow::Result<()> {
        self.sysctl_call(vnet, name, 0, Some(value.to_vec())).map(|_| ())
    }

    fn sysctl_call(
        self: &Rc<Self>,
        vnet: &Vnet,
        name: &str,
        size: usize,
        new: Option<Vec<u8>>,
    ) -> anyhow::Result<Vec<u8>> {
        let oid = self.sysctl(name).ok_or_else(|| anyhow::anyhow!("no sysctl {name}"))? as usize;
        let (error, old) =
            self.run("sysctl", vnet, move || call(oid as *mut sys::sysctl_oid, size, new.as_deref()))?;
        anyhow::ensure!(error == 0, "{name}: error {error}");
        Ok(old)
    }
}

/// Calls a node's handler with buffers of a user program.
fn call(oid: *mut sys::sysctl_oid, size: usize, new: Option<&[u8]>) -> (i32, Vec<u8>) {
    let mut old = vec![0; size];
    // SAFETY: the node is the module's; the request lives during the call and
    // has as much space as it says.
    let error = unsafe {
        let mut request: sys::sysctl_req = std::mem::zeroed();
        if size > 0 {
            request.oldptr = old.as_mut_ptr().cast();
            request.oldlen = size;
        }
        if let Some(new) = new {
            request.newptr = new.as_ptr().cast();
            request.newlen = new.len();
            request.newfunc = Some(copy_in);
        }
        let handler = (*oid).oid_handler.unwrap_or_else(|| violation("a sysctl without a handler".into()));
        crate::freebsd::machine::cpu::into_module(|| {
            handler(oid, (*oid).oid_arg1, (*oid).oid_arg2, &mut request)
        })
    };
    (error, old)
}

/// Copies a variable of `size` bytes out, and the new value in.
///
/// # Safety
///
/// `arg1` is null or points to the variable, and the request is valid.
unsafe fn exchange(
    oid: *mut sys::sysctl_oid,
    arg1: *mut c_void,
    size: usize,
    request: *mut sys::sysctl_req,
) -> i32 {
    // SAFETY: as the caller promises.
    unsafe {
        let is_variable = arg1 == (*oid).oid_arg1;
        let variable = match is_variable && (*oid).oid_kind & native::CTLFLAG_VNET != 0 {
            true => Kernel::current_vnet().locate(arg1 as usize) as *mut u8,
            false => arg1.cast::<u8>(),
        };
        if (*request).oldlen >= size && !(*request).oldptr.is_null() {
            ptr::copy_nonoverlapping(variable, (*request).oldptr.cast(), size);
        }
        if (*request).newptr.is_null() {
            return 0;
        }
        if (*request).newlen != size {
            return sys::EINVAL as i32;
        }
        if thread::current().kernel.heap.fails() {
            return sys::EFAULT as i32;
        }
        ptr::copy_nonoverlapping((*request).newptr.cast(), variable, size);
    }
    0
}

symbols! {
    /// What `newfunc` of a request points to.
    pub unsafe extern "C" fn copy_in(request: *mut sys::sysctl_req, to: *mut c_void, len: usize) -> i32 {
        // SAFETY: as the kernel calls it: the request is valid, and `len` bytes may be written.
        unsafe {
            let left = (*request).newlen - (*request).newidx;
            if len > left {
                return sys::EINVAL as i32;
            }
            let from = (*request).newptr.cast::<u8>().add((*request).newidx);
            ptr::copy_nonoverlapping(from, to.cast(), len);
            (*request).newidx += len;
        }
        0
    }

    pub unsafe extern "C" fn sysctl_handle_int(
        oid: *mut sys::sysctl_oid,
        arg1: *mut c_void,
        _arg2: isize,
        request: *mut sys::sysctl_req,
    ) -> i32 {
        // SAFETY: as the kernel calls handlers.
        unsafe { exchange(oid, arg1, 4, request) }
    }

    pub unsafe extern "C" fn sysctl_handle_long(
        oid: *mut sys::sysctl_oid,
        arg1: *mut c_void,
        _arg2: isize,
        request: *mut sys::sysctl_req,
    ) -> i32 {
        // SAFETY: as above.
        unsafe { exchange(oid, arg1, 8, request) }
    }

    pub unsafe extern "C" fn sysctl_handle_string(
        oid: *mut sys::sysctl_oid,
        arg1: *mut c_void,
        _arg2: isize,
        request: *mut sys::sysctl_req,
    ) -> i32 {
        // SAFETY: as above; the string is terminated.
        unsafe { exchange(oid, arg1, CStr::from_ptr(arg1.cast()).to_bytes_with_nul().len(), request) }
    }

    pub unsafe extern "C" fn sysctl_handle_opaque(
        oid: *mut sys::sysctl_oid,
        arg1: *mut c_void,
        arg2: isize,
        request: *mut sys::sysctl_req,
    ) -> i32 {
        // SAFETY: as above.
        unsafe { exchange(oid, arg1, arg2 as usize, request) }
    }
}
