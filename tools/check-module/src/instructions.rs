// SPDX-License-Identifier: BSD-2-Clause
//! Check 3: no SSE, AVX, MMX or x87 instructions. The kernel does not save these
//! registers when it interrupts a program.

use iced_x86::{CpuidFeature, Instruction, InstructionInfoFactory, Mnemonic, Register};

use crate::graph::Graph;

/// Features whose instructions all touch such state, even if they name no register.
const FEATURES: [CpuidFeature; 4] =
    [CpuidFeature::FPU, CpuidFeature::FPU287, CpuidFeature::FPU387, CpuidFeature::MMX];

/// Checks all executable sections, whether or not their code can be reached.
pub(crate) fn problems(graph: &Graph) -> Vec<String> {
    let mut factory = InstructionInfoFactory::new();
    let mut problems = Vec::new();
    for item in &graph.items {
        for instruction in &item.code {
            if let Some(reason) = reason(&mut factory, instruction) {
                problems.push(format!("{}: {reason}", graph.place(item.section, instruction.ip())));
            }
        }
    }
    problems
}

fn reason(factory: &mut InstructionInfoFactory, instruction: &Instruction) -> Option<String> {
    if instruction.is_invalid() {
        return Some("these bytes are no instruction".to_owned());
    }
    let used = factory.info(instruction).used_registers();
    let named = used.iter().any(|used| is_forbidden(used.register()));
    let name = format!("{:?}", instruction.mnemonic()).to_lowercase();
    (named || touches_unnamed_state(instruction))
        .then(|| format!("{name} touches SSE, AVX, MMX or x87 state"))
}

fn is_forbidden(register: Register) -> bool {
    register.is_vector_register()
        || register.is_st()
        || register.is_mm()
        || register.is_k()
        || register.is_tmm()
}

fn touches_unnamed_state(instruction: &Instruction) -> bool {
    instruction.is_save_restore_instruction()
        || matches!(
            instruction.mnemonic(),
            Mnemonic::Ldmxcsr | Mnemonic::Stmxcsr | Mnemonic::Vldmxcsr | Mnemonic::Vstmxcsr
        )
        || instruction.cpuid_features().iter().any(|feature| FEATURES.contains(feature))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Builder, RET};

    fn problems_with(code: &[u8]) -> Vec<String> {
        let mut builder = Builder::new();
        builder.function("f", code);
        problems(&builder.graph())
    }

    #[test]
    fn forbidden_instructions() {
        let cases: [(&[u8], &str); 9] = [
            (&[0x0f, 0x28, 0xc1], "movaps"),
            (&[0xc5, 0xf4, 0x58, 0xc2], "vaddps"),
            (&[0xc5, 0xf8, 0x77], "vzeroupper"),
            (&[0x0f, 0x6f, 0x07], "movq"),
            (&[0xd9, 0xe8], "fld1"),
            (&[0xdb, 0xe3], "fninit"),
            (&[0x0f, 0x77], "emms"),
            (&[0x0f, 0xae, 0x07], "fxsave"),
            (&[0x0f, 0xae, 0x17], "ldmxcsr"),
        ];
        for (code, name) in cases {
            let text = format!(".text+0x0 (in f): {name} touches SSE, AVX, MMX or x87 state");
            assert_eq!(problems_with(code), [text]);
        }
    }

    #[test]
    fn bytes_that_are_no_instruction() {
        let problems = problems_with(&[0x06]);
        assert_eq!(problems, [".text+0x0 (in f): these bytes are no instruction"]);
    }

    #[test]
    fn ordinary_instructions() {
        let lfence = [0x0f, 0xae, 0xe8];
        let prefetcht0 = [0x0f, 0x18, 0x0f];
        let movnti = [0x0f, 0xc3, 0x07];
        let pause = [0xf3, 0x90];
        let lock_xadd = [0xf0, 0x48, 0x0f, 0xc1, 0x07];
        for code in [&lfence[..], &prefetcht0, &movnti, &pause, &lock_xadd, RET] {
            assert_eq!(problems_with(code), [""; 0]);
        }
    }
}
