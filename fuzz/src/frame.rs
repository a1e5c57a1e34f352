// SPDX-License-Identifier: BSD-2-Clause
//! The reader of frames: it ends whatever the bytes are, and what it accepts is as
//! the types promise.

use crate::messages::Message;
use pfsync::wire::{Direction, Family, Frame, IfName, Peer, RouteTo, Run, State, StateFlags};

/// Reads an input as a frame with all its messages.
pub fn run(input: &[u8]) {
    let Ok(mut frame) = Frame::parse(input) else { return };
    let mut left = frame.unread();
    let mut ended = false;
    while let Some(run) = frame.next() {
        assert!(!ended, "a run follows the end");
        assert!(frame.unread() < left, "reading does not advance");
        left = frame.unread();
        match run {
            Ok(Run::Eof(_)) | Err(_) => ended = true,
            Ok(run) => Message::all(&run).iter().flatten().for_each(check),
        }
    }
}

/// Checks what the types promise, and that the reader accepts the message again when
/// it is written.
fn check(message: &Message) {
    match message {
        Message::Insert(_, state) | Message::Update(_, state) => check_state(state),
        Message::Compressed(update) => {
            check_timeout(update.timeout);
            check_peer(&update.src, None);
            check_peer(&update.dst, None);
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
    check_peer(&state.src, Some(state.proto));
    check_peer(&state.dst, Some(state.proto));
    assert!(state.family != state.stack_family || state.proto == state.stack_proto);
    state.orig_ifname.iter().for_each(check_name);
    let Some(extra) = &state.extra else { return };
    assert!(extra.rtableid >= -1);
    assert!(!state.flags.contains(StateFlags::SETPRIO) || extra.set_prio.iter().all(|prio| *prio <= 7));
    if let RouteTo::Fast { kind, ifname, .. } = &extra.route {
        assert!((1..=4).contains(kind));
        check_name(ifname);
    }
}

/// Timeouts from `PFTM_FRAG` to `PFTM_TS_DIFF` are not those of states, nor any above
/// `PFTM_SCTP_CLOSED`.
fn check_timeout(timeout: u8) {
    assert!(matches!(timeout, 0..14 | 20..25), "{timeout}");
}

fn check_peer(peer: &Peer, proto: Option<u8>) {
    assert!(peer.wscale & 0xf <= 14);
    let highest = match proto {
        Some(6) => 12,
        None | Some(132) => 0x80,
        Some(_) => 2,
    };
    assert!(peer.state <= highest, "{} of {proto:?}", peer.state);
}

fn check_name(name: &IfName) {
    let text = name.as_str();
    assert!((1..16).contains(&text.len()) && text.bytes().all(|byte| (0x21..0x7f).contains(&byte)));
    assert!(name.bytes()[text.len()..].iter().all(|byte| *byte == 0));
}
