//! Message format 1500: what it says beyond format 1400, one test for each row
//! of docs/validation.md, with the shipped module. A module for an earlier
//! FreeBSD does not know the actions that carry it.

mod common;

use anyhow::Result;
use common::target::{in_1500, raw_id, state, Target};
use common::{carried, record};
use pfsync::wire::{Action, Format, Frame, RawId, RawState1500, Run, States};
use pfsync_host::lab::{Config, NEWEST};
use sys_bindings as sys;
use zerocopy::byteorder::big_endian::U16;

type Change = fn(&mut RawState1500);
type Counter = fn(&sys::pfsyncstats) -> u64;

fn bad_value(stats: &sys::pfsyncstats) -> u64 {
    stats.pfsyncs_badval
}

fn bad_state(stats: &sys::pfsyncstats) -> u64 {
    stats.pfsyncs_badstate
}

/// Sends a state to a firewall of its own, as an insert and as an update. For
/// one that does not know the format the action is bad, and that is all.
fn each_message(change: Change, check: impl Fn(&Target, Action)) -> Result<()> {
    let mut raw = in_1500(&state());
    change(&mut raw);
    for action in [Action::Insert1500, Action::Update1500] {
        let target = Target::new()?;
        target.send(action, &[raw])?;
        match NEWEST {
            Format::V1500 => check(&target, action),
            _ => assert_eq!((target.has_state(), target.stats().pfsyncs_badact), (false, 1)),
        }
        target.finish()?;
    }
    Ok(())
}

fn is_refused(change: Change, counter: Counter) -> Result<()> {
    each_message(change, |target, action| {
        assert_eq!((target.has_state(), counter(&target.stats())), (false, 1), "{action:?}");
    })
}

fn is_taken(change: Change, expected: fn(&sys::pf_kstate) -> bool) -> Result<()> {
    each_message(change, |target, action| {
        assert_eq!(target.look(expected), Some(true), "{action:?}");
        assert_eq!(bad_value(&target.stats()) + bad_state(&target.stats()), 0, "{action:?}");
    })
}

/// Address family and protocol of wire key and stack key.
fn keys(st: &sys::pf_kstate) -> [(u32, u8); 2] {
    // SAFETY: a linked state has its keys.
    unsafe { st.key.map(|key| (u32::from((*key).af), (*key).proto)) }
}

/// The interface that made a state.
fn original(st: &sys::pf_kstate) -> &[u8] {
    // SAFETY: interfaces live as long as states refer to them.
    let name = unsafe { std::ffi::CStr::from_ptr((*st.orig_kif).pfik_name.as_ptr()) };
    name.to_bytes()
}

fn name<const N: usize>(text: &str) -> [u8; N] {
    let mut name = [0; N];
    name[..text.len()].copy_from_slice(text.as_bytes());
    name
}

/// Makes it a state of an `af-to` rule.
fn translate(s: &mut RawState1500) {
    s.stack_af = sys::AF_INET6 as u8;
    s.common.key[1].addr[0] = [0x20; 16];
}

fn route(s: &mut RawState1500, af: u32) {
    (s.rt, s.rt_ifname, s.rt_af) = (2, name("em1"), af as u8);
}

macro_rules! rows {
    ($($name:ident: $check:ident($($arguments:expr),+);)*) => {
        $(#[test] fn $name() -> Result<()> { $check($($arguments),+) })*
    };
}

rows! {
    orig_ifname: is_taken(|s| s.orig_ifname = name("em1"), |st| original(st) == b"em1");
    orig_ifname_empty: is_refused(|s| s.orig_ifname = [0; 16], bad_value);
    orig_ifname_unknown: is_refused(|s| (s.common.ifname, s.orig_ifname) = (name("em1"), name("em77")), bad_state);
    orig_ifname_unknown_floating: is_taken(|s| s.orig_ifname = name("em77"), |st| original(st) == b"all");
    wire_af: is_refused(|s| s.wire_af = 10, bad_value);
    stack_af: is_refused(|s| s.stack_af = 10, bad_value);
    stack_af_translated: is_taken(translate, |st| keys(st) == [(sys::AF_INET, 6), (sys::AF_INET6, 6)]);
    protocols: is_refused(|s| { translate(s); s.stack_proto = 17 }, bad_value);
    protocols_of_icmp: is_taken(
        |s| {
            translate(s);
            (s.wire_proto, s.stack_proto) = (1, 58);
            (s.common.src.state, s.common.dst.state) = (1, 1);
        },
        |st| keys(st) == [(sys::AF_INET, 1), (sys::AF_INET6, 58)]
    );
    protocols_in_one_family: is_refused(|s| (s.wire_proto, s.stack_proto) = (1, 58), bad_value);
    rt_af: is_refused(|s| route(s, 10), bad_value);
    rt_af_of_the_gateway: is_taken(|s| route(s, sys::AF_INET6),
        // SAFETY: a linked state.
        |st| u32::from(unsafe { sys::pfs_route_family(std::ptr::from_ref(st).cast_mut()) }) == sys::AF_INET6);
    tagname: is_taken(|s| s.tagname = name("lan"), |st| st.tag == 1);
    tagname_empty: is_taken(|_| (), |st| st.tag == 0);
    tagname_unterminated: is_refused(|s| s.tagname = [b'a'; 64], bad_value);
}

/// The state that a firewall sends when a peer asks for it.
fn answer(target: &Target) -> Result<Option<RawState1500>> {
    let sent = record(&target.lab);
    let id = raw_id();
    let request = RawId { id: id.id.to_ne_bytes(), creator: id.creator.to_ne_bytes() };
    target.send(Action::UpdateRequest, &[request])?;
    let frames: Vec<_> = sent.borrow().iter().map(|sent| carried(&sent.packet)).collect();
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
fn what_was_taken_in_is_said_again() -> Result<()> {
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
fn flags_are_obeyed() -> Result<()> {
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
fn a_translated_state_is_not_said_in_an_earlier_format() -> Result<()> {
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

#[test]
fn an_operator_can_have_what_the_release_has() -> Result<()> {
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

/// The keys of a translated state that collides are freed once, whichever key
/// it is, and whether pf frees both or forgets one.
#[test]
fn a_translated_state_that_collides_leaves_nothing() -> Result<()> {
    for release in [sys::pfs_freebsd * 100_000 + 2000, sys::pfs_freebsd * 100_000 + 3000] {
        let target = Target::new()?;
        target.fw.kernel.variables.set_release(release);
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
        target.fw.flush()?;
        let kernel = &target.fw.kernel;
        assert_eq!(kernel.heap.leaks(kernel, &["pf state keys"]), [""; 0], "{release}");
        target.finish()?;
    }
    Ok(())
}
