// SPDX-License-Identifier: BSD-2-Clause
//! Updates of known states, whole and compressed.

use super::common::target::{in_1301, state, Target, PEER};
use super::state::{last_used, Change};
use anyhow::Result;
use pfsync::wire::{Action, RawCompressedUpdate, RawEndpoint};
use sys_bindings as sys;
use zerocopy::byteorder::big_endian::U32;
use zerocopy::FromZeros;

/// Sends an update of a known state, with another key, protocol or direction.
fn is_another(change: Change) -> Result<()> {
    let target = Target::new()?;
    target.send(Action::Insert1400, &[state()])?;
    let mut other = state();
    other.common.src.seqlo = U32::new(5000);
    change(&mut other);
    target.send(Action::Update1400, &[other])?;
    target.send(Action::Update1301, &[in_1301(&other)])?;
    assert_eq!(target.look(|st| st.src.seqlo), Some(1000));
    assert_eq!(target.stats().pfsyncs_badval, 2);
    target.finish()
}

rows! {
    update_of_other_ends: is_another(|s| s.common.key[0].addr[1][3] = 99);
    update_of_other_ports: is_another(|s| s.common.key[1].port[0] = [0, 1]);
    update_of_other_direction: is_another(|s| s.direction = sys::PF_IN as u8);
    update_of_other_family: is_another(|s| s.af = sys::AF_INET6 as u8);
    update_of_other_proto: is_another(|s| { s.proto = 17; s.common.src.state = 1; s.common.dst.state = 1 });
}

#[test]
fn update_that_is_stale() -> Result<()> {
    let target = Target::new()?;
    target.send(Action::Insert1400, &[state()])?;
    let mut old = state();
    old.common.src.seqlo = U32::new(10);
    target.send(Action::Update1400, &[old])?;
    assert_eq!((target.look(|st| st.src.seqlo), target.stats().pfsyncs_stale), (Some(1000), 1));
    target.finish()
}

pub(super) fn compressed() -> RawCompressedUpdate {
    let mut raw = RawCompressedUpdate::new_zeroed();
    let newer = RawEndpoint { seqlo: U32::new(9000), ..state().common.src };
    (raw.id, raw.creator, raw.src, raw.dst) = (state().common.id, PEER, newer, newer);
    raw.timeout = sys::PFTM_TCP_ESTABLISHED as u8;
    raw
}

fn compressed_is_refused(change: fn(&mut RawCompressedUpdate)) -> Result<()> {
    let target = Target::new()?;
    target.send(Action::Insert1400, &[state()])?;
    let mut raw = compressed();
    change(&mut raw);
    target.send(Action::UpdateCompressed, &[raw])?;
    assert_eq!((target.look(|st| st.src.seqlo), target.stats().pfsyncs_badval), (Some(1000), 1));
    target.finish()
}

rows! {
    compressed_timeout: compressed_is_refused(|c| c.timeout = 14);
    compressed_peer_state: compressed_is_refused(|c| c.dst.state = 13);
    compressed_wscale: compressed_is_refused(|c| c.src.wscale = 15);
}

#[test]
fn compressed_expire() -> Result<()> {
    let target = Target::new()?;
    target.send(Action::Insert1400, &[state()])?;
    target.send(
        Action::UpdateCompressed,
        &[RawCompressedUpdate { expire: U32::new(u32::MAX), ..compressed() }],
    )?;
    assert_eq!(target.look(|st| (st.src.seqlo, last_used(st) < 110)), Some((9000, true)));
    target.finish()
}

#[test]
fn compressed_of_an_unknown_state() -> Result<()> {
    let target = Target::new()?;
    let before = target.stats().pfsyncs_oacts[Action::UpdateRequest as usize];
    target.send(Action::UpdateCompressed, &[compressed(), compressed()])?;
    assert_eq!(target.stats().pfsyncs_oacts[Action::UpdateRequest as usize] - before, 1);
    target.finish()
}
