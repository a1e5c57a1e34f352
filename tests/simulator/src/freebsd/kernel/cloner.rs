// SPDX-License-Identifier: BSD-2-Clause
//! Cloners: making and destroying the interfaces of a module by name.

use super::interface::{detach_lock, with_lock};
use super::sleep::may_sleep;
use super::thread;
use super::violation::violation;
use super::vnet::Vnet;
use super::Kernel;
use crate::freebsd::kpi;
use crate::freebsd::machine::cpu::into_module;
use std::ffi::{c_char, CStr};
use std::ptr;
use sys_bindings as sys;

/// An interface cloner of a module.
pub(crate) struct Cloner {
    name: String,
    create: sys::ifc_create_f,
    destroy: sys::ifc_destroy_f,
    interfaces: Vec<usize>,
}

/// Splits a name such as `pfsync0` into `pfsync` and 0.
fn split_unit(name: &str) -> Option<(&str, u32)> {
    let digits = name.find(|c: char| c.is_ascii_digit())?;
    Some((&name[..digits], name[digits..].parse().ok()?))
}

/// Creates an interface by name, as `ifconfig name create` does. Called in a
/// thread of the vnet.
pub fn create(vnet: &Vnet, name: &str) -> Result<*mut sys::ifnet, i32> {
    if vnet.interfaces.find(name).is_some() {
        return Err(sys::EEXIST as i32);
    }
    let (prefix, unit) = split_unit(name).ok_or(sys::EINVAL as i32)?;
    let cloner = vnet
        .cloners
        .borrow_mut()
        .iter_mut()
        .find(|cloner| cloner.name == prefix)
        .map(|cloner| &raw mut **cloner);
    let cloner = cloner.ok_or(sys::EINVAL as i32)?;
    let mut text = [0 as c_char; 16];
    text.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from as c_char);
    let mut ifp = ptr::null_mut();
    // SAFETY: the cloner is boxed and stays until it is detached; the request
    // and the name live during the call.
    let error = unsafe {
        let mut request: sys::ifc_data = std::mem::zeroed();
        request.unit = unit;
        let create = (*cloner).create.expect("a cloner can create");
        into_module(|| create(cloner.cast(), text.as_mut_ptr(), text.len(), &mut request, &mut ifp))
    };
    if error != 0 {
        return Err(error);
    }
    let delay = thread::current().kernel.group_delay.get();
    if delay > 0 {
        kpi::time::sleep("the interface's group", delay);
    }
    if !vnet.cloners.borrow().iter().any(|other| ptr::eq(&**other, cloner)) {
        violation("an interface is left behind, because its cloner was detached".into());
    }
    // SAFETY: the cloner is attached, and the interface lives.
    unsafe {
        (*cloner).interfaces.push(ifp as usize);
        (*ifp).if_clones.le_prev = (&raw mut (*ifp).if_clones.le_next).cast();
    }
    Ok(ifp)
}

/// Destroys an interface of a cloner, as `ifconfig name destroy` does. Called
/// in a thread of the vnet.
pub fn destroy(vnet: &Vnet, name: &str) -> Result<(), i32> {
    let kernel = thread::current().kernel.clone();
    with_lock(detach_lock(&kernel), || destroy_locked(vnet, name))
}

fn destroy_locked(vnet: &Vnet, name: &str) -> Result<(), i32> {
    let ifp = vnet.interfaces.find(name).ok_or(sys::ENXIO as i32)?;
    let mut cloners = vnet.cloners.borrow_mut();
    let cloner = cloners.iter_mut().find(|cloner| cloner.interfaces.contains(&(ifp as usize)));
    let cloner = cloner.map(|cloner| &raw mut **cloner).ok_or(sys::EINVAL as i32)?;
    drop(cloners);
    destroy_by(cloner, ifp);
    Ok(())
}

fn destroy_by(cloner: *mut Cloner, ifp: *mut sys::ifnet) {
    // SAFETY: the cloner is boxed and stays until it is detached.
    unsafe {
        (*cloner).interfaces.retain(|other| *other != ifp as usize);
        let destroy = (*cloner).destroy.expect("a cloner can destroy");
        // In the vnet where the interface is now.
        let thread = thread::current();
        let before = thread.set_vnet((*ifp).if_vnet);
        into_module(|| destroy(cloner.cast(), ifp, 0));
        thread.set_vnet(before);
    }
}

kpi::symbols! {
    pub unsafe extern "C" fn ifc_attach_cloner(
        name: *const c_char,
        request: *mut sys::if_clone_addreq,
    ) -> *mut sys::if_clone {
        may_sleep("ifc_attach_cloner");
        // SAFETY: the caller's name is terminated, and its request valid.
        let (name, request) = unsafe { (CStr::from_ptr(name).to_string_lossy().into_owned(), &*request) };
        let vnet = Kernel::current_vnet();
        let mut cloners = vnet.cloners.borrow_mut();
        if cloners.iter().any(|cloner| cloner.name == name) {
            return ptr::null_mut();
        }
        let (create, destroy) = (request.create_f, request.destroy_f);
        let mut cloner = Box::new(Cloner { name, create, destroy, interfaces: Vec::new() });
        let raw: *mut Cloner = &mut *cloner;
        cloners.push(cloner);
        raw.cast()
    }

    pub unsafe extern "C" fn ifc_detach_cloner(cloner: *mut sys::if_clone) {
        may_sleep("ifc_detach_cloner");
        let vnet = Kernel::current_vnet();
        let cloner = cloner.cast::<Cloner>();
        if !vnet.cloners.borrow().iter().any(|other| ptr::eq(&**other, cloner)) {
            violation("detaches a cloner that is not attached".into());
        }
        // SAFETY: the cloner is boxed, and in the list.
        let interfaces = unsafe { (*cloner).interfaces.clone() };
        for ifp in interfaces {
            destroy_by(cloner, ifp as *mut sys::ifnet);
        }
        vnet.cloners.borrow_mut().retain(|other| !ptr::eq(&**other, cloner));
    }

    pub unsafe extern "C" fn ifc_create_ifp(
        name: *const c_char,
        _request: *mut sys::ifc_data,
        ifpp: *mut *mut sys::ifnet,
    ) -> i32 {
        may_sleep("ifc_create_ifp");
        let vnet = Kernel::current_vnet();
        // SAFETY: the caller's name is terminated.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy().into_owned();
        match create(&vnet, &name) {
            Ok(ifp) => {
                if !ifpp.is_null() {
                    // SAFETY: the caller's variable.
                    unsafe { *ifpp = ifp };
                }
                0
            }
            Err(error) => error,
        }
    }
}
