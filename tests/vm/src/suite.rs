// SPDX-License-Identifier: BSD-2-Clause
//! Runs cases one after the other, with as few boots as possible.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::case::Case;
use crate::cli::Args;
use crate::console::last_lines;
use crate::guest::ROLES;
use crate::lab::{Lab, LogNames, Shape};
use crate::programs::{self, Programs};
use crate::run::{self, Outcome, Verdict};
use crate::summary::Summary;

struct Suite<'a> {
    args: &'a Args,
    logs: PathBuf,
    programs: Result<Programs>,
    /// Running guests, which further cases of the same shape can use.
    lab: Option<Lab<'a>>,
    boots: usize,
    summary: Summary,
}

/// Runs the cases and reports each as it ends.
pub(crate) fn run(args: &Args, cases: &[Case]) -> Result<Summary> {
    let logs = args.log_dir();
    std::fs::create_dir_all(&logs).with_context(|| format!("{}", logs.display()))?;
    let programs = if cases.iter().any(|case| case.needs_programs) {
        programs::build_all(args)
    } else {
        Ok(Programs::default())
    };
    let summary = Summary::default();
    let mut suite = Suite { args, logs, programs, lab: None, boots: 0, summary };
    for case in cases {
        suite.run_case(case)?;
    }
    Ok(suite.summary)
}

impl Suite<'_> {
    fn run_case(&mut self, case: &Case) -> Result<()> {
        if let Some(reason) = self.reason_to_skip(case) {
            self.summary.add(&case.name, Verdict::Skipped(reason), Vec::new());
            return Ok(());
        }
        self.boot_for(case)?;
        let lab = self.lab.as_mut().expect("guests were just booted");
        let outcome = run::run(lab, case, self.args).with_context(|| format!("case {}", case.name))?;
        write_logs(&self.logs, case, &outcome)?;
        if let Verdict::Failed(_) = outcome.verdict {
            show_failure(&outcome);
            // The next case must not suffer from what a failed one left behind.
            self.lab = None;
        }
        self.summary.add(&case.name, outcome.verdict, outcome.measured);
        Ok(())
    }

    fn reason_to_skip(&self, case: &Case) -> Option<String> {
        if case.needs_stock && self.args.stock.is_none() {
            return Some("needs FreeBSD's own module: --stock".to_owned());
        }
        if case.needs_peer && !self.args.has_peer_system() {
            return Some("needs another release for machine two: --peer-image or --peer-kernel".to_owned());
        }
        match &self.programs {
            Err(error) if case.needs_programs => Some(format!("{error:#}")),
            _ => None,
        }
    }

    /// Makes sure that guests of the right shape are running.
    fn boot_for(&mut self, case: &Case) -> Result<()> {
        let shape = Shape::of(case, self.args);
        if self.lab.as_ref().is_some_and(|lab| lab.shape == shape) {
            return Ok(());
        }
        self.lab = None;
        self.boots += 1;
        let logs = LogNames::new(&self.logs, self.boots);
        let none = Programs::default();
        let programs = self.programs.as_ref().unwrap_or(&none);
        let lab = Lab::start(self.args, shape, programs, logs);
        let lab = self.lab.insert(lab.context("FreeBSD did not start")?);
        self.summary.ran_on(&lab.releases);
        Ok(())
    }
}

/// Keeps what the case and the kernel wrote, a file for each machine.
fn write_logs(directory: &Path, case: &Case, outcome: &Outcome) -> Result<()> {
    for ((output, console), role) in outcome.output.iter().zip(&outcome.console).zip(ROLES) {
        let text = format!("{output}\n--- console ---\n{console}");
        std::fs::write(directory.join(format!("{}-{role}.log", case.name)), text)?;
    }
    Ok(())
}

fn show_failure(outcome: &Outcome) {
    for ((output, console), role) in outcome.output.iter().zip(&outcome.console).zip(ROLES) {
        println!("--- {role}: last output ---\n{}", last_lines(output, 20));
        println!("--- {role}: last on the console ---\n{}", last_lines(console, 30));
    }
}
