//! Changes of stage 2 permissions that a running Realm asks for.

use rmi_abi::{Command, Ipa, IpaRange};
use rmi_host::command::{Halted, S2apProgress};
use rmi_host::{Attempts, Platform, RecName};
use sro::HostMemory;

use crate::error::BuildError;
use crate::memory::realm_core::RealmCore;
use crate::plan;

/// A change of permissions that stopped early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the change of permissions stopped at IPA {reached}: {error}")]
#[non_exhaustive]
pub struct S2apStopped {
    /// The reason.
    #[source]
    pub error: BuildError,
    /// How far it came. Everything below has changed; when the REC is entered again, its Realm is
    /// told so.
    pub reached: Ipa,
    /// The tree in which it stopped, if the RMM said so; 0 is the primary one.
    pub tree: Option<u64>,
}

impl<P: Platform> RealmCore<'_, P> {
    /// See [`Realm::set_s2ap`](crate::Realm::set_s2ap).
    pub(crate) fn set_s2ap(
        &self,
        memory: &mut dyn HostMemory,
        rec: RecName<'_>,
        range: IpaRange,
        calls: u32,
    ) -> Result<S2apProgress, S2apStopped> {
        let stop = |error, reached| S2apStopped { error, reached, tree: None };
        let range = self.check_change(range).map_err(|error| stop(error, range.base()))?;
        let mut progress = S2apProgress { top: range.base(), tree: 0 };
        if range.is_empty() {
            return Ok(progress);
        }
        let trees = self.shadow.lock().aux_trees();
        let mut held = match self.lock_range_in(trees.clone(), range) {
            Err(BuildError::Contended { .. }) => return Ok(progress),
            held => held.map_err(|error| stop(error, range.base()))?,
        };
        // The primary tree first: the others have no table that it does not have.
        for tree in core::iter::once(None).chain(trees.map(Some)) {
            self.make_in(tree, &mut held, memory.pool(), plan::edges(self.geometry(), range))
                .map_err(|error| stop(error, range.base()))?;
        }
        let mut idle = Attempts::default();
        for _ in 0..calls {
            let from = progress.top;
            if from >= range.top() {
                break;
            }
            let left = range.after(from);
            progress = self.rmm.commands().rtt_set_s2ap(&self.rd, rec, left).map_err(
                |Halted { error, reached }| S2apStopped {
                    error: error.into(),
                    reached: reached.map_or(from, |reached| reached.top),
                    tree: reached.map(|reached| reached.tree),
                },
            )?;
            if progress.top > from {
                idle = Attempts::default();
            } else {
                self.try_again(Command::RttSetS2ap, &mut idle, from)
                    .map_err(|error| stop(error.into(), from))?;
            }
        }
        Ok(progress)
    }
}
