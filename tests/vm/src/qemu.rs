// SPDX-License-Identifier: BSD-2-Clause
//! QEMU's command line.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::cli::{Args, System};
use crate::relay::{device_socket, wire_socket};

/// What distinguishes one guest from another.
pub(crate) struct Machine<'a> {
    pub(crate) number: usize,
    pub(crate) system: System<'a>,
    /// How many virtual wires join it to the other machine.
    pub(crate) wires: usize,
    /// Kernel variables, for a kernel that is started without a loader.
    pub(crate) variables: Vec<String>,
    /// The raw disk that holds the tar archive for the guest.
    pub(crate) payload: &'a Path,
    /// Directory for the sockets of the second serial port and of the wires.
    pub(crate) sockets: &'a Path,
}

impl Machine<'_> {
    /// The socket on which the harness waits for the guest's second serial port.
    pub(crate) fn control_socket(&self) -> PathBuf {
        self.sockets.join(format!("control{}", self.number))
    }
}

/// Starts QEMU with its console on pipes.
pub(crate) fn start(args: &Args, machine: &Machine) -> Result<Child> {
    let mut qemu = Command::new(&args.qemu);
    qemu.args(["-nographic", "-no-reboot", "-monitor", "none"])
        .args(["-accel", &args.accel, "-cpu", "max"])
        .args(["-smp", &args.cpus.to_string(), "-m", &args.memory])
        .args(["-device", "virtio-rng-pci"]);
    if args.count_instructions {
        // An idle guest does not sleep: its clock jumps to the next timer.
        qemu.args(["-icount", "shift=0,sleep=off"]);
    }
    add_ports(&mut qemu, machine);
    add_system(&mut qemu, machine);
    add_disk(&mut qemu, "payload", machine.payload, Some("raw"));
    add_wires(&mut qemu, machine);
    qemu.stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .with_context(|| format!("cannot start {}", args.qemu))
}

/// The console on standard input and output, the second serial port on a socket.
fn add_ports(qemu: &mut Command, machine: &Machine) {
    let control = machine.control_socket();
    qemu.args(["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"])
        .arg("-chardev")
        .arg(format!("socket,id=control,path={}", control.display()))
        .args(["-serial", "chardev:control"]);
}

/// The disk or the kernel that the guest boots from.
fn add_system(qemu: &mut Command, machine: &Machine) {
    let system = machine.system;
    if let Some(image) = system.image {
        add_disk(qemu, "system", image, format_of(image));
    }
    if let (Some(kernel), Some(root)) = (system.kernel, system.root) {
        let mut variables = machine.variables.clone();
        variables.push("vfs.root.mountfrom=ufs:/dev/vtbd0".to_owned());
        qemu.arg("-kernel").arg(kernel).args(["-append", &variables.join(" ")]);
        add_disk(qemu, "system", root, format_of(root));
    }
}

/// A disk whose changes are discarded when QEMU ends.
fn add_disk(qemu: &mut Command, id: &str, file: &Path, format: Option<&str>) {
    let mut drive = format!("id={id},if=none,snapshot=on,file={}", file.display());
    if let Some(format) = format {
        drive.push_str(",format=");
        drive.push_str(format);
    }
    qemu.args(["-drive", &drive, "-device", &format!("virtio-blk-pci,drive={id}")]);
}

/// The format of a disk image, if its name tells; QEMU detects the others.
fn format_of(image: &Path) -> Option<&'static str> {
    match image.extension()?.to_str()? {
        "raw" | "img" | "ufs" => Some("raw"),
        "qcow2" => Some("qcow2"),
        _ => None,
    }
}

/// Network cards `vtnet0`, `vtnet1` ..., each on a wire of its own to the other machine.
fn add_wires(qemu: &mut Command, machine: &Machine) {
    if machine.wires == 0 {
        qemu.args(["-nic", "none"]);
    }
    for wire in 0..machine.wires {
        qemu.arg("-netdev").arg(format!(
            "dgram,id=wire{wire},local.type=unix,local.path={},remote.type=unix,remote.path={}",
            device_socket(machine.sockets, wire, machine.number).display(),
            wire_socket(machine.sockets, wire, machine.number).display(),
        ));
        let last = machine.number + 1;
        qemu.arg("-device")
            .arg(format!("virtio-net-pci,netdev=wire{wire},mac=52:54:00:00:{wire:02x}:{last:02x}"));
    }
}
