// SPDX-License-Identifier: BSD-2-Clause
//! Clears: what a peer loses when an operator clears states.

mod common;

use anyhow::Result;
use common::{pair, plain_lab, tcp, unload};
use pfsync_simulator::freebsd::kernel::interface;
use pfsync_simulator::freebsd::kernel::vnet::Vnet;
use pfsync_simulator::freebsd::kernel::world::Policy;
use pfsync_simulator::freebsd::pf::traffic::Connection;
use pfsync_simulator::lab::{Lab, OUTSIDE, SYNC};

fn on(interface: &'static str, number: u32) -> Connection {
    Connection { interface, ..tcp(number) }
}

#[test]
fn a_clear_of_one_interface_leaves_states_of_others() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    let cleared = one.open(&on(SYNC, 1))?;
    let kept = one.open(&on(OUTSIDE, 2))?;
    let of_peer = two.open(&on(SYNC, 3))?;
    lab.seconds(3)?;
    assert_eq!((one.states().len(), two.states().len()), (3, 3));
    one.flush_interface(SYNC)?;
    lab.seconds(3)?;
    assert_eq!(one.states().iter().map(|state| state.id).collect::<Vec<_>>(), [kept]);
    assert!(two.state(cleared).is_none());
    assert!(two.state(kept).is_some() && two.state(of_peer).is_some());
    unload([one, two])
}

#[test]
fn each_state_of_a_frame_is_on_its_own_interface() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    let mut outside = Vec::new();
    for number in 0..10 {
        one.open(&on(SYNC, 2 * number))?;
        outside.push(one.open(&on(OUTSIDE, 2 * number + 1))?);
    }
    lab.seconds(3)?;
    assert_eq!(two.states().len(), 20);
    two.flush_interface(SYNC)?;
    let mut left: Vec<_> = two.states().iter().map(|state| state.id).collect();
    left.sort();
    outside.sort();
    assert_eq!(left, outside);
    unload([one, two])
}

#[test]
fn a_clear_of_everything_takes_all_states_of_its_creator() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    one.open(&on(SYNC, 1))?;
    one.open(&on(OUTSIDE, 2))?;
    let of_peer = two.open(&on(SYNC, 3))?;
    lab.seconds(3)?;
    one.flush()?;
    lab.seconds(3)?;
    assert!(one.states().is_empty());
    assert_eq!(two.states().iter().map(|state| state.id).collect::<Vec<_>>(), [of_peer]);
    unload([one, two])
}

/// States that are bound to an interface of this name are synchronized, and cleared
/// alone.
fn is_told(name: &'static str) -> Result<()> {
    let lab = plain_lab();
    let pair = pair(&lab)?;
    for firewall in &pair {
        firewall.run("ifconfig", move |vnet| {
            let outside = vnet.interfaces.find(OUTSIDE).expect("attached");
            interface::rename(outside, name);
        })?;
    }
    let [one, two] = pair;
    let kept = one.open(&on(SYNC, 1))?;
    one.open(&on(name, 2))?;
    lab.seconds(3)?;
    assert_eq!(two.states().len(), 2);
    one.flush_interface(name)?;
    lab.seconds(3)?;
    for firewall in [&one, &two] {
        assert_eq!(firewall.states().iter().map(|state| state.id).collect::<Vec<_>>(), [kept]);
    }
    unload([one, two])
}

/// No interface has a name of sixteen bytes, and no message can carry one.
#[test]
fn a_clear_that_no_message_can_carry_is_not_told_as_one_of_everything() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    one.open(&on(SYNC, 1))?;
    lab.seconds(3)?;
    one.flush_interface("sixteen letters.")?;
    lab.seconds(3)?;
    assert_eq!(two.states().len(), 1);
    unload([one, two])
}

/// Opens as many connections as fill several packets.
fn open_many(vnet: &Vnet, first: u32) {
    for number in first..first + 60 {
        vnet.pf.open(&tcp(number), None).expect("a state");
    }
}

#[test]
fn a_clear_without_memory_leaves_before_the_states_made_since() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    one.open(&tcp(1000))?;
    lab.seconds(3)?;
    let kernel = one.kernel.clone();
    one.run("pfctl", move |vnet| {
        vnet.pf.flush("", true);
        open_many(vnet, 1);
        // The next allocation is the packet of the clear.
        kernel.heap.fail_once(Some(1));
    })?;
    lab.seconds(3)?;
    assert_eq!((one.states().len(), two.states().len()), (60, 60));
    unload([one, two])
}

#[test]
fn a_clear_leaves_before_the_states_made_since_at_any_moment() -> Result<()> {
    for seed in 0..60 {
        let lab = Lab::new(Policy { seed, preemption: 0.3 });
        let [one, two] = pair(&lab)?;
        one.run("pfctl", |vnet| {
            open_many(vnet, 1);
            vnet.pf.flush("", true);
            open_many(vnet, 61);
        })?;
        lab.seconds(3)?;
        assert_eq!((one.states().len(), two.states().len()), (60, 60), "seed {seed}");
        unload([one, two])?;
    }
    Ok(())
}

#[test]
fn an_interface_may_have_a_space_in_its_name() -> Result<()> {
    is_told("the wan")
}

#[test]
fn an_interface_may_have_a_byte_above_127_in_its_name() -> Result<()> {
    is_told("réseau")
}
