// SPDX-License-Identifier: BSD-2-Clause
//! Message formats: each is understood by a peer that sends another, and format
//! 1500 carries all that earlier ones do not. A module for FreeBSD 14 does not
//! know format 1500.

mod common;

use anyhow::Result;
use common::target::{in_1500, name, raw_id, route, state, translate, Target};
use common::{follows, plain_lab, record};
use pfsync::wire::{Action, Format, Frame, RawId, RawState1500, Run, States};
use pfsync_simulator::lab::{Config, NEWEST};
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
