// SPDX-License-Identifier: BSD-2-Clause
//! Random simulations with fixed seeds. `cargo run -p pfsync-simulator --bin soak`
//! tries others.

use pfsync_simulator::sim::{run, Plan};

/// Runs seeds, and checks that something happened in each.
fn seeds(range: std::ops::Range<u64>) -> anyhow::Result<()> {
    let mut crashes = 0;
    for seed in range {
        let summary = run(Plan { seed, steps: 600 })?;
        assert!(summary.connections > 100 && summary.packets > 50, "seed {seed}: {summary:?}");
        crashes += summary.crashes;
    }
    assert!(crashes > 0);
    Ok(())
}

#[test]
fn the_first_seeds() -> anyhow::Result<()> {
    seeds(0..100)
}

#[test]
fn more_seeds() -> anyhow::Result<()> {
    seeds(100..200)
}

#[test]
fn a_seed_replays_exactly() -> anyhow::Result<()> {
    let run = |seed| run(Plan { seed, steps: 400 }).map(|summary| format!("{summary:?}"));
    assert_eq!(run(6)?, run(6)?);
    Ok(())
}
