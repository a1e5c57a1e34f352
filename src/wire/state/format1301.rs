//! Format 1301: FreeBSD 13.

use super::common::{RawCommon, Tail};
use super::State;
use crate::wire::Invalid;
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `struct pfsync_state_1301`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes, KnownLayout, Immutable, Unaligned)]
#[repr(C)]
pub struct RawState1301 {
    pub common: RawCommon,
    pub af: u8,
    pub proto: u8,
    pub direction: u8,
    pub spare: [u8; 2],
    pub log: u8,
    /// The low byte of [`StateFlags`].
    pub state_flags: u8,
    pub timeout: u8,
    pub sync_flags: u8,
    pub updates: u8,
}

impl RawState1301 {
    /// The state, if pf can have it.
    pub fn check(&self) -> Result<State, Invalid> {
        self.common.check(Tail {
            families: [self.af; 2],
            protos: [self.proto; 2],
            orig_ifname: None,
            direction: self.direction,
            log: self.log,
            flags: u16::from(self.state_flags),
            timeout: self.timeout,
            sync_flags: self.sync_flags,
            updates: self.updates,
            extra: None,
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
