// SPDX-License-Identifier: BSD-2-Clause
//! What pf assumes of every state that it works with.

use super::{release, Pf};
use crate::freebsd::kernel::violation::violation;
use crate::freebsd::native;
use std::ptr;
use sys_bindings as sys;

impl Pf {
    /// Reports a violation unless pf can work with a state, which is locked.
    pub(super) fn check_usable(&self, st: &sys::pf_kstate) {
        if let Some(what) = self.trouble_with(st) {
            violation(format!("has a state of id {:#x} whose {what}", u64::from_be(st.id)));
        }
    }

    fn trouble_with(&self, st: &sys::pf_kstate) -> Option<String> {
        // SAFETY: a linked state has keys and a rule, unless they are null,
        // which is checked first; the variables are the vnet's own.
        unsafe {
            let [wire, stack] = st.key;
            let [rule, ..] = sys::pfs_rules(ptr::from_ref(st).cast_mut());
            if wire.is_null() || stack.is_null() || (*rule).is_null() {
                return Some("key or rule is missing".into());
            }
            if let Some(what) = trouble_with_keys(&*wire, &*stack) {
                return Some(what);
            }
            let proto = (*wire).proto;
            if st.act.rtableid < -1 || st.act.rtableid >= (*self.variables).numfibs as i32 {
                return Some(format!("routing table is {}", st.act.rtableid));
            }
            trouble_with_endpoints(st, proto)
        }
        .or_else(|| self.trouble_with_interfaces(st))
    }

    fn trouble_with_interfaces(&self, st: &sys::pf_kstate) -> Option<String> {
        let kifs = self.kifs.borrow();
        if !kifs.contains(&st.kif) || !kifs.contains(&st.orig_kif) {
            return Some("interface is not pf's".into());
        }
        // SAFETY: only reads the state.
        let (kind, kif) = unsafe {
            let route = sys::pfs_route(ptr::from_ref(st).cast_mut());
            (*route.kind, *route.kif)
        };
        if u32::from(kind) > sys::PF_REPLYTO || (kind != 0 && !kifs.contains(&kif)) {
            return Some(format!("kind of routing is {kind}"));
        }
        None
    }
}

fn trouble_with_keys(wire: &sys::pf_state_key, stack: &sys::pf_state_key) -> Option<String> {
    const FAMILIES: [u32; 2] = [sys::AF_INET, sys::AF_INET6];
    for af in [wire.af, stack.af] {
        if !FAMILIES.contains(&af.into()) {
            return Some(format!("address family is {af}"));
        }
    }
    let is_translated = wire.af != stack.af;
    if is_translated && !release::TRANSLATES_FAMILIES {
        return Some(format!("keys are of address families {} and {}", wire.af, stack.af));
    }
    // Translation turns ICMP into ICMPv6 and back.
    if wire.proto != stack.proto && !is_translated {
        return Some(format!("keys are of protocols {} and {}", wire.proto, stack.proto));
    }
    None
}

fn trouble_with_endpoints(st: &sys::pf_kstate, proto: u8) -> Option<String> {
    if ![sys::PF_IN, sys::PF_OUT].contains(&st.direction.into()) {
        return Some(format!("direction is {}", st.direction));
    }
    let timeout = u32::from(st.timeout);
    if timeout > sys::PFTM_OTHER_MULTIPLE
        && !(sys::PFTM_SCTP_FIRST_PACKET..=sys::PFTM_SCTP_CLOSED).contains(&timeout)
    {
        return Some(format!("timeout is {timeout}"));
    }
    const ACTIONS: u32 = sys::PFSTATE_SCRUBMASK | sys::PFSTATE_SETMASK | sys::PFSTATE_DN_IS_PIPE;
    if (st.act.flags ^ u32::from(st.state_flags)) & ACTIONS != 0 {
        return Some(format!("flags are {:#x} but actions {:#x}", st.state_flags, st.act.flags));
    }
    if st.creatorid == 0 {
        return Some("creator id is zero".into());
    }
    if u32::from(st.state_flags) & sys::PFSTATE_SETPRIO != 0
        && st.act.set_prio.iter().any(|prio| u32::from(*prio) > sys::PF_PRIO_MAX)
    {
        return Some(format!("priorities are {:?}", st.act.set_prio));
    }
    /// `PF_TCPS_PROXY_DST`
    const PROXY_DST: u32 = native::TCP_NSTATES + 1;
    let highest = match u32::from(proto) {
        sys::IPPROTO_TCP => PROXY_DST,
        sys::IPPROTO_SCTP => native::SCTP_SHUTDOWN_PENDING,
        _ => sys::PFOTHERS_MULTIPLE,
    };
    for endpoint in [&st.src, &st.dst] {
        if u32::from(endpoint.state) > highest {
            return Some(format!("endpoint is in state {} of protocol {proto}", endpoint.state));
        }
        if u32::from(endpoint.wscale) & sys::PF_WSCALE_MASK > native::TCP_MAX_WINSHIFT {
            return Some(format!("window scale is {}", endpoint.wscale));
        }
        if u32::from(proto) == sys::IPPROTO_SCTP && endpoint.scrub.is_null() {
            return Some("SCTP endpoint has no scrub data".into());
        }
    }
    None
}
