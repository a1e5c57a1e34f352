// SPDX-License-Identifier: BSD-2-Clause
//! Importing states: from a peer, and from an operator's `pfctl -L`.

use crate::driver::kernel::error::Errno;
use crate::driver::pf::{self, rules::Rules, Found, Origin, Refused};
use crate::driver::probe;
use crate::driver::softc::Softc;
use crate::wire::{Changes, CheckedState, Content, StateFlags};

/// Inserts an operator's state into pf's table.
pub(crate) fn from_operator(state: &CheckedState, rules: &Rules) -> Result<(), Errno> {
    import(state, Origin::Ioctl, rules).map(drop).map_err(Errno::from)
}

/// Inserts a peer's state into pf's table, and acknowledges it if the peer waits for that.
pub(crate) fn from_peer(
    softc: &Softc,
    state: &CheckedState,
    same_rules: bool,
    rules: &Rules,
) -> Result<(), Refused> {
    let found = import(state, Origin::Peer { same_rules }, rules)?;
    if state.flags().contains(StateFlags::ACK) {
        let bucket = softc.bucket(&found);
        let wake = bucket.queues.change(|queues| queues.acknowledge(&found, softc.backlog()));
        softc.wake(bucket, wake);
    }
    Ok(())
}

fn import(state: &CheckedState, origin: Origin, rules: &Rules) -> Result<Found<'static>, Refused> {
    let imported = pf::import(state, origin, rules);
    probe::imported(state.id(), imported.as_ref().map(|_| ()).map_err(|refused| *refused));
    imported
}

impl From<Refused> for Errno {
    fn from(refused: Refused) -> Errno {
        match refused {
            Refused::Interface | Refused::RouteInterface | Refused::RoutingTable | Refused::Unsupported => {
                Errno::EINVAL
            }
            Refused::NoMemory | Refused::Row => Errno::ENOMEM,
            Refused::Exists => Errno::EEXIST,
        }
    }
}
