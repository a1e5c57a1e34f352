// SPDX-License-Identifier: BSD-2-Clause
//! Deferred packets: each leaves once, whatever happens meanwhile.

mod common;

use anyhow::Result;
use common::{no_peer, pair_with, plain_lab, tcp, unload};
use pfsync_simulator::freebsd::kernel::world::milliseconds;
use pfsync_simulator::freebsd::net::Faults;
use pfsync_simulator::freebsd::pf::traffic::Id;
use pfsync_simulator::lab::{Config, Firewall};
use std::collections::{HashMap, HashSet};
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

/// A load under which more packets are to be deferred than a bucket has places for.
struct Load {
    /// The firewall has twice as many buckets.
    cpus: i32,
    /// The longest time that a packet between the firewalls takes, in milliseconds.
    wire: i64,
    /// `net.pfsync.defer_delay`, in milliseconds.
    defer_delay: u32,
    /// How long the reply takes to arrive, in milliseconds after the first packet left. It
    /// arrives at the other firewall.
    reply: i64,
}

/// New connections in each millisecond, and for how many milliseconds.
const RATE: u32 = 10;
const DURATION: i64 = 200;

fn numbered_packet(number: u32) -> Vec<u8> {
    let mut packet = vec![0x45; 40];
    packet.extend(number.to_be_bytes());
    packet
}

/// How many handshakes are lost under a load, because the other firewall does not have the
/// state when the reply arrives; and how many packets were not deferred.
fn lost_handshakes(load: &Load) -> Result<(usize, usize)> {
    let lab = plain_lab();
    let [one, two] = [lab.boot(1)?, lab.boot(2)?];
    // SAFETY: no thread of the kernel runs.
    unsafe { (*one.kernel.variables.globals()).set_cpus(load.cpus) };
    let config = Config { defer: true, ..Config::default() };
    one.start_pfsync(&config)?;
    two.start_pfsync(&config)?;
    lab.seconds(10)?;
    one.kernel.sysctl_write(&one.vnet, "net.pfsync.defer_delay", &load.defer_delay.to_le_bytes())?;
    lab.world.network.set_faults(Faults { delay: milliseconds(load.wire), ..Faults::NONE });
    let (mut ids, mut left, mut at_once) = (Vec::new(), HashMap::<i64, Vec<Id>>::new(), 0);
    let mut lost = 0;
    let known = |fw: &Firewall| fw.vnet.pf.see().iter().map(|state| state.id).collect::<HashSet<_>>();
    for now in 0..DURATION + 300 {
        for _ in 0..if now < DURATION { RATE } else { 0 } {
            let number = ids.len() as u32;
            let (id, deferred) = one.open_with(&tcp(number), numbered_packet(number))?;
            ids.push(id);
            if !deferred {
                at_once += 1;
                left.entry(now + load.reply).or_default().push(id);
            }
        }
        lab.advance(1)?;
        for (_, packet) in lab.world.network.take_forwarded() {
            let number = u32::from_be_bytes(packet[40..44].try_into()?);
            left.entry(now + load.reply).or_default().push(ids[number as usize]);
        }
        if let Some(replied) = left.remove(&now) {
            let known = known(&two);
            lost += replied.iter().filter(|id| !known.contains(id)).count();
        }
    }
    unload([one, two])?;
    Ok((lost, at_once))
}

/// docs/benchmarks.md has the numbers that this prints.
#[test]
fn few_handshakes_are_lost_at_ten_thousand_new_connections_a_second() -> Result<()> {
    for (cpus, wire, defer_delay, reply) in
        [(1, 20, 20, 1), (1, 40, 100, 1), (2, 100, 200, 1), (1, 100, 200, 1), (1, 100, 200, 10)]
    {
        let (lost, at_once) = lost_handshakes(&Load { cpus, wire, defer_delay, reply })?;
        println!(
            "{cpus} CPUs, wire {wire} ms, defer_delay {defer_delay} ms, reply after {reply} ms: \
             {lost} of 2000 handshakes lost, {at_once} packets not deferred"
        );
    }
    Ok(())
}
