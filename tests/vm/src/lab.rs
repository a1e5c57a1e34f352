// SPDX-License-Identifier: BSD-2-Clause
//! The guests that run a case together.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{channel, Receiver, Sender};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use tempfile::TempDir;

use crate::arch::Arch;
use crate::case::Case;
use crate::cli::Args;
use crate::event::{Event, Message, Tagged};
use crate::guest::{Guest, ROLES};
use crate::payload;
use crate::programs::Programs;
use crate::qemu::Machine;
use crate::relay::Relay;

/// The machines that a case needs. Cases of the same shape share guests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) machines: usize,
    wires: usize,
    hz: Option<u32>,
}

impl Shape {
    pub(crate) fn of(case: &Case, args: &Args) -> Self {
        let wires = if case.machines > 1 { case.wires } else { 0 };
        Shape { machines: case.machines, wires, hz: case.hz.or(args.hz) }
    }

    /// Kernel variables for the loader, or for QEMU's `-append`.
    fn kernel_variables(self, arch: Arch) -> Vec<String> {
        let mut variables = vec!["boot_serial=YES".to_owned()];
        if arch == Arch::Amd64 {
            variables.push("console=comconsole".to_owned());
        }
        variables.extend(self.hz.or(arch.hz()).map(|hz| format!("kern.hz={hz}")));
        variables
    }
}

/// Running guests that wait for cases.
pub(crate) struct Lab<'a> {
    pub(crate) shape: Shape,
    pub(crate) guests: Vec<Guest>,
    pub(crate) events: Receiver<Tagged>,
    /// The virtual wires between the guests.
    pub(crate) relay: Relay,
    /// The release of FreeBSD that each guest runs.
    pub(crate) releases: Vec<String>,
    sender: Sender<Tagged>,
    args: &'a Args,
    logs: LogNames,
    /// Holds the sockets and the payload disks as long as the guests run.
    directory: TempDir,
}

impl<'a> Lab<'a> {
    /// Boots all guests of a shape at the same time.
    pub(crate) fn start(args: &'a Args, shape: Shape, programs: &Programs, logs: LogNames) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("pfsync-vm").tempdir()?;
        for (number, programs) in programs.iter().enumerate().take(shape.machines) {
            payload::write(&payload_in(&directory, number), args, args.system(number), programs)
                .context("cannot pack the guest's files")?;
        }
        let relay = Relay::start(directory.path(), shape.wires).context("the wires between the guests")?;
        let (sender, events) = channel();
        let (guests, releases) = (Vec::new(), Vec::new());
        let mut lab = Lab { shape, guests, events, relay, releases, sender, args, logs, directory };
        for number in 0..shape.machines {
            let guest = lab.switch_on(number)?;
            lab.guests.push(guest);
        }
        lab.boot_all()?;
        lab.wait_until_ready(shape.machines)?;
        Ok(lab)
    }

    /// Starts the QEMU of one machine.
    fn switch_on(&mut self, number: usize) -> Result<Guest> {
        let payload = payload_in(&self.directory, number);
        let machine = Machine {
            number,
            system: self.args.system(number),
            wires: self.shape.wires,
            variables: self.variables_of(number),
            payload: &payload,
            sockets: self.directory.path(),
        };
        let log = self.logs.next_console(ROLES[number]);
        Guest::start(self.args, &machine, &log, self.sender.clone())
    }

    fn variables_of(&self, number: usize) -> Vec<String> {
        self.shape.kernel_variables(self.args.system(number).arch)
    }

    fn boot_all(&mut self) -> Result<()> {
        let limit = Duration::from_secs(self.args.boot_timeout);
        let variables: Vec<_> = (0..self.guests.len()).map(|number| self.variables_of(number)).collect();
        std::thread::scope(|scope| {
            let boot = |(guest, variables): (&mut Guest, &Vec<String>)| guest.boot(variables, limit);
            let guests = self.guests.iter_mut().zip(&variables);
            let boots: Vec<_> = guests.map(|guest| scope.spawn(move || boot(guest))).collect();
            boots.into_iter().try_for_each(|thread| thread.join().expect("booting does not panic"))
        })
    }

    fn wait_until_ready(&mut self, machines: usize) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(120);
        let mut ready = 0;
        while ready < machines {
            let left = deadline.saturating_duration_since(Instant::now());
            let event = self.events.recv_timeout(left);
            match event.context("the case runner in the guest does not answer")?.1 {
                Event::Said(Message::Ready(release)) => {
                    self.releases.push(release);
                    ready += 1;
                }
                Event::Said(_) => {}
                Event::Panicked(line) => bail!("the guest panicked at boot: {line}"),
                Event::Gone => bail!("the guest stopped at boot"),
            }
        }
        Ok(())
    }

    /// Switches a machine off as if its power failed.
    pub(crate) fn kill(&mut self, machine: usize) -> Result<()> {
        self.guests[machine].kill();
        loop {
            let event = self.events.recv_timeout(Duration::from_secs(30));
            // Its last messages do not matter.
            match event.context("QEMU does not end")? {
                (number, Event::Gone) if number == machine => return Ok(()),
                (number, Event::Gone) => bail!("machine {} stopped too", ROLES[number]),
                (_, Event::Panicked(line)) => bail!("kernel panic: {line}"),
                (_, Event::Said(_)) => {}
            }
        }
    }

    /// Switches a machine on again and waits until its case runner is ready.
    pub(crate) fn revive(&mut self, machine: usize) -> Result<()> {
        let mut guest = self.switch_on(machine)?;
        guest.boot(&self.variables_of(machine), Duration::from_secs(self.args.boot_timeout))?;
        self.guests[machine] = guest;
        self.wait_until_ready(1)
    }

    /// The other machine of two, or none if it is alone.
    pub(crate) fn peer_of(&self, machine: usize) -> Option<usize> {
        (self.guests.len() > 1).then_some(1 - machine)
    }
}

fn payload_in(directory: &TempDir, number: usize) -> PathBuf {
    directory.path().join(format!("payload{number}.tar"))
}

/// Names for the console logs, one for each boot.
pub(crate) struct LogNames {
    directory: PathBuf,
    lab: usize,
    consoles: usize,
}

impl LogNames {
    /// Names for the consoles of the given lab, counted from 1.
    pub(crate) fn new(directory: &Path, lab: usize) -> Self {
        LogNames { directory: directory.to_owned(), lab, consoles: 0 }
    }

    fn next_console(&mut self, role: &str) -> PathBuf {
        self.consoles += 1;
        self.directory.join(format!("console-{}.{}-{role}.log", self.lab, self.consoles))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hz_is_that_of_the_case_or_one_that_is_cheap() {
        let shape = |hz| Shape { machines: 1, wires: 0, hz };
        assert_eq!(shape(None).kernel_variables(Arch::Amd64), ["boot_serial=YES", "console=comconsole"]);
        assert_eq!(shape(None).kernel_variables(Arch::Aarch64), ["boot_serial=YES", "kern.hz=100"]);
        assert_eq!(shape(Some(1000)).kernel_variables(Arch::Aarch64)[1], "kern.hz=1000");
    }
}
