//! Creating a Realm.

use core::marker::PhantomData;
use core::sync::atomic::AtomicBool;

use rmi_abi::Command;
use rmi_abi::realm::S2apEncoding;
use rmi_host::{Platform, QuarantineReason, Rd, Rmm};
use spin::Mutex;
use sro::{Donated, Pool, drive};

use crate::config::RealmConfig;
use crate::error::BuildError;
use crate::realm::{New, Realm};
use crate::shadow::Shadow;
use crate::storage::Records;
use crate::unmap::Homeward;

impl<'r, 'm, P: Platform> Realm<'r, 'm, P, New> {
    /// Creates a Realm: checks the configuration, takes a granule for its descriptor and its root tables from the pool, and calls `RMI_REALM_CREATE`.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_REALM_CREATE.
    ///
    /// # Errors
    ///
    /// [`BuildError::Config`] when the RMM does not offer what is wanted and [`BuildError::Storage`] when there is no room for the root tables, before any call. Otherwise why the RMM refused; the memory is back in the pool, or in quarantine if an
    /// unclear answer left open whether the Realm exists.
    pub fn create(
        rmm: &'r Rmm<P>,
        config: &RealmConfig,
        storage: impl Into<Records<'m>>,
        pool: &mut Pool<'_>,
    ) -> Result<Self, BuildError> {
        let command = Command::RealmCreate;
        let mut params = config.validate(rmm.features(), rmm.dialect())?;
        let Records { tables, shared } = storage.into();
        let shadow = Shadow::new(params.geometry, tables, shared)
            .map_err(|missing| BuildError::Storage { records: "translation tables", missing })?;
        let granule = rmm.granule_size().bytes();
        let root_bytes = granule * u64::from(params.geometry.root_tables());

        pool.check_reserve(command, root_bytes + granule)?;
        // The root tables first: they have the stricter alignment.
        let roots = pool.take(rmm, command, root_bytes, root_bytes)?;
        let rd = match pool.take(rmm, command, granule, granule) {
            Ok(rd) => rd,
            Err(error) => {
                pool.put_back(rmm, roots);
                return Err(error.into());
            }
        };
        params.rtt_base = roots.base();
        let mut donated = Donated::default();
        let result = match params.encode(rmm.dialect()) {
            Ok(page) => rmm
                .realm_create(&rd, pool.pages().page, &page)
                .and_then(|progress| drive(rmm, pool, &mut donated, progress))
                .map_err(BuildError::from),
            Err(error) => Err(BuildError::Config(error.into())),
        };
        let realm = Self {
            rmm,
            rd: Rd::new(rd),
            roots: roots.into_use(),
            geometry: params.geometry,
            s2ap: if params.s2ap_indirect { S2apEncoding::Indirect } else { S2apEncoding::Direct },
            shadow: Mutex::new(shadow),
            table_by_table: AtomicBool::new(false),
            homeward: Homeward::default(),
            idle: 0,
            donated,
            next_rec: 0,
            recs: 0,
            state: PhantomData,
        };
        match result {
            Ok(_) => Ok(realm),
            Err(error) => {
                realm.undo(pool, &error);
                Err(error)
            }
        }
    }

    /// Takes the memory of a Realm back whose creation ended with `error`.
    fn undo(self, pool: &mut Pool<'_>, error: &BuildError) {
        let unclear = matches!(error, BuildError::Call(error) if !error.is_clean());
        if unclear && self.rmm.realm_terminate(&self.rd).is_ok() {
            // It does exist.
            self.become_state::<crate::realm::Terminated>()
                .destroy_or_quarantine(pool, &mut |_| {});
            return;
        }
        let command = Command::RealmCreate;
        self.donated.recover(self.rmm, pool, command);
        for memory in [self.rd.into_released(), self.roots.into_released()] {
            if unclear {
                pool.recover(self.rmm, memory, QuarantineReason::Unclear { command });
            } else {
                pool.put_back(self.rmm, memory);
            }
        }
    }
}
