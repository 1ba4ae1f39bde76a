//! The RECs of a Realm.

use rmi_abi::rec::{Mpidr, RecParams};
use rmi_abi::{Command, Ipa};
use rmi_host::{Error, Failed, Platform, Subject};
use sro::{HostMemory, RecObject};

use crate::lifecycle::realm::{Building, Realm};
use crate::memory::realm_core::RealmCore;

/// How a REC starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecStart {
    /// Whether it may be entered at once; otherwise it waits for a `PSCI_CPU_ON`. Only runnable
    /// RECs are measured.
    pub runnable: bool,
    /// Address of its first instruction.
    pub pc: Ipa,
    /// X0 to X7.
    pub gprs: [u64; 8],
}

/// # Virtual CPUs
impl<P: Platform, S: Building> Realm<'_, P, S> {
    /// Creates the next REC. RECs get their MPIDRs in the order in which they are created.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_REC_CREATE.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] when the RMM allows no more RECs; otherwise as [`RecObject::create`].
    pub fn create_rec(
        &mut self,
        memory: &mut dyn HostMemory,
        start: &RecStart,
    ) -> Result<RecObject, Error> {
        self.core.create_rec(memory, start)
    }
}

impl<P: Platform, S> Realm<'_, P, S> {
    /// Destroys a REC of this Realm; its memory goes to the pool.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_REC_DESTROY.
    ///
    /// # Errors
    ///
    /// As [`RecObject::destroy`]; and [`Error::Argument`] for a REC of another Realm, which is
    /// returned.
    pub fn destroy_rec(
        &mut self,
        memory: &mut dyn HostMemory,
        rec: RecObject,
    ) -> Result<(), Failed<Option<RecObject>>> {
        self.core.destroy_rec(memory, rec)
    }
}

impl<P: Platform> RealmCore<'_, P> {
    /// See [`Realm::create_rec`](crate::Realm::create_rec).
    pub(crate) fn create_rec(
        &mut self,
        memory: &mut dyn HostMemory,
        start: &RecStart,
    ) -> Result<RecObject, Error> {
        if self.next_rec >= self.rmm.features().max_recs() {
            let subject = Subject::Pa(self.rd.pa());
            return Err(Error::argument(
                Command::RecCreate,
                "the RMM allows no more RECs",
                subject,
            ));
        }
        let params = RecParams {
            runnable: start.runnable,
            mpidr: Mpidr::from_index(self.next_rec),
            pc: start.pc.raw(),
            gprs: start.gprs,
        };
        let rec = RecObject::create(self.rmm, &self.rd, memory.pool(), &params)?;
        self.next_rec += 1;
        self.recs += 1;
        Ok(rec)
    }
}

impl<P: Platform> RealmCore<'_, P> {
    /// See [`Realm::destroy_rec`](crate::Realm::destroy_rec).
    pub(crate) fn destroy_rec(
        &mut self,
        memory: &mut dyn HostMemory,
        rec: RecObject,
    ) -> Result<(), Failed<Option<RecObject>>> {
        if rec.realm() != self.rd.number() {
            let subject = Subject::Pa(rec.name().pa());
            let error =
                Error::argument(Command::RecDestroy, "the REC belongs to another Realm", subject);
            return Err(Failed::new(Some(rec), error));
        }
        let result = rec.destroy(self.rmm, memory.pool());
        if !matches!(result, Err(Failed { kept: Some(_), .. })) {
            self.recs = self.recs.saturating_sub(1);
        }
        result
    }
}
