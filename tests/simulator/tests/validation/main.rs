// SPDX-License-Identifier: BSD-2-Clause
//! What a peer may send: one test for each row of docs/validation.md. Each sends a
//! message to the module in a packet. The tests of each kind of message have a file of
//! their own. The test here checks that every row has its test.

#[path = "../common/mod.rs"]
mod common;

use sys_bindings as sys;

/// A test for each row: its name, and a function with arguments that checks it.
macro_rules! rows {
    ($($name:ident: $check:ident($($arguments:expr),+);)*) => {
        $(#[test] fn $name() -> Result<()> { $check($($arguments),+) })*
    };
}

mod bulk_status;
mod clear;
mod format1500;
mod frame;
mod ids;
mod limits;
mod state;
mod update;

type Counter = fn(&sys::pfsyncstats) -> u64;

fn bad_value(stats: &sys::pfsyncstats) -> u64 {
    stats.pfsyncs_badval
}

fn bad_state(stats: &sys::pfsyncstats) -> u64 {
    stats.pfsyncs_badstate
}

/// Every row of the table names a test of this directory, or of a file that the text names.
#[test]
fn every_row_has_its_test() {
    let here = [
        include_str!("bulk_status.rs"),
        include_str!("clear.rs"),
        include_str!("format1500.rs"),
        include_str!("frame.rs"),
        include_str!("ids.rs"),
        include_str!("limits.rs"),
        include_str!("state.rs"),
        include_str!("update.rs"),
        include_str!("../formats.rs"),
        include_str!("../../../../src/wire/trailer/tests.rs"),
        include_str!("../../../../src/engine/agreement/tests.rs"),
        include_str!("../../../../src/engine/bulk/requester/tests.rs"),
        include_str!("../../../../src/engine/agreement/tests/distrust.rs"),
    ]
    .concat();
    let table = include_str!("../../../../docs/validation.md");
    let rows = table.lines().filter_map(|line| line.strip_suffix("` |")?.rsplit('`').next());
    let missing: Vec<_> = rows
        .clone()
        .filter(|name| !here.contains(&format!("\nfn {name}(")) && !here.contains(&format!("\n    {name}: ")))
        .collect();
    assert!(rows.count() > 60 && missing.is_empty(), "no test for {missing:?}");
}
