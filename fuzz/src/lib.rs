// SPDX-License-Identifier: BSD-2-Clause
//! Fuzzing of pfsync; see README.md.
//!
//! - [`frame`]: the reader of frames, on any bytes;
//! - [`roundtrip`]: what is written is read back, and the reverse;
//! - [`receive`]: `pfsync.ko` in the host kernel, under packets, traffic and
//!   time;
//! - [`ioctl`]: `pfsync.ko` in the host kernel, under configurations.
//!
//! Each target's `run` takes an input, and panics when something is wrong.

pub mod feedback;
pub mod firewall;
pub mod frame;
pub mod ioctl;
pub mod messages;
pub mod receive;
pub mod roundtrip;
pub mod seeds;

#[cfg(fuzzing)]
pub use libfuzzer_sys;

/// What can be fuzzed.
pub struct Target {
    pub name: &'static str,
    pub run: fn(&[u8]),
    /// Inputs to begin with.
    pub seeds: fn() -> anyhow::Result<Vec<Vec<u8>>>,
}

pub const TARGETS: [Target; 4] = [
    Target { name: "frame", run: frame::run, seeds: seeds::frames },
    Target { name: "roundtrip", run: roundtrip::run, seeds: seeds::rewritten_frames },
    Target { name: "receive", run: receive::run, seeds: seeds::received_frames },
    Target { name: "ioctl", run: ioctl::run, seeds: seeds::configurations },
];

/// Makes a program of a target: by cargo-fuzz one that libFuzzer drives, else
/// one that runs the files named as its arguments.
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
