// SPDX-License-Identifier: BSD-2-Clause
//! Messages that consist of ids: update requests, deletes and acknowledgements.

use super::common::target::{raw_id, state, Target, PEER};
use super::common::tcp;
use anyhow::Result;
use pfsync::wire::{Action, RawId};
use pfsync_simulator::freebsd::pf::rules::NO_SYNC;
use pfsync_simulator::freebsd::pf::traffic::Connection;

fn id_of(id: [u8; 8]) -> RawId {
    RawId { id, creator: PEER }
}

#[test]
fn request_of_everything() -> Result<()> {
    let target = Target::new()?;
    for _ in 0..500 {
        target.send(Action::UpdateRequest, &[RawId { id: [0; 8], creator: [0; 4] }])?;
    }
    let marks = target.stats().pfsyncs_oacts[Action::BulkStatus as usize];
    assert!((40..=56).contains(&marks), "{marks} marks: more or less than one bulk update a second");
    target.finish()
}

#[test]
fn request_of_an_unknown_state() -> Result<()> {
    let target = Target::new()?;
    target.send(Action::UpdateRequest, &[id_of([1; 8])])?;
    assert_eq!(target.stats().pfsyncs_badstate, 1);
    target.finish()
}

#[test]
fn request_of_a_nosync_state() -> Result<()> {
    let target = Target::new()?;
    let id = target.fw.open(&Connection { rule: NO_SYNC, ..tcp(1) })?;
    let raw = RawId { id: id.id.to_ne_bytes(), creator: id.creator.to_ne_bytes() };
    target.send(Action::UpdateRequest, &[raw])?;
    target.lab.seconds(2)?;
    let sent = target.stats().pfsyncs_oacts;
    assert_eq!((sent[Action::Insert1400 as usize], sent[Action::Update1400 as usize]), (0, 0));
    target.finish()
}

#[test]
fn delete_of_an_unknown_state() -> Result<()> {
    let target = Target::new()?;
    target.send(Action::DeleteCompressed, &[id_of([1; 8])])?;
    assert_eq!(target.stats().pfsyncs_badstate, 1);
    target.finish()
}

#[test]
fn delete_of_a_state_in_use() -> Result<()> {
    let target = Target::new()?;
    target.send(Action::Insert1400, &[state()])?;
    target.lab.seconds(3)?;
    target.fw.pass(raw_id(), |st| st.src.seqlo += 1)?;
    let id = RawId { id: raw_id().id.to_ne_bytes(), creator: PEER };
    let told_whole = || target.stats().pfsyncs_oacts[Action::Update1400 as usize];
    let told_before = told_whole();
    target.send(Action::DeleteCompressed, &[id])?;
    assert!(target.has_state());
    assert_eq!((target.stats().pfsyncs_stale, told_whole()), (1, told_before + 1));
    target.send(Action::DeleteCompressed, &[id])?;
    assert!(!target.has_state());
    target.finish()
}

#[test]
fn acknowledgement_of_an_unknown_state() -> Result<()> {
    let target = Target::new()?;
    target.send(Action::InsertAck, &[id_of([1; 8])])?;
    assert_eq!(target.stats().pfsyncs_badstate, 0);
    target.finish()
}
