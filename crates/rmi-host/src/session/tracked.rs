//! Whether memory can be delegated: how the RMM tracks it, and whether there are granule protection tables for it.
//!
//! Both are asked by range, from wherever it begins, so memory that is not aligned to the RMM's regions is no special case. An embedder asks once for all of its memory, and again for memory that
//! is added later.

use core::fmt;

use rmi_abi::feature::L0Gptsz;
use rmi_abi::granule::{GptParState, MemCategory, TrackingRegionSize, TrackingRegionState};
use rmi_abi::{Command, Pa, PaRange};

use crate::command::{GptPart, RegionTracking};
use crate::error::Error;
use crate::platform::Platform;
use crate::session::Rmm;

/// Why memory cannot be delegated granule by granule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrackingError {
    /// The RMM does not track this part by granule, or it is not ordinary memory.
    #[non_exhaustive]
    NotTracked {
        /// The part.
        range: PaRange,
        /// The kind of memory.
        category: MemCategory,
        /// How it is tracked.
        state: TrackingRegionState,
    },
    /// There are no granule protection tables for this part.
    #[non_exhaustive]
    NoGpt {
        /// The part.
        range: PaRange,
        /// What the RMM says of it.
        state: GptParState,
    },
    /// The call failed.
    Call(Error),
}

impl From<Error> for TrackingError {
    fn from(error: Error) -> Self {
        Self::Call(error)
    }
}

impl fmt::Display for TrackingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTracked { range, category, state } => {
                write!(f, "memory {range} is not tracked by granule ({category:?}, {state:?})")
            }
            Self::NoGpt { range, state } => {
                write!(f, "memory {range} has no granule protection tables ({state:?})")
            }
            Self::Call(error) => error.fmt(f),
        }
    }
}

impl core::error::Error for TrackingError {}

impl<P: Platform> Rmm<P> {
    /// Checks that every granule of a range of ordinary memory can be delegated: the RMM tracks it finely, and there are granule protection tables.
    ///
    /// What a dialect cannot be asked is not checked: 1.0 tracks all memory by granule, and only 2.0-bet3 tells of protection tables.
    ///
    /// ```
    /// # use rmi_host::{Discovered, Host, Progress, SessionOptions, TrackingError};
    /// # use rmm_model::{Model, Options};
    /// # use rmi_abi::{Dialect, Pa, PaRange};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let model = Model::new(Options::new(Dialect::V2_0Bet3))?;
    /// # let found = Discovered::probe(Host::new(&model, &model), SessionOptions::default()).map_err(|f| f.error)?;
    /// # let Progress::Done(_) = found.start_activation()? else { panic!() };
    /// # let rmm = found.into_active();
    /// // A gigabyte of memory, and a hole after it.
    /// let memory = PaRange::with_size(Pa::new(0x8000_0000), 0x4000_0000)?;
    /// rmm.check_memory(memory)?;
    /// let more = PaRange::with_size(Pa::new(0x8000_1000), 0x4000_0000)?;
    /// assert!(matches!(rmm.check_memory(more), Err(TrackingError::NotTracked { .. } | TrackingError::NoGpt { .. })));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Source: DEN0137 2.0-bet3, RMI_GRANULE_TRACKING_GET, RMI_GPT_INFO.
    ///
    /// # Errors
    ///
    /// [`TrackingError`] names the first part that cannot be used.
    pub fn check_memory(&self, range: PaRange) -> Result<(), TrackingError> {
        if Command::GptInfo.form(self.dialect()).is_some() {
            self.check_gpt(range)?;
        }
        if Command::GranuleTrackingGet.form(self.dialect()).is_some() {
            self.check_tracking(range)?;
        }
        Ok(())
    }

    fn check_gpt(&self, range: PaRange) -> Result<(), TrackingError> {
        // Protection tables are asked about in units of what an entry of the level 0 table covers.
        let unit = self.features().l0gptsz().and_then(L0Gptsz::bytes).unwrap_or(1 << 30);
        let top = range.top().align_up(unit).unwrap_or(range.top());
        let mut left = PaRange::new(range.base().align_down(unit), top).unwrap_or(range);
        while !left.is_empty() {
            let GptPart { top, state } = self.gpt_info(left)?;
            let (part, rest) = split(left, top);
            if !matches!(state, GptParState::Plat | GptParState::HostCreated) {
                return Err(TrackingError::NoGpt { range: part, state });
            }
            left = rest;
        }
        Ok(())
    }

    fn check_tracking(&self, range: PaRange) -> Result<(), TrackingError> {
        let mut left = range;
        while !left.is_empty() {
            // Where the answer's extent is not to be relied on, region by region.
            let asked = match self.dialect().tracking_get_tells_extent() {
                true => left,
                false => split(left, self.next_region(left)).0,
            };
            let RegionTracking { category, state, top } = self.granule_tracking_get(asked)?;
            let (part, rest) = split(left, top.unwrap_or(asked.top()));
            if (category, state) != (MemCategory::Conventional, TrackingRegionState::Fine) {
                return Err(TrackingError::NotTracked { range: part, category, state });
            }
            left = rest;
        }
        Ok(())
    }

    /// Where the tracking region of an address ends, in a dialect that does not say: the smallest region size of the granule size.
    fn next_region(&self, range: PaRange) -> Pa {
        let region =
            TrackingRegionSize(0).bytes(self.granule_size()).unwrap_or(self.granule_size().bytes());
        let above = range.base().align_down(region).checked_add(region);
        above.unwrap_or(range.top()).min(range.top())
    }
}

/// Splits a range at an address inside it or at its end.
fn split(range: PaRange, at: Pa) -> (PaRange, PaRange) {
    let bytes = at.checked_offset_from(range.base()).unwrap_or(range.bytes());
    range.split_at(bytes).unwrap_or((range, PaRange::empty(range.top())))
}
