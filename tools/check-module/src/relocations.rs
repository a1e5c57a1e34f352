// SPDX-License-Identifier: BSD-2-Clause
//! Check 2: all relocations are of types that the kernel's linker knows
//! (`elf_reloc_internal` in sys/amd64/amd64/elf_machdep.c and
//! sys/arm64/arm64/elf_machdep.c).

use object::elf::{self, RelocationType};

use crate::graph::Graph;
use crate::module::{Machine, Module, Relocation};

/// The types that amd64's knows and that can hold the kernel's addresses. `R_X86_64_32`
/// is not among them: the kernel is at the top of the address space, which only
/// `32S` reaches.
const AMD64: [RelocationType; 5] =
    [elf::R_X86_64_NONE, elf::R_X86_64_64, elf::R_X86_64_PC32, elf::R_X86_64_PLT32, elf::R_X86_64_32S];

/// The types that arm64's knows in both releases, without those that the kernel itself
/// needs alone (`IRELATIVE`, and branches to functions that are chosen at boot).
const ARM64: [RelocationType; 5] = [
    elf::R_AARCH64_NONE,
    elf::R_AARCH64_ABS64,
    elf::R_AARCH64_GLOB_DAT,
    elf::R_AARCH64_JUMP_SLOT,
    elf::R_AARCH64_RELATIVE,
];

pub(crate) fn problems(module: &Module, graph: &Graph) -> Vec<String> {
    let known = match module.machine {
        Machine::Amd64 => &AMD64,
        Machine::Arm64 => &ARM64,
    };
    let mut problems = Vec::new();
    for (index, section) in module.sections.iter().enumerate() {
        let unknown = section.relocations.iter().filter(|r| !known.contains(&r.r_type));
        problems.extend(unknown.map(|relocation| problem(relocation, index, graph)));
    }
    problems
}

fn problem(relocation: &Relocation, section: usize, graph: &Graph) -> String {
    let place = graph.place(section, relocation.offset);
    let names = elf::machine_names(match graph.machine {
        Machine::Amd64 => elf::EM_X86_64,
        Machine::Arm64 => elf::EM_AARCH64,
    });
    let name = names.r.name(relocation.r_type).unwrap_or("an unknown type");
    format!("relocation {name} at {place} against {}: kldload refuses it", relocation.symbol)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Builder, CALL};

    fn problems_with(r_type: RelocationType, section: &str) -> Vec<String> {
        let mut builder = Builder::good();
        let malloc = builder.named("malloc");
        let at = match section {
            ".text" => builder.function("f", CALL),
            _ => builder.data(section, "d", &[0; 8]),
        };
        builder.relocate(at, 1, r_type, malloc, 0);
        problems(&builder.module(), &builder.graph())
    }

    #[test]
    fn known_relocations() {
        for r_type in AMD64 {
            assert_eq!(problems_with(r_type, ".text"), [""; 0]);
        }
    }

    #[test]
    fn refused_relocations() {
        let refused = [elf::R_X86_64_GOTPCREL, elf::R_X86_64_REX_GOTPCRELX, elf::R_X86_64_32];
        for r_type in refused.into_iter().chain([elf::R_X86_64_TPOFF32, elf::R_X86_64_PC64]) {
            assert_eq!(problems_with(r_type, ".data").len(), 1, "{r_type:?}");
        }
        let text = "relocation R_X86_64_GOTPCREL at .text+0x9 (in f) against malloc: kldload refuses it";
        assert_eq!(problems_with(elf::R_X86_64_GOTPCREL, ".text"), [text]);
    }

    #[test]
    fn sections_that_are_not_loaded_may_have_any() {
        assert_eq!(problems_with(elf::R_X86_64_DTPOFF32, ".debug_info"), [""; 0]);
    }
}
