// SPDX-License-Identifier: BSD-2-Clause
//! The data of `pfsync0` in one vnet. The modules that use the data have the functions
//! for it.

use crate::atomic::{AtomicBool, AtomicI64, AtomicU16, AtomicU32, AtomicU64, AtomicU8, Ordering};
use crate::driver::buffer::{Buffer, PACKET_MAX};
use crate::driver::kernel::alloc::{KSlice, Wait};
use crate::driver::kernel::callout::{Callout, Handler};
use crate::driver::kernel::epoch::{EpochCell, NetEpoch};
use crate::driver::kernel::error::{Errno, Result};
use crate::driver::kernel::ifnet::Ifnet;
use crate::driver::kernel::mbuf::{Packet, PacketQueue};
use crate::driver::kernel::mutex::Mutex;
use crate::driver::kernel::task::Task;
use crate::driver::kernel::vnet::Vnet;
use crate::driver::kernel::{random, time};
use crate::driver::keys::KeyPair;
use crate::driver::link::{Link, HEADER_MAX};
use crate::driver::pf::{status, Kstate, StateLists, NEWEST_FORMAT};
use crate::driver::queues::SharedQueues;
use crate::driver::schedule::{Schedule, Tick};
use crate::driver::storage;
use crate::engine::agreement::{Agreement, Entry, Peer, Retold, Storage, MAX_PEERS, RETOLD_SLOTS};
use crate::engine::bucket::{Backlog, FrameSize, Queues, Wake};
use crate::engine::bulk::{Requester, Responder};
use crate::engine::config::Config;
use crate::engine::control::{Control, MAX_QUEUED_REQUESTS};
use crate::engine::defer::{Deferral, Deferrals, PLACES_PER_BUCKET};
use crate::engine::ended::{Ended, Slot};
use crate::engine::format_choice::FormatChoice;
use crate::engine::limit::Rates;
use crate::wire::trailer::{trailer_len, Epoch};
use crate::wire::{Format, Header, StateId, Subheader};
use core::num::NonZeroUsize;

/// The smallest MTU that an operator may set, in bytes. A smaller packet could not carry
/// a state.
pub(crate) const MTU_MIN: usize =
    HEADER_MAX + size_of::<Header>() + 2 * size_of::<Subheader>() + NEWEST_FORMAT.size();

/// What this firewall and its peers know of each other's frames.
pub(crate) type PeerAgreement = Agreement<KSlice<Peer>, KSlice<Entry>, KSlice<Retold>>;

/// The deferred packets of a bucket.
pub(crate) type DeferredPackets = Deferrals<Packet, KSlice<Option<Deferral<Packet>>>>;

/// The functions that the interface's timers and its task call. Each looks the interface up.
/// Those of the timers get the index of a bucket, or 0.
pub(crate) struct TimerFunctions {
    /// The sender may go on after a pause.
    pub(crate) sender: fn(usize),
    /// The wait for a bulk update has lasted another second.
    pub(crate) bulk_request: fn(usize),
    /// A tick of the clock has passed since messages were queued.
    pub(crate) tick: fn(usize),
    /// The second of a bucket is over.
    pub(crate) bucket: fn(usize),
    /// A hello may be due.
    pub(crate) hello: fn(usize),
    /// The oldest deferred packet of a bucket may have waited long enough.
    pub(crate) deferral: fn(usize),
    /// The sync interface, which was away, may be there again.
    pub(crate) link: fn(),
}

/// Queues of states with news for the peers, and deferred packets. States are spread
/// over buckets by their id.
pub(crate) struct Bucket {
    /// The queues.
    pub(crate) queues: SharedQueues,
    /// The deferred packets.
    pub(crate) deferrals: Mutex<DeferredPackets>,
    /// Ends the second that an update may wait.
    pub(crate) timer: Callout,
    /// Ends the time for which a packet may be deferred.
    pub(crate) deferral_timer: Callout,
}

/// What the operator set and the peers read, as the data path reads it: without a lock.
/// Each field stands for itself, and a thread may use the old value for a moment. So relaxed
/// loads and stores are enough.
pub(crate) struct Options {
    /// Whether first packets are deferred.
    pub(crate) defer: AtomicBool,
    /// The number of a [`Format`].
    format: AtomicU16,
    /// How frames end: the number of an [`Ending`].
    ending: AtomicU8,
    /// Frames get tags. Written with `Softc::keys` locked: a thread that reads `true` and then
    /// locks the keys finds the key, if it was not removed since.
    has_key: AtomicBool,
    /// Tags are checked. As `has_key`.
    has_any_key: AtomicBool,
}

/// How frames end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With an end mark, as those of stock modules.
    Mark,
    /// With a trailer.
    Trailer,
    /// With a trailer that has a tag.
    TaggedTrailer,
}

impl Ending {
    /// Its length in bytes.
    fn len(self) -> usize {
        match self {
            Ending::Mark => size_of::<Subheader>(),
            Ending::Trailer => trailer_len(false),
            Ending::TaggedTrailer => trailer_len(true),
        }
    }
}

impl Options {
    fn new(config: &Config) -> Options {
        Options {
            defer: AtomicBool::new(config.defer),
            format: AtomicU16::new(NEWEST_FORMAT as u16),
            ending: AtomicU8::new(Ending::Mark as u8),
            has_key: AtomicBool::new(false),
            has_any_key: AtomicBool::new(false),
        }
    }

    /// Sets the message format in which states are sent.
    pub(crate) fn set_format(&self, format: Format) {
        self.format.store(format as u16, Ordering::Relaxed);
    }

    /// Sets how frames end from now on. Only the sender does.
    pub(crate) fn set_ending(&self, ending: Ending) {
        self.ending.store(ending as u8, Ordering::Relaxed);
    }

    /// How frames end.
    pub(crate) fn ending(&self) -> Ending {
        const TRAILER: u8 = Ending::Trailer as u8;
        const TAGGED: u8 = Ending::TaggedTrailer as u8;
        match self.ending.load(Ordering::Relaxed) {
            TRAILER => Ending::Trailer,
            TAGGED => Ending::TaggedTrailer,
            _ => Ending::Mark,
        }
    }

    /// Follows the keys, which the caller has locked, or which no other thread has yet.
    pub(crate) fn follow_keys(&self, keys: &KeyPair) {
        let keys = keys.keys(false);
        self.has_key.store(keys.key.is_some(), Ordering::Relaxed);
        self.has_any_key.store(keys.key.is_some() || keys.also.is_some(), Ordering::Relaxed);
    }

    /// Whether frames get tags.
    pub(crate) fn has_key(&self) -> bool {
        self.has_key.load(Ordering::Relaxed)
    }

    /// Whether tags are checked.
    pub(crate) fn has_any_key(&self) -> bool {
        self.has_any_key.load(Ordering::Relaxed)
    }

    /// The message format in which states are sent.
    pub(crate) fn format(&self) -> Format {
        Format::from_number(self.format.load(Ordering::Relaxed).into()).unwrap_or(NEWEST_FORMAT)
    }
}

/// The data of the interface. `instance` says which threads may use it, docs/design.md in
/// which order they lock the mutexes.
pub(crate) struct Softc {
    /// Lets the sender run after a pause. [`Softc::stop`] drains the timers before any
    /// field is dropped.
    pub(crate) sender_timer: Callout,
    /// Runs once a second during the wait for a bulk update.
    pub(crate) bulk_request_timer: Callout,
    /// Uses the sync interface when it is there again, after it was away.
    pub(crate) link_task: Task,
    /// The configuration. Written with `instance::Configuration` locked.
    pub(crate) config: Mutex<Config>,
    /// Where packets go, if a sync interface is configured and there.
    pub(crate) link: EpochCell<Link>,
    /// What the data path reads of the configuration.
    pub(crate) options: Options,
    /// Chooses the format that states are sent in.
    pub(crate) format_choice: Mutex<FormatChoice>,
    /// The fingerprint of what `format_choice` heard last, or 0. Written with that locked. A
    /// thread that reads an old one hears something again, or hears the next frame instead.
    pub(crate) last_heard: AtomicU64,
    /// The format in use when an operator looked last. `instance::Configuration` is locked.
    pub(crate) shown_format: AtomicU16,
    /// Where the sender builds packets.
    pub(crate) buffer: Mutex<Buffer>,
    /// Frames were lost because the sync interface had no address that packets could have
    /// as their source. Only the sender writes it, and another thread reads it as news of no
    /// certain age.
    pub(crate) lost_without_source: AtomicBool,
    /// When the sender sends what is in the prompt queues of the buckets.
    pub(crate) schedule: Schedule,
    /// Ends the tick for which messages may wait.
    tick_timer: Callout,
    /// At least one, and as many as `bucket_count`.
    pub(crate) buckets: KSlice<Bucket>,
    bucket_count: NonZeroUsize,
    /// Update requests and clears that wait to be sent.
    pub(crate) control: Mutex<Control<KSlice<Option<StateId>>>>,
    /// Whether a clear waits in `control`. Written with `control` locked, so that a thread that
    /// reads `true` and then locks that finds the clear. `queues::SharedQueues::take` says
    /// what orders it for the sender.
    pub(crate) clear_waits: AtomicBool,
    /// The bulk update that this node requests.
    pub(crate) bulk_request: Mutex<Requester>,
    /// Since when pf ran when that was looked at last; see `status::since`. Its change alone is
    /// what counts: one thread alone makes it.
    pub(crate) pf_since: AtomicU32,
    /// The bulk update that a peer requests.
    pub(crate) bulk_answer: Mutex<Responder>,
    /// Allows the sender the next packets of a bulk update, once a tick. The sender's interrupt
    /// orders it before the sender's run.
    pub(crate) bulk_burst_allowed: AtomicBool,
    /// Which frames of the peers arrived, and what this firewall's frames told.
    pub(crate) agreement: Mutex<PeerAgreement>,
    /// States that ended lately. A thread that has locked a row may lock this.
    pub(crate) ended: Mutex<Ended<KSlice<Slot>>>,
    /// Lets the sender send a hello.
    pub(crate) hello_timer: Callout,
    /// When `hello_timer` expires, 0 if it is not armed. The sender writes it before it arms the
    /// timer, and the timer before it schedules the sender: both order it.
    pub(crate) hello_armed: AtomicI64,
    /// The keys that frames are tagged with.
    pub(crate) keys: Mutex<KeyPair>,
    /// What the peers caused in this second.
    pub(crate) rates: Rates,
    /// Packets that were deferred, and that the sender sends on now.
    pub(crate) released: Mutex<PacketQueue>,
    /// The interface as the kernel knows it.
    pub(crate) ifp: Ifnet,
}

impl Bucket {
    fn new(vnet: Vnet, index: usize, maxupd: u8, timers: &TimerFunctions) -> Result<Bucket> {
        let slots = KSlice::new(PLACES_PER_BUCKET, Wait::Sleep, |_| Ok(None))?;
        let callout = |run| Callout::new(Handler { vnet, index, run }, Wait::Sleep);
        let queues = Mutex::new(c"pfsync bucket", Queues::new(StateLists::new(maxupd)), Wait::Sleep)?;
        Ok(Bucket {
            queues: SharedQueues::new(queues),
            deferrals: Mutex::new(c"pfsync deferrals", Deferrals::new(slots), Wait::Sleep)?,
            timer: callout(timers.bucket)?,
            deferral_timer: callout(timers.deferral)?,
        })
    }
}

/// Slots for states that ended lately, 16 bytes each. They suffice for about a thousand ends a
/// second. If there are more, some ends are forgotten early.
const ENDED_STATES: usize = 8192;

/// Slots for states that were refused and will be requested.
const REFUSED_STATES: usize = 64;

/// An agreement with no peers and no log.
fn new_agreement() -> Result<PeerAgreement> {
    let storage = Storage {
        peers: KSlice::new(MAX_PEERS, Wait::Sleep, |_| Ok(Peer::FREE))?,
        log: KSlice::new(0, Wait::Sleep, |_| Ok(Entry::UNUSED))?,
        retold: KSlice::new(RETOLD_SLOTS, Wait::Sleep, |_| Ok(Retold::UNUSED))?,
    };
    let epoch = Epoch::new(random::number()).ok_or(Errno::EINVAL)?;
    Ok(Agreement::new(storage, epoch, random::number(), time::now()))
}

impl Softc {
    /// Makes the data of an interface for the current vnet, and has `attach` attach the
    /// interface. May sleep. Fails if there is no memory, or as `attach` does.
    pub(crate) fn new(
        timers: &TimerFunctions,
        bucket_count: NonZeroUsize,
        attach: impl FnOnce() -> Result<Ifnet>,
    ) -> Result<Softc> {
        let vnet = Vnet::current().ok_or(Errno::EINVAL)?;
        let callout = |run| Callout::new(Handler { vnet, index: 0, run }, Wait::Sleep);
        let config = Config::new(NEWEST_FORMAT);
        let agreement = new_agreement()?;
        let slots = |count| KSlice::new(count, Wait::Sleep, |_| Ok(Slot::UNUSED));
        // SAFETY: only a thread that has locked the configuration of an existing interface
        // stores keys, and this interface does not exist yet.
        let keys = unsafe { KeyPair::stored() };
        let options = Options::new(&config);
        options.follow_keys(&keys);
        Ok(Softc {
            sender_timer: callout(timers.sender)?,
            bulk_request_timer: callout(timers.bulk_request)?,
            link_task: Task::new(vnet, timers.link, Wait::Sleep)?,
            config: Mutex::new(c"pfsync settings", config, Wait::Sleep)?,
            link: EpochCell::new(),
            options,
            format_choice: Mutex::new(c"pfsync format", FormatChoice::new(NEWEST_FORMAT), Wait::Sleep)?,
            last_heard: AtomicU64::new(0),
            shown_format: AtomicU16::new(NEWEST_FORMAT as u16),
            buffer: Mutex::new(c"pfsync buffer", Buffer::new()?, Wait::Sleep)?,
            lost_without_source: AtomicBool::new(false),
            schedule: Schedule::new(),
            tick_timer: callout(timers.tick)?,
            buckets: KSlice::new(bucket_count.get(), Wait::Sleep, |index| {
                Bucket::new(vnet, index, config.maxupd, timers)
            })?,
            bucket_count,
            control: Mutex::new(
                c"pfsync control",
                Control::new(KSlice::new(MAX_QUEUED_REQUESTS, Wait::Sleep, |_| Ok(None))?),
                Wait::Sleep,
            )?,
            clear_waits: AtomicBool::new(false),
            bulk_request: Mutex::new(c"pfsync bulk request", Requester::new(), Wait::Sleep)?,
            pf_since: AtomicU32::new(status::since()),
            bulk_answer: Mutex::new(c"pfsync bulk answer", Responder::new(), Wait::Sleep)?,
            bulk_burst_allowed: AtomicBool::new(false),
            agreement: Mutex::new(c"pfsync agreement", agreement, Wait::Sleep)?,
            ended: Mutex::new(
                c"pfsync ended",
                Ended::new(slots(ENDED_STATES)?, slots(REFUSED_STATES)?),
                Wait::Sleep,
            )?,
            hello_timer: callout(timers.hello)?,
            hello_armed: AtomicI64::new(0),
            keys: Mutex::new(c"pfsync keys", keys, Wait::Sleep)?,
            rates: Rates::default(),
            released: Mutex::new(c"pfsync released", PacketQueue::new(), Wait::Sleep)?,
            ifp: attach()?,
        })
    }

    /// Makes the data path follow a configuration.
    pub(crate) fn apply_options(&self, config: &Config) {
        self.options.defer.store(config.defer, Ordering::Relaxed);
        for bucket in self.buckets.iter() {
            bucket.queues.lock().set_maxupd(config.maxupd);
        }
    }

    /// The bucket of a state.
    pub(crate) fn bucket(&self, state: &Kstate) -> &Bucket {
        let id = u64::from_be_bytes(state.id().id) as usize;
        // SAFETY: `new` made `bucket_count` buckets, and a KSlice never changes its
        // length. The remainder is less than that.
        unsafe { self.buckets.get_unchecked(id % self.bucket_count) }
    }

    /// Whether anything would see a message: a peer behind the link, or a program that
    /// watches `pfsync0` through bpf(4).
    pub(crate) fn has_audience(&self, link: Option<&Link>) -> bool {
        link.is_some() || self.ifp.is_watched()
    }

    /// Bytes of the largest frame, without an IP header.
    pub(crate) fn frame_len(&self, link: Option<&Link>) -> usize {
        let (mtu, header) = match link {
            Some(link) => (self.ifp.mtu().min(link.interface().mtu()), link.header_len()),
            None => (self.ifp.mtu(), HEADER_MAX),
        };
        mtu.min(PACKET_MAX).saturating_sub(header)
    }

    /// The space for messages in a frame, and the size of a state in it.
    pub(crate) fn frame_size(&self, link: Option<&Link>) -> FrameSize {
        FrameSize {
            payload_len: self
                .frame_len(link)
                .saturating_sub(size_of::<Header>() + self.options.ending().len()),
            state_len: self.options.format().size(),
        }
    }

    /// What is in the prompt queues of all buckets.
    pub(crate) fn backlog(&self) -> &Backlog {
        &self.schedule.backlog
    }

    /// Has what was queued sent: at once if it fills a frame, otherwise with the next tick of
    /// the clock.
    pub(crate) fn send_with_tick(&self, link: Option<&Link>) {
        if self.schedule.await_tick() {
            self.tick_timer.arm(time::tick());
        }
        if self.backlog().fills(self.frame_size(link)) {
            storage::schedule_sender();
        }
    }

    /// A tick has passed.
    pub(crate) fn tick_passed(&self) {
        match self.schedule.tick_passed() {
            Tick::Rest => {}
            Tick::Wait => self.tick_timer.arm(time::tick()),
            Tick::Send => storage::schedule_sender(),
        }
    }

    /// Has all prompt queues sent at once.
    pub(crate) fn send_at_once(&self) {
        self.schedule.request_flush();
        storage::schedule_sender();
    }

    /// Starts the bucket's timer and lets the sender run, as far as a change in the
    /// bucket calls for it.
    pub(crate) fn wake(&self, bucket: &Bucket, wake: Wake) {
        if wake.timer {
            bucket.timer.arm(time::SECOND);
        }
        if wake.sender {
            self.send_at_once();
        }
    }

    /// The link, for the data path.
    pub(crate) fn link<'e>(&self, epoch: &'e NetEpoch) -> Option<&'e Link> {
        self.link.get(epoch)
    }

    /// Waits until no function of a timer or of the task runs. No thread finds the interface
    /// any more, so that none is armed again. May sleep.
    pub(crate) fn stop(&self) {
        self.link_task.drain();
        self.sender_timer.drain();
        self.tick_timer.drain();
        self.hello_timer.drain();
        self.bulk_request_timer.drain();
        for bucket in self.buckets.iter() {
            bucket.timer.drain();
            bucket.deferral_timer.drain();
        }
    }
}
