//! Commands about translation tables and the memory that they map.
#![expect(unsafe_code, reason = "calls go through the conduit")]

use rmi_abi::desc::{AddrRangeDesc, BlockSize, OpMemState};
use rmi_abi::flags::{AddrSet, DataFlags};
use rmi_abi::rtt::{Level, Ripas, RttEntryState};
use rmi_abi::{Command, Ipa, IpaRange, Pa, PaRange, Status};

use crate::channel::{Call, Channel, Reply};
use crate::command::{Halted, Rd, RecName};
use crate::error::{Error, Failed, Subject, Violation};
use crate::granules::{Delegated, InUse, Undelegated};
use crate::platform::Platform;

/// How much of the given memory `RMI_RTT_DATA_MAP` mapped.
///
/// ```
/// # use rmi_abi::{Dialect, Ipa, IpaRange};
/// # use rmi_abi::desc::BlockSize;
/// # use rmi_abi::rtt::{Level, RttEntryState};
/// # use rmi_abi::realm::RealmParams;
/// # use rmi_abi::rtt::Geometry;
/// # use rmi_host::{Rd, Undelegated};
/// # use rmm_model::{Model, Options};
/// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// # let mut memory = model.take_memory();
/// # let rmm = rmm_model::open(model.host(), &mut memory)?;
/// # let granule = |memory: &mut Undelegated| rmm.delegate(memory.take_front(0x1000).unwrap());
/// # let (rd, root, mut page) =
/// #     (granule(&mut memory)?, granule(&mut memory)?, memory.take_front(0x1000).unwrap());
/// # let params = RealmParams::new(Geometry::new(40)?, root.base()).encode(rmm.dialect())?;
/// # rmm.commands().realm_create(&rd, &mut page, &params)?;
/// # let rd = Rd::new(rd);
/// # for level in [Level::L1, Level::L2, Level::L3] {
/// #     let table = granule(&mut memory)?;
/// #     rmm.commands().rtt_create(&rd, table, Ipa::new(0), level)?;
/// # }
/// let ipa = Ipa::new(0x8000);
/// let data = rmm.delegate(memory.take_front(0x4000).expect("1 GiB"))?;
/// let done = rmm.commands().rtt_data_map(&rd, ipa, data, BlockSize::Page)?;
/// assert!(done.rest.is_empty()); // it may stop anywhere; call again for the rest
///
/// let entry = rmm.commands().rtt_read_entry(&rd, ipa, Level::L3)?;
/// assert_eq!((entry.level, entry.state), (Some(Level::L3), RttEntryState::Data));
///
/// let unmapped = rmm.commands().rtt_data_unmap(&rd, IpaRange::with_size(ipa, 0x4000)?)?;
/// assert_eq!(unmapped.memory, Some(done.mapped.range()));
/// rmm.undelegate(done.mapped.into_released())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping it leaks the memory"]
pub struct Mapped {
    /// The part that is now mapped, from the front.
    pub mapped: InUse,
    /// The part that is not.
    pub rest: Delegated,
}

/// What `RMI_RTT_DATA_UNMAP` did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unmapped {
    /// How far the command came; everything below this address is unmapped.
    pub top: Ipa,
    /// The run of memory that is no longer mapped and now delegated; `None` when nothing was
    /// mapped.
    pub memory: Option<PaRange>,
}

/// A destroyed table.
///
/// ```
/// # use rmi_abi::{Dialect, Ipa};
/// # use rmi_abi::rtt::Level;
/// # use rmi_abi::realm::RealmParams;
/// # use rmi_abi::rtt::Geometry;
/// # use rmi_host::{Rd, Undelegated};
/// # use rmm_model::{Model, Options};
/// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// # let mut memory = model.take_memory();
/// # let rmm = rmm_model::open(model.host(), &mut memory)?;
/// # let granule = |memory: &mut Undelegated| rmm.delegate(memory.take_front(0x1000).unwrap());
/// # let (rd, root, mut page) =
/// #     (granule(&mut memory)?, granule(&mut memory)?, memory.take_front(0x1000).unwrap());
/// # let params = RealmParams::new(Geometry::new(40)?, root.base()).encode(rmm.dialect())?;
/// # rmm.commands().realm_create(&rd, &mut page, &params)?;
/// # let rd = Rd::new(rd);
/// let table = rmm.delegate(memory.take_front(0x1000).expect("1 GiB"))?;
/// let table = rmm.commands().rtt_create(&rd, table, Ipa::new(0), Level::L1)?;
///
/// let destroyed = rmm.commands().rtt_destroy(&rd, Ipa::new(0), Level::L1)?;
/// // The RMM names the granule. Whoever made the table has its token.
/// assert_eq!(destroyed.table, table.base());
/// rmm.undelegate(table.into_released())?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RttDestroyed {
    /// Its granule, now delegated.
    pub table: Pa,
    /// Where the next live entry may be; the RMM may report an address beyond the Realm's IPA
    /// space.
    pub top: Ipa,
}

/// A translation table entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RttEntry {
    /// The level that the walk reached, smaller than the requested one when a table is missing.
    /// `None` for a number that is not a level.
    pub level: Option<Level>,
    /// What the entry is.
    pub state: RttEntryState,
    /// Its output address and attributes, as the RMM encodes them.
    pub desc: u64,
    /// The RIPAS.
    pub ripas: Ripas,
}

fn byte(register: u64) -> u8 {
    let [low, ..] = register.to_le_bytes();
    low
}

impl<P: Platform> Channel<P> {
    /// Carries out a command that makes a delegated granule part of an object. Less than a granule
    /// is refused before the call: the RMM would take more than the token.
    ///
    /// # Safety
    ///
    /// As [`Channel::complete`].
    pub(super) unsafe fn put_in_use(
        &self,
        call: &Call,
        rd: &Rd,
        granule: Delegated,
    ) -> Result<InUse, Failed<Delegated>> {
        let is_whole = granule.bytes() >= self.granule_size().bytes();
        let what = "the token is for less than a granule";
        let owned = self.own(call.command, rd).and_then(|()| self.own(call.command, &granule));
        let owned = match owned {
            Ok(()) if !is_whole => Err(Error::argument(call.command, what, call.subject)),
            owned => owned,
        };
        // SAFETY: the caller upholds the same contract.
        let result = owned.and_then(|()| unsafe { self.complete(call) });
        match result {
            Ok(_) => Ok(granule.into_use()),
            Err(error) => Err(Failed::new(granule, error)),
        }
    }

    fn table_call(
        &self,
        command: Command,
        rd: &Rd,
        ipa: Ipa,
        level: Level,
    ) -> Result<Reply, Error> {
        let call =
            Call::new(command, Subject::Ipa(ipa), [rd.pa().raw(), ipa.raw(), level.to_register()]);
        // SAFETY: the command accesses no memory except the Realm's own tables.
        unsafe { self.complete(&call) }
    }

    /// `RMI_RTT_CREATE`: makes `table` the table of `level` that covers `ipa`. A block that is
    /// mapped there is split.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_CREATE.
    ///
    /// # Errors
    ///
    /// The granule is returned with [`ErrorRtt`](rmi_abi::Status::ErrorRtt) when the parent table
    /// is missing (its level is below `level` minus one) or the table exists (`level` minus one).
    pub fn rtt_create(
        &self,
        rd: &Rd,
        table: Delegated,
        ipa: Ipa,
        level: Level,
    ) -> Result<InUse, Failed<Delegated>> {
        let args = [rd.pa().raw(), table.base().raw(), ipa.raw(), level.to_register()];
        let call = Call::new(Command::RttCreate, Subject::Ipa(ipa), args);
        // SAFETY: all granules named are the RMM's.
        unsafe { self.put_in_use(&call, rd, table) }
    }

    /// `RMI_RTT_DESTROY`: removes the table of `level` that covers `ipa`. Its granule is then
    /// delegated.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_DESTROY.
    ///
    /// # Errors
    ///
    /// [`ErrorRtt`](rmi_abi::Status::ErrorRtt) when the table is missing (a smaller level) or has
    /// live entries (`level`).
    pub fn rtt_destroy(&self, rd: &Rd, ipa: Ipa, level: Level) -> Result<RttDestroyed, Error> {
        self.own(Command::RttDestroy, rd)?;
        let reply = self.table_call(Command::RttDestroy, rd, ipa, level)?;
        Ok(RttDestroyed { table: Pa::new(reply.x1()), top: Ipa::new(reply.x2()) })
    }

    /// `RMI_RTT_READ_ENTRY`: reads the entry of `level` that covers `ipa`, or the one above that a
    /// shorter walk reaches.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_READ_ENTRY.
    ///
    /// # Errors
    ///
    /// [`Error`].
    pub fn rtt_read_entry(&self, rd: &Rd, ipa: Ipa, level: Level) -> Result<RttEntry, Error> {
        self.own(Command::RttReadEntry, rd)?;
        let reply = self.table_call(Command::RttReadEntry, rd, ipa, level)?;
        Ok(RttEntry {
            level: Level::from_register(reply.x1()),
            state: RttEntryState::from(byte(reply.x2())),
            desc: reply.x3(),
            ripas: Ripas::from(byte(reply.x4())),
        })
    }

    /// `RMI_RTT_INIT_RIPAS`: sets the RIPAS of a range of a new Realm to RAM and returns how far it
    /// came. Where no table exists, the whole entry is set at its level.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_INIT_RIPAS.
    ///
    /// # Errors
    ///
    /// [`ErrorRtt`](rmi_abi::Status::ErrorRtt) when the first entry is larger than the range: a
    /// table of the next level is missing.
    pub fn rtt_init_ripas(&self, rd: &Rd, range: IpaRange) -> Result<Ipa, Error> {
        self.own(Command::RttInitRipas, rd)?;
        let args = [rd.pa().raw(), range.base().raw(), range.top().raw()];
        let call = Call::new(Command::RttInitRipas, Subject::Ipa(range.base()), args);
        // SAFETY: the command accesses no memory except the Realm's own tables.
        let reply = unsafe { self.complete(&call)? };
        self.progress(&call, range, reply.x1())
    }

    /// `RMI_RTT_SET_RIPAS`: applies the RIPAS change that `rec` requested to a range that starts at
    /// the current position of the request, and returns how far it came.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_SET_RIPAS.
    ///
    /// # Errors
    ///
    /// [`ErrorInput`](rmi_abi::Status::ErrorInput) when the range is not what the REC requested,
    /// [`ErrorRtt`](rmi_abi::Status::ErrorRtt) when a table is missing.
    pub fn rtt_set_ripas(&self, rd: &Rd, rec: RecName<'_>, range: IpaRange) -> Result<Ipa, Error> {
        self.own(Command::RttSetRipas, rd)?;
        self.own(Command::RttSetRipas, &rec)?;
        let args = [rd.pa().raw(), rec.pa().raw(), range.base().raw(), range.top().raw()];
        let call = Call::new(Command::RttSetRipas, Subject::Ipa(range.base()), args);
        // SAFETY: the command accesses no memory except the Realm's own tables.
        let reply = unsafe { self.complete(&call)? };
        self.progress(&call, range, reply.x1())
    }

    /// `RMI_RTT_DATA_MAP_INIT`: copies the page at `offset` in `source`, host memory, into `data`
    /// and maps it at `ipa` of a new Realm. In 1.0 that is `RMI_DATA_CREATE`.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_DATA_MAP_INIT; 1.0-rel0, RMI_DATA_CREATE.
    ///
    /// # Errors
    ///
    /// The granule is returned with [`ErrorRealm`](rmi_abi::Status::ErrorRealm) unless the Realm is
    /// new, [`ErrorRtt`](rmi_abi::Status::ErrorRtt) when a table is missing or the entry is in use
    /// (3).
    pub fn rtt_data_map_init(
        &self,
        rd: &Rd,
        data: Delegated,
        ipa: Ipa,
        source: &Undelegated,
        offset: u64,
        flags: DataFlags,
    ) -> Result<InUse, Failed<Delegated>> {
        if !self.dialect().is_2_0() {
            return self.data_create(rd, data, ipa, source, offset, flags);
        }
        let (command, subject) = (Command::RttDataMapInit, Subject::Ipa(ipa));
        let at = match self.source_page(command, subject, source, offset, data.bytes()) {
            Ok(at) => at,
            Err(error) => return Err(Failed::new(data, error)),
        };
        let args = [rd.pa().raw(), data.base().raw(), ipa.raw(), at.raw(), flags.bits()];
        let call = Call::new(command, subject, args);
        // SAFETY: the RMM reads the source, which the token owns and gives no reference to; `data`
        // is already the RMM's.
        unsafe { self.put_in_use(&call, rd, data) }
    }

    /// `RMI_RTT_DATA_MAP`: maps delegated memory at `ipa`, in blocks of `size`. The Realm must not
    /// rely on its content. Returns how much was mapped: an RMM may stop anywhere, and no progress
    /// means "not now".
    ///
    /// In 1.0 this is one `RMI_DATA_CREATE_UNKNOWN`, which maps the first page.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_DATA_MAP; 1.0-rel0, RMI_DATA_CREATE_UNKNOWN.
    ///
    /// # Errors
    ///
    /// The memory is returned with [`ErrorRtt`](rmi_abi::Status::ErrorRtt) when a table is missing
    /// or the first entry is in use, and with [`Error::Argument`] when it is not a whole number of
    /// blocks or exceeds one descriptor, and for blocks larger than a page in 1.0.
    pub fn rtt_data_map(
        &self,
        rd: &Rd,
        ipa: Ipa,
        mut memory: Delegated,
        size: BlockSize,
    ) -> Result<Mapped, Failed<Delegated>> {
        let granule = self.granule_size();
        let command = Command::RttDataMap;
        let subject = Subject::Ipa(ipa);
        if let Err(error) = self.own(command, rd).and_then(|()| self.own(command, &memory)) {
            return Err(Failed::new(memory, error));
        }
        if !self.dialect().is_2_0() {
            let first = (memory.base(), memory.bytes());
            // SAFETY: the page is the RMM's, as the token shows.
            return match unsafe { self.map_first_page(rd, ipa, first, size) } {
                Ok(bytes) => {
                    let mapped = memory.take_front(bytes).unwrap_or_default().into_use();
                    Ok(Mapped { mapped, rest: memory })
                }
                Err(error) => Err(Failed::new(memory, error)),
            };
        }
        let argument = |what| Error::argument(command, what, subject);
        let word = AddrRangeDesc::from_range(&memory.range(), size, OpMemState::Delegated, granule)
            .and_then(|desc| desc.encode(self.dialect(), granule).ok());
        let range = IpaRange::with_size(ipa, memory.bytes());
        let (Some(word), Ok(range)) = (word, range) else {
            return Err(Failed::new(memory, argument("the memory has no single descriptor")));
        };
        let args =
            [rd.pa().raw(), range.base().raw(), range.top().raw(), AddrSet::Single.encode(), word];
        let call = Call::new(command, subject, args);
        // SAFETY: all granules named are the RMM's.
        let reply = match unsafe { self.complete(&call) } {
            Ok(reply) => reply,
            Err(error) => return Err(Failed::new(memory, error)),
        };
        // A map command that is interrupted before its first entry succeeds without progress
        // (TF-RMM, July 2026).
        let bytes = reply.x1().checked_sub(ipa.raw());
        match bytes
            .filter(|bytes| bytes.is_multiple_of(size.bytes(granule)))
            .and_then(|bytes| memory.take_front(bytes))
        {
            Some(mapped) => Ok(Mapped { mapped: mapped.into_use(), rest: memory }),
            None => {
                let violation = Violation::Progress;
                Err(Failed::new(memory, Error::violation(command, violation, reply.x1(), subject)))
            }
        }
    }

    /// `RMI_RTT_DATA_UNMAP`: unmaps from the start of `range` up to where the RMM stops, and
    /// returns the contiguous run of memory that was mapped there; no progress means "not now". The
    /// memory is then delegated.
    ///
    /// The caller checks the run against what it mapped.
    ///
    /// In 1.0 this is one `RMI_DATA_DESTROY`. It unmaps the first page, or comes as far as the RMM
    /// says that nothing is mapped.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_DATA_UNMAP; 1.0-rel0, RMI_DATA_DESTROY.
    ///
    /// # Errors
    ///
    /// [`ErrorRtt`](rmi_abi::Status::ErrorRtt) when the first entry is larger than the range; in
    /// 1.0 when it is any block, which has to be split first. [`Error::Violation`] when what a 1.0
    /// RMM reports to have unmapped is not a page.
    pub fn rtt_data_unmap(&self, rd: &Rd, range: IpaRange) -> Result<Unmapped, Error> {
        let granule = self.granule_size();
        self.own(Command::RttDataUnmap, rd)?;
        if !self.dialect().is_2_0() {
            return self.unmap_first_page(rd, range);
        }
        self.unmap_single(Command::RttDataUnmap, rd.pa(), range, granule)
    }

    /// `RMI_RTT_DESTROY`: as [`Channel::rtt_destroy`]; a refusal includes the address to continue
    /// at.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_DESTROY.
    ///
    /// # Errors
    ///
    /// As [`Channel::rtt_destroy`]. [`ErrorRtt`](rmi_abi::Status::ErrorRtt) includes the address up
    /// to which nothing is live: past the table when it is missing, `ipa` itself when the table has
    /// live entries or a block is in its place. It may lie beyond the Realm's IPA space.
    pub fn rtt_destroy_or_skip(
        &self,
        rd: &Rd,
        ipa: Ipa,
        level: Level,
    ) -> Result<RttDestroyed, Halted<Ipa>> {
        self.own(Command::RttDestroy, rd)?;
        let args = [rd.pa().raw(), ipa.raw(), level.to_register()];
        self.destroy_table(&Call::new(Command::RttDestroy, Subject::Ipa(ipa), args), ipa)
    }

    /// Destroys a table of any tree.
    pub(super) fn destroy_table(&self, call: &Call, ipa: Ipa) -> Result<RttDestroyed, Halted<Ipa>> {
        let telling = [Status::ErrorRtt, Status::ErrorRttAux];
        let top = |reply: Reply| Some(Ipa::new(reply.x2())).filter(|top| *top >= ipa);
        // SAFETY: the command accesses no memory except the Realm's own tables.
        let reply = unsafe { self.complete_or_halt(call, &telling, top)? };
        Ok(RttDestroyed { table: Pa::new(reply.x1()), top: Ipa::new(reply.x2()) })
    }

    /// `RMI_RTT_FOLD`: replaces the table of `level` that covers `ipa` by one entry of its parent,
    /// and returns the address of its granule, which is then delegated.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_FOLD.
    ///
    /// # Errors
    ///
    /// [`ErrorInput`](rmi_abi::Status::ErrorInput) for a level or an address that has no table;
    /// [`ErrorRtt`](rmi_abi::Status::ErrorRtt) when the table is missing (a smaller level), its
    /// entries are not all alike and contiguous (`level`), or the block would be too large or an
    /// auxiliary tree uses the table (`level` minus one).
    pub fn rtt_fold(&self, rd: &Rd, ipa: Ipa, level: Level) -> Result<Pa, Error> {
        self.own(Command::RttFold, rd)?;
        Ok(Pa::new(self.table_call(Command::RttFold, rd, ipa, level)?.x1()))
    }

    /// `RMI_RTT_SET_RIPAS`: as [`Channel::rtt_set_ripas`]; a refusal because of an auxiliary tree
    /// includes how far the command came.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_SET_RIPAS.
    ///
    /// # Errors
    ///
    /// As [`Channel::rtt_set_ripas`], and [`ErrorRec`](rmi_abi::Status::ErrorRec) when the REC is
    /// running or belongs to another Realm. With [`ErrorRttAux`](rmi_abi::Status::ErrorRttAux) (an
    /// auxiliary tree still maps the memory) TF-RMM reports up to where the change was made.
    pub fn rtt_set_ripas_or_halt(
        &self,
        rd: &Rd,
        rec: RecName<'_>,
        range: IpaRange,
    ) -> Result<Ipa, Halted<Ipa>> {
        self.own(Command::RttSetRipas, rd)?;
        self.own(Command::RttSetRipas, &rec)?;
        let args = [rd.pa().raw(), rec.pa().raw(), range.base().raw(), range.top().raw()];
        let call = Call::new(Command::RttSetRipas, Subject::Ipa(range.base()), args);
        let reached = |reply: Reply| self.reach(&call, range.base(), range.top(), reply.x1()).ok();
        // SAFETY: the command accesses no memory except the Realm's own tables.
        let reply = unsafe { self.complete_or_halt(&call, &[Status::ErrorRttAux], reached)? };
        self.progress(&call, range, reply.x1()).map_err(|error| Halted { error, reached: None })
    }
}
