//! RIPAS changes that a running Realm asks for.

use rmi_abi::rtt::{Level, Ripas};
use rmi_abi::{Ipa, IpaRange};
use rmi_host::{Platform, RecName};
use sro::Pool;

use crate::error::BuildError;
use crate::lifecycle::realm::{Active, Realm};
use crate::plan;

/// A RIPAS change that stopped early.
///
/// A change to RAM for which the Realm did not set RSI_CHANGE_DESTROYED stops at the first entry of
/// which the RIPAS is DESTROYED: `reached` is its base, and `error` a refusal with
/// [`ErrorRtt`](rmi_abi::Status::ErrorRtt). Repeating it stops there again. If `reached` is above
/// the start of the request, the request may be accepted up to there, and the Realm asks again from
/// there. If nothing was applied, it should be rejected: a handler that accepts without progress
/// gets the same request again, forever if the Realm never stops asking.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the RIPAS change stopped at IPA {reached}: {error}")]
#[non_exhaustive]
pub struct RipasStopped {
    /// The reason.
    #[source]
    pub error: BuildError,
    /// How far it came. Everything below has changed; the REC may be answered with this address.
    pub reached: Ipa,
}

impl<P: Platform> Realm<'_, '_, P, Active> {
    /// Applies a RIPAS change that a REC asked for, from where the request stands towards the end
    /// of `range`, which may end before the request does, with at most `calls` calls to the RMM
    /// that change entries there. Returns the address up to which it is applied: before the end
    /// when the budget is spent. The REC may be answered with a part, or with nothing (its Realm
    /// asks again for the rest), or the call can be repeated from there.
    ///
    /// The Realm chooses the range: possibly all of its protected half, which is one call for each
    /// leaf table with an RMM like TF-RMM.
    ///
    /// Where another thread works on a part of the range, this waits as long as the retry budget
    /// ([`RetryBudget`](rmi_host::RetryBudget)) allows, and then has applied nothing: it returns the
    /// start of the range, and no error. No call was made.
    ///
    /// Entries that reach across the ends of the range are split first, with granules from the
    /// pool: that is at most one table for each level and end, in each tree, which `calls` does not
    /// count. Memory stays mapped, also where the RIPAS becomes EMPTY: [`Realm::reclaim`] unmaps
    /// it. In auxiliary trees it is hidden, as the RMM requires for memory that becomes EMPTY;
    /// where it becomes RAM, [`Realm::set_ripas_to`] avoids that.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_SET_RIPAS.
    ///
    /// # Errors
    ///
    /// [`RipasStopped`], with the progress made; among others where the host has unmapped memory
    /// that the Realm did not give up, and the Realm asks for RAM without RSI_CHANGE_DESTROYED.
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn set_ripas(
        &self,
        pool: &mut Pool<'_>,
        rec: RecName,
        range: IpaRange,
        calls: u32,
    ) -> Result<Ipa, RipasStopped> {
        self.set_ripas_to(pool, rec, range, Ripas::Empty, calls)
    }

    /// As [`Realm::set_ripas`], with the value that the REC asked for. The RMM knows it, too; the
    /// host needs it only to leave what auxiliary trees show unchanged where memory becomes RAM.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_SET_RIPAS.
    ///
    /// # Errors
    ///
    /// As [`Realm::set_ripas`].
    ///
    /// # Contexts
    ///
    /// Takes [the lock of the Realm](crate::Realm#the-lock).
    pub fn set_ripas_to(
        &self,
        pool: &mut Pool<'_>,
        rec: RecName,
        range: IpaRange,
        ripas: Ripas,
        calls: u32,
    ) -> Result<Ipa, RipasStopped> {
        let stop = |error, reached| RipasStopped { error, reached };
        self.check_change(range).map_err(|error| stop(error, range.base()))?;
        if range.is_empty() {
            return Ok(range.base());
        }
        let mut held = match self.lock_range(range, |_| Ok(())) {
            Err(BuildError::Contended { .. }) => return Ok(range.base()),
            held => held.map_err(|error| stop(error, range.base()))?,
        };
        self.make(&mut held, pool, plan::edges(self.geometry, range))
            .map_err(|error| stop(error, range.base()))?;
        let (mut from, mut idle) = (range.base(), 0);
        for _ in 0..calls {
            let left = IpaRange::new(from, range.top()).unwrap_or(IpaRange::empty(from));
            if left.is_empty() {
                break;
            }
            // What is shown is hidden table by table, so that a part of the work is done in all
            // trees.
            let shown = if ripas == Ripas::Ram { None } else { self.first_shown(left) };
            let table_top = self.table_top(from);
            if let Some((tree, row)) = shown.filter(|(_, row)| row.range.base() < table_top) {
                self.hide_row(tree, row, &mut idle).map_err(|error| stop(error.into(), from))?;
                continue;
            }
            let end = shown.map_or(left.top(), |(_, row)| row.range.base());
            let part = IpaRange::new(from, end).unwrap_or(left);
            let top = self
                .rmm
                .commands()
                .rtt_set_ripas(&self.rd, rec, part)
                .inspect_err(|error| self.doubt_hidden(error, part))
                .map_err(|error| stop(error.into(), from))?;
            // Where the RMM has changed the RIPAS, it is not DESTROYED.
            self.trust_ripas(from, top);
            from = top;
        }
        Ok(from)
    }

    /// The end of the table in which the walk to `from` ends.
    fn table_top(&self, from: Ipa) -> Ipa {
        let level = self.shadow.lock().walk(from, Level::L3).map_or(Level::L3, |at| at.level);
        let table = level.table_bytes();
        from.align_down(table).checked_add(table).unwrap_or(from)
    }
}
