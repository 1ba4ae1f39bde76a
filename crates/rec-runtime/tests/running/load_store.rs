//! Every load and store that the syndrome of a data abort describes, and what the architecture says
//! that each does. Source: Arm DDI 0487, `ESR_EL2`, "ISS encoding for an exception from a Data
//! Abort", and the instructions LDR, LDRB, LDRH, LDRSB, LDRSH, LDRSW, STR.

use rmi_abi::Ipa;

/// Values whose parts have either sign.
pub(crate) const VALUES: [u64; 3] =
    [0x0123_4567_89ab_cdef, 0xfedc_ba98_7654_3210, 0x7f7f_7f80_8000_8080];

/// One instruction.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AccessCase {
    /// 1, 2, 4 or 8.
    pub(crate) bytes: u8,
    pub(crate) is_store: bool,
    /// SSE: the load extends the sign.
    pub(crate) is_signed: bool,
    /// SF: the register is an X register.
    pub(crate) is_wide: bool,
    /// SRT: 31 is XZR.
    pub(crate) register: u8,
}

/// All that exist: 8 bytes need an X register, an extended sign a wider register.
pub(crate) fn cases() -> impl Iterator<Item = AccessCase> + Send {
    let mut cases = Vec::new();
    for bytes in [1, 2, 4, 8] {
        for register in [0, 1, 7, 30, 31] {
            for (is_wide, is_signed) in [(false, false), (false, true), (true, false), (true, true)]
            {
                let narrower = if is_wide { 8 } else { 4 };
                if bytes > narrower || is_signed && bytes >= narrower {
                    continue;
                }
                let is_store = false;
                cases.push(AccessCase { bytes, is_store, is_signed, is_wide, register });
                if !is_signed {
                    let is_store = true;
                    cases.push(AccessCase { bytes, is_store, is_signed, is_wide, register });
                }
            }
        }
    }
    cases.into_iter()
}

impl AccessCase {
    /// Where in the page the access is.
    pub(crate) const OFFSET: u64 = 0x678;

    /// `ESR_EL2`, `FAR_EL2` and `HPFAR_EL2` of the abort at [`AccessCase::OFFSET`] of a page: a
    /// translation fault at level 3.
    pub(crate) fn syndromes(self, page: Ipa) -> (u64, u64, u64) {
        let esr = 0x24 << 26
            | 1 << 25
            | 1 << 24
            | u64::from(self.bytes.ilog2()) << 22
            | u64::from(self.is_signed) << 21
            | u64::from(self.register) << 16
            | u64::from(self.is_wide) << 15
            | u64::from(self.is_store) << 6
            | 7;
        (esr, Self::OFFSET, page.raw() >> 12 << 4)
    }

    /// What a device is asked to store, if all registers have `value`.
    pub(crate) fn stored(self, value: u64) -> Option<u64> {
        let register = if self.register == 31 { 0 } else { value };
        self.is_store.then(|| self.low(register))
    }

    /// Which register a load changes, and to what, if the device has `value`.
    pub(crate) fn loaded(self, value: u64) -> Option<(usize, u64)> {
        if self.is_store || self.register == 31 {
            return None;
        }
        let low = self.low(value);
        let register = if self.is_wide { u64::MAX } else { 0xffff_ffff };
        // What is above the value has its sign.
        let above = match (self.bytes, self.is_signed) {
            (1, true) if low >= 0x80 => register & !0xff,
            (2, true) if low >= 0x8000 => register & !0xffff,
            (4, true) if low >= 0x8000_0000 => register & !0xffff_ffff,
            _ => 0,
        };
        let loaded = low | above;
        Some((self.register.into(), loaded))
    }

    fn low(self, value: u64) -> u64 {
        match self.bytes {
            1 => value & 0xff,
            2 => value & 0xffff,
            4 => value & 0xffff_ffff,
            _ => value,
        }
    }
}
