// SPDX-License-Identifier: BSD-2-Clause
//! Prints what the hot paths of pfsync.ko cost, and compares it with the record of
//! this release.

use anyhow::Result;
use clap::{Parser, ValueEnum};
use pfsync_simulator::freebsd::kernel::module;
use pfsync_simulator::history::{self, Comparison};
use pfsync_simulator::hot_paths::{self, Cost, Numbers};

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
    /// Measure messages only, with or without numbers, and compare nothing
    #[arg(long, value_name = "off|on|keyed", conflicts_with = "record")]
    numbers: Option<Mode>,
    /// How many messages of each kind to send, with --numbers
    #[arg(long, default_value_t = hot_paths::MANY, requires = "numbers")]
    messages: usize,
}

#[derive(Clone, Copy, ValueEnum)]
enum Mode {
    Off,
    On,
    Keyed,
}

impl From<Mode> for Numbers {
    fn from(mode: Mode) -> Numbers {
        match mode {
            Mode::Off => Numbers::Off,
            Mode::On => Numbers::On,
            Mode::Keyed => Numbers::Keyed,
        }
    }
}

/// Prints what the messages cost.
fn print_messages(options: &Options, mode: Mode) -> Result<()> {
    let costs = hot_paths::messages(mode.into(), options.messages)?;
    costs.iter().for_each(|cost| println!("{:30} {:8} {:4}", cost.path, cost.instructions, cost.calls));
    print_functions(options, &costs);
    Ok(())
}

/// Prints the instructions of each function, if that is asked for.
fn print_functions(options: &Options, costs: &[Cost]) {
    for cost in costs.iter().filter(|_| options.functions) {
        println!("\n{}", cost.path);
        let functions = cost.functions.iter().filter(|(_, instructions)| *instructions > 0);
        functions.for_each(|(name, instructions)| println!("{instructions:12} {name}"));
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    if let Some(mode) = options.numbers {
        return print_messages(&options, mode);
    }
    let compiler = history::compiler(&std::fs::read(module::path())?)?;
    let costs = hot_paths::measure()?;
    let entries = history::read()?;
    let comparison = Comparison::new(&costs, &entries);
    print!("{comparison}");
    print_functions(&options, &costs);
    if options.record {
        return history::write(&costs, &compiler);
    }
    comparison.check(&compiler)
}
