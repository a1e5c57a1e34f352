// SPDX-License-Identifier: BSD-2-Clause
//! Clears.

use super::common::target::{state, Target, PEER};
use anyhow::Result;
use pfsync::wire::{Action, RawClear};
use pfsync_simulator::lab::{OUTSIDE, SYNC};

pub(super) fn clear(name: &[u8]) -> RawClear {
    let mut raw = RawClear { ifname: [0; 16], creator: PEER };
    raw.ifname[..name.len()].copy_from_slice(name);
    raw
}

/// Whether a state that is bound to the sync interface is left after a clear, and the
/// counter of bad values.
fn after_clear(raw: RawClear) -> Result<(bool, u64)> {
    let target = Target::new()?;
    let mut bound = state();
    bound.common.ifname[..3].copy_from_slice(SYNC.as_bytes());
    target.send(Action::Insert1400, &[bound])?;
    target.send(Action::Clear, &[raw])?;
    let seen = (target.has_state(), target.stats().pfsyncs_badval);
    target.finish()?;
    Ok(seen)
}

#[test]
fn clear_ifname_unterminated() -> Result<()> {
    assert_eq!(after_clear(clear(&[b'e'; 16]))?, (true, 1));
    Ok(())
}

#[test]
fn clear_ifname_of_any_bytes() -> Result<()> {
    assert_eq!(after_clear(clear(b"e\x07 \xff"))?, (true, 0));
    Ok(())
}

#[test]
fn clear_ifname_unknown() -> Result<()> {
    assert_eq!(after_clear(clear(b"em77"))?, (true, 0));
    Ok(())
}

#[test]
fn clear_ifname_known() -> Result<()> {
    assert_eq!(after_clear(clear(SYNC.as_bytes()))?, (false, 0));
    Ok(())
}

#[test]
fn clear_ifname_of_another_interface() -> Result<()> {
    assert_eq!(after_clear(clear(OUTSIDE.as_bytes()))?, (true, 0));
    Ok(())
}

#[test]
fn clear_ifname_empty() -> Result<()> {
    assert_eq!(after_clear(clear(b""))?, (false, 0));
    Ok(())
}

#[test]
fn clear_creator() -> Result<()> {
    assert_eq!(after_clear(RawClear { creator: [1; 4], ..clear(b"") })?, (true, 0));
    Ok(())
}
