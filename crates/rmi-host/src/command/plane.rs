//! Commands about planes: auxiliary translation trees, and stage 2 permissions.
//!
//! Tree 0 is the primary one, on which all other commands operate; a Realm with a tree per plane
//! has up to three more. A mapping in an auxiliary tree maps what the primary one maps, so it needs
//! no further memory; it is removed before the mapping in the primary tree is.
#![expect(unsafe_code, reason = "calls go through the conduit")]

use rmi_abi::flags::{AuxMapFlags, AuxUnmapFlags};
use rmi_abi::rtt::{Level, Ripas, RttEntryState};
use rmi_abi::{Command, Ipa, IpaRange, Pa, Status};

use crate::channel::{Call, Channel, Reply};
use crate::command::tracking::code;
use crate::command::{Halted, Rd, RecName, RttDestroyed};
use crate::error::{Error, Failed, Subject};
use crate::granules::{Delegated, InUse};
use crate::platform::Platform;

/// An auxiliary tree of a Realm: 1 to 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AuxTree(u8);

impl AuxTree {
    /// The tree with that index, 1 to 3.
    #[must_use]
    pub const fn new(index: u8) -> Option<Self> {
        if index >= 1 && index <= 3 { Some(Self(index)) } else { None }
    }

    /// The index, 1 to 3.
    #[must_use]
    pub const fn index(self) -> u8 {
        self.0
    }

    fn register(self) -> u64 {
        self.0.into()
    }
}

/// The entry that prevents a mapping in an auxiliary tree (TF-RMM, July 2026).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuxObstacle {
    /// The tree that the entry belongs to: 0 for the primary one.
    pub tree: u64,
    /// Level of the entry; `None` for a number that is not a level.
    pub level: Option<Level>,
    /// What the entry is.
    pub state: RttEntryState,
    /// Its RIPAS; `None` where the command does not report it.
    pub ripas: Option<Ripas>,
}

/// What an unmap command of an auxiliary tree did (TF-RMM, July 2026).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuxUnmapped {
    /// Where the next live entry may be.
    pub top: Ipa,
    /// Level of the entry that was unmapped; `None` where the command does not report it, and for a
    /// number that is not a level.
    pub level: Option<Level>,
}

/// How far a change of stage 2 permissions came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct S2apProgress {
    /// The permissions are changed up to here.
    pub top: Ipa,
    /// In this tree.
    pub tree: u64,
}

const WALKS: [Status; 2] = [Status::ErrorRtt, Status::ErrorRttAux];

impl<P: Platform> Channel<P> {
    fn aux_call(&self, command: Command, rd: &Rd, tree: AuxTree, ipa: Ipa, level: Level) -> Call {
        let args = [rd.pa().raw(), ipa.raw(), level.to_register(), tree.register()];
        Call::new(command, Subject::Ipa(ipa), args)
    }

    /// `RMI_RTT_AUX_CREATE`: makes `table` the table of `level` that covers `ipa` in an auxiliary
    /// tree.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_AUX_CREATE.
    ///
    /// # Errors
    ///
    /// The granule is returned with [`ErrorRttAux`](Status::ErrorRttAux) when the parent table is
    /// missing (its level is below `level` minus one) or the table exists (`level` minus one),
    /// [`ErrorInput`](Status::ErrorInput) when the Realm has no such tree,
    /// [`ErrorTracking`](Status::ErrorTracking) when the granule is not tracked at granule
    /// granularity.
    pub fn rtt_aux_create(
        &self,
        rd: &Rd,
        tree: AuxTree,
        table: Delegated,
        ipa: Ipa,
        level: Level,
    ) -> Result<InUse, Failed<Delegated>> {
        let level = level.to_register();
        let args = [rd.pa().raw(), table.base().raw(), ipa.raw(), level, tree.register()];
        let call = Call::new(Command::RttAuxCreate, Subject::Ipa(ipa), args);
        // SAFETY: all granules named are the RMM's.
        unsafe { self.put_in_use(&call, rd, table) }
    }

    /// `RMI_RTT_AUX_DESTROY`: removes the table of `level` that covers `ipa` from an auxiliary
    /// tree. Its granule is then delegated.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_AUX_DESTROY.
    ///
    /// # Errors
    ///
    /// [`ErrorRttAux`](Status::ErrorRttAux) when the table is missing (a smaller level) or has live
    /// entries (`level`); it includes the address up to which nothing is live.
    /// [`ErrorInput`](Status::ErrorInput) when the Realm has no such tree.
    pub fn rtt_aux_destroy(
        &self,
        rd: &Rd,
        tree: AuxTree,
        ipa: Ipa,
        level: Level,
    ) -> Result<RttDestroyed, Halted<Ipa>> {
        self.own(Command::RttAuxDestroy, rd)?;
        self.destroy_table(&self.aux_call(Command::RttAuxDestroy, rd, tree, ipa, level), ipa)
    }

    /// `RMI_RTT_AUX_FOLD`: replaces the table of `level` that covers `ipa` in an auxiliary tree by
    /// one entry of its parent, and returns the address of its granule, which is then delegated.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_AUX_FOLD.
    ///
    /// # Errors
    ///
    /// [`ErrorRttAux`](Status::ErrorRttAux) as [`ErrorRtt`](Status::ErrorRtt) of
    /// [`Channel::rtt_fold`]; [`ErrorInput`](Status::ErrorInput) when the Realm has no such tree.
    pub fn rtt_aux_fold(
        &self,
        rd: &Rd,
        tree: AuxTree,
        ipa: Ipa,
        level: Level,
    ) -> Result<Pa, Error> {
        self.own(Command::RttAuxFold, rd)?;
        let call = self.aux_call(Command::RttAuxFold, rd, tree, ipa, level);
        // SAFETY: the command accesses no memory except the Realm's own tables.
        Ok(Pa::new(unsafe { self.complete(&call)? }.x1()))
    }

    fn aux_entry(&self, command: Command, rd: &Rd, tree: AuxTree, ipa: Ipa) -> Call {
        Call::new(command, Subject::Ipa(ipa), [rd.pa().raw(), ipa.raw(), tree.register()])
    }

    /// `RMI_RTT_AUX_MAP_PROTECTED`: maps in an auxiliary tree what the primary one maps at a
    /// protected address, by one entry.
    ///
    /// Source: TF-RMM (July 2026), RMI_RTT_AUX_MAP_PROTECTED, after a draft of 1.1.
    ///
    /// # Errors
    ///
    /// [`ErrorRtt`](Status::ErrorRtt) or [`ErrorRttAux`](Status::ErrorRttAux) when an entry of the
    /// primary or the auxiliary tree prevents the mapping; the error includes that entry;
    /// [`ErrorInput`](Status::ErrorInput) when the Realm has no such tree.
    pub fn rtt_aux_map_protected(
        &self,
        rd: &Rd,
        tree: AuxTree,
        ipa: Ipa,
    ) -> Result<(), Halted<AuxObstacle>> {
        self.own(Command::RttAuxMapProtected, rd)?;
        let call = self.aux_entry(Command::RttAuxMapProtected, rd, tree, ipa);
        let obstacle = |reply: Reply| {
            let ripas = Some(Ripas::from(code(reply.x4())));
            Some(AuxObstacle { ripas, ..AuxObstacle::of(reply) })
        };
        // SAFETY: the Realm already has all memory that the command names.
        unsafe { self.complete_or_halt(&call, &WALKS, obstacle) }.map(|_| ())
    }

    /// `RMI_RTT_AUX_MAP_UNPROTECTED`: maps in an auxiliary tree what the primary one maps at an
    /// unprotected address, by one entry.
    ///
    /// Source: TF-RMM (July 2026), RMI_RTT_AUX_MAP_UNPROTECTED, after a draft of 1.1.
    ///
    /// # Errors
    ///
    /// As [`Channel::rtt_aux_map_protected`].
    ///
    /// # Safety
    ///
    /// The entry maps host memory that a [`SharedMemory`](crate::SharedMemory) represents. The
    /// caller removes it from the auxiliary tree before that memory is unmapped from the primary
    /// one: no document says that the RMM ensures it. Where the entry refers to a table, the
    /// auxiliary tree uses the primary tree's own, which an RMM does not destroy or fold meanwhile
    /// (RMI_RTT_DESTROY of DEN0137 2.0-bet3: an address that is auxiliary-referenced); then it is
    /// enough that no plane's translations of the memory are left when it is used for something
    /// else. TF-RMM (July 2026) invalidates those of the primary tree's plane only when it unmaps,
    /// and those of the first page of the root entry only when it removes the entry from an
    /// auxiliary tree.
    pub unsafe fn rtt_aux_map_unprotected(
        &self,
        rd: &Rd,
        tree: AuxTree,
        ipa: Ipa,
    ) -> Result<(), Halted<AuxObstacle>> {
        self.own(Command::RttAuxMapUnprotected, rd)?;
        let call = self.aux_entry(Command::RttAuxMapUnprotected, rd, tree, ipa);
        let obstacle = |reply| Some(AuxObstacle::of(reply));
        // SAFETY: the primary tree maps the memory already, and the caller keeps the two trees
        // consistent.
        unsafe { self.complete_or_halt(&call, &WALKS, obstacle) }.map(|_| ())
    }

    fn aux_unmap(&self, call: &Call, ipa: Ipa) -> Result<AuxUnmapped, Halted<Ipa>> {
        let top = |reply: Reply| Some(Ipa::new(reply.x1())).filter(|top| *top >= ipa);
        // SAFETY: the command removes memory from a Realm and gives nobody access to any.
        let reply = unsafe { self.complete_or_halt(call, &WALKS, top)? };
        let level = self.output(call.command, &reply, "level").and_then(Level::from_register);
        Ok(AuxUnmapped { top: Ipa::new(reply.x1()), level })
    }

    /// `RMI_RTT_AUX_UNMAP_PROTECTED`: unmaps one entry at a protected address of an auxiliary tree.
    ///
    /// Source: TF-RMM (July 2026), RMI_RTT_AUX_UNMAP_PROTECTED, after a draft of 1.1.
    ///
    /// # Errors
    ///
    /// [`ErrorRttAux`](Status::ErrorRttAux) when nothing is mapped there; it includes the address
    /// up to which nothing is live, if the RMM reports it. [`ErrorInput`](Status::ErrorInput) when
    /// the Realm has no such tree.
    pub fn rtt_aux_unmap_protected(
        &self,
        rd: &Rd,
        tree: AuxTree,
        ipa: Ipa,
    ) -> Result<AuxUnmapped, Halted<Ipa>> {
        self.own(Command::RttAuxUnmapProtected, rd)?;
        self.aux_unmap(&self.aux_entry(Command::RttAuxUnmapProtected, rd, tree, ipa), ipa)
    }

    /// `RMI_RTT_AUX_UNMAP_UNPROTECTED`: unmaps one entry at an unprotected address of an auxiliary
    /// tree.
    ///
    /// Source: TF-RMM (July 2026), RMI_RTT_AUX_UNMAP_UNPROTECTED, after a draft of 1.1.
    ///
    /// # Errors
    ///
    /// As [`Channel::rtt_aux_unmap_protected`].
    pub fn rtt_aux_unmap_unprotected(
        &self,
        rd: &Rd,
        tree: AuxTree,
        ipa: Ipa,
    ) -> Result<AuxUnmapped, Halted<Ipa>> {
        self.own(Command::RttAuxUnmapUnprotected, rd)?;
        self.aux_unmap(&self.aux_entry(Command::RttAuxUnmapUnprotected, rd, tree, ipa), ipa)
    }

    /// # Safety
    ///
    /// Whoever the command gives the memory to must be allowed to access it.
    unsafe fn aux_range(
        &self,
        command: Command,
        rd: &Rd,
        range: IpaRange,
        flags: u64,
    ) -> Result<Ipa, Error> {
        let args = [rd.pa().raw(), range.base().raw(), range.top().raw(), flags];
        let call = Call::new(command, Subject::Ipa(range.base()), args);
        // SAFETY: the caller upholds the same contract.
        let reply = unsafe { self.complete(&call)? };
        self.reach(&call, range.base(), range.top(), reply.x1())
    }

    /// `RMI_RTT_AUX_PROT_MAP`: maps in an auxiliary tree what the primary one maps at a range of
    /// protected addresses, and returns how far it came; no progress means "not now".
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_AUX_PROT_MAP.
    ///
    /// # Errors
    ///
    /// [`ErrorRtt`](Status::ErrorRtt) for the first entry of the primary tree,
    /// [`ErrorRttAux`](Status::ErrorRttAux) for that of the auxiliary one: destroyed, or of another
    /// size; [`ErrorInput`](Status::ErrorInput) when the Realm has no such tree or the range is not
    /// aligned to the entry.
    pub fn rtt_aux_prot_map(
        &self,
        rd: &Rd,
        range: IpaRange,
        flags: AuxMapFlags,
    ) -> Result<Ipa, Error> {
        self.own(Command::RttAuxProtMap, rd)?;
        // SAFETY: the Realm already has all memory that the command names.
        unsafe { self.aux_range(Command::RttAuxProtMap, rd, range, flags.encode()) }
    }

    /// `RMI_RTT_AUX_PROT_UNMAP`: unmaps a range of protected addresses in an auxiliary tree, and
    /// returns how far it came; no progress means "not now".
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_AUX_PROT_UNMAP.
    ///
    /// # Errors
    ///
    /// [`ErrorRttAux`](Status::ErrorRttAux) for the first entry; [`ErrorInput`](Status::ErrorInput)
    /// when the Realm has no such tree or the range is not aligned to the entry.
    pub fn rtt_aux_prot_unmap(
        &self,
        rd: &Rd,
        range: IpaRange,
        flags: AuxUnmapFlags,
    ) -> Result<Ipa, Error> {
        self.own(Command::RttAuxProtUnmap, rd)?;
        // SAFETY: the command removes memory from a Realm and gives nobody access to any.
        unsafe { self.aux_range(Command::RttAuxProtUnmap, rd, range, flags.encode()) }
    }

    /// `RMI_RTT_AUX_UNPROT_MAP`: maps in an auxiliary tree what the primary one maps at a range of
    /// unprotected addresses, and returns how far it came; no progress means "not now".
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_AUX_UNPROT_MAP.
    ///
    /// # Errors
    ///
    /// [`ErrorRttAux`](Status::ErrorRttAux) for the first entry; [`ErrorInput`](Status::ErrorInput)
    /// when the Realm has no such tree or the range is not aligned to the entry.
    ///
    /// # Safety
    ///
    /// As [`Channel::rtt_aux_map_unprotected`].
    pub unsafe fn rtt_aux_unprot_map(
        &self,
        rd: &Rd,
        range: IpaRange,
        flags: AuxMapFlags,
    ) -> Result<Ipa, Error> {
        self.own(Command::RttAuxUnprotMap, rd)?;
        // SAFETY: the primary tree maps the memory already, and the caller keeps the two trees
        // consistent.
        unsafe { self.aux_range(Command::RttAuxUnprotMap, rd, range, flags.encode()) }
    }

    /// `RMI_RTT_AUX_UNPROT_UNMAP`: unmaps a range of unprotected addresses in an auxiliary tree,
    /// and returns how far it came; no progress means "not now".
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_AUX_UNPROT_UNMAP.
    ///
    /// # Errors
    ///
    /// As [`Channel::rtt_aux_prot_unmap`].
    pub fn rtt_aux_unprot_unmap(
        &self,
        rd: &Rd,
        range: IpaRange,
        flags: AuxUnmapFlags,
    ) -> Result<Ipa, Error> {
        self.own(Command::RttAuxUnprotUnmap, rd)?;
        // SAFETY: the command removes memory from a Realm and gives nobody access to any.
        unsafe { self.aux_range(Command::RttAuxUnprotUnmap, rd, range, flags.encode()) }
    }

    /// `RMI_RTT_SET_S2AP`: applies the change of stage 2 permissions that `rec` requested to a
    /// range that starts at the current position of the request. Returns how far it came, and in
    /// which tree: with a tree per plane the Realm requests one after the other.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_SET_S2AP.
    ///
    /// # Errors
    ///
    /// [`ErrorRtt`](Status::ErrorRtt) when the first entry of the primary tree does not fit,
    /// [`ErrorRttAux`](Status::ErrorRttAux) for another tree; both include where it stopped.
    /// [`ErrorInput`](Status::ErrorInput) when the range is not what the REC requested,
    /// [`ErrorRec`](Status::ErrorRec) when the REC is running or belongs to another Realm.
    pub fn rtt_set_s2ap(
        &self,
        rd: &Rd,
        rec: RecName<'_>,
        range: IpaRange,
    ) -> Result<S2apProgress, Halted<S2apProgress>> {
        self.own(Command::RttSetS2ap, rd)?;
        self.own(Command::RttSetS2ap, &rec)?;
        let args = [rd.pa().raw(), rec.pa().raw(), range.base().raw(), range.top().raw()];
        let call = Call::new(Command::RttSetS2ap, Subject::Ipa(range.base()), args);
        let progress = |reply: Reply| {
            let top = self.reach(&call, range.base(), range.top(), reply.x1())?;
            Ok(S2apProgress { top, tree: reply.x2() })
        };
        // SAFETY: the command accesses no memory except the Realm's own tables.
        let reply = unsafe { self.complete_or_halt(&call, &WALKS, |reply| progress(reply).ok())? };
        progress(reply).map_err(|error| Halted { error, reached: None })
    }

    /// An output of a command, by its name in the specification; `None` when the command has no
    /// such output in this dialect.
    pub(super) fn output(&self, command: Command, reply: &Reply, name: &str) -> Option<u64> {
        let form = command.form(self.dialect())?;
        let param = form.outputs()?.iter().find(|param| param.name() == name)?;
        reply.outputs.get(usize::from(param.register()).checked_sub(1)?).copied()
    }
}

impl AuxObstacle {
    fn of(reply: Reply) -> Self {
        Self {
            tree: reply.x1(),
            level: Level::from_register(reply.x2()),
            state: RttEntryState::from(code(reply.x3())),
            ripas: None,
        }
    }
}
