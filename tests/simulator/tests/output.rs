// SPDX-License-Identifier: BSD-2-Clause
//! What pfsync0 shows on bpf(4) and to DTrace, and how large its packets are.

mod common;

use anyhow::Result;
use common::{actions, pair, pair_with, plain_lab, tcp, unload};
use pfsync::wire::Action;
use pfsync_simulator::freebsd::pf::rules::NO_SYNC;
use pfsync_simulator::freebsd::pf::traffic::Connection;
use pfsync_simulator::lab::{connection, Config, SyncPeer, GROUP6, NEWEST};
use sys_bindings as sys;

#[test]
fn the_life_of_a_state_shows_on_bpf() -> Result<()> {
    let lab = plain_lab();
    let fw = lab.boot(1)?;
    fw.start_pfsync(&Config { syncdev: None, ..Config::default() })?;
    fw.watch();
    let id = fw.open(&connection(1, sys::IPPROTO_TCP))?;
    lab.seconds(2)?;
    assert_eq!(actions(&fw.frames()), [(NEWEST.insert(), 1)]);
    fw.pass(id, |st| st.src.seqlo += 100)?;
    fw.pass(id, |st| st.src.seqlo += 100)?;
    lab.seconds(2)?;
    assert_eq!(actions(&fw.frames()), [(Action::UpdateCompressed, 1)]);
    fw.kill(id)?;
    lab.seconds(2)?;
    assert_eq!(actions(&fw.frames()), [(Action::DeleteCompressed, 1)]);
    fw.unload()
}

#[test]
fn states_of_a_nosync_rule_are_not_shown() -> Result<()> {
    let lab = plain_lab();
    let fw = lab.boot(1)?;
    fw.start_pfsync(&Config { syncdev: None, ..Config::default() })?;
    fw.watch();
    let id = fw.open(&Connection { rule: NO_SYNC, ..connection(1, sys::IPPROTO_UDP) })?;
    fw.pass(id, |st| st.packets[1] += 1)?;
    fw.kill(id)?;
    lab.seconds(3)?;
    assert_eq!(actions(&fw.frames()), []);
    fw.unload()
}

#[test]
fn probes_fire_only_while_they_are_traced() -> Result<()> {
    let lab = plain_lab();
    let fw = lab.boot(1)?;
    fw.start_pfsync(&Config { syncdev: None, ..Config::default() })?;
    fw.watch();
    fw.open(&connection(1, sys::IPPROTO_TCP))?;
    assert_eq!(fw.kernel.take_fired(), []);
    let names = fw.kernel.trace();
    let id = fw.open(&connection(2, sys::IPPROTO_TCP))?;
    let fired = fw.kernel.take_fired();
    let [queued] = fired[..] else { panic!("{fired:?}") };
    assert_eq!(names[queued.probe - 1], "queued");
    const INSERT: usize = 0;
    assert_eq!(queued.args[..3], [u64::from_be(id.id) as usize, u32::from_be(id.creator) as usize, INSERT]);
    fw.unload()
}

#[test]
fn states_follow_with_every_mtu() -> Result<()> {
    for mtu in [576, 1500, 9000] {
        let lab = plain_lab();
        let [one, two] = pair(&lab)?;
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
        unload([one, two])?;
    }
    Ok(())
}

#[test]
fn packets_may_be_as_large_as_ip_allows() -> Result<()> {
    let lab = plain_lab();
    for peer in [None, Some(SyncPeer::Inet6(GROUP6))] {
        let config = Config { syncpeer: peer, ..Config::default() };
        let [one, two] = pair_with(&lab, [config.clone(), config])?;
        for firewall in [&one, &two] {
            // SAFETY: the interface lives; one word is written.
            unsafe { (&raw mut (*firewall.sync()).if_mtu).write(65_535) };
            assert_eq!(firewall.set_mtu(65_535)?, Ok(()));
        }
        for number in 0..300 {
            one.open(&connection(number, sys::IPPROTO_UDP))?;
        }
        lab.seconds(3)?;
        assert_eq!(two.states().len(), 300);
        unload([one, two])?;
    }
    Ok(())
}
