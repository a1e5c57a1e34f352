// SPDX-License-Identifier: BSD-2-Clause
//! An instruction as far as the checks look at it, whatever the machine: where it
//! leads, what it does to the stack, what it refers to.

/// Stands for the target of a branch that leaves its section.
pub(crate) const ELSEWHERE: u64 = u64::MAX;

/// An instruction of either machine.
pub(crate) struct Instruction {
    /// Its offset in the section.
    pub(crate) offset: u64,
    pub(crate) flow: Flow,
    pub(crate) stack: Stack,
    /// What it calls, jumps to, or takes the address of.
    pub(crate) places: Vec<Place>,
    /// Why it must not be in a kernel.
    pub(crate) refused: Option<String>,
    /// Whether a call through a pointer may lead here.
    pub(crate) may_be_called: bool,
}

/// What comes after an instruction.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Flow {
    /// The next instruction.
    Next,
    /// The next one, after a call of a function that the instruction names.
    Call,
    /// The next one, after a call through a pointer.
    IndirectCall,
    /// The instruction at this offset, or [`ELSEWHERE`].
    Jump(u64),
    /// The same, or the next one.
    Branch(u64),
    /// One that a pointer names. `table` if the pointer was computed from an index, as
    /// a `match` does that uses a table.
    IndirectJump { table: bool },
    /// None: a return or a trap.
    End,
}

/// What an instruction does to the stack pointer and to the frame pointer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Stack {
    /// Nothing.
    Kept,
    /// So many more bytes are in use, or fewer.
    Grows(i64),
    /// The frame pointer now points so many bytes above the stack pointer.
    MarksBase(i64),
    /// The stack pointer now points so many bytes below the frame pointer.
    BelowBase(i64),
    /// Something that gives the frame no fixed size.
    Unknown,
}

/// What an operand refers to: a section and an offset, or a symbol outside the module.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Place {
    Inside(usize, u64),
    Outside(String),
}
