// SPDX-License-Identifier: BSD-2-Clause
//! Message formats: each is understood by a peer that sends another, and format
//! 1500 carries all that earlier ones do. A firewall sends the newest format that
//! all peers read, unless the operator fixes another.

mod common;

use anyhow::Result;
use common::target::{
    frame, in_1301, in_1500, name, raw_id, route, state, translate, Target, PEER, SAME_RULES,
};
use common::{follows, plain_lab, record, tcp};
use pfsync::wire::{Action, Format, Frame, FrameWriter, RawId, RawState1301, RawState1500, Run, States};
use pfsync_simulator::freebsd::nv::Value;
use pfsync_simulator::freebsd::pf::rules::{Rule, Rules};
use pfsync_simulator::lab::{Config, Firewall, NEWEST, OUTSIDE};
use sys_bindings as sys;
use zerocopy::byteorder::big_endian::U16;

#[test]
fn states_follow_in_format_1301() -> Result<()> {
    let config = Config { version: 1301, ..Config::default() };
    follows(&plain_lab(), [config.clone(), config])
}

#[test]
fn either_format_is_understood_by_the_other() -> Result<()> {
    let old = Config { version: 1301, ..Config::default() };
    follows(&plain_lab(), [old.clone(), Config::default()])?;
    follows(&plain_lab(), [Config::default(), old])
}

#[test]
fn an_operator_can_set_the_formats_of_the_release() -> Result<()> {
    let target = Target::new()?;
    let version = |version| target.fw.configure(&Config { version, ..Config::default() });
    let refused = Err(sys::EINVAL as i32);
    assert_eq!(version(1500)?, if NEWEST == Format::V1500 { Ok(()) } else { refused });
    assert_eq!([version(1301)?, version(1400)?, version(1501)?], [Ok(()), Ok(()), refused]);
    assert_eq!(version(0)?, Ok(()));
    let list = target.fw.configuration()?.expect("readable");
    assert_eq!(list.number(c"version"), Some(NEWEST as u64));
    target.finish()
}

/// The state that a firewall sends when a peer asks for it.
fn answer(target: &Target) -> Result<Option<RawState1500>> {
    let sent = record(&target.lab);
    let id = raw_id();
    let request = RawId { id: id.id.to_ne_bytes(), creator: id.creator.to_ne_bytes() };
    target.send(Action::UpdateRequest, &[request])?;
    let frames: Vec<_> = sent.borrow().iter().map(|sent| sent.frame().to_vec()).collect();
    let mut states = Vec::new();
    for frame in &frames {
        for run in Frame::parse(frame).expect("a frame") {
            if let Ok(Run::Update(States::V1500(raw))) = run {
                states.extend_from_slice(raw);
            }
        }
    }
    Ok(states.pop())
}

/// A state as a peer says it, with everything that only this format has.
fn full() -> RawState1500 {
    let mut raw = in_1500(&state());
    translate(&mut raw);
    route(&mut raw, sys::AF_INET6);
    (raw.orig_ifname, raw.tagname) = (name("em1"), name("lan"));
    raw.common.rt_addr = [0x30; 16];
    raw.state_flags = U16::new((sys::PFSTATE_ALLOWOPTS | sys::PFSTATE_NODF | sys::PFSTATE_SLOPPY) as u16);
    raw
}

#[test]
fn what_was_inserted_is_sent_unchanged() -> Result<()> {
    let target = Target::new()?;
    target.send(Action::Insert1500, &[full()])?;
    let said = answer(&target)?;
    if NEWEST < Format::V1500 {
        assert_eq!(said, None);
        return target.finish();
    }
    let mut said = said.expect("an answer");
    // A second or less has passed.
    (said.common.creation, said.common.expire) = (full().common.creation, full().common.expire);
    assert_eq!(said, full());
    target.finish()
}

/// pf of FreeBSD 15 does not look at a state's flags when a packet passes.
#[test]
fn flags_reach_the_actions() -> Result<()> {
    let target = Target::new()?;
    target.send(Action::Insert1500, &[full()])?;
    let obeyed = target.look(|st| (st.act.flags, u32::from(st.state_flags) & sys::PFSTATE_SLOPPY != 0));
    match NEWEST {
        Format::V1500 => assert_eq!(obeyed, Some((sys::PFSTATE_NODF, true))),
        _ => assert_eq!(obeyed, None),
    }
    target.finish()
}

/// An earlier format knows half of a state of an `af-to` rule: nothing is said
/// of it, rather than something wrong.
#[test]
fn a_translated_state_is_not_sent_in_an_earlier_format() -> Result<()> {
    if NEWEST < Format::V1500 {
        return Ok(());
    }
    let target = Target::new()?;
    target.send(Action::Insert1500, &[full()])?;
    assert_eq!(target.fw.configure(&Config { version: 1400, ..Config::default() })?, Ok(()));
    let before = target.stats().pfsyncs_oacts;
    assert_eq!(answer(&target)?, None);
    let after = target.stats().pfsyncs_oacts;
    assert_eq!(after[Action::Update1400 as usize], before[Action::Update1400 as usize]);
    target.finish()
}

/// Format 1301 has no routing table. Without its rule, a state has none, and its packets
/// are routed as those of any other: by the table of the interface that they arrive by. With
/// table 0, they would leave another way if that interface has another table.
#[test]
fn a_1301_state_without_its_rule_has_no_routing_table() -> Result<()> {
    let target = Target::new()?;
    let mut frame = frame(Action::Insert1301, &[in_1301(&state())]);
    // Another ruleset.
    frame[4] ^= 1;
    target.send_bytes(&frame)?;
    assert_eq!(target.look(|st| st.act.rtableid), Some(-1));
    target.finish()
}

/// The keys of a translated state that collides are freed once, whichever key
/// it is, and whether pf frees both or forgets one.
#[test]
fn a_translated_state_that_collides_leaves_nothing() -> Result<()> {
    for frees_both in [false, true] {
        let target = Target::new()?;
        target.fw.kernel.frees_both_keys.set(frees_both);
        let mut raw = state();
        raw.common.key[1].port = [[0x11, 0x11], [0x01, 0xbb]];
        target.send(Action::Insert1400, &[raw])?;
        // The wire key collides, then the stack key.
        raw.common.id = [9; 8];
        raw.common.key[1].port = [[0x22, 0x22], [0x01, 0xbb]];
        target.send(Action::Insert1400, &[raw])?;
        raw.common.key = [state().common.key[0]; 2];
        raw.common.key[0].port = [[0x33, 0x33], [0x01, 0xbb]];
        raw.common.key[1].port = [[0x11, 0x11], [0x01, 0xbb]];
        target.send(Action::Insert1400, &[raw])?;
        assert_eq!((target.fw.states().len(), target.stats().pfsyncs_badstate), (1, 2));
        // Two states have the wire key. The one that collides is not the first of them.
        let mut other = state();
        other.common.id = [10; 8];
        other.common.ifname = [0; 16];
        other.common.ifname[..3].copy_from_slice(OUTSIDE.as_bytes());
        target.send(Action::Insert1400, &[other])?;
        raw.common.key = state().common.key;
        raw.common.key[1].port = [[0x44, 0x44], [0x01, 0xbb]];
        target.send(Action::Insert1400, &[raw])?;
        assert_eq!((target.fw.states().len(), target.stats().pfsyncs_badstate), (2, 3));
        target.fw.flush()?;
        let kernel = &target.fw.kernel;
        assert_eq!(kernel.heap.leaks(kernel, &["pf state keys"]), [""; 0], "{frees_both}");
        target.finish()?;
    }
    Ok(())
}

/// A frame with an insert in format 1500, a delete of another state, and an update of
/// a third one.
#[test]
fn what_surrounds_a_state_in_format_1500_counts_on_every_release() -> Result<()> {
    let target = Target::new()?;
    let with_id = |number: u8| {
        let mut raw = in_1500(&state());
        raw.common.id = [number; 8];
        raw.common.key.iter_mut().for_each(|key| key.port[0] = [number; 2]);
        raw
    };
    target.send(Action::Insert1500, &[with_id(1), with_id(2)])?;
    assert_eq!(target.fw.states().len(), 2);

    let mut updated = with_id(2);
    updated.common.src.seqlo = 5000.into();
    let mut bytes = vec![0; 2000];
    let mut writer = FrameWriter::new(&mut bytes, &SAME_RULES).expect("space");
    writer.append(Action::Insert1500, &with_id(3)).expect("space");
    let mut tagged = with_id(4);
    tagged.tagname = name("lan");
    writer.append(Action::Insert1500, &tagged).expect("space");
    writer.append(Action::DeleteCompressed, &RawId { id: [1; 8], creator: PEER }).expect("space");
    writer.append(Action::Update1500, &updated).expect("space");
    let len = writer.finish();
    target.send_bytes(&bytes[..len])?;

    let states = target.fw.states();
    let ids: Vec<_> = states.iter().map(|state| state.id.id.to_ne_bytes()[0]).collect();
    assert_eq!(ids, if NEWEST < Format::V1500 { vec![2, 3] } else { vec![2, 3, 4] });
    assert_eq!(states[0].seqlo[0], 5000);
    assert_eq!(target.stats().pfsyncs_badstate, u64::from(NEWEST < Format::V1500));
    assert_eq!(target.stats().pfsyncs_badact, 0);
    target.finish()
}

/// The format that `ifconfig pfsync0` shows.
fn version(fw: &Firewall) -> Result<u64> {
    Ok(fw.configuration()?.expect("readable").number(c"version").expect("shown"))
}

/// The newest format that is announced in a frame, and the formats of its states.
fn formats(frame: &[u8]) -> (Option<Format>, Vec<Format>) {
    let frame = Frame::parse(frame).expect("a frame");
    (frame.announced, frame.flatten().filter_map(|run| run.action().format()).collect())
}

#[test]
fn every_frame_announces_what_the_module_reads() -> Result<()> {
    let target = Target::new()?;
    let sent = record(&target.lab);
    target.fw.open(&tcp(1))?;
    target.lab.seconds(2)?;
    let sent: Vec<_> = sent.borrow().iter().map(|sent| formats(sent.frame())).collect();
    assert_eq!(sent, [(Some(Format::V1500), vec![NEWEST])]);
    target.finish()
}

/// A stock peer announces nothing, and speaks what it reads.
#[test]
fn a_stock_peer_gets_the_format_that_it_speaks() -> Result<()> {
    let target = Target::new()?;
    let sent = record(&target.lab);
    // The table of peers knows stock ones too.
    target.fw.write_sysctl("net.pfsync.numbered", &1i32.to_ne_bytes())?;
    target.fw.open(&tcp(1))?;
    target.lab.seconds(2)?;
    assert_eq!(version(&target.fw)?, NEWEST as u64);
    let spoken = if NEWEST < Format::V1500 { Format::V1301 } else { Format::V1400 };
    sent.borrow_mut().clear();
    match spoken {
        Format::V1301 => target.send(Action::Insert1301, &[in_1301(&state())])?,
        _ => target.send(Action::Insert1400, &[state()])?,
    }
    target.lab.seconds(2)?;
    assert_eq!(version(&target.fw)?, spoken as u64);
    let table = target.fw.peers()?;
    assert!(table.contains(&format!(" stock      {} ", spoken as u64)), "{table}");
    // The state that the peer may not have read is sent again.
    let again: Vec<_> = sent.borrow().iter().flat_map(|sent| formats(sent.frame()).1).collect();
    assert_eq!(again.iter().filter(|format| **format == spoken).count(), again.len(), "{again:?}");
    assert!(again.len() >= 2, "the peer's own insert and a bulk update: {again:?}");
    sent.borrow_mut().clear();
    target.fw.open(&tcp(2))?;
    target.lab.seconds(2)?;
    let new: Vec<_> = sent.borrow().iter().flat_map(|sent| formats(sent.frame()).1).collect();
    assert_eq!(new, [spoken]);
    target.finish()
}

/// Two nodes that speak an earlier format because of a third return to the newest when
/// it has been silent for a minute.
#[test]
fn two_firewalls_return_to_the_newest_format() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = common::pair(&lab)?;
    let third = lab.boot(3)?;
    let packet =
        common::target::in_packet_from(3, &frame::<RawState1301>(Action::Insert1301, &[in_1301(&state())]));
    lab.world.network.transmit(&lab.world, third.sync(), packet);
    lab.seconds(2)?;
    assert_eq!([version(&one)?, version(&two)?], [1301, 1301]);
    for number in 0..28 {
        one.open(&tcp(number + 1))?;
        two.open(&tcp(number + 101))?;
        lab.seconds(2)?;
        assert_eq!([version(&one)?, version(&two)?], [1301, 1301], "after {} seconds", number * 2 + 4);
    }
    lab.seconds(4)?;
    assert_eq!([version(&one)?, version(&two)?], [NEWEST as u64; 2]);
    common::unload([one, two])
}

/// What ifconfig(8) sends back when it sets something else: the list that it got, with
/// the changed element at the end.
fn echo(fw: &Firewall, name: &str, value: Value) -> Result<()> {
    let mut list = fw.configuration()?.expect("readable");
    assert_eq!(list.pairs[0].0.as_c_str(), c"version");
    list.pairs.retain(|(other, _)| other.to_bytes() != name.as_bytes());
    assert_eq!(fw.configure_bytes(list.with(name, value).pack())?, Ok(()));
    Ok(())
}

#[test]
fn only_the_operator_fixes_the_format() -> Result<()> {
    let target = Target::new()?;
    let follow = |spoken: bool| -> Result<u64> {
        if spoken {
            target.send(Action::Insert1301, &[in_1301(&state())])?;
        } else {
            target.lab.seconds(61)?;
        }
        version(&target.fw)
    };
    let newest = NEWEST as u64;
    echo(&target.fw, "maxupdates", Value::Number(7))?;
    assert_eq!(follow(true)?, 1301, "an echo of the version does not fix it");
    assert_eq!(follow(false)?, newest);
    echo(&target.fw, "version", Value::Number(newest))?;
    assert_eq!(follow(true)?, newest, "the version in use is fixed too");
    echo(&target.fw, "maxupdates", Value::Number(8))?;
    assert_eq!(follow(true)?, newest, "another setting leaves it fixed");
    echo(&target.fw, "version", Value::Number(1301))?;
    assert_eq!(follow(false)?, 1301);
    echo(&target.fw, "version", Value::Number(0))?;
    assert_eq!(follow(false)?, newest);
    assert_eq!(follow(true)?, 1301);
    target.finish()
}

#[test]
fn the_old_request_leaves_the_format_as_it_is() -> Result<()> {
    let target = Target::new()?;
    echo(&target.fw, "version", Value::Number(1301))?;
    let mut old = target.fw.configuration_old()?.expect("readable");
    old.pfsyncr_maxupdates = 9;
    assert_eq!(target.fw.configure_old(old)?, Ok(()));
    assert_eq!(version(&target.fw)?, 1301);
    target.finish()
}

/// The kind of the route of a state and its interface, if it has a route.
fn route_of(st: &sys::pf_kstate) -> Option<(u32, String)> {
    // SAFETY: only reads fields of a linked state; kifs live as long as pf.
    unsafe {
        let route = sys::pfs_route(std::ptr::from_ref(st).cast_mut());
        let kif = (*route.kif).as_ref()?;
        let name = std::ffi::CStr::from_ptr(kif.pfik_name.as_ptr().cast());
        Some((u32::from(*route.kind), name.to_string_lossy().into_owned()))
    }
}

/// Sends a state in format 1301 of the first rule, which routes through `pool`. Returns
/// the state's route, or `None` if it is refused.
#[allow(clippy::option_option)] // refused, without a route, with a route
fn in_1301_of(
    pool: Option<&'static [&'static str]>,
    change: fn(&mut RawState1301),
    same_rules: bool,
) -> Result<Option<Option<(u32, String)>>> {
    let rules = vec![Rule { route_to: pool, ..Rule::default() }];
    let target = Target::with(&Rules { rules, ..Rules::default() })?;
    let mut raw = in_1301(&state());
    change(&mut raw);
    let mut bytes = frame(Action::Insert1301, &[raw]);
    bytes[4] ^= u8::from(!same_rules);
    target.send_bytes(&bytes)?;
    let seen = target.look(route_of);
    assert_eq!(target.stats().pfsyncs_badstate, u64::from(seen.is_none()));
    target.finish()?;
    Ok(seen)
}

const GATEWAY: fn(&mut RawState1301) = |raw| raw.common.rt_addr[..4].copy_from_slice(&[192, 0, 2, 77]);

#[test]
fn a_route_that_format_1301_lacks_is_that_of_the_rule() -> Result<()> {
    let route = Some(Some((sys::PF_ROUTETO, "em1".to_string())));
    assert_eq!(in_1301_of(Some(&["em1"]), GATEWAY, true)?, route);
    Ok(())
}

#[test]
fn a_route_that_format_1301_lacks_is_not_guessed() -> Result<()> {
    assert_eq!(in_1301_of(Some(&["em1", "em2"]), GATEWAY, true)?, None, "two interfaces");
    assert_eq!(in_1301_of(Some(&[]), GATEWAY, true)?, None, "none");
    assert_eq!(in_1301_of(Some(&["lo0"]), GATEWAY, true)?, None, "one that leads back");
    assert_eq!(in_1301_of(Some(&["em1"]), GATEWAY, false)?, None, "another ruleset");
    Ok(())
}

#[test]
fn a_state_in_format_1301_without_a_route_is_taken() -> Result<()> {
    assert_eq!(in_1301_of(None, |_| (), true)?, Some(None));
    assert_eq!(in_1301_of(None, GATEWAY, true)?, Some(None), "the rule has no route");
    assert_eq!(in_1301_of(Some(&["em1"]), |_| (), false)?, Some(None), "another ruleset");
    Ok(())
}
