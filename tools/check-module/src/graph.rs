// SPDX-License-Identifier: BSD-2-Clause
//! The module divided into functions and data objects, with the references
//! between them: calls, jumps and addresses.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use crate::code::{Flow, Instruction, Place};
use crate::module::{Machine, Module, Section, Symbol};
use crate::{amd64, arm64};

/// Sections that the kernel reads at load: it runs what they point to.
const ROOTS: [&str; 4] = ["set_", ".init_array", ".fini_array", ".ctors"];

/// The module's items, sorted by section and offset, and their names.
pub(crate) struct Graph {
    pub(crate) items: Vec<Item>,
    pub(crate) machine: Machine,
    sections: Vec<String>,
    names: HashMap<String, usize>,
}

/// A function, a data object, or a part of a section without a symbol.
pub(crate) struct Item {
    /// Its demangled name.
    pub(crate) name: String,
    pub(crate) section: usize,
    pub(crate) range: Range<u64>,
    pub(crate) executable: bool,
    /// Its instructions, addressed by their offsets in the section; empty for data.
    pub(crate) code: Vec<Instruction>,
    pub(crate) references: Vec<Reference>,
}

/// A reference from one item to another.
pub(crate) struct Reference {
    /// The offset of the reference in the section.
    pub(crate) from: u64,
    pub(crate) how: How,
    pub(crate) to: To,
}

#[derive(Clone, Copy, PartialEq)]
pub(crate) enum How {
    Call,
    Jump,
    Address,
}

pub(crate) enum To {
    Item(usize),
    /// A symbol outside the module.
    Outside(String),
}

impl Graph {
    pub(crate) fn of(module: &Module) -> Self {
        let mut graph = Self {
            items: (0..module.sections.len()).flat_map(|section| cut(module, section)).collect(),
            machine: module.machine,
            sections: module.sections.iter().map(|section| section.name.clone()).collect(),
            names: HashMap::new(),
        };
        for symbol in &module.symbols {
            if let Some(item) = graph.find(symbol.section, symbol.offset) {
                graph.names.insert(symbol.name.clone(), item);
                graph.names.insert(demangle(&symbol.name), item);
            }
        }
        for item in 0..graph.items.len() {
            graph.items[item].references = graph.references(module, item);
        }
        graph
    }

    /// The item at an offset of a section.
    fn find(&self, section: usize, offset: u64) -> Option<usize> {
        let after = self.items.partition_point(|item| (item.section, item.range.start) <= (section, offset));
        let last = after.checked_sub(1)?;
        let item = &self.items[last];
        (item.section == section && item.range.contains(&offset)).then_some(last)
    }

    /// The item with this name, mangled or not.
    pub(crate) fn named(&self, name: &str) -> Option<usize> {
        self.names.get(name).copied()
    }

    /// An offset of a section, in words for a reader.
    pub(crate) fn place(&self, section: usize, offset: u64) -> String {
        let name = self.find(section, offset).map_or("", |item| &self.items[item].name);
        format!("{}+{offset:#x} (in {name})", self.sections[section])
    }

    /// Every item that the kernel can reach: from the linker sets
    /// and from `entries`.
    pub(crate) fn reachable(&self, entries: &[usize]) -> BTreeSet<usize> {
        let mut work: Vec<_> = (0..self.items.len()).filter(|&item| self.is_root(item)).collect();
        work.extend(entries);
        let mut seen = BTreeSet::new();
        while let Some(item) = work.pop() {
            if seen.insert(item) {
                work.extend(self.items[item].references.iter().filter_map(Reference::item));
            }
        }
        seen
    }

    fn is_root(&self, item: usize) -> bool {
        let section = &self.sections[self.items[item].section];
        ROOTS.iter().any(|root| section.starts_with(root))
    }

    /// The functions whose address one of `items` holds. These the kernel may call.
    pub(crate) fn address_taken(&self, items: &BTreeSet<usize>) -> BTreeSet<usize> {
        items
            .iter()
            .flat_map(|&item| &self.items[item].references)
            .filter(|reference| reference.how == How::Address)
            .filter_map(Reference::item)
            .filter(|&item| self.items[item].executable)
            .collect()
    }

    fn references(&self, module: &Module, item: usize) -> Vec<Reference> {
        let section = &module.sections[self.items[item].section];
        let places = match &self.items[item] {
            Item { executable: true, code, .. } => code.iter().flat_map(code_places).collect(),
            Item { range, .. } => data_places(section, range),
        };
        places.into_iter().filter_map(|place| self.reference(item, place)).collect()
    }

    /// Omits references that lead to no other item: jumps within a function, and
    /// addresses inside one, such as those of a jump table.
    fn reference(&self, from: usize, (at, how, place): (u64, How, Place)) -> Option<Reference> {
        let (section, offset) = match place {
            Place::Inside(section, offset) => (section, offset),
            Place::Outside(name) => return Some(Reference { from: at, how, to: To::Outside(name) }),
        };
        let to = self.find(section, offset)?;
        let item = &self.items[to];
        let inner = item.executable && offset != item.range.start;
        let wanted = match how {
            How::Call => true,
            How::Jump => to != from,
            How::Address => !inner,
        };
        wanted.then_some(Reference { from: at, how, to: To::Item(to) })
    }
}

impl Item {
    /// Calls and jumps to other items of the module.
    pub(crate) fn callees(&self) -> impl Iterator<Item = (&Reference, usize)> {
        let calls = self.references.iter().filter(|reference| reference.how != How::Address);
        calls.filter_map(|reference| Some((reference, reference.item()?)))
    }
}

impl Reference {
    fn item(&self) -> Option<usize> {
        match self.to {
            To::Item(item) => Some(item),
            To::Outside(_) => None,
        }
    }
}

/// A name without Rust's mangling.
pub(crate) fn demangle(name: &str) -> String {
    format!("{:#}", rustc_demangle::demangle(name))
}

/// Divides a section at its symbols.
fn cut(module: &Module, index: usize) -> Vec<Item> {
    let section = &module.sections[index];
    let symbols: Vec<_> = module.symbols.iter().filter(|symbol| symbol.section == index).collect();
    let mut items = Vec::new();
    let mut cursor = 0;
    for symbol in &symbols {
        if symbol.offset < cursor || symbol.offset >= section.size {
            continue; // another name for, or a label in, the item before
        }
        if symbol.offset > cursor {
            items.push(unnamed(module, index, cursor..symbol.offset));
        }
        cursor = end_of(symbol, &symbols, section);
        items.push(item(module, index, demangle(&symbol.name), symbol.offset..cursor));
    }
    if cursor < section.size {
        items.push(unnamed(module, index, cursor..section.size));
    }
    items
}

/// The range of a symbol. One without a size extends to the next symbol.
fn end_of(symbol: &Symbol, symbols: &[&Symbol], section: &Section) -> u64 {
    if symbol.size > 0 {
        return section.size.min(symbol.offset.saturating_add(symbol.size));
    }
    let next = symbols.iter().find(|next| next.offset > symbol.offset);
    next.map_or(section.size, |next| next.offset.min(section.size))
}

fn unnamed(module: &Module, index: usize, range: Range<u64>) -> Item {
    item(module, index, format!("{}+{:#x}", module.sections[index].name, range.start), range)
}

fn item(module: &Module, index: usize, name: String, range: Range<u64>) -> Item {
    let executable = module.sections[index].executable;
    let code = match module.machine {
        _ if !executable => Vec::new(),
        Machine::Amd64 => amd64::decode(&module.sections[index], index, &range),
        Machine::Arm64 => arm64::decode(module, index, &range),
    };
    Item { name, section: index, range, executable, code, references: Vec::new() }
}

fn code_places(code: &Instruction) -> Vec<(u64, How, Place)> {
    let how = match code.flow {
        Flow::Call => How::Call,
        Flow::Jump(_) | Flow::Branch(_) => How::Jump,
        _ => How::Address,
    };
    code.places.iter().map(|place| (code.offset, how, place.clone())).collect()
}

fn data_places(section: &Section, range: &Range<u64>) -> Vec<(u64, How, Place)> {
    let relocations = section.relocations_in(range.clone()).iter();
    relocations
        .filter_map(|relocation| Some((relocation.offset, How::Address, relocation.place()?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Builder, CALL, JUMP, RET};
    use object::elf;

    fn names(graph: &Graph, items: impl IntoIterator<Item = usize>) -> Vec<&str> {
        items.into_iter().map(|item| graph.items[item].name.as_str()).collect()
    }

    #[test]
    fn reachable_through_calls_jumps_and_pointers() {
        let mut builder = Builder::good();
        let jumps = builder.function("jumps", JUMP);
        let table = builder.data(".data", "table", &[0; 8]);
        // mov rax, [table]
        let reads = builder.function("reads", &[0x48, 0x8b, 0x04, 0x25, 0, 0, 0, 0, 0xc3]);
        let pointed = builder.function("pointed", RET);
        builder.function("alone", RET);
        let sysinit = builder.named("sysinit");
        builder.relocate(sysinit, 0, elf::R_X86_64_64, jumps, 0);
        builder.calls(jumps, reads);
        builder.relocate(reads, 4, elf::R_X86_64_32S, table, 0);
        builder.points(table, pointed);
        let graph = builder.graph();
        let reached = names(&graph, graph.reachable(&[]));
        for name in ["jumps", "table", "reads", "pointed"] {
            assert!(reached.contains(&name), "{name} in {reached:?}");
        }
        assert!(!reached.contains(&"alone"));
        let alone = graph.named("alone").unwrap();
        assert!(graph.reachable(&[alone]).contains(&alone));
    }

    #[test]
    fn address_taken_is_not_the_same_as_called() {
        let mut builder = Builder::good();
        let start = builder.named("start");
        let called = builder.function("called", CALL);
        builder.relocate(start, 1, elf::R_X86_64_PLT32, called, -4);
        let graph = builder.graph();
        let all = graph.reachable(&[]);
        assert_eq!(names(&graph, graph.address_taken(&all)), ["start"]);
    }

    #[test]
    fn calls_that_the_assembler_resolved() {
        let mut builder = Builder::new();
        // call +3 (over ret and padding, to the function at 8)
        builder.function("caller", &[0xe8, 3, 0, 0, 0, 0xc3]);
        builder.function("callee", RET);
        let graph = builder.graph();
        let caller = graph.named("caller").unwrap();
        let callees: Vec<_> = graph.items[caller].callees().map(|(_, callee)| callee).collect();
        assert_eq!(names(&graph, callees), ["callee"]);
    }

    #[test]
    fn relative_fields_before_an_immediate() {
        let mut builder = Builder::new();
        builder.data(".data", "before", &[0; 8]);
        let flag = builder.data(".data", "flag", &[0; 8]);
        // cmp dword ptr [rip + flag], 1: the field is relative to five bytes further on
        let tests = builder.function("tests", &[0x83, 0x3d, 0, 0, 0, 0, 1, 0xc3]);
        builder.relocate(tests, 2, elf::R_X86_64_PC32, flag, -5);
        let graph = builder.graph();
        let tests = graph.named("tests").unwrap();
        let referred = graph.items[tests].references.iter().filter_map(Reference::item);
        assert_eq!(names(&graph, referred), ["flag"]);
    }

    #[test]
    fn places_name_section_offset_and_symbol() {
        let graph = Builder::good().graph();
        let start = &graph.items[graph.named("start").unwrap()];
        assert_eq!(graph.place(start.section, 1), ".text+0x1 (in start)");
    }

    #[test]
    fn rust_names_are_demangled() {
        assert_eq!(demangle("_ZN4core9panicking5panic17h0123456789abcdefE"), "core::panicking::panic");
        assert_eq!(demangle("malloc"), "malloc");
    }
}
