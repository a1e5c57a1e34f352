// SPDX-License-Identifier: BSD-2-Clause
//! IP protocol handlers.

use super::symbols;
use crate::freebsd::kernel::thread;
use sys_bindings as sys;

/// An input function. Its arguments are packet, length of the IP header, protocol.
pub(crate) type Input = unsafe extern "C" fn(*mut *mut sys::mbuf, *mut i32, i32) -> i32;

fn register(family: u8, protocol: u8, input: Option<Input>) -> i32 {
    let kernel = thread::current().kernel.clone();
    if kernel.heap.fails() {
        return sys::EEXIST as i32;
    }
    let mut protocols = kernel.protocols.borrow_mut();
    match (input, protocols.entry((family, protocol))) {
        (Some(input), std::collections::hash_map::Entry::Vacant(entry)) => {
            entry.insert(input);
            0
        }
        (None, _) => sys::EINVAL as i32,
        (_, _) => sys::EEXIST as i32,
    }
}

fn unregister(family: u8, protocol: u8) -> i32 {
    match thread::current().kernel.protocols.borrow_mut().remove(&(family, protocol)) {
        Some(_) => 0,
        None => sys::ENOENT as i32,
    }
}

symbols! {
    pub unsafe extern "C" fn ipproto_register(protocol: u8, input: Option<Input>, _control: usize) -> i32 {
        register(4, protocol, input)
    }

    pub unsafe extern "C" fn ip6proto_register(protocol: u8, input: Option<Input>, _control: usize) -> i32 {
        register(6, protocol, input)
    }

    pub unsafe extern "C" fn ipproto_unregister(protocol: u8) -> i32 {
        unregister(4, protocol)
    }

    pub unsafe extern "C" fn ip6proto_unregister(protocol: u8) -> i32 {
        unregister(6, protocol)
    }
}
