// SPDX-License-Identifier: BSD-2-Clause
//! pf's uma(9) zones.

use std::mem::offset_of;
use sys_bindings as sys;

/// What a `uma_zone_t` points to.
pub(crate) struct Zone {
    pub(crate) name: &'static str,
    pub(crate) size: usize,
    /// The zone's constructor.
    pub(crate) construct: fn(usize),
}

pub(crate) static STATES: Zone =
    Zone { name: "pf states", size: size_of::<sys::pf_kstate>(), construct: |_| () };
pub(crate) static KEYS: Zone =
    Zone { name: "pf state keys", size: size_of::<sys::pf_state_key>(), construct: construct_key };
pub(crate) static SCRUBS: Zone =
    Zone { name: "pf state scrubs", size: size_of::<sys::pf_state_scrub>(), construct: |_| () };

/// Clears the part of a key that is compared, and empties the lists.
fn construct_key(item: usize) {
    let key = item as *mut sys::pf_state_key;
    // SAFETY: fresh memory of that size.
    unsafe {
        (item as *mut u8).write_bytes(0, offset_of!(sys::pf_state_key, entry));
        for list in &mut (*key).states {
            list.tqh_first = std::ptr::null_mut();
            list.tqh_last = &mut list.tqh_first;
        }
    }
}

impl Zone {
    /// The zone for kernel code.
    pub(crate) fn raw(&'static self) -> sys::uma_zone_t {
        std::ptr::from_ref(self).cast_mut().cast()
    }
}
