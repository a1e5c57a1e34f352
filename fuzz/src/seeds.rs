// SPDX-License-Identifier: BSD-2-Clause
//! The seeds: inputs to begin with, made from the captures in `tests/captures`.

use crate::receive::frames::envelope;
use crate::receive::{FRAME, TIME};
use anyhow::{Context, Result};
use pcap_file::pcap::PcapReader;
use pfsync::wire::{Action, Format, Subheader};
use pfsync_simulator::lab::{Config, SyncPeer, GROUP6};
use std::fs::File;
use std::path::Path;
use zerocopy::FromBytes;

/// The captures, and the size in bytes of their link and IP headers. Those of pfsync0
/// have none.
const CAPTURES: [(&str, usize); 8] = [
    ("1301-wire", 34),
    ("1400-wire", 34),
    ("1500-wire", 34),
    ("1500-actions-wire", 34),
    ("1301-pfsync0", 0),
    ("1400-pfsync0", 0),
    ("1500-pfsync0", 0),
    ("1500-actions-pfsync0", 0),
];

/// The size of a frame's header, the offset of the interface's name in a state, and that of the
/// name of the interface that made a state of format 1500.
const HEADER: usize = 20;
const IFNAME: usize = 8;
const ORIGINAL_IFNAME: usize = 312;

fn captured(name: &str, skip: usize) -> Result<Vec<Vec<u8>>> {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/captures").join(name).with_extension("pcap");
    let mut reader = PcapReader::new(File::open(&path).with_context(|| path.display().to_string())?)?;
    let mut frames = Vec::new();
    while let Some(packet) = reader.next_packet() {
        frames.push(packet?.data[skip..].to_vec());
    }
    Ok(frames)
}

/// The frames of all captures.
pub(crate) fn frames() -> Result<Vec<Vec<u8>>> {
    let frames: Result<Vec<_>> = CAPTURES.iter().map(|(name, skip)| captured(name, *skip)).collect();
    Ok(frames?.into_iter().flatten().collect())
}

/// The frames for the target `roundtrip`.
pub(crate) fn rewritten_frames() -> Result<Vec<Vec<u8>>> {
    Ok(frames()?.into_iter().map(|frame| [vec![0], frame].concat()).collect())
}

/// The frames for the target `receive`: a few in a row, with time between them.
pub(crate) fn received_frames() -> Result<Vec<Vec<u8>>> {
    let steps: Vec<Vec<u8>> = frames()?.into_iter().map(delivery).collect();
    Ok(steps.chunks(6).map(<[_]>::concat).collect())
}

/// The steps in which a frame arrives and a second passes.
fn delivery(mut frame: Vec<u8>) -> Vec<u8> {
    rename_interfaces(&mut frame);
    let len = (frame.len() as u16).to_le_bytes();
    let how = envelope::UNICAST;
    [vec![FRAME, how, len[0], len[1]], frame, vec![TIME, 4]].concat()
}

/// Gives states an interface that simulated firewalls have.
fn rename_interfaces(frame: &mut [u8]) {
    let mut rest = frame.get_mut(HEADER..).unwrap_or_default();
    while let Ok((subheader, messages)) = Subheader::read_from_prefix(rest) {
        let format = Action::from_number(subheader.action).and_then(Action::format);
        let size = format.map_or(0, Format::size);
        let _ = messages;
        let (_, messages) = rest.split_at_mut(size_of::<Subheader>());
        let count = usize::from(subheader.count.get());
        for state in messages.chunks_exact_mut(size.max(1)).take(if size > 0 { count } else { 0 }) {
            for name in [IFNAME, ORIGINAL_IFNAME] {
                if let Some(name) = state.get_mut(name..name + 4) {
                    name.copy_from_slice(b"em1\0");
                }
            }
        }
        // States come first, so that other messages end the search.
        if size == 0 || count * size > messages.len() {
            return;
        }
        rest = &mut messages[count * size..];
    }
}

/// Configurations that ifconfig(8) sends, for the target `ioctl`.
pub(crate) fn configurations() -> Result<Vec<Vec<u8>>> {
    let peers = [None, Some(SyncPeer::Inet([192, 0, 2, 2])), Some(SyncPeer::Inet6(GROUP6))];
    let mut seeds = Vec::new();
    for peer in peers {
        for (maxupd, defer, version) in
            [(128, false, 0), (7, true, 1301), (256, false, 1400), (9, true, 1500)]
        {
            let config = Config { syncpeer: peer, maxupd, defer, version, ..Config::default() };
            let packed = config.to_list().pack();
            let len = (packed.len() as u16).to_le_bytes();
            seeds.push([vec![crate::ioctl::BYTES, len[0], len[1]], packed].concat());
        }
    }
    Ok(seeds)
}
