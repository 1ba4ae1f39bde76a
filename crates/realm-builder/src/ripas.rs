//! RIPAS changes that a running Realm asks for.

use rmi_abi::rtt::Level;
use rmi_abi::{Ipa, IpaRange, Status};
use rmi_host::{Error, Platform, RecName};
use sro::Pool;

use crate::error::BuildError;
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

impl<P: Platform> Realm<'_, '_, P, Active> {
    /// Applies a RIPAS change that a REC asked for, from where the request stands to the end of `range`, which may be short of the request's. Tables that the RMM
    /// finds missing are made with granules from the pool.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_SET_RIPAS.
    ///
    /// # Errors
    ///
    /// [`RipasStopped`], with the progress made.
    pub fn set_ripas(
        &mut self,
        pool: &mut Pool<'_>,
        rec: RecName,
        range: IpaRange,
    ) -> Result<(), RipasStopped> {
        let mut left = range;
        while !left.is_empty() {
            let error = match self.rmm.rtt_set_ripas(&self.rd, rec, left) {
                Ok(top) => {
                    left = IpaRange::new(top, left.top()).unwrap_or(IpaRange::empty(top));
                    continue;
                }
                Err(error) => error,
            };
            let stop = |error| RipasStopped { error, reached: left.base() };
            // An entry larger than what is left has to be split; how far down the tables go there is known only from the answer when blocks are mapped.
            let Some(level) = self.level_to_split(&error) else { return Err(stop(error.into())) };
            let entry =
                IpaRange::with_size(left.base(), rmi_abi::address::MIN_GRANULE).unwrap_or(left);
            let before = self.missing_tables(entry, level);
            if before == 0 {
                return Err(stop(error.into()));
            }
            self.make_tables(pool, entry, level).map_err(stop)?;
        }
        Ok(())
    }

    /// The level of the table that is missing, if that is why the RMM refused.
    fn level_to_split(&self, error: &Error) -> Option<Level> {
        match error {
            Error::Refused(refusal) if refusal.status() == Status::ErrorRtt => {
                refusal.result.level()?.child()
            }
            _ => None,
        }
    }
}
