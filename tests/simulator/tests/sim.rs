//! Fixed seeds of the simulator. A seed that failed once is kept here by its
//! number; `cargo run -p pfsync-simulator --bin soak` looks for more.

use pfsync_simulator::sim::{run, Plan};

/// Runs seeds, and checks that they did something.
fn seeds(range: std::ops::Range<u64>) -> anyhow::Result<()> {
    let mut crashes = 0;
    for seed in range {
        let summary = run(Plan { seed, steps: 600 })?;
        assert!(summary.connections > 100 && summary.packets > 100, "seed {seed}: {summary:?}");
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
