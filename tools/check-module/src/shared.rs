// SPDX-License-Identifier: BSD-2-Clause
//! Check 5, of shared objects: the file has what the kernel's linker looks for
//! (`link_elf_load_file` in sys/kern/link_elf.c).

use std::collections::HashMap;

use object::elf::{DT_HASH, PF_W, PF_X, PT_DYNAMIC, PT_INTERP, PT_LOAD};
use object::read::elf::{FileHeader, ProgramHeader};
use object::{Object, ObjectSymbol};

use crate::module::{Elf, Module, Section};

/// `MAXSEGS`
const MAX_SEGMENTS: usize = 4;
/// The kernel reads the program headers from the first page.
const PAGE: u64 = 4096;
const PROGRAM_HEADER: u64 = 56;

pub(crate) fn problems(elf: &Elf, module: &Module) -> object::Result<Vec<String>> {
    let mut problems = segments(elf);
    if !elf.elf_dynamic_table()?.iter().any(|entry| entry.tag == DT_HASH) {
        problems.push("there is no DT_HASH: the kernel would find no symbol".to_owned());
    }
    problems.extend(bounds(elf, module)?);
    Ok(problems)
}

fn segments(elf: &Elf) -> Vec<String> {
    let endian = elf.endian();
    let headers = elf.elf_program_headers();
    let of = |kind| headers.iter().filter(move |header| header.p_type(endian) == kind);
    let loaded = of(PT_LOAD).count();
    let end = elf.elf_header().e_phoff(endian) + PROGRAM_HEADER * headers.len() as u64;
    let both = |flags: object::elf::ProgramFlags| flags.0 & PF_W.0 != 0 && flags.0 & PF_X.0 != 0;
    let checks = [
        (loaded == 0 || loaded > MAX_SEGMENTS, format!("{loaded} segments to load, not 1 to {MAX_SEGMENTS}")),
        (of(PT_LOAD).any(|header| both(header.p_flags(endian))), "a segment is writable code".to_owned()),
        (of(PT_DYNAMIC).count() == 0, "there is no dynamic segment".to_owned()),
        (of(PT_INTERP).count() != 0, "there is an interpreter, as in a program".to_owned()),
        (end > PAGE, "the program headers are not in the first page".to_owned()),
    ];
    checks.into_iter().filter(|(fails, _)| *fails).map(|(_, problem)| problem).collect()
}

/// A problem for each linker set whose bounds the kernel would not find, or find wrong.
fn bounds(elf: &Elf, module: &Module) -> object::Result<Vec<String>> {
    let mut symbols = HashMap::new();
    for symbol in elf.dynamic_symbols().filter(|symbol| !symbol.is_undefined() && symbol.is_global()) {
        symbols.insert(symbol.name()?, symbol.address());
    }
    let sets = module.sections.iter().filter(|section| section.name.starts_with("set_"));
    let ends = sets.flat_map(|section| {
        let Section { name, address, size, .. } = section;
        [(format!("__start_{name}"), *address), (format!("__stop_{name}"), address + size)]
    });
    let wrong = ends.filter(|(name, address)| symbols.get(name.as_str()) != Some(address));
    Ok(wrong.map(|(name, _)| format!("{name} is not a global symbol at the bound of its set")).collect())
}
