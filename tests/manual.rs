// SPDX-License-Identifier: BSD-2-Clause
//! Holds the manual to the source: every sysctl, probe, counter and option
//! that it lists is there, and every one that is there is listed. Likewise the
//! DTrace scripts.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use pfsync::engine::bucket::Queue;
use pfsync::engine::config::Config;
use pfsync::wire::{Action, Format};

const MANUAL: &str = "share/man/pfsync.4";
const STATUS_MANUAL: &str = "share/man/pfsync-status.8";

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The sections that list the sysctls.
const VARIABLES: [&str; 2] = ["SYSCTL VARIABLES", "LOADER TUNABLES"];

/// The lines of a section of the manual.
fn section(name: &str) -> Vec<String> {
    let manual = read(MANUAL);
    let lines = manual.lines().map(str::to_owned);
    let heading = format!(".Sh {name}");
    let lines: Vec<_> = lines
        .skip_while(|line| *line != heading)
        .skip(1)
        .take_while(|line| !line.starts_with(".Sh "))
        .collect();
    assert!(!lines.is_empty(), "the manual has no section {name}");
    lines
}

/// What follows `before` in each place of `text`, as long as `is_part` says so.
fn all_after(text: &str, before: &str, is_part: impl Fn(char) -> bool) -> BTreeSet<String> {
    text.split(before).skip(1).map(|rest| rest.chars().take_while(|c| is_part(*c)).collect()).collect()
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

fn set<'a>(items: impl IntoIterator<Item = &'a str>) -> BTreeSet<String> {
    items.into_iter().map(str::to_owned).collect()
}

/// The arguments of every use of a macro whose name begins so, with the name
/// in front.
fn macros(source: &str, prefix: &str) -> Vec<Vec<String>> {
    let mut uses = Vec::new();
    for rest in source.split(prefix).skip(1) {
        let Some((head, _)) = rest.split_once(");") else { continue };
        let Some((name, arguments)) = head.split_once('(') else { continue };
        let mut parts = vec![name.to_owned()];
        parts.extend(arguments.split(',').map(|part| part.trim().trim_matches('"').to_owned()));
        uses.push(parts);
    }
    uses
}

/// The sysctls that the module declares below `net.pfsync`.
fn sysctls() -> BTreeSet<String> {
    let uses = macros(&read("kmod/module.c"), "SYSCTL_");
    let below = |parent: &str| match parent.strip_prefix("_net_pfsync")? {
        "" => Some(String::new()),
        node => Some(format!("{}.", node.trim_start_matches('_'))),
    };
    let leaves = uses.iter().filter(|parts| parts[0] != "NODE");
    leaves.filter_map(|parts| Some(below(parts.get(1)?)? + &parts[3])).collect()
}

/// The probes that the module declares, with the types of their arguments.
fn probes() -> BTreeMap<String, Vec<String>> {
    let uses = macros(&read("kmod/probes.c"), "SDT_PROBE_DEFINE");
    let probes = uses.iter().map(|parts| {
        let [count, provider, module, function, name, types @ ..] = parts.as_slice() else {
            panic!("{parts:?}");
        };
        assert_eq!(types.len().to_string(), *count, "{name}");
        (format!("{provider}:{module}:{function}:{name}"), types.to_vec())
    });
    probes.collect()
}

/// Names of probes in a text.
fn named_probes(text: &str) -> BTreeSet<String> {
    let names = all_after(text, "pfsync::", |c| is_word(c) || c == ':');
    names.into_iter().map(|name| format!("pfsync::{name}")).collect()
}

#[test]
fn sysctls_are_those_of_the_module() {
    let listed: BTreeSet<_> = VARIABLES
        .into_iter()
        .flat_map(section)
        .filter_map(|line| line.strip_prefix(".It Va net.pfsync.").map(str::to_owned))
        .collect();
    assert!(listed.len() > 1);
    assert_eq!(listed, sysctls());
    for document in [MANUAL, "README.md", "docs/protocol.md", "docs/debugging.md", "CHANGELOG.md"] {
        let mut named = all_after(&read(document), "net.pfsync.", |c| is_word(c) || c == '.');
        named = named.iter().map(|name| name.trim_end_matches('.').to_owned()).collect();
        named.retain(|name| !["limited", "conflicts", "agreement", "peer"].contains(&name.as_str()));
        assert!(named.is_subset(&sysctls()), "{document} names {named:?}");
    }
}

#[test]
fn probes_are_those_of_the_module() {
    let listed: BTreeMap<_, _> = section("DTRACE PROBES")
        .iter()
        .filter_map(|line| line.strip_prefix(".It Fn "))
        .map(|item| {
            let (name, arguments) = item.split_once(' ').unwrap();
            let arguments = arguments.split('"').filter(|part| !part.trim().is_empty());
            let types = arguments.map(|argument| argument.split_once(' ').unwrap().0.to_owned());
            (name.to_owned(), types.collect::<Vec<_>>())
        })
        .collect();
    assert!(listed.len() > 1);
    assert_eq!(listed, probes());
    let known: BTreeSet<_> = probes().into_keys().collect();
    assert_eq!(named_probes(&read("src/driver/probe.rs")), known);
}

#[test]
fn scripts_use_probes_that_are_there() {
    let known: BTreeSet<_> = probes().into_keys().collect();
    let mut scripts = 0;
    for entry in std::fs::read_dir(path("share/dtrace")).unwrap() {
        let file = entry.unwrap().path();
        let script = std::fs::read_to_string(&file).unwrap();
        let used = named_probes(&script);
        assert!(script.starts_with("#!/usr/sbin/dtrace -"), "{file:?}");
        assert!(!used.is_empty() && used.is_subset(&known), "{file:?} uses {used:?}");
        scripts += 1;
    }
    assert!(scripts > 0);
}

/// The queues that the probe `state:queued` reports, with the word that a document
/// must have for each.
const REPORTED_QUEUES: [(Queue, &str); 4] = [
    (Queue::Insert, "insert"),
    (Queue::Update, "update"),
    (Queue::Waiting, "update"),
    (Queue::Delete, "delete"),
];

/// The numbers that the table `name` of a script compares its argument with, each
/// with the text that follows up to the next line.
fn compared(script: &str, name: &str) -> Vec<(u8, String)> {
    let (_, table) = script.split_once(&format!("inline string {name}[")).expect(name);
    let (table, _) = table.split_once(';').expect("the end of the table");
    let mut compared = Vec::new();
    for line in table.lines().filter(|line| line.contains("==")) {
        for part in line.split("== ").skip(1) {
            let number = part.split(' ').next().and_then(|number| number.parse().ok());
            compared.push((number.expect("a number"), line.to_owned()));
        }
    }
    compared
}

#[test]
fn queues_have_the_numbers_that_the_scripts_compare() {
    let compared = compared(&read("share/dtrace/why-not-synced.d"), "QUEUED");
    let numbers: Vec<_> = compared.iter().map(|(number, _)| *number).collect();
    assert_eq!(numbers, REPORTED_QUEUES.map(|(queue, _)| queue as u8));
    for ((_, line), (queue, word)) in compared.iter().zip(REPORTED_QUEUES) {
        assert!(line.contains(word), "{queue:?}: {line}");
    }
}

#[test]
fn the_manual_lists_the_numbers_of_the_queues() {
    let lines = section("DTRACE PROBES");
    let item = lines.iter().skip_while(|line| !line.contains("pfsync::state:queued")).skip(1);
    let text = item.take_while(|line| !line.starts_with(".It ")).cloned().collect::<Vec<_>>().join(" ");
    let numbers = all_after(&text, "(", |c| c.is_ascii_digit());
    assert_eq!(numbers, REPORTED_QUEUES.iter().map(|(queue, _)| (*queue as u8).to_string()).collect());
}

#[test]
fn the_source_of_the_probes_lists_the_numbers_of_the_queues() {
    let source = read("src/driver/probe.rs");
    let (before, _) = source.split_once("fn queued(").expect("the probe");
    let (_, comment) = before.rsplit_once("state:queued").expect("the comment of the probe");
    for (queue, _) in REPORTED_QUEUES {
        assert!(comment.contains(&format!(" {} ", queue as u8)), "{queue:?}");
    }
}

#[test]
fn actions_have_the_numbers_that_the_scripts_compare() {
    let mut kinds = compared(&read("share/dtrace/bad-packets.d"), "KIND");
    kinds.sort_unstable();
    let named: Vec<_> = kinds.iter().map(|(number, _)| Action::from_number(*number)).collect();
    assert_eq!(named, Action::ALL.map(Some));
    for (number, line) in kinds {
        let action = Action::from_number(number).expect("an action");
        let word = match action.format() {
            Some(format) if format.insert() == action => "\"insert\"",
            Some(_) => "\"update\"",
            None => "",
        };
        assert!(line.contains(word), "{action:?}: {line}");
    }
    let progress = read("share/dtrace/bulk-progress.d");
    let updates = [Format::V1301, Format::V1400, Format::V1500].map(|format| format.update() as u8);
    let counted = updates.map(|number| format!("arg0 == {number}")).join(" || ");
    assert!(progress.contains(&counted), "{counted}");
}

/// What ifconfig(8) calls an option, and what the ioctl function does.
const OPTIONS: [(&str, &str); 11] = [
    ("up", "pfs_SIOCSIFFLAGS"),
    ("down", "pfs_SIOCSIFFLAGS"),
    ("mtu", "pfs_SIOCSIFMTU"),
    ("syncdev", "c\"syncdev\""),
    ("-syncdev", "c\"syncdev\""),
    ("syncpeer", "c\"syncpeer\""),
    ("-syncpeer", "c\"syncpeer\""),
    ("maxupd", "c\"maxupdates\""),
    ("defer", "c\"flags\""),
    ("-defer", "c\"flags\""),
    ("version", "c\"version\""),
];

#[test]
fn options_are_those_of_the_ioctl_function() {
    let mut listed = BTreeSet::new();
    for line in section("CONFIGURATION") {
        if let Some(names) = line.strip_prefix(".It Cm ") {
            let names = names.split_once(" Ar ").map_or(names, |(name, _)| name);
            listed.extend(names.split(" , ").map(str::to_owned));
        } else if let Some(name) = line.strip_prefix(".It Fl ") {
            listed.insert(format!("-{name}"));
        }
    }
    assert_eq!(listed, set(OPTIONS.map(|(option, _)| option)));

    let source = read("src/driver/ifconfig.rs");
    let mut handled: BTreeSet<_> =
        all_after(&source, "c\"", is_word).iter().map(|key| format!("c\"{key}\"")).collect();
    handled.extend(all_after(&source, "sys::pfs_SIOC", is_word).iter().map(|name| format!("pfs_SIOC{name}")));
    let mut known = set(OPTIONS.map(|(_, handled)| handled));
    // What a peer's address consists of.
    known.extend(set(["c\"af\"", "c\"address\""]));
    for request in ["SIOCGETPFSYNC", "SIOCSETPFSYNC", "SIOCGETPFSYNCNV", "SIOCSETPFSYNCNV"] {
        assert!(section("CONFIGURATION").contains(&format!(".Dv {request}")), "{request}");
        known.insert(format!("pfs_{request}"));
    }
    assert_eq!(handled, known);
}

#[test]
fn counters_are_those_of_the_module() {
    let listed: BTreeSet<_> = section("STATISTICS")
        .iter()
        .filter(|line| line.starts_with(".It "))
        .filter_map(|line| line.split_once(" Pq Va "))
        .flat_map(|(_, fields)| fields.split(" , ").map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert_eq!(listed, all_after(&read("src/driver/stats.rs"), "pfsyncs_", is_word));
}

/// The default that the manual gives for what it lists as `item`.
fn default_of(item: &str) -> String {
    let sections = ["CONFIGURATION"].into_iter().chain(VARIABLES);
    let lines: Vec<_> = sections.flat_map(section).collect();
    let mut lines = lines.iter().skip_while(|line| !line.starts_with(item)).skip(1);
    let line = lines.find_map(|line| line.strip_prefix("The default is ").map(str::to_owned));
    line.unwrap_or_else(|| panic!("{item} has no default")).trim_end_matches('.').to_owned()
}

#[test]
fn defaults_are_those_of_the_module() {
    let module = read("kmod/module.c");
    for (sysctl, field) in [
        ("carp_demotion_factor", ".carp_adj = "),
        ("defer_delay", ".defer_delay = "),
        ("peer_share", ".peer_share = "),
        ("peer_inserts", ".peer_inserts = "),
        ("peer_requests", ".peer_requests = "),
    ] {
        let value = all_after(&module, field, |c| c.is_ascii_digit());
        assert_eq!(set([default_of(&format!(".It Va net.pfsync.{sysctl}")).as_str()]), value, "{sysctl}");
    }
    let config = Config::new(Format::V1500);
    assert_eq!(default_of(".It Cm maxupd"), config.maxupd.to_string());
    assert_eq!(default_of(".It Cm version"), "0");
    assert_eq!(config.fixed_format, None);
    assert!(!config.defer);
}

/// mandoc(1) has nothing to say but that FreeBSD's other manuals are not
/// installed here.
#[test]
fn mandoc_has_no_complaint() {
    let manuals = [path(MANUAL), path(STATUS_MANUAL)];
    let output = Command::new("mandoc").args(["-T", "lint"]).args(manuals).output();
    let output = output.expect("mandoc is installed by tools/setup.sh");
    let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    let elsewhere = ["referenced manual not found", "outdated mandoc.db"];
    let complaints: Vec<_> =
        text.lines().filter(|line| !elsewhere.iter().any(|known| line.contains(known))).collect();
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
}
