// SPDX-License-Identifier: BSD-2-Clause
//! What is particular to pf of FreeBSD 14.

use super::keys::WIRE;
use super::table;
use crate::freebsd::kernel::{thread, Kernel};
use crate::freebsd::kpi::symbols;
use crate::freebsd::machine::image::Image;
use sys_bindings as sys;

/// What only pf of this release has.
#[derive(Default)]
pub(crate) struct Own;

/// Whether the keys of a state can be of different address families.
pub(crate) const TRANSLATES_FAMILIES: bool = false;

/// Whether pf forgets the stack key of a state of which that key collides. If the wire key
/// does, 14.2 forgets it, and kernels of the branch after it, which have the same `osreldate`,
/// free it.
pub(crate) fn forgets_stack_key(collided: usize) -> bool {
    collided == WIRE && !thread::current().kernel.frees_both_keys.get()
}

/// The present time, in the unit of states.
pub(crate) fn now() -> sys::pfs_time {
    table::uptime()
}

/// Where a rule has the pool of its route.
///
/// # Safety
///
/// `rule` points to a rule.
pub(crate) unsafe fn route_pool(rule: *mut sys::pf_krule) -> *mut sys::pf_kpool {
    // SAFETY: only computes an address.
    unsafe { &raw mut (*rule).rpool }
}

/// Puts rules where pf finds them by their number.
///
/// # Safety
///
/// `ruleset` and the rules live, and no thread uses them.
pub(crate) unsafe fn install(
    ruleset: *mut sys::pf_kruleset,
    rules: &[*mut sys::pf_krule],
    allocate: impl Fn(usize) -> usize,
) {
    let array = allocate(size_of_val(rules)) as *mut *mut sys::pf_krule;
    // SAFETY: as the caller promises; the array has an entry for each rule.
    unsafe {
        rules.iter().enumerate().for_each(|(index, rule)| *array.add(index) = *rule);
        (*ruleset).rules[sys::PF_RULESET_FILTER as usize].active.ptr_array = array;
    }
}

/// pf of this release inserts and unlinks states also outside the network epoch.
pub(crate) fn assert_epoch(_what: &str) {}

/// Enables the probes of a module. In this release, those that have a number call
/// `sdt_probe_func`, without any change to the code.
pub(crate) fn patch_probes(_image: &Image) {}

symbols! {
    pub unsafe extern "C" fn pf_unlink_state(st: *mut sys::pf_kstate) -> i32 {
        Kernel::current_vnet().pf.unlink(st);
        1
    }
}
