// SPDX-License-Identifier: BSD-2-Clause
//! Three nodes with a key, and someone who records, alters, forges, replays and withholds
//! packets. What a node takes while the key is required was sent by another node, with a
//! key that the node has, since the node began its epoch, and was not taken before.

use arbitrary::{Result, Unstructured};
use pfsync::engine::agreement::{
    seal, Agreement, Entry, Key, Keys, Peer, Received, Retold, Storage, Trust, Verdict, MAX_PEERS,
    RETOLD_SLOTS,
};
use pfsync::wire::trailer::{Epoch, Gap, Ident, Node, Repaired, TrailerWriter};
use pfsync::wire::{Action, BulkMark, Frame, FrameWriter, PeerAddress, RawId};
use std::collections::{HashMap, HashSet};

const NODES: usize = 3;
/// Numbers of the log of a node.
const LOG: usize = 64;
const MS: i64 = (1 << 32) / 1000;
/// The keys of the nodes, one after the other. The last is known to the attacker alone.
const KEYS: [Key; 4] = [[1; 32], [2; 32], [3; 32], [4; 32]];
const FORGED: &Key = &KEYS[3];

/// The steps, each with its first byte. Seeds are made of them.
pub(crate) mod step {
    pub(crate) const DELETES: u8 = 0;
    pub(crate) const HELLO: u8 = 1;
    pub(crate) const REPAIR: u8 = 2;
    pub(crate) const REPLAY: u8 = 3;
    pub(crate) const ALTER: u8 = 4;
    pub(crate) const PASTE_TAG: u8 = 5;
    pub(crate) const FORGE: u8 = 6;
    pub(crate) const RAW: u8 = 7;
    pub(crate) const TIME: u8 = 8;
    pub(crate) const REBOOT: u8 = 9;
    pub(crate) const NEXT_KEY: u8 = 10;
    pub(crate) const REQUIRE: u8 = 11;
}

type Storing = Agreement<Vec<Peer>, Vec<Entry>, Vec<Retold>>;

struct Firewall {
    agreement: Storing,
    /// Which of [`KEYS`] it tags with. It also takes tags of the one before.
    key: usize,
    is_required: bool,
    awaits_bulk: bool,
    /// Packets that had been sent when its epoch began.
    began: usize,
    /// Packets that it has taken in its epoch.
    taken: HashSet<usize>,
}

/// A packet that a node sent.
struct Sent {
    from: usize,
    key: usize,
    bytes: Vec<u8>,
}

struct World {
    now: i64,
    random: u64,
    firewalls: Vec<Firewall>,
    sent: Vec<Sent>,
    /// Where each packet is in `sent`.
    known: HashMap<Vec<u8>, usize>,
}

/// The first byte says whether the key is required from the beginning. Steps follow.
pub fn run(input: &[u8]) {
    let Some((first, rest)) = input.split_first() else { return };
    let mut world = World::new(first % 2 == 0);
    let mut u = Unstructured::new(rest);
    while !u.is_empty() && world.step(&mut u).is_ok() {}
}

impl World {
    fn new(is_required: bool) -> World {
        let mut world =
            World { now: 0, random: 1, firewalls: Vec::new(), sent: Vec::new(), known: HashMap::new() };
        for _ in 0..NODES {
            let storage = Storage {
                peers: vec![Peer::FREE; MAX_PEERS],
                log: vec![Entry::UNUSED; LOG],
                retold: vec![Retold::UNUSED; RETOLD_SLOTS],
            };
            let agreement = Agreement::new(storage, world.epoch(), world.random(), 0);
            world.firewalls.push(Firewall {
                agreement,
                key: 0,
                is_required,
                awaits_bulk: false,
                began: 0,
                taken: HashSet::new(),
            });
        }
        world
    }

    /// A number that no input knows (SplitMix64).
    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    fn epoch(&mut self) -> Epoch {
        Epoch::new(self.random() | 1).expect("it is not 0")
    }

    fn step(&mut self, u: &mut Unstructured) -> Result<()> {
        match u.arbitrary::<u8>()? % 12 {
            step::DELETES => {
                let (from, count) = (node(u)?, u.int_in_range(1..=3)?);
                self.tell(from, (0..count).map(|_| u.arbitrary()).collect::<Result<_>>()?);
                self.deliver_to_some(u)
            }
            step::HELLO => {
                let from = node(u)?;
                self.greet(from);
                self.deliver_to_some(u)
            }
            step::REPAIR => {
                let from = node(u)?;
                let agreement = &mut self.firewalls[from].agreement;
                let told = (0..20).filter_map(|_| agreement.next_to_repair(false)).count();
                self.tell(from, (0..told as u64).collect());
                self.deliver_to_some(u)
            }
            step::REPLAY => {
                let (bytes, to) = (self.recorded(u)?, node(u)?);
                self.deliver(to, address(u)?, &bytes);
                Ok(())
            }
            step::ALTER => {
                let (mut bytes, to) = (self.recorded(u)?, node(u)?);
                alter(&mut bytes, u)?;
                self.deliver(to, address(u)?, &bytes);
                Ok(())
            }
            step::PASTE_TAG => {
                let (mut bytes, other, to) = (self.recorded(u)?, self.recorded(u)?, node(u)?);
                if let (Some(tag), Some(other)) = (bytes.last_chunk_mut::<16>(), other.last_chunk::<16>()) {
                    *tag = *other;
                }
                self.deliver(to, address(u)?, &bytes);
                Ok(())
            }
            step::FORGE => {
                let (bytes, to) = (self.forge(u)?, node(u)?);
                self.deliver(to, address(u)?, &bytes);
                Ok(())
            }
            step::RAW => {
                let (to, len) = (node(u)?, u.int_in_range(0..=200)?);
                let bytes = u.bytes(len.min(u.len()))?.to_vec();
                self.deliver(to, address(u)?, &bytes);
                Ok(())
            }
            step::TIME => {
                self.now += MS << u.int_in_range(0..=17)?;
                Ok(())
            }
            step::REBOOT => {
                let (index, epoch, challenge) = (node(u)?, self.epoch(), self.random());
                let firewall = &mut self.firewalls[index];
                firewall.agreement.restart(epoch, challenge, self.now);
                (firewall.began, firewall.awaits_bulk) = (self.sent.len(), true);
                firewall.taken.clear();
                Ok(())
            }
            step::NEXT_KEY => {
                let firewall = &mut self.firewalls[node(u)?];
                firewall.key = (firewall.key + 1).min(KEYS.len() - 2);
                Ok(())
            }
            _ => {
                // What was taken without a requirement counts for nothing.
                let firewall = &mut self.firewalls[node(u)?];
                firewall.is_required = true;
                Ok(())
            }
        }
    }

    /// A node tells of the end of states.
    fn tell(&mut self, from: usize, states: Vec<u64>) {
        if states.is_empty() {
            return;
        }
        let mut packet = vec![0; 1480];
        let mut writer = FrameWriter::new(&mut packet, &[0; 16]).expect("space");
        writer.end_with_trailer(true);
        for state in states {
            let id = RawId { id: state.to_be_bytes(), creator: [1; 4] };
            writer.append(Action::DeleteCompressed, &id).expect("space");
        }
        let len = writer.finish();
        let agreement = &mut self.firewalls[from].agreement;
        let number = agreement.number_frame(Frame::parse(&packet[..len]).expect("valid"), self.now);
        let writer = TrailerWriter::new(&mut packet[len..], agreement.epoch(), number, true).expect("space");
        let len = len + writer.finish();
        packet.truncate(len);
        self.send(from, packet);
    }

    /// A node sends a hello.
    fn greet(&mut self, from: usize) {
        let mut packet = vec![0; 1480];
        let len = empty_frame(&mut packet, true);
        let agreement = &mut self.firewalls[from].agreement;
        let (epoch, number) = (agreement.epoch(), agreement.number());
        let mut writer = TrailerWriter::new(&mut packet[len..], epoch, number, true).expect("space");
        agreement.write_hello(&mut writer, NODE, self.now);
        let len = len + writer.finish();
        packet.truncate(len);
        self.send(from, packet);
    }

    fn send(&mut self, from: usize, mut bytes: Vec<u8>) {
        let key = self.firewalls[from].key;
        seal(&KEYS[key], &mut bytes);
        self.known.insert(bytes.clone(), self.sent.len());
        self.sent.push(Sent { from, key, bytes });
    }

    /// Delivers the packet that was sent last to the nodes that an input chooses.
    fn deliver_to_some(&mut self, u: &mut Unstructured) -> Result<()> {
        let Some(Sent { from, bytes, .. }) = self.sent.last() else { return Ok(()) };
        let (from, bytes, choice) = (*from, bytes.clone(), u.arbitrary::<u8>()?);
        for to in (0..NODES).filter(|to| choice >> to & 1 != 0) {
            self.deliver(to, PeerAddress([from as u8 + 1; 16]), &bytes);
        }
        Ok(())
    }

    fn recorded(&self, u: &mut Unstructured) -> Result<Vec<u8>> {
        let index = u.choose_index(self.sent.len())?;
        Ok(self.sent[index].bytes.clone())
    }

    /// A packet with values that nodes have, with a tag of a wrong key or none.
    fn forge(&mut self, u: &mut Unstructured) -> Result<Vec<u8>> {
        let mut packet = vec![0; 1480];
        let (has_tag, has_messages) = (u.arbitrary()?, u.arbitrary()?);
        let (from, of) = (self.ident(u)?, self.ident(u)?);
        let mut writer = FrameWriter::new(&mut packet, &[0; 16]).expect("space");
        writer.end_with_trailer(has_tag);
        if has_messages {
            writer.append(Action::DeleteCompressed, &RawId { id: [7; 8], creator: [1; 4] }).expect("space");
        }
        let len = writer.finish();
        let number = u64::from(u.arbitrary::<u16>()?) << u.int_in_range(0..=32)?;
        let mut writer = TrailerWriter::new(&mut packet[len..], from.epoch, number, has_tag).expect("space");
        if !has_messages {
            writer.node(&Node { challenge: from.challenge, hello: u.arbitrary()?, ..NODE }).expect("space");
            let (first, count) = (u64::from(u.arbitrary::<u8>()?) + 1, u64::from(u.arbitrary::<u8>()?));
            let gap = Gap { first, last: first + count };
            writer.report(of, gap.last + 1, [gap]).expect("space");
            let (through, forgotten) = (u.arbitrary::<u16>()?.into(), u.arbitrary::<u16>()?.into());
            writer.repaired(&Repaired { of: of.epoch, through, forgotten }).expect("space");
        }
        let len = len + writer.finish();
        packet.truncate(len);
        if has_tag {
            seal(FORGED, &mut packet);
        }
        Ok(packet)
    }

    /// An epoch of a node and a challenge that the node may have, or others.
    fn ident(&self, u: &mut Unstructured) -> Result<Ident> {
        let epoch = match u.int_in_range(0..=NODES)? {
            NODES => Epoch::new(u.arbitrary::<u64>()? | 1).expect("it is not 0"),
            index => self.firewalls[index].agreement.epoch(),
        };
        let nodes =
            self.firewalls.iter().flat_map(|firewall| firewall.agreement.peers()).filter_map(Peer::node);
        let challenges: Vec<_> = nodes.map(|node| node.challenge).collect();
        let challenge = match challenges.is_empty() {
            true => u.arbitrary()?,
            false => *u.choose(&challenges)?,
        };
        Ok(Ident { epoch, challenge })
    }

    /// Hands a packet to a node, and checks what the node makes of it.
    fn deliver(&mut self, to: usize, from: PeerAddress, bytes: &[u8]) {
        let random = self.random();
        let known = self.known.get(bytes).copied();
        let firewall = &mut self.firewalls[to];
        let Ok(frame) = Frame::parse(bytes) else { return };
        let Ok(trailer) = frame.trailer() else { return };
        let keys = Keys {
            key: Some(&KEYS[firewall.key]),
            also: firewall.key.checked_sub(1).map(|before| &KEYS[before]),
            is_required: firewall.is_required,
        };
        let Ok(trust) = keys.judge(bytes, trailer.and_then(|trailer| trailer.tag)) else { return };
        let awaits_bulk = firewall.awaits_bulk;
        let received = Received {
            from,
            frame: &frame,
            trailer,
            trust,
            awaits_bulk,
            has_requested_bulk: awaits_bulk,
            random,
        };
        let before = firewall.standing(self.now);
        let reception = firewall.agreement.receive(&received, self.now);
        firewall.awaits_bulk |= reception.needs_bulk;
        assert_eq!(firewall.agreement.peers().len(), MAX_PEERS);
        if reception.verdict != Verdict::Take {
            let is_first_doubt = reception.needs_bulk && trust == Trust::MustBeFresh;
            assert!(reception.gap.is_none() && (!reception.needs_bulk || is_first_doubt), "{reception:?}");
            assert!(is_first_doubt || firewall.standing(self.now) == before, "{reception:?}");
            return;
        }
        if firewall.is_required {
            let known = known.expect("what is taken was sent by a node");
            let sent = &self.sent[known];
            assert!(sent.from != to, "its own packet");
            assert!(sent.key == firewall.key || sent.key + 1 == firewall.key, "a key that it has not");
            assert!(known >= firewall.began, "recorded before its epoch began");
            assert!(firewall.taken.insert(known), "taken again");
        } else if let Some(known) = known {
            // Once the key is required, this must not be taken again.
            firewall.taken.insert(known);
        }
        let Some(trailer) = trailer.filter(|_| frame.has_messages()) else { return };
        firewall.agreement.receive_mark(trailer.epoch, trailer.number, BulkMark::Start);
        firewall.agreement.receive_mark(trailer.epoch, trailer.number, BulkMark::End);
    }
}

impl Firewall {
    /// What others see of the node: whether something is missing, whether it needs a bulk
    /// update, whether it speaks of numbers.
    fn standing(&self, now: i64) -> [bool; 3] {
        let agreement = &self.agreement;
        [agreement.is_whole(now), agreement.needs_bulk(now), agreement.is_spoken(now)]
    }
}

const NODE: Node =
    Node { challenge: 0, hello: 0, creator: [1; 4], states: 3, version: [0, 3, 0], freebsd: 14 };

/// Writes a frame without messages. Returns its length.
fn empty_frame(packet: &mut [u8], has_tag: bool) -> usize {
    let mut writer = FrameWriter::new(packet, &[0; 16]).expect("space");
    writer.end_with_trailer(has_tag);
    writer.finish()
}

fn node(u: &mut Unstructured) -> Result<usize> {
    u.choose_index(NODES)
}

/// An address: that of a node, or another.
fn address(u: &mut Unstructured) -> Result<PeerAddress> {
    Ok(PeerAddress([u.int_in_range(1..=20)?; 16]))
}

/// Changes bytes of a packet.
fn alter(bytes: &mut Vec<u8>, u: &mut Unstructured) -> Result<()> {
    for _ in 0..u.int_in_range(1..=3)? {
        let at = u.choose_index(bytes.len().max(1))?;
        match u.int_in_range(0..=3)? {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, u.arbitrary()?),
            _ => bytes.iter_mut().skip(at).take(1).try_for_each(|byte| {
                *byte ^= u.arbitrary::<u8>()?;
                Ok::<(), arbitrary::Error>(())
            })?,
        }
    }
    Ok(())
}
