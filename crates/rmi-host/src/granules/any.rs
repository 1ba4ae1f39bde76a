//! A token whose owner is known at run time: what all tokens consist of, so that there is one copy
//! of the code for them.

use core::fmt;
use core::sync::atomic::Ordering;

use rmi_abi::PaRange;
use rmi_abi::address::MIN_GRANULE;

use super::{DROPPED_HOST, Granules, LEAKED, Machine, Owner, sealed};

/// Where a tag has the owner; the machine is below.
const OWNER_SHIFT: u32 = 30;
/// Whether memory inside an object was the host's until it was donated to that.
const WAS_HOST: u32 = 1 << 29;
const MACHINE: u32 = (1 << Machine::BITS) - 1;
const _: () = assert!(Machine::BITS <= 29);

pub(super) const HOST: u32 = 0;
pub(super) const FREE: u32 = 1;
pub(super) const BUSY: u32 = 2;

/// A range of physical memory, owned by this value, whose owner is known at run time: for storage
/// of tokens of any owner. May be empty.
///
/// It becomes a [`Granules`] of the owner that it was made from, and of no other:
///
/// ```
/// # use rmi_abi::Dialect;
/// use rmi_host::granules::{AnyGranules, Free, HostOwned};
/// # use rmm_model::{Model, Options};
/// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// # let mut memory = model.take_memory();
/// let any = AnyGranules::from(memory.take_front(0x2000).expect("1 GiB"));
/// let any = any.into_granules::<Free>().expect_err("it is the host's");
/// let host = any.into_granules::<HostOwned>().expect("it is");
/// assert_eq!(host.bytes(), 0x2000);
/// # Ok::<(), rmm_model::OptionsError>(())
/// ```
#[must_use = "dropping memory that the RMM owns leaks it"]
pub struct AnyGranules {
    range: PaRange,
    /// Machine and owner.
    tag: u32,
}

// A range and a tag, which has padding.
const _: () = assert!(size_of::<AnyGranules>() == 24);

impl AnyGranules {
    /// An empty token.
    pub const fn empty() -> Self {
        Self::new(PaRange::NONE, Machine::REAL, HOST)
    }

    pub(super) const fn new(range: PaRange, machine: Machine, owner: u32) -> Self {
        Self { range, tag: machine.code() | owner << OWNER_SHIFT }
    }

    /// The token of the owner that the memory has; an empty one has any owner.
    ///
    /// # Errors
    ///
    /// The token is returned when the memory has another owner.
    pub fn into_granules<H: Owner>(self) -> Result<Granules<H>, Self> {
        if self.is_empty() {
            return Ok(Granules::empty());
        }
        match self.tag >> OWNER_SHIFT == <H as sealed::Owner>::CODE {
            true => Ok(Granules { any: self, owner: super::PhantomData }),
            false => Err(self),
        }
    }

    /// The same memory with another owner.
    pub(super) const fn owned_by(mut self, owner: u32) -> Self {
        self.tag = self.tag & MACHINE | owner << OWNER_SHIFT;
        self
    }

    /// The same memory, inside an object.
    pub(super) const fn donated(self) -> Self {
        let was_host = if self.tag >> OWNER_SHIFT == HOST { WAS_HOST } else { 0 };
        let mut memory = self.owned_by(BUSY);
        memory.tag |= was_host;
        memory
    }

    pub(super) const fn was_host(&self) -> bool {
        self.tag & WAS_HOST != 0
    }

    pub(super) fn into_parts(self) -> (Machine, PaRange) {
        let parts = (self.machine(), self.range);
        core::mem::forget(self);
        parts
    }

    /// A token of the same kind for a part of the memory, or for none.
    const fn part(&self, range: PaRange) -> Self {
        Self { range, tag: self.tag }
    }

    /// The memory.
    #[must_use]
    pub const fn range(&self) -> PaRange {
        self.range
    }

    /// The machine whose memory it is; not meaningful for an empty token.
    #[must_use]
    pub const fn machine(&self) -> Machine {
        Machine::from_code(self.tag & MACHINE)
    }

    /// Whether the token is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// As [`Granules::take_front`].
    #[inline(never)]
    pub fn take_front(&mut self, bytes: u64) -> Option<Self> {
        let (front, rest) = self.range.split_at(bytes)?;
        self.range = rest;
        Some(self.part(front))
    }

    /// As [`Granules::take_back`].
    #[inline(never)]
    pub fn take_back(&mut self, bytes: u64) -> Option<Self> {
        let (rest, back) = self.range.split_at(self.range.bytes().checked_sub(bytes)?)?;
        self.range = rest;
        Some(self.part(back))
    }

    /// Takes everything, leaving the token empty.
    pub fn take(&mut self) -> Self {
        let empty = self.part(PaRange::empty(self.range.top()));
        core::mem::replace(self, empty)
    }

    /// As [`Granules::append`].
    ///
    /// # Errors
    ///
    /// As [`Granules::append`], and when the memory has another owner.
    #[inline(never)]
    pub fn append(&mut self, other: Self) -> Result<(), Self> {
        if other.is_empty() {
            core::mem::forget(other);
            return Ok(());
        }
        if self.is_empty() {
            core::mem::forget(core::mem::replace(self, other));
            return Ok(());
        }
        if other.tag != self.tag || other.range.base() != self.range.top() {
            return Err(other);
        }
        match PaRange::new(self.range.base(), other.range.top()) {
            Ok(joined) => {
                core::mem::forget(other);
                self.range = joined;
                Ok(())
            }
            Err(_) => Err(other),
        }
    }

    /// As [`Granules::merge`].
    ///
    /// # Errors
    ///
    /// As [`AnyGranules::append`].
    pub fn merge(&mut self, mut other: Self) -> Result<(), Self> {
        if other.tag == self.tag && other.range.top() == self.range.base() {
            core::mem::swap(self, &mut other);
        }
        self.append(other)
    }

    const fn name(&self) -> &'static str {
        match self.tag >> OWNER_SHIFT {
            HOST => "Undelegated",
            FREE => "Delegated",
            _ if self.was_host() => "LentToRmm",
            _ => "InUse",
        }
    }
}

impl<H: Owner> From<Granules<H>> for AnyGranules {
    fn from(granules: Granules<H>) -> Self {
        granules.any
    }
}

impl Drop for AnyGranules {
    fn drop(&mut self) {
        if !self.is_empty() {
            count_lost(self.tag, self.range.bytes());
        }
    }
}

/// Counts memory whose token is dropped. Tokens are dropped in many places, and nearly all of them
/// are empty.
#[cold]
#[inline(never)]
fn count_lost(tag: u32, bytes: u64) {
    let count = if tag >> OWNER_SHIFT == HOST { &DROPPED_HOST } else { &LEAKED };
    count.fetch_add(bytes / MIN_GRANULE, Ordering::Relaxed);
}

impl fmt::Debug for AnyGranules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.name(), self.range)
    }
}

impl Default for AnyGranules {
    fn default() -> Self {
        Self::empty()
    }
}
