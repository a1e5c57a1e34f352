// SPDX-License-Identifier: BSD-2-Clause
//! Who sent a packet: one of several peers, a stranger, or this firewall itself.

mod common;

use anyhow::Result;
use common::{plain_lab, record, requests_bulk, tcp};
use pfsync::wire::{Frame, Run};
use pfsync_simulator::freebsd::net::Faults;
use pfsync_simulator::lab::{address4, Config, Firewall, SyncPeer, GROUP6};

/// A counter of `net.pfsync.limited`.
fn limited(firewall: &Firewall, name: &str) -> Result<u64> {
    let name = format!("net.pfsync.limited.{name}");
    let bytes = firewall.kernel.sysctl_read(&firewall.vnet, &name, 8)?;
    Ok(u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
}

fn to(number: u8) -> Config {
    Config { syncpeer: Some(SyncPeer::Inet(address4(number))), ..Config::default() }
}

#[test]
fn an_empty_peer_that_answers_first_does_not_end_the_wait() -> Result<()> {
    const STATES: u32 = 3000;
    let lab = plain_lab();
    let [one, two, three] = [lab.boot(1)?, lab.boot(2)?, lab.boot(3)?];
    one.start_pfsync(&Config::default())?;
    two.start_pfsync(&Config::default())?;
    lab.seconds(100)?;
    for number in 0..STATES {
        one.open(&tcp(number))?;
    }
    lab.seconds(3)?;
    two.flush()?;
    lab.seconds(3)?;
    assert_eq!((one.states().len(), two.states().len()), (STATES as usize, 0));
    three.start_pfsync(&Config::default())?;
    for _ in 0..100 {
        lab.advance(100)?;
        assert!(!three.is_complete()? || three.states().len() == STATES as usize);
        assert_eq!(three.is_complete()?, three.demotion() == 0);
    }
    assert!(three.is_complete()?);
    [one, two, three].iter().try_for_each(Firewall::unload)
}

#[test]
fn a_peer_that_dies_during_its_answer_leaves_states_missing() -> Result<()> {
    let lab = plain_lab();
    let [one, two, three] = [lab.boot(1)?, lab.boot(2)?, lab.boot(3)?];
    one.start_pfsync(&Config::default())?;
    two.start_pfsync(&Config::default())?;
    lab.seconds(100)?;
    for number in 0..2000 {
        one.open(&tcp(number))?;
    }
    lab.seconds(3)?;
    two.flush()?;
    lab.seconds(3)?;
    // The end mark of the firewall that has the states does not arrive.
    lab.world.network.lose(|sent| {
        let frame = Frame::parse(sent.frame()).expect("a frame");
        sent.from == "fw1"
            && frame.flatten().any(|run| match run {
                Run::BulkStatus(messages) => messages
                    .iter()
                    .any(|raw| raw.check().is_ok_and(|status| status.mark == pfsync::wire::BulkMark::End)),
                _ => false,
            })
    });
    three.start_pfsync(&Config::default())?;
    for _ in 0..20 {
        lab.seconds(1)?;
        assert_eq!((three.demotion(), three.is_complete()?), (240, false));
    }
    lab.world.network.lose(|_| false);
    lab.seconds(10)?;
    assert_eq!((three.states().len(), three.demotion(), three.is_complete()?), (2000, 0, true));
    [one, two, three].iter().try_for_each(Firewall::unload)
}

#[test]
fn only_the_sync_peer_is_heard_if_the_operator_says_so() -> Result<()> {
    let lab = plain_lab();
    let [one, two, three] = [lab.boot(1)?, lab.boot(2)?, lab.boot(3)?];
    one.start_pfsync(&to(2))?;
    two.start_pfsync(&to(1))?;
    three.start_pfsync(&to(1))?;
    lab.seconds(100)?;
    three.open(&tcp(1))?;
    lab.seconds(2)?;
    assert_eq!((one.states().len(), limited(&one, "strangers")?), (1, 0));
    one.kernel.sysctl_write(&one.vnet, "net.pfsync.only_peer", &1u32.to_le_bytes())?;
    three.open(&tcp(2))?;
    two.open(&tcp(3))?;
    lab.seconds(2)?;
    assert_eq!(one.states().len(), 2);
    assert!(limited(&one, "strangers")? > 0);
    [one, two, three].iter().try_for_each(Firewall::unload)
}

/// A firewall whose own packets come back neither answers nor obeys them.
fn reflected(syncpeer: Option<SyncPeer>) -> Result<()> {
    let lab = plain_lab();
    let fw = lab.boot(1)?;
    lab.world.network.set_faults(Faults { reflection: 1.0, ..Faults::NONE });
    let sent = record(&lab);
    fw.start_pfsync(&Config { syncpeer, ..Config::default() })?;
    for number in 0..10 {
        fw.open(&tcp(number))?;
    }
    lab.seconds(20)?;
    assert_eq!((fw.demotion(), fw.is_complete()?), (240, false));
    fw.flush()?;
    fw.open(&tcp(11))?;
    lab.seconds(3)?;
    assert_eq!(fw.states().len(), 1);
    assert!(limited(&fw, "reflected")? > 0);
    let is_mark = |packet: &[u8]| {
        Frame::parse(packet).expect("a frame").flatten().any(|run| matches!(run, Run::BulkStatus(_)))
    };
    assert!(!sent.borrow().iter().any(|packet| is_mark(packet.frame())));
    fw.unload()
}

#[test]
fn own_packets_that_come_back_over_ipv4_are_ignored() -> Result<()> {
    reflected(None)
}

#[test]
fn own_packets_that_come_back_over_ipv6_are_ignored() -> Result<()> {
    reflected(Some(SyncPeer::Inet6(GROUP6)))
}

#[test]
fn a_peer_that_missed_the_request_is_asked_again_after_the_wait() -> Result<()> {
    let lab = plain_lab();
    let numbered = Config { numbered: true, ..Config::default() };
    let [one, two, three] = [lab.boot(1)?, lab.boot(2)?, lab.boot(3)?];
    [&one, &two, &three].iter().try_for_each(|firewall| firewall.start_pfsync(&numbered))?;
    for number in 0..100 {
        three.open(&tcp(number))?;
    }
    lab.seconds(10)?;
    // Only the third has the states, and it hears nothing for a while.
    one.flush()?;
    two.flush()?;
    lab.seconds(3)?;
    let sent = record(&lab);
    lab.world.network.lose(|sent| sent.from != "fw1");
    two.request_bulk_update()?;
    lab.advance(50)?;
    let request = sent.borrow().iter().find(|sent| requests_bulk(sent)).cloned().expect("a request");
    lab.world.network.deliver(&lab.world, one.sync() as usize, &request.packet);
    lab.seconds(3)?;
    assert_eq!((two.states().len(), two.is_complete()?), (0, true));
    lab.world.network.lose(|_| false);
    lab.seconds(5)?;
    assert_eq!((two.states().len(), two.is_complete()?, two.demotion()), (100, true, 0));
    [one, two, three].iter().try_for_each(Firewall::unload)
}
