//! Memory that host and Realm share: host memory mapped at unprotected addresses of the Realm.
#![expect(unsafe_code, reason = "calls go through the conduit")]

use rmi_abi::address::Address;
use rmi_abi::desc::BlockSize;
use rmi_abi::flags::{AddrSet, MemAttr, S2Access, UnprotMapFlags};
use rmi_abi::realm::S2apEncoding;
use rmi_abi::rtt::Level;
use rmi_abi::{Command, Ipa, IpaRange, PaRange};

use crate::access::AccessFault;
use crate::channel::Channel;
use crate::command::list::{LIST_ENTRIES, MapInto};
use crate::command::{Rd, RealmNumber};
use crate::error::{Error, Failed, Subject, Violation, carries_error};
use crate::granules::{Undelegated, leak};
use crate::platform::Platform;

/// Host memory that a Realm can access, from an address on, contiguous both in the Realm and in
/// physical memory. May be empty.
///
/// The memory stays the host's, but the Realm may write to it at any time. So no reference to it is
/// given out and it is not used as a parameter page; the host copies in ([`Channel::write_shared`])
/// and out ([`Channel::read_host`] on [`SharedMemory::memory`]), and trusts nothing that it reads.
/// Only unmapping it makes it an [`Undelegated`] again: the memory of a token that is dropped is
/// never reused, and counts as [leaked](crate::leaked).
///
/// ```compile_fail,E0599
/// # use rmi_host::{SharedMemory, Undelegated};
/// fn page(shared: &mut SharedMemory) -> &mut Undelegated {
///     shared.memory_mut() // error: no method `memory_mut`
/// }
/// ```
///
/// A page is shared for communication, and taken back:
///
/// ```
/// # use rmi_abi::{Dialect, Ipa};
/// # use rmi_abi::desc::BlockSize;
/// # use rmi_abi::rtt::Level;
/// # use rmi_abi::realm::RealmParams;
/// # use rmi_abi::rtt::Geometry;
/// # use rmi_host::{Rd, Undelegated};
/// # use rmm_model::{Model, Options};
/// use rmi_host::command::{ShareAt, SharedAccess};
/// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// # let mut memory = model.take_memory();
/// # let rmm = rmm_model::open(model.host(), &mut memory)?;
/// # let granule = |memory: &mut Undelegated| rmm.delegate(memory.take_front(0x1000).unwrap());
/// # let (rd, root, mut page) =
/// #     (granule(&mut memory)?, granule(&mut memory)?, memory.take_front(0x1000).unwrap());
/// # let params = RealmParams::new(Geometry::new(40)?, root.base()).encode(rmm.dialect())?;
/// # rmm.commands().realm_create(&rd, &mut page, &params)?;
/// # let rd = Rd::new(rd);
/// // The unprotected half of a Realm with 40-bit addresses begins at bit 39. Its tables
/// // exist already.
/// let ipa = Ipa::new(1 << 39);
/// # for level in [Level::L1, Level::L2, Level::L3] {
/// #     let table = granule(&mut memory)?;
/// #     rmm.commands().rtt_create(&rd, table, ipa, level)?;
/// # }
/// let at = ShareAt { rd: &rd, ipa, access: SharedAccess::MEMORY };
/// let blocks = BlockSize::Page;
/// let two_pages = memory.take_front(0x2000).expect("1 GiB");
/// let answer = rmm.commands().rtt_unprot_map(at, two_pages, blocks)?;
/// assert!(answer.rest.is_empty()); // it may stop anywhere; call again for the rest
/// let mut shared = answer.shared;
///
/// rmm.write_shared(&mut shared, 0x1000, b"to the Realm")?;
/// let mut word = [0; 12];
/// rmm.read_host(shared.memory(), 0x1000, &mut word)?;
/// assert_eq!(&word, b"to the Realm");
///
/// let answer = rmm.commands().rtt_unprot_unmap(&rd, shared)?;
/// assert_eq!((answer.host.bytes(), answer.rest.bytes()), (0x2000, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// Shared memory can be neither delegated nor shared a second time:
///
/// ```compile_fail,E0308
/// # use rmi_host::{Platform, Rmm, SharedMemory};
/// fn pull<P: Platform>(rmm: &Rmm<P>, shared: SharedMemory) {
///     let _ = rmm.delegate(shared); // error: expected `Undelegated`
/// }
/// ```
#[derive(Debug)]
#[must_use = "dropping it loses the memory, which stays mapped"]
pub struct SharedMemory {
    /// `None` for no memory at all.
    realm: Option<RealmNumber>,
    ipa: Ipa,
    memory: Undelegated,
}

impl SharedMemory {
    pub(crate) fn new(rd: &Rd, ipa: Ipa, memory: Undelegated) -> Self {
        Self { realm: Some(rd.number()), ipa, memory }
    }

    /// Returns all but the first `bytes` to the host: the RMM has not mapped the rest.
    fn take_unmapped(&mut self, bytes: u64) -> Undelegated {
        let rest = self.memory.bytes().saturating_sub(bytes);
        self.memory.take_back(rest).unwrap_or_default()
    }

    /// The Realm that it is mapped in; `None` for an empty token that was never mapped.
    #[must_use]
    pub const fn realm(&self) -> Option<RealmNumber> {
        self.realm
    }

    /// Where it begins in the Realm's IPA space.
    #[must_use]
    pub const fn ipa(&self) -> Ipa {
        self.ipa
    }

    /// Where it is in the Realm's IPA space.
    #[must_use]
    pub fn ipa_range(&self) -> IpaRange {
        IpaRange::with_size_or_empty(self.ipa, self.bytes())
    }

    /// Where it is in physical memory.
    #[must_use]
    pub fn range(&self) -> PaRange {
        self.memory.range()
    }

    /// Length in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.memory.bytes()
    }

    /// Whether the token is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.memory.is_empty()
    }

    /// The memory, to read from.
    pub const fn memory(&self) -> &Undelegated {
        &self.memory
    }

    /// Splits the first `bytes` off the token; `None`, without a change, when the token is shorter
    /// or `bytes` is not a multiple of 4 KiB.
    pub fn take_front(&mut self, bytes: u64) -> Option<Self> {
        let memory = self.memory.take_front(bytes)?;
        let front = Self { realm: self.realm, ipa: self.ipa, memory };
        self.ipa = Ipa::from_raw(self.ipa.raw().saturating_add(bytes));
        Some(front)
    }

    /// Appends memory of the same Realm that begins where this ends, both in the Realm and in
    /// physical memory.
    ///
    /// # Errors
    ///
    /// `other` is returned when it does not follow.
    pub fn append(&mut self, other: Self) -> Result<(), Self> {
        let follows = other.realm == self.realm && other.ipa == self.ipa_range().top();
        if !follows || self.is_empty() || other.is_empty() {
            return Err(other);
        }
        let (realm, ipa) = (other.realm, other.ipa);
        self.memory.append(other.unmapped()).map_err(|memory| Self { realm, ipa, memory })
    }

    /// Turns it into plain host memory without a call.
    ///
    /// # Safety
    ///
    /// Nothing maps the memory any more: its Realm is destroyed, or `RMI_RTT_DESTROY` removed the
    /// tables that mapped it, and no auxiliary tree maps it.
    pub unsafe fn into_unmapped(self) -> Undelegated {
        self.unmapped()
    }

    /// Nothing maps the memory any more: the RMM reported that.
    pub(super) fn unmapped(mut self) -> Undelegated {
        self.memory.take()
    }
}

impl Drop for SharedMemory {
    fn drop(&mut self) {
        leak(self.memory.take());
    }
}

/// How a Realm may access memory that the host shares with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SharedAccess {
    /// Memory attributes.
    pub memattr: MemAttr,
    /// Permissions. The Realm can never execute from shared memory.
    pub permissions: S2Access,
    /// How the Realm's tables encode permissions, chosen when it was created.
    pub encoding: S2apEncoding,
}

impl SharedAccess {
    /// Normal memory, readable and writable, for a Realm whose permissions are encoded directly.
    pub const MEMORY: Self = Self {
        memattr: MemAttr::NormalWriteBack,
        permissions: S2Access::READ_WRITE,
        encoding: S2apEncoding::Direct,
    };

    /// Bits of `RmiRttUnprotMapFlags` above the address type; `None` for an unknown encoding.
    fn flags(self) -> Option<u64> {
        let field = match self.encoding {
            S2apEncoding::Direct => self.permissions.encode_direct(),
            S2apEncoding::Indirect => self.permissions.encode_indirect(),
            _ => return None,
        };
        let s2ap = u8::try_from(field).ok()?;
        Some(UnprotMapFlags { addresses: AddrSet::None, memattr: self.memattr, s2ap }.encode())
    }
}

/// Where memory is to be shared, and how.
///
/// [`SharedMemory`] has an example.
#[derive(Clone, Copy, Debug)]
pub struct ShareAt<'r> {
    /// The Realm.
    pub rd: &'r Rd,
    /// Where it begins in the Realm's IPA space: an unprotected address.
    pub ipa: Ipa,
    /// How the Realm may access it.
    pub access: SharedAccess,
}

/// How much of the given memory is shared now.
#[derive(Debug)]
#[must_use = "it owns memory"]
pub struct Shared {
    /// The part that is shared, from the front; empty when the RMM stopped before its first entry
    /// ("not now").
    pub shared: SharedMemory,
    /// The remaining part.
    pub rest: Undelegated,
}

impl Shared {
    /// Memory of which nothing is shared yet.
    pub fn new(memory: Undelegated) -> Self {
        let nothing = Undelegated::empty();
        let shared = SharedMemory { realm: None, ipa: Ipa::new(0), memory: nothing };
        Self { shared, rest: memory }
    }

    /// The RMM may map any of it from now on.
    fn expose(&mut self, rd: &Rd, ipa: Ipa) {
        self.shared = SharedMemory::new(rd, ipa, self.rest.take());
    }

    /// The RMM has mapped nothing of it.
    pub(super) fn take_back(&mut self) {
        let mut front = self.shared.take_unmapped(0);
        // It was in front of the rest.
        let apart = front.append(self.rest.take());
        drop(apart);
        self.rest = front;
    }

    /// The RMM has mapped the first `bytes` of it and nothing else.
    fn settle(&mut self, bytes: u64) {
        self.rest = self.shared.take_unmapped(bytes);
    }
}

/// Memory that could not be shared; each granule is in one of the two parts.
#[derive(Debug)]
#[must_use = "it owns memory"]
pub struct ShareFailed {
    /// Why.
    pub error: Error,
    /// What may be mapped: everything, when it is unclear what the RMM did. Unmapping resolves
    /// that; if other memory is found to be mapped there, the first unmap command fails with
    /// [`Violation::ForeignMemory`].
    pub shared: SharedMemory,
    /// What is not mapped.
    pub host: Undelegated,
}

carries_error!(ShareFailed, "{error}");

impl ShareFailed {
    pub(super) fn new(error: Error, mut memory: SharedMemory) -> Self {
        let host = if error.is_clean() { memory.take_unmapped(0) } else { Undelegated::empty() };
        Self { error, shared: memory, host }
    }
}

/// How much of the given shared memory is the host's alone again.
#[derive(Debug)]
#[must_use = "it owns memory"]
pub struct Unshared {
    /// The part that is the host's alone, from the front.
    pub host: Undelegated,
    /// The remaining part.
    pub rest: SharedMemory,
}

impl<P: Platform> Channel<P> {
    /// Copies `from` into memory that a Realm can access, `offset` bytes after its base.
    ///
    /// # Errors
    ///
    /// [`AccessFault`] when it does not fit or the host cannot write there.
    pub fn write_shared(
        &self,
        shared: &mut SharedMemory,
        offset: u64,
        from: &[u8],
    ) -> Result<(), AccessFault> {
        self.write_host(&mut shared.memory, offset, from)
    }

    fn share_into(&self, at: ShareAt<'_>) -> Result<MapInto, Error> {
        let command = Command::RttUnprotMap;
        self.require(command)?;
        self.own(command, at.rd)?;
        let what = "the permission encoding is unknown";
        let flags =
            at.access.flags().ok_or(Error::argument(command, what, Subject::Ipa(at.ipa)))?;
        Ok(MapInto { flags, ..MapInto::new(command, at.rd, at.ipa) })
    }

    /// `RMI_RTT_UNPROT_MAP`: maps host memory at unprotected addresses of a Realm, in blocks.
    /// `size` is the size of a block. Returns how much was mapped: an RMM may stop anywhere, and no
    /// progress means "not now".
    ///
    /// In 1.0 this is one `RMI_RTT_MAP_UNPROTECTED`, which maps the first block.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_UNPROT_MAP; 1.0-rel0, RMI_RTT_MAP_UNPROTECTED.
    ///
    /// # Errors
    ///
    /// [`ErrorRtt`](rmi_abi::Status::ErrorRtt) when a table is missing (a smaller level) or the
    /// first entry is in use; [`ErrorInput`](rmi_abi::Status::ErrorInput) when a part of the range
    /// is protected or the attributes are not allowed; with TF-RMM
    /// [`ErrorRealm`](rmi_abi::Status::ErrorRealm) unless the Realm is new or active.
    /// [`Error::Argument`] when the memory is not a whole number of blocks or exceeds one
    /// descriptor.
    pub fn rtt_unprot_map(
        &self,
        at: ShareAt<'_>,
        memory: Undelegated,
        size: BlockSize,
    ) -> Result<Shared, ShareFailed> {
        if !self.dialect().is_2_0() {
            let mut part = Shared::new(memory);
            return match self.share_first_block(at, &mut part, size) {
                Ok(_) => Ok(part),
                Err(error) => Err(ShareFailed { error, shared: part.shared, host: part.rest }),
            };
        }
        let blocks = (size, self.granule_size());
        // Before the call: if code of the embedder panics meanwhile, no token of host memory exists
        // for what a Realm may access.
        let mut shared = SharedMemory::new(at.rd, at.ipa, memory);
        let answer = self.share_into(at).and_then(|into| {
            // SAFETY: the token was given up before.
            unsafe { self.map_single(&into, &shared.memory, blocks) }
        });
        match answer {
            Ok(bytes) => {
                let rest = shared.take_unmapped(bytes);
                Ok(Shared { shared, rest })
            }
            Err(error) => Err(ShareFailed::new(error, shared)),
        }
    }

    /// `RMI_RTT_UNPROT_MAP` with a list: as [`Channel::rtt_unprot_map`], of several tokens one
    /// after the other. `list` is host memory for their descriptors, at most 512.
    ///
    /// What is mapped is in [`Shared::shared`] afterwards, token by token from the front; all of it
    /// is there during the call, so that after a panic of the conduit no token of host memory
    /// exists for what a Realm may access. Returns how far the command came.
    ///
    /// In 1.0 this is one `RMI_RTT_MAP_UNPROTECTED`, which maps the first block of the first token;
    /// the list is not used.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_UNPROT_MAP; 1.0-rel0, RMI_RTT_MAP_UNPROTECTED.
    ///
    /// # Errors
    ///
    /// As [`Channel::rtt_unprot_map`], and [`Error::Argument`] when a part of the memory is shared
    /// already. When it is unclear what the RMM did, all of the memory is in
    /// [`Shared::shared`], because it may be mapped.
    pub fn rtt_unprot_map_list(
        &self,
        at: ShareAt<'_>,
        list: &mut Undelegated,
        memory: &mut [Shared],
        size: BlockSize,
    ) -> Result<Ipa, Error> {
        let blocks = (size, self.granule_size());
        let argument = |what| Error::argument(Command::RttUnprotMap, what, Subject::Ipa(at.ipa));
        if memory.iter().any(|part| !part.shared.is_empty()) {
            return Err(argument("a part of the memory is shared already"));
        }
        if !self.dialect().is_2_0() {
            let part = memory.first_mut().ok_or(argument("there is no memory"))?;
            let bytes = self.share_first_block(at, part, size)?;
            return Ok(part_end(at.ipa, bytes));
        }
        let into = self.share_into(at)?;
        let mut top = at.ipa;
        for part in memory.iter_mut() {
            let next = part_end(top, part.rest.bytes());
            part.expose(at.rd, core::mem::replace(&mut top, next));
        }
        let ranges = memory.iter().map(|part| &part.shared.memory);
        // SAFETY: the tokens were given up before.
        let answer = unsafe { self.map_list(&into, list, ranges, blocks) };
        let mut left = match &answer {
            Ok(bytes) => *bytes,
            Err(error) if error.is_clean() => 0,
            Err(_) => u64::MAX,
        };
        for part in memory {
            let mapped = left.min(part.shared.bytes());
            left -= mapped;
            part.settle(mapped);
        }
        answer.map(|bytes| part_end(at.ipa, bytes))
    }

    pub(super) fn check_realm(
        &self,
        command: Command,
        rd: &Rd,
        shared: &SharedMemory,
    ) -> Result<(), Error> {
        let argument = |what| Err(Error::argument(command, what, Subject::Ipa(shared.ipa)));
        self.require(command)?;
        self.own(command, rd)?;
        if shared.realm != Some(rd.number()) {
            return argument("the memory is shared with another Realm");
        }
        if shared.is_empty() {
            return argument("there is no memory");
        }
        self.own(command, &shared.memory)
    }

    /// `RMI_RTT_UNPROT_UNMAP`: takes shared memory back, from its start up to where the RMM stops.
    ///
    /// In 1.0 this is `RMI_RTT_UNMAP_UNPROTECTED` for the first entry, see
    /// [`Channel::rtt_unprot_unmap_entry`].
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_UNPROT_UNMAP; 1.0-rel0, RMI_RTT_UNMAP_UNPROTECTED.
    ///
    /// # Errors
    ///
    /// [`ErrorRtt`](rmi_abi::Status::ErrorRtt) when the first entry is a table, or larger than the
    /// range. [`Error::Argument`] when `rd` is not the Realm that it is shared with.
    /// [`Error::Violation`] when the RMM reports that other memory was mapped there; all of it then
    /// counts as shared.
    pub fn rtt_unprot_unmap(
        &self,
        rd: &Rd,
        mut shared: SharedMemory,
    ) -> Result<Unshared, Failed<SharedMemory>> {
        match self.rtt_unprot_unmap_some(rd, &mut shared) {
            Ok(host) => Ok(Unshared { host, rest: shared }),
            Err(error) => Err(Failed::new(shared, error)),
        }
    }

    /// As [`Channel::rtt_unprot_unmap`], for a token that stays in place: what is unmapped is split
    /// off the front of `shared`, after the call. Empty when the RMM stopped before its first entry
    /// ("not now").
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_UNPROT_UNMAP; 1.0-rel0, RMI_RTT_UNMAP_UNPROTECTED.
    ///
    /// # Errors
    ///
    /// As [`Channel::rtt_unprot_unmap`]; all of the memory is still in `shared`.
    pub fn rtt_unprot_unmap_some(
        &self,
        rd: &Rd,
        shared: &mut SharedMemory,
    ) -> Result<Undelegated, Error> {
        self.rtt_unprot_unmap_entry(rd, shared, Level::L1)
    }

    /// As [`Channel::rtt_unprot_unmap_some`], for a caller that knows the tables: no entry above
    /// `largest` maps the start of the memory.
    ///
    /// It matters in 1.0 only, where a call names the level of one entry. The first call names the
    /// largest level that fits the memory and its addresses, but none above `largest`. If the RMM
    /// reports that the entry has another level, the next call names that; so a caller that does
    /// not know the tables may make calls that fail.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_UNPROT_UNMAP; 1.0-rel0, RMI_RTT_UNMAP_UNPROTECTED.
    ///
    /// # Errors
    ///
    /// As [`Channel::rtt_unprot_unmap`]; all of the memory is still in `shared`.
    pub fn rtt_unprot_unmap_entry(
        &self,
        rd: &Rd,
        shared: &mut SharedMemory,
        largest: Level,
    ) -> Result<Undelegated, Error> {
        if !self.dialect().is_2_0() {
            return self.unshare_first_entry(rd, shared, largest);
        }
        let granule = self.granule_size();
        let command = Command::RttUnprotUnmap;
        let (base, range) = (shared.ipa, shared.ipa_range());
        self.check_realm(command, rd, shared)?;
        let unmapped = self.unmap_single(command, rd.pa(), range, granule)?;
        let bytes = unmapped.top.raw() - base.raw();
        let (front, _) = shared.range().split_at(bytes).unwrap_or((shared.range(), shared.range()));
        if let Some(run) = unmapped.memory.filter(|run| !front.contains_range(run)) {
            let (violation, value) = (Violation::ForeignMemory, run.base().raw());
            return Err(Error::violation(command, violation, value, Subject::Ipa(base)));
        }
        Ok(shared.take_front(bytes).map(SharedMemory::unmapped).unwrap_or_default())
    }

    /// `RMI_RTT_UNPROT_UNMAP` with a list: takes several pieces of shared memory back, which must
    /// be adjacent in the Realm's IPA space. The RMM writes the runs that it unmaps to `list`, host
    /// memory.
    ///
    /// What is unmapped is split off the front of `shared` and passed to `give_back`, token by
    /// token. Returns how far the command came.
    ///
    /// In 1.0 this is [`Channel::rtt_unprot_unmap_some`] for the first piece; the list is not used.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_UNPROT_UNMAP; 1.0-rel0, RMI_RTT_UNMAP_UNPROTECTED.
    ///
    /// # Errors
    ///
    /// As [`Channel::rtt_unprot_unmap`], and [`Error::Argument`] when the pieces are not adjacent.
    pub fn rtt_unprot_unmap_list(
        &self,
        rd: &Rd,
        shared: &mut [SharedMemory],
        list: &mut Undelegated,
        give_back: &mut dyn FnMut(Undelegated),
    ) -> Result<Ipa, Error> {
        let granule = self.granule_size();
        let command = match self.dialect().is_2_0() {
            true => Command::RttUnprotUnmap,
            false => Command::RttUnmapUnprotected,
        };
        self.own(command, rd)?;
        self.require(command)?;
        let Some(base) = shared.first().map(SharedMemory::ipa) else {
            return Err(Error::argument(command, "there is no memory", Subject::Rmm));
        };
        let argument = |what| Error::argument(command, what, Subject::Ipa(base));
        let mut top = base;
        for piece in shared.iter() {
            self.check_realm(command, rd, piece)?;
            if piece.ipa != top {
                return Err(argument("the pieces do not follow each other in the Realm"));
            }
            top = piece.ipa_range().top();
        }
        if !self.dialect().is_2_0() {
            let first = shared.first_mut().ok_or(argument("there is no memory"))?;
            let host = self.unshare_first_entry(rd, first, Level::L1)?;
            let top = part_end(base, host.bytes());
            give_back(host);
            return Ok(top);
        }
        let range = IpaRange::new(base, top).map_err(|_| argument("there is no memory"))?;
        let pieces = &*shared;
        let mut ours = |top: Ipa, run: PaRange| {
            let bytes = top.raw() - base.raw();
            common(pieces, bytes, run) == run.bytes()
        };
        let room = LIST_ENTRIES;
        let top = self.unmap_list(command, rd, range, (list, room), granule, &mut ours)?;
        let bytes = top.raw() - base.raw();
        let mut left = bytes;
        for piece in shared {
            let part = left.min(piece.bytes());
            let Some(front) = piece.take_front(part).filter(|front| !front.is_empty()) else {
                break;
            };
            left -= part;
            give_back(front.unmapped());
        }
        Ok(top)
    }
}

/// The end of `bytes` bytes from `ipa` on.
fn part_end(ipa: Ipa, bytes: u64) -> Ipa {
    Ipa::from_raw(ipa.raw().saturating_add(bytes))
}

/// Bytes that `run` has in common with the first `bytes` of the given pieces.
fn common(shared: &[SharedMemory], mut bytes: u64, run: PaRange) -> u64 {
    let mut sum = 0;
    for piece in shared {
        let part = bytes.min(piece.bytes());
        bytes -= part;
        let front = piece.range().split_at(part).map(|(front, _)| front);
        sum += front.and_then(|front| front.intersection(&run)).map_or(0, |both| both.bytes());
    }
    sum
}
