//! What pf of FreeBSD 14 does in its own way.

use super::table;
use crate::freebsd::kernel::{thread, Kernel};
use crate::freebsd::kpi::symbols;
use crate::freebsd::machine::image::Image;
use sys_bindings as sys;

/// What pf has in this release alone.
#[derive(Default)]
pub struct Own;

/// Both keys of a state are of one address family.
pub const TRANSLATES_FAMILIES: bool = false;

/// A state collides by its wire key: pf frees that key and, up to 14.2, forgets
/// the stack key.
pub fn frees_both_keys() -> bool {
    thread::current().kernel.variables.release() >= 1_403_000
}

/// Now, as states have it.
pub fn now() -> sys::pfs_time {
    table::uptime()
}

/// Puts rules where pf finds them by their number.
///
/// # Safety
///
/// `ruleset` and the rules live, and nobody else uses them.
pub unsafe fn install(
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

/// Here pf inserts and unlinks states wherever it is called.
pub fn assert_epoch(_what: &str) {}

/// Has the probes of a module call `sdt_probe_func`, as all of them do that
/// have a number.
pub fn patch_probes(_image: &Image) {}

symbols! {
    pub unsafe extern "C" fn pf_unlink_state(st: *mut sys::pf_kstate) -> i32 {
        Kernel::current_vnet().pf.unlink(st);
        1
    }
}
