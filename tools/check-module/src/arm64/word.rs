// SPDX-License-Identifier: BSD-2-Clause
//! One instruction of arm64: what the checks ask of it.

use yaxpeax_arch::{Decoder, U8Reader};
use yaxpeax_arm::armv8::a64::{InstDecoder, Instruction, Opcode, Operand, SizeCode};

use super::{PER_CPU, SP};

/// The system registers `fpcr` and `fpsr`, as the decoder numbers them.
const FLOATING_POINT_STATE: [u16; 2] = [0x5a20, 0x5a21];

/// Where an instruction leads, in bytes from itself.
pub(super) enum Branch {
    None,
    Call(i64),
    IndirectCall,
    Always(i64),
    Maybe(i64),
    Indirect(u16),
    End,
}

/// An instruction.
pub(super) struct Word {
    /// Its number.
    bits: u32,
    /// `None` if the decoder does not know it.
    decoded: Option<Instruction>,
}

impl Word {
    pub(super) fn decode(bits: u32) -> Self {
        let decoded = InstDecoder::default().decode(&mut U8Reader::new(&bits.to_le_bytes())).ok();
        Self { bits, decoded }
    }

    fn opcode(&self) -> Option<Opcode> {
        self.decoded.map(|decoded| decoded.opcode)
    }

    fn operands(&self) -> impl Iterator<Item = Operand> + '_ {
        self.decoded.iter().flat_map(|decoded| decoded.operands)
    }

    /// The general registers among the operands, in their order, without the base of an
    /// address.
    fn registers(&self) -> impl Iterator<Item = u16> + '_ {
        self.operands().filter_map(|operand| match operand {
            Operand::Register(_, register) | Operand::RegisterOrSP(_, register) => Some(register),
            _ => None,
        })
    }

    /// How many bytes away an operand is that the place of the instruction tells.
    fn distance(&self) -> Option<i64> {
        self.operands().find_map(|operand| match operand {
            Operand::PCOffset(by) => Some(by),
            _ => None,
        })
    }

    /// The base of an access to memory, what is added to it, and whether the base changes.
    fn address(&self) -> Option<(u16, i64, bool)> {
        self.operands().find_map(|operand| match operand {
            Operand::RegPreIndex(base, by, changes) => Some((base, by.into(), changes)),
            Operand::RegPostIndex(base, by) => Some((base, by.into(), true)),
            Operand::RegPostIndexReg(base, _) => Some((base, 0, true)),
            Operand::RegRegOffset(base, ..) => Some((base, 0, false)),
            _ => None,
        })
    }

    fn is_memory(&self) -> bool {
        self.address().is_some() || self.is_load()
    }

    pub(super) fn branch(&self) -> Branch {
        let Some(opcode) = self.opcode() else { return Branch::None };
        let by = self.distance().unwrap_or(0);
        let register = self.registers().next().unwrap_or(SP);
        match opcode {
            Opcode::B => Branch::Always(by),
            Opcode::BL => Branch::Call(by),
            Opcode::Bcc(_) | Opcode::CBZ | Opcode::CBNZ | Opcode::TBZ | Opcode::TBNZ => Branch::Maybe(by),
            Opcode::BR => Branch::Indirect(register),
            Opcode::BLR => Branch::IndirectCall,
            Opcode::RET | Opcode::UDF | Opcode::BRK | Opcode::HLT => Branch::End,
            Opcode::SVC | Opcode::HVC | Opcode::SMC => Branch::End,
            _ if self.is_foreign_jump() => Branch::End,
            _ => Branch::None,
        }
    }

    /// Whether it jumps in a way that no code of the kernel does: with a signed pointer, or
    /// out of an exception.
    fn is_foreign_jump(&self) -> bool {
        matches!(
            self.opcode(),
            Some(
                Opcode::BRAA
                    | Opcode::BRAAZ
                    | Opcode::BRAB
                    | Opcode::BRABZ
                    | Opcode::BLRAA
                    | Opcode::BLRAAZ
                    | Opcode::BLRAB
                    | Opcode::BLRABZ
                    | Opcode::RETAA
                    | Opcode::RETAB
                    | Opcode::ERET
                    | Opcode::ERETAA
                    | Opcode::ERETAB
                    | Opcode::DRPS
            )
        )
    }

    /// Whether a call through a pointer may lead to it: `bti c`, `bti jc`, `paciasp`, `pacibsp`.
    pub(super) fn may_be_called(&self) -> bool {
        matches!(self.opcode(), Some(Opcode::PACIASP | Opcode::PACIBSP))
            || matches!(self.landing_pad(), Some(2 | 6))
    }

    /// Whether a jump through a table may lead to it: `bti j`, `bti jc`.
    pub(super) fn may_be_jumped_to(&self) -> bool {
        matches!(self.landing_pad(), Some(4 | 6))
    }

    /// The kind of `bti`: 2 is `c`, 4 is `j`, 6 is `jc`.
    fn landing_pad(&self) -> Option<u32> {
        match self.decoded? {
            Instruction {
                opcode: Opcode::HINT,
                operands: [Operand::ControlReg(4), Operand::Immediate(kind), ..],
            } => Some(kind),
            _ => None,
        }
    }

    /// The register that an `add` or `sub` of 64 bits writes, the one that it reads, and what
    /// it adds to that.
    pub(super) fn add_immediate(&self) -> Option<(u16, u16, i64)> {
        let Instruction { opcode, operands } = self.decoded?;
        let [Operand::RegisterOrSP(SizeCode::X, to), Operand::RegisterOrSP(SizeCode::X, from), by, _] =
            operands
        else {
            return None;
        };
        let by = match by {
            Operand::Immediate(by) => i64::from(by),
            Operand::ImmShift(by, shift) => i64::from(by) << shift,
            _ => return None,
        };
        match opcode {
            Opcode::ADD => Some((to, from, by)),
            Opcode::SUB => Some((to, from, -by)),
            _ => None,
        }
    }

    /// Whether it adds two registers.
    pub(super) fn adds_registers(&self) -> bool {
        self.opcode() == Some(Opcode::ADD)
            && self.operands().any(|operand| matches!(operand, Operand::RegShift(..)))
    }

    /// The base of an access to memory, and what is added to it. An access that changes the
    /// base counts as one at the base.
    pub(super) fn access(&self) -> Option<(u16, i64)> {
        self.address().map(|(base, by, changes)| (base, if changes { 0 } else { by }))
    }

    /// The base that an access to memory changes, and by how much.
    pub(super) fn write_back(&self) -> Option<(u16, i64)> {
        self.address().filter(|(_, _, changes)| *changes).map(|(base, by, _)| (base, by))
    }

    /// The register that `adrp` writes, and the page there, from that of the instruction.
    pub(super) fn page(&self) -> Option<(u16, i64)> {
        (self.opcode() == Some(Opcode::ADRP)).then(|| self.registers().next().zip(self.distance())).flatten()
    }

    /// What `adr`, or a load of a literal, adds to the address of the instruction.
    pub(super) fn literal(&self) -> Option<i64> {
        let is_literal = self.opcode() == Some(Opcode::ADR) || self.is_load();
        self.distance().filter(|_| is_literal)
    }

    /// Whether it loads, in one of the ways that most code has.
    fn is_load(&self) -> bool {
        matches!(
            self.opcode(),
            Some(
                Opcode::LDR
                    | Opcode::LDRB
                    | Opcode::LDRH
                    | Opcode::LDRSB
                    | Opcode::LDRSH
                    | Opcode::LDRSW
                    | Opcode::LDUR
                    | Opcode::LDURB
                    | Opcode::LDURH
                    | Opcode::LDURSB
                    | Opcode::LDURSH
                    | Opcode::LDURSW
                    | Opcode::LDP
                    | Opcode::LDPSW
                    | Opcode::LDNP
            )
        )
    }

    /// Whether it writes that general register, not as the base of an address. The rarer
    /// accesses to memory count as writing none.
    pub(super) fn writes(&self, register: u16) -> bool {
        let mut registers = self.registers();
        match self.opcode() {
            Some(
                Opcode::CBZ
                | Opcode::CBNZ
                | Opcode::TBZ
                | Opcode::TBNZ
                | Opcode::BR
                | Opcode::BLR
                | Opcode::RET,
            ) => false,
            Some(Opcode::CCMP | Opcode::CCMN) => false,
            // The system register comes first.
            Some(_) if self.operands().any(|operand| matches!(operand, Operand::SystemReg(_))) => {
                matches!(self.opcode(), Some(Opcode::MRS)) && registers.next() == Some(register)
            }
            Some(_) if self.is_load() => registers.any(|loaded| loaded == register),
            Some(_) if self.is_memory() => false,
            _ => registers.next() == Some(register),
        }
    }

    /// Whether it writes the stack pointer, other than by an access to memory.
    pub(super) fn writes_stack_pointer(&self) -> bool {
        let first = self.operands().next();
        !self.is_memory() && matches!(first, Some(Operand::RegisterOrSP(_, SP)))
    }

    /// The register and the alignment of `and sp, register, #mask` with a mask of leading ones.
    pub(super) fn alignment(&self) -> Option<(u16, i64)> {
        let Instruction { opcode, operands } = self.decoded?;
        let [Operand::RegisterOrSP(SizeCode::X, SP), Operand::Register(_, register), Operand::Imm64(mask), _] =
            operands
        else {
            return None;
        };
        let alignment =
            (!mask).checked_add(1).filter(|alignment| alignment.is_power_of_two() && *alignment < 1 << 16)?;
        (opcode == Opcode::AND).then_some((register, alignment as i64))
    }

    /// The kernel does not save the registers of floating point, SIMD, SVE and SME when it
    /// interrupts a program, and x18 is its own.
    pub(super) fn refused(&self) -> Option<String> {
        let reason = match () {
            () if self.decoded.is_none() => self.unknown(),
            () if self.has_simd_register() && self.is_memory() => {
                "loads or stores a floating point or SIMD register"
            }
            () if self.has_simd_register() => "is a floating point or SIMD instruction",
            () if self.has_floating_point_state() => "touches floating point state",
            () if self.is_foreign_jump() => "is a jump that Armv8.0 does not have",
            () if self.changes_x18() => "changes x18, which points to the data of the CPU",
            () => return None,
        };
        Some(reason.to_owned())
    }

    /// What the decoder does not know, by the classes of the "Arm Architecture Reference Manual
    /// for A-profile architecture", chapter C4.1.
    fn unknown(&self) -> &'static str {
        match (self.bits >> 25 & 0xf, self.bits >> 31) {
            (0b0010, _) => "is an SVE instruction",
            (0b0000, 1) => "is an SME instruction",
            _ => "these bytes are no instruction",
        }
    }

    fn has_simd_register(&self) -> bool {
        self.operands().any(|operand| {
            matches!(
                operand,
                Operand::SIMDRegister(..)
                    | Operand::SIMDRegisterElements(..)
                    | Operand::SIMDRegisterElementsLane(..)
                    | Operand::SIMDRegisterElementsMultipleLane(..)
                    | Operand::SIMDRegisterGroup(..)
                    | Operand::SIMDRegisterGroupLane(..)
            )
        })
    }

    fn has_floating_point_state(&self) -> bool {
        self.operands().any(|operand| match operand {
            Operand::SystemReg(register) => FLOATING_POINT_STATE.contains(&register),
            _ => false,
        })
    }

    /// Whether it writes x18, or is an access to memory that names it other than as its base.
    fn changes_x18(&self) -> bool {
        let is_moved = self.write_back().is_some_and(|(base, _)| base == PER_CPU);
        is_moved
            || self.writes(PER_CPU)
            || self.is_memory() && self.registers().any(|register| register == PER_CPU)
    }
}
