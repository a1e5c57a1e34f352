// SPDX-License-Identifier: BSD-2-Clause
//! A test harness that boots FreeBSD in QEMU and runs the cases of tests/vm/cases there.

mod arch;
mod boot;
mod case;
mod cli;
mod console;
mod directory;
mod event;
mod guest;
mod lab;
mod payload;
mod process;
mod programs;
mod qemu;
mod relay;
mod report;
mod run;
mod suite;
mod summary;
mod wire;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use crate::cli::Args;

/// Exit status when the tests cannot run at all.
const CANNOT_RUN: u8 = 2;

fn main() -> ExitCode {
    match start(&Args::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("pfsync-vm: {error:#}");
            ExitCode::from(CANNOT_RUN)
        }
    }
}

/// Lists or runs the cases. Returns whether none failed.
fn start(args: &Args) -> Result<bool> {
    let cases = case::select(case::read_all(&args.tests_dir.join("cases"))?, &args.cases)?;
    if args.list {
        for case in &cases {
            println!("{:<36} {}", case.name, case.about);
        }
        return Ok(true);
    }
    args.check()?;
    process::end_all_on_signal()?;
    let summary = suite::run(args, &cases)?;
    summary.print();
    Ok(summary.is_good())
}
