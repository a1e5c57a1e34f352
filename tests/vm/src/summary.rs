// SPDX-License-Identifier: BSD-2-Clause
//! The result of each case, and the summary at the end.

use std::collections::BTreeSet;

use crate::run::Verdict;

/// The results so far.
#[derive(Default)]
pub(crate) struct Summary {
    passed: usize,
    failed: usize,
    skipped: usize,
    /// The releases of FreeBSD that ran.
    releases: BTreeSet<String>,
    /// Case, key and value of each measurement.
    measured: Vec<[String; 3]>,
}

impl Summary {
    /// Counts a case and prints its line.
    pub(crate) fn add(&mut self, case: &str, verdict: Verdict, measured: Vec<(String, String)>) {
        match verdict {
            Verdict::Passed => {
                self.passed += 1;
                println!("ok    {case}");
            }
            Verdict::Failed(reason) => {
                self.failed += 1;
                println!("FAIL  {case}: {reason}");
            }
            Verdict::Skipped(reason) => {
                self.skipped += 1;
                println!("skip  {case}: {reason}");
            }
        }
        let rows = measured.into_iter().map(|(key, value)| [case.to_owned(), key, value]);
        self.measured.extend(rows);
    }

    /// Notes the releases of FreeBSD that cases run on.
    pub(crate) fn ran_on(&mut self, releases: &[String]) {
        self.releases.extend(releases.iter().cloned());
    }

    pub(crate) fn is_good(&self) -> bool {
        self.failed == 0
    }

    /// Prints the measurements and the closing line.
    pub(crate) fn print(&self) {
        if !self.measured.is_empty() {
            println!("\nmeasured:");
        }
        let width =
            |column: usize| self.measured.iter().map(|row| row[column].len()).max().unwrap_or_default();
        let (case_width, key_width) = (width(0), width(1));
        for [case, key, value] in &self.measured {
            println!("  {case:<case_width$}  {key:<key_width$}  {value}");
        }
        println!("\n{}", self.closing_line());
    }

    fn closing_line(&self) -> String {
        let counts = format!("{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped);
        if self.releases.is_empty() {
            return counts;
        }
        let releases: Vec<_> = self.releases.iter().map(String::as_str).collect();
        format!("{counts}, on FreeBSD {}", releases.join(" and "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_counted() {
        let mut summary = Summary::default();
        summary.add("a", Verdict::Passed, vec![("k".into(), "1".into())]);
        summary.add("b", Verdict::Skipped("no stock".into()), Vec::new());
        assert!(summary.is_good());
        summary.add("c", Verdict::Failed("exit status 1".into()), Vec::new());
        assert!(!summary.is_good());
        assert_eq!(summary.closing_line(), "1 passed, 1 failed, 1 skipped");
        summary.ran_on(&["14.2-RELEASE".into(), "14.2-RELEASE".into()]);
        assert_eq!(summary.closing_line(), "1 passed, 1 failed, 1 skipped, on FreeBSD 14.2-RELEASE");
        summary.ran_on(&["15.0-RELEASE".into()]);
        assert!(summary.closing_line().ends_with("on FreeBSD 14.2-RELEASE and 15.0-RELEASE"));
    }
}
