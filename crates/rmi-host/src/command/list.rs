//! Range commands: memory named by one descriptor or by a list of them.
#![expect(unsafe_code, reason = "calls go through the conduit")]

use rmi_abi::address::{Address, MIN_GRANULE};
use rmi_abi::desc::{AddrRangeDesc, BlockSize};
use rmi_abi::flags::AddrSet;
use rmi_abi::{Command, GranuleSize, Ipa, IpaRange, Pa, PaRange};

use crate::channel::{Call, Channel, Reply};
use crate::command::{Rd, Unmapped};
use crate::error::{Error, Subject, Violation};
use crate::granules::{Delegated, Donatable, Granules, InUse, Undelegated, donation_state};
use crate::platform::Platform;

/// Entries of an address list: it may not cross the end of its granule.
pub(super) const LIST_ENTRIES: usize = (MIN_GRANULE / 8) as usize;

/// Entries of an address list that is a whole granule.
pub(super) const fn entries(granule: GranuleSize) -> usize {
    1 << (granule.shift() - 3)
}

/// What an unmap command with a list did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnmappedList {
    /// How far the command came; everything below this address is unmapped.
    pub top: Ipa,
    /// How many runs of memory the RMM reported, from the front of the caller's buffer. TF-RMM
    /// merges adjacent runs, so their order need not be that of the addresses they were mapped at.
    pub runs: usize,
}

/// Where and how a range command maps.
#[derive(Clone, Copy, Debug)]
pub(super) struct MapInto {
    pub(super) command: Command,
    pub(super) rd: Pa,
    /// The device whose memory it is, for `RMI_RTT_DEV_MAP`.
    pub(super) vdev: Option<Pa>,
    pub(super) ipa: Ipa,
    /// Bits 63:16 of the flags.
    pub(super) flags: u64,
}

impl MapInto {
    pub(super) fn new(command: Command, rd: &Rd, ipa: Ipa) -> Self {
        Self { command, rd: rd.pa(), vdev: None, ipa, flags: 0 }
    }
}

impl<P: Platform> Channel<P> {
    /// Checks how far a range command reports to have come: inside the range, and whole granules of
    /// the RMM. No progress means "not now".
    pub(super) fn reach<A: Address>(
        &self,
        call: &Call,
        base: A,
        top: A,
        out_top: u64,
    ) -> Result<A, Error> {
        let reached = A::from_raw(out_top);
        if reached >= base && reached <= top && out_top.is_multiple_of(self.granule_size().bytes())
        {
            Ok(reached)
        } else {
            let violation = Violation::Progress;
            Err(Error::violation(call.command, violation, out_top, call.subject))
        }
    }

    pub(super) fn map_call(
        &self,
        into: &MapInto,
        range: IpaRange,
        set: AddrSet,
        oaddr: u64,
    ) -> Call {
        let (rd, base, top) = (into.rd.raw(), range.base().raw(), range.top().raw());
        let (flags, subject) = (into.flags | set.encode(), Subject::Ipa(into.ipa));
        match into.vdev {
            Some(vdev) => {
                Call::new(into.command, subject, [rd, vdev.raw(), base, top, flags, oaddr])
            }
            None => Call::new(into.command, subject, [rd, base, top, flags, oaddr]),
        }
    }

    /// The descriptor of a token.
    fn describe<H: Donatable>(
        &self,
        into: &MapInto,
        memory: &Granules<H>,
        (size, granule): (BlockSize, GranuleSize),
    ) -> Result<u64, Error> {
        let argument = |what| Error::argument(into.command, what, Subject::Ipa(into.ipa));
        AddrRangeDesc::from_range(&memory.range(), size, donation_state::<H>(), granule)
            .ok_or(argument("the memory is no whole number of blocks, or too many"))?
            .encode(self.dialect(), granule)
            .map_err(|_| argument("the memory has no descriptor in this dialect"))
    }

    /// The addresses at which the given memory is to be mapped.
    pub(super) fn target(&self, into: &MapInto, bytes: u64) -> Result<IpaRange, Error> {
        let argument = |what| Error::argument(into.command, what, Subject::Ipa(into.ipa));
        match IpaRange::with_size(into.ipa, bytes) {
            Ok(range) if range.is_empty() => Err(argument("there is no memory")),
            Ok(range) => Ok(range),
            Err(_) => Err(argument("the memory cannot begin here")),
        }
    }

    /// How many bytes a map command reports to have mapped.
    pub(super) fn mapped(
        &self,
        call: &Call,
        range: IpaRange,
        reply: Reply,
        blocks: (BlockSize, GranuleSize),
    ) -> Result<u64, Error> {
        let (size, granule) = blocks;
        let top = self.reach(call, range.base(), range.top(), reply.x1())?;
        let bytes = top.raw() - range.base().raw();
        if bytes.is_multiple_of(size.bytes(granule)) {
            Ok(bytes)
        } else {
            let violation = Violation::Progress;
            Err(Error::violation(call.command, violation, reply.x1(), call.subject))
        }
    }

    /// Maps the memory of one token and returns how many bytes were mapped.
    ///
    /// # Safety
    ///
    /// Whoever the command gives the memory to must be allowed to access it.
    pub(super) unsafe fn map_single<H: Donatable>(
        &self,
        into: &MapInto,
        memory: &Granules<H>,
        blocks: (BlockSize, GranuleSize),
    ) -> Result<u64, Error> {
        self.require(into.command)?;
        self.own(into.command, memory)?;
        let range = self.target(into, memory.bytes())?;
        let word = self.describe(into, memory, blocks)?;
        let call = self.map_call(into, range, AddrSet::Single, word);
        // SAFETY: the caller upholds the same contract.
        let reply = unsafe { self.complete(&call)? };
        self.mapped(&call, range, reply, blocks)
    }

    /// Maps the memory of several tokens, one after the other, and returns how many bytes were
    /// mapped.
    ///
    /// # Safety
    ///
    /// Whoever the command gives the memory to must be allowed to access it.
    pub(super) unsafe fn map_list<'g, H: Donatable + 'g>(
        &self,
        into: &MapInto,
        list: &mut Undelegated,
        memory: impl ExactSizeIterator<Item = &'g Granules<H>> + Clone,
        blocks: (BlockSize, GranuleSize),
    ) -> Result<u64, Error> {
        self.require(into.command)?;
        let tokens = memory.len();
        if tokens > LIST_ENTRIES {
            let (what, subject) = ("too many ranges for one list", Subject::Ipa(into.ipa));
            return Err(Error::argument(into.command, what, subject));
        }
        let sum = |sum: u64, token: &Granules<H>| sum.saturating_add(token.bytes());
        let bytes = memory.clone().fold(0, sum);
        let range = self.target(into, bytes)?;
        let mut words = [0; LIST_ENTRIES];
        for (slot, token) in words.iter_mut().zip(memory) {
            self.own(into.command, token)?;
            *slot = self.describe(into, token, blocks)?;
        }
        let at = self.put(into.command, list, &words)?;
        let count = u16::try_from(tokens).unwrap_or(0);
        let call = self.map_call(into, range, AddrSet::List { count }, at.raw());
        // SAFETY: the RMM reads a page that this function borrows exclusively; the caller vouches
        // for the rest.
        let reply = unsafe { self.complete(&call)? };
        self.mapped(&call, range, reply, blocks)
    }

    /// Clears a page of host memory for a list that the RMM writes, and returns its address: what
    /// the RMM does not write must not look like something that it wrote.
    #[inline(never)]
    pub(super) fn clear_list(
        &self,
        command: Command,
        list: &mut Undelegated,
        room: usize,
    ) -> Result<Pa, Error> {
        /// A part of an empty list.
        const ZEROS: [u8; 256] = [0; 256];

        let bytes = room.max(LIST_ENTRIES) * 8;
        let at = self.page_for(command, list, bytes)?;
        for offset in (0..bytes as u64).step_by(ZEROS.len()) {
            self.write_host(list, offset, &ZEROS)?;
        }
        Ok(at)
    }

    fn unmap_call(
        &self,
        command: Command,
        rd: Pa,
        range: IpaRange,
        set: AddrSet,
        oaddr: u64,
    ) -> Call {
        let args = [rd.raw(), range.base().raw(), range.top().raw(), set.encode(), oaddr];
        Call::new(command, Subject::Ipa(range.base()), args)
    }

    /// Unmaps from the start of a range and returns the run of memory that was mapped there.
    pub(super) fn unmap_single(
        &self,
        command: Command,
        rd: Pa,
        range: IpaRange,
        granule: GranuleSize,
    ) -> Result<Unmapped, Error> {
        let call = self.unmap_call(command, rd, range, AddrSet::Single, 0);
        // SAFETY: the command removes memory from a Realm and gives nobody access to any.
        let reply = unsafe { self.complete(&call)? };
        let top = self.reach(&call, range.base(), range.top(), reply.x1())?;
        let run = AddrRangeDesc::decode(reply.x2(), self.dialect(), granule);
        let memory = run.range(granule).filter(|memory| !memory.is_empty());
        Ok(Unmapped { top, memory })
    }

    /// Unmaps from the start of a range up to where the RMM stops, and passes `run` how far that is
    /// and each run of memory that was mapped there. A run that it does not accept is foreign
    /// memory.
    pub(super) fn unmap_list(
        &self,
        command: Command,
        rd: &Rd,
        range: IpaRange,
        (list, room): (&mut Undelegated, usize),
        granule: GranuleSize,
        run: &mut dyn FnMut(Ipa, PaRange) -> bool,
    ) -> Result<Ipa, Error> {
        self.require(command)?;
        let subject = Subject::Ipa(range.base());
        let room = room.min(entries(granule));
        if room == 0 {
            return Err(Error::argument(command, "there is no room for a run", subject));
        }
        let at = self.clear_list(command, list, room)?;
        let count = u16::try_from(room).unwrap_or(0);
        let call = self.unmap_call(command, rd.pa(), range, AddrSet::List { count }, at.raw());
        // SAFETY: the RMM writes to a page that this function borrows exclusively; the command
        // removes memory from a Realm and gives nobody access to any.
        let reply = unsafe { self.complete(&call)? };
        let top = self.reach(&call, range.base(), range.top(), reply.x1())?;
        let violation = |violation, value| Error::violation(command, violation, value, subject);
        let filled = usize::try_from(reply.x3())
            .ok()
            .filter(|filled| *filled <= room)
            .ok_or(violation(Violation::Count, reply.x3()))?;
        let mut foreign = None;
        // Read word by word: a list on the stack would take another 4 KiB.
        for offset in (0..).step_by(8).take(filled) {
            let word: u64 = self.get::<_, Error>(list, offset)?;
            let memory = AddrRangeDesc::decode(word, self.dialect(), granule).range(granule);
            let accepted = memory.is_some_and(|memory| memory.is_empty() || run(top, memory));
            if !accepted {
                foreign = foreign.or(Some(word));
            }
        }
        match foreign {
            None => Ok(top),
            Some(word) => Err(violation(Violation::ForeignMemory, word)),
        }
    }

    /// Unmaps from the start of a range and writes the runs of memory that were mapped there to
    /// `runs`.
    pub(super) fn unmap_to(
        &self,
        command: Command,
        rd: &Rd,
        range: IpaRange,
        list: &mut Undelegated,
        runs: &mut [PaRange],
        granule: GranuleSize,
    ) -> Result<UnmappedList, Error> {
        let (room, mut filled) = (runs.len(), 0);
        let mut slots = runs.iter_mut();
        let mut note = |_, run| {
            let slot = slots.next();
            filled += usize::from(slot.is_some());
            slot.map(|slot| *slot = run).is_some()
        };
        let top = self.unmap_list(command, rd, range, (list, room), granule, &mut note)?;
        Ok(UnmappedList { top, runs: filled })
    }

    /// `RMI_RTT_DATA_MAP` with a list: as [`Channel::rtt_data_map`], for several tokens one after
    /// the other. `list` is host memory for their descriptors, at most 512. `size` is the size of a
    /// block, the same for all.
    ///
    /// What is mapped is split off the front of `memory` and passed to `mapped`. Returns how far
    /// the command came: an RMM may stop anywhere, and no progress means "not now".
    ///
    /// In 1.0 this is one `RMI_DATA_CREATE_UNKNOWN`, which maps the first page; the list is not
    /// used.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_DATA_MAP; 1.0-rel0, RMI_DATA_CREATE_UNKNOWN.
    ///
    /// # Errors
    ///
    /// As [`Channel::rtt_data_map`]; all tokens stay in place, also when it is unclear what the RMM
    /// did: the RMM refuses to use or undelegate their memory while it is mapped.
    pub fn rtt_data_map_list(
        &self,
        rd: &Rd,
        ipa: Ipa,
        list: &mut Undelegated,
        memory: &mut [Delegated],
        size: BlockSize,
        mapped: &mut dyn FnMut(InUse),
    ) -> Result<Ipa, Error> {
        let blocks = (size, self.granule_size());
        self.own(Command::RttDataMap, rd)?;
        let bytes = if self.dialect().is_2_0() {
            let into = MapInto::new(Command::RttDataMap, rd, ipa);
            // SAFETY: all granules named are the RMM's.
            unsafe { self.map_list(&into, list, memory.iter(), blocks)? }
        } else {
            let Some(first) = memory.first() else {
                let (what, subject) = ("there is no memory", Subject::Ipa(ipa));
                return Err(Error::argument(Command::DataCreateUnknown, what, subject));
            };
            self.own(Command::DataCreateUnknown, first)?;
            // SAFETY: the page is the RMM's, as the token shows.
            unsafe { self.map_first_page(rd, ipa, (first.base(), first.bytes()), size)? }
        };
        pass_front(memory, bytes, &mut |part| mapped(part.into_use()));
        Ok(Ipa::new(ipa.raw() + bytes))
    }

    /// `RMI_RTT_DATA_UNMAP` with a list: as [`Channel::rtt_data_unmap`], and the RMM may continue
    /// where memory is not contiguous. The runs, at most as many as a granule holds (512 of 4 KiB)
    /// and as fit in `runs`,
    /// are written to `list`, host memory, and from there to `runs`. The memory is then delegated.
    ///
    /// The caller checks the runs against what it mapped.
    ///
    /// In 1.0 this is one `RMI_DATA_DESTROY`, as [`Channel::rtt_data_unmap`]; the list is not used.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_DATA_UNMAP; 1.0-rel0, RMI_DATA_DESTROY.
    ///
    /// # Errors
    ///
    /// [`ErrorRtt`](rmi_abi::Status::ErrorRtt) when the first entry is larger than the range, or
    /// what it maps is not DATA; [`ErrorRttAux`](rmi_abi::Status::ErrorRttAux) when an auxiliary
    /// tree still maps it.
    pub fn rtt_data_unmap_list(
        &self,
        rd: &Rd,
        range: IpaRange,
        list: &mut Undelegated,
        runs: &mut [PaRange],
    ) -> Result<UnmappedList, Error> {
        let granule = self.granule_size();
        self.own(Command::RttDataUnmap, rd)?;
        if !self.dialect().is_2_0() {
            let Some(slot) = runs.first_mut() else {
                let (what, subject) = ("there is no room for a run", Subject::Ipa(range.base()));
                return Err(Error::argument(Command::DataDestroy, what, subject));
            };
            let Unmapped { top, memory } = self.unmap_first_page(rd, range)?;
            *slot = memory.unwrap_or(*slot);
            return Ok(UnmappedList { top, runs: usize::from(memory.is_some()) });
        }
        self.unmap_to(Command::RttDataUnmap, rd, range, list, runs, granule)
    }
}

/// Passes the first `bytes` of the tokens to `taken`, token by token.
pub(super) fn pass_front<H: Donatable>(
    memory: &mut [Granules<H>],
    mut bytes: u64,
    taken: &mut dyn FnMut(Granules<H>),
) {
    for token in memory {
        let part = bytes.min(token.bytes());
        let Some(front) = token.take_front(part).filter(|front| !front.is_empty()) else {
            break;
        };
        bytes -= part;
        taken(front);
    }
}
