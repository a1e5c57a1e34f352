// SPDX-License-Identifier: BSD-2-Clause
//! New states for pf's table: from a peer, or from an operator's `pfctl -L`.

use super::export::FLOATING;
use super::row::Row;
use super::rules::{Kif, Rules};
use super::state::{allocate_scrub, last_used, write_endpoint, Found};
use super::status;
use super::table::{find_by_key, KeyRole};
use super::NEWEST_FORMAT;
use crate::driver::kernel::time;
use crate::engine::limit::STATES_PER_ROW;
use crate::wire::{
    Changes, CheckedState, Content, Direction, Endpoint, Family, IfName, Key, RouteTo, RuleActions,
    StateFlags, IPPROTO_SCTP,
};
use core::ptr::{self, NonNull};
use sys_bindings as sys;

/// Where a state comes from. This decides what is believed of it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// A program with the privilege to configure pf. It means the rule numbers of this
    /// firewall.
    Ioctl,
    /// A peer.
    Peer {
        /// The peer has the same ruleset, and so the same rule numbers.
        same_rules: bool,
    },
}

/// Why a state was refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Refused {
    /// Its interface does not exist here.
    Interface,
    /// The interface that it routes to does not exist here, leads back here, cannot take
    /// packets, or is not known.
    RouteInterface,
    /// Its routing table does not exist here.
    RoutingTable,
    /// It has a tag, or addresses of both families, and pf of this release cannot have
    /// such a state.
    Unsupported,
    /// There is no memory, or its rule has as many states as it allows.
    NoMemory,
    /// A state with the same id, or with the same addresses and ports, exists already.
    Exists,
    /// The row of pf's id hash that it belongs to is full.
    Row,
}

/// A state under construction, with its keys. Dropping it frees both.
struct Draft {
    st: NonNull<sys::pf_kstate>,
    wire: *mut sys::pf_state_key,
    /// The same as `wire` when there is no translation.
    stack: *mut sys::pf_state_key,
}

impl Draft {
    fn new(state: &CheckedState, is_translated: bool) -> Option<Draft> {
        // SAFETY: only allocates. The state is zeroed.
        let st = NonNull::new(unsafe { sys::pf_alloc_state(sys::M_NOWAIT as i32) })?;
        let mut draft = Draft { st, wire: ptr::null_mut(), stack: ptr::null_mut() };
        draft.wire = new_key(state.wire_key(), state.family(), state.proto())?;
        draft.stack = if is_translated {
            new_key(state.stack_key(), state.stack_family(), state.stack_proto())?
        } else {
            draft.wire
        };
        Some(draft)
    }

    /// Whether the row that the state belongs to holds as many states as it may.
    fn row_is_full(&self) -> bool {
        // SAFETY: the draft's state has its id.
        unsafe { Row::of_draft(self.st) }
            .is_some_and(|row| row.states().nth(STATES_PER_ROW.saturating_sub(1)).is_some())
    }

    /// Inserts the state into pf's table, bound to one kif and created on another. Its
    /// row is locked then.
    fn insert(self, bound: Kif, original: Kif) -> Result<Found<'static>, Refused> {
        let Draft { st, wire, stack } = self;
        core::mem::forget(self);
        // SAFETY: state and keys are complete, and no other thread has them. pf takes
        // the keys over even if it fails.
        let error =
            unsafe { sys::pf_state_insert(bound.as_ptr(), original.as_ptr(), wire, stack, st.as_ptr()) };
        if error == 0 {
            // SAFETY: on success pf returns with the state's row locked.
            return Ok(unsafe { Found::assume(st) });
        }
        drop(Draft { st, wire: ptr::null_mut(), stack: ptr::null_mut() });
        Err(Refused::Exists)
    }
}

/// Whether pf might forget the stack key of this translated state, because it would refuse the
/// state.
///
/// pf frees the keys of a state that it refuses, or links them into its table before. There
/// are two exceptions. In FreeBSD 14.2 and some kernels after it, if the wire key collides, pf
/// frees it and forgets a stack key that differs. In FreeBSD 15.0, if the stack key collides,
/// pf forgets it. Nothing tells then what pf has done. So the state is not given to
/// pf if that key may collide: pf shows the first state with a key, and only how many others
/// there are. If another thread inserts such a key at the same moment, those kernels leak a
/// stack key.
fn may_leak(state: &CheckedState, bound: Kif) -> bool {
    let direction = state.direction();
    let wire = (state.wire_key(), state.family(), state.proto(), KeyRole::Wire);
    let stack = (state.stack_key(), state.stack_family(), state.stack_proto(), KeyRole::Stack);
    let collides = |(key, family, proto, role)| may_collide(key, family, proto, role, direction, bound);
    sys::PF_FORGETS_AT_WIRE_KEY && collides(wire) || sys::PF_FORGETS_AT_STACK_KEY && collides(stack)
}

/// Whether another state may have the place of one with this key, in the list of the key.
fn may_collide(
    key: &Key,
    family: Family,
    proto: u8,
    role: KeyRole,
    direction: Direction,
    bound: Kif,
) -> bool {
    find_by_key(key, family, proto, role).is_some_and(|(first, others)| {
        others > 0 || first.has_place_of(direction, bound) && !first.known_end().is_closed()
    })
}

/// Unlinks a state that gives way to a new one between the same ends. Returns whether there
/// was one. Its creator knows: it made the new one.
fn unlink_predecessor(state: &CheckedState, bound: Kif) -> bool {
    let keys = [
        (state.wire_key(), state.family(), state.proto(), KeyRole::Wire),
        (state.stack_key(), state.stack_family(), state.stack_proto(), KeyRole::Stack),
    ];
    let found = keys.into_iter().find_map(|(key, family, proto, role)| {
        find_by_key(key, family, proto, role).map(|(first, _)| first).filter(|first| {
            first.is_alive()
                && first.has_place_of(state.direction(), bound)
                && first.known_end().gives_way(first.id(), state.id())
        })
    });
    found.map(Found::unlink).is_some()
}

impl Drop for Draft {
    fn drop(&mut self) {
        // SAFETY: pf's table has nothing of the draft. pf_free_state demands the timeout
        // of a state that was unlinked. It frees scrub data too.
        unsafe {
            let zone = sys::pfs_pf_state_key_z();
            if !self.stack.is_null() && self.stack != self.wire {
                sys::uma_zfree_arg(zone, self.stack.cast(), ptr::null_mut());
            }
            if !self.wire.is_null() {
                sys::uma_zfree_arg(zone, self.wire.cast(), ptr::null_mut());
            }
            (*self.st.as_ptr()).timeout = sys::PFTM_UNLINKED as u8;
            sys::pf_free_state(self.st.as_ptr());
        }
    }
}

fn new_key(key: &Key, family: Family, proto: u8) -> Option<*mut sys::pf_state_key> {
    // SAFETY: the zone's constructor clears the part of the key that pf compares, and
    // empties its lists. No other thread has the key.
    unsafe {
        let zone = sys::pfs_pf_state_key_z();
        let new: *mut sys::pf_state_key =
            sys::uma_zalloc_arg(zone, ptr::null_mut(), sys::M_NOWAIT as i32).cast();
        let to = new.as_mut()?;
        for (to, from) in to.addr.iter_mut().zip(&key.addr) {
            to.__bindgen_anon_1.addr8 = *from;
        }
        to.port = key.port.map(u16::from_ne_bytes);
        to.proto = proto;
        to.af = family as u8;
        Some(new)
    }
}

/// The kif that a state routes its packets to. `None` if [`may_route_to`] refuses it.
fn find_route(name: &IfName, rules: &Rules) -> Option<Kif> {
    rules.kif(name).filter(|kif| may_route_to(*kif, rules))
}

/// Whether pf can send a state's packets by an interface. Two kinds are refused:
///
/// - A loopback interface that pf filters. A packet sent there comes in again, matches the
///   state again, and so circles for ever.
/// - An interface of which IPv6 knows nothing, such as those of pflog(4) and pfsync(4)
///   (`in6_domifattach`). pf of FreeBSD 15 asks IPv6 for its MTU, and the kernel panics.
fn may_route_to(kif: Kif, _rules: &Rules) -> bool {
    // SAFETY: the lock of the rules protects the kifs and their interfaces.
    unsafe {
        let Some(ifp) = (*kif.as_ptr()).pfik_ifp.as_ref() else { return true };
        let is_skipped = (*kif.as_ptr()).pfik_flags & sys::PFI_IFLAG_SKIP != 0;
        let circles = ifp.if_flags as u32 & sys::IFF_LOOPBACK != 0 && !is_skipped;
        !circles && !ifp.if_afdata[sys::AF_INET6 as usize].is_null()
    }
}

/// The kif that a rule routes packets to. `None` if its pool has several, of which the peer
/// may have chosen another, or as [`find_route`].
///
/// # Safety
///
/// `rule` is valid and stays so.
unsafe fn only_route(rule: *const sys::pf_krule, rules: &Rules) -> Option<Kif> {
    // SAFETY: the caller promises that the rule is valid. The lock of the rules protects
    // its pools.
    let kif = unsafe {
        let firsts = sys::pfs_route_pools(rule).map(|pool| (*pool).list.tqh_first.as_ref());
        let first = firsts.into_iter().flatten().next()?;
        first.entries.tqe_next.is_null().then(|| NonNull::new(first.kif)).flatten()?
    };
    may_route_to(kif, rules).then_some(kif)
}

/// Takes the route of a state from its rule, for a message format that does not carry it.
///
/// # Safety
///
/// `st` is the state of a draft, and `rule` is valid and stays so.
unsafe fn route_from_rule(
    st: *mut sys::pf_kstate,
    state: &CheckedState,
    rule: *const sys::pf_krule,
    is_own: bool,
    rules: &Rules,
) -> Result<(), Refused> {
    // SAFETY: no other thread has the state of a draft, and the caller promises that the rule
    // is valid.
    unsafe {
        match (is_own, (*rule).rt) {
            // Only a state with a route has a gateway.
            (false, _) if state.has_gateway() => Err(Refused::RouteInterface),
            (false, _) | (true, 0) => Ok(()),
            (true, kind) => {
                let route = sys::pfs_route(st);
                *route.kif = only_route(rule, rules).ok_or(Refused::RouteInterface)?.as_ptr();
                *route.kind = kind;
                sys::pfs_set_route_family(st, state.family() as u8);
                Ok(())
            }
        }
    }
}

/// Whether pf knows an interface with that name.
pub(crate) fn knows_interface(name: &IfName, rules: &Rules) -> bool {
    rules.kif(name).is_some()
}

/// The kif that a state is bound to, and the one that it was created on. A floating
/// state may have been created on an interface that does not exist here.
fn find_kifs(state: &CheckedState, rules: &Rules) -> Result<(Kif, Kif), Refused> {
    let bound = rules.bound.find(&state.ifname(), rules).ok_or(Refused::Interface)?;
    let original = match state.orig_ifname() {
        Some(name) => rules.original.find(&name, rules),
        None => Some(bound),
    };
    match original {
        Some(original) => Ok((bound, original)),
        None if state.ifname().as_bytes() == FLOATING => Ok((bound, bound)),
        None => Err(Refused::Interface),
    }
}

/// The rule that a state belongs to here, and whether it is the rule that created the
/// state.
fn bind_rule(state: &CheckedState, origin: Origin, _rules: &Rules) -> (*mut sys::pf_krule, bool) {
    let trusted = matches!(origin, Origin::Ioctl | Origin::Peer { same_rules: true });
    let number = state.rule().filter(|_| trusted && state.anchor().is_none());
    // SAFETY: the rules are locked.
    unsafe {
        match number.map_or(ptr::null_mut(), |number| sys::pfs_rule(number)) {
            rule if rule.is_null() => (sys::pfs_pf_default_rule(), false),
            rule => (rule, true),
        }
    }
}

/// Whether a rule has as many states as it allows (`max` in pf.conf(5)).
///
/// # Safety
///
/// `rule` is valid and stays so.
unsafe fn is_exhausted(rule: *const sys::pf_krule) -> bool {
    // SAFETY: the caller promises that the rule is valid.
    unsafe {
        let max = (*rule).max_states;
        max != 0 && sys::pfs_counter_u64_fetch((*rule).states_cur) >= u64::from(max)
    }
}

/// Copies actions from a state's rule, for a message format that does not carry them. If
/// the rule did not create this state, copies nothing from it and clears flags whose
/// parameters are unavailable.
///
/// # Safety
///
/// `st` is the state of a draft, and `rule` is valid.
unsafe fn actions_from_rule(st: *mut sys::pf_kstate, rule: *const sys::pf_krule, is_own: bool) {
    // SAFETY: no other thread has the state of a draft, and the caller promises that the rule
    // is valid.
    unsafe {
        (*st).act.rtableid = -1;
        if !is_own {
            (*st).state_flags &= !(sys::PFSTATE_SETMASK as u16);
            return;
        }
        (*st).act.qid = (*rule).qid;
        (*st).act.pqid = (*rule).pqid;
        (*st).act.rtableid = (*rule).rtableid;
        (*st).act.min_ttl = (*rule).min_ttl;
        (*st).act.max_mss = (*rule).max_mss;
        (*st).act.set_prio = (*rule).set_prio;
        (*st).act.dnpipe = (*rule).dnpipe;
        (*st).act.dnrpipe = (*rule).dnrpipe;
        if u32::from((*rule).scrub_flags) & sys::PFSTATE_SETTOS != 0 {
            (*st).act.set_tos = (*rule).set_tos;
        }
        let mask = sys::PFSTATE_NODF
            | sys::PFSTATE_RANDOMID
            | sys::PFSTATE_SETTOS
            | sys::PFSTATE_SCRUB_TCP
            | sys::PFSTATE_SETPRIO;
        (*st).state_flags |= (*rule).scrub_flags & mask as u16;
        if (*rule).dnpipe != 0 || (*rule).dnrpipe != 0 {
            (*st).state_flags &= !(sys::PFSTATE_DN_IS_PIPE as u16);
            if (*rule).free_flags & sys::PFRULE_DN_IS_PIPE != 0 {
                (*st).state_flags |= sys::PFSTATE_DN_IS_PIPE as u16;
            }
        }
    }
}

/// Copies actions from a message, in formats 1400 and 1500.
///
/// # Safety
///
/// `st` is the state of a draft.
unsafe fn actions_from_message(
    st: *mut sys::pf_kstate,
    actions: &RuleActions,
    rules: &Rules,
) -> Result<(), Refused> {
    if u32::try_from(actions.rtableid).is_ok_and(|table| table >= status::routing_tables()) {
        return Err(Refused::RoutingTable);
    }
    // SAFETY: no other thread has the state of a draft.
    unsafe {
        (*st).act.qid = actions.qid;
        (*st).act.pqid = actions.pqid;
        (*st).act.dnpipe = actions.dnpipe;
        (*st).act.dnrpipe = actions.dnrpipe;
        (*st).act.rtableid = actions.rtableid;
        (*st).act.min_ttl = actions.min_ttl;
        (*st).act.set_tos = actions.set_tos;
        (*st).act.max_mss = actions.max_mss;
        (*st).act.set_prio = actions.set_prio;
        if let RouteTo::Via { kind, ifname, family } = actions.route {
            let route = sys::pfs_route(st);
            *route.kind = kind;
            *route.kif = find_route(&ifname, rules).ok_or(Refused::RouteInterface)?.as_ptr();
            sys::pfs_set_route_family(st, family as u8);
        }
    }
    Ok(())
}

/// Copies flags of a state to its actions, where pf looks for them.
///
/// # Safety
///
/// `st` is the state of a draft.
unsafe fn actions_from_flags(st: *mut sys::pf_kstate) {
    const ACTIONS: u32 =
        sys::PFSTATE_SCRUBMASK | sys::PFSTATE_SETMASK | sys::PFSTATE_DN_IS_PIPE | sys::PFSTATE_DN_IS_QUEUE;
    // SAFETY: no other thread has the state of a draft.
    unsafe {
        let flags = u32::from((*st).state_flags);
        (*st).act.flags = flags & ACTIONS;
        sys::pfs_set_allow_opts(st, flags & sys::PFSTATE_ALLOWOPTS != 0);
    }
}

/// Inserts a state into pf's table, and counts it for its rule. Returns it with its row
/// locked and in no queue. A peer's state is not sent to the peers again. If it comes in the
/// place of one that has ended, unlinks that one. Does not sleep.
///
/// The caller must ensure that pf's insert hook may run here.
pub(crate) fn import(state: &CheckedState, origin: Origin, rules: &Rules) -> Result<Found<'static>, Refused> {
    if !state.is_possible_with(NEWEST_FORMAT) {
        return Err(Refused::Unsupported);
    }
    let (bound, original) = find_kifs(state, rules)?;
    match insert(state, origin, bound, original, rules) {
        Err(Refused::Exists) if origin != Origin::Ioctl && unlink_predecessor(state, bound) => {
            insert(state, origin, bound, original, rules)
        }
        result => result,
    }
}

/// As [`import`], with the kif that the state is bound to and the one that it was created on.
fn insert(
    state: &CheckedState,
    origin: Origin,
    bound: Kif,
    original: Kif,
    rules: &Rules,
) -> Result<Found<'static>, Refused> {
    let is_translated = state.is_translated();
    if is_translated && may_leak(state, bound) {
        return Err(Refused::Exists);
    }
    let (rule, is_own) = bind_rule(state, origin, rules);
    // SAFETY: the rules are locked, so that the rule stays valid.
    if unsafe { is_exhausted(rule) } {
        return Err(Refused::NoMemory);
    }
    let draft = Draft::new(state, is_translated).ok_or(Refused::NoMemory)?;
    // SAFETY: the rules are locked, so that the rule stays valid.
    unsafe { fill(&draft, state, origin, rule, is_own, rules)? };
    if origin != Origin::Ioctl && draft.row_is_full() {
        return Err(Refused::Row);
    }
    let found = draft.insert(bound, original)?;
    // SAFETY: the state, whose row is locked, references the rule now. The counters live
    // as long as the rule.
    unsafe {
        sys::pfs_counter_u64_add((*rule).states_cur, 1);
        sys::pfs_counter_u64_add((*rule).states_tot, 1);
    }
    if origin != Origin::Ioctl {
        found.set_nosync(false);
    }
    // After a restart, a peer may give back a state that this firewall made.
    status::count_half_open(false, found.is_half_open());
    Ok(found)
}

/// Fills in the state of a draft.
///
/// # Safety
///
/// `rule` is valid and stays so.
unsafe fn fill(
    draft: &Draft,
    state: &CheckedState,
    origin: Origin,
    rule: *mut sys::pf_krule,
    is_own: bool,
    rules: &Rules,
) -> Result<(), Refused> {
    let uptime = time::uptime();
    let st = draft.st.as_ptr();
    let mut flags = (state.flags() & flags_of_pf()) - StateFlags::ACK;
    if origin != Origin::Ioctl {
        // A peer does not decide what is synchronised here. The flag also keeps the
        // insert hook from announcing the state, and is cleared after the insert.
        flags |= StateFlags::NOSYNC;
    }
    // SAFETY: no other thread has the draft's state, and the caller promises that the
    // rule is valid.
    unsafe {
        (*st).id = u64::from_ne_bytes(state.id().id);
        (*st).creatorid = u32::from_ne_bytes(state.id().creator);
        (*st).direction = state.direction() as u8;
        (*st).timeout = state.timeout();
        (*st).creation = sys::pfs_time_ago(uptime, state.age());
        (*st).expire = sys::pfs_time_of(last_used(state, rule, uptime).unwrap_or(uptime));
        (*st).pfsync_time = uptime;
        (*st).sync_state = sys::PFSYNC_S_NONE as u8;
        (*sys::pfs_route(st).addr).__bindgen_anon_1.addr8 = state.rt_addr();
        *sys::pfs_rules(st)[0] = rule;
        (*st).act.log = state.log() & sys::PF_LOG_ALL as u8;
        (*st).state_flags = flags.bits();
        write_endpoint(&raw mut (*st).src, &state.src());
        write_endpoint(&raw mut (*st).dst, &state.dst());
        if state.proto() == IPPROTO_SCTP {
            // pf assumes that both endpoints of an SCTP state have scrub data.
            allocate_scrub(&raw mut (*st).src);
            allocate_scrub(&raw mut (*st).dst);
        }
        if scrub_is_missing(&(*st).src, state.proto(), &state.src())
            || scrub_is_missing(&(*st).dst, state.proto(), &state.dst())
        {
            return Err(Refused::NoMemory);
        }
        match &state.rule_actions() {
            Some(actions) => actions_from_message(st, actions, rules)?,
            None => {
                route_from_rule(st, state, rule, is_own, rules)?;
                actions_from_rule(st, rule, is_own);
            }
        }
        actions_from_flags(st);
        match state.tag() {
            Some(tag) if !sys::pfs_set_tag(st, tag.bytes()) => Err(Refused::NoMemory),
            _ => Ok(()),
        }
    }
}

/// The flags of states that pf has in this release of FreeBSD.
fn flags_of_pf() -> StateFlags {
    match sys::PFSTATE_PFLOW {
        0 => StateFlags::all() - StateFlags::PFLOW,
        _ => StateFlags::all(),
    }
}

/// Whether an endpoint lacks scrub data that it needs, because there was no memory.
fn scrub_is_missing(endpoint: &sys::pf_state_peer, proto: u8, from: &Endpoint) -> bool {
    endpoint.scrub.is_null() && (proto == IPPROTO_SCTP || from.scrub.is_some())
}
