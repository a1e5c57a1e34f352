// SPDX-License-Identifier: BSD-2-Clause
//! The rows for message format 1500: what it carries beyond format 1400.

use super::common::target::{in_1500, name, route, state, translate, Target};
use super::{bad_state, bad_value, Counter};
use anyhow::Result;
use pfsync::wire::{Action, Format, RawState1500};
use pfsync_simulator::lab::NEWEST;
use sys_bindings as sys;

type Change = fn(&mut RawState1500);

/// Sends a state to a firewall of its own, as an insert and as an update.
fn each_message(change: Change, check: impl Fn(&Target, Action)) -> Result<()> {
    let mut raw = in_1500(&state());
    change(&mut raw);
    for action in [Action::Insert1500, Action::Update1500] {
        let target = Target::new()?;
        target.send(action, &[raw])?;
        check(&target, action);
        target.finish()?;
    }
    Ok(())
}

fn is_refused(change: Change, counter: Counter) -> Result<()> {
    each_message(change, |target, action| {
        assert_eq!((target.has_state(), counter(&target.stats())), (false, 1), "{action:?}");
    })
}

fn is_inserted(change: Change, expected: fn(&sys::pf_kstate) -> bool) -> Result<()> {
    each_message(change, |target, action| {
        assert_eq!(target.look(expected), Some(true), "{action:?}");
        assert_eq!(bad_value(&target.stats()) + bad_state(&target.stats()), 0, "{action:?}");
    })
}

/// The same on FreeBSD 15. Before, pf cannot have such a state.
fn is_inserted_on_15(change: Change, expected: fn(&sys::pf_kstate) -> bool) -> Result<()> {
    match NEWEST {
        Format::V1500 => is_inserted(change, expected),
        _ => is_refused(change, bad_state),
    }
}

/// Address family and protocol of wire key and stack key.
fn keys(st: &sys::pf_kstate) -> [(u32, u8); 2] {
    // SAFETY: a linked state has its keys.
    unsafe { st.key.map(|key| (u32::from((*key).af), (*key).proto)) }
}

/// The original interface of a state.
fn original(st: &sys::pf_kstate) -> &[u8] {
    // SAFETY: interfaces live as long as states refer to them.
    let name = unsafe { std::ffi::CStr::from_ptr((*st.orig_kif).pfik_name.as_ptr()) };
    name.to_bytes()
}

rows! {
    orig_ifname: is_inserted(|s| s.orig_ifname = name("em1"), |st| original(st) == b"em1");
    orig_ifname_empty: is_refused(|s| s.orig_ifname = [0; 16], bad_value);
    orig_ifname_unknown: is_refused(|s| (s.common.ifname, s.orig_ifname) = (name("em1"), name("em77")), bad_state);
    orig_ifname_unknown_floating: is_inserted(|s| s.orig_ifname = name("em77"), |st| original(st) == b"all");
    wire_af: is_refused(|s| s.wire_af = 10, bad_value);
    stack_af: is_refused(|s| s.stack_af = 10, bad_value);
    stack_af_translated: is_inserted_on_15(translate, |st| keys(st) == [(sys::AF_INET, 6), (sys::AF_INET6, 6)]);
    protocols: is_refused(|s| { translate(s); s.stack_proto = 17 }, bad_value);
    protocols_of_icmp: is_inserted_on_15(
        |s| {
            translate(s);
            (s.wire_proto, s.stack_proto) = (1, 58);
            (s.common.src.state, s.common.dst.state) = (1, 1);
        },
        |st| keys(st) == [(sys::AF_INET, 1), (sys::AF_INET6, 58)]
    );
    protocols_in_one_family: is_refused(|s| (s.wire_proto, s.stack_proto) = (1, 58), bad_value);
    rt_af: is_refused(|s| route(s, 10), bad_value);
    rt_af_of_the_gateway: is_inserted_on_15(|s| route(s, sys::AF_INET6),
        // SAFETY: a linked state.
        |st| u32::from(unsafe { sys::pfs_route_family(std::ptr::from_ref(st).cast_mut()) }) == sys::AF_INET6);
    tagname: is_inserted_on_15(|s| s.tagname = name("lan"), |st| st.tag == 1);
    tagname_empty: is_inserted(|_| (), |st| st.tag == 0);
    tagname_unterminated: is_refused(|s| s.tagname = [b'a'; 64], bad_value);
}
