// SPDX-License-Identifier: BSD-2-Clause
//! The architectures of guests, and the programs that each needs here.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use clap::ValueEnum;

/// The architecture of a guest, by the name that `uname -p` prints.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arch {
    Amd64,
    Aarch64,
}

impl Arch {
    pub(crate) fn qemu(self) -> &'static str {
        match self {
            Arch::Amd64 => "qemu-system-x86_64",
            Arch::Aarch64 => "qemu-system-aarch64",
        }
    }

    /// The package of Debian that has its QEMU.
    pub(crate) fn qemu_package(self) -> &'static str {
        match self {
            Arch::Amd64 => "qemu-system-x86",
            Arch::Aarch64 => "qemu-system-arm",
        }
    }

    /// A compiler for its user programs.
    pub(crate) fn cc(self) -> &'static str {
        match self {
            Arch::Amd64 => "zig cc -target x86_64-freebsd.14.2",
            Arch::Aarch64 => "zig cc -target aarch64-freebsd.14.2",
        }
    }

    /// kern.hz of a guest, if FreeBSD would choose more than it does for other virtual machines.
    ///
    /// FreeBSD takes 100 in a virtual machine that it recognises as one, else 1,000. It does not
    /// recognise QEMU's `virt`, and emulated timers are costly.
    pub(crate) fn hz(self) -> Option<u32> {
        match self {
            Arch::Amd64 => None,
            Arch::Aarch64 => Some(100),
        }
    }

    /// The architecture that an ELF file is for; none if it is for another or is no such file.
    pub(crate) fn of_elf(file: &Path) -> Result<Option<Arch>> {
        let mut header = Vec::new();
        let input = File::open(file).with_context(|| format!("{}", file.display()))?;
        input.take(20).read_to_end(&mut header).with_context(|| format!("{}", file.display()))?;
        if header.len() < 20 || !header.starts_with(b"\x7fELF") {
            return Ok(None);
        }
        // e_machine, in the byte order of both.
        Ok(match u16::from_le_bytes([header[18], header[19]]) {
            62 => Some(Arch::Amd64),
            183 => Some(Arch::Aarch64),
            _ => None,
        })
    }
}

impl std::fmt::Display for Arch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Arch::Amd64 => "amd64",
            Arch::Aarch64 => "aarch64",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_elf_file_says_its_architecture() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("some.ko");
        let mut header = b"\x7fELF\x02\x01\x01\x09".to_vec();
        header.resize(18, 0);
        for (machine, arch) in [(62, Some(Arch::Amd64)), (183, Some(Arch::Aarch64)), (21, None)] {
            header.truncate(18);
            header.extend([machine, 0]);
            std::fs::write(&file, &header).unwrap();
            assert_eq!(Arch::of_elf(&file).unwrap(), arch);
        }
        std::fs::write(&file, "text").unwrap();
        assert_eq!(Arch::of_elf(&file).unwrap(), None);
    }
}
