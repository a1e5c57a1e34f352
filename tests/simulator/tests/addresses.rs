// SPDX-License-Identifier: BSD-2-Clause
//! The source address of packets over IPv6, when the addresses of the sync interface change.

mod common;

use anyhow::Result;
use common::{pair_with, plain_lab, record, tcp, unload};
use pfsync_simulator::lab::{address6, Config, Firewall, Lab, SyncPeer, GROUP6};

/// The multicast group of IPv6.
fn inet6() -> Config {
    Config { syncpeer: Some(SyncPeer::Inet6(GROUP6)), ..Config::default() }
}

fn inet6_pair(lab: &Lab) -> Result<[Firewall; 2]> {
    pair_with(lab, [inet6(), inet6()])
}

#[test]
fn the_source_follows_the_address_of_the_sync_interface() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = inet6_pair(&lab)?;
    let sent = record(&lab);
    one.set_sync_address6(address6(77), false)?;
    one.open(&tcp(1))?;
    lab.seconds(2)?;
    assert!(sent.borrow().iter().any(|packet| packet.packet[8..24] == address6(77)));
    assert!(!sent.borrow().iter().any(|packet| packet.packet[8..24] == address6(1)));
    assert_eq!(two.states().len(), 1);
    unload([one, two])
}

#[test]
fn nothing_is_sent_from_a_tentative_address() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = [lab.boot(1)?, lab.boot(2)?];
    one.start_pfsync(&inet6())?;
    one.open(&tcp(1))?;
    lab.seconds(70)?;
    two.set_sync_address6(address6(2), true)?;
    two.start_pfsync(&inet6())?;
    two.open(&tcp(2))?;
    lab.seconds(3)?;
    assert_eq!((one.states().len(), two.states().len()), (1, 1));
    assert!(!two.is_complete()?);
    // The request is repeated at once, not five seconds after the last one.
    two.accept_sync_address6()?;
    lab.advance(1500)?;
    assert_eq!((one.states().len(), two.states().len()), (2, 2));
    lab.seconds(4)?;
    assert!(two.is_complete()?);
    unload([one, two])
}

#[test]
fn a_request_that_no_address_carried_was_not_made() -> Result<()> {
    let lab = plain_lab();
    let fw = lab.boot(1)?;
    fw.set_sync_address6([0; 16], false)?;
    fw.start_pfsync(&inet6())?;
    lab.seconds(80)?;
    assert_eq!(fw.demotion(), 0);
    assert!(!fw.is_complete()?);
    fw.unload()
}

#[test]
fn what_was_lost_without_an_address_is_sent_again() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = inet6_pair(&lab)?;
    one.set_sync_address6([0; 16], false)?;
    (1..=40).try_for_each(|number| one.open(&tcp(number)).map(drop))?;
    lab.seconds(3)?;
    assert_eq!(two.states().len(), 0);
    one.set_sync_address6(address6(1), false)?;
    lab.seconds(2)?;
    assert_eq!(two.states().len(), 40);
    assert!(one.is_complete()?);
    unload([one, two])
}
