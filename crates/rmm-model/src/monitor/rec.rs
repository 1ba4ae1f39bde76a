//! RECs: create, destroy, and the completion of their PSCI calls.

use alloc::vec::Vec;

use rmi_abi::psci::{PsciFunction, PsciReturnCode};
use rmi_abi::rec::{Mpidr, RecCreateFlags, RecParamsPage};
use rmi_abi::{Pa, Status};
use rmi_host::Registers;
use zerocopy::{FromZeros, IntoBytes};

use super::operation::Work;
use super::{Monitor, require_state};
use crate::answer::{Answer, Answered, refuse, require};
use crate::granule::GranuleState;
use crate::planes::MOST;
use crate::realm::RealmState;
use crate::rec::{LastExit, Rec};

impl Monitor {
    /// The first call checks the REC's granule only; everything else is checked when the memory has
    /// been donated, as in TF-RMM.
    pub(super) fn rec_create(&mut self, x: &Registers) -> Answered {
        let [_, rd, rec, params, ..] = *x;
        let rec = self.fresh(rec)?;
        self.open_donation(Work::RecCreate { rd, rec, params }, self.options.rec_aux_granules)
    }

    pub(super) fn finish_rec_create(
        &mut self,
        rd: u64,
        rec: Pa,
        params: u64,
        donated: Vec<Pa>,
    ) -> Answered {
        let mut page = RecParamsPage::new_zeroed();
        self.read_host_page(params, page.as_mut_bytes())?;
        let max_recs = self.features.max_recs();
        let realm = self.realm(rd)?;
        require_state(realm, &[RealmState::New])?;
        require(realm.recs_created < max_recs, Status::ErrorRealm)?;
        let mpidr = Mpidr::from_raw(page.mpidr).ok_or(Status::ErrorInput)?;
        require(mpidr.index() == realm.recs_created, Status::ErrorInput)?;
        self.add_rec(rd, rec, &page, mpidr, donated)
    }

    /// Creates a REC whose parameters were checked.
    pub(super) fn add_rec(
        &mut self,
        rd: u64,
        rec: Pa,
        page: &RecParamsPage,
        mpidr: Mpidr,
        donated: Vec<Pa>,
    ) -> Answered {
        let realm = self.realm(rd)?;
        let flags = RecCreateFlags::from_bits_retain(page.flags);
        let runnable = flags.contains(RecCreateFlags::RUNNABLE);
        if runnable {
            realm.measurements.add_rec(page.measured().as_bytes());
        }
        realm.recs_created += 1;
        realm.recs += 1;
        let mut new = Rec::new(Pa::new(rd), mpidr, runnable, page.pc, donated);
        for (n, value) in page.gprs.into_iter().enumerate() {
            new.set_x(n, value);
        }
        self.recs.insert(rec, new);
        self.granules.set(rec, GranuleState::Rec);
        Ok(Answer::success())
    }

    pub(super) fn rec_destroy(&mut self, x: &Registers) -> Answered {
        let [_, address, ..] = *x;
        let rec = self.rec(address)?;
        require(!rec.running, Status::ErrorRec)?;
        let donated = rec.donated.clone();
        self.open_return(Work::RecDestroy { rec: Pa::new(address) }, donated)
    }

    pub(super) fn finish_rec_destroy(&mut self, rec: Pa) -> Answered {
        if let Some(old) = self.recs.remove(&rec) {
            // No other REC of the Realm ever gets the same MPIDR.
            let planes = (0..=usize::from(MOST)).map(|plane| (old.rd, old.mpidr.raw(), plane));
            self.ended.extend(planes.filter_map(|key| self.guests.remove(&key)));
            if let Some(realm) = self.realms.get_mut(&old.rd) {
                realm.recs = realm.recs.saturating_sub(1);
            }
        }
        self.set_granules(&[rec], GranuleState::Delegated, 0);
        Ok(Answer::success())
    }

    /// Whether the REC of a Realm with that MPIDR is on.
    pub(crate) fn is_on(&self, rd: Pa, mpidr: u64) -> Option<bool> {
        let found = self.recs.values().find(|rec| rec.rd == rd && rec.mpidr.raw() == mpidr);
        Some(found?.runnable)
    }

    /// The REC of a Realm with that MPIDR, unless it is being destroyed.
    fn rec_by_mpidr(&self, rd: Pa, mpidr: Mpidr) -> Option<Pa> {
        self.recs
            .iter()
            .find(|(pa, rec)| {
                rec.rd == rd && rec.mpidr == mpidr && self.granules.is(**pa, GranuleState::Rec)
            })
            .map(|(pa, _)| *pa)
    }

    pub(super) fn psci_complete(&mut self, x: &Registers) -> Answered {
        let [_, calling, second, third, ..] = *x;
        let names_target = self.options.dialect.psci_complete_names_target();
        let status = PsciReturnCode::from_register(if names_target { third } else { second });
        if names_target {
            require(calling != second, Status::ErrorInput)?;
            self.rec(second)?;
        }
        // A calling REC that runs has no call pending.
        let caller = self.rec(calling)?;
        let LastExit::Psci(request) = caller.last_exit else { return refuse(Status::ErrorInput) };
        let rd = caller.rd;
        let target = self.rec_by_mpidr(rd, request.target).ok_or(Status::ErrorInput)?;
        require(!names_target || target == Pa::new(second), Status::ErrorInput)?;

        let target = self.rec(target.raw())?;
        let is_on = target.runnable;
        // As TF-RMM, which dispatches the call on W0 and its completion on X0: with the upper half
        // of X0 set, no function is recognised (its debug builds stop there).
        let function = u32::try_from(request.raw).ok().map(PsciFunction::from);
        let is_info =
            matches!(function, Some(PsciFunction::AffinityInfo32 | PsciFunction::AffinityInfo64));
        // The host cannot deny the CPU_ON of a CPU that is on: the call ends as it would have, and
        // the host gets an error.
        let (result, answer) = match status {
            _ if function.is_none() => {
                (PsciReturnCode::NotSupported.to_register(), Answer::success())
            }
            PsciReturnCode::Success if is_info => {
                let off = if is_on { 0 } else { 1 };
                (off, Answer::success())
            }
            PsciReturnCode::Success if is_on => {
                (PsciReturnCode::AlreadyOn.to_register(), Answer::success())
            }
            PsciReturnCode::Success => {
                target.power_on(request.entry, request.context);
                (PsciReturnCode::Success.to_register(), Answer::success())
            }
            PsciReturnCode::Denied if !is_info && is_on => {
                let refused = Answer::from(Status::ErrorInput);
                (PsciReturnCode::AlreadyOn.to_register(), refused)
            }
            PsciReturnCode::Denied if !is_info => {
                (PsciReturnCode::Denied.to_register(), Answer::success())
            }
            _ => return refuse(Status::ErrorInput),
        };
        let caller = self.rec(calling)?;
        caller.last_exit = LastExit::Other;
        caller.answer([result, 0, 0, 0]);
        Ok(answer)
    }
}
