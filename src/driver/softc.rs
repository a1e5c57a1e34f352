//! The data of `pfsync0` in one vnet. What is done with the data is in the
//! modules that use it.

use crate::driver::kernel::alloc::{Slice, Wait};
use crate::driver::kernel::callout::{Callout, Handler};
use crate::driver::kernel::epoch::{EpochCell, NetEpoch};
use crate::driver::kernel::error::{Errno, Result};
use crate::driver::kernel::ifnet::Ifnet;
use crate::driver::kernel::mbuf::{Packet, PacketQueue};
use crate::driver::kernel::mutex::Mutex;
use crate::driver::kernel::time;
use crate::driver::kernel::vnet::Vnet;
use crate::driver::link::{Link, HEADER_MAX};
use crate::driver::pf::{State, StateLists, NEWEST_FORMAT};
use crate::driver::storage;
use crate::engine::bucket::{Limits, Queues, Wake};
use crate::engine::bulk;
use crate::engine::config::Config;
use crate::engine::control::{Control, REQUESTS};
use crate::engine::defer::{Deferral, Deferrals, CAPACITY};
use crate::engine::limit::Rates;
use crate::wire::{Format, Header, StateId, Subheader};
use core::sync::atomic::{AtomicBool, AtomicU16, Ordering};

/// The largest packet in bytes, IP header included: the largest length that an
/// IPv4 header can state.
pub const PACKET_MAX: usize = 65535;

/// The smallest MTU that an operator may set, in bytes: a smaller packet could
/// not carry a state.
pub const MTU_MIN: usize =
    HEADER_MAX + size_of::<Header>() + 2 * size_of::<Subheader>() + NEWEST_FORMAT.size();

/// The deferred packets of a bucket.
pub type DeferredPackets = Deferrals<Packet, Slice<Option<Deferral<Packet>>>>;

/// The functions that the interface's timers call, with the index of the bucket
/// or 0. Each finds the interface by itself.
pub struct TimerFunctions {
    /// The sender may go on after a pause.
    pub sender: fn(usize),
    /// A second of waiting for a bulk update is over.
    pub bulk_request: fn(usize),
    /// The second of a bucket is over.
    pub bucket: fn(usize),
    /// The oldest deferred packet of a bucket may have waited long enough.
    pub deferral: fn(usize),
}

/// Queues of states with news for the peers, and deferred packets. States are
/// spread over buckets by their id.
pub struct Bucket {
    pub queues: Mutex<Queues<StateLists>>,
    pub deferrals: Mutex<DeferredPackets>,
    /// Asks the sender to look at the queues.
    pub send_requested: AtomicBool,
    /// Ends the second that an update may wait.
    pub timer: Callout,
    /// Ends the time for which a packet is deferred.
    pub deferral_timer: Callout,
}

/// The options that the operator set, as the data path reads them.
pub struct Options {
    pub defer: AtomicBool,
    /// A [`Format`] by its number.
    format: AtomicU16,
}

impl Options {
    fn new(config: &Config) -> Options {
        Options { defer: AtomicBool::new(config.defer), format: AtomicU16::new(config.format as u16) }
    }

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
    /// [`HEADER_MAX`] bytes for an IP header, then a frame.
    pub bytes: Slice<u8>,
    /// Length of a frame in the buffer that the sync interface had no space for.
    pub unsent: Option<usize>,
    /// How often in a row the interface had no space.
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

/// The data of the interface. `instance` says who may use it, docs/design.md has
/// the order of locks.
pub struct Softc {
    /// Drained before any field goes; see [`Softc::stop`].
    pub sender_timer: Callout,
    pub bulk_request_timer: Callout,
    /// Written with `instance::Configuration` locked.
    pub config: Mutex<Config>,
    pub link: EpochCell<Link>,
    pub options: Options,
    pub buffer: Mutex<Buffer>,
    pub buckets: Slice<Bucket>,
    pub control: Mutex<Control<Slice<Option<StateId>>>>,
    /// The bulk update that this node requested.
    pub bulk_request: Mutex<bulk::Receiver>,
    /// The bulk update that a peer requested.
    pub bulk_answer: Mutex<bulk::Sender>,
    /// Allows the sender the next packets of a bulk update, once a tick.
    pub bulk_burst_allowed: AtomicBool,
    /// What the peers caused in this second.
    pub rates: Rates,
    /// Packets that were deferred and leave now.
    pub released: Mutex<PacketQueue>,
    pub ifp: Ifnet,
}

impl Bucket {
    fn new(vnet: Vnet, index: usize, maxupd: u8, timers: &TimerFunctions) -> Result<Bucket> {
        let slots = Slice::new(CAPACITY, Wait::Sleep, |_| Ok(None))?;
        let callout = |run| Callout::new(Handler { vnet, index, run }, Wait::Sleep);
        Ok(Bucket {
            queues: Mutex::new(c"pfsync bucket", Queues::new(StateLists::new(maxupd)), Wait::Sleep)?,
            deferrals: Mutex::new(c"pfsync deferrals", Deferrals::new(slots), Wait::Sleep)?,
            send_requested: AtomicBool::new(false),
            timer: callout(timers.bucket)?,
            deferral_timer: callout(timers.deferral)?,
        })
    }
}

impl Softc {
    /// Makes the data of the current vnet's interface, with as many buckets as
    /// `bucket_count`, and attaches the interface. May sleep.
    pub fn new(
        timers: &TimerFunctions,
        bucket_count: usize,
        attach: impl FnOnce() -> Result<Ifnet>,
    ) -> Result<Softc> {
        let vnet = Vnet::current().ok_or(Errno::EINVAL)?;
        let callout = |run| Callout::new(Handler { vnet, index: 0, run }, Wait::Sleep);
        let config = Config::new(NEWEST_FORMAT);
        let requests = Slice::new(REQUESTS, Wait::Sleep, |_| Ok(None))?;
        Ok(Softc {
            sender_timer: callout(timers.sender)?,
            bulk_request_timer: callout(timers.bulk_request)?,
            config: Mutex::new(c"pfsync settings", config, Wait::Sleep)?,
            link: EpochCell::new(),
            options: Options::new(&config),
            buffer: Mutex::new(c"pfsync buffer", Buffer::new()?, Wait::Sleep)?,
            buckets: Slice::new(bucket_count, Wait::Sleep, |index| {
                Bucket::new(vnet, index, config.maxupd, timers)
            })?,
            control: Mutex::new(c"pfsync control", Control::new(requests), Wait::Sleep)?,
            bulk_request: Mutex::new(c"pfsync bulk receiver", bulk::Receiver::new(), Wait::Sleep)?,
            bulk_answer: Mutex::new(c"pfsync bulk sender", bulk::Sender::new(), Wait::Sleep)?,
            bulk_burst_allowed: AtomicBool::new(false),
            rates: Rates::default(),
            released: Mutex::new(c"pfsync released", PacketQueue::new(), Wait::Sleep)?,
            ifp: attach()?,
        })
    }

    /// Makes the data path follow a configuration.
    pub fn apply_options(&self, config: &Config) {
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

    /// Whether anybody would see a message: a peer behind the link, or a program
    /// that watches `pfsync0` with bpf(4).
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

    /// What fits into a frame.
    pub fn frame_size(&self, link: Option<&Link>) -> Limits {
        Limits {
            room: self.frame_len(link).saturating_sub(size_of::<Header>() + size_of::<Subheader>()),
            state_len: self.options.format().size(),
        }
    }

    /// Does what a change in a bucket calls for.
    pub fn wake(&self, bucket: &Bucket, wake: Wake) {
        if wake.timer {
            bucket.timer.arm(time::SECOND);
        }
        if wake.sender {
            bucket.send_requested.store(true, Ordering::Release);
            storage::schedule_sender();
        }
    }

    /// The link, for the data path.
    pub fn link<'e>(&self, epoch: &'e NetEpoch) -> Option<&'e Link> {
        self.link.get(epoch)
    }

    /// Waits until no timer's function runs. No thread finds the interface any
    /// more, so that none arms a timer again. May sleep.
    pub fn stop(&self) {
        self.sender_timer.drain();
        self.bulk_request_timer.drain();
        for bucket in self.buckets.iter() {
            bucket.timer.drain();
            bucket.deferral_timer.drain();
        }
    }
}
