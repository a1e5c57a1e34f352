// SPDX-License-Identifier: BSD-2-Clause
//! The command line, and the checks that precede the start of any guest.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{bail, Context, Result};
use clap::Parser;

use crate::arch::Arch;
use crate::guest::ROLES;

/// Runs the test cases of pfsync.ko in FreeBSD machines under QEMU.
#[derive(Parser, Debug)]
#[command(name = "pfsync-vm", version)]
pub(crate) struct Args {
    /// The architecture of the FreeBSD that boots, as `uname -p` prints it
    #[arg(long, value_enum, default_value_t = Arch::Amd64)]
    pub(crate) arch: Arch,

    /// A FreeBSD disk image that boots by itself (raw or qcow2); it is not changed
    #[arg(long, value_name = "DISK", conflicts_with_all = ["kernel", "root"])]
    pub(crate) image: Option<PathBuf>,

    /// A FreeBSD kernel that QEMU can start directly; needs --root
    #[arg(long, requires = "root")]
    pub(crate) kernel: Option<PathBuf>,

    /// A UFS root file system for --kernel (raw or qcow2); it is not changed
    #[arg(long, value_name = "ROOTFS", requires = "kernel")]
    pub(crate) root: Option<PathBuf>,

    /// The QEMU program [default: that of the architecture]
    #[arg(long)]
    pub(crate) qemu: Option<String>,

    /// UEFI firmware for --image with aarch64 [default: where QEMU's or Debian's packages have it]
    #[arg(long, value_name = "FILE")]
    pub(crate) firmware: Option<PathBuf>,

    /// The module under test
    #[arg(long, default_value = "pfsync.ko")]
    pub(crate) module: PathBuf,

    /// FreeBSD's own pfsync.ko, for the cases that compare the two
    #[arg(long, value_name = "STOCK.ko")]
    pub(crate) stock: Option<PathBuf>,

    /// The module under test is FreeBSD's own: checks the cases themselves
    #[arg(long)]
    pub(crate) reference: bool,

    /// Kernel modules that the image lacks (pf.ko, carp.ko, if_epair.ko ...)
    #[arg(long, value_name = "DIR")]
    pub(crate) modules: Option<PathBuf>,

    /// The architecture of another FreeBSD for machine two of the cases for two machines
    /// [default: that of --arch]
    #[arg(long, value_enum, value_name = "ARCH")]
    pub(crate) peer_arch: Option<Arch>,

    /// That FreeBSD: a disk image as for --image
    #[arg(long, value_name = "DISK", conflicts_with_all = ["peer_kernel", "peer_root"])]
    pub(crate) peer_image: Option<PathBuf>,

    /// The same as a kernel, as for --kernel; needs --peer-root
    #[arg(long, value_name = "KERNEL", requires = "peer_root")]
    pub(crate) peer_kernel: Option<PathBuf>,

    /// A UFS root file system for --peer-kernel
    #[arg(long, value_name = "ROOTFS", requires = "peer_kernel")]
    pub(crate) peer_root: Option<PathBuf>,

    /// The module under test, built for that FreeBSD
    #[arg(long, value_name = "MODULE")]
    pub(crate) peer_module: Option<PathBuf>,

    /// That FreeBSD's own pfsync.ko
    #[arg(long, value_name = "STOCK.ko")]
    pub(crate) peer_stock: Option<PathBuf>,

    /// Kernel modules that its image lacks
    #[arg(long, value_name = "DIR")]
    pub(crate) peer_modules: Option<PathBuf>,

    /// C compiler for its user programs, with options [default: that of --cc, if the architecture
    /// is the same]
    #[arg(long, env = "PEER_KERNEL_CC", value_name = "CC")]
    pub(crate) peer_cc: Option<String>,

    /// Cases to run, each by its name or by the name of its script [default: all]
    #[arg(long = "case", value_name = "NAME", num_args = 1..)]
    pub(crate) cases: Vec<String>,

    /// Set a parameter of the cases, such as seconds=3600; overrides what a case would choose
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting)]
    pub(crate) settings: Vec<String>,

    /// List the cases and stop
    #[arg(long)]
    pub(crate) list: bool,

    /// Processors of a guest
    #[arg(long, default_value_t = 2)]
    pub(crate) cpus: u32,

    /// Memory of a guest
    #[arg(long, default_value = "2G")]
    pub(crate) memory: String,

    /// kern.hz of the guests, unless a case asks for another
    #[arg(long)]
    pub(crate) hz: Option<u32>,

    /// Where console logs and the output of cases go [default: target/vm]
    #[arg(long, value_name = "DIR")]
    pub(crate) keep_logs: Option<PathBuf>,

    /// Limit for one case, in seconds [default: the case's own, or 600]
    #[arg(long, value_name = "SECS")]
    pub(crate) timeout: Option<u64>,

    /// Limit for a guest to boot, in seconds
    #[arg(long, value_name = "SECS", default_value_t = 600)]
    pub(crate) boot_timeout: u64,

    /// QEMU accelerator: tcg works everywhere, kvm is faster where it works
    #[arg(long, default_value = "tcg")]
    pub(crate) accel: String,

    /// Let the guests' clocks count instructions, a nanosecond for each on any processor, so that
    /// measurements do not depend on the load of this machine (tcg only)
    #[arg(long)]
    pub(crate) count_instructions: bool,

    /// C compiler for FreeBSD user programs, with its options [default: zig cc -target
    /// x86_64-freebsd.14.2, or the same for aarch64]
    #[arg(long, env = "KERNEL_CC")]
    pub(crate) cc: Option<String>,

    /// Show what the guests write meanwhile
    #[arg(long, short)]
    pub(crate) verbose: bool,

    /// The directory with lib.sh, cases and guest programs
    #[arg(long, value_name = "DIR", default_value = env!("CARGO_MANIFEST_DIR"), hide = true)]
    pub(crate) tests_dir: PathBuf,
}

/// A shell in the guest reads the settings as words.
fn setting(text: &str) -> Result<String, String> {
    let plain = |word: &str| word.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() && plain(name) && plain(value) => Ok(text.to_owned()),
        _ => Err("must be NAME=VALUE, of letters, digits and underscores".to_owned()),
    }
}

const NO_SYSTEM: &str = "no FreeBSD given: use --image DISK, or --kernel KERNEL with --root ROOTFS.
A disk image can be had from https://download.freebsd.org/releases/VM-IMAGES/ \
(raw or qcow2; unpack it with xz -d first)";

/// The FreeBSD that a machine boots, and what is meant for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct System<'a> {
    pub(crate) arch: Arch,
    pub(crate) qemu: &'a str,
    pub(crate) image: Option<&'a Path>,
    pub(crate) kernel: Option<&'a Path>,
    pub(crate) root: Option<&'a Path>,
    pub(crate) module: &'a Path,
    pub(crate) stock: Option<&'a Path>,
    pub(crate) modules: Option<&'a Path>,
    pub(crate) cc: &'a str,
}

impl Args {
    /// Whether machine two has a FreeBSD of its own.
    pub(crate) fn has_peer_system(&self) -> bool {
        self.peer_image.is_some() || self.peer_kernel.is_some()
    }

    /// What a machine boots: 0 is machine one, 1 machine two.
    pub(crate) fn system(&self, machine: usize) -> System<'_> {
        if machine == 0 || !self.has_peer_system() {
            return System {
                arch: self.arch,
                qemu: self.qemu.as_deref().unwrap_or(self.arch.qemu()),
                image: self.image.as_deref(),
                kernel: self.kernel.as_deref(),
                root: self.root.as_deref(),
                module: &self.module,
                stock: self.stock.as_deref(),
                modules: self.modules.as_deref(),
                cc: self.cc.as_deref().unwrap_or(self.arch.cc()),
            };
        }
        let arch = self.peer_arch.unwrap_or(self.arch);
        // What was given for machine one fits machine two if it has the same architecture.
        let (qemu, cc) = if arch == self.arch { (&self.qemu, &self.cc) } else { (&None, &None) };
        System {
            arch,
            qemu: qemu.as_deref().unwrap_or(arch.qemu()),
            image: self.peer_image.as_deref(),
            kernel: self.peer_kernel.as_deref(),
            root: self.peer_root.as_deref(),
            module: self.peer_module.as_deref().unwrap_or(&self.module),
            stock: self.peer_stock.as_deref(),
            modules: self.peer_modules.as_deref(),
            cc: self.peer_cc.as_deref().or(cc.as_deref()).unwrap_or(arch.cc()),
        }
    }

    /// Fails with a message that says what to do if something is missing.
    pub(crate) fn check(&self) -> Result<()> {
        let files = [("--image", &self.image), ("--kernel", &self.kernel), ("--root", &self.root)];
        if files.iter().all(|(_, file)| file.is_none()) {
            bail!(NO_SYSTEM);
        }
        for (option, file) in files {
            if let Some(file) = file {
                must_be_file(file).with_context(|| format!("{option} {}", file.display()))?;
            }
        }
        must_be_file(&self.module).with_context(|| {
            format!("module {}: build it with `make`, or name it with --module", self.module.display())
        })?;
        if let Some(stock) = &self.stock {
            must_be_file(stock).with_context(|| format!("--stock {}", stock.display()))?;
        }
        self.check_peer()?;
        for machine in 0..ROLES.len() {
            self.system(machine).check()?;
        }
        Ok(())
    }

    fn check_peer(&self) -> Result<()> {
        let files = [
            ("--peer-image", &self.peer_image),
            ("--peer-kernel", &self.peer_kernel),
            ("--peer-root", &self.peer_root),
            ("--peer-module", &self.peer_module),
            ("--peer-stock", &self.peer_stock),
        ];
        for (option, file) in files {
            if let Some(file) = file {
                must_be_file(file).with_context(|| format!("{option} {}", file.display()))?;
            }
        }
        if self.has_peer_system() && self.peer_module.is_none() {
            bail!("a second FreeBSD needs a module that was built for it: --peer-module");
        }
        if self.peer_arch.is_some() && !self.has_peer_system() {
            bail!("--peer-arch is the architecture of --peer-image, or of --peer-kernel with --peer-root");
        }
        Ok(())
    }

    /// The directory for logs and for compiled guest programs.
    pub(crate) fn log_dir(&self) -> PathBuf {
        self.keep_logs.clone().unwrap_or_else(|| {
            let target = std::env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into());
            PathBuf::from(target).join("vm")
        })
    }

    /// How long a case may take whose script asks for `own`, if for anything.
    pub(crate) fn limit(&self, own: Option<Duration>) -> Duration {
        self.timeout.map(Duration::from_secs).or(own).unwrap_or(Duration::from_secs(600))
    }
}

impl System<'_> {
    /// Fails if its QEMU is not installed or a module is for another architecture.
    fn check(&self) -> Result<()> {
        for module in [Some(self.module), self.stock].into_iter().flatten() {
            if let Some(other) = Arch::of_elf(module)?.filter(|arch| *arch != self.arch) {
                bail!("{} is for {other}, and not for {}", module.display(), self.arch);
            }
        }
        if find_program(self.qemu).is_none() {
            let package = self.arch.qemu_package();
            bail!(
                "{} not found: install QEMU (Debian, Ubuntu: apt install {package}; \
                 Fedora: dnf install {}; FreeBSD: pkg install qemu), or name it with --qemu",
                self.qemu,
                self.arch.qemu(),
            );
        }
        Ok(())
    }
}

fn must_be_file(path: &Path) -> Result<()> {
    let meta = std::fs::metadata(path).context("cannot be read")?;
    if meta.is_dir() {
        bail!("is a directory");
    }
    Ok(())
}

/// Where a program is: the path itself, or the first match in `PATH`.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = Path::new(name);
    if path.components().count() > 1 {
        return path.is_file().then(|| path.to_owned());
    }
    let dirs = std::env::var_os("PATH")?;
    std::env::split_paths(&dirs).map(|dir| dir.join(name)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(options: &[&str]) -> Args {
        let options = options.iter().copied();
        Args::parse_from(["x", "--kernel", "k", "--root", "r", "--cc", "cc-one"].into_iter().chain(options))
    }

    const PEER: [&str; 4] = ["--peer-kernel", "k2", "--peer-root", "r2"];

    #[test]
    fn both_machines_are_amd64_unless_told_otherwise() {
        let args = parse(&PEER);
        for machine in [0, 1] {
            let system = args.system(machine);
            assert_eq!((system.arch, system.qemu), (Arch::Amd64, "qemu-system-x86_64"));
            assert_eq!(system.cc, "cc-one");
        }
    }

    #[test]
    fn the_architecture_of_machine_one_is_that_of_both() {
        let args = parse(&["--arch", "aarch64", "--qemu", "my-qemu"]);
        for machine in [0, 1] {
            let system = args.system(machine);
            assert_eq!((system.arch, system.qemu, system.cc), (Arch::Aarch64, "my-qemu", "cc-one"));
        }
    }

    #[test]
    fn a_peer_of_another_architecture_has_its_own_qemu_and_compiler() {
        let mut options = vec!["--peer-arch", "aarch64", "--qemu", "my-qemu"];
        options.extend(PEER);
        let args = parse(&options);
        assert_eq!((args.system(0).arch, args.system(0).qemu), (Arch::Amd64, "my-qemu"));
        let peer = args.system(1);
        assert_eq!((peer.arch, peer.qemu), (Arch::Aarch64, "qemu-system-aarch64"));
        assert!(peer.cc.contains("aarch64"), "{}", peer.cc);
    }
}
