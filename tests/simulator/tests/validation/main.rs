// SPDX-License-Identifier: BSD-2-Clause
//! What a peer may send: one test for each row of docs/validation.md. Each sends a
//! message to the module in a packet. The last test checks that every row has its
//! test.

#[path = "../common/mod.rs"]
mod common;

use anyhow::Result;
use common::target::{frame, in_1301, in_1500, in_packet, numbered, raw_id, state, Target, PEER};
use common::{pair, tcp, unload};
use pfsync::wire::{
    Action, Format, RawBulkStatus, RawClear, RawCompressedUpdate, RawEndpoint, RawId, RawState1400, RawTdb,
    ACTIONS,
};
use pfsync_simulator::freebsd::kernel::world::{milliseconds, Policy};
use pfsync_simulator::freebsd::net::{self, Faults};
use pfsync_simulator::freebsd::pf::rules::{Rule, Rules, NO_SYNC};
use pfsync_simulator::freebsd::pf::traffic::{Connection, Id};
use pfsync_simulator::lab::{address4, Config, Lab, SyncPeer, NEWEST, OUTSIDE, SYNC};
use sys_bindings as sys;
use zerocopy::byteorder::big_endian::{I32, U16, U32};
use zerocopy::FromZeros;

/// A test for each row: its name, and a function with arguments that checks it.
macro_rules! rows {
    ($($name:ident: $check:ident($($arguments:expr),+);)*) => {
        $(#[test] fn $name() -> Result<()> { $check($($arguments),+) })*
    };
}

mod format1500;

type Change = fn(&mut RawState1400);
type Counter = fn(&sys::pfsyncstats) -> u64;

fn bad_value(stats: &sys::pfsyncstats) -> u64 {
    stats.pfsyncs_badval
}

fn bad_state(stats: &sys::pfsyncstats) -> u64 {
    stats.pfsyncs_badstate
}

/// The rule of a state, its anchor and its NAT rule.
fn rules(st: &sys::pf_kstate) -> [*mut sys::pf_krule; 3] {
    // SAFETY: only reads pointers.
    unsafe { sys::pfs_rules(std::ptr::from_ref(st).cast_mut()).map(|rule| *rule) }
}

fn rule_number(st: &sys::pf_kstate) -> u32 {
    // SAFETY: a state's rule lives as long as it.
    unsafe { (*rules(st)[0]).nr }
}

fn route_address(st: &sys::pf_kstate) -> [u8; 16] {
    // SAFETY: an address is sixteen bytes of any value.
    unsafe { (*sys::pfs_route(std::ptr::from_ref(st).cast_mut()).addr).__bindgen_anon_1.addr8 }
}

/// When a packet of a state came last, in seconds of uptime.
fn last_used(st: &sys::pf_kstate) -> u32 {
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
    ifname_unprintable: is_refused(|s| s.common.ifname[1] = 7, bad_value);
    ifname_unknown: is_refused(|s| s.common.ifname[..4].copy_from_slice(b"em77"), bad_state);
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

/// Sends a changed packet to a firewall, which drops and counts it.
fn frame_is_refused(change: impl FnOnce(Vec<u8>) -> Vec<u8>, counter: Counter) -> Result<()> {
    let target = Target::new()?;
    target.send_packet(change(in_packet(&frame(Action::Insert1400, &[state()]))))?;
    assert_eq!((target.has_state(), counter(&target.stats())), (false, 1));
    target.finish()
}

/// Changes one byte, counted from the start of the IP header.
fn with(at: usize, byte: u8) -> impl FnOnce(Vec<u8>) -> Vec<u8> {
    move |mut packet| {
        packet[at] = byte;
        packet
    }
}

const FRAME: usize = 20;
const SUBHEADER: usize = FRAME + 20;

#[test]
fn ttl() -> Result<()> {
    frame_is_refused(with(8, 254), |stats| stats.pfsyncs_badttl)
}

#[test]
fn header_whole() -> Result<()> {
    frame_is_refused(|packet| in_packet(&packet[FRAME..FRAME + 19]), |stats| stats.pfsyncs_hdrops)
}

#[test]
fn version() -> Result<()> {
    frame_is_refused(with(FRAME, 6), |stats| stats.pfsyncs_badver)
}

/// A number above 3 announces a later format, whose reader reads 1500 too.
#[test]
fn announcement() -> Result<()> {
    let newest = NEWEST as u64;
    for (number, sent) in [(0, 1400), (1, 1301), (2, 1400), (4, newest), (255, newest)] {
        let target = Target::new()?;
        let mut bytes = frame::<RawId>(Action::InsertAck, &[]);
        bytes[1] = number;
        target.send_bytes(&bytes)?;
        let list = target.fw.configuration()?.expect("readable");
        assert_eq!(list.number(c"version"), Some(sent), "{number}");
        target.finish()?;
    }
    Ok(())
}

#[test]
fn header_len_beyond_the_packet() -> Result<()> {
    frame_is_refused(with(FRAME + 2, 0xff), |stats| stats.pfsyncs_badlen)
}

#[test]
fn header_len_below_the_header() -> Result<()> {
    let short = |mut packet: Vec<u8>| {
        packet[FRAME + 2..FRAME + 4].copy_from_slice(&[0, 19]);
        packet
    };
    frame_is_refused(short, |stats| stats.pfsyncs_badlen)
}

#[test]
fn action() -> Result<()> {
    for number in [6, 8, 9, ACTIONS as u8, 255] {
        frame_is_refused(with(SUBHEADER, number), |stats| stats.pfsyncs_badact)?;
    }
    Ok(())
}

#[test]
fn count() -> Result<()> {
    frame_is_refused(with(SUBHEADER + 2, 0xff), |stats| stats.pfsyncs_badlen)
}

#[test]
fn end_mark() -> Result<()> {
    let target = Target::new()?;
    let mut bytes = frame(Action::Insert1400, &[state()]);
    bytes.extend([0; 4]);
    target.send_bytes(&bytes)?;
    assert!(target.has_state(), "what came before the end mark counts");
    assert_eq!(target.stats().pfsyncs_badlen, 1);
    target.finish()
}

#[test]
fn interface() -> Result<()> {
    let target = Target::new()?;
    let packet = in_packet(&frame(Action::Insert1400, &[state()]));
    target.fw.run("netisr", move |vnet| {
        let outside = vnet.interfaces.find(OUTSIDE).expect("attached");
        net::receive(&packet, outside, packet.len());
    })?;
    assert_eq!((target.has_state(), target.stats().pfsyncs_badif), (false, 1));
    target.finish()
}

#[test]
fn decrypted() -> Result<()> {
    let target = Target::new()?;
    let (kernel, sync) = (target.fw.kernel.clone(), target.fw.sync() as usize);
    target.fw.run("kldload", move |vnet| kernel.attach_enc(vnet))?;
    let syncpeer = Some(SyncPeer::Inet(address4(2)));
    let config = Config { syncdev: Some("enc0".into()), syncpeer, ..Config::default() };
    assert_eq!(target.fw.configure(&config)?, Ok(()));
    let packet = in_packet(&frame(Action::Insert1400, &[state()]));
    let plain = packet.clone();
    target.fw.run("netisr", move |_| net::receive(&plain, sync as *mut _, plain.len()))?;
    assert_eq!((target.has_state(), target.stats().pfsyncs_badif), (false, 1));
    target.fw.run("netisr", move |_| net::receive_decrypted(&packet, sync as *mut _))?;
    assert_eq!((target.has_state(), target.stats().pfsyncs_badif), (true, 1));
    target.finish()
}

#[test]
fn checksum() -> Result<()> {
    let target = Target::new()?;
    let mut raw = state();
    raw.common.rule = U32::new(1);
    let mut bytes = frame(Action::Insert1400, &[raw]);
    bytes[4] ^= 1;
    target.send_bytes(&bytes)?;
    // SAFETY: a state's rule lives as long as it. The default rule's number is -1.
    assert_eq!(target.look(|st| unsafe { (*rules(st)[0]).nr }), Some(u32::MAX));
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

/// Sends an update of a known state, with another key, protocol or direction.
fn is_another(change: Change) -> Result<()> {
    let target = Target::new()?;
    target.send(Action::Insert1400, &[state()])?;
    let mut other = state();
    other.common.src.seqlo = U32::new(5000);
    change(&mut other);
    target.send(Action::Update1400, &[other])?;
    target.send(Action::Update1301, &[in_1301(&other)])?;
    assert_eq!(target.look(|st| st.src.seqlo), Some(1000));
    assert_eq!(target.stats().pfsyncs_badval, 2);
    target.finish()
}

rows! {
    update_of_other_ends: is_another(|s| s.common.key[0].addr[1][3] = 99);
    update_of_other_ports: is_another(|s| s.common.key[1].port[0] = [0, 1]);
    update_of_other_direction: is_another(|s| s.direction = sys::PF_IN as u8);
    update_of_other_family: is_another(|s| s.af = sys::AF_INET6 as u8);
    update_of_other_proto: is_another(|s| { s.proto = 17; s.common.src.state = 1; s.common.dst.state = 1 });
}

#[test]
fn update_that_is_stale() -> Result<()> {
    let target = Target::new()?;
    target.send(Action::Insert1400, &[state()])?;
    let mut old = state();
    old.common.src.seqlo = U32::new(10);
    target.send(Action::Update1400, &[old])?;
    assert_eq!((target.look(|st| st.src.seqlo), target.stats().pfsyncs_stale), (Some(1000), 1));
    target.finish()
}

fn compressed() -> RawCompressedUpdate {
    let mut raw = RawCompressedUpdate::new_zeroed();
    let newer = RawEndpoint { seqlo: U32::new(9000), ..state().common.src };
    (raw.id, raw.creator, raw.src, raw.dst) = (state().common.id, PEER, newer, newer);
    raw.timeout = sys::PFTM_TCP_ESTABLISHED as u8;
    raw
}

fn compressed_is_refused(change: fn(&mut RawCompressedUpdate)) -> Result<()> {
    let target = Target::new()?;
    target.send(Action::Insert1400, &[state()])?;
    let mut raw = compressed();
    change(&mut raw);
    target.send(Action::UpdateCompressed, &[raw])?;
    assert_eq!((target.look(|st| st.src.seqlo), target.stats().pfsyncs_badval), (Some(1000), 1));
    target.finish()
}

rows! {
    compressed_timeout: compressed_is_refused(|c| c.timeout = 14);
    compressed_peer_state: compressed_is_refused(|c| c.dst.state = 13);
    compressed_wscale: compressed_is_refused(|c| c.src.wscale = 15);
}

#[test]
fn compressed_expire() -> Result<()> {
    let target = Target::new()?;
    target.send(Action::Insert1400, &[state()])?;
    target.send(
        Action::UpdateCompressed,
        &[RawCompressedUpdate { expire: U32::new(u32::MAX), ..compressed() }],
    )?;
    assert_eq!(target.look(|st| (st.src.seqlo, last_used(st) < 110)), Some((9000, true)));
    target.finish()
}

#[test]
fn compressed_of_an_unknown_state() -> Result<()> {
    let target = Target::new()?;
    let before = target.stats().pfsyncs_oacts[Action::UpdateRequest as usize];
    target.send(Action::UpdateCompressed, &[compressed(), compressed()])?;
    assert_eq!(target.stats().pfsyncs_oacts[Action::UpdateRequest as usize] - before, 1);
    target.finish()
}

fn id_of(id: [u8; 8]) -> RawId {
    RawId { id, creator: PEER }
}

#[test]
fn request_of_everything() -> Result<()> {
    let target = Target::new()?;
    for _ in 0..500 {
        target.send(Action::UpdateRequest, &[RawId { id: [0; 8], creator: [0; 4] }])?;
    }
    let marks = target.stats().pfsyncs_oacts[Action::BulkStatus as usize];
    assert!((40..=56).contains(&marks), "{marks} marks: more or less than one bulk update a second");
    target.finish()
}

#[test]
fn request_of_an_unknown_state() -> Result<()> {
    let target = Target::new()?;
    target.send(Action::UpdateRequest, &[id_of([1; 8])])?;
    assert_eq!(target.stats().pfsyncs_badstate, 1);
    target.finish()
}

#[test]
fn request_of_a_nosync_state() -> Result<()> {
    let target = Target::new()?;
    let id = target.fw.open(&Connection { rule: NO_SYNC, ..tcp(1) })?;
    let raw = RawId { id: id.id.to_ne_bytes(), creator: id.creator.to_ne_bytes() };
    target.send(Action::UpdateRequest, &[raw])?;
    target.lab.seconds(2)?;
    let sent = target.stats().pfsyncs_oacts;
    assert_eq!((sent[Action::Insert1400 as usize], sent[Action::Update1400 as usize]), (0, 0));
    target.finish()
}

#[test]
fn delete_of_an_unknown_state() -> Result<()> {
    let target = Target::new()?;
    target.send(Action::DeleteCompressed, &[id_of([1; 8])])?;
    assert_eq!(target.stats().pfsyncs_badstate, 1);
    target.finish()
}

#[test]
fn delete_of_a_state_in_use() -> Result<()> {
    let target = Target::new()?;
    target.send(Action::Insert1400, &[state()])?;
    target.lab.seconds(3)?;
    target.fw.pass(raw_id(), |st| st.src.seqlo += 1)?;
    let id = RawId { id: raw_id().id.to_ne_bytes(), creator: PEER };
    target.send(Action::DeleteCompressed, &[id])?;
    assert!(target.has_state());
    let stats = target.stats();
    assert_eq!((stats.pfsyncs_stale, stats.pfsyncs_oacts[Action::Update1400 as usize]), (1, 1));
    target.send(Action::DeleteCompressed, &[id])?;
    assert!(!target.has_state());
    target.finish()
}

#[test]
fn acknowledgement_of_an_unknown_state() -> Result<()> {
    let target = Target::new()?;
    target.send(Action::InsertAck, &[id_of([1; 8])])?;
    assert_eq!(target.stats().pfsyncs_badstate, 0);
    target.finish()
}

fn clear(name: &[u8]) -> RawClear {
    let mut raw = RawClear { ifname: [0; 16], creator: PEER };
    raw.ifname[..name.len()].copy_from_slice(name);
    raw
}

/// Whether a state that is bound to the sync interface is left after a clear, and the
/// counter of bad values.
fn after_clear(raw: RawClear) -> Result<(bool, u64)> {
    let target = Target::new()?;
    let mut bound = state();
    bound.common.ifname[..3].copy_from_slice(SYNC.as_bytes());
    target.send(Action::Insert1400, &[bound])?;
    target.send(Action::Clear, &[raw])?;
    let seen = (target.has_state(), target.stats().pfsyncs_badval);
    target.finish()?;
    Ok(seen)
}

#[test]
fn clear_ifname_unprintable() -> Result<()> {
    assert_eq!(after_clear(clear(&[b'e', 7]))?, (true, 1));
    Ok(())
}

#[test]
fn clear_ifname_unknown() -> Result<()> {
    assert_eq!(after_clear(clear(b"em77"))?, (true, 0));
    Ok(())
}

#[test]
fn clear_ifname_known() -> Result<()> {
    assert_eq!(after_clear(clear(SYNC.as_bytes()))?, (false, 0));
    Ok(())
}

#[test]
fn clear_ifname_of_another_interface() -> Result<()> {
    assert_eq!(after_clear(clear(OUTSIDE.as_bytes()))?, (true, 0));
    Ok(())
}

#[test]
fn clear_ifname_empty() -> Result<()> {
    assert_eq!(after_clear(clear(b""))?, (false, 0));
    Ok(())
}

#[test]
fn clear_creator() -> Result<()> {
    assert_eq!(after_clear(RawClear { creator: [1; 4], ..clear(b"") })?, (true, 0));
    Ok(())
}

fn mark(status: u8, endtime: u32) -> RawBulkStatus {
    RawBulkStatus { creator: PEER, endtime: U32::new(endtime), status, pad: [0; 3] }
}

#[test]
fn bulk_status() -> Result<()> {
    let target = Target::new()?;
    target.send(Action::BulkStatus, &[mark(3, 0)])?;
    assert_eq!(target.stats().pfsyncs_badval, 1);
    target.finish()
}

#[test]
fn bulk_endtime() -> Result<()> {
    let target = Target::new()?;
    target.fw.flush()?;
    target.fw.request_bulk_update()?;
    target.send(Action::BulkStatus, &[mark(1, 0)])?;
    target.send(Action::BulkStatus, &[mark(2, u32::MAX)])?;
    target.lab.seconds(3)?;
    assert_ne!(target.fw.demotion(), 0, "the end mark of an earlier bulk update ended this one");
    target.send(Action::BulkStatus, &[mark(2, 0)])?;
    assert_eq!(target.fw.demotion(), 0);
    target.finish()
}

#[test]
fn bulk_end_alone() -> Result<()> {
    let target = Target::new()?;
    target.fw.flush()?;
    target.lab.seconds(2)?;
    target.fw.request_bulk_update()?;
    target.send(Action::BulkStatus, &[mark(2, 0)])?;
    target.lab.seconds(3)?;
    assert_eq!(target.fw.demotion(), 0);
    target.finish()
}

#[test]
fn bulk_end_after_a_missed_start() -> Result<()> {
    let target = Target::new()?;
    target.fw.stop_pf()?;
    target.send(Action::BulkStatus, &[mark(1, 0)])?;
    target.fw.start_pf()?;
    target.fw.request_bulk_update()?;
    target.send(Action::BulkStatus, &[mark(2, 0)])?;
    target.lab.seconds(3)?;
    assert_ne!(target.fw.demotion(), 0, "nothing tells what was sent before this end mark");
    target.send(Action::BulkStatus, &[mark(1, 0)])?;
    target.send(Action::BulkStatus, &[mark(2, 0)])?;
    target.lab.seconds(3)?;
    assert_eq!(target.fw.demotion(), 0);
    target.finish()
}

#[test]
fn packet_of_this_firewall() -> Result<()> {
    let target = Target::new()?;
    let mut packet = in_packet(&frame(Action::Insert1400, &[state()]));
    packet[12..16].copy_from_slice(&address4(1));
    target.send_packet(packet)?;
    assert_eq!((target.has_state(), target.limited("reflected")), (false, 1));
    target.finish()
}

#[test]
fn tdb() -> Result<()> {
    let target = Target::new()?;
    target.send(Action::Tdb, &[RawTdb::new_zeroed()])?;
    let stats = target.stats();
    assert_eq!((stats.pfsyncs_iacts[Action::Tdb as usize], stats.pfsyncs_badlen), (1, 0));
    target.finish()
}

#[test]
fn limit_peer_inserts() -> Result<()> {
    let target = Target::new()?;
    target.set("peer_inserts", 10)?;
    let states: Vec<_> = (0..30).map(numbered).collect();
    target.send(Action::Insert1400, &states)?;
    assert_eq!((target.fw.states().len(), target.limited("inserts")), (10, 20));
    assert_eq!(target.stats().pfsyncs_badstate, 20);
    target.lab.seconds(1)?;
    target.send(Action::Update1400, &states[20..])?;
    assert_eq!(target.fw.states().len(), 20, "the limit is one for each second");
    target.finish()
}

#[test]
fn limit_peer_share() -> Result<()> {
    let target = Target::with(&Rules { state_limit: 100, ..Rules::default() })?;
    target.set("peer_share", 95)?;
    for first in [0, 60, 120] {
        target.send(Action::Insert1400, &(first..first + 60).map(numbered).collect::<Vec<_>>())?;
    }
    assert_eq!((target.fw.states().len(), target.limited("share")), (95, 85));
    target.fw.open(&tcp(1))?;
    assert_eq!(target.fw.states().len(), 96, "local connections may fill the rest");
    target.finish()
}

#[test]
fn limit_peer_requests_answered() -> Result<()> {
    let target = Target::new()?;
    target.set("peer_requests", 5)?;
    // The firewall speaks format 1400 to this peer, and need not begin with it later.
    target.send::<RawId>(Action::InsertAck, &[])?;
    let ids = (1..=20).map(|number| target.fw.open(&tcp(number)));
    let ids = ids.collect::<Result<Vec<_>>>()?;
    target.lab.seconds(2)?;
    let raw: Vec<_> =
        ids.iter().map(|id| RawId { id: id.id.to_ne_bytes(), creator: id.creator.to_ne_bytes() }).collect();
    target.send(Action::UpdateRequest, &raw)?;
    assert_eq!(target.stats().pfsyncs_oacts[Action::Update1400 as usize], 5);
    assert_eq!(target.limited("requests"), 15);
    target.finish()
}

#[test]
fn limit_peer_requests_asked() -> Result<()> {
    let target = Target::new()?;
    target.set("peer_requests", 5)?;
    let before = target.stats().pfsyncs_oacts[Action::UpdateRequest as usize];
    let unknown = |number: u8| RawCompressedUpdate { id: [number; 8], ..compressed() };
    target.send(Action::UpdateCompressed, &(1..=20).map(unknown).collect::<Vec<_>>())?;
    assert_eq!(target.stats().pfsyncs_oacts[Action::UpdateRequest as usize] - before, 5);
    assert_eq!(target.limited("requests"), 15);
    target.finish()
}

#[test]
fn limit_peer_requests_of_stale_updates() -> Result<()> {
    let target = Target::new()?;
    target.set("peer_requests", 5)?;
    target.send(Action::Insert1400, &(0..20).map(numbered).collect::<Vec<_>>())?;
    let mut stale: Vec<_> = (0..20).map(numbered).collect();
    stale.iter_mut().for_each(|state| state.common.src.seqlo = U32::new(1));
    target.send(Action::Update1400, &stale)?;
    assert_eq!(target.stats().pfsyncs_stale, 20);
    assert_eq!(target.limited("requests"), 15);
    target.finish()
}

#[test]
fn limit_clears() -> Result<()> {
    let target = Target::new()?;
    target.send(Action::Clear, &vec![clear(b""); 40])?;
    assert_eq!(target.limited("clears"), 24);
    target.finish()
}

#[test]
fn limit_rows() -> Result<()> {
    let target = Target::new()?;
    let mut states: Vec<_> = (0..400u32).map(numbered).collect();
    for (number, state) in states.iter_mut().enumerate() {
        // All in one row of pf's hash.
        state.common.id = ((number as u64 + 1) << 32).to_be_bytes();
    }
    for some in states.chunks(100) {
        target.send(Action::Insert1400, some)?;
    }
    assert_eq!((target.fw.states().len(), target.limited("rows")), (256, 144));
    target.finish()
}

#[test]
fn corrupted_packets_do_no_harm() -> Result<()> {
    let lab = Lab::new(Policy { seed: 5, preemption: 0.0 });
    let [one, two] = pair(&lab)?;
    lab.world.network.set_faults(Faults { corruption: 1.0, delay: milliseconds(50), ..Faults::NONE });
    for number in 0..300 {
        let id = one.open(&tcp(number))?;
        one.pass(id, |st| st.src.seqlo += 1000)?;
        lab.advance(20)?;
    }
    lab.seconds(3)?;
    unload([one, two])
}

/// Every row of the table names a test of this file, or of a file that the text names.
#[test]
fn every_row_has_its_test() {
    let here =
        [include_str!("main.rs"), include_str!("format1500.rs"), include_str!("../formats.rs")].concat();
    let table = include_str!("../../../../docs/validation.md");
    let rows = table.lines().filter_map(|line| line.strip_suffix("` |")?.rsplit('`').next());
    let missing: Vec<_> = rows
        .clone()
        .filter(|name| !here.contains(&format!("\nfn {name}(")) && !here.contains(&format!("\n    {name}: ")))
        .collect();
    assert!(rows.count() > 60 && missing.is_empty(), "no test for {missing:?}");
}
