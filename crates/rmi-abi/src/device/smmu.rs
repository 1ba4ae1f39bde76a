//! Physical and virtual SMMUs.

use num_enum::{FromPrimitive, IntoPrimitive};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::dialect::DialectSet;
use crate::layout::layout;

use DialectSet as D;

bitflags::bitflags! {
    /// How a physical SMMU is used.
    ///
    /// Source: DEN0137 2.0-bet3, `RmiPsmmuFlags`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[doc(alias = "RmiPsmmuFlags")]
    pub struct PsmmuFlags: u64 {
        /// It signals by message.
        #[doc(alias = "msi")]
        const MSI = 1 << 0;
        /// It handles address translation requests.
        #[doc(alias = "ats")]
        const ATS = 1 << 1;
        /// It handles page requests.
        #[doc(alias = "pri")]
        const PRI = 1 << 2;
        const _ = !0;
    }
}

/// An interrupt of a physical SMMU.
///
/// Source: DEN0137 2.0-bet3, `RmiPsmmuIrq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(u8)]
#[doc(alias = "RmiPsmmuIrq")]
#[non_exhaustive]
pub enum PsmmuIrq {
    /// Global error.
    #[doc(alias = "GERROR")]
    Gerror = 0,
    /// Event queue.
    #[doc(alias = "EVENTQ")]
    Eventq = 1,
    /// Page request queue.
    #[doc(alias = "PRIQ")]
    Priq = 2,
    /// Command queue.
    #[doc(alias = "CMDQ")]
    Cmdq = 3,
    /// A code this crate does not know.
    #[num_enum(catch_all)]
    Unknown(u8),
}

bitflags::bitflags! {
    /// A set of interrupts of a physical SMMU.
    ///
    /// Source: DEN0137 2.0-bet3, `RmiPsmmuIrqSet`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[doc(alias = "RmiPsmmuIrqSet")]
    pub struct PsmmuIrqSet: u64 {
        /// Global error.
        #[doc(alias = "gerror")]
        const GERROR = 1 << 0;
        /// Event queue.
        #[doc(alias = "eventq")]
        const EVENTQ = 1 << 1;
        /// Page request queue.
        #[doc(alias = "priq")]
        const PRIQ = 1 << 2;
        /// Command queue.
        #[doc(alias = "cmdq")]
        const CMDQ = 1 << 3;
        const _ = !0;
    }
}

bitflags::bitflags! {
    /// The cause of an interrupt of a physical SMMU.
    ///
    /// Source: DEN0137 2.0-bet3, `RmiPsmmuIrqResult`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[doc(alias = "RmiPsmmuIrqResult")]
    pub struct PsmmuIrqResult: u64 {
        /// More is pending.
        #[doc(alias = "pending")]
        const PENDING = 1 << 0;
        /// An event of a virtual SMMU.
        #[doc(alias = "vsmmu_event")]
        const VSMMU_EVENT = 1 << 1;
        /// An event of the SMMU itself.
        #[doc(alias = "smmu_event")]
        const SMMU_EVENT = 1 << 2;
        /// Nothing was pending.
        #[doc(alias = "empty")]
        const EMPTY = 1 << 3;
        const _ = !0;
    }
}

/// The syndrome of an event of a physical SMMU, as `RMI_PSMMU_IRQ_NOTIFY` reports it.
///
/// Source: DEN0137 2.0-bet3, `PsmmuEventSyndrome`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct PsmmuEventSyndrome(pub u64);

impl PsmmuEventSyndrome {
    /// Whether the access was a read, bit 0.
    #[must_use]
    #[doc(alias = "rnw")]
    pub const fn is_read(self) -> bool {
        self.0 & 1 != 0
    }

    /// Whether stage 2 faulted, bit 1.
    #[must_use]
    #[doc(alias = "s2")]
    pub const fn is_stage_2(self) -> bool {
        self.0 & 2 != 0
    }

    /// The class of the access, bits 3:2, as SMMUv3 encodes it.
    #[must_use]
    pub const fn class(self) -> u8 {
        ((self.0 >> 2) & 0b11).to_le_bytes()[0]
    }
}

bitflags::bitflags! {
    /// The state of a command of a virtual SMMU.
    ///
    /// Source: DEN0137 2.0-bet3, `RmiVsmmuCmdFlags`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[doc(alias = "RmiVsmmuCmdFlags")]
    pub struct VsmmuCmdFlags: u64 {
        /// More commands are pending.
        #[doc(alias = "pending")]
        const PENDING = 1 << 0;
        /// The command is complete.
        #[doc(alias = "cmd_complete")]
        const CMD_COMPLETE = 1 << 1;
        /// The host has to interrupt the Realm.
        #[doc(alias = "irq")]
        const IRQ = 1 << 2;
        const _ = !0;
    }
}

bitflags::bitflags! {
    /// What an event of a virtual SMMU requires of the host.
    ///
    /// Source: DEN0137 2.0-bet3, `RmiVsmmuEventFlags`.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    #[doc(alias = "RmiVsmmuEventFlags")]
    pub struct VsmmuEventFlags: u64 {
        /// The host has to interrupt the Realm.
        #[doc(alias = "irq")]
        const IRQ = 1 << 0;
        /// The host has to abort the access.
        #[doc(alias = "abort")]
        const ABORT = 1 << 1;
        const _ = !0;
    }
}

layout! {
    /// The parameter page of `RMI_PSMMU_ACTIVATE`, 4 KiB, host to RMM. Bytes between fields are
    /// reserved and zero.
    ///
    table
    ///
    /// Source: DEN0137 2.0-bet3, `RmiPsmmuParams`.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    #[doc(alias = "RmiPsmmuParams")]
    #[expect(missing_docs, reason = "the table above documents every field")]
    pub struct PsmmuParamsPage {
        pub flags: u64,
        pub gerr_addr: u64,
        pub gerr_data: u64,
        pub eventq_addr: u64,
        pub eventq_data: u64,
        pub priq_addr: u64,
        pub priq_data: u64,
        _sbz0: [u8; 0x1000 - 0x038],
    }

    DialectSet = "RmiPsmmuParams", 0x1000 bytes, aligned to 0x1000,
    in D::EVERY_2_0, unsure in D::NONE;
    0x000, 8, flags, D::EVERY_2_0, "[`PsmmuFlags`]";
    0x008, 8, gerr_addr, D::EVERY_2_0, "PA of the global error message";
    0x010, 8, gerr_data, D::EVERY_2_0, "payload of the global error message";
    0x018, 8, eventq_addr, D::EVERY_2_0, "PA of the event queue message";
    0x020, 8, eventq_data, D::EVERY_2_0, "payload of the event queue message";
    0x028, 8, priq_addr, D::EVERY_2_0, "PA of the page request queue message";
    0x030, 8, priq_data, D::EVERY_2_0, "payload of the page request queue message";
}

layout! {
    /// The parameter page of `RMI_VSMMU_CREATE`, 4 KiB; known from the 2.0-bet0 text only. Bytes
    /// between fields are reserved and zero.
    ///
    table
    ///
    /// Source: DEN0137 2.0-bet0, `RmiVsmmuParams`.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    #[doc(alias = "RmiVsmmuParams")]
    #[expect(missing_docs, reason = "the table above documents every field")]
    pub struct VsmmuParamsPage {
        pub flags: u64,
        pub reg_base: u64,
        pub reg_top: u64,
        pub aidr: u64,
        pub idr: [u64; 7],
        _sbz0: [u8; 0x1000 - 0x058],
    }

    DialectSet = "RmiVsmmuParams", 0x1000 bytes, aligned to 0x1000, in D::BET0, unsure in D::BET0;
    0x000, 8, flags, D::BET0, "all bits reserved";
    0x008, 8, reg_base, D::BET0, "IPA of the register frame, first";
    0x010, 8, reg_top, D::BET0, "IPA of the register frame, end";
    0x018, 8, aidr, D::BET0, "`SMMU_AIDR`";
    0x020, 56, idr, D::BET0, "`SMMU_IDR0` to `SMMU_IDR6`";
}

layout! {
    /// The features of the RMM's virtual SMMU, 256 bytes, RMM to host; known from the 2.0-bet0 text
    /// only.
    ///
    table
    ///
    /// Source: DEN0137 2.0-bet0, `RmiVsmmuFeatures`.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C, align(256))]
    #[doc(alias = "RmiVsmmuFeatures")]
    #[expect(missing_docs, reason = "the table above documents every field")]
    pub struct VsmmuFeaturesBlock {
        pub aidr: u64,
        pub idr: [u64; 7],
        _unread0: [u8; 0x100 - 0x040],
    }

    DialectSet = "RmiVsmmuFeatures", 0x100 bytes, aligned to 0x100, in D::BET0, unsure in D::BET0;
    0x000, 8, aidr, D::BET0, "`SMMU_AIDR`";
    0x008, 56, idr, D::BET0, "`SMMU_IDR0` to `SMMU_IDR6`";
}
