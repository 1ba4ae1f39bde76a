//! Creating a Realm.

use rmi_abi::Command;
use rmi_abi::realm::{RealmParams, RealmParamsPage, S2apEncoding};
use rmi_host::{Attempts, Delegated, Error, Failed, Platform, Progress, QuarantineReason, Rd, Rmm};
use sro::{HostMemory, Pool, drive};

use crate::config::RealmConfig;
use crate::error::BuildError;
use crate::lifecycle::realm::{New, Realm};
use crate::memory::lent_shadow::LentShadow;
use crate::memory::range_hint::RangeHint;
use crate::memory::realm_core::{AUX_TREES, RealmCore};
use crate::memory::returned::ReturnedRanges;
use crate::shadow::Shadow;
use crate::shadow::storage::Records;

/// The granules that a Realm is created with.
#[derive(Default)]
struct InitialGranules {
    rd: Delegated,
    roots: Delegated,
    aux_roots: [Delegated; AUX_TREES],
}

impl InitialGranules {
    /// Takes all of them from the pool, or none.
    fn take<P: Platform>(
        rmm: &Rmm<P>,
        pool: &mut Pool,
        granule: u64,
        root_bytes: u64,
        aux_trees: u8,
    ) -> Result<Self, Error> {
        let command = Command::RealmCreate;
        pool.check_reserve(command, root_bytes * (1 + u64::from(aux_trees)) + granule)?;
        let mut all = Self::default();
        let Self { rd, roots, aux_roots } = &mut all;
        // The root tables first: they have the stricter alignment.
        let wanted = core::iter::once((roots, root_bytes))
            .chain(aux_roots.iter_mut().take(aux_trees.into()).map(|roots| (roots, root_bytes)))
            .chain([(rd, granule)]);
        let mut result = Ok(());
        for (place, bytes) in wanted {
            match pool.take(rmm, command, bytes, bytes) {
                Ok(memory) => *place = memory,
                Err(error) => {
                    result = Err(error);
                    break;
                }
            }
        }
        if let Err(error) = result {
            let Self { rd, roots, aux_roots } = all;
            for memory in [rd, roots].into_iter().chain(aux_roots) {
                pool.put_back(rmm, memory);
            }
            return Err(error);
        }
        Ok(all)
    }
}

/// Writes the parameters of a Realm into the pool's page. Not inlined: another page of them is on
/// the stack only meanwhile, and not during a call.
#[inline(never)]
fn put_params<P: Platform>(
    rmm: &Rmm<P>,
    pool: &mut Pool,
    params: &RealmParams,
) -> Result<(), BuildError> {
    let mut page = RealmParamsPage::zeros();
    match params.encode_into(&mut page, rmm.dialect()) {
        Ok(()) => Ok(rmm.commands().put_realm_params(pool.pages_for(rmm).page, &page)?),
        Err(error) => Err(BuildError::Config(error.into())),
    }
}

/// Starts to create a Realm.
fn start<P: Platform>(
    rmm: &Rmm<P>,
    rd: &Delegated,
    pool: &mut Pool,
    params: &RealmParams,
) -> Result<Progress, BuildError> {
    put_params(rmm, pool, params)?;
    Ok(rmm.commands().realm_create_by(rd, pool.pages_for(rmm).page)?)
}

/// # Creation
impl<'a, P: Platform> Realm<'a, P, New> {
    /// Creates a Realm: checks the configuration, takes a granule for its descriptor and the root
    /// tables of all its trees from the pool, and calls `RMI_REALM_CREATE`.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_REALM_CREATE.
    ///
    /// # Errors
    ///
    /// [`BuildError::Config`] when it does not offer what is wanted, [`BuildError::NoAuxTrees`]
    /// when the platform is built without them, and [`BuildError::Storage`] when there is no
    /// storage for the root tables, before any call. Otherwise the reason why the RMM refused; the
    /// memory is back in the pool, or in quarantine if an unclear answer left open whether the
    /// Realm exists.
    pub fn create(
        rmm: &'a Rmm<P>,
        config: &RealmConfig,
        storage: impl Into<Records<'a>>,
        memory: &mut dyn HostMemory,
    ) -> Result<Self, Failed<Records<'a>, BuildError>> {
        let storage = storage.into();
        let size = rmm.granule_size();
        let mut params = match config.validate_for(size, rmm.features(), rmm.dialect()) {
            Ok(params) => params,
            Err(error) => return Err(Failed::new(storage, error.into())),
        };
        let aux_trees = if params.tree_per_plane { params.num_aux_planes } else { 0 };
        if !P::AUX_TREES && aux_trees > 0 {
            return Err(Failed::new(storage, BuildError::NoAuxTrees));
        }
        let mut shadow = Shadow::new(params.geometry, aux_trees, storage)?;
        let granule = size.bytes();
        let root_bytes = params.geometry.root_bytes();

        let pool = memory.pool();
        pool.set_granule_size(size);
        let taken = InitialGranules::take(rmm, pool, granule, root_bytes, aux_trees);
        let InitialGranules { rd, roots, aux_roots } = match taken {
            Ok(taken) => taken,
            Err(error) => return Err(Failed::new(shadow.take_records(), error.into())),
        };
        params.rtt_base = roots.base();
        for (base, roots) in params.aux_rtt_base.iter_mut().zip(&aux_roots) {
            *base = roots.base();
        }
        // Built in place: a Realm takes much of the stack wherever it is moved.
        let mut realm = Self::from_core(RealmCore {
            rmm,
            rd: Rd::new(Delegated::empty()),
            roots: roots.into_use(),
            aux_roots: aux_roots.map(Delegated::into_use),
            stored: params.geometry,
            s2ap: if params.s2ap_indirect { S2apEncoding::Indirect } else { S2apEncoding::Direct },
            shadow: LentShadow::new(shadow),
            range_hint: RangeHint::default(),
            returned: ReturnedRanges::default(),
            idle: Attempts::default(),
            next_rec: 0,
            recs: 0,
        });
        match realm.core.begin(pool, rd, &params) {
            Ok(()) => Ok(realm),
            Err(error) => {
                realm.core.undo(memory, &error);
                Err(Failed::new(realm.core.into_records(), error))
            }
        }
    }
}

impl<P: Platform> RealmCore<'_, P> {
    /// Has the RMM create the Realm. Until it says that the Realm exists, the only possible
    /// operation is to destroy it.
    #[inline(never)]
    fn begin(
        &mut self,
        pool: &mut Pool,
        rd: Delegated,
        params: &RealmParams,
    ) -> Result<(), BuildError> {
        let progress = start(self.rmm, &rd, pool, params);
        self.rd = Rd::new(rd);
        if let Some(donated) = self.shadow.get_mut().donated() {
            drive(self.rmm, pool, donated, progress?)?;
        }
        Ok(())
    }

    /// Takes back the memory of a Realm whose creation ended with `error`.
    #[inline(never)]
    fn undo(&mut self, memory: &mut dyn HostMemory, error: &BuildError) {
        let unclear = matches!(error, BuildError::Call(error) if !error.is_clean());
        if unclear && self.rmm.commands().realm_terminate(&self.rd).is_ok() {
            // The Realm exists.
            self.dismantle_all(memory);
            return;
        }
        let (command, rmm, pool) = (Command::RealmCreate, self.rmm, memory.pool());
        self.recover_donated(pool, command);
        let mut give_back = |granules| {
            if unclear {
                pool.recover(rmm, granules, QuarantineReason::Unclear { command });
            } else {
                pool.put_back(rmm, granules);
            }
        };
        give_back(self.take_descriptor());
        for roots in self.all_roots() {
            give_back(core::mem::take(roots).into_released());
        }
    }
}
