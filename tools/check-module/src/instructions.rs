// SPDX-License-Identifier: BSD-2-Clause
//! Check 3: no instruction that a kernel must not run: none of floating point and SIMD,
//! whose registers the kernel does not save when it interrupts a program.

use std::collections::BTreeSet;

use crate::graph::Graph;

/// Checks all executable sections, whether or not their code can be reached.
pub(crate) fn problems(graph: &Graph) -> Vec<String> {
    let mut problems = Vec::new();
    for item in &graph.items {
        for instruction in &item.code {
            if let Some(reason) = &instruction.refused {
                problems.push(format!("{}: {reason}", graph.place(item.section, instruction.offset)));
            }
        }
    }
    problems
}

/// A problem for each function whose address the module hands out and that a call
/// through a pointer may not lead to, where the kernel's pages are guarded.
pub(crate) fn unmarked(graph: &Graph, called: &BTreeSet<usize>) -> Vec<String> {
    let items = called.iter().map(|&item| &graph.items[item]);
    items
        .filter(|item| item.code.first().is_none_or(|first| !first.may_be_called))
        .map(|item| format!("{} has no landing pad (bti c): a call through its pointer faults", item.name))
        .collect()
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
