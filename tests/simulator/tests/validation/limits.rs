// SPDX-License-Identifier: BSD-2-Clause
//! The limits on what a peer may make this firewall do.

use super::clear::clear;
use super::common::target::{numbered, Target};
use super::common::tcp;
use super::update::compressed;
use anyhow::Result;
use pfsync::wire::{Action, RawCompressedUpdate, RawId};
use pfsync_simulator::freebsd::pf::rules::Rules;
use zerocopy::byteorder::big_endian::U32;

#[test]
fn limit_peer_inserts() -> Result<()> {
    let target = Target::new()?;
    target.set("peer_inserts", 10)?;
    let states: Vec<_> = (0..30).map(numbered).collect();
    target.send(Action::Insert1400, &states)?;
    assert_eq!((target.fw.states().len(), target.limited("inserts")), (10, 20));
    assert_eq!(target.stats().pfsyncs_badstate, 20);
    target.lab.seconds(1)?;
    target.send(Action::Update1400, &states[20..])?;
    assert_eq!(target.fw.states().len(), 20, "the limit is one for each second");
    target.finish()
}

#[test]
fn limit_peer_share() -> Result<()> {
    let target = Target::with(&Rules { state_limit: 100, ..Rules::default() })?;
    target.set("peer_share", 95)?;
    for first in [0, 60, 120] {
        target.send(Action::Insert1400, &(first..first + 60).map(numbered).collect::<Vec<_>>())?;
    }
    assert_eq!((target.fw.states().len(), target.limited("share")), (95, 85));
    target.fw.open(&tcp(1))?;
    assert_eq!(target.fw.states().len(), 96, "local connections may fill the rest");
    target.finish()
}

#[test]
fn limit_peer_requests_answered() -> Result<()> {
    let target = Target::new()?;
    target.set("peer_requests", 5)?;
    // The firewall speaks format 1400 to this peer, and need not begin with it later.
    target.send::<RawId>(Action::InsertAck, &[])?;
    let ids = (1..=20).map(|number| target.fw.open(&tcp(number)));
    let ids = ids.collect::<Result<Vec<_>>>()?;
    target.lab.seconds(2)?;
    let raw: Vec<_> =
        ids.iter().map(|id| RawId { id: id.id.to_ne_bytes(), creator: id.creator.to_ne_bytes() }).collect();
    target.send(Action::UpdateRequest, &raw)?;
    assert_eq!(target.stats().pfsyncs_oacts[Action::Update1400 as usize], 5);
    assert_eq!(target.limited("requests"), 15);
    target.finish()
}

#[test]
fn limit_peer_requests_asked() -> Result<()> {
    let target = Target::new()?;
    target.set("peer_requests", 5)?;
    let before = target.stats().pfsyncs_oacts[Action::UpdateRequest as usize];
    let unknown = |number: u8| RawCompressedUpdate { id: [number; 8], ..compressed() };
    target.send(Action::UpdateCompressed, &(1..=20).map(unknown).collect::<Vec<_>>())?;
    assert_eq!(target.stats().pfsyncs_oacts[Action::UpdateRequest as usize] - before, 5);
    assert_eq!(target.limited("requests"), 15);
    target.finish()
}

#[test]
fn limit_peer_requests_of_stale_updates() -> Result<()> {
    let target = Target::new()?;
    target.set("peer_requests", 5)?;
    target.send(Action::Insert1400, &(0..20).map(numbered).collect::<Vec<_>>())?;
    let mut stale: Vec<_> = (0..20).map(numbered).collect();
    stale.iter_mut().for_each(|state| state.common.src.seqlo = U32::new(1));
    target.send(Action::Update1400, &stale)?;
    assert_eq!(target.stats().pfsyncs_stale, 20);
    assert_eq!(target.limited("requests"), 15);
    target.finish()
}

#[test]
fn limit_clears() -> Result<()> {
    let target = Target::new()?;
    target.send(Action::Clear, &vec![clear(b""); 40])?;
    assert_eq!(target.limited("clears"), 24);
    target.finish()
}

#[test]
fn limit_rows() -> Result<()> {
    let target = Target::new()?;
    let mut states: Vec<_> = (0..400u32).map(numbered).collect();
    for (number, state) in states.iter_mut().enumerate() {
        // All in one row of pf's hash.
        state.common.id = ((number as u64 + 1) << 32).to_be_bytes();
    }
    for some in states.chunks(100) {
        target.send(Action::Insert1400, some)?;
    }
    assert_eq!((target.fw.states().len(), target.limited("rows")), (256, 144));
    target.finish()
}
