// SPDX-License-Identifier: BSD-2-Clause
//! pf's table of states: finding a state. [`super::row`] walks through all of them.

use super::state::Found;
use crate::wire::{Family, Key, StateId};
use core::ffi::c_int;
use core::ptr::NonNull;
use sys_bindings as sys;

/// The state with that identity. Its row is locked.
pub(crate) fn find(id: StateId) -> Option<Found<'static>> {
    let creator = u32::from_ne_bytes(id.creator);
    // SAFETY: pf looks the state up in the current vnet's table, and returns it with
    // its row locked.
    unsafe {
        NonNull::new(sys::pf_find_state_byid(u64::from_ne_bytes(id.id), creator)).map(|st| Found::assume(st))
    }
}

/// The first state in pf's list of those that have a key in one or the other role, and how
/// many others there are. The state's row is locked. It may be unlinked already: pf detaches a
/// state from its keys after that.
pub(super) fn find_by_key(
    key: &Key,
    family: Family,
    proto: u8,
    role: KeyRole,
) -> Option<(Found<'static>, c_int)> {
    // SAFETY: all zeroes are a key. pf compares every byte, and its own keys have zeroes where
    // this has them.
    let mut wanted = unsafe { core::mem::zeroed::<sys::pf_state_key_cmp>() };
    for (to, from) in wanted.addr.iter_mut().zip(key.addr) {
        to.__bindgen_anon_1.addr8 = from;
    }
    wanted.port = key.port.map(u16::from_ne_bytes);
    wanted.af = family as u8;
    wanted.proto = proto;
    // pf names the lists by the directions of the packets that it looks up there.
    let direction = match role {
        KeyRole::Wire => sys::PF_IN,
        KeyRole::Stack => sys::PF_OUT,
    };
    let mut others = 0;
    // SAFETY: pf looks the state up in the current vnet's table, and returns it with its row
    // locked.
    let first = unsafe {
        NonNull::new(sys::pf_find_state_all(&wanted, direction, &mut others)).map(|st| Found::assume(st))
    };
    first.map(|first| (first, others))
}

/// Which key of a state.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum KeyRole {
    /// Addresses and ports on the wire.
    Wire,
    /// Those before translation.
    Stack,
}
