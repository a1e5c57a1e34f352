// SPDX-License-Identifier: BSD-2-Clause
//! Input: checks packets from the peers, and carries their messages out.

mod intake;

use crate::driver::agreement::{self, FrameNumber, Outcome};
use crate::driver::bulk_answer;
use crate::driver::bulk_request;
use crate::driver::conflict;
use crate::driver::deferral;
use crate::driver::format;
use crate::driver::instance;
use crate::driver::kernel::epoch::{self, NetEpoch};
use crate::driver::kernel::ifnet::{Counter, IfnetRef};
use crate::driver::kernel::ip;
use crate::driver::kernel::mbuf::{Bytes, Packet};
use crate::driver::kernel::time;
use crate::driver::link::Link;
use crate::driver::pf::row::Rows;
use crate::driver::pf::{self, rules, rules::Rules, status, table, Found, Locked, Side};
use crate::driver::probe::{self, Rejected};
use crate::driver::softc::Softc;
use crate::driver::stats::{count, count_limited, Conflict, PeerLimit, Stat};
use crate::driver::storage::{self, Sysctls};
use crate::engine::bucket::{Change, Queue};
use crate::engine::bulk::Answerer;
use crate::engine::format_choice::Heard;
use crate::engine::limit::{self, CLEARS_PER_SECOND};
use crate::engine::merge::{self, EndpointVerdict};
use crate::wire::trailer::TrailerError;
use crate::wire::{
    Action, Arrival, Changes, CheckedState, CheckedUpdate, Endpoint, Frame, FrameError, HeaderError, Invalid,
    PeerAddress, RawBulkStatus, RawClear, RawCompressedUpdate, Run, StateId, TTL,
};
use core::ffi::c_int;
use core::ptr::{self, NonNull};
use intake::{import_state, note_end, request_state};
use sys_bindings as sys;

/// `IPPROTO_DONE`: the handler has consumed the packet.
const DONE: c_int = sys::IPPROTO_DONE as c_int;

/// The protocol handler for IPv4.
pub(crate) unsafe extern "C" fn input4(mp: *mut *mut sys::mbuf, offp: *mut c_int, _proto: c_int) -> c_int {
    count(Stat::InputPackets, 1);
    // SAFETY: the kernel calls a protocol handler as `input` demands.
    unsafe { input(mp, offp, Arrival::of_ipv4) }
}

/// The protocol handler for IPv6.
pub(crate) unsafe extern "C" fn input6(mp: *mut *mut sys::mbuf, offp: *mut c_int, _proto: c_int) -> c_int {
    count(Stat::InputPackets6, 1);
    // SAFETY: the kernel calls a protocol handler as `input` demands.
    unsafe { input(mp, offp, Arrival::of_ipv6) }
}

/// Reads the IP header of a packet.
type ReadHeader = fn(&[u8]) -> Option<Arrival>;

/// Takes a packet over from the kernel.
///
/// # Safety
///
/// `*mp` is a packet that the caller hands over, `*offp` is the length of its IP header in
/// bytes, and the thread is in the network epoch.
unsafe fn input(mp: *mut *mut sys::mbuf, offp: *mut c_int, read_header: ReadHeader) -> c_int {
    // SAFETY: the caller hands over a packet, and is in the network epoch.
    unsafe {
        let Some(m) = NonNull::new(ptr::replace(mp, ptr::null_mut())) else { return DONE };
        let packet = Packet::from_raw(m);
        let offset = usize::try_from(*offp).unwrap_or(usize::MAX);
        epoch::entered(|epoch| {
            if let Some(softc) = instance::current(epoch) {
                receive(softc, &packet, offset, read_header, epoch);
            }
        });
    }
    DONE
}

/// Counts a message that is rejected, or a whole packet if there is no action.
fn reject(action: Option<Action>, reason: Rejected) {
    let stat = match reason {
        Rejected::Interface => Stat::BadInterface,
        Rejected::Ttl => Stat::BadTtl,
        Rejected::Header => Stat::HeaderDrops,
        Rejected::Version => Stat::BadVersion,
        Rejected::Length => Stat::BadLength,
        Rejected::Action => Stat::BadAction,
        Rejected::Value => Stat::BadValue,
        Rejected::Auth => Stat::BadAuth,
        Rejected::State | Rejected::Limit => Stat::BadState,
    };
    count(stat, 1);
    probe::rejected(action.map(|action| action as u8), reason);
}

/// Counts a message that a limit rejects.
fn reject_limited(action: Action, limit: PeerLimit) {
    count_limited(limit);
    reject(Some(action), Rejected::Limit);
}

/// Counts a packet that a limit rejects.
fn reject_packet(limit: PeerLimit) {
    count_limited(limit);
    probe::rejected(None, Rejected::Limit);
}

/// What handling any message of a frame needs.
struct Context<'a> {
    softc: &'a Softc,
    rules: &'a Rules,
    /// The peer that sent the frame.
    from: PeerAddress,
    /// The number of the frame, if the peer numbers its frames.
    number: Option<FrameNumber>,
    /// The host id of this firewall, in network byte order.
    host_id: [u8; 4],
    /// The peer has the same ruleset.
    same_rules: bool,
    sysctls: Sysctls,
    /// See [`time::moment`].
    moment: u32,
}

impl Context<'_> {
    /// The peer, as far as the frame may be part of its answer to a request.
    fn answerer(&self) -> Answerer {
        Answerer { address: self.from, epoch: self.number.map(|number| number.epoch) }
    }

    /// Whether the peers may add one more state. Counts it.
    fn takes_share(&self) -> bool {
        let count = || limit::share_left(status::states(), status::state_limit(), self.sysctls.peer_share);
        self.softc.rates.share.takes(self.moment, count)
    }
}

/// Whether a packet came by an interface. A packet that ipsec(4) decrypted still names the
/// interface that received it encrypted. pf sees it on enc(4), and so does an operator, who
/// may name enc(4) as the sync interface.
fn is_received_by(packet: &Packet, ifp: &IfnetRef) -> bool {
    ptr::eq(packet.received_by(), ifp.as_ptr()) || ifp.is_enc() && packet.was_decrypted()
}

/// Checks a packet, whose frame begins at `offset`, and handles the frame.
fn receive(softc: &Softc, packet: &Packet, offset: usize, read_header: ReadHeader, epoch: &NetEpoch) {
    let Some(link) = softc.link(epoch) else { return };
    let is_listening = status::is_running() && softc.ifp.is_running();
    let sysctls = storage::sysctls();
    let arrived = arrive(link, packet, read_header, &sysctls, epoch);
    match arrived {
        Err(Rejection::NoMemory) if !is_listening => bulk_request::frame_missed(softc),
        Err(_) if !is_listening => {}
        Err(Rejection::Limit(limit)) => reject_packet(limit),
        Err(Rejection::Packet(reason)) => reject(None, reason),
        Err(Rejection::NoMemory) => {
            bulk_request::state_kept_out(softc);
            reject(None, Rejected::Header);
        }
        Ok((bytes, _)) if !is_listening => {
            // What a hello says, the next one says too.
            let frame = Frame::parse(bytes.get(offset..).unwrap_or_default());
            if frame.is_ok_and(|frame| frame.has_messages()) {
                bulk_request::frame_missed(softc);
            }
        }
        Ok((bytes, from)) => {
            bulk_request::check_pf(softc);
            softc.ifp.count(Counter::InputPackets, 1);
            softc.ifp.count(Counter::InputBytes, packet.len());
            // Without a frame, there is no header either.
            handle_packet(softc, bytes.get(offset..).unwrap_or_default(), from, sysctls);
        }
    }
}

/// Why a packet is rejected before its frame is read.
enum Rejection {
    Packet(Rejected),
    Limit(PeerLimit),
    /// The packet is in several parts, and there is no memory to join them.
    NoMemory,
}

impl From<Rejected> for Rejection {
    fn from(reason: Rejected) -> Rejection {
        Rejection::Packet(reason)
    }
}

/// Checks where a packet comes from. Returns its bytes and the peer that sent it.
fn arrive<'a>(
    link: &Link,
    packet: &'a Packet,
    read_header: ReadHeader,
    sysctls: &Sysctls,
    epoch: &NetEpoch,
) -> core::result::Result<(Bytes<'a>, PeerAddress), Rejection> {
    if !is_received_by(packet, link.interface()) {
        return Err(Rejected::Interface.into());
    }
    // With offset 0, there is no other error than a lack of memory.
    let bytes = packet.contiguous(0).map_err(|_| Rejection::NoMemory)?;
    let Arrival { from, ttl } = read_header(&bytes).ok_or(Rejected::Header)?;
    if ttl != TTL {
        return Err(Rejected::Ttl.into());
    }
    let is_own = match from.to_ipv4() {
        Some(addr) => ip::is_local4(addr, epoch),
        None => ip::is_local6(&from.0, epoch),
    };
    if is_own {
        // A switch or a hypervisor gave back what this firewall sent.
        return Err(Rejection::Limit(PeerLimit::Reflected));
    }
    if sysctls.only_peer && !link.expects(from) {
        return Err(Rejection::Limit(PeerLimit::Strangers));
    }
    Ok((bytes, from))
}

/// Reads and handles the frame of a packet.
fn handle_packet(softc: &Softc, packet: &[u8], from: PeerAddress, sysctls: Sysctls) {
    match Frame::parse(packet) {
        Ok(frame) => take_notice(softc, frame, packet, from, sysctls),
        Err(HeaderError::Short) => reject(None, Rejected::Header),
        Err(HeaderError::Version(_)) => reject(None, Rejected::Version),
        Err(HeaderError::Length) => reject(None, Rejected::Length),
    }
}

/// Handles a frame, unless its trailer is a reason to drop it.
fn take_notice(softc: &Softc, frame: Frame, packet: &[u8], from: PeerAddress, sysctls: Sysctls) {
    let trailer = match frame.trailer() {
        Ok(trailer) => trailer,
        Err(_) if !sysctls.numbered => None,
        Err(TrailerError::Epoch) => return reject(None, Rejected::Value),
        Err(_) => return reject(None, Rejected::Length),
    };
    match agreement::receive(softc, &frame, trailer, packet, from, &sysctls) {
        Outcome::Take { number, is_news } => {
            if is_news {
                bulk_request::numbers_received(softc);
            }
            handle_frame(softc, frame, from, number, sysctls);
        }
        Outcome::Drop => {}
        Outcome::BadAuth => reject(None, Rejected::Auth),
        Outcome::BadValue => reject(None, Rejected::Value),
        Outcome::Reflected => reject_packet(PeerLimit::Reflected),
    }
}

fn handle_frame(
    softc: &Softc,
    frame: Frame,
    from: PeerAddress,
    number: Option<FrameNumber>,
    sysctls: Sysctls,
) {
    let (announced, mut spoken) = (frame.announced, None);
    rules::read(|rules| {
        let context = Context {
            softc,
            rules,
            from,
            number,
            host_id: status::host_id(),
            same_rules: *frame.checksum == status::checksum(),
            sysctls,
            moment: time::moment(),
        };
        for run in frame {
            match run {
                Ok(run) => {
                    spoken = spoken.max(run.action().format());
                    count_messages(run.action() as u8, run.count());
                    handle_run(&context, run);
                }
                Err(error) => count_error(error),
            }
        }
    });
    format::frame_received(softc, Heard { from, announced, spoken });
}

/// Handles the messages of a run.
fn handle_run(context: &Context, run: Run) {
    let action = run.action();
    match run {
        Run::Clear(messages) => messages.iter().for_each(|raw| handle_clear(context, raw)),
        Run::Insert(states) => states.check_each(|state| handle_insert(context, state, action)),
        Run::Update(states) => {
            bulk_request::states_received(context.softc, context.answerer(), states.len());
            states.check_each(|state| handle_update(context, state, action));
        }
        Run::UpdateCompressed(messages) => messages.iter().for_each(|raw| handle_compressed(context, raw)),
        Run::UpdateRequest(messages) => {
            messages.iter().for_each(|raw| handle_request(context, (*raw).into()))
        }
        Run::DeleteCompressed(messages) => {
            messages.iter().for_each(|raw| handle_delete(context, (*raw).into()))
        }
        Run::InsertAck(messages) => messages.iter().for_each(|raw| handle_ack(context, (*raw).into())),
        Run::BulkStatus(messages) => messages.iter().for_each(|raw| handle_bulk_status(context, raw)),
        Run::Tdb(_) | Run::Eof(_) => {}
    }
}

/// Unlinks the states of a creator: all of them, or those that are bound to the interface
/// that the message names.
fn handle_clear(context: &Context, raw: &RawClear) {
    let Ok(clear) = raw.check() else { return reject(Some(Action::Clear), Rejected::Value) };
    conflict::check_host_id(clear.creator, StateId::ALL, context.host_id);
    if clear.ifname.is_some_and(|name| !pf::knows_interface(&name, context.rules)) {
        return;
    }
    if !context.softc.rates.clears.allows(time::uptime(), CLEARS_PER_SECOND) {
        return reject_limited(Action::Clear, PeerLimit::Clears);
    }
    if let Some(FrameNumber { epoch, number }) = context.number {
        context.softc.agreement.lock().receive_clear(epoch, number);
        context.softc.ended.lock().note_clear(clear.creator, Some(epoch), time::uptime());
    }
    let is_cleared = |state: &Locked| {
        state.id().creator == clear.creator && clear.ifname.is_none_or(|name| state.is_on(&name))
    };
    let rows = Rows::all();
    for index in 0..rows.count() {
        // Unlinking a state unlocks its row.
        loop {
            let Some(row) = rows.lock(index) else { break };
            if !row.unlink_first(is_cleared) {
                break;
            }
        }
    }
}

fn handle_insert(context: &Context, state: &Result<CheckedState, Invalid>, action: Action) {
    match state {
        Ok(state) => {
            let is_inserted = import_state(context, state, action);
            conflict::check_insert(state, is_inserted, context.host_id);
        }
        Err(_) => reject(Some(action), Rejected::Value),
    }
}

fn handle_update(context: &Context, state: &Result<CheckedState, Invalid>, action: Action) {
    let Ok(state) = state else { return reject(Some(action), Rejected::Value) };
    match table::find(state.id()) {
        None => {
            import_state(context, state, action);
        }
        Some(found) if !found.is_same(state) => {
            conflict::report(state.id(), Conflict::State);
            reject(Some(action), Rejected::Value);
        }
        Some(found) => {
            let cause = Cause::Copy { used: found.used_elsewhere(state) };
            merge(context, &found, &state.update(), cause);
        }
    }
}

/// Handles a compressed update. Which values are possible depends on the protocol of the
/// state, which only the state itself tells, if it exists here.
fn handle_compressed(context: &Context, raw: &RawCompressedUpdate) {
    let found = table::find(raw.state_id());
    match (raw.checked(found.as_ref().map(|found| found.proto())), found) {
        (Ok(update), Some(found)) => merge(context, &found, &update, Cause::Packet),
        (Ok(_), None) => request_state(context, raw.state_id()),
        (Err(_), _) => reject(Some(Action::UpdateCompressed), Rejected::Value),
    }
}

/// Why a peer sent an update.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// It handles packets of the connection. If it is behind, it has to hear that at once.
    Packet,
    /// It sent a copy, as a bulk update does. The state was used last in that second of uptime,
    /// as far as it knows. If it is behind, the updates of this second tell it.
    Copy { used: u32 },
}

/// Overwrites the endpoints for which an update is newer than what is known here. If the
/// update is older for one of them, sends the state back.
fn merge(context: &Context, found: &Found, update: &CheckedUpdate, cause: Cause) {
    if !found.is_alive() {
        return;
    }
    if found.awaits_ack() {
        deferral::release(context.softc, context.softc.bucket(found), found);
    }
    let updated = [&update.src(), &update.dst()];
    let verdict = if found.is_tcp() {
        merge::tcp(found.known(), updated)
    } else {
        merge::other(found.known(), updated)
    };
    probe::merged(update.id(), verdict);
    // To read an endpoint again costs less than to keep it meanwhile.
    merge_endpoint(found, Side::Src, &update.src(), verdict.src);
    merge_endpoint(found, Side::Dst, &update.dst(), verdict.dst);
    if verdict.applies_any() {
        let uptime = time::uptime();
        let used = match cause {
            Cause::Packet => uptime,
            Cause::Copy { used } => used,
        };
        found.refresh(update.timeout(), used);
        found.note_message(uptime, verdict.brings_news());
    }
    if verdict.peer_is_behind() {
        count(Stat::Stale, 1);
        send_back(context, found, cause);
    }
}

fn merge_endpoint(found: &Found, side: Side, endpoint: &Endpoint, verdict: EndpointVerdict) {
    match verdict {
        EndpointVerdict::Newer | EndpointVerdict::Same => found.set_endpoint(side, endpoint),
        EndpointVerdict::StateOnly => found.set_endpoint_state(side, endpoint.state),
        EndpointVerdict::Stale => {}
    }
}

/// Sends a peer what it does not know of a state.
fn send_back(context: &Context, found: &Found, cause: Cause) {
    if found.is_nosync() {
        return;
    }
    if !context.softc.rates.answers.allows(time::uptime(), context.sysctls.peer_requests) {
        return reject_limited(Action::UpdateCompressed, PeerLimit::Requests);
    }
    let change = Change { tcp: found.is_tcp(), split: cause == Cause::Packet };
    let bucket = context.softc.bucket(found);
    let wake = bucket.queues.change(|queues| queues.update(found, change, context.softc.backlog()));
    context.softc.wake(bucket, wake);
}

fn handle_request(context: &Context, state: StateId) {
    if state == StateId::ALL {
        if let Some(FrameNumber { epoch, .. }) = context.number {
            context.softc.agreement.lock().receive_bulk_request(epoch);
        }
        return bulk_answer::request_received(context.softc);
    }
    match table::find(state) {
        Some(found) => send_whole(context, &found, Action::UpdateRequest),
        None => reject(Some(Action::UpdateRequest), Rejected::State),
    }
}

/// Sends the peers a whole state, because of a message with that action.
fn send_whole(context: &Context, found: &Found, action: Action) {
    if found.is_nosync() {
        return;
    }
    if !context.softc.rates.answers.allows(time::uptime(), context.sysctls.peer_requests) {
        return reject_limited(action, PeerLimit::Requests);
    }
    probe::queued(found, Queue::Update);
    let bucket = context.softc.bucket(found);
    let wake = bucket.queues.change(|queues| queues.request(found, context.softc.backlog()));
    context.softc.wake(bucket, wake);
}

/// Unlinks a state that ended at a peer. If the connection is in use here, keeps the state
/// and sends it back. A second delete ends it, unless further packets have passed until then.
fn handle_delete(context: &Context, state: StateId) {
    let Some(found) = table::find(state) else {
        note_end(context, state);
        return reject(Some(Action::DeleteCompressed), Rejected::State);
    };
    if !found.is_alive() || found.known_end().ends_by_delete() {
        note_end(context, state);
        return found.unlink();
    }
    count(Stat::Stale, 1);
    found.note_message(time::uptime(), false);
    send_whole(context, &found, Action::DeleteCompressed);
}

fn handle_ack(context: &Context, state: StateId) {
    let Some(found) = table::find(state) else { return };
    if found.awaits_ack() {
        deferral::release(context.softc, context.softc.bucket(&found), &found);
    }
}

fn handle_bulk_status(context: &Context, raw: &RawBulkStatus) {
    match raw.check() {
        Ok(status) => {
            conflict::check_host_id(status.creator, StateId::ALL, context.host_id);
            if let Some(FrameNumber { epoch, number }) = context.number {
                context.softc.agreement.lock().receive_mark(epoch, number, status.mark);
                // The mark may have been what was missing.
                bulk_request::numbers_received(context.softc);
            }
            let number = context.number.map(|frame| frame.number);
            bulk_request::mark_received(context.softc, context.answerer(), number, &status);
        }
        Err(_) => reject(Some(Action::BulkStatus), Rejected::Value),
    }
}

/// Counts received messages, whether or not they are carried out.
fn count_messages(action: u8, messages: usize) {
    count(Stat::InputActions(action), messages);
    probe::received(action, messages);
}

/// Counts messages that cannot be read.
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
