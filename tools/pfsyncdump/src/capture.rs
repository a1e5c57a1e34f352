// SPDX-License-Identifier: BSD-2-Clause
//! Reads recorded packets from pcap and pcapng files.

use std::io::{Cursor, Read};
use std::time::Duration;

use anyhow::{bail, Context, Result};
use pcap_file::pcap::{PcapReader, RawPcapPacket};
use pcap_file::pcapng::blocks::enhanced_packet::EnhancedPacketBlock;
use pcap_file::pcapng::blocks::interface_description::{
    InterfaceDescriptionBlock, InterfaceDescriptionOption,
};
use pcap_file::pcapng::blocks::simple_packet::SimplePacketBlock;
use pcap_file::pcapng::{Block, PcapNgReader};
use pcap_file::{DataLink, TsResolution};

/// The block type that a pcapng file begins with.
const SECTION_HEADER: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];
/// Microseconds: the resolution of an interface without the option `if_tsresol`.
const DEFAULT_RESOLUTION: u8 = 6;

type Input = Box<dyn Read>;

/// A recorded packet.
#[derive(Debug, PartialEq)]
pub(crate) struct Packet {
    /// Since the beginning of 1970, UTC.
    pub(crate) time: Duration,
    /// The kind of header that the packet begins with.
    pub(crate) link: DataLink,
    pub(crate) data: Vec<u8>,
}

/// A capture that is being read: an iterator over its packets. Do not read on
/// after an error.
pub(crate) enum Capture {
    Pcap(PcapReader<Input>),
    PcapNg(PcapNgReader<Input>),
}

impl Capture {
    /// Begins to read a capture. The first bytes tell whether it is pcap or pcapng.
    pub(crate) fn new(mut input: impl Read + 'static) -> Result<Capture> {
        let mut magic = [0; 4];
        input.read_exact(&mut magic).context("too short for a capture")?;
        let whole: Input = Box::new(Cursor::new(magic).chain(input));
        match magic {
            SECTION_HEADER => PcapNgReader::new(whole).map(Capture::PcapNg).context("bad pcapng header"),
            _ => PcapReader::new(whole).map(Capture::Pcap).context("neither pcap nor pcapng"),
        }
    }
}

impl Iterator for Capture {
    type Item = Result<Packet>;

    fn next(&mut self) -> Option<Result<Packet>> {
        match self {
            Capture::Pcap(reader) => next_pcap(reader),
            Capture::PcapNg(reader) => next_pcapng(reader),
        }
        .map(|packet| packet.context("damaged capture"))
    }
}

fn next_pcap(reader: &mut PcapReader<Input>) -> Option<Result<Packet>> {
    let header = reader.header();
    // `next_packet` would refuse packets that were not recorded to their end.
    let packet = match reader.next_raw_packet()? {
        Ok(packet) => packet,
        Err(error) => return Some(Err(error.into())),
    };
    let time = pcap_time(&packet, header.ts_resolution);
    Some(Ok(Packet { time, link: header.datalink, data: packet.data.into_owned() }))
}

fn pcap_time(packet: &RawPcapPacket, resolution: TsResolution) -> Duration {
    let fraction = u64::from(packet.ts_frac);
    let fraction = match resolution {
        TsResolution::MicroSecond => Duration::from_micros(fraction),
        TsResolution::NanoSecond => Duration::from_nanos(fraction),
    };
    Duration::from_secs(packet.ts_sec.into()) + fraction
}

fn next_pcapng(reader: &mut PcapNgReader<Input>) -> Option<Result<Packet>> {
    loop {
        let block = match reader.next_block()? {
            Ok(block) => block.into_owned(),
            Err(error) => return Some(Err(error.into())),
        };
        match block {
            Block::EnhancedPacket(block) => return Some(enhanced(block, reader.interfaces())),
            Block::SimplePacket(block) => return Some(simple(block, reader.interfaces())),
            _ => {}
        }
    }
}

fn enhanced(block: EnhancedPacketBlock, interfaces: &[InterfaceDescriptionBlock]) -> Result<Packet> {
    let Some(interface) = interfaces.get(block.interface_id as usize) else {
        bail!("packet of interface {}, which is not described", block.interface_id);
    };
    // The crate takes the timestamp for nanoseconds, whatever the resolution is.
    let time = pcapng_time(block.timestamp.as_nanos(), interface);
    Ok(Packet { time, link: interface.linktype, data: block.data.into_owned() })
}

/// A packet without a time. Drops the padding to a multiple of four bytes.
fn simple(block: SimplePacketBlock, interfaces: &[InterfaceDescriptionBlock]) -> Result<Packet> {
    let interface = interfaces.first().context("packet before any interface is described")?;
    let mut data = block.data.into_owned();
    data.truncate(block.original_len as usize);
    if interface.snaplen != 0 {
        data.truncate(interface.snaplen as usize);
    }
    Ok(Packet { time: Duration::ZERO, link: interface.linktype, data })
}

fn pcapng_time(units: u128, interface: &InterfaceDescriptionBlock) -> Duration {
    let (mut resolution, mut offset) = (DEFAULT_RESOLUTION, 0);
    for option in &interface.options {
        match option {
            InterfaceDescriptionOption::IfTsResol(value) => resolution = *value,
            InterfaceDescriptionOption::IfTsOffset(value) => offset = *value,
            _ => {}
        }
    }
    seconds(units, resolution).saturating_add(Duration::from_secs(offset))
}

/// A number of units of the resolution as time. The low seven bits of the
/// resolution are a negative exponent. Its base is 2 if the highest bit is set, and
/// 10 otherwise.
fn seconds(units: u128, resolution: u8) -> Duration {
    let power = u32::from(resolution & 0x7f);
    let base: u128 = if resolution & 0x80 == 0 { 10 } else { 2 };
    let per_second = base.saturating_pow(power);
    let nanoseconds = (units % per_second).saturating_mul(1_000_000_000) / per_second;
    Duration::new((units / per_second) as u64, nanoseconds as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use pcap_file::pcap::{PcapHeader, PcapWriter};
    use pcap_file::pcapng::PcapNgWriter;
    use pcap_file::Endianness;

    fn read(bytes: Vec<u8>) -> Vec<Result<Packet>> {
        Capture::new(Cursor::new(bytes)).unwrap().collect()
    }

    /// Offset of the last byte of the first packet's interface id in a file that
    /// `pcapng` made without options.
    const INTERFACE_ID: usize = 28 + 20 + 8 + 3;

    /// A pcapng file with an interface and these packets.
    fn pcapng(options: Vec<InterfaceDescriptionOption<'static>>, packets: &[Block]) -> Vec<u8> {
        let mut writer = PcapNgWriter::with_endianness(Vec::new(), Endianness::Big).unwrap();
        let interface = InterfaceDescriptionBlock { linktype: DataLink::PFSYNC, snaplen: 0, options };
        writer.write_block(&Block::InterfaceDescription(interface)).unwrap();
        for packet in packets {
            writer.write_block(packet).unwrap();
        }
        writer.into_inner()
    }

    fn block(units: u64) -> Block<'static> {
        Block::EnhancedPacket(EnhancedPacketBlock {
            interface_id: 0,
            timestamp: Duration::from_nanos(units),
            original_len: 3,
            data: vec![1, 2, 3].into(),
            options: vec![],
        })
    }

    #[test]
    fn a_packet_recorded_in_part_is_read() {
        let header = PcapHeader { snaplen: 2, datalink: DataLink::RAW, ..PcapHeader::default() };
        let mut writer = PcapWriter::with_header(Vec::new(), header).unwrap();
        let (ts_sec, ts_frac) = (7, 8);
        let packet = RawPcapPacket { ts_sec, ts_frac, incl_len: 2, orig_len: 9, data: vec![1, 2].into() };
        writer.write_raw_packet(&packet).unwrap();
        let packets = read(writer.into_writer());
        let expected = Packet { time: Duration::new(7, 8000), link: DataLink::RAW, data: vec![1, 2] };
        assert_eq!(packets[0].as_ref().unwrap(), &expected);
        assert_eq!(packets.len(), 1);
    }

    #[test]
    fn pcapng_times_follow_the_interface() {
        let time = |options| read(pcapng(options, &[block(5_000_000)]))[0].as_ref().unwrap().time;
        assert_eq!(time(vec![]), Duration::from_secs(5));
        assert_eq!(time(vec![InterfaceDescriptionOption::IfTsResol(9)]), Duration::from_millis(5));
        assert_eq!(time(vec![InterfaceDescriptionOption::IfTsOffset(10)]), Duration::from_secs(15));
    }

    #[test]
    fn resolutions_are_powers_of_ten_or_two() {
        assert_eq!(seconds(3, 0), Duration::from_secs(3));
        assert_eq!(seconds(3, 0x81), Duration::from_millis(1500));
        assert_eq!(seconds(u128::from(u64::MAX), 0x7f), Duration::ZERO);
        assert_eq!(seconds(u128::from(u64::MAX), 0xff), Duration::ZERO);
    }

    #[test]
    fn simple_packets_lose_their_padding() {
        let packet = SimplePacketBlock { original_len: 3, data: vec![1, 2, 3].into() };
        let packets = read(pcapng(vec![], &[Block::SimplePacket(packet)]));
        assert_eq!(packets[0].as_ref().unwrap().data, [1, 2, 3]);
    }

    #[test]
    fn damage_is_an_error() {
        assert!(Capture::new(Cursor::new(vec![1, 2])).is_err());
        assert!(Capture::new(Cursor::new(vec![0; 24])).is_err());
        let mut unknown_interface = pcapng(vec![], &[block(0)]);
        unknown_interface[INTERFACE_ID] = 1;
        assert!(read(unknown_interface)[0].is_err());
        let mut cut = pcapng(vec![], &[block(0)]);
        cut.pop();
        assert!(Capture::new(Cursor::new(cut)).unwrap().next().unwrap().is_err());
    }
}
