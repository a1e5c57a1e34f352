// SPDX-License-Identifier: BSD-2-Clause
//! Finds the pfsync frame in a recorded packet.

use std::net::IpAddr;

use etherparse::err::Layer;
use etherparse::{IpNumber, LaxNetSlice, LaxSlicedPacket};
use pcap_file::DataLink;
use pfsync::wire::IPPROTO_PFSYNC;

use crate::capture::Packet;
use crate::reason::{Reason, Rejection};

/// Bytes of the address family in front of a packet of the loopback interface.
const FAMILY_LEN: usize = 4;
/// `AF_INET`, and `AF_INET6` as the BSDs, macOS and Linux number it.
const IP_FAMILIES: [u32; 5] = [2, 24, 28, 30, 10];

/// A pfsync frame in a recorded packet.
#[derive(Debug, PartialEq)]
pub(crate) struct Located<'a> {
    /// Sender and receiver. `None` without an IP header.
    pub(crate) addresses: Option<(IpAddr, IpAddr)>,
    /// Where the frame begins in the recorded packet.
    pub(crate) offset: usize,
    /// The payload of the IP packet.
    pub(crate) frame: &'a [u8],
}

/// The pfsync frame in a packet. `None` if the packet carries something else.
pub(crate) fn locate(packet: &Packet) -> Result<Option<Located<'_>>, Rejection> {
    let data = packet.data.as_slice();
    match packet.link {
        DataLink::PFSYNC => Ok(Some(Located { addresses: None, offset: 0, frame: data })),
        DataLink::ETHERNET => match LaxSlicedPacket::from_ethernet(data) {
            Ok(sliced) => in_ip(data, &sliced),
            Err(_) => Err(reject(0, Reason::Link)),
        },
        DataLink::RAW | DataLink::IPV4 | DataLink::IPV6 => at_ip(data, 0),
        DataLink::NULL | DataLink::LOOP => match data.first_chunk::<FAMILY_LEN>() {
            Some(family) if is_ip_family(*family) => at_ip(data, FAMILY_LEN),
            Some(_) => Ok(None),
            None => Err(reject(0, Reason::Link)),
        },
        link => Err(reject(0, Reason::LinkType(link.into()))),
    }
}

fn reject(offset: usize, reason: Reason) -> Rejection {
    Rejection { offset, action: None, reason }
}

/// Whether an address family is IPv4 or IPv6, in either byte order.
fn is_ip_family(bytes: [u8; FAMILY_LEN]) -> bool {
    let families = [u32::from_be_bytes(bytes), u32::from_le_bytes(bytes)];
    families.iter().any(|family| IP_FAMILIES.contains(family))
}

/// The frame in an IP packet at an offset.
fn at_ip(data: &[u8], offset: usize) -> Result<Option<Located<'_>>, Rejection> {
    match LaxSlicedPacket::from_ip(&data[offset..]) {
        Ok(sliced) => in_ip(data, &sliced),
        Err(_) => Err(reject(offset, Reason::IpHeader)),
    }
}

/// The frame in a packet whose headers were read.
fn in_ip<'a>(data: &'a [u8], sliced: &LaxSlicedPacket<'a>) -> Result<Option<Located<'a>>, Rejection> {
    let Some(net) = &sliced.net else { return without_ip(data, sliced) };
    let (Some(addresses), Some(payload)) = (ip_addresses(net), net.ip_payload_ref()) else { return Ok(None) };
    if payload.ip_number != IpNumber(IPPROTO_PFSYNC) {
        return Ok(None);
    }
    let offset = offset_in(data, payload.payload);
    if payload.fragmented {
        return Err(reject(offset, Reason::Fragment));
    }
    Ok(Some(Located { addresses: Some(addresses), offset, frame: payload.payload }))
}

/// The result for a packet in which no IP header was found. It is an error if there
/// should be one.
fn without_ip<'a>(data: &[u8], sliced: &LaxSlicedPacket) -> Result<Option<Located<'a>>, Rejection> {
    match sliced.stop_err {
        Some((_, Layer::IpHeader | Layer::Ipv4Header | Layer::Ipv6Header)) => {
            let offset = sliced.ether_payload().map_or(0, |ip| offset_in(data, ip.payload));
            Err(reject(offset, Reason::IpHeader))
        }
        _ => Ok(None),
    }
}

fn ip_addresses(net: &LaxNetSlice) -> Option<(IpAddr, IpAddr)> {
    match net {
        LaxNetSlice::Ipv4(ip) => {
            let header = ip.header();
            Some((header.source_addr().into(), header.destination_addr().into()))
        }
        LaxNetSlice::Ipv6(ip) => {
            let header = ip.header();
            Some((header.source_addr().into(), header.destination_addr().into()))
        }
        LaxNetSlice::Arp(_) => None,
    }
}

/// The offset of a part of the data.
fn offset_in(data: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr().saturating_sub(data.as_ptr().addr())
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{IpFragOffset, Ipv4Header, PacketBuilder, PacketBuilderStep, VlanId};
    use std::time::Duration;

    const FRAME: [u8; 24] = [5; 24];
    const V4: ([u8; 4], [u8; 4]) = ([192, 0, 2, 1], [224, 0, 0, 240]);
    const V6: ([u8; 16], [u8; 16]) = ([1; 16], [2; 16]);

    fn packet(link: DataLink, data: Vec<u8>) -> Packet {
        Packet { time: Duration::ZERO, link, data }
    }

    fn found(packet: &Packet) -> (usize, bool) {
        let located = locate(packet).unwrap().unwrap();
        assert_eq!(located.frame, FRAME);
        (located.offset, located.addresses.is_some())
    }

    fn refused(link: DataLink, data: Vec<u8>) -> (usize, Reason) {
        let rejection = locate(&packet(link, data)).unwrap_err();
        (rejection.offset, rejection.reason)
    }

    fn built(step: PacketBuilderStep<etherparse::IpHeaders>) -> Vec<u8> {
        let mut bytes = Vec::new();
        step.write(&mut bytes, IpNumber(IPPROTO_PFSYNC), &FRAME).unwrap();
        bytes
    }

    fn ipv4() -> Vec<u8> {
        built(PacketBuilder::ipv4(V4.0, V4.1, 255))
    }

    fn on_ethernet() -> Vec<u8> {
        built(PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4(V4.0, V4.1, 255))
    }

    #[test]
    fn frames_are_found_in_every_kind_of_packet() {
        assert_eq!(found(&packet(DataLink::PFSYNC, FRAME.to_vec())), (0, false));
        assert_eq!(found(&packet(DataLink::RAW, ipv4())), (20, true));
        assert_eq!(found(&packet(DataLink::RAW, built(PacketBuilder::ipv6(V6.0, V6.1, 255)))), (40, true));
        assert_eq!(found(&packet(DataLink::ETHERNET, on_ethernet())), (34, true));
        let ethernet = || PacketBuilder::ethernet2([1; 6], [2; 6]);
        let tagged = built(ethernet().single_vlan(VlanId::try_new(7).unwrap()).ipv6(V6.0, V6.1, 255));
        assert_eq!(found(&packet(DataLink::ETHERNET, tagged)), (58, true));
    }

    #[test]
    fn loopback_packets_begin_with_a_family() {
        let with = |family: [u8; 4]| [family.to_vec(), ipv4()].concat();
        assert_eq!(found(&packet(DataLink::NULL, with([2, 0, 0, 0]))), (24, true));
        assert_eq!(found(&packet(DataLink::LOOP, with([0, 0, 0, 2]))), (24, true));
        assert_eq!(locate(&packet(DataLink::LOOP, with([0, 0, 0, 7]))), Ok(None));
    }

    #[test]
    fn padding_is_not_part_of_the_frame() {
        let mut data = on_ethernet();
        data.extend([0; 10]);
        assert_eq!(found(&packet(DataLink::ETHERNET, data)), (34, true));
    }

    #[test]
    fn other_packets_are_passed_over() {
        let mut udp = Vec::new();
        PacketBuilder::ipv4(V4.0, V4.1, 255).udp(1, 2).write(&mut udp, &[]).unwrap();
        assert_eq!(locate(&packet(DataLink::RAW, udp)), Ok(None));
        let mut arp = vec![0; 42];
        arp[12..14].copy_from_slice(&[8, 6]);
        assert_eq!(locate(&packet(DataLink::ETHERNET, arp)), Ok(None));
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        assert_eq!(refused(DataLink::ETHERNET, vec![0; 13]), (0, Reason::Link));
        assert_eq!(refused(DataLink::NULL, vec![0; 3]), (0, Reason::Link));
        assert_eq!(refused(DataLink::RAW, ipv4()[..19].to_vec()), (0, Reason::IpHeader));
        assert_eq!(refused(DataLink::ETHERNET, on_ethernet()[..30].to_vec()), (14, Reason::IpHeader));
        assert_eq!(refused(DataLink::LINUX_SLL, vec![0; 60]), (0, Reason::LinkType(113)));
    }

    #[test]
    fn fragments_are_refused() {
        let mut header = Ipv4Header::new(24, 255, IpNumber(IPPROTO_PFSYNC), V4.0, V4.1).unwrap();
        header.fragment_offset = IpFragOffset::try_new(1).unwrap();
        let data = [header.to_bytes().to_vec(), FRAME.to_vec()].concat();
        assert_eq!(refused(DataLink::RAW, data), (20, Reason::Fragment));
    }
}
