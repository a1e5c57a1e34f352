// SPDX-License-Identifier: BSD-2-Clause
//! The virtual wires between the guests: sockets, and a thread for each direction of each wire.

use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{bail, Context, Result};

use crate::guest::ROLES;
use crate::wire::{Delivery, Direction};

/// The largest frame that QEMU sends (its NET_BUFSIZE).
const LARGEST_FRAME: usize = 4096 + 65536;

/// A delayed frame is sent on when no other has come for this long.
const QUIET: Duration = Duration::from_millis(20);

/// A machine that takes no frames for this long loses the next one.
const PATIENCE: Duration = Duration::from_secs(1);

/// The seed of every wire at the start of a case.
const SEED: u64 = 1;

/// Where the network device of a machine takes frames from a wire.
pub(crate) fn device_socket(directory: &Path, wire: usize, machine: usize) -> PathBuf {
    directory.join(format!("wire{wire}-to-{}", ROLES[machine]))
}

/// Where a wire takes the frames of a machine.
pub(crate) fn wire_socket(directory: &Path, wire: usize, machine: usize) -> PathBuf {
    directory.join(format!("wire{wire}-from-{}", ROLES[machine]))
}

/// One direction of a wire and its sockets.
struct Link {
    socket: UnixDatagram,
    /// The network device that the frames are for.
    far: PathBuf,
    /// The network device that sends them.
    near: PathBuf,
    direction: Mutex<Direction>,
}

impl Link {
    fn open(directory: &Path, wire: usize, sender: usize) -> Result<Self> {
        let path = wire_socket(directory, wire, sender);
        let socket = UnixDatagram::bind(&path).with_context(|| format!("{}", path.display()))?;
        socket.set_read_timeout(Some(QUIET))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        Ok(Link {
            socket,
            far: device_socket(directory, wire, 1 - sender),
            near: device_socket(directory, wire, sender),
            direction: Mutex::new(Direction::new(SEED)),
        })
    }

    fn direction(&self) -> MutexGuard<'_, Direction> {
        self.direction.lock().expect("nobody panics with a wire")
    }

    /// Passes frames until `stop` is set.
    fn run(&self, stop: &AtomicBool) {
        let mut buffer = vec![0; LARGEST_FRAME];
        while !stop.load(Ordering::Relaxed) {
            match self.socket.recv(&mut buffer) {
                Ok(length) => {
                    let leaving = self.direction().take(&buffer[..length]);
                    self.deliver(leaving);
                }
                // Nothing came for a while.
                Err(_) => {
                    let leaving = self.direction().release();
                    self.deliver(leaving);
                }
            }
        }
    }

    fn deliver(&self, leaving: impl IntoIterator<Item = Delivery>) {
        for delivery in leaving {
            let (frame, device) = match &delivery {
                Delivery::On(frame) => (frame, &self.far),
                Delivery::Back(frame) => (frame, &self.near),
            };
            // A machine that is switched off takes no frames.
            let _ = self.socket.send_to(frame, device);
        }
    }
}

/// All wires between two machines. They end when this is dropped.
pub(crate) struct Relay {
    /// The directions of each wire, by the machine that sends.
    wires: Vec<[Arc<Link>; 2]>,
    threads: Vec<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Relay {
    /// Lays `count` wires, with their sockets in `directory`.
    pub(crate) fn start(directory: &Path, count: usize) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let mut relay = Relay { wires: Vec::new(), threads: Vec::new(), stop };
        for wire in 0..count {
            let one = Arc::new(Link::open(directory, wire, 0)?);
            let two = Arc::new(Link::open(directory, wire, 1)?);
            for link in [&one, &two] {
                let (link, stop) = (Arc::clone(link), Arc::clone(&relay.stop));
                relay.threads.push(std::thread::spawn(move || link.run(&stop)));
            }
            relay.wires.push([one, two]);
        }
        Ok(relay)
    }

    /// Ends all faults and starts all seeds anew.
    pub(crate) fn reset(&self) {
        for link in self.wires.iter().flatten() {
            *link.direction() = Direction::new(SEED);
        }
    }

    /// Obeys an order of a case, `WIRE one|two|both WORD...`; `one` are the frames that machine one
    /// sends. Returns the counts of each direction, separated by a semicolon.
    pub(crate) fn obey(&self, order: &str) -> Result<String> {
        let mut words = order.split_whitespace();
        let number = words.next().context("no number of a wire")?;
        let wire = number.parse().ok().and_then(|number: usize| self.wires.get(number));
        let wire = wire.with_context(|| format!("there is no wire {number}"))?;
        let links = match words.next() {
            Some("both") => &wire[..],
            Some("one") => &wire[..1],
            Some("two") => &wire[1..],
            _ => bail!("the sender is neither one nor two nor both"),
        };
        for word in words {
            for link in links {
                let leaving = link.direction().obey(word)?;
                link.deliver(leaving);
            }
        }
        let counts: Vec<_> = links.iter().map(|link| link.direction().counts()).collect();
        Ok(counts.join("; "))
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // A wire that panicked has ended, too.
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    /// The network device of a machine on wire 0, which is not connected, as QEMU's is not.
    struct Device {
        socket: UnixDatagram,
        wire: PathBuf,
    }

    impl Device {
        fn new(directory: &Path, machine: usize) -> Self {
            let socket = UnixDatagram::bind(device_socket(directory, 0, machine)).unwrap();
            socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
            Device { socket, wire: wire_socket(directory, 0, machine) }
        }

        fn send(&self, frame: &str) {
            self.socket.send_to(frame.as_bytes(), &self.wire).unwrap();
        }

        fn heard(&self) -> Option<String> {
            let mut buffer = [0; 100];
            let length = self.socket.recv(&mut buffer).ok()?;
            Some(String::from_utf8(buffer[..length].to_owned()).unwrap())
        }
    }

    fn lab() -> (TempDir, Relay, Device, Device) {
        let directory = tempfile::tempdir().unwrap();
        let relay = Relay::start(directory.path(), 1).unwrap();
        let (one, two) = (Device::new(directory.path(), 0), Device::new(directory.path(), 1));
        (directory, relay, one, two)
    }

    #[test]
    fn frames_pass_both_ways() {
        let (_directory, _relay, one, two) = lab();
        one.send("to two");
        two.send("to one");
        assert_eq!(two.heard().as_deref(), Some("to two"));
        assert_eq!(one.heard().as_deref(), Some("to one"));
    }

    #[test]
    fn a_direction_can_be_cut_while_frames_pass() {
        let (_directory, relay, one, two) = lab();
        relay.obey("0 one cut").unwrap();
        one.send("lost");
        two.send("passes");
        assert_eq!(one.heard().as_deref(), Some("passes"));
        while relay.obey("0 one count").unwrap().starts_with("frames 0 ") {
            std::thread::sleep(QUIET);
        }
        let counts = relay.obey("0 both rejoin").unwrap();
        assert!(counts.starts_with("frames 1 lost 1 ") && counts.contains("; frames 1 lost 0 "), "{counts}");
        one.send("again");
        assert_eq!(two.heard().as_deref(), Some("again"));
    }

    #[test]
    fn a_delayed_frame_follows_when_the_wire_is_quiet() {
        let (_directory, relay, one, two) = lab();
        relay.obey("0 one reorder=100").unwrap();
        one.send("late");
        assert_eq!(two.heard().as_deref(), Some("late"));
    }

    #[test]
    fn frames_for_a_machine_that_is_off_are_lost() {
        let (directory, _relay, one, two) = lab();
        drop(two);
        one.send("lost");
        std::fs::remove_file(device_socket(directory.path(), 0, 1)).unwrap();
        let two = Device::new(directory.path(), 1);
        one.send("heard");
        // The wire may have been late with the first frame.
        assert!(two.heard().is_some());
    }

    #[test]
    fn a_reset_ends_faults() {
        let (_directory, relay, one, two) = lab();
        relay.obey("0 both cut").unwrap();
        relay.reset();
        one.send("passes");
        assert_eq!(two.heard().as_deref(), Some("passes"));
    }

    #[test]
    fn bad_orders_are_refused() {
        let (_directory, relay, _one, _two) = lab();
        for order in ["", "0", "1 both cut", "x both cut", "0 three cut", "0 both los=5"] {
            assert!(relay.obey(order).is_err(), "{order}");
        }
    }
}
