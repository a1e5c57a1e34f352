// SPDX-License-Identifier: BSD-2-Clause
//! Instructions of arm64, in a shared object: what an operand refers to is computed from
//! the place of the instruction, in two steps, or stands in the global offset table.

mod word;

use std::collections::BTreeSet;
use std::ops::Range;

use word::{Branch, Word};

use crate::code::{Flow, Instruction, Place, Stack, ELSEWHERE};
use crate::module::Module;

/// The stack pointer.
const SP: u16 = 31;
/// The frame pointer.
const FP: u16 = 29;
/// FreeBSD's kernel has the data of the CPU there.
const PER_CPU: u16 = 18;

/// Sections of which the kernel gives each vnet or CPU a copy. Only the addresses in the
/// global offset table lead to the right one.
const COPIED: [&str; 2] = ["set_vnet", "set_pcpu"];

/// No entry of a procedure linkage table has more bytes before its jump.
const PLT_ENTRY: usize = 16;

/// Disassembles a part of a section.
pub(crate) fn decode(module: &Module, index: usize, range: &Range<u64>) -> Vec<Instruction> {
    let section = &module.sections[index];
    let words = words(&section.data[range.start as usize..range.end as usize]);
    let function = Function { module, index, start: section.address + range.start, words: &words };
    function.instructions(range.start)
}

fn words(bytes: &[u8]) -> Vec<Word> {
    let words = bytes.chunks_exact(4);
    words.map(|word| Word::decode(u32::from_le_bytes([word[0], word[1], word[2], word[3]]))).collect()
}

/// The instructions of a function.
struct Function<'a> {
    module: &'a Module,
    /// The section.
    index: usize,
    /// The address of the first instruction.
    start: u64,
    words: &'a [Word],
}

impl Function<'_> {
    fn instructions(&self, offset: u64) -> Vec<Instruction> {
        let pages = self.pages();
        let instruction = |at: usize| {
            let word = &self.words[at];
            let flow = self.flow(at);
            let (places, bypass) = self.places(at, &pages[at]);
            Instruction {
                offset: offset + 4 * at as u64,
                flow,
                stack: self.stack(at),
                places,
                refused: word.refused().or(bypass),
                may_be_called: word.may_be_called(),
            }
        };
        (0..self.words.len()).map(instruction).collect()
    }

    fn address(&self, at: usize) -> u64 {
        self.start + 4 * at as u64
    }

    fn flow(&self, at: usize) -> Flow {
        let word = &self.words[at];
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
    fn is_from_table(&self, at: usize, register: u16) -> bool {
        self.last_writer(at, register).is_some_and(Word::adds_registers)
    }

    /// The last of the few instructions before one that writes a register.
    fn last_writer(&self, at: usize, register: u16) -> Option<&Word> {
        self.words[..at].iter().rev().take(16).find(|word| word.writes(register))
    }

    fn stack(&self, at: usize) -> Stack {
        let word = &self.words[at];
        if let Some((SP, by)) = word.write_back() {
            return Stack::Grows(-by);
        }
        match word.add_immediate() {
            Some((SP, SP, by)) => Stack::Grows(-by),
            Some((SP, FP, by)) => Stack::BelowBase(-by),
            Some((FP, SP, by)) => Stack::MarksBase(by),
            _ if word.writes_stack_pointer() => self.aligned(at).map_or(Stack::Unknown, Stack::Grows),
            _ => Stack::Kept,
        }
    }

    /// How many more bytes are in use at most after `and sp, x, #mask`, where `x` is so
    /// many bytes below the stack pointer.
    fn aligned(&self, at: usize) -> Option<i64> {
        let (register, alignment) = self.words[at].alignment()?;
        let (_, _, below) =
            self.last_writer(at, register)?.add_immediate().filter(|(_, from, _)| *from == SP)?;
        // The stack pointer is a multiple of 16.
        Some(alignment - 16 - below)
    }

    /// What an instruction refers to, and a problem if it may not do that directly.
    fn places(&self, at: usize, pages: &Pages) -> (Vec<Place>, Option<String>) {
        let word = &self.words[at];
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
        let word = &self.words[at];
        if let Some(by) = word.literal() {
            return vec![self.address(at).wrapping_add_signed(by)];
        }
        let sum = word.add_immediate().map(|(_, from, by)| (from, by));
        let Some((base, by)) = sum.or_else(|| word.access()) else {
            return Vec::new();
        };
        pages.of(base).map(|page| page.wrapping_add_signed(by)).collect()
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
            let after = merged.after(&self.words[at], self.address(at));
            before[at] = Some(merged);
            work.extend(self.next(at).into_iter().map(|next| (next, after.clone())));
        }
    }

    /// The instructions that may come next.
    fn next(&self, at: usize) -> Vec<usize> {
        let to = |by: i64| (at as i64 + by / 4).try_into().unwrap_or(usize::MAX);
        match self.words[at].branch() {
            Branch::None | Branch::Call(_) | Branch::IndirectCall => vec![at + 1],
            Branch::Always(by) => vec![to(by)],
            Branch::Maybe(by) => vec![to(by), at + 1],
            Branch::Indirect(_) => {
                (0..self.words.len()).filter(|&at| self.words[at].may_be_jumped_to()).collect()
            }
            Branch::End => Vec::new(),
        }
    }
}

/// The pages that registers point to, as pairs.
#[derive(Clone, Default, PartialEq)]
struct Pages(BTreeSet<(u16, u64)>);

impl Pages {
    fn of(&self, register: u16) -> impl Iterator<Item = u64> + '_ {
        self.0.range((register, 0)..=(register, u64::MAX)).map(|&(_, page)| page)
    }

    fn merge(mut self, other: &Self) -> Self {
        self.0.extend(&other.0);
        self
    }

    /// What they point to after an instruction.
    fn after(&self, word: &Word, address: u64) -> Self {
        let mut pages = self.clone();
        if matches!(word.branch(), Branch::Call(_) | Branch::IndirectCall) {
            // The callee saves the others.
            pages.0.retain(|&(register, _)| register > PER_CPU);
        }
        pages.0.retain(|&(register, _)| !word.writes(register));
        if let Some((register, by)) = word.page() {
            pages.0.insert((register, (address & !0xfff).wrapping_add_signed(by)));
        }
        pages
    }
}

#[cfg(test)]
mod tests;
