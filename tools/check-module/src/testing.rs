// SPDX-License-Identifier: BSD-2-Clause
//! Builds small modules for tests.

use std::collections::HashMap;

use object::write::{Object, Relocation, SectionId, Symbol, SymbolId, SymbolSection};
use object::{
    elf::{self, RelocationType},
    Architecture, BinaryFormat, Endianness, RelocationFlags, SectionKind, SymbolFlags, SymbolKind,
    SymbolScope,
};

use crate::graph::Graph;
use crate::module::Module;

/// `ret`
pub(crate) const RET: &[u8] = &[0xc3];
/// `call` with a relocation at offset 1, then `ret`.
pub(crate) const CALL: &[u8] = &[0xe8, 0, 0, 0, 0, 0xc3];
/// `jmp` with a relocation at offset 1.
pub(crate) const JUMP: &[u8] = &[0xe9, 0, 0, 0, 0];

/// A module under construction.
pub(crate) struct Builder {
    object: Object<'static>,
    text: SectionId,
    data: HashMap<String, SectionId>,
    symbols: HashMap<String, SymbolId>,
}

impl Builder {
    /// A module without symbols and linker sets.
    pub(crate) fn new() -> Self {
        let mut object = Object::new(BinaryFormat::Elf, Architecture::X86_64, Endianness::Little);
        let text = object.add_section(Vec::new(), b".text".to_vec(), SectionKind::Text);
        Self { object, text, data: HashMap::new(), symbols: HashMap::new() }
    }

    /// A module with both linker sets. The second points to a function `start`, which
    /// calls the kernel's `malloc`.
    pub(crate) fn good() -> Self {
        let mut builder = Self::new();
        builder.data("set_modmetadata_set", "metadata", &[0; 8]);
        let sysinit = builder.data("set_sysinit_set", "sysinit", &[0; 8]);
        let start = builder.function("start", CALL);
        let malloc = builder.undefined("malloc");
        builder.points(sysinit, start);
        builder.calls(start, malloc);
        builder
    }

    pub(crate) fn function(&mut self, name: &str, code: &[u8]) -> SymbolId {
        self.define(self.text, name, SymbolKind::Text, code)
    }

    pub(crate) fn data(&mut self, section: &str, name: &str, bytes: &[u8]) -> SymbolId {
        let kind = if section.starts_with(".debug") { SectionKind::Debug } else { SectionKind::Data };
        let add = || self.object.add_section(Vec::new(), section.into(), kind);
        let section = *self.data.entry(section.to_owned()).or_insert_with(add);
        self.define(section, name, SymbolKind::Data, bytes)
    }

    pub(crate) fn undefined(&mut self, name: &str) -> SymbolId {
        self.symbol(name, SymbolKind::Unknown)
    }

    pub(crate) fn named(&self, name: &str) -> SymbolId {
        self.symbols[name]
    }

    fn symbol(&mut self, name: &str, kind: SymbolKind) -> SymbolId {
        let symbol = self.object.add_symbol(Symbol {
            name: name.into(),
            value: 0,
            size: 0,
            kind,
            scope: SymbolScope::Linkage,
            weak: false,
            section: SymbolSection::Undefined,
            flags: SymbolFlags::None,
        });
        self.symbols.insert(name.to_owned(), symbol);
        symbol
    }

    fn define(&mut self, section: SectionId, name: &str, kind: SymbolKind, data: &[u8]) -> SymbolId {
        let symbol = self.symbol(name, kind);
        self.object.add_symbol_data(symbol, section, data, 8);
        symbol
    }

    /// Relocates the second to fifth byte of `caller`: [`CALL`], [`JUMP`].
    pub(crate) fn calls(&mut self, caller: SymbolId, callee: SymbolId) {
        self.relocate(caller, 1, elf::R_X86_64_PLT32, callee, -4);
    }

    /// Relocates the pointer at the start of `data`.
    pub(crate) fn points(&mut self, data: SymbolId, to: SymbolId) {
        self.relocate(data, 0, elf::R_X86_64_64, to, 0);
    }

    pub(crate) fn relocate(
        &mut self,
        at: SymbolId,
        by: u64,
        r_type: RelocationType,
        symbol: SymbolId,
        addend: i64,
    ) {
        let place = self.object.symbol(at);
        let section = place.section.id().expect("a defined symbol");
        let offset = place.value + by;
        let flags = RelocationFlags::Elf { r_type };
        let relocation = Relocation { offset, symbol, addend, flags };
        self.object.add_relocation(section, relocation).expect("a writable relocation");
    }

    pub(crate) fn file(&self) -> Vec<u8> {
        self.object.write().expect("a writable object")
    }

    pub(crate) fn module(&self) -> Module {
        Module::parse(&self.file()).expect("a module")
    }

    pub(crate) fn graph(&self) -> Graph {
        Graph::of(&self.module())
    }
}
