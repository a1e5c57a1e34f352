// SPDX-License-Identifier: BSD-2-Clause
//! A guest's first serial port: the kernel's console, and the shell that runs there after boot.

use std::fs::File;
use std::io::{Read, Write};
use std::process::{ChildStdin, ChildStdout};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use anyhow::{bail, Context, Result};

use crate::event::{Event, Tagged};
use crate::report;

/// What the guest has written, and whether it can write more.
#[derive(Default)]
struct Text {
    bytes: String,
    closed: bool,
}

#[derive(Default)]
struct Shared {
    text: Mutex<Text>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Text> {
        self.text.lock().expect("the console's reader does not panic")
    }

    fn append(&self, chunk: &str) {
        self.lock().bytes.push_str(chunk);
        self.changed.notify_all();
    }

    fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }
}

/// The console of a running guest.
pub(crate) struct Console {
    shared: Arc<Shared>,
    keyboard: ChildStdin,
}

/// Where a copy of the console's text goes, and who is told of a panic.
pub(crate) struct Listeners {
    pub(crate) log: File,
    pub(crate) machine: usize,
    pub(crate) events: Sender<Tagged>,
    pub(crate) echo: Option<String>,
}

impl Console {
    /// Starts to read what the guest writes.
    pub(crate) fn new(screen: ChildStdout, keyboard: ChildStdin, listeners: Listeners) -> Self {
        let shared = Arc::new(Shared::default());
        let copy = Arc::clone(&shared);
        std::thread::spawn(move || read_all(screen, &copy, listeners));
        Console { shared, keyboard }
    }

    /// The end of the text so far, to read from later.
    pub(crate) fn position(&self) -> usize {
        self.shared.lock().bytes.len()
    }

    /// What the guest wrote from `start` on.
    pub(crate) fn text_from(&self, start: usize) -> String {
        self.shared.lock().bytes[start..].to_owned()
    }

    pub(crate) fn send(&mut self, keys: &str) -> Result<()> {
        self.keyboard.write_all(keys.as_bytes()).context("the guest's console is gone")?;
        self.keyboard.flush().context("the guest's console is gone")
    }

    /// Waits until `found` returns a value for the text after `start`.
    ///
    /// Returns `None` if that does not happen within `patience`.
    pub(crate) fn wait_for<T>(
        &self,
        start: usize,
        patience: Duration,
        found: impl Fn(&str) -> Option<T>,
    ) -> Result<Option<T>> {
        let deadline = Instant::now() + patience;
        let mut text = self.shared.lock();
        loop {
            if let Some(value) = found(&text.bytes[start..]) {
                return Ok(Some(value));
            }
            if text.closed {
                bail!("the guest stopped; the console's last lines:\n{}", last_lines(&text.bytes, 15));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            let waited = self.shared.changed.wait_timeout(text, left);
            text = waited.expect("the console's reader does not panic").0;
        }
    }
}

/// Copies the console to its listeners until QEMU closes it.
fn read_all(mut screen: ChildStdout, shared: &Shared, mut listeners: Listeners) {
    let mut buffer = [0u8; 4096];
    let mut line = String::new();
    while let Ok(count @ 1..) = screen.read(&mut buffer) {
        let chunk = String::from_utf8_lossy(&buffer[..count]).replace('\r', "");
        // The tests go on without the log if it cannot be written.
        let _ = listeners.log.write_all(chunk.as_bytes());
        shared.append(&chunk);
        for piece in chunk.split_inclusive('\n') {
            line.push_str(piece);
            if piece.ends_with('\n') || report::is_panic(&line) {
                hear_line(line.trim_end(), &listeners);
                line.clear();
            }
        }
    }
    shared.close();
    // Nobody receives events once the tests are over.
    let _ = listeners.events.send((listeners.machine, Event::Gone));
}

fn hear_line(line: &str, listeners: &Listeners) {
    if let Some(name) = &listeners.echo {
        println!("{name} console| {line}");
    }
    if report::is_panic(line) {
        let event = Event::Panicked(line.to_owned());
        let _ = listeners.events.send((listeners.machine, event));
    }
}

/// The last `count` lines of a text.
pub(crate) fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<_> = text.trim_end().lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}
