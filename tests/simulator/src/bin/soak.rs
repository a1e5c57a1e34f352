// SPDX-License-Identifier: BSD-2-Clause
//! Runs random simulations, or repeats one.

use anyhow::Result;
use clap::Parser;
use pfsync_simulator::sim::{run, Plan};
use std::time::{Duration, Instant};

/// Simulates firewalls under faults, seed after seed, until a simulation fails
#[derive(Parser)]
struct Options {
    /// Run only this seed
    #[arg(long)]
    seed: Option<u64>,
    /// The first seed
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// The distance from one seed to the next; in odd seeds, firewalls number their frames
    #[arg(long, default_value_t = 1)]
    stride: u64,
    /// How many seeds to run at most
    #[arg(long, default_value_t = u64::MAX)]
    seeds: u64,
    /// How many minutes to run at most
    #[arg(long, default_value_t = 10)]
    minutes: u64,
    /// How many things happen in each simulation before the faults stop
    #[arg(long, default_value_t = 600)]
    steps: usize,
}

fn main() -> Result<()> {
    let options = Options::parse();
    if let Some(seed) = options.seed {
        println!("{:?}", run(Plan { seed, steps: options.steps })?);
        return Ok(());
    }
    let end = Instant::now() + Duration::from_secs(60 * options.minutes);
    let (mut seed, mut count) = (options.from, 0);
    while Instant::now() < end && count < options.seeds {
        let summary = run(Plan { seed, steps: options.steps })?;
        println!("seed {seed}: {summary:?}");
        seed += options.stride;
        count += 1;
    }
    println!("{count} seeds, no failure");
    Ok(())
}
