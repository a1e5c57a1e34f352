// SPDX-License-Identifier: BSD-2-Clause
//! Small programs for the guest, compiled from C when a case needs them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{bail, Context, Result};

use crate::cli::{Args, System};
use crate::directory::files;
use crate::guest::ROLES;

/// The programs for each machine.
pub(crate) type Programs = [Vec<PathBuf>; ROLES.len()];

/// Compiles the programs of tests/vm/guest, twice if machine two has a FreeBSD of its own.
pub(crate) fn build_all(args: &Args) -> Result<Programs> {
    let one = build(args, args.system(0), "guest")?;
    let two = if args.has_peer_system() { build(args, args.system(1), "guest-peer")? } else { one.clone() };
    Ok([one, two])
}

/// Compiles each program that is older than its source or than a header into a directory, which
/// each architecture has for itself, and returns all of them.
fn build(args: &Args, system: System, output: &str) -> Result<Vec<PathBuf>> {
    let output = args.log_dir().join(format!("{output}-{}", system.arch));
    std::fs::create_dir_all(&output)?;
    let directory = args.tests_dir.join("guest");
    let headers = files(&directory, "h")?;
    let mut programs = Vec::new();
    for source in files(&directory, "c")? {
        let program = output.join(source.file_stem().unwrap_or_default());
        if headers.iter().chain([&source]).any(|file| is_older(&program, file)) {
            compile(system.cc, &source, &program)?;
        }
        programs.push(program);
    }
    Ok(programs)
}

fn is_older(program: &Path, source: &Path) -> bool {
    let changed = |path| -> std::io::Result<SystemTime> { std::fs::metadata(path)?.modified() };
    match (changed(program), changed(source)) {
        (Ok(program), Ok(source)) => program < source,
        _ => true,
    }
}

fn compile(compiler: &str, source: &Path, program: &Path) -> Result<()> {
    let mut words = compiler.split_whitespace();
    let name = words.next().context("--cc is empty")?;
    let run = Command::new(name)
        .args(words)
        .args(["-O2", "-Wall", "-Wextra", "-Werror", "-o"])
        .args([program, source])
        .output()
        .with_context(|| {
            format!("{name} cannot be started; set --cc or KERNEL_CC to a compiler for FreeBSD")
        })?;
    if !run.status.success() {
        bail!("{} does not compile:\n{}", source.display(), String::from_utf8_lossy(&run.stderr));
    }
    Ok(())
}
