//! What is checked before the first call of an operation.

use rmi_abi::{Ipa, IpaRange, PaRange};
use rmi_host::Platform;

use crate::error::{BuildError, RegionProblem};
use crate::memory::realm_core::RealmCore;

impl<P: Platform> RealmCore<'_, P> {
    /// The IPA range of `bytes` of memory that are to be mapped at `ipa`. A range that extends
    /// beyond the address space is empty.
    pub(crate) fn place(&self, ipa: Ipa, bytes: u64) -> Result<IpaRange, BuildError> {
        let range = IpaRange::with_size_or_empty(ipa, bytes);
        let granule = self.granule_bytes();
        match ipa.is_aligned(granule) && bytes & (granule - 1) == 0 {
            true => Ok(range),
            false => Err(unaligned(range)),
        }
    }

    /// Whether memory that is to be mapped at a range consists of granules.
    pub(crate) fn check_memory(&self, range: IpaRange, memory: &PaRange) -> Result<(), BuildError> {
        match memory.is_aligned(self.granule_bytes()) {
            true => Ok(()),
            false => Err(unaligned(range)),
        }
    }

    /// The part of a range, which may be empty, that a Realm may ask to change, up to the last
    /// whole granule: a Realm's own granules have 4 KiB, those of its tables may be larger.
    pub(crate) fn check_change(&self, range: IpaRange) -> Result<IpaRange, BuildError> {
        if !self.geometry().range_is_protected(&range) {
            return Err(BuildError::Region { range, problem: RegionProblem::NotProtected });
        }
        let granule = self.granule_bytes();
        let whole = range.before(range.top().align_down(granule).max(range.base()));
        match range.base().is_aligned(granule) && (range.is_empty() || !whole.is_empty()) {
            true => Ok(whole),
            false => Err(unaligned(range)),
        }
    }

    /// Whether nothing is mapped in a claimed range.
    pub(crate) fn check_void(&self, range: IpaRange) -> Result<(), BuildError> {
        match self.overlap(&range) {
            None => Ok(()),
            Some(at) => {
                let problem = RegionProblem::Overlap { at: at.base() };
                Err(BuildError::Region { range, problem })
            }
        }
    }

    pub(crate) fn check_protected(&self, range: IpaRange, bytes: u64) -> Result<(), BuildError> {
        let problem = if bytes == 0 {
            RegionProblem::Empty
        } else if !range.is_aligned(self.granule_bytes()) {
            RegionProblem::Unaligned
        } else if range.is_empty() || !self.geometry().range_is_protected(&range) {
            RegionProblem::NotProtected
        } else {
            return Ok(());
        };
        Err(BuildError::Region { range, problem })
    }
}

/// The error for what does not consist of whole granules.
fn unaligned(range: IpaRange) -> BuildError {
    BuildError::Region { range, problem: RegionProblem::Unaligned }
}
