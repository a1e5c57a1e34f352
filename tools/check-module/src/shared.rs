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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::code::Place;
    use object::elf;

    const TEXT: u64 = 0x1000;
    const META: u64 = 0x2000;
    const INIT: u64 = 0x2008;
    const GOT: u64 = 0x2010;
    const DYNAMIC: u64 = 0x3000;

    const ALLOC: u64 = elf::SHF_ALLOC.0;
    const CODE: u64 = ALLOC | elf::SHF_EXECINSTR.0;

    /// What differs between the shared objects of the tests.
    struct Shared {
        /// Type and flags.
        segments: Vec<(u64, u64)>,
        /// Tag.
        dynamic: Vec<u64>,
        /// Name, section (0 if it is undefined) and address of the global symbols.
        symbols: Vec<(&'static str, u64, u64)>,
    }

    impl Shared {
        /// A module with both linker sets. The second points to code, and the GOT has the
        /// kernel's `malloc`, which is the first symbol.
        fn good() -> Self {
            let load = u64::from(PT_LOAD.0);
            Self {
                segments: vec![(load, 4), (load, 5), (load, 6), (PT_DYNAMIC.0.into(), 6)],
                dynamic: vec![DT_HASH.0 as u64],
                symbols: vec![
                    ("malloc", 0, 0),
                    ("__start_set_modmetadata_set", 2, META),
                    ("__stop_set_modmetadata_set", 2, INIT),
                    ("__start_set_sysinit_set", 3, INIT),
                    ("__stop_set_sysinit_set", 3, GOT),
                ],
            }
        }

        fn file(&self) -> Vec<u8> {
            let mut dynstr = vec![0];
            let mut dynsym = vec![0; 24];
            for &(name, section, address) in &self.symbols {
                put(&mut dynsym, &[(4, dynstr.len() as u64), (1, 0x10), (1, 0), (2, section), (8, address)]);
                put(&mut dynsym, &[(8, 0)]);
                dynstr.extend(name.bytes().chain([0]));
            }
            let mut rela = Vec::new();
            let relative = u64::from(elf::R_AARCH64_RELATIVE.0);
            let glob_dat = u64::from(elf::R_AARCH64_GLOB_DAT.0);
            put(&mut rela, &[(8, INIT), (8, relative), (8, TEXT)]);
            put(&mut rela, &[(8, GOT), (8, 1 << 32 | glob_dat), (8, 0)]);
            let mut dynamic = Vec::new();
            self.dynamic.iter().chain([&0]).for_each(|&tag| put(&mut dynamic, &[(8, tag), (8, 0)]));
            let code = 0xd65f_03c0_u32.to_le_bytes().to_vec();
            // name, type, flags, address, content, link, size of an entry
            let sections = [
                ("", 0, 0, 0, vec![], 0, 0),
                (".text", 1, CODE, TEXT, code, 0, 0),
                ("set_modmetadata_set", 1, ALLOC, META, vec![0; 8], 0, 0),
                ("set_sysinit_set", 1, ALLOC, INIT, vec![0; 8], 0, 0),
                (".got", 1, ALLOC, GOT, vec![0; 8], 0, 0),
                (".dynsym", 11, 0, 0, dynsym, 6, 24),
                (".dynstr", 3, 0, 0, dynstr, 0, 0),
                (".rela.dyn", 4, 0, 0, rela, 5, 24),
                (".dynamic", 6, ALLOC, DYNAMIC, dynamic, 6, 16),
                (".shstrtab", 3, 0, 0, vec![], 0, 0),
            ];
            let names: Vec<u8> = sections.iter().flat_map(|section| section.0.bytes().chain([0])).collect();
            let mut file = vec![0; 64 + 56 * self.segments.len()];
            let (mut headers, mut name) = (Vec::new(), 0);
            for (index, section) in sections.iter().enumerate() {
                let content = if index == sections.len() - 1 { &names } else { &section.4 };
                put(&mut headers, &[(4, name), (4, section.1), (8, section.2), (8, section.3)]);
                put(
                    &mut headers,
                    &[(8, file.len() as u64), (8, content.len() as u64), (4, section.5), (4, 0)],
                );
                put(&mut headers, &[(8, 1), (8, section.6)]);
                file.extend(content);
                name += section.0.len() as u64 + 1;
            }
            let mut start = Vec::new();
            put(&mut start, &[(4, 0x464c_457f), (4, 0x0001_0102), (8, 0), (2, 3), (2, 183), (4, 1), (8, 0)]);
            put(&mut start, &[(8, 64), (8, file.len() as u64), (4, 0), (2, 64), (2, 56)]);
            let count = sections.len() as u64;
            put(&mut start, &[(2, self.segments.len() as u64), (2, 64), (2, count), (2, count - 1)]);
            for &(kind, flags) in &self.segments {
                put(&mut start, &[(4, kind), (4, flags), (8, 0), (8, 0), (8, 0), (8, 0), (8, 0), (8, 1)]);
            }
            file[..start.len()].copy_from_slice(&start);
            file.extend(headers);
            file
        }

        fn module(&self) -> Module {
            Module::parse(&self.file()).expect("a module")
        }

        fn problems(&self) -> Vec<String> {
            self.module().problems
        }
    }

    /// Appends numbers: how many bytes, and the value.
    fn put(to: &mut Vec<u8>, numbers: &[(usize, u64)]) {
        numbers.iter().for_each(|&(bytes, value)| to.extend(&value.to_le_bytes()[..bytes]));
    }

    #[test]
    fn a_good_shared_object() {
        let module = Shared::good().module();
        assert_eq!(module.problems, [""; 0]);
        assert_eq!(module.missing_sets(), [""; 0]);
        let section = |name| module.sections.iter().position(|section| section.name == name).unwrap();
        let place = |name| module.slot(section(name), 0).unwrap();
        assert_eq!(place("set_sysinit_set"), Place::Inside(section(".text"), 0));
        assert_eq!(place(".got"), Place::Outside("malloc".to_owned()));
        assert_eq!(module.locate(INIT + 7), Some((section("set_sysinit_set"), 7)));
        assert_eq!(module.locate(DYNAMIC + 0x1000), None);
    }

    #[test]
    fn bounds_of_linker_sets_are_needed() {
        let mut shared = Shared::good();
        shared.symbols[2].2 += 8;
        shared.symbols.pop();
        let text = |name| format!("{name} is not a global symbol at the bound of its set");
        assert_eq!(shared.problems(), ["__stop_set_modmetadata_set", "__stop_set_sysinit_set"].map(text));
    }

    #[test]
    fn the_hash_table_is_needed() {
        let shared = Shared { dynamic: Vec::new(), ..Shared::good() };
        assert_eq!(shared.problems(), ["there is no DT_HASH: the kernel would find no symbol"]);
    }

    #[test]
    fn segments() {
        let problem = |segments: &[(u64, u64)]| {
            let mut shared = Shared::good();
            shared.segments.extend(segments);
            shared.problems()
        };
        let load = u64::from(PT_LOAD.0);
        assert_eq!(problem(&[(load, 4)]), [""; 0]);
        assert_eq!(problem(&[(load, 4), (load, 4)]), ["5 segments to load, not 1 to 4"]);
        assert_eq!(problem(&[(load, 7)]), ["a segment is writable code"]);
        assert_eq!(problem(&[(PT_INTERP.0.into(), 4)]), ["there is an interpreter, as in a program"]);
        let many = [(0, 0); 80];
        assert_eq!(problem(&many), ["the program headers are not in the first page"]);
        let mut shared = Shared::good();
        shared.segments.pop();
        assert_eq!(shared.problems(), ["there is no dynamic segment"]);
    }
}
