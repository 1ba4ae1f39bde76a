//! The functions of the SMC calling convention itself.
//!
//! Source: Arm DEN0028 1.2, `SMCCC_VERSION` and `SMCCC_ARCH_FEATURES`.

/// `SMCCC_VERSION`
const VERSION: u32 = 0x8000_0000;
/// `SMCCC_ARCH_FEATURES`
const ARCH_FEATURES: u32 = 0x8000_0001;

/// Version 1.2: a call may have arguments and results in X0 to X17, and changes no other register.
const VERSION_1_2: u64 = 0x1_0002;
/// `NOT_SUPPORTED`: -1 as a 32-bit number, sign-extended.
pub const NOT_SUPPORTED: u64 = u64::MAX;
const SUCCESS: u64 = 0;

/// What X0 is after a call of one of the functions; `None` for any other function.
#[must_use]
pub fn call(function: u32, x1: u64) -> Option<u64> {
    // The argument is W1.
    let [a, b, c, d, ..] = x1.to_le_bytes();
    match function {
        VERSION => Some(VERSION_1_2),
        ARCH_FEATURES => Some(match u32::from_le_bytes([a, b, c, d]) {
            VERSION | ARCH_FEATURES => SUCCESS,
            _ => NOT_SUPPORTED,
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_those_that_exist() {
        assert_eq!(call(0x8000_0000, 7), Some(0x1_0002));
        for (asked, expected) in [
            (0x8000_0000, 0),
            (0x8000_0001, 0),
            (0xffff_ffff_8000_0001, 0),
            (0x8000_0002, u64::MAX),
            (0x8400_0000, u64::MAX),
        ] {
            assert_eq!(call(0x8000_0001, asked), Some(expected), "{asked:#x}");
        }
        for function in [0x8000_0002, 0x8400_0000, 0xc400_0150, 0] {
            assert_eq!(call(function, 0), None);
        }
    }
}
