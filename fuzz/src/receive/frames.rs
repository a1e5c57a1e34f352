// SPDX-License-Identifier: BSD-2-Clause
//! Frames of a peer: valid messages, in which some bytes may then be changed.

use crate::messages::Message;
use anyhow::Result;
use arbitrary::Unstructured;
use pfsync::wire::{
    BulkMark, BulkStatus, Clear, CompressedUpdate, Direction, Endpoint, Family, Format, FrameWriter, Header,
    IfName, Ipv4Header, Ipv6Header, Key, RouteTo, RuleActions, Scrub, State, StateFlags, StateId, TagName,
};
use pfsync_simulator::lab::{address4, address6, connection, Firewall, GROUP6, OUTSIDE, SYNC};
use zerocopy::{FromBytes, IntoBytes};

/// Bits of the byte that says how a frame comes.
pub(crate) mod envelope {
    pub(crate) const INET6: u8 = 0x01;
    /// By IPv4 or IPv6 unicast, not multicast.
    pub(crate) const UNICAST: u8 = 0x02;
    /// As the bytes say: else the header is put right, and the ruleset's
    /// checksum is that of the firewall.
    pub(crate) const RAW: u8 = 0x04;
    /// Of another ruleset.
    pub(crate) const OTHER_RULES: u8 = 0x08;
    /// All bits: from afar.
    pub(crate) const ROUTED: u8 = 0x30;
    /// All bits: not by the sync interface.
    pub(crate) const ASIDE: u8 = 0xc0;
}

/// The peer's host id.
const PEER_HOST: [u8; 4] = [2, 0, 0, 1];
/// Checksum of the firewall's ruleset.
pub(crate) const CHECKSUM: [u8; 16] = [7; 16];

/// A peer of a firewall, whose states it may speak of.
pub(crate) struct Sender<'a>(pub(crate) &'a Firewall);

impl Sender<'_> {
    /// A frame of valid messages, in which some bytes may then be changed.
    pub(crate) fn frame(&self, u: &mut Unstructured) -> Result<Vec<u8>> {
        let mut buffer = vec![0; 1480];
        let mut writer = FrameWriter::new(&mut buffer, &CHECKSUM).expect("an empty frame fits");
        for _ in 0..u.int_in_range(1..=4)? {
            let message = self.message(u)?;
            for _ in 0..u.int_in_range(1..=2)? {
                // A message that does not fit is left out.
                let _ = message.append(&mut writer);
            }
        }
        let len = writer.finish();
        buffer.truncate(len);
        for _ in 0..u.int_in_range(0..=3)? {
            let at = usize::from(u.arbitrary::<u16>()?) % len;
            buffer[at] = u.arbitrary()?;
        }
        Ok(buffer)
    }

    fn message(&self, u: &mut Unstructured) -> Result<Message> {
        Ok(match u.int_in_range(0..=9)? {
            0 => Message::Clear(Clear { ifname: interface(u)?, creator: self.state_id(u)?.creator }),
            1 | 2 => Message::Insert(format(u)?, self.state(u)?),
            3 => Message::Update(format(u)?, self.state(u)?),
            4 | 5 => Message::Compressed(CompressedUpdate {
                id: self.state_id(u)?,
                src: endpoint(u)?,
                dst: endpoint(u)?,
                timeout: u.int_in_range(0..=13)?,
            }),
            6 => Message::Ack(self.state_id(u)?),
            7 => Message::Request(if u.arbitrary()? { StateId::ALL } else { self.state_id(u)? }),
            8 => Message::Delete(self.state_id(u)?),
            _ => Message::Bulk(BulkStatus {
                creator: PEER_HOST,
                age: u.arbitrary::<u8>()?.into(),
                mark: *u.choose(&[BulkMark::Start, BulkMark::End])?,
            }),
        })
    }

    /// The identity of a state that is there, or one of the peer's.
    fn state_id(&self, u: &mut Unstructured) -> Result<StateId> {
        let number = u.arbitrary::<u8>()?;
        let states = self.0.states();
        Ok(match states.get(usize::from(number >> 1)) {
            Some(seen) if number % 2 == 0 => {
                StateId { id: seen.id.id.to_ne_bytes(), creator: seen.id.creator.to_ne_bytes() }
            }
            _ => StateId { id: u64::from(number % 32).to_be_bytes(), creator: PEER_HOST },
        })
    }

    fn state(&self, u: &mut Unstructured) -> Result<State> {
        let proto = *u.choose(&[6, 6, 17, 1, 132, 47])?;
        let made = connection(u.int_in_range(0..=31)?, u32::from(proto));
        let ports = [made.server.port.to_be_bytes(), made.client.port.to_be_bytes()];
        let wire = Key { addr: [made.server.addr, made.client.addr], port: ports };
        let flags: u16 = *u.choose(&[0, StateFlags::ACK.bits(), 0x0008, 0x0200, 0xffff])?;
        Ok(State {
            id: self.state_id(u)?,
            ifname: interface(u)?.unwrap_or(name("all")),
            orig_ifname: interface(u)?,
            wire,
            stack: if u.arbitrary()? { wire } else { Key { port: [[0, u.arbitrary()?]; 2], ..wire } },
            family: family(u)?,
            proto,
            stack_family: family(u)?,
            stack_proto: proto,
            direction: *u.choose(&[Direction::In, Direction::Out])?,
            src: endpoint(u)?,
            dst: endpoint(u)?,
            rt_addr: [0; 16],
            rule: u.choose(&[None, Some(0), Some(1), Some(9)]).copied()?,
            anchor: u.choose(&[None, None, Some(0)]).copied()?,
            nat_rule: None,
            age: *u.choose(&[0, 10, u32::MAX])?,
            expires_in: *u.choose(&[0, 1, 60, 86_400, u32::MAX])?,
            packets: [1; 2],
            bytes: [1; 2],
            log: u.arbitrary()?,
            flags: StateFlags::from_bits_retain(flags),
            timeout: *u.choose(&[0, 2, 6, 9, 11, 13, 20, 24])?,
            sync_flags: u.arbitrary()?,
            updates: u.arbitrary()?,
            rule_actions: Some(RuleActions {
                qid: 0,
                pqid: 0,
                dnpipe: 0,
                dnrpipe: 0,
                rtableid: *u.choose(&[-1, 0, 1, i32::MAX])?,
                min_ttl: 0,
                set_tos: 0,
                max_mss: 0,
                set_prio: [0; 2],
                route: match u.int_in_range(0..=7)? {
                    kind @ 1..=4 => RouteTo::Via {
                        kind,
                        ifname: interface(u)?.unwrap_or(name("em7")),
                        family: family(u)?,
                    },
                    _ => RouteTo::No,
                },
            }),
            tag: if u.arbitrary()? { tag("lan") } else { None },
        })
    }
}

/// Makes a frame's header one that is accepted.
pub(crate) fn put_right(frame: &mut [u8], checksum: [u8; 16]) {
    let len = frame.len() as u16;
    if let Ok((header, _)) = Header::mut_from_prefix(frame) {
        *header = Header { version: 5, reads: 0, len: len.into(), pfcksum: checksum };
    }
}

/// A frame in an IP packet.
pub(crate) fn packet(frame: &[u8], how: u8, aside: bool) -> Vec<u8> {
    let unicast = how & envelope::UNICAST != 0;
    let routed = how & envelope::ROUTED == envelope::ROUTED;
    let mut packet = if how & envelope::INET6 != 0 {
        let to = if unicast { address6(1) } else { GROUP6 };
        let to = if aside { [0; 16] } else { to };
        let mut header = Ipv6Header::new(address6(2), to, frame.len());
        header.hop_limit -= u8::from(routed);
        header.as_bytes().to_vec()
    } else {
        let to = if unicast { address4(1) } else { [224, 0, 0, 240] };
        let mut header = Ipv4Header::new(if aside { [0; 4] } else { to }, [0; 2], frame.len());
        header.src = address4(2);
        header.ttl -= u8::from(routed);
        header.as_bytes().to_vec()
    };
    packet.extend(frame);
    packet
}

fn name(text: &str) -> IfName {
    let mut bytes = [0; 16];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    IfName::new(&bytes).expect("a name")
}

fn tag(text: &str) -> Option<TagName> {
    let mut bytes = [0; TagName::SIZE];
    bytes[..text.len()].copy_from_slice(text.as_bytes());
    TagName::new(&bytes).expect("a tag")
}

/// An interface that pf knows, one that it does not, or none.
fn interface(u: &mut Unstructured) -> Result<Option<IfName>> {
    Ok(u.choose(&[Some(OUTSIDE), Some(OUTSIDE), Some(SYNC), Some("em7"), None]).copied()?.map(name))
}

fn format(u: &mut Unstructured) -> Result<Format> {
    Ok(*u.choose(&[Format::V1400, Format::V1301, Format::V1500])?)
}

fn family(u: &mut Unstructured) -> Result<Family> {
    Ok(*u.choose(&[Family::Inet, Family::Inet6])?)
}

/// One end of a connection, in a state that most protocols have.
fn endpoint(u: &mut Unstructured) -> Result<Endpoint> {
    let seqlo = u32::from(u.arbitrary::<u16>()?);
    Ok(Endpoint {
        seqlo,
        seqhi: seqlo + 1000,
        seqdiff: 0,
        max_win: 1000,
        mss: 1460,
        state: *u.choose(&[0, 1, 2, 4, 10, 12])?,
        wscale: *u.choose(&[0, 0x87])?,
        scrub: u.arbitrary::<bool>()?.then_some(Scrub { timestamp: true, ttl: 64, ts_mod: 1 }),
    })
}
