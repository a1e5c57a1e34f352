// SPDX-License-Identifier: BSD-2-Clause
//! Peers that number their frames: what was lost is told again.

mod common;

use anyhow::Result;
use common::{actions, lose, numbered, pair_with, plain_lab, record, requests_bulk, tcp, unload};
use pfsync::wire::trailer::Trailer;
use pfsync::wire::{Action, Frame, Run};
use pfsync_simulator::freebsd::kernel::world::milliseconds;
use pfsync_simulator::freebsd::net::{Faults, Sent};
use pfsync_simulator::freebsd::pf::traffic::Id;
use pfsync_simulator::lab::{Config, Firewall, Lab, NEWEST};
use std::cell::Cell;
use std::rc::Rc;
use sys_bindings as sys;

const KEY: &[u8] = b"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";
const OTHER_KEY: &[u8] = b"ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn numbered_pair(lab: &Lab) -> Result<[Firewall; 2]> {
    pair_with(lab, [numbered(), numbered()])
}

fn open(firewall: &Firewall, numbers: std::ops::Range<u32>) -> Result<Vec<Id>> {
    numbers.map(|number| firewall.open(&tcp(number))).collect()
}

fn kill(firewall: &Firewall, ids: &[Id]) -> Result<()> {
    ids.iter().try_for_each(|id| firewall.kill(*id))
}

fn ids(firewall: &Firewall) -> Vec<Id> {
    firewall.states().iter().map(|state| state.id).collect()
}

fn assert_in_sync(firewalls: [&Firewall; 2]) -> Result<()> {
    let [one, two] = firewalls;
    assert_eq!(ids(one), ids(two));
    for firewall in firewalls {
        assert!(firewall.is_complete()?);
        assert_eq!(firewall.number("net.pfsync.in_sync")?, 1);
        assert_eq!(firewall.number("net.pfsync.agreement.missing")?, 0);
        assert_eq!(firewall.number("net.pfsync.agreement.forgotten")?, 0);
    }
    Ok(())
}

/// How many packets were refused for their tag (`pfsyncs_badauth`).
fn refused(firewall: &Firewall) -> Result<u64> {
    let size = size_of::<sys::pfsyncstats>();
    let bytes = firewall.kernel.sysctl_read(&firewall.vnet, "net.pfsync.stats", size)?;
    let at = std::mem::offset_of!(sys::pfsyncstats, pfsyncs_badauth);
    Ok(u64::from_ne_bytes(bytes[at..at + 8].try_into()?))
}

/// The trailer of a packet.
fn trailer(sent: &Sent) -> Option<Trailer<'_>> {
    Frame::parse(sent.frame()).expect("a frame").trailer().expect("a trailer")
}

/// Whether a packet has a run of this action.
fn has(sent: &Sent, action: Action) -> bool {
    actions(&[sent.frame().to_vec()]).iter().any(|(other, _)| *other == action)
}

/// A pair in which the second firewall has been told of so many states of the first.
fn pair_with_states(lab: &Lab, count: u32) -> Result<([Firewall; 2], Vec<Id>)> {
    let pair = numbered_pair(lab)?;
    let opened = open(&pair[0], 0..count)?;
    lab.seconds(3)?;
    Ok((pair, opened))
}

/// Hands a firewall the first packet that carried a whole update, which was lost.
fn deliver_update(lab: &Lab, firewall: &Firewall, sent: &[Sent]) {
    let update = sent.iter().find(|sent| has(sent, NEWEST.update())).expect("an update");
    lab.world.network.deliver(&lab.world, firewall.sync() as usize, &update.packet);
}

#[test]
fn what_is_lost_is_told_again() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = numbered_pair(&lab)?;
    let sent = record(&lab);
    lab.world.network.set_faults(Faults {
        loss: 0.2,
        delay: milliseconds(5),
        duplication: 0.1,
        ..Faults::NONE
    });
    let mut opened = Vec::new();
    for round in 0..40 {
        opened.extend(open(&one, round * 10..round * 10 + 10)?);
        lab.advance(200)?;
        kill(&one, &opened[(round * 3) as usize..(round * 3 + 3) as usize])?;
    }
    lab.world.network.set_faults(Faults::NONE);
    lab.seconds(5)?;
    assert_eq!(one.states().len(), 280);
    assert_in_sync([&one, &two])?;
    assert!(two.number("net.pfsync.agreement.lost")? > 0);
    assert_eq!(two.number("net.pfsync.agreement.repaired")?, two.number("net.pfsync.agreement.lost")?);
    assert!(one.number("net.pfsync.agreement.retold")? > 0);
    assert!(!sent.borrow().iter().any(requests_bulk));
    unload([one, two])
}

#[test]
fn a_request_that_is_lost_is_made_again() -> Result<()> {
    let lab = plain_lab();
    let ([one, two], opened) = pair_with_states(&lab, 5)?;
    two.flush()?;
    lab.seconds(3)?;
    let loses = lose(&lab, |sent| has(sent, Action::UpdateRequest));
    opened.iter().try_for_each(|id| one.pass(*id, |st| st.src.seqlo += 1).map(drop))?;
    lab.seconds(3)?;
    assert!(two.states().is_empty());
    loses.set(false);
    lab.seconds(1)?;
    assert_eq!(ids(&two), ids(&one));
    unload([one, two])
}

#[test]
fn a_bulk_update_that_comes_too_soon_after_a_clear_is_requested_again() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = numbered_pair(&lab)?;
    open(&one, 0..200)?;
    lab.seconds(3)?;
    // The peer's own states live on there, but what has just ended is refused.
    two.flush()?;
    two.request_bulk_update()?;
    for _ in 0..12 {
        lab.seconds(1)?;
        assert!(!two.is_complete()? || two.states().len() == 200);
    }
    assert!(two.is_complete()?);
    unload([one, two])
}

#[test]
fn what_is_told_before_the_first_packet_of_a_peer_does_not_bring_a_state_back() -> Result<()> {
    let lab = plain_lab();
    let ([one, two], opened) = pair_with_states(&lab, 5)?;
    one.configure(&Config { syncdev: None, ..numbered() })?.expect("configured");
    let loses = lose(&lab, |sent| sent.from == "fw2");
    one.configure(&numbered())?.expect("configured");
    lab.advance(2)?;
    // Its link has just been opened, and it has heard nobody. The bulk update comes before
    // the deletes leave.
    kill(&one, &opened)?;
    loses.set(false);
    lab.seconds(5)?;
    assert_eq!((one.states().len(), two.states().len()), (0, 0));
    unload([one, two])
}

/// The peer hears late that the states of the first firewall have ended. A part of its bulk
/// update arrives after that.
fn end_heard_late(message: Action, end: impl Fn(&Firewall, &[Id]) -> Result<()>) -> Result<()> {
    let lab = plain_lab();
    let ([one, two], opened) = pair_with_states(&lab, 5)?;
    let loses = lose(&lab, move |sent| has(sent, message) || has(sent, NEWEST.update()));
    let sent = record(&lab);
    end(&one, &opened)?;
    lab.seconds(5)?;
    one.request_bulk_update()?;
    lab.seconds(1)?;
    loses.set(false);
    for _ in 0..100 {
        lab.advance(10)?;
        if two.states().is_empty() {
            break;
        }
    }
    deliver_update(&lab, &one, &sent.borrow());
    lab.seconds(5)?;
    assert_eq!((one.states().len(), two.states().len()), (0, 0));
    unload([one, two])
}

#[test]
fn what_is_told_before_a_late_delete_does_not_bring_a_state_back() -> Result<()> {
    end_heard_late(Action::DeleteCompressed, kill)
}

#[test]
fn what_is_told_before_a_late_clear_does_not_bring_a_state_back() -> Result<()> {
    end_heard_late(Action::Clear, |firewall, _| firewall.flush())
}

#[test]
fn what_is_told_before_a_clear_does_not_bring_a_state_back() -> Result<()> {
    let lab = plain_lab();
    let ([one, two], _) = pair_with_states(&lab, 5)?;
    let loses = lose(&lab, |sent| has(sent, NEWEST.update()));
    let sent = record(&lab);
    one.request_bulk_update()?;
    lab.advance(100)?;
    loses.set(false);
    one.flush()?;
    lab.seconds(1)?;
    // A part of the bulk update arrives only now.
    deliver_update(&lab, &one, &sent.borrow());
    lab.seconds(5)?;
    assert_eq!((one.states().len(), two.states().len()), (0, 0));
    unload([one, two])
}

/// A third firewall's bulk update arrives late at one that a clear has reached.
#[test]
fn what_a_third_peer_tells_after_a_clear_does_not_bring_a_state_back() -> Result<()> {
    let lab = plain_lab();
    let [one, two, three] = [lab.boot(1)?, lab.boot(2)?, lab.boot(3)?];
    let firewalls = [one, two, three];
    firewalls.iter().try_for_each(|firewall| firewall.start_pfsync(&numbered()))?;
    lab.seconds(3)?;
    let [one, two, _] = &firewalls;
    open(one, 0..5)?;
    lab.seconds(3)?;
    let loses = lose(&lab, |sent| has(sent, NEWEST.update()));
    let sent = record(&lab);
    one.request_bulk_update()?;
    lab.advance(100)?;
    one.flush()?;
    lab.advance(100)?;
    loses.set(false);
    assert!(two.states().is_empty());
    let sent: Vec<_> = sent.borrow().iter().filter(|sent| sent.from == "fw3").cloned().collect();
    deliver_update(&lab, two, &sent);
    lab.seconds(8)?;
    assert!(firewalls.iter().all(|firewall| firewall.states().is_empty()));
    firewalls.iter().try_for_each(Firewall::unload)
}

/// More states live on at a third firewall than can be requested one by one. The second firewall
/// refuses them, because they ended there a moment ago. One frame holds all deletes: a bulk update
/// that is requested between two frames of them tells the states of the second frame first.
#[test]
fn more_refused_states_than_can_be_requested_come_by_a_bulk_update() -> Result<()> {
    let lab = plain_lab();
    let firewalls = [lab.boot(1)?, lab.boot(2)?, lab.boot(3)?];
    firewalls.iter().try_for_each(|firewall| firewall.start_pfsync(&numbered()))?;
    lab.seconds(10)?;
    let [one, two, three] = &firewalls;
    let opened = open(one, 0..100)?;
    lab.seconds(3)?;
    let sent = record(&lab);
    opened.iter().try_for_each(|id| three.pass(*id, |st| st.src.seqlo += 1).map(drop))?;
    kill(one, &opened)?;
    lab.seconds(12)?;
    assert_eq!((two.states().len(), three.states().len()), (100, 100));
    assert!(sent.borrow().iter().any(|sent| sent.from == "fw2" && requests_bulk(sent)));
    firewalls.iter().try_for_each(Firewall::unload)
}

#[test]
fn a_cut_of_twenty_seconds_is_repaired_without_a_bulk_update() -> Result<()> {
    let lab = plain_lab();
    let ([one, two], opened) = pair_with_states(&lab, 100)?;
    let sent = record(&lab);
    let is_cut = lose(&lab, |_| true);
    open(&one, 100..200)?;
    kill(&one, &opened)?;
    lab.seconds(20)?;
    assert_eq!(two.states().len(), 100);
    is_cut.set(false);
    lab.seconds(5)?;
    assert_eq!(one.states().len(), 100);
    assert_in_sync([&one, &two])?;
    assert!(!sent.borrow().iter().any(requests_bulk));
    unload([one, two])
}

#[test]
fn a_log_that_is_too_short_leads_to_a_bulk_update() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = numbered_pair(&lab)?;
    lab.seconds(3)?;
    let is_cut = lose(&lab, |_| true);
    // The log has 65,536 entries.
    let opened = open(&one, 0..2000)?;
    for round in 0..40u32 {
        for id in &opened {
            one.pass(*id, move |st| st.src.seqlo += 1 + round)?;
        }
        lab.advance(1100)?;
    }
    is_cut.set(false);
    lab.seconds(10)?;
    assert_eq!(ids(&one), ids(&two));
    assert!(two.is_complete()?);
    assert!(two.number("net.pfsync.agreement.forgotten")? > 0);
    unload([one, two])
}

#[test]
fn a_stock_peer_sees_the_frames_of_today() -> Result<()> {
    let lab = plain_lab();
    let sent = record(&lab);
    let [one, two] = pair_with(&lab, [numbered(), Config::default()])?;
    let opened = open(&one, 0..50)?;
    lab.seconds(3)?;
    kill(&one, &opened[..20])?;
    lab.seconds(40)?;
    assert_eq!((one.states().len(), two.states().len()), (30, 30));
    let mut hellos = 0;
    for packet in sent.borrow().iter() {
        let frame = Frame::parse(packet.frame()).expect("a frame");
        if frame.has_messages() {
            assert!(trailer(packet).is_none());
            assert!(matches!(frame.last(), Some(Ok(Run::Eof(1)))));
        } else {
            assert_eq!(packet.from, "fw1");
            hellos += 1;
        }
    }
    // One a second in the first ten, then one in ten.
    assert!((10..20).contains(&hellos), "{hellos}");
    assert!(one.peers()?.contains("stock"), "{}", one.peers()?);
    assert_eq!(one.number("net.pfsync.in_sync")?, 1);
    unload([one, two])
}

#[test]
fn without_numbers_there_are_no_hellos() -> Result<()> {
    let lab = plain_lab();
    let sent = record(&lab);
    let [one, two] = pair_with(&lab, [Config::default(), Config::default()])?;
    open(&one, 0..50)?;
    lab.seconds(30)?;
    assert!(sent.borrow().iter().all(|packet| trailer(packet).is_none()));
    assert!(sent.borrow().iter().all(|packet| Frame::parse(packet.frame()).expect("a frame").has_messages()));
    unload([one, two])
}

#[test]
fn the_table_shows_a_peer() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = numbered_pair(&lab)?;
    open(&two, 0..30)?;
    lab.seconds(3)?;
    let table = one.peers()?;
    let line = table.lines().nth(1).expect("a peer");
    assert!(line.starts_with("192.0.2.2 ") && line.ends_with("in sync"), "{table}");
    assert!(line.contains("01000002"), "{table}");
    for (name, value) in
        [("present", 1), ("numbered", 1), ("hostid", 0x0100_0002), ("states", 30), ("state", 1)]
    {
        assert_eq!(one.number(&format!("net.pfsync.peer.0.{name}"))?, value, "{name}");
    }
    assert_eq!(one.number("net.pfsync.peer.1.present")?, 0);
    two.set_up(false)?.expect("down");
    lab.seconds(61)?;
    assert!(one.peers()?.contains("silent"));
    unload([one, two])
}

/// Two firewalls with these keys. States follow from one to the other, or not.
fn with_keys(keys: [Option<&[u8]>; 2], required: [bool; 2], follows: bool) -> Result<()> {
    let lab = plain_lab();
    let [one, two] = numbered_pair(&lab)?;
    for (firewall, (key, is_required)) in [&one, &two].iter().zip(keys.into_iter().zip(required)) {
        if let Some(key) = key {
            firewall.write_sysctl("net.pfsync.key", key)?;
        }
        firewall.write_sysctl("net.pfsync.require_key", &i32::from(is_required).to_le_bytes())?;
    }
    lab.seconds(3)?;
    open(&one, 0..50)?;
    lab.seconds(5)?;
    assert_eq!(two.states().len(), if follows { 50 } else { 0 });
    if follows {
        assert!(two.is_complete()?);
    }
    unload([one, two])
}

fn require_key(firewalls: [&Firewall; 2]) -> Result<()> {
    firewalls.iter().try_for_each(|firewall| {
        firewall.write_sysctl("net.pfsync.key", KEY)?;
        firewall.write_sysctl("net.pfsync.require_key", &1i32.to_le_bytes())
    })
}

#[test]
fn a_key_on_one_side_does_no_harm() -> Result<()> {
    with_keys([Some(KEY), None], [false, false], true)?;
    with_keys([None, Some(KEY)], [false, false], true)
}

#[test]
fn a_key_on_both_sides_is_taken() -> Result<()> {
    with_keys([Some(KEY), Some(KEY)], [false, false], true)?;
    with_keys([Some(KEY), Some(KEY)], [true, true], true)
}

#[test]
fn strangers_are_refused() -> Result<()> {
    with_keys([Some(OTHER_KEY), Some(KEY)], [false, false], false)?;
    with_keys([None, Some(KEY)], [false, true], false)?;
    // A key that is required and not set: nobody is believed.
    with_keys([Some(KEY), None], [false, true], false)
}

#[test]
fn keys_change_without_a_gap() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = numbered_pair(&lab)?;
    require_key([&one, &two])?;
    // What was told before the key was required is not believed: a bulk update follows.
    lab.seconds(3)?;
    assert!(one.is_complete()? && two.is_complete()?);
    let steps: [(&Firewall, &str, &[u8]); 6] = [
        (&one, "net.pfsync.key_also", OTHER_KEY),
        (&two, "net.pfsync.key_also", OTHER_KEY),
        (&one, "net.pfsync.key", OTHER_KEY),
        (&two, "net.pfsync.key", OTHER_KEY),
        (&one, "net.pfsync.key_also", b""),
        (&two, "net.pfsync.key_also", b""),
    ];
    let before = [refused(&one)?, refused(&two)?];
    for (number, (firewall, name, key)) in (0..).zip(steps) {
        firewall.write_sysctl(name, key)?;
        open(&one, number * 10..number * 10 + 10)?;
        lab.seconds(2)?;
        assert_eq!([refused(&one)?, refused(&two)?], before, "{name}");
        assert_eq!(ids(&one), ids(&two));
        assert!(one.is_complete()? && two.is_complete()?);
    }
    unload([one, two])
}

/// A frame without messages tells nothing of states: whoever does not listen misses none.
#[test]
fn a_hello_that_is_not_heard_is_no_loss() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = numbered_pair(&lab)?;
    open(&one, 0..10)?;
    lab.seconds(20)?;
    let hellos = one.number("net.pfsync.agreement.hellos_sent")?;
    two.set_up(false)?.expect("down");
    lab.seconds(30)?;
    assert!(one.number("net.pfsync.agreement.hellos_sent")? > hellos);
    two.set_up(true)?.expect("up");
    assert!(two.is_complete()?);
    assert_eq!(two.demotion(), 0);
    lab.seconds(5)?;
    assert_in_sync([&one, &two])?;
    unload([one, two])
}

#[test]
fn a_firewall_that_boots_proves_itself_before_it_requests() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = numbered_pair(&lab)?;
    require_key([&one, &two])?;
    open(&one, 0..10)?;
    lab.seconds(5)?;
    let before = refused(&one)?;
    let asked = Rc::new(Cell::new(0));
    let count = asked.clone();
    lab.world.network.observe(move |sent| count.set(count.get() + usize::from(requests_bulk(sent))));
    two.destroy()?.expect("destroyed");
    two.flush()?;
    two.create()?.expect("created");
    two.configure(&numbered())?.expect("configured");
    two.set_up(true)?.expect("up");
    lab.seconds(4)?;
    assert_eq!(ids(&one), ids(&two));
    assert!(one.is_complete()? && two.is_complete()?);
    assert_eq!(asked.get(), 1);
    // What the key's requirement interrupted was refused before; the boot adds nothing.
    assert_eq!(refused(&one)?, before);
    unload([one, two])
}

#[test]
fn bad_keys_are_refused_and_no_key_is_shown() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = numbered_pair(&lab)?;
    for bad in [&KEY[..63], b"x", &[b'0'; 64], &[b'g'; 64], &[b'a'; 65]] {
        assert!(one.write_sysctl("net.pfsync.key", bad).is_err());
    }
    assert_eq!(one.number("net.pfsync.agreement.keyed")?, 0);
    one.write_sysctl("net.pfsync.key", KEY)?;
    assert_eq!(one.number("net.pfsync.agreement.keyed")?, 1);
    let read = one.kernel.sysctl_read(&one.vnet, "net.pfsync.key", 100);
    assert!(read.map_or(true, |bytes| bytes.iter().all(|byte| *byte == 0)));
    // The interface may be made anew.
    one.destroy()?.expect("destroyed");
    one.create()?.expect("created");
    assert_eq!(one.number("net.pfsync.agreement.keyed")?, 1);
    one.write_sysctl("net.pfsync.key", b"")?;
    assert_eq!(one.number("net.pfsync.agreement.keyed")?, 0);
    unload([one, two])
}

#[test]
fn recorded_packets_change_nothing() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = numbered_pair(&lab)?;
    require_key([&one, &two])?;
    lab.seconds(3)?;
    let sent = record(&lab);
    let opened = open(&one, 0..50)?;
    lab.seconds(3)?;
    kill(&one, &opened)?;
    lab.seconds(3)?;
    let recorded: Vec<_> = sent.borrow().iter().filter(|packet| packet.from == "fw1").cloned().collect();
    let replay = |lab: &Lab| -> Result<()> {
        for packet in &recorded {
            lab.world.network.deliver(&lab.world, two.sync() as usize, &packet.packet);
            lab.advance(1)?;
        }
        Ok(())
    };
    replay(&lab)?;
    lab.seconds(1)?;
    assert_eq!((one.states().len(), two.states().len()), (0, 0));
    assert!(two.number("net.pfsync.agreement.late")? as usize >= recorded.len() - 1);
    // The epoch is forgotten when the link is opened anew.
    two.configure(&Config { syncdev: None, ..numbered() })?.expect("configured");
    two.configure(&numbered())?.expect("configured");
    let is_cut = lose(&lab, |_| true);
    replay(&lab)?;
    assert_eq!(two.states().len(), 0);
    is_cut.set(false);
    lab.seconds(10)?;
    open(&one, 0..50)?;
    lab.seconds(3)?;
    assert_eq!((one.states().len(), two.states().len()), (50, 50));
    unload([one, two])
}

#[test]
fn a_bulk_update_of_many_states_over_a_lossy_wire_is_complete() -> Result<()> {
    let lab = plain_lab();
    let one = lab.boot(1)?;
    one.start_pfsync(&numbered())?;
    open(&one, 0..4000)?;
    lab.seconds(12)?;
    lab.world.network.set_faults(Faults { loss: 0.05, ..Faults::NONE });
    let two = lab.boot(2)?;
    two.start_pfsync(&numbered())?;
    let mut tables = Vec::new();
    for _ in 0..100 {
        lab.advance(100)?;
        if two.is_complete()? {
            assert_eq!(two.states().len(), 4000);
            break;
        }
        tables.push(two.peers()?);
    }
    assert!(two.is_complete()?);
    assert_eq!(two.demotion(), 0);
    let is_under_way = |table: &String| table.contains(" full update ") && table.contains(" %");
    assert!(tables.iter().any(is_under_way), "{tables:?}");
    let table = two.peers()?;
    assert!(table.contains("in sync") && !table.contains("full update"), "{table}");
    unload([one, two])
}
