// SPDX-License-Identifier: BSD-2-Clause
//! A firewall that runs the module, and a peer on its sync wire that sends whatever
//! a test wants.

use anyhow::Result;
use pfsync::wire::{Action, FrameWriter, Ipv4Header, RawState1301, RawState1400, RawState1500};
use pfsync_simulator::freebsd::pf::rules::Rules;
use pfsync_simulator::freebsd::pf::traffic::Id;
use pfsync_simulator::lab::{address4, Config, Firewall, Lab};
use sys_bindings as sys;
use zerocopy::byteorder::big_endian::{I32, U16, U32};
use zerocopy::{FromZeros, Immutable, IntoBytes};

/// The peer's host id, in network byte order.
pub(crate) const PEER: [u8; 4] = [9, 9, 9, 9];
/// The checksum of the default ruleset, which the peer has too.
pub(crate) const SAME_RULES: [u8; 16] = [7; 16];

pub(crate) struct Target {
    pub(crate) lab: Lab,
    pub(crate) fw: Firewall,
    peer: Firewall,
}

impl Target {
    pub(crate) fn new() -> Result<Target> {
        Target::with(&Rules::default())
    }

    pub(crate) fn with(rules: &Rules) -> Result<Target> {
        let lab = super::plain_lab();
        let fw = lab.boot_with(1, rules)?;
        let peer = lab.boot(2)?;
        fw.start_pfsync(&Config::default())?;
        lab.seconds(100)?;
        Ok(Target { lab, fw, peer })
    }

    /// Sends a packet, which begins with an IP header.
    pub(crate) fn send_packet(&self, packet: Vec<u8>) -> Result<()> {
        self.lab.world.network.transmit(&self.lab.world, self.peer.sync(), packet);
        Ok(self.lab.advance(50)?)
    }

    /// Sends a frame in an IPv4 packet.
    pub(crate) fn send_bytes(&self, frame: &[u8]) -> Result<()> {
        self.send_packet(in_packet(frame))
    }

    /// Sends messages of one kind in one frame.
    pub(crate) fn send<T: IntoBytes + Immutable>(&self, action: Action, messages: &[T]) -> Result<()> {
        self.send_bytes(&frame(action, messages))
    }

    /// The counters of `net.pfsync.stats`.
    pub(crate) fn stats(&self) -> sys::pfsyncstats {
        let name = "net.pfsync.stats";
        let size = size_of::<sys::pfsyncstats>();
        let bytes = self.fw.kernel.sysctl_read(&self.fw.vnet, name, size).expect("readable");
        // SAFETY: the sysctl is that structure, of counters only.
        unsafe { bytes.as_ptr().cast::<sys::pfsyncstats>().read_unaligned() }
    }

    /// A counter of `net.pfsync.limited`.
    pub(crate) fn limited(&self, name: &str) -> u64 {
        let name = format!("net.pfsync.limited.{name}");
        let bytes = self.fw.kernel.sysctl_read(&self.fw.vnet, &name, 8).expect("readable");
        u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
    }

    pub(crate) fn set(&self, name: &str, value: u32) -> Result<()> {
        self.fw.kernel.sysctl_write(&self.fw.vnet, &format!("net.pfsync.{name}"), &value.to_le_bytes())
    }

    /// Applies `look` to the state that [`state`] makes, if the firewall has it.
    pub(crate) fn look<R: 'static>(&self, look: impl FnOnce(&sys::pf_kstate) -> R + 'static) -> Option<R> {
        let seen = self.fw.run("look", move |vnet| {
            let mut found = None;
            let mut look = Some(look);
            vnet.pf.for_each(|st| {
                // SAFETY: a linked state lives; no other thread runs.
                let st = unsafe { &*st };
                if (st.id, st.creatorid) == (raw_id().id, raw_id().creator) {
                    found = look.take().map(|look| look(st));
                }
            });
            found
        });
        seen.expect("a walk over the table breaks no rule")
    }

    pub(crate) fn has_state(&self) -> bool {
        self.look(|_| ()).is_some()
    }

    /// Flushes the states and unloads the module, which must leave nothing behind.
    pub(crate) fn finish(self) -> Result<()> {
        self.fw.flush()?;
        self.lab.seconds(2)?;
        self.fw.unload()
    }
}

/// The identity of [`state`].
pub(crate) fn raw_id() -> Id {
    Id { id: u64::from_ne_bytes([0, 0, 0, 0, 0, 0, 1, 2]), creator: u32::from_ne_bytes(PEER) }
}

/// A TCP state that any firewall inserts.
pub(crate) fn state() -> RawState1400 {
    let mut raw = RawState1400::new_zeroed();
    raw.common.id = raw_id().id.to_ne_bytes();
    raw.common.creator = PEER;
    raw.common.ifname[..3].copy_from_slice(b"all");
    raw.af = sys::AF_INET as u8;
    raw.proto = sys::IPPROTO_TCP as u8;
    raw.direction = sys::PF_OUT as u8;
    for key in &mut raw.common.key {
        key.addr[0][..4].copy_from_slice(&[10, 0, 0, 1]);
        key.addr[1][..4].copy_from_slice(&[172, 16, 0, 1]);
        key.port = [[0x30, 0x39], [0x01, 0xbb]];
    }
    raw.common.src.state = 4;
    raw.common.dst.state = 4;
    raw.common.src.seqlo = U32::new(1000);
    raw.common.dst.seqlo = U32::new(2000);
    raw.common.rule = U32::new(0);
    raw.common.anchor = U32::new(u32::MAX);
    raw.common.nat_rule = U32::new(u32::MAX);
    raw.common.expire = U32::new(86_390);
    raw.timeout = sys::PFTM_TCP_ESTABLISHED as u8;
    raw.rtableid = I32::new(-1);
    raw
}

/// The n-th state, with an id and a client address of its own.
pub(crate) fn numbered(number: u32) -> RawState1400 {
    let mut raw = state();
    raw.common.id = (u64::from(number) + (1 << 40)).to_be_bytes();
    for key in &mut raw.common.key {
        key.addr[0][..4].copy_from_slice(&number.to_be_bytes());
    }
    raw
}

/// The same state in message format 1301.
pub(crate) fn in_1301(raw: &RawState1400) -> RawState1301 {
    RawState1301 {
        common: raw.common,
        af: raw.af,
        proto: raw.proto,
        direction: raw.direction,
        spare: [0; 2],
        log: raw.log,
        state_flags: raw.state_flags.get() as u8,
        timeout: raw.timeout,
        sync_flags: raw.sync_flags,
        updates: raw.updates,
    }
}

/// The same state in message format 1500.
pub(crate) fn in_1500(raw: &RawState1400) -> RawState1500 {
    RawState1500 {
        common: raw.common,
        tagname: [0; 64],
        rt_ifname: raw.rt_ifname,
        orig_ifname: raw.common.ifname,
        rtableid: raw.rtableid,
        state_flags: raw.state_flags,
        qid: raw.qid,
        pqid: raw.pqid,
        dnpipe: raw.dnpipe,
        dnrpipe: raw.dnrpipe,
        max_mss: raw.max_mss,
        wire_af: raw.af,
        stack_af: raw.af,
        rt_af: raw.af,
        wire_proto: raw.proto,
        stack_proto: raw.proto,
        log: raw.log,
        timeout: raw.timeout,
        direction: raw.direction,
        rt: raw.rt,
        min_ttl: raw.min_ttl,
        set_tos: raw.set_tos,
        set_prio: raw.set_prio,
        spare: [0; 3],
    }
}

/// The bytes of a name in a message.
pub(crate) fn name<const N: usize>(text: &str) -> [u8; N] {
    let mut name = [0; N];
    name[..text.len()].copy_from_slice(text.as_bytes());
    name
}

/// Makes it a state of an `af-to` rule.
pub(crate) fn translate(s: &mut RawState1500) {
    s.stack_af = sys::AF_INET6 as u8;
    s.common.key[1].addr[0] = [0x20; 16];
}

/// Makes it a state of a `route-to` rule, with a gateway of that address family.
pub(crate) fn route(s: &mut RawState1500, af: u32) {
    (s.rt, s.rt_ifname, s.rt_af) = (2, name("em1"), af as u8);
}

/// A frame with messages of one kind.
pub(crate) fn frame<T: IntoBytes + Immutable>(action: Action, messages: &[T]) -> Vec<u8> {
    let mut bytes = vec![0; 65_000];
    let mut writer = FrameWriter::new(&mut bytes, &SAME_RULES).expect("space");
    messages.iter().for_each(|message| writer.append(action, message).expect("space"));
    let len = writer.finish();
    bytes.truncate(len);
    bytes
}

/// An IPv4 packet to the multicast group with a frame in it.
pub(crate) fn in_packet(frame: &[u8]) -> Vec<u8> {
    in_packet_from(2, frame)
}

/// The same from the n-th firewall.
pub(crate) fn in_packet_from(number: u8, frame: &[u8]) -> Vec<u8> {
    let mut header = Ipv4Header::new([224, 0, 0, 240], [0; 2], frame.len());
    header.src = address4(number);
    header.len = U16::new((20 + frame.len()) as u16);
    [header.as_bytes(), frame].concat()
}
