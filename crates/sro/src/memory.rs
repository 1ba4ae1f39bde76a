//! Where the memory of Realms comes from, and where it goes: one value of the embedder.

use core::fmt;

use rmi_abi::IpaRange;
use rmi_host::{Platform, Rmm, Undelegated};

use crate::pool::{Pool, PoolSlots};

/// Where the memory of Realms comes from and where it goes.
///
/// The SDK calls these functions in the context of the function that was called with the value, and
/// holds no lock of a Realm meanwhile. They must not call into the session. None of them needs a
/// heap, and a context that must not allocate has one that does not.
///
/// A [`FixedPool`](crate::FixedPool) alone is enough: host memory for a Realm then comes from the
/// pool and goes back to it. An embedder with an allocator implements this trait:
///
/// ```
/// # use rmi_abi::{Dialect, Ipa, IpaRange};
/// # use rmm_model::{Model, Options};
/// use rmi_host::Undelegated;
/// use sro::{FixedPool, HostMemory, Pool};
/// use std::sync::Mutex;
///
/// /// The page allocator of this VMM, which all its threads share.
/// #[derive(Default)]
/// struct Frames(Mutex<Vec<Undelegated>>);
///
/// impl Frames {
///     /// The first 2 MiB of free memory, or what there is.
///     fn allocate(&self, bytes: u64) -> Option<Undelegated> {
///         let mut free = self.0.lock().ok()?;
///         let memory = free.last_mut()?;
///         let bytes = bytes.min(2 << 20).min(memory.bytes());
///         let front = memory.take_front(bytes);
///         free.retain(|memory| !memory.is_empty());
///         front
///     }
///
///     fn free(&self, memory: Undelegated) -> Result<(), Undelegated> {
///         match self.0.lock() {
///             Ok(mut free) => Ok(free.push(memory)),
///             Err(_) => Err(memory), // the SDK keeps it: in the pool or in quarantine
///         }
///     }
/// }
///
/// /// The memory of one thread: its own pool, and the allocator of all.
/// struct ThreadMemory<'a> {
///     pool: FixedPool<8>,
///     frames: &'a Frames,
/// }
///
/// impl HostMemory for ThreadMemory<'_> {
///     fn pool(&mut self) -> &mut Pool {
///         &mut self.pool
///     }
///     fn allocate(&mut self, range: IpaRange) -> Option<Undelegated> {
///         self.frames.allocate(range.bytes())
///     }
///     fn free(&mut self, memory: Undelegated) -> Result<(), Undelegated> {
///         self.frames.free(memory)
///     }
/// }
///
/// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// # let mut all = model.take_memory();
/// # let rmm = rmm_model::open(model.host(), &mut all)?;
/// let frames = Frames::default();
/// frames.free(all).expect("not poisoned");
/// let mut memory = ThreadMemory { pool: Pool::new(), frames: &frames };
/// memory.pool.add(frames.allocate(0x10_000).expect("1 GiB")).expect("eight slots");
///
/// // Functions of the SDK take one argument for memory.
/// fn serve(memory: &mut dyn HostMemory) -> Option<Undelegated> {
///     memory.allocate(IpaRange::with_size(Ipa::new(0x4000_0000), 0x40_0000).ok()?)
/// }
/// let front = serve(&mut memory).expect("1 GiB");
/// assert_eq!(front.bytes(), 2 << 20);
/// sro::free_or_quarantine(&rmm, &mut memory, front);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`AllocatorMemory`](crate::AllocatorMemory) is such a memory for any allocator,
/// [`CallbackMemory`] implements the trait with closures, and a [`Pool`] alone is the simplest one.
pub trait HostMemory {
    /// The pool from which the RMM gets granules for its objects and tables, and to which these
    /// return. It is the same pool each time.
    fn pool(&mut self) -> &mut Pool;

    /// Host memory for the front of a range of IPAs, at most as long as that: in whole granules, of
    /// any content. It is called again for what is left, until it returns `None`, or an empty
    /// token. What is longer is freed again.
    ///
    /// Memory that is aligned to 2 MiB at an IPA that is aligned to that is mapped by blocks.
    ///
    /// By default from the pool.
    fn allocate(&mut self, range: IpaRange) -> Option<Undelegated> {
        self.pool().take_for(range)
    }

    /// Takes host memory back, in any pieces: not in those in which it was allocated. By default
    /// into the pool.
    ///
    /// # Errors
    ///
    /// Returns what it does not accept: the SDK puts that into the pool, or into quarantine.
    fn free(&mut self, memory: Undelegated) -> Result<(), Undelegated> {
        self.pool().add(memory)
    }
}

impl HostMemory for Pool {
    fn pool(&mut self) -> &mut Pool {
        self
    }
}

impl<S: PoolSlots + 'static> HostMemory for Pool<S> {
    fn pool(&mut self) -> &mut Pool {
        self
    }
}

impl<T: HostMemory + ?Sized> HostMemory for &mut T {
    fn pool(&mut self) -> &mut Pool {
        (**self).pool()
    }

    fn allocate(&mut self, range: IpaRange) -> Option<Undelegated> {
        (**self).allocate(range)
    }

    fn free(&mut self, memory: Undelegated) -> Result<(), Undelegated> {
        (**self).free(memory)
    }
}

/// A [`HostMemory`] of two closures and a pool.
///
/// ```
/// # use rmi_abi::{Dialect, Ipa, IpaRange};
/// # use rmm_model::{Model, Options};
/// use sro::{CallbackMemory, FixedPool, HostMemory, Pool};
/// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// # let mut all = model.take_memory();
/// # let rmm = rmm_model::open(model.host(), &mut all)?;
/// let mut pool: FixedPool<8> = Pool::new();
/// let mut freed = Vec::new();
/// let mut memory = CallbackMemory::new(
///     &mut pool,
///     |range| all.take_front(range.bytes().min(0x1000)), // one granule at a time
///     |memory| Ok(freed.push(memory)),
/// );
/// let range = IpaRange::with_size(Ipa::new(0x4000_0000), 0x4000)?;
/// let front = memory.allocate(range).expect("1 GiB");
/// sro::free_or_quarantine(&rmm, &mut memory, front);
/// assert_eq!(freed[0].bytes(), 0x1000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct CallbackMemory<'p, A, F> {
    pool: &'p mut Pool,
    allocate: A,
    free: F,
}

impl<'p, A, F> CallbackMemory<'p, A, F>
where
    A: FnMut(IpaRange) -> Option<Undelegated>,
    F: FnMut(Undelegated) -> Result<(), Undelegated>,
{
    /// A memory whose methods are `allocate` and `free`, with this pool.
    pub const fn new(pool: &'p mut Pool, allocate: A, free: F) -> Self {
        Self { pool, allocate, free }
    }
}

impl<'p> CallbackMemory<'p, (), ()> {
    /// A memory with this pool that passes host memory to `free`, and has none for a Realm: for
    /// operations that only return memory.
    ///
    /// ```
    /// # use rmi_abi::{Dialect, Ipa, IpaRange};
    /// # use rmm_model::{Model, Options};
    /// use sro::{CallbackMemory, FixedPool, HostMemory, Pool};
    /// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
    /// # let mut all = model.take_memory();
    /// let mut pool: FixedPool<8> = Pool::new();
    /// let mut freed = Vec::new();
    /// let mut memory = CallbackMemory::freeing(&mut pool, |memory| freed.push(memory));
    /// assert!(memory.allocate(IpaRange::with_size(Ipa::new(0), 0x1000)?).is_none());
    /// memory.free(all.take_front(0x1000).expect("1 GiB")).expect("it never refuses");
    /// drop(memory);
    /// assert_eq!(freed.len(), 1);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn freeing<F: FnMut(Undelegated)>(
        pool: &'p mut Pool,
        mut free: F,
    ) -> impl HostMemory + use<'p, F> {
        CallbackMemory::new(
            pool,
            |_| None,
            move |memory| {
                free(memory);
                Ok(())
            },
        )
    }
}

impl<A, F> HostMemory for CallbackMemory<'_, A, F>
where
    A: FnMut(IpaRange) -> Option<Undelegated>,
    F: FnMut(Undelegated) -> Result<(), Undelegated>,
{
    fn pool(&mut self) -> &mut Pool {
        self.pool
    }

    fn allocate(&mut self, range: IpaRange) -> Option<Undelegated> {
        (self.allocate)(range)
    }

    fn free(&mut self, memory: Undelegated) -> Result<(), Undelegated> {
        (self.free)(memory)
    }
}

impl<A, F> fmt::Debug for CallbackMemory<'_, A, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CallbackMemory").field("pool", &self.pool).finish_non_exhaustive()
    }
}

/// Frees host memory; what `memory` does not accept goes to its pool, and to quarantine if no slot
/// is free there (see [`Pool::restore`]).
pub fn free_or_quarantine<P: Platform>(
    rmm: &Rmm<P>,
    memory: &mut dyn HostMemory,
    granules: Undelegated,
) {
    if granules.is_empty() {
        return;
    }
    if let Err(refused) = memory.free(granules) {
        memory.pool().restore(rmm, refused);
    }
}
