//! The IP headers in front of a frame.

use super::{IPPROTO_PFSYNC, TTL};
use zerocopy::byteorder::big_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// An IPv4 header without options (RFC 791, 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ipv4Header {
    pub version_ihl: u8,
    pub tos: u8,
    pub len: U16,
    pub id: [u8; 2],
    pub fragment: U16,
    pub ttl: u8,
    pub protocol: u8,
    /// Filled in on output.
    pub checksum: U16,
    pub src: [u8; 4],
    pub dst: [u8; 4],
}

/// "Low delay" (`IPTOS_LOWDELAY`, RFC 1349).
const LOW_DELAY: u8 = 0x10;
/// "Don't fragment" (RFC 791).
const DONT_FRAGMENT: u16 = 0x4000;

impl Ipv4Header {
    /// The header of a frame of `len` bytes. The source is left to the
    /// routing table.
    pub fn new(dst: [u8; 4], id: [u8; 2], len: usize) -> Ipv4Header {
        Ipv4Header {
            version_ihl: 0x45,
            tos: LOW_DELAY,
            len: U16::new(total(len, size_of::<Ipv4Header>())),
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

/// An IPv6 header (RFC 8200, 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct Ipv6Header {
    pub version_class_flow: [u8; 4],
    pub payload_len: U16,
    pub next_header: u8,
    pub hop_limit: u8,
    pub src: [u8; 16],
    pub dst: [u8; 16],
}

impl Ipv6Header {
    /// The header of a frame of `len` bytes.
    pub fn new(src: [u8; 16], dst: [u8; 16], len: usize) -> Ipv6Header {
        Ipv6Header {
            version_class_flow: [0x60, 0, 0, 0],
            payload_len: U16::new(total(len, 0)),
            next_header: IPPROTO_PFSYNC,
            hop_limit: TTL,
            src,
            dst,
        }
    }
}

/// A length field: a frame with its header fits one, since no MTU is larger.
fn total(len: usize, header: usize) -> u16 {
    len.saturating_add(header).try_into().unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_as_the_rfcs_say() {
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
