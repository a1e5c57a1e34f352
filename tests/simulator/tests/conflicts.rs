// SPDX-License-Identifier: BSD-2-Clause
//! Contradictions between what a peer says and what is known here are counted, traced, and
//! said once on the console.

mod common;

use anyhow::Result;
use common::target::{numbered, state, Target, PEER};
use common::{pair, plain_lab, tcp, unload};
use pfsync::wire::{Action, RawBulkStatus, RawClear, RawState1400};
use pfsync_simulator::freebsd::pf::rules::Rules;
use pfsync_simulator::lab::{Config, Firewall};

/// The counters of host ids and of states.
fn conflicts(fw: &Firewall) -> Result<[u64; 2]> {
    let read = |name| {
        let bytes = fw.kernel.sysctl_read(&fw.vnet, &format!("net.pfsync.conflicts.{name}"), 8)?;
        anyhow::Ok(u64::from_le_bytes(bytes.try_into().expect("eight bytes")))
    };
    Ok([read("host_ids")?, read("states")?])
}

/// How many lines of the console contain some words.
fn lines(fw: &Firewall, words: &str) -> usize {
    fw.kernel.console.borrow().lines().filter(|line| line.contains(words)).count()
}

#[test]
fn two_firewalls_with_one_host_id_say_so_once() -> Result<()> {
    let lab = plain_lab();
    let rules = Rules { host_id: 0x0100_0001, ..Rules::default() };
    let [one, two] = [lab.boot_with(1, &rules)?, lab.boot_with(2, &rules)?];
    one.start_pfsync(&Config::default())?;
    two.start_pfsync(&Config::default())?;
    lab.seconds(10)?;
    for number in 0..10 {
        one.open(&tcp(number))?;
        two.open(&tcp(100 + number))?;
    }
    lab.seconds(3)?;
    for fw in [&one, &two] {
        assert!(conflicts(fw)?[0] > 0);
        assert_eq!(lines(fw, "host id 0x01000001"), 1);
    }
    unload([one, two])
}

/// Everything that may happen to states of two firewalls without a conflict.
#[test]
fn what_peers_give_back_is_no_conflict() -> Result<()> {
    let lab = plain_lab();
    let [one, two] = pair(&lab)?;
    let ids: Vec<_> = (0..30).map(|number| one.open(&tcp(number))).collect::<Result<_>>()?;
    lab.seconds(2)?;
    for fw in [&one, &two] {
        fw.request_bulk_update()?;
        lab.seconds(5)?;
        ids.iter().try_for_each(|id| fw.pass(*id, |st| st.src.seqlo += 10).map(drop))?;
        lab.seconds(2)?;
    }
    // The creator loses its states, and gets them back.
    one.flush()?;
    let id = two.open(&tcp(100))?;
    lab.seconds(2)?;
    one.pass(id, |st| st.dst.seqlo += 10)?;
    two.kill(id)?;
    lab.seconds(2)?;
    one.request_bulk_update()?;
    lab.seconds(5)?;
    assert_eq!((conflicts(&one)?, conflicts(&two)?), ([0, 0], [0, 0]));
    unload([one, two])
}

/// Sends a state twice, the second time by an action and after a change. Returns the
/// counters.
fn sent_again(action: Action, change: impl FnOnce(&mut RawState1400)) -> Result<[u64; 2]> {
    let target = Target::new()?;
    target.send(Action::Insert1400, &[state()])?;
    let mut again = state();
    change(&mut again);
    target.send(action, &[again])?;
    let counted = conflicts(&target.fw)?;
    assert_eq!(lines(&target.fw, "another connection"), counted[1] as usize);
    target.finish()?;
    Ok(counted)
}

#[test]
fn a_state_of_another_connection_with_a_known_id_is_a_conflict() -> Result<()> {
    let other = |raw: &mut RawState1400| raw.common.key.iter_mut().for_each(|key| key.port[0] = [9, 9]);
    for action in [Action::Insert1400, Action::Update1400] {
        assert_eq!(sent_again(action, other)?, [0, 1]);
        assert_eq!(sent_again(action, |_| ())?, [0, 0]);
    }
    Ok(())
}

#[test]
fn who_has_the_host_id_of_this_firewall_is_a_conflict() -> Result<()> {
    let target = Target::new()?;
    let own = 0x0100_0001u32.to_be_bytes();
    let mut made_here = numbered(1);
    made_here.common.creator = own;
    target.send(Action::Update1400, &[made_here])?;
    assert_eq!(conflicts(&target.fw)?, [0, 0]);
    // The same state is known here: an operator may have loaded it at the peer.
    target.send(Action::Insert1400, &[made_here])?;
    assert_eq!(conflicts(&target.fw)?, [0, 0]);
    let mut made_there = numbered(2);
    made_there.common.creator = own;
    target.send(Action::Insert1400, &[made_there])?;
    assert_eq!(conflicts(&target.fw)?, [1, 0]);
    let mark = |creator| RawBulkStatus { creator, endtime: 0.into(), status: 1, pad: [0; 3] };
    target.send(Action::BulkStatus, &[mark(PEER)])?;
    assert_eq!(conflicts(&target.fw)?, [1, 0]);
    target.send(Action::BulkStatus, &[mark(own)])?;
    assert_eq!(conflicts(&target.fw)?, [2, 0]);
    target.send(Action::Clear, &[RawClear { ifname: [0; 16], creator: own }])?;
    assert_eq!(conflicts(&target.fw)?, [3, 0]);
    assert_eq!(lines(&target.fw, "host id"), 1);
    target.finish()
}

#[test]
fn a_conflict_is_traced() -> Result<()> {
    let target = Target::new()?;
    let names = target.fw.kernel.trace();
    target.send(
        Action::BulkStatus,
        &[RawBulkStatus { creator: 0x0100_0001u32.to_be_bytes(), endtime: 0.into(), status: 1, pad: [0; 3] }],
    )?;
    let fired = target.fw.kernel.take_fired();
    let conflict = fired.iter().find(|fired| names[fired.probe - 1] == "conflict").expect("fired");
    assert_eq!(conflict.args[..3], [0, 0, 0]);
    target.finish()
}
