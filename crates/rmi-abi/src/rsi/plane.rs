//! Planes: what plane 0 passes when it runs another plane, and what is returned to it.
//!
//! The two drafts lay the run page out differently; [`PlaneExit`] is what both contain. Source:
//! RSI 1.1 and 2.0 drafts, as TF-RMM implements them.

use num_enum::{FromPrimitive, IntoPrimitive};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use super::VersionSet;
use crate::layout::{hides_registers, layout};

use VersionSet as V;

/// Why a plane exited.
///
/// Source: RSI 1.1 and 2.0 drafts, `RsiPlaneExitReason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(u8)]
#[doc(alias = "RsiPlaneExitReason")]
#[non_exhaustive]
pub enum PlaneExitReason {
    /// A synchronous exception.
    #[doc(alias = "RSI_EXIT_SYNC")]
    Sync = 0,
    /// An interrupt.
    #[doc(alias = "RSI_EXIT_IRQ")]
    Irq = 1,
    /// The host requested plane 0.
    #[doc(alias = "RSI_EXIT_HOST")]
    Host = 2,
    /// A code this crate does not know.
    #[num_enum(catch_all)]
    Unknown(u8),
}

bitflags::bitflags! {
    /// How a plane is run.
    ///
    /// Source: RSI 1.1 and 2.0 drafts, `RsiPlaneEnterFlags`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[doc(alias = "RsiPlaneEnterFlags")]
    pub struct PlaneEnterFlags: u64 {
        /// Exit on WFI.
        #[doc(alias = "trap_wfi")]
        const TRAP_WFI = 1 << 0;
        /// Exit on WFE.
        #[doc(alias = "trap_wfe")]
        const TRAP_WFE = 1 << 1;
        /// Exit on host calls; otherwise they go to the host.
        #[doc(alias = "trap_hc")]
        const TRAP_HC = 1 << 2;
        /// The plane owns the virtual GIC.
        #[doc(alias = "own_gic")]
        const OWN_GIC = 1 << 3;
        /// Exit on SIMD and floating point.
        #[doc(alias = "trap_simd")]
        const TRAP_SIMD = 1 << 4;
        /// Exit on debug registers (2.0).
        #[doc(alias = "trap_dbg")]
        const TRAP_DBG = 1 << 5;
        const _ = !0;
    }
}

layout! {
    /// What plane 0 passes in the 1.1 draft, 768 bytes, at offset 0 of the run page.
    ///
    table
    ///
    /// Source: RSI 1.1 draft, `RsiPlaneEnter`.
    #[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    #[doc(alias = "RsiPlaneEnter")]
    #[expect(missing_docs, reason = "the table above documents every field")]
    pub struct PlaneEnter1_1 {
        pub flags: u64,
        pub pc: u64,
        pub pstate: u64,
        _sbz0: [u8; 0x100 - 0x018],
        pub gprs: [u64; 31],
        _sbz1: [u8; 8],
        pub gicv3_hcr: u64,
        pub gicv3_lrs: [u64; 16],
        _sbz2: [u8; 0x300 - 0x288],
    }

    VersionSet = "RsiPlaneEnter", 0x300 bytes, aligned to 8, in V::V1_1, unsure in V::NONE;
    0x000, 8, flags, V::V1_1, "[`PlaneEnterFlags`]";
    0x008, 8, pc, V::V1_1, "program counter";
    0x010, 8, pstate, V::V1_1, "`SPSR_EL2`";
    0x100, 248, gprs, V::V1_1, "X0 to X30";
    0x200, 8, gicv3_hcr, V::V1_1, "`ICH_HCR_EL2`";
    0x208, 128, gicv3_lrs, V::V1_1, "`ICH_LR<n>_EL2`, 16 list registers";
}

layout! {
    /// What is returned to plane 0 in the 1.1 draft, 1280 bytes, at offset 0x800 of the run page.
    ///
    table
    ///
    /// Source: RSI 1.1 draft, `RsiPlaneExit`.
    #[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    #[doc(alias = "RsiPlaneExit")]
    #[expect(missing_docs, reason = "the table above documents every field")]
    pub struct PlaneExit1_1 {
        pub exit_reason: u64,
        _unread0: [u8; 0x100 - 0x008],
        pub elr_el2: u64,
        pub esr_el2: u64,
        pub far_el2: u64,
        pub hpfar_el2: u64,
        pub pstate: u64,
        _unread1: [u8; 0x200 - 0x128],
        pub gprs: [u64; 31],
        _unread2: [u8; 8],
        pub gicv3_hcr: u64,
        pub gicv3_lrs: [u64; 16],
        pub gicv3_misr: u64,
        pub gicv3_vmcr: u64,
        _unread3: [u8; 0x400 - 0x398],
        pub cntp_ctl: u64,
        pub cntp_cval: u64,
        pub cntv_ctl: u64,
        pub cntv_cval: u64,
        _unread4: [u8; 0x500 - 0x420],
    }

    VersionSet = "RsiPlaneExit", 0x500 bytes, aligned to 8, in V::V1_1, unsure in V::NONE;
    0x000, 8, exit_reason, V::V1_1, "[`PlaneExitReason`]";
    0x100, 8, elr_el2, V::V1_1, "`ELR_EL2`";
    0x108, 8, esr_el2, V::V1_1, "`ESR_EL2`";
    0x110, 8, far_el2, V::V1_1, "`FAR_EL2`";
    0x118, 8, hpfar_el2, V::V1_1, "`HPFAR_EL2`";
    0x120, 8, pstate, V::V1_1, "`SPSR_EL2`";
    0x200, 248, gprs, V::V1_1, "X0 to X30";
    0x300, 8, gicv3_hcr, V::V1_1, "`ICH_HCR_EL2`";
    0x308, 128, gicv3_lrs, V::V1_1, "`ICH_LR<n>_EL2`, 16 list registers";
    0x388, 8, gicv3_misr, V::V1_1, "`ICH_MISR_EL2`";
    0x390, 8, gicv3_vmcr, V::V1_1, "`ICH_VMCR_EL2`";
    0x400, 8, cntp_ctl, V::V1_1, "`CNTP_CTL_EL0`";
    0x408, 8, cntp_cval, V::V1_1, "`CNTP_CVAL_EL0`, ticks";
    0x410, 8, cntv_ctl, V::V1_1, "`CNTV_CTL_EL0`";
    0x418, 8, cntv_cval, V::V1_1, "`CNTV_CVAL_EL0`, ticks";
}

layout! {
    /// The run page of a plane in the 1.1 draft, 4 KiB, Realm to RMM and back.
    ///
    table
    ///
    /// Source: RSI 1.1 draft, `RsiPlaneRun`.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C, align(4096))]
    #[doc(alias = "RsiPlaneRun")]
    #[expect(missing_docs, reason = "the table above documents every field")]
    pub struct PlaneRunPage1_1 {
        pub enter: PlaneEnter1_1,
        _sbz0: [u8; 0x800 - 0x300],
        pub exit: PlaneExit1_1,
        _sbz1: [u8; 0x1000 - 0xd00],
    }

    VersionSet = "RsiPlaneRun", 0x1000 bytes, aligned to 0x1000, in V::V1_1, unsure in V::NONE;
    0x000, 768, enter, V::V1_1, "what plane 0 passes";
    0x800, 1280, exit, V::V1_1, "what it gets back";
}

layout! {
    /// What plane 0 passes in the 2.0 draft, 2 KiB, at offset 0 of the run page.
    ///
    table
    ///
    /// Source: RSI 2.0 draft, `RsiPlaneEnter`.
    #[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    #[doc(alias = "RsiPlaneEnter")]
    #[expect(missing_docs, reason = "the table above documents every field")]
    pub struct PlaneEnter2_0 {
        pub flags: u64,
        pub pc: u64,
        pub pstate: u64,
        _sbz0: [u8; 0x100 - 0x018],
        pub gprs: [u64; 31],
        _sbz1: [u8; 8],
        pub gicv3_hcr: u64,
        pub gicv3_lrs: [u64; 16],
        _sbz2: [u8; 0x400 - 0x288],
        pub elr_el1: u64,
        _sbz3: [u8; 0x800 - 0x408],
    }

    VersionSet = "RsiPlaneEnter", 0x800 bytes, aligned to 8, in V::V2_0, unsure in V::NONE;
    0x000, 8, flags, V::V2_0, "[`PlaneEnterFlags`]";
    0x008, 8, pc, V::V2_0, "program counter";
    0x010, 8, pstate, V::V2_0, "`SPSR_EL2`";
    0x100, 248, gprs, V::V2_0, "X0 to X30";
    0x200, 8, gicv3_hcr, V::V2_0, "`ICH_HCR_EL2`";
    0x208, 128, gicv3_lrs, V::V2_0, "`ICH_LR<n>_EL2`, 16 list registers";
    0x400, 8, elr_el1, V::V2_0, "`ELR_EL1`";
}

layout! {
    /// What is returned to plane 0 in the 2.0 draft, 2 KiB, at offset 0x800 of the run page.
    ///
    table
    ///
    /// Source: RSI 2.0 draft, `RsiPlaneExit`.
    #[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    #[doc(alias = "RsiPlaneExit")]
    #[expect(missing_docs, reason = "the table above documents every field")]
    pub struct PlaneExit2_0 {
        pub exit_reason: u8,
        _unread0: [u8; 7],
        pub elr_el2: u64,
        pub pstate: u64,
        _unread1: [u8; 0x100 - 0x018],
        pub gprs: [u64; 31],
        _unread2: [u8; 8],
        pub esr_el2: u64,
        pub far_el2: u64,
        pub hpfar_el2: u64,
        _unread3: [u8; 0x300 - 0x218],
        pub gicv3_hcr: u64,
        pub gicv3_lrs: [u64; 16],
        pub gicv3_misr: u64,
        pub gicv3_vmcr: u64,
        _unread4: [u8; 0x400 - 0x398],
        pub cntp_ctl: u64,
        pub cntp_cval: u64,
        pub cntv_ctl: u64,
        pub cntv_cval: u64,
        _unread5: [u8; 0x500 - 0x420],
        pub sctlr_el1: u64,
        pub vbar_el1: u64,
        pub elr_el1: u64,
        _unread6: [u8; 0x600 - 0x518],
        pub pmu_ovf_status: u8,
        _unread7: [u8; 0x800 - 0x601],
    }

    VersionSet = "RsiPlaneExit", 0x800 bytes, aligned to 8, in V::V2_0, unsure in V::NONE;
    0x000, 1, exit_reason, V::V2_0, "[`PlaneExitReason`]";
    0x008, 8, elr_el2, V::V2_0, "`ELR_EL2`";
    0x010, 8, pstate, V::V2_0, "`SPSR_EL2`";
    0x100, 248, gprs, V::V2_0, "X0 to X30";
    0x200, 8, esr_el2, V::V2_0, "`ESR_EL2`";
    0x208, 8, far_el2, V::V2_0, "`FAR_EL2`";
    0x210, 8, hpfar_el2, V::V2_0, "`HPFAR_EL2`";
    0x300, 8, gicv3_hcr, V::V2_0, "`ICH_HCR_EL2`";
    0x308, 128, gicv3_lrs, V::V2_0, "`ICH_LR<n>_EL2`, 16 list registers";
    0x388, 8, gicv3_misr, V::V2_0, "`ICH_MISR_EL2`";
    0x390, 8, gicv3_vmcr, V::V2_0, "`ICH_VMCR_EL2`";
    0x400, 8, cntp_ctl, V::V2_0, "`CNTP_CTL_EL0`";
    0x408, 8, cntp_cval, V::V2_0, "`CNTP_CVAL_EL0`, ticks";
    0x410, 8, cntv_ctl, V::V2_0, "`CNTV_CTL_EL0`";
    0x418, 8, cntv_cval, V::V2_0, "`CNTV_CVAL_EL0`, ticks";
    0x500, 8, sctlr_el1, V::V2_0, "`SCTLR_EL1`";
    0x508, 8, vbar_el1, V::V2_0, "`VBAR_EL1`";
    0x510, 8, elr_el1, V::V2_0, "`ELR_EL1`";
    0x600, 1, pmu_ovf_status, V::V2_0, "[`PmuOverflowStatus`](crate::run::PmuOverflowStatus)";
}

layout! {
    /// The run page of a plane in the 2.0 draft, 4 KiB, Realm to RMM and back.
    ///
    table
    ///
    /// Source: RSI 2.0 draft, `RsiPlaneRun`.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C, align(4096))]
    #[doc(alias = "RsiPlaneRun")]
    #[expect(missing_docs, reason = "the table above documents every field")]
    pub struct PlaneRunPage2_0 {
        pub enter: PlaneEnter2_0,
        pub exit: PlaneExit2_0,
    }

    VersionSet = "RsiPlaneRun", 0x1000 bytes, aligned to 0x1000, in V::V2_0, unsure in V::NONE;
    0x000, 2048, enter, V::V2_0, "what plane 0 passes";
    0x800, 2048, exit, V::V2_0, "what it gets back";
}

/// What both drafts pass when a plane is run.
///
/// Source: RSI 1.1 and 2.0 drafts, `RsiPlaneEnter`.
#[derive(Clone, Copy, PartialEq, Eq)]
#[doc(alias = "RsiPlaneEnter")]
pub struct PlaneEnter {
    /// How the plane is run.
    pub flags: PlaneEnterFlags,
    /// The address at which it continues.
    pub pc: u64,
    /// `SPSR_EL2`
    pub pstate: u64,
    /// X0 to X30
    pub gprs: [u64; 31],
    /// `ICH_HCR_EL2`
    pub gicv3_hcr: u64,
    /// `ICH_LR<n>_EL2`, 16 list registers
    pub gicv3_lrs: [u64; 16],
}

/// The codec of one draft; the fields have the same names in both.
macro_rules! plane_enter {
    ($encode:ident, $wire:ident, $draft:literal) => {
        impl PlaneEnter {
            #[doc = concat!("Lays the values out as the ", $draft, " draft has them.")]
            #[must_use]
            pub fn $encode(&self) -> $wire {
                let mut wire = $wire::zeroed();
                wire.flags = self.flags.bits();
                wire.pc = self.pc;
                wire.pstate = self.pstate;
                wire.gprs = self.gprs;
                wire.gicv3_hcr = self.gicv3_hcr;
                wire.gicv3_lrs = self.gicv3_lrs;
                wire
            }
        }

        impl $wire {
            /// The fields that both drafts have. Every value decodes.
            #[must_use]
            pub const fn decode(&self) -> PlaneEnter {
                PlaneEnter {
                    flags: PlaneEnterFlags::from_bits_retain(self.flags),
                    pc: self.pc,
                    pstate: self.pstate,
                    gprs: self.gprs,
                    gicv3_hcr: self.gicv3_hcr,
                    gicv3_lrs: self.gicv3_lrs,
                }
            }
        }
    };
}

plane_enter!(encode_1_1, PlaneEnter1_1, "1.1");
plane_enter!(encode_2_0, PlaneEnter2_0, "2.0");

/// What both drafts report about a plane's exit.
///
/// Source: RSI 1.1 and 2.0 drafts, `RsiPlaneExit`.
#[derive(Clone, Copy, PartialEq, Eq)]
#[doc(alias = "RsiPlaneExit")]
pub struct PlaneExit {
    /// Why the plane exited.
    pub reason: PlaneExitReason,
    /// `ELR_EL2`, the address at which the plane continues.
    pub elr_el2: u64,
    /// `ESR_EL2`
    pub esr_el2: u64,
    /// `FAR_EL2`
    pub far_el2: u64,
    /// `HPFAR_EL2`
    pub hpfar_el2: u64,
    /// `SPSR_EL2`
    pub pstate: u64,
    /// X0 to X30
    pub gprs: [u64; 31],
}

impl PlaneExit1_1 {
    /// What both drafts have.
    #[must_use]
    pub fn decode(&self) -> PlaneExit {
        PlaneExit {
            // The draft has a register of 64 bits; no reason needs more than 8.
            reason: u8::try_from(self.exit_reason).unwrap_or(u8::MAX).into(),
            elr_el2: self.elr_el2,
            esr_el2: self.esr_el2,
            far_el2: self.far_el2,
            hpfar_el2: self.hpfar_el2,
            pstate: self.pstate,
            gprs: self.gprs,
        }
    }
}

impl PlaneExit2_0 {
    /// What both drafts have.
    #[must_use]
    pub fn decode(&self) -> PlaneExit {
        PlaneExit {
            reason: self.exit_reason.into(),
            elr_el2: self.elr_el2,
            esr_el2: self.esr_el2,
            far_el2: self.far_el2,
            hpfar_el2: self.hpfar_el2,
            pstate: self.pstate,
            gprs: self.gprs,
        }
    }
}

hides_registers!(PlaneEnter1_1, PlaneExit1_1, PlaneEnter2_0, PlaneExit2_0, PlaneEnter, PlaneExit);
