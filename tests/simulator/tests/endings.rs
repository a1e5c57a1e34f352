// SPDX-License-Identifier: BSD-2-Clause
//! Whether a state ends because of what a peer says: its deletes, and its inserts of new
//! states between the same ends.

mod common;

use anyhow::Result;
use common::{pair, plain_lab, record, tcp, unload};
use pfsync_simulator::freebsd::net::Faults;
use pfsync_simulator::freebsd::pf::traffic::{Connection, Endpoint, Id};
use pfsync_simulator::lab::{connection, Firewall, Lab};
use sys_bindings as sys;

const ESTABLISHED: u8 = sys::TCPS_ESTABLISHED as u8;
const CLOSING: u8 = 7;
const FIN_WAIT_2: u8 = 9;

/// A packet leads both endpoints to these states.
fn lead(fw: &Firewall, id: Id, states: [u8; 2]) -> Result<bool> {
    fw.pass(id, move |st| {
        [st.src.state, st.dst.state] = states;
        st.src.seqlo += 100;
        st.dst.seqlo += 100;
        st.timeout = sys::PFTM_TCP_ESTABLISHED as u8;
    })
}

/// Packets pass the first firewall for some seconds, one a second.
fn use_for(lab: &Lab, fw: &Firewall, id: Id, seconds: u32) -> Result<()> {
    for _ in 0..seconds {
        assert!(lead(fw, id, [ESTABLISHED; 2])?);
        lab.seconds(1)?;
    }
    Ok(())
}

#[test]
fn a_peer_that_hears_nothing_does_not_end_a_live_connection() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    let id = one.open(&tcp(1))?;
    use_for(&lab, &one, id, 3)?;
    // The wire is broken in one direction, and the state expires on the deaf side.
    lab.world.network.lose(|sent| sent.from == "fw1");
    use_for(&lab, &one, id, 60)?;
    two.kill(id)?;
    use_for(&lab, &one, id, 3)?;
    assert!(one.state(id).is_some(), "the connection is in use");
    // The delete is answered by the whole state.
    lab.world.network.lose(|_| false);
    two.kill(id)?;
    use_for(&lab, &one, id, 3)?;
    assert!(two.state(id).is_some());
    unload([one, two])
}

#[test]
fn a_live_state_that_a_peer_deletes_is_told_whole() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    let id = one.open(&tcp(1))?;
    use_for(&lab, &one, id, 5)?;
    assert!(two.state(id).is_some());
    two.kill(id)?;
    lab.seconds(2)?;
    assert!(one.state(id).is_some());
    assert_eq!(two.state(id).map(|state| state.seqlo), one.state(id).map(|state| state.seqlo));
    // No packet has passed since: the second delete ends it.
    two.kill(id)?;
    lab.seconds(2)?;
    assert!(one.state(id).is_none());
    unload([one, two])
}

/// An operator's `pfctl -k` on the firewall that handles a connection.
fn kill_where_packets_pass(proto: u32) -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    let id = one.open(&connection(1, proto))?;
    lab.seconds(2)?;
    for _ in 0..10 {
        // Beyond the first packets, nothing about a connection that is not TCP changes.
        one.pass(id, |st| [st.src.state, st.dst.state] = [2; 2])?;
        lab.advance(700)?;
    }
    one.kill(id)?;
    lab.seconds(2)?;
    assert_eq!((one.states().len(), two.states().len()), (0, 0));
    unload([one, two])
}

#[test]
fn a_delete_ends_the_copy_of_a_tcp_state() -> Result<()> {
    kill_where_packets_pass(sys::IPPROTO_TCP)
}

#[test]
fn a_delete_ends_the_copy_of_a_udp_state() -> Result<()> {
    kill_where_packets_pass(sys::IPPROTO_UDP)
}

#[test]
fn a_delete_ends_the_copy_that_its_creator_keeps() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    let id = one.open(&tcp(1))?;
    use_for(&lab, &one, id, 5)?;
    // The other firewall takes over.
    use_for(&lab, &two, id, 5)?;
    two.kill(id)?;
    lab.seconds(2)?;
    assert_eq!((one.states().len(), two.states().len()), (0, 0));
    unload([one, two])
}

/// A state that nobody uses expires everywhere at the same time. A peer that notices first
/// does not get it back.
#[test]
fn a_delete_ends_an_expired_state() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    let id = one.open(&connection(1, sys::IPPROTO_UDP))?;
    for _ in 0..5 {
        one.pass(id, |st| st.timeout = sys::PFTM_UDP_SINGLE as u8)?;
        lab.seconds(1)?;
    }
    lab.seconds(100)?;
    let sent = record(&lab);
    two.purge()?;
    lab.seconds(3)?;
    assert_eq!((one.states().len(), two.states().len()), (0, 0));
    assert!(sent.borrow().iter().all(|sent| sent.from == "fw2"));
    unload([one, two])
}

/// A bulk update tells of states that nobody uses. That is no use of them.
#[test]
fn a_bulk_update_does_not_prolong_a_state() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    let id = one.open(&connection(1, sys::IPPROTO_UDP))?;
    one.pass(id, |st| st.timeout = sys::PFTM_UDP_SINGLE as u8)?;
    lab.seconds(20)?;
    two.request_bulk_update()?;
    lab.seconds(2)?;
    lab.world.network.lose(|_| true);
    // The timeout is 30 seconds.
    two.purge()?;
    assert!(two.state(id).is_some());
    lab.seconds(12)?;
    two.purge()?;
    assert!(two.state(id).is_none());
    unload([one, two])
}

#[test]
fn a_delete_ends_a_closed_connection() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    let id = one.open(&tcp(1))?;
    use_for(&lab, &one, id, 5)?;
    assert!(lead(&one, id, [FIN_WAIT_2; 2])?);
    lab.seconds(2)?;
    two.kill(id)?;
    lab.seconds(2)?;
    assert_eq!((one.states().len(), two.states().len()), (0, 0));
    unload([one, two])
}

/// Connections that end and begin again at once, whatever bucket their states are in.
fn begin_again(make: impl Fn(u32) -> Connection + 'static) -> Result<()> {
    const COUNT: u32 = 20;
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    for number in 0..COUNT {
        one.open(&make(number))?;
    }
    lab.seconds(3)?;
    let old = one.states();
    one.run("em1", move |vnet| {
        for state in &old {
            vnet.pf.kill(state.id);
        }
        for number in 0..COUNT {
            vnet.pf.open(&make(number), None).expect("made");
        }
    })?;
    lab.seconds(3)?;
    let ids = |fw: &Firewall| fw.states().iter().map(|state| state.id).collect::<Vec<_>>();
    assert_eq!(ids(&one).len(), COUNT as usize);
    assert_eq!(ids(&one), ids(&two));
    unload([one, two])
}

#[test]
fn deletes_leave_before_inserts_of_the_same_ends() -> Result<()> {
    begin_again(tcp)?;
    begin_again(|number| connection(number, sys::IPPROTO_UDP))
}

/// The new state has another address after translation, but the same one before.
#[test]
fn deletes_leave_before_inserts_of_the_same_translated_ends() -> Result<()> {
    begin_again(|number| {
        let made = tcp(number);
        let mut addr = made.client.addr;
        addr[0] = 203;
        Connection { nat: Some(Endpoint { addr, port: made.client.port }), ..made }
    })
}

/// Begins a connection anew that is closed on the first firewall. The second has not
/// heard of that: there its endpoints are in these states. Returns whether the new state
/// arrives there.
fn new_state_wins(known: [u8; 2], is_translated: bool) -> Result<bool> {
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    let made = |port: u16| {
        let plain = tcp(1);
        let mut addr = plain.client.addr;
        addr[0] = 203;
        let nat = is_translated.then_some(Endpoint { addr, port });
        Connection { nat, ..plain }
    };
    let old = one.open(&made(1))?;
    lab.seconds(2)?;
    assert!(lead(&one, old, known)?);
    lab.seconds(3)?;
    lab.world.network.set_faults(Faults { loss: 1.0, ..Faults::NONE });
    assert!(lead(&one, old, [FIN_WAIT_2; 2])?);
    lab.seconds(3)?;
    lab.world.network.set_faults(Faults::NONE);
    // pf inserts it beside the old state, which it purges later. The stack keys are the
    // same, and the wire keys too unless the port differs.
    let new = one.open(&made(2))?;
    lab.seconds(3)?;
    let (has_old, has_new) = (two.state(old).is_some(), two.state(new).is_some());
    assert_ne!(has_old, has_new);
    unload([one, two])?;
    Ok(has_new)
}

#[test]
fn a_new_state_wins_over_a_closing_one_of_its_creator() -> Result<()> {
    for is_translated in [false, true] {
        assert!(new_state_wins([CLOSING, ESTABLISHED], is_translated)?);
        assert!(new_state_wins([CLOSING; 2], is_translated)?);
    }
    Ok(())
}

#[test]
fn a_new_state_does_not_win_over_an_open_one() -> Result<()> {
    assert!(!new_state_wins([ESTABLISHED; 2], false)?);
    Ok(())
}
