// SPDX-License-Identifier: BSD-2-Clause
//! The table of peers as text, for people (`net.pfsync.peers`).

use super::peer::{Peer, Standing, View};
use crate::wire::PeerAddress;

/// Bytes that the text of a table has at most, with a zero byte behind it.
pub const TABLE_LEN: usize = 2048;

/// Where each column begins.
const COLUMNS: [(usize, &str); 9] = [
    (0, "ADDRESS"),
    (17, "HOSTID"),
    (26, "MODULE"),
    (37, "FORMAT"),
    (44, "HEARD"),
    (53, "FRAMES"),
    (64, "LOST"),
    (73, "REPAIRED"),
    (82, "MISSING"),
];
const STATE: usize = 90;

/// Writes a header and a line for each peer, and a zero byte. What does not fit is left
/// out.
pub fn write_table(buffer: &mut [u8], peers: &[Peer], view: &View) {
    let mut text = Text { buffer, used: 0, line: 0 };
    for (column, name) in COLUMNS {
        text.pad(column);
        text.string(name);
    }
    text.pad(STATE);
    text.string("STATE");
    for peer in peers {
        if let Some(standing) = peer.standing(view) {
            text.end_line();
            write_line(&mut text, peer, standing, view);
        }
    }
    text.end();
}

fn write_line(text: &mut Text, peer: &Peer, standing: Standing, view: &View) {
    let column = |text: &mut Text, index: usize| {
        text.pad(COLUMNS.get(index).map_or(0, |(column, _)| *column));
    };
    text.address(peer.address());
    column(text, 1);
    match peer.node() {
        Some(node) => node.creator.iter().for_each(|byte| text.hex(u64::from(*byte), 2)),
        None => text.string("-"),
    }
    column(text, 2);
    match (peer.node(), peer.epoch()) {
        (Some(node), _) => {
            let [major, minor, patch] = node.version;
            for (number, before) in [(major, ""), (minor, "."), (patch, "."), (node.freebsd, "/")] {
                text.string(before);
                text.decimal(number.into());
            }
        }
        (None, Some(_)) => text.string("-"),
        (None, None) => text.string("stock"),
    }
    column(text, 3);
    match peer.reads() {
        Some(format) => text.decimal(format as u64),
        None => text.string("-"),
    }
    column(text, 4);
    let tenths = view.now.saturating_sub(peer.heard()).max(0).saturating_mul(10) >> 32;
    text.decimal(tenths.unsigned_abs() / 10);
    text.string(".");
    text.decimal(tenths.unsigned_abs() % 10);
    column(text, 5);
    text.decimal(peer.frames());
    let is_numbered = peer.epoch().is_some();
    for (index, number) in [(6, peer.lost()), (7, peer.repaired()), (8, peer.missing())] {
        column(text, index);
        if is_numbered {
            text.decimal(number);
        } else {
            text.string("-");
        }
    }
    text.pad(STATE);
    text.string(match standing {
        Standing::InSync => "in sync",
        Standing::Repairing => "repairing",
        Standing::BulkUpdate => "full update",
        Standing::Silent => "silent",
        Standing::Stock => "stock",
        Standing::Unproven => "unproven",
    });
    if let Some(percent) = peer.progress(view).filter(|_| standing == Standing::BulkUpdate) {
        text.string(" ");
        text.decimal(percent);
        text.string(" %");
    }
}

struct Text<'b> {
    buffer: &'b mut [u8],
    used: usize,
    /// Where the line begins.
    line: usize,
}

impl Text<'_> {
    fn byte(&mut self, byte: u8) {
        // The last byte is for the end.
        let last = self.buffer.len().saturating_sub(1);
        if let Some(slot) = self.buffer.get_mut(..last).and_then(|space| space.get_mut(self.used)) {
            *slot = byte;
            self.used = self.used.saturating_add(1);
        }
    }

    fn string(&mut self, string: &str) {
        string.bytes().for_each(|byte| self.byte(byte));
    }

    /// Ends the column before: at least one space, except at the beginning of a line.
    fn pad(&mut self, column: usize) {
        if column > 0 {
            self.byte(b' ');
        }
        for _ in self.used.saturating_sub(self.line)..column {
            self.byte(b' ');
        }
    }

    fn decimal(&mut self, number: u64) {
        let mut power = 1u64;
        while number / 10 >= power {
            power = power.saturating_mul(10);
        }
        while power > 0 {
            self.byte(digit(number.checked_div(power).unwrap_or(0) % 10));
            power /= 10;
        }
    }

    /// At least `least` hexadecimal digits.
    fn hex(&mut self, number: u64, least: u32) {
        for place in (0..16u32).rev() {
            let rest = number >> place.saturating_mul(4);
            if rest > 0 || place < least {
                self.byte(digit(rest & 15));
            }
        }
    }

    fn address(&mut self, address: PeerAddress) {
        if let Some([a, b, c, d]) = address.to_ipv4() {
            for (byte, before) in [(a, ""), (b, "."), (c, "."), (d, ".")] {
                self.string(before);
                self.decimal(byte.into());
            }
            return;
        }
        let mut groups = [0u16; 8];
        for (group, pair) in groups.iter_mut().zip(address.0.chunks_exact(2)) {
            if let [high, low] = pair {
                *group = u16::from_be_bytes([*high, *low]);
            }
        }
        if let [0xfe80..=0xfebf, zone, ..] = &mut groups {
            // The kernel keeps the number of the interface there.
            *zone = 0;
        }
        let (start, len) = longest_zeroes(&groups);
        for (index, group) in groups.iter().enumerate() {
            match index {
                _ if len > 1 && index == start => self.string("::"),
                _ if len > 1 && index > start && index < start.saturating_add(len) => {}
                _ => {
                    if index > 0 && !(len > 1 && index == start.saturating_add(len)) {
                        self.string(":");
                    }
                    self.hex((*group).into(), 1);
                }
            }
        }
    }

    fn end_line(&mut self) {
        self.byte(b'\n');
        self.line = self.used;
    }

    fn end(self) {
        if let Some(slot) = self.buffer.get_mut(self.used) {
            *slot = 0;
        }
    }
}

/// Where the longest run of zeroes begins, and its length (RFC 5952, section 4.2).
fn longest_zeroes(groups: &[u16; 8]) -> (usize, usize) {
    let (mut best, mut len) = ((0, 0), 0usize);
    for (index, group) in groups.iter().enumerate() {
        len = if *group == 0 { len.saturating_add(1) } else { 0 };
        if len > best.1 {
            best = (index.saturating_add(1).saturating_sub(len), len);
        }
    }
    best
}

fn digit(number: u64) -> u8 {
    match number {
        0..=9 => b'0'.saturating_add(number as u8),
        _ => b'a'.saturating_add((number as u8).saturating_sub(10)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::peer::Kind;
    use super::*;
    use crate::wire::trailer::{Epoch, Node};
    use crate::wire::Format;

    fn text(peers: &[Peer], view: &View) -> String {
        let mut buffer = [0xff; TABLE_LEN];
        write_table(&mut buffer, peers, view);
        let len = buffer.iter().position(|byte| *byte == 0).unwrap();
        String::from_utf8(buffer[..len].to_vec()).unwrap()
    }

    fn ipv4(last: u8) -> PeerAddress {
        PeerAddress([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, last])
    }

    #[test]
    fn each_peer_has_a_line() {
        let mut numbered = Peer::FREE;
        numbered.reset(Kind::Numbered(Epoch::new(1).unwrap()), ipv4(2));
        numbered.hear(ipv4(2), Some(Format::V1500), 0);
        let creator = [0x0a, 0x0b, 0x0c, 0x0d];
        numbered.node =
            Some(Node { challenge: 1, hello: 1, creator, states: 5, version: [0, 3, 0], freebsd: 14 });
        (numbered.lost, numbered.repaired, numbered.frames) = (12, 10, 4711);
        let mut stock = Peer::FREE;
        let link_local = PeerAddress([0xfe, 0x80, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
        stock.reset(Kind::Stock, link_local);
        let table = text(&[numbered, Peer::FREE, stock], &View { now: 5 << 31, ..View::default() });
        assert_eq!(
            table.lines().collect::<Vec<_>>(),
            [
                "ADDRESS          HOSTID   MODULE     FORMAT HEARD    FRAMES     LOST     REPAIRED MISSING STATE",
                "192.0.2.2        0a0b0c0d 0.3.0/14   1500   2.5      4711       12       10       0       in sync",
                "fe80::1          -        stock      -      2.5      0          -        -        -       stock",
            ]
        );
    }

    #[test]
    fn a_bulk_update_has_its_progress() {
        let mut peer = Peer::FREE;
        peer.reset(Kind::Numbered(Epoch::new(1).unwrap()), ipv4(2));
        let line = |peer: &Peer, states| {
            let view = View { awaits_bulk: true, states, ..View::default() };
            text(core::slice::from_ref(peer), &view).lines().last().unwrap().to_string()
        };
        assert!(line(&peer, 5).ends_with(" full update"), "before the first hello");
        let node =
            Node { challenge: 1, hello: 1, creator: [1; 4], states: 400, version: [0; 3], freebsd: 14 };
        peer.node = Some(node);
        for (states, percent) in [(0, 0), (100, 25), (399, 99), (400, 99), (u64::MAX, 99)] {
            assert!(line(&peer, states).ends_with(&format!(" full update {percent} %")), "{states}");
        }
        peer.node = Some(Node { states: 0, ..node });
        assert!(line(&peer, 5).ends_with(" full update"), "an empty peer");
    }

    #[test]
    fn numbers_and_addresses_are_written_in_full() {
        for number in [0, 9, 10, 99, 100, 1_000_000, u64::MAX] {
            let mut buffer = [0; 40];
            let mut text = Text { buffer: &mut buffer, used: 0, line: 0 };
            text.decimal(number);
            let len = text.used;
            assert_eq!(&buffer[..len], number.to_string().as_bytes());
        }
        for address in ["::", "::1", "2001:db8::1", "1:2:3:4:5:6:7:8", "1:0:3:4:5:6:7:8", "1::8", "1:2::"] {
            let parsed: std::net::Ipv6Addr = address.parse().unwrap();
            let mut buffer = [0; 40];
            let mut text = Text { buffer: &mut buffer, used: 0, line: 0 };
            text.address(PeerAddress(parsed.octets()));
            let len = text.used;
            assert_eq!(std::str::from_utf8(&buffer[..len]).unwrap(), address);
        }
    }

    #[test]
    fn a_short_buffer_is_ended_too() {
        let mut buffer = [0xff; 10];
        write_table(&mut buffer, &[], &View::default());
        assert_eq!(&buffer, b"ADDRESS  \0");
    }
}
