// SPDX-License-Identifier: BSD-2-Clause
//! Writes the seeds of a target into a directory, libFuzzer's corpus.

use anyhow::{Context, Result};
use pfsync_fuzz::TARGETS;
use std::path::PathBuf;

fn main() -> Result<()> {
    let mut args = std::env::args_os().skip(1);
    let (Some(name), Some(directory)) = (args.next(), args.next().map(PathBuf::from)) else {
        anyhow::bail!("usage: seeds target directory");
    };
    let target = TARGETS.iter().find(|target| name == target.name).context("no such target")?;
    std::fs::create_dir_all(&directory)?;
    for (number, seed) in (target.seeds)()?.into_iter().enumerate() {
        std::fs::write(directory.join(format!("capture-{number:03}")), seed)?;
    }
    Ok(())
}
