//! The virtual CPU interface of one physical CPU, as registers.

use crate::run_page::RunPage;

/// `ICH_VTR_EL2`: which parts of the virtual GIC the CPU implements.
///
/// Source: Arm IHI 0069 (GICv3), `ICH_VTR_EL2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(alias = "ICH_VTR_EL2")]
pub struct Vtr(u64);

impl Vtr {
    /// The maximum number of list registers in the architecture.
    pub const MAX_LIST_REGISTERS: usize = 16;
    /// The maximum number of active priority registers of a group in the architecture.
    pub const MAX_ACTIVE_PRIORITY_REGISTERS: usize = 4;

    /// The register value.
    #[must_use]
    pub const fn from_raw(raw: u64) -> Self {
        Self(raw)
    }

    /// What is certain in RMI 1.0, where the RMM tells only the number of list registers, as
    /// `GICV3_NUM_LRS` of its features (one less): 5 bits of priority and of preemption, which
    /// every CPU has. TDIR counts as implemented, as every RMM permits the bit.
    #[must_use]
    pub const fn of_run_page(gicv3_num_lrs: u8) -> Self {
        Self(4 << 29 | 4 << 26 | 1 << 19 | (gicv3_num_lrs & 0xf) as u64)
    }

    /// The register value.
    #[must_use]
    pub const fn raw(self) -> u64 {
        self.0
    }

    /// `ListRegs` (bits 4:0): the number of list registers, 1 to 16.
    #[must_use]
    pub const fn list_registers(self) -> usize {
        let count = (self.0 & 0x1f) as usize + 1;
        if count > Self::MAX_LIST_REGISTERS { Self::MAX_LIST_REGISTERS } else { count }
    }

    /// `PRIbits` (bits 31:29): the number of priority bits, 5 to 8; the others are zero.
    #[must_use]
    pub const fn priority_bits(self) -> u32 {
        (self.0 >> 29 & 0b111) as u32 + 1
    }

    /// `PREbits` (bits 28:26): the number of preemption bits of a priority, 5 to 7.
    #[must_use]
    pub const fn preemption_bits(self) -> u32 {
        (self.0 >> 26 & 0b111) as u32 + 1
    }

    /// The number of active priority registers (`ICH_AP0R<n>_EL2`, and as many `ICH_AP1R<n>_EL2`):
    /// one for 5 preemption bits, two for 6, four for 7.
    #[must_use]
    pub const fn active_priority_registers(self) -> usize {
        match self.preemption_bits() {
            0..=5 => 1,
            6 => 2,
            _ => Self::MAX_ACTIVE_PRIORITY_REGISTERS,
        }
    }

    /// `TDS` (bit 19): whether `ICH_HCR_EL2.TDIR` traps `ICC_DIR_EL1` separately from other
    /// registers.
    #[must_use]
    pub const fn traps_dir(self) -> bool {
        self.0 & 1 << 19 != 0
    }
}

/// The registers of the virtual CPU interface that the next entry of a REC uses.
///
/// In RMI 2.0 they are those of the calling CPU: an implementation reads and writes the system
/// registers of the CPU that runs it, which is the one that makes the call to the RMM. The host
/// must not migrate to another CPU, nor run another guest, between loading and saving. The
/// registers exist at EL2, whether E2H is 1 or 0. A host kernel at EL1 (Linux in nVHE mode) has
/// only its stub at EL2, and loses them before the call reaches the RMM; so does a host whose EL3
/// firmware switches them at the world switch. Neither can run Realms of 2.0.
///
/// Implementations: `HardwareInterface` for the CPU (aarch64, feature `hardware`), `rmm_model::Cpu`
/// for the model RMM, and [`RunPage`] for RMI 1.0.
///
/// In RMI 1.0 `ICH_LR<n>_EL2` and `ICH_HCR_EL2` are fields of the run page, in which `ICH_MISR_EL2`
/// and `ICH_VMCR_EL2` are read-only. The RMM keeps `ICH_VMCR_EL2` and the active priorities in the
/// REC, and sets `ICH_HCR_EL2.En` itself. There, writes of these do not reach the REC, active
/// priorities read as zero, and of `ICH_HCR_EL2` only the bits of
/// [`HCR_CONTROLS`](crate::state::HCR_CONTROLS) are written.
///
/// Values are those of the registers; a register whose `n` the CPU does not implement reads as zero
/// and ignores writes. No synchronisation is needed between a write and the call to the RMM, which
/// is an exception to EL3.
///
/// Source: DEN0137 2.0-bet3, `RMI_REC_ENTER`; DEN0137 1.0-rel0, "GICv3 virtual CPU interface"; Arm
/// IHI 0069.
pub trait VirtualInterface {
    /// Reads `ICH_VTR_EL2`.
    fn vtr(&self) -> Vtr;
    /// Reads `ICH_LR<n>_EL2`.
    fn list_register(&self, n: usize) -> u64;
    /// Writes `ICH_LR<n>_EL2`.
    fn set_list_register(&mut self, n: usize, value: u64);
    /// Reads `ICH_HCR_EL2`.
    fn hcr(&self) -> u64;
    /// Writes `ICH_HCR_EL2`.
    fn set_hcr(&mut self, value: u64);
    /// Reads `ICH_VMCR_EL2`.
    fn vmcr(&self) -> u64;
    /// Writes `ICH_VMCR_EL2`.
    fn set_vmcr(&mut self, value: u64);
    /// Reads `ICH_AP0R<n>_EL2`.
    fn ap0r(&self, n: usize) -> u64;
    /// Writes `ICH_AP0R<n>_EL2`.
    fn set_ap0r(&mut self, n: usize, value: u64);
    /// Reads `ICH_AP1R<n>_EL2`.
    fn ap1r(&self, n: usize) -> u64;
    /// Writes `ICH_AP1R<n>_EL2`.
    fn set_ap1r(&mut self, n: usize, value: u64);
    /// Reads `ICH_MISR_EL2`.
    fn misr(&self) -> u64;

    /// If the registers are those of a run page: what copies them to it and from it. By default
    /// they are not.
    fn run_page(&mut self) -> Option<&mut RunPage> {
        None
    }
}
