//! Prints what the shipped module's hot paths cost, and compares it with the
//! record of this release.

use anyhow::Result;
use clap::Parser;
use pfsync_simulator::freebsd::kernel::module;
use pfsync_simulator::history::{self, Comparison};
use pfsync_simulator::hot_paths;

/// Counts instructions of pfsync.ko and its calls of the kernel, for each state, message or row; fails
/// when they are not as recorded
#[derive(Parser)]
struct Options {
    /// Make what is measured the record of this release
    #[arg(long)]
    record: bool,
    /// Say how many of them each of the module's functions executes
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
