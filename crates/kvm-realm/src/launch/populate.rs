//! Populating memory, from where it stopped.

use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;

use realm_measurement::{Content, RegionLayout};
use rmi_abi::IpaRange;
use thiserror::Error;

use crate::calls::Calls;
use crate::error::CallError;
use crate::generation::{InitialRipas, PopulateCall};
use crate::kernel::Kernel;
use crate::memory::{PAGE, PAGE_BYTES, RealmMemory};

/// Bytes of content that one call populates at most. Where the kernel does not report how much it
/// did before a call failed, it is one page: no page may be populated twice.
const CHUNK: usize = 0x10_0000;

/// Population was not completed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PopulateError {
    /// A call failed.
    #[error("{call} at {at}")]
    Call {
        /// The call.
        #[source]
        call: CallError,
        /// What was to be populated.
        at: IpaRange,
    },
    /// The kernel reports success, but that it did nothing. Calling again would not end.
    #[error("the kernel populates nothing of {0}")]
    NoProgress(IpaRange),
    /// The kernel reports that it did more than it was asked for, or parts of pages. What it did is
    /// not known, so the VM cannot be used.
    #[error("the kernel reports {reported:#x} bytes of {at}")]
    BadProgress {
        /// What was to be populated.
        at: IpaRange,
        /// What it reports.
        reported: u64,
    },
    /// The VMM has stopped it.
    #[error("population was stopped")]
    Stopped,
    /// RAM has gone from under a region. It was there when the plan was checked.
    #[error("the content at {0} is not in RAM")]
    NoRam(IpaRange),
}

impl PopulateError {
    /// Whether the VM is dead.
    #[must_use]
    pub fn is_final(&self) -> bool {
        match self {
            Self::Call { call, .. } => call.is_final(),
            Self::NoProgress(_) | Self::Stopped => false,
            Self::BadProgress { .. } | Self::NoRam(_) => true,
        }
    }
}

/// Content in pages that are aligned as the kernel wants them, and not of a guest_memfd.
#[derive(Debug)]
struct Staging(Vec<u8>);

impl Staging {
    fn new() -> Self {
        // Room for the alignment.
        Self(vec![0; CHUNK + PAGE_BYTES])
    }

    /// Content with zeros up to `bytes`, whole pages and at most a chunk, at an aligned address.
    fn filled(&mut self, content: &[u8], bytes: usize) -> &[u8] {
        let address = self.0.as_ptr().addr();
        let before = address.next_multiple_of(PAGE_BYTES) - address;
        let pages = self.0.get_mut(before..).and_then(|rest| rest.get_mut(..bytes));
        let pages = pages.unwrap_or_default();
        let mut content = content.iter();
        pages.fill_with(|| content.next().copied().unwrap_or_default());
        pages
    }
}

/// How far population has come.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    /// Slots that are RAM.
    slots: usize,
    /// Regions that are done.
    regions: usize,
    /// How much of the next region is done, in bytes.
    within: u64,
    /// Regions whose content is not in the shared side any more.
    discarded: usize,
    /// Slots that are RAM after population.
    slots_after: usize,
    /// How much content is populated, in bytes.
    pub(super) bytes: u64,
}

impl Progress {
    pub(super) fn go_on<K: Kernel>(
        &mut self,
        calls: &Calls<'_, K>,
        vm: BorrowedFd<'_>,
        memory: &RealmMemory,
        regions: &[RegionLayout<'_>],
        observe: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<(), PopulateError> {
        let ripas = calls.generation.facts().ripas;
        if ripas == InitialRipas::Action {
            for range in memory.ranges().skip(self.slots) {
                let done = calls.init_ripas(vm, range.base().raw(), range.bytes());
                done.map_err(|call| PopulateError::Call { call, at: range })?;
                self.slots += 1;
            }
        }
        let mut staging = Staging::new();
        for region in regions.iter().skip(self.regions) {
            self.region(calls, vm, memory, region, &mut staging, observe)?;
            (self.regions, self.within) = (self.regions + 1, 0);
        }
        if calls.generation.facts().populate == PopulateCall::FromSlot {
            // The kernel has copied the content.
            for range in regions.iter().skip(self.discarded).map(RegionLayout::range) {
                let done = memory.discard_shared(calls, range);
                done.map_err(|call| PopulateError::Call { call, at: range })?;
                self.discarded += 1;
            }
        }
        if let InitialRipas::Ioctl(request) = ripas {
            for range in memory.ranges().skip(self.slots_after) {
                let (base, bytes) = (range.base().raw(), range.bytes());
                let done = calls.init_ripas_of_slot(vm, request, base, bytes);
                done.map_err(|call| PopulateError::Call { call, at: range })?;
                self.slots_after += 1;
            }
        }
        Ok(())
    }

    fn region<K: Kernel>(
        &mut self,
        calls: &Calls<'_, K>,
        vm: BorrowedFd<'_>,
        memory: &RealmMemory,
        region: &RegionLayout<'_>,
        staging: &mut Staging,
        observe: &mut dyn FnMut(u64) -> ControlFlow<()>,
    ) -> Result<(), PopulateError> {
        let (content, is_measured) = match region.content {
            Content::Measured(content) => (content, true),
            Content::Unmeasured(content) => (content, false),
            Content::Unspecified => return Ok(()),
        };
        let whole = region.range();
        let is_from_slot = calls.generation.facts().populate == PopulateCall::FromSlot;
        while let Some((_, left)) = whole.split_at(self.within).filter(|(_, left)| !left.is_empty())
        {
            // The part of the next slot, and of that a chunk.
            let Some(part) = memory.parts(left).next().filter(|part| part.base() == left.base())
            else {
                return Err(PopulateError::NoRam(left));
            };
            let bytes = part.bytes().min(if is_from_slot { PAGE } else { CHUNK as u64 });
            let at = IpaRange::with_size_or_empty(part.base(), bytes);
            let from = usize::try_from(self.within).unwrap_or(usize::MAX);
            let content = content.get(from..).unwrap_or_default();
            let source = staging.filled(content, usize::try_from(bytes).unwrap_or(CHUNK));
            if is_from_slot {
                memory.write(at.base(), source).map_err(|_| PopulateError::NoRam(at))?;
            }
            let done = calls.populate(vm, at.base().raw(), source, is_measured);
            let done = done.map_err(|call| PopulateError::Call { call, at })?;
            if done == 0 {
                return Err(PopulateError::NoProgress(at));
            }
            if done > bytes || !done.is_multiple_of(PAGE) {
                return Err(PopulateError::BadProgress { at, reported: done });
            }
            self.within += done;
            self.bytes += done;
            if observe(self.bytes).is_break() {
                return Err(PopulateError::Stopped);
            }
        }
        Ok(())
    }
}
