//! A pool of memory for operations and builders, which the caller owns and fills.
//!
//! A pool is filled where allocation is allowed, and used inside a lock:
//!
//! ```
//! # use rmi_abi::Dialect;
//! # use rmi_abi::realm::RealmParams;
//! # use rmi_abi::rec::{Mpidr, RecParams};
//! # use rmi_abi::rtt::Geometry;
//! # use rmi_host::{Error, Rd, Undelegated};
//! # use rmm_model::{Model, Options};
//! use std::sync::Mutex;
//! use sro::{Pool, PoolStorage, RecObject};
//! # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
//! # let mut memory = model.take_memory();
//! # let rmm = rmm_model::open(model.host(), &mut memory)?;
//! # let granule = |memory: &mut Undelegated| rmm.delegate(memory.take_front(0x1000).unwrap());
//! # let (rd, root, mut page) = (granule(&mut memory)?, granule(&mut memory)?, memory.take_front(0x1000).unwrap());
//! # let params = RealmParams::new(Geometry::new(40)?, root.base()).encode(rmm.dialect())?;
//! # rmm.commands().realm_create(&rd, &mut page, &params)?;
//! # let rd = Rd::new(rd);
//! # let params = RecParams { runnable: true, mpidr: Mpidr::from_index(0), pc: 0, gprs: [0; 8] };
//! let mut places = PoolStorage::<8>::new();
//! let pages = memory.take_front(Pool::PAGES).expect("1 GiB");
//! let pool = Mutex::new(Pool::new(&mut places, pages).expect("two pages"));
//!
//! // Inside the lock nothing allocates. A short pool reports how much is missing, before any call.
//! let calls = model.calls();
//! let error = RecObject::create(&rmm, &rd, &mut pool.lock().unwrap(), &params).unwrap_err();
//! let Error::NeedMemory { bytes, alignment, .. } = error else { panic!("the pool is empty") };
//! assert_eq!((bytes, alignment, model.calls()), (0x11_000, 0x1000, calls));
//!
//! // Outside the lock, allocate; inside, add the memory, and delegate it in advance.
//! let more = memory.take_front(bytes).expect("1 GiB");
//! pool.lock().unwrap().add(more).expect("eight places");
//! pool.lock().unwrap().prefill(&rmm, bytes, alignment)?;
//! assert_eq!(pool.lock().unwrap().bytes(), (0, 0x11_000));
//!
//! let rec = RecObject::create(&rmm, &rd, &mut pool.lock().unwrap(), &params)?;
//! assert_eq!(pool.lock().unwrap().bytes(), (0, 0));
//! rec.destroy(&rmm, &mut pool.lock().unwrap())?;
//! pool.into_inner().unwrap().drain(&rmm, &mut |memory| println!("{memory:?} is the host's"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! The pool owns what is in it: such memory cannot be used, added twice, or cloned to keep a copy:
//!
//! ```compile_fail,E0382
//! # use rmi_host::{Platform, Rmm, Undelegated};
//! # use sro::Pool;
//! fn write<P: Platform>(rmm: &Rmm<P>, pool: &mut Pool<'_>, mut memory: Undelegated) {
//!     let _ = pool.add(memory);
//!     let _ = rmm.write_host(&mut memory, 0, b"mine"); // error: borrow of moved value
//! }
//! ```
//!
//! ```compile_fail,E0382
//! # use rmi_host::Undelegated;
//! # use sro::Pool;
//! fn twice(pool: &mut Pool<'_>, memory: Undelegated) {
//!     let _ = pool.add(memory);
//!     let _ = pool.add(memory); // error: use of moved value
//! }
//! ```
//!
//! ```compile_fail,E0308
//! # use rmi_host::Undelegated;
//! # use sro::Pool;
//! fn keep(pool: &mut Pool<'_>, memory: &Undelegated) {
//!     let _ = pool.add(memory.clone()); // error: a token is not `Clone`, so this is a second reference
//! }
//! ```

use rmi_abi::address::MIN_GRANULE;
use rmi_abi::{Command, PaRange};
use rmi_host::granules::{Delegated, Free, Granules, Host, Owner, Undelegated};
use rmi_host::{DelegateFailed, Error, Ledger, LedgerEvent, Platform, QuarantineReason, Rmm};

use crate::donated::Donated;
use crate::operation::Need;
use crate::set::{GranuleSet, Places};

/// The storage of a [`Pool`]: slots for `N` separate ranges of host memory and as many of delegated
/// memory, in `N` times 48 bytes.
#[derive(Debug)]
pub struct PoolStorage<const N: usize> {
    host: [Undelegated; N],
    free: [Delegated; N],
}

// The size that the documentation states.
const _: () = assert!(size_of::<PoolStorage<10>>() == 10 * 48);

impl<const N: usize> PoolStorage<N> {
    /// Empty storage.
    #[must_use]
    pub fn new() -> Self {
        Self {
            host: core::array::from_fn(|_| Undelegated::empty()),
            free: core::array::from_fn(|_| Delegated::empty()),
        }
    }
}

impl<const N: usize> Default for PoolStorage<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// The storage of one kind of memory in a pool.
enum PoolPlaces<'m, H: Owner> {
    Lent(&'m mut [Granules<H>]),
    #[cfg(feature = "alloc")]
    Owned(alloc::vec::Vec<Granules<H>>),
}

impl<H: Owner> AsRef<[Granules<H>]> for PoolPlaces<'_, H> {
    fn as_ref(&self) -> &[Granules<H>] {
        match self {
            Self::Lent(places) => places,
            #[cfg(feature = "alloc")]
            Self::Owned(places) => places,
        }
    }
}

impl<H: Owner> AsMut<[Granules<H>]> for PoolPlaces<'_, H> {
    fn as_mut(&mut self) -> &mut [Granules<H>] {
        match self {
            Self::Lent(places) => places,
            #[cfg(feature = "alloc")]
            Self::Owned(places) => places,
        }
    }
}

impl<H: Owner> Places<H> for PoolPlaces<'_, H> {
    fn grow(&mut self) -> bool {
        match self {
            Self::Lent(_) => false,
            #[cfg(feature = "alloc")]
            Self::Owned(places) => places.grow(),
        }
    }
}

/// Memory for RMM objects: host memory, memory that is already delegated, and two pages for
/// communication with the RMM.
///
/// A pool never allocates: it has only the memory that was added. Fill it where allocation is
/// allowed, and use it where it is not. Delegating a run in advance with [`Pool::prefill`] moves
/// those calls, too, to a time when they do no harm.
///
/// ```
/// # use rmi_abi::Dialect;
/// # use rmm_model::{Model, Options};
/// # use rmi_abi::Command;
/// # use sro::{Pool, PoolStorage};
/// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// # let mut memory = model.take_memory();
/// # let rmm = rmm_model::open(model.host(), &mut memory)?;
/// let mut places = PoolStorage::<1>::new();
/// let pages = memory.take_front(Pool::PAGES).expect("1 GiB");
/// let mut pool = Pool::new(&mut places, pages).expect("two pages");
///
/// // One slot holds one range of any length. An adjacent range needs no slot of its own; any other
/// // does.
/// pool.add(memory.take_front(0x4000).expect("1 GiB")).expect("one place");
/// pool.add(memory.take_front(0x4000).expect("1 GiB")).expect("a neighbour");
/// let back = pool.add(memory.take_back(0x1000).expect("1 GiB")).expect_err("no place");
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
/// Draining consumes the pool:
///
/// ```compile_fail,E0382
/// # use rmi_host::{Platform, Rmm, Undelegated};
/// # use sro::Pool;
/// fn late<P: Platform>(rmm: &Rmm<P>, mut pool: Pool<'_>, memory: Undelegated) {
///     pool.drain(rmm, &mut |_| ());
///     let _ = pool.add(memory); // error: borrow of moved value
/// }
/// ```
#[derive(Debug)]
#[must_use = "dropping it leaks what is delegated; `drain` it"]
pub struct Pool<'m> {
    host: GranuleSet<Host, PoolPlaces<'m, Host>>,
    free: GranuleSet<Free, PoolPlaces<'m, Free>>,
    list: Undelegated,
    page: Undelegated,
    learned: [(Command, Reserve); LEARNED],
}

/// How many commands a pool remembers the needs of: few commands take memory.
const LEARNED: usize = 4;

/// The two pages for communication between a pool's owner and the RMM.
#[derive(Debug)]
pub struct Pages<'p> {
    /// For address lists.
    pub list: &'p mut Undelegated,
    /// For parameter pages.
    pub page: &'p mut Undelegated,
}

#[cfg(feature = "alloc")]
impl Pool<'static> {
    /// As [`Pool::new`], with storage that grows on the heap when it is full. It grows when memory
    /// is added or split; a caller that must not allocate has to take that into account.
    ///
    /// # Errors
    ///
    /// The memory is returned if it has a different size.
    pub fn growing(pages: Undelegated) -> Result<Self, Undelegated> {
        let (host, free) = (alloc::vec::Vec::new(), alloc::vec::Vec::new());
        Self::with_places(PoolPlaces::Owned(host), PoolPlaces::Owned(free), pages)
    }
}

impl<'m> Pool<'m> {
    /// Host memory that a pool reserves for its own pages, in bytes.
    pub const PAGES: u64 = 2 * MIN_GRANULE;

    /// An empty pool that uses `pages`, [`Pool::PAGES`] bytes of host memory, for address lists and
    /// parameters.
    ///
    /// # Errors
    ///
    /// The memory is returned if it has a different size.
    pub fn new<const N: usize>(
        storage: &'m mut PoolStorage<N>,
        pages: Undelegated,
    ) -> Result<Self, Undelegated> {
        Self::with_places(
            PoolPlaces::Lent(&mut storage.host),
            PoolPlaces::Lent(&mut storage.free),
            pages,
        )
    }

    fn with_places(
        host: PoolPlaces<'m, Host>,
        free: PoolPlaces<'m, Free>,
        mut pages: Undelegated,
    ) -> Result<Self, Undelegated> {
        if pages.bytes() != Self::PAGES {
            return Err(pages);
        }
        let list = pages.take_front(MIN_GRANULE).unwrap_or_default();
        let learned = [(Command::Version, Reserve { bytes: 0, block: 0 }); LEARNED];
        Ok(Self {
            host: GranuleSet::new(host),
            free: GranuleSet::new(free),
            list,
            page: pages,
            learned,
        })
    }

    /// Adds host memory.
    ///
    /// # Errors
    ///
    /// The memory is returned when no slot is free, or when it belongs to a different machine than
    /// the pool's pages.
    pub fn add(&mut self, memory: Undelegated) -> Result<(), Undelegated> {
        if self.is_foreign(&memory) {
            return Err(memory);
        }
        self.host.insert(memory)
    }

    /// Adds delegated memory.
    ///
    /// # Errors
    ///
    /// The memory is returned when no slot is free, or when it belongs to a different machine than
    /// the pool's pages.
    pub fn add_delegated(&mut self, memory: Delegated) -> Result<(), Delegated> {
        if self.is_foreign(&memory) {
            return Err(memory);
        }
        self.free.insert(memory)
    }

    /// Whether memory belongs to a different machine than the pool, whose machine is that of its
    /// two pages.
    fn is_foreign<H: Owner>(&self, memory: &Granules<H>) -> bool {
        !memory.is_empty() && memory.machine() != self.page.machine()
    }

    /// Bytes of host memory and of delegated memory in the pool.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64) {
        (self.host.bytes(), self.free.bytes())
    }

    /// The pages for communication with the RMM.
    pub fn pages(&mut self) -> Pages<'_> {
        Pages { list: &mut self.list, page: &mut self.page }
    }

    /// Takes host memory out: `bytes` of it, contiguous and aligned to `alignment`.
    pub fn take_host(&mut self, bytes: u64, alignment: u64) -> Option<Undelegated> {
        self.host.take(bytes, alignment)
    }

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
        if let Some(memory) = self.free.take(bytes, alignment) {
            return Ok(memory);
        }
        let memory = self
            .host
            .take(bytes, alignment)
            .ok_or(Error::need_memory(command, bytes, alignment))?;
        rmm.delegate(memory).map_err(|failed| self.undo(rmm, failed))
    }

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
        let command = Command::GranuleRangeDelegate;
        let memory = self
            .host
            .take(bytes, alignment)
            .ok_or(Error::need_memory(command, bytes, alignment))?;
        match rmm.delegate(memory) {
            Ok(memory) => {
                self.put_back(rmm, memory);
                Ok(())
            }
            Err(failed) => Err(self.undo(rmm, failed)),
        }
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
        let missing = self.missing(bytes, granule);
        if missing > 0 {
            return Err(Error::need_memory(command, missing, granule));
        }
        let have = self.free.iter().map(|range| blocks_in(range, granule)).sum();
        let mut short = bytes.saturating_sub(have);
        // Without a free slot a run would end up in quarantine. What is then still missing is
        // delegated when it is taken.
        while short > 0 && self.free.spare() > 0 {
            let Some(memory) = self.take_host_run(short, granule) else {
                return Err(Error::need_memory(command, short, granule));
            };
            short = short.saturating_sub(memory.bytes());
            match rmm.delegate(memory) {
                Ok(memory) => self.put_back(rmm, memory),
                Err(failed) => return Err(self.undo(rmm, failed)),
            }
        }
        Ok(())
    }

    /// Puts the parts of a failed delegation back into the pool, by their state.
    fn undo<P: Platform>(&mut self, rmm: &Rmm<P>, failed: DelegateFailed) -> Error {
        let doubt = failed.doubt();
        let DelegateFailed { error, delegated, host } = failed;
        self.restore(rmm, host);
        match doubt {
            // Which part of it is delegated is not known yet.
            Some(reason) => self.recover(rmm, delegated, reason),
            None => self.put_back(rmm, delegated),
        }
        error
    }

    /// Undelegates everything that is delegated, run by run. What the RMM does not return goes to
    /// quarantine.
    pub fn undelegate<P: Platform>(&mut self, rmm: &Rmm<P>) {
        // Nothing is put into the set that is being emptied, and at most as many runs are taken as
        // it has slots.
        while let Some(memory) = self.free.pop() {
            self.give_back(rmm, memory);
        }
    }

    /// Replaces the page for address lists if the RMM may have taken it. If the pool has no host
    /// memory, there is no such page, and commands that need a list are refused.
    pub(crate) fn renew_list(&mut self) {
        if self.list.is_empty() {
            self.list = self.host.take(MIN_GRANULE, MIN_GRANULE).unwrap_or_default();
        }
    }

    /// How much of `bytes` is missing, in whole blocks of `block` bytes, aligned to their size, in
    /// any number of runs, delegated or not.
    pub(crate) fn missing(&self, bytes: u64, block: u64) -> u64 {
        let have =
            self.host.iter().chain(self.free.iter()).map(|range| blocks_in(range, block)).sum();
        bytes.saturating_sub(have)
    }

    /// As [`Pool::missing`], for host memory.
    pub(crate) fn missing_host(&self, bytes: u64, block: u64) -> u64 {
        bytes.saturating_sub(self.host.iter().map(|range| blocks_in(range, block)).sum())
    }

    /// Takes out up to `bytes` in whole blocks as one run of host memory: the longest available.
    pub(crate) fn take_host_run(&mut self, bytes: u64, block: u64) -> Option<Undelegated> {
        let (_, run) = self.host.longest_run(block)?;
        self.host.take(run.min(bytes), block)
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
        let free = self.free.longest_run(block);
        let host = self.host.longest_run(block);
        let run = match (free, host) {
            (Some((_, run)), _) if run >= bytes => bytes,
            (_, Some((_, run))) if run >= bytes => bytes,
            (Some((_, run)), _) | (None, Some((_, run))) => run,
            (None, None) => return Err(Error::need_memory(command, bytes, block)),
        };
        self.take(rmm, command, run, block)
    }

    /// Puts delegated memory back as it is; if no slot is free, it goes to quarantine.
    pub fn put_back<P: Platform>(&mut self, rmm: &Rmm<P>, memory: Delegated) {
        if let Err(memory) = self.add_delegated(memory) {
            rmm.quarantine(memory, QuarantineReason::PoolFull);
        }
    }

    /// Undelegates memory and puts it back as host memory; what the RMM does not return goes to
    /// quarantine.
    pub fn give_back<P: Platform>(&mut self, rmm: &Rmm<P>, memory: Delegated) {
        rmm.return_or_quarantine(memory, &mut |host| self.restore(rmm, host));
    }

    /// As [`Pool::give_back`], for memory whose state is uncertain: what the RMM does not return is
    /// quarantined for `reason`.
    pub fn recover<P: Platform>(
        &mut self,
        rmm: &Rmm<P>,
        memory: Delegated,
        reason: QuarantineReason,
    ) {
        rmm.recover(memory, reason, &mut |host| self.restore(rmm, host));
    }

    /// Adds host memory that cannot go anywhere else. If no slot is free here either, it is
    /// delegated and quarantined; if the RMM refuses that too, the ledger is told that the memory
    /// is the embedder's.
    pub fn restore<P: Platform>(&mut self, rmm: &Rmm<P>, memory: Undelegated) {
        if let Err(homeless) = self.add(memory) {
            match rmm.delegate(homeless) {
                Ok(memory) => rmm.quarantine(memory, QuarantineReason::PoolFull),
                Err(DelegateFailed { delegated, host, .. }) => {
                    rmm.quarantine(delegated, QuarantineReason::PoolFull);
                    rmm.platform().ledger().record(LedgerEvent::Homeless, host.into_raw());
                }
            }
        }
    }

    /// Undelegates everything and passes all host memory, including the two pages, to `home`. What
    /// the RMM does not return goes to quarantine.
    pub fn drain<P: Platform>(mut self, rmm: &Rmm<P>, home: &mut dyn FnMut(Undelegated)) {
        while let Some(memory) = self.free.pop() {
            rmm.return_or_quarantine(memory, home);
        }
        self.drain_host(home);
    }

    /// Passes all host memory, including the two pages, to `home`: for when there is no session
    /// (any more).
    ///
    /// Delegated memory, of which there is none without a session, stays in the storage and is
    /// leaked with it.
    pub fn drain_host(mut self, home: &mut dyn FnMut(Undelegated)) {
        while let Some(memory) = self.host.pop() {
            home(memory);
        }
        home(self.list);
        home(self.page);
    }

    /// The most that `command` has asked this pool for, in bytes; before the first time, what
    /// TF-RMM asks for.
    #[must_use]
    pub fn reserve_for(&self, command: Command) -> u64 {
        self.reserve(command).bytes
    }

    fn reserve(&self, command: Command) -> Reserve {
        let learned =
            self.learned.iter().find(|(known, _)| *known == command).map(|(_, reserve)| *reserve);
        learned.unwrap_or(Reserve {
            bytes: if command == Command::RecCreate { 16 * MIN_GRANULE } else { 0 },
            block: MIN_GRANULE,
        })
    }

    /// The error if `command` cannot be carried out with what the pool has: `own` bytes for the
    /// object itself, and what such an operation is known to ask for, in blocks and in as many runs
    /// as can be donated. Checked before the first call of an operation that may not be
    /// cancellable.
    ///
    /// # Errors
    ///
    /// [`Error::NeedMemory`] with what is missing.
    pub fn check_reserve(&self, command: Command, own: u64) -> Result<(), Error> {
        let Reserve { bytes, block } = self.reserve(command);
        let block = block.max(MIN_GRANULE);
        // Of the missing blocks, only whole ones are of use.
        let short = bytes
            .saturating_sub(self.longest_runs(block))
            .checked_next_multiple_of(block)
            .unwrap_or(u64::MAX);
        let missing = short.max(self.missing(bytes.saturating_add(own), MIN_GRANULE));
        if missing > 0 { Err(Error::need_memory(command, missing, block)) } else { Ok(()) }
    }

    /// Bytes in whole blocks in the longest runs, of which as many count as can be donated.
    fn longest_runs(&self, block: u64) -> u64 {
        let mut longest = [0; Donated::RANGES];
        for range in self.host.iter().chain(self.free.iter()) {
            let mut run = blocks_in(range, block);
            for place in &mut longest {
                if run > *place {
                    core::mem::swap(place, &mut run);
                }
            }
        }
        longest.iter().sum()
    }

    pub(crate) fn learn(&mut self, command: Command, bytes: u64, need: Need) {
        let block = if need.contiguous { need.bytes } else { need.block_bytes };
        // An unused entry names `RMI_VERSION`, which takes no memory.
        let known = self.learned.iter().position(|(known, _)| *known == command);
        let place =
            known.or_else(|| self.learned.iter().position(|(known, _)| *known == Command::Version));
        if let Some((of, reserve)) = place.and_then(|place| self.learned.get_mut(place)) {
            *of = command;
            *reserve = Reserve { bytes: bytes.max(reserve.bytes), block: block.max(reserve.block) };
        }
    }
}

/// What a command is known to ask for.
#[derive(Clone, Copy, Debug)]
struct Reserve {
    /// In total, in bytes.
    bytes: u64,
    /// In blocks of this size, in bytes, aligned to it.
    block: u64,
}

/// Bytes of whole, aligned blocks in a range.
fn blocks_in(range: PaRange, block: u64) -> u64 {
    let base = range.base().align_up(block);
    base.and_then(|base| range.top().align_down(block).checked_offset_from(base)).unwrap_or(0)
}
