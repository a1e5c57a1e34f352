// SPDX-License-Identifier: BSD-2-Clause
//! A linter of the linked module: checks that FreeBSD's kernel linker can load it
//! and that its code may run in a kernel, and prints how much stack it takes. See
//! `--help`.

mod amd64;
mod arm64;
mod code;
mod frames;
mod graph;
mod instructions;
mod module;
mod panics;
mod paths;
mod pins;
mod relocations;
mod shared;
mod symbols;
#[cfg(test)]
mod testing;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use crate::graph::Graph;
use crate::module::Module;
use crate::paths::Paths;
use crate::pins::Pins;
use crate::symbols::Imports;

const FRAMES_TITLE: &str = "Largest stack frames, in bytes:";
const PATHS_TITLE: &str = "Deepest calls below each entry point, in bytes:";

/// Checks a kernel module for FreeBSD on amd64 or arm64: that it imports exactly the
/// listed symbols, that its relocations, instructions and linker sets suit the
/// kernel, and that no code in it can panic as Rust does. Prints the largest
/// stack frames and the deepest calls. Exits with 1 if a check fails.
#[derive(Parser)]
struct Args {
    /// The file that lists the imports ([kernel], [pf.ko]) and the functions that
    /// may refer to panics ([panic])
    #[arg(long, value_name = "FILE", default_value = "kmod/exports")]
    exports: PathBuf,
    /// The FreeBSD release that the module is for: the headings [kernel N] and
    /// [pf.ko N] of other releases do not count, nor [kernel MACHINE] of others
    #[arg(long, value_name = "N", default_value_t = 14)]
    freebsd: u32,
    /// How many of the largest stack frames to print
    #[arg(long, value_name = "N", default_value_t = 10)]
    frames: usize,
    /// How many bytes of stack an entry point may take with all that it calls
    #[arg(long, value_name = "BYTES", default_value_t = 2048)]
    stack_limit: u64,
    /// A function that the kernel calls; may be repeated [default: every function
    /// whose address the module hands out]
    #[arg(long, value_name = "NAME")]
    entry: Vec<String>,
    /// The module: a relocatable object for amd64, a shared object for arm64
    module: PathBuf,
}

/// The result of all checks.
#[derive(Default)]
struct Report {
    problems: Vec<String>,
    /// The tables, printed whether or not there are problems.
    tables: String,
    /// What was checked, in a few words.
    counts: String,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let report = run(&args).unwrap_or_else(|problem| Report { problems: vec![problem], ..Report::default() });
    print!("{}", report.tables);
    for problem in &report.problems {
        println!("problem: {problem}");
    }
    let module = args.module.display();
    if report.problems.is_empty() {
        println!("check-module: {module} passes: {}", report.counts);
        return ExitCode::SUCCESS;
    }
    println!("check-module: {module} FAILS: {} problem(s)", report.problems.len());
    ExitCode::FAILURE
}

fn run(args: &Args) -> Result<Report, String> {
    let exports = read(&args.exports)?;
    let module = Module::parse(&read(&args.module)?)?;
    let pins = Pins::parse(&String::from_utf8_lossy(&exports), args.freebsd, module.machine)
        .map_err(|error| format!("{}: {error}", args.exports.display()))?;
    Ok(check(&module, &pins, args))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))
}

fn check(module: &Module, pins: &Pins, args: &Args) -> Report {
    let graph = Graph::of(module);
    let (entries, mut problems) = find_entries(&graph, &args.entry);
    let reachable = graph.reachable(&entries);
    let imports = Imports::of(module);
    problems.extend(module.missing_sets());
    problems.extend(module.problems.iter().cloned());
    problems.extend(imports.problems(&graph, &pins.imports));
    problems.extend(relocations::problems(module, &graph));
    problems.extend(instructions::problems(&graph));
    problems.extend(instructions::unmarked(&graph, &graph.address_taken(&reachable)));
    problems.extend(panics::problems(&graph, &reachable, &pins.panics));
    let stack = check_stack(&graph, &reachable, entries, args);
    problems.extend(stack.problems);
    let relocations: usize = module.sections.iter().map(|s| s.relocations.len()).sum();
    let (imports, stack_counts) = (imports.len(), stack.counts);
    let machine = module.machine.name();
    let counts = format!("{machine}, {imports} imports, {relocations} relocations, {stack_counts}");
    Report { problems, tables: stack.tables, counts }
}

fn find_entries(graph: &Graph, names: &[String]) -> (Vec<usize>, Vec<String>) {
    let (found, missing): (Vec<_>, Vec<_>) = names.iter().partition(|name| graph.named(name).is_some());
    let entries = found.into_iter().filter_map(|name| graph.named(name)).collect();
    let problems = missing.into_iter().map(|name| format!("there is no entry point {name}"));
    (entries, problems.collect())
}

/// The part of the report about frames, depth and recursion.
fn check_stack(graph: &Graph, reachable: &BTreeSet<usize>, mut entries: Vec<usize>, args: &Args) -> Report {
    if args.entry.is_empty() {
        entries.extend(graph.address_taken(reachable));
    }
    let (frames, mut problems) = frames::measure(graph, reachable);
    let mut paths = Paths::new(graph, &frames);
    frames.keys().for_each(|&function| paths.follow(function));
    entries.sort_by_key(|&entry| u64::MAX - paths.depth(entry));
    problems.extend(paths.recursion());
    problems.extend(too_deep(&paths, &entries, args.stack_limit));
    let largest = frames::table(graph, &frames, args.frames);
    let deepest = paths.table(&entries);
    let bytes = entries.first().map_or(0, |&entry| paths.depth(entry));
    Report {
        problems,
        tables: format!("{FRAMES_TITLE}\n{largest}{PATHS_TITLE}\n{deepest}"),
        counts: format!("{} functions, {bytes} bytes of stack at most", frames.len()),
    }
}

fn too_deep(paths: &Paths, entries: &[usize], limit: u64) -> Vec<String> {
    let deep = entries.iter().filter(|&&entry| paths.depth(entry) > limit);
    let problem = |&entry| {
        let (bytes, path) = (paths.depth(entry), paths.path(entry));
        format!("{bytes} bytes of stack, more than {limit}: {path}")
    };
    deep.map(problem).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::module::Machine;
    use crate::testing::{Builder, CALL};

    const EXPORTS: &str = "[kernel]\nmalloc\n";

    fn report(builder: &Builder, exports: &str, more: &[&str]) -> Report {
        let args = ["check-module", "pfsync.ko"].iter().chain(more);
        let pins = Pins::parse(exports, 14, Machine::Amd64).unwrap();
        check(&builder.module(), &pins, &Args::parse_from(args))
    }

    #[test]
    fn a_good_module_passes() {
        let report = report(&Builder::good(), EXPORTS, &[]);
        assert_eq!(report.problems, [""; 0]);
        assert_eq!(report.counts, "amd64, 1 imports, 2 relocations, 1 functions, 0 bytes of stack at most");
        assert!(report.tables.ends_with("in bytes:\n      0  start\n"), "{}", report.tables);
    }

    #[test]
    fn every_check_is_made() {
        let mut builder = Builder::new();
        let start = builder.function("start", CALL);
        let panic = builder.undefined("core::panicking::panic");
        builder.relocate(start, 1, object::elf::R_X86_64_GOTPCREL, panic, -4);
        // emms; sub rsp, rax; ret
        builder.function("float", &[0x0f, 0x77, 0x48, 0x29, 0xc4, 0xc3]);
        let more = ["--entry", "start", "--entry", "float", "--entry", "stop"];
        let problems = report(&builder, "", &more).problems;
        let expected = [
            "there is no entry point stop",
            "section set_modmetadata_set is missing",
            "section set_sysinit_set is missing",
            "undefined symbol core::panicking::panic",
            "relocation R_X86_64_GOTPCREL",
            ".text+0x8 (in float): emms touches",
            ".text+0x0 (in start) can panic",
            ".text+0xa (in float): the stack frame",
        ];
        assert_eq!(problems.len(), expected.len(), "{problems:#?}");
        for (problem, expected) in problems.iter().zip(expected) {
            assert!(problem.starts_with(expected), "{problem}");
        }
    }

    #[test]
    fn the_stack_limit_holds_for_entry_points() {
        let mut builder = Builder::good();
        let deep = builder.function("deep", &[0x53, 0x5b, 0xc3]);
        let root = builder.data("set_sysuninit_set", "root", &[0; 8]);
        builder.points(root, deep);
        let problems = |limit| report(&builder, EXPORTS, &["--stack-limit", limit]).problems;
        assert_eq!(problems("8"), [""; 0]);
        assert_eq!(problems("7"), ["8 bytes of stack, more than 7: deep"]);
    }

    #[test]
    fn recursion_is_a_problem() {
        let mut builder = Builder::good();
        let start = builder.named("start");
        let again = builder.function("again", CALL);
        builder.calls(again, start);
        builder.calls(start, again);
        let problems = report(&builder, EXPORTS, &[]).problems;
        assert_eq!(problems.len(), 1, "{problems:#?}");
        assert!(problems[0].starts_with("recursion"));
    }

    #[test]
    fn files_that_cannot_be_read_are_named() {
        let args = Args::parse_from(["check-module", "--exports", "/none", "pfsync.ko"]);
        assert!(run(&args).err().unwrap().starts_with("/none: "));
    }
}
