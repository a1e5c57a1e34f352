// SPDX-License-Identifier: BSD-2-Clause
//! Two firewalls: what happens to a state of one happens to it on the other.

mod common;

use anyhow::Result;
use common::{actions, follows, pair, plain_lab, record, tcp, unload};
use pfsync_simulator::freebsd::kernel::world::Policy;
use pfsync_simulator::freebsd::net::Faults;
use pfsync_simulator::freebsd::pf::rules::NO_SYNC;
use pfsync_simulator::freebsd::pf::traffic::{Connection, Endpoint};
use pfsync_simulator::lab::{address4, address6, connection, Config, Lab, SyncPeer, GROUP6, NEWEST};
use sys_bindings as sys;

#[test]
fn states_follow_by_multicast() -> Result<()> {
    follows(&plain_lab(), [Config::default(), Config::default()])
}

#[test]
fn states_follow_by_unicast() -> Result<()> {
    let peer = |number| Config { syncpeer: Some(SyncPeer::Inet(address4(number))), ..Config::default() };
    follows(&plain_lab(), [peer(2), peer(1)])
}

#[test]
fn states_follow_by_multicast_over_ipv6() -> Result<()> {
    let config = Config { syncpeer: Some(SyncPeer::Inet6(GROUP6)), ..Config::default() };
    follows(&plain_lab(), [config.clone(), config])
}

#[test]
fn states_follow_by_unicast_over_ipv6() -> Result<()> {
    let peer = |number| Config { syncpeer: Some(SyncPeer::Inet6(address6(number))), ..Config::default() };
    follows(&plain_lab(), [peer(2), peer(1)])
}

#[test]
fn states_follow_whatever_the_scheduling() -> Result<()> {
    for seed in 0..20 {
        follows(&Lab::new(Policy { seed, preemption: 0.3 }), [Config::default(), Config::default()])?;
    }
    Ok(())
}

#[test]
fn translated_and_routed_states_follow() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    let mut outside = [0; 16];
    outside[..4].copy_from_slice(&[203, 0, 113, 1]);
    let nat = Some(Endpoint { addr: outside, port: 50_000 });
    one.open(&Connection { nat, ..connection(1, sys::IPPROTO_UDP) })?;
    one.open(&Connection { route_to: Some("em1"), ..connection(2, sys::IPPROTO_ICMP) })?;
    let inet6 = Connection { is_inet6: true, ..connection(3, sys::IPPROTO_TCP) };
    one.open(&inet6)?;
    one.open(&Connection { rule: NO_SYNC, ..connection(4, sys::IPPROTO_TCP) })?;
    lab.seconds(2)?;
    assert_eq!((one.states().len(), two.states().len()), (4, 3));
    unload([one, two])
}

#[test]
fn clearing_on_one_clears_on_the_other() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    (0..50).try_for_each(|number| one.open(&tcp(number)).map(|_| ()))?;
    two.open(&tcp(100))?;
    lab.seconds(2)?;
    assert_eq!(two.states().len(), 51);
    one.flush()?;
    lab.seconds(2)?;
    assert_eq!((one.states().len(), two.states().len()), (0, 1));
    unload([one, two])
}

#[test]
fn a_clear_leaves_before_later_inserts() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    one.run("pfctl", |vnet| {
        vnet.pf.flush("", true);
        // So many that a packet is full before the sender has its turn.
        for number in 0..100 {
            vnet.pf.open(&connection(number, sys::IPPROTO_TCP), None).expect("made");
        }
    })?;
    lab.seconds(2)?;
    assert_eq!((one.states().len(), two.states().len()), (100, 100));
    unload([one, two])
}

#[test]
fn a_stale_endpoint_is_never_copied() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    let id = one.open(&tcp(1))?;
    let established = |src: u32, dst: u32| {
        move |st: &mut sys::pf_kstate| {
            st.src.state = sys::TCPS_ESTABLISHED as u8;
            st.dst.state = sys::TCPS_ESTABLISHED as u8;
            (st.src.seqlo, st.dst.seqlo) = (src, dst);
        }
    };
    one.pass(id, established(1000, 400_000))?;
    lab.seconds(2)?;
    lab.world.network.set_faults(Faults { loss: 1.0, ..Faults::NONE });
    two.pass(id, established(1000, 500_000))?;
    lab.seconds(3)?;
    lab.world.network.set_faults(Faults::NONE);
    one.pass(id, established(2000, 400_000))?;
    lab.seconds(3)?;
    assert_eq!(two.state(id).expect("there").seqlo, [2000, 500_000]);
    assert_eq!(one.state(id).expect("there").seqlo, [2000, 500_000]);
    unload([one, two])
}

#[test]
fn split_traffic_converges() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    let id = one.open(&tcp(1))?;
    lab.seconds(2)?;
    for step in 1..50u32 {
        let (near, far) = if step % 2 == 0 { (&one, &two) } else { (&two, &one) };
        near.pass(id, move |st| {
            st.src.state = sys::TCPS_ESTABLISHED as u8;
            st.src.seqlo = 1000 + 10 * step;
        })?;
        far.pass(id, move |st| {
            st.dst.state = sys::TCPS_ESTABLISHED as u8;
            st.dst.seqlo = 1000 + 10 * step;
        })?;
        lab.advance(50)?;
    }
    lab.seconds(3)?;
    let [near, far] = [one.state(id), two.state(id)].map(|state| state.expect("there"));
    assert_eq!((near.states, near.seqlo), (far.states, far.seqlo));
    unload([one, two])
}

#[test]
fn nothing_that_came_from_a_peer_is_sent_back() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    let sent = record(&lab);
    (0..20).try_for_each(|number| one.open(&tcp(number)).map(|_| ()))?;
    lab.seconds(3)?;
    let by_two: Vec<_> =
        sent.borrow().iter().filter(|sent| sent.from == "fw2").map(|sent| sent.frame().to_vec()).collect();
    assert_eq!(actions(&by_two), []);
    assert!(actions(&sent.borrow().iter().map(|sent| sent.frame().to_vec()).collect::<Vec<_>>())
        .iter()
        .all(|(action, _)| *action == NEWEST.insert()));
    unload([one, two])
}

/// A state that a no-sync rule made is never sent, whenever it was made.
#[test]
fn a_nosync_state_made_while_pfsync_is_down_is_never_sent() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    assert_eq!(one.set_up(false)?, Ok(()));
    let id = one.open(&Connection { rule: NO_SYNC, ..tcp(1) })?;
    assert_eq!(one.set_up(true)?, Ok(()));
    one.pass(id, |st| st.src.seqlo += 100)?;
    lab.seconds(3)?;
    two.request_bulk_update()?;
    lab.seconds(3)?;
    assert!(two.state(id).is_none(), "sent though its rule says no-sync");
    unload([one, two])
}
