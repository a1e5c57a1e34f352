// SPDX-License-Identifier: BSD-2-Clause
//! Check 1: the module imports exactly the symbols that the exports file lists.

use std::collections::{BTreeMap, BTreeSet};

use crate::graph::Graph;
use crate::module::{Module, Target};

/// The symbols that the kernel looks up outside the module, each with the section
/// and offset of its first use.
pub(crate) struct Imports(BTreeMap<String, (usize, u64)>);

impl Imports {
    /// Reads the imports of a module. The kernel looks up only what a relocation
    /// names, not every undefined symbol.
    pub(crate) fn of(module: &Module) -> Self {
        let mut imports = BTreeMap::new();
        for (index, section) in module.sections.iter().enumerate() {
            for relocation in &section.relocations {
                let name = &relocation.symbol;
                if matches!(relocation.target, Target::Undefined) && !is_set_bound(module, name) {
                    imports.entry(name.clone()).or_insert((index, relocation.offset));
                }
            }
        }
        Self(imports)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// A problem for each import that is not listed, and for each listed name that is not imported.
    pub(crate) fn problems(&self, graph: &Graph, listed: &BTreeSet<String>) -> Vec<String> {
        let needed = self.0.iter().filter(|(name, _)| !listed.contains(*name));
        let needed = needed.map(|(name, &(section, offset))| {
            let place = graph.place(section, offset);
            format!("undefined symbol {name}, used at {place}, is not in the exports file")
        });
        let stale = listed.iter().filter(|name| !self.0.contains_key(*name));
        let stale = stale.map(|name| format!("the exports file lists {name}, which the module does not use"));
        needed.chain(stale).collect()
    }
}

/// Whether the kernel's linker itself defines the symbol, as start or stop of a section.
fn is_set_bound(module: &Module, name: &str) -> bool {
    let bound = name.strip_prefix("__start_").or(name.strip_prefix("__stop_"));
    bound.is_some_and(|bound| module.sections.iter().any(|section| section.name == bound))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Builder, CALL};

    fn problems(builder: &Builder, listed: &[&str]) -> Vec<String> {
        let listed = listed.iter().map(|name| name.to_string()).collect();
        Imports::of(&builder.module()).problems(&builder.graph(), &listed)
    }

    #[test]
    fn listed_and_needed() {
        assert_eq!(problems(&Builder::good(), &["malloc"]), [""; 0]);
    }

    #[test]
    fn needed_but_not_listed() {
        let problems = problems(&Builder::good(), &[]);
        let place = ".text+0x1 (in start)";
        let expected = format!("undefined symbol malloc, used at {place}, is not in the exports file");
        assert_eq!(problems, [expected]);
    }

    #[test]
    fn listed_but_not_needed() {
        let problems = problems(&Builder::good(), &["malloc", "bcmp"]);
        assert_eq!(problems, ["the exports file lists bcmp, which the module does not use"]);
    }

    #[test]
    fn undefined_and_unused_is_not_needed() {
        let mut builder = Builder::good();
        builder.undefined("bcmp");
        assert_eq!(problems(&builder, &["malloc"]), [""; 0]);
    }

    #[test]
    fn bounds_of_own_sets_are_not_imports() {
        let mut builder = Builder::good();
        for bound in ["__start_set_sysinit_set", "__stop_set_pcpu"] {
            let caller = builder.function(&format!("uses {bound}"), CALL);
            let bound = builder.undefined(bound);
            builder.calls(caller, bound);
        }
        let problems = problems(&builder, &["malloc"]);
        assert_eq!(problems.len(), 1);
        assert!(problems[0].contains("__stop_set_pcpu"));
    }
}
