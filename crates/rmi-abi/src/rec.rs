//! The REC parameter page, and the MPIDR, which identifies a REC.

use core::fmt;

use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::dialect::DialectSet;
use crate::layout::layout;

use DialectSet as D;

/// The MPIDR of a REC: aff0 in bits 3:0, aff1 in 15:8, aff2 in 23:16, aff3 in 31:24.
///
/// Note that PSCI has aff3 in bits 39:32; for fewer than 2^20 RECs the two are the same number.
/// Source: DEN0137 2.0-bet3, `RmiRecMpidr`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
#[doc(alias = "RmiRecMpidr")]
pub struct Mpidr(u64);

impl Mpidr {
    /// The MPIDR of the REC that is created as number `index`, from 0.
    #[must_use]
    pub const fn from_index(index: u32) -> Self {
        let index = index as u64;
        Self(
            index & 0xf
                | ((index >> 4) & 0xff) << 8
                | ((index >> 12) & 0xff) << 16
                | ((index >> 20) & 0xff) << 24,
        )
    }

    /// Wraps a register value; `None` when reserved bits are set.
    #[must_use]
    pub const fn from_raw(raw: u64) -> Option<Self> {
        if raw & !0xffff_ff0f == 0 { Some(Self(raw)) } else { None }
    }

    /// The MPIDR of a PSCI argument: aff3 in bits 39:32, aff2 to aff0 as here. All other bits are
    /// ignored, as TF-RMM ignores them: a Realm may pass its whole `MPIDR_EL1`, of which bit 31 is
    /// set.
    #[must_use]
    pub const fn from_psci(raw: u64) -> Self {
        Self(raw & 0xff_ff0f | (raw >> 8) & 0xff00_0000)
    }

    /// The register value.
    #[must_use]
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// The affinity fields, aff0 first.
    #[must_use]
    #[doc(alias = "aff0")]
    #[doc(alias = "aff1")]
    #[doc(alias = "aff2")]
    #[doc(alias = "aff3")]
    pub const fn affinity(self) -> [u8; 4] {
        let [aff0, aff1, aff2, aff3, ..] = self.0.to_le_bytes();
        [aff0 & 0xf, aff1, aff2, aff3]
    }

    /// The register value as PSCI passes it: aff3 in bits 39:32.
    #[must_use]
    pub const fn to_psci(self) -> u64 {
        self.0 & 0xff_ffff | (self.0 & 0xff00_0000) << 8
    }

    /// The number of the REC: aff0 + 16 aff1 + 4096 aff2 + 1048576 aff3.
    #[must_use]
    #[expect(clippy::cast_possible_truncation, reason = "28 bits")]
    pub const fn index(self) -> u32 {
        (self.0 & 0xf
            | ((self.0 >> 8) & 0xff) << 4
            | ((self.0 >> 16) & 0xff) << 12
            | ((self.0 >> 24) & 0xff) << 20) as u32
    }
}

bitflags::bitflags! {
    /// `RmiRecCreateFlags`: how a REC starts.
    ///
    /// Source: DEN0137 1.0-rel0 and 2.0-bet3, `RmiRecCreateFlags`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[doc(alias = "RmiRecCreateFlags")]
    pub struct RecCreateFlags: u64 {
        /// The REC may be entered; otherwise it waits for a PSCI `CPU_ON`. Only runnable RECs are
        /// measured.
        #[doc(alias = "RmiRecRunnable")]
        #[doc(alias = "RMI_RUNNABLE")]
        #[doc(alias = "RMI_NOT_RUNNABLE")]
        const RUNNABLE = 1 << 0;
        const _ = !0;
    }
}

/// Most auxiliary granules that a 1.0 RMM requests.
pub const MAX_REC_AUX_GRANULES: usize = 16;

/// The parameters of a new REC for `RMI_REC_CREATE`.
///
/// Source: DEN0137 1.0-rel0 and 2.0-bet3, `RmiRecParams`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[doc(alias = "RmiRecParams")]
pub struct RecParams {
    /// Whether the REC may be entered immediately.
    pub runnable: bool,
    /// Its MPIDR; RECs are created in index order.
    pub mpidr: Mpidr,
    /// Program counter of the first instruction, an IPA while the Realm's stage 1 is off.
    pub pc: u64,
    /// X0 to X7 at the first entry.
    pub gprs: [u64; 8],
}

impl RecParams {
    /// Lays the parameters out. The layout is the same in all dialects; 1.0 adds the auxiliary
    /// granules ([`RecParamsPage::aux`]).
    #[must_use]
    pub fn encode(&self) -> RecParamsPage {
        let mut page = RecParamsPage::new_zeroed();
        page.flags = if self.runnable { RecCreateFlags::RUNNABLE.bits() } else { 0 };
        page.mpidr = self.mpidr.raw();
        page.pc = self.pc;
        page.gprs = self.gprs;
        page
    }

    /// Reads a page; the auxiliary granules of 1.0 are left in it.
    ///
    /// # Errors
    ///
    /// [`RecParamsError`] when reserved bits of a field are set.
    pub fn decode(page: &RecParamsPage) -> Result<Self, RecParamsError> {
        let flags = RecCreateFlags::from_bits_retain(page.flags);
        if !RecCreateFlags::RUNNABLE.contains(flags) {
            return Err(RecParamsError { field: "flags" });
        }
        let mpidr = Mpidr::from_raw(page.mpidr).ok_or(RecParamsError { field: "mpidr" })?;
        let runnable = flags.contains(RecCreateFlags::RUNNABLE);
        Ok(Self { runnable, mpidr, pc: page.pc, gprs: page.gprs })
    }
}

/// A field of a REC parameter page that has reserved bits set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RecParamsError {
    /// Name of the field of [`RecParamsPage`].
    pub field: &'static str,
}

impl fmt::Display for RecParamsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "REC parameter `{}` has reserved bits set", self.field)
    }
}

impl core::error::Error for RecParamsError {}

layout! {
    /// The REC parameter page, 4 KiB, host to RMM. Bytes between fields are reserved and zero.
    ///
    table
    ///
    /// Source: DEN0137 1.0-rel0 and 2.0-bet3, `RmiRecParams`.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    #[doc(alias = "RmiRecParams")]
    #[expect(missing_docs, reason = "the table above documents every field")]
    pub struct RecParamsPage {
        pub flags: u64,
        _sbz0: [u8; 0x100 - 0x008],
        pub mpidr: u64,
        _sbz1: [u8; 0x200 - 0x108],
        pub pc: u64,
        _sbz2: [u8; 0x300 - 0x208],
        pub gprs: [u64; 8],
        _sbz3: [u8; 0x800 - 0x340],
        pub num_aux: u64,
        pub aux: [u64; MAX_REC_AUX_GRANULES],
        _sbz4: [u8; 0x1000 - 0x888],
    }

    DialectSet = "RmiRecParams", 0x1000 bytes, aligned to 0x1000, in D::EVERY, unsure in D::NONE;
    0x000, 8, flags, D::EVERY, "[`RecCreateFlags`]";
    0x100, 8, mpidr, D::EVERY, "[`Mpidr`]";
    0x200, 8, pc, D::EVERY, "program counter";
    0x300, 64, gprs, D::EVERY, "X0 to X7";
    0x800, 8, num_aux, D::V1_0, "auxiliary granules";
    0x808, 128, aux, D::V1_0, "PAs of the auxiliary granules, up to 16";
}

impl RecParamsPage {
    /// The page whose hash is measured for a runnable REC: only `flags`, `pc` and `gprs` are kept;
    /// `mpidr` is zero.
    #[must_use]
    pub fn measured(&self) -> Self {
        let mut page = Self::new_zeroed();
        page.flags = self.flags;
        page.pc = self.pc;
        page.gprs = self.gprs;
        page
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mpidr_of_an_index_and_back() {
        for (index, mpidr) in
            [(0, 0), (15, 0xf), (16, 0x100), (4095, 0xff0f), (4096, 0x1_0000), (1 << 20, 1 << 24)]
        {
            assert_eq!(Mpidr::from_index(index).raw(), mpidr);
            assert_eq!(Mpidr::from_raw(mpidr).unwrap().index(), index);
        }
        assert_eq!(Mpidr::from_raw(0x10), None);
        assert_eq!(Mpidr::from_psci(1 << 32), Mpidr::from_index(1 << 20));
    }

    #[test]
    fn psci_targets_are_their_affinities() {
        for ignored in [1 << 31, 1 << 30, 1 << 24, 0xf0, 1 << 40, 1 << 63] {
            assert_eq!(Mpidr::from_psci(ignored | 0x2_0103), Mpidr::from_raw(0x2_0103).unwrap());
        }
    }
}
