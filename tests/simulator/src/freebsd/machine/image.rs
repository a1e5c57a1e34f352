// SPDX-License-Identifier: BSD-2-Clause
//! The kernel's linker for relocatable objects, which works as amd64's
//! `link_elf_obj`: it lays out the sections to load, applies relocations of five
//! kinds, and looks up an undefined symbol when something refers to it.

use super::cpu;
use super::low::LowMemory;
use anyhow::{bail, ensure, Context, Result};
use object::elf::{
    self, R_X86_64_32, R_X86_64_32S, R_X86_64_64, R_X86_64_NONE, R_X86_64_PC32, R_X86_64_PLT32,
};
use object::read::elf::ElfFile64;
use object::{
    LittleEndian, Object, ObjectSection, ObjectSymbol, RelocationFlags, RelocationTarget, SectionFlags,
    SectionIndex, SectionKind, SymbolSection,
};
use std::cell::RefCell;
use std::collections::HashMap;
use std::ops::Range;

/// What an undefined symbol refers to.
#[derive(Clone, Copy)]
pub(crate) enum Outside {
    /// A function of the simulator, anywhere in memory.
    Function(usize),
    /// A variable at a low address.
    Data(usize),
}

/// A module in memory.
pub struct Image {
    /// Start and end of the text.
    text: (usize, usize),
    /// Start and end of the stubs, which follow the module.
    stubs: (usize, usize),
    functions: Vec<Function>,
    sets: HashMap<String, Vec<usize>>,
}

struct Function {
    start: usize,
    end: usize,
    name: String,
}

/// The section of VNET variables, which the caller places.
const SET_VNET: &str = "set_vnet";

/// What the linker needs from the kernel.
pub(crate) struct Environment<'a> {
    pub(crate) memory: &'a LowMemory,
    pub(crate) resolve: &'a dyn Fn(&str) -> Option<Outside>,
    /// Finds space for so many bytes of the module's VNET variables.
    pub(crate) place_vnet: &'a dyn Fn(usize) -> Option<usize>,
}

type File<'a> = ElfFile64<'a, LittleEndian>;

struct Linker<'a, 'data> {
    file: File<'data>,
    environment: &'a Environment<'a>,
    /// The address of each loaded section.
    places: HashMap<SectionIndex, usize>,
    stubs: RefCell<HashMap<usize, usize>>,
    /// The address of the text.
    text: usize,
}

/// What pages hold, which decides their protection.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    Text,
    ReadOnly,
    Data,
}

impl Use {
    fn of(flags: elf::SectionFlags) -> Use {
        if flags.0 & elf::SHF_EXECINSTR.0 != 0 {
            Use::Text
        } else if flags.0 & elf::SHF_WRITE.0 != 0 {
            Use::Data
        } else {
            Use::ReadOnly
        }
    }

    fn protection(self) -> i32 {
        match self {
            Use::Text => libc::PROT_READ | libc::PROT_EXEC,
            Use::ReadOnly => libc::PROT_READ,
            Use::Data => libc::PROT_READ | libc::PROT_WRITE,
        }
    }
}

/// Bytes of a stub; see [`Linker::stub`].
const STUB_LEN: usize = 64;

impl Image {
    /// Links a module into memory.
    pub(crate) fn load(bytes: &[u8], environment: &Environment) -> Result<Image> {
        let file = File::parse(bytes).context("not an ELF file")?;
        ensure!(file.elf_header().e_type.get(LittleEndian) == elf::ET_REL, "not a relocatable object");
        let mut linker =
            Linker { file, environment, places: HashMap::new(), stubs: RefCell::default(), text: 0 };
        let ranges = [Use::Text, Use::ReadOnly, Use::Data].map(|kind| (kind, linker.lay_out(kind)));
        let ranges: Vec<_> = ranges
            .into_iter()
            .map(|(kind, range)| range.map(|range| (kind, range)))
            .collect::<Result<_>>()?;
        let text = ranges.iter().find(|(kind, _)| *kind == Use::Text).map_or((0, 0), |(_, range)| *range);
        linker.text = text.0;
        let first_stub = environment.memory.next_page();
        linker.relocate_all()?;
        let stubs = (first_stub, environment.memory.next_page());
        environment.memory.protect(stubs.0, stubs.1, Use::Text.protection())?;
        for (kind, (from, to)) in ranges {
            environment.memory.protect(from, to, kind.protection())?;
        }
        Ok(Image { text, stubs, functions: linker.functions(), sets: linker.sets() })
    }

    /// The pointers of a linker set.
    pub(crate) fn set(&self, name: &str) -> &[usize] {
        self.sets.get(name).map_or(&[], Vec::as_slice)
    }

    /// Overwrites code of the module while no thread runs it.
    pub fn patch(&self, at: usize, code: &[u8]) {
        let (from, to) = self.text;
        assert!(from <= at && at + code.len() <= to, "{at:#x} is not code");
        let protect = |protection| {
            // SAFETY: the pages are the text's.
            let error = unsafe { libc::mprotect(from as *mut _, to - from, protection) };
            assert_eq!(error, 0, "mprotect: {}", std::io::Error::last_os_error());
        };
        protect(Use::Data.protection());
        // SAFETY: lies within the text, which is writable now.
        unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), at as *mut u8, code.len()) };
        protect(Use::Text.protection());
    }

    /// Function and offset of an address in the module, as text.
    pub(crate) fn symbolise(&self, address: usize) -> Option<String> {
        let (name, offset) = self.function(address)?;
        Some(format!("{name}+{offset:#x}"))
    }

    /// The function of an address in the module, and the offset there.
    pub(crate) fn function(&self, address: usize) -> Option<(String, usize)> {
        let holds = |function: &&Function| (function.start..function.end).contains(&address);
        let function = self.functions.iter().find(holds)?;
        Some((format!("{:#}", rustc_demangle::demangle(&function.name)), address - function.start))
    }

    /// The return addresses that led to a call of the simulator, innermost first,
    /// up to where the stack leaves the module.
    pub(crate) fn walk(&self, call: cpu::Call) -> impl Iterator<Item = usize> + '_ {
        // SAFETY: the stub stored the stack pointer of a call that has not
        // returned: the return address is there.
        let mut address = if call.stack == 0 { 0 } else { unsafe { *(call.stack as *const usize) } };
        let mut frame = call.frame;
        std::iter::from_fn(move || {
            let found = address;
            if !self.is_text(found) {
                return None;
            }
            // SAFETY: the module is built with frame pointers: behind a
            // function's frame lie the caller's frame and return address.
            (frame, address) = unsafe { (*(frame as *const usize), *((frame + 8) as *const usize)) };
            Some(found)
        })
    }

    /// Whether an address is code of the module.
    pub(crate) fn is_text(&self, address: usize) -> bool {
        (self.text.0..self.text.1).contains(&address)
    }

    /// Whether a call of the simulator begins at an address.
    pub(crate) fn is_call(&self, address: usize) -> bool {
        (self.stubs.0..self.stubs.1).contains(&address) && (address - self.stubs.0).is_multiple_of(STUB_LEN)
    }

    /// The addresses of the text and the stubs.
    pub(crate) fn code(&self) -> Range<usize> {
        self.text.0..self.stubs.1
    }
}

impl Linker<'_, '_> {
    /// Loads the sections of one use one after the other, on pages of their own.
    /// Returns start and end.
    fn lay_out(&mut self, kind: Use) -> Result<(usize, usize)> {
        let memory = self.environment.memory;
        let from = memory.next_page();
        let mut places = Vec::new();
        for section in self.file.sections() {
            let SectionFlags::Elf { sh_flags, .. } = section.flags() else { continue };
            if sh_flags.0 & elf::SHF_ALLOC.0 == 0 || Use::of(sh_flags) != kind {
                continue;
            }
            let size = usize::try_from(section.size())?;
            let place = match section.name()? {
                SET_VNET => (self.environment.place_vnet)(size),
                _ => memory.take(size, usize::try_from(section.align())?),
            };
            let place = place.with_context(|| format!("no space for section {:?}", section.name()))?;
            if section.kind() != SectionKind::UninitializedData {
                let data = section.data()?;
                // SAFETY: the place was handed out for this section alone, and
                // is still writable.
                unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), place as *mut u8, data.len()) };
            }
            places.push((section.index(), place));
        }
        self.places.extend(places);
        Ok((from, memory.next_page()))
    }

    fn relocate_all(&self) -> Result<()> {
        for section in self.file.sections() {
            let Some(place) = self.places.get(&section.index()) else { continue };
            for (offset, relocation) in section.relocations() {
                let RelocationFlags::Elf { r_type } = relocation.flags() else {
                    bail!("not an ELF relocation")
                };
                let RelocationTarget::Symbol(index) = relocation.target() else {
                    bail!("a relocation without symbol")
                };
                let symbol = self.file.symbol_by_index(index)?;
                let target = self.address(&symbol)? as i64 + relocation.addend();
                self.apply(r_type, place + usize::try_from(offset)?, target)
                    .with_context(|| format!("relocation against {:?}", symbol.name()))?;
            }
        }
        Ok(())
    }

    fn apply(&self, kind: elf::RelocationType, at: usize, target: i64) -> Result<()> {
        let (bytes, value) = match kind {
            R_X86_64_NONE => return Ok(()),
            R_X86_64_64 => (8, target),
            R_X86_64_PC32 | R_X86_64_PLT32 => (4, target - at as i64),
            R_X86_64_32S | R_X86_64_32 => (4, target),
            _ => bail!("relocation type {kind:?}, which the kernel's linker refuses"),
        };
        ensure!(bytes == 8 || i32::try_from(value).is_ok(), "{value:#x} does not fit 32 bits");
        // SAFETY: the relocation lies in a loaded section, which is still
        // writable.
        unsafe {
            match bytes {
                8 => (at as *mut i64).write_unaligned(value),
                _ => (at as *mut i32).write_unaligned(value as i32),
            }
        }
        Ok(())
    }

    fn address<'d>(&self, symbol: &impl ObjectSymbol<'d>) -> Result<usize> {
        let value = usize::try_from(symbol.address())?;
        match symbol.section() {
            SymbolSection::Absolute => Ok(value),
            SymbolSection::Section(index) => {
                let place = self.places.get(&index);
                Ok(place
                    .with_context(|| format!("{:?} is in a section that is not loaded", symbol.name()))?
                    + value)
            }
            SymbolSection::Undefined => self.outside(symbol.name()?),
            section => bail!("symbol {:?} in section {section:?}", symbol.name()),
        }
    }

    fn outside(&self, name: &str) -> Result<usize> {
        match (self.environment.resolve)(name).with_context(|| format!("symbol {name} undefined"))? {
            Outside::Data(address) => Ok(address),
            Outside::Function(address) => self.stub(address),
        }
    }

    /// A stub within reach of the module that jumps to a function of the
    /// simulator. On the way it stores stack and frame pointer in the CPU's area
    /// and counts the call.
    fn stub(&self, function: usize) -> Result<usize> {
        if let Some(stub) = self.stubs.borrow().get(&function) {
            return Ok(*stub);
        }
        let stub = self.environment.memory.take(STUB_LEN, 16).context("no space for stubs")?;
        let mut code = Vec::with_capacity(STUB_LEN);
        // mov %rsp, %gs:CALL_STACK; mov %rbp, %gs:CALL_FRAME
        code.extend([0x65, 0x48, 0x89, 0x24, 0x25]);
        code.extend(cpu::CALL_STACK.to_le_bytes());
        code.extend([0x65, 0x48, 0x89, 0x2c, 0x25]);
        code.extend(cpu::CALL_FRAME.to_le_bytes());
        // mov (%rsp), %r11; sub $text, %r11d; movzwl %r11w, %r11d
        code.extend([0x4c, 0x8b, 0x1c, 0x24, 0x41, 0x81, 0xeb]);
        code.extend((self.text as u32).to_le_bytes());
        code.extend([0x45, 0x0f, 0xb7, 0xdb]);
        // incb %gs:CALL_COUNTS(%r11)
        code.extend([0x65, 0x41, 0xfe, 0x83]);
        code.extend(cpu::CALL_COUNTS.to_le_bytes());
        // movabs $function, %r11; jmp *%r11
        code.extend([0x49, 0xbb]);
        code.extend(function.to_le_bytes());
        code.extend([0x41, 0xff, 0xe3]);
        // SAFETY: the memory was handed out for this stub, and is writable.
        unsafe { std::ptr::copy_nonoverlapping(code.as_ptr(), stub as *mut u8, code.len()) };
        self.stubs.borrow_mut().insert(function, stub);
        Ok(stub)
    }

    fn functions(&self) -> Vec<Function> {
        let text = self.file.symbols().filter(|symbol| symbol.kind() == object::SymbolKind::Text);
        text.filter_map(|symbol| {
            let start = self.address(&symbol).ok()?;
            let name = symbol.name().ok()?.to_string();
            Some(Function { start, end: start + usize::try_from(symbol.size()).ok()?, name })
        })
        .collect()
    }

    fn sets(&self) -> HashMap<String, Vec<usize>> {
        let sets = self.file.sections().filter_map(|section| {
            let name = section.name().ok()?.strip_prefix("set_")?;
            let place = *self.places.get(&section.index())?;
            let count = usize::try_from(section.size()).ok()? / 8;
            // SAFETY: the section was loaded there; a set is an array of
            // pointers (set_vnet's contents are not used as such).
            let pointers =
                (0..count).map(|index| unsafe { *((place + 8 * index) as *const usize) }).collect();
            Some((name.to_string(), pointers))
        });
        sets.collect()
    }
}
