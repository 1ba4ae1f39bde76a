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
#[expect(missing_docs, reason = "the fields are those of `RecExit`")]
pub struct ExitRecord {
    pub exit_reason: u8,
    pub esr: u64,
    pub far: u64,
    pub hpfar: u64,
    pub rtt_tree: u64,
    pub gprs: [u64; RUN_GPRS],
    /// `None` where the dialect has it in registers of the CPU.
    pub gic: Option<GicExit>,
    pub cntp_ctl: u64,
    pub cntp_cval: u64,
    pub cntv_ctl: u64,
    pub cntv_cval: u64,
    pub ripas_base: u64,
    pub ripas_top: u64,
    pub ripas_value: u8,
    pub s2ap_base: u64,
    pub s2ap_top: u64,
    pub vdev_id_1: u64,
    pub vdev_id_2: u64,
    pub dev_mem_base: u64,
    pub dev_mem_top: u64,
    pub dev_mem_pa: u64,
    pub imm: u16,
    pub plane: u64,
    pub pmu_ovf_status: u8,
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

    /// Reads the fields of an exit of a dialect: `read` fills words from an offset in [`RecExit`]
    /// on. The reason is read first, and each word once.
    ///
    /// ```
    /// use rmi_abi::Dialect;
    /// use rmi_abi::run::{ExitRecord, RecExit};
    /// use zerocopy::FromBytes;
    ///
    /// let mut exit = RecExit::zeros();
    /// (exit.exit_reason, exit.esr, exit.imm) = (6, 0xbc00_0811, 9);
    /// let page: [u64; 0x100] = zerocopy::transmute!(exit);
    /// let record = ExitRecord::read(Dialect::V2_0Bet3, |offset, words| {
    ///     words.copy_from_slice(&page[offset / 8..][..words.len()]);
    ///     Ok::<(), ()>(())
    /// }).unwrap();
    /// // A system error has a syndrome, and is no host call.
    /// assert_eq!((record.exit_reason, record.esr, record.imm), (6, 0xbc00_0811, 0));
    /// ```
    ///
    /// # Errors
    ///
    /// The first of `read`.
    #[inline]
    pub fn read<E>(
        dialect: Dialect,
        mut read: impl FnMut(usize, &mut [u64]) -> Result<(), E>,
    ) -> Result<Self, E> {
        let mut exit = Self::ZERO;
        let mut reason = [0];
        read(offset_of!(RecExit, exit_reason), &mut reason)?;
        exit.exit_reason = first_byte(reason);

        let reason = ExitReason::decode(exit.exit_reason, dialect);
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
            (offset_of!(RecExit, gprs), exit.gprs.get_mut(..gprs).unwrap_or_default()),
        ] {
            if !words.is_empty() {
                read(offset, words)?;
            }
        }
        [exit.cntp_ctl, exit.cntp_cval, exit.cntv_ctl, exit.cntv_cval] = timers;
        exit.pmu_ovf_status = first_byte(overflow);
        if has_gic {
            let [hcr, lrs @ .., misr, vmcr] = gic;
            exit.gic = Some(GicExit { hcr, lrs, misr, vmcr });
        }
        exit.assign(reason, words);
        Ok(exit)
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
mod tests {
    extern crate std;

    use std::format;
    use std::vec::Vec;

    use super::*;
    use crate::describe::Structure;
    use crate::dialect::DialectSet;

    /// A word that tells where it is, with another value in each byte.
    fn word(offset: usize) -> u64 {
        (0x0101_0101_0101_0101 * (offset as u64 / 8)) ^ 0x8877_6655_4433_2211
    }

    /// What is read of a page with an exit of this code: the record, and the offsets of the words.
    fn read(dialect: Dialect, code: u8) -> (ExitRecord, Vec<usize>) {
        let mut offsets = Vec::new();
        let record = ExitRecord::read(dialect, |offset, words| {
            for (offset, into) in (offset..).step_by(8).zip(words) {
                // The word of the reason has other bytes as well.
                *into = if offset == 0 { 0xabcd_ef00 | u64::from(code) } else { word(offset) };
                offsets.push(offset);
            }
            Ok::<(), ()>(())
        });
        (record.unwrap(), offsets)
    }

    /// The fields of a structure that contain these words, each in a dialect that has it.
    fn fields(
        of: &Structure<DialectSet>,
        dialect: Dialect,
        offsets: &[usize],
    ) -> Vec<&'static str> {
        let mut names = Vec::new();
        for offset in offsets {
            let has = |field: &&crate::describe::Field<DialectSet>| {
                (field.offset & !7..field.offset + field.width).contains(offset)
            };
            let field = of.fields.iter().find(has).unwrap();
            assert!(field.dialects.contains(dialect), "{dialect}: {}", field.name);
            if names.last() != Some(&field.name) {
                names.push(field.name);
            }
        }
        names
    }

    /// The fields that only exits of a reason have, in the order in which they are read.
    fn own_fields(reason: ExitReason, dialect: Dialect) -> &'static [&'static str] {
        match reason {
            ExitReason::Sync if dialect == Dialect::V1_0 => &["esr", "far", "hpfar", "gprs"],
            ExitReason::Sync => &["esr", "far", "hpfar", "rtt_tree", "gprs"],
            ExitReason::Psci => &["gprs"],
            ExitReason::RipasChange => &["ripas_base", "ripas_top", "ripas_value"],
            ExitReason::HostCall if dialect == Dialect::V1_0 => &["imm", "gprs"],
            ExitReason::HostCall => &["imm", "plane", "gprs"],
            ExitReason::SError => &["esr"],
            ExitReason::S2apChange => &["s2ap_base", "s2ap_top"],
            ExitReason::VdevRequest => &["vdev_id_1"],
            ExitReason::VdevValidateMapping => {
                &["vdev_id_1", "dev_mem_base", "dev_mem_top", "dev_mem_pa"]
            }
            ExitReason::VdevP2pBinding => &["vdev_id_1", "vdev_id_2"],
            ExitReason::VsmmuCommand => &["vsmmu"],
            ExitReason::Irq | ExitReason::Fiq | ExitReason::Unknown(_) => &[],
        }
    }

    #[test]
    fn an_exit_has_the_fields_of_its_reason_and_each_is_read_once() {
        for dialect in Dialect::ALL {
            for code in 0..=u8::MAX {
                let reason = ExitReason::decode(code, dialect);
                let (record, offsets) = read(dialect, code);
                let gic = ["gicv3_hcr", "gicv3_lrs", "gicv3_misr", "gicv3_vmcr"];
                let gic = if dialect == Dialect::V1_0 { &gic[..] } else { &[] };
                let timers = ["cntp_ctl", "cntp_cval", "cntv_ctl", "cntv_cval"];
                let expected = [
                    &["exit_reason"],
                    &timers[..],
                    &["pmu_ovf_status"],
                    gic,
                    own_fields(reason, dialect),
                ];
                let names = fields(&RecExit::LAYOUT, dialect, &offsets);
                assert_eq!(names, expected.concat(), "{dialect} {reason:?}");
                assert_eq!(record.exit_reason, code);
                let gprs = match reason {
                    ExitReason::Sync => 1,
                    ExitReason::Psci => 2,
                    ExitReason::HostCall => RUN_GPRS,
                    _ => 0,
                };
                for (n, value) in record.gprs.into_iter().enumerate() {
                    let expected = if n < gprs { word(0x200 + 8 * n) } else { 0 };
                    assert_eq!(value, expected, "{dialect} {reason:?} X{n}");
                }
            }
        }
    }

    #[test]
    fn each_field_has_its_own_word() {
        let code = |reason: ExitReason, dialect| reason.encode(dialect).unwrap();
        let v1 = Dialect::V1_0;
        let (exit, _) = read(v1, code(ExitReason::HostCall, v1));
        let mut lrs = [0; LIST_REGISTERS];
        for (n, value) in lrs.iter_mut().enumerate() {
            *value = word(0x308 + 8 * n);
        }
        let gic = GicExit { hcr: word(0x300), lrs, misr: word(0x388), vmcr: word(0x390) };
        assert_eq!(exit.gic, Some(gic));
        let timers = [exit.cntp_ctl, exit.cntp_cval, exit.cntv_ctl, exit.cntv_cval];
        assert_eq!(timers, [0x400, 0x408, 0x410, 0x418].map(word));
        assert_eq!(exit.pmu_ovf_status, word(0x700).to_ne_bytes()[0]);
        assert_eq!(exit.imm.to_ne_bytes(), word(0x600).to_ne_bytes()[..2]);
        assert_eq!(exit.plane, 0);

        let bet0 = Dialect::V2_0Bet0;
        let of = |reason| read(bet0, code(reason, bet0)).0;
        let exit = of(ExitReason::Sync);
        let syndrome = [exit.esr, exit.far, exit.hpfar, exit.rtt_tree];
        assert_eq!(syndrome, [0x100, 0x108, 0x110, 0x118].map(word));
        assert_eq!((exit.gic, exit.imm, exit.ripas_base), (None, 0, 0));
        assert_eq!(read(v1, 0).0.rtt_tree, 0);
        assert_eq!(read(v1, 0).0.hpfar, word(0x110));
        assert_eq!(of(ExitReason::HostCall).plane, word(0x608));
        assert_eq!(of(ExitReason::SError).esr, word(0x100));
        let exit = of(ExitReason::RipasChange);
        assert_eq!([exit.ripas_base, exit.ripas_top], [0x500, 0x508].map(word));
        assert_eq!(exit.ripas_value, word(0x510).to_ne_bytes()[0]);
        let exit = of(ExitReason::S2apChange);
        assert_eq!([exit.s2ap_base, exit.s2ap_top], [0x520, 0x528].map(word));
        assert_eq!(of(ExitReason::VdevRequest).vdev_id_1, word(0x530));
        let exit = of(ExitReason::VdevValidateMapping);
        let words = [exit.vdev_id_1, exit.dev_mem_base, exit.dev_mem_top, exit.dev_mem_pa];
        assert_eq!(words, [0x530, 0x540, 0x548, 0x550].map(word));
        let exit = of(ExitReason::VdevP2pBinding);
        assert_eq!([exit.vdev_id_1, exit.vdev_id_2], [0x530, 0x538].map(word));
        assert_eq!(of(ExitReason::VsmmuCommand).vsmmu, word(0x710));
    }

    #[test]
    fn a_page_that_cannot_be_read_is_reported_at_once() {
        for most in 0..5 {
            let mut reads = 0;
            let result = ExitRecord::read(Dialect::V2_0Bet3, |offset, _| {
                reads += 1;
                if reads > most { Err(offset) } else { Ok(()) }
            });
            let offsets = [0, 0x400, 0x700, 0x100, 0x200];
            assert_eq!((result, reads), (Err(offsets[most]), most + 1));
        }
    }

    /// What is written for an entry: offsets and words.
    fn written(entry: &EntryRecord<'_>, dialect: Dialect) -> Vec<(usize, u64)> {
        let mut all = Vec::new();
        entry
            .write(dialect, |offset, words| {
                all.extend((offset..).step_by(8).zip(words.iter().copied()));
                Ok::<(), ()>(())
            })
            .unwrap();
        let offsets: Vec<_> = all.iter().map(|(offset, _)| *offset).collect();
        let _ = fields(&RecEnter::LAYOUT, dialect, &offsets);
        all
    }

    #[test]
    fn an_entry_has_flags_and_the_registers_that_are_used() {
        for dialect in Dialect::ALL {
            let mut lrs = [0; LIST_REGISTERS];
            lrs[15] = 15;
            let all: Vec<u64> = (100..140).collect();
            for (gprs, used) in [(0, 0), (1, 1), (30, 30), (31, 31), (32, 31), (40, 31)] {
                // The last one exists in 2.0.
                let flags = RecEnterFlags::from_bits_retain(0b1000_1001);
                let gic = GicEntry { hcr: 2, lrs };
                let entry = EntryRecord { flags, gprs: &all[..gprs], gic: Some(&gic) };
                let v1 = dialect == Dialect::V1_0;
                let mut expected = Vec::from([(0, if v1 { 0b1001 } else { 0b1000_1001 })]);
                expected.extend((0x200..).step_by(8).zip(100..100 + used));
                if v1 {
                    expected.push((0x300, 2));
                    expected.extend((0x308..0x388).step_by(8).zip(lrs));
                }
                assert_eq!(written(&entry, dialect), expected, "{dialect} {gprs}");
            }
            let nothing = written(&EntryRecord::default(), dialect);
            assert!(nothing.iter().all(|(_, word)| *word == 0), "{nothing:?}");
        }
    }

    #[test]
    fn a_page_that_cannot_be_written_is_reported_at_once() {
        for most in 0..4 {
            let mut writes = 0;
            let entry = EntryRecord { gprs: &[7], ..EntryRecord::default() };
            let result = entry.write(Dialect::V1_0, |offset, _| {
                writes += 1;
                if writes > most { Err(offset) } else { Ok(()) }
            });
            let offsets = [0, 0x200, 0x300, 0x308];
            assert_eq!((result, writes), (Err(offsets[most]), most + 1));
        }
    }

    #[test]
    fn registers_are_not_printed() {
        let secrets = [0x5ec2_e7ed; RUN_GPRS];
        let entry = EntryRecord { gprs: &secrets, ..EntryRecord::default() };
        let exit = ExitRecord { gprs: secrets, esr: 0x24, ..ExitRecord::ZERO };
        let text = format!("{entry:?} {exit:?} {exit:#x?}");
        assert!(!text.contains("5ec2e7ed") && !text.contains(&format!("{}", 0x5ec2_e7edu32)));
        assert!(text.contains("esr: 0x24") && text.contains("flags"), "{text}");
    }
}
