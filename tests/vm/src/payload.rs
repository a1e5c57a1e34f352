// SPDX-License-Identifier: BSD-2-Clause
//! The payload: a raw disk with a tar archive for the guest.

use std::fs::File;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::cli::{Args, System};
use crate::directory::files;

/// Files of share/ that `make install` installs and cases use, and their names in /tmp/vm.
const INSTALLED: [(&str, &str); 3] = [
    ("man/pfsync.4", "pfsync.4"),
    ("sbin/pfsync-status", "pfsync-status"),
    ("rc.d/pfsync_key", "pfsync_key"),
];

type Archive = tar::Builder<File>;

/// Writes the archive with scripts, modules and guest programs for a machine that boots `system`.
/// The guest unpacks it in /tmp/vm.
pub(crate) fn write(disk: &Path, args: &Args, system: System, programs: &[PathBuf]) -> Result<()> {
    let mut archive = tar::Builder::new(File::create(disk)?);
    for script in ["agent.sh", "lib.sh", "carp.sh", "machines.sh", "memory.sh"] {
        add(&mut archive, &args.tests_dir.join(script), script)?;
    }
    for (file, name) in INSTALLED {
        add(&mut archive, &args.tests_dir.join("../../share").join(file), name)?;
    }
    add_directory(&mut archive, &args.tests_dir.join("cases"), "cases", "sh")?;
    add(&mut archive, system.module, "pfsync.ko")?;
    if let Some(stock) = system.stock {
        add(&mut archive, stock, "stock/pfsync.ko")?;
    }
    if let Some(modules) = system.modules {
        add_directory(&mut archive, modules, "modules", "ko")?;
    }
    for program in programs {
        let name = program.file_name().unwrap_or_default().to_string_lossy();
        add(&mut archive, program, &format!("bin/{name}"))?;
    }
    archive.into_inner()?;
    Ok(())
}

/// Adds the files of a directory that have the given extension.
///
/// A pfsync.ko among the image's modules is left out, because it could be
/// mistaken for the module under test.
fn add_directory(archive: &mut Archive, directory: &Path, name: &str, extension: &str) -> Result<()> {
    for path in files(directory, extension)? {
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        if file != "pfsync.ko" {
            add(archive, &path, &format!("{name}/{file}"))?;
        }
    }
    Ok(())
}

fn add(archive: &mut Archive, file: &Path, name: &str) -> Result<()> {
    let mut input = File::open(file).with_context(|| format!("{}", file.display()))?;
    let mut header = tar::Header::new_ustar();
    header.set_size(input.metadata()?.len());
    header.set_mode(0o755);
    header.set_mtime(0);
    archive
        .append_data(&mut header, name, &mut input)
        .with_context(|| format!("cannot pack {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[test]
    fn the_archive_fits_a_disk_and_names_the_module() {
        let dir = tempfile::tempdir().unwrap();
        let module = dir.path().join("my.ko");
        std::fs::write(&module, "module").unwrap();
        let module = module.to_str().unwrap();
        let args = Args::parse_from(["x", "--image", "i", "--module", module]);
        let disk = dir.path().join("disk");
        write(&disk, &args, args.system(0), &[]).unwrap();
        assert_eq!(std::fs::metadata(&disk).unwrap().len() % 512, 0);
        let mut archive = tar::Archive::new(File::open(&disk).unwrap());
        let names: Vec<_> =
            archive.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into_owned()).collect();
        assert!(names.contains(&PathBuf::from("pfsync.ko")));
        assert!(names.contains(&PathBuf::from("lib.sh")));
        assert!(names.contains(&PathBuf::from("pfsync.4")));
        assert!(names.contains(&PathBuf::from("machines.sh")));
    }
}
