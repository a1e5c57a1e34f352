// SPDX-License-Identifier: BSD-2-Clause
//! Outages that a firewall can know of: it says that states are missing, requests
//! them, and is demoted until it has them.

mod common;

use anyhow::Result;
use common::{lose, numbered, pair, pair_with, plain_lab, record, tcp, unload};
use pfsync::wire::{BulkMark, Frame, Run, StateId};
use pfsync_simulator::freebsd::kernel::world::SECOND;
use pfsync_simulator::freebsd::net::{self, Sent};
use pfsync_simulator::freebsd::pf::rules::Rules;
use pfsync_simulator::freebsd::pf::traffic::Id;
use pfsync_simulator::lab::{Config, Firewall, Lab};
use std::cell::Cell;
use std::rc::Rc;
use sys_bindings as sys;

/// Opens the connections of these numbers.
fn open(firewall: &Firewall, numbers: std::ops::Range<u32>) -> Result<Vec<Id>> {
    numbers.map(|number| firewall.open(&tcp(number))).collect()
}

/// Number of states, demotion, `syncok`.
fn standing(firewall: &Firewall) -> Result<(usize, i32, bool)> {
    Ok((firewall.states().len(), firewall.demotion(), firewall.is_complete()?))
}

/// A standby misses states while `begin` has cut it off, and asks for them after `end`.
fn misses_states(begin: fn(&Firewall) -> Result<()>, end: fn(&Firewall) -> Result<()>) -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    open(&one, 0..100)?;
    lab.seconds(3)?;
    assert_eq!(standing(&two)?, (100, 0, true));
    begin(&two)?;
    open(&one, 100..200)?;
    lab.seconds(5)?;
    assert_eq!(standing(&two)?, (100, 0, false));
    end(&two)?;
    let (_, demotion, complete) = standing(&two)?;
    assert_eq!((demotion, complete), (240, false));
    lab.seconds(5)?;
    assert_eq!(standing(&two)?, (200, 0, true));
    assert_eq!(standing(&one)?, (200, 0, true));
    unload([one, two])
}

#[test]
fn the_sync_interface_of_the_standby_goes_down_and_up() -> Result<()> {
    misses_states(|two| two.set_sync_up(false), |two| two.set_sync_up(true))
}

#[test]
fn the_sync_interface_of_the_standby_loses_and_gets_its_link() -> Result<()> {
    misses_states(|two| two.set_sync_link(false), |two| two.set_sync_link(true))
}

#[test]
fn the_sync_interface_gets_its_link_while_it_is_down() -> Result<()> {
    let down = |two: &Firewall| {
        two.set_sync_up(false)?;
        two.set_sync_link(false)?;
        two.set_sync_link(true)
    };
    misses_states(down, |two| two.set_sync_up(true))
}

/// A pf that was restarted has everything again.
fn restarts(flushes: bool) -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    open(&one, 0..100)?;
    lab.seconds(3)?;
    two.stop_pf()?;
    if flushes {
        two.flush()?;
    }
    open(&one, 100..200)?;
    lab.seconds(3)?;
    two.start_pf()?;
    assert_eq!(standing(&two)?, (if flushes { 0 } else { 100 }, 0, false));
    lab.advance(1100)?;
    assert_eq!((two.demotion(), two.is_complete()?), (240, false));
    lab.seconds(6)?;
    assert_eq!(standing(&two)?, (200, 0, true));
    assert_eq!(standing(&one)?, (200, 0, true));
    unload([one, two])
}

#[test]
fn pf_of_the_standby_is_stopped_and_started() -> Result<()> {
    restarts(false)
}

#[test]
fn pf_of_the_standby_is_restarted_with_empty_tables() -> Result<()> {
    restarts(true)
}

#[test]
fn pf_restarts_with_empty_tables_while_nothing_happens() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    open(&one, 0..100)?;
    lab.seconds(3)?;
    two.stop_pf()?;
    two.flush()?;
    lab.seconds(2)?;
    two.start_pf()?;
    lab.seconds(7)?;
    assert_eq!(standing(&two)?, (100, 0, true));
    unload([one, two])
}

#[test]
fn an_operator_who_cleared_states_gets_them_back_on_request() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    open(&one, 0..100)?;
    lab.seconds(3)?;
    two.flush()?;
    lab.seconds(60)?;
    assert_eq!(standing(&two)?, (0, 0, false));
    two.request_bulk_update()?;
    assert_eq!(standing(&two)?, (0, 240, false));
    lab.seconds(5)?;
    assert_eq!(standing(&two)?, (100, 0, true));
    unload([one, two])
}

#[test]
fn a_firewall_that_has_everything_is_not_demoted_by_a_request() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    open(&one, 0..100)?;
    lab.seconds(3)?;
    one.request_bulk_update()?;
    for _ in 0..50 {
        assert_eq!(standing(&one)?, (100, 0, true));
        lab.advance(100)?;
    }
    unload([one, two])
}

#[test]
fn pfsync0_goes_down_and_up_and_misses_nothing() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    open(&one, 0..100)?;
    lab.seconds(3)?;
    two.set_up(false)?.expect("down");
    lab.seconds(5)?;
    two.set_up(true)?.expect("up");
    for _ in 0..50 {
        assert_eq!(standing(&two)?, (100, 0, true));
        lab.advance(100)?;
    }
    unload([one, two])
}

#[test]
fn pfsync0_goes_down_and_up_and_misses_a_state() -> Result<()> {
    misses_states(
        |two| {
            two.set_up(false)?.expect("down");
            Ok(())
        },
        |two| {
            two.set_up(true)?.expect("up");
            Ok(())
        },
    )
}

/// A packet of every connection passes, `rounds` times in a second.
fn pass_packets(lab: &Lab, firewall: &Firewall, ids: &[Id], rounds: u32) -> Result<()> {
    for _ in 0..rounds {
        for id in ids {
            firewall.pass(*id, |st| {
                st.src.state = sys::TCPS_ESTABLISHED as u8;
                st.dst.state = sys::TCPS_ESTABLISHED as u8;
                st.src.seqlo = st.src.seqlo.wrapping_add(100);
                st.timeout = sys::PFTM_TCP_ESTABLISHED as u8;
            })?;
        }
        lab.advance(1000 / i64::from(rounds))?;
    }
    Ok(())
}

#[test]
fn copies_of_a_bulk_update_do_not_make_a_firewall_tell_every_packet() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    let ids = open(&one, 0..20)?;
    pass_packets(&lab, &one, &ids, 2)?;
    lab.seconds(3)?;
    one.request_bulk_update()?;
    lab.advance(50)?;
    let sent = record(&lab);
    pass_packets(&lab, &one, &ids, 50)?;
    pass_packets(&lab, &one, &ids, 50)?;
    let packets = sent.borrow().iter().filter(|packet| packet.from == "fw1").count();
    assert!(packets <= 40, "{packets} packets for 2000 of 20 connections");
    unload([one, two])
}

/// Whether a packet requests everything.
fn requests_all(sent: &Sent) -> bool {
    let frame = Frame::parse(sent.frame()).expect("a frame");
    frame.flatten().any(|run| match run {
        Run::UpdateRequest(messages) => messages.iter().any(|raw| StateId::from(*raw) == StateId::ALL),
        _ => false,
    })
}

#[test]
fn a_lost_request_is_repeated_although_updates_arrive_every_second() -> Result<()> {
    let lab = plain_lab();
    let one = lab.boot(1)?;
    one.start_pfsync(&Config::default())?;
    let ids = open(&one, 0..100)?;
    pass_packets(&lab, &one, &ids, 1)?;
    lab.seconds(100)?;
    let two = lab.boot(2)?;
    let until = lab.world.now() + 3 * SECOND;
    let world = Rc::downgrade(&lab.world);
    lab.world
        .network
        .lose(move |sent| world.upgrade().is_some_and(|world| world.now() < until) && requests_all(sent));
    two.start_pfsync(&Config::default())?;
    for id in ids.iter().take(12) {
        pass_packets(&lab, &one, &[*id], 1)?;
    }
    assert_eq!(standing(&two)?, (100, 0, true));
    unload([one, two])
}

#[test]
fn states_that_are_cleared_during_a_bulk_update_are_told_again() -> Result<()> {
    let lab = plain_lab();
    let one = lab.boot(1)?;
    one.start_pfsync(&Config::default())?;
    open(&one, 0..5000)?;
    lab.seconds(100)?;
    let two = lab.boot(2)?;
    two.start_pfsync(&Config::default())?;
    while two.states().is_empty() {
        lab.advance(5)?;
    }
    two.flush()?;
    lab.seconds(4)?;
    assert!(two.states().len() < 5000, "the clear came after the bulk update");
    assert!(!two.is_complete()?);
    lab.seconds(10)?;
    assert_eq!(standing(&two)?, (5000, 0, true));
    unload([one, two])
}

#[test]
fn a_firewall_whose_sync_interface_is_down_does_not_claim_to_have_everything() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    two.set_sync_up(false)?;
    two.request_bulk_update()?;
    lab.seconds(100)?;
    assert_eq!((two.demotion(), two.is_complete()?), (0, false));
    unload([one, two])
}

/// Whether a packet carries that mark of a bulk update.
fn has_mark(sent: &Sent, mark: BulkMark) -> bool {
    let frame = Frame::parse(sent.frame()).expect("a frame");
    frame.flatten().any(|run| match run {
        Run::BulkStatus(messages) => {
            messages.iter().any(|raw| raw.check().is_ok_and(|status| status.mark == mark))
        }
        _ => false,
    })
}

#[test]
fn a_lost_start_mark_does_not_void_a_bulk_update() -> Result<()> {
    let lab = plain_lab();
    let one = lab.boot(1)?;
    one.start_pfsync(&Config::default())?;
    open(&one, 0..500)?;
    lab.seconds(100)?;
    let two = lab.boot(2)?;
    let lost = Rc::new(Cell::new(0));
    let count = lost.clone();
    lab.world.network.lose(move |sent| {
        let is_lost = has_mark(sent, BulkMark::Start) && !has_mark(sent, BulkMark::End);
        count.set(count.get() + usize::from(is_lost));
        is_lost
    });
    two.start_pfsync(&Config::default())?;
    lab.seconds(4)?;
    // The first packet has a few states, too. Nothing tells that they are missing.
    let (states, demotion, complete) = standing(&two)?;
    assert!(states > 400, "{states} of 500 states");
    assert_eq!((lost.get(), demotion, complete), (1, 0, true));
    unload([one, two])
}

#[test]
fn states_that_are_cleared_while_pfsync0_is_down_are_known_to_be_missing() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    open(&one, 0..100)?;
    lab.seconds(3)?;
    assert_eq!(two.set_up(false)?, Ok(()));
    two.flush()?;
    lab.seconds(3)?;
    assert_eq!((standing(&one)?, standing(&two)?), ((100, 0, true), (0, 0, false)));
    assert_eq!(two.set_up(true)?, Ok(()));
    assert_eq!(two.demotion(), 240);
    lab.seconds(5)?;
    assert_eq!(standing(&two)?, (100, 0, true));
    unload([one, two])
}

/// The table of the standby is full, until most states end.
fn full_table(config: &Config) -> Result<()> {
    let lab = plain_lab();
    let one = lab.boot(1)?;
    let two = lab.boot_with(2, &Rules { host_id: 0x0100_0002, state_limit: 100, ..Rules::default() })?;
    [&one, &two].iter().try_for_each(|firewall| firewall.start_pfsync(config))?;
    lab.seconds(10)?;
    let sent = record(&lab);
    let opened = open(&one, 0..300)?;
    lab.seconds(90)?;
    assert_eq!(standing(&two)?, (100, 0, false));
    // A bulk update would bring nothing.
    assert!(!sent.borrow().iter().any(requests_all));
    opened[..250].iter().try_for_each(|id| one.kill(*id))?;
    for _ in 0..120 {
        lab.seconds(1)?;
        assert!(!two.is_complete()? || two.states().len() == 50);
        assert_eq!(two.demotion(), 0);
    }
    assert_eq!(standing(&two)?, (50, 0, true));
    unload([one, two])
}

#[test]
fn states_that_the_limit_of_pf_keeps_out_are_known_to_be_missing() -> Result<()> {
    full_table(&Config::default())?;
    full_table(&numbered())
}

/// The peer's states arrive while there is no memory.
fn no_memory(config: Config) -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair_with(&lab, [config.clone(), config])?;
    two.kernel.heap.fail_sometimes(1.0);
    open(&one, 0..200)?;
    lab.seconds(2)?;
    two.kernel.heap.fail_sometimes(0.0);
    assert_eq!(standing(&two)?, (0, 0, false));
    lab.seconds(70)?;
    assert_eq!(standing(&two)?, (200, 0, true));
    unload([one, two])
}

#[test]
fn states_without_memory_are_known_to_be_missing() -> Result<()> {
    no_memory(Config::default())?;
    no_memory(numbered())
}

#[test]
fn states_that_are_not_requested_are_known_to_be_missing() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    two.write_sysctl("net.pfsync.peer_requests", &1u32.to_le_bytes())?;
    let loses = lose(&lab, |_| true);
    let opened = open(&one, 0..20)?;
    lab.seconds(2)?;
    loses.set(false);
    assert!(two.is_complete()?);
    opened.iter().try_for_each(|id| one.pass(*id, |st| st.src.seqlo += 1).map(drop))?;
    lab.seconds(3)?;
    assert!(two.states().len() < 20 && !two.is_complete()?);
    lab.seconds(70)?;
    assert_eq!(standing(&two)?, (20, 0, true));
    unload([one, two])
}

#[test]
fn a_packet_that_cannot_be_joined_for_lack_of_memory_is_known_to_be_missing() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    let sent = record(&lab);
    open(&one, 0..1)?;
    lab.seconds(2)?;
    assert!(two.is_complete()?);
    let packet = sent.borrow().last().expect("the insert").packet.clone();
    let sync = two.sync() as usize;
    two.kernel.heap.fail_once(Some(1));
    two.run("netisr", move |_| net::receive(&packet, sync as *mut _, 60))?;
    two.kernel.heap.fail_once(None);
    assert!(!two.is_complete()?);
    unload([one, two])
}
