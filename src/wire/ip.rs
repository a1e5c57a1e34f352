// SPDX-License-Identifier: BSD-2-Clause
//! The IP headers in front of a frame.

use super::{IPPROTO_PFSYNC, TTL};
use zerocopy::byteorder::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// An IPv4 header without options (RFC 791, section 3.1; 20 bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ipv4Header {
    /// Version 4 in the high half, and in the low half the length of the header
    /// in units of four bytes.
    pub version_ihl: u8,
    /// Type of service.
    pub tos: u8,
    /// Bytes of the packet, with this header.
    pub len: U16,
    /// Identification, for the reassembly of fragments.
    pub id: [u8; 2],
    /// Three flags and the fragment offset.
    pub fragment: U16,
    /// Time to live.
    pub ttl: u8,
    /// Number of the protocol that follows.
    pub protocol: u8,
    /// The kernel computes it when it sends the packet.
    pub checksum: U16,
    /// Source address.
    pub src: [u8; 4],
    /// Destination address.
    pub dst: [u8; 4],
}

/// The address of a peer: an IPv6 address, or an IPv4 address mapped into one
/// (RFC 4291, section 2.5.5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerAddress(pub [u8; 16]);

impl From<[u8; 4]> for PeerAddress {
    fn from([a, b, c, d]: [u8; 4]) -> PeerAddress {
        PeerAddress([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d])
    }
}

impl PeerAddress {
    /// The IPv4 address that is mapped, if one is.
    pub fn to_ipv4(self) -> Option<[u8; 4]> {
        match self.0 {
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] => Some([a, b, c, d]),
            _ => None,
        }
    }
}

/// What the IP header of a received packet tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// The source address.
    pub from: PeerAddress,
    /// Time to live, or hop limit.
    pub ttl: u8,
}

impl Arrival {
    /// Reads the header of an IPv4 packet. `None` if the packet is too short for
    /// one.
    pub fn of_ipv4(packet: &[u8]) -> Option<Arrival> {
        let (header, _) = Ipv4Header::ref_from_prefix(packet).ok()?;
        Some(Arrival { from: header.src.into(), ttl: header.ttl })
    }

    /// Reads the header of an IPv6 packet. `None` if the packet is too short for
    /// one.
    pub fn of_ipv6(packet: &[u8]) -> Option<Arrival> {
        let (header, _) = Ipv6Header::ref_from_prefix(packet).ok()?;
        Some(Arrival { from: PeerAddress(header.src), ttl: header.hop_limit })
    }
}

/// Type of service "low delay" (RFC 1349; `IPTOS_LOWDELAY`).
const LOW_DELAY: u8 = 0x10;
/// The flag "don't fragment" (RFC 791, section 3.1; `IP_DF`).
const DONT_FRAGMENT: u16 = 0x4000;

impl Ipv4Header {
    /// The header of a packet that carries a frame of `len` bytes. The source
    /// address is 0: the kernel fills it in when it has found the route.
    pub fn new(dst: [u8; 4], id: [u8; 2], len: usize) -> Ipv4Header {
        Ipv4Header {
            version_ihl: 0x45,
            tos: LOW_DELAY,
            len: length_field(len.saturating_add(size_of::<Ipv4Header>())),
            id,
            fragment: U16::new(DONT_FRAGMENT),
            ttl: TTL,
            protocol: IPPROTO_PFSYNC,
            checksum: U16::new(0),
            src: [0; 4],
            dst,
        }
    }
}

/// An IPv6 header (RFC 8200, section 3; 40 bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ipv6Header {
    /// Version 6 in the highest four bits, then traffic class and flow label.
    pub version_class_flow: [u8; 4],
    /// Bytes that follow this header.
    pub payload_len: U16,
    /// Number of the protocol that follows.
    pub next_header: u8,
    /// Hop limit.
    pub hop_limit: u8,
    /// Source address.
    pub src: [u8; 16],
    /// Destination address.
    pub dst: [u8; 16],
}

impl Ipv6Header {
    /// The header of a packet that carries a frame of `len` bytes.
    pub fn new(src: [u8; 16], dst: [u8; 16], len: usize) -> Ipv6Header {
        Ipv6Header {
            version_class_flow: [0x60, 0, 0, 0],
            payload_len: length_field(len),
            next_header: IPPROTO_PFSYNC,
            hop_limit: TTL,
            src,
            dst,
        }
    }
}

/// A length in bytes as a header carries it. The sender builds no packet above
/// 65,535 bytes, so the conversion cannot fail.
fn length_field(len: usize) -> U16 {
    U16::new(len.try_into().unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_match_the_rfcs() {
        let header = Ipv4Header::new([224, 0, 0, 240], [1, 2], 80);
        assert_eq!(
            header.as_bytes(),
            [0x45, 0x10, 0, 100, 1, 2, 0x40, 0, 255, 240, 0, 0, 0, 0, 0, 0, 224, 0, 0, 240]
        );
        let header = Ipv6Header::new([1; 16], [2; 16], 80);
        assert_eq!(header.as_bytes()[..8], [0x60, 0, 0, 0, 0, 80, 240, 255]);
        assert_eq!(header.as_bytes().len(), 40);
    }
}
