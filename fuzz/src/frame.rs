// SPDX-License-Identifier: BSD-2-Clause
//! Reads any bytes as a frame. The reader always comes to an end, and what it
//! accepts has the values that its types promise.

use crate::messages::Message;
use pfsync::wire::{Direction, Endpoint, Family, Frame, IfName, RouteTo, Run, State, StateFlags};

/// Reads an input as a frame, with every message in it.
pub fn run(input: &[u8]) {
    let Ok(mut frame) = Frame::parse(input) else { return };
    let mut left = frame.unread();
    let mut ended = false;
    while let Some(run) = frame.next() {
        assert!(!ended, "a run is read after the end");
        assert!(frame.unread() < left, "reading moves on");
        left = frame.unread();
        match run {
            Ok(Run::Eof(_)) | Err(_) => ended = true,
            Ok(run) => Message::all(&run).iter().flatten().for_each(check),
        }
    }
}

/// Checks what the types promise. An accepted message that is written must be
/// accepted again.
fn check(message: &Message) {
    match message {
        Message::Insert(_, state) | Message::Update(_, state) => check_state(state),
        Message::Compressed(update) => {
            check_timeout(update.timeout);
            check_endpoint(&update.src, None);
            check_endpoint(&update.dst, None);
        }
        Message::Clear(clear) => clear.ifname.iter().for_each(check_name),
        Message::Ack(_) | Message::Request(_) | Message::Delete(_) | Message::Bulk(_) => {}
    }
    assert_eq!(message.reread().as_ref(), Some(message));
}

fn check_state(state: &State) {
    assert_ne!(state.id.creator, [0; 4]);
    assert!(matches!(state.family, Family::Inet | Family::Inet6));
    assert!(matches!(state.direction, Direction::In | Direction::Out));
    assert!(StateFlags::all().contains(state.flags), "{:?}", state.flags);
    check_name(&state.ifname);
    check_timeout(state.timeout);
    check_endpoint(&state.src, Some(state.proto));
    check_endpoint(&state.dst, Some(state.proto));
    assert!(state.family != state.stack_family || state.proto == state.stack_proto);
    state.orig_ifname.iter().for_each(check_name);
    let Some(actions) = &state.rule_actions else { return };
    assert!(actions.rtableid >= -1);
    assert!(!state.flags.contains(StateFlags::SETPRIO) || actions.set_prio.iter().all(|prio| *prio <= 7));
    if let RouteTo::Via { kind, ifname, .. } = &actions.route {
        assert!((1..=4).contains(kind));
        check_name(ifname);
    }
}

/// pf has no timeouts of states from `PFTM_FRAG` to `PFTM_TS_DIFF`, nor above
/// `PFTM_SCTP_CLOSED`.
fn check_timeout(timeout: u8) {
    assert!(matches!(timeout, 0..14 | 20..25), "{timeout}");
}

fn check_endpoint(endpoint: &Endpoint, proto: Option<u8>) {
    assert!(endpoint.wscale & 0xf <= 14);
    let highest = match proto {
        Some(6) => 12,
        None | Some(132) => 0x80,
        Some(_) => 2,
    };
    assert!(endpoint.state <= highest, "{} of {proto:?}", endpoint.state);
}

fn check_name(name: &IfName) {
    let text = name.as_bytes();
    assert!((1..16).contains(&text.len()) && !text.contains(&0));
    assert!(name.bytes()[text.len()..].iter().all(|byte| *byte == 0));
}
