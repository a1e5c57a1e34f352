// SPDX-License-Identifier: BSD-2-Clause
//! Instructions of arm64, in a shared object: what an operand refers to is computed from
//! the place of the instruction, in two steps, or stands in the global offset table.
//!
//! The encodings are those of the "Arm Architecture Reference Manual for A-profile
//! architecture", chapter C4.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::code::{Flow, Instruction, Place, Stack, ELSEWHERE};
use crate::module::Module;

/// The stack pointer in most fields, and zero in the others.
const SP: u32 = 31;
/// The frame pointer.
const FP: u32 = 29;
/// FreeBSD's kernel has the data of the CPU there.
const PER_CPU: u32 = 18;

/// Sections of which the kernel gives each vnet or CPU a copy. Only the addresses in the
/// global offset table lead to the right one.
const COPIED: [&str; 2] = ["set_vnet", "set_pcpu"];

/// No entry of a procedure linkage table has more bytes before its jump.
const PLT_ENTRY: usize = 16;

/// Instructions that a call through a pointer may lead to: `bti c`, `bti jc`, `paciasp`,
/// `pacibsp`.
const CALL_TARGETS: [u32; 4] = [0xd503_245f, 0xd503_24df, 0xd503_233f, 0xd503_237f];
/// Instructions that a jump through a table may lead to: `bti j`, `bti jc`.
const JUMP_TARGETS: [u32; 2] = [0xd503_249f, 0xd503_24df];

/// Disassembles a part of a section.
pub(crate) fn decode(module: &Module, index: usize, range: &Range<u64>) -> Vec<Instruction> {
    let section = &module.sections[index];
    let words = words(&section.data[range.start as usize..range.end as usize]);
    let function = Function { module, index, start: section.address + range.start, words: &words };
    function.instructions(range.start)
}

fn words(bytes: &[u8]) -> Vec<u32> {
    let words = bytes.chunks_exact(4);
    words.map(|word| u32::from_le_bytes([word[0], word[1], word[2], word[3]])).collect()
}

/// The instructions of a function, as numbers.
struct Function<'a> {
    module: &'a Module,
    /// The section.
    index: usize,
    /// The address of the first instruction.
    start: u64,
    words: &'a [u32],
}

impl Function<'_> {
    fn instructions(&self, offset: u64) -> Vec<Instruction> {
        let pages = self.pages();
        let instruction = |at: usize| {
            let word = Word(self.words[at]);
            let flow = self.flow(at);
            let (places, bypass) = self.places(at, &pages[at]);
            Instruction {
                offset: offset + 4 * at as u64,
                flow,
                stack: self.stack(at),
                places,
                refused: word.refused().or(bypass),
                may_be_called: CALL_TARGETS.contains(&word.0),
            }
        };
        (0..self.words.len()).map(instruction).collect()
    }

    fn address(&self, at: usize) -> u64 {
        self.start + 4 * at as u64
    }

    fn flow(&self, at: usize) -> Flow {
        let word = Word(self.words[at]);
        match word.branch() {
            Branch::None => Flow::Next,
            Branch::Call(_) => Flow::Call,
            Branch::IndirectCall => Flow::IndirectCall,
            Branch::Always(by) => Flow::Jump(self.offset_of(at, by)),
            Branch::Maybe(by) => Flow::Branch(self.offset_of(at, by)),
            Branch::Indirect(register) => Flow::IndirectJump { table: self.is_from_table(at, register) },
            Branch::End => Flow::End,
        }
    }

    /// The offset in the section of an address so many bytes away.
    fn offset_of(&self, at: usize, by: i64) -> u64 {
        match self.module.locate(self.address(at).wrapping_add_signed(by)) {
            Some((section, offset)) if section == self.index => offset,
            _ => ELSEWHERE,
        }
    }

    /// Whether a register was last written as the sum of two others.
    fn is_from_table(&self, at: usize, register: u32) -> bool {
        let before = self.words[..at].iter().rev().map(|&word| Word(word));
        let mut writers = before.take(16).filter(|word| word.writes() == Some(register));
        writers.next().is_some_and(|word| word.is(0x7f00_0000, 0x0b00_0000))
    }

    fn stack(&self, at: usize) -> Stack {
        let word = Word(self.words[at]);
        if let Some(by) = word.write_back().filter(|_| word.rn() == SP) {
            return Stack::Grows(-by);
        }
        match (word.add_immediate(), word.rd(), word.rn()) {
            (Some(by), SP, SP) => Stack::Grows(-by),
            (Some(by), SP, FP) => Stack::BelowBase(-by),
            (Some(by), FP, SP) => Stack::MarksBase(by),
            _ if word.writes_stack_pointer() => self.aligned(at).map_or(Stack::Unknown, Stack::Grows),
            _ => Stack::Kept,
        }
    }

    /// How many more bytes are in use at most after `and sp, x, #mask`, where `x` is so
    /// many bytes below the stack pointer.
    fn aligned(&self, at: usize) -> Option<i64> {
        let alignment = Word(self.words[at]).alignment()?;
        let register = Word(self.words[at]).rn();
        let before = self.words[..at].iter().rev().map(|&word| Word(word));
        let last = before.take(16).find(|word| word.writes() == Some(register))?;
        let below = last.add_immediate().filter(|_| last.rn() == SP)?;
        // The stack pointer is a multiple of 16.
        Some(alignment - 16 - below)
    }

    /// What an instruction refers to, and a problem if it may not do that directly.
    fn places(&self, at: usize, pages: &Pages) -> (Vec<Place>, Option<String>) {
        let word = Word(self.words[at]);
        match word.branch() {
            Branch::Call(by) | Branch::Always(by) | Branch::Maybe(by) => {
                return (Vec::from_iter(self.target(self.address(at).wrapping_add_signed(by))), None);
            }
            _ => {}
        }
        let mut places = Vec::new();
        let mut bypass = None;
        for address in self.addresses(at, pages) {
            let Some((section, offset)) = self.module.locate(address) else {
                continue;
            };
            let name = &self.module.sections[section].name;
            if name.starts_with(".got") {
                places.extend(self.module.slot(section, offset));
            } else {
                places.push(Place::Inside(section, offset));
            }
            if COPIED.contains(&name.as_str()) {
                bypass = Some(format!("goes to {name} itself, and not to a copy of a vnet or CPU"));
            }
        }
        (places, bypass)
    }

    fn addresses(&self, at: usize, pages: &Pages) -> Vec<u64> {
        let word = Word(self.words[at]);
        if let Some(by) = word.literal() {
            return vec![self.address(at).wrapping_add_signed(by)];
        }
        let Some(by) = word.add_immediate().or(word.access()) else {
            return Vec::new();
        };
        pages.of(word.rn()).map(|page| page.wrapping_add_signed(by)).collect()
    }

    /// Where a call or a jump leads: to a place of the module, or through the procedure
    /// linkage table.
    fn target(&self, address: u64) -> Option<Place> {
        let (section, offset) = self.module.locate(address)?;
        if self.module.sections[section].name != ".plt" {
            return Some(Place::Inside(section, offset));
        }
        let bytes = self.module.sections[section].data.get(offset as usize..)?;
        let entry = words(&bytes[..bytes.len().min(PLT_ENTRY)]);
        let entry = Function { module: self.module, index: section, start: address, words: &entry };
        let pages = entry.pages();
        (0..entry.words.len()).find_map(|at| entry.places(at, &pages[at]).0.pop())
    }

    /// The pages that registers may point to before each instruction.
    fn pages(&self) -> Vec<Pages> {
        let mut before: Vec<Option<Pages>> = vec![None; self.words.len()];
        for start in 0..self.words.len() {
            // Only a jump table leads to code that no branch leads to.
            if before[start].is_none() {
                self.spread(start, Pages::default(), &mut before);
            }
        }
        before.into_iter().map(Option::unwrap_or_default).collect()
    }

    /// Follows the code from an instruction on, while there is something new to know.
    fn spread(&self, start: usize, pages: Pages, before: &mut [Option<Pages>]) {
        let mut work = vec![(start, pages)];
        while let Some((at, pages)) = work.pop() {
            let known = before.get(at).cloned().flatten();
            let merged = known.clone().unwrap_or_default().merge(&pages);
            if at >= self.words.len() || known.as_ref() == Some(&merged) {
                continue;
            }
            let after = merged.after(Word(self.words[at]), self.address(at));
            before[at] = Some(merged);
            work.extend(self.next(at).into_iter().map(|next| (next, after.clone())));
        }
    }

    /// The instructions that may come next.
    fn next(&self, at: usize) -> Vec<usize> {
        let to = |by: i64| (at as i64 + by / 4).try_into().unwrap_or(usize::MAX);
        match Word(self.words[at]).branch() {
            Branch::None | Branch::Call(_) | Branch::IndirectCall => vec![at + 1],
            Branch::Always(by) => vec![to(by)],
            Branch::Maybe(by) => vec![to(by), at + 1],
            Branch::Indirect(_) => {
                (0..self.words.len()).filter(|&at| JUMP_TARGETS.contains(&self.words[at])).collect()
            }
            Branch::End => Vec::new(),
        }
    }
}

/// The pages that registers point to, as pairs.
#[derive(Clone, Default, PartialEq)]
struct Pages(BTreeSet<(u32, u64)>);

impl Pages {
    fn of(&self, register: u32) -> impl Iterator<Item = u64> + '_ {
        self.0.range((register, 0)..=(register, u64::MAX)).map(|&(_, page)| page)
    }

    fn merge(mut self, other: &Self) -> Self {
        self.0.extend(&other.0);
        self
    }

    /// What they point to after an instruction.
    fn after(&self, word: Word, address: u64) -> Self {
        let mut pages = self.clone();
        if matches!(word.branch(), Branch::Call(_) | Branch::IndirectCall) {
            // The callee saves the others.
            pages.0.retain(|&(register, _)| register > PER_CPU);
        }
        if let Some(written) = word.writes() {
            pages.0.retain(|&(register, _)| register != written);
        }
        if let Some(by) = word.page() {
            pages.0.insert((word.rd(), (address & !0xfff).wrapping_add_signed(by)));
        }
        pages
    }
}

/// Where an instruction leads, in bytes from itself.
enum Branch {
    None,
    Call(i64),
    IndirectCall,
    Always(i64),
    Maybe(i64),
    Indirect(u32),
    End,
}

/// An instruction.
#[derive(Clone, Copy)]
struct Word(u32);

impl Word {
    /// Whether the bits of `mask` are those of `value`.
    fn is(self, mask: u32, value: u32) -> bool {
        self.0 & mask == value
    }

    fn bits(self, low: u32, count: u32) -> u32 {
        self.0 >> low & ((1 << count) - 1)
    }

    fn signed(self, low: u32, count: u32) -> i64 {
        let value = i64::from(self.bits(low, count));
        value << (64 - count) >> (64 - count)
    }

    /// The register that is written, in most instructions; the one that is loaded or stored.
    fn rd(self) -> u32 {
        self.bits(0, 5)
    }

    /// The first operand, or the base of an address.
    fn rn(self) -> u32 {
        self.bits(5, 5)
    }

    fn is_data_processing(self) -> bool {
        self.is(0x1c00_0000, 0x1000_0000) || self.is(0x0e00_0000, 0x0a00_0000)
    }

    fn is_memory(self) -> bool {
        self.is(0x0a00_0000, 0x0800_0000)
    }

    fn is_pair(self) -> bool {
        self.is(0x3a00_0000, 0x2800_0000)
    }

    fn branch(self) -> Branch {
        if self.is(0xffff_0000, 0) {
            return Branch::End; // udf
        }
        match () {
            () if self.is(0xfc00_0000, 0x1400_0000) => Branch::Always(4 * self.signed(0, 26)),
            () if self.is(0xfc00_0000, 0x9400_0000) => Branch::Call(4 * self.signed(0, 26)),
            // b.cond, and cbz, cbnz
            () if self.is(0xff00_0000, 0x5400_0000) || self.is(0x7e00_0000, 0x3400_0000) => {
                Branch::Maybe(4 * self.signed(5, 19))
            }
            // tbz, tbnz
            () if self.is(0x7e00_0000, 0x3600_0000) => Branch::Maybe(4 * self.signed(5, 14)),
            () if self.is(0xffff_fc1f, 0xd61f_0000) => Branch::Indirect(self.rn()),
            () if self.is(0xffff_fc1f, 0xd63f_0000) => Branch::IndirectCall,
            // ret and the like, and traps
            () if self.is(0xfe00_0000, 0xd600_0000) || self.is(0xff00_0000, 0xd400_0000) => Branch::End,
            () => Branch::None,
        }
    }

    /// The immediate of an `add` or `sub` of 64 bits that may write the stack pointer.
    fn add_immediate(self) -> Option<i64> {
        let value = i64::from(self.bits(10, 12)) << (12 * self.bits(22, 1));
        match self.0 & 0xff80_0000 {
            0x9100_0000 => Some(value),
            0xd100_0000 => Some(-value),
            _ => None,
        }
    }

    /// What is added to the base of an access to memory. An access that changes the base
    /// counts as one without an immediate.
    fn access(self) -> Option<i64> {
        if !self.is_memory() || self.is(0x3b00_0000, 0x1800_0000) {
            return None;
        }
        Some(match () {
            // an unsigned immediate, in units of the access
            () if self.is(0x3b00_0000, 0x3900_0000) => i64::from(self.bits(10, 12)) << self.bits(30, 2),
            () if self.is_pair() && self.bits(23, 2) != 1 => self.signed(15, 7) << (2 + self.bits(31, 1)),
            // ldur and the like
            () if self.is(0x3b20_0c00, 0x3800_0000) => self.signed(12, 9),
            () => 0,
        })
    }

    /// What an access to memory adds to its base register itself.
    fn write_back(self) -> Option<i64> {
        let pair = self.is_pair() && self.bits(23, 1) == 1;
        let single = self.is(0x3b20_0400, 0x3800_0400);
        match () {
            () if pair => Some(self.signed(15, 7) << (2 + self.bits(31, 1))),
            () if single => Some(self.signed(12, 9)),
            () => None,
        }
    }

    /// The page that `adrp` adds to that of the instruction.
    fn page(self) -> Option<i64> {
        self.is(0x9f00_0000, 0x9000_0000)
            .then(|| (self.signed(5, 19) << 2 | i64::from(self.bits(29, 2))) << 12)
    }

    /// What `adr`, or a load of a literal, adds to the address of the instruction.
    fn literal(self) -> Option<i64> {
        if self.is(0x9f00_0000, 0x1000_0000) {
            return Some(self.signed(5, 19) << 2 | i64::from(self.bits(29, 2)));
        }
        self.is(0x3b00_0000, 0x1800_0000).then(|| 4 * self.signed(5, 19))
    }

    /// The register that an instruction writes, if it is one that most code has.
    fn writes(self) -> Option<u32> {
        // Loads with an unsigned or another immediate, and loads of literals.
        let loads = self.is(0x3b00_0000, 0x3900_0000) && self.bits(22, 2) != 0
            || self.is(0x3b00_0000, 0x3800_0000) && self.bits(22, 2) != 0 && self.bits(21, 1) == 0
            || self.is(0x3b00_0000, 0x1800_0000);
        let written = self.rd();
        (written != SP && (self.is_data_processing() || loads)).then_some(written)
    }

    /// Whether register 31 is the stack pointer, and written: in arithmetic with an
    /// immediate or an extended register and in logic with an immediate, without flags.
    fn writes_stack_pointer(self) -> bool {
        self.rd() == SP
            && (self.is(0x3f80_0000, 0x1100_0000)
                || self.is(0x3fe0_0000, 0x0b20_0000)
                || self.is(0x1f80_0000, 0x1200_0000) && self.bits(29, 2) != 3)
    }

    /// The alignment that `and` with a mask of leading ones gives an address.
    fn alignment(self) -> Option<i64> {
        let ones = self.bits(10, 6) + 1;
        let leading = self.bits(16, 6) == ones % 64;
        (self.is(0xffc0_0000, 0x9240_0000) && leading && ones > 48).then(|| 1 << (64 - ones))
    }

    /// The kernel does not save the registers of floating point, SIMD, SVE and SME when it
    /// interrupts a program, and x18 is its own.
    fn refused(self) -> Option<String> {
        let class = self.bits(25, 4);
        let fpcr_or_fpsr = self.is(0xffdf_ffc0, 0xd51b_4400);
        match class {
            0b0111 | 0b1111 => return Some("is a floating point or SIMD instruction".to_owned()),
            0b0110 | 0b1110 => return Some("loads or stores a floating point or SIMD register".to_owned()),
            0b0010 => return Some("is an SVE instruction".to_owned()),
            0b0000 if self.bits(31, 1) == 1 => return Some("is an SME instruction".to_owned()),
            _ if fpcr_or_fpsr => return Some("touches floating point state".to_owned()),
            0b0000 if self.is(0xffff_0000, 0) => return None,
            0b0000 | 0b0001 | 0b0011 => return Some("these bytes are no instruction".to_owned()),
            _ => {}
        }
        let jumps = [0xd61f_0000, 0xd63f_0000, 0xd65f_0000];
        if self.is(0xfe00_0000, 0xd600_0000) && !jumps.contains(&(self.0 & 0xffff_fc1f)) {
            return Some("is a jump that Armv8.0 does not have".to_owned());
        }
        self.changes_x18().then(|| "changes x18, which points to the data of the CPU".to_owned())
    }

    fn changes_x18(self) -> bool {
        let written = self.is_data_processing() && self.rd() == PER_CPU;
        let accessed = self.is_memory() && self.rd() == PER_CPU;
        let second = self.is_pair() && self.bits(10, 5) == PER_CPU;
        let moved = self.write_back().is_some() && self.rn() == PER_CPU;
        let system = self.is(0xfff0_0000, 0xd530_0000) && self.rd() == PER_CPU;
        written || accessed || second || moved || system
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames::Frame;
    use crate::graph::Graph;
    use crate::instructions;
    use crate::module::{Machine, Relocation, Section, Symbol, Target};
    use object::elf;

    const TEXT: u64 = 0x10_000;
    const PLT: u64 = 0x11_000;
    const DATA: u64 = 0x12_000;
    const GOT: u64 = 0x13_000;
    const VNET: u64 = 0x14_000;

    const STP_FP_LR_16: u32 = 0xa9bf_7bfd; // stp x29, x30, [sp, #-16]!
    const MOV_FP_SP: u32 = 0x9100_03fd;
    const LDP_FP_LR_16: u32 = 0xa8c1_7bfd; // ldp x29, x30, [sp], #16
    const SUB_SP_0X120: u32 = 0xd104_83ff;
    const ADD_SP_0X120: u32 = 0x9104_83ff;
    const RET: u32 = 0xd65f_03c0;
    const BTI_J: u32 = 0xd503_249f;
    const BR_X9: u32 = 0xd61f_0120;

    /// A module whose code is these words. Its GOT has an address of data, one of the
    /// kernel's `time_uptime`, and that of `malloc`, to which its PLT leads.
    fn module(code: &[u32]) -> Module {
        let section = |name: &str, address, words: &[u32]| Section {
            name: name.to_owned(),
            executable: [".text", ".plt"].contains(&name),
            address,
            data: words.iter().flat_map(|word| word.to_le_bytes()).collect(),
            size: 4 * words.len() as u64,
            relocations: Vec::new(),
        };
        // adrp x16, GOT; ldr x17, [x16, #16]; add x16, x16, #16; br x17
        let plt = [adrp(16, PLT, GOT), 0xf940_0a11, 0x9100_4210, 0xd61f_0220];
        let mut got = section(".got", GOT, &[0; 6]);
        let relocation = |offset, r_type, symbol: &str, target| Relocation {
            offset,
            r_type,
            symbol: symbol.to_owned(),
            target,
            addend: 0,
        };
        got.relocations = vec![
            relocation(0, elf::R_AARCH64_RELATIVE, "", Target::Inside { section: 2, offset: 8 }),
            relocation(8, elf::R_AARCH64_GLOB_DAT, "time_uptime", Target::Undefined),
            relocation(16, elf::R_AARCH64_JUMP_SLOT, "malloc", Target::Undefined),
        ];
        let data = section(".data", DATA, &[0; 8]);
        let vnet = section("set_vnet", VNET, &[0; 8]);
        Module {
            machine: Machine::Arm64,
            sections: vec![section(".text", TEXT, code), section(".plt", PLT, &plt), data, got, vnet],
            symbols: vec![Symbol { name: "f".to_owned(), section: 0, offset: 0, size: 0 }],
            problems: Vec::new(),
        }
    }

    /// `adrp` of a register at an address, for the page of another.
    fn adrp(register: u32, at: u64, to: u64) -> u32 {
        let pages = ((to >> 12) - (at >> 12)) as u32;
        0x9000_0000 | (pages & 3) << 29 | (pages >> 2) << 5 | register
    }

    fn decoded(code: &[u32]) -> Vec<Instruction> {
        decode(&module(code), 0, &(0..4 * code.len() as u64))
    }

    fn places(code: &[u32]) -> Vec<Vec<Place>> {
        decoded(code).into_iter().map(|code| code.places).collect()
    }

    fn refused(word: u32) -> Option<String> {
        decoded(&[word]).remove(0).refused
    }

    fn frame(code: &[u32]) -> Result<u64, u64> {
        Frame::of(&decoded(code)).map(|frame| frame.bytes)
    }

    #[test]
    fn floating_point_is_refused() {
        let cases = [
            (0x1e6e_1000, "is a floating point or SIMD"), // fmov d0, #1.0
            (0x6f00_e400, "is a floating point or SIMD"), // movi v0.2d, #0
            (0x3dc0_0000, "loads or stores a"),           // ldr q0, [x0]
            (0x6dbf_27e8, "loads or stores a"),           // stp d8, d9, [sp, #-16]!
            (0xd53b_4400, "touches floating point"),      // mrs x0, fpcr
            (0xd51b_4421, "touches floating point"),      // msr fpsr, x1
            (0x2518_e3e0, "is an SVE"),                   // ptrue p0.b
            (0xc008_00ff, "is an SME"),                   // zero {za}
            (0x0200_0000, "these bytes are no"),
            (0xd71f_0801, "is a jump that Armv8.0"), // braa x0, x1
        ];
        for (word, reason) in cases {
            assert!(refused(word).is_some_and(|text| text.starts_with(reason)), "{word:#x}");
        }
    }

    #[test]
    fn x18_is_only_read() {
        // mov x18, x0; ldr x18, [x0]; ldp x17, x18, [sp]; ldr x0, [x18], #8;
        // mrs x18, tpidr_el1; add x18, x18, #8
        for word in [0xaa00_03f2, 0xf940_0012, 0xa940_4bf1, 0xf840_8640, 0xd538_d092, 0x9100_2252] {
            assert!(refused(word).is_some_and(|text| text.starts_with("changes x18")), "{word:#x}");
        }
        // ldr x0, [x18]; mov x0, x18
        for word in [0xf940_0240, 0xaa12_03e0] {
            assert_eq!(refused(word), None);
        }
    }

    #[test]
    fn ordinary_instructions() {
        // udf #0, which is a trap; paciasp; autiasp; nop; ldar; casal; dmb ish
        let hints = [0, 0xd503_233f, 0xd503_23bf, 0xd503_201f, 0xc8df_fc20, 0xc8e0_fc41, 0xd503_3bbf];
        for word in hints.into_iter().chain([STP_FP_LR_16, SUB_SP_0X120, RET, BR_X9]) {
            assert_eq!(refused(word), None, "{word:#x}");
        }
    }

    #[test]
    fn where_a_call_through_a_pointer_may_lead() {
        let may = decoded(&[0xd503_245f, 0xd503_24df, 0xd503_233f, BTI_J, RET]);
        let may: Vec<_> = may.iter().map(|code| code.may_be_called).collect();
        assert_eq!(may, [true, true, true, false, false]);
    }

    #[test]
    fn frames() {
        let str_x19_32 = 0xf81e_0ff3; // str x19, [sp, #-32]!
        let ldr_x19_32 = 0xf842_07f3; // ldr x19, [sp], #32
        assert_eq!(frame(&[RET]), Ok(0));
        assert_eq!(frame(&[STP_FP_LR_16, SUB_SP_0X120, ADD_SP_0X120, LDP_FP_LR_16, RET]), Ok(0x120 + 16));
        assert_eq!(frame(&[str_x19_32, ldr_x19_32, STP_FP_LR_16, LDP_FP_LR_16, RET]), Ok(32));
        // sub sp, sp, #1, lsl #12
        assert_eq!(frame(&[0xd140_07ff, RET]), Ok(4096));
    }

    #[test]
    fn stack_pointer_from_the_frame_pointer() {
        let mov_sp_fp = 0x9100_03bf;
        let sub_sp_fp_16 = 0xd100_43bf;
        let push = [STP_FP_LR_16, MOV_FP_SP, SUB_SP_0X120];
        assert_eq!(frame(&[&push[..], &[mov_sp_fp, SUB_SP_0X120, RET]].concat()), Ok(0x120 + 16));
        assert_eq!(frame(&[&push[..], &[sub_sp_fp_16, SUB_SP_0X120, RET]].concat()), Ok(0x120 + 32));
        // add x29, sp, #288, after which the frame pointer is at the frame's end
        assert_eq!(frame(&[SUB_SP_0X120, 0x9104_83fd, mov_sp_fp, SUB_SP_0X120, RET]), Ok(0x120));
    }

    #[test]
    fn alignment_counts_in_full() {
        let sub_x9_sp_0x70 = 0xd101_c3e9;
        let and_sp_x9_64 = 0x927a_e53f;
        assert_eq!(frame(&[STP_FP_LR_16, sub_x9_sp_0x70, and_sp_x9_64, RET]), Ok(16 + 0x70 + 48));
    }

    #[test]
    fn frames_of_no_fixed_size() {
        let sub_sp_sp_x9 = 0xcb29_63ff;
        assert_eq!(frame(&[STP_FP_LR_16, sub_sp_sp_x9, RET]), Err(4));
        // b -4
        assert!(frame(&[STP_FP_LR_16, 0x17ff_ffff]).is_err());
    }

    #[test]
    fn branches_and_what_comes_after() {
        // b.eq, cbz, tbnz: 16 bytes on; b 8 bytes on; blr x8; brk #1
        let code = [0x5400_0080, 0xb400_0080, 0x3718_0080, 0x1400_0002, 0xd63f_0100, 0xd420_0020, RET];
        let flows: Vec<_> = decoded(&code).iter().map(|code| code.flow).collect();
        let branches = [Flow::Branch(16), Flow::Branch(20), Flow::Branch(24), Flow::Jump(20)];
        assert_eq!(flows[..4], branches);
        assert_eq!(flows[4..], [Flow::IndirectCall, Flow::End, Flow::End]);
    }

    #[test]
    fn a_jump_through_a_table() {
        // add x9, x9, x10; br x9
        let through = |code: &[u32]| decoded(code).pop().unwrap().flow;
        assert_eq!(through(&[0x8b0a_0129, BR_X9]), Flow::IndirectJump { table: true });
        assert_eq!(through(&[0xf940_0909, BR_X9]), Flow::IndirectJump { table: false });
        assert_eq!(frame(&[0x8b0a_0129, BR_X9, BTI_J, SUB_SP_0X120, ADD_SP_0X120, RET]), Ok(0x120));
    }

    #[test]
    fn calls_lead_to_functions_and_through_the_plt() {
        let bl = |at: u64, to: u64| 0x9400_0000 | (to.wrapping_sub(at) >> 2) as u32;
        let found = places(&[bl(TEXT, TEXT + 8), bl(TEXT + 4, PLT), RET]);
        assert_eq!(found[0], [Place::Inside(0, 8)]);
        assert_eq!(found[1], [Place::Outside("malloc".to_owned())]);
    }

    #[test]
    fn addresses_in_two_steps() {
        // add x0, x8, #0x18; ldr x8, [x8, #0x10], which ends what x8 points to
        let found = places(&[adrp(8, TEXT, DATA), 0x9100_6100, 0xf940_0908, 0x9100_6100, RET]);
        assert_eq!(found[1], [Place::Inside(2, 0x18)]);
        assert_eq!(found[2], [Place::Inside(2, 0x10)]);
        assert_eq!(found[3], []);
    }

    #[test]
    fn addresses_on_either_way_of_a_branch() {
        // cbz to the second adrp; adrp; b over it; adrp; add x0, x8, #0x18
        let code = [0xb400_0060, adrp(8, TEXT, DATA), 0x1400_0002, adrp(8, TEXT, PLT), 0x9100_6100, RET];
        assert_eq!(places(&code)[4], [Place::Inside(2, 0x18)]);
        let code = [0xb400_0060, adrp(8, TEXT, DATA), 0x1400_0002, adrp(8, TEXT, VNET), 0x9100_6100, RET];
        assert_eq!(places(&code)[4], [Place::Inside(2, 0x18), Place::Inside(4, 0x18)]);
        // a call overwrites x8
        assert_eq!(places(&[adrp(8, TEXT, DATA), 0xd63f_0100, 0x9100_6100])[2], []);
    }

    #[test]
    fn addresses_in_the_got() {
        let ldr_x8_x8 = |offset: u32| 0xf940_0108 | (offset / 8) << 10;
        let found = |offset| places(&[adrp(8, TEXT, GOT), ldr_x8_x8(offset), RET]).remove(1);
        assert_eq!(found(0), [Place::Inside(2, 8)]);
        assert_eq!(found(8), [Place::Outside("time_uptime".to_owned())]);
    }

    #[test]
    fn vnet_variables_are_reached_through_the_got() {
        let bypass = decoded(&[adrp(8, TEXT, VNET), 0x9100_6100, RET]).remove(1).refused;
        assert!(bypass.is_some_and(|text| text.starts_with("goes to set_vnet itself")));
    }

    #[test]
    fn functions_that_are_handed_out_have_landing_pads() {
        let problems = |code: &[u32]| {
            let mut module = module(code);
            let pointer = Relocation {
                offset: 0,
                r_type: elf::R_AARCH64_RELATIVE,
                symbol: String::new(),
                target: Target::Inside { section: 0, offset: 0 },
                addend: 0,
            };
            module.sections[4].relocations.push(pointer); // a linker set
            let graph = Graph::of(&module);
            instructions::unmarked(&graph, &graph.address_taken(&graph.reachable(&[])))
        };
        assert_eq!(problems(&[0xd503_245f, RET]), [""; 0]);
        assert_eq!(problems(&[RET]), ["f has no landing pad (bti c): a call through its pointer faults"]);
    }
}
