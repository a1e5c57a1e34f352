// SPDX-License-Identifier: BSD-2-Clause
//! The module's file as the kernel's linker reads it (sys/kern/link_elf_obj.c): the
//! sections that it loads, their relocations, and the symbols in them.

use std::collections::HashMap;

use object::elf::{
    self, RelocationType, EM_X86_64, ET_REL, R_X86_64_PC32, R_X86_64_PLT32, SHF_ALLOC, SHF_EXECINSTR,
};
use object::read::elf::{ElfFile64, FileHeader};
use object::{
    Endianness, Object, ObjectSection, ObjectSymbol, RelocationFlags, RelocationTarget, SectionFlags,
    SectionIndex, SymbolKind, SymbolSection,
};

type Elf<'d> = ElfFile64<'d, Endianness>;

/// The sections without which the kernel finds no module in the file: the metadata
/// (name, version, dependencies) and the registration at load.
const NEEDED_SETS: [&str; 2] = ["set_modmetadata_set", "set_sysinit_set"];

/// A relocatable object.
pub(crate) struct Module {
    pub(crate) sections: Vec<Section>,
    /// The symbols in those sections, sorted by section and offset.
    pub(crate) symbols: Vec<Symbol>,
}

/// A section that the kernel loads.
pub(crate) struct Section {
    pub(crate) name: String,
    pub(crate) executable: bool,
    /// Its bytes; empty for `.bss`.
    pub(crate) data: Vec<u8>,
    pub(crate) size: u64,
    /// Sorted by offset.
    pub(crate) relocations: Vec<Relocation>,
}

/// A name for bytes of a section.
pub(crate) struct Symbol {
    pub(crate) name: String,
    pub(crate) section: usize,
    pub(crate) offset: u64,
    pub(crate) size: u64,
}

/// A field in a section that the kernel fills in at load.
pub(crate) struct Relocation {
    pub(crate) offset: u64,
    pub(crate) r_type: RelocationType,
    /// The name of the symbol, or of its section.
    pub(crate) symbol: String,
    pub(crate) target: Target,
    pub(crate) addend: i64,
}

/// What the symbol of a relocation refers to.
pub(crate) enum Target {
    Inside {
        section: usize,
        offset: u64,
    },
    Undefined,
    /// A fixed number.
    Absolute,
}

impl Relocation {
    /// Whether the value is relative to the field.
    pub(crate) fn is_relative(&self) -> bool {
        [R_X86_64_PC32, R_X86_64_PLT32].contains(&self.r_type)
    }
}

impl Module {
    /// Reads a file. The error says why it is no module.
    pub(crate) fn parse(file: &[u8]) -> Result<Self, String> {
        let elf = Elf::parse(file).map_err(|error| format!("not a 64-bit ELF file: {error}"))?;
        check_kind(&elf)?;
        Self::read(&elf).map_err(|error| format!("damaged ELF file: {error}"))
    }

    fn read(elf: &Elf) -> object::Result<Self> {
        let loaded: Vec<_> = elf.sections().filter(is_loaded).collect();
        let places: Places = loaded.iter().map(ObjectSection::index).zip(0..).collect();
        let sections = loaded.iter().map(|section| read_section(elf, section, &places));
        Ok(Self { sections: sections.collect::<object::Result<_>>()?, symbols: read_symbols(elf, &places)? })
    }

    /// A problem for each needed linker set that is absent or empty.
    pub(crate) fn missing_sets(&self) -> Vec<String> {
        let holds = |name: &str| self.sections.iter().any(|s| s.name == name && s.size > 0);
        NEEDED_SETS
            .iter()
            .filter(|name| !holds(name))
            .map(|name| format!("section {name} is missing: the kernel would find no module"))
            .collect()
    }
}

/// The index of each loaded section in [`Module::sections`].
type Places = HashMap<SectionIndex, usize>;

fn check_kind(elf: &Elf) -> Result<(), String> {
    let header = elf.elf_header();
    let (kind, machine) = (header.e_type(elf.endian()), header.e_machine(elf.endian()));
    if kind != ET_REL {
        return Err(format!("ELF type is {kind:?}, not a relocatable object ({ET_REL:?})"));
    }
    if machine != EM_X86_64 {
        return Err(format!("ELF machine is {machine:?}, not amd64 ({EM_X86_64:?})"));
    }
    Ok(())
}

/// Whether the kernel loads a section. It skips those without memory, and their relocations.
fn is_loaded<'d>(section: &impl ObjectSection<'d>) -> bool {
    section.size() > 0 && has_flag(section, SHF_ALLOC)
}

fn has_flag<'d>(section: &impl ObjectSection<'d>, flag: elf::SectionFlags) -> bool {
    matches!(section.flags(), SectionFlags::Elf { sh_flags, .. } if sh_flags.0 & flag.0 != 0)
}

fn read_section<'d>(
    elf: &Elf<'d>,
    section: &impl ObjectSection<'d>,
    places: &Places,
) -> object::Result<Section> {
    let relocations = section.relocations();
    let mut relocations = relocations
        .map(|(offset, relocation)| read_relocation(elf, offset, &relocation, places))
        .collect::<object::Result<Vec<_>>>()?;
    relocations.sort_by_key(|relocation| relocation.offset);
    Ok(Section {
        name: section.name()?.to_owned(),
        executable: has_flag(section, SHF_EXECINSTR),
        data: section.data()?.to_vec(),
        size: section.size(),
        relocations,
    })
}

fn read_relocation(
    elf: &Elf,
    offset: u64,
    relocation: &object::Relocation,
    places: &Places,
) -> object::Result<Relocation> {
    let RelocationFlags::Elf { r_type } = relocation.flags() else {
        unreachable!("an ELF file has ELF relocations")
    };
    let (symbol, target) = match relocation.target() {
        RelocationTarget::Symbol(index) => read_target(elf, index, places)?,
        _ => (String::new(), Target::Absolute),
    };
    Ok(Relocation { offset, r_type, symbol, target, addend: relocation.addend() })
}

fn read_target(elf: &Elf, index: object::SymbolIndex, places: &Places) -> object::Result<(String, Target)> {
    let symbol = elf.symbol_by_index(index)?;
    let section = symbol.section_index();
    let name = match (symbol.kind(), section) {
        (SymbolKind::Section, Some(section)) => elf.section_by_index(section)?.name()?,
        _ => symbol.name()?,
    };
    let target = match section.and_then(|section| places.get(&section)) {
        Some(&section) => Target::Inside { section, offset: symbol.address() },
        None if symbol.section() == SymbolSection::Undefined => Target::Undefined,
        None => Target::Absolute,
    };
    Ok((name.to_owned(), target))
}

fn read_symbols(elf: &Elf, places: &Places) -> object::Result<Vec<Symbol>> {
    let mut symbols = Vec::new();
    for symbol in elf.symbols() {
        let section = symbol.section_index().and_then(|section| places.get(&section));
        if let (Some(&section), false) = (section, symbol.kind() == SymbolKind::Section) {
            symbols.push(Symbol {
                name: symbol.name()?.to_owned(),
                section,
                offset: symbol.address(),
                size: symbol.size(),
            });
        }
    }
    symbols.sort_by_key(|symbol| (symbol.section, symbol.offset, u64::MAX - symbol.size));
    Ok(symbols)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Builder;

    fn error(file: &[u8]) -> String {
        Module::parse(file).err().expect("a refused file")
    }

    /// The file of a good module with one 16-bit field of its header overwritten.
    fn with_header_field(at: usize, value: u16) -> Vec<u8> {
        let mut file = Builder::good().file();
        file[at..at + 2].copy_from_slice(&value.to_le_bytes());
        file
    }

    #[test]
    fn only_relocatable_amd64_objects_are_modules() {
        assert!(error(b"#!/bin/sh").starts_with("not a 64-bit ELF file"));
        assert!(error(&with_header_field(16, 3)).contains("not a relocatable object"));
        assert!(error(&with_header_field(18, 183)).contains("not amd64"));
    }

    #[test]
    fn linker_sets_are_needed() {
        assert!(Builder::good().module().missing_sets().is_empty());
        let problems = Builder::new().module().missing_sets();
        assert_eq!(problems.len(), 2);
        assert!(problems[0].starts_with("section set_modmetadata_set is missing"));
    }
}
