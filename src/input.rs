//! Packets from the peers.

use crate::engine::bucket::{Change, Queue};
use crate::engine::limit;
use crate::engine::merge::{self, EndpointVerdict};
use crate::kernel::epoch::{self, NetEpoch};
use crate::kernel::error::Errno;
use crate::kernel::ifnet::{Counter, IfnetRef};
use crate::kernel::mbuf::Packet;
use crate::kernel::time;
use crate::pf::table::{self, Row};
use crate::pf::{self, rules, rules::Rules, status, End, Found, Origin, Refused, NEWEST_FORMAT};
use crate::probe::{self, Rejected};
use crate::softc::Softc;
use crate::stats::{count, count_limited, Limit, Stat};
use crate::vnet;
use crate::wire::{
    Action, CompressedUpdate, Frame, FrameError, HeaderError, Invalid, RawBulkStatus, RawClear,
    RawCompressedUpdate, RawId, Run, State, StateId, TTL,
};
use core::cell::Cell;
use core::ffi::c_int;
use core::ptr::{self, NonNull};
use sys_bindings as sys;

/// Where the TTL lies in an IPv4 header, and the hop limit in an IPv6 header.
const TTL4: usize = 8;
const HOP_LIMIT6: usize = 7;

/// `IPPROTO_DONE`: the packet was consumed.
const DONE: c_int = sys::IPPROTO_DONE as c_int;

/// The kernel's handler for IPv4.
pub unsafe extern "C" fn input4(mp: *mut *mut sys::mbuf, offp: *mut c_int, _proto: c_int) -> c_int {
    count(Stat::InputPackets, 1);
    // SAFETY: as the kernel calls protocol handlers.
    unsafe { input(mp, offp, TTL4) }
}

/// The kernel's handler for IPv6.
pub unsafe extern "C" fn input6(mp: *mut *mut sys::mbuf, offp: *mut c_int, _proto: c_int) -> c_int {
    count(Stat::InputPackets6, 1);
    // SAFETY: as the kernel calls protocol handlers.
    unsafe { input(mp, offp, HOP_LIMIT6) }
}

/// # Safety
///
/// `*mp` is a packet that the caller gives up, `*offp` the length of its IP
/// header, which lies in one piece, and the network epoch is entered.
unsafe fn input(mp: *mut *mut sys::mbuf, offp: *mut c_int, ttl: usize) -> c_int {
    // SAFETY: as the caller promises.
    unsafe {
        let Some(m) = NonNull::new(ptr::replace(mp, ptr::null_mut())) else { return DONE };
        let packet = Packet::from_raw(m);
        let offset = usize::try_from(*offp).unwrap_or(usize::MAX);
        epoch::entered(|epoch| {
            if let Some(softc) = vnet::softc(epoch) {
                softc.receive(&packet, offset, ttl, epoch);
            }
        });
    }
    DONE
}

/// Counts a packet or a message that is refused.
fn reject(action: Option<Action>, reason: Rejected) {
    let stat = match reason {
        Rejected::Interface => Stat::BadInterface,
        Rejected::Ttl => Stat::BadTtl,
        Rejected::Header => Stat::HeaderDrops,
        Rejected::Version => Stat::BadVersion,
        Rejected::Length => Stat::BadLength,
        Rejected::Action => Stat::BadAction,
        Rejected::Value => Stat::BadValue,
        Rejected::State | Rejected::Limit => Stat::BadState,
    };
    count(stat, 1);
    probe::rejected(action.map(|action| action as u8), reason);
}

/// Counts a message that a limit keeps from being carried out.
fn hold_back(action: Action, limit: Limit) {
    count_limited(limit);
    reject(Some(action), Rejected::Limit);
}

/// What holds for all messages of a frame.
struct Context<'a> {
    origin: Origin,
    rules: &'a Rules,
    /// States that the peers may add, once it was asked for.
    share: Cell<Option<u64>>,
}

impl Context<'_> {
    /// Takes room for one more state.
    fn takes_share(&self) -> bool {
        let ask = || limit::share_left(status::states(), status::state_limit(), vnet::peer_share());
        let left = self.share.get().unwrap_or_else(ask);
        self.share.set(Some(left.saturating_sub(1)));
        left > 0
    }
}

/// Whether a packet came by an interface. One that ipsec(4) decrypted keeps the
/// interface that it came by encrypted, but pf sees it on enc(4), and so does
/// the operator who names that as the sync interface.
fn is_received_by(packet: &Packet, ifp: &IfnetRef) -> bool {
    ptr::eq(packet.received_by(), ifp.as_ptr()) || ifp.is_enc() && packet.was_decrypted()
}

impl Softc {
    fn receive(&self, packet: &Packet, offset: usize, ttl: usize, epoch: &NetEpoch) {
        let Some(link) = self.link(epoch) else { return };
        if !status::is_running() || !self.ifp.is_running() {
            return;
        }
        if !is_received_by(packet, link.interface()) {
            return reject(None, Rejected::Interface);
        }
        self.ifp.count(Counter::InputPackets, 1);
        self.ifp.count(Counter::InputBytes, packet.len());
        let Ok(bytes) = packet.contiguous(0) else { return reject(None, Rejected::Header) };
        if bytes.get(ttl) != Some(&TTL) {
            return reject(None, Rejected::Ttl);
        }
        match Frame::parse(bytes.get(offset..).unwrap_or(&[])) {
            Ok(frame) => self.handle_frame(frame.with_newest_format(NEWEST_FORMAT)),
            Err(HeaderError::Short) => reject(None, Rejected::Header),
            Err(HeaderError::Version(_)) => reject(None, Rejected::Version),
            Err(HeaderError::Length) => reject(None, Rejected::Length),
        }
    }

    fn handle_frame(&self, frame: Frame) {
        rules::read(|rules| {
            let origin = Origin::Peer { same_rules: *frame.checksum == status::checksum() };
            let context = Context { origin, rules, share: Cell::new(None) };
            for run in frame {
                match run {
                    Ok(run) => {
                        count_messages(run.action() as u8, run.count());
                        self.handle_run(run, &context);
                    }
                    Err(error) => count_error(error),
                }
            }
        });
    }

    fn handle_run(&self, run: Run, context: &Context) {
        let action = run.action();
        match run {
            Run::Clear(messages) => messages.iter().for_each(|raw| self.handle_clear(raw, context)),
            Run::Insert(states) => {
                states.check_each(|state| self.handle_insert(state, action, context));
            }
            Run::Update(states) => {
                self.bulk_receiver.lock().progress(time::uptime());
                states.check_each(|state| self.handle_update(state, action, context));
            }
            Run::UpdateCompressed(messages) => messages.iter().for_each(|raw| self.handle_compressed(raw)),
            Run::UpdateRequest(messages) => {
                messages.iter().for_each(|raw| self.handle_request((*raw).into()))
            }
            Run::DeleteCompressed(messages) => messages.iter().for_each(handle_delete),
            Run::InsertAck(messages) => messages.iter().for_each(|raw| self.handle_ack((*raw).into())),
            Run::BulkStatus(messages) => messages.iter().for_each(|raw| self.handle_bulk_status(raw)),
            Run::Tdb(_) | Run::Eof(_) => {}
        }
    }

    /// Forgets the states of a creator, whatever their interface, as the C
    /// module does; but not if it names an interface that is not here.
    fn handle_clear(&self, raw: &RawClear, context: &Context) {
        let Ok(clear) = raw.check() else { return reject(Some(Action::Clear), Rejected::Value) };
        if clear.ifname.is_some_and(|name| !pf::knows_interface(&name, context.rules)) {
            return;
        }
        if !self.rates.clears.allows(time::uptime(), limit::CLEARS_PER_SECOND) {
            return hold_back(Action::Clear, Limit::Clears);
        }
        for index in 0..table::rows() {
            while Row::lock(index)
                .is_some_and(|row| row.unlink_first(|state| state.id().creator == clear.creator))
            {
            }
        }
    }

    fn handle_insert(&self, state: &Result<State, Invalid>, action: Action, context: &Context) {
        match state {
            Ok(state) => self.import(state, action, context),
            Err(_) => reject(Some(action), Rejected::Value),
        }
    }

    fn import(&self, state: &State, action: Action, context: &Context) {
        if !self.rates.inserts.allows(time::uptime(), vnet::peer_inserts()) {
            return hold_back(action, Limit::Inserts);
        }
        if !context.takes_share() {
            return hold_back(action, Limit::Share);
        }
        match take_in(self, state, context.origin, context.rules) {
            Ok(()) => {}
            Err(Refused::Row) => hold_back(action, Limit::Row),
            Err(Refused::RoutingTable) => reject(Some(action), Rejected::Value),
            Err(_) => reject(Some(action), Rejected::State),
        }
    }

    fn handle_update(&self, state: &Result<State, Invalid>, action: Action, context: &Context) {
        let Ok(state) = state else { return reject(Some(action), Rejected::Value) };
        match table::find(state.id) {
            None => self.import(state, action, context),
            Some(found) if !found.is_same(state) => reject(Some(action), Rejected::Value),
            Some(found) => self.merge(
                &found,
                &CompressedUpdate { id: state.id, src: state.src, dst: state.dst, timeout: state.timeout },
            ),
        }
    }

    /// What the update may say depends on the state's protocol, if the state
    /// is here.
    fn handle_compressed(&self, raw: &RawCompressedUpdate) {
        let found = table::find(raw.state_id());
        match (raw.check(found.as_ref().map(|found| found.proto())), found) {
            (Ok(update), Some(found)) => self.merge(&found, &update),
            (Ok(_), None) => self.ask_for(raw.state_id()),
            (Err(_), _) => reject(Some(Action::UpdateCompressed), Rejected::Value),
        }
    }

    /// Takes from an update what is newer than what is known, and has the rest
    /// sent back.
    fn merge(&self, found: &Found, update: &CompressedUpdate) {
        let Some(bucket) = self.bucket(found) else { return };
        if !found.is_alive() {
            return;
        }
        if found.awaits_ack() {
            self.release(bucket, found);
        }
        let update_peers = [&update.src, &update.dst];
        let verdict = match found.is_tcp() {
            true => merge::tcp(found.known(), update_peers),
            false => merge::other(found.known(), update_peers),
        };
        probe::merged(update.id, verdict);
        let uptime = time::uptime();
        for (end, peer, half) in [(End::Src, &update.src, verdict.src), (End::Dst, &update.dst, verdict.dst)]
        {
            match half {
                EndpointVerdict::Newer => found.set_peer(end, peer),
                EndpointVerdict::StateOnly => found.set_peer_state(end, peer.state),
                EndpointVerdict::Stale => {}
            }
        }
        if verdict.applies_any() {
            found.refresh(update.timeout, uptime);
        }
        found.set_pfsync_time(uptime);
        if verdict.peer_is_behind() {
            count(Stat::Stale, 1);
            self.answer(found);
        }
    }

    /// Asks the peers for a state that they seem to have.
    fn ask_for(&self, state: StateId) {
        if !self.rates.requests.allows(time::uptime(), vnet::peer_requests()) {
            return hold_back(Action::UpdateCompressed, Limit::Requests);
        }
        if self.control.lock().request(state).is_err() {
            count(Stat::NoMemory, 1);
        }
        vnet::schedule_sender();
    }

    /// Sends the peer what it does not know.
    fn answer(&self, found: &Found) {
        let Some(bucket) = self.bucket(found) else { return };
        if found.is_nosync() {
            return;
        }
        if !self.rates.answers.allows(time::uptime(), vnet::peer_requests()) {
            return hold_back(Action::UpdateCompressed, Limit::Requests);
        }
        let change = Change { tcp: found.is_tcp(), split: true };
        let wake = bucket.queues.lock().update(found, change);
        self.wake(bucket, wake);
    }

    fn handle_request(&self, state: StateId) {
        if state == StateId::ALL {
            return self.bulk_requested();
        }
        let Some(found) = table::find(state) else {
            return reject(Some(Action::UpdateRequest), Rejected::State);
        };
        let Some(bucket) = self.bucket(&found) else { return };
        if found.is_nosync() {
            return;
        }
        if !self.rates.answers.allows(time::uptime(), vnet::peer_requests()) {
            return hold_back(Action::UpdateRequest, Limit::Requests);
        }
        probe::queued(state, Queue::Update);
        let wake = bucket.queues.lock().request(&found);
        self.wake(bucket, wake);
    }

    fn handle_ack(&self, state: StateId) {
        let Some(found) = table::find(state) else { return };
        let Some(bucket) = self.bucket(&found) else { return };
        if found.awaits_ack() {
            self.release(bucket, &found);
        }
    }

    fn handle_bulk_status(&self, raw: &RawBulkStatus) {
        match raw.check() {
            Ok(status) => self.bulk_mark(&status),
            Err(_) => reject(Some(Action::BulkStatus), Rejected::Value),
        }
    }
}

/// Takes a state in, and has it acknowledged if the sender waits for that.
pub fn take_in(softc: &Softc, state: &State, origin: Origin, rules: &Rules) -> Result<(), Refused> {
    let imported = pf::import(state, origin, rules);
    probe::imported(state.id, imported.as_ref().map(|_| ()).map_err(|refused| *refused));
    let found = imported?;
    if origin != Origin::Ioctl && state.flags.contains(crate::wire::StateFlags::ACK) {
        if let Some(bucket) = softc.bucket(&found) {
            let wake = bucket.queues.lock().acknowledge(&found);
            softc.wake(bucket, wake);
        }
    }
    Ok(())
}

impl From<Refused> for Errno {
    fn from(refused: Refused) -> Errno {
        match refused {
            Refused::Interface | Refused::RouteInterface | Refused::RoutingTable => Errno::EINVAL,
            Refused::NoMemory | Refused::Row => Errno::ENOMEM,
            Refused::Exists => Errno::EEXIST,
        }
    }
}

fn handle_delete(raw: &RawId) {
    match table::find((*raw).into()) {
        Some(found) => found.unlink(),
        None => reject(Some(Action::DeleteCompressed), Rejected::State),
    }
}

/// Counts messages that came, whatever becomes of them.
fn count_messages(action: u8, messages: usize) {
    count(Stat::InputActions(action), messages);
    probe::received(action, messages);
}

fn count_error(error: FrameError) {
    match error {
        FrameError::Action { number, count } => {
            count_messages(number, count.into());
            reject(Action::from_number(number), Rejected::Action);
        }
        FrameError::Length { action, count } => {
            count_messages(action as u8, count.into());
            reject(Some(action), Rejected::Length);
        }
        FrameError::TrailingBytes => reject(Some(Action::Eof), Rejected::Length),
    }
}
