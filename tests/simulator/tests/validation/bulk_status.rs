// SPDX-License-Identifier: BSD-2-Clause
//! The marks of a bulk update.

use super::common::target::{Target, PEER};
use anyhow::Result;
use pfsync::wire::{Action, RawBulkStatus};
use zerocopy::byteorder::big_endian::U32;

fn mark(status: u8, endtime: u32) -> RawBulkStatus {
    RawBulkStatus { creator: PEER, endtime: U32::new(endtime), status, pad: [0; 3] }
}

#[test]
fn bulk_status() -> Result<()> {
    let target = Target::new()?;
    target.send(Action::BulkStatus, &[mark(3, 0)])?;
    assert_eq!(target.stats().pfsyncs_badval, 1);
    target.finish()
}

#[test]
fn bulk_endtime() -> Result<()> {
    let target = Target::new()?;
    target.fw.flush()?;
    target.fw.request_bulk_update()?;
    target.send(Action::BulkStatus, &[mark(1, 0)])?;
    target.send(Action::BulkStatus, &[mark(2, u32::MAX)])?;
    target.lab.seconds(3)?;
    assert_ne!(target.fw.demotion(), 0, "the end mark of an earlier bulk update ended this one");
    target.send(Action::BulkStatus, &[mark(2, 0)])?;
    assert_eq!(target.fw.demotion(), 0);
    target.finish()
}

#[test]
fn bulk_end_alone() -> Result<()> {
    let target = Target::new()?;
    target.fw.flush()?;
    target.lab.seconds(2)?;
    target.fw.request_bulk_update()?;
    target.send(Action::BulkStatus, &[mark(2, 0)])?;
    target.lab.seconds(3)?;
    assert_eq!(target.fw.demotion(), 0);
    target.finish()
}

#[test]
fn bulk_end_after_a_missed_start() -> Result<()> {
    let target = Target::new()?;
    target.fw.stop_pf()?;
    target.send(Action::BulkStatus, &[mark(1, 0)])?;
    target.fw.start_pf()?;
    target.fw.request_bulk_update()?;
    target.send(Action::BulkStatus, &[mark(2, 0)])?;
    target.lab.seconds(3)?;
    assert_ne!(target.fw.demotion(), 0, "nothing tells what was sent before this end mark");
    target.send(Action::BulkStatus, &[mark(1, 0)])?;
    target.send(Action::BulkStatus, &[mark(2, 0)])?;
    target.lab.seconds(3)?;
    assert_eq!(target.fw.demotion(), 0);
    target.finish()
}
