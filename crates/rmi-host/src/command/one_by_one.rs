//! What the range commands of 2.0 do, by the commands of 1.0: one granule or one entry per call.
//!
//! A range command may stop anywhere, and who calls it continues from there. So in 1.0 each of them
//! is one call that comes one granule or one entry far.
#![expect(unsafe_code, reason = "calls go through the conduit")]

use rmi_abi::address::MIN_GRANULE;
use rmi_abi::desc::BlockSize;
use rmi_abi::rtt::Level;
use rmi_abi::{Command, Ipa, IpaRange, Pa, PaRange};

use crate::channel::{Call, Channel};
use crate::command::list::MapInto;
use crate::command::{Halted, Rd, ShareAt, Shared, SharedMemory, Unmapped};
use crate::error::{Error, Subject, Violation};
use crate::granules::Undelegated;
use crate::platform::Platform;

impl<P: Platform> Channel<P> {
    /// `RMI_DATA_CREATE_UNKNOWN`: maps the page at `data`, the first of `bytes` bytes that are to
    /// be mapped in blocks of `size`. Returns how many bytes were mapped.
    ///
    /// # Safety
    ///
    /// The page is the RMM's.
    pub(super) unsafe fn map_first_page(
        &self,
        rd: &Rd,
        ipa: Ipa,
        (data, bytes): (Pa, u64),
        size: BlockSize,
    ) -> Result<u64, Error> {
        let command = Command::DataCreateUnknown;
        let subject = Subject::Ipa(ipa);
        self.require(command)?;
        if size != BlockSize::Page {
            let what = "the dialect maps data by pages only";
            return Err(Error::argument(command, what, subject));
        }
        self.target(&MapInto::new(command, rd, ipa), bytes)?;
        let call = Call::new(command, subject, [rd.pa().raw(), data.raw(), ipa.raw()]);
        // SAFETY: the caller upholds the same contract.
        unsafe { self.complete(&call)? };
        Ok(MIN_GRANULE)
    }

    /// `RMI_DATA_DESTROY`: unmaps the first page of a range, or passes over what is not mapped
    /// there.
    pub(super) fn unmap_first_page(&self, rd: &Rd, range: IpaRange) -> Result<Unmapped, Error> {
        let (command, base) = (Command::DataDestroy, range.base());
        let subject = Subject::Ipa(base);
        let Some((page, _)) = range.split_at(MIN_GRANULE) else {
            return Err(Error::argument(command, "the range is empty", subject));
        };
        match self.data_destroy(rd, base) {
            // What the RMM reports about later entries is not used: each has its own call.
            Ok(done) => match PaRange::with_size(done.data, MIN_GRANULE) {
                Ok(memory) => Ok(Unmapped { top: page.top(), memory: Some(memory) }),
                Err(_) => {
                    let (violation, value) = (Violation::ForeignMemory, done.data.raw());
                    Err(Error::violation(command, violation, value, subject))
                }
            },
            Err(Halted { error, reached }) => match reached {
                // Nothing is live up to there; `base` itself means that a block is mapped.
                Some(top) if top > base => match IpaRange::new(base, top) {
                    Ok(gap) => Ok(Unmapped { top: gap.top().min(range.top()), memory: None }),
                    Err(_) => {
                        Err(Error::violation(command, Violation::Progress, top.raw(), subject))
                    }
                },
                _ => Err(error),
            },
        }
    }

    /// As [`Channel::unmap_first_page`]; passes `run` what was mapped there.
    pub(super) fn unmap_first_page_to(
        &self,
        rd: &Rd,
        range: IpaRange,
        run: &mut dyn FnMut(Ipa, PaRange) -> bool,
    ) -> Result<Ipa, Error> {
        let Unmapped { top, memory } = self.unmap_first_page(rd, range)?;
        match memory.filter(|memory| !run(top, *memory)) {
            None => Ok(top),
            Some(memory) => {
                let (violation, subject) = (Violation::ForeignMemory, Subject::Ipa(range.base()));
                let value = memory.base().raw();
                Err(Error::violation(Command::DataDestroy, violation, value, subject))
            }
        }
    }

    /// `RMI_RTT_MAP_UNPROTECTED`: shares the first block of `size` of a part. Returns its length in
    /// bytes.
    ///
    /// The block is in [`Shared::shared`] during the call, and afterwards unless the RMM has
    /// certainly not mapped it.
    pub(super) fn share_first_block(
        &self,
        at: ShareAt<'_>,
        part: &mut Shared,
        size: BlockSize,
    ) -> Result<u64, Error> {
        let (command, level) = (Command::RttMapUnprotected, Level::of_block(size));
        let bytes = level.entry_bytes();
        self.require(command)?;
        self.target(&MapInto::new(command, at.rd, at.ipa), part.rest.bytes())?;
        let first = match part.rest.bytes().is_multiple_of(bytes) {
            true => part.rest.take_front(bytes),
            false => None,
        };
        let Some(first) = first else {
            let what = "the memory is no whole number of blocks";
            return Err(Error::argument(command, what, Subject::Ipa(at.ipa)));
        };
        part.shared = SharedMemory::new(at.rd, at.ipa, first);
        // The two forms of a descriptor differ only for addresses that a Realm without LPA2 cannot
        // map, whose descriptor the RMM refuses there.
        match self.map_entry(at, level, &part.shared, true) {
            Ok(()) => Ok(bytes),
            Err(error) => {
                if error.is_clean() {
                    part.take_back();
                }
                Err(error)
            }
        }
    }

    /// `RMI_RTT_UNMAP_UNPROTECTED`: takes back what the first entry of shared memory maps, or what
    /// is not mapped there.
    ///
    /// The level of the entry is at first taken to be the largest that fits, but not above
    /// `largest`. If the RMM reports that it is another one, that one is tried.
    pub(super) fn unshare_first_entry(
        &self,
        rd: &Rd,
        shared: &mut SharedMemory,
        largest: Level,
    ) -> Result<Undelegated, Error> {
        let command = Command::RttUnmapUnprotected;
        self.check_realm(command, rd, shared)?;
        let (ipa, pa, bytes) = (shared.ipa(), shared.range().base(), shared.bytes());
        let fits = |level: Level| {
            let entry = level.entry_bytes();
            ipa.is_aligned(entry) && pa.is_aligned(entry) && entry <= bytes
        };
        let mut level = [Level::L1, Level::L2]
            .into_iter()
            .find(|level| *level >= largest && fits(*level))
            .unwrap_or(Level::L3);
        let mut tried = [None; 2];
        loop {
            let Halted { error, reached } = match self.unmap_entry(rd, shared, level) {
                Ok(bytes) => return Ok(unmapped_front(shared, bytes)),
                Err(halted) => halted,
            };
            let Some(top) = reached else { return Err(error) };
            if top > ipa {
                let gap = IpaRange::new(ipa, top).map(|gap| gap.bytes().min(bytes));
                let violation = Violation::Progress;
                let wrong = Error::violation(command, violation, top.raw(), Subject::Ipa(ipa));
                return gap.map(|gap| unmapped_front(shared, gap)).map_err(|_| wrong);
            }
            // Something is live: a table at this level, or a block at the level of the refusal.
            let live = match error {
                Error::Refused(refusal) => refusal.level(),
                _ => None,
            };
            let next = if live == Some(level) { level.child() } else { live };
            let next = next.filter(|next| next.may_map() && fits(*next));
            let slot = tried.iter_mut().find(|slot| slot.is_none());
            match (next, slot) {
                (Some(next), Some(slot)) => {
                    *slot = Some(level);
                    level = next;
                }
                _ => return Err(error),
            }
            if tried.contains(&Some(level)) {
                return Err(error);
            }
        }
    }
}

/// The first bytes of shared memory, which nothing maps any more: the RMM reported that.
fn unmapped_front(shared: &mut SharedMemory, bytes: u64) -> Undelegated {
    shared.take_front(bytes).map(SharedMemory::unmapped).unwrap_or_default()
}
