//! Translation tables: made before they are needed, never found missing by a failing call.

use rmi_abi::rtt::Level;
use rmi_abi::{Command, IpaRange};
use rmi_host::{Failed, Platform};
use sro::Pool;

use crate::error::BuildError;
use crate::plan;
use crate::realm::Realm;
use crate::storage::{Certainty, Table};

impl<P: Platform, S> Realm<'_, '_, P, S> {
    /// Tables that are missing before entries of `level` can be written in `range`.
    #[must_use]
    pub fn missing_tables(&self, range: IpaRange, level: Level) -> usize {
        plan::tables(self.geometry, range, level)
            .filter(|key| self.tables.find(*key).is_err())
            .count()
    }

    /// Makes every table that is missing before entries of `level` can be written in `range`, from the top down, with granules from the pool.
    ///
    /// # Errors
    ///
    /// [`BuildError::Storage`] when there is no room for the records, before any call; otherwise why a table was refused. What was made stays.
    pub fn make_tables(
        &mut self,
        pool: &mut Pool<'_>,
        range: IpaRange,
        level: Level,
    ) -> Result<(), BuildError> {
        let missing = self.missing_tables(range, level).saturating_sub(self.tables.spare());
        if missing > 0 {
            return Err(BuildError::Storage { records: "translation tables", missing });
        }
        for (level, ipa) in plan::tables(self.geometry, range, level) {
            if self.tables.find((level, ipa)).is_ok() {
                continue;
            }
            let granule = self.rmm.granule_size().bytes();
            let table = pool.take(self.rmm, Command::RttCreate, granule, granule)?;
            let (granule, certainty, result) =
                match self.rmm.rtt_create(&self.rd, table, ipa, level) {
                    Ok(granule) => (granule, Certainty::Sure, Ok(())),
                    Err(Failed { error, kept }) if error.is_clean() => {
                        pool.put_back(self.rmm, kept);
                        return Err(error.into());
                    }
                    // It may exist. Teardown has to know of it.
                    Err(Failed { error, kept }) => (kept.into_use(), Certainty::Unsure, Err(error)),
                };
            if let Err(homeless) = self.tables.insert(Table { level, ipa, granule, certainty }) {
                drop(homeless);
            }
            result?;
        }
        Ok(())
    }
}
