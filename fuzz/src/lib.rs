// SPDX-License-Identifier: BSD-2-Clause
//! Fuzzing of pfsync; see README.md.
//!
//! - [`frame`]: the reader of frames, on any bytes;
//! - [`roundtrip`]: the reader and the writer of frames;
//! - [`trailer`]: the reader and the writer of trailers;
//! - [`agreement`]: what nodes with a key take;
//! - [`receive`]: `pfsync.ko` in the simulator, under packets, traffic and time;
//! - [`ioctl`]: `pfsync.ko` in the simulator, under configurations.
//!
//! The `run` of each target runs an input, and panics if something is wrong.

pub mod agreement;
mod feedback;
mod firewall;
pub mod frame;
pub mod ioctl;
mod messages;
pub mod receive;
pub mod roundtrip;
mod seeds;
pub mod trailer;

#[cfg(fuzzing)]
pub use libfuzzer_sys;

/// A fuzz target.
pub struct Target {
    /// Its name.
    pub name: &'static str,
    /// Runs an input.
    pub run: fn(&[u8]),
    /// Makes the seeds, which are the inputs to begin with.
    pub seeds: fn() -> anyhow::Result<Vec<Vec<u8>>>,
}

/// All targets.
pub const TARGETS: [Target; 6] = [
    Target { name: "frame", run: frame::run, seeds: seeds::frames },
    Target { name: "roundtrip", run: roundtrip::run, seeds: seeds::rewritten_frames },
    Target { name: "trailer", run: trailer::run, seeds: seeds::trailers },
    Target { name: "agreement", run: agreement::run, seeds: seeds::encounters },
    Target { name: "receive", run: receive::run, seeds: seeds::received_frames },
    Target { name: "ioctl", run: ioctl::run, seeds: seeds::configurations },
];

/// Makes a program of a target. With cargo-fuzz, libFuzzer drives it; otherwise it
/// runs the files that are its arguments.
#[macro_export]
macro_rules! target {
    ($run:path) => {
        #[cfg(fuzzing)]
        $crate::libfuzzer_sys::fuzz_target!(|input: &[u8]| $run(input));
        #[cfg(not(fuzzing))]
        fn main() -> std::io::Result<()> {
            std::env::args_os().skip(1).try_for_each(|file| Ok($run(&std::fs::read(file)?)))
        }
    };
}
