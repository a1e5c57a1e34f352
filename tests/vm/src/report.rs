// SPDX-License-Identifier: BSD-2-Clause
//! Panics and reports on a kernel's console, and which of them fail a case.

use crate::event::Loaded;

/// How the lines begin after which a kernel does not go on.
const PANICS: [&str; 4] = ["panic: ", "Fatal trap ", "KDB: enter", "db> "];

/// Words in the first line of a report by WITNESS or INVARIANTS.
const REPORTS: [&str; 7] = [
    "lock order reversal",
    "could sleep with",
    "Sleeping on",
    "with the following non-sleepable locks",
    "modified after free",
    "leaked memory on destroy",
    "was not empty",
];

/// A report that does not count.
struct Expected {
    /// Words that all occur in the report.
    words: &'static [&'static str],
    /// The module that is loaded when the report may occur; any if `None`.
    during: Option<Loaded>,
}

/// Every report that is forgiven. A lock order reversal that names pfsync while
/// the module under test is loaded must never be covered by this list.
const EXPECTED: [Expected; 3] = [
    // The stock module joins its multicast group under a mutex and detaches under the vnet lock.
    Expected { words: &["lock order reversal"], during: Some(Loaded::Stock) },
    // carp(4) leaves its multicast group under its own mutex.
    Expected { words: &["lock order carp_softc -> in_multi_sx"], during: None },
    // pf may lose an anchor when its vnet ends. pfsync knows no anchors.
    Expected { words: &["(pf anchors) was not empty"], during: None },
];

/// Whether a line on the console, which may be unfinished, reports a panic.
pub(crate) fn is_panic(line: &str) -> bool {
    PANICS.iter().any(|words| line.starts_with(words))
}

/// A report by WITNESS or INVARIANTS, and its position in the console's text.
#[derive(Debug, PartialEq)]
pub(crate) struct Report {
    pub(crate) offset: usize,
    pub(crate) lines: Vec<String>,
}

impl Report {
    /// Whether the report counts if it came while `loaded` was loaded.
    pub(crate) fn counts(&self, loaded: Loaded) -> bool {
        loaded != Loaded::Nothing && !EXPECTED.iter().any(|e| self.matches(e, loaded))
    }

    fn matches(&self, expected: &Expected, loaded: Loaded) -> bool {
        expected.during.is_none_or(|during| during == loaded)
            && expected.words.iter().all(|word| self.lines.iter().any(|line| line.contains(word)))
    }

    pub(crate) fn first_line(&self) -> &str {
        &self.lines[0]
    }
}

/// Finds the reports in a piece of a console's text.
pub(crate) fn find(text: &str) -> Vec<Report> {
    let mut reports: Vec<Report> = Vec::new();
    let mut open = false;
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let words = line.trim_end().to_owned();
        if open && continues(&words) {
            reports.last_mut().expect("a report is open").lines.push(words);
        } else if REPORTS.iter().any(|mark| words.contains(mark)) {
            reports.push(Report { offset, lines: vec![words] });
            open = true;
        } else {
            open = false;
        }
        offset += line.len();
    }
    reports
}

/// Whether a line continues the report of the line before.
fn continues(line: &str) -> bool {
    const STARTS: [&str; 10] = [
        " 1st ",
        " 2nd ",
        " 3rd ",
        "lock order ",
        "#",
        "exclusive ",
        "shared ",
        "stack backtrace",
        "KDB: stack backtrace",
        "--- ",
    ];
    let in_trace = line.contains("() at ") || line.contains("/frame 0x");
    let new_report = line.starts_with("lock order reversal");
    !new_report && (in_trace || STARTS.iter().any(|start| line.starts_with(start)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REVERSAL: &str = "\
lo0: link state changed to UP
lock order reversal: (sleepable after non-sleepable)
 1st 0xfffff80002a0 pfsync (pfsync, sleep mutex) @ if_pfsync.c:2931
 2nd 0xffffffff8 in_multi_sx (in_multi_sx, sx) @ in_mcast.c:1218
lock order pfsync -> in_multi_sx attempted at:
#0 0xffffffff80c witness_checkorder+0xdb3
#1 0xffffffff80c in_joingroup+0x48
epair0a: Ethernet address: 02:00:00:00:00:0a
";

    #[test]
    fn a_reversal_is_taken_with_its_trace() {
        let found = find(REVERSAL);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].lines.len(), 6);
        assert_eq!(found[0].offset, "lo0: link state changed to UP\n".len());
    }

    #[test]
    fn a_reversal_counts_unless_it_is_the_c_modules() {
        let report = &find(REVERSAL)[0];
        assert!(report.counts(Loaded::UnderTest));
        assert!(!report.counts(Loaded::Stock));
        assert!(!report.counts(Loaded::Nothing));
    }

    #[test]
    fn leaks_count_for_both_modules() {
        let text = "Warning: memory type pfsync leaked memory on destroy (1 allocations, 64 bytes leaked).\n";
        let report = &find(text)[0];
        assert!(report.counts(Loaded::UnderTest) && report.counts(Loaded::Stock));
    }

    #[test]
    fn panics_are_seen_at_the_start_of_a_line() {
        assert!(is_panic("panic: mutex not owned"));
        assert!(is_panic("Fatal trap 12: page fault"));
        assert!(is_panic("db> "));
        assert!(!is_panic("no panic: all well"));
    }

    #[test]
    fn two_reports_in_a_row_are_two() {
        let twice = format!("{0}{0}", "lock order reversal:\n 1st x\n 2nd y\n");
        assert_eq!(find(&twice).len(), 2);
    }
}
