// SPDX-License-Identifier: BSD-2-Clause
//! The seeds: inputs to begin with, made from the captures in `tests/captures`.

use crate::agreement::step;
use crate::receive::frames::envelope;
use crate::receive::{FRAME, TIME};
use anyhow::{Context, Result};
use pcap_file::pcap::PcapReader;
use pfsync::wire::trailer::{Epoch, Gap, Ident, Node, Repaired, TrailerWriter};
use pfsync::wire::{Action, Format, Full, Subheader};
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

/// The inputs for the target `trailer`: trailers to read, and bytes of which it makes blocks.
pub(crate) fn trailers() -> Result<Vec<Vec<u8>>> {
    let mut seeds = Vec::new();
    for (has_tag, gaps) in [(false, 0), (false, 1), (true, 3), (true, 32)] {
        seeds.push([vec![0], trailer(has_tag, gaps).map_err(|Full| anyhow::anyhow!("no space"))?].concat());
    }
    seeds.extend(frames()?.into_iter().step_by(20).map(|frame| [vec![1], frame].concat()));
    Ok(seeds)
}

/// A trailer with one block of each kind.
fn trailer(has_tag: bool, gaps: u64) -> core::result::Result<Vec<u8>, Full> {
    let mut bytes = vec![0; 1000];
    let epoch = Epoch::new(1).ok_or(Full)?;
    let node = Node { challenge: 9, hello: 1, creator: [1; 4], states: 3, version: [0, 3, 0], freebsd: 14 };
    let gaps = (0..gaps).map(|n| Gap { first: 10 * n + 5, last: 11 * n + 5 });
    let mut writer = TrailerWriter::new(&mut bytes, epoch, 41, has_tag)?;
    writer.node(&node)?;
    writer.report(Ident { epoch, challenge: 7 }, 400, gaps)?;
    writer.repaired(&Repaired { of: epoch, through: 40, forgotten: 2 })?;
    let len = writer.finish();
    bytes.truncate(len);
    Ok(bytes)
}

/// The inputs for the target `agreement`: nodes that greet each other, and something after
/// that.
pub(crate) fn encounters() -> Result<Vec<Vec<u8>>> {
    const ALL: u8 = 7;
    const NOBODY: u8 = 0;
    let greetings = || (0..9).flat_map(|n| [step::HELLO, n % 3, ALL]).collect::<Vec<_>>();
    let deletes = |to| [&[step::DELETES, 0, 0][..], &[5; 8], &[to]].concat();
    let replay = |index| vec![step::REPLAY, index, 1, 0];
    let alter = |index, at| vec![step::ALTER, index, 1, 0, at, 2, 1, 0];
    // By node 0 to node 1, as far as their bytes tell.
    let forged_hello =
        || vec![step::FORGE, 0, 0, 0, 0, 1, 0, 9, 0, 8, 255, 255, 255, 255, 0, 3, 9, 0, 0, 0, 1, 0];
    let forged_frame = || vec![step::FORGE, 0, 1, 0, 0, 1, 0, 9, 0, 8, 1, 0];
    let after = [
        vec![deletes(ALL), replay(9), replay(8), replay(0)],
        vec![deletes(NOBODY), deletes(ALL), greetings(), vec![step::REPAIR, 0, ALL], greetings(), replay(9)],
        vec![deletes(ALL), vec![step::REBOOT, 1], replay(9), greetings(), replay(9)],
        vec![deletes(NOBODY), vec![step::REBOOT, 0], greetings(), replay(9), deletes(ALL)],
        vec![deletes(ALL), vec![step::NEXT_KEY, 1], deletes(ALL), vec![step::NEXT_KEY, 0], greetings()],
        vec![deletes(NOBODY), alter(9, 30), alter(9, 44), vec![step::PASTE_TAG, 9, 8, 1, 0], replay(9)],
        vec![deletes(ALL), forged_frame(), vec![step::REQUIRE, 1], replay(9), deletes(ALL), greetings()],
        vec![deletes(ALL), forged_hello(), vec![step::REQUIRE, 1], replay(9), greetings(), deletes(ALL)],
        vec![deletes(ALL), vec![step::TIME, 17], greetings(), replay(9), vec![step::RAW, 1, 2, 1, 1, 0]],
    ];
    let after = after.iter().map(|steps| steps.concat());
    Ok(after.flat_map(|rest| [0, 1].map(|first| [vec![first], greetings(), rest.clone()].concat())).collect())
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
