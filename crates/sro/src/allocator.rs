//! Memory of an allocator that threads share, and a pool for each of them.

use core::fmt;

use rmi_abi::IpaRange;
use rmi_abi::address::{GranuleSize, MIN_GRANULE};
use rmi_host::{Platform, Rmm, Undelegated};

use crate::memory::HostMemory;
use crate::pool::{FixedPool, Pool};

/// Sizes of the blocks by which memory is mapped, the largest first, and what is asked for where no
/// block fits: an aligned 64 KiB are contiguous for a TLB.
const fn sizes(granule: GranuleSize) -> [u64; 6] {
    match granule {
        GranuleSize::Size4KiB => [1 << 30, 2 << 20, 0x1_0000, 0x4000, 0x2000, MIN_GRANULE],
        GranuleSize::Size16KiB => [64 << 30, 32 << 20, 2 << 20, 0x1_0000, 0x8000, 0x4000],
        GranuleSize::Size64KiB => [4 << 40, 512 << 20, 32 << 20, 2 << 20, 0x2_0000, 0x1_0000],
    }
}

/// The host's allocator of memory for Realms. Threads share it, so its methods take `&self`.
///
/// It is called where [`HostMemory`] is, and under the same conditions.
pub trait HostAllocator {
    /// Contiguous memory of `bytes`, a multiple of 4 KiB, aligned to `alignment`, a power of two of
    /// at least 4 KiB. Its content is of no importance.
    fn allocate(&self, bytes: u64, alignment: u64) -> Option<Undelegated>;

    /// Takes memory back, in any pieces: not in those in which it was allocated.
    ///
    /// # Errors
    ///
    /// Returns what it does not accept.
    fn free(&self, memory: Undelegated) -> Result<(), Undelegated>;
}

impl<A: HostAllocator + ?Sized> HostAllocator for &A {
    fn allocate(&self, bytes: u64, alignment: u64) -> Option<Undelegated> {
        (**self).allocate(bytes, alignment)
    }

    fn free(&self, memory: Undelegated) -> Result<(), Undelegated> {
        (**self).free(memory)
    }
}

/// The [`HostMemory`] of one thread: the host's allocator, and its own pool, which is filled
/// from there.
///
/// Memory for a Realm is allocated by blocks of 1 GiB or 2 MiB (those of larger granules where the
/// RMM has these), where one fits at the IPA and is free, and otherwise in smaller aligned pieces.
///
/// ```
/// # use rmi_abi::{Dialect, Ipa, IpaRange};
/// # use rmm_model::{Model, Options};
/// use std::sync::Mutex;
///
/// use rmi_host::Undelegated;
/// use rmi_host::granules::{AnyGranules, HostOwned};
/// use sro::{AllocatorMemory, GranuleSet, HostAllocator, HostMemory};
///
/// /// The free memory of this VMM.
/// struct Frames(Mutex<GranuleSet<HostOwned, [AnyGranules; 64]>>);
///
/// impl HostAllocator for Frames {
///     fn allocate(&self, bytes: u64, alignment: u64) -> Option<Undelegated> {
///         self.0.lock().ok()?.take(bytes, alignment)
///     }
///     fn free(&self, memory: Undelegated) -> Result<(), Undelegated> {
///         match self.0.lock() {
///             Ok(mut free) => free.insert(memory),
///             Err(_) => Err(memory),
///         }
///     }
/// }
///
/// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// let frames = Frames(Mutex::new(GranuleSet::empty()));
/// frames.free(model.take_memory()).expect("64 slots");
///
/// // The pool of this thread has at most 128 KiB of host memory.
/// let mut memory = AllocatorMemory::<_, 8>::new(&frames, 128 << 10);
/// let session = sro::open(model.host(), Default::default(), memory.pool())?;
/// let block = memory.allocate(IpaRange::with_size(Ipa::new(0x4000_0000), 4 << 20)?);
/// let block = block.expect("1 GiB");
/// assert_eq!((block.bytes(), block.base().raw() % (2 << 20)), (2 << 20, 0));
///
/// sro::free_or_quarantine(&session, &mut memory, block);
/// let closed = session.close(memory.pool())?;
/// # let _ = closed;
/// memory.drain_host();
/// assert_eq!(frames.0.lock().expect("not poisoned").bytes(), 1 << 30);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping it leaks what its pool has; `drain` it"]
pub struct AllocatorMemory<'a, A: ?Sized, const SLOTS: usize> {
    pool: FixedPool<SLOTS>,
    stock: u64,
    allocator: &'a A,
}

impl<'a, A: HostAllocator + ?Sized, const SLOTS: usize> AllocatorMemory<'a, A, SLOTS> {
    /// Memory of an allocator, with an empty pool. Whenever the pool is used and has less than half
    /// of `stock` bytes of host memory, it is filled up to that, as far as it has slots: with one
    /// piece where the allocator has it, otherwise with smaller ones.
    pub const fn new(allocator: &'a A, stock: u64) -> Self {
        Self { pool: Pool::new(), stock, allocator }
    }

    /// The allocator.
    #[must_use]
    pub const fn allocator(&self) -> &'a A {
        self.allocator
    }

    /// Undelegates what the pool has, and frees all of it.
    pub fn drain<P: Platform>(&mut self, rmm: &Rmm<P>) {
        self.pool.undelegate(rmm);
        self.drain_host();
    }

    /// Frees the host memory of the pool; what the allocator refuses stays there. So does what is
    /// delegated, which is nothing after [`Session::close`](crate::Session::close).
    pub fn drain_host(&mut self) {
        let allocator = self.allocator;
        self.pool.free_host(&mut |memory| allocator.free(memory));
    }

    /// Fills the pool.
    fn fill(&mut self) {
        let (host, _) = self.pool.bytes();
        let pages = self.pool.missing_pages();
        if host >= self.stock / 2 && pages == 0 {
            return;
        }
        // In one piece, if there is one, otherwise in smaller and smaller ones.
        let granule = self.pool.granule().bytes();
        let mut wanted = self.stock.saturating_sub(host).saturating_add(pages);
        let mut size = wanted;
        while wanted > 0 {
            let Some(bytes) = size.min(wanted).checked_next_multiple_of(granule) else {
                return;
            };
            match self.allocator.allocate(bytes, granule).map(|memory| self.pool.add(memory)) {
                Some(Ok(())) => wanted = wanted.saturating_sub(bytes),
                Some(Err(refused)) => {
                    // It was the allocator's until now. What it refuses itself is lost to both.
                    drop(self.allocator.free(refused));
                    return;
                }
                None if bytes == granule => return,
                None => size = bytes / 2,
            }
        }
    }
}

impl<A: HostAllocator + ?Sized, const SLOTS: usize> HostMemory for AllocatorMemory<'_, A, SLOTS> {
    fn pool(&mut self) -> &mut Pool {
        self.fill();
        &mut self.pool
    }

    fn allocate(&mut self, range: IpaRange) -> Option<Undelegated> {
        let fits = |bytes: &u64| range.base().is_aligned(*bytes) && range.bytes() >= *bytes;
        sizes(self.pool.granule())
            .into_iter()
            .filter(fits)
            .find_map(|bytes| self.allocator.allocate(bytes, bytes))
    }

    fn free(&mut self, memory: Undelegated) -> Result<(), Undelegated> {
        self.allocator.free(memory)
    }
}

impl<A: ?Sized, const SLOTS: usize> fmt::Debug for AllocatorMemory<'_, A, SLOTS> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AllocatorMemory").field("pool", &self.pool).finish_non_exhaustive()
    }
}
