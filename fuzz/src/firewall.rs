// SPDX-License-Identifier: BSD-2-Clause
//! A simulated firewall with `pfsync.ko` loaded, made for one input.

use crate::feedback;
use anyhow::Result;
use pfsync_simulator::freebsd::kernel::violation::Violation;
use pfsync_simulator::freebsd::kernel::world::Policy;
use pfsync_simulator::lab::{Firewall, Lab, SYNC};

/// Whether a step could not be read because the input ends before it does. Any other
/// error is returned.
pub(crate) fn ends_input(step: Result<()>) -> Result<bool> {
    match step {
        Err(error) if error.is::<arbitrary::Error>() => Ok(true),
        step => step.map(|()| false),
    }
}

/// A firewall, and the lab that it is in.
pub(crate) struct Fuzzed {
    pub(crate) lab: Lab,
    pub(crate) firewall: Firewall,
}

impl Fuzzed {
    /// Boots a firewall, loads the module, and enables all probes.
    pub(crate) fn boot() -> Result<Fuzzed> {
        let lab = Lab::new(Policy::PLAIN);
        let firewall = lab.boot(1)?;
        firewall.kernel.load()?;
        firewall.kernel.trace();
        Ok(Fuzzed { lab, firewall })
    }

    /// Whether the sync interface exists.
    pub(crate) fn has_sync(&self) -> bool {
        self.firewall.vnet.interfaces.find(SYNC).is_some()
    }

    /// The result of an operation that may fail, unless there was a violation.
    pub(crate) fn attempt<T>(&self, result: Result<T>) -> Result<Option<T>, Violation> {
        self.lab.check()?;
        Ok(result.ok())
    }

    /// Unloads the module, which must leave nothing behind. No call fails meanwhile.
    pub(crate) fn finish(self) -> Result<()> {
        feedback::tell(&self.firewall);
        self.firewall.kernel.heap.fail_once(None);
        self.firewall.unload()?;
        let Fuzzed { firewall, .. } = self;
        anyhow::ensure!(firewall.demotion() == 0, "the firewall stays demoted");
        anyhow::ensure!(firewall.vnet.interfaces.extra_references() == 0, "an interface stays referenced");
        anyhow::ensure!(firewall.kernel.mbufs() == 0, "mbufs are left");
        Ok(())
    }
}
