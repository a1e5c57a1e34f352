// SPDX-License-Identifier: BSD-2-Clause
//! Deferred packets: each leaves once, whatever happens meanwhile.

mod common;

use anyhow::Result;
use common::{no_peer, pair_with, plain_lab, tcp, unload};
use pfsync_simulator::lab::Config;
use sys_bindings as sys;

#[test]
fn a_deferred_packet_leaves_when_the_peer_has_the_state() -> Result<()> {
    let lab = plain_lab();
    let config = Config { defer: true, ..Config::default() };
    let [one, two] = pair_with(&lab, [config.clone(), config])?;
    one.kernel.sysctl_write(&one.vnet, "net.pfsync.defer_delay", &5000u32.to_le_bytes())?;
    let (_, held) = one.open_with(&tcp(1), vec![0x45; 60])?;
    assert!(held);
    lab.advance(100)?;
    assert_eq!(lab.world.network.take_forwarded().len(), 1);
    unload([one, two])
}

#[test]
fn a_deferred_packet_leaves_when_its_time_is_over() -> Result<()> {
    let lab = plain_lab();
    let config = Config { defer: true, ..no_peer() };
    let one = lab.boot(1)?;
    one.start_pfsync(&config)?;
    for number in 0..400 {
        one.open_with(&tcp(number), vec![0x45; 60])?;
    }
    lab.advance(100)?;
    assert_eq!(lab.world.network.take_forwarded().len(), 400);
    let waits = one.run("look", |vnet| {
        let mut waits = 0;
        // SAFETY: linked states live, and no other thread runs.
        vnet.pf.for_each(|st| waits += unsafe { (*st).state_flags } & sys::PFSTATE_ACK as u16);
        waits
    })?;
    assert_eq!(waits, 0, "no state waits for an acknowledgement any more");
    one.unload()
}

#[test]
fn no_deferred_packet_is_lost_when_the_module_is_unloaded() -> Result<()> {
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
