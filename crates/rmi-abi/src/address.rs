//! Address types: a physical address is never an intermediate physical address.

use core::fmt;

mod sealed {
    pub trait Sealed {}
}

/// An address of one of the two address spaces of the interface: [`Pa`] or [`Ipa`].
pub trait Address: Copy + Ord + fmt::Debug + fmt::LowerHex + sealed::Sealed {
    /// Makes an address from its number, in bytes.
    fn from_raw(raw: u64) -> Self;
    /// The number of the address, in bytes.
    fn raw(self) -> u64;
}

macro_rules! address {
    ($(#[$doc:meta])* $name:ident, $label:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        #[repr(transparent)]
        pub struct $name(u64);

        impl $name {
            /// Makes an address from its number, in bytes.
            #[must_use]
            pub const fn new(raw: u64) -> Self {
                Self(raw)
            }

            /// The number of the address, in bytes.
            #[must_use]
            pub const fn raw(self) -> u64 {
                self.0
            }

            /// The address `bytes` further up, unless that leaves the 64-bit space.
            #[must_use]
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(raw) => Some(Self(raw)),
                    None => None,
                }
            }

            /// Distance in bytes from `base` up to this address, unless `base` is above it.
            #[must_use]
            pub const fn checked_offset_from(self, base: Self) -> Option<u64> {
                self.0.checked_sub(base.0)
            }

            /// Whether the address is a multiple of `bytes`; never for 0.
            #[must_use]
            pub const fn is_aligned(self, bytes: u64) -> bool {
                bytes != 0 && self.0.is_multiple_of(bytes)
            }

            /// The address rounded down to a multiple of `bytes`, which must be a power of two.
            #[must_use]
            pub const fn align_down(self, bytes: u64) -> Self {
                Self(self.0 & !bytes.wrapping_sub(1))
            }

            /// The address rounded up to a multiple of `bytes`, which must be a power of two;
            /// `None` past the end.
            #[must_use]
            pub const fn align_up(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes.wrapping_sub(1)) {
                    Some(raw) => Some(Self(raw & !bytes.wrapping_sub(1))),
                    None => None,
                }
            }
        }

        impl sealed::Sealed for $name {}
        impl Address for $name {
            fn from_raw(raw: u64) -> Self {
                Self(raw)
            }
            fn raw(self) -> u64 {
                self.0
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($label, "({:#x})"), self.0)
            }
        }
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
        impl fmt::LowerHex for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::LowerHex::fmt(&self.0, f)
            }
        }
    };
}

address! {
    /// A physical address (PA) of the host. Not interchangeable with [`Ipa`].
    Pa, "Pa"
}
address! {
    /// An intermediate physical address (IPA) of a Realm. Not interchangeable with [`Pa`].
    Ipa, "Ipa"
}

/// A half-open range `[base, top)` of addresses, aligned to 4 KiB at both ends.
///
/// 4 KiB is the smallest granule an RMM can be configured for; commands also check the session's
/// own granule size.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AddressRange<A> {
    base: A,
    top: A,
}

/// A range of physical addresses.
pub type PaRange = AddressRange<Pa>;
/// A range of intermediate physical addresses.
pub type IpaRange = AddressRange<Ipa>;

/// Alignment of both ends of every [`AddressRange`], in bytes.
pub const MIN_GRANULE: u64 = 0x1000;

impl PaRange {
    /// The empty range at address 0, for initial values.
    pub const NONE: Self = Self { base: Pa::new(0), top: Pa::new(0) };

    /// Its base and its size in bytes.
    #[doc(hidden)]
    #[must_use]
    pub const fn to_parts(self) -> (Pa, u64) {
        (self.base, self.top.raw() - self.base.raw())
    }

    /// The range of a base and a size in bytes, which are those of a range.
    #[doc(hidden)]
    #[must_use]
    pub const fn from_parts(base: Pa, bytes: u64) -> Self {
        Self { base, top: Pa::new(base.raw().wrapping_add(bytes)) }
    }
}

impl<A: Address> AddressRange<A> {
    /// Makes the range `[base, top)`.
    ///
    /// # Errors
    ///
    /// [`RangeError::Unaligned`] when an end is not 4 KiB aligned, [`RangeError::Backwards`] when
    /// `top` is below `base`.
    pub fn new(base: A, top: A) -> Result<Self, RangeError> {
        for end in [base, top] {
            if !end.raw().is_multiple_of(MIN_GRANULE) {
                return Err(RangeError::Unaligned { address: end.raw() });
            }
        }
        if top < base {
            return Err(RangeError::Backwards { base: base.raw(), top: top.raw() });
        }
        Ok(Self { base, top })
    }

    /// Makes the range of `bytes` bytes that starts at `base`.
    ///
    /// # Errors
    ///
    /// As [`AddressRange::new`], and [`RangeError::Overflow`] when the end leaves the 64-bit space.
    pub fn with_size(base: A, bytes: u64) -> Result<Self, RangeError> {
        let top = base
            .raw()
            .checked_add(bytes)
            .ok_or(RangeError::Overflow { base: base.raw(), bytes })?;
        Self::new(base, A::from_raw(top))
    }

    /// The empty range at `at`, rounded down to 4 KiB.
    #[must_use]
    pub fn empty(at: A) -> Self {
        let at = A::from_raw(at.raw() & !(MIN_GRANULE - 1));
        Self { base: at, top: at }
    }

    /// Makes the range `[base, top)`, or an empty one at `base` where [`AddressRange::new`] makes
    /// none.
    #[must_use]
    pub fn new_or_empty(base: A, top: A) -> Self {
        Self::new(base, top).unwrap_or_else(|_| Self::empty(base))
    }

    /// Makes the range of `bytes` bytes that starts at `base`, or an empty one at `base` where
    /// [`AddressRange::with_size`] makes none.
    #[must_use]
    pub fn with_size_or_empty(base: A, bytes: u64) -> Self {
        Self::with_size(base, bytes).unwrap_or_else(|_| Self::empty(base))
    }

    /// First address of the range.
    #[must_use]
    pub fn base(&self) -> A {
        self.base
    }

    /// First address after the range.
    #[must_use]
    pub fn top(&self) -> A {
        self.top
    }

    /// Length in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.top.raw() - self.base.raw()
    }

    /// Length in granules of `size`; a partial granule at the end does not count.
    #[must_use]
    pub fn granules(&self, size: GranuleSize) -> u64 {
        self.bytes() / size.bytes()
    }

    /// Whether the range is empty.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.top == self.base
    }

    /// Whether both ends are multiples of `bytes`.
    #[must_use]
    pub fn is_aligned(&self, bytes: u64) -> bool {
        bytes != 0 && self.base.raw().is_multiple_of(bytes) && self.top.raw().is_multiple_of(bytes)
    }

    /// Whether `address` lies in the range.
    #[must_use]
    pub fn contains(&self, address: A) -> bool {
        self.base <= address && address < self.top
    }

    /// Whether all of `other` lies in the range; an empty `other` does when its base is in or at
    /// the end.
    #[must_use]
    pub fn contains_range(&self, other: &Self) -> bool {
        self.base <= other.base && other.top <= self.top
    }

    /// Whether the two ranges share an address; an empty range shares none, wherever it lies.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        self.intersection(other).is_some()
    }

    /// The part that both ranges share, if any.
    #[must_use]
    pub fn intersection(&self, other: &Self) -> Option<Self> {
        let (base, top) = (self.base.max(other.base), self.top.min(other.top));
        (base < top).then_some(Self { base, top })
    }

    /// The part below `at`, rounded down to 4 KiB: empty when `at` is not above the base.
    #[must_use]
    pub fn before(&self, at: A) -> Self {
        let at = Self::empty(at).base;
        Self { base: self.base, top: at.max(self.base).min(self.top) }
    }

    /// The part from `at`, rounded up to 4 KiB, to the top: empty when `at` is not below the top.
    #[must_use]
    pub fn after(&self, at: A) -> Self {
        let at = at.raw().checked_next_multiple_of(MIN_GRANULE).map_or(self.top, A::from_raw);
        Self { base: at.max(self.base).min(self.top), top: self.top }
    }

    /// Splits the range `bytes` after its base; `None` when that is unaligned or outside.
    #[must_use]
    pub fn split_at(&self, bytes: u64) -> Option<(Self, Self)> {
        if bytes > self.bytes() || !bytes.is_multiple_of(MIN_GRANULE) {
            return None;
        }
        let middle = A::from_raw(self.base.raw() + bytes);
        Some((Self { base: self.base, top: middle }, Self { base: middle, top: self.top }))
    }
}

impl<A: Address> fmt::Debug for AddressRange<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{:#x}, {:#x})", self.base, self.top)
    }
}

impl<A: Address> fmt::Display for AddressRange<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Why two addresses do not form a range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RangeError {
    /// An end is not 4 KiB aligned.
    #[non_exhaustive]
    Unaligned {
        /// The end in question.
        address: u64,
    },
    /// The end lies below the start.
    #[non_exhaustive]
    Backwards {
        /// First address.
        base: u64,
        /// First address after the range.
        top: u64,
    },
    /// The end does not fit in 64 bits.
    #[non_exhaustive]
    Overflow {
        /// First address.
        base: u64,
        /// Length in bytes.
        bytes: u64,
    },
}

impl fmt::Display for RangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unaligned { address } => write!(f, "address {address:#x} is not 4 KiB aligned"),
            Self::Backwards { base, top } => {
                write!(f, "range ends at {top:#x}, below its base {base:#x}")
            }
            Self::Overflow { base, bytes } => {
                write!(f, "range of {bytes:#x} bytes at {base:#x} leaves the 64-bit address space")
            }
        }
    }
}

impl core::error::Error for RangeError {}

/// The size of a granule, as the RMM is configured.
///
/// Source: DEN0137 2.0-bet3, `RmiGranuleSize`. Dialect 1.0 has 4 KiB only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[doc(alias = "RmiGranuleSize")]
pub enum GranuleSize {
    /// 4 KiB.
    #[default]
    #[doc(alias = "4KB")]
    Size4KiB,
    /// 16 KiB.
    #[doc(alias = "16KB")]
    Size16KiB,
    /// 64 KiB.
    #[doc(alias = "64KB")]
    Size64KiB,
}

impl GranuleSize {
    /// Size in bytes.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        1 << self.shift()
    }

    /// Binary logarithm of the size in bytes: 12, 14 or 16.
    #[must_use]
    pub const fn shift(self) -> u32 {
        match self {
            Self::Size4KiB => 12,
            Self::Size16KiB => 14,
            Self::Size64KiB => 16,
        }
    }

    /// The code of `RmiGranuleSize`.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::Size4KiB => 0,
            Self::Size16KiB => 1,
            Self::Size64KiB => 2,
        }
    }

    /// The size of an `RmiGranuleSize` code, if the code is known.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Size4KiB),
            1 => Some(Self::Size16KiB),
            2 => Some(Self::Size64KiB),
            _ => None,
        }
    }
}
