// SPDX-License-Identifier: BSD-2-Clause
//! Runs one case on the guests of a lab and judges it.

use std::collections::BTreeMap;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::case::Case;
use crate::cli::Args;
use crate::event::{Event, Loaded, Message};
use crate::guest::ROLES;
use crate::lab::Lab;

/// The exit status of a script that cannot run here.
const SKIP_STATUS: i32 = 77;

/// The exit status of a script that waited for the other machine in vain.
const ABANDONED_STATUS: i32 = 75;

#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    Passed,
    Failed(String),
    Skipped(String),
}

/// How a case went.
pub(crate) struct Outcome {
    pub(crate) verdict: Verdict,
    /// Key and value of each measurement, in the order in which they came.
    pub(crate) measured: Vec<(String, String)>,
    /// What the script wrote, for each machine.
    pub(crate) output: Vec<String>,
    /// What the kernel wrote on its console meanwhile, for each machine.
    pub(crate) console: Vec<String>,
}

/// What the harness knows of the script on one machine.
#[derive(Default)]
struct Script {
    status: Option<i32>,
    skip_reason: Option<String>,
    at_barrier: Option<String>,
    published: BTreeMap<String, Vec<String>>,
    must_match: Vec<String>,
    output: String,
    console_start: usize,
}

impl Script {
    /// The lines that it published under a key.
    fn lines(&self, key: &str) -> &[String] {
        self.published.get(key).map_or(&[], Vec::as_slice)
    }

    /// The script's message of failure, or its exit status.
    fn complaint(&self) -> String {
        let said = self.output.lines().rev().find_map(|line| line.strip_prefix("FAIL: "));
        let status = self.status.unwrap_or_default();
        said.map_or_else(|| format!("exit status {status}"), str::to_owned)
    }
}

struct Run<'r, 'lab> {
    lab: &'r mut Lab<'lab>,
    case: &'r Case,
    args: &'r Args,
    scripts: Vec<Script>,
    measured: Vec<(String, String)>,
    /// A report by the kernel of a machine that was switched off since.
    early_report: Option<String>,
}

/// Runs a case. It fails if it does not end in time.
pub(crate) fn run(lab: &mut Lab, case: &Case, args: &Args) -> Result<Outcome> {
    let limit = args.limit(case.limit);
    lab.relay.reset();
    let scripts = lab
        .guests
        .iter()
        .map(|guest| Script { console_start: guest.position(), ..Script::default() })
        .collect();
    let mut run = Run { lab, case, args, scripts, measured: Vec::new(), early_report: None };
    for machine in 0..run.scripts.len() {
        run.start_script(machine, None)?;
    }
    let trouble = run.follow(Instant::now() + limit, limit)?;
    // Reports about the last steps of the case may still be on their way.
    std::thread::sleep(Duration::from_millis(300));
    let verdict = run.judge(trouble);
    Ok(run.into_outcome(verdict))
}

impl Run<'_, '_> {
    /// Has a guest run its script, with the case's settings, those of the command line and `extra`.
    fn start_script(&mut self, machine: usize, extra: Option<&str>) -> Result<()> {
        let own = self.case.settings.iter().map(|(name, value)| format!("{name}={value}"));
        let given = self.args.settings.iter().cloned();
        let mut settings: Vec<_> = own.chain(given).chain(extra.map(str::to_owned)).collect();
        if self.args.reference {
            settings.push("REFERENCE=yes".to_owned());
        }
        let order = format!("run {} {} {}", self.case.script, ROLES[machine], settings.join(" "));
        self.lab.guests[machine].tell(&order)
    }

    /// Serves the scripts until all have ended; returns what went wrong on the way.
    fn follow(&mut self, deadline: Instant, limit: Duration) -> Result<Option<String>> {
        while self.scripts.iter().any(|script| script.status.is_none()) {
            let left = deadline.saturating_duration_since(Instant::now());
            let (machine, event) = match self.lab.events.recv_timeout(left) {
                Ok(tagged) => tagged,
                Err(RecvTimeoutError::Timeout) => {
                    return Ok(Some(format!("not done after {} s", limit.as_secs())));
                }
                Err(RecvTimeoutError::Disconnected) => return Ok(Some("guests are gone".into())),
            };
            match event {
                Event::Said(message) => self.serve(machine, message)?,
                Event::Panicked(line) => {
                    // Gives the kernel time to print its trace.
                    std::thread::sleep(Duration::from_secs(3));
                    return Ok(Some(format!("kernel panic on {}: {line}", ROLES[machine])));
                }
                Event::Gone => return Ok(Some(format!("machine {} stopped", ROLES[machine]))),
            }
        }
        Ok(None)
    }

    fn serve(&mut self, machine: usize, message: Message) -> Result<()> {
        let script = &mut self.scripts[machine];
        match message {
            Message::Ready(_) => {}
            Message::Output(line) => self.take_output(machine, &line),
            Message::Ended(status) => {
                script.status = Some(status);
                self.release_barrier()?;
            }
            Message::Skip(reason) => script.skip_reason = Some(reason),
            Message::Barrier(name) => {
                script.at_barrier = Some(name);
                self.release_barrier()?;
            }
            Message::Publish { key, line } => script.published.entry(key).or_default().push(line),
            Message::MustMatch(key) => script.must_match.push(key),
            Message::Ask(key) => self.answer(machine, &key)?,
            Message::Measured { key, value } => self.measured.push((key, value)),
            Message::Loading(loaded) => self.note_loaded(machine, loaded)?,
            Message::KillPeer => self.kill_peer(machine)?,
            Message::RevivePeer => self.revive_peer(machine)?,
            Message::Wire(order) => self.change_wire(machine, &order)?,
        }
        Ok(())
    }

    fn take_output(&mut self, machine: usize, line: &str) {
        if self.args.verbose {
            println!("{}| {line}", ROLES[machine]);
        }
        let output = &mut self.scripts[machine].output;
        output.push_str(line);
        output.push('\n');
    }

    /// Releases the scripts when all are at the same barrier.
    ///
    /// If the other script has ended or waits elsewhere, the waiting script is told and fails.
    fn release_barrier(&mut self) -> Result<()> {
        let waits = |script: &Script| script.at_barrier.is_some() || script.status.is_some();
        if !self.scripts.iter().all(waits) {
            return Ok(());
        }
        let same = self.scripts.windows(2).all(|pair| pair[0].at_barrier == pair[1].at_barrier);
        for (script, guest) in self.scripts.iter_mut().zip(&mut self.lab.guests) {
            if script.at_barrier.take().is_some() {
                guest.tell(if same { "go" } else { "alone" })?;
            }
        }
        Ok(())
    }

    /// Replies with the last line that the other machine published under a key.
    fn answer(&mut self, machine: usize, key: &str) -> Result<()> {
        let peer = self.lab.peer_of(machine).context("`ask` needs two machines")?;
        let line = self.scripts[peer].lines(key).last().cloned().unwrap_or_default();
        self.lab.guests[machine].tell(&line)
    }

    fn note_loaded(&mut self, machine: usize, loaded: Loaded) -> Result<()> {
        // Reports about the module that was loaded before may still be on their way.
        std::thread::sleep(Duration::from_millis(300));
        let guest = &mut self.lab.guests[machine];
        guest.note_loaded(match loaded {
            Loaded::UnderTest if self.args.reference => Loaded::Stock,
            other => other,
        });
        guest.tell("noted")
    }

    fn kill_peer(&mut self, machine: usize) -> Result<()> {
        let peer = self.lab.peer_of(machine).context("`kill_peer` needs two machines")?;
        self.early_report = self.kernel_report();
        self.lab.kill(peer)?;
        self.lab.guests[machine].tell("killed")
    }

    /// Boots the machine that was killed; its script starts anew.
    fn revive_peer(&mut self, machine: usize) -> Result<()> {
        let peer = self.lab.peer_of(machine).context("`revive_peer` needs two machines")?;
        self.lab.revive(peer)?;
        self.scripts[peer].console_start = 0;
        self.start_script(peer, Some("AGAIN=yes"))?;
        self.lab.guests[machine].tell("revived")
    }

    /// Has a virtual wire obey, and replies with the counts of its frames or with a complaint.
    fn change_wire(&mut self, machine: usize, order: &str) -> Result<()> {
        let reply = match self.lab.relay.obey(order) {
            Ok(counts) => counts,
            Err(error) => format!("error: {error:#}"),
        };
        self.lab.guests[machine].tell(&reply)
    }

    fn judge(&self, trouble: Option<String>) -> Verdict {
        if let Some(trouble) = trouble {
            return Verdict::Failed(trouble);
        }
        let troubles =
            [self.early_report.clone(), self.kernel_report(), self.first_bad_status(), self.first_mismatch()];
        let troubles: Vec<_> = troubles.into_iter().flatten().collect();
        match self.skip_reason() {
            _ if !troubles.is_empty() => Verdict::Failed(troubles.join("; ")),
            Some(reason) => Verdict::Skipped(reason),
            None => Verdict::Passed,
        }
    }

    fn kernel_report(&self) -> Option<String> {
        self.scripts.iter().zip(&self.lab.guests).find_map(|(script, guest)| {
            let reports = guest.reports_from(script.console_start);
            reports.first().map(|report| format!("kernel report: {}", report.first_line()))
        })
    }

    /// The complaint of the script that failed, rather than of one that it left waiting.
    fn first_bad_status(&self) -> Option<String> {
        let failed = |script: &&Script| !matches!(script.status, Some(0 | SKIP_STATUS));
        let waited = |script: &&Script| script.status == Some(ABANDONED_STATUS);
        let mut scripts: Vec<_> = self.scripts.iter().filter(failed).collect();
        scripts.sort_by_key(waited);
        scripts.first().map(|script| script.complaint())
    }

    /// The first key whose values differ between the machines.
    fn first_mismatch(&self) -> Option<String> {
        let [one, two] = &self.scripts[..] else { return None };
        let mut keys = one.must_match.iter().chain(&two.must_match);
        keys.find_map(|key| difference(key, one.lines(key), two.lines(key)))
    }

    fn skip_reason(&self) -> Option<String> {
        let skipped = |script: &&Script| script.status == Some(SKIP_STATUS);
        let script = self.scripts.iter().find(skipped)?;
        Some(script.skip_reason.clone().unwrap_or_else(|| "no reason given".to_owned()))
    }

    fn into_outcome(self, verdict: Verdict) -> Outcome {
        let console = self
            .scripts
            .iter()
            .zip(&self.lab.guests)
            .map(|(script, guest)| guest.console_from(script.console_start))
            .collect();
        let output = self.scripts.into_iter().map(|script| script.output).collect();
        Outcome { verdict, measured: self.measured, output, console }
    }
}

/// How the lines that two machines published differ, if they do.
fn difference(key: &str, one: &[String], two: &[String]) -> Option<String> {
    let differing = one.iter().zip(two).filter(|(one, two)| one != two).count();
    match one.iter().zip(two).find(|(one, two)| one != two) {
        Some((first, second)) => {
            Some(format!("{key}: {differing} lines differ, one has `{first}` where two has `{second}`"))
        }
        None if one.len() != two.len() => {
            Some(format!("{key}: {} lines on one, {} on two", one.len(), two.len()))
        }
        None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(words: &[&str]) -> Vec<String> {
        words.iter().map(|word| (*word).to_owned()).collect()
    }

    #[test]
    fn equal_values_do_not_differ() {
        assert_eq!(difference("k", &lines(&["a"]), &lines(&["a"])), None);
        assert_eq!(difference("k", &[], &[]), None);
    }

    #[test]
    fn differences_are_told() {
        let (a, b) = (lines(&["a", "b"]), lines(&["a", "c"]));
        let told = difference("k", &a, &b).unwrap();
        assert!(told.contains("`b`") && told.contains("`c`") && told.contains("1 lines"));
        assert!(difference("k", &a, &a[..1]).unwrap().contains("2 lines"));
    }
}
