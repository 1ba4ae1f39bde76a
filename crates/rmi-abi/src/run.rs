//! The run page: what host and RMM pass to each other at each entry and exit of a REC.
//!
//! The first half, [`RecEnter`], is written by the host; the second, [`RecExit`], by the RMM. Other
//! agents may write the page at any time, so a host copies what it needs in and out and never has a
//! reference into it: see [`EntryRecord`] and [`ExitRecord`].

mod record;

use core::fmt;

use num_enum::{FromPrimitive, IntoPrimitive};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::dialect::{Dialect, DialectSet};
use crate::layout::layout;

use DialectSet as D;

pub use record::{EntryRecord, ExitRecord, GicEntry, GicExit};

bitflags::bitflags! {
    /// `RmiRecEnterFlags`: how the host answers the last exit.
    ///
    /// Source: DEN0137 1.0-rel0 and 2.0-bet3, `RmiRecEnterFlags`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[doc(alias = "RmiRecEnterFlags")]
    pub struct RecEnterFlags: u64 {
        /// The access of the last exit was emulated; a load takes its value from `gprs[0]`.
        #[doc(alias = "RmiEmulatedMmio")]
        #[doc(alias = "RMI_EMULATED_MMIO")]
        #[doc(alias = "RMI_NOT_EMULATED_MMIO")]
        const EMUL_MMIO = 1 << 0;
        /// Inject a synchronous external abort for the access of the last exit.
        #[doc(alias = "RmiInjectSea")]
        #[doc(alias = "RMI_INJECT_SEA")]
        #[doc(alias = "RMI_NO_INJECT_SEA")]
        const INJECT_SEA = 1 << 1;
        /// Exit on WFI in this run.
        #[doc(alias = "RmiTrap")]
        #[doc(alias = "RMI_TRAP")]
        #[doc(alias = "RMI_NO_TRAP")]
        const TRAP_WFI = 1 << 2;
        /// Exit on WFE in this run.
        #[doc(alias = "RmiTrap")]
        #[doc(alias = "RMI_TRAP")]
        #[doc(alias = "RMI_NO_TRAP")]
        const TRAP_WFE = 1 << 3;
        /// The RIPAS change is rejected.
        #[doc(alias = "ripas_response")]
        const RIPAS_REJECT = 1 << 4;
        /// The stage 2 permission change is rejected (2.0).
        #[doc(alias = "s2ap_response")]
        const S2AP_REJECT = 1 << 5;
        /// The device mapping is rejected (2.0).
        #[doc(alias = "dev_mem_response")]
        const DEV_MEM_REJECT = 1 << 6;
        /// Return to plane 0 first (2.0).
        const FORCE_P0 = 1 << 7;
        const _ = !0;
    }
}

impl RecEnterFlags {
    /// The flags that a dialect has: 1.0 knows neither planes nor devices.
    #[must_use]
    pub const fn defined(dialect: Dialect) -> Self {
        match dialect {
            Dialect::V1_0 => Self::EMUL_MMIO
                .union(Self::INJECT_SEA)
                .union(Self::TRAP_WFI)
                .union(Self::TRAP_WFE)
                .union(Self::RIPAS_REJECT),
            _ => Self::from_bits_retain(0xff),
        }
    }
}

/// Number of general purpose registers in each half of the run page: X0 to X30.
pub const RUN_GPRS: usize = 31;

layout! {
    /// The host's half of the run page, 2 KiB, at offset 0 of it.
    ///
    table
    ///
    /// Source: DEN0137 1.0-rel0 and 2.0-bet3, `RmiRecEnter`.
    #[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    #[doc(alias = "RmiRecEnter")]
    #[expect(missing_docs, reason = "the table above documents every field")]
    pub struct RecEnter {
        pub flags: u64,
        _sbz0: [u8; 0x200 - 0x008],
        pub gprs: [u64; RUN_GPRS],
        _sbz1: [u8; 0x300 - 0x2f8],
        pub gicv3_hcr: u64,
        pub gicv3_lrs: [u64; 16],
        _sbz2: [u8; 0x800 - 0x388],
    }

    DialectSet = "RmiRecEnter", 0x800 bytes, aligned to 8, in D::EVERY, unsure in D::NONE;
    0x000, 8, flags, D::EVERY, "[`RecEnterFlags`]";
    0x200, 248, gprs, D::EVERY, "X0 to X30";
    0x300, 8, gicv3_hcr, D::V1_0, "`ICH_HCR_EL2`";
    0x308, 128, gicv3_lrs, D::V1_0, "`ICH_LR<n>_EL2`, 16 list registers";
}

layout! {
    /// The RMM's half of the run page, 2 KiB, at offset 0x800 of it.
    ///
    table
    ///
    /// Source: DEN0137 1.0-rel0 and 2.0-bet3, `RmiRecExit`.
    #[derive(Clone, Copy, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    #[doc(alias = "RmiRecExit")]
    #[expect(missing_docs, reason = "the table above documents every field")]
    pub struct RecExit {
        pub exit_reason: u8,
        _unread0: [u8; 0x100 - 0x001],
        pub esr: u64,
        pub far: u64,
        pub hpfar: u64,
        pub rtt_tree: u64,
        pub rtt_level: i64,
        _unread1: [u8; 0x200 - 0x128],
        pub gprs: [u64; RUN_GPRS],
        _unread2: [u8; 0x300 - 0x2f8],
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
        pub ripas_base: u64,
        pub ripas_top: u64,
        pub ripas_value: u8,
        _unread5: [u8; 15],
        pub s2ap_base: u64,
        pub s2ap_top: u64,
        pub vdev_id_1: u64,
        pub vdev_id_2: u64,
        pub dev_mem_base: u64,
        pub dev_mem_top: u64,
        pub dev_mem_pa: u64,
        _unread6: [u8; 0x600 - 0x558],
        pub imm: u16,
        _unread7: [u8; 6],
        pub plane: u64,
        _unread8: [u8; 0x700 - 0x610],
        pub pmu_ovf_status: u8,
        _unread9: [u8; 15],
        pub vsmmu: u64,
        _unread10: [u8; 0x800 - 0x718],
    }

    DialectSet = "RmiRecExit", 0x800 bytes, aligned to 8, in D::EVERY, unsure in D::NONE;
    0x000, 1, exit_reason, D::EVERY, "see [`ExitReason::decode`]";
    0x100, 8, esr, D::EVERY, "`ESR_EL2`, masked, see [`crate::esr`]";
    0x108, 8, far, D::EVERY, "`FAR_EL2`, masked";
    0x110, 8, hpfar, D::EVERY, "`HPFAR_EL2`, masked";
    0x118, 8, rtt_tree, D::EVERY_2_0, "index of the translation tree that faulted";
    0x120, 8, rtt_level, D::TF_RMM, "signed level; TF-RMM leaves it 0";
    0x200, 248, gprs, D::EVERY, "X0 to X30";
    0x300, 8, gicv3_hcr, D::V1_0, "`ICH_HCR_EL2`";
    0x308, 128, gicv3_lrs, D::V1_0, "`ICH_LR<n>_EL2`, 16 list registers";
    0x388, 8, gicv3_misr, D::V1_0, "`ICH_MISR_EL2`";
    0x390, 8, gicv3_vmcr, D::V1_0, "`ICH_VMCR_EL2`";
    0x400, 8, cntp_ctl, D::EVERY, "`CNTP_CTL_EL0`";
    0x408, 8, cntp_cval, D::EVERY, "`CNTP_CVAL_EL0`, ticks";
    0x410, 8, cntv_ctl, D::EVERY, "`CNTV_CTL_EL0`";
    0x418, 8, cntv_cval, D::EVERY, "`CNTV_CVAL_EL0`, ticks";
    0x500, 8, ripas_base, D::EVERY, "IPA, first of a RIPAS change";
    0x508, 8, ripas_top, D::EVERY, "IPA, end of a RIPAS change";
    0x510, 1, ripas_value, D::EVERY, "[`Ripas`](crate::rtt::Ripas) wanted";
    0x520, 8, s2ap_base, D::EVERY_2_0, "IPA, first of a permission change";
    0x528, 8, s2ap_top, D::EVERY_2_0, "IPA, end of a permission change";
    0x530, 8, vdev_id_1, D::EVERY_2_0, "virtual device";
    0x538, 8, vdev_id_2, D::EVERY_2_0, "second virtual device";
    0x540, 8, dev_mem_base, D::EVERY_2_0, "IPA, first of a device mapping";
    0x548, 8, dev_mem_top, D::EVERY_2_0, "IPA, end of a device mapping";
    0x550, 8, dev_mem_pa, D::EVERY_2_0, "PA of the device memory";
    0x600, 2, imm, D::EVERY, "immediate of the host call";
    0x608, 8, plane, D::EVERY_2_0, "index of the plane that exited";
    0x700, 1, pmu_ovf_status, D::EVERY, "[`PmuOverflowStatus`]";
    0x710, 8, vsmmu, D::BETAS, "PA of the virtual SMMU";
}

impl fmt::Debug for RecEnter {
    /// Omits the registers: they contain what the host passes to the Realm.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecEnter")
            .field("flags", &RecEnterFlags::from_bits_retain(self.flags))
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for RecExit {
    /// Omits the registers: they contain what the Realm stores, writes and passes to the host.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecExit")
            .field("exit_reason", &self.exit_reason)
            .field("esr", &format_args!("{:#x}", self.esr))
            .field("far", &format_args!("{:#x}", self.far))
            .field("hpfar", &format_args!("{:#x}", self.hpfar))
            .field("rtt_tree", &self.rtt_tree)
            .field("imm", &self.imm)
            .field("plane", &self.plane)
            .finish_non_exhaustive()
    }
}

layout! {
    /// The run page, 4 KiB, shared by host and RMM.
    ///
    table
    ///
    /// Source: DEN0137 1.0-rel0 and 2.0-bet3, `RmiRecRun`.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    #[doc(alias = "RmiRecRun")]
    pub struct RecRun {
        /// The host's half.
        pub enter: RecEnter,
        /// The RMM's half.
        pub exit: RecExit,
    }

    DialectSet = "RmiRecRun", 0x1000 bytes, aligned to 0x1000, in D::EVERY, unsure in D::NONE;
    0x000, 2048, enter, D::EVERY, "the host's half";
    0x800, 2048, exit, D::EVERY, "the RMM's half";
}

impl RecExit {
    /// A record that is all zeros, for [`RMI_REC_ENTER`](crate::Command::RecEnter) to fill.
    #[must_use]
    pub fn zeros() -> Self {
        zerocopy::FromZeros::new_zeroed()
    }
}

/// Why a REC exited, the same name for the same event in every dialect.
///
/// Source: DEN0137 1.0-rel0 and 2.0-bet3, `RmiRecExitReason`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(alias = "RmiRecExitReason")]
#[non_exhaustive]
pub enum ExitReason {
    /// A synchronous exception.
    #[doc(alias = "RMI_EXIT_SYNC")]
    Sync,
    /// A physical interrupt.
    #[doc(alias = "RMI_EXIT_IRQ")]
    Irq,
    /// A fast physical interrupt.
    #[doc(alias = "RMI_EXIT_FIQ")]
    Fiq,
    /// A PSCI call that the host has to know about.
    #[doc(alias = "RMI_EXIT_PSCI")]
    Psci,
    /// The Realm requests a RIPAS change.
    #[doc(alias = "RMI_EXIT_RIPAS_CHANGE")]
    RipasChange,
    /// The Realm calls the host.
    #[doc(alias = "RMI_EXIT_HOST_CALL")]
    HostCall,
    /// A system error.
    #[doc(alias = "RMI_EXIT_SERROR")]
    SError,
    /// The Realm requests a stage 2 permission change (2.0).
    S2apChange,
    /// The Realm requests a virtual device (2.0 up to TF-RMM of July 2026).
    VdevRequest,
    /// The Realm requests the validation of a device mapping (2.0).
    #[doc(alias = "VDEV_VALIDATE_MAPPING")]
    #[doc(alias = "DEV_MEM_MAP")]
    VdevValidateMapping,
    /// The Realm issued a command to a virtual SMMU (2.0).
    VsmmuCommand,
    /// The Realm requests a peer to peer binding (2.0-bet0).
    VdevP2pBinding,
    /// A code that the dialect does not define.
    Unknown(u8),
}

impl ExitReason {
    /// The reason that has this code in a dialect.
    #[must_use]
    pub const fn decode(code: u8, dialect: Dialect) -> Self {
        match (code, dialect) {
            (0, _) => Self::Sync,
            (1, _) => Self::Irq,
            (2, _) => Self::Fiq,
            (3, _) => Self::Psci,
            (4, _) => Self::RipasChange,
            (5, _) => Self::HostCall,
            (6, _) => Self::SError,
            (_, Dialect::V1_0) => Self::Unknown(code),
            (7, _) => Self::S2apChange,
            (8, Dialect::V2_0Bet3) => Self::VdevValidateMapping,
            (8, _) => Self::VdevRequest,
            (9, Dialect::V2_0Bet3) => Self::Unknown(code),
            (9, _) => Self::VdevValidateMapping,
            (10, Dialect::TfRmm2026_07) => Self::VdevP2pBinding,
            (10, _) => Self::VsmmuCommand,
            (11, Dialect::V2_0Bet0) => Self::VdevP2pBinding,
            _ => Self::Unknown(code),
        }
    }

    /// The code of this reason in a dialect; `None` when it has none.
    #[must_use]
    pub fn encode(self, dialect: Dialect) -> Option<u8> {
        (0..=u8::MAX).find(|&code| Self::decode(code, dialect) == self)
    }
}

/// What a host answers to a request of the Realm: bits 4 to 6 of [`RecEnterFlags`], one for each
/// kind of request.
///
/// Source: DEN0137 1.0-rel0 and 2.0-bet3, `RmiResponse`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(u8)]
#[doc(alias = "RmiResponse")]
#[non_exhaustive]
#[doc(alias = "RsiResponse")]
pub enum Response {
    /// The request is granted.
    #[doc(alias = "RMI_ACCEPT")]
    #[doc(alias = "RSI_ACCEPT")]
    Accept = 0,
    /// The request is refused.
    #[doc(alias = "RMI_REJECT")]
    #[doc(alias = "RSI_REJECT")]
    Reject = 1,
    /// A code this crate does not know.
    #[num_enum(catch_all)]
    Unknown(u8),
}

/// Whether a PMU counter of the Realm has overflowed, [`RecExit::pmu_ovf_status`].
///
/// Source: DEN0137 1.0-rel0 and 2.0-bet3, `RmiPmuOverflowStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(u8)]
#[doc(alias = "RmiPmuOverflowStatus")]
#[non_exhaustive]
pub enum PmuOverflowStatus {
    /// No enabled counter has.
    #[doc(alias = "RMI_PMU_OVERFLOW_NOT_ACTIVE")]
    NotActive = 0,
    /// One has.
    #[doc(alias = "RMI_PMU_OVERFLOW_ACTIVE")]
    Active = 1,
    /// A code this crate does not know.
    #[num_enum(catch_all)]
    Unknown(u8),
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::format;

    use zerocopy::FromZeros;

    use super::*;

    #[test]
    fn flags_of_planes_and_devices_are_of_2_0() {
        for dialect in Dialect::ALL {
            let bits = if dialect == Dialect::V1_0 { 0x1f } else { 0xff };
            assert_eq!(RecEnterFlags::defined(dialect).bits(), bits, "{dialect}");
        }
    }

    #[test]
    fn registers_are_not_printed() {
        let mut run = RecRun::new_zeroed();
        run.enter.gprs = [0x5ec2_e7ed; RUN_GPRS];
        run.exit.gprs = [0x5ec2_e7ed; RUN_GPRS];
        let text = format!("{run:?} {run:#x?}");
        assert!(!text.contains("5ec2e7ed") && !text.contains(&format!("{}", 0x5ec2_e7edu32)));
    }
}
