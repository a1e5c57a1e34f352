// SPDX-License-Identifier: BSD-2-Clause
//! Bulk updates, and the demotion of carp(4) until they end.

mod common;

use anyhow::Result;
use common::{no_peer, pair, plain_lab, tcp, unload};
use pfsync_simulator::freebsd::net::Faults;
use pfsync_simulator::lab::Config;

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
