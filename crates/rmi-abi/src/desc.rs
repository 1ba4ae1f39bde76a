//! Address range descriptors and donation requests: the words by which host and RMM describe memory
//! to each other.

use core::fmt;

use crate::address::{GranuleSize, Pa, PaRange};
use crate::dialect::Dialect;

/// The state in which memory is transferred, or has to be.
///
/// Source: DEN0137 2.0-bet3, `RmiOpMemState`. `CONDITIONAL` does not exist before bet3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(alias = "RmiOpMemState")]
pub enum OpMemState {
    /// Delegated to the RMM.
    Delegated,
    /// Still host memory.
    Undelegated,
    /// Either of the two, at the host's choice.
    Conditional,
    /// The reserved code 3.
    Reserved,
}

impl OpMemState {
    const fn code(self) -> u64 {
        match self {
            Self::Delegated => 0,
            Self::Undelegated => 1,
            Self::Conditional => 2,
            Self::Reserved => 3,
        }
    }

    const fn from_code(code: u64) -> Self {
        match code & 0b11 {
            0 => Self::Delegated,
            1 => Self::Undelegated,
            2 => Self::Conditional,
            _ => Self::Reserved,
        }
    }
}

/// The size of the blocks of a descriptor or request, as a two-bit code relative to the granule
/// size.
///
/// Source: DEN0137 2.0-bet3, `RmiAddrBlockSize`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[doc(alias = "RmiAddrBlockSize")]
pub enum BlockSize {
    /// One granule: what a level 3 entry maps.
    #[doc(alias = "PAGE_L3")]
    Page,
    /// What a level 2 entry maps: 2 MiB, 32 MiB or 512 MiB.
    #[doc(alias = "BLOCK_L2")]
    Level2,
    /// What a level 1 entry maps: 1 GiB, 64 GiB or 4 TiB.
    #[doc(alias = "BLOCK_L1")]
    Level1,
    /// What a level 0 entry maps: 512 GiB or 128 TiB; not usable with 64 KiB granules.
    #[doc(alias = "BLOCK_L0")]
    Level0,
}

impl BlockSize {
    /// Every size, smallest first.
    pub const ALL: [Self; 4] = [Self::Page, Self::Level2, Self::Level1, Self::Level0];

    /// The two-bit code.
    #[must_use]
    pub const fn code(self) -> u64 {
        self.levels_up() as u64
    }

    /// Levels above a page: 0 to 3.
    const fn levels_up(self) -> u32 {
        match self {
            Self::Page => 0,
            Self::Level2 => 1,
            Self::Level1 => 2,
            Self::Level0 => 3,
        }
    }

    /// The size of a two-bit code; higher bits are ignored.
    #[must_use]
    pub const fn from_code(code: u64) -> Self {
        match code & 0b11 {
            0 => Self::Page,
            1 => Self::Level2,
            2 => Self::Level1,
            _ => Self::Level0,
        }
    }

    /// Size in bytes for a granule size. Each level adds as many bits as a table has index bits (9,
    /// 11 or 13).
    #[must_use]
    pub const fn bytes(self, granule: GranuleSize) -> u64 {
        let index_bits = granule.shift() - 3;
        1 << (granule.shift() + index_bits * self.levels_up())
    }
}

/// A run of equally sized blocks of physical memory, decoded.
///
/// Source: DEN0137 2.0-bet3, `RmiAddrRangeDesc4KB`, `RmiAddrRangeDesc16KB`, `RmiAddrRangeDesc64KB`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(alias = "RmiAddrRangeDesc4KB")]
#[doc(alias = "RmiAddrRangeDesc16KB")]
#[doc(alias = "RmiAddrRangeDesc64KB")]
pub struct AddrRangeDesc {
    /// First address; aligned to the block size in what a host builds.
    #[doc(alias = "addr")]
    pub base: Pa,
    /// Size of a block.
    pub size: BlockSize,
    /// Number of blocks.
    pub count: u16,
    /// State of the memory.
    pub state: OpMemState,
}

/// Why no single descriptor can describe a run of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DescError {
    /// The base is not aligned to the granule size, or lies above the 52-bit physical address
    /// space.
    Address,
    /// The count is too large for the descriptor.
    Count,
    /// The dialect has no code for the state.
    State,
}

impl fmt::Display for DescError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Address => "base of an address range descriptor is unaligned or above 52 bits",
            Self::Count => "too many blocks for one address range descriptor",
            Self::State => "memory state has no code in this dialect",
        })
    }
}

impl core::error::Error for DescError {}

/// Bytes of one descriptor of a list.
pub const LIST_ENTRY_BYTES: u64 = 8;

/// Most descriptors that a list at `address` can have: it may not cross the end of its granule.
/// `None` when the address is not 8-byte aligned.
///
/// Source: DEN0137 2.0-bet3, "Address list".
#[must_use]
pub const fn list_capacity(address: Pa, granule: GranuleSize) -> Option<u64> {
    if !address.is_aligned(LIST_ENTRY_BYTES) {
        return None;
    }
    Some((granule.bytes() - address.raw() % granule.bytes()) / LIST_ENTRY_BYTES)
}

const ADDRESS_MASK: u64 = (1 << 52) - 1;

impl AddrRangeDesc {
    /// Most blocks that one descriptor holds: 1023, 4095 or 16383.
    #[must_use]
    pub const fn max_count(granule: GranuleSize) -> u16 {
        (1 << (granule.shift() - 2)) - 1
    }

    /// Describes `range` by blocks of `size`; `None` when the range is not a whole, representable
    /// number of them.
    #[must_use]
    pub fn from_range(
        range: &PaRange,
        size: BlockSize,
        state: OpMemState,
        granule: GranuleSize,
    ) -> Option<Self> {
        let bytes = size.bytes(granule);
        if range.is_empty() || !range.is_aligned(bytes) {
            return None;
        }
        let count = u16::try_from(range.bytes() / bytes).ok()?;
        (count <= Self::max_count(granule)).then_some(Self {
            base: range.base(),
            size,
            count,
            state,
        })
    }

    /// The memory described; `None` when it wraps around the address space.
    #[must_use]
    pub fn range(&self, granule: GranuleSize) -> Option<PaRange> {
        let bytes = u64::from(self.count).checked_mul(self.size.bytes(granule))?;
        PaRange::with_size(self.base, bytes).ok()
    }

    /// The 64-bit word of this descriptor.
    ///
    /// # Errors
    ///
    /// [`DescError`] when a part does not fit its field in this dialect.
    pub fn encode(&self, dialect: Dialect, granule: GranuleSize) -> Result<u64, DescError> {
        if !self.base.is_aligned(granule.bytes()) || self.base.raw() & !ADDRESS_MASK != 0 {
            return Err(DescError::Address);
        }
        if self.count > Self::max_count(granule) {
            return Err(DescError::Count);
        }
        let (lsb, width) = dialect.range_state_field();
        let state = self.state.code();
        if state >> width != 0 || self.state == OpMemState::Reserved {
            return Err(DescError::State);
        }
        Ok(self.size.code() | u64::from(self.count) << 2 | self.base.raw() | state << lsb)
    }

    /// Decodes a word. Every word decodes; bits outside the fields are ignored.
    #[must_use]
    pub fn decode(word: u64, dialect: Dialect, granule: GranuleSize) -> Self {
        let (lsb, width) = dialect.range_state_field();
        let count = (word >> 2) & u64::from(Self::max_count(granule));
        Self {
            base: Pa::new(word & ADDRESS_MASK & !(granule.bytes() - 1)),
            size: BlockSize::from_code(word),
            count: u16::try_from(count).unwrap_or(0),
            state: OpMemState::from_code((word >> lsb) & ((1 << width) - 1)),
        }
    }
}

/// What an incomplete operation asks to be donated.
///
/// Source: DEN0137 2.0-bet3, `RmiOpMemDonateReq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[doc(alias = "RmiOpMemDonateReq")]
pub struct DonateRequest {
    /// Size of a block.
    pub size: BlockSize,
    /// Number of blocks, at most 16383.
    pub count: u16,
    /// Whether all of it must be one block-aligned, power of two sized run.
    #[doc(alias = "RmiOpMemContig")]
    #[doc(alias = "CONTIG")]
    #[doc(alias = "NON_CONTIG")]
    pub contiguous: bool,
    /// The state in which the memory is requested.
    pub state: OpMemState,
}

impl DonateRequest {
    /// Total in bytes; `None` when that is more than 64 bits hold.
    #[must_use]
    pub fn bytes(&self, granule: GranuleSize) -> Option<u64> {
        self.size.bytes(granule).checked_mul(u64::from(self.count))
    }

    /// The register value of this request; a count above 16383 loses its top bits.
    #[must_use]
    pub const fn encode(&self) -> u64 {
        self.size.code()
            | (self.count as u64 & 0x3fff) << 2
            | (self.contiguous as u64) << 16
            | self.state.code() << 17
    }

    /// Decodes a register value. Every value decodes; the state takes as many bits as the dialect
    /// gives it.
    #[must_use]
    pub fn decode(word: u64, dialect: Dialect) -> Self {
        let width = dialect.donate_state_width();
        Self {
            size: BlockSize::from_code(word),
            count: u16::try_from((word >> 2) & 0x3fff).unwrap_or(0),
            contiguous: word & (1 << 16) != 0,
            state: OpMemState::from_code((word >> 17) & ((1 << width) - 1)),
        }
    }
}
