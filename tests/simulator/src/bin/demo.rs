// SPDX-License-Identifier: BSD-2-Clause
//! Two firewalls at work, and the crash of one of them.

use anyhow::Result;
use clap::Parser;
use pfsync_simulator::demo::{run, Show, View};
use std::path::PathBuf;

/// Shows pfsync.ko at work in two simulated FreeBSD kernels
#[derive(Parser)]
struct Options {
    /// How many connections open
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    states: u32,
    /// The share of packets between the firewalls that are lost, 0 to 0.3
    #[arg(long, default_value_t = 0.0, value_parser = loss)]
    loss: f64,
    /// A number that decides everything that is random
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The directory for captures
    #[arg(long, value_name = "DIR", default_value = "target/demo")]
    pcap: PathBuf,
}

fn loss(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(loss) if (0.0..=0.3).contains(&loss) => Ok(loss),
        _ => Err("a number from 0 to 0.3 is needed".to_string()),
    }
}

fn main() -> Result<()> {
    let options = Options::parse();
    let show =
        Show { states: options.states, loss: options.loss, seed: options.seed, captures: options.pcap };
    run(show, View::new())
}
