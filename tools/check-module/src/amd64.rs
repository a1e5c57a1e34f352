// SPDX-License-Identifier: BSD-2-Clause
//! Instructions of amd64, in a relocatable object: what an operand refers to stands in
//! a relocation.

use std::ops::Range;

use iced_x86::{
    CpuidFeature, Decoder, DecoderOptions, FlowControl, InstructionInfoFactory, Mnemonic, OpKind, Register,
};
use object::elf::{R_X86_64_PC32, R_X86_64_PLT32};

use crate::code::{Flow, Instruction, Place, Stack, ELSEWHERE};
use crate::module::{Relocation, Section};

/// Features whose instructions all touch such state, even if they name no register.
const FEATURES: [CpuidFeature; 4] =
    [CpuidFeature::FPU, CpuidFeature::FPU287, CpuidFeature::FPU387, CpuidFeature::MMX];

/// Disassembles a part of a section.
pub(crate) fn decode(section: &Section, index: usize, range: &Range<u64>) -> Vec<Instruction> {
    let bytes = &section.data[range.start as usize..range.end as usize];
    let decoder = Decoder::with_ip(64, bytes, range.start, DecoderOptions::NONE);
    let mut factory = InstructionInfoFactory::new();
    decoder.into_iter().map(|code| instruction(section, index, &code, &mut factory)).collect()
}

fn instruction(
    section: &Section,
    index: usize,
    code: &iced_x86::Instruction,
    factory: &mut InstructionInfoFactory,
) -> Instruction {
    let relocations = section.relocations_in(code.ip()..code.next_ip());
    let places: Vec<_> = if relocations.is_empty() {
        resolved(code).map(|offset| Place::Inside(index, offset)).into_iter().collect()
    } else {
        relocations.iter().filter_map(|relocation| place(relocation, code.next_ip())).collect()
    };
    Instruction {
        offset: code.ip(),
        flow: flow(code, index, &places),
        stack: stack(code),
        places,
        refused: refused(factory, code),
        may_be_called: true,
    }
}

/// The target of an operand that the assembler resolved.
fn resolved(code: &iced_x86::Instruction) -> Option<u64> {
    if code.op0_kind() == OpKind::NearBranch64 {
        return Some(code.near_branch_target());
    }
    code.is_ip_rel_memory_operand().then(|| code.ip_rel_memory_address())
}

/// The target of a relocation. `next` is the address of the next instruction, which
/// relative fields are relative to.
fn place(relocation: &Relocation, next: u64) -> Option<Place> {
    let is_relative = [R_X86_64_PC32, R_X86_64_PLT32].contains(&relocation.r_type);
    match relocation.place()? {
        Place::Inside(section, offset) if is_relative => {
            Some(Place::Inside(section, offset.wrapping_add(next - relocation.offset)))
        }
        place => Some(place),
    }
}

fn flow(code: &iced_x86::Instruction, index: usize, places: &[Place]) -> Flow {
    let target = match places {
        [Place::Inside(section, offset)] if *section == index => *offset,
        _ => ELSEWHERE,
    };
    match code.flow_control() {
        FlowControl::Call => Flow::Call,
        FlowControl::IndirectCall => Flow::IndirectCall,
        FlowControl::UnconditionalBranch => Flow::Jump(target),
        FlowControl::ConditionalBranch => Flow::Branch(target),
        FlowControl::IndirectBranch => Flow::IndirectJump { table: code.memory_index() != Register::None },
        FlowControl::Return | FlowControl::Interrupt | FlowControl::Exception => Flow::End,
        _ => Flow::Next,
    }
}

fn stack(code: &iced_x86::Instruction) -> Stack {
    match code.mnemonic() {
        Mnemonic::Call => Stack::Kept,
        Mnemonic::Leave => Stack::BelowBase(-8),
        Mnemonic::Mov if registers(code) == (Register::RBP, Register::RSP) => Stack::MarksBase(0),
        _ if writes_stack_pointer(code) => moved(code),
        _ => match code.stack_pointer_increment() {
            0 => Stack::Kept,
            increment => Stack::Grows(-i64::from(increment)),
        },
    }
}

fn moved(code: &iced_x86::Instruction) -> Stack {
    let is_immediate = !matches!(code.op1_kind(), OpKind::Register | OpKind::Memory);
    let displacement = code.memory_displacement64() as i64;
    match code.mnemonic() {
        Mnemonic::Sub if is_immediate => Stack::Grows(code.immediate(1) as i64),
        Mnemonic::Add if is_immediate => Stack::Grows(-(code.immediate(1) as i64)),
        // Aligning takes at most the alignment less eight bytes.
        Mnemonic::And if is_immediate => Stack::Grows(-(code.immediate(1) as i64) - 8),
        Mnemonic::Lea if code.memory_index() != Register::None => Stack::Unknown,
        Mnemonic::Lea if code.memory_base() == Register::RSP => Stack::Grows(-displacement),
        Mnemonic::Lea if code.memory_base() == Register::RBP => Stack::BelowBase(-displacement),
        Mnemonic::Mov if registers(code).1 == Register::RBP => Stack::BelowBase(0),
        _ => Stack::Unknown,
    }
}

fn writes_stack_pointer(code: &iced_x86::Instruction) -> bool {
    let reads_only = [Mnemonic::Cmp, Mnemonic::Test, Mnemonic::Push];
    code.op0_register().full_register() == Register::RSP && !reads_only.contains(&code.mnemonic())
}

fn registers(code: &iced_x86::Instruction) -> (Register, Register) {
    (code.op0_register(), code.op1_register())
}

/// The kernel does not save the registers of SSE, AVX, MMX and x87 when it interrupts
/// a program.
fn refused(factory: &mut InstructionInfoFactory, code: &iced_x86::Instruction) -> Option<String> {
    if code.is_invalid() {
        return Some("these bytes are no instruction".to_owned());
    }
    let used = factory.info(code).used_registers();
    let named = used.iter().any(|used| is_forbidden(used.register()));
    let name = format!("{:?}", code.mnemonic()).to_lowercase();
    (named || touches_unnamed_state(code)).then(|| format!("{name} touches SSE, AVX, MMX or x87 state"))
}

fn is_forbidden(register: Register) -> bool {
    register.is_vector_register()
        || register.is_st()
        || register.is_mm()
        || register.is_k()
        || register.is_tmm()
}

fn touches_unnamed_state(code: &iced_x86::Instruction) -> bool {
    code.is_save_restore_instruction()
        || matches!(
            code.mnemonic(),
            Mnemonic::Ldmxcsr | Mnemonic::Stmxcsr | Mnemonic::Vldmxcsr | Mnemonic::Vstmxcsr
        )
        || code.cpuid_features().iter().any(|feature| FEATURES.contains(feature))
}
