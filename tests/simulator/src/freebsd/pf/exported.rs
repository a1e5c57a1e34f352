// SPDX-License-Identifier: BSD-2-Clause
//! The functions that pf.ko exports.

use super::{release, table, zone};
use crate::freebsd::kernel::violation::violation;
use crate::freebsd::kernel::Kernel;
use crate::freebsd::kpi::{memory, symbols};
use std::ffi::{c_char, CStr};
use sys_bindings as sys;

symbols! {
    pub unsafe extern "C" fn pf_alloc_state(flags: i32) -> *mut sys::pf_kstate {
        let pf = &Kernel::current_vnet().pf;
        if pf.is_full() {
            return std::ptr::null_mut();
        }
        memory::allocate(zone::STATES.size, zone::STATES.name, flags | sys::M_ZERO as i32) as *mut _
    }

    pub unsafe extern "C" fn uma_zone_get_cur(zone: sys::uma_zone_t) -> i32 {
        if zone != zone::STATES.raw() {
            violation("counts the items of a zone other than pf's states".into());
        }
        Kernel::current_vnet().pf.states() as i32
    }

    pub unsafe extern "C" fn pf_free_state(st: *mut sys::pf_kstate) {
        Kernel::current_vnet().pf.free(st);
    }

    pub unsafe extern "C" fn pf_find_state_byid(id: u64, creator: u32) -> *mut sys::pf_kstate {
        Kernel::current_vnet().pf.find(id, creator).unwrap_or(std::ptr::null_mut())
    }

    pub unsafe extern "C" fn pf_find_state_all(
        key: *const sys::pf_state_key_cmp,
        direction: u32,
        more: *mut i32,
    ) -> *mut sys::pf_kstate {
        let Some((st, others)) = Kernel::current_vnet().pf.find_by_key(key, direction) else {
            return std::ptr::null_mut();
        };
        if !more.is_null() {
            // SAFETY: a caller that passes a pointer passes a count.
            unsafe { *more += others };
        }
        st
    }

    pub unsafe extern "C" fn pf_state_expires(st: *const sys::pf_kstate) -> u32 {
        Kernel::current_vnet().pf.expires(st)
    }

    pub unsafe extern "C" fn pf_state_insert(
        kif: *mut sys::pfi_kkif,
        original: *mut sys::pfi_kkif,
        wire: *mut sys::pf_state_key,
        stack: *mut sys::pf_state_key,
        st: *mut sys::pf_kstate,
    ) -> i32 {
        let pf = &Kernel::current_vnet().pf;
        release::assert_epoch("pf_state_insert");
        // SAFETY: the caller's state; its rule is set by then.
        if unsafe { (*sys::pfs_rules(st)[0]).is_null() || u32::from((*st).timeout) > sys::PFTM_MAX } {
            violation(format!("inserts a state at {} that is not filled in", table::uptime()));
        }
        if original.is_null() {
            violation("inserts a state without an original interface".into());
        }
        pf.insert([kif, original], [wire, stack], st).err().unwrap_or(0)
    }

    pub unsafe extern "C" fn pfi_kkif_find(name: *const c_char) -> *mut sys::pfi_kkif {
        let pf = &Kernel::current_vnet().pf;
        pf.assert_rules("looks up an interface");
        // SAFETY: the caller's name is terminated.
        let name = unsafe { CStr::from_ptr(name) }.to_string_lossy();
        pf.kif(&name).unwrap_or(std::ptr::null_mut())
    }
}
