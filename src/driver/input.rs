//! Packets from the peers.

use crate::driver::bulk_answer;
use crate::driver::bulk_request;
use crate::driver::deferral;
use crate::driver::import;
use crate::driver::instance;
use crate::driver::kernel::epoch::{self, NetEpoch};
use crate::driver::kernel::ifnet::{Counter, IfnetRef};
use crate::driver::kernel::mbuf::Packet;
use crate::driver::kernel::time;
use crate::driver::pf::table::{self, Row};
use crate::driver::pf::{self, rules, rules::Rules, status, End, Found, Origin, Refused, NEWEST_FORMAT};
use crate::driver::probe::{self, Rejected};
use crate::driver::softc::Softc;
use crate::driver::stats::{count, count_limited, Limit, Stat};
use crate::driver::storage::{self, Settings};
use crate::engine::bucket::{Change, Queue};
use crate::engine::limit;
use crate::engine::merge::{self, Half};
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
            if let Some(softc) = instance::current(epoch) {
                receive(softc, &packet, offset, ttl, epoch);
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
fn limited(action: Action, limit: Limit) {
    count_limited(limit);
    reject(Some(action), Rejected::Limit);
}

/// What holds for all messages of a frame.
struct Context<'a> {
    softc: &'a Softc,
    origin: Origin,
    rules: &'a Rules,
    settings: Settings,
    /// States that the peers may add, once it was asked for.
    share: Cell<Option<u64>>,
}

impl Context<'_> {
    /// Takes room for one more state.
    fn takes_share(&self) -> bool {
        let ask = || limit::share_left(status::states(), status::state_limit(), self.settings.peer_share);
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

fn receive(softc: &Softc, packet: &Packet, offset: usize, ttl: usize, epoch: &NetEpoch) {
    let Some(link) = softc.link(epoch) else { return };
    if !status::is_running() || !softc.ifp.is_running() {
        return;
    }
    if !is_received_by(packet, link.interface()) {
        return reject(None, Rejected::Interface);
    }
    softc.ifp.count(Counter::InputPackets, 1);
    softc.ifp.count(Counter::InputBytes, packet.len());
    let Ok(bytes) = packet.contiguous(0) else { return reject(None, Rejected::Header) };
    if bytes.get(ttl) != Some(&TTL) {
        return reject(None, Rejected::Ttl);
    }
    match Frame::parse(bytes.get(offset..).unwrap_or(&[])) {
        Ok(frame) => handle_frame(softc, frame.understood_until(NEWEST_FORMAT)),
        Err(HeaderError::Short) => reject(None, Rejected::Header),
        Err(HeaderError::Version(_)) => reject(None, Rejected::Version),
        Err(HeaderError::Length) => reject(None, Rejected::Length),
    }
}

fn handle_frame(softc: &Softc, frame: Frame) {
    rules::read(|rules| {
        let origin = Origin::Peer { same_rules: *frame.checksum == status::checksum() };
        let context = Context { softc, origin, rules, settings: storage::settings(), share: Cell::new(None) };
        for run in frame {
            match run {
                Ok(run) => {
                    count_messages(run.action() as u8, run.count());
                    handle_run(&context, run);
                }
                Err(error) => count_error(error),
            }
        }
    });
}

fn handle_run(context: &Context, run: Run) {
    if run.action().format().is_some_and(|format| run.action() == format.update()) {
        bulk_request::states_received(context.softc);
    }
    match run {
        Run::Clear(messages) => messages.iter().for_each(|raw| handle_clear(context, raw)),
        Run::Insert1301(messages) => messages.iter().for_each(|raw| handle_insert(context, raw.check())),
        Run::Insert1400(messages) => messages.iter().for_each(|raw| handle_insert(context, raw.check())),
        Run::Insert1500(messages) => messages.iter().for_each(|raw| handle_insert(context, raw.check())),
        Run::Update1301(messages) => messages.iter().for_each(|raw| handle_update(context, raw.check())),
        Run::Update1400(messages) => messages.iter().for_each(|raw| handle_update(context, raw.check())),
        Run::Update1500(messages) => messages.iter().for_each(|raw| handle_update(context, raw.check())),
        Run::UpdateCompressed(messages) => messages.iter().for_each(|raw| handle_compressed(context, raw)),
        Run::UpdateRequest(messages) => {
            messages.iter().for_each(|raw| handle_request(context, (*raw).into()))
        }
        Run::DeleteCompressed(messages) => messages.iter().for_each(handle_delete),
        Run::InsertAck(messages) => messages.iter().for_each(|raw| handle_ack(context, (*raw).into())),
        Run::BulkStatus(messages) => messages.iter().for_each(|raw| handle_bulk_status(context, raw)),
        Run::Tdb(_) | Run::Eof(_) => {}
    }
}

/// Forgets the states of a creator, whatever their interface, as the C
/// module does; but not if it names an interface that is not here.
fn handle_clear(context: &Context, raw: &RawClear) {
    let Ok(clear) = raw.check() else { return reject(Some(Action::Clear), Rejected::Value) };
    if clear.ifname.is_some_and(|name| !pf::knows_interface(&name, context.rules)) {
        return;
    }
    if !context.softc.rates.clears.allows(time::uptime(), limit::CLEARS) {
        return limited(Action::Clear, Limit::Clears);
    }
    for index in 0..table::rows() {
        while Row::lock(index)
            .is_some_and(|row| row.unlink_first(|state| state.id().creator == clear.creator))
        {}
    }
}

fn handle_insert(context: &Context, state: Result<State, Invalid>) {
    match &state {
        Ok(state) => import_state(context, state),
        Err(_) => reject(Some(Action::Insert1400), Rejected::Value),
    }
}

fn import_state(context: &Context, state: &State) {
    if !context.softc.rates.inserts.allows(time::uptime(), context.settings.peer_inserts) {
        return limited(Action::Insert1400, Limit::Inserts);
    }
    if !context.takes_share() {
        return limited(Action::Insert1400, Limit::Share);
    }
    match import::from_peer(context.softc, state, context.origin, context.rules) {
        Ok(()) => {}
        Err(Refused::Row) => limited(Action::Insert1400, Limit::Row),
        Err(Refused::RoutingTable) => reject(Some(Action::Insert1400), Rejected::Value),
        Err(_) => reject(Some(Action::Insert1400), Rejected::State),
    }
}

fn handle_update(context: &Context, state: Result<State, Invalid>) {
    let Ok(state) = &state else { return reject(Some(Action::Update1400), Rejected::Value) };
    match table::find(state.id) {
        None => import_state(context, state),
        Some(found) if !found.is_same(state) => reject(Some(Action::Update1400), Rejected::Value),
        Some(found) => merge(
            context,
            &found,
            &CompressedUpdate { id: state.id, src: state.src, dst: state.dst, timeout: state.timeout },
        ),
    }
}

/// What the update may say depends on the state's protocol, if the state
/// is here.
fn handle_compressed(context: &Context, raw: &RawCompressedUpdate) {
    let found = table::find(raw.state_id());
    match (raw.check(found.as_ref().map(|found| found.proto())), found) {
        (Ok(update), Some(found)) => merge(context, &found, &update),
        (Ok(_), None) => ask_for(context, raw.state_id()),
        (Err(_), _) => reject(Some(Action::UpdateCompressed), Rejected::Value),
    }
}

/// Takes from an update what is newer than what is known, and has the rest
/// sent back.
fn merge(context: &Context, found: &Found, update: &CompressedUpdate) {
    let Some(bucket) = context.softc.bucket(found) else { return };
    if !found.is_alive() {
        return;
    }
    if found.awaits_ack() {
        deferral::release(context.softc, bucket, found);
    }
    let update_peers = [&update.src, &update.dst];
    let verdict = match found.is_tcp() {
        true => merge::tcp(found.known(), update_peers),
        false => merge::other(found.known(), update_peers),
    };
    probe::merged(update.id, verdict);
    let uptime = time::uptime();
    for (end, peer, half) in [(End::Src, &update.src, verdict.src), (End::Dst, &update.dst, verdict.dst)] {
        match half {
            Half::Newer => found.set_peer(end, peer),
            Half::StateOnly => found.set_peer_state(end, peer.state),
            Half::Stale => {}
        }
    }
    if verdict.any() {
        found.refresh(update.timeout, uptime);
    }
    found.set_pfsync_time(uptime);
    if verdict.stale() {
        count(Stat::Stale, 1);
        answer(context, found);
    }
}

/// Asks the peers for a state that they seem to have.
fn ask_for(context: &Context, state: StateId) {
    if !context.softc.rates.asks.allows(time::uptime(), context.settings.peer_requests) {
        return limited(Action::UpdateCompressed, Limit::Requests);
    }
    if context.softc.control.lock().request(state).is_err() {
        count(Stat::NoMemory, 1);
    }
    storage::schedule_sender();
}

/// Sends the peer what it does not know.
fn answer(context: &Context, found: &Found) {
    let Some(bucket) = context.softc.bucket(found) else { return };
    if found.is_nosync() {
        return;
    }
    if !context.softc.rates.answers.allows(time::uptime(), context.settings.peer_requests) {
        return limited(Action::UpdateCompressed, Limit::Requests);
    }
    let change = Change { tcp: found.is_tcp(), split: true };
    let wake = bucket.queues.lock().update(found, change);
    context.softc.wake(bucket, wake);
}

fn handle_request(context: &Context, state: StateId) {
    if state == StateId::ALL {
        return bulk_answer::request_received(context.softc);
    }
    let Some(found) = table::find(state) else {
        return reject(Some(Action::UpdateRequest), Rejected::State);
    };
    let Some(bucket) = context.softc.bucket(&found) else { return };
    if found.is_nosync() {
        return;
    }
    if !context.softc.rates.answers.allows(time::uptime(), context.settings.peer_requests) {
        return limited(Action::UpdateRequest, Limit::Requests);
    }
    probe::queued(state, Queue::Update);
    let wake = bucket.queues.lock().request(&found);
    context.softc.wake(bucket, wake);
}

fn handle_ack(context: &Context, state: StateId) {
    let Some(found) = table::find(state) else { return };
    let Some(bucket) = context.softc.bucket(&found) else { return };
    if found.awaits_ack() {
        deferral::release(context.softc, bucket, &found);
    }
}

fn handle_bulk_status(context: &Context, raw: &RawBulkStatus) {
    match raw.check() {
        Ok(status) => bulk_request::mark_received(context.softc, &status),
        Err(_) => reject(Some(Action::BulkStatus), Rejected::Value),
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
