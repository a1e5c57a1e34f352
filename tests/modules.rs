// SPDX-License-Identifier: BSD-2-Clause
//! The modules of `src/` import each other without a circle, so that each can be
//! read with only those below it in mind.
//!
//! A module is a file or folder of `src/driver/`, `src/wire/` or `src/engine/`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// The modules that each module imports, by name.
type Graph = BTreeMap<String, BTreeSet<String>>;

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The path of a source file's Rust module, `["driver", "pf", "state"]` of
/// `driver/pf/state.rs`.
fn module_path(file: &Path) -> Vec<String> {
    let file = file.strip_prefix(source()).unwrap().with_extension("");
    let names = file.iter().map(|name| name.to_str().unwrap().to_owned());
    names.filter(|name| name != "mod").collect()
}

/// The module that a path of Rust modules leads to, if it leads to one. Each module of the
/// driver counts by itself, `wire` and `engine` as a whole.
fn module_of(path: &[String]) -> Option<String> {
    match path {
        [first, second, ..] if first == "driver" => Some(second.clone()),
        [first, ..] if first == "wire" || first == "engine" => Some(first.clone()),
        _ => None,
    }
}

/// Source text without comments, and without its unit tests.
fn code(text: &str) -> String {
    let lines = text.lines().take_while(|line| !line.starts_with("mod tests {"));
    lines.map(|line| line.split_once("//").map_or(line, |(code, _)| code)).collect::<Vec<_>>().join("\n")
}

/// Whether a character may be part of a path.
fn is_path(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == ':'
}

/// Every path in `code` that begins with `start`, one for each name in braces:
/// `crate::a::{b, c::d}` is `crate::a::b` and `crate::a::c::d`.
fn paths(code: &str, start: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices(start) {
        if code[..at].ends_with(is_path) {
            continue;
        }
        let path: String = code[at..].chars().take_while(|c| is_path(*c)).collect();
        match code[at + path.len()..].strip_prefix('{') {
            Some(group) if path.ends_with("::") => {
                found.extend(names(group).iter().map(|name| format!("{path}{name}")));
            }
            _ => found.push(path),
        }
    }
    found
}

/// The first path of each item in a group, which is given without its opening brace.
fn names(group: &str) -> Vec<String> {
    let mut depth = 0;
    let mut items = vec![String::new()];
    for c in group.chars() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => items.push(String::new()),
            c if depth == 0 && is_path(c) => items.last_mut().unwrap().push(c),
            _ => {}
        }
    }
    items
}

/// The Rust modules and items that a file of module `own` names.
fn named(own: &[String], code: &str) -> Vec<Vec<String>> {
    let split =
        |path: &str| path.split("::").filter(|name| !name.is_empty()).map(str::to_owned).collect::<Vec<_>>();
    let absolute = paths(code, "crate::").into_iter().map(|path| split(&path)[1..].to_vec());
    let relative = paths(code, "super::").into_iter().map(|path| {
        let path = split(&path);
        let up = path.iter().take_while(|name| *name == "super").count();
        [&own[..own.len().saturating_sub(up)], &path[up..]].concat()
    });
    absolute.chain(relative).collect()
}

fn graph(files: &[(Vec<String>, String)]) -> Graph {
    let mut graph = Graph::new();
    for (own, text) in files {
        let Some(module) = module_of(own) else { continue };
        let imported =
            named(own, &code(text)).iter().filter_map(|path| module_of(path)).collect::<BTreeSet<_>>();
        let edges = graph.entry(module.clone()).or_default();
        edges.extend(imported.into_iter().filter(|other| *other != module));
    }
    graph
}

/// A circle of modules, if there is one: the last imports the first.
fn circle(graph: &Graph) -> Option<Vec<String>> {
    let mut left = graph.clone();
    // A module that imports none of those left is in no circle.
    while let Some(leaf) = left.iter().find(|(_, edges)| edges.is_empty()).map(|(module, _)| module.clone()) {
        left.remove(&leaf);
        for edges in left.values_mut() {
            edges.remove(&leaf);
        }
    }
    // Each module that is left imports another one that is left. So following the
    // imports leads back to a module that was seen before.
    let mut way = vec![left.keys().next()?.clone()];
    loop {
        let next = left[way.last().unwrap()].first().unwrap();
        if let Some(start) = way.iter().position(|module| module == next) {
            return Some(way.split_off(start));
        }
        way.push(next.clone());
    }
}

fn read(folder: &Path, files: &mut Vec<(Vec<String>, String)>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read(&path, files);
        } else {
            files.push((module_path(&path), fs::read_to_string(&path).unwrap()));
        }
    }
}

#[test]
fn modules_have_no_circle() {
    let mut files = Vec::new();
    read(&source(), &mut files);
    let graph = graph(&files);
    for (module, edges) in &graph {
        println!("{module} -> {}", edges.iter().cloned().collect::<Vec<_>>().join(", "));
    }
    assert_eq!(graph["wire"], BTreeSet::new());
    assert_eq!(graph["engine"], BTreeSet::from(["wire".to_owned()]));
    assert_eq!(graph["kernel"], BTreeSet::new());
    assert!(graph["module"].len() > 10, "imports are not found: {:?}", graph["module"]);
    if let Some(circle) = circle(&graph) {
        panic!("these modules import each other in a circle: {}", circle.join(" -> "));
    }
}

#[test]
fn a_circle_is_found_and_named() {
    let file = |path: &str, text: &str| (path.split('/').map(str::to_owned).collect(), text.to_owned());
    let files = [
        file("driver/a", "use crate::driver::b;"),
        file(
            "driver/b",
            "use crate::driver::{\n    kernel::{x, y},\n    c::{self, Thing},\n};\nuse crate::wire;",
        ),
        file("driver/c/deep", "fn f() { super::super::b::g(super::own()) } // crate::driver::a"),
        file("driver/d", "use crate::driver::a;"),
    ];
    let graph = graph(&files);
    assert_eq!(graph["b"], ["c", "kernel", "wire"].map(str::to_owned).into());
    assert_eq!(graph["c"], BTreeSet::from(["b".to_owned()]));
    assert_eq!(graph["a"], BTreeSet::from(["b".to_owned()]));
    assert_eq!(circle(&graph), Some(vec!["b".to_owned(), "c".to_owned()]));
}
