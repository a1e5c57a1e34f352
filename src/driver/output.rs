//! Frames and packets: built from states and messages, shown to bpf(4), and sent.

use crate::driver::kernel::epoch::NetEpoch;
use crate::driver::kernel::error::Errno;
use crate::driver::kernel::ifnet::Counter;
use crate::driver::kernel::mbuf::Room;
use crate::driver::kernel::mutex::Guard;
use crate::driver::kernel::time;
use crate::driver::link::{Link, HEADER_MAX};
use crate::driver::pf::{status, Locked, StateRef};
use crate::driver::probe;
use crate::driver::softc::{Buffer, Softc};
use crate::driver::stats::{count, Stat};
use crate::wire::{
    Action, Format, Frame, FrameWriter, Full, RawCompressedUpdate, RawId, RawState1301, RawState1400,
    RawState1500, State, StateFlags,
};
use zerocopy::{Immutable, IntoBytes};

/// How often in a row a frame that the sync interface has no space for is tried
/// again, a tick apart. After that frames are dropped until one leaves: states
/// that wait for an interface without a link would fill pf's table.
const REFUSALS: u8 = 16;

/// What became of a frame.
#[derive(PartialEq, Eq)]
pub enum Sent {
    /// It left, was lost on its way as any packet may be, or is kept until the
    /// interface has space.
    Yes,
    /// There was nothing to say.
    Empty,
    /// There is no memory, or an earlier frame is still kept: nothing was taken
    /// out of a queue.
    Later,
}

/// Has `fill` write a frame, shows it to bpf(4) and sends it. A frame that stays
/// empty is not sent.
pub fn send_frame(
    softc: &Softc,
    link: Option<&Link>,
    epoch: &NetEpoch,
    fill: impl FnOnce(&mut FrameWriter),
) -> Sent {
    let frame_len = softc.frame_len(link);
    // Before anything is taken out of a queue: making the packet cannot fail
    // then.
    let Ok(memory) = link.map(|link| allocate(softc, link, frame_len)).transpose() else {
        return Sent::Later;
    };
    let mut buffer = softc.buffer.lock();
    if buffer.unsent.is_some() {
        return Sent::Later;
    }
    let frame = buffer.bytes.get_mut(HEADER_MAX..).unwrap_or(&mut []);
    let frame = frame.get_mut(..frame_len).unwrap_or(&mut []);
    let Ok(mut writer) = FrameWriter::new(frame, &status::checksum()) else { return Sent::Empty };
    fill(&mut writer);
    if writer.is_empty() {
        return Sent::Empty;
    }
    let len = writer.finish();
    let frame = frame.get(..len).unwrap_or(&[]);
    count_messages(frame);
    if softc.ifp.is_watched() {
        softc.ifp.tap(frame);
    }
    if let (Some(link), Some(memory)) = (link, memory) {
        send_buffer(softc, buffer, len, link, memory, epoch);
    }
    Sent::Yes
}

/// Sends the frame that was kept because the interface had no space, if there is
/// one and still a link.
pub fn send_kept(softc: &Softc, link: Option<&Link>, epoch: &NetEpoch) {
    let mut buffer = softc.buffer.lock();
    let Some(len) = buffer.unsent else { return };
    match link.map(|link| (link, allocate(softc, link, len))) {
        Some((link, Ok(memory))) => {
            buffer.unsent = None;
            send_buffer(softc, buffer, len, link, memory, epoch);
        }
        Some((_, Err(_))) => softc.sender_timer.arm(time::tick()),
        None => buffer.unsent = None,
    }
}

/// Memory for a frame with its IP header.
fn allocate(softc: &Softc, link: &Link, frame_len: usize) -> Result<Room, Errno> {
    Room::new(link.header_len().saturating_add(frame_len)).inspect_err(|_| {
        count(Stat::NoMemory, 1);
        softc.ifp.count(Counter::OutputErrors, 1);
    })
}

/// Sends the frame in the buffer, whose lock is given up before. It is kept there
/// when the interface has no space for it.
fn send_buffer(
    softc: &Softc,
    mut buffer: Guard<Buffer>,
    len: usize,
    link: &Link,
    memory: Room,
    epoch: &NetEpoch,
) {
    let header = buffer.bytes.get_mut(..HEADER_MAX).unwrap_or(&mut []);
    let start = link.write_header(header, len);
    let packet = memory.fill(buffer.bytes.get(start..HEADER_MAX.saturating_add(len)).unwrap_or(&[]));
    drop(buffer);
    let packet_len = packet.len();
    let sent = link.send(packet, epoch);
    // Only the sender writes to the buffer: the frame is still in it.
    let mut buffer = softc.buffer.lock();
    if let Err(Errno::ENOBUFS | Errno::ENOMEM) = sent {
        softc.ifp.count(Counter::OutputDrops, 1);
        if buffer.refused < REFUSALS {
            buffer.refused = buffer.refused.saturating_add(1);
            buffer.unsent = Some(len);
            softc.sender_timer.arm(time::tick());
        }
        return;
    }
    buffer.refused = 0;
    drop(buffer);
    softc.ifp.count(Counter::OutputPackets, 1);
    softc.ifp.count(Counter::OutputBytes, packet_len);
}

/// Writes what an action says of a state, if the state is still there.
pub fn write_state(action: Action, state: &StateRef, writer: &mut FrameWriter) -> Result<(), Full> {
    match action {
        Action::InsertAck | Action::DeleteCompressed => writer.push(action, &RawId::from(state.id())),
        Action::UpdateCompressed => match state.lock().and_then(|state| state.export_compressed()) {
            Some(update) => writer.push(action, &RawCompressedUpdate::from(&update)),
            None => Ok(()),
        },
        _ => state.lock().map_or(Ok(()), |state| write_whole(action, &state, writer)),
    }
}

/// Writes a whole state in the format of an action.
pub fn write_whole(action: Action, state: &Locked, writer: &mut FrameWriter) -> Result<(), Full> {
    match action.format() {
        Some(Format::V1301) => write_as::<RawState1301>(action, Format::V1301, state, writer),
        Some(Format::V1400) => write_as::<RawState1400>(action, Format::V1400, state, writer),
        Some(Format::V1500) => write_as::<RawState1500>(action, Format::V1500, state, writer),
        None => Ok(()),
    }
}

/// Writes a whole state in a format, if the format can describe it. Not inlined,
/// for the stack to hold one message and not three.
#[inline(never)]
fn write_as<T>(action: Action, format: Format, locked: &Locked, writer: &mut FrameWriter) -> Result<(), Full>
where
    T: for<'a> From<&'a State> + IntoBytes + Immutable,
{
    let Some(mut state) = locked.export().filter(|state| state.fits(format)) else { return Ok(()) };
    if format >= Format::V1500 {
        state.orig_ifname = locked.original_interface();
        state.tag = locked.tag();
    }
    if action == format.update() {
        // A packet may wait for the acknowledgement of an insert, not of this.
        state.flags -= StateFlags::ACK;
    }
    writer.push(action, &T::from(&state))
}

/// Counts the messages of a frame that was built.
fn count_messages(frame: &[u8]) {
    for run in Frame::parse(frame).into_iter().flatten().flatten() {
        count(Stat::OutputActions(run.action() as u8), run.count());
        probe::sent(run.action() as u8, run.count());
    }
}
