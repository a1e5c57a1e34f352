//! States: referenced, locked, and what may be read and written when.

use super::status;
use crate::engine::merge::LocalEndpoint;
use crate::wire::{Endpoint, Family, Key, Scrub, StateId, IPPROTO_PFSYNC, IPPROTO_TCP};
use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::Deref;
use core::ptr::{self, NonNull};
use sys_bindings as sys;

const TCPS_CLOSED: u8 = sys::TCPS_CLOSED as u8;
const TCPS_ESTABLISHED: u8 = sys::TCPS_ESTABLISHED as u8;

/// A state of pf's, of which only what never changes can be read without its
/// lock: its identity.
#[repr(transparent)]
pub struct State(UnsafeCell<sys::pf_kstate>);

impl State {
    /// For the C side. What it points to is shared with other threads.
    pub(super) fn as_ptr(&self) -> *mut sys::pf_kstate {
        self.0.get()
    }

    pub fn id(&self) -> StateId {
        // SAFETY: id and creator are set before the state can be found and
        // never change.
        unsafe {
            let st = self.as_ptr();
            StateId { id: (*st).id.to_ne_bytes(), creator: (*st).creatorid.to_ne_bytes() }
        }
    }

    /// A counted reference.
    pub(super) fn reference(&self) -> StateRef {
        // SAFETY: the state lives, by whatever lent `self`.
        unsafe { sys::pfs_pf_state_ref(self.as_ptr()) };
        // SAFETY: a reference points to something.
        StateRef(unsafe { NonNull::new_unchecked(self.as_ptr()) })
    }
}

/// A counted reference to a state, which may have been unlinked meanwhile.
pub struct StateRef(NonNull<sys::pf_kstate>);

// SAFETY: pf's states may be referenced from any thread.
unsafe impl Send for StateRef {}

impl StateRef {
    /// Takes over a reference that was counted already.
    ///
    /// # Safety
    ///
    /// The caller owns one count of the state's references.
    pub(super) unsafe fn from_raw(st: NonNull<sys::pf_kstate>) -> StateRef {
        StateRef(st)
    }

    /// Gives up ownership of the count.
    pub(super) fn into_raw(self) -> *mut sys::pf_kstate {
        let st = self.0.as_ptr();
        core::mem::forget(self);
        st
    }

    /// Locks the state's row. `None` when pf has unlinked the state: it has no
    /// keys any more.
    pub fn lock(&self) -> Option<Found<'_>> {
        // SAFETY: the state lives; its lock is that of its row, which lives
        // as long as pf's table.
        unsafe { sys::pfs_pf_state_lock(self.0.as_ptr()) };
        // SAFETY: the row is locked now. Whether the state is linked is asked
        // before anything but its timeout is read.
        let found = unsafe { Found::assume(self.0) };
        (found.timeout() != sys::PFTM_UNLINKED as u8).then_some(found)
    }
}

impl Deref for StateRef {
    type Target = State;

    fn deref(&self) -> &State {
        // SAFETY: the reference keeps the state; State is transparent.
        unsafe { self.0.cast::<State>().as_ref() }
    }
}

impl Drop for StateRef {
    fn drop(&mut self) {
        // SAFETY: gives back one reference.
        unsafe { sys::pfs_pf_state_release(self.0.as_ptr()) };
    }
}

/// A state whose row is locked by this thread, and that is linked.
pub struct Locked<'row> {
    st: NonNull<sys::pf_kstate>,
    row: PhantomData<(&'row (), *const ())>,
}

/// Which end of a connection.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum End {
    Src,
    Dst,
}

impl Locked<'_> {
    /// Takes the caller's word that the row is locked. A module built with
    /// INVARIANTS checks it.
    ///
    /// # Safety
    ///
    /// `st` is a linked state, its row is locked by this thread, and stays so
    /// as long as the result is used.
    pub unsafe fn assume(st: NonNull<sys::pf_kstate>) -> Self {
        if sys::pfs_invariants != 0 {
            // SAFETY: as the caller promises.
            unsafe { sys::pfs_pf_state_assert_locked(st.as_ptr()) };
        }
        Locked { st, row: PhantomData }
    }

    /// The state without the check, for rows that are locked a line above.
    ///
    /// # Safety
    ///
    /// As for [`Locked::assume`].
    pub(super) unsafe fn of_locked_row(st: NonNull<sys::pf_kstate>) -> Self {
        Locked { st, row: PhantomData }
    }

    /// A copy of one field.
    fn read<T: Copy>(&self, field: impl FnOnce(*mut sys::pf_kstate) -> *const T) -> T {
        // SAFETY: the row is locked, so that nobody writes the field; `field`
        // only projects to it.
        unsafe { field(self.st.as_ptr()).read() }
    }

    fn key(&self) -> &sys::pf_state_key {
        // SAFETY: a linked state has its keys, which change no more.
        unsafe { &*(*self.st.as_ptr()).key[sys::PF_SK_WIRE as usize] }
    }

    /// IP protocol of the connection.
    pub fn proto(&self) -> u8 {
        self.key().proto
    }

    /// Whether a peer's state of the same id is this one, or another that only
    /// took its id: ends, protocol and direction of a state never change.
    pub fn is_same(&self, other: &crate::wire::State) -> bool {
        let same = |index, theirs: &Key, of: (Family, u8)| {
            let ours = self.wire_key(index);
            ours.is_some_and(|(key, family, proto)| (family, proto) == of && key.is_same(theirs, family))
        };
        self.direction() == Some(other.direction)
            && same(sys::PF_SK_WIRE, &other.wire, (other.family, other.proto))
            && same(sys::PF_SK_STACK, &other.stack, (other.stack_family, other.stack_proto))
    }

    pub fn is_tcp(&self) -> bool {
        self.proto() == IPPROTO_TCP
    }

    /// `PFTM_*`
    pub fn timeout(&self) -> u8 {
        // SAFETY: only projects.
        self.read(|st| unsafe { &raw const (*st).timeout })
    }

    /// Whether the state is neither about to be purged nor being unlinked.
    pub fn is_alive(&self) -> bool {
        u32::from(self.timeout()) < sys::PFTM_MAX
    }

    fn flags(&self) -> u16 {
        // SAFETY: only projects.
        self.read(|st| unsafe { &raw const (*st).state_flags })
    }

    fn set_flag(&self, flag: u32, on: bool) {
        let flag = flag as u16;
        let flags = if on { self.flags() | flag } else { self.flags() & !flag };
        // SAFETY: the row is locked.
        unsafe { (*self.st.as_ptr()).state_flags = flags };
    }

    /// Whether the state is not to be synchronised: it says so itself
    /// (`PFSTATE_NOSYNC`), the rule that made it does, or it is pfsync's own.
    /// The flag alone is not enough: a state that was made while pfsync0 was
    /// down lacks it.
    pub fn is_nosync(&self) -> bool {
        u32::from(self.flags()) & sys::PFSTATE_NOSYNC != 0
            || self.rule_is_nosync()
            || self.proto() == IPPROTO_PFSYNC
    }

    pub fn set_nosync(&self, on: bool) {
        self.set_flag(sys::PFSTATE_NOSYNC, on);
    }

    /// Whether a packet may be held back until the peer acknowledges the
    /// state (`PFSTATE_ACK`). The bucket's list of such packets has the last
    /// word: a packet whose time is over leaves without this lock.
    pub fn awaits_ack(&self) -> bool {
        u32::from(self.flags()) & sys::PFSTATE_ACK != 0
    }

    pub fn set_awaits_ack(&self, on: bool) {
        self.set_flag(sys::PFSTATE_ACK, on);
    }

    /// Whether the rule that made the state says `no-sync`.
    fn rule_is_nosync(&self) -> bool {
        // SAFETY: only projects; a linked state keeps its rule.
        let rule = self.read(|st| unsafe { sys::pfs_rules(st) }[0]);
        // SAFETY: as above; the flags do not change.
        unsafe { (*rule).rule_flag & sys::PFRULE_NOSYNC != 0 }
    }

    /// When a peer's message about the state came last, in seconds of uptime.
    pub fn pfsync_time(&self) -> u32 {
        // SAFETY: only projects.
        self.read(|st| unsafe { &raw const (*st).pfsync_time })
    }

    pub fn set_pfsync_time(&self, uptime: u32) {
        // SAFETY: the row is locked.
        unsafe { (*self.st.as_ptr()).pfsync_time = uptime };
    }

    /// What is known of both ends, to judge a peer's update.
    pub fn known(&self) -> [LocalEndpoint; 2] {
        [End::Src, End::Dst].map(|end| {
            let peer = self.peer_ptr(end);
            // SAFETY: the row is locked.
            unsafe { LocalEndpoint { state: (*peer).state, seqlo: (*peer).seqlo } }
        })
    }

    fn peer_ptr(&self, end: End) -> *mut sys::pf_state_peer {
        // SAFETY: only projects.
        unsafe {
            match end {
                End::Src => &raw mut (*self.st.as_ptr()).src,
                End::Dst => &raw mut (*self.st.as_ptr()).dst,
            }
        }
    }

    /// One end of the connection as it goes over the wire.
    pub fn peer(&self, end: End) -> Endpoint {
        let peer = self.peer_ptr(end);
        // SAFETY: the row is locked; scrub data live as long as the state.
        unsafe {
            Endpoint {
                seqlo: (*peer).seqlo,
                seqhi: (*peer).seqhi,
                seqdiff: (*peer).seqdiff,
                max_win: (*peer).max_win,
                mss: (*peer).mss,
                state: (*peer).state,
                wscale: (*peer).wscale,
                scrub: (*peer).scrub.as_ref().map(|scrub| Scrub {
                    timestamp: u32::from(scrub.pfss_flags) & sys::PFSS_TIMESTAMP != 0,
                    ttl: scrub.pfss_ttl,
                    ts_mod: scrub.__bindgen_anon_1.pfss_ts_mod,
                }),
            }
        }
    }

    /// Overwrites one end with what a peer knows of it.
    pub fn set_peer(&self, end: End, peer: &Endpoint) {
        // SAFETY: the row is locked.
        self.change(end, |to| unsafe { write_peer(to, peer) });
    }

    /// Overwrites the connection state of one end.
    pub fn set_peer_state(&self, end: End, state: u8) {
        // SAFETY: the row is locked.
        self.change(end, |to| unsafe { (*to).state = state });
    }

    /// Has `write` change one end, and pf's count of half-open connections
    /// follow. Only the first end matters to that.
    fn change(&self, end: End, write: impl FnOnce(*mut sys::pf_state_peer)) {
        let before = end == End::Src && self.is_half_open();
        write(self.peer_ptr(end));
        let now = end == End::Src && self.is_half_open();
        status::count_half_open(before, now);
    }

    /// Whether pf counts the state as a half-open connection: one of TCP that
    /// this firewall made, and whose first end is not through the handshake.
    pub(super) fn is_half_open(&self) -> bool {
        let [source, _] = self.known();
        (TCPS_CLOSED + 1..TCPS_ESTABLISHED).contains(&source.state)
            && self.is_tcp()
            && self.id().creator == status::host_id()
    }

    /// The state lives `timeout` from now on.
    pub fn refresh(&self, timeout: u8, uptime: u32) {
        // SAFETY: the row is locked.
        unsafe {
            (*self.st.as_ptr()).expire = sys::pfs_time_of(uptime);
            (*self.st.as_ptr()).timeout = timeout;
        }
    }

    pub(super) fn raw(&self) -> *mut sys::pf_kstate {
        self.st.as_ptr()
    }

    pub(super) fn pointer(&self) -> NonNull<sys::pf_kstate> {
        self.st
    }
}

/// Writes a peer into a state. Scrub data are kept if there is memory for
/// them, as in the C module.
///
/// # Safety
///
/// `to` is one end of a state that is locked or not linked yet.
pub(super) unsafe fn write_peer(to: *mut sys::pf_state_peer, peer: &Endpoint) {
    // SAFETY: as the caller promises.
    unsafe {
        (*to).seqlo = peer.seqlo;
        (*to).seqhi = peer.seqhi;
        (*to).seqdiff = peer.seqdiff;
        (*to).max_win = peer.max_win;
        (*to).mss = peer.mss;
        (*to).state = peer.state;
        (*to).wscale = peer.wscale;
        let Some(scrub) = peer.scrub else { return };
        allocate_scrub(to);
        if let Some(to) = (*to).scrub.as_mut() {
            to.pfss_flags = if scrub.timestamp { sys::PFSS_TIMESTAMP as u16 } else { 0 };
            to.pfss_ttl = scrub.ttl;
            to.__bindgen_anon_1.pfss_ts_mod = scrub.ts_mod;
        }
    }
}

/// Gives a peer scrub data, if it has none and there is memory.
///
/// # Safety
///
/// As for [`write_peer`].
pub(super) unsafe fn allocate_scrub(peer: *mut sys::pf_state_peer) {
    // SAFETY: as the caller promises; pf frees the data with the state.
    unsafe {
        if (*peer).scrub.is_null() {
            let flags = sys::M_NOWAIT | sys::M_ZERO;
            (*peer).scrub =
                sys::uma_zalloc_arg(sys::pfs_pf_state_scrub_z(), ptr::null_mut(), flags as i32).cast();
        }
    }
}

impl Deref for Locked<'_> {
    type Target = State;

    fn deref(&self) -> &State {
        // SAFETY: a linked state whose row is locked lives.
        unsafe { self.st.cast::<State>().as_ref() }
    }
}

/// A state whose row this value holds locked.
pub struct Found<'a>(Locked<'a>);

impl<'a> Found<'a> {
    /// # Safety
    ///
    /// The row of `st` was just locked by this thread, for this value to
    /// unlock.
    pub(super) unsafe fn assume(st: NonNull<sys::pf_kstate>) -> Found<'a> {
        // SAFETY: as the caller promises.
        Found(unsafe { Locked::of_locked_row(st) })
    }

    /// Unlinks the state. Peers are not told.
    pub fn unlink(self) {
        self.set_nosync(true);
        let st = self.raw();
        core::mem::forget(self);
        // SAFETY: the row is locked; pf_unlink_state unlocks it, which is why
        // this value is forgotten.
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
        // SAFETY: the row is held by this value.
        unsafe { sys::pfs_pf_state_unlock(self.raw()) };
    }
}
