//! The guests that run a case together.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{channel, Receiver};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};
use tempfile::TempDir;

use crate::case::Case;
use crate::cli::Args;
use crate::event::{Event, Message, Tagged};
use crate::guest::{Guest, ROLES};
use crate::payload;
use crate::qemu::Machine;

/// What a case asks of its machines; cases that ask the same share them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    pub machines: usize,
    wires: usize,
    hz: Option<u32>,
}

impl Shape {
    pub fn of(case: &Case, args: &Args) -> Self {
        let wires = if case.machines > 1 { case.wires } else { 0 };
        Shape { machines: case.machines, wires, hz: case.hz.or(args.hz) }
    }
}

/// Running guests that wait for cases.
pub struct Lab {
    pub shape: Shape,
    pub guests: Vec<Guest>,
    pub events: Receiver<Tagged>,
    /// Holds the sockets and the guests' disk for as long as they run.
    _folder: TempDir,
}

impl Lab {
    /// Boots the guests of a shape, at the same time.
    pub fn start(args: &Args, shape: Shape, programs: &[PathBuf], logs: &LogNames) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("pfsync-vm").tempdir()?;
        let disk = folder.path().join("payload.tar");
        payload::write(&disk, args, programs).context("cannot pack the guest's files")?;
        let (sender, events) = channel();
        let limit = Duration::from_secs(args.boot_timeout);
        let machines: Vec<_> = (0..shape.machines)
            .map(|number| Machine {
                number,
                wires: shape.wires,
                hz: shape.hz,
                payload: &disk,
                sockets: folder.path(),
            })
            .collect();
        let mut guests = Vec::new();
        for machine in &machines {
            let log = logs.console(ROLES[machine.number]);
            guests.push(Guest::start(args, machine, &log, sender.clone())?);
        }
        boot_all(&mut guests, &machines, limit)?;
        let lab = Lab { shape, guests, events, _folder: folder };
        lab.wait_until_ready()?;
        Ok(lab)
    }

    fn wait_until_ready(&self) -> Result<()> {
        let deadline = Instant::now() + Duration::from_secs(120);
        let mut ready = 0;
        while ready < self.guests.len() {
            let left = deadline.saturating_duration_since(Instant::now());
            let event = self.events.recv_timeout(left);
            match event.context("the case runner in the guest does not answer")?.1 {
                Event::Said(Message::Ready) => ready += 1,
                Event::Said(_) => {}
                Event::Panicked(line) => bail!("the guest panicked at boot: {line}"),
                Event::Gone => bail!("the guest stopped at boot"),
            }
        }
        Ok(())
    }

    /// The other machine of two, or none if it is alone.
    pub fn peer_of(&self, machine: usize) -> Option<usize> {
        (self.guests.len() > 1).then_some(1 - machine)
    }
}

fn boot_all(guests: &mut [Guest], machines: &[Machine], limit: Duration) -> Result<()> {
    std::thread::scope(|scope| {
        let boots: Vec<_> = guests
            .iter_mut()
            .zip(machines)
            .map(|(guest, machine)| {
                let variables = machine.kernel_variables();
                scope.spawn(move || guest.boot(&variables, limit))
            })
            .collect();
        for boot in boots {
            boot.join().expect("booting does not panic")?;
        }
        Ok(())
    })
}

/// Names for the console logs of one boot after the other.
pub struct LogNames<'a> {
    pub folder: &'a Path,
    pub boot: usize,
}

impl LogNames<'_> {
    fn console(&self, role: &str) -> PathBuf {
        self.folder.join(format!("console-{}-{role}.log", self.boot))
    }
}
