//! Whether memory can be delegated: how the RMM tracks it, and whether there are granule protection
//! tables for it.
//!
//! Both are queried by range, from any start, so memory that is not aligned to the RMM's regions is
//! no special case. An embedder checks all of its memory once, and later any memory that is added.

use core::fmt;

use rmi_abi::feature::L0Gptsz;
use rmi_abi::granule::{GptParState, MemCategory, TrackingRegionSize, TrackingRegionState};
use rmi_abi::{Command, Pa, PaRange};

use crate::command::{GptPart, RegionTracking};
use crate::error::{Error, Subject, Violation};
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
        /// The RMM's answer for it.
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

impl core::error::Error for TrackingError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Call(error) => Some(error),
            _ => None,
        }
    }
}

/// # Memory, checked before it is used
impl<P: Platform> Rmm<P> {
    /// Checks that every granule of a range of ordinary memory can be delegated: the RMM tracks it
    /// by granule, and there are granule protection tables.
    ///
    /// What a dialect has no command for is not checked: 1.0 tracks all memory by granule, and only
    /// 2.0-bet3 reports protection tables.
    ///
    /// TF-RMM (July 2026) answers for one granule, whatever the range of the query: that takes a
    /// call for each granule, 262,144 for a GiB. [`Rmm::check_memory_some`] does a part of that.
    ///
    /// ```
    /// # use rmi_host::TrackingError;
    /// # use rmm_model::{Model, Options};
    /// # use rmi_abi::{Dialect, Pa, PaRange};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let model = Model::new(Options::new(Dialect::V2_0Bet3))?;
    /// # let rmm = rmm_model::open(model.host(), &mut model.take_memory())?;
    /// // A gigabyte of memory, and a hole after it.
    /// let memory = PaRange::with_size(Pa::new(0x8000_0000), 0x4000_0000)?;
    /// rmm.check_memory(memory)?;
    /// let more = PaRange::with_size(Pa::new(0x8000_1000), 0x4000_0000)?;
    /// assert!(matches!(
    ///     rmm.check_memory(more),
    ///     Err(TrackingError::NotTracked { .. } | TrackingError::NoGpt { .. })
    /// ));
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
        let mut left = range;
        while !left.is_empty() {
            left = self.check_memory_some(left, u32::MAX)?;
        }
        Ok(())
    }

    /// As [`Rmm::check_memory`], with at most `calls` calls, or two. Returns the part at the end of
    /// the range that is still to be checked: nothing when all of it can be delegated.
    ///
    /// ```
    /// # use rmi_host::{Discovered, Host, Progress, SessionOptions, TrackingError};
    /// # use rmm_model::{Model, Options};
    /// # use rmi_abi::{Dialect, Pa, PaRange};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
    /// # let rmm = rmm_model::open(model.host(), &mut model.take_memory())?;
    /// let mut left = PaRange::with_size(Pa::new(0x8000_0000), 0x10_0000)?;
    /// while !left.is_empty() {
    ///     left = rmm.check_memory_some(left, 100)?;
    ///     // … other work can run in between …
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// Source: DEN0137 2.0-bet3, RMI_GRANULE_TRACKING_GET, RMI_GPT_INFO.
    ///
    /// # Errors
    ///
    /// As [`Rmm::check_memory`].
    pub fn check_memory_some(&self, range: PaRange, calls: u32) -> Result<PaRange, TrackingError> {
        let mut left = range;
        // The end of the range for which protection tables are known to exist.
        let mut protected = match Command::GptInfo.form(self.dialect()) {
            Some(_) => range.base(),
            None => range.top(),
        };
        if Command::GranuleTrackingGet.form(self.dialect()).is_none() {
            left = PaRange::empty(range.top());
        }
        for call in 0..calls.max(2) {
            if left.is_empty() {
                break;
            }
            if protected <= left.base() {
                protected = self.check_gpt(left)?;
                // Both are known for what is checked.
                if call + 1 < calls.max(2) {
                    continue;
                }
                break;
            }
            let (asked, _) = split(left, protected.min(left.top()));
            left = split(left, self.check_tracking(asked)?).1;
        }
        Ok(left)
    }

    /// Queries the protection tables once, from the start of a range; returns up to where they
    /// exist.
    fn check_gpt(&self, range: PaRange) -> Result<Pa, TrackingError> {
        // Protection tables are queried in units of what an entry of the level 0 table covers.
        let unit = self.features().l0gptsz().and_then(L0Gptsz::bytes).unwrap_or(1 << 30);
        let top = range.top().align_up(unit).unwrap_or(range.top());
        let whole = PaRange::new(range.base().align_down(unit), top).unwrap_or(range);
        let GptPart { top, state } = self.commands().gpt_info(whole)?;
        if top <= range.base() {
            // The answer says nothing about the range queried.
            let (violation, subject) = (Violation::Progress, Subject::Pa(range.base()));
            return Err(Error::violation(Command::GptInfo, violation, top.raw(), subject).into());
        }
        match state {
            GptParState::Plat | GptParState::HostCreated => Ok(top),
            _ => Err(TrackingError::NoGpt { range: split(whole, top).0, state }),
        }
    }

    /// Queries once how a range is tracked, from its start; returns up to where it is tracked by
    /// granule.
    fn check_tracking(&self, range: PaRange) -> Result<Pa, TrackingError> {
        let asked = split(range, self.answered_for(range)).0;
        let RegionTracking { category, state, top } =
            self.commands().granule_tracking_get(asked)?;
        let top = top.unwrap_or(asked.top());
        match (category, state) {
            (MemCategory::Conventional, TrackingRegionState::Fine) => Ok(top),
            _ => Err(TrackingError::NotTracked { range: split(asked, top).0, category, state }),
        }
    }

    /// How much of a range one answer is valid for.
    fn answered_for(&self, range: PaRange) -> Pa {
        let dialect = self.dialect();
        let bytes = match (dialect.tracking_get_tells_extent(), dialect.tracking_get_takes_range())
        {
            (true, _) => return range.top(),
            // TF-RMM checks the first granule, and gives its state as that of the whole range.
            (false, true) => Some(self.granule_size().bytes()),
            // The tracking region of the address, of the smallest possible size.
            (false, false) => TrackingRegionSize(0).bytes(self.granule_size()),
        };
        let bytes = bytes.unwrap_or(self.granule_size().bytes());
        let above = range.base().align_down(bytes).checked_add(bytes);
        above.unwrap_or(range.top()).min(range.top())
    }
}

/// Splits a range at an address inside it or at its end.
fn split(range: PaRange, at: Pa) -> (PaRange, PaRange) {
    let bytes = at.checked_offset_from(range.base()).unwrap_or(range.bytes());
    range.split_at(bytes).unwrap_or((range, PaRange::empty(range.top())))
}
