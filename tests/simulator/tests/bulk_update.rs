// SPDX-License-Identifier: BSD-2-Clause
//! Bulk updates, and the demotion of carp(4) until they end.

mod common;

use anyhow::Result;
use common::{actions, no_peer, pair, plain_lab, record, tcp, unload};
use pfsync_simulator::freebsd::net::Faults;
use pfsync_simulator::lab::{Config, NEWEST};

#[test]
fn a_firewall_that_starts_gets_all_states_and_ends_its_demotion() -> Result<()> {
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
    unload([one, two])
}

#[test]
fn a_lost_end_mark_delays_the_end_by_seconds() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    lab.world.network.set_faults(Faults { loss: 1.0, ..Faults::NONE });
    one.flush()?;
    one.request_bulk_update()?;
    lab.seconds(3)?;
    assert_eq!(one.demotion(), 240);
    lab.world.network.set_faults(Faults::NONE);
    lab.seconds(10)?;
    assert_eq!(one.demotion(), 0);
    unload([one, two])
}

/// 80,000 states leave in a second, whatever the packets hold and however fast the clock ticks.
#[test]
fn states_leave_at_the_pace_of_a_stock_peer() -> Result<()> {
    for (hz, mtu) in [(100, 1500), (100, 9000), (1000, 1500), (1000, 9000)] {
        let lab = plain_lab();
        let [one, two] = pair(&lab)?;
        for fw in [&one, &two] {
            // SAFETY: the interface is attached, and no thread runs.
            unsafe { (*fw.sync()).if_mtu = mtu };
            // SAFETY: the kernel's own variable, and no thread runs.
            unsafe { (*fw.kernel.variables.globals()).set_hz(hz) };
            assert_eq!(fw.set_mtu(mtu as i32)?, Ok(()));
        }
        for number in 0..3000 {
            one.open(&tcp(number))?;
        }
        lab.seconds(3)?;
        let sent = record(&lab);
        two.request_bulk_update()?;
        let mut told = Vec::new();
        for _ in 0..10 {
            lab.advance(10)?;
            let frames: Vec<_> = sent.borrow_mut().drain(..).map(|sent| sent.frame().to_vec()).collect();
            let updates = actions(&frames).into_iter().filter(|(action, _)| *action == NEWEST.update());
            told.push(updates.map(|(_, count)| count).sum::<usize>());
        }
        assert_eq!(told.iter().sum::<usize>(), 3000, "hz {hz}, MTU {mtu}: {told:?}");
        // A packet may be left from the tick before.
        assert!(told.iter().all(|count| *count <= 840), "hz {hz}, MTU {mtu}: {told:?}");
        assert!(told.iter().filter(|count| **count > 0).count() <= 5, "hz {hz}, MTU {mtu}: {told:?}");
        unload([one, two])?;
    }
    Ok(())
}

#[test]
fn a_peer_that_never_answers_is_given_up() -> Result<()> {
    let lab = plain_lab();
    let fw = lab.boot(1)?;
    fw.start_pfsync(&no_peer())?;
    assert_eq!(fw.demotion(), 240);
    lab.seconds(120)?;
    assert_eq!(fw.demotion(), 0);
    fw.unload()
}

#[test]
fn carp_that_is_loaded_during_a_bulk_update_ends_undemoted() -> Result<()> {
    let lab = plain_lab();
    let fw = lab.boot(1)?;
    fw.kernel.set_carp(false);
    fw.start_pfsync(&no_peer())?;
    fw.kernel.set_carp(true);
    lab.seconds(100)?;
    assert_eq!(fw.demotion(), 0);
    fw.unload()
}
