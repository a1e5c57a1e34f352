//! The interface: everything that `pfsync0` of one network stack has.

use crate::engine::bucket::{FrameSize, Queues, Wake};
use crate::engine::bulk;
use crate::engine::config::Config;
use crate::engine::control::{Control, MAX_QUEUED_REQUESTS};
use crate::engine::defer::{Deferral, Deferrals, DEFERRALS_PER_BUCKET};
use crate::engine::limit::Rates;
use crate::kernel::alloc::{Slice, Wait};
use crate::kernel::callout::{Callout, Handler};
use crate::kernel::epoch::{self, EpochCell, NetEpoch};
use crate::kernel::error::{Errno, Result};
use crate::kernel::ifnet::Ifnet;
use crate::kernel::mbuf::{Packet, PacketQueue};
use crate::kernel::mutex::Mutex;
use crate::kernel::time;
use crate::kernel::vnet::Vnet;
use crate::link::{Link, HEADER_MAX};
use crate::pf::{State, StateLists, NEWEST_FORMAT};
use crate::wire::{Format, Header, StateId, Subheader};
use crate::{hooks, transmit, vnet};
use core::sync::atomic::{AtomicBool, AtomicU16, Ordering};

/// The largest frame with its IP header: what an IPv4 length can say.
pub const PACKET_MAX: usize = 65535;

/// The smallest MTU that an operator may set: smaller packets could not carry
/// a state.
pub const MTU_MIN: usize =
    HEADER_MAX + size_of::<Header>() + 2 * size_of::<Subheader>() + NEWEST_FORMAT.size();

/// The packets that a bucket holds back.
pub type Held = Deferrals<Packet, Slice<Option<Deferral<Packet>>>>;

/// States with news, and packets that wait for an acknowledgement. States are
/// spread over buckets by their id.
pub struct Bucket {
    pub queues: Mutex<Queues<StateLists>>,
    pub deferrals: Mutex<Held>,
    /// Asks the sender to look at the queues.
    pub due: AtomicBool,
    /// Ends the second that an update may wait.
    pub timer: Callout,
    /// Ends the time that a packet is held back.
    pub defer_timer: Callout,
}

/// What the operator has set, as the data path reads it.
pub struct Options {
    pub defer: AtomicBool,
    /// A [`Format`] by its number.
    format: AtomicU16,
}

impl Options {
    fn set(&self, config: &Config) {
        self.defer.store(config.defer, Ordering::Relaxed);
        self.format.store(config.format as u16, Ordering::Relaxed);
    }

    /// The message format of states that are sent.
    pub fn format(&self) -> Format {
        Format::from_number(self.format.load(Ordering::Relaxed).into()).unwrap_or(NEWEST_FORMAT)
    }
}

/// The sender's buffer.
pub struct Buffer {
    /// An IP header's room, then a frame.
    pub bytes: Slice<u8>,
    /// Length of a frame in it that the sync interface had no room for.
    pub unsent: Option<usize>,
    /// How often in a row the interface had no room.
    pub refused: u8,
}

impl Buffer {
    fn new() -> Result<Buffer> {
        Ok(Buffer {
            bytes: Slice::new(HEADER_MAX + PACKET_MAX, Wait::Sleep, |_| Ok(0))?,
            unsent: None,
            refused: 0,
        })
    }
}

/// The interface. Found under the network epoch by [`vnet::softc`].
/// docs/design.md has the order of locks.
pub struct Softc {
    /// Drained before anything else goes; see [`Softc::stop`].
    pub sender_timer: Callout,
    pub receiver_timer: Callout,
    /// Written with [`vnet::Configuration`] locked.
    pub config: Mutex<Config>,
    pub link: EpochCell<Link>,
    pub options: Options,
    pub buffer: Mutex<Buffer>,
    pub buckets: Slice<Bucket>,
    pub control: Mutex<Control<Slice<Option<StateId>>>>,
    pub bulk_sender: Mutex<bulk::Responder>,
    /// Allows the sender a burst of the full update under way, once a tick.
    pub bulk_due: AtomicBool,
    pub bulk_receiver: Mutex<bulk::Requester>,
    /// What the peers caused in this second.
    pub rates: Rates,
    /// Packets that were held back and leave now.
    pub released: Mutex<PacketQueue>,
    pub ifp: Ifnet,
}

impl Bucket {
    fn new(vnet: Vnet, index: usize, maxupd: u8) -> Result<Bucket> {
        let slots = Slice::new(DEFERRALS_PER_BUCKET, Wait::Sleep, |_| Ok(None))?;
        let callout = |run| Callout::new(Handler { vnet, index, run }, Wait::Sleep);
        Ok(Bucket {
            queues: Mutex::new(c"pfsync bucket", Queues::new(StateLists::new(maxupd)), Wait::Sleep)?,
            deferrals: Mutex::new(c"pfsync deferrals", Deferrals::new(slots), Wait::Sleep)?,
            due: AtomicBool::new(false),
            timer: callout(hooks::second_over)?,
            defer_timer: callout(hooks::deferral_over)?,
        })
    }
}

impl Softc {
    /// Makes the interface of the current network stack and attaches it. May
    /// sleep.
    pub fn new(attach: impl FnOnce() -> Result<Ifnet>) -> Result<Softc> {
        let vnet = Vnet::current().ok_or(Errno::EINVAL)?;
        let callout = |run| Callout::new(Handler { vnet, index: 0, run }, Wait::Sleep);
        let config = Config::new(NEWEST_FORMAT);
        let requests = Slice::new(MAX_QUEUED_REQUESTS, Wait::Sleep, |_| Ok(None))?;
        let softc = Softc {
            sender_timer: callout(transmit::resume)?,
            receiver_timer: callout(crate::bulk::tick)?,
            config: Mutex::new(c"pfsync settings", config, Wait::Sleep)?,
            link: EpochCell::new(),
            options: Options {
                defer: AtomicBool::new(config.defer),
                format: AtomicU16::new(config.format as u16),
            },
            buffer: Mutex::new(c"pfsync buffer", Buffer::new()?, Wait::Sleep)?,
            buckets: Slice::new(vnet::bucket_count(), Wait::Sleep, |index| {
                Bucket::new(vnet, index, config.maxupd)
            })?,
            control: Mutex::new(c"pfsync control", Control::new(requests), Wait::Sleep)?,
            bulk_sender: Mutex::new(c"pfsync bulk sender", bulk::Responder::new(), Wait::Sleep)?,
            bulk_due: AtomicBool::new(false),
            bulk_receiver: Mutex::new(c"pfsync bulk receiver", bulk::Requester::new(), Wait::Sleep)?,
            rates: Rates::default(),
            released: Mutex::new(c"pfsync released", PacketQueue::new(), Wait::Sleep)?,
            ifp: attach()?,
        };
        Ok(softc)
    }

    /// Has the data path do as the operator has set.
    pub fn obey(&self, config: &Config) {
        self.options.set(config);
        for bucket in self.buckets.iter() {
            bucket.queues.lock().set_maxupd(config.maxupd);
        }
    }

    /// The bucket of a state.
    pub fn bucket(&self, state: &State) -> Option<&Bucket> {
        let id = u64::from_be_bytes(state.id().id) as usize;
        self.buckets.get(id.checked_rem(self.buckets.len())?)
    }

    /// Whether anybody hears what is sent.
    pub fn has_audience(&self, link: Option<&Link>) -> bool {
        link.is_some() || self.ifp.is_watched()
    }

    /// Bytes of the largest frame, without its IP header.
    pub fn frame_len(&self, link: Option<&Link>) -> usize {
        let (mtu, header) = match link {
            Some(link) => (self.ifp.mtu().min(link.interface().mtu()), link.header_len()),
            None => (self.ifp.mtu(), HEADER_MAX),
        };
        mtu.min(PACKET_MAX).saturating_sub(header)
    }

    pub fn frame_size(&self, link: Option<&Link>) -> FrameSize {
        FrameSize {
            payload_len: self.frame_len(link).saturating_sub(size_of::<Header>() + size_of::<Subheader>()),
            state_len: self.options.format().size(),
        }
    }

    /// Does what a change in a bucket calls for.
    pub fn wake(&self, bucket: &Bucket, wake: Wake) {
        if wake.timer {
            bucket.timer.arm(time::SECOND);
        }
        if wake.sender {
            bucket.due.store(true, Ordering::Release);
            vnet::schedule_sender();
        }
    }

    /// The link, for the data path.
    pub fn link<'e>(&self, epoch: &'e NetEpoch) -> Option<&'e Link> {
        self.link.get(epoch)
    }

    /// Waits until no callout runs. Nobody finds the interface any more, so
    /// that none is armed again. May sleep.
    pub fn stop(&self) {
        self.sender_timer.drain();
        self.receiver_timer.drain();
        for bucket in self.buckets.iter() {
            bucket.timer.drain();
            bucket.defer_timer.drain();
        }
    }

    /// Sends on every packet that is held back. Nobody finds the interface any
    /// more.
    pub fn release_all(&self) {
        for bucket in self.buckets.iter() {
            loop {
                let deferral = bucket.deferrals.lock().pop();
                let Some(deferral) = deferral else { break };
                self.released.lock().push(deferral.packet);
            }
        }
        epoch::enter(|epoch| self.forward_released(epoch));
    }
}
