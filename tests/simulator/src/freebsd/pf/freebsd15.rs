//! What pf of FreeBSD 15.0 does in its own way.

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

/// What pf has in this release alone.
#[derive(Default)]
pub struct Own {
    /// Names of tags. A tag's number is one more than its place.
    tags: RefCell<Vec<Vec<u8>>>,
}

/// An `af-to` rule makes states whose keys are of different address families.
pub const TRANSLATES_FAMILIES: bool = true;

/// A state collides by its wire key: pf frees both keys.
pub fn frees_both_keys() -> bool {
    true
}

/// Now, as states have it.
pub fn now() -> sys::pfs_time {
    (i128::from(thread::current().kernel.uptime()) * 1000 >> 32) as u64
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

/// pf inserts and unlinks states in the network epoch alone.
pub fn assert_epoch(what: &str) {
    epoch_assert(what);
}

/// Has the probes of a module call `sdt_probe`: their code is skipped until an
/// instruction before it is overwritten by a jump.
pub fn patch_probes(image: &Image) {
    /// The opcode of a jump that a distance of four bytes follows.
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

    /// Exports what nothing else tells: the name of the state's tag.
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
