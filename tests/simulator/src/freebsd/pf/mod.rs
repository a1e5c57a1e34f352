// SPDX-License-Identifier: BSD-2-Clause
//! pf(4)'s state table, on the kernel's own structures and with pf's locking
//! rules: what pfsync calls, and what packets and operators do to states.

mod check;
pub(crate) mod exported;
mod keys;
mod list;
#[cfg_attr(freebsd = "14", path = "freebsd14.rs")]
#[cfg_attr(freebsd = "15", path = "freebsd15.rs")]
pub(crate) mod release;
pub mod rules;
mod table;
pub mod traffic;
pub(crate) mod zone;

use crate::freebsd::kernel::lock::{Flags, Kind};
use crate::freebsd::kernel::variables::VnetVariables;
use crate::freebsd::kernel::violation::violation;
use crate::freebsd::kernel::Kernel;
use crate::freebsd::native;
use rules::{Loaded, Rules};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::c_char;
use sys_bindings as sys;

const HASH: &str = "pf hash";
const KIF: &str = "pfi_kkif";

/// The id of the first state. As in pf, its upper half is the time, so that a
/// firewall that boots again does not repeat ids.
fn first_id(kernel: &Kernel, rules: &Rules) -> u64 {
    let seconds = (kernel.world().now() >> 32) as u64 + 1;
    seconds << 32 | u64::from(rules.host_id & 0xff) << 24 | 1
}

/// The time of day in seconds.
fn wall_clock(kernel: &Kernel) -> u32 {
    /// When the simulated world began.
    const BEGIN: u32 = 1_700_000_000;
    BEGIN + (kernel.world().now() >> 32) as u32
}

/// pf of one vnet.
pub struct Pf {
    variables: *mut VnetVariables,
    rules: Loaded,
    keyhash: *mut native::pf_keyhash,
    rows: usize,
    kifs: RefCell<Vec<*mut sys::pfi_kkif>>,
    next_id: Cell<u64>,
    inserted: Cell<u64>,
    /// The generation of each linked state: how many states had been inserted before.
    generations: RefCell<HashMap<usize, u64>>,
    #[allow(dead_code)] // empty in some releases
    own: release::Own,
}

impl Pf {
    /// Starts pf with a ruleset.
    pub(crate) fn new(kernel: &Kernel, variables: *mut VnetVariables, rules: &Rules) -> Pf {
        let idhash =
            kernel.heap.allocate(rules.rows * size_of::<sys::pf_idhash>(), HASH, true) as *mut sys::pf_idhash;
        let keyhash = kernel.heap.allocate(rules.rows * size_of::<native::pf_keyhash>(), HASH, true);
        let keyhash = keyhash as *mut native::pf_keyhash;
        for row in 0..rules.rows {
            let duplicates = Flags { duplicates: true, ..Flags::default() };
            // SAFETY: both arrays have that many rows; only addresses are
            // taken.
            unsafe {
                kernel.locks.init(
                    &raw mut (*idhash.add(row)).lock as usize,
                    "pf_idhash",
                    Kind::Mutex,
                    Flags::default(),
                );
                kernel.locks.init(
                    &raw mut (*keyhash.add(row)).lock as usize,
                    "pf_keyhash",
                    Kind::Mutex,
                    duplicates,
                );
            }
        }
        // SAFETY: the vnet's own variables, which no thread uses yet.
        unsafe {
            (*variables).idhash = idhash;
            (*variables).hashmask = rules.rows as u64 - 1;
            (*variables).limits[sys::PF_LIMIT_STATES as usize].limit = rules.state_limit;
            (*variables).state_zone = zone::STATES.raw();
            (*variables).state_key_zone = zone::KEYS.raw();
            (*variables).scrub_zone = zone::SCRUBS.raw();
            (*variables).numfibs = 1;
            (*variables).status.running = 1;
            (*variables).status.since = wall_clock(kernel);
            (*variables).status.hostid = rules.host_id.to_be();
            (*variables).status.pf_chksum = rules.checksum;
            let lock = &raw mut (*variables).rules_lock;
            kernel.locks.init(
                lock as usize,
                "pf rulesets",
                Kind::Rm,
                Flags { recursive: true, ..Flags::default() },
            );
        }
        let loaded = Loaded::new(&kernel.heap, variables, rules);
        let pf = Pf {
            variables,
            rules: loaded,
            keyhash,
            rows: rules.rows,
            kifs: RefCell::default(),
            next_id: Cell::new(first_id(kernel, rules)),
            inserted: Cell::new(0),
            generations: RefCell::default(),
            own: Default::default(),
        };
        pf.add_kif(kernel, "all", std::ptr::null_mut());
        pf.rules.fill_pools(&kernel.heap, rules, |name| {
            pf.add_kif(kernel, name, std::ptr::null_mut());
            pf.kif(name).expect("just added")
        });
        pf
    }

    /// Tells pf of an interface that arrived, perhaps again.
    pub(crate) fn add_kif(&self, kernel: &Kernel, name: &str, ifp: *mut sys::ifnet) {
        if let Some(known) = self.kif(name) {
            // SAFETY: kifs live as long as pf.
            unsafe { (*known).pfik_ifp = ifp };
            return;
        }
        let kif = kernel.heap.allocate(size_of::<sys::pfi_kkif>(), KIF, true) as *mut sys::pfi_kkif;
        // SAFETY: fresh memory of that size.
        unsafe {
            (*kif).pfik_ifp = ifp;
            (*kif).pfik_name.iter_mut().zip(name.bytes()).for_each(|(to, from)| *to = from as c_char);
        }
        self.kifs.borrow_mut().push(kif);
    }

    /// Tells pf of an interface that departs. States may still refer to its kif.
    pub(crate) fn forget_ifp(&self, ifp: *mut sys::ifnet) {
        for kif in self.kifs.borrow().iter().copied() {
            // SAFETY: kifs live as long as pf.
            unsafe {
                if (*kif).pfik_ifp == ifp {
                    (*kif).pfik_ifp = std::ptr::null_mut();
                }
            }
        }
    }

    /// `pfctl -e` or `pfctl -d`. While pf is stopped, no packet passes it.
    pub(crate) fn set_running(&self, kernel: &Kernel, running: bool) {
        // SAFETY: the vnet's own variables.
        unsafe {
            (*self.variables).status.running = running.into();
            (*self.variables).status.since = wall_clock(kernel);
        }
    }

    /// Whether pf runs.
    pub(crate) fn is_running(&self) -> bool {
        // SAFETY: the vnet's own variables.
        unsafe { (*self.variables).status.running != 0 }
    }

    /// `set skip on`
    pub fn set_skip(&self, name: &str) {
        if let Some(kif) = self.kif(name) {
            // SAFETY: kifs live as long as pf.
            unsafe { (*kif).pfik_flags |= sys::PFI_IFLAG_SKIP };
        }
    }

    /// The kif of that name.
    pub(crate) fn kif(&self, name: &str) -> Option<*mut sys::pfi_kkif> {
        let kifs = self.kifs.borrow();
        kifs.iter().copied().find(|kif| {
            // SAFETY: kifs live as long as pf; the name is terminated.
            let kif_name = unsafe { std::ffi::CStr::from_ptr((&raw const (**kif).pfik_name).cast()) };
            kif_name.to_bytes() == name.as_bytes()
        })
    }

    /// `V_pfi_all`: its states are bound to no interface.
    fn kif_all(&self) -> *mut sys::pfi_kkif {
        self.kifs.borrow()[0]
    }

    /// A row of the id hash.
    pub fn row(&self, index: usize) -> *mut sys::pf_idhash {
        assert!(index < self.rows);
        // SAFETY: the index is within the array.
        unsafe { (*self.variables).idhash.add(index) }
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether the hook for clears is set.
    pub(crate) fn has_clear_hook(&self) -> bool {
        // SAFETY: the vnet's own variables.
        unsafe { (*self.variables).clear.is_some() }
    }

    /// Reports a violation if a hook is set, through which pf would call code that
    /// is gone.
    pub(crate) fn check_no_hooks(&self) {
        // SAFETY: the vnet's own variables.
        let set = unsafe {
            let v = &*self.variables;
            [
                v.import.is_some(),
                v.insert.is_some(),
                v.update.is_some(),
                v.delete.is_some(),
                v.clear.is_some(),
                v.defer.is_some(),
            ]
        };
        if set.contains(&true) {
            violation("leaves pf's hooks set".into());
        }
    }

    /// Reports a violation if a state has more or fewer references than pf's two.
    pub(crate) fn check_references(&self) {
        self.for_each(|st| {
            // SAFETY: linked states live; no other thread runs now.
            let refs = unsafe { (*st).refs };
            if refs != 2 {
                violation(format!("leaves a state with {refs} references"));
            }
        });
    }

    /// Reports a violation if pf or its rules have miscounted the states.
    pub(crate) fn check_counters(&self) {
        let (counted, there) = (self.rules.states(self.variables), self.states());
        if counted != there as u64 {
            violation(format!("the rules count {counted} states where there are {there}"));
        }
        let mut half_open = 0;
        self.for_each(|st| half_open += u32::from(self.is_half_open(st)));
        // SAFETY: the vnet's own variables.
        let counted = unsafe { (*self.variables).status.states_halfopen };
        if counted != half_open {
            violation(format!("pf counts {counted} half-open states where there are {half_open}"));
        }
    }

    /// Whether pf counts a linked state, which is locked, as half open. By that
    /// count pf turns syncookies on and off.
    fn is_half_open(&self, st: *mut sys::pf_kstate) -> bool {
        // SAFETY: a linked state has its keys.
        unsafe {
            (*st).creatorid == (*self.variables).status.hostid
                && u32::from((*(*st).key[0]).proto) == sys::IPPROTO_TCP
                && (sys::TCPS_CLOSED + 1..sys::TCPS_ESTABLISHED).contains(&(*st).src.state.into())
        }
    }

    /// Corrects the count for a state that was half open before, or is now, or both.
    fn count_half_open(&self, before: bool, now: bool) {
        // SAFETY: the vnet's own variables.
        let count = unsafe { &mut (*self.variables).status.states_halfopen };
        *count = count.wrapping_add(now.into()).wrapping_sub(before.into());
    }

    /// Visits every linked state without locks, while no other thread runs.
    pub fn for_each(&self, mut visit: impl FnMut(*mut sys::pf_kstate)) {
        for row in 0..self.rows {
            // SAFETY: rows live as long as pf, and states as long as they
            // are linked.
            unsafe {
                let mut st = (*self.row(row)).states.lh_first;
                while !st.is_null() {
                    let next = (*st).entry.le_next;
                    visit(st);
                    st = next;
                }
            }
        }
    }

    /// Number of linked states.
    pub fn states(&self) -> usize {
        self.generations.borrow().len()
    }

    /// Whether the table has as many states as the limit allows.
    pub(crate) fn is_full(&self) -> bool {
        // SAFETY: the vnet's own variables.
        let limit = unsafe { (*self.variables).limits[sys::PF_LIMIT_STATES as usize].limit };
        self.states() >= limit as usize
    }

    /// Ends pf. Called in a thread of the vnet.
    pub(crate) fn dismantle(&self, kernel: &Kernel) {
        self.flush("", false);
        self.rules.free(&kernel.heap);
        for row in 0..self.rows {
            // SAFETY: only addresses are taken.
            unsafe {
                kernel.locks.destroy(&raw mut (*self.row(row)).lock as usize);
                kernel.locks.destroy(&raw mut (*self.keyhash.add(row)).lock as usize);
            }
        }
        // SAFETY: as above.
        unsafe {
            kernel.locks.destroy(&raw mut (*self.variables).rules_lock as usize);
            kernel.heap.free((*self.variables).idhash as usize, HASH);
        }
        kernel.heap.free(self.keyhash as usize, HASH);
        self.kifs.take().into_iter().for_each(|kif| kernel.heap.free(kif as usize, KIF));
    }
}
