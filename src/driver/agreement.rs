// SPDX-License-Identifier: BSD-2-Clause
//! What this firewall and its peers know of each other's frames:
//! [`crate::engine::agreement`] decides, and this gives it what it needs.
//!
//! Functions that the sender calls are not inlined, so that the stack holds the variables of
//! one of them, and not of all.

use crate::driver::kernel::alloc::{KSlice, Wait};
use crate::driver::kernel::epoch;
use crate::driver::kernel::error::Result;
use crate::driver::kernel::{random, time};
use crate::driver::link::Link;
use crate::driver::pf::status;
use crate::driver::softc::{Ending, Softc};
use crate::driver::storage::{self, Sysctls};
use crate::driver::{instance, probe};
use crate::engine::agreement::{self, Entry, Peer, Received, Refusal, Trust, Verdict, View};
use crate::wire::trailer::{Epoch, Node, Trailer, TrailerWriter};
use crate::wire::{Frame, PeerAddress};
use sys_bindings as sys;

/// The version of this module: major, minor, patch.
const VERSION: [u8; 3] = [
    number(env!("CARGO_PKG_VERSION_MAJOR")),
    number(env!("CARGO_PKG_VERSION_MINOR")),
    number(env!("CARGO_PKG_VERSION_PATCH")),
];

const fn number(text: &str) -> u8 {
    match text.as_bytes() {
        [a] => *a - b'0',
        [a, b] => (*a - b'0') * 10 + *b - b'0',
        _ => panic!("a version number has one or two digits"),
    }
}

/// Allocates the log, if there is none yet. May sleep. `ENOMEM` if there is no memory.
pub(crate) fn make_log(softc: &Softc) -> Result<()> {
    if !softc.agreement.lock().has_log() {
        let slots = KSlice::new(storage::log_entries(), Wait::Sleep, |_| Ok(Entry::UNUSED))?;
        let old = softc.agreement.lock().replace_log(slots);
        drop(old);
    }
    Ok(())
}

/// A link was opened, or is gone: another epoch begins.
pub(crate) fn restart(softc: &Softc) {
    let epoch = new_epoch();
    softc.agreement.lock().restart(epoch, random::number(), time::now());
    probe::epoch(epoch.get());
}

/// A random epoch.
fn new_epoch() -> Epoch {
    loop {
        if let Some(epoch) = Epoch::new(random::number()) {
            return epoch;
        }
    }
}

/// Decides how the next frames end. Only the sender calls this.
#[inline(never)]
pub(crate) fn choose_ending(softc: &Softc, link: Option<&Link>) {
    let has_tag = softc.options.has_key();
    let is_numbered = link.is_some() && storage::is_numbered();
    let has_trailer = is_numbered && (has_tag || softc.agreement.lock().is_spoken(time::now()));
    softc.options.set_ending(match (has_trailer, has_tag) {
        (false, _) => Ending::Mark,
        (true, false) => Ending::Trailer,
        (true, true) => Ending::TaggedTrailer,
    });
}

/// Gives the frame in the first `len` bytes of `packet` its number, and writes its trailer
/// behind it. Returns the length of both.
#[inline(never)]
pub(crate) fn number_frame(softc: &Softc, packet: &mut [u8], len: usize, ending: Ending) -> usize {
    if !storage::is_numbered() {
        return len;
    }
    let Some(Ok(frame)) = packet.get(..len).map(Frame::parse) else { return len };
    let mut agreement = softc.agreement.lock();
    let number = agreement.number_frame(frame, time::now());
    let epoch = agreement.epoch();
    drop(agreement);
    if ending == Ending::Mark {
        return len;
    }
    let has_tag = ending == Ending::TaggedTrailer;
    let Some(space) = packet.get_mut(len..) else { return len };
    let Ok(writer) = TrailerWriter::new(space, epoch, number, has_tag) else { return len };
    let len = len.saturating_add(writer.finish());
    seal(softc, packet, len, has_tag);
    len
}

/// Writes the trailer of a hello behind the empty frame in the first `len` bytes of `packet`.
/// Returns the length of both.
#[inline(never)]
pub(crate) fn write_hello(softc: &Softc, packet: &mut [u8], len: usize, has_tag: bool) -> usize {
    let node = Node {
        challenge: 0,
        hello: 0,
        creator: status::host_id(),
        states: u32::try_from(status::states()).unwrap_or(u32::MAX),
        version: VERSION,
        freebsd: sys::pfs_freebsd as u8,
    };
    let Some(space) = packet.get_mut(len..) else { return len };
    let mut agreement = softc.agreement.lock();
    let (epoch, number) = (agreement.epoch(), agreement.number());
    let Ok(mut writer) = TrailerWriter::new(space, epoch, number, has_tag) else { return len };
    agreement.write_hello(&mut writer, node, time::now());
    drop(agreement);
    let len = len.saturating_add(writer.finish());
    seal(softc, packet, len, has_tag);
    len
}

/// Writes the tag into the last bytes of a packet of `len` bytes.
#[inline(never)]
fn seal(softc: &Softc, packet: &mut [u8], len: usize, has_tag: bool) {
    if !has_tag {
        return;
    }
    let pair = softc.keys.lock().clone();
    if let (Some(key), Some(packet)) = (pair.keys(false).key, packet.get_mut(..len)) {
        agreement::seal(key, packet);
    }
}

/// The number of a frame.
#[derive(Clone, Copy)]
pub(crate) struct FrameNumber {
    /// The epoch of its sender.
    pub(crate) epoch: Epoch,
    /// Its number within the epoch.
    pub(crate) number: u64,
}

/// What to do with a packet.
pub(crate) enum Outcome {
    /// Carry out its messages.
    Take {
        /// The frame's number, if its sender numbers its frames.
        number: Option<FrameNumber>,
        /// It shows a gap or is a hello, so that what is missing here may have changed.
        is_news: bool,
    },
    /// Drop it: what it tells is known, or will be told again.
    Drop,
    /// Refuse it: its tag is wrong or missing, or it is a recording.
    BadAuth,
    /// Refuse it: a value is impossible.
    BadValue,
    /// Refuse it: this firewall sent it.
    Reflected,
}

/// Takes notice of a packet with this frame and trailer. `packet` is all that follows the IP
/// header.
pub(crate) fn receive(
    softc: &Softc,
    frame: &Frame,
    trailer: Option<Trailer>,
    packet: &[u8],
    from: PeerAddress,
    sysctls: &Sysctls,
) -> Outcome {
    let Some(trust) = judge(softc, trailer.as_ref(), packet, sysctls) else {
        probe::refused(1);
        return Outcome::BadAuth;
    };
    if !sysctls.numbered {
        return Outcome::Take { number: None, is_news: false };
    }
    let (awaits_bulk, has_requested_bulk) = {
        let requester = softc.bulk_request.lock();
        (!requester.is_idle(), requester.has_requested_lately(time::uptime()))
    };
    let received = Received {
        from,
        frame,
        trailer,
        trust,
        awaits_bulk,
        has_requested_bulk,
        random: if trust == Trust::Anyone { 0 } else { random::number() },
    };
    let mut agreement = softc.agreement.lock();
    let before = agreement.counts().repaired;
    let reception = agreement.receive(&received, time::now());
    let repaired = agreement.counts().repaired.saturating_sub(before);
    drop(agreement);
    if let (Some(gap), Some(trailer)) = (reception.gap, received.trailer) {
        probe::gap(trailer.epoch.get(), gap.first, gap.last);
    }
    if repaired > 0 {
        probe::repaired(repaired);
    }
    if reception.wake || reception.needs_bulk {
        storage::schedule_sender();
    }
    match reception.verdict {
        Verdict::Take => Outcome::Take {
            number: received.trailer.map(|Trailer { epoch, number, .. }| FrameNumber { epoch, number }),
            is_news: reception.gap.is_some() || !frame.has_messages(),
        },
        Verdict::Late | Verdict::Greeting => Outcome::Drop,
        Verdict::Refuse(Refusal::Reflected) => Outcome::Reflected,
        Verdict::Refuse(Refusal::BadHello) => Outcome::BadValue,
        Verdict::Refuse(Refusal::NotFresh) => {
            probe::refused(2);
            Outcome::BadAuth
        }
        Verdict::Refuse(Refusal::TooManyPeers) => {
            probe::refused(3);
            Outcome::BadAuth
        }
    }
}

/// What the tag of a packet tells. `None` if the packet is refused.
fn judge(softc: &Softc, trailer: Option<&Trailer>, packet: &[u8], sysctls: &Sysctls) -> Option<Trust> {
    if !softc.options.has_any_key() && !sysctls.require_key {
        return Some(Trust::Anyone);
    }
    let tag = trailer.filter(|_| sysctls.numbered).and_then(|trailer| trailer.tag);
    let pair = softc.keys.lock().clone();
    pair.keys(sysctls.require_key).judge(packet, tag).ok()
}

/// Whether nothing is missing here that a numbered peer has told.
pub(crate) fn is_whole(softc: &Softc) -> bool {
    !storage::is_numbered() || softc.agreement.lock().is_whole(time::now())
}

/// Whether somebody may take what this firewall sends.
pub(crate) fn has_audience(softc: &Softc) -> bool {
    let sysctls = storage::sysctls();
    !sysctls.numbered || softc.agreement.lock().has_audience(sysctls.require_key, time::now())
}

/// Whether only a bulk update brings what is missing here.
pub(crate) fn needs_bulk(softc: &Softc) -> bool {
    storage::is_numbered() && softc.agreement.lock().needs_bulk(time::now())
}

/// Whether no bulk update is awaited and nothing is missing: what `syncok` and
/// `net.pfsync.in_sync` promise.
pub(crate) fn is_in_sync(softc: &Softc) -> bool {
    let is_complete = softc.bulk_request.lock().is_complete();
    is_complete && is_whole(softc)
}

/// The value of a sysctl of `net.pfsync.agreement`, or of `net.pfsync.in_sync`.
pub(crate) fn read(field: u32) -> u64 {
    epoch::enter(|epoch| instance::current(epoch).map_or(0, |softc| read_field(softc, field)))
}

fn read_field(softc: &Softc, field: u32) -> u64 {
    match field {
        sys::PFS_IN_SYNC => return is_in_sync(softc).into(),
        sys::PFS_KEYED => {
            let is_required = storage::sysctls().require_key;
            return u64::from(softc.options.has_any_key()) << u32::from(is_required);
        }
        _ => {}
    }
    let agreement = softc.agreement.lock();
    let counts = agreement.counts();
    match field {
        sys::PFS_MISSING => agreement.peers().iter().map(Peer::missing).fold(0, u64::saturating_add),
        sys::PFS_LOST => counts.lost,
        sys::PFS_REPAIRED => counts.repaired,
        sys::PFS_LATE => counts.late,
        sys::PFS_RETOLD => counts.retold,
        sys::PFS_FORGOTTEN => counts.bulk_needed,
        sys::PFS_HELLOS_SENT => counts.hellos_sent,
        sys::PFS_HELLOS_RECEIVED => counts.hellos_received,
        sys::PFS_UNTRACKED => counts.untracked,
        _ => 0,
    }
}

/// The value of a sysctl of `net.pfsync.peer.N`.
pub(crate) fn read_peer(place: usize, field: u32) -> u64 {
    epoch::enter(|epoch| {
        let Some(softc) = instance::current(epoch) else { return 0 };
        let view = view(softc);
        let agreement = softc.agreement.lock();
        let peer = agreement.peers().get(place);
        let standing = peer.and_then(|peer| peer.standing(&view));
        let (Some(peer), Some(standing)) = (peer, standing) else { return 0 };
        match field {
            sys::PFS_PEER_PRESENT => 1,
            sys::PFS_PEER_NUMBERED => peer.epoch().is_some().into(),
            sys::PFS_PEER_HOSTID => peer.node().map_or(0, |node| u32::from_be_bytes(node.creator).into()),
            sys::PFS_PEER_SILENT_MS => {
                let silence = view.now.saturating_sub(peer.heard()).max(0);
                (silence >> 16).saturating_mul(1000).unsigned_abs() >> 16
            }
            sys::PFS_PEER_FRAMES => peer.frames(),
            sys::PFS_PEER_LOST => peer.lost(),
            sys::PFS_PEER_REPAIRED => peer.repaired(),
            sys::PFS_PEER_MISSING => peer.missing(),
            sys::PFS_PEER_LACKS => peer.lacks(),
            sys::PFS_PEER_STATES => peer.node().map_or(0, |node| node.states.into()),
            sys::PFS_PEER_IN_SYNC => (standing == agreement::Standing::InSync).into(),
            sys::PFS_PEER_STATE => standing as u64,
            _ => 0,
        }
    })
}

/// Writes the table of peers, with a zero byte at its end.
pub(crate) fn write_table(buffer: &mut [u8]) {
    epoch::enter(|epoch| match instance::current(epoch) {
        Some(softc) => {
            let view = view(softc);
            agreement::write_table(buffer, softc.agreement.lock().peers(), &view);
        }
        None => agreement::write_table(buffer, &[], &View::default()),
    });
}

/// How this firewall sees its peers.
fn view(softc: &Softc) -> View {
    View {
        is_key_required: storage::sysctls().require_key,
        awaits_bulk: !softc.bulk_request.lock().is_idle(),
        states: status::states(),
        now: time::now(),
    }
}
