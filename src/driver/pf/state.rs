// SPDX-License-Identifier: BSD-2-Clause
//! States of pf: referenced, locked, and what may be read and written when.

use super::export::{kif_name, FLOATING};
use super::status;
use crate::driver::kernel::time;
use crate::engine::ending::Known;
use crate::engine::merge::LocalEndpoint;
use crate::wire::{
    Changes, CheckedState, Content, Direction, Endpoint, Family, IfName, Key, Scrub, StateId, IPPROTO_PFSYNC,
    IPPROTO_TCP,
};
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::{self, NonNull};
use sys_bindings as sys;

const TCPS_CLOSED: u8 = sys::TCPS_CLOSED as u8;
const TCPS_ESTABLISHED: u8 = sys::TCPS_ESTABLISHED as u8;

/// If a peer's message of less than this long ago brought something new about a state, the
/// peer handles packets of the same connection.
const SPLIT_SECONDS: u32 = 2;

/// A flag in `pf_kstate.pfsync_time`, in which only pfsync looks: the peer's message
/// brought nothing new. No system is up for as many seconds.
const COPY: u32 = 1 << 31;

/// A state in pf's table (`struct pf_kstate`). Without the lock of its row, only its
/// identity can be read, which never changes.
#[repr(transparent)]
pub(crate) struct Kstate(UnsafeCell<sys::pf_kstate>);

impl Kstate {
    /// The state's address, for C. Other threads share what it points to.
    pub(super) fn as_ptr(&self) -> *mut sys::pf_kstate {
        self.0.get()
    }

    /// The state's identity.
    pub(crate) fn id(&self) -> StateId {
        // SAFETY: pf sets id and creator before other threads can find the state, and
        // never changes them.
        unsafe {
            let st = self.as_ptr();
            StateId { id: (*st).id.to_ne_bytes(), creator: (*st).creatorid.to_ne_bytes() }
        }
    }

    /// A counted reference to the state.
    pub(super) fn reference(&self) -> StateRef {
        // SAFETY: the state lives as long as `self` is borrowed.
        unsafe { sys::pfs_pf_state_ref(self.as_ptr()) };
        // SAFETY: the address comes from a Rust reference, which is not null.
        StateRef(unsafe { NonNull::new_unchecked(self.as_ptr()) })
    }
}

/// A counted reference to a state. pf may have unlinked the state meanwhile.
pub(crate) struct StateRef(NonNull<sys::pf_kstate>);

// SAFETY: any thread may reference a state of pf.
unsafe impl Send for StateRef {}

impl StateRef {
    /// Takes over a reference that was counted already.
    ///
    /// # Safety
    ///
    /// The caller owns one reference to the state, and hands it over.
    pub(super) unsafe fn from_raw(st: NonNull<sys::pf_kstate>) -> StateRef {
        StateRef(st)
    }

    /// Hands the reference over to the caller.
    pub(super) fn into_raw(self) -> *mut sys::pf_kstate {
        let st = self.0.as_ptr();
        core::mem::forget(self);
        st
    }

    /// Locks the state's row. `None` if pf has unlinked the state, which then has no
    /// keys any more.
    pub(crate) fn lock(&self) -> Option<Found<'_>> {
        // SAFETY: the reference keeps the state. Its lock is the lock of its row,
        // which lives as long as pf's table.
        unsafe { sys::pfs_pf_state_lock(self.0.as_ptr()) };
        // SAFETY: the row was just locked. Only the timeout is read before it is
        // known that the state is linked.
        let found = unsafe { Found::assume(self.0) };
        (found.timeout() != sys::PFTM_UNLINKED as u8).then_some(found)
    }
}

impl Deref for StateRef {
    type Target = Kstate;

    fn deref(&self) -> &Kstate {
        // SAFETY: the reference keeps the state. Kstate has the layout of pf_kstate.
        unsafe { self.0.cast::<Kstate>().as_ref() }
    }
}

impl Drop for StateRef {
    fn drop(&mut self) {
        // SAFETY: releases the reference that this value owns.
        unsafe { sys::pfs_pf_state_release(self.0.as_ptr()) };
    }
}

/// A linked state whose row this thread holds locked.
pub(crate) struct Locked<'row> {
    st: NonNull<sys::pf_kstate>,
    row: PhantomData<(&'row (), *const ())>,
}

/// The source or the destination of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// The source: the endpoint that opened the connection.
    Src,
    /// The destination.
    Dst,
}

impl Locked<'_> {
    /// A state whose row the caller has locked. A module built with INVARIANTS checks
    /// that.
    ///
    /// # Safety
    ///
    /// `st` is a linked state. This thread holds its row locked as long as the result
    /// is used.
    pub(crate) unsafe fn assume(st: NonNull<sys::pf_kstate>) -> Self {
        if sys::pfs_invariants != 0 {
            // SAFETY: the caller promises that the state is linked.
            unsafe { sys::pfs_pf_state_assert_locked(st.as_ptr()) };
        }
        Locked { st, row: PhantomData }
    }

    /// As [`Locked::assume`], but without the check, where the row was locked just
    /// before.
    ///
    /// # Safety
    ///
    /// As for [`Locked::assume`].
    pub(super) unsafe fn of_locked_row(st: NonNull<sys::pf_kstate>) -> Self {
        Locked { st, row: PhantomData }
    }

    /// The same state, for as long as this value is borrowed.
    pub(super) fn copy(&self) -> Locked<'_> {
        Locked { st: self.st, row: PhantomData }
    }

    /// Whether a row has no states, as one look without its lock tells. Nothing orders it.
    ///
    /// # Safety
    ///
    /// The row is one of pf's table.
    pub(super) unsafe fn seems_empty(row: NonNull<sys::pf_idhash>) -> bool {
        // SAFETY: the table lives as long as pf. Only one pointer is read, which pf writes whole.
        unsafe { (&raw const (*row.as_ptr()).states.lh_first).read_volatile().is_null() }
    }

    /// The first state of a row.
    ///
    /// # Safety
    ///
    /// The row is one of pf's table, and this thread holds it locked.
    pub(super) unsafe fn first_of(row: NonNull<sys::pf_idhash>) -> Option<NonNull<sys::pf_kstate>> {
        // SAFETY: as the caller promises.
        NonNull::new(unsafe { (*row.as_ptr()).states.lh_first })
    }

    /// A copy of one field.
    fn read<T: Copy>(&self, field: impl FnOnce(*mut sys::pf_kstate) -> *const T) -> T {
        // SAFETY: the row is locked, so that no thread writes the field. `field` only
        // computes its address.
        unsafe { field(self.st.as_ptr()).read() }
    }

    /// The IP protocol of the connection.
    pub(crate) fn proto(&self) -> u8 {
        // SAFETY: a linked state has its keys, which do not change any more.
        unsafe { (*(*self.st.as_ptr()).key[sys::PF_SK_WIRE as usize]).proto }
    }

    /// Whether a peer's state with the same id is this connection, and not another
    /// one whose id happens to be the same: addresses, ports, protocol and direction
    /// of a state never change.
    pub(crate) fn is_same(&self, other: &CheckedState) -> bool {
        let is_key = |index, theirs: &Key, family: Family, proto: u8| {
            self.key(index).is_some_and(|ours| ours.is_same(theirs, family, proto))
        };
        self.direction() == Some(other.direction())
            && is_key(sys::PF_SK_WIRE, other.wire_key(), other.family(), other.proto())
            && is_key(sys::PF_SK_STACK, other.stack_key(), other.stack_family(), other.stack_proto())
    }

    /// Whether the connection is TCP.
    pub(crate) fn is_tcp(&self) -> bool {
        self.proto() == IPPROTO_TCP
    }

    /// The timeout that the state expires by (`PFTM_*`).
    pub(crate) fn timeout(&self) -> u8 {
        // SAFETY: only computes an address.
        self.read(|st| unsafe { &raw const (*st).timeout })
    }

    /// Whether pf is neither unlinking the state nor about to purge it.
    pub(crate) fn is_alive(&self) -> bool {
        u32::from(self.timeout()) < sys::PFTM_MAX
    }

    fn flags(&self) -> u16 {
        // SAFETY: only computes an address.
        self.read(|st| unsafe { &raw const (*st).state_flags })
    }

    fn set_flag(&self, flag: u32, on: bool) {
        let flag = flag as u16;
        let flags = if on { self.flags() | flag } else { self.flags() & !flag };
        // SAFETY: the row is locked.
        unsafe { (*self.st.as_ptr()).state_flags = flags };
    }

    /// Whether pf takes the state to be on the interface of that name when an operator
    /// clears one interface: the state is bound to it, or floats and was created on it.
    pub(crate) fn is_on(&self, name: &IfName) -> bool {
        // SAFETY: the row is locked, and a linked state references its kifs.
        let (bound, original) =
            unsafe { (kif_name((*self.st.as_ptr()).kif), kif_name((*self.st.as_ptr()).orig_kif)) };
        let kif = if bound.is_some_and(|bound| bound.as_bytes() == FLOATING) { original } else { bound };
        kif.is_some_and(|kif| kif == *name)
    }

    /// Whether a state with the same key, of that direction and bound to that kif, may collide
    /// with this one. From its other side, a state between address families looks like one of
    /// the other direction.
    pub(super) fn has_place_of(&self, direction: Direction, kif: NonNull<sys::pfi_kkif>) -> bool {
        // SAFETY: only computes an address.
        let bound = self.read(|st| unsafe { &raw const (*st).kif });
        let family_of = |index| self.key(index).map(|key| key.family);
        let is_between_families = family_of(sys::PF_SK_WIRE) != family_of(sys::PF_SK_STACK);
        ptr::eq(bound, kif.as_ptr()) && (is_between_families || self.direction() == Some(direction))
    }

    /// Whether the peers must not know the state, for one of three reasons: its own
    /// flag says so (`PFSTATE_NOSYNC`), the rule that made it does, or it is a state
    /// of pfsync's own packets. The flag alone does not suffice: a state that pf made
    /// while `pfsync0` was down lacks it.
    pub(crate) fn is_nosync(&self) -> bool {
        self.is_marked_nosync() || self.is_excluded()
    }

    /// Whether the peers must not know the state, whatever its flag says: for the second or the
    /// third reason.
    pub(crate) fn is_excluded(&self) -> bool {
        self.rule_is_nosync() || self.proto() == IPPROTO_PFSYNC
    }

    /// Whether the state has the flag `PFSTATE_NOSYNC`.
    pub(crate) fn is_marked_nosync(&self) -> bool {
        u32::from(self.flags()) & sys::PFSTATE_NOSYNC != 0
    }

    /// Sets or clears `PFSTATE_NOSYNC`.
    pub(crate) fn set_nosync(&self, on: bool) {
        self.set_flag(sys::PFSTATE_NOSYNC, on);
    }

    /// Whether a packet may be waiting for a peer to acknowledge the state
    /// (`PFSTATE_ACK`). The bucket's list of deferred packets decides.
    pub(crate) fn awaits_ack(&self) -> bool {
        u32::from(self.flags()) & sys::PFSTATE_ACK != 0
    }

    /// Sets or clears `PFSTATE_ACK`.
    pub(crate) fn set_awaits_ack(&self, on: bool) {
        self.set_flag(sys::PFSTATE_ACK, on);
    }

    /// Whether the rule that made the state says `no-sync`.
    fn rule_is_nosync(&self) -> bool {
        // SAFETY: a linked state references its rule, whose flags do not change.
        unsafe { (*self.rule()).rule_flag & sys::PFRULE_NOSYNC != 0 }
    }

    /// The rule that made the state.
    fn rule(&self) -> *const sys::pf_krule {
        // SAFETY: only computes an address.
        self.read(|st| unsafe { sys::pfs_rules(st) }[0])
    }

    /// When a peer's message about the state was taken over last, in seconds of uptime,
    /// with [`COPY`] set if it brought nothing new.
    fn pfsync_time(&self) -> u32 {
        // SAFETY: only computes an address.
        self.read(|st| unsafe { &raw const (*st).pfsync_time })
    }

    /// When the last message of a peer about the state was taken over, in seconds of uptime,
    /// if it brought something new.
    pub(crate) fn last_news(&self) -> Option<u32> {
        Some(self.pfsync_time()).filter(|time| time & COPY == 0)
    }

    /// Whether a peer handles packets of the same connection: its last message, of a moment
    /// ago, brought something new.
    pub(crate) fn is_split(&self, uptime: u32) -> bool {
        // The flag makes the difference large.
        uptime.wrapping_sub(self.pfsync_time()) < SPLIT_SECONDS
    }

    /// Notes that a peer's message about the state was taken over, at a second of uptime.
    pub(crate) fn note_message(&self, uptime: u32, brings_news: bool) {
        if !brings_news && self.is_split(uptime) {
            return;
        }
        let flag = if brings_news { 0 } else { COPY };
        // SAFETY: the row is locked.
        unsafe { (*self.st.as_ptr()).pfsync_time = uptime | flag };
    }

    /// Whether pf would end the state now.
    fn is_expired(&self) -> bool {
        // SAFETY: the row is locked, and the state is not one that pf is unlinking.
        !self.is_alive() || unsafe { sys::pf_state_expires(self.st.as_ptr()) } <= time::uptime()
    }

    /// What is known of the state, for judging whether it ends because of a peer.
    pub(crate) fn known_end(&self) -> Known {
        Known {
            is_tcp: self.is_tcp(),
            states: self.known().map(|endpoint| endpoint.state),
            is_expired: self.is_expired(),
            last_used: self.last_used(),
            last_message: self.pfsync_time() & !COPY,
        }
    }

    /// What is known of source and destination, for judging a peer's update.
    pub(crate) fn known(&self) -> [LocalEndpoint; 2] {
        [Side::Src, Side::Dst].map(|side| {
            let endpoint = self.endpoint_ptr(side);
            // SAFETY: the row is locked.
            unsafe { LocalEndpoint { state: (*endpoint).state, seqlo: (*endpoint).seqlo } }
        })
    }

    fn endpoint_ptr(&self, side: Side) -> *mut sys::pf_state_peer {
        // SAFETY: only computes an address.
        unsafe {
            match side {
                Side::Src => &raw mut (*self.st.as_ptr()).src,
                Side::Dst => &raw mut (*self.st.as_ptr()).dst,
            }
        }
    }

    /// An endpoint of the connection as a message carries it.
    pub(crate) fn endpoint(&self, side: Side) -> Endpoint {
        let endpoint = self.endpoint_ptr(side);
        // SAFETY: the row is locked. Scrub data live as long as the state.
        unsafe {
            Endpoint {
                seqlo: (*endpoint).seqlo,
                seqhi: (*endpoint).seqhi,
                seqdiff: (*endpoint).seqdiff,
                max_win: (*endpoint).max_win,
                mss: (*endpoint).mss,
                state: (*endpoint).state,
                wscale: (*endpoint).wscale,
                scrub: (*endpoint).scrub.as_ref().map(|scrub| Scrub {
                    timestamp: u32::from(scrub.pfss_flags) & sys::PFSS_TIMESTAMP != 0,
                    ttl: scrub.pfss_ttl,
                    ts_mod: scrub.__bindgen_anon_1.pfss_ts_mod,
                }),
            }
        }
    }

    /// Overwrites an endpoint.
    pub(crate) fn set_endpoint(&self, side: Side, endpoint: &Endpoint) {
        // SAFETY: the row is locked.
        self.change(side, |to| unsafe { write_endpoint(to, endpoint) });
    }

    /// Overwrites the connection state of an endpoint, and nothing else of it.
    pub(crate) fn set_endpoint_state(&self, side: Side, state: u8) {
        // SAFETY: the row is locked.
        self.change(side, |to| unsafe { (*to).state = state });
    }

    /// Changes an endpoint by `write`, and keeps pf's count of half-open connections,
    /// which depends on the source alone.
    #[inline(always)]
    fn change(&self, side: Side, write: impl FnOnce(*mut sys::pf_state_peer)) {
        let before = self.source_is_half_open();
        write(self.endpoint_ptr(side));
        if side == Side::Src && self.source_is_half_open() != before && self.may_be_half_open() {
            status::count_half_open(before, !before);
        }
    }

    /// Whether pf counts the state as a half-open connection: a TCP connection that
    /// this firewall made, and whose source has not completed the handshake.
    pub(super) fn is_half_open(&self) -> bool {
        self.source_is_half_open() && self.may_be_half_open()
    }

    fn source_is_half_open(&self) -> bool {
        let [source, _] = self.known();
        (TCPS_CLOSED + 1..TCPS_ESTABLISHED).contains(&source.state)
    }

    fn may_be_half_open(&self) -> bool {
        self.is_tcp() && self.id().creator == status::host_id()
    }

    /// The second of uptime in which a packet of the connection passed last, here or, as far
    /// as is known, on a peer.
    fn last_used(&self) -> u32 {
        // SAFETY: only computes an address.
        sys::pfs_uptime_of(self.read(|st| unsafe { &raw const (*st).expire }))
    }

    /// Sets the state's timeout (`PFTM_*`), and the second of uptime in which a peer says that
    /// it was used last. An earlier use than that which is known here changes nothing.
    pub(crate) fn refresh(&self, timeout: u8, used: u32) {
        let used = used.max(self.last_used());
        // SAFETY: the row is locked.
        unsafe {
            (*self.st.as_ptr()).expire = sys::pfs_time_of(used);
            (*self.st.as_ptr()).timeout = timeout;
        }
    }

    /// The second of uptime in which the state was used last, as a peer's whole message about
    /// it says. 0 if it has expired there.
    pub(crate) fn used_elsewhere(&self, state: &CheckedState) -> u32 {
        // SAFETY: a linked state references its rule.
        unsafe { last_used(state, self.rule(), time::uptime()) }.unwrap_or(0)
    }

    pub(super) fn raw(&self) -> *mut sys::pf_kstate {
        self.st.as_ptr()
    }

    pub(super) fn pointer(&self) -> NonNull<sys::pf_kstate> {
        self.st
    }
}

/// The second of uptime in which a state was used last, as a message says by the time after
/// which it expires. `None` if it has expired at the sender.
///
/// # Safety
///
/// `rule` is the state's rule here, and is valid.
pub(super) unsafe fn last_used(state: &CheckedState, rule: *const sys::pf_krule, uptime: u32) -> Option<u32> {
    let expires_in = state.expires_in();
    if expires_in == 0 {
        return None;
    }
    let index = usize::from(state.timeout());
    // SAFETY: the caller promises that the rule is valid.
    let timeout = unsafe {
        match (*rule).timeout.get(index).copied() {
            Some(seconds) if seconds != 0 => seconds,
            _ => (*sys::pfs_pf_default_rule()).timeout.get(index).copied().unwrap_or(0),
        }
    };
    // If the state was last used before this system started, it counts as used at the
    // start. An earlier time would wrap around. pf, which shortens timeouts when its
    // table is full, would then not see the state expire until the table is less full,
    // which may never happen.
    Some(uptime.saturating_sub(timeout.saturating_sub(expires_in)))
}

/// Overwrites an endpoint of a state. Its scrub data are lost if there is no memory
/// for them, as in the stock module.
///
/// # Safety
///
/// `to` is an endpoint of a state whose row is locked, or that is not linked yet.
pub(super) unsafe fn write_endpoint(to: *mut sys::pf_state_peer, endpoint: &Endpoint) {
    // SAFETY: the caller promises that no other thread uses the endpoint.
    unsafe {
        (*to).seqlo = endpoint.seqlo;
        (*to).seqhi = endpoint.seqhi;
        (*to).seqdiff = endpoint.seqdiff;
        (*to).max_win = endpoint.max_win;
        (*to).mss = endpoint.mss;
        (*to).state = endpoint.state;
        (*to).wscale = endpoint.wscale;
        let Some(scrub) = endpoint.scrub else { return };
        allocate_scrub(to);
        if let Some(to) = (*to).scrub.as_mut() {
            to.pfss_flags = if scrub.timestamp { sys::PFSS_TIMESTAMP as u16 } else { 0 };
            to.pfss_ttl = scrub.ttl;
            to.__bindgen_anon_1.pfss_ts_mod = scrub.ts_mod;
        }
    }
}

/// Gives an endpoint scrub data, if it has none and there is memory.
///
/// # Safety
///
/// As for [`write_endpoint`].
pub(super) unsafe fn allocate_scrub(endpoint: *mut sys::pf_state_peer) {
    // SAFETY: the caller promises that no other thread uses the endpoint. pf frees
    // the data with the state.
    unsafe {
        if (*endpoint).scrub.is_null() {
            let flags = sys::M_NOWAIT | sys::M_ZERO;
            (*endpoint).scrub =
                sys::uma_zalloc_arg(sys::pfs_pf_state_scrub_z(), ptr::null_mut(), flags as i32).cast();
        }
    }
}

impl Deref for Locked<'_> {
    type Target = Kstate;

    fn deref(&self) -> &Kstate {
        // SAFETY: a linked state lives as long as its row is locked.
        unsafe { self.st.cast::<Kstate>().as_ref() }
    }
}

/// A state whose row this value holds locked. Dropping it unlocks the row.
#[must_use = "dropping it unlocks the row"]
pub(crate) struct Found<'a>(Locked<'a>);

impl<'a> Found<'a> {
    /// # Safety
    ///
    /// This thread just locked the row of `st`, and hands it over to be unlocked.
    pub(super) unsafe fn assume(st: NonNull<sys::pf_kstate>) -> Found<'a> {
        // SAFETY: the caller promises that the row is locked.
        Found(unsafe { Locked::of_locked_row(st) })
    }

    /// Unlinks the state. The peers are not told.
    pub(crate) fn unlink(self) {
        self.set_nosync(true);
        let st = self.raw();
        core::mem::forget(self);
        // SAFETY: the row is locked. pf_unlink_state unlocks it, which is why this
        // value was forgotten.
        unsafe { sys::pf_unlink_state(st) };
    }
}

impl<'a> Deref for Found<'a> {
    type Target = Locked<'a>;

    fn deref(&self) -> &Locked<'a> {
        &self.0
    }
}

impl Drop for Found<'_> {
    fn drop(&mut self) {
        // SAFETY: this value holds the row locked.
        unsafe { sys::pfs_pf_state_unlock(self.raw()) };
    }
}
