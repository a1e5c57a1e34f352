//! Two firewalls, one network: what one knows the other learns.

mod common;

use common::{actions, carried, pair, plain_lab, tcp};
use pfsync_simulator::freebsd::kernel::world::{milliseconds, Policy};
use pfsync_simulator::freebsd::net::Faults;
use pfsync_simulator::freebsd::pf::rules::NO_SYNC;
use pfsync_simulator::freebsd::pf::traffic::{Connection, Endpoint};
use pfsync_simulator::lab::{address4, address6, connection, Config, Lab, Peer, GROUP6, NEWEST};
use sys_bindings as sys;

/// Opens, moves on and ends connections on one firewall, and looks for them
/// on the other.
fn follows(lab: &Lab, configs: [Config; 2]) -> anyhow::Result<()> {
    let [one, two] = pair(lab, configs)?;
    let ids: Vec<_> = (1..=30).map(|number| one.open(&tcp(number))).collect::<Result<_, _>>()?;
    lab.seconds(2)?;
    assert_eq!(two.states().len(), 30);
    for id in &ids {
        one.pass(*id, |st| {
            st.src.state = sys::TCPS_ESTABLISHED as u8;
            st.dst.state = sys::TCPS_ESTABLISHED as u8;
            st.src.seqlo = 5000;
            st.dst.seqlo = 7000;
            st.timeout = sys::PFTM_TCP_ESTABLISHED as u8;
        })?;
    }
    lab.seconds(2)?;
    for id in &ids {
        let state = two.state(*id).expect("synchronised");
        assert_eq!((state.seqlo, state.timeout), ([5000, 7000], sys::PFTM_TCP_ESTABLISHED as u8));
    }
    ids.iter().try_for_each(|id| one.kill(*id))?;
    lab.seconds(2)?;
    assert!(two.states().is_empty());
    one.unload()?;
    two.unload()
}

#[test]
fn states_follow_by_multicast() -> anyhow::Result<()> {
    follows(&plain_lab(), [Config::default(), Config::default()])
}

#[test]
fn states_follow_to_a_named_peer() -> anyhow::Result<()> {
    let peer = |number| Config { peer: Some(Peer::Inet(address4(number))), ..Config::default() };
    follows(&plain_lab(), [peer(2), peer(1)])
}

#[test]
fn states_follow_over_ipv6_multicast() -> anyhow::Result<()> {
    let config = Config { peer: Some(Peer::Inet6(GROUP6)), ..Config::default() };
    follows(&plain_lab(), [config.clone(), config])
}

#[test]
fn states_follow_over_ipv6_to_a_named_peer() -> anyhow::Result<()> {
    let peer = |number| Config { peer: Some(Peer::Inet6(address6(number))), ..Config::default() };
    follows(&plain_lab(), [peer(2), peer(1)])
}

#[test]
fn states_follow_in_the_old_format() -> anyhow::Result<()> {
    let config = Config { version: 1301, ..Config::default() };
    follows(&plain_lab(), [config.clone(), config])
}

#[test]
fn either_format_is_understood_by_the_other() -> anyhow::Result<()> {
    let old = Config { version: 1301, ..Config::default() };
    follows(&plain_lab(), [old.clone(), Config::default()])?;
    follows(&plain_lab(), [Config::default(), old])
}

#[test]
fn states_follow_whatever_the_scheduling() -> anyhow::Result<()> {
    for seed in 0..20 {
        follows(&Lab::new(Policy { seed, preemption: 0.3 }), [Config::default(), Config::default()])?;
    }
    Ok(())
}

#[test]
fn states_follow_with_every_mtu() -> anyhow::Result<()> {
    for mtu in [576, 1500, 9000] {
        let lab = plain_lab();
        let [one, two] = pair(&lab, [Config::default(), Config::default()])?;
        for fw in [&one, &two] {
            // SAFETY: the interface is attached, and no thread runs.
            unsafe { (*fw.sync()).if_mtu = mtu };
            assert_eq!(fw.set_mtu(mtu as i32)?, Ok(()));
        }
        for number in 0..200 {
            one.open(&tcp(number))?;
        }
        lab.seconds(3)?;
        assert_eq!(two.states().len(), 200, "MTU {mtu}");
        one.unload()?;
        two.unload()?;
    }
    Ok(())
}

#[test]
fn translated_and_routed_states_follow() -> anyhow::Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab, [Config::default(), Config::default()])?;
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
    one.unload()?;
    two.unload()
}

#[test]
fn a_firewall_that_starts_gets_everything_and_gives_its_demotion_back() -> anyhow::Result<()> {
    let lab = plain_lab();
    let one = lab.boot(1)?;
    one.start_pfsync(&Config::default())?;
    for number in 0..500 {
        one.open(&tcp(number))?;
    }
    lab.seconds(200)?;
    assert_eq!(one.demotion(), 0);
    let two = lab.boot(2)?;
    two.start_pfsync(&Config::default())?;
    assert_eq!(two.demotion(), 240);
    lab.seconds(5)?;
    assert_eq!(two.states().len(), 500);
    assert_eq!((one.demotion(), two.demotion()), (0, 0));
    one.unload()?;
    two.unload()
}

#[test]
fn the_same_configuration_again_does_nothing() -> anyhow::Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab, [Config::default(), Config::default()])?;
    let sent = common::record(&lab);
    for _ in 0..3 {
        assert_eq!(one.configure(&Config::default())?, Ok(()));
    }
    lab.seconds(2)?;
    assert!(sent.borrow().is_empty());
    assert_eq!(one.demotion(), 0);
    one.unload()?;
    two.unload()
}

#[test]
fn a_lost_end_of_a_full_update_costs_seconds() -> anyhow::Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab, [Config::default(), Config::default()])?;
    lab.world.network.set_faults(Faults { loss: 1.0, ..Faults::NONE });
    one.kernel.sysctl_write(&one.vnet, "net.pfsync.bulk_request", &1i32.to_le_bytes())?;
    lab.seconds(3)?;
    assert_eq!(one.demotion(), 240);
    lab.world.network.set_faults(Faults::NONE);
    lab.seconds(10)?;
    assert_eq!(one.demotion(), 0);
    one.unload()?;
    two.unload()
}

#[test]
fn a_deferred_packet_leaves_when_the_peer_has_the_state() -> anyhow::Result<()> {
    let lab = plain_lab();
    let config = Config { defer: true, ..Config::default() };
    let [one, two] = pair(&lab, [config.clone(), config])?;
    one.kernel.sysctl_write(&one.vnet, "net.pfsync.defer_delay", &5000u32.to_le_bytes())?;
    let (_, held) = one.open_with(&tcp(1), vec![0x45; 60])?;
    assert!(held);
    lab.advance(100)?;
    assert_eq!(lab.world.network.take_forwarded().len(), 1);
    one.unload()?;
    two.unload()
}

#[test]
fn a_deferred_packet_leaves_when_its_time_is_over() -> anyhow::Result<()> {
    let lab = plain_lab();
    let config = Config { defer: true, peer: Some(Peer::Inet([192, 0, 2, 99])), ..Config::default() };
    let one = lab.boot(1)?;
    one.start_pfsync(&config)?;
    for number in 0..400 {
        one.open_with(&tcp(number), vec![0x45; 60])?;
    }
    lab.advance(100)?;
    assert_eq!(lab.world.network.take_forwarded().len(), 400);
    one.unload()
}

#[test]
fn no_deferred_packet_is_lost_by_destroying_the_interface() -> anyhow::Result<()> {
    let lab = plain_lab();
    let config = Config { defer: true, ..Config::default() };
    let one = lab.boot(1)?;
    one.start_pfsync(&config)?;
    for number in 0..50 {
        one.open_with(&tcp(number), vec![0x45; 60])?;
    }
    one.unload()?;
    assert_eq!(lab.world.network.take_forwarded().len(), 50);
    Ok(())
}

#[test]
fn clearing_on_one_clears_on_the_other() -> anyhow::Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab, [Config::default(), Config::default()])?;
    (0..50).try_for_each(|number| one.open(&tcp(number)).map(|_| ()))?;
    two.open(&tcp(100))?;
    lab.seconds(2)?;
    assert_eq!(two.states().len(), 51);
    one.flush()?;
    lab.seconds(2)?;
    assert_eq!((one.states().len(), two.states().len()), (0, 1));
    one.unload()?;
    two.unload()
}

#[test]
fn a_stale_half_is_not_taken_over() -> anyhow::Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab, [Config::default(), Config::default()])?;
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
    one.unload()?;
    two.unload()
}

#[test]
fn nothing_that_came_from_a_peer_is_sent_back() -> anyhow::Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab, [Config::default(), Config::default()])?;
    let sent = common::record(&lab);
    (0..20).try_for_each(|number| one.open(&tcp(number)).map(|_| ()))?;
    lab.seconds(3)?;
    let by_two: Vec<_> =
        sent.borrow().iter().filter(|sent| sent.from == "fw2").map(|sent| carried(&sent.packet)).collect();
    assert_eq!(actions(&by_two), []);
    assert!(actions(&sent.borrow().iter().map(|sent| carried(&sent.packet)).collect::<Vec<_>>())
        .iter()
        .all(|(action, _)| *action == NEWEST.insert()));
    one.unload()?;
    two.unload()
}

#[test]
fn split_traffic_converges() -> anyhow::Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab, [Config::default(), Config::default()])?;
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
    one.unload()?;
    two.unload()
}

#[test]
fn one_load_serves_stacks_that_talk_to_each_other() -> anyhow::Result<()> {
    let lab = plain_lab();
    let one = lab.boot(1)?;
    let two = one.jail(&lab, 2)?;
    one.start_pfsync(&Config::default())?;
    two.start_pfsync(&Config::default())?;
    lab.seconds(3)?;
    let id = one.open(&tcp(1))?;
    lab.seconds(2)?;
    assert!(two.state(id).is_some());
    one.unload()
}

#[test]
fn hostile_bytes_do_no_harm() -> anyhow::Result<()> {
    let lab = Lab::new(Policy { seed: 5, preemption: 0.0 });
    let [one, two] = pair(&lab, [Config::default(), Config::default()])?;
    lab.world.network.set_faults(Faults { corruption: 1.0, delay: milliseconds(50), ..Faults::NONE });
    for number in 0..300 {
        let id = one.open(&tcp(number))?;
        one.pass(id, |st| st.src.seqlo += 1000)?;
        lab.advance(20)?;
    }
    lab.seconds(3)?;
    one.unload()?;
    two.unload()
}

/// A state that a no-sync rule made is never sent, whenever it was made.
#[test]
fn a_nosync_state_made_while_pfsync_is_down_stays_here() -> anyhow::Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab, [Config::default(), Config::default()])?;
    assert_eq!(one.set_up(false)?, Ok(()));
    let id = one.open(&Connection { rule: NO_SYNC, ..tcp(1) })?;
    assert_eq!(one.set_up(true)?, Ok(()));
    one.pass(id, |st| st.src.seqlo += 100)?;
    lab.seconds(3)?;
    two.kernel.sysctl_write(&two.vnet, "net.pfsync.bulk_request", &1i32.to_le_bytes())?;
    lab.seconds(3)?;
    assert!(two.state(id).is_none(), "sent though its rule says no-sync");
    one.unload()?;
    two.unload()
}
