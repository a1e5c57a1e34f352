// SPDX-License-Identifier: BSD-2-Clause
//! Output: fills frames with messages, shows them to bpf(4), and sends them as packets.

use crate::atomic::Ordering;
use crate::driver::agreement;
use crate::driver::buffer::Buffer;
use crate::driver::kernel::epoch::NetEpoch;
use crate::driver::kernel::error::Errno;
use crate::driver::kernel::ifnet::Counter;
use crate::driver::kernel::mbuf::EmptyPacket;
use crate::driver::kernel::mutex::Guard;
use crate::driver::kernel::time;
use crate::driver::link::Link;
use crate::driver::pf::{status, Locked, StateRef};
use crate::driver::probe;
use crate::driver::softc::{Ending, Softc};
use crate::driver::stats::{count, Stat};
use crate::wire::{Action, Format, Frame, FrameWriter, Full, RawCompressedUpdate, RawId};

/// How often in a row a frame that the sync interface has no space for is tried again, a
/// tick apart. After that, frames are dropped until one leaves. If they waited for an
/// interface without a link, the states in the queues would fill pf's table.
const MAX_REFUSALS: u8 = 16;

/// What happened to a frame.
#[derive(PartialEq, Eq)]
pub(crate) enum Sent {
    /// It left, was lost as any packet may be, or stays in the buffer until the sync
    /// interface has space.
    Yes,
    /// There was no message to send.
    Empty,
    /// Nothing was taken out of a queue, because there is no memory, or because an
    /// earlier frame is still in the buffer.
    Later,
}

/// Has `fill` fill a frame, shows it to bpf(4) and sends it. A frame that stays empty is
/// not sent. The thread must hold no lock.
pub(crate) fn send_frame(
    softc: &Softc,
    link: Option<&Link>,
    epoch: &NetEpoch,
    fill: impl FnOnce(&mut FrameWriter),
) -> Sent {
    let frame_len = softc.frame_len(link);
    // The memory is allocated before anything is taken out of a queue: after that, making
    // the packet cannot fail.
    let Ok(start) = link.map(|link| PacketStart::new(softc, link, frame_len, epoch)).transpose() else {
        return Sent::Later;
    };
    let mut buffer = softc.buffer.lock();
    if buffer.unsent.is_some() {
        return Sent::Later;
    }
    let Ok(mut writer) = FrameWriter::new(buffer.frame_mut(frame_len), &status::checksum()) else {
        return Sent::Empty;
    };
    let ending = softc.options.ending();
    end_with(&mut writer, ending);
    writer.announce(Format::NEWEST);
    fill(&mut writer);
    if writer.is_empty() {
        return Sent::Empty;
    }
    let len = writer.finish();
    count_messages(buffer.frame(len));
    if softc.ifp.is_watched() {
        softc.ifp.tap(buffer.frame(len));
    }
    if let (Some(link), Some(start)) = (link, start) {
        let len = agreement::number_frame(softc, buffer.frame_mut(frame_len), len, ending);
        send_buffer(softc, buffer, len, link, start, epoch);
    }
    Sent::Yes
}

/// Sends a hello. bpf(4) does not see it: without its trailer, it is an empty frame.
/// [`Sent::Empty`] if the sync interface has no address that it could have as its source.
#[inline(never)]
pub(crate) fn send_hello(softc: &Softc, link: &Link, epoch: &NetEpoch) -> Sent {
    let frame_len = softc.frame_len(Some(link));
    let Ok(start) = PacketStart::new(softc, link, frame_len, epoch) else { return Sent::Later };
    if start.source.is_none() {
        return Sent::Empty;
    }
    let mut buffer = softc.buffer.lock();
    if buffer.unsent.is_some() {
        return Sent::Later;
    }
    let has_tag = softc.options.has_key();
    let Ok(mut writer) = FrameWriter::new(buffer.frame_mut(frame_len), &status::checksum()) else {
        return Sent::Empty;
    };
    writer.end_with_trailer(has_tag);
    writer.announce(Format::NEWEST);
    let len = writer.finish();
    let len = agreement::write_hello(softc, buffer.frame_mut(frame_len), len, has_tag);
    send_buffer(softc, buffer, len, link, start, epoch);
    Sent::Yes
}

fn end_with(writer: &mut FrameWriter, ending: Ending) {
    match ending {
        Ending::Mark => {}
        Ending::Trailer => writer.end_with_trailer(false),
        Ending::TaggedTrailer => writer.end_with_trailer(true),
    }
}

/// Sends the frame that stayed in the buffer, if there is one. Without a link, forgets it.
#[inline(never)]
pub(crate) fn send_unsent(softc: &Softc, link: Option<&Link>, epoch: &NetEpoch) {
    let mut buffer = softc.buffer.lock();
    let Some(len) = buffer.unsent else { return };
    match link.map(|link| (link, PacketStart::new(softc, link, len, epoch))) {
        Some((link, Ok(start))) => {
            buffer.unsent = None;
            send_buffer(softc, buffer, len, link, start, epoch);
        }
        Some((_, Err(_))) => softc.sender_timer.arm(time::tick()),
        None => buffer.unsent = None,
    }
}

/// What a packet needs before a frame is written.
struct PacketStart {
    memory: EmptyPacket,
    /// See [`Link::source`].
    source: Option<[u8; 16]>,
}

impl PacketStart {
    /// For a packet with a frame of `frame_len` bytes. `ENOBUFS` if there is no memory, which
    /// is counted.
    fn new(softc: &Softc, link: &Link, frame_len: usize, epoch: &NetEpoch) -> Result<PacketStart, Errno> {
        let memory = EmptyPacket::new(link.header_len().saturating_add(frame_len)).inspect_err(|_| {
            count(Stat::NoMemory, 1);
            softc.ifp.count(Counter::OutputErrors, 1);
        })?;
        Ok(PacketStart { memory, source: link.source(epoch) })
    }
}

/// Sends the frame in the buffer, and unlocks the buffer before. If the sync interface has
/// no space, the frame stays in the buffer. If it has no address, the frame is lost.
#[inline(never)]
fn send_buffer(
    softc: &Softc,
    mut buffer: Guard<Buffer>,
    len: usize,
    link: &Link,
    PacketStart { memory, source }: PacketStart,
    epoch: &NetEpoch,
) {
    let Some(source) = source else {
        count(Stat::OutputErrors, 1);
        softc.ifp.count(Counter::OutputErrors, 1);
        softc.lost_without_source.store(true, Ordering::Relaxed);
        return softc.sender_timer.arm(time::SECOND);
    };
    let start = link.write_header(buffer.header_mut(), len, source);
    let packet = memory.fill(buffer.packet(start, len));
    drop(buffer);
    let packet_len = packet.len();
    let sent = link.send(packet, epoch);
    // Only the sender writes to the buffer, so that the frame is still in it.
    let mut buffer = softc.buffer.lock();
    if let Err(Errno::ENOBUFS | Errno::ENOMEM) = sent {
        softc.ifp.count(Counter::OutputDrops, 1);
        if buffer.refusals < MAX_REFUSALS {
            buffer.refusals = buffer.refusals.saturating_add(1);
            buffer.unsent = Some(len);
            softc.sender_timer.arm(time::tick());
        }
        return;
    }
    buffer.refusals = 0;
    drop(buffer);
    softc.ifp.count(Counter::OutputPackets, 1);
    softc.ifp.count(Counter::OutputBytes, packet_len);
}

/// Writes the message of an action for a state. If pf has unlinked the state, writes only
/// a message that needs no more than its identity.
pub(crate) fn write_state(action: Action, state: &StateRef, writer: &mut FrameWriter) -> Result<(), Full> {
    match action {
        Action::InsertAck | Action::DeleteCompressed => writer.append(action, &RawId::from(state.id())),
        Action::UpdateCompressed => match state.lock().filter(|state| state.is_alive()) {
            Some(state) => {
                writer.append_with(action, |message: &mut RawCompressedUpdate| message.write(&*state))
            }
            None => Ok(()),
        },
        _ => state.lock().map_or(Ok(()), |state| write_whole(action, &state, writer)),
    }
}

/// Writes a whole state in the format of an action, if the format can describe it.
#[inline(never)]
pub(crate) fn write_whole(action: Action, state: &Locked, writer: &mut FrameWriter) -> Result<(), Full> {
    // A peer acknowledges inserts, not updates.
    let may_await_ack = !action.is_whole_update();
    state.content(may_await_ack).map_or(Ok(()), |content| writer.append_state(action, &content))
}

/// Counts the messages of a frame.
fn count_messages(frame: &[u8]) {
    for run in Frame::parse(frame).into_iter().flatten().flatten() {
        count(Stat::OutputActions(run.action() as u8), run.count());
        probe::sent(run.action() as u8, run.count());
    }
}
