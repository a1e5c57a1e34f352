//! The sender: one thread a network stack, which turns what is due into
//! packets and sends them outside every lock.

use crate::engine::bucket::Queue;
use crate::engine::bulk::{Position, Walk};
use crate::kernel::epoch::{self, NetEpoch};
use crate::kernel::error::Errno;
use crate::kernel::ifnet::Counter;
use crate::kernel::ip;
use crate::kernel::mbuf::Room;
use crate::kernel::mutex::Guard;
use crate::kernel::time;
use crate::kernel::vnet::Vnet;
use crate::link::{Link, HEADER_MAX};
use crate::pf::table::{self, Row};
use crate::pf::{status, Locked, StateRef};
use crate::probe;
use crate::softc::{Bucket, Buffer, Softc};
use crate::stats::{count, Stat};
use crate::vnet;
use crate::wire::{
    Action, BulkMark, BulkStatus, Format, Frame, FrameWriter, Full, RawBulkStatus, RawClear,
    RawCompressedUpdate, RawId, RawState1301, RawState1400, RawState1500, State, StateFlags,
};
use core::ffi::c_void;
use core::sync::atomic::Ordering;
use zerocopy::{Immutable, IntoBytes};

/// Packets of a full update that leave in ten milliseconds. Peers have to take
/// the states in, and their input queues hold a few hundred packets.
const BULK_BURST: i64 = 100;

/// Frames of one bucket that are sent before the other buckets have their turn.
const FRAMES_A_BUCKET: usize = 64;

/// How often in a row a frame that the sync interface has no room for is tried
/// again, a tick apart. After that frames are dropped until one leaves: states
/// that wait for an interface without a link would fill pf's table.
const REFUSALS: u8 = 16;

/// What became of a frame.
#[derive(PartialEq, Eq)]
enum Sent {
    /// It left, was lost on its way as any packet may be, or is kept until the
    /// interface has room.
    Yes,
    /// There was nothing to say.
    Empty,
    /// There is no memory, or an earlier frame is still kept: nothing was
    /// taken out of a queue.
    Later,
}

/// The software interrupt's function.
pub extern "C" fn run(arg: *mut c_void) {
    // SAFETY: the argument is the network stack that the interrupt was
    // registered for, which takes the interrupt down before it goes.
    let Some(vnet) = (unsafe { Vnet::from_ptr(arg) }) else { return };
    vnet.with(|| {
        epoch::enter(|epoch| {
            if let Some(softc) = vnet::softc(epoch) {
                softc.transmit(epoch);
            }
        });
    });
}

/// The sender's timer: it goes on where it paused.
pub fn resume(_index: usize) {
    epoch::enter(|epoch| {
        if let Some(softc) = vnet::softc(epoch) {
            softc.bulk_due.store(true, Ordering::Release);
            vnet::schedule_sender();
        }
    });
}

impl Softc {
    fn transmit(&self, epoch: &NetEpoch) {
        let link = self.link(epoch);
        self.send_kept(link, epoch);
        // Before the buckets: a clear ends what was there before it, and not
        // the states that were made since.
        self.send_control(link, epoch);
        for bucket in self.buckets.iter() {
            if bucket.due.swap(false, Ordering::AcqRel) {
                self.send_bucket(bucket, link, epoch);
            }
            self.forward_released(epoch);
        }
        self.send_bulk(link, epoch);
    }

    fn send_bucket(&self, bucket: &Bucket, link: Option<&Link>, epoch: &NetEpoch) {
        for _ in 0..FRAMES_A_BUCKET {
            let frame_size = self.frame_size(link);
            if !self.has_audience(link) || !frame_size.fits_a_state() {
                while let Some(state) = self.pop_any(bucket) {
                    drop(state);
                }
                return;
            }
            let is_due = bucket.queues.lock().is_ready(frame_size);
            if !is_due {
                return;
            }
            let sent = self.send_frame(link, epoch, |writer| {
                for queue in Queue::PROMPT {
                    self.write_queue(bucket, queue, writer);
                }
            });
            if sent == Sent::Later {
                self.sender_timer.arm(time::tick());
                bucket.due.store(true, Ordering::Release);
                return;
            }
        }
        // The others have their turn before the rest of this one.
        bucket.due.store(true, Ordering::Release);
        vnet::schedule_sender();
    }

    fn pop_any(&self, bucket: &Bucket) -> Option<StateRef> {
        bucket.queues.lock().pop_any()
    }

    /// Writes as many states of a queue as fit. The bucket's lock is held for
    /// a few at a time, and not while a state's is.
    fn write_queue(&self, bucket: &Bucket, queue: Queue, writer: &mut FrameWriter) {
        const BATCH: usize = 16;
        let (action, size) = self.message(queue);
        loop {
            let mut batch = [const { None }; BATCH];
            let fits = writer.fits(action, size).min(BATCH);
            let mut queues = bucket.queues.lock();
            for slot in batch.iter_mut().take(fits) {
                *slot = queues.pop(queue);
            }
            drop(queues);
            if batch.iter().all(Option::is_none) {
                return;
            }
            for state in batch.into_iter().flatten() {
                // It fits, as was seen above.
                let _ = write_state(action, &state, writer);
            }
        }
    }

    /// The message that a queue's states are sent as, and its size.
    fn message(&self, queue: Queue) -> (Action, usize) {
        let format = self.options.format();
        match queue {
            Queue::Insert => (format.insert(), format.size()),
            Queue::Update => (format.update(), format.size()),
            Queue::Compressed | Queue::Waiting => {
                (Action::UpdateCompressed, size_of::<RawCompressedUpdate>())
            }
            Queue::Ack => (Action::InsertAck, size_of::<RawId>()),
            Queue::Delete => (Action::DeleteCompressed, size_of::<RawId>()),
        }
    }

    /// Builds a frame by `fill`, shows it to who watches and sends it. A frame
    /// that stays empty is dropped.
    fn send_frame(&self, link: Option<&Link>, epoch: &NetEpoch, fill: impl FnOnce(&mut FrameWriter)) -> Sent {
        let frame_len = self.frame_len(link);
        // Before anything is taken out of a queue: making the packet cannot
        // fail then.
        let Ok(room) = link.map(|link| self.room(link, frame_len)).transpose() else { return Sent::Later };
        let mut buffer = self.buffer.lock();
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
        if self.ifp.is_watched() {
            self.ifp.tap(frame);
        }
        if let (Some(link), Some(room)) = (link, room) {
            self.send_buffer(buffer, len, link, room, epoch);
        }
        Sent::Yes
    }

    /// Sends the frame that was kept because the interface had no room, if
    /// there is one and a link still.
    fn send_kept(&self, link: Option<&Link>, epoch: &NetEpoch) {
        let mut buffer = self.buffer.lock();
        let Some(len) = buffer.unsent else { return };
        match link.map(|link| (link, self.room(link, len))) {
            Some((link, Ok(room))) => {
                buffer.unsent = None;
                self.send_buffer(buffer, len, link, room, epoch);
            }
            Some((_, Err(_))) => self.sender_timer.arm(time::tick()),
            None => buffer.unsent = None,
        }
    }

    /// Memory for a frame with its IP header.
    fn room(&self, link: &Link, frame_len: usize) -> Result<Room, Errno> {
        Room::new(link.header_len().saturating_add(frame_len)).inspect_err(|_| {
            count(Stat::NoMemory, 1);
            self.ifp.count(Counter::OutputErrors, 1);
        })
    }

    /// Sends the frame in the buffer, whose lock is given up before. It is
    /// kept there when the interface has no room for it.
    fn send_buffer(&self, mut buffer: Guard<Buffer>, len: usize, link: &Link, room: Room, epoch: &NetEpoch) {
        let header = buffer.bytes.get_mut(..HEADER_MAX).unwrap_or(&mut []);
        let start = link.write_header(header, len);
        let packet = room.fill(buffer.bytes.get(start..HEADER_MAX.saturating_add(len)).unwrap_or(&[]));
        drop(buffer);
        let packet_len = packet.len();
        let sent = link.send(packet, epoch);
        // Only this thread writes to the buffer: the frame is still in it.
        let mut buffer = self.buffer.lock();
        if let Err(Errno::ENOBUFS | Errno::ENOMEM) = sent {
            self.ifp.count(Counter::OutputDrops, 1);
            if buffer.refused < REFUSALS {
                buffer.refused = buffer.refused.saturating_add(1);
                buffer.unsent = Some(len);
                self.sender_timer.arm(time::tick());
            }
            return;
        }
        buffer.refused = 0;
        drop(buffer);
        self.ifp.count(Counter::OutputPackets, 1);
        self.ifp.count(Counter::OutputBytes, packet_len);
    }

    /// Sends requests and clears.
    fn send_control(&self, link: Option<&Link>, epoch: &NetEpoch) {
        while !self.control.lock().is_empty() {
            let sent = self.send_frame(link, epoch, |writer| {
                while writer.fits(Action::UpdateRequest, size_of::<RawId>()) > 0 {
                    let Some(state) = self.control.lock().next_request() else { break };
                    let _ = writer.append(Action::UpdateRequest, &RawId::from(state));
                }
                while writer.fits(Action::Clear, size_of::<RawClear>()) > 0 {
                    let Some(clear) = self.control.lock().next_clear(status::host_id()) else { break };
                    let _ = writer.append(Action::Clear, &RawClear::from(&clear));
                }
            });
            match sent {
                Sent::Yes => {}
                Sent::Empty => return,
                Sent::Later => return self.sender_timer.arm(time::tick()),
            }
        }
    }

    /// Sends on the packets that were held back.
    pub fn forward_released(&self, epoch: &NetEpoch) {
        loop {
            let packet = self.released.lock().pop();
            let Some(packet) = packet else { return };
            if ip::forward(packet, epoch).is_err() {
                count(Stat::OutputErrors, 1);
            }
        }
    }

    /// A peer asks for the whole table.
    pub fn bulk_requested(&self) {
        self.bulk_sender.lock().receive_request(time::now());
        self.sender_timer.arm(time::tick());
    }

    /// Sends a burst of the full update that is under way, if one is and a
    /// tick is over since the last burst.
    fn send_bulk(&self, link: Option<&Link>, epoch: &NetEpoch) {
        if !self.bulk_due.swap(false, Ordering::AcqRel) {
            return;
        }
        let burst = (BULK_BURST * time::tick() / time::milliseconds(10)).max(1);
        for _ in 0..burst {
            let pass = self.bulk_sender.lock().walk(time::now());
            let Some(pass) = pass else { break };
            if link.is_none() || !self.frame_size(link).fits_a_state() {
                self.bulk_sender.lock().cancel();
                return;
            }
            let mut next = None;
            let sent = self.send_frame(link, epoch, |writer| next = self.write_bulk(&pass, writer));
            if sent == Sent::Later {
                break;
            }
            probe::bulk_sending(next.map_or(table::rows(), |position| position.row), table::rows());
            let mut sender = self.bulk_sender.lock();
            match next {
                Some(position) => sender.advance(position),
                None => sender.finish(),
            }
        }
        if self.bulk_sender.lock().is_busy() {
            self.sender_timer.arm(time::tick());
        }
    }

    /// Fills a packet of a full update. Returns where the next one begins,
    /// `None` when this was the last.
    fn write_bulk(&self, pass: &Walk, writer: &mut FrameWriter) -> Option<Position> {
        if !pass.started {
            let _ = writer.append(Action::BulkStatus, &bulk_mark(BulkMark::Start, pass));
            // The C module looks at the first mark of a run only.
            writer.end_run();
        }
        let mut position = pass.position;
        while position.row < table::rows() {
            if let Some(row) = Row::lock(position.row) {
                if let Err(Full) = self.write_row(&row, pass, &mut position, writer) {
                    return Some(position);
                }
            }
            position = Position { row: position.row.saturating_add(1), after: None };
        }
        match writer.append(Action::BulkStatus, &bulk_mark(BulkMark::End, pass)) {
            Ok(()) => None,
            Err(Full) => Some(position),
        }
    }

    /// Writes the states of a row, from behind the last one that was sent. If
    /// that is gone, the row is sent again.
    fn write_row(
        &self,
        row: &Row,
        pass: &Walk,
        position: &mut Position,
        writer: &mut FrameWriter,
    ) -> Result<(), Full> {
        let (action, _) = self.message(Queue::Update);
        let sent = position.after.and_then(|last| row.states().position(|state| state.id() == last));
        for state in row.states().skip(sent.map_or(0, |index| index.saturating_add(1))) {
            if self.belongs_in(&state, pass) {
                write_whole(action, &state, writer)?;
            }
            position.after = Some(state.id());
        }
        Ok(())
    }

    /// Whether a full update has to tell of a state: not of one that the peers
    /// must not know, that came from a peer since the request, or that is
    /// about to be told anyway.
    fn belongs_in(&self, state: &Locked, pass: &Walk) -> bool {
        state.is_alive()
            && !state.is_nosync()
            && !pass.was_requested_before(state.pfsync_time())
            && self.bucket(state).is_some_and(|bucket| !bucket.queues.lock().announces(state))
    }
}

/// Writes what an action says of a state, if that is still there.
fn write_state(action: Action, state: &StateRef, writer: &mut FrameWriter) -> Result<(), Full> {
    match action {
        Action::InsertAck | Action::DeleteCompressed => writer.append(action, &RawId::from(state.id())),
        Action::UpdateCompressed => match state.lock().and_then(|state| state.export_compressed()) {
            Some(update) => writer.append(action, &RawCompressedUpdate::from(&update)),
            None => Ok(()),
        },
        _ => state.lock().map_or(Ok(()), |state| write_whole(action, &state, writer)),
    }
}

/// Writes a whole state in the format of an action.
fn write_whole(action: Action, state: &Locked, writer: &mut FrameWriter) -> Result<(), Full> {
    match action.format() {
        Some(Format::V1301) => write_as::<RawState1301>(action, Format::V1301, state, writer),
        Some(Format::V1400) => write_as::<RawState1400>(action, Format::V1400, state, writer),
        Some(Format::V1500) => write_as::<RawState1500>(action, Format::V1500, state, writer),
        None => Ok(()),
    }
}

/// Writes a whole state in a format, if the format can say it. Not inlined, for
/// the stack to have room for one message and not for three.
#[inline(never)]
fn write_as<T>(action: Action, format: Format, locked: &Locked, writer: &mut FrameWriter) -> Result<(), Full>
where
    T: for<'a> From<&'a State> + IntoBytes + Immutable,
{
    let Some(mut state) = locked.export().filter(|state| state.is_expressible_in(format)) else {
        return Ok(());
    };
    if format >= Format::V1500 {
        state.orig_ifname = locked.original_interface();
        state.tag = locked.tag();
    }
    if action == format.update() {
        // A packet may wait for the acknowledgement of an insert, not of this.
        state.flags -= StateFlags::ACK;
    }
    writer.append(action, &T::from(&state))
}

fn bulk_mark(mark: BulkMark, pass: &Walk) -> RawBulkStatus {
    // The clock is good to a tick, and the age must not be too high.
    let age = pass.age(time::now().saturating_sub(time::tick()));
    RawBulkStatus::from(&BulkStatus { creator: status::host_id(), age, mark })
}

/// Counts the messages of a frame that was built.
fn count_messages(frame: &[u8]) {
    for run in Frame::parse(frame).into_iter().flatten().flatten() {
        count(Stat::OutputActions(run.action() as u8), run.count());
        probe::sent(run.action() as u8, run.count());
    }
}
