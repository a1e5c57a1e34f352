// SPDX-License-Identifier: BSD-2-Clause
//! A firewall of the host kernel with `pfsync.ko` loaded, made for one input.

use crate::feedback;
use anyhow::Result;
use pfsync_host::kernel::violation::Violation;
use pfsync_host::kernel::world::Policy;
use pfsync_host::lab::{Firewall, Lab, SYNC};

/// Whether a step could not be read, for the input ends in its midst. Another
/// error is one.
pub fn ends_input(step: Result<()>) -> Result<bool> {
    match step {
        Err(error) if error.is::<arbitrary::Error>() => Ok(true),
        step => step.map(|()| false),
    }
}

/// A firewall and the world around it.
pub struct Fuzzed {
    pub lab: Lab,
    pub firewall: Firewall,
}

impl Fuzzed {
    /// Boots a firewall and loads the module, all of whose probes are enabled.
    pub fn boot() -> Result<Fuzzed> {
        let lab = Lab::new(Policy::PLAIN);
        let firewall = lab.boot(1)?;
        firewall.kernel.load()?;
        firewall.kernel.trace();
        Ok(Fuzzed { lab, firewall })
    }

    /// Whether the sync interface is there.
    pub fn has_sync(&self) -> bool {
        self.firewall.vnet.interfaces.find(SYNC).is_some()
    }

    /// Keeps the result of an operation that may fail, unless a rule was
    /// broken.
    pub fn attempt<T>(&self, result: Result<T>) -> Result<Option<T>, Violation> {
        self.lab.check()?;
        Ok(result.ok())
    }

    /// Unloads the module, which must leave nothing behind. Without failures
    /// any more.
    pub fn finish(self) -> Result<()> {
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
