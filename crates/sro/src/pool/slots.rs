//! Where a pool stores its ranges: in itself, or on the heap.

use core::fmt;

use rmi_host::granules::{AnyGranules, Free, HostOwned};

use crate::ranges::{Ranges, RangesMut};
use crate::set::GranuleSet;

mod sealed {
    use super::{Ranges, RangesMut};

    pub trait Sets {
        fn host(&self) -> Ranges<'_>;
        fn host_mut(&mut self) -> RangesMut<'_>;
        fn delegated(&self) -> Ranges<'_>;
        fn delegated_mut(&mut self) -> RangesMut<'_>;
    }

    pub trait Empty {
        const EMPTY: Self;
    }
}

pub(super) use sealed::Empty;

/// The slots of a [`Pool`](crate::Pool), for separate ranges of host memory and of delegated
/// memory. Sealed: [`FixedSlots`], and `GrowingSlots` with the feature `alloc`.
pub trait PoolSlots: sealed::Sets + fmt::Debug + Send + Sync {}

/// Slots that can be made in a constant. Sealed: those of all pools.
pub trait ConstSlots: PoolSlots + sealed::Empty {}

/// `N` slots for host memory and as many for delegated memory, in `N` times 32 bytes and 16 more.
#[derive(Debug)]
pub struct FixedSlots<const N: usize> {
    host: GranuleSet<HostOwned, [AnyGranules; N]>,
    delegated: GranuleSet<Free, [AnyGranules; N]>,
}

// The size that the documentation states.
const _: () = assert!(size_of::<FixedSlots<10>>() == 10 * 32 + 16);

impl<const N: usize> PoolSlots for FixedSlots<N> {}
impl<const N: usize> ConstSlots for FixedSlots<N> {}

impl<const N: usize> sealed::Empty for FixedSlots<N> {
    const EMPTY: Self = Self { host: GranuleSet::empty(), delegated: GranuleSet::empty() };
}

impl<const N: usize> sealed::Sets for FixedSlots<N> {
    fn host(&self) -> Ranges<'_> {
        self.host.ranges()
    }

    fn host_mut(&mut self) -> RangesMut<'_> {
        self.host.ranges_mut()
    }

    fn delegated(&self) -> Ranges<'_> {
        self.delegated.ranges()
    }

    fn delegated_mut(&mut self) -> RangesMut<'_> {
        self.delegated.ranges_mut()
    }
}

/// Slots on the heap, in 64 bytes and 24 for each range. Their number grows when memory is added or
/// split; an allocation that fails has the effect of a pool that is full.
#[cfg(feature = "alloc")]
#[derive(Debug)]
pub struct GrowingSlots {
    host: GranuleSet<HostOwned, alloc::vec::Vec<AnyGranules>>,
    delegated: GranuleSet<Free, alloc::vec::Vec<AnyGranules>>,
}

#[cfg(feature = "alloc")]
mod growing {
    use super::{ConstSlots, GranuleSet, GrowingSlots, PoolSlots, Ranges, RangesMut, sealed};

    // The size that the documentation states.
    const _: () = assert!(size_of::<GrowingSlots>() == 64);

    impl PoolSlots for GrowingSlots {}
    impl ConstSlots for GrowingSlots {}

    impl sealed::Empty for GrowingSlots {
        const EMPTY: Self = Self { host: GranuleSet::growing(), delegated: GranuleSet::growing() };
    }

    impl sealed::Sets for GrowingSlots {
        fn host(&self) -> Ranges<'_> {
            self.host.ranges()
        }

        fn host_mut(&mut self) -> RangesMut<'_> {
            self.host.ranges_mut()
        }

        fn delegated(&self) -> Ranges<'_> {
            self.delegated.ranges()
        }

        fn delegated_mut(&mut self) -> RangesMut<'_> {
            self.delegated.ranges_mut()
        }
    }
}
