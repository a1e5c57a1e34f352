// SPDX-License-Identifier: BSD-2-Clause
//! pf's rules, as far as states refer to them.

use super::release;
use crate::freebsd::kernel::heap::Heap;
use crate::freebsd::kernel::variables::VnetVariables;
use crate::freebsd::machine::cpu;
use std::cell::RefCell;
use sys_bindings as sys;

/// One rule of a ruleset.
#[derive(Clone, Copy, Default)]
pub struct Rule {
    /// `no-sync`
    pub nosync: bool,
    /// `max`, 0 for none.
    pub max_states: u32,
    /// `route-to`, with the interfaces of its pool.
    pub route_to: Option<&'static [&'static str]>,
}

/// The contents of a pf.conf.
#[derive(Clone)]
pub struct Rules {
    /// The ruleset.
    pub rules: Vec<Rule>,
    /// The checksum by which peers know whether rule numbers mean the same.
    pub checksum: [u8; 16],
    /// `set hostid`, in host byte order.
    pub host_id: u32,
    /// `set limit states`
    pub state_limit: u32,
    /// How many rows the id hash has, a power of two.
    pub rows: usize,
}

/// Index of the default ruleset's rule that keeps state.
pub const KEEP_STATE: usize = 0;
/// Index of the default ruleset's `no-sync` rule.
pub const NO_SYNC: usize = 1;

impl Default for Rules {
    fn default() -> Rules {
        let rules = vec![Rule::default(), Rule { nosync: true, ..Rule::default() }];
        Rules { rules, checksum: [7; 16], host_id: 0x0100_0001, state_limit: sys::PFSTATE_HIWAT, rows: 64 }
    }
}

/// The timeouts of the default rule, by `PFTM_*`, in seconds.
const TIMEOUTS: &[(u32, u32)] = &[
    (sys::PFTM_TCP_FIRST_PACKET, sys::PFTM_TCP_FIRST_PACKET_VAL),
    (sys::PFTM_TCP_OPENING, sys::PFTM_TCP_OPENING_VAL),
    (sys::PFTM_TCP_ESTABLISHED, sys::PFTM_TCP_ESTABLISHED_VAL),
    (sys::PFTM_TCP_CLOSING, sys::PFTM_TCP_CLOSING_VAL),
    (sys::PFTM_TCP_FIN_WAIT, sys::PFTM_TCP_FIN_WAIT_VAL),
    (sys::PFTM_TCP_CLOSED, sys::PFTM_TCP_CLOSED_VAL),
    (sys::PFTM_UDP_FIRST_PACKET, sys::PFTM_UDP_FIRST_PACKET_VAL),
    (sys::PFTM_UDP_SINGLE, sys::PFTM_UDP_SINGLE_VAL),
    (sys::PFTM_UDP_MULTIPLE, sys::PFTM_UDP_MULTIPLE_VAL),
    (sys::PFTM_ICMP_FIRST_PACKET, sys::PFTM_ICMP_FIRST_PACKET_VAL),
    (sys::PFTM_ICMP_ERROR_REPLY, sys::PFTM_ICMP_ERROR_REPLY_VAL),
    (sys::PFTM_OTHER_FIRST_PACKET, sys::PFTM_OTHER_FIRST_PACKET_VAL),
    (sys::PFTM_OTHER_SINGLE, sys::PFTM_OTHER_SINGLE_VAL),
    (sys::PFTM_OTHER_MULTIPLE, sys::PFTM_OTHER_MULTIPLE_VAL),
];

const KIND: &str = "pf rules";

/// A ruleset in memory, with its counters.
pub(crate) struct Loaded {
    /// The rules, and what their fields point to.
    memory: RefCell<Vec<usize>>,
    active: Vec<*mut sys::pf_krule>,
}

impl Loaded {
    /// Makes a ruleset the active one.
    pub(crate) fn new(heap: &Heap, variables: *mut VnetVariables, rules: &Rules) -> Loaded {
        let mut loaded = Loaded { memory: RefCell::default(), active: Vec::new() };
        for (number, rule) in rules.rules.iter().enumerate() {
            let raw = loaded.allocate(heap, size_of::<sys::pf_krule>()) as *mut sys::pf_krule;
            loaded.fill(heap, raw, number as u32, rule);
            loaded.active.push(raw);
        }
        // SAFETY: the variables are the vnet's own, and nobody else uses them
        // yet.
        unsafe {
            let ruleset = &raw mut (*variables).main_anchor.ruleset;
            release::install(ruleset, &loaded.active, |size| loaded.allocate(heap, size));
            (*ruleset).rules[sys::PF_RULESET_FILTER as usize].active.rcount = loaded.active.len() as u32;
            let default = &raw mut (*variables).default_rule;
            loaded.fill(heap, default, u32::MAX, &Rule::default());
            for (index, seconds) in TIMEOUTS {
                (*default).timeout[*index as usize] = *seconds;
            }
        }
        loaded
    }

    fn allocate(&self, heap: &Heap, size: usize) -> usize {
        let memory = heap.allocate(size, KIND, true);
        self.memory.borrow_mut().push(memory);
        memory
    }

    fn fill(&self, heap: &Heap, raw: *mut sys::pf_krule, number: u32, rule: &Rule) {
        let counter = || cpu::counter_of(self.allocate(heap, 8) as *mut u64);
        // SAFETY: zeroed memory of a rule's size.
        unsafe {
            (*raw).nr = number;
            (*raw).max_states = rule.max_states;
            (*raw).rule_flag = if rule.nosync { sys::PFRULE_NOSYNC } else { 0 };
            (*raw).rtableid = -1;
            (*raw).states_cur = counter();
            (*raw).states_tot = counter();
        }
    }

    /// Gives the rules the pools of their routes.
    pub(crate) fn fill_pools(&self, heap: &Heap, rules: &Rules, kif: impl Fn(&str) -> *mut sys::pfi_kkif) {
        for (raw, rule) in self.active.iter().zip(&rules.rules) {
            let Some(names) = rule.route_to else { continue };
            // SAFETY: the rules live as long as `self`, and no thread uses them yet. Zeroed
            // memory of its size is an entry of a pool.
            unsafe {
                (**raw).rt = sys::PF_ROUTETO as u8;
                let mut link = &raw mut (*release::route_pool(*raw)).list.tqh_first;
                for name in names {
                    *link = self.allocate(heap, size_of::<sys::pf_kpooladdr>()) as *mut _;
                    (**link).kif = kif(name);
                    link = &raw mut (**link).entries.tqe_next;
                }
            }
        }
    }

    /// A rule by its number.
    pub(crate) fn rule(&self, number: usize) -> *mut sys::pf_krule {
        self.active[number]
    }

    /// How many states the rules count.
    pub(crate) fn states(&self, variables: *mut VnetVariables) -> u64 {
        // SAFETY: the default rule lies in the vnet's own variables; rules
        // and counters live as long as `self`.
        unsafe {
            let default = &raw mut (*variables).default_rule;
            let all = self.active.iter().copied().chain([default]);
            all.map(|rule| *cpu::value_of((*rule).states_cur)).sum()
        }
    }

    /// Frees the rules.
    pub(crate) fn free(&self, heap: &Heap) {
        self.memory.take().into_iter().for_each(|memory| heap.free(memory, KIND));
    }
}
