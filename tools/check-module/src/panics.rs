// SPDX-License-Identifier: BSD-2-Clause
//! Check 4: no code that can be reached refers to Rust's panic machinery.

use std::collections::BTreeSet;

use crate::graph::{demangle, Graph, Item, To};

/// Parts of the machinery's names. Every panic ends in `core::panicking` or the
/// handler. The other names are the usual ways there; with them, a report names the
/// function that begins the panic.
const MACHINERY: [&str; 16] = [
    "core::panicking",
    "rust_begin_unwind",
    "rust_panic",
    "rust_eh_personality",
    "panic_bounds_check",
    "core::option::unwrap_failed",
    "core::option::expect_failed",
    "core::result::unwrap_failed",
    "core::cell::panic_already",
    "slice_index_fail",
    "slice_start_index",
    "slice_end_index",
    "slice_error_fail",
    "len_mismatch_fail",
    "handle_alloc_error",
    "alloc::raw_vec::capacity_overflow",
];

/// `allowed` names functions that may refer to the machinery. A function that does
/// not need this exception is a problem too.
pub(crate) fn problems(
    graph: &Graph,
    reachable: &BTreeSet<usize>,
    allowed: &BTreeSet<String>,
) -> Vec<String> {
    let mut problems = Vec::new();
    let mut excused = BTreeSet::new();
    for item in reachable.iter().map(|&item| &graph.items[item]) {
        let found = panics(graph, item);
        if found.is_empty() {
            continue;
        }
        if allowed.contains(&item.name) {
            excused.insert(item.name.clone());
        } else {
            problems.extend(found);
        }
    }
    let stale = allowed.difference(&excused);
    problems.extend(stale.map(|name| format!("[panic] lists {name}, which needs no exception")));
    problems
}

/// An item's references to the machinery. An item that is part of the machinery has
/// none; its callers are reported instead.
fn panics(graph: &Graph, item: &Item) -> Vec<String> {
    if is_machinery(&item.name) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for reference in &item.references {
        let name = match &reference.to {
            To::Item(to) => graph.items[*to].name.clone(),
            To::Outside(name) => demangle(name),
        };
        if is_machinery(&name) {
            let place = graph.place(item.section, reference.from);
            found.push(format!("{place} can panic: it refers to {name}"));
        }
    }
    found
}

fn is_machinery(name: &str) -> bool {
    MACHINERY.iter().any(|part| name.contains(part))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Builder, CALL};

    const PANIC_FMT: &str = "_ZN4core9panicking9panic_fmt17h0123456789abcdefE";

    /// A module whose `f` calls `callee`, and whose `start` calls `f` or not.
    fn module(callee: &str, defined: bool, reachable: bool) -> Builder {
        let mut builder = Builder::good();
        let caller = builder.function("f", CALL);
        let callee = match defined {
            true => builder.function(callee, CALL),
            false => builder.undefined(callee),
        };
        builder.calls(caller, callee);
        let root = builder.data("set_sysuninit_set", "sysuninit", &[0; 8]);
        if reachable {
            builder.points(root, caller);
        }
        builder
    }

    fn problems_of(builder: &Builder, allowed: &[&str]) -> Vec<String> {
        let graph = builder.graph();
        let allowed = allowed.iter().map(|name| name.to_string()).collect();
        problems(&graph, &graph.reachable(&[]), &allowed)
    }

    #[test]
    fn a_module_without_panics() {
        assert_eq!(problems_of(&Builder::good(), &[]), [""; 0]);
    }

    #[test]
    fn a_reachable_reference_is_named() {
        for defined in [true, false] {
            let problems = problems_of(&module(PANIC_FMT, defined, true), &[]);
            let text = ".text+0x8 (in f) can panic: it refers to core::panicking::panic_fmt";
            assert_eq!(problems, [text]);
        }
    }

    #[test]
    fn the_usual_ways_to_panic() {
        for name in ["rust_begin_unwind", "core::slice::index::slice_index_fail", "panic_bounds_check"] {
            assert_eq!(problems_of(&module(name, true, true), &[]).len(), 1, "{name}");
        }
    }

    #[test]
    fn the_kernels_own_panic_is_not_rusts() {
        assert_eq!(problems_of(&module("panic", false, true), &[]), [""; 0]);
    }

    #[test]
    fn an_unreachable_reference_is_nothing() {
        assert_eq!(problems_of(&module(PANIC_FMT, true, false), &[]), [""; 0]);
    }

    #[test]
    fn exceptions_are_exact() {
        let panics = module(PANIC_FMT, true, true);
        assert_eq!(problems_of(&panics, &["f"]), [""; 0]);
        let problems = problems_of(&panics, &["f", "start"]);
        assert_eq!(problems, ["[panic] lists start, which needs no exception"]);
    }
}
