// SPDX-License-Identifier: BSD-2-Clause
//! QEMU's command line.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result};

use crate::arch::Arch;
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

/// Where packages put the UEFI firmware for aarch64: QEMU's own, and those of Debian.
const FIRMWARE: [&str; 4] = [
    "/usr/share/qemu/edk2-aarch64-code.fd",
    "/usr/local/share/qemu/edk2-aarch64-code.fd",
    "/usr/share/qemu-efi-aarch64/QEMU_EFI.fd",
    "/usr/share/edk2/aarch64/QEMU_EFI.fd",
];

/// Starts QEMU with its console on pipes.
pub(crate) fn start(args: &Args, machine: &Machine) -> Result<Child> {
    command(args, machine)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .with_context(|| format!("cannot start {}", machine.system.qemu))
}

fn command(args: &Args, machine: &Machine) -> Command {
    let mut qemu = Command::new(machine.system.qemu);
    qemu.args(["-nographic", "-no-reboot", "-monitor", "none", "-accel", &args.accel]);
    add_board(&mut qemu, args, machine.system);
    qemu.args(["-smp", &args.cpus.to_string(), "-m", &args.memory]).args(["-device", "virtio-rng-pci"]);
    if args.count_instructions {
        // An idle guest does not sleep: its clock jumps to the next timer.
        qemu.args(["-icount", "shift=0,sleep=off"]);
    }
    add_ports(&mut qemu, machine);
    add_system(&mut qemu, machine);
    add_disk(&mut qemu, "payload", machine.payload, Some("raw"));
    add_wires(&mut qemu, machine);
    qemu
}

/// The board, its processor, and its firmware if it needs some to boot from a disk.
fn add_board(qemu: &mut Command, args: &Args, system: System) {
    match system.arch {
        Arch::Amd64 => {
            qemu.args(["-cpu", "max"]);
        }
        Arch::Aarch64 => {
            // Emulation of pointer authentication with the architecture's own cipher is slow.
            let cpu = if args.accel == "tcg" { "max,pauth-impdef=on" } else { "max" };
            qemu.args(["-M", "virt", "-cpu", cpu]);
            if system.image.is_some() {
                let installed = || FIRMWARE.iter().map(PathBuf::from).find(|file| file.is_file());
                // QEMU says what is missing if there is none.
                let firmware = args.firmware.clone().or_else(installed);
                qemu.arg("-bios").arg(firmware.unwrap_or_else(|| FIRMWARE[0].into()));
            }
        }
    }
}

/// The console on standard input and output, the second serial port on a socket.
fn add_ports(qemu: &mut Command, machine: &Machine) {
    let control = machine.control_socket();
    qemu.args(["-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console"])
        .arg("-chardev")
        .arg(format!("socket,id=control,path={}", control.display()));
    match machine.system.arch {
        Arch::Amd64 => qemu.args(["-serial", "chardev:control"]),
        // The board has one port. FreeBSD's driver takes a card that calls itself a 16450 (1) by
        // its class; it would take QEMU's default (2) only by a name that it does not know.
        Arch::Aarch64 => qemu.args(["-device", "pci-serial,chardev=control,prog_if=1"]),
    };
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
        // Without this word the kernel for aarch64 does not take the line for its own.
        let guard = if system.arch == Arch::Aarch64 { "FreeBSD: " } else { "" };
        qemu.arg("-kernel").arg(kernel).arg("-append").arg(format!("{guard}{}", variables.join(" ")));
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

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    /// QEMU's command line for a machine with one wire.
    fn line(number: usize, options: &[&str]) -> String {
        let args = Args::parse_from(["x"].iter().chain(options));
        let machine = Machine {
            number,
            system: args.system(number),
            wires: 1,
            variables: vec!["kern.hz=100".to_owned()],
            payload: Path::new("/p/payload.tar"),
            sockets: Path::new("/p"),
        };
        let command = command(&args, &machine);
        let words = [command.get_program()].into_iter().chain(command.get_args());
        words.map(|word| word.to_str().unwrap()).collect::<Vec<_>>().join(" ")
    }

    #[track_caller]
    fn must_have(line: &str, parts: &[&str]) {
        for part in parts {
            assert!(line.contains(part), "no `{part}` in {line}");
        }
    }

    #[test]
    fn amd64_has_two_serial_ports_and_takes_kernel_variables() {
        let line = line(0, &["--kernel", "k", "--root", "r.ufs"]);
        must_have(&line, &["qemu-system-x86_64 ", "-accel tcg -cpu max -smp 2", "-serial chardev:control"]);
        must_have(&line, &["-kernel k -append kern.hz=100 vfs.root.mountfrom=ufs:/dev/vtbd0 -drive"]);
        assert!(!line.contains("-M ") && !line.contains("-bios"), "{line}");
    }

    #[test]
    fn aarch64_has_a_second_port_on_a_card_and_a_word_before_the_variables() {
        let line = line(0, &["--arch", "aarch64", "--kernel", "k", "--root", "r.ufs"]);
        must_have(&line, &["qemu-system-aarch64 ", "-M virt -cpu max,pauth-impdef=on -smp 2"]);
        must_have(&line, &["-serial chardev:console", "-device pci-serial,chardev=control,prog_if=1"]);
        must_have(&line, &["-append FreeBSD: kern.hz=100 vfs.root.mountfrom=ufs:/dev/vtbd0 -drive"]);
        assert!(!line.contains("-serial chardev:control") && !line.contains("-bios"), "{line}");
    }

    #[test]
    fn a_disk_image_for_aarch64_boots_with_firmware() {
        let line =
            line(0, &["--arch", "aarch64", "--image", "i.raw", "--firmware", "f.fd", "--accel", "kvm"]);
        must_have(&line, &["-accel kvm -M virt -cpu max -bios f.fd", "file=i.raw,format=raw"]);
        assert!(!line.contains("-append"), "{line}");
    }

    #[test]
    fn machine_two_can_have_another_architecture() {
        let options = ["--kernel", "k", "--root", "r.ufs", "--peer-arch", "aarch64"];
        let peer = ["--peer-kernel", "k2", "--peer-root", "r2.ufs"];
        let options: Vec<_> = options.into_iter().chain(peer).collect();
        must_have(&line(0, &options), &["qemu-system-x86_64 ", "-kernel k ", "52:54:00:00:00:01"]);
        must_have(&line(1, &options), &["qemu-system-aarch64 ", "-kernel k2 ", "52:54:00:00:00:02"]);
    }
}
