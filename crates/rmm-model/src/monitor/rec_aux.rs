//! RECs of 1.0, whose auxiliary memory is named when they are created.
//!
//! Source: DEN0137 1.0-rel0; the order of checks is that of TF-RMM v0.8.0.

use alloc::vec::Vec;
use core::mem;

use rmi_abi::rec::{Mpidr, RecParamsPage};
use rmi_abi::{Pa, Status};
use rmi_host::Registers;
use zerocopy::{FromZeros, IntoBytes};

use super::{Monitor, require_state};
use crate::answer::{Answer, Answered, require};
use crate::granule::GranuleState;
use crate::realm::RealmState;

impl Monitor {
    /// `RMI_REC_AUX_COUNT`.
    pub(super) fn rec_aux_count(&mut self, x: &Registers) -> Answered {
        let [_, rd, ..] = *x;
        self.realm(rd)?;
        Ok(Answer::success().x1(self.options.rec_aux_granules.into()))
    }

    /// `RMI_REC_CREATE`, whose parameters name the memory that it takes. Auxiliary granules come
    /// first, and their number is compared last, as in TF-RMM.
    pub(super) fn rec_create_with_aux(&mut self, x: &Registers) -> Answered {
        let [_, rd, rec, params, ..] = *x;
        let mut page = RecParamsPage::new_zeroed();
        self.read_host_page(params, page.as_mut_bytes())?;
        let aux = self.named_aux(&page)?;
        let rec = self.fresh(rec)?;
        require(!aux.contains(&rec), Status::ErrorInput)?;
        let (max_recs, wanted) = (self.features.max_recs(), self.options.rec_aux_granules);
        let realm = self.realm(rd)?;
        require(realm.recs < max_recs, Status::ErrorRealm)?;
        require_state(realm, &[RealmState::New])?;
        let mpidr = Mpidr::from_raw(page.mpidr).ok_or(Status::ErrorInput)?;
        require(mpidr.index() == realm.recs_created, Status::ErrorInput)?;
        require(aux.len() == usize::from(wanted), Status::ErrorInput)?;
        self.set_granules(&aux, GranuleState::Internal, 0);
        self.add_rec(rd, rec, &page, mpidr, aux)
    }

    /// The auxiliary granules that the parameters of a REC name, all delegated and none twice. As
    /// in TF-RMM, 32 bits of their number count.
    fn named_aux(&self, page: &RecParamsPage) -> Result<Vec<Pa>, Answer> {
        let count = usize::try_from(page.num_aux & 0xffff_ffff).map_err(|_| Status::ErrorInput)?;
        let named = page.aux.get(..count).ok_or(Status::ErrorInput)?;
        let mut aux: Vec<Pa> = Vec::with_capacity(count);
        for pa in named {
            let pa = self.fresh(*pa)?;
            require(!aux.contains(&pa), Status::ErrorInput)?;
            aux.push(pa);
        }
        Ok(aux)
    }

    /// `RMI_REC_DESTROY`, after which all memory of the REC is delegated.
    pub(super) fn rec_destroy_with_aux(&mut self, x: &Registers) -> Answered {
        let [_, address, ..] = *x;
        let rec = self.rec(address)?;
        require(!rec.running, Status::ErrorRec)?;
        let aux = mem::take(&mut rec.donated);
        self.set_granules(&aux, GranuleState::Delegated, 0);
        self.finish_rec_destroy(Pa::new(address))
    }
}
