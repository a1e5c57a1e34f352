// SPDX-License-Identifier: BSD-2-Clause
//! Counts the packets on the wire, and writes capture files.

use crate::freebsd::kernel::world::Sbt;
use crate::freebsd::net::Sent;
use anyhow::{Context, Result};
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};
use pcap_file::DataLink;
use pfsync::wire::{Action, Frame};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::time::Duration;

/// `DLT_PFSYNC`
const PFSYNC: u32 = 246;
/// Bytes of an Ethernet header.
const ETHERNET: usize = 14;

type Writer = PcapWriter<File>;

/// Capture files: the wire, and `pfsync0` of both firewalls.
pub(super) struct Captures {
    wire: RefCell<Writer>,
    pfsync0: BTreeMap<&'static str, RefCell<Writer>>,
    failure: RefCell<Option<anyhow::Error>>,
}

fn create(path: &Path, link: DataLink) -> Result<Writer> {
    let file = File::create(path).with_context(|| path.display().to_string())?;
    let header = PcapHeader { datalink: link, ..PcapHeader::default() };
    Ok(PcapWriter::with_header(file, header)?)
}

fn write(to: &RefCell<Writer>, at: Sbt, bytes: &[u8]) -> Result<()> {
    let time = Duration::from_nanos(((at as i128 * 1_000_000_000) >> 32) as u64);
    to.borrow_mut().write_packet(&PcapPacket::new(time, bytes.len() as u32, bytes))?;
    Ok(())
}

/// A packet in an Ethernet frame.
fn ethernet(sent: &Sent) -> Vec<u8> {
    let kind: [u8; 2] = if sent.packet[0] >> 4 == 4 { [0x08, 0x00] } else { [0x86, 0xdd] };
    let mut frame = Vec::with_capacity(ETHERNET + sent.packet.len());
    frame.extend([0x01, 0x00, 0x5e, 0, 0, 0xf0]);
    frame.extend([0x02, 0, 0, 0, 0, sent.from.bytes().last().unwrap_or(b'0') - b'0']);
    frame.extend(kind);
    frame.extend(&sent.packet);
    frame
}

impl Captures {
    /// Creates the files, and their directory if necessary.
    pub(super) fn create(directory: &Path) -> Result<Captures> {
        std::fs::create_dir_all(directory).with_context(|| directory.display().to_string())?;
        let wire = RefCell::new(create(&directory.join("wire.pcap"), DataLink::ETHERNET)?);
        let mut pfsync0 = BTreeMap::new();
        for side in ["one", "two"] {
            let file = create(&directory.join(format!("pfsync0-{side}.pcap")), DataLink::from(PFSYNC))?;
            pfsync0.insert(side, RefCell::new(file));
        }
        Ok(Captures { wire, pfsync0, failure: RefCell::default() })
    }

    /// Writes a packet on the wire, lost or not.
    pub(super) fn wire(&self, sent: &Sent) {
        if let Err(error) = write(&self.wire, sent.at, &ethernet(sent)) {
            self.failure.borrow_mut().get_or_insert(error);
        }
    }

    /// Writes frames that were tapped on a firewall's `pfsync0`.
    pub(super) fn pfsync0(&self, at: Sbt, side: &str, frames: Vec<Vec<u8>>) -> Result<()> {
        frames.iter().try_for_each(|frame| write(&self.pfsync0[side], at, frame))
    }

    /// Fails if a packet could not be written.
    pub(super) fn check(&self) -> Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }
}

/// Counts of what was on the wire.
#[derive(Default)]
pub(super) struct Decoded {
    pub(super) packets: Cell<usize>,
    lost: Cell<usize>,
    malformed: Cell<usize>,
    messages: RefCell<BTreeMap<u8, usize>>,
}

impl Decoded {
    /// Counts a packet's messages.
    pub(super) fn count(&self, sent: &Sent) {
        self.packets.set(self.packets.get() + 1);
        self.lost.set(self.lost.get() + usize::from(sent.lost));
        let runs = Frame::parse(sent.frame()).into_iter().flatten();
        for run in runs {
            match run {
                Ok(run) => *self.messages.borrow_mut().entry(run.action() as u8).or_default() += run.count(),
                Err(_) => self.malformed.set(self.malformed.get() + 1),
            }
        }
    }

    /// How many messages of an action there were.
    pub(super) fn messages(&self, action: Action) -> usize {
        self.messages.borrow().get(&(action as u8)).copied().unwrap_or(0)
    }

    /// All counts in one line.
    pub(super) fn summary(&self) -> String {
        let messages = self.messages.borrow();
        let counts = Action::ALL
            .iter()
            .filter(|action| **action != Action::Eof)
            .filter_map(|action| messages.get(&(*action as u8)).map(|count| format!("{count} {action:?}")));
        let counts: Vec<_> = counts.collect();
        format!(
            "{} packets on the wire, {} lost, {} malformed: {}",
            self.packets.get(),
            self.lost.get(),
            self.malformed.get(),
            counts.join(", ")
        )
    }
}
