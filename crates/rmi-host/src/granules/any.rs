//! A token whose owner is known at run time: what all tokens consist of, so that there is one copy
//! of the code for them.

use core::fmt;
use core::num::NonZeroU64;
use core::sync::atomic::Ordering;

use rmi_abi::address::MIN_GRANULE;
use rmi_abi::{Pa, PaRange};

use super::{DROPPED_HOST, Granules, LEAKED, Machine, Owner, sealed};

/// The bits of both words that are not part of the address or the size.
const TAG: u64 = MIN_GRANULE - 1;
/// Where the second word has the upper bits of the machine's number.
const HIGH_SHIFT: u32 = 3;
const LOW_BITS: u32 = MIN_GRANULE.trailing_zeros();
const _: () = assert!(Machine::BITS + HIGH_SHIFT <= 2 * LOW_BITS);
const MACHINE: u64 = (1 << Machine::BITS) - 1;
/// Where the second word has the owner, which is not zero.
const OWNER: u64 = 0b11;
/// Whether memory inside an object was the host's until it was donated to that.
const WAS_HOST: u64 = 1 << 2;

pub(super) const HOST: NonZeroU64 = NonZeroU64::MIN;
pub(super) const FREE: NonZeroU64 = HOST.saturating_add(1);
pub(super) const BUSY: NonZeroU64 = HOST.saturating_add(2);

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
// Both ends of a range are aligned to 4 KiB, so 24 bits of two words are free: a token is moved in
// two registers.
#[must_use = "dropping memory that the RMM owns leaks it"]
pub struct AnyGranules {
    /// The first address, and the lower bits of the machine's number.
    base: u64,
    /// The size in bytes, the upper bits of the machine's number, and the owner.
    size: NonZeroU64,
}

// An optional token is as large.
const _: () = assert!(size_of::<Option<AnyGranules>>() == 16);

/// The word of an owner, with other bits set.
const fn with(owner: NonZeroU64, bits: u64) -> NonZeroU64 {
    match NonZeroU64::new(owner.get() | bits) {
        Some(word) => word,
        None => owner,
    }
}

impl AnyGranules {
    /// An empty token.
    pub const fn empty() -> Self {
        Self { base: 0, size: HOST }
    }

    /// An empty token of an owner.
    pub(super) const fn none(owner: NonZeroU64) -> Self {
        Self { base: 0, size: owner }
    }

    pub(super) const fn new(range: PaRange, machine: Machine, owner: NonZeroU64) -> Self {
        let (base, bytes) = range.to_parts();
        let code = machine.code() as u64;
        Self {
            base: base.raw() | code & TAG,
            size: with(owner, bytes | code >> LOW_BITS << HIGH_SHIFT),
        }
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
        match self.owner() == <H as sealed::Owner>::CODE.get() {
            true => Ok(Granules { any: self, owner: super::PhantomData }),
            false => Err(self),
        }
    }

    const fn owner(&self) -> u64 {
        self.size.get() & OWNER
    }

    /// The same memory with another owner.
    pub(super) const fn owned_by(mut self, owner: NonZeroU64) -> Self {
        self.size = with(owner, self.size.get() & !(OWNER | WAS_HOST));
        self
    }

    /// The same memory, inside an object.
    pub(super) const fn donated(self) -> Self {
        let was_host = if self.owner() == HOST.get() { WAS_HOST } else { 0 };
        self.owned_by(with(BUSY, was_host))
    }

    pub(super) const fn was_host(&self) -> bool {
        self.size.get() & WAS_HOST != 0
    }

    pub(super) fn into_parts(self) -> (Machine, PaRange) {
        let parts = (self.machine(), self.range());
        core::mem::forget(self);
        parts
    }

    const fn first(&self) -> u64 {
        self.base & !TAG
    }

    /// The first address.
    #[must_use]
    pub const fn base(&self) -> Pa {
        Pa::new(self.first())
    }

    /// The size in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.size.get() & !TAG
    }

    /// A token of the same kind for this much memory at another address.
    const fn part(&self, first: u64, bytes: u64) -> Self {
        let size = NonZeroU64::new(self.size.get() & TAG | bytes);
        Self {
            base: self.base & TAG | first,
            size: match size {
                Some(size) => size,
                // The owner is not zero.
                None => self.size,
            },
        }
    }

    /// Whether it is memory of the same machine and owner.
    const fn is_alike(&self, other: &Self) -> bool {
        ((self.base ^ other.base) | (self.size.get() ^ other.size.get())) & TAG == 0
    }

    /// The memory.
    #[must_use]
    pub const fn range(&self) -> PaRange {
        PaRange::from_parts(self.base(), self.bytes())
    }

    /// The machine whose memory it is; not meaningful for an empty token.
    #[must_use]
    pub const fn machine(&self) -> Machine {
        let high = (self.size.get() & TAG) >> HIGH_SHIFT << LOW_BITS;
        Machine::from_code(((self.base & TAG | high) & MACHINE) as u32)
    }

    /// Whether the token is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.bytes() == 0
    }

    /// As [`Granules::take_front`].
    #[inline(never)]
    pub fn take_front(&mut self, bytes: u64) -> Option<Self> {
        let rest = self.bytes().checked_sub(bytes).filter(|_| bytes & TAG == 0)?;
        let (front, rest) = (self.part(self.first(), bytes), self.part(self.first() + bytes, rest));
        core::mem::forget(core::mem::replace(self, rest));
        Some(front)
    }

    /// As [`Granules::take_back`].
    #[inline(never)]
    pub fn take_back(&mut self, bytes: u64) -> Option<Self> {
        let front = self.take_front(self.bytes().checked_sub(bytes)?)?;
        Some(core::mem::replace(self, front))
    }

    /// Takes everything, leaving the token empty.
    pub fn take(&mut self) -> Self {
        let empty = self.part(self.first() + self.bytes(), 0);
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
        let bytes = self.bytes();
        if !self.is_alike(&other) || other.first().checked_sub(bytes) != Some(self.first()) {
            return Err(other);
        }
        let joined = self.part(self.first(), bytes + other.bytes());
        core::mem::forget((other, core::mem::replace(self, joined)));
        Ok(())
    }

    /// As [`Granules::merge`].
    ///
    /// # Errors
    ///
    /// As [`AnyGranules::append`].
    pub fn merge(&mut self, mut other: Self) -> Result<(), Self> {
        if other.is_alike(self) && self.first().checked_sub(other.bytes()) == Some(other.first()) {
            core::mem::swap(self, &mut other);
        }
        self.append(other)
    }

    const fn name(&self) -> &'static str {
        match self.owner() {
            1 => "Undelegated",
            2 => "Delegated",
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
            count_lost(self.size.get());
        }
    }
}

/// Counts memory whose token is dropped. Tokens are dropped in many places, and nearly all of them
/// are empty.
#[cold]
#[inline(never)]
fn count_lost(size: u64) {
    let count = if size & OWNER == HOST.get() { &DROPPED_HOST } else { &LEAKED };
    count.fetch_add(size / MIN_GRANULE, Ordering::Relaxed);
}

impl fmt::Debug for AnyGranules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.name(), self.range())
    }
}

impl Default for AnyGranules {
    fn default() -> Self {
        Self::empty()
    }
}
