//! Memory that a Realm starts with.
//!
//! Regions have the order and the checks of [`realm_measurement::region`], so their measurement is
//! known before the Realm is built. A kernel of two pages with a BSS of three, in a Realm on the
//! model RMM:
//!
#![cfg_attr(feature = "rim", doc = "```")]
#![cfg_attr(not(feature = "rim"), doc = "```ignore")]
//! use realm_builder::{Content, Image, Realm, RealmConfig, RealmStorage, RecStart, Region, Rim};
//! use rmi_abi::rec::{Mpidr, RecParams};
//! use rmi_abi::{Dialect, Ipa};
//! # use rmi_host::SessionOptions;
//! # use rmm_model::{Model, Options};
//! # use sro::{FixedPool, Pool, open};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
//! # let mut memory = model.take_memory();
//! # let mut pool = FixedPool::<8>::new();
//! # pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
//! # pool.add(memory.take_front(64 << 12).unwrap()).unwrap();
//! # let rmm = sro::open(model.host(), SessionOptions::default(), &mut pool)?;
//! # let mut kernel = vec![0xd5; 0x1800];
//! # kernel[8..16].fill(0);
//! # kernel[16..24].copy_from_slice(&0x5000_u64.to_le_bytes());
//! # kernel[24..32].fill(0);
//! # kernel[56..60].copy_from_slice(b"ARM\x64");
//! // `kernel` has the content of the file.
//! let image = Image::arm64(&kernel, Ipa::new(0x8000_0000))?;
//! let mut regions = Vec::new();
//! for region in image.segments().flat_map(|segment| segment.regions()) {
//!     let granules = memory.take_front(region.bytes).expect("1 GiB");
//!     regions.push(Region::new(region.ipa, granules, region.content));
//! }
//!
//! // The measurement that they will have …
//! let config = RealmConfig::new(40);
//! let params = config.validate(rmm.features(), rmm.dialect())?;
//! let mut rim = Rim::new(&params, rmm.dialect(), &mut |event| println!("{event}"))?;
//! rim.add_regions(&mut regions, params.geometry, &mut |event| println!("{event}"))?;
//! let entry = image.entry();
//! let mpidr = Mpidr::from_index(0);
//! let boot = RecParams { runnable: true, mpidr, pc: entry.raw(), gprs: [0; 8] };
//! rim.add_rec(&boot, &mut |event| println!("{event}"))?;
//!
//! // … is that of the Realm.
//! let mut storage = RealmStorage::<16, 16>::new();
//! let mut realm = Realm::create(&rmm, &config, &mut storage, &mut pool)?;
//! realm.populate(&mut pool, &mut regions)?;
//! let rec = realm.create_rec(&mut pool, &RecStart { runnable: true, pc: entry, gprs: [0; 8] })?;
//! assert_eq!(realm.memory_bytes(), 0x5000);
//! assert_eq!(model.measurement(realm.rd().pa(), 0), Some(rim.value()));
//! # assert!(realm.tear_down(&mut pool, [rec]).error.is_none());
//! # pool.drain(&rmm, &mut |_| {});
//! # Ok(())
//! # }
//! ```

use realm_measurement::region::{HasLayout, LayoutCheck, LayoutProblem};
use rmi_abi::{Ipa, IpaRange, PaRange};
use rmi_host::Undelegated;

use crate::error::RegionProblem;

#[doc(inline)]
pub use realm_measurement::region::{Content, RegionLayout};

/// Memory for a Realm: its IPA, the memory, and its content. Or RAM without memory, which is given
/// to the Realm where it touches it.
///
/// A region is a cursor. As memory becomes part of the Realm, the region shrinks from the front;
/// when populating stops early, what is left in it is unchanged and belongs to the host, and
/// populating can continue with the same regions. Only when memory in the middle was lost, to
/// quarantine or because code of the embedder panicked meanwhile, it cannot continue, and returns
/// an error that says so.
#[derive(Debug)]
pub struct Region<'c> {
    pub(crate) ipa: Ipa,
    pub(crate) memory: Undelegated,
    pub(crate) content: Content<'c>,
    /// Bytes of RAM without memory that are not populated yet.
    pub(crate) unbacked: u64,
    /// Bytes from the front, without content, of which the RIPAS is RAM already.
    ram: u64,
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
        Self { ipa, memory, content, unbacked: 0, ram: 0, taken: 0, merged: false, lost: 0 }
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
        IpaRange::with_size_or_empty(self.ipa, self.bytes())
    }

    /// Bytes that have not been populated.
    pub(crate) fn bytes(&self) -> u64 {
        self.memory.bytes().saturating_add(self.unbacked)
    }

    /// The part without content of which the RIPAS is not RAM yet.
    pub(crate) fn not_ram(&self) -> IpaRange {
        let base = self.ipa.checked_add(self.ram).unwrap_or(self.ipa);
        match self.content {
            Content::Unspecified => self.range().after(base),
            Content::Measured(_) | Content::Unmeasured(_) => IpaRange::empty(base),
        }
    }

    /// The RIPAS of at most `bytes` more is RAM now; returns of how many.
    pub(crate) fn note_ram(&mut self, bytes: u64) -> u64 {
        let more = self.not_ram().bytes().min(bytes);
        self.ram += more;
        more
    }

    /// The memory with which the part that has not been populated is planned.
    pub(crate) fn planned(&self) -> PaRange {
        self.layout().planned()
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

    /// What is wrong with the next region of those that `check` has seen.
    pub(crate) fn problem(&self, check: &mut LayoutCheck) -> Option<RegionProblem> {
        if self.lost > 0 {
            return Some(RegionProblem::Lost { bytes: self.lost });
        }
        match check.next(&self.layout()) {
            // It was populated, or is a part of the region before it.
            Err(LayoutProblem::Empty) if self.taken > 0 || self.merged => None,
            result => result.err().map(RegionProblem::from),
        }
    }

    /// Joins the memory of the region that follows, if the two [can be one](RegionLayout::join).
    fn absorb(&mut self, next: &mut Region<'_>) -> bool {
        if self.layout().join(&next.layout()).is_none() {
            return false;
        }
        let ram = if self.not_ram().is_empty() { next.ram } else { 0 };
        match self.memory.append(next.memory.take()) {
            Ok(()) => {
                next.merged = true;
                self.ram += ram;
                next.ram = 0;
            }
            Err(apart) => next.memory = apart,
        }
        next.merged
    }

    /// Splits off the first `bytes` as a separate region.
    pub(crate) fn split_front(&mut self, bytes: u64) -> Self {
        let ram = bytes.min(self.ram);
        self.ram -= ram;
        if self.unbacked > 0 {
            let front = bytes.min(self.unbacked);
            self.unbacked -= front;
            return Self { ram, ..Self::without_memory(self.ipa, front) };
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
        Self { ram, ..Self::new(self.ipa, memory, content) }
    }

    /// Takes back what is left of the front that was split off. Returns what is no longer
    /// contiguous with the rest; the region cannot continue then.
    pub(crate) fn rejoin(&mut self, front: Self) -> Option<Undelegated> {
        // The RIPAS of what was populated is RAM.
        self.ram += front.ram + front.taken;
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
        self.ram = self.ram.saturating_sub(bytes);
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

impl HasLayout for Region<'_> {
    fn layout(&self) -> RegionLayout<'_> {
        let memory = (self.unbacked == 0).then(|| self.memory.range().base());
        RegionLayout { ipa: self.ipa, bytes: self.bytes(), content: self.content, memory }
    }
}

impl From<LayoutProblem> for RegionProblem {
    fn from(problem: LayoutProblem) -> Self {
        match problem {
            LayoutProblem::Empty => Self::Empty,
            LayoutProblem::NotProtected => Self::NotProtected,
            LayoutProblem::Overlap { at } => Self::Overlap { at },
            LayoutProblem::Content { bytes } => Self::Content { bytes },
            LayoutProblem::Unaligned => Self::Unaligned,
        }
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
