//! What is checked before the first call of an operation.

use rmi_abi::{Ipa, IpaRange};
use rmi_host::Platform;

use crate::error::{BuildError, RegionProblem};
use crate::memory::realm_core::{GRANULE, RealmCore};

impl<P: Platform> RealmCore<'_, P> {
    /// The IPA range of `bytes` of memory that are to be mapped at `ipa`. A range that extends
    /// beyond the address space is empty.
    pub(crate) fn place(&self, ipa: Ipa, bytes: u64) -> Result<IpaRange, BuildError> {
        let range = IpaRange::with_size_or_empty(ipa, bytes);
        match ipa.is_aligned(GRANULE.bytes()) {
            true => Ok(range),
            false => Err(BuildError::Region { range, problem: RegionProblem::Unaligned }),
        }
    }

    /// Whether a range, which may be empty, is one that a Realm may ask to change.
    pub(crate) fn check_change(&self, range: IpaRange) -> Result<(), BuildError> {
        if !self.geometry.range_is_protected(&range) {
            return Err(BuildError::Region { range, problem: RegionProblem::NotProtected });
        }
        Ok(())
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
        } else if range.is_empty() || !self.geometry.range_is_protected(&range) {
            RegionProblem::NotProtected
        } else {
            return Ok(());
        };
        Err(BuildError::Region { range, problem })
    }
}
