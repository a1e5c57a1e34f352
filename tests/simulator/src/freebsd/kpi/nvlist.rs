// SPDX-License-Identifier: BSD-2-Clause
//! nv(9), for modules.

use super::symbols;
use crate::freebsd::kernel::place::Place;
use crate::freebsd::kernel::sleep::may_sleep;
use crate::freebsd::kernel::thread;
use crate::freebsd::kernel::violation::violation;
use crate::freebsd::nv::{List, Value};
use std::ffi::{c_char, c_void, CStr};
use std::ptr;
use sys_bindings as sys;

/// Makes a list that the module owns.
fn give(list: List) -> *mut sys::nvlist {
    may_sleep("an nvlist's memory");
    let list = Box::into_raw(Box::new(list));
    thread::current().kernel.lists.borrow_mut().insert(list as usize, Place::here());
    list.cast()
}

/// Whether a pointer is to a list, or to a list inside it.
fn contains(list: *const List, wanted: *const sys::nvlist) -> bool {
    // SAFETY: the caller's list lives.
    let pairs = unsafe { &(*list).pairs };
    list.cast() == wanted
        || pairs
            .iter()
            .any(|(_, value)| matches!(value, Value::List(inner) if contains(&raw const **inner, wanted)))
}

fn unwrap<'a>(list: *const sys::nvlist) -> &'a mut List {
    let kernel = thread::current().kernel.clone();
    let known = kernel.lists.borrow().keys().any(|known| contains(*known as *const List, list));
    if !known {
        violation("uses an nvlist that does not exist".into());
    }
    // SAFETY: made by `give` and not taken back yet, or inside such a list.
    unsafe { &mut *list.cast_mut().cast() }
}

fn get<'a>(list: *const sys::nvlist, name: *const c_char) -> Option<&'a Value> {
    // SAFETY: the caller's name is terminated.
    unwrap(list).get(unsafe { CStr::from_ptr(name) })
}

fn add(list: *mut sys::nvlist, name: *const c_char, value: Value) {
    may_sleep("an nvlist's memory");
    // SAFETY: the caller's name is terminated.
    let name = unsafe { CStr::from_ptr(name) }.to_owned();
    if unwrap(list).get(&name).is_some() {
        violation(format!("adds {name:?} to an nvlist twice"));
    }
    unwrap(list).pairs.push((name, value));
}

/// Reports that a value is missing, or has another type.
fn missing(name: *const c_char) -> ! {
    // SAFETY: the caller's name is terminated.
    violation(format!("gets {:?} from an nvlist that lacks it", unsafe { CStr::from_ptr(name) }))
}

/// Takes a list back from the module.
fn take(list: *mut sys::nvlist) -> List {
    if thread::current().kernel.lists.borrow_mut().remove(&(list as usize)).is_none() {
        violation("destroys or moves an nvlist that it does not own".into());
    }
    // SAFETY: made by `give`, and taken back once.
    unsafe { *Box::from_raw(list.cast()) }
}

symbols! {
    pub unsafe extern "C" fn nvlist_create(_flags: i32) -> *mut sys::nvlist {
        give(List::default())
    }

    pub unsafe extern "C" fn nvlist_destroy(list: *mut sys::nvlist) {
        if !list.is_null() {
            drop(take(list));
        }
    }

    pub unsafe extern "C" fn nvlist_pack(list: *const sys::nvlist, size: *mut usize) -> *mut c_void {
        may_sleep("an nvlist's memory");
        let bytes = unwrap(list).pack();
        let memory = thread::current().kernel.heap.allocate(bytes.len(), "nvlist", false);
        // SAFETY: fresh memory of that size, and the caller's variable.
        unsafe {
            ptr::copy_nonoverlapping(bytes.as_ptr(), memory as *mut u8, bytes.len());
            *size = bytes.len();
        }
        memory as *mut c_void
    }

    pub unsafe extern "C" fn nvlist_unpack(
        bytes: *const c_void,
        size: usize,
        _flags: i32,
    ) -> *mut sys::nvlist {
        // SAFETY: the caller's bytes are that many.
        let bytes = unsafe { std::slice::from_raw_parts(bytes.cast(), size) };
        List::unpack(bytes).map_or(ptr::null_mut(), give)
    }

    pub unsafe extern "C" fn nvlist_exists(list: *const sys::nvlist, name: *const c_char) -> bool {
        get(list, name).is_some()
    }

    pub unsafe extern "C" fn nvlist_exists_number(list: *const sys::nvlist, name: *const c_char) -> bool {
        matches!(get(list, name), Some(Value::Number(_)))
    }

    pub unsafe extern "C" fn nvlist_exists_string(list: *const sys::nvlist, name: *const c_char) -> bool {
        matches!(get(list, name), Some(Value::String(_)))
    }

    pub unsafe extern "C" fn nvlist_exists_binary(list: *const sys::nvlist, name: *const c_char) -> bool {
        matches!(get(list, name), Some(Value::Binary(_)))
    }

    pub unsafe extern "C" fn nvlist_exists_nvlist(list: *const sys::nvlist, name: *const c_char) -> bool {
        matches!(get(list, name), Some(Value::List(_)))
    }

    /// Uses the number of names that were returned as the cookie. No caller needs the types.
    pub unsafe extern "C" fn nvlist_next(
        list: *const sys::nvlist,
        _kind: *mut i32,
        cookie: *mut *mut c_void,
    ) -> *const c_char {
        // SAFETY: the caller's variable.
        let returned = unsafe { &mut *cookie };
        let name = unwrap(list).pairs.get(*returned as usize).map(|(name, _)| name.as_ptr());
        *returned = returned.wrapping_byte_add(1);
        name.unwrap_or(ptr::null())
    }

    pub unsafe extern "C" fn nvlist_get_number(list: *const sys::nvlist, name: *const c_char) -> u64 {
        match get(list, name) {
            Some(Value::Number(number)) => *number,
            _ => missing(name),
        }
    }

    pub unsafe extern "C" fn nvlist_get_string(
        list: *const sys::nvlist,
        name: *const c_char,
    ) -> *const c_char {
        match get(list, name) {
            Some(Value::String(text)) => text.as_ptr(),
            _ => missing(name),
        }
    }

    pub unsafe extern "C" fn nvlist_get_binary(
        list: *const sys::nvlist,
        name: *const c_char,
        size: *mut usize,
    ) -> *const c_void {
        let Some(Value::Binary(bytes)) = get(list, name) else { missing(name) };
        if !size.is_null() {
            // SAFETY: the caller's variable.
            unsafe { *size = bytes.len() };
        }
        bytes.as_ptr().cast()
    }

    pub unsafe extern "C" fn nvlist_get_nvlist(
        list: *const sys::nvlist,
        name: *const c_char,
    ) -> *const sys::nvlist {
        let Some(Value::List(inner)) = get(list, name) else { missing(name) };
        ptr::from_ref(&**inner).cast()
    }

    pub unsafe extern "C" fn nvlist_add_number(list: *mut sys::nvlist, name: *const c_char, number: u64) {
        add(list, name, Value::Number(number));
    }

    pub unsafe extern "C" fn nvlist_add_string(
        list: *mut sys::nvlist,
        name: *const c_char,
        text: *const c_char,
    ) {
        // SAFETY: the caller's text is terminated.
        add(list, name, Value::String(unsafe { CStr::from_ptr(text) }.to_owned()));
    }

    pub unsafe extern "C" fn nvlist_add_binary(
        list: *mut sys::nvlist,
        name: *const c_char,
        bytes: *const c_void,
        size: usize,
    ) {
        // SAFETY: the caller's bytes are that many.
        add(list, name, Value::Binary(unsafe { std::slice::from_raw_parts(bytes.cast(), size) }.to_vec()));
    }

    pub unsafe extern "C" fn nvlist_move_nvlist(
        list: *mut sys::nvlist,
        name: *const c_char,
        inner: *mut sys::nvlist,
    ) {
        let inner = take(inner);
        add(list, name, Value::List(Box::new(inner)));
    }
}
