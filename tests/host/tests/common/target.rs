//! A firewall that runs the module, and a peer on its sync network that sends
//! whatever a test wants.

use anyhow::Result;
use pfsync::wire::{Action, FrameWriter, Ipv4Header, RawState1301, RawState1400, RawState1500};
use pfsync_host::lab::{address4, Config, Firewall, Lab};
use pfsync_host::pf::rules::Rules;
use pfsync_host::pf::traffic::Id;
use sys_bindings as sys;
use zerocopy::byteorder::big_endian::{I32, U16, U32};
use zerocopy::{FromZeros, Immutable, IntoBytes};

/// The peer's host id.
pub const PEER: [u8; 4] = [9, 9, 9, 9];
/// `Rules`' checksum: the peer's rules are the same.
pub const SAME_RULES: [u8; 16] = [7; 16];

pub struct Target {
    pub lab: Lab,
    pub fw: Firewall,
    peer: Firewall,
}

impl Target {
    pub fn new() -> Result<Target> {
        Target::with(&Rules::default())
    }

    pub fn with(rules: &Rules) -> Result<Target> {
        let lab = super::plain_lab();
        let fw = lab.boot_with(1, rules)?;
        let peer = lab.boot(2)?;
        fw.start_pfsync(&Config::default())?;
        lab.seconds(100)?;
        Ok(Target { lab, fw, peer })
    }

    /// Sends a packet, IP header and all.
    pub fn send_packet(&self, packet: Vec<u8>) -> Result<()> {
        self.lab.world.network.transmit(&self.lab.world, self.peer.sync(), packet);
        Ok(self.lab.advance(50)?)
    }

    /// Sends what follows an IP header.
    pub fn send_bytes(&self, frame: &[u8]) -> Result<()> {
        self.send_packet(in_packet(frame))
    }

    /// Sends messages of one kind in one frame.
    pub fn send<T: IntoBytes + Immutable>(&self, action: Action, messages: &[T]) -> Result<()> {
        self.send_bytes(&frame(action, messages))
    }

    /// The statistics.
    pub fn stats(&self) -> sys::pfsyncstats {
        let name = "net.pfsync.stats";
        let size = size_of::<sys::pfsyncstats>();
        let bytes = self.fw.kernel.sysctl_read(&self.fw.vnet, name, size).expect("readable");
        // SAFETY: the sysctl is that structure, of counters only.
        unsafe { bytes.as_ptr().cast::<sys::pfsyncstats>().read_unaligned() }
    }

    /// A counter of `net.pfsync.limited`.
    pub fn limited(&self, name: &str) -> u64 {
        let name = format!("net.pfsync.limited.{name}");
        let bytes = self.fw.kernel.sysctl_read(&self.fw.vnet, &name, 8).expect("readable");
        u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
    }

    pub fn set(&self, name: &str, value: u32) -> Result<()> {
        self.fw.kernel.sysctl_write(&self.fw.vnet, &format!("net.pfsync.{name}"), &value.to_le_bytes())
    }

    /// Looks at the state that [`state`] makes, if it is there.
    pub fn look<R: 'static>(&self, look: impl FnOnce(&sys::pf_kstate) -> R + 'static) -> Option<R> {
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

    pub fn has_state(&self) -> bool {
        self.look(|_| ()).is_some()
    }

    /// The peer's states go their way, and so does the module; nothing is left.
    pub fn finish(self) -> Result<()> {
        self.fw.flush()?;
        self.lab.seconds(2)?;
        self.fw.unload()
    }
}

/// The identity of [`state`].
pub fn raw_id() -> Id {
    Id { id: u64::from_ne_bytes([0, 0, 0, 0, 0, 0, 1, 2]), creator: u32::from_ne_bytes(PEER) }
}

/// A TCP state that any firewall takes in.
pub fn state() -> RawState1400 {
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

/// The n-th of many states with ends and an id of their own.
pub fn numbered(number: u32) -> RawState1400 {
    let mut raw = state();
    raw.common.id = (u64::from(number) + (1 << 40)).to_be_bytes();
    for key in &mut raw.common.key {
        key.addr[0][..4].copy_from_slice(&number.to_be_bytes());
    }
    raw
}

/// The same state as FreeBSD 13 would say it.
pub fn in_1301(raw: &RawState1400) -> RawState1301 {
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

/// The same state as FreeBSD 15 would say it.
pub fn in_1500(raw: &RawState1400) -> RawState1500 {
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

/// A whole frame.
pub fn frame<T: IntoBytes + Immutable>(action: Action, messages: &[T]) -> Vec<u8> {
    let mut bytes = vec![0; 65_000];
    let mut writer = FrameWriter::new(&mut bytes, &SAME_RULES).expect("room");
    messages.iter().for_each(|message| writer.append(action, message).expect("room"));
    let len = writer.finish();
    bytes.truncate(len);
    bytes
}

/// A frame in an IPv4 packet to the multicast group.
pub fn in_packet(frame: &[u8]) -> Vec<u8> {
    let mut header = Ipv4Header::new([224, 0, 0, 240], [0; 2], frame.len());
    header.src = address4(2);
    header.len = U16::new((20 + frame.len()) as u16);
    [header.as_bytes(), frame].concat()
}
