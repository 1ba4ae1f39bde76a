//! A pool of memory for operations and builders, which the caller owns and fills.
//!
//! A pool is one value without a lifetime: it may be a `static`, part of a structure, or on the
//! stack. It is filled where allocation is allowed, and used inside a lock:
//!
//! ```
//! # use rmi_abi::Dialect;
//! # use rmi_abi::realm::RealmParams;
//! # use rmi_abi::rec::{Mpidr, RecParams};
//! # use rmi_abi::rtt::Geometry;
//! # use rmi_host::{Error, Rd, Undelegated};
//! # use rmm_model::{Model, Options};
//! use sro::{FixedSlots, Pool, RecObject};
//! # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
//! # let mut memory = model.take_memory();
//! # let rmm = rmm_model::open(model.host(), &mut memory)?;
//! # let granule = |memory: &mut Undelegated| rmm.delegate(memory.take_front(0x1000).unwrap());
//! # let (rd, root, mut page) =
//! #     (granule(&mut memory)?, granule(&mut memory)?, memory.take_front(0x1000).unwrap());
//! # let params = RealmParams::new(Geometry::new(40)?, root.base()).encode(rmm.dialect())?;
//! # rmm.commands().realm_create(&rd, &mut page, &params)?;
//! # let rd = Rd::new(rd);
//! # let params = RecParams { runnable: true, mpidr: Mpidr::from_index(0), pc: 0, gprs: [0; 8] };
//! static POOL: spin::Mutex<Pool<FixedSlots<8>>> = spin::Mutex::new(Pool::new());
//!
//! // Inside the lock nothing allocates. A short pool reports how much is missing, before
//! // any call.
//! let calls = model.calls();
//! let error = RecObject::create(&rmm, &rd, &mut POOL.lock(), &params).unwrap_err();
//! let Error::NeedMemory { bytes, alignment, .. } = error else {
//!     panic!("the pool is empty")
//! };
//! assert_eq!((bytes, alignment, model.calls()), (0x11_000 + Pool::PAGES, 0x1000, calls));
//!
//! // Outside the lock, allocate; inside, add the memory, and delegate it in advance. Two
//! // granules become the pool's own pages.
//! let more = memory.take_front(bytes).expect("1 GiB");
//! POOL.lock().add(more).expect("eight slots");
//! POOL.lock().prefill(&rmm, 0x11_000, alignment)?;
//! assert_eq!(POOL.lock().bytes(), (0, 0x11_000));
//!
//! let rec = RecObject::create(&rmm, &rd, &mut POOL.lock(), &params)?;
//! assert_eq!(POOL.lock().bytes(), (0, 0));
//! rec.destroy(&rmm, &mut POOL.lock())?;
//! POOL.lock().drain(&rmm, &mut |memory| println!("{memory:?} is the host's"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The pool owns what is in it: such memory cannot be used, added twice, or cloned to keep a copy:
//!
//! ```compile_fail,E0382
//! # use rmi_host::{Platform, Rmm, Undelegated};
//! # use sro::Pool;
//! fn write<P: Platform>(rmm: &Rmm<P>, pool: &mut Pool, mut memory: Undelegated) {
//!     let _ = pool.add(memory);
//!     let _ = rmm.write_host(&mut memory, 0, b"mine"); // error: borrow of moved value
//! }
//! ```
//!
//! ```compile_fail,E0382
//! # use rmi_host::Undelegated;
//! # use sro::Pool;
//! fn twice(pool: &mut Pool, memory: Undelegated) {
//!     let _ = pool.add(memory);
//!     let _ = pool.add(memory); // error: use of moved value
//! }
//! ```
//!
//! ```compile_fail,E0308
//! # use rmi_host::Undelegated;
//! # use sro::Pool;
//! fn keep(pool: &mut Pool, memory: &Undelegated) {
//!     // error: a token is not `Clone`, so this is a second reference
//!     let _ = pool.add(memory.clone());
//! }
//! ```

mod contents;
mod reserve;
mod slots;

use core::ops::{Deref, DerefMut};

use rmi_abi::desc::{BlockSize, OpMemState};
use rmi_abi::{Command, GranuleSize, IpaRange, PaRange};
use rmi_host::command::Offer;
use rmi_host::granules::{Delegated, Free, HostOwned, Undelegated};
use rmi_host::{Error, Platform, QuarantineReason, Rmm};

use crate::donated::Donated;
use crate::operation::Need;
use crate::ranges::Ranges;
use crate::set::typed;

pub(crate) use contents::Contents;
use reserve::{Reserve, Reserves};
#[cfg(feature = "alloc")]
pub use slots::GrowingSlots;
pub use slots::{ConstSlots, FixedSlots, PoolSlots};

/// Memory for RMM objects: host memory, memory that is already delegated, and two pages for
/// communication with the RMM.
///
/// A pool never allocates: it has only the memory that was added. Fill it where allocation is
/// allowed, and use it where it is not. Delegating a run in advance with [`Pool::prefill`] moves
/// those calls, too, to a context where they are allowed.
///
/// The first two granules that are added become the pool's [pages](Pool::pages), and are not
/// counted in [`Pool::bytes`]. They are taken from the back of what is added, so its front keeps
/// its alignment.
///
/// ```
/// # use rmi_abi::Dialect;
/// # use rmm_model::{Model, Options};
/// # use rmi_abi::Command;
/// use sro::FixedPool;
/// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// # let mut memory = model.take_memory();
/// # let rmm = rmm_model::open(model.host(), &mut memory)?;
/// let mut pool = FixedPool::<1>::new();
///
/// // One slot holds one range of any length. An adjacent range needs no slot of its own;
/// // any other does.
/// pool.add(memory.take_front(0x2000).expect("1 GiB")).expect("the pages need no slot");
/// pool.add(memory.take_front(0x4000).expect("1 GiB")).expect("one slot");
/// pool.add(memory.take_front(0x4000).expect("1 GiB")).expect("adjacent");
/// let back = pool.add(memory.take_back(0x1000).expect("1 GiB")).expect_err("no slot");
/// assert_eq!((pool.bytes().0, back.bytes()), (0x8000, 0x1000));
///
/// // Memory that is not delegated yet is delegated when it is taken.
/// let delegated = pool.take(&rmm, Command::RecCreate, 0x2000, 0x2000)?;
/// pool.give_back(&rmm, delegated);
/// assert_eq!(pool.bytes(), (0x8000, 0));
/// pool.drain(&rmm, &mut |memory| println!("{memory:?} is the host's"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Storage
///
/// A pool is created with its slots, as a [`FixedPool`] or a `GrowingPool`; functions take a `&mut
/// Pool`, which either converts to. A pool without its slots is 144 bytes.
///
/// ```
/// use sro::{FixedPool, Pool};
///
/// fn is_empty(pool: &Pool) -> bool {
///     pool.bytes() == (0, 0)
/// }
///
/// struct Vmm {
///     pool: FixedPool<16>,
/// }
///
/// let vmm = Vmm { pool: Pool::new() };
/// assert!(is_empty(&vmm.pool));
/// ```
#[derive(Debug)]
#[must_use = "dropping it leaks what is delegated; `drain` it"]
pub struct Pool<S: ?Sized = dyn PoolSlots> {
    pub(crate) list: Undelegated,
    page: Undelegated,
    reserves: Reserves,
    /// The size of the RMM's granules, as far as it is known.
    granule: GranuleSize,
    pub(crate) contents: Contents<S>,
}

/// A pool with `N` slots of each kind of memory.
pub type FixedPool<const N: usize> = Pool<FixedSlots<N>>;

/// A pool with slots on the heap. It allocates when memory is added or split; a caller that must
/// not allocate has to take that into account.
#[cfg(feature = "alloc")]
pub type GrowingPool = Pool<GrowingSlots>;

// The size that the documentation states.
const _: () = assert!(size_of::<FixedPool<0>>() - size_of::<FixedSlots<0>>() == 144);

/// The two pages for communication between a pool's owner and the RMM.
#[derive(Debug)]
pub struct Pages<'p> {
    /// For address lists.
    pub list: &'p mut Undelegated,
    /// For parameter pages.
    pub page: &'p mut Undelegated,
}

impl<S: ConstSlots> Pool<S> {
    /// An empty pool.
    pub const fn new() -> Self {
        Self {
            list: Undelegated::empty(),
            page: Undelegated::empty(),
            reserves: Reserves::UNKNOWN,
            granule: GranuleSize::Size4KiB,
            contents: Contents::EMPTY,
        }
    }
}

impl<S: ConstSlots> Default for Pool<S> {
    fn default() -> Self {
        Self::new()
    }
}

// Every method of a pool is one of `Pool<dyn PoolSlots>`, so there is one copy of its code.
impl<S: PoolSlots + 'static> Deref for Pool<S> {
    type Target = Pool;

    fn deref(&self) -> &Pool {
        self
    }
}

impl<S: PoolSlots + 'static> DerefMut for Pool<S> {
    fn deref_mut(&mut self) -> &mut Pool {
        self
    }
}

/// # Host memory
impl Pool {
    /// Host memory that a pool reserves for its own pages on an RMM with granules of 4 KiB, in
    /// bytes. On another one each page is a granule as well, see [`Pool::pages_bytes`].
    pub const PAGES: u64 = Self::pages_bytes(GranuleSize::Size4KiB);

    /// Host memory that a pool reserves for its own pages, in bytes, on an RMM with granules of
    /// this size.
    #[must_use]
    pub const fn pages_bytes(granule: GranuleSize) -> u64 {
        2 * granule.bytes()
    }

    /// The size of granules that the pool's own pages have, and at least that of what it gives.
    ///
    /// 4 KiB at first. [`open`](crate::open) and the functions that take an RMM set that RMM's.
    pub fn set_granule_size(&mut self, granule: GranuleSize) {
        self.granule = granule;
    }

    pub(crate) const fn granule(&self) -> GranuleSize {
        self.granule
    }

    /// Adds host memory.
    ///
    /// # Errors
    ///
    /// The memory is returned when it belongs to a different machine than what is in the pool.
    /// What is left of it beyond the pool's own pages is returned when no slot is free.
    pub fn add(&mut self, mut memory: Undelegated) -> Result<(), Undelegated> {
        if self.contents.is_foreign(&memory) {
            return Err(memory);
        }
        for page in [&mut self.page, &mut self.list] {
            if page.is_empty()
                && memory.range().top().is_aligned(self.granule.bytes())
                && let Some(own) = memory.take_back(self.granule.bytes())
            {
                self.contents.machine = Some(own.machine());
                *page = own;
            }
        }
        self.contents.add(memory)
    }

    /// Takes host memory out: `bytes` of it, contiguous and aligned to `alignment`.
    pub fn take_host(&mut self, bytes: u64, alignment: u64) -> Option<Undelegated> {
        self.contents.slots.host_mut().take(bytes, alignment).map(typed)
    }

    /// Takes host memory out for the front of an IPA range: as many blocks of 2 MiB (32 MiB or 512
    /// MiB where granules are larger) as are contiguous, where the range begins at a multiple of
    /// that, and otherwise granules. `None` when there is none, or when no slot is free for what
    /// remains.
    pub fn take_for(&mut self, range: IpaRange) -> Option<Undelegated> {
        let block = BlockSize::Level2.bytes(self.granule);
        if range.base().is_aligned(block)
            && let Some(blocks) = self.take_host_run(range.bytes() & !(block - 1), block)
        {
            return Some(blocks);
        }
        // The range consists of whole granules, whose size is one of these.
        let least = self.granule.bytes();
        [0x1_0000, 0x4000, 0x1000]
            .into_iter()
            .filter(|granule| *granule >= least && range.is_aligned(*granule))
            .find_map(|granule| self.take_host_run(range.bytes(), granule))
    }

    /// Bytes of host memory and of delegated memory in the pool, without its pages.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        (self.contents.slots.host().bytes(), self.contents.slots.delegated().bytes())
    }

    /// Adds host memory that cannot go anywhere else. If no slot is free here either, it is
    /// delegated and quarantined; if the RMM refuses that too, the ledger is told that the memory
    /// is the embedder's.
    pub fn restore<P: Platform>(&mut self, rmm: &Rmm<P>, memory: Undelegated) {
        self.contents.restore(rmm, memory);
    }
}

/// # Delegated in advance
impl Pool {
    /// Delegates a contiguous run in advance, for later operations.
    ///
    /// # Errors
    ///
    /// As [`Pool::take`].
    pub fn prefill<P: Platform>(
        &mut self,
        rmm: &Rmm<P>,
        bytes: u64,
        alignment: u64,
    ) -> Result<(), Error> {
        self.fit(rmm);
        let command = Command::GranuleRangeDelegate;
        let Some(memory) = self.take_host(bytes, alignment) else {
            return Err(self.need(command, bytes, alignment));
        };
        let memory = self.contents.delegate(rmm, memory)?;
        self.put_back(rmm, memory);
        Ok(())
    }

    /// Ensures that `bytes` are delegated, in any number of runs: delegates what is missing, in
    /// runs as long as possible. For commands that take memory granule by granule.
    ///
    /// # Errors
    ///
    /// [`Error::NeedMemory`] when the pool does not have that much; then no call was made.
    /// Otherwise as [`Pool::take`].
    pub fn stock<P: Platform>(
        &mut self,
        rmm: &Rmm<P>,
        command: Command,
        bytes: u64,
    ) -> Result<(), Error> {
        let granule = rmm.granule_size().bytes();
        self.fit(rmm);
        let missing = self.missing(bytes, granule);
        if missing > 0 {
            return Err(self.need(command, missing, granule));
        }
        let delegated = self.contents.slots.delegated();
        let have = delegated.iter().map(|range| blocks_in(range, granule)).sum();
        let mut short = bytes.saturating_sub(have);
        // Without a free slot a run would end up in quarantine. What is then still missing is
        // delegated when it is taken.
        while short > 0 && self.contents.slots.delegated().spare() > 0 {
            let Some(memory) = self.take_host_run(short, granule) else {
                return Err(self.need(command, short, granule));
            };
            short = short.saturating_sub(memory.bytes());
            let memory = self.contents.delegate(rmm, memory)?;
            self.put_back(rmm, memory);
        }
        Ok(())
    }

    /// The most that `command` has asked this pool for, in bytes; before the first time, what
    /// TF-RMM asks for.
    #[must_use]
    pub fn reserve_for(&self, command: Command) -> u64 {
        self.reserves.of(command, self.granule).bytes
    }

    /// The error if `command` cannot be carried out with what the pool has: `own` bytes for the
    /// object itself, and what such an operation is known to ask for, in blocks and in as many runs
    /// as can be donated. Checked before the first call of an operation that may not be
    /// cancellable.
    ///
    /// # Errors
    ///
    /// [`Error::NeedMemory`] with what is missing.
    pub fn check_reserve(&mut self, command: Command, own: u64) -> Result<(), Error> {
        self.renew_pages();
        let Reserve { bytes, block } = self.reserves.of(command, self.granule);
        let block = block.max(self.granule.bytes());
        // Of the missing blocks, only whole ones are of use.
        let short = bytes
            .saturating_sub(self.longest_runs(block))
            .checked_next_multiple_of(block)
            .unwrap_or(u64::MAX);
        let missing = short.max(self.missing(bytes.saturating_add(own), self.granule.bytes()));
        self.check_missing(command, missing, block)
    }

    /// The error if the pool does not have `bytes` in granules, in any number of runs, and its
    /// pages.
    pub(crate) fn check_granules(&mut self, command: Command, bytes: u64) -> Result<(), Error> {
        self.renew_pages();
        let granule = self.granule.bytes();
        self.check_missing(command, self.missing(bytes, granule), granule)
    }

    /// The error if `missing` bytes, or pages of the pool, are missing.
    fn check_missing(&self, command: Command, missing: u64, block: u64) -> Result<(), Error> {
        match missing > 0 || self.missing_pages() > 0 {
            true => Err(self.need(command, missing, block)),
            false => Ok(()),
        }
    }

    /// Undelegates everything that is delegated, run by run. What the RMM does not return goes to
    /// quarantine.
    pub fn undelegate<P: Platform>(&mut self, rmm: &Rmm<P>) {
        // Nothing is put into the set that is being emptied, and at most as many runs are taken as
        // it has slots.
        while let Some(memory) = self.contents.slots.delegated_mut().pop() {
            self.give_back(rmm, typed(memory));
        }
    }

    /// Bytes in whole blocks in the longest runs, of which as many count as can be donated.
    fn longest_runs(&self, block: u64) -> u64 {
        let mut longest = [0; Donated::RANGES];
        for range in self.contents.iter() {
            let mut run = blocks_in(range, block);
            for slot in &mut longest {
                let shorter = run.min(*slot);
                *slot = run.max(*slot);
                run = shorter;
            }
        }
        longest.iter().sum()
    }

    /// Remembers what an operation asked for.
    pub(crate) fn learn(&mut self, command: Command, bytes: u64, need: Need) {
        self.reserves.learn(command, bytes, need);
    }

    /// How much of `bytes` is missing, in whole blocks of `block` bytes, aligned to their size, in
    /// any number of runs, delegated or not.
    pub(crate) fn missing(&self, bytes: u64, block: u64) -> u64 {
        bytes.saturating_sub(self.contents.iter().map(|range| blocks_in(range, block)).sum())
    }

    /// As [`Pool::missing`], for host memory.
    pub(crate) fn missing_host(&self, bytes: u64, block: u64) -> u64 {
        let host = self.contents.slots.host();
        bytes.saturating_sub(host.iter().map(|range| blocks_in(range, block)).sum())
    }

    /// The error of a command for which `bytes` are missing.
    pub(crate) fn need(&self, command: Command, bytes: u64, alignment: u64) -> Error {
        Error::need_memory(command, bytes.saturating_add(self.missing_pages()), alignment)
    }
}

/// # Delegated memory
impl Pool {
    /// Takes delegated memory out: `bytes` of it, contiguous and aligned to `alignment`. Memory
    /// that is already delegated is preferred; otherwise host memory is delegated on demand.
    ///
    /// # Errors
    ///
    /// [`Error::NeedMemory`] when the pool has no such run; then no call was made. Otherwise the
    /// reason why the RMM refused the delegation; all of the memory is back in the pool or in
    /// quarantine.
    pub fn take<P: Platform>(
        &mut self,
        rmm: &Rmm<P>,
        command: Command,
        bytes: u64,
        alignment: u64,
    ) -> Result<Delegated, Error> {
        self.fit(rmm);
        let taken = self.contents.take(rmm, bytes, alignment);
        taken.unwrap_or_else(|| Err(self.need(command, bytes, alignment)))
    }

    /// Puts delegated memory back as it is; if no slot is free, it goes to quarantine.
    pub fn put_back<P: Platform>(&mut self, rmm: &Rmm<P>, memory: Delegated) {
        self.contents.put_back(rmm, memory);
    }

    /// Undelegates memory and puts it back as host memory; what the RMM does not return goes to
    /// quarantine.
    pub fn give_back<P: Platform>(&mut self, rmm: &Rmm<P>, memory: Delegated) {
        self.contents.give_back(rmm, memory);
    }

    /// As [`Pool::give_back`], for memory whose state is uncertain: what the RMM does not return is
    /// quarantined for `reason`.
    pub fn recover<P: Platform>(
        &mut self,
        rmm: &Rmm<P>,
        memory: Delegated,
        reason: QuarantineReason,
    ) {
        self.contents.recover(rmm, memory, reason);
    }

    /// Adds delegated memory.
    ///
    /// # Errors
    ///
    /// The memory is returned when no slot is free, or when it belongs to a different machine than
    /// what is in the pool.
    pub fn add_delegated(&mut self, memory: Delegated) -> Result<(), Delegated> {
        self.contents.add_delegated(memory)
    }

    /// Takes out up to `bytes` in whole blocks as one delegated run: the longest available,
    /// preferring memory that is already delegated.
    pub(crate) fn take_run<P: Platform>(
        &mut self,
        rmm: &Rmm<P>,
        command: Command,
        bytes: u64,
        block: u64,
    ) -> Result<Delegated, Error> {
        let delegated = self.contents.slots.delegated().longest_run(block);
        let host = self.contents.slots.host().longest_run(block);
        let run = match (delegated, host) {
            (Some((_, run)), _) if run >= bytes => bytes,
            (_, Some((_, run))) if run >= bytes => bytes,
            (Some((_, run)), _) | (None, Some((_, run))) => run,
            (None, None) => return Err(self.need(command, bytes, block)),
        };
        self.take(rmm, command, run, block)
    }

    /// Takes out up to `bytes` in whole blocks as one run of host memory: the longest available.
    pub(crate) fn take_host_run(&mut self, bytes: u64, block: u64) -> Option<Undelegated> {
        let (_, run) = self.contents.slots.host().longest_run(block)?;
        self.take_host(run.min(bytes), block)
    }

    /// Takes out up to `bytes` in whole blocks as one run that lies in `region` and is in `state`:
    /// host memory or delegated, as it is, where the RMM takes either.
    pub(crate) fn take_in(
        &mut self,
        region: PaRange,
        bytes: u64,
        block: u64,
        state: OpMemState,
    ) -> Option<Offer> {
        let first = |ranges: Ranges<'_>| {
            ranges.iter().find_map(|range| {
                let part = range.intersection(&region)?;
                let base = part.base().align_up(block)?;
                let run = bytes.min(blocks_in(part, block));
                PaRange::with_size(base, run).ok().filter(|run| !run.is_empty())
            })
        };
        let slots = &mut self.contents.slots;
        if state != OpMemState::Delegated
            && let Some(run) = first(slots.host())
            && let Some(memory) = slots.host_mut().take_range(run)
        {
            return Some(Offer::new::<HostOwned>(typed(memory)));
        }
        if state == OpMemState::Undelegated {
            return None;
        }
        let run = first(slots.delegated())?;
        let memory = slots.delegated_mut().take_range(run)?;
        Some(Offer::new::<Free>(typed(memory)))
    }
}

/// # Pages for communication with the RMM
impl Pool {
    /// The pages for communication with the RMM. They are empty tokens while the pool has no memory
    /// for them; a command that needs a page then returns [`Error::NeedMemory`].
    pub fn pages(&mut self) -> Pages<'_> {
        self.renew_pages();
        Pages { list: &mut self.list, page: &mut self.page }
    }

    /// The pages for communication with an RMM, as [`Pool::pages`]: each is one of its granules.
    pub fn pages_for<P: Platform>(&mut self, rmm: &Rmm<P>) -> Pages<'_> {
        self.granule = rmm.granule_size();
        self.pages()
    }

    /// Makes the pages those of an RMM with this size of granules.
    pub(crate) fn fit<P: Platform>(&mut self, rmm: &Rmm<P>) {
        self.granule = rmm.granule_size();
        self.renew_pages();
    }

    /// Refuses a command that needs the pool's pages while the pool has no memory for them.
    ///
    /// # Errors
    ///
    /// [`Error::NeedMemory`].
    pub fn check_pages(&mut self, command: Command) -> Result<(), Error> {
        self.renew_pages();
        match self.missing_pages() {
            0 => Ok(()),
            bytes => Err(Error::need_memory(command, bytes, self.granule.bytes())),
        }
    }

    /// Replaces pages that are missing: the RMM may have taken the one for address lists, and those
    /// from before the session may be smaller than its granules.
    pub(crate) fn renew_pages(&mut self) {
        let granule = self.granule.bytes();
        for page in [&mut self.page, &mut self.list] {
            if page.bytes() >= granule {
                continue;
            }
            let Some(own) = self.contents.slots.host_mut().take(granule, granule) else { continue };
            let old = core::mem::replace(page, typed(own));
            if let Err(old) = self.contents.add(old) {
                // There is no slot for it; where the other one was, there is.
                let own = core::mem::replace(page, old);
                drop(self.contents.add(own));
            }
        }
    }

    /// Bytes that become pages of the pool before any other use.
    pub(crate) fn missing_pages(&self) -> u64 {
        let granule = self.granule.bytes();
        let pages = [&self.page, &self.list].into_iter();
        pages.filter(|page| page.bytes() < granule).count() as u64 * granule
    }
}

/// # The end
impl Pool {
    /// Empties the pool: undelegates everything and passes all host memory, including the two
    /// pages, to `free`. What the RMM does not return goes to quarantine.
    pub fn drain<P: Platform>(&mut self, rmm: &Rmm<P>, free: &mut dyn FnMut(Undelegated)) {
        while let Some(memory) = self.contents.slots.delegated_mut().pop() {
            rmm.return_or_quarantine(typed(memory), free);
        }
        self.drain_host(free);
    }

    /// Passes all host memory, including the two pages, to `free`: for when there is no session
    /// (any more). Delegated memory, of which there is none without a session, stays in the pool.
    pub fn drain_host(&mut self, free: &mut dyn FnMut(Undelegated)) {
        while let Some(memory) = self.contents.slots.host_mut().pop() {
            free(typed(memory));
        }
        for page in [&mut self.list, &mut self.page] {
            if !page.is_empty() {
                free(page.take());
            }
        }
        if self.bytes() == (0, 0) {
            self.contents.machine = None;
        }
    }

    /// As [`Pool::drain_host`]; what `free` returns stays in the pool.
    pub(crate) fn free_host(
        &mut self,
        free: &mut dyn FnMut(Undelegated) -> Result<(), Undelegated>,
    ) {
        for page in [&mut self.list, &mut self.page] {
            if let Some(own) = Some(page.take()).filter(|page| !page.is_empty()) {
                *page = free(own).err().unwrap_or_default();
            }
        }
        let mut kept = 0;
        while let Some(range) = { self.contents.slots.host().iter().nth(kept) } {
            let Some(memory) = self.contents.slots.host_mut().take_range(range) else { return };
            if let Err(refused) = free(typed(memory)) {
                // It has the slot that it had.
                drop(self.contents.slots.host_mut().insert(refused.into()));
                kept += 1;
            }
        }
        if self.bytes() == (0, 0) && self.list.is_empty() && self.page.is_empty() {
            self.contents.machine = None;
        }
    }
}

/// Bytes of whole, aligned blocks in a range.
fn blocks_in(range: PaRange, block: u64) -> u64 {
    let base = range.base().align_up(block);
    base.and_then(|base| range.top().align_down(block).checked_offset_from(base)).unwrap_or(0)
}
