// SPDX-License-Identifier: BSD-2-Clause
//! A whole state, as it comes in inserts and updates of each format.

use super::common::target::{in_1301, in_1500, numbered, raw_id, state, Target, PEER};
use super::{bad_state, bad_value, Counter};
use anyhow::Result;
use pfsync::wire::{Action, Format, RawState1400};
use pfsync_simulator::freebsd::pf::rules::{Rule, Rules};
use pfsync_simulator::freebsd::pf::traffic::Id;
use sys_bindings as sys;
use zerocopy::byteorder::big_endian::{I32, U16, U32};

pub(super) type Change = fn(&mut RawState1400);

/// The rule of a state, its anchor and its NAT rule.
fn rules(st: &sys::pf_kstate) -> [*mut sys::pf_krule; 3] {
    // SAFETY: only reads pointers.
    unsafe { sys::pfs_rules(std::ptr::from_ref(st).cast_mut()).map(|rule| *rule) }
}

pub(super) fn rule_number(st: &sys::pf_kstate) -> u32 {
    // SAFETY: a state's rule lives as long as it.
    unsafe { (*rules(st)[0]).nr }
}

fn route_address(st: &sys::pf_kstate) -> [u8; 16] {
    // SAFETY: an address is sixteen bytes of any value.
    unsafe { (*sys::pfs_route(std::ptr::from_ref(st).cast_mut()).addr).__bindgen_anon_1.addr8 }
}

/// When a packet of a state came last, in seconds of uptime.
pub(super) fn last_used(st: &sys::pf_kstate) -> u32 {
    sys::pfs_uptime_of(st.expire)
}

const FORMATS: [Format; 3] = [Format::V1301, Format::V1400, Format::V1500];

/// Sends a state in the format of an action.
fn send_state(target: &Target, action: Action, raw: &RawState1400) -> Result<()> {
    match action.format().expect("the action of a state") {
        Format::V1301 => target.send(action, &[in_1301(raw)]),
        Format::V1400 => target.send(action, &[*raw]),
        Format::V1500 => target.send(action, &[in_1500(raw)]),
    }
}

/// Sends each message that carries a whole state to a firewall of its own.
fn each_message(change: Change, mut check: impl FnMut(&Target, Action)) -> Result<()> {
    let mut raw = state();
    change(&mut raw);
    for format in FORMATS {
        for action in [format.insert(), format.update()] {
            let target = Target::new()?;
            send_state(&target, action, &raw)?;
            check(&target, action);
            target.finish()?;
        }
    }
    Ok(())
}

/// The state is refused and counted in every message that carries the field.
fn is_refused(change: Change, counter: Counter) -> Result<()> {
    let mut old = in_1301(&state());
    let mut changed = state();
    change(&mut changed);
    let in_both = std::mem::replace(&mut old, in_1301(&changed)) != old;
    each_message(change, |target, action| {
        let carried = in_both || action.format() > Some(Format::V1301);
        assert_eq!(target.has_state(), !carried, "{action:?}");
        assert_eq!(counter(&target.stats()), u64::from(carried), "{action:?}");
    })
}

/// The state is inserted, and `expected` holds for it.
fn is_inserted(change: Change, expected: fn(&sys::pf_kstate) -> bool) -> Result<()> {
    each_message(change, |target, action| {
        assert_eq!(target.look(expected), Some(true), "{action:?}");
        assert_eq!(bad_value(&target.stats()) + bad_state(&target.stats()), 0, "{action:?}");
    })
}

/// The state is inserted, and `expected` holds for it if the format carries the
/// field.
fn is_inserted_in_1400(change: Change, expected: fn(&sys::pf_kstate) -> bool) -> Result<()> {
    each_message(change, |target, action| {
        let seen = target.look(expected);
        assert!(seen.is_some(), "{action:?}");
        if action.format() > Some(Format::V1301) {
            assert_eq!(seen, Some(true), "{action:?}");
        }
    })
}

rows! {
    a_plain_state_is_taken: is_inserted(|_| (), |st| st.src.seqlo == 1000 && st.dst.seqlo == 2000);
    creator: is_refused(|s| s.common.creator = [0; 4], bad_value);
    ifname_empty: is_refused(|s| s.common.ifname = [0; 16], bad_value);
    ifname_unterminated: is_refused(|s| s.common.ifname = [b'a'; 16], bad_value);
    ifname_unknown: is_refused(|s| s.common.ifname[..4].copy_from_slice(b"em77"), bad_state);
    ifname_of_any_bytes: is_refused(|s| s.common.ifname[..4].copy_from_slice(b"e\x07 \xff"), bad_state);
    af: is_refused(|s| s.af = 10, bad_value);
    direction_none: is_refused(|s| s.direction = 0, bad_value);
    direction_both: is_refused(|s| s.direction = 3, bad_value);
    proto: is_inserted(|s| { s.proto = 254; s.common.src.state = 1; s.common.dst.state = 2 },
        |st| st.src.state == 1);
    peer_state_tcp: is_refused(|s| s.common.src.state = 13, bad_value);
    peer_state_udp: is_refused(|s| { s.proto = 17; s.common.src.state = 1; s.common.dst.state = 3 }, bad_value);
    peer_state_sctp: is_refused(|s| { s.proto = 132; s.common.src.state = 0x81 }, bad_value);
    wscale: is_refused(|s| s.common.dst.wscale = 0x80 | 15, bad_value);
    sequence_numbers: is_inserted(|s| { s.common.src.seqhi = U32::new(u32::MAX); s.common.src.max_win = U16::new(u16::MAX) },
        |st| st.src.seqhi == u32::MAX && st.src.max_win == u16::MAX);
    scrub_not_marked: is_inserted(|s| s.common.src.scrub_flags = U16::new(1), |st| st.src.scrub.is_null());
    scrub_flags: is_inserted(|s| { s.common.src.scrub_valid = 1; s.common.src.scrub_flags = U16::new(0xffff) },
        // SAFETY: a state's scrub data live as long as it.
        |st| unsafe { (*st.src.scrub).pfss_flags } == 1);
    rt_addr: is_inserted(|s| s.common.rt_addr = [0xff; 16], |st| route_address(st) == [0xff; 16]);
    rule_in_range: is_inserted(|s| s.common.rule = U32::new(1), |st| rule_number(st) == 1);
    // The default rule has the number -1.
    rule_out_of_range: is_inserted(|s| s.common.rule = U32::new(2), |st| rule_number(st) == u32::MAX);
    anchor: is_inserted(|s| s.common.anchor = U32::new(0), |st| rule_number(st) == u32::MAX);
    nat_rule: is_inserted(|s| s.common.nat_rule = U32::new(77), |st| rules(st)[2].is_null());
    creation: is_inserted(|s| s.common.creation = U32::new(u32::MAX - 1000),
        |st| if sys::pfs_freebsd < 15 { st.creation > 1000 } else { st.creation == 0 });
    expire_beyond_the_timeout: is_inserted(|s| s.common.expire = U32::new(u32::MAX), |st| (100..110).contains(&last_used(st)));
    expire_before_boot: is_inserted(|s| s.common.expire = U32::new(1), |st| st.expire == 0);
    counters: is_inserted(|s| s.common.packets = [[U32::new(u32::MAX); 2]; 2], |st| st.packets == [0, 0]);
    log: is_inserted(|s| s.log = 0xff, |st| u32::from(st.act.log) == sys::PF_LOG_ALL);
    state_flags_unknown: is_inserted(|s| s.state_flags = U16::new(0x3c04), |st| u32::from(st.state_flags) == sys::PFSTATE_PFLOW);
    state_flags_nosync: is_inserted(|s| s.state_flags = U16::new(sys::PFSTATE_NOSYNC as u16),
        |st| u32::from(st.state_flags) & sys::PFSTATE_NOSYNC == 0);
    timeout_of_fragments: is_refused(|s| s.timeout = sys::PFTM_FRAG as u8, bad_value);
    timeout_beyond_the_last: is_refused(|s| s.timeout = 255, bad_value);
    sync_flags_and_updates: is_inserted(|s| { s.sync_flags = 0xff; s.updates = 0xff }, |st| st.sync_updates == 0);
    queues: is_inserted_in_1400(|s| { s.qid = U16::new(u16::MAX); s.pqid = U16::new(u16::MAX) },
        |st| st.act.qid == u16::MAX && st.act.pqid == u16::MAX);
    dummynet: is_inserted_in_1400(|s| { s.dnpipe = U16::new(u16::MAX); s.dnrpipe = U16::new(1) },
        |st| st.act.dnpipe == u16::MAX && st.act.dnrpipe == 1);
    rtableid_negative: is_refused(|s| s.rtableid = I32::new(-2), bad_value);
    rtableid_that_is_not_here: is_refused(|s| s.rtableid = I32::new(1), bad_value);
    rtableid_largest: is_refused(|s| s.rtableid = I32::new(i32::MAX), bad_value);
    min_ttl_set_tos_max_mss: is_inserted_in_1400(|s| { s.min_ttl = 255; s.set_tos = 255; s.max_mss = U16::new(u16::MAX) },
        |st| st.act.min_ttl == 255 && st.act.set_tos == 255 && st.act.max_mss == u16::MAX);
    set_prio: is_refused_priority(8);
    set_prio_largest: is_inserted_priority(7);
    rt: is_refused(|s| s.rt = 5, bad_value);
    rt_ifname_empty: is_refused(|s| s.rt = 1, bad_value);
    rt_ifname_unknown: is_refused(|s| { s.rt = 1; s.rt_ifname[..4].copy_from_slice(b"em77") }, bad_state);
    rt_ifname_without_ipv6: is_refused(|s| { s.rt = 1; s.rt_ifname[..7].copy_from_slice(b"pfsync0") }, bad_state);
    rt_ifname_loopback: is_refused(|s| { s.rt = 1; s.rt_ifname[..3].copy_from_slice(b"lo0") }, bad_state);
}

#[test]
fn state_id() -> Result<()> {
    let first = Id { id: 0, creator: raw_id().creator };
    each_message(
        |s| s.common.id = [0; 8],
        |target, action| {
            let ids: Vec<_> = target.fw.states().iter().map(|state| state.id).collect();
            assert_eq!(ids, [first], "{action:?}");
        },
    )
}

#[test]
fn state_flags_ack() -> Result<()> {
    each_message(
        |s| s.state_flags = U16::new(sys::PFSTATE_ACK as u16),
        |target, action| {
            let waits = target.look(|st| u32::from(st.state_flags) & sys::PFSTATE_ACK != 0);
            assert_eq!(waits, Some(false), "{action:?}");
            assert_eq!(target.stats().pfsyncs_oacts[Action::InsertAck as usize], 1, "{action:?}");
        },
    )
}

#[test]
fn rt_ifname_loopback_that_pf_skips() -> Result<()> {
    let target = Target::new()?;
    target.fw.run("pfctl", |vnet| vnet.pf.set_skip("lo0"))?;
    let mut raw = state();
    raw.rt = 1;
    raw.rt_ifname[..3].copy_from_slice(b"lo0");
    target.send(Action::Insert1400, &[raw])?;
    assert!(target.has_state());
    target.finish()
}

/// The probe reports each rejected state with the action of its message, whether it
/// fails a check or cannot be inserted.
#[test]
fn a_rejection_names_the_action_that_came() -> Result<()> {
    let refused: [Change; 2] = [|s| s.direction = 0, |s| s.common.ifname[..4].copy_from_slice(b"em9\0")];
    let target = Target::new()?;
    let names = target.fw.kernel.trace();
    for action in FORMATS.into_iter().flat_map(|format| [format.insert(), format.update()]) {
        for change in refused {
            let mut raw = state();
            change(&mut raw);
            send_state(&target, action, &raw)?;
            let fired = target.fw.kernel.take_fired();
            let mut rejected = fired.iter().filter(|fired| names[fired.probe - 1] == "rejected");
            assert_eq!(rejected.next().map(|fired| fired.args[0]), Some(action as usize), "{action:?}");
            assert_eq!(rejected.next(), None);
        }
    }
    target.finish()
}

/// A state that sets a priority. Format 1301 does not carry priorities.
fn with_priority(prio: u8) -> RawState1400 {
    let mut raw = state();
    raw.set_prio = [0, prio];
    raw.state_flags = U16::new(sys::PFSTATE_SETPRIO as u16);
    raw
}

fn is_refused_priority(prio: u8) -> Result<()> {
    let target = Target::new()?;
    target.send(Action::Insert1400, &[with_priority(prio)])?;
    target.send(Action::Update1400, &[with_priority(prio)])?;
    assert_eq!((target.has_state(), target.stats().pfsyncs_badval), (false, 2));
    target.finish()
}

fn is_inserted_priority(prio: u8) -> Result<()> {
    let target = Target::new()?;
    target.send(Action::Insert1400, &[with_priority(prio)])?;
    assert_eq!(target.look(move |st| st.act.set_prio[1] == prio), Some(true));
    target.finish()
}

#[test]
fn key_that_collides() -> Result<()> {
    let target = Target::new()?;
    target.send(Action::Insert1400, &[state()])?;
    let mut other = state();
    other.common.id = [0, 0, 0, 0, 0, 0, 9, 9];
    target.send(Action::Insert1400, &[other])?;
    assert_eq!((target.fw.states().len(), target.stats().pfsyncs_badstate), (1, 1));
    target.finish()
}

#[test]
fn key_of_a_closing_state() -> Result<()> {
    for (creator, closing, wins) in [(PEER, 7, true), (PEER, 4, false), ([8; 4], 7, false)] {
        let target = Target::new()?;
        let mut old = state();
        old.common.src.state = closing;
        target.send(Action::Insert1400, &[old])?;
        let mut new = state();
        new.common.id = [0, 0, 0, 0, 0, 0, 9, 9];
        new.common.creator = creator;
        target.send(Action::Insert1400, &[new])?;
        assert_eq!((target.fw.states().len(), target.has_state()), (1, !wins));
        assert_eq!(target.stats().pfsyncs_badstate, u64::from(!wins));
        target.finish()?;
    }
    Ok(())
}

#[test]
fn rule_that_is_full() -> Result<()> {
    let full = Rules { rules: vec![Rule { max_states: 1, ..Rule::default() }], ..Rules::default() };
    let target = Target::with(&full)?;
    target.send(Action::Insert1400, &[numbered(1), numbered(2)])?;
    assert_eq!((target.fw.states().len(), target.stats().pfsyncs_badstate), (1, 1));
    target.finish()
}
