// SPDX-License-Identifier: BSD-2-Clause
//! Code for arm64 as numbers, which an assembler gives for the text behind them.

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
