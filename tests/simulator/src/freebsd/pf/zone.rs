//! pf's zones of uma(9).

use std::mem::offset_of;
use sys_bindings as sys;

/// A zone, as `uma_zalloc` finds it.
pub struct Zone {
    pub name: &'static str,
    pub size: usize,
    /// The zone's constructor.
    pub construct: fn(usize),
}

pub static STATES: Zone = Zone { name: "pf states", size: size_of::<sys::pf_kstate>(), construct: |_| () };
pub static KEYS: Zone =
    Zone { name: "pf state keys", size: size_of::<sys::pf_state_key>(), construct: construct_key };
pub static SCRUBS: Zone =
    Zone { name: "pf state scrubs", size: size_of::<sys::pf_state_scrub>(), construct: |_| () };

/// Clears what is compared, and makes the lists empty.
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
    pub fn raw(&'static self) -> sys::uma_zone_t {
        std::ptr::from_ref(self).cast_mut().cast()
    }
}
