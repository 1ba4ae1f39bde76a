//! RIPAS changes that a running Realm asks for.

use core::fmt;

use rmi_abi::rtt::Ripas;
use rmi_abi::{Ipa, IpaRange};
use rmi_host::{Platform, RecName};
use sro::Pool;

use crate::error::BuildError;
use crate::plan;
use crate::realm::{Active, Realm};

/// A RIPAS change that stopped early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RipasStopped {
    /// Why.
    pub error: BuildError,
    /// How far it came. Everything below has changed; the REC may be answered with that.
    pub reached: Ipa,
}

impl fmt::Display for RipasStopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the RIPAS change stopped at IPA {}: {}", self.reached, self.error)
    }
}

impl core::error::Error for RipasStopped {}

impl<P: Platform> Realm<'_, '_, P, Active> {
    /// Applies a RIPAS change that a REC asked for, from where the request stands to the end of `range`, which may be short of the request's: the REC is then answered with
    /// a part. Entries that reach across the ends of the range are split first, with granules from the pool.
    ///
    /// Memory stays mapped, also where the RIPAS becomes EMPTY: [`Realm::reclaim`] takes it back. In auxiliary trees it is hidden, as the RMM demands it of memory that becomes EMPTY; where it
    /// becomes RAM, [`Realm::set_ripas_to`] spares that.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_SET_RIPAS.
    ///
    /// # Errors
    ///
    /// [`RipasStopped`], with the progress made.
    pub fn set_ripas(
        &self,
        pool: &mut Pool<'_>,
        rec: RecName,
        range: IpaRange,
    ) -> Result<(), RipasStopped> {
        self.set_ripas_to(pool, rec, range, Ripas::Empty)
    }

    /// As [`Realm::set_ripas`], with the value that the REC asked for. The RMM knows it, too; the host needs it only to leave what auxiliary trees show as it is where memory becomes RAM.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_SET_RIPAS.
    ///
    /// # Errors
    ///
    /// As [`Realm::set_ripas`].
    pub fn set_ripas_to(
        &self,
        pool: &mut Pool<'_>,
        rec: RecName,
        range: IpaRange,
        ripas: Ripas,
    ) -> Result<(), RipasStopped> {
        let stop = |error, reached| RipasStopped { error, reached };
        self.check_change(range).map_err(|error| stop(error, range.base()))?;
        if range.is_empty() {
            return Ok(());
        }
        let mut held = self.hold(range, |_| Ok(())).map_err(|error| stop(error, range.base()))?;
        self.make(&mut held, pool, plan::edges(self.geometry, range))
            .map_err(|error| stop(error, range.base()))?;
        if ripas != Ripas::Ram {
            self.hide_everywhere(range).map_err(|error| stop(error.into(), range.base()))?;
        }
        let mut left = range;
        while !left.is_empty() {
            let top = self
                .rmm
                .rtt_set_ripas(&self.rd, rec, left)
                .inspect_err(|error| self.doubt_hidden(error, left))
                .map_err(|error| stop(error.into(), left.base()))?;
            // What the RMM has changed is not DESTROYED.
            self.trust_ripas(left.base(), top);
            left = IpaRange::new(top, left.top()).unwrap_or(IpaRange::empty(top));
        }
        Ok(())
    }
}
