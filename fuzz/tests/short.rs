// SPDX-License-Identifier: BSD-2-Clause
//! The short run: for each target the inputs that found a fault once, its seeds, and
//! a fixed number of inputs made from these with a fixed random seed.

use pfsync_fuzz::{Target, TARGETS};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use std::io::Write;
use std::path::Path;

/// The inputs that found a fault once.
fn found(target: &Target) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("found").join(target.name);
    let Ok(entries) = std::fs::read_dir(directory) else { return Vec::new() };
    let mut files: Vec<_> = entries.map(|entry| entry.expect("readable").path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).expect("readable")).collect()
}

/// Changes an input a little, as libFuzzer does.
fn mutate(rng: &mut ChaCha8Rng, input: &mut Vec<u8>, others: &[Vec<u8>]) {
    for _ in 0..rng.gen_range(1..=6) {
        let at = rng.gen_range(0..=input.len());
        match rng.gen_range(0..6) {
            0 => input.truncate(at),
            1 => input.insert(at, rng.gen()),
            2 if at < input.len() => drop(input.remove(at)),
            3 if at < input.len() => input[at] ^= 1 << rng.gen_range(0..8),
            4 => {
                let other = &others[rng.gen_range(0..others.len())];
                let from = rng.gen_range(0..=other.len());
                let piece = &other[from..other.len().min(from + rng.gen_range(0..600))];
                input.splice(at..at, piece.iter().copied());
            }
            _ => input.splice(at..at, (0..rng.gen_range(1..32)).map(|_| rng.gen())).for_each(drop),
        }
    }
    input.truncate(4096);
}

/// Runs a target, and prints how many inputs it ran. An input that fails stays in a
/// file.
fn short(name: &str, made: usize) {
    let target = TARGETS.iter().find(|target| target.name == name).expect("a target");
    let mut inputs = found(target);
    inputs.extend((target.seeds)().expect("captures"));
    inputs.push(Vec::new());
    let mut rng = ChaCha8Rng::seed_from_u64(1);
    let made = (0..made).map(|_| {
        let mut input = inputs[rng.gen_range(0..inputs.len())].clone();
        mutate(&mut rng, &mut input, &inputs);
        input
    });
    let made: Vec<_> = made.collect();
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    for input in inputs.iter().chain(&made) {
        std::fs::write(&file, input).expect("writable");
        (target.run)(input);
    }
    let count = inputs.len() + made.len();
    // Not captured by the test harness: the number is part of the result.
    writeln!(std::io::stdout(), "fuzz {name}: {count} inputs, nothing found").expect("writable");
}

#[test]
fn frame() {
    short("frame", 30_000);
}

#[test]
fn roundtrip() {
    short("roundtrip", 20_000);
}

#[test]
fn trailer() {
    short("trailer", 20_000);
}

#[test]
fn agreement() {
    short("agreement", 5_000);
}

#[test]
fn receive() {
    short("receive", 3_000);
}

#[test]
fn ioctl() {
    short("ioctl", 3_000);
}
