// SPDX-License-Identifier: BSD-2-Clause
//! Format 1301, since FreeBSD 13.1.

use super::checked::{ActionFields, CheckedState, OwnFields};
use super::common::RawCommon;
use super::content::Content;
use super::{State, StateFlags};
use crate::wire::Invalid;
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout, Unaligned};

/// A state in format 1301 (`struct pfsync_state_1301` in `net/pfvar.h`, 242
/// bytes).
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawState1301 {
    /// The fields that every format begins with.
    pub common: RawCommon,
    /// Address family of the keys (`AF_*`).
    pub af: u8,
    /// IP protocol number of the keys.
    pub proto: u8,
    /// `PF_IN` (1) or `PF_OUT` (2).
    pub direction: u8,
    /// Sent as 0 and ignored.
    pub spare: [u8; 2],
    /// `PF_LOG*`.
    pub log: u8,
    /// The low byte of the [`StateFlags`].
    pub state_flags: u8,
    /// `PFTM_*`.
    pub timeout: u8,
    /// `PFSYNC_FLAG_*`.
    pub sync_flags: u8,
    /// See [`State::updates`].
    pub updates: u8,
}

impl RawState1301 {
    /// The content. Fails with the [`Invalid`] field.
    pub fn check(&self) -> Result<State, Invalid> {
        self.checked().map(|state| State::of(&state))
    }

    /// The content, where it lies. Fails with the [`Invalid`] field.
    pub fn checked(&self) -> Result<CheckedState<'_>, Invalid> {
        let own = OwnFields {
            protos: [self.proto; 2],
            orig_ifname: None,
            log: self.log,
            flags: StateFlags::from_bits_truncate(self.state_flags.into()),
            timeout: self.timeout,
            sync_flags: self.sync_flags,
            updates: self.updates,
            rule_actions: ActionFields::None,
            gateway_family: None,
            tag: None,
        };
        self.common.checked([self.af; 2], self.direction, own)
    }

    /// Writes every field of the message.
    pub fn write(&mut self, content: &impl Content) {
        self.common.write(content);
        self.af = content.family() as u8;
        self.proto = content.proto();
        self.direction = content.direction() as u8;
        self.spare = [0; 2];
        self.log = content.log();
        self.state_flags = content.flags().bits() as u8;
        self.timeout = content.timeout();
        self.sync_flags = content.sync_flags();
        self.updates = content.updates();
    }
}

impl From<&State> for RawState1301 {
    fn from(state: &State) -> RawState1301 {
        let mut raw = RawState1301::new_zeroed();
        raw.write(state);
        raw
    }
}
