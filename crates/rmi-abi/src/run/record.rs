//! What a host copies into the run page before an entry, and out of it after an exit.
//!
//! The halves of the page, [`RecEnter`] and [`RecExit`], are 2 KiB each, nearly all of it reserved.
//! A host accesses only the words that the dialect has and that the answer or the reason uses, each
//! of them once.

use core::fmt;
use core::mem::offset_of;

use super::{ExitReason, RUN_GPRS, RecEnter, RecEnterFlags, RecExit};
use crate::dialect::Dialect;

/// Number of `ICH_LR<n>_EL2` in each half of the run page of 1.0.
const LIST_REGISTERS: usize = 16;

/// What a host passes to an RMM at an entry: the fields of [`RecEnter`] that the RMM reads then.
///
/// | Field | Written |
/// |---|---|
/// | `flags` | always; those that the dialect [has](RecEnterFlags::defined) |
/// | `gprs` | as many of X0 to X30 as there are: all for the reply to a host call, X0 for a value that was read, none otherwise. The RMM ignores the others |
/// | `gic` | in 1.0 |
///
/// ```
/// use rmi_abi::Dialect;
/// use rmi_abi::run::{EntryRecord, RecEnterFlags};
///
/// let entry = EntryRecord { flags: RecEnterFlags::EMUL_MMIO, gprs: &[42], ..Default::default() };
/// let mut written = Vec::new();
/// entry.write(Dialect::V2_0Bet3, |offset, words| {
///     written.push((offset, words.to_vec()));
///     Ok::<(), ()>(())
/// }).unwrap();
/// assert_eq!(written, [(0, vec![1]), (0x200, vec![42])]);
/// ```
///
/// Source: DEN0137 1.0-rel0 and 2.0-bet3, `RmiRecEnter`.
#[derive(Clone, Copy)]
pub struct EntryRecord<'a> {
    /// How the last exit is answered.
    pub flags: RecEnterFlags,
    /// X0 and up.
    pub gprs: &'a [u64],
    /// The virtual CPU interface (1.0); `None` for one that is off and empty.
    pub gic: Option<&'a GicEntry>,
}

impl Default for EntryRecord<'_> {
    /// No flags, no registers, no virtual interrupts.
    fn default() -> Self {
        Self { flags: RecEnterFlags::empty(), gprs: &[], gic: None }
    }
}

impl EntryRecord<'_> {
    /// Passes the words of a dialect to `write`, each run of them with its offset in [`RecEnter`].
    /// Registers beyond X30 are not passed on.
    ///
    /// # Errors
    ///
    /// The first of `write`.
    #[inline]
    pub fn write<E>(
        &self,
        dialect: Dialect,
        mut write: impl FnMut(usize, &[u64]) -> Result<(), E>,
    ) -> Result<(), E> {
        let flags = [self.flags.intersection(RecEnterFlags::defined(dialect)).bits()];
        let GicEntry { hcr, lrs } = self.gic.unwrap_or(&GicEntry::EMPTY);
        let (hcr, lrs): (&[u64], &[u64]) = match dialect.gic_in_run_page() {
            true => (core::slice::from_ref(hcr), lrs),
            false => (&[], &[]),
        };
        for (offset, words) in [
            (offset_of!(RecEnter, flags), &flags[..]),
            (offset_of!(RecEnter, gprs), self.gprs.get(..RUN_GPRS).unwrap_or(self.gprs)),
            (offset_of!(RecEnter, gicv3_hcr), hcr),
            (offset_of!(RecEnter, gicv3_lrs), lrs),
        ] {
            if !words.is_empty() {
                write(offset, words)?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for EntryRecord<'_> {
    /// Omits the registers: they contain what the host passes to the Realm.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntryRecord").field("flags", &self.flags).finish_non_exhaustive()
    }
}

/// The virtual CPU interface at an entry, which the run page has in 1.0.
///
/// Source: DEN0137 1.0-rel0, `RmiRecEnter`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GicEntry {
    /// `ICH_HCR_EL2`: the bits that the RMM leaves to the host.
    pub hcr: u64,
    /// `ICH_LR<n>_EL2`
    pub lrs: [u64; LIST_REGISTERS],
}

impl GicEntry {
    /// No virtual interrupts.
    pub const EMPTY: Self = Self { hcr: 0, lrs: [0; LIST_REGISTERS] };
}

/// The virtual CPU interface after an exit, which the run page has in 1.0.
///
/// Source: DEN0137 1.0-rel0, `RmiRecExit`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GicExit {
    /// `ICH_HCR_EL2`
    pub hcr: u64,
    /// `ICH_LR<n>_EL2`
    pub lrs: [u64; LIST_REGISTERS],
    /// `ICH_MISR_EL2`
    pub misr: u64,
    /// `ICH_VMCR_EL2`
    pub vmcr: u64,
}

/// What an RMM reports of an exit: the fields of [`RecExit`] that the dialect has for its reason.
/// The others are zero, whatever is in the page.
///
/// | Reason | Fields |
/// |---|---|
/// | any | `exit_reason`, timers (`cnt*`), `pmu_ovf_status`; in 1.0 `gic` |
/// | [`Sync`](ExitReason::Sync) | `esr`, `far`, `hpfar`, X0; in 2.0 `rtt_tree` |
/// | [`Psci`](ExitReason::Psci) | X0, X1 |
/// | [`RipasChange`](ExitReason::RipasChange) | `ripas_base`, `ripas_top`, `ripas_value` |
/// | [`HostCall`](ExitReason::HostCall) | `imm`, X0 to X30; in 2.0 `plane` |
/// | [`SError`](ExitReason::SError) | `esr` |
/// | [`S2apChange`](ExitReason::S2apChange) | `s2ap_base`, `s2ap_top` |
/// | [`VdevRequest`](ExitReason::VdevRequest) | `vdev_id_1` |
/// | [`VdevValidateMapping`](ExitReason::VdevValidateMapping) | `vdev_id_1`, `dev_mem_base`, `dev_mem_top`, `dev_mem_pa` |
/// | [`VdevP2pBinding`](ExitReason::VdevP2pBinding) | `vdev_id_1`, `vdev_id_2` |
/// | [`VsmmuCommand`](ExitReason::VsmmuCommand) | `vsmmu` |
///
/// Source: DEN0137 1.0-rel0 and 2.0-bet3, `RmiRecExit`.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct ExitRecord {
    /// The reason as the RMM wrote it, for [`ExitReason::decode`].
    pub exit_reason: u8,
    /// `ESR_EL2` of the exit, as far as the RMM shows it.
    pub esr: u64,
    /// `FAR_EL2`: where in the page a device was accessed.
    pub far: u64,
    /// `HPFAR_EL2`: the page of an abort.
    pub hpfar: u64,
    /// The tree of translation tables that a fault is in.
    pub rtt_tree: u64,
    /// X0 and up of the Realm, as far as the reason shows them.
    pub gprs: [u64; RUN_GPRS],
    /// `None` where the dialect has it in registers of the CPU.
    pub gic: Option<GicExit>,
    /// `CNTP_CTL_EL0`
    pub cntp_ctl: u64,
    /// `CNTP_CVAL_EL0`
    pub cntp_cval: u64,
    /// `CNTV_CTL_EL0`
    pub cntv_ctl: u64,
    /// `CNTV_CVAL_EL0`
    pub cntv_cval: u64,
    /// First IPA of a RIPAS change.
    pub ripas_base: u64,
    /// End of a RIPAS change, exclusive.
    pub ripas_top: u64,
    /// The RIPAS that is requested.
    pub ripas_value: u8,
    /// First IPA of a change of permissions.
    pub s2ap_base: u64,
    /// End of a change of permissions, exclusive.
    pub s2ap_top: u64,
    /// The device.
    pub vdev_id_1: u64,
    /// The second device of a binding.
    pub vdev_id_2: u64,
    /// First IPA of a mapping of device memory.
    pub dev_mem_base: u64,
    /// End of a mapping of device memory, exclusive.
    pub dev_mem_top: u64,
    /// Where device memory begins in physical memory.
    pub dev_mem_pa: u64,
    /// The immediate of a host call.
    pub imm: u16,
    /// The plane that made a host call.
    pub plane: u64,
    /// Whether the PMU signals an overflow: 0 or 1.
    pub pmu_ovf_status: u8,
    /// The virtual SMMU.
    pub vsmmu: u64,
}

impl ExitRecord {
    /// A record without any content.
    pub const ZERO: Self = Self {
        exit_reason: 0,
        esr: 0,
        far: 0,
        hpfar: 0,
        rtt_tree: 0,
        gprs: [0; RUN_GPRS],
        gic: None,
        cntp_ctl: 0,
        cntp_cval: 0,
        cntv_ctl: 0,
        cntv_cval: 0,
        ripas_base: 0,
        ripas_top: 0,
        ripas_value: 0,
        s2ap_base: 0,
        s2ap_top: 0,
        vdev_id_1: 0,
        vdev_id_2: 0,
        dev_mem_base: 0,
        dev_mem_top: 0,
        dev_mem_pa: 0,
        imm: 0,
        plane: 0,
        pmu_ovf_status: 0,
        vsmmu: 0,
    };

    /// Reads the fields of an exit of a dialect, in place of what the record contains: `read` fills
    /// words from an offset in [`RecExit`] on. The reason is read first, and each word once.
    ///
    /// ```
    /// use rmi_abi::Dialect;
    /// use rmi_abi::run::{ExitRecord, RecExit};
    /// use zerocopy::FromBytes;
    ///
    /// let mut exit = RecExit::zeros();
    /// (exit.exit_reason, exit.esr, exit.imm) = (6, 0xbc00_0811, 9);
    /// let page: [u64; 0x100] = zerocopy::transmute!(exit);
    /// let mut record = ExitRecord::ZERO;
    /// record.read(Dialect::V2_0Bet3, |offset, words| {
    ///     words.copy_from_slice(&page[offset / 8..][..words.len()]);
    ///     Ok::<(), ()>(())
    /// }).unwrap();
    /// // A system error has a syndrome, and is no host call.
    /// assert_eq!((record.exit_reason, record.esr, record.imm), (6, 0xbc00_0811, 0));
    /// ```
    ///
    /// # Errors
    ///
    /// The first of `read`; the record contains then what was read before.
    #[inline]
    pub fn read<E>(
        &mut self,
        dialect: Dialect,
        mut read: impl FnMut(usize, &mut [u64]) -> Result<(), E>,
    ) -> Result<(), E> {
        *self = Self::ZERO;
        let mut reason = [0];
        read(offset_of!(RecExit, exit_reason), &mut reason)?;
        self.exit_reason = first_byte(reason);

        let reason = ExitReason::decode(self.exit_reason, dialect);
        let (first, second, gprs) = spans(reason, dialect);
        let (mut timers, mut overflow) = ([0; 4], [0]);
        let (mut gic, mut words) = ([0; GIC_WORDS], [0; 4]);
        let (of_first, rest) = words.split_at_mut_checked(first.1).unwrap_or_default();
        let has_gic = dialect.gic_in_run_page();
        for (offset, words) in [
            (offset_of!(RecExit, cntp_ctl), &mut timers[..]),
            (offset_of!(RecExit, pmu_ovf_status), &mut overflow),
            (offset_of!(RecExit, gicv3_hcr), if has_gic { &mut gic } else { &mut [] }),
            (first.0, of_first),
            (second.0, rest.get_mut(..second.1).unwrap_or_default()),
            (offset_of!(RecExit, gprs), self.gprs.get_mut(..gprs).unwrap_or_default()),
        ] {
            if !words.is_empty() {
                read(offset, words)?;
            }
        }
        [self.cntp_ctl, self.cntp_cval, self.cntv_ctl, self.cntv_cval] = timers;
        self.pmu_ovf_status = first_byte(overflow);
        if has_gic {
            let [hcr, lrs @ .., misr, vmcr] = gic;
            self.gic = Some(GicExit { hcr, lrs, misr, vmcr });
        }
        self.assign(reason, words);
        Ok(())
    }

    /// Takes the words that [`spans`] names.
    fn assign(&mut self, reason: ExitReason, words: [u64; 4]) {
        let [a, b, c, d] = words;
        match reason {
            ExitReason::Sync => [self.esr, self.far, self.hpfar, self.rtt_tree] = words,
            ExitReason::SError => self.esr = a,
            ExitReason::RipasChange => {
                (self.ripas_base, self.ripas_top, self.ripas_value) = (a, b, first_byte([c]));
            }
            ExitReason::HostCall => {
                let [low, high, ..] = a.to_ne_bytes();
                (self.imm, self.plane) = (u16::from_ne_bytes([low, high]), b);
            }
            ExitReason::S2apChange => (self.s2ap_base, self.s2ap_top) = (a, b),
            ExitReason::VdevRequest => self.vdev_id_1 = a,
            ExitReason::VdevValidateMapping => {
                self.vdev_id_1 = a;
                (self.dev_mem_base, self.dev_mem_top, self.dev_mem_pa) = (b, c, d);
            }
            ExitReason::VdevP2pBinding => (self.vdev_id_1, self.vdev_id_2) = (a, b),
            ExitReason::VsmmuCommand => self.vsmmu = a,
            ExitReason::Psci | ExitReason::Irq | ExitReason::Fiq | ExitReason::Unknown(_) => {}
        }
    }
}

/// `gicv3_hcr`, list registers, `gicv3_misr` and `gicv3_vmcr` are next to each other.
const GIC_WORDS: usize = LIST_REGISTERS + 3;
const _: () = assert!(
    offset_of!(RecExit, gicv3_vmcr) == offset_of!(RecExit, gicv3_hcr) + 8 * (GIC_WORDS - 1)
);

/// A run of words: its offset in [`RecExit`], and how many there are.
type Span = (usize, usize);

/// The words that only exits of a reason have, two runs of four words at most; and how many
/// registers.
const fn spans(reason: ExitReason, dialect: Dialect) -> (Span, Span, usize) {
    const NONE: Span = (0, 0);
    const ESR: usize = offset_of!(RecExit, esr);
    const VDEV_ID: usize = offset_of!(RecExit, vdev_id_1);
    // 1.0 has one translation tree and no planes: one word less.
    let has_planes = dialect.is_2_0() as usize;
    match reason {
        ExitReason::Sync => ((ESR, 3 + has_planes), NONE, 1),
        ExitReason::SError => ((ESR, 1), NONE, 0),
        ExitReason::Psci => (NONE, NONE, 2),
        ExitReason::RipasChange => ((offset_of!(RecExit, ripas_base), 3), NONE, 0),
        ExitReason::HostCall => ((offset_of!(RecExit, imm), 1 + has_planes), NONE, RUN_GPRS),
        ExitReason::S2apChange => ((offset_of!(RecExit, s2ap_base), 2), NONE, 0),
        ExitReason::VdevRequest => ((VDEV_ID, 1), NONE, 0),
        ExitReason::VdevValidateMapping => {
            ((VDEV_ID, 1), (offset_of!(RecExit, dev_mem_base), 3), 0)
        }
        ExitReason::VdevP2pBinding => ((VDEV_ID, 2), NONE, 0),
        ExitReason::VsmmuCommand => ((offset_of!(RecExit, vsmmu), 1), NONE, 0),
        ExitReason::Irq | ExitReason::Fiq | ExitReason::Unknown(_) => (NONE, NONE, 0),
    }
}

/// The byte at the address of a word: the others of the word are not part of the field.
const fn first_byte([word]: [u64; 1]) -> u8 {
    let [first, ..] = word.to_ne_bytes();
    first
}

impl fmt::Debug for ExitRecord {
    /// Omits the registers: they contain what the Realm stores, writes and passes to the host.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExitRecord")
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

#[cfg(test)]
mod tests;
