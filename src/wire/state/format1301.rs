// SPDX-License-Identifier: BSD-2-Clause
//! Format 1301, since FreeBSD 13.1.

use super::common::{FormatFields, RawCommon};
use super::State;
use crate::wire::Invalid;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

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
    /// The low byte of the [`StateFlags`](super::StateFlags).
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
        self.common.check(FormatFields {
            families: [self.af; 2],
            protos: [self.proto; 2],
            orig_ifname: None,
            direction: self.direction,
            log: self.log,
            flags: u16::from(self.state_flags),
            timeout: self.timeout,
            sync_flags: self.sync_flags,
            updates: self.updates,
            rule_actions: None,
            tag: None,
        })
    }
}

impl From<&State> for RawState1301 {
    fn from(state: &State) -> RawState1301 {
        RawState1301 {
            common: state.into(),
            af: state.family as u8,
            proto: state.proto,
            direction: state.direction as u8,
            spare: [0; 2],
            log: state.log,
            state_flags: state.flags.bits() as u8,
            timeout: state.timeout,
            sync_flags: state.sync_flags,
            updates: state.updates,
        }
    }
}
