// SPDX-License-Identifier: BSD-2-Clause
//! How much stack each function takes: the code is followed along every branch, and
//! pushes, pops and arithmetic on the stack pointer are added up.

use std::collections::BTreeMap;

use crate::code::{Flow, Instruction, Stack};
use crate::graph::Graph;

/// More bytes than any kernel stack has: a frame of this size grows in a loop.
const ENDLESS: i64 = 1 << 20;

/// A function's use of the stack, without the return address.
pub(crate) struct Frame {
    pub(crate) bytes: u64,
    /// How many calls through a pointer it makes, whose frames are unknown.
    pub(crate) unknown_calls: usize,
    /// How many bytes are in use before each instruction that can be reached.
    depths: BTreeMap<u64, u64>,
}

impl Frame {
    /// Measures a function. The error is the offset of an instruction that gives the
    /// frame no fixed size.
    pub(crate) fn of(code: &[Instruction]) -> Result<Self, u64> {
        Walk { code, depths: vec![None; code.len()], base: 0, table: None, deepest: 0 }.run()
    }

    /// How many bytes are in use at an instruction.
    pub(crate) fn depth_at(&self, offset: u64) -> u64 {
        self.depths.get(&offset).copied().unwrap_or(self.bytes)
    }
}

/// The frames of the functions among `items`, and a problem for each function whose
/// frame has no fixed size.
pub(crate) fn measure<'a>(
    graph: &Graph,
    items: impl IntoIterator<Item = &'a usize>,
) -> (BTreeMap<usize, Frame>, Vec<String>) {
    let mut frames = BTreeMap::new();
    let mut problems = Vec::new();
    for &index in items {
        let item = &graph.items[index];
        if !item.executable {
            continue;
        }
        match Frame::of(&item.code) {
            Ok(frame) => drop(frames.insert(index, frame)),
            Err(offset) => {
                let place = graph.place(item.section, offset);
                problems.push(format!("{place}: the stack frame has no fixed size"));
            }
        }
    }
    (frames, problems)
}

/// The largest frames, as lines of a table.
pub(crate) fn table(graph: &Graph, frames: &BTreeMap<usize, Frame>, rows: usize) -> String {
    let mut largest: Vec<_> = frames.iter().collect();
    largest.sort_by_key(|(_, frame)| u64::MAX - frame.bytes);
    largest
        .iter()
        .take(rows)
        .map(|(&item, frame)| format!("{:>7}  {}\n", frame.bytes, graph.items[item].name))
        .collect()
}

struct Walk<'a> {
    code: &'a [Instruction],
    /// The most bytes in use before each instruction, on any path to it.
    depths: Vec<Option<i64>>,
    /// How many bytes are in use where the frame pointer points.
    base: i64,
    /// How many bytes are in use at a jump through a table.
    table: Option<i64>,
    deepest: i64,
}

impl Walk<'_> {
    fn run(mut self) -> Result<Frame, u64> {
        self.follow(0, 0)?;
        for index in 0..self.code.len() {
            // Only a jump table leads to code that no branch leads to.
            if let (None, Some(depth)) = (self.depths[index], self.table) {
                self.follow(index, depth)?;
            }
        }
        let depths = self.code.iter().zip(&self.depths);
        let depths = depths.filter_map(|(code, depth)| Some((code.offset, (*depth)? as u64)));
        Ok(Frame {
            bytes: self.deepest as u64,
            unknown_calls: self.unknown_calls(),
            depths: depths.collect(),
        })
    }

    fn follow(&mut self, index: usize, depth: i64) -> Result<(), u64> {
        let mut work = vec![(index, depth)];
        while let Some((index, depth)) = work.pop() {
            let Some(code) = self.code.get(index) else {
                continue;
            };
            if self.depths[index] >= Some(depth) {
                continue;
            }
            self.depths[index] = Some(depth);
            let after = self.step(code, depth).ok_or(code.offset)?;
            if after > ENDLESS {
                return Err(code.offset);
            }
            self.deepest = self.deepest.max(after);
            let next = self.next(index, depth).into_iter().flatten();
            work.extend(next.map(|next| (next, after)));
        }
        Ok(())
    }

    /// How many bytes are in use after an instruction; `None` if that cannot be known.
    fn step(&mut self, code: &Instruction, depth: i64) -> Option<i64> {
        let after = match code.stack {
            Stack::Kept => depth,
            Stack::Grows(bytes) => depth + bytes,
            Stack::BelowBase(bytes) => self.base + bytes,
            Stack::MarksBase(bytes) => {
                self.base = depth - bytes;
                depth
            }
            Stack::Unknown => return None,
        };
        Some(after.max(0))
    }

    /// The instructions that may come next.
    fn next(&mut self, index: usize, depth: i64) -> [Option<usize>; 2] {
        let find = |target| self.code.binary_search_by_key(&target, |code| code.offset).ok();
        match self.code[index].flow {
            Flow::Jump(target) => [find(target), None],
            Flow::Branch(target) => [find(target), Some(index + 1)],
            Flow::IndirectJump { table } => {
                self.table = self.table.max(is_table_jump(table, depth).then_some(depth));
                [None, None]
            }
            Flow::End => [None, None],
            Flow::Next | Flow::Call | Flow::IndirectCall => [Some(index + 1), None],
        }
    }

    fn unknown_calls(&self) -> usize {
        let is_unknown = |code: &Instruction, depth: i64| match code.flow {
            Flow::IndirectCall => true,
            Flow::IndirectJump { table } => !is_table_jump(table, depth),
            _ => false,
        };
        let reached = self.code.iter().zip(&self.depths);
        reached.filter(|(code, depth)| depth.is_some_and(|depth| is_unknown(code, depth))).count()
    }
}

/// Whether a jump through a pointer stays in the function, as a `match` does that
/// uses a table. Without a frame it is a tail call.
fn is_table_jump(table: bool, depth: i64) -> bool {
    depth > 0 || table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Builder;

    const PUSH_RBP: &[u8] = &[0x55];
    const MOV_RBP_RSP: &[u8] = &[0x48, 0x89, 0xe5];
    const PUSH_RBX: &[u8] = &[0x53];
    const SUB_RSP_0X120: &[u8] = &[0x48, 0x81, 0xec, 0x20, 0x01, 0, 0];
    const ADD_RSP_0X120: &[u8] = &[0x48, 0x81, 0xc4, 0x20, 0x01, 0, 0];
    const POP_RBX: &[u8] = &[0x5b];
    const POP_RBP: &[u8] = &[0x5d];
    const RET: &[u8] = &[0xc3];

    fn frame(code: &[&[u8]]) -> Result<Frame, u64> {
        let mut builder = Builder::new();
        builder.function("f", &code.concat());
        let graph = builder.graph();
        Frame::of(&graph.items[graph.named("f").unwrap()].code)
    }

    fn bytes(code: &[&[u8]]) -> u64 {
        frame(code).expect("a fixed frame").bytes
    }

    #[test]
    fn pushes_and_subtraction() {
        let prologue = [PUSH_RBP, MOV_RBP_RSP, PUSH_RBX, SUB_RSP_0X120];
        let epilogue = [ADD_RSP_0X120, POP_RBX, POP_RBP, RET];
        assert_eq!(bytes(&[prologue, epilogue].concat()), 0x120 + 16);
        assert_eq!(bytes(&[RET]), 0);
    }

    #[test]
    fn a_frame_behind_an_early_return() {
        let test_edi = [0x85, 0xff];
        let je_over = [0x74, 0x10]; // to the last ret
        let late = [&test_edi[..], &je_over, PUSH_RBX, SUB_RSP_0X120, ADD_RSP_0X120, POP_RBX, RET];
        assert_eq!(bytes(&[&late[..], &[RET]].concat()), 0x120 + 8);
    }

    #[test]
    fn alignment_counts_in_full() {
        let and_rsp_64 = [0x48, 0x83, 0xe4, 0xc0];
        let leave = [0xc9];
        assert_eq!(bytes(&[PUSH_RBP, MOV_RBP_RSP, &and_rsp_64, &leave, RET]), 8 + 56);
    }

    #[test]
    fn stack_pointer_from_the_frame_pointer() {
        let lea_rsp_rbp_8 = [0x48, 0x8d, 0x65, 0xf8];
        let tail = [&lea_rsp_rbp_8[..], POP_RBX, POP_RBP, PUSH_RBX, RET];
        let head = [PUSH_RBP, MOV_RBP_RSP, PUSH_RBX, SUB_RSP_0X120];
        assert_eq!(bytes(&[&head[..], &tail].concat()), 0x120 + 16);
        let measured = frame(&[&head[..], &tail].concat()).ok().unwrap();
        let last_push = head.iter().map(|code| code.len()).sum::<usize>() + 6;
        assert_eq!(measured.depth_at(last_push as u64), 0);
    }

    #[test]
    fn code_behind_a_jump_table() {
        let jmp_table = [0xff, 0x24, 0xc5, 0, 0, 0, 0];
        assert_eq!(bytes(&[PUSH_RBP, &jmp_table, SUB_RSP_0X120, ADD_RSP_0X120, RET]), 0x120 + 8);
    }

    #[test]
    fn calls_through_pointers_are_counted() {
        let call_rax = [0xff, 0xd0];
        let jmp_rax = [0xff, 0xe0];
        let unknown = |code: &[&[u8]]| frame(code).ok().unwrap().unknown_calls;
        assert_eq!(unknown(&[PUSH_RBX, &call_rax, POP_RBX, &jmp_rax]), 2);
        assert_eq!(unknown(&[PUSH_RBX, &jmp_rax]), 0);
    }

    #[test]
    fn frames_of_no_fixed_size() {
        let sub_rsp_rax = [0x48, 0x29, 0xc4];
        assert_eq!(frame(&[PUSH_RBX, &sub_rsp_rax, RET]).err(), Some(1));
        let back_to_push = [0xeb, 0xfd];
        assert!(frame(&[PUSH_RBX, &back_to_push]).is_err());
    }

    #[test]
    fn the_table_has_the_largest_first() {
        let mut builder = Builder::new();
        builder.function("small", &[PUSH_RBX, POP_RBX, RET].concat());
        builder.function("large", &[SUB_RSP_0X120, ADD_RSP_0X120, RET].concat());
        builder.function("none", RET);
        let graph = builder.graph();
        let (frames, problems) = measure(&graph, &Vec::from_iter(0..graph.items.len()));
        assert_eq!(problems, [""; 0]);
        assert_eq!(table(&graph, &frames, 2), "    288  large\n      8  small\n");
    }
}
