//! The options of the model: which RMM it models.

mod regions;

use alloc::vec::Vec;
use core::fmt;
use core::num::{NonZeroU8, NonZeroU16, NonZeroU32};

use rmi_abi::feature::{Features, RttPlaneFeature};
use rmi_abi::rec::MAX_REC_AUX_GRANULES;
use rmi_abi::rsi::Version;
use rmi_abi::{Command, Dialect, GranuleSize, Pa, PaRange};
use vgic_realm::Vtr;

use crate::planes;

pub use regions::{FirstTracking, RegionOptions};

/// How many granules one delegate or undelegate call may handle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum GranulesPerCall {
    /// One, as TF-RMM of July 2026.
    One,
    /// At most this many; 1 is the same as [`One`](Self::One).
    AtMost(NonZeroU32),
    /// The whole range.
    All,
}

impl GranulesPerCall {
    /// The number; `u64::MAX` where there is no limit.
    pub(crate) fn limit(self) -> u64 {
        match self {
            Self::One => 1,
            Self::AtMost(count) => count.get().into(),
            Self::All => u64::MAX,
        }
    }
}

/// How many leaf tables one map, unmap or RIPAS call may cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TablesPerCall {
    /// One, as TF-RMM of July 2026: the call stops at the end of the table it starts in.
    One,
    /// As many as the range touches.
    All,
}

/// The RMM to be modelled. Made by [`Options::new`], then changed field by field.
#[derive(Clone, Debug)]
pub struct Options {
    /// Its dialect.
    pub dialect: Dialect,
    /// The memory of the machine; at most 16 TiB. There is no memory at other addresses.
    pub dram: PaRange,
    /// The feature registers that `RMI_FEATURES` reports for the indices 0 to 4; they decide what
    /// the model accepts.
    pub features: [u64; Features::COUNT],
    /// The newest version of the Realm's interface. What later ones add is absent: calls are not
    /// supported, and fields are not written. Planes need 2.0, indirect permissions 1.1.
    pub rsi: Version,
    /// How far one delegate or undelegate call goes. A call of 1.0 names one granule.
    pub granules_per_call: GranulesPerCall,
    /// How far one map, unmap or RIPAS call goes.
    pub tables_per_call: TablesPerCall,
    /// Every n-th range command answers `RMI_INCOMPLETE` without asking for memory;
    /// `RMI_OP_CONTINUE` then does the work. In 1.0, every n-th RIPAS command ends after one entry.
    pub yield_every: Option<NonZeroU32>,
    /// Every n-th call answers `RMI_BUSY` and does nothing. Calls that every RMM state accepts are
    /// not counted. 1 is refused.
    pub busy_every: Option<NonZeroU32>,
    /// Every n-th call answers `RMI_BLOCKED` and does nothing. As `busy_every`, and `RMI_OP_*`
    /// calls are not counted either.
    pub blocked_every: Option<NonZeroU32>,
    /// Whether operations that take memory, or that yielded, may be cancelled; if not,
    /// `RMI_OP_CANCEL` always fails.
    pub can_cancel: bool,
    /// Granules that a REC asks for; in 1.0 at most 16, and what `RMI_REC_AUX_COUNT` returns.
    pub rec_aux_granules: u16,
    /// Granules that `RMI_REALM_CREATE` asks for; with 0 it completes at once, as in TF-RMM.
    pub realm_create_donates: u16,
    /// Granules (still undelegated ones) that `RMI_RMM_ACTIVATE` asks for; with 0 it completes at
    /// once, as in TF-RMM.
    pub rmm_activate_donates: u16,
    /// Whether memory must be donated as one aligned run. The three numbers above must then be
    /// powers of two or 0.
    pub contiguous_donations: bool,
    /// Requests name the largest block size that divides what they ask for; otherwise they count
    /// granules.
    pub donation_blocks: bool,
    /// Requests for delegated memory take undelegated memory as well (`CONDITIONAL`, 2.0-bet3
    /// only). It is given back delegated.
    pub conditional_donations: bool,
    /// The memory of one operation is asked for in this many requests, one after the other, as far
    /// as it can be divided.
    pub donation_rounds: NonZeroU8,
    /// Every n-th operation that has got its memory then fails with `RMI_ERROR_INPUT`, and gives
    /// the memory back.
    pub fail_operations_every: Option<NonZeroU32>,
    /// Most descriptors that one `RMI_OP_MEM_RECLAIM` writes, however long the list is.
    pub reclaim_list_limit: Option<NonZeroU16>,
    /// A command that names an object inside an incomplete operation answers `RMI_BLOCKED`;
    /// otherwise, as TF-RMM, `RMI_ERROR_INPUT`.
    pub blocked_objects: bool,
    /// Tracking regions, each of these ranges one, that are not tracked at first; the rest of
    /// memory is FINE. A real region is a naturally aligned GiB.
    pub untracked: Vec<PaRange>,
    /// Tracking regions, each of these ranges one, that are COARSE at first: delegated and
    /// undelegated as a whole, and usable for nothing else.
    pub coarse: Vec<PaRange>,
    /// All memory consists of tracking regions, as in TF-RMM of October 2026; then the two lists
    /// above are empty. `None` for the RMMs before it, whose memory is FINE.
    pub regions: Option<RegionOptions>,
    /// Granules that `RMI_GRANULE_TRACKING_SET` asks for when a region becomes FINE: one of the two
    /// lists above, or one that was [COARSE at first](FirstTracking::Coarse). With 0 it completes
    /// at once. TF-RMM of July 2026 does not have that command.
    pub tracking_donates: u16,
    /// Ranges of whole GiBs for which the host has to create granule protection tables first. Not
    /// in TF-RMM, whose firmware creates them all.
    pub gpt_missing: Vec<PaRange>,
    /// Granules (still undelegated ones) that `RMI_GPT_L1_CREATE` asks for. With 0 it completes at
    /// once.
    pub gpt_donates: u16,
    /// The RMM was activated before the host started. One of 1.0 always is.
    pub already_active: bool,
    /// List registers of each physical CPU: 1 to 16 (`ICH_VTR_EL2.ListRegs`). Feature register 0
    /// of 1.0 must report as many.
    pub list_registers: u8,
    /// Bits of a virtual machine identifier (1.0 only): 8, or 16 with FEAT_VMID16.
    pub vmid_bits: u8,
    /// Bits of a virtual interrupt's priority: 5 to 8 (`ICH_VTR_EL2.PRIbits`). All but the eighth
    /// decide on preemption.
    pub priority_bits: u8,
    /// Ticks of the counter in a second (`CNTFRQ_EL0`). For the program only: the model counts
    /// ticks.
    pub counter_frequency: u32,
    /// How often a wait that is not trapped looks for what ends it: an interrupt, or its deadline.
    /// After that the REC exits for IRQ, as if the host's timer had fired. Between two looks the
    /// thread that entered the REC yields (without the feature `std` it spins).
    ///
    /// With 0 a wait with nothing to wake it exits at once: a host with one thread and a clock that
    /// stands still does not hang.
    pub wait_polls: u32,
}

/// 4 KiB granules; SHA-256 and SHA-512; 2^10 - 1 RECs; 30-bit L0 GPT regions; 48-bit physical
/// addresses.
const FEATURE_1: u64 = 1 | 1 << 3 | 1 << 5 | 10 << 6 | 5 << 14;
/// `GRAN_SZ_4KB`, `GRAN_SZ_16KB` and `GRAN_SZ_64KB` of feature register 1.
const FEATURE_1_GRANULES: u64 = 0b111;
/// 48-bit IPAs; SVE with vectors of 512 bits; 6 breakpoints and 4 watchpoints. No LPA2, no PMU.
const FEATURE_0: u64 = 48 | 1 << 9 | 3 << 10 | 5 << 14 | 3 << 20;
/// The output size field that 2.0-bet3 adds to register 0: 48 bits.
const FEATURE_0_S2OASZ: u64 = 48 << 33;
/// What 1.0 has in register 0: SHA-256 and SHA-512, 16 list registers, 2^10 - 1 RECs.
const FEATURE_0_OF_1_0: u64 = 0b11 << 32 | 15 << GICV3_NUM_LRS | 10 << 38;
/// Where register 0 of 1.0 has the number of list registers, minus one, in four bits.
const GICV3_NUM_LRS: u32 = 34;
/// Private memory encryption contexts: what TF-RMM reports with 16-bit identifiers.
const FEATURE_4: u64 = 0xfffe;

/// Bytes that one level 0 entry of the granule protection table covers, with the L0GPTSZ of the
/// features above.
pub(crate) const GIB: u64 = 1 << 30;

/// Most memory that the model tracks, in bytes. That of 2 MiB takes 32 bytes at least.
const MAX_DRAM: u64 = 16 << 40;
/// A donation request counts its blocks with 14 bits.
const MAX_DONATION: u16 = (1 << 14) - 1;

impl Options {
    /// The dialects of 2.0, all of which can be modelled; the first is what the programs take if
    /// not told. 1.0 is modelled as well, and so is all of [`Dialect::ALL`].
    ///
    /// An RMM of 1.0 does what TF-RMM v0.8.0 does. What an RMM of 2.0-bet0 or 2.0-bet1 does is
    /// modelled by the text of its revision. Where the text is silent it does what TF-RMM of July
    /// 2026, which is 2.0-bet1 in most points, does. The points in which they differ are listed in
    /// `unsupported.rs`.
    pub const DIALECTS: [Dialect; 4] =
        [Dialect::TfRmm2026_07, Dialect::V2_0Bet3, Dialect::V2_0Bet1, Dialect::V2_0Bet0];

    /// The names of the dialects that can be modelled, as a sentence has them.
    #[must_use]
    pub fn dialect_names() -> impl fmt::Display {
        DialectNames
    }

    /// An RMM like TF-RMM: 1 GiB of memory at 0x8000_0000, one granule or leaf table per call, no
    /// yields, no cancelling.
    #[must_use]
    pub fn new(dialect: Dialect) -> Self {
        let base = Pa::new(0x8000_0000);
        let features = match dialect {
            Dialect::V1_0 => [FEATURE_0 | FEATURE_0_OF_1_0, 0, 0, 0, 0],
            Dialect::V2_0Bet3 => [FEATURE_0 | FEATURE_0_S2OASZ, FEATURE_1, 0, 0, FEATURE_4],
            _ => [FEATURE_0, FEATURE_1, 0, 0, FEATURE_4],
        };
        Self {
            dialect,
            dram: PaRange::with_size_or_empty(base, 1 << 30),
            features,
            rsi: dialect.rsi_version(),
            granules_per_call: GranulesPerCall::One,
            tables_per_call: TablesPerCall::One,
            yield_every: None,
            busy_every: None,
            blocked_every: None,
            can_cancel: false,
            rec_aux_granules: 16,
            realm_create_donates: 0,
            rmm_activate_donates: 0,
            contiguous_donations: false,
            donation_blocks: false,
            conditional_donations: false,
            donation_rounds: NonZeroU8::MIN,
            fail_operations_every: None,
            reclaim_list_limit: None,
            blocked_objects: false,
            untracked: Vec::new(),
            coarse: Vec::new(),
            regions: None,
            tracking_donates: 0,
            gpt_missing: Vec::new(),
            gpt_donates: 0,
            already_active: false,
            list_registers: 16,
            vmid_bits: 8,
            priority_bits: 5,
            counter_frequency: 1_000_000_000,
            wait_polls: 0,
        }
    }

    /// The same RMM, taking whole ranges per call.
    #[must_use]
    pub fn range_capable(mut self) -> Self {
        self.granules_per_call = GranulesPerCall::All;
        self.tables_per_call = TablesPerCall::All;
        self
    }

    /// The same RMM on CPUs whose `ICH_VTR_EL2` is `vtr`: with as many list registers and bits of
    /// priority. An RMM of 1.0 reports as many.
    #[must_use]
    pub fn with_vtr(mut self, vtr: Vtr) -> Self {
        self.list_registers = u8::try_from(vtr.list_registers()).unwrap_or(0);
        self.priority_bits = u8::try_from(vtr.priority_bits()).unwrap_or(0);
        if self.dialect.gic_in_run_page() {
            let [register, ..] = &mut self.features;
            let count = u64::from(self.list_registers.saturating_sub(1)) & 0xf;
            *register = *register & !(0xf << GICV3_NUM_LRS) | count << GICV3_NUM_LRS;
        }
        self
    }

    /// The same RMM, which can be configured for granules of 16 KiB and 64 KiB, too.
    #[must_use]
    pub fn with_all_granules(mut self) -> Self {
        let [_, register, ..] = &mut self.features;
        *register |= FEATURE_1_GRANULES;
        self
    }

    /// Checks that this RMM can be modelled.
    pub(crate) fn check(&self) -> Result<(), OptionsError> {
        let top = self.dram.top().raw();
        if self.dram.is_empty() || self.dram.bytes() > MAX_DRAM || top > 1 << 48 {
            return Err(OptionsError::Dram(self.dram));
        }
        let features = Features::new(self.dialect, self.features);
        if !(32..=52).contains(&features.max_ipa_width())
            || !features.supports_granule(GranuleSize::Size4KiB)
        {
            return Err(OptionsError::Features(
                "S2SZ must be 32 to 52 and 4 KiB granules supported",
            ));
        }
        let sizes = [GranuleSize::Size16KiB, GranuleSize::Size64KiB];
        for granule in sizes.into_iter().filter(|size| features.supports_granule(*size)) {
            if !self.dram.is_aligned(granule.bytes()) {
                return Err(OptionsError::Dram(self.dram));
            }
        }
        if features.device_assignment() {
            return Err(OptionsError::Features("device assignment is not modelled"));
        }
        let is_known = !matches!(features.rtt_plane(), Some(RttPlaneFeature::Unknown(_)));
        if features.max_aux_planes() > planes::MOST || !is_known {
            return Err(OptionsError::Features(
                "MAX_NUM_AUX_PLANES must be at most 3 and RTT_PLANE not reserved",
            ));
        }
        let oldest = match (features.max_aux_planes(), features.s2ap_indirect()) {
            (0, false) => Version::V1_0,
            (0, true) => Version::V1_1,
            _ => Version::V2_0,
        };
        if self.rsi < oldest {
            return Err(OptionsError::Features(
                "planes need RSI 2.0, indirect permissions RSI 1.1",
            ));
        }
        if !(1..=16).contains(&self.list_registers) || !(5..=8).contains(&self.priority_bits) {
            return Err(OptionsError::Gic);
        }
        if features.gic_num_lrs().is_some_and(|reported| reported != self.list_registers) {
            return Err(OptionsError::Gic);
        }
        if ![8, 16].contains(&self.vmid_bits) {
            return Err(OptionsError::Vmid);
        }
        self.check_regions()?;
        let has = |command: Command| command.form(self.dialect).is_some();
        let has_operations = self.dialect.is_2_0();
        for (name, is_on, is_in_dialect) in [
            ("busy_every", self.busy_every.is_some(), has_operations),
            ("blocked_every", self.blocked_every.is_some(), has_operations),
            ("can_cancel", self.can_cancel, has_operations),
            ("realm_create_donates", self.realm_create_donates != 0, has_operations),
            ("rmm_activate_donates", self.rmm_activate_donates != 0, has_operations),
            ("contiguous_donations", self.contiguous_donations, has_operations),
            ("donation_blocks", self.donation_blocks, has_operations),
            ("donation_rounds", self.donation_rounds != NonZeroU8::MIN, has_operations),
            ("fail_operations_every", self.fail_operations_every.is_some(), has_operations),
            ("reclaim_list_limit", self.reclaim_list_limit.is_some(), has_operations),
            ("blocked_objects", self.blocked_objects, has_operations),
            ("untracked", !self.untracked.is_empty(), has(Command::GranuleTrackingGet)),
            ("coarse", !self.coarse.is_empty(), has(Command::GranuleTrackingGet)),
            ("vmid_bits", self.vmid_bits != 8, !has_operations),
            (
                "conditional_donations",
                self.conditional_donations,
                self.dialect.donate_state_width() > 1,
            ),
            ("tracking_donates", self.tracking_donates != 0, has(Command::GranuleTrackingSet)),
            ("regions", self.regions.is_some(), has(Command::GranuleTrackingSet)),
            ("gpt_missing", !self.gpt_missing.is_empty(), has(Command::GptL1Destroy)),
        ] {
            if is_on && !is_in_dialect {
                return Err(OptionsError::NotInDialect(name));
            }
        }
        for (name, period) in
            [("busy_every", self.busy_every), ("blocked_every", self.blocked_every)]
        {
            if period.is_some_and(|period| period.get() == 1) {
                return Err(OptionsError::NeverServes(name));
            }
        }
        for (name, count) in [
            ("rec_aux_granules", self.rec_aux_granules),
            ("realm_create_donates", self.realm_create_donates),
            ("rmm_activate_donates", self.rmm_activate_donates),
            ("tracking_donates", self.tracking_donates),
            ("gpt_donates", self.gpt_donates),
        ] {
            let fits = !self.contiguous_donations || count == 0 || count.is_power_of_two();
            let most = match has_operations {
                true => MAX_DONATION.into(),
                false => MAX_REC_AUX_GRANULES,
            };
            if usize::from(count) > most || !fits {
                return Err(OptionsError::Donation(name));
            }
        }
        Ok(())
    }

    /// Checks that regions are parts of memory, and that regions of a kind do not overlap.
    fn check_regions(&self) -> Result<(), OptionsError> {
        let tracking: Vec<&PaRange> = self.untracked.iter().chain(&self.coarse).collect();
        for (n, range) in tracking.iter().enumerate() {
            let overlaps = tracking.iter().skip(n + 1).any(|other| other.overlaps(range));
            if range.is_empty() || overlaps || !self.dram.contains_range(range) {
                return Err(OptionsError::Region(**range));
            }
        }
        if let Some(regions) = self.regions {
            if let Some(range) = tracking.first() {
                return Err(OptionsError::Region(**range));
            }
            if regions.takes_memory() != (self.tracking_donates != 0) {
                return Err(OptionsError::Donation("tracking_donates"));
            }
        }
        match self.gpt_missing.iter().find(|range| range.is_empty() || !range.is_aligned(GIB)) {
            Some(range) => Err(OptionsError::Region(*range)),
            None => Ok(()),
        }
    }
}

/// Displays the names of the dialects: those of 2.0, then 1.0.
struct DialectNames;

impl fmt::Display for DialectNames {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, between @ ..] = Options::DIALECTS;
        write!(f, "{first}")?;
        for dialect in between {
            write!(f, ", {dialect}")?;
        }
        write!(f, " and {}", Dialect::V1_0)
    }
}

/// Why an RMM cannot be modelled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum OptionsError {
    /// The memory is empty, above 16 TiB or not within 48 bits, or does not consist of granules of
    /// a size that the features offer.
    Dram(PaRange),
    /// The memory that the model is given does not have all of this.
    Memory(PaRange),
    /// The feature registers report what the model cannot do.
    Features(&'static str),
    /// The named period is 1: no call would ever be served.
    NeverServes(&'static str),
    /// The region is empty, overlaps another, is not in memory or not aligned.
    Region(PaRange),
    /// The named option needs something that the dialect does not have.
    NotInDialect(&'static str),
    /// A CPU has 1 to 16 list registers, as many as the features of 1.0 report, and 5 to 8 bits of
    /// priority.
    Gic,
    /// Virtual machine identifiers have 8 or 16 bits.
    Vmid,
    /// The named number of granules does not fit a request, the other options or the parameters of
    /// 1.0, or is not a power of two although donations are contiguous.
    Donation(&'static str),
}

impl fmt::Display for OptionsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dram(range) => {
                write!(f, "memory {range} is empty, too large, too high or not aligned")
            }
            Self::Memory(range) => write!(f, "not all of {range} is in the memory"),
            Self::Features(why) => write!(f, "feature registers: {why}"),
            Self::NeverServes(name) => write!(f, "with {name} = 1 no call completes"),
            Self::Region(range) => {
                write!(f, "region {range} is empty, overlaps another, or is misplaced")
            }
            Self::NotInDialect(name) => write!(f, "{name} is not in the dialect"),
            Self::Gic => f.write_str(
                "list_registers must be 1 to 16, as many as reported, and priority_bits 5 to 8",
            ),
            Self::Vmid => f.write_str("vmid_bits must be 8 or 16"),
            Self::Donation(name) => write!(f, "{name} cannot be asked for in one request"),
        }
    }
}

impl core::error::Error for OptionsError {}

#[cfg(test)]
mod tests {
    use rmi_abi::feature::Pps;
    use rmi_abi::realm::HashAlgorithm;

    use super::*;

    #[test]
    fn default_features_say_what_they_should() {
        for dialect in Dialect::ALL {
            let options = Options::new(dialect);
            assert_eq!(options.check(), Ok(()));
            let features = Features::new(dialect, options.features);
            assert_eq!(features.max_ipa_width(), 48);
            assert_eq!((features.num_bps(), features.num_wps()), (5, 3));
            assert_eq!(features.sve_vl(), Some(3));
            assert_eq!(features.pmu_num_ctrs(), None);
            assert_eq!(features.gic_num_lrs().is_some(), dialect == Dialect::V1_0);
            assert!(!features.lpa2());
            assert_eq!(features.max_recs(), 1023);
            assert!(features.supports_hash(HashAlgorithm::Sha256));
            assert!(features.supports_hash(HashAlgorithm::Sha512));
            assert!(features.gic_num_lrs().is_none_or(|count| count == 16));
            let is_bet3 = dialect == Dialect::V2_0Bet3;
            assert_eq!(features.max_output_width(), is_bet3.then_some(48));
            if dialect.is_2_0() {
                assert_eq!(options.features.map(|register| register.count_ones())[1..4], [7, 0, 0]);
                assert_eq!((features.pps(), features.mec_count()), (Some(Pps::Bits48), 0xfffe));
            }
            assert!(!features.supports_hash(HashAlgorithm::Sha384));
            assert!(features.supports_granule(GranuleSize::Size4KiB));
            assert!(!features.supports_granule(GranuleSize::Size64KiB));
        }
    }

    #[test]
    fn memory_is_within_48_bits_and_16_tib() {
        let is_good = |base, bytes| {
            let mut options = Options::new(Dialect::V2_0Bet3);
            options.dram = PaRange::with_size(Pa::new(base), bytes).unwrap();
            options.check().is_ok()
        };
        let end = 1 << 48;
        assert!(is_good(end - GIB, GIB));
        assert!(!is_good(end - GIB, GIB + 0x1000));
        assert!(!is_good(end, GIB));
        assert!(is_good(GIB, 1 << 44));
        assert!(!is_good(GIB, (1 << 44) + 0x1000));
    }

    #[test]
    fn ipas_and_granules_are_both_looked_at() {
        let is_good = |change: &dyn Fn(&mut Options)| {
            let mut options = Options::new(Dialect::V2_0Bet3);
            change(&mut options);
            options.check().is_ok()
        };
        for (bits, expected) in [(31, false), (32, true), (52, true), (53, false)] {
            let set = |o: &mut Options| o.features[0] = o.features[0] & !0xff | bits;
            assert_eq!(is_good(&set), expected, "{bits}");
        }
        assert!(!is_good(&|o| o.features[1] &= !1));
    }

    #[test]
    fn nonsense_is_refused() {
        let good = Options::new(Dialect::V2_0Bet3);
        let check = |change: &dyn Fn(&mut Options)| {
            let mut options = good.clone();
            change(&mut options);
            options.check().is_err()
        };
        // The features of one are not those of the other.
        assert!(check(&|o| o.dialect = Dialect::V1_0));
        assert!(check(&|o| o.dram = PaRange::empty(Pa::new(0))));
        assert!(check(&|o| o.busy_every = NonZeroU32::new(1)));
        assert!(check(&|o| o.blocked_every = NonZeroU32::new(1)));
        assert!(check(&|o| o.rec_aux_granules = 0x4000));
        assert!(!check(&|o| o.rec_aux_granules = 0x3fff));
        assert!(check(&|o| {
            o.contiguous_donations = true;
            o.realm_create_donates = 3;
        }));
        assert!(!check(&|o| o.conditional_donations = true));
        let gib = PaRange::with_size_or_empty(Pa::new(0x1_0000_0000), 1 << 30);
        for dialect in Options::DIALECTS {
            let is_refused = |change: &dyn Fn(&mut Options)| {
                check(&|o| {
                    o.dialect = dialect;
                    change(o);
                })
            };
            let is_tf_rmm = dialect == Dialect::TfRmm2026_07;
            let is_bet3 = dialect == Dialect::V2_0Bet3;
            assert_eq!(is_refused(&|o| o.conditional_donations = true), !is_bet3, "{dialect}");
            assert_eq!(is_refused(&|o| o.tracking_donates = 1), is_tf_rmm, "{dialect}");
            assert_eq!(is_refused(&|o| o.gpt_missing.push(gib)), is_tf_rmm, "{dialect}");
        }
        assert!(check(&|o| o.list_registers = 0));
        assert!(check(&|o| o.list_registers = 17));
        assert!(check(&|o| o.priority_bits = 4));
        assert!(check(&|o| o.priority_bits = 9));
        assert!(check(&|o| o.features = [0; 5]));
        let of_1_0 = Options::new(Dialect::V1_0);
        let accepts = |change: &dyn Fn(&mut Options)| {
            let mut options = of_1_0.clone();
            change(&mut options);
            options.check()
        };
        let absent = |name| Err(OptionsError::NotInDialect(name));
        assert_eq!(accepts(&|o| o.busy_every = NonZeroU32::new(2)), absent("busy_every"));
        assert_eq!(accepts(&|o| o.blocked_every = NonZeroU32::new(2)), absent("blocked_every"));
        assert_eq!(accepts(&|o| o.can_cancel = true), absent("can_cancel"));
        assert_eq!(accepts(&|o| o.realm_create_donates = 1), absent("realm_create_donates"));
        assert_eq!(accepts(&|o| o.rmm_activate_donates = 1), absent("rmm_activate_donates"));
        assert_eq!(accepts(&|o| o.contiguous_donations = true), absent("contiguous_donations"));
        assert_eq!(accepts(&|o| o.donation_blocks = true), absent("donation_blocks"));
        let rounds = accepts(&|o| o.donation_rounds = NonZeroU8::MAX);
        assert_eq!(rounds, absent("donation_rounds"));
        let failing = accepts(&|o| o.fail_operations_every = NonZeroU32::new(2));
        assert_eq!(failing, absent("fail_operations_every"));
        let listed = accepts(&|o| o.reclaim_list_limit = NonZeroU16::new(2));
        assert_eq!(listed, absent("reclaim_list_limit"));
        assert_eq!(accepts(&|o| o.blocked_objects = true), absent("blocked_objects"));
        assert_eq!(accepts(&|o| o.untracked.push(o.dram)), absent("untracked"));
        assert_eq!(accepts(&|o| o.coarse.push(o.dram)), absent("coarse"));
        assert_eq!(accepts(&|o| o.yield_every = NonZeroU32::new(1)), Ok(()));
        assert_eq!(accepts(&|o| o.rec_aux_granules = 0), Ok(()));
        assert_eq!(accepts(&|o| o.vmid_bits = 16), Ok(()));
        assert_eq!(accepts(&|o| o.vmid_bits = 15), Err(OptionsError::Vmid));
        assert!(check(&|o| o.vmid_bits = 16));
        let aux = accepts(&|o| o.rec_aux_granules = 17);
        assert_eq!(aux, Err(OptionsError::Donation("rec_aux_granules")));
        // The features and the machine agree about list registers.
        assert_eq!(accepts(&|o| o.list_registers = 15), Err(OptionsError::Gic));
        for count in 0..16 {
            let options = of_1_0.clone().with_vtr(Vtr::of_run_page(count));
            assert_eq!(options.check(), Ok(()));
            let reported = Features::new(Dialect::V1_0, options.features).gic_num_lrs();
            assert_eq!(reported, Some(count + 1));
        }
        assert!(!check(&|o| o.features[3] = 3));
        assert!(check(&|o| o.features[3] = 4));
        for (features_3, oldest) in
            [(0, Version::V1_0), (1 << 6, Version::V1_1), (1, Version::V2_0)]
        {
            for version in [Version::V1_0, Version::V1_1, Version::V2_0] {
                let is_refused = check(&|o| {
                    o.features[3] = features_3;
                    o.rsi = version;
                });
                assert_eq!(is_refused, version < oldest, "{features_3:#x} {version:?}");
            }
        }
        assert!(check(&|o| o.features[3] = 3 | 3 << 4));
        assert!(check(&|o| o.features[2] = 1));
    }
}
