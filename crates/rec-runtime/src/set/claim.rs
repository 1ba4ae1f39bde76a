//! Who runs a REC.

use super::RecSet;
use super::runner::Runner;

impl RecSet<'_> {
    /// Makes the caller the only one who enters the REC with this index, until the [`Runner`] is
    /// dropped. Never blocks.
    ///
    /// # Errors
    ///
    /// [`ClaimError`].
    pub fn claim(&self, index: usize) -> Result<Runner<'_>, ClaimError> {
        let Some((slot, rec)) = self.slot(index).and_then(|slot| Some((slot, slot.rec()?))) else {
            return Err(ClaimError::NoSuchRec { index });
        };
        match slot.held.try_lock() {
            Some(held) => Ok(Runner::new(self, index, slot, rec, held)),
            None => Err(ClaimError::Claimed { index }),
        }
    }
}

/// Why there is no runner for a REC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// The set has no REC with this index.
    #[error("the set has no REC {index}")]
    NoSuchRec {
        /// The index.
        index: usize,
    },
    /// There is a runner already.
    #[error("REC {index} has a runner already")]
    Claimed {
        /// The index.
        index: usize,
    },
}
