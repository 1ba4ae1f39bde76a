//! The few A64 instructions that the call graph needs: branches, and instructions that lower the
//! stack pointer.
//!
//! Source: DDI0487, section C4.1.

/// An instruction, decoded as far as it matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Instruction {
    /// `BL`: a call, with its offset in bytes.
    Call(i64),
    /// `B`, `B.cond`, `CBZ`, `CBNZ`, `TBZ`, `TBNZ`, with their offset in bytes.
    Branch(i64),
    /// `BLR`: a call through a register.
    CallRegister,
    /// `BR`: a branch through a register, for a table of cases or a tail call.
    BranchRegister(u8),
    /// Allocates bytes on the stack: `SUB SP, SP, #n`, or a store with a pre-indexed stack pointer.
    Push(u64),
    /// Clears low bits of a register, which makes it smaller by this many bytes at most:
    /// `AND Xd, Xn, #mask`.
    Align { to: u8, bytes: u64 },
    /// Sets the stack pointer: `MOV SP, Xn`.
    SetStack(u8),
    /// Loads a register from memory.
    Load(u8),
    /// Adds to a register.
    Add(u8),
    /// `MOVK Wn`: replaces the low half of a register, or the high one.
    Move { half: u16, is_high: bool },
    /// Any other instruction.
    Other,
}

/// The low `bits` bits of `value`, sign-extended and times 4.
fn offset(value: u32, bits: u32) -> i64 {
    let shift = 64 - bits;
    ((i64::from(value) << shift) >> shift) << 2
}

/// The register in bits 4:0.
fn register(word: u32) -> u8 {
    u8::try_from(word & 31).unwrap_or_default()
}

/// Decodes one instruction.
pub(crate) fn decode(word: u32) -> Instruction {
    match word >> 26 {
        0b10_0101 => return Instruction::Call(offset(word & 0x03ff_ffff, 26)),
        0b00_0101 => return Instruction::Branch(offset(word & 0x03ff_ffff, 26)),
        _ => {}
    }
    // B.cond and BC.cond; CBZ and CBNZ; TBZ and TBNZ.
    if word & 0xff00_0000 == 0x5400_0000 || word & 0x7e00_0000 == 0x3400_0000 {
        return Instruction::Branch(offset(word >> 5 & 0x7_ffff, 19));
    }
    if word & 0x7e00_0000 == 0x3600_0000 {
        return Instruction::Branch(offset(word >> 5 & 0x3fff, 14));
    }
    match word & 0xffff_fc1f {
        0xd63f_0000 => return Instruction::CallRegister,
        0xd61f_0000 => return Instruction::BranchRegister(register(word >> 5)),
        _ => {}
    }
    decode_data(word)
}

/// Decodes an instruction that is not a branch.
fn decode_data(word: u32) -> Instruction {
    const SP: u32 = 31;
    let (to, from) = (word & 31, word >> 5 & 31);
    // SUB (immediate), 64 bits, SP from SP.
    if word & 0xff80_0000 == 0xd100_0000 && to == SP && from == SP {
        let amount = u64::from(word >> 10 & 0xfff);
        return Instruction::Push(if word & 1 << 22 == 0 { amount } else { amount << 12 });
    }
    // AND (immediate), 64 bits, with a mask of immr ones at the top.
    let (immr, imms) = (word >> 16 & 63, word >> 10 & 63);
    if word & 0xffc0_0000 == 0x9240_0000 && imms + 1 == immr {
        return Instruction::Align { to: register(word), bytes: (1u64 << (64 - immr)) - 1 };
    }
    // ADD (immediate), 64 bits, SP from another register and 0.
    if word & 0xffff_fc00 == 0x9100_0000 && to == SP {
        return Instruction::SetStack(register(word >> 5));
    }
    // STP, pre-indexed by SP: 64-bit, D and Q registers.
    for (bits, log2) in [(0xa980_0000, 3), (0x6d80_0000, 3), (0xad80_0000, 4)] {
        if word & 0xffc0_0000 == bits && from == SP {
            return push(i64::from(word >> 15 & 0x7f) << 57 >> 57 << log2);
        }
    }
    // STR, pre-indexed by SP, 64 bits.
    if word & 0xffe0_0c00 == 0xf800_0c00 && from == SP {
        return push(i64::from(word >> 12 & 0x1ff) << 55 >> 55);
    }
    // MOVK, 32 bits.
    if word & 0xff80_0000 == 0x7280_0000 {
        let half = u16::try_from(word >> 5 & 0xffff).unwrap_or_default();
        return Instruction::Move { half, is_high: word & 1 << 21 != 0 };
    }
    // LDR, 64 bits: with an unsigned offset, with a register.
    if word & 0xffc0_0000 == 0xf940_0000 || word & 0xffe0_0c00 == 0xf860_0800 {
        return Instruction::Load(register(word));
    }
    // ADD, 64 bits: with a shifted or an extended register.
    if word & 0xff20_0000 == 0x8b00_0000 || word & 0xffe0_0000 == 0x8b20_0000 {
        return Instruction::Add(register(word));
    }
    Instruction::Other
}

fn push(offset: i64) -> Instruction {
    if offset < 0 { Instruction::Push(offset.unsigned_abs()) } else { Instruction::Other }
}

#[cfg(test)]
mod tests {
    use super::*;

    // The words are as LLVM assembles them.

    #[test]
    fn branches_have_their_offsets() {
        assert_eq!(decode(0x9400_0002), Instruction::Call(8));
        assert_eq!(decode(0x97ff_ffff), Instruction::Call(-4));
        assert_eq!(decode(0x17ff_fffe), Instruction::Branch(-8));
        assert_eq!(decode(0x5400_0041), Instruction::Branch(8)); // b.ne
        assert_eq!(decode(0xb4ff_ffe0), Instruction::Branch(-4)); // cbz x0
        assert_eq!(decode(0x3707_ffe1), Instruction::Branch(-4)); // tbnz w1, #0
        assert_eq!(decode(0xd63f_0100), Instruction::CallRegister); // blr x8
        assert_eq!(decode(0xd61f_0060), Instruction::BranchRegister(3)); // br x3
        assert_eq!(decode(0xd65f_03c0), Instruction::Other); // ret
    }

    #[test]
    fn what_lowers_the_stack_pointer_is_found() {
        assert_eq!(decode(0xd101_83ff), Instruction::Push(96)); // sub sp, sp, #96
        assert_eq!(decode(0xd140_0bff), Instruction::Push(0x2000)); // sub sp, sp, #2, lsl #12
        assert_eq!(decode(0xa9bf_7bfd), Instruction::Push(16)); // stp x29, x30, [sp, #-16]!
        assert_eq!(decode(0xf81e_0ffe), Instruction::Push(32)); // str x30, [sp, #-32]!
        assert_eq!(decode(0x9101_83ff), Instruction::Other); // add sp, sp, #96
        assert_eq!(decode(0xa900_7bfd), Instruction::Other); // stp x29, x30, [sp]
    }

    #[test]
    fn loads_and_additions_name_their_register() {
        assert_eq!(decode(0xf940_1022), Instruction::Load(2)); // ldr x2, [x1, #32]
        assert_eq!(decode(0x8b0a_0929), Instruction::Add(9)); // add x9, x9, x10, lsl #2
    }

    #[test]
    fn halves_of_registers_are_read() {
        let low = Instruction::Move { half: 26380, is_high: false };
        assert_eq!(decode(0x728c_e191), low); // movk w17, #26380
        let high = Instruction::Move { half: 42304, is_high: true };
        assert_eq!(decode(0x72b4_a811), high); // movk w17, #42304, lsl #16
    }

    #[test]
    fn alignments_of_the_stack_pointer_are_found() {
        let page = |to| Instruction::Align { to, bytes: 0xfff };
        assert_eq!(decode(0x9274_cd3f), page(31)); // and sp, x9, #0xfffffffffffff000
        assert_eq!(decode(0x9274_cd29), page(9)); // and x9, x9, #0xfffffffffffff000
        assert_eq!(decode(0x9240_2d29), Instruction::Other); // and x9, x9, #0xfff
        assert_eq!(decode(0x9100_013f), Instruction::SetStack(9)); // mov sp, x9
        assert_eq!(decode(0x9100_03fd), Instruction::Other); // mov x29, sp
    }
}
