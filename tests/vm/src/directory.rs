// SPDX-License-Identifier: BSD-2-Clause
//! Files of a directory.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The files that have the given extension, in the order of their names.
pub(crate) fn files(directory: &Path, extension: &str) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory).with_context(|| directory.display().to_string())?;
    let files = entries.map(|entry| entry.map(|entry| entry.path()));
    let mut files = files.collect::<std::io::Result<Vec<_>>>()?;
    files.retain(|file| file.extension().is_some_and(|ext| ext == extension));
    files.sort();
    Ok(files)
}
