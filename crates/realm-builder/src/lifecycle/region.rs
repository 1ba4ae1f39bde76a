//! Memory that a Realm starts with.

use rmi_abi::{Ipa, IpaRange, Pa, PaRange};
use rmi_host::Undelegated;

use crate::error::RegionProblem;

/// Content of a region when the Realm starts.
#[derive(Clone, Copy, Debug)]
pub enum Content<'c> {
    /// These bytes, measured. The last granule is filled up with zeros.
    Measured(&'c [u8]),
    /// These bytes, of which only the IPA is measured. The last granule is filled up with zeros.
    Unmeasured(&'c [u8]),
    /// No content that the Realm may rely on; not measured at all.
    Unspecified,
}

/// Memory for a Realm: its IPA, the memory, and its content. Or RAM without memory, which is given
/// to the Realm where it touches it.
///
/// A region is a cursor. As memory becomes part of the Realm, the region shrinks from the front;
/// when populating stops early, what is left in it is unchanged and belongs to the host, and
/// populating can continue with the same regions. Only when memory in the middle was lost to
/// quarantine it cannot continue, and returns an error that says so.
#[derive(Debug)]
pub struct Region<'c> {
    pub(crate) ipa: Ipa,
    pub(crate) memory: Undelegated,
    pub(crate) content: Content<'c>,
    /// Bytes of RAM without memory that are not populated yet.
    pub(crate) unbacked: u64,
    /// Bytes populated.
    pub(crate) taken: u64,
    /// Whether its memory became part of the region before it.
    merged: bool,
    /// Bytes that were to be populated next and are in quarantine, or elsewhere, instead.
    pub(crate) lost: u64,
}

impl<'c> Region<'c> {
    /// Memory at `ipa` with this content.
    #[must_use]
    pub const fn new(ipa: Ipa, memory: Undelegated, content: Content<'c>) -> Self {
        Self { ipa, memory, content, unbacked: 0, taken: 0, merged: false, lost: 0 }
    }

    /// `bytes` of RAM at `ipa` that have no memory yet: their RIPAS is RAM when the Realm starts,
    /// and a REC that touches a page there faults. The host then gives memory, with
    /// [`Realm::serve_fault`](crate::Realm::serve_fault). The content is not measured; where the
    /// dialect measures the RIPAS (1.0), the RIPAS is.
    ///
    /// Tables are made for its ends only, down to granules, and down to level 1: RAM that is
    /// aligned to 2 MiB or more needs few.
    ///
    /// ```
    /// use realm_builder::Region;
    /// use rmi_abi::Ipa;
    ///
    /// let ram = Region::without_memory(Ipa::new(0x8000_0000), 1 << 30);
    /// assert_eq!((ram.range().bytes(), ram.memory().bytes()), (1 << 30, 0));
    /// ```
    #[must_use]
    pub fn without_memory(ipa: Ipa, bytes: u64) -> Self {
        let region = Self::new(ipa, Undelegated::empty(), Content::Unspecified);
        Self { unbacked: bytes, ..region }
    }

    /// The IPA range of the part that has not been populated.
    #[must_use]
    pub fn range(&self) -> IpaRange {
        IpaRange::with_size(self.ipa, self.bytes()).unwrap_or(IpaRange::empty(self.ipa))
    }

    /// Bytes that have not been populated.
    pub(crate) fn bytes(&self) -> u64 {
        self.memory.bytes().saturating_add(self.unbacked)
    }

    /// The memory with which the part that has not been populated is planned. RAM without memory is
    /// planned as if it had memory that is aligned as its IPAs are.
    pub(crate) fn planned(&self) -> PaRange {
        match self.unbacked {
            0 => self.memory.range(),
            bytes => {
                let base = Pa::new(self.ipa.raw());
                PaRange::with_size(base, bytes).unwrap_or(PaRange::empty(base))
            }
        }
    }

    /// The range of the host memory that has not been populated.
    #[must_use]
    pub fn memory(&self) -> PaRange {
        self.memory.range()
    }

    /// The host memory that has not been populated.
    pub fn into_memory(self) -> Undelegated {
        self.memory
    }

    pub(crate) fn problem(&self, granule: u64) -> Option<RegionProblem> {
        let bytes = self.bytes();
        if self.lost > 0 {
            return Some(RegionProblem::Lost { bytes: self.lost });
        }
        if bytes == 0 {
            return (self.taken == 0 && !self.merged).then_some(RegionProblem::Empty);
        }
        // Checked before a range is made: an address that is not aligned cannot begin one.
        let aligned = self.memory.range().is_aligned(granule) && bytes.is_multiple_of(granule);
        if !self.ipa.is_aligned(granule) || !aligned {
            return Some(RegionProblem::Unaligned);
        }
        if IpaRange::with_size(self.ipa, bytes).is_err() {
            return Some(RegionProblem::NotProtected);
        }
        match self.content {
            Content::Measured(content) | Content::Unmeasured(content) => {
                let len = content.len() as u64;
                (len.checked_next_multiple_of(granule) != Some(bytes))
                    .then_some(RegionProblem::Content { bytes: len })
            }
            Content::Unspecified => None,
        }
    }

    /// Joins the memory of the region that follows, if both are without content and neighbours in
    /// both address spaces.
    fn absorb(&mut self, next: &mut Region<'_>) -> bool {
        let vacant =
            matches!((self.content, next.content), (Content::Unspecified, Content::Unspecified));
        if !vacant || self.memory.is_empty() || next.memory.is_empty() {
            return false;
        }
        if self.range().top() != next.ipa {
            return false;
        }
        match self.memory.append(next.memory.take()) {
            Ok(()) => next.merged = true,
            Err(apart) => next.memory = apart,
        }
        next.merged
    }

    /// Splits off the first `bytes` as a region of their own.
    pub(crate) fn split_front(&mut self, bytes: u64) -> Self {
        if self.unbacked > 0 {
            let front = bytes.min(self.unbacked);
            self.unbacked -= front;
            return Self::without_memory(self.ipa, front);
        }
        let memory = self.memory.take_front(bytes).unwrap_or_default();
        let len = usize::try_from(memory.bytes()).unwrap_or(usize::MAX);
        let content = match self.content {
            Content::Measured(content) => Content::Measured(content.get(..len).unwrap_or(content)),
            Content::Unmeasured(content) => {
                Content::Unmeasured(content.get(..len).unwrap_or(content))
            }
            Content::Unspecified => Content::Unspecified,
        };
        Self::new(self.ipa, memory, content)
    }

    /// Takes back what is left of the front that was split off. Returns what is no longer
    /// contiguous with the rest; the region cannot continue then.
    pub(crate) fn rejoin(&mut self, front: Self) -> Option<Undelegated> {
        self.advance(front.taken);
        self.lost += front.lost;
        self.unbacked += front.unbacked;
        let rest = core::mem::replace(&mut self.memory, front.memory);
        // What was not populated ends where the rest begins, unless its end was lost.
        let Err(rest) = self.memory.append(rest) else { return None };
        let apart = core::mem::replace(&mut self.memory, rest);
        self.lost += apart.bytes();
        Some(apart)
    }

    /// `bytes` of RAM without memory are the Realm's now.
    pub(crate) fn advance_unbacked(&mut self, bytes: u64) {
        self.unbacked = self.unbacked.saturating_sub(bytes);
        self.advance(bytes);
    }

    /// `bytes` of the region are the Realm's now.
    pub(crate) fn advance(&mut self, bytes: u64) {
        self.ipa = self.ipa.checked_add(bytes).unwrap_or(self.ipa);
        self.taken = self.taken.saturating_add(bytes);
        let done = usize::try_from(bytes).unwrap_or(usize::MAX);
        self.content = match self.content {
            Content::Measured(content) => {
                Content::Measured(content.get(done..).unwrap_or_default())
            }
            Content::Unmeasured(content) => {
                Content::Unmeasured(content.get(done..).unwrap_or_default())
            }
            Content::Unspecified => Content::Unspecified,
        };
    }
}

/// Merges sorted regions that can be joined.
pub(crate) fn merge(regions: &mut [Region<'_>]) {
    let mut regions = regions.iter_mut();
    let Some(mut last) = regions.next() else { return };
    for region in regions {
        // A region that was merged or populated before is empty, and does not separate two others.
        if !region.memory.is_empty() && !last.absorb(region) {
            last = region;
        }
    }
}
