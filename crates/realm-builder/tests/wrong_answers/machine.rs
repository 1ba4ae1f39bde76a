//! The RMMs: of every dialect, with granules and tracking regions of every size that it has.

use std::num::{NonZeroU8, NonZeroU32};

use rmi_abi::desc::BlockSize;
use rmi_abi::granule::TrackingRegionSize;
use rmi_abi::{Command, Dialect, GranuleSize, Pa, PaRange};
use rmi_host::{RetryBudget, SessionOptions, TrackingRegion};
use rmm_model::{FirstTracking, Options, RegionOptions};
use sro::Pool;

/// The code of regions of 2 MiB in these RMMs.
const CODE_OF_2_MIB: NonZeroU8 = NonZeroU8::MIN;

/// How many blocks or tracking regions a machine has.
pub(crate) const BLOCKS: u64 = 6;

/// An RMM and its machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Machine {
    pub(crate) dialect: Dialect,
    pub(crate) granule: GranuleSize,
    /// The size of tracking regions; without one all memory is FINE.
    pub(crate) region: Option<u64>,
    /// Whether a call goes through a range as a whole.
    pub(crate) by_range: bool,
    /// Whether calls are interrupted, or answered `RMI_BUSY`, as an RMM may.
    pub(crate) is_busy: bool,
}

impl Machine {
    /// All that there are, with calls that take one granule or table each.
    pub(crate) fn all() -> Vec<Self> {
        let sizes = [GranuleSize::Size4KiB, GranuleSize::Size16KiB, GranuleSize::Size64KiB];
        let mut all = Vec::new();
        for dialect in Dialect::ALL {
            for granule in sizes {
                if granule != GranuleSize::Size4KiB && !dialect.is_2_0() {
                    continue;
                }
                let mut regions = vec![None];
                if Command::GranuleTrackingSet.form(dialect).is_some() {
                    regions.push(TrackingRegionSize(0).bytes(granule));
                    // Its code is not public.
                    regions.extend((granule == GranuleSize::Size4KiB).then_some(Some(2 << 20)));
                }
                let by_range = false;
                all.extend(regions.into_iter().map(|region| Self {
                    dialect,
                    granule,
                    region,
                    by_range,
                    is_busy: false,
                }));
            }
        }
        all
    }

    /// Bytes of a tracking region, or of a block of level 2: most of what is mapped at once.
    pub(crate) fn block(&self) -> u64 {
        self.region.unwrap_or(BlockSize::Level2.bytes(self.granule))
    }

    /// The memory of the machine: as many tracking regions as the host has records for.
    pub(crate) fn dram(&self) -> PaRange {
        PaRange::with_size(Pa::new(0x8000_0000), BLOCKS * self.block()).unwrap()
    }

    /// What a pool gets: its pages, and granules for objects and tables.
    pub(crate) fn pool_bytes(&self, granules: u64) -> u64 {
        Pool::pages_bytes(self.granule) + granules * self.granule.bytes()
    }

    /// Whether tracking regions are COARSE at first. That needs an RMM which takes memory of such a
    /// region itself, as it is, to make it FINE.
    fn is_coarse(&self) -> bool {
        self.region.is_some() && self.dialect.donate_state_width() > 1
    }

    pub(crate) fn options(&self) -> Options {
        let mut options = Options::new(self.dialect);
        if self.dialect.is_2_0() {
            options = options.with_all_granules();
        }
        if self.by_range {
            options = options.range_capable();
        }
        options.dram = self.dram();
        if self.region.is_some() {
            let first = match self.is_coarse() {
                true => FirstTracking::Coarse,
                false => FirstTracking::Fine,
            };
            let mut regions = RegionOptions::new(first);
            regions.code_of_2_mib = Some(CODE_OF_2_MIB);
            regions.coarse_steps = u32::from(self.is_busy);
            options.regions = Some(regions);
            options.tracking_donates = if self.is_coarse() { 2 } else { 0 };
        }
        if self.is_busy {
            options.yield_every = NonZeroU32::new(3);
            options.busy_every = NonZeroU32::new(5).filter(|_| self.dialect.is_2_0());
        }
        options
    }

    pub(crate) fn session(&self) -> SessionOptions {
        let mut options = SessionOptions::default();
        options.granule_size = self.granule;
        options.tracking_region = self.region.map(|bytes| match bytes {
            0x20_0000 => TrackingRegion::with_code(bytes, TrackingRegionSize(CODE_OF_2_MIB.get())),
            _ => TrackingRegion::new(bytes),
        });
        options.retry_budget =
            RetryBudget { busy: 3, blocked: 3, steps: 50, contended: 1000, time: None };
        options
    }
}
