// SPDX-License-Identifier: BSD-2-Clause
//! The rule actions of a state, in formats 1400 and 1500.

use std::fmt::{self, Display, Formatter};

use pfsync::wire::RuleActions;
use serde::Serialize;

use super::{optional, unless};

/// What the rule has pf do with the packets of a state.
#[derive(Serialize)]
pub(crate) struct ActionsView {
    pub(crate) qid: u16,
    pub(crate) pqid: u16,
    pub(crate) dnpipe: u16,
    pub(crate) dnrpipe: u16,
    pub(crate) rtableid: i32,
    pub(crate) min_ttl: u8,
    pub(crate) set_tos: u8,
    pub(crate) max_mss: u16,
    pub(crate) set_prio: [u8; 2],
}

impl From<&RuleActions> for ActionsView {
    fn from(actions: &RuleActions) -> ActionsView {
        ActionsView {
            qid: actions.qid,
            pqid: actions.pqid,
            dnpipe: actions.dnpipe,
            dnrpipe: actions.dnrpipe,
            rtableid: actions.rtableid,
            min_ttl: actions.min_ttl,
            set_tos: actions.set_tos,
            max_mss: actions.max_mss,
            set_prio: actions.set_prio,
        }
    }
}

/// Only the actions that are set.
impl Display for ActionsView {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        optional(f, "qid", unless(self.qid, 0))?;
        optional(f, "pqid", unless(self.pqid, 0))?;
        optional(f, "dnpipe", unless(self.dnpipe, 0))?;
        optional(f, "dnrpipe", unless(self.dnrpipe, 0))?;
        optional(f, "rtable", unless(self.rtableid, -1))?;
        optional(f, "min-ttl", unless(self.min_ttl, 0))?;
        optional(f, "set-tos", unless(self.set_tos, 0))?;
        optional(f, "max-mss", unless(self.max_mss, 0))?;
        match self.set_prio {
            [0, 0] => Ok(()),
            [first, second] => write!(f, " set-prio {first},{second}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_are_shown_when_set() {
        let nothing = ActionsView {
            qid: 0,
            pqid: 0,
            dnpipe: 0,
            dnrpipe: 0,
            rtableid: -1,
            min_ttl: 0,
            set_tos: 0,
            max_mss: 0,
            set_prio: [0; 2],
        };
        assert_eq!(nothing.to_string(), "");
        let some = ActionsView { qid: 2, rtableid: 0, set_prio: [1, 2], ..nothing };
        assert_eq!(some.to_string(), " qid 2 rtable 0 set-prio 1,2");
    }
}
