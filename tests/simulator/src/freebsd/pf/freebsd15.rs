// SPDX-License-Identifier: BSD-2-Clause
//! What is particular to pf of FreeBSD 15.0.

use super::keys::STACK;
use crate::freebsd::kernel::sleep::epoch_assert;
use crate::freebsd::kernel::violation::violation;
use crate::freebsd::kernel::{thread, Kernel};
use crate::freebsd::kpi::probes;
use crate::freebsd::kpi::symbols;
use crate::freebsd::machine::image::Image;
use crate::freebsd::native;
use std::cell::RefCell;
use std::ffi::{c_char, CStr};
use sys_bindings as sys;

/// What only pf of this release has.
#[derive(Default)]
pub(crate) struct Own {
    /// The names of tags. A tag's number is its index and one.
    tags: RefCell<Vec<Vec<u8>>>,
}

/// Whether the keys of a state can be of different address families: `af-to` rules translate them.
pub(crate) const TRANSLATES_FAMILIES: bool = true;

/// Whether pf forgets the stack key of a state of which that key collides.
pub(crate) fn forgets_stack_key(collided: usize) -> bool {
    collided == STACK
}

/// The present time, in the unit of states.
pub(crate) fn now() -> sys::pfs_time {
    ((i128::from(thread::current().kernel.uptime()) * 1000) >> 32) as u64
}

/// Where a rule has the pool of its route.
///
/// # Safety
///
/// `rule` points to a rule.
pub(crate) unsafe fn route_pool(rule: *mut sys::pf_krule) -> *mut sys::pf_kpool {
    // SAFETY: only computes an address.
    unsafe { &raw mut (*rule).route }
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
    let queue = allocate(size_of::<sys::pf_krulequeue>()) as *mut sys::pf_krulequeue;
    // SAFETY: as the caller promises.
    unsafe {
        let mut link = &raw mut (*queue).tqh_first;
        for rule in rules {
            *link = *rule;
            link = &raw mut (**rule).entries.tqe_next;
        }
        (*queue).tqh_last = link;
        (*ruleset).rules[sys::PF_RULESET_FILTER as usize].active.ptr = queue;
    }
}

/// pf of this release inserts and unlinks states only in the network epoch.
pub(crate) fn assert_epoch(what: &str) {
    epoch_assert(what);
}

/// Enables the probes of a module. In this release, the code skips each call of
/// `sdt_probe` until the kernel writes a jump to it.
pub(crate) fn patch_probes(image: &Image) {
    /// The opcode of a jump by a distance of four bytes.
    const JUMP: u8 = 0xe9;
    const WORDS: usize = size_of::<native::sdt_tracepoint>() / size_of::<usize>();
    for [_probe, from, to, _next] in image.set("sdt_tracepoint_set").as_chunks::<WORDS>().0 {
        let [a, b, c, d] = (to.wrapping_sub(from + 5) as u32).to_le_bytes();
        image.patch(*from, &[JUMP, a, b, c, d]);
    }
}

symbols! {
    pub unsafe extern "C" fn pf_remove_state(st: *mut sys::pf_kstate) -> i32 {
        assert_epoch("pf_remove_state");
        Kernel::current_vnet().pf.unlink(st);
        1
    }

    pub unsafe extern "C" fn pf_tagname2tag(name: *const c_char) -> u16 {
        let vnet = Kernel::current_vnet();
        let mut tags = vnet.pf.own.tags.borrow_mut();
        // SAFETY: the caller's name is terminated.
        let name = unsafe { CStr::from_ptr(name) }.to_bytes();
        let place = tags.iter().position(|tag| tag == name).unwrap_or_else(|| {
            tags.push(name.to_vec());
            tags.len() - 1
        });
        place as u16 + 1
    }

    /// Writes only the name of the state's tag, which no other function tells.
    pub unsafe extern "C" fn pfsync_state_export(
        message: *mut sys::pfsync_state_union,
        st: *mut sys::pf_kstate,
        version: i32,
    ) {
        let vnet = Kernel::current_vnet();
        if version as u32 != sys::PFSYNC_MSG_VERSION_1500 {
            violation(format!("wants a tag in message format {version}"));
        }
        // SAFETY: the caller's message and state.
        unsafe {
            message.write_bytes(0, 1);
            let tags = vnet.pf.own.tags.borrow();
            let Some(name) = tags.get(usize::from((*st).tag) - 1) else {
                violation(format!("a state has tag {}, which does not exist", (*st).tag))
            };
            let to = (&raw mut (*message).pfs_1500.tagname).cast::<u8>();
            to.copy_from(name.as_ptr(), name.len());
        }
    }

    pub unsafe extern "C" fn sdt_probe(id: u32, a: usize, b: usize, c: usize, d: usize, e: usize) {
        probes::fire(id, a, b, c, d, e);
    }
}
