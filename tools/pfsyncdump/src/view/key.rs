// SPDX-License-Identifier: BSD-2-Clause
//! The addresses and ports of a connection.

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pfsync::wire::{Direction, Family, Key};
use serde::Serialize;

/// Where a connection comes from and goes to.
#[derive(PartialEq, Serialize)]
pub(crate) struct KeyView {
    pub(crate) from: AddrPort,
    pub(crate) to: AddrPort,
}

/// An address and a port. For ICMP, pf keeps the identifier or the type as the
/// port.
#[derive(PartialEq, Serialize)]
pub(crate) struct AddrPort {
    pub(crate) addr: IpAddr,
    pub(crate) port: u16,
}

/// The address in a key. An IPv4 address is in the first four bytes.
pub(crate) fn address(bytes: &[u8; 16], family: Family) -> IpAddr {
    let [a, b, c, d, ..] = *bytes;
    match family {
        Family::Inet => Ipv4Addr::new(a, b, c, d).into(),
        Family::Inet6 => Ipv6Addr::from(*bytes).into(),
    }
}

impl KeyView {
    /// The addresses and ports of a key in the order of the connection. In the key
    /// of an outgoing connection, pf keeps its origin second.
    pub(crate) fn new(key: &Key, family: Family, direction: Direction) -> KeyView {
        let [first, second] = [0, 1].map(|side| AddrPort {
            addr: address(&key.addr[side], family),
            port: u16::from_be_bytes(key.port[side]),
        });
        match direction {
            Direction::Out => KeyView { from: second, to: first },
            Direction::In => KeyView { from: first, to: second },
        }
    }
}

impl Display for KeyView {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "{} -> {}", self.from, self.to)
    }
}

/// As pfctl(8) writes it: the port, if there is one, follows a colon, or is in
/// brackets behind an IPv6 address.
impl Display for AddrPort {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        match self.addr {
            addr if self.port == 0 => addr.fmt(f),
            IpAddr::V4(addr) => write!(f, "{addr}:{}", self.port),
            IpAddr::V6(addr) => write!(f, "{addr}[{}]", self.port),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_written_as_pfctl_does() {
        let text = |addr: &str, port| AddrPort { addr: addr.parse().unwrap(), port }.to_string();
        assert_eq!(text("192.0.2.1", 80), "192.0.2.1:80");
        assert_eq!(text("2001:db8::1", 80), "2001:db8::1[80]");
        assert_eq!(text("192.0.2.1", 0), "192.0.2.1");
    }
}
