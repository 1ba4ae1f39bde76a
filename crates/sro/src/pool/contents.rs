//! The memory in a pool, without its pages for communication, which are in use while operations
//! return memory to the pool.

use rmi_abi::PaRange;
use rmi_host::granules::{Delegated, Granules, Machine, Owner, Undelegated};
use rmi_host::{DelegateFailed, Error, Ledger, LedgerEvent, Platform, QuarantineReason, Rmm};

use super::slots::{Empty, PoolSlots};
use crate::set::typed;

#[derive(Debug)]
pub(crate) struct Contents<S: ?Sized = dyn PoolSlots> {
    /// The machine of the first memory since the pool was empty.
    pub(super) machine: Option<Machine>,
    pub(super) slots: S,
}

impl<S: Empty> Contents<S> {
    pub(super) const EMPTY: Self = Self { machine: None, slots: S::EMPTY };
}

impl Contents {
    /// Whether memory belongs to a different machine than what is in the pool.
    pub(super) fn is_foreign<H: Owner>(&self, memory: &Granules<H>) -> bool {
        !memory.is_empty() && self.machine.is_some_and(|machine| machine != memory.machine())
    }

    pub(super) fn add(&mut self, memory: Undelegated) -> Result<(), Undelegated> {
        if memory.is_empty() {
            return Ok(());
        }
        if self.is_foreign(&memory) {
            return Err(memory);
        }
        let machine = memory.machine();
        self.slots.host_mut().insert(memory.into()).map_err(typed)?;
        self.machine = Some(machine);
        Ok(())
    }

    pub(super) fn add_delegated(&mut self, memory: Delegated) -> Result<(), Delegated> {
        if memory.is_empty() {
            return Ok(());
        }
        if self.is_foreign(&memory) {
            return Err(memory);
        }
        let machine = memory.machine();
        self.slots.delegated_mut().insert(memory.into()).map_err(typed)?;
        self.machine = Some(machine);
        Ok(())
    }

    /// The ranges of host memory and of delegated memory.
    pub(super) fn iter(&self) -> impl Iterator<Item = PaRange> + '_ {
        self.slots.host().iter().chain(self.slots.delegated().iter())
    }

    /// As [`Pool::take`](crate::Pool::take); `None` when there is no such run.
    pub(super) fn take<P: Platform>(
        &mut self,
        rmm: &Rmm<P>,
        bytes: u64,
        alignment: u64,
    ) -> Option<Result<Delegated, Error>> {
        if let Some(memory) = self.slots.delegated_mut().take(bytes, alignment) {
            return Some(Ok(typed(memory)));
        }
        let memory = self.slots.host_mut().take(bytes, alignment)?;
        Some(self.delegate(rmm, typed(memory)))
    }

    /// Delegates memory from the pool; what is not delegated is put back.
    pub(super) fn delegate<P: Platform>(
        &mut self,
        rmm: &Rmm<P>,
        memory: Undelegated,
    ) -> Result<Delegated, Error> {
        let failed = match rmm.delegate(memory) {
            Ok(memory) => return Ok(memory),
            Err(failed) => failed,
        };
        let doubt = failed.doubt();
        let DelegateFailed { error, delegated, host } = failed;
        self.restore(rmm, host);
        match doubt {
            // Which part of it is delegated is not known yet.
            Some(reason) => self.recover(rmm, delegated, reason),
            None => self.put_back(rmm, delegated),
        }
        Err(error)
    }

    pub(crate) fn put_back<P: Platform>(&mut self, rmm: &Rmm<P>, memory: Delegated) {
        if let Err(memory) = self.add_delegated(memory) {
            rmm.quarantine(memory, QuarantineReason::PoolFull);
        }
    }

    pub(super) fn give_back<P: Platform>(&mut self, rmm: &Rmm<P>, memory: Delegated) {
        rmm.return_or_quarantine(memory, &mut |host| self.restore(rmm, host));
    }

    pub(crate) fn recover<P: Platform>(
        &mut self,
        rmm: &Rmm<P>,
        memory: Delegated,
        reason: QuarantineReason,
    ) {
        rmm.recover(memory, reason, &mut |host| self.restore(rmm, host));
    }

    pub(crate) fn restore<P: Platform>(&mut self, rmm: &Rmm<P>, memory: Undelegated) {
        if let Err(refused) = self.add(memory) {
            match rmm.delegate(refused) {
                Ok(memory) => rmm.quarantine(memory, QuarantineReason::PoolFull),
                Err(DelegateFailed { delegated, host, .. }) => {
                    rmm.quarantine(delegated, QuarantineReason::PoolFull);
                    rmm.platform().ledger().record(LedgerEvent::Untracked, host.into_raw());
                }
            }
        }
    }
}
