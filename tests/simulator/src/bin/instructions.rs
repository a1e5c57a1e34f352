// SPDX-License-Identifier: BSD-2-Clause
//! Prints what the hot paths of pfsync.ko cost, and compares it with the record of
//! this release.

use anyhow::Result;
use clap::Parser;
use pfsync_simulator::freebsd::kernel::module;
use pfsync_simulator::history::{self, Comparison};
use pfsync_simulator::hot_paths;

/// Counts the instructions of pfsync.ko and its calls of the kernel, for each state, message or row.
/// Fails if they differ from the record
#[derive(Parser)]
struct Options {
    /// Record what is measured for this release
    #[arg(long)]
    record: bool,
    /// Print the instructions of each function of the module
    #[arg(long)]
    functions: bool,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let compiler = history::compiler(&std::fs::read(module::path())?)?;
    let costs = hot_paths::measure()?;
    let entries = history::read()?;
    let comparison = Comparison::new(&costs, &entries);
    print!("{comparison}");
    for cost in costs.iter().filter(|_| options.functions) {
        println!("\n{}", cost.path);
        let functions = cost.functions.iter().filter(|(_, instructions)| *instructions > 0);
        functions.for_each(|(name, instructions)| println!("{instructions:12} {name}"));
    }
    if options.record {
        return history::write(&costs, &compiler);
    }
    comparison.check(&compiler)
}
