// SPDX-License-Identifier: BSD-2-Clause
//! How deep the stack gets below each entry point: the sum of the frames along
//! calls and tail calls within the module. The frames of the kernel's functions,
//! and of functions that are called through a pointer, are unknown and do not count.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use crate::frames::Frame;
use crate::graph::{Graph, How};

/// The deepest path down from each function followed so far.
pub(crate) struct Paths<'a> {
    graph: &'a Graph,
    frames: &'a BTreeMap<usize, Frame>,
    deepest: HashMap<usize, Step>,
    /// The calls that lead to the function being followed.
    calls: Vec<usize>,
    cycles: BTreeSet<String>,
}

#[derive(Clone, Copy)]
struct Step {
    bytes: u64,
    next: Option<usize>,
}

impl<'a> Paths<'a> {
    pub(crate) fn new(graph: &'a Graph, frames: &'a BTreeMap<usize, Frame>) -> Self {
        Self { graph, frames, deepest: HashMap::new(), calls: Vec::new(), cycles: BTreeSet::new() }
    }

    /// Follows a function and what it calls.
    pub(crate) fn follow(&mut self, function: usize) {
        if self.deepest.contains_key(&function) {
            return;
        }
        if let Some(first) = self.calls.iter().position(|&call| call == function) {
            self.cycles.insert(self.names(self.calls[first..].iter().chain([&function]).copied()));
            return;
        }
        self.calls.push(function);
        let step = self.step(function);
        self.calls.pop();
        self.deepest.insert(function, step);
    }

    /// How many bytes of stack a function takes that has been followed, with its own
    /// frame.
    pub(crate) fn depth(&self, function: usize) -> u64 {
        self.deepest.get(&function).map_or(0, |step| step.bytes)
    }

    fn step(&mut self, function: usize) -> Step {
        let (graph, frames) = (self.graph, self.frames);
        let Some(frame) = frames.get(&function) else {
            return Step { bytes: 0, next: None };
        };
        let mut step = Step { bytes: frame.bytes, next: None };
        for (reference, callee) in graph.items[function].callees() {
            let pushed = if reference.how == How::Call { graph.machine.call_bytes() } else { 0 };
            self.follow(callee);
            let bytes = frame.depth_at(reference.from) + pushed + self.depth(callee);
            if bytes > step.bytes && !self.calls.contains(&callee) {
                step = Step { bytes, next: Some(callee) };
            }
        }
        step
    }

    /// A problem for each recursion among the functions that have been followed.
    pub(crate) fn recursion(&self) -> impl Iterator<Item = String> + '_ {
        self.cycles.iter().map(|cycle| format!("recursion of unbounded depth: {cycle}"))
    }

    /// A line for each entry point.
    pub(crate) fn table(&self, entries: &[usize]) -> String {
        let line = |&entry| format!("{:>7}  {}\n", self.depth(entry), self.path(entry));
        entries.iter().map(line).collect()
    }

    /// The names on the deepest path down, and what does not count.
    pub(crate) fn path(&self, entry: usize) -> String {
        let next = |function: &usize| self.deepest.get(function)?.next;
        let path = self.names(std::iter::successors(Some(entry), next));
        match self.unknown_calls(entry) {
            0 => path,
            calls => format!("{path} (not counted: calls through pointers, {calls})"),
        }
    }

    /// How many calls through a pointer there are in the functions below `entry`.
    fn unknown_calls(&self, entry: usize) -> usize {
        let mut seen = HashSet::new();
        let mut work = vec![entry];
        while let Some(function) = work.pop() {
            if seen.insert(function) {
                work.extend(self.graph.items[function].callees().map(|(_, callee)| callee));
            }
        }
        seen.iter().filter_map(|function| self.frames.get(function)).map(|f| f.unknown_calls).sum()
    }

    fn names(&self, functions: impl Iterator<Item = usize>) -> String {
        let names: Vec<_> = functions.map(|item| self.graph.items[item].name.as_str()).collect();
        names.join(" > ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames;
    use crate::testing::{Builder, RET};

    /// `push rbx; call …; pop rbx; ret`, whose relocation is at offset 2.
    const PUSH_CALL: &[u8] = &[0x53, 0xe8, 0, 0, 0, 0, 0x5b, 0xc3];
    /// `sub rsp, 64; add rsp, 64; jmp …`, whose relocation is at offset 9.
    const FRAME_JUMP: &[u8] = &[0x48, 0x83, 0xec, 64, 0x48, 0x83, 0xc4, 64, 0xe9, 0, 0, 0, 0];

    fn paths<T>(builder: &Builder, look: impl FnOnce(&Graph, &mut Paths) -> T) -> T {
        let graph = builder.graph();
        let (frames, _) = frames::measure(&graph, &Vec::from_iter(0..graph.items.len()));
        look(&graph, &mut Paths::new(&graph, &frames))
    }

    fn link(builder: &mut Builder, caller: &str, at: u64, callee: &str) {
        let (caller, callee) = (builder.named(caller), builder.named(callee));
        builder.relocate(caller, at, object::elf::R_X86_64_PLT32, callee, -4);
    }

    /// The depth and path of `top`.
    fn top(builder: &Builder) -> (u64, String) {
        paths(builder, |graph, paths| {
            let top = graph.named("top").unwrap();
            paths.follow(top);
            (paths.depth(top), paths.path(top))
        })
    }

    #[test]
    fn calls_add_up() {
        let mut builder = Builder::new();
        builder.function("top", PUSH_CALL);
        builder.function("middle", PUSH_CALL);
        builder.function("leaf", RET);
        link(&mut builder, "top", 2, "middle");
        link(&mut builder, "middle", 2, "leaf");
        assert_eq!(top(&builder), (32, "top > middle > leaf".to_owned()));
    }

    #[test]
    fn a_jump_in_last_place_takes_the_frames_room() {
        let mut builder = Builder::new();
        builder.function("top", FRAME_JUMP);
        builder.function("small", PUSH_CALL);
        builder.undefined("free");
        link(&mut builder, "top", 9, "small");
        link(&mut builder, "small", 2, "free");
        assert_eq!(top(&builder), (64, "top".to_owned()));
    }

    #[test]
    fn calls_through_pointers_are_mentioned() {
        let mut builder = Builder::new();
        builder.function("top", PUSH_CALL);
        builder.function("calls", &[0xff, 0xd0, 0xc3]);
        link(&mut builder, "top", 2, "calls");
        let path = "top > calls (not counted: calls through pointers, 1)";
        assert_eq!(top(&builder), (16, path.to_owned()));
    }

    #[test]
    fn recursion_is_found() {
        let mut builder = Builder::new();
        for name in ["top", "one", "two"] {
            builder.function(name, PUSH_CALL);
        }
        link(&mut builder, "top", 2, "one");
        link(&mut builder, "one", 2, "two");
        link(&mut builder, "two", 2, "one");
        let recursion = paths(&builder, |graph, paths| {
            paths.follow(graph.named("top").unwrap());
            Vec::from_iter(paths.recursion())
        });
        assert_eq!(recursion, ["recursion of unbounded depth: one > two > one"]);
    }

    #[test]
    fn a_function_that_calls_itself() {
        let mut builder = Builder::new();
        builder.function("top", PUSH_CALL);
        link(&mut builder, "top", 2, "top");
        let count = paths(&builder, |graph, paths| {
            paths.follow(graph.named("top").unwrap());
            paths.recursion().count()
        });
        assert_eq!(count, 1);
    }
}
