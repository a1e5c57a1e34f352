// SPDX-License-Identifier: BSD-2-Clause
//! The exports file: the symbols that the module takes from the kernel and from
//! pf.ko, and the functions that may refer to Rust's panic machinery.
//!
//! ```text
//! [kernel]
//! malloc
//! [pf.ko]
//! pf_find_state_byid
//! [pf.ko 15]              # in FreeBSD 15 alone
//! pf_remove_state
//! [kernel aarch64]        # on arm64 alone
//! lse_supported
//! [panic]
//! pfsync::engine::merge   # why this cannot happen
//! ```
//!
//! A comment starts with `#` at the start of a line or after a space, because
//! names such as `{closure#0}` contain a `#`.

use std::collections::BTreeSet;

use crate::module::Machine;

const MACHINES: [&str; 2] = ["amd64", "aarch64"];

/// What the exports file lists.
#[derive(Debug, Default)]
pub(crate) struct Pins {
    /// The names under `[kernel]` and `[pf.ko]`, with or without the number of the release
    /// and the name of the machine.
    pub(crate) imports: BTreeSet<String>,
    /// The demangled names under `[panic]`.
    pub(crate) panics: BTreeSet<String>,
}

/// Which list a line belongs to.
#[derive(Clone, Copy)]
enum Heading {
    Imports,
    Panics,
    /// The names of another release or machine.
    Elsewhere,
}

impl Pins {
    /// Reads the file's text for a release of FreeBSD on a machine. An error names the line.
    pub(crate) fn parse(text: &str, release: u32, machine: Machine) -> Result<Self, String> {
        let mut pins = Self::default();
        let mut heading = None;
        for (index, line) in text.lines().enumerate() {
            pins.line(line.trim(), (release, machine), &mut heading)
                .map_err(|error| format!("line {}: {error}", index + 1))?;
        }
        Ok(pins)
    }

    fn line(
        &mut self,
        line: &str,
        built_for: (u32, Machine),
        heading: &mut Option<Heading>,
    ) -> Result<(), String> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        let (name, comment) = line.split_once(" #").unwrap_or((line, ""));
        let name = name.trim().to_owned();
        if name.starts_with('[') {
            *heading = Some(parse_heading(&name, built_for)?);
            return Ok(());
        }
        let new = match heading {
            None => return Err(format!("`{name}` is under no heading")),
            Some(Heading::Panics) if comment.trim().is_empty() => {
                return Err(format!("`{name}` has no reason after ` #`"))
            }
            Some(Heading::Panics) => self.panics.insert(name.clone()),
            Some(Heading::Imports) => self.imports.insert(name.clone()),
            Some(Heading::Elsewhere) => true,
        };
        new.then_some(()).ok_or(format!("`{name}` is listed twice"))
    }
}

fn parse_heading(line: &str, (release, machine): (u32, Machine)) -> Result<Heading, String> {
    let unknown = || format!("no heading is called `{line}`");
    let inside = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')).ok_or_else(unknown)?;
    let mut words = inside.split(' ');
    let heading = match words.next() {
        Some("kernel" | "pf.ko") => Heading::Imports,
        Some("panic") => Heading::Panics,
        _ => return Err(unknown()),
    };
    let mut applies = true;
    for word in words {
        applies &= match (word.parse::<u32>(), heading) {
            (Ok(number), Heading::Imports) => number == release,
            (Err(_), Heading::Imports) if MACHINES.contains(&word) => word == machine.name(),
            _ => return Err(unknown()),
        };
    }
    Ok(if applies { heading } else { Heading::Elsewhere })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_comments_and_headings() {
        let text =
            "# all\n[kernel]\nmalloc\nfree # and this\n\n[pf.ko]\npf_x\n[panic]\na::{closure#0}  # never\n";
        let pins = Pins::parse(text, 14, Machine::Amd64).unwrap();
        assert_eq!(Vec::from_iter(&pins.imports), ["free", "malloc", "pf_x"]);
        assert_eq!(Vec::from_iter(&pins.panics), ["a::{closure#0}"]);
    }

    #[test]
    fn mistakes_are_named() {
        let error = |text| Pins::parse(text, 14, Machine::Amd64).unwrap_err();
        assert_eq!(error("malloc"), "line 1: `malloc` is under no heading");
        assert_eq!(error("[kernel]\na\n[pf.ko]\na"), "line 4: `a` is listed twice");
        assert_eq!(error("[panic]\nf"), "line 2: `f` has no reason after ` #`");
        assert_eq!(error("[carp]"), "line 1: no heading is called `[carp]`");
        assert_eq!(error("[kernel x]"), "line 1: no heading is called `[kernel x]`");
        assert_eq!(error("[kernel]\na\n[kernel 14]\na"), "line 4: `a` is listed twice");
    }

    #[test]
    fn a_release_has_names_of_its_own() {
        let text = "[kernel]\nmalloc\n[kernel 14]\nold\n[pf.ko 15]\npf_new\n[kernel 15] # later\nnew\n";
        let imports = |release| Vec::from_iter(Pins::parse(text, release, Machine::Amd64).unwrap().imports);
        assert_eq!(imports(14), ["malloc", "old"]);
        assert_eq!(imports(15), ["malloc", "new", "pf_new"]);
    }

    #[test]
    fn a_machine_has_names_of_its_own() {
        let text =
            "[kernel]\nmalloc\n[kernel aarch64]\nlse\n[kernel 15 amd64]\nold\n[pf.ko aarch64 15]\npf_new\n";
        let imports = |machine| Vec::from_iter(Pins::parse(text, 15, machine).unwrap().imports);
        assert_eq!(imports(Machine::Amd64), ["malloc", "old"]);
        assert_eq!(imports(Machine::Arm64), ["lse", "malloc", "pf_new"]);
    }
}
