// SPDX-License-Identifier: BSD-2-Clause
//! One running FreeBSD machine.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::Sender;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::boot;
use crate::cli::Args;
use crate::console::{Console, Listeners};
use crate::event::{Event, Loaded, Message, Tagged};
use crate::process::Process;
use crate::qemu::{self, Machine};
use crate::report::{self, Report};

/// The names of the machines, which scripts find in `ROLE`.
pub(crate) const ROLES: [&str; 2] = ["one", "two"];

/// A running guest. Dropping it ends QEMU.
pub(crate) struct Guest {
    qemu: Process,
    console: Console,
    control: UnixStream,
    /// Which module was loaded from which position in the console's text on.
    loaded: Vec<(usize, Loaded)>,
}

impl Guest {
    /// Starts a guest and the threads that read what it writes. Does not wait for it to boot.
    pub(crate) fn start(args: &Args, machine: &Machine, log: &Path, events: Sender<Tagged>) -> Result<Self> {
        let socket = machine.control_socket();
        // The socket is still there if the machine has run before.
        let _ = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).context("socket for the second serial port")?;
        let (qemu, screen, keyboard) = Process::watch(qemu::start(args, machine)?);
        let echo = args.verbose.then(|| ROLES[machine.number].to_owned());
        let log = File::create(log).with_context(|| format!("{}", log.display()))?;
        let number = machine.number;
        let listeners = Listeners { log, machine: number, events: events.clone(), echo };
        let console = Console::new(screen, keyboard, listeners);
        let control = accept(&listener, &qemu)?;
        let lines = control.try_clone()?;
        std::thread::spawn(move || listen(lines, number, &events));
        Ok(Guest { qemu, console, control, loaded: vec![(0, Loaded::Nothing)] })
    }

    /// Boots the guest and starts the case runner in it.
    pub(crate) fn boot(&mut self, variables: &[String], limit: Duration) -> Result<()> {
        boot::reach_shell(&mut self.console, variables, limit)?;
        boot::start_agent(&mut self.console)
    }

    /// Ends QEMU at once if it still runs.
    pub(crate) fn kill(&mut self) {
        self.qemu.end();
    }

    /// Writes a line to the guest's second serial port.
    pub(crate) fn tell(&mut self, line: &str) -> Result<()> {
        writeln!(self.control, "{line}").context("the guest is gone")
    }

    /// Notes which module is in the kernel from now on.
    pub(crate) fn note_loaded(&mut self, loaded: Loaded) {
        self.loaded.push((self.console.position(), loaded));
    }

    /// The end of the console's text so far.
    pub(crate) fn position(&self) -> usize {
        self.console.position()
    }

    /// The console's text from `start` on.
    pub(crate) fn console_from(&self, start: usize) -> String {
        self.console.text_from(start)
    }

    /// The reports since `start` that count against the module that was loaded then.
    pub(crate) fn reports_from(&self, start: usize) -> Vec<Report> {
        let mut reports = report::find(&self.console.text_from(start));
        reports.retain(|report| report.counts(self.loaded_at(start + report.offset)));
        reports
    }

    fn loaded_at(&self, position: usize) -> Loaded {
        let before = self.loaded.iter().rev().find(|(from, _)| *from <= position);
        before.map_or(Loaded::Nothing, |(_, loaded)| *loaded)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Waits until QEMU connects the second serial port. Fails if QEMU ends.
fn accept(listener: &UnixListener, qemu: &Process) -> Result<UnixStream> {
    listener.set_nonblocking(true)?;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                return Ok(stream);
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                if let Some(status) = qemu.has_ended()? {
                    anyhow::bail!("QEMU ended at once ({status}); its message is above");
                }
                std::thread::sleep(Duration::from_millis(20));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Passes on the lines of the guest's second serial port.
fn listen(stream: UnixStream, machine: usize, events: &Sender<Tagged>) {
    for line in BufReader::new(stream).split(b'\n') {
        let Ok(line) = line else { return };
        let line = String::from_utf8_lossy(&line);
        let message = Message::parse(line.trim_end_matches('\r'));
        if events.send((machine, Event::Said(message))).is_err() {
            return;
        }
    }
}
