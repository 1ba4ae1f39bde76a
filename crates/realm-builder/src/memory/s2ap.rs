//! Changes of stage 2 permissions that a running Realm asks for.

use rmi_abi::{Command, Ipa, IpaRange};
use rmi_host::command::{Halted, S2apProgress};
use rmi_host::{Platform, RecName};
use sro::Pool;

use crate::error::BuildError;
use crate::lifecycle::realm::{Active, Realm};
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

impl<P: Platform> Realm<'_, '_, P, Active> {
    /// Applies a change of permissions that a REC asked for, from where the request stands towards
    /// the end of `range`, which may end before the request does, with at most `calls` calls to the
    /// RMM that change entries there. Returns the address up to which the permissions are changed,
    /// and in which tree: before the end when the budget is spent. The REC may be answered with a
    /// part (its Realm asks again for the rest), or the call can be repeated from there. The Realm
    /// chooses the range: possibly all of its protected half.
    ///
    /// Entries that reach across the ends of the range are split first, with granules from the
    /// pool: that is at most one table for each level and end, in each tree, which `calls` does not
    /// count.
    ///
    /// Where another thread works on a part of the range, this waits as long as the retry budget
    /// ([`RetryBudget`](rmi_host::RetryBudget)) allows, and then has changed nothing: it returns the
    /// start of the range, and no error. No call was made.
    ///
    /// With a tree for each plane, the Realm asks for one tree after the other, and only the RMM
    /// knows which one it is; so the ends are split in all of them.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_SET_S2AP.
    ///
    /// # Errors
    ///
    /// [`S2apStopped`], with the progress made.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn set_s2ap(
        &self,
        pool: &mut Pool<'_>,
        rec: RecName,
        range: IpaRange,
        calls: u32,
    ) -> Result<S2apProgress, S2apStopped> {
        let stop = |error, reached| S2apStopped { error, reached, tree: None };
        self.check_change(range).map_err(|error| stop(error, range.base()))?;
        let mut progress = S2apProgress { top: range.base(), tree: 0 };
        if range.is_empty() {
            return Ok(progress);
        }
        let trees = self.shadow.lock().aux_trees();
        let mut held = match self.lock_range_in(trees.clone(), range, |_| Ok(())) {
            Err(BuildError::Contended { .. }) => return Ok(progress),
            held => held.map_err(|error| stop(error, range.base()))?,
        };
        // The primary tree first: the others have no table that it does not have.
        for tree in core::iter::once(None).chain(trees.map(Some)) {
            self.make_in(tree, &mut held, pool, plan::edges(self.geometry, range))
                .map_err(|error| stop(error, range.base()))?;
        }
        let mut idle = 0;
        for _ in 0..calls {
            let from = progress.top;
            if from >= range.top() {
                break;
            }
            let left = IpaRange::new(from, range.top()).unwrap_or(IpaRange::empty(from));
            progress = self.rmm.commands().rtt_set_s2ap(&self.rd, rec, left).map_err(
                |Halted { error, reached }| S2apStopped {
                    error: error.into(),
                    reached: reached.map_or(from, |reached| reached.top),
                    tree: reached.map(|reached| reached.tree),
                },
            )?;
            idle = if progress.top > from { 0 } else { idle + 1 };
            self.budget_left(Command::RttSetS2ap, idle, from)
                .map_err(|error| stop(error.into(), from))?;
            if idle > 0 {
                self.rmm.platform().relax();
            }
        }
        Ok(progress)
    }
}
