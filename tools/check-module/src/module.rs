// SPDX-License-Identifier: BSD-2-Clause
//! The module's file as the kernel's linker reads it: the sections that it loads, their
//! relocations, and the symbols in them. On amd64 a module is a relocatable object
//! (sys/kern/link_elf_obj.c), on arm64 a shared object (sys/kern/link_elf.c).

use std::collections::HashMap;
use std::ops::Range;

use object::elf::{self, RelocationType, EM_AARCH64, EM_X86_64, ET_DYN, ET_REL, SHF_ALLOC, SHF_EXECINSTR};
use object::read::elf::{ElfFile64, FileHeader};
use object::{
    Endianness, Object, ObjectSection, ObjectSymbol, ObjectSymbolTable, RelocationFlags, RelocationTarget,
    SectionFlags, SectionIndex, SymbolKind, SymbolSection,
};

use crate::code::Place;
use crate::shared;

pub(crate) type Elf<'d> = ElfFile64<'d, Endianness>;

/// The sections without which the kernel finds no module in the file: the metadata
/// (name, version, dependencies) and the registration at load.
const NEEDED_SETS: [&str; 2] = ["set_modmetadata_set", "set_sysinit_set"];

/// What the module runs on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Machine {
    Amd64,
    Arm64,
}

impl Machine {
    /// FreeBSD's name for it (`uname -p`).
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "aarch64",
        }
    }

    /// How many bytes of stack a call takes itself.
    pub(crate) fn call_bytes(self) -> u64 {
        match self {
            Self::Amd64 => 8,
            Self::Arm64 => 0, // the return address is in a register
        }
    }
}

/// A module.
pub(crate) struct Module {
    pub(crate) machine: Machine,
    pub(crate) sections: Vec<Section>,
    /// The symbols in those sections, sorted by section and offset.
    pub(crate) symbols: Vec<Symbol>,
    /// What the kernel's linker will not find in the file.
    pub(crate) problems: Vec<String>,
}

/// A section that the kernel loads.
#[derive(Default)]
pub(crate) struct Section {
    pub(crate) name: String,
    pub(crate) executable: bool,
    /// Where it is in a shared object; 0 in a relocatable object.
    pub(crate) address: u64,
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
    /// What the field refers to.
    pub(crate) fn place(&self) -> Option<Place> {
        match self.target {
            Target::Absolute => None,
            Target::Undefined => Some(Place::Outside(self.symbol.clone())),
            Target::Inside { section, offset } => {
                Some(Place::Inside(section, offset.wrapping_add_signed(self.addend)))
            }
        }
    }
}

impl Section {
    /// The relocations of a part of the section.
    pub(crate) fn relocations_in(&self, range: Range<u64>) -> &[Relocation] {
        let start = self.relocations.partition_point(|relocation| relocation.offset < range.start);
        let end = self.relocations.partition_point(|relocation| relocation.offset < range.end);
        &self.relocations[start..end]
    }
}

impl Module {
    /// Reads a file. The error says why it is no module.
    pub(crate) fn parse(file: &[u8]) -> Result<Self, String> {
        let elf = Elf::parse(file).map_err(|error| format!("not a 64-bit ELF file: {error}"))?;
        let machine = check_kind(&elf)?;
        Self::read(&elf, machine).map_err(|error| format!("damaged ELF file: {error}"))
    }

    fn read(elf: &Elf, machine: Machine) -> object::Result<Self> {
        let loaded: Vec<_> = elf.sections().filter(is_loaded).collect();
        let places: Places = loaded.iter().map(ObjectSection::index).zip(0..).collect();
        let sections = loaded.iter().map(|section| read_section(elf, section, &places));
        let sections = sections.collect::<object::Result<_>>()?;
        let symbols = read_symbols(elf, &places)?;
        let mut module = Self { machine, sections, symbols, problems: Vec::new() };
        if machine == Machine::Arm64 {
            module.read_dynamic(elf)?;
            module.problems.extend(shared::problems(elf, &module)?);
        }
        Ok(module)
    }

    /// Reads the relocations of a shared object, and makes its addresses offsets.
    fn read_dynamic(&mut self, elf: &Elf) -> object::Result<()> {
        for symbol in &mut self.symbols {
            symbol.offset = symbol.offset.wrapping_sub(self.sections[symbol.section].address);
        }
        for (address, relocation) in elf.dynamic_relocations().into_iter().flatten() {
            if let Some((section, offset)) = self.locate(address) {
                let relocation = self.dynamic_relocation(elf, offset, &relocation)?;
                self.sections[section].relocations.push(relocation);
            } else {
                self.problems.push(format!("a relocation at {address:#x} is outside all sections"));
            }
        }
        for section in &mut self.sections {
            section.relocations.sort_by_key(|relocation| relocation.offset);
        }
        Ok(())
    }

    fn dynamic_relocation(
        &self,
        elf: &Elf,
        offset: u64,
        relocation: &object::Relocation,
    ) -> object::Result<Relocation> {
        let (r_type, addend) = (type_of(relocation), relocation.addend());
        let at = |address| match self.locate(address) {
            Some((section, offset)) => Target::Inside { section, offset },
            None => Target::Absolute,
        };
        let (RelocationTarget::Symbol(index), Some(symbols)) =
            (relocation.target(), elf.dynamic_symbol_table())
        else {
            // The addend is an address.
            return Ok(Relocation {
                offset,
                r_type,
                symbol: String::new(),
                target: at(addend as u64),
                addend: 0,
            });
        };
        let symbol = symbols.symbol_by_index(index)?;
        let target = if symbol.is_undefined() { Target::Undefined } else { at(symbol.address()) };
        Ok(Relocation { offset, r_type, symbol: symbol.name()?.to_owned(), target, addend })
    }

    /// The section and the offset of an address of a shared object.
    pub(crate) fn locate(&self, address: u64) -> Option<(usize, u64)> {
        let holds = |section: &Section| address.wrapping_sub(section.address) < section.size;
        let section = self.sections.iter().position(holds)?;
        Some((section, address - self.sections[section].address))
    }

    /// What the kernel's linker writes to an address of the global offset table.
    pub(crate) fn slot(&self, section: usize, offset: u64) -> Option<Place> {
        let relocations = self.sections[section].relocations_in(offset..offset.saturating_add(1));
        relocations.first()?.place()
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

fn check_kind(elf: &Elf) -> Result<Machine, String> {
    let header = elf.elf_header();
    let (kind, machine) = (header.e_type(elf.endian()), header.e_machine(elf.endian()));
    match (machine, kind) {
        (EM_X86_64, ET_REL) => Ok(Machine::Amd64),
        (EM_AARCH64, ET_DYN) => Ok(Machine::Arm64),
        (EM_X86_64, _) => Err(format!("ELF type is {kind:?}, not a relocatable object ({ET_REL:?})")),
        (EM_AARCH64, _) => Err(format!("ELF type is {kind:?}, not a shared object ({ET_DYN:?})")),
        _ => Err(format!(
            "ELF machine is {machine:?}, neither amd64 ({EM_X86_64:?}) nor aarch64 ({EM_AARCH64:?})"
        )),
    }
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
        address: section.address(),
        data: section.data()?.to_vec(),
        size: section.size(),
        relocations,
    })
}

fn type_of(relocation: &object::Relocation) -> RelocationType {
    let RelocationFlags::Elf { r_type } = relocation.flags() else {
        unreachable!("an ELF file has ELF relocations")
    };
    r_type
}

fn read_relocation(
    elf: &Elf,
    offset: u64,
    relocation: &object::Relocation,
    places: &Places,
) -> object::Result<Relocation> {
    let (symbol, target) = match relocation.target() {
        RelocationTarget::Symbol(index) => read_target(elf, index, places)?,
        _ => (String::new(), Target::Absolute),
    };
    Ok(Relocation { offset, r_type: type_of(relocation), symbol, target, addend: relocation.addend() })
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
        // `$x` and `$d` say what the bytes are: code or data.
        let is_name = symbol.kind() != SymbolKind::Section && !symbol.name()?.starts_with('$');
        if let (Some(&section), true) = (section, is_name) {
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
    fn only_some_objects_are_modules() {
        assert!(error(b"#!/bin/sh").starts_with("not a 64-bit ELF file"));
        assert!(error(&with_header_field(16, 3)).contains("not a relocatable object"));
        assert!(error(&with_header_field(18, 183)).contains("not a shared object"));
        assert!(error(&with_header_field(18, 243)).contains("neither amd64"));
    }

    #[test]
    fn linker_sets_are_needed() {
        assert!(Builder::good().module().missing_sets().is_empty());
        let problems = Builder::new().module().missing_sets();
        assert_eq!(problems.len(), 2);
        assert!(problems[0].starts_with("section set_modmetadata_set is missing"));
    }
}
