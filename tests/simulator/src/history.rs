// SPDX-License-Identifier: BSD-2-Clause
//! The record of what the hot paths cost in each release.

use crate::hot_paths::Cost;
use anyhow::{ensure, Context, Result};
use object::{Object, ObjectSection};
use serde::{Deserialize, Serialize};
use std::fmt::{self, Display};
use std::path::PathBuf;

/// One line of the record.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Entry {
    /// The release of the module.
    pub release: String,
    /// The compiler that it was built with.
    pub compiler: String,
    /// The name of the hot path.
    pub path: String,
    /// How many instructions of the module it takes.
    pub instructions: u64,
    /// How many functions of the kernel it calls.
    pub kernel_calls: u64,
}

/// The release of this source.
pub const RELEASE: &str = env!("CARGO_PKG_VERSION");

/// By how much a path may differ from its record, so that a change by a few
/// instructions does not need a new record.
const TOLERANCE: f64 = 0.10;

/// The file of the record.
fn file() -> PathBuf {
    concat!(env!("CARGO_MANIFEST_DIR"), "/history.csv").into()
}

/// Reads the record.
pub fn read() -> Result<Vec<Entry>> {
    let path = file();
    let mut reader = csv::Reader::from_path(&path).with_context(|| path.display().to_string())?;
    Ok(reader.deserialize().collect::<Result<_, _>>()?)
}

/// Records what was measured for this release.
pub fn write(costs: &[Cost], compiler: &str) -> Result<()> {
    let mut entries = read()?;
    entries.retain(|entry| entry.release != RELEASE);
    entries.extend(costs.iter().map(|cost| Entry {
        release: RELEASE.to_string(),
        compiler: compiler.to_string(),
        path: cost.path.to_string(),
        instructions: cost.instructions,
        kernel_calls: cost.calls,
    }));
    let mut writer = csv::Writer::from_path(file())?;
    entries.iter().try_for_each(|entry| writer.serialize(entry))?;
    Ok(writer.flush()?)
}

/// Name and version of the compiler that a module was built with, as the module says.
pub fn compiler(module: &[u8]) -> Result<String> {
    let file = object::File::parse(module)?;
    let section = file.section_by_name(".comment").context("the module does not name its compiler")?;
    let text = String::from_utf8_lossy(section.data()?).into_owned();
    let said = text.split('\0').find(|said| said.starts_with("rustc")).context("not compiled by rustc")?;
    Ok(said.split_whitespace().take(3).collect::<Vec<_>>().join(" "))
}

/// What was measured, beside what is recorded for this release.
pub struct Comparison<'a> {
    costs: &'a [Cost],
    recorded: Vec<&'a Entry>,
}

impl<'a> Comparison<'a> {
    /// Compares what was measured with the whole record.
    pub fn new(costs: &'a [Cost], entries: &'a [Entry]) -> Comparison<'a> {
        Comparison { costs, recorded: entries.iter().filter(|entry| entry.release == RELEASE).collect() }
    }

    fn recorded(&self, cost: &Cost) -> Option<&Entry> {
        self.recorded.iter().find(|entry| entry.path == cost.path).copied()
    }

    /// The change of a path's instructions, relative to the record.
    fn change(&self, cost: &Cost) -> Option<f64> {
        let recorded = self.recorded(cost)?.instructions as f64;
        Some((cost.instructions as f64 - recorded) / recorded)
    }

    /// Fails if a path differs from the record by more than a tenth. The code of
    /// another compiler is not compared, so that an update of Debian does not fail
    /// the build.
    pub fn check(&self, compiler: &str) -> Result<()> {
        if self.recorded.iter().any(|entry| entry.compiler != compiler) {
            println!("recorded with {}, built with {compiler}: not compared", self.recorded[0].compiler);
            return Ok(());
        }
        let moved = |cost: &&Cost| self.change(cost).is_none_or(|change| change.abs() > TOLERANCE);
        let moved: Vec<_> = self.costs.iter().filter(moved).map(|cost| cost.path).collect();
        ensure!(
            moved.is_empty(),
            "{}: not as recorded in {}; `make bench` records what is measured",
            moved.join(", "),
            file().display()
        );
        Ok(())
    }
}

impl Display for Comparison<'_> {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        writeln!(
            f,
            "{:32} {:>12} {:>12} {:>9} {:>7}",
            "", "instructions", "kernel calls", "recorded", "change"
        )?;
        for cost in self.costs {
            let recorded = self.recorded(cost).map_or("none".into(), |entry| entry.instructions.to_string());
            let change = self.change(cost).map_or(String::new(), |change| format!("{:+.1}%", 100.0 * change));
            let Cost { path, instructions, calls, .. } = cost;
            writeln!(f, "{path:32} {instructions:12} {calls:12} {recorded:>9} {change:>7}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(release: &str, instructions: u64) -> Entry {
        let (compiler, path) = ("rustc 1".to_string(), "insert hook".to_string());
        Entry { release: release.to_string(), compiler, path, instructions, kernel_calls: 2 }
    }

    fn passes(measured: u64, entries: &[Entry], compiler: &str) -> bool {
        let costs = [Cost { path: "insert hook", instructions: measured, calls: 2, functions: Vec::new() }];
        Comparison::new(&costs, entries).check(compiler).is_ok()
    }

    #[test]
    fn a_tenth_more_or_less_passes() {
        let entries = [entry(RELEASE, 1000)];
        assert!(passes(1100, &entries, "rustc 1") && passes(900, &entries, "rustc 1"));
        assert!(!passes(1101, &entries, "rustc 1") && !passes(899, &entries, "rustc 1"));
    }

    #[test]
    fn a_release_needs_a_record_of_its_own() {
        assert!(!passes(1000, &[entry("0.0.1", 1000)], "rustc 1"));
        assert!(!passes(1000, &[], "rustc 1"));
    }

    #[test]
    fn another_compiler_is_not_compared() {
        assert!(passes(5000, &[entry(RELEASE, 1000)], "rustc 2"));
    }

    #[test]
    fn the_record_can_be_read() {
        assert!(read().expect("readable").iter().any(|entry| entry.release == RELEASE));
    }
}
