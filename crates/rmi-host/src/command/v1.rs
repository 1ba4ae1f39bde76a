//! Commands that only 1.0 has: one granule or one entry per call.
#![expect(unsafe_code, reason = "calls go through the conduit")]

use core::sync::atomic::Ordering;

use rmi_abi::address::MIN_GRANULE;
use rmi_abi::flags::{DataFlags, MemAttr, UnprotectedDesc};
use rmi_abi::realm::S2apEncoding;
use rmi_abi::rec::MAX_REC_AUX_GRANULES as MOST_AUX;
use rmi_abi::rtt::Level;
use rmi_abi::{Command, Ipa, Pa, Status};

use crate::channel::{Call, Channel, Reply};
use crate::command::unprot::{ShareAt, ShareFailed, SharedAccess, SharedMemory, Unshared};
use crate::command::{DelegateFailed, Halted, Rd, RttDestroyed, UndelegateFailed, delegate_range};
use crate::error::{Error, Failed, Subject, Violation, carries_error};
use crate::granules::{Delegated, Granules, InUse, Owner, Undelegated};
use crate::ledger::{Ledger, LedgerEvent};
use crate::platform::Platform;

/// What `RMI_DATA_DESTROY` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DataDestroyed {
    /// The granule that is no longer mapped and now delegated.
    pub data: Pa,
    /// Where the next live entry may be.
    pub top: Ipa,
}

/// Shared memory that could not be unmapped.
#[derive(Debug)]
#[must_use = "it owns memory"]
pub struct UnshareFailed {
    /// The error.
    pub error: Error,
    /// All of the memory, still shared.
    pub kept: SharedMemory,
    /// With [`ErrorRtt`](Status::ErrorRtt): the address up to which nothing is live. It is where
    /// the memory begins when a larger block maps it.
    pub top: Option<Ipa>,
}

carries_error!(UnshareFailed, "{error}");

impl<P: Platform> Channel<P> {
    fn one_granule<H: Owner>(&self, command: Command, memory: &Granules<H>) -> Result<Call, Error> {
        self.require(command)?;
        self.own(command, memory)?;
        let subject = Subject::Pa(memory.base());
        if memory.bytes() == MIN_GRANULE {
            Ok(Call::new(command, subject, [memory.base().raw()]))
        } else {
            Err(Error::argument(command, "the command is about one granule", subject))
        }
    }

    /// `RMI_GRANULE_DELEGATE`: gives one granule of 4 KiB to the RMM.
    ///
    /// The host loses the content of the memory.
    ///
    /// Source: DEN0137 1.0-rel0, RMI_GRANULE_DELEGATE.
    ///
    /// # Errors
    ///
    /// [`DelegateFailed`]: [`ErrorInput`](Status::ErrorInput) when the granule is no ordinary
    /// memory or not the host's.
    pub fn granule_delegate(&self, memory: Undelegated) -> Result<Delegated, DelegateFailed> {
        let call = self.one_granule(Command::GranuleDelegate, &memory);
        // Before the call: if code of the embedder panics meanwhile, no token of host memory exists
        // for what the RMM may have.
        let mut delegated = memory.into_delegated();
        let error = call.and_then(|call| delegate_range(self, &call, &mut { Reply::EMPTY })).err();
        let host = match error {
            Some(error) if error.is_clean() => delegated.take().into_undelegated(),
            _ => Undelegated::empty(),
        };
        if !delegated.is_empty() {
            self.platform().ledger().record(LedgerEvent::Delegated, delegated.range());
        }
        match error {
            None => Ok(delegated),
            Some(error) => Err(DelegateFailed { error, delegated, host }),
        }
    }

    /// `RMI_GRANULE_UNDELEGATE`: takes one granule of 4 KiB back. The RMM wipes it.
    ///
    /// Source: DEN0137 1.0-rel0, RMI_GRANULE_UNDELEGATE.
    ///
    /// # Errors
    ///
    /// [`UndelegateFailed`]: [`ErrorInput`](Status::ErrorInput) when the granule is still part of
    /// an object.
    pub fn granule_undelegate(&self, memory: Delegated) -> Result<Undelegated, UndelegateFailed> {
        let call = self.one_granule(Command::GranuleUndelegate, &memory);
        match call.and_then(|call| delegate_range(self, &call, &mut { Reply::EMPTY })) {
            Ok(_) => {
                let memory = memory.into_undelegated();
                self.platform().ledger().record(LedgerEvent::Returned, memory.range());
                Ok(memory)
            }
            Err(error) => Err(UndelegateFailed { error, host: Undelegated::empty(), kept: memory }),
        }
    }

    /// `RMI_REC_AUX_COUNT`: returns how many auxiliary granules a REC of this Realm needs, at
    /// most 16. The number never changes for a Realm.
    ///
    /// Source: DEN0137 1.0-rel0, RMI_REC_AUX_COUNT.
    ///
    /// # Errors
    ///
    /// [`ErrorInput`](Status::ErrorInput) when `rd` is not a Realm.
    pub fn rec_aux_count(&self, rd: &Rd) -> Result<u64, Error> {
        self.own(Command::RecAuxCount, rd)?;
        let call = Call::new(Command::RecAuxCount, Subject::Pa(rd.pa()), [rd.pa().raw()]);
        Ok(self.ask_to_the_end(&call)?.x1())
    }

    /// How many auxiliary granules a REC of this Realm needs, at most
    /// [`MAX_REC_AUX_GRANULES`](MOST_AUX). The RMM is asked once for each Realm.
    ///
    /// Source: DEN0137 1.0-rel0, RMI_REC_AUX_COUNT.
    ///
    /// # Errors
    ///
    /// As [`Channel::rec_aux_count`]; [`Error::Violation`] for a number that is too large.
    pub fn rec_aux_granules(&self, rd: &Rd) -> Result<u8, Error> {
        self.own(Command::RecAuxCount, rd)?;
        if let Some(count) = rd.aux_granules.load(Ordering::Relaxed).checked_sub(1) {
            return Ok(count);
        }
        let answer = self.rec_aux_count(rd)?;
        let count = u8::try_from(answer).ok().filter(|count| usize::from(*count) <= MOST_AUX);
        let (command, subject) = (Command::RecAuxCount, Subject::Pa(rd.pa()));
        let count = count.ok_or(Error::violation(command, Violation::Count, answer, subject))?;
        rd.aux_granules.store(count.saturating_add(1), Ordering::Relaxed);
        Ok(count)
    }

    /// `RMI_RTT_DESTROY` of a table of the unprotected half, together with memory that is shared by
    /// its entries: as much of `shared`, from its start, as the table covers is the host's again.
    /// The start must be in what the table covers.
    ///
    /// The table maps nothing any more, so that its entries need not be unmapped one by one. Only a
    /// table of the last level is destroyed so: TF-RMM v0.8.0 invalidates translations of 2 MiB,
    /// whatever the level of the table.
    ///
    /// Source: DEN0137 1.0-rel0, RMI_RTT_DESTROY: entries that map host memory do not keep a table.
    ///
    /// # Errors
    ///
    /// As [`Channel::rtt_destroy`]; [`Error::Argument`] when `rd` is not the Realm that the memory
    /// is shared with, or the level is not the last one. All of the memory is still in `shared`.
    pub fn rtt_destroy_unsharing(
        &self,
        rd: &Rd,
        shared: &mut SharedMemory,
        level: Level,
    ) -> Result<(RttDestroyed, Undelegated), Error> {
        let (command, subject) = (Command::RttDestroy, Subject::Ipa(shared.ipa()));
        if !self.dialect().destroying_table_unshares() {
            let what = "the dialect unmaps what is shared by ranges";
            return Err(Error::argument(command, what, subject));
        }
        if level != Level::L3 {
            let what = "only the last level of tables can be destroyed with what it maps";
            return Err(Error::argument(command, what, subject));
        }
        self.check_realm(command, rd, shared)?;
        let base = shared.ipa().align_down(level.table_bytes());
        let destroyed = self.rtt_destroy(rd, base, level)?;
        let offset = shared.ipa().checked_offset_from(base).unwrap_or(0);
        let bytes = level.table_bytes().saturating_sub(offset).min(shared.bytes());
        let host = shared.take_front(bytes).map(SharedMemory::unmapped);
        Ok((destroyed, host.unwrap_or_default()))
    }

    /// `RMI_DATA_CREATE`: copies the page at `offset` in `source`, host memory, into `data` and
    /// maps it at `ipa` of a new Realm.
    ///
    /// Source: DEN0137 1.0-rel0, RMI_DATA_CREATE.
    ///
    /// # Errors
    ///
    /// The granule is returned with [`ErrorRealm`](Status::ErrorRealm) unless the Realm is new,
    /// [`ErrorRtt`](Status::ErrorRtt) when a table is missing or the entry is in use (3),
    /// [`ErrorInput`](Status::ErrorInput) when the address is not protected or the source cannot be
    /// read.
    pub fn data_create(
        &self,
        rd: &Rd,
        data: Delegated,
        ipa: Ipa,
        source: &Undelegated,
        offset: u64,
        flags: DataFlags,
    ) -> Result<InUse, Failed<Delegated>> {
        let (command, subject) = (Command::DataCreate, Subject::Ipa(ipa));
        let at = self
            .require(command)
            .and_then(|()| self.source_page(command, subject, source, offset, MIN_GRANULE));
        let at = match at {
            Ok(at) => at,
            Err(error) => return Err(Failed::new(data, error)),
        };
        let args = [rd.pa().raw(), data.base().raw(), ipa.raw(), at.raw(), flags.bits()];
        // SAFETY: `data` is the RMM's, and the source page is part of a token that gives no
        // reference to it.
        unsafe { self.put_in_use(&Call::new(command, subject, args), rd, data) }
    }

    /// `RMI_DATA_CREATE_UNKNOWN`: maps delegated memory at `ipa`. The Realm must not rely on its
    /// content.
    ///
    /// Source: DEN0137 1.0-rel0, RMI_DATA_CREATE_UNKNOWN.
    ///
    /// # Errors
    ///
    /// The granule is returned with [`ErrorRtt`](Status::ErrorRtt) when a table is missing or the
    /// entry is in use (3), [`ErrorInput`](Status::ErrorInput) when the address is not protected.
    pub fn data_create_unknown(
        &self,
        rd: &Rd,
        data: Delegated,
        ipa: Ipa,
    ) -> Result<InUse, Failed<Delegated>> {
        let args = [rd.pa().raw(), data.base().raw(), ipa.raw()];
        let call = Call::new(Command::DataCreateUnknown, Subject::Ipa(ipa), args);
        // SAFETY: `data` is the RMM's.
        unsafe { self.put_in_use(&call, rd, data) }
    }

    /// `RMI_DATA_DESTROY`: unmaps the page at `ipa`. Its granule is then delegated.
    ///
    /// Source: DEN0137 1.0-rel0, RMI_DATA_DESTROY.
    ///
    /// # Errors
    ///
    /// [`ErrorRtt`](Status::ErrorRtt) when nothing is mapped there; it includes the address up to
    /// which nothing is live. Also when a block is mapped there, with the level of the block; that
    /// address is then `ipa`.
    pub fn data_destroy(&self, rd: &Rd, ipa: Ipa) -> Result<DataDestroyed, Halted<Ipa>> {
        self.own(Command::DataDestroy, rd)?;
        let args = [rd.pa().raw(), ipa.raw()];
        let call = Call::new(Command::DataDestroy, Subject::Ipa(ipa), args);
        let top = |reply: Reply| Some(Ipa::new(reply.x2())).filter(|top| *top >= ipa);
        // SAFETY: the command returns the Realm's own memory to the RMM.
        let reply = unsafe { self.complete_or_halt(&call, &[Status::ErrorRtt], top)? };
        Ok(DataDestroyed { data: Pa::new(reply.x1()), top: Ipa::new(reply.x2()) })
    }

    /// `RMI_RTT_MAP_UNPROTECTED`: maps host memory at an unprotected address of a Realm, by one
    /// entry of `level`, which the memory must fill. `lpa2` says whether the Realm was created with
    /// LPA2.
    ///
    /// Source: DEN0137 1.0-rel0, RMI_RTT_MAP_UNPROTECTED.
    ///
    /// # Errors
    ///
    /// [`ErrorRtt`](Status::ErrorRtt) when a table is missing (a smaller level) or the entry is in
    /// use (`level`); [`ErrorInput`](Status::ErrorInput) when the address is protected or the level
    /// is not 1 to 3. [`Error::Argument`] when the memory does not fill one entry, or has no
    /// descriptor.
    pub fn rtt_map_unprotected(
        &self,
        at: ShareAt<'_>,
        level: Level,
        memory: Undelegated,
        lpa2: bool,
    ) -> Result<SharedMemory, ShareFailed> {
        // Before the call: if code of the embedder panics meanwhile, no token of host memory exists
        // for what a Realm may access.
        let shared = SharedMemory::new(at.rd, at.ipa, memory);
        match self.map_entry(at, level, &shared, lpa2) {
            Ok(()) => Ok(shared),
            Err(error) => Err(ShareFailed::new(error, shared)),
        }
    }

    /// As [`Channel::rtt_map_unprotected`], for memory whose token was given up already.
    pub(super) fn map_entry(
        &self,
        at: ShareAt<'_>,
        level: Level,
        shared: &SharedMemory,
        lpa2: bool,
    ) -> Result<(), Error> {
        let command = Command::RttMapUnprotected;
        self.require(command)?;
        self.own(command, at.rd)?;
        self.own(command, shared.memory())?;
        let argument = |what| Err(Error::argument(command, what, Subject::Ipa(at.ipa)));
        if shared.bytes() != level.entry_bytes() {
            return argument("the memory does not fill one entry of the level");
        }
        let SharedAccess { memattr, permissions: s2ap, encoding } = at.access;
        if encoding != S2apEncoding::Direct {
            return argument(
                "the dialect has no other encoding of permissions than the direct one",
            );
        }
        let desc = UnprotectedDesc { address: shared.range().base(), memattr, s2ap }.encode(lpa2);
        let is_known = !matches!(memattr, MemAttr::Reserved(_));
        let Some(desc) = desc.filter(|_| is_known) else {
            return argument("the memory has no descriptor in this Realm");
        };
        let args = [at.rd.pa().raw(), at.ipa.raw(), level.to_register(), desc];
        let call = Call::new(command, Subject::Ipa(at.ipa), args);
        // SAFETY: the token of host memory was given up for one of shared memory.
        unsafe { self.complete(&call) }.map(|_| ())
    }

    /// `RMI_RTT_UNMAP_UNPROTECTED`: takes back shared memory that is mapped by one entry of
    /// `level`, from its start.
    ///
    /// Source: DEN0137 1.0-rel0, RMI_RTT_UNMAP_UNPROTECTED.
    ///
    /// # Errors
    ///
    /// [`ErrorRtt`](Status::ErrorRtt) when nothing is mapped there (up to `level`), a larger block
    /// is mapped (a smaller level), or a table is there (`level`). [`Error::Argument`] when `rd` is
    /// not the Realm that it is shared with, or the memory is less than one entry.
    /// [`Error::Violation`] when the RMM reports that something is left in the entry.
    pub fn rtt_unmap_unprotected(
        &self,
        rd: &Rd,
        mut shared: SharedMemory,
        level: Level,
    ) -> Result<Unshared, UnshareFailed> {
        match self.unmap_entry(rd, &shared, level) {
            Ok(bytes) => {
                let front = shared.take_front(bytes).map(SharedMemory::unmapped);
                Ok(Unshared { host: front.unwrap_or_default(), rest: shared })
            }
            Err(Halted { error, reached }) => {
                Err(UnshareFailed { error, kept: shared, top: reached })
            }
        }
    }

    /// As [`Channel::rtt_unmap_unprotected`], for a token that stays in place. Returns the bytes
    /// that are unmapped.
    pub(super) fn unmap_entry(
        &self,
        rd: &Rd,
        shared: &SharedMemory,
        level: Level,
    ) -> Result<u64, Halted<Ipa>> {
        let command = Command::RttUnmapUnprotected;
        let (ipa, bytes) = (shared.ipa(), level.entry_bytes());
        self.check_realm(command, rd, shared)?;
        if shared.bytes() < bytes {
            let what = "the memory is less than one entry of the level";
            return Err(Error::argument(command, what, Subject::Ipa(ipa)).into());
        }
        let args = [rd.pa().raw(), ipa.raw(), level.to_register()];
        let call = Call::new(command, Subject::Ipa(ipa), args);
        let top = |reply: Reply| Some(Ipa::new(reply.x1())).filter(|top| *top >= ipa);
        // SAFETY: the command removes memory from a Realm and gives nobody access to any.
        let reply = unsafe { self.complete_or_halt(&call, &[Status::ErrorRtt], top)? };
        // Nothing is live in the entry any more.
        match reply.x1().checked_sub(ipa.raw()) {
            Some(passed) if passed >= bytes => Ok(bytes),
            _ => {
                let (violation, subject) = (Violation::Progress, Subject::Ipa(ipa));
                Err(Error::violation(command, violation, reply.x1(), subject).into())
            }
        }
    }
}
