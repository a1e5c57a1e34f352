//! The exports file: the names the module may take from the kernel and from
//! pf.ko, and the functions that may refer to Rust's panic machinery.
//!
//! ```text
//! [kernel]
//! malloc
//! [pf.ko]
//! pf_find_state_byid
//! [panic]
//! pfsync::engine::merge   # why this cannot happen
//! ```
//!
//! A comment starts with `#` at the start of a line or after a space, since
//! names like `{closure#0}` have one inside.

use std::collections::BTreeSet;

/// What the exports file lists.
#[derive(Debug, Default)]
pub struct Pins {
    /// Names under `[kernel]` and `[pf.ko]`.
    pub imports: BTreeSet<String>,
    /// Demangled names under `[panic]`.
    pub panics: BTreeSet<String>,
}

/// Which list a line belongs to.
#[derive(Clone, Copy)]
enum Heading {
    Imports,
    Panics,
}

impl Pins {
    /// Reads the file's text; an error names the line.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut pins = Self::default();
        let mut heading = None;
        for (index, line) in text.lines().enumerate() {
            pins.line(line.trim(), &mut heading).map_err(|error| format!("line {}: {error}", index + 1))?;
        }
        Ok(pins)
    }

    fn line(&mut self, line: &str, heading: &mut Option<Heading>) -> Result<(), String> {
        if line.is_empty() || line.starts_with('#') {
            return Ok(());
        }
        if line.starts_with('[') {
            *heading = Some(parse_heading(line)?);
            return Ok(());
        }
        let (name, comment) = line.split_once(" #").unwrap_or((line, ""));
        let name = name.trim().to_owned();
        let new = match heading {
            None => return Err(format!("`{name}` is under no heading")),
            Some(Heading::Panics) if comment.trim().is_empty() => {
                return Err(format!("`{name}` has no reason after ` #`"))
            }
            Some(Heading::Panics) => self.panics.insert(name.clone()),
            Some(Heading::Imports) => self.imports.insert(name.clone()),
        };
        new.then_some(()).ok_or(format!("`{name}` is listed twice"))
    }
}

fn parse_heading(line: &str) -> Result<Heading, String> {
    match line {
        "[kernel]" | "[pf.ko]" => Ok(Heading::Imports),
        "[panic]" => Ok(Heading::Panics),
        _ => Err(format!("no heading is called `{line}`")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_comments_and_headings() {
        let text =
            "# all\n[kernel]\nmalloc\nfree # and this\n\n[pf.ko]\npf_x\n[panic]\na::{closure#0}  # never\n";
        let pins = Pins::parse(text).unwrap();
        assert_eq!(Vec::from_iter(&pins.imports), ["free", "malloc", "pf_x"]);
        assert_eq!(Vec::from_iter(&pins.panics), ["a::{closure#0}"]);
    }

    #[test]
    fn mistakes_are_named() {
        let error = |text| Pins::parse(text).unwrap_err();
        assert_eq!(error("malloc"), "line 1: `malloc` is under no heading");
        assert_eq!(error("[kernel]\na\n[pf.ko]\na"), "line 4: `a` is listed twice");
        assert_eq!(error("[panic]\nf"), "line 2: `f` has no reason after ` #`");
        assert_eq!(error("[carp]"), "line 1: no heading is called `[carp]`");
    }
}
