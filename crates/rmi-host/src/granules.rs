//! Memory as tokens: the type of a token says who may access its granules.
//!
//! A [`Granules`] owns a range of physical memory, whose state is one of three:
//!
//! | Token | Owner of the memory | Use |
//! |---|---|---|
//! | [`Undelegated`] | the host | fill it, share it, or give it to [`Rmm::delegate`](crate::Rmm::delegate) |
//! | [`Delegated`] | the RMM, no object uses it | create objects from it, or take it back with [`Rmm::undelegate`](crate::Rmm::undelegate) |
//! | [`InUse`] | the RMM, part of an object | wait until the RMM releases it |
//!
#![doc = include_str!("../pictures/granule.svg")]
//!
//! Only a successful undelegation makes host memory again. The step between [`Delegated`] and
//! [`InUse`] is safe bookkeeping: the RMM decides, and a token with the wrong one of the two types
//! causes a refused command, and never loses memory.
//!
//! Tokens are split and joined; no granule is ever in two tokens:
//!
//! ```
//! # use rmi_abi::{Dialect, Pa};
//! # use rmm_model::{Model, Options};
//! # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
//! # let mut machine = model.take_memory();
//! let mut memory = machine.take_front(0x4000).expect("1 GiB");
//! let front = memory.take_front(0x1000).expect("four granules");
//! let back = memory.take_back(0x1000).expect("three granules");
//! assert_eq!((memory.base(), memory.bytes()), (Pa::new(0x8000_1000), 0x2000));
//!
//! // What the token does not have, or is not a whole granule, cannot be taken.
//! assert!(memory.take_front(0x3000).is_none());
//! assert!(memory.take_front(0x800).is_none());
//!
//! // Ranges that are not adjacent stay separate. Adjacent ones merge, in either order.
//! let mut joined = front;
//! let back = joined.merge(back).expect_err("a gap between them");
//! joined.merge(memory).expect("neighbours");
//! joined.merge(back).expect("neighbours");
//! assert_eq!(joined.bytes(), 0x4000);
//! # Ok::<(), rmm_model::OptionsError>(())
//! ```
//!
//! A token can be neither copied nor used twice:
//!
//! ```compile_fail,E0382
//! # use rmi_host::granules::Delegated;
//! fn donate(_: Delegated) {}
//! fn twice(memory: Delegated) {
//!     donate(memory);
//!     donate(memory); // error: use of moved value
//! }
//! ```
//!
//! ```compile_fail,E0308
//! # use rmi_host::granules::Delegated;
//! fn copy(memory: &Delegated) -> Delegated {
//!     memory.clone() // error: a token is not `Clone`, so this is a second reference
//! }
//! ```
//!
//! A token is made from addresses only by an unsafe function:
//!
//! ```compile_fail,E0133
//! # use rmi_abi::PaRange;
//! # use rmi_host::Undelegated;
//! fn make(range: PaRange) -> Undelegated {
//!     Undelegated::from_raw(range) // error: call to unsafe function
//! }
//! ```
//!
//! and never for memory that the RMM has:
//!
//! ```compile_fail,E0599
//! # use rmi_abi::PaRange;
//! # use rmi_host::Delegated;
//! fn make(range: PaRange) -> Delegated {
//!     unsafe { Delegated::from_raw(range) } // error: no such function
//! }
//! ```
#![expect(unsafe_code, reason = "making a token out of a bare range is an unsafe promise")]

mod any;
mod machine;
mod packed_block;

use core::fmt;
use core::marker::PhantomData;
use core::num::NonZeroU64;
use core::sync::atomic::{AtomicU64, Ordering};

use rmi_abi::desc::OpMemState;
use rmi_abi::{Pa, PaRange};

pub use any::AnyGranules;
pub use machine::Machine;
pub use packed_block::PackedBlock;

mod sealed {
    pub trait Owner: Sized {
        const CODE: core::num::NonZeroU64;
    }
    pub trait Donatable {
        const STATE: rmi_abi::desc::OpMemState;
    }
}

/// Who owns memory. Sealed: [`HostOwned`], [`Free`], [`Busy`].
pub trait Owner: sealed::Owner {}

/// Owned by the host: normal memory.
#[derive(Debug)]
pub enum HostOwned {}
/// Owned by the RMM, in no object: granule state DELEGATED.
#[derive(Debug)]
pub enum Free {}
/// Owned by the RMM, inside an object: RD, REC, RTT, DATA, INTERNAL…
#[derive(Debug)]
pub enum Busy {}

impl sealed::Owner for HostOwned {
    const CODE: NonZeroU64 = any::HOST;
}
impl sealed::Owner for Free {
    const CODE: NonZeroU64 = any::FREE;
}
impl sealed::Owner for Busy {
    const CODE: NonZeroU64 = any::BUSY;
}
impl Owner for HostOwned {}
impl Owner for Free {}
impl Owner for Busy {}

/// Owners of memory that may be donated to a stateful operation. Sealed: [`HostOwned`], [`Free`].
pub trait Donatable: Owner + sealed::Donatable {}

impl sealed::Donatable for HostOwned {
    const STATE: OpMemState = OpMemState::Undelegated;
}
impl sealed::Donatable for Free {
    const STATE: OpMemState = OpMemState::Delegated;
}
impl Donatable for HostOwned {}
impl Donatable for Free {}

impl<H: Donatable> Granules<H> {
    /// Whether memory of this owner is donated as host memory.
    #[must_use]
    pub fn is_donated_undelegated() -> bool {
        donation_state::<H>() == OpMemState::Undelegated
    }
}

/// The state that a descriptor has for memory of this owner.
pub(crate) const fn donation_state<H: Donatable>() -> OpMemState {
    <H as sealed::Donatable>::STATE
}

/// Host memory that may be delegated.
#[doc(alias = "UNDELEGATED")]
pub type Undelegated = Granules<HostOwned>;
/// Memory that the RMM owns and no object uses.
#[doc(alias = "DELEGATED")]
pub type Delegated = Granules<Free>;
/// Memory that an object of the RMM consists of.
#[doc(alias = "INTERNAL")]
pub type InUse = Granules<Busy>;

/// Granules of 4 KiB whose RMM-owned token was dropped, in this process or image.
static LEAKED: AtomicU64 = AtomicU64::new(0);

/// How many 4 KiB of memory were lost because an RMM-owned token was dropped, since the start, over
/// all sessions.
///
/// Dropping such a token frees nothing, makes no call and never panics; it only adds to this count.
/// A [`Ledger`](crate::Ledger) has the exact balance of one session.
///
/// ```
/// # use rmi_abi::Dialect;
/// # use rmm_model::{Model, Options};
/// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// # let mut memory = model.take_memory();
/// # let rmm = rmm_model::open(model.host(), &mut memory)?;
/// let before = rmi_host::leaked();
/// let memory = rmm.delegate(memory.take_front(0x4000).expect("1 GiB"))?;
/// drop(memory);
/// assert_eq!(rmi_host::leaked() - before, 4);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use]
pub fn leaked() -> u64 {
    LEAKED.load(Ordering::Relaxed)
}

/// Granules of 4 KiB of host memory whose token was dropped, in this process or image.
static DROPPED_HOST: AtomicU64 = AtomicU64::new(0);

/// How many 4 KiB of host memory have no token any more because it was dropped, not [given
/// up](Undelegated::into_raw), since the start, over all sessions.
///
/// The memory is the host's, and nothing of the SDK refers to it: it is lost only to an embedder
/// that has no other record of it. That happens when a function of the embedder panics after the
/// memory was passed to it, or while a command owns some.
///
/// ```
/// # use rmi_abi::Dialect;
/// # use rmm_model::{Model, Options};
/// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// # let mut memory = model.take_memory();
/// let before = rmi_host::dropped_host_granules();
/// drop(memory.take_front(0x3000).expect("1 GiB"));
/// assert_eq!(rmi_host::dropped_host_granules() - before, 3);
/// # Ok::<(), rmm_model::OptionsError>(())
/// ```
#[must_use]
pub fn dropped_host_granules() -> u64 {
    DROPPED_HOST.load(Ordering::Relaxed)
}

/// Host memory that has no token any more although something else may access it: counted as
/// [`leaked`].
pub(crate) fn leak(memory: Undelegated) {
    drop(memory.into_delegated());
}

/// A range of physical memory, owned by this value, in the state that `H` names. May be empty.
///
/// ```
/// # use rmi_abi::Dialect;
/// # use rmm_model::{Model, Options};
/// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// # let mut memory = model.take_memory();
/// # let rmm = rmm_model::open(model.host(), &mut memory)?;
/// let host = memory.take_front(0x2000).expect("1 GiB");
/// assert_eq!(format!("{host:?}"), "Undelegated[0x80000000, 0x80002000)");
/// let delegated = rmm.delegate(host)?;
/// assert_eq!(format!("{delegated:?}"), "Delegated[0x80000000, 0x80002000)");
/// let host = rmm.undelegate(delegated)?;
/// assert_eq!(host.into_raw().bytes(), 0x2000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping memory that the RMM owns leaks it"]
pub struct Granules<H: Owner> {
    /// Its owner is `H`.
    any: AnyGranules,
    owner: PhantomData<H>,
}

impl Undelegated {
    /// Makes a token for memory of the machine that the program runs on, [`Machine::REAL`].
    ///
    /// # Safety
    ///
    /// The range is ordinary host memory, the caller owns all of it, nothing else refers to it or
    /// will while the token (or what becomes of it) exists, and no other token covers any part of
    /// it.
    pub const unsafe fn from_raw(range: PaRange) -> Self {
        Self { any: AnyGranules::new(range, Machine::REAL, any::HOST), owner: PhantomData }
    }

    /// Makes a token for memory of another machine.
    ///
    /// # Safety
    ///
    /// As [`Undelegated::from_raw`], for the memory of that machine. Where no pointer of any
    /// program reaches that memory, the only condition left is that no other token covers any part
    /// of it.
    pub const unsafe fn of_machine(machine: Machine, range: PaRange) -> Self {
        Self { any: AnyGranules::new(range, machine, any::HOST), owner: PhantomData }
    }

    /// Gives the token up: the memory is plain host memory again, and the SDK does not account for
    /// it any more.
    #[must_use]
    pub fn into_raw(self) -> PaRange {
        self.any.into_parts().1
    }

    /// The host has given the memory up; see [`crate::delegate`].
    pub(crate) fn into_delegated(self) -> Delegated {
        self.change_owner()
    }
}

impl Delegated {
    /// The RMM has returned the memory; see [`crate::delegate`].
    pub(crate) fn into_undelegated(self) -> Undelegated {
        self.change_owner()
    }

    /// Stores the token as a machine and a range; [`Delegated::from_record`] is the only inverse.
    pub(crate) fn into_record(self) -> (Machine, PaRange) {
        self.any.into_parts()
    }

    /// Restores a token that [`Delegated::into_record`] stored.
    pub(crate) const fn from_record(machine: Machine, range: PaRange) -> Self {
        Self { any: AnyGranules::new(range, machine, any::FREE), owner: PhantomData }
    }

    /// Marks the memory as part of an object.
    pub fn into_use(self) -> InUse {
        self.change_owner()
    }
}

impl InUse {
    /// Whether the memory was the host's until it was donated to the object that it is part of: the
    /// RMM may return it as host memory.
    #[must_use]
    pub const fn was_host(&self) -> bool {
        self.any.was_host()
    }

    /// The RMM has returned the memory as host memory; see [`crate::command`].
    pub(crate) fn into_undelegated(self) -> Result<Undelegated, Self> {
        if self.was_host() { Ok(self.change_owner()) } else { Err(self) }
    }

    /// A stateful operation has refused memory that was offered to it; see [`crate::command`].
    pub(crate) fn into_refused<H: Donatable>(self) -> Result<Granules<H>, Self> {
        if self.was_host() == Granules::<H>::is_donated_undelegated() {
            Ok(self.change_owner())
        } else {
            Err(self)
        }
    }

    /// Marks the memory as released by its object; whether it is, the RMM decides when it is used
    /// or undelegated.
    pub fn into_released(self) -> Delegated {
        self.change_owner()
    }
}

impl<H: Donatable> Granules<H> {
    /// A stateful operation has taken the memory; see [`crate::command`].
    pub(crate) fn into_donated(self) -> InUse {
        Granules { any: self.any.donated(), owner: PhantomData }
    }
}

impl<H: Owner> Granules<H> {
    /// An empty token.
    pub const fn empty() -> Self {
        Self { any: AnyGranules::none(<H as sealed::Owner>::CODE), owner: PhantomData }
    }

    fn change_owner<T: Owner>(self) -> Granules<T> {
        Granules { any: self.any.owned_by(<T as sealed::Owner>::CODE), owner: PhantomData }
    }

    /// The memory.
    #[must_use]
    pub fn range(&self) -> PaRange {
        self.any.range()
    }

    /// The machine whose memory it is; not meaningful for an empty token.
    #[must_use]
    pub const fn machine(&self) -> Machine {
        self.any.machine()
    }

    /// First address.
    #[must_use]
    pub const fn base(&self) -> Pa {
        self.any.base()
    }

    /// Length in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.any.bytes()
    }

    /// Whether the token is empty.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.any.is_empty()
    }

    /// Takes the first `bytes` out of the token; `None` (and nothing happens) when they are not
    /// there or not whole 4 KiB.
    pub fn take_front(&mut self, bytes: u64) -> Option<Self> {
        self.any.take_front(bytes).map(|any| Self { any, owner: PhantomData })
    }

    /// Takes the last `bytes` out of the token; `None` (and nothing happens) when they are not
    /// there or not whole 4 KiB.
    pub fn take_back(&mut self, bytes: u64) -> Option<Self> {
        self.any.take_back(bytes).map(|any| Self { any, owner: PhantomData })
    }

    /// Takes everything, leaving the token empty.
    pub fn take(&mut self) -> Self {
        Self { any: self.any.take(), owner: PhantomData }
    }

    /// Appends memory of the same machine that begins where this ends (or anything, when this is
    /// empty).
    ///
    /// # Errors
    ///
    /// `other` is returned when it does not begin where this ends, belongs to another machine, or
    /// (inside an object) only one of the two was the host's.
    pub fn append(&mut self, other: Self) -> Result<(), Self> {
        self.any.append(other.any).map_err(|any| Self { any, owner: PhantomData })
    }

    /// Joins two adjacent tokens of one machine, in either order.
    ///
    /// # Errors
    ///
    /// `other` is returned when the two are not adjacent, or for the other reasons of
    /// [`append`](Self::append).
    pub fn merge(&mut self, other: Self) -> Result<(), Self> {
        self.any.merge(other.any).map_err(|any| Self { any, owner: PhantomData })
    }
}

impl<H: Owner> fmt::Debug for Granules<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.any.fmt(f)
    }
}

impl<H: Owner> Default for Granules<H> {
    fn default() -> Self {
        Self::empty()
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use std::format;
    use std::sync::{Mutex, MutexGuard, PoisonError};

    use super::*;

    /// For a test that counts what is dropped, or drops memory: all threads share the counts.
    pub(crate) fn counting() -> MutexGuard<'static, ()> {
        static COUNTS: Mutex<()> = Mutex::new(());
        COUNTS.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn host(base: u64, bytes: u64) -> Undelegated {
        // SAFETY: no test touches the memory.
        unsafe { Undelegated::from_raw(PaRange::with_size(Pa::new(base), bytes).unwrap()) }
    }

    #[test]
    fn splitting_and_joining_loses_nothing() {
        let _alone = counting();
        let mut memory = host(0x1000, 0x4000);
        let front = memory.take_front(0x1000).unwrap();
        let back = memory.take_back(0x1000).unwrap();
        assert_eq!(memory.range(), PaRange::with_size(Pa::new(0x2000), 0x2000).unwrap());
        assert!(memory.take_front(0x3000).is_none());
        assert!(memory.take_front(0x800).is_none());
        let back = memory.append(front).map(|()| back).unwrap_err();
        memory.merge(back).unwrap();
        assert_eq!(memory.range(), PaRange::with_size(Pa::new(0x1000), 0x3000).unwrap());
    }

    #[test]
    fn only_what_the_rmm_owns_is_counted_as_leaked() {
        let _alone = counting();
        let (before, host_before) = (leaked(), dropped_host_granules());
        let counts = || (leaked() - before, dropped_host_granules() - host_before);
        drop(host(0x1000, 0x3000));
        assert_eq!(counts(), (0, 3));
        drop(host(0x1000, 0x2000).into_delegated());
        assert_eq!(counts(), (2, 3));
        assert_eq!(host(0x1000, 0x1000).into_raw().bytes(), 0x1000);
        assert_eq!(counts(), (2, 3));
        leak(host(0x1000, 0x1000));
        assert_eq!(counts(), (3, 3));
    }

    #[test]
    fn a_range_keeps_its_place_and_machine_whoever_owns_it() {
        let machine = Machine::simulated();
        let range = PaRange::with_size(Pa::new(0x4000), 0x2000).unwrap();
        // SAFETY: no test touches the memory.
        let host = unsafe { Undelegated::of_machine(machine, range) };
        assert!(Undelegated::is_donated_undelegated() && !Delegated::is_donated_undelegated());
        let lent = host.into_donated();
        assert_eq!(format!("{lent:?}"), "LentToRmm[0x4000, 0x6000)");
        let host = lent.into_undelegated().unwrap();
        assert_eq!(format!("{host:?}"), "Undelegated[0x4000, 0x6000)");
        let delegated = host.into_donated().into_released();
        assert_eq!(format!("{delegated:?}"), "Delegated[0x4000, 0x6000)");
        let in_use = delegated.into_use();
        assert_eq!(format!("{in_use:?}"), "InUse[0x4000, 0x6000)");
        let (of, range) = in_use.into_released().into_record();
        assert_eq!((of, range.base().raw(), range.bytes()), (machine, 0x4000, 0x2000));
    }

    #[test]
    fn nothing_merges_with_anything() {
        // The empty token lies at either end, or elsewhere.
        for at in [0x1000, 0x3000, 0x8000] {
            let mut memory = host(0x1000, 0x2000);
            memory.merge(host(at, 0)).unwrap();
            let mut nothing = host(at, 0);
            nothing.merge(memory).unwrap();
            assert_eq!(nothing.into_raw(), PaRange::with_size(Pa::new(0x1000), 0x2000).unwrap());
        }
        // The right place on another machine is not adjacent.
        let range = PaRange::with_size(Pa::new(0x3000), 0x1000).unwrap();
        // SAFETY: no test touches the memory.
        let mut other = unsafe { Undelegated::of_machine(Machine::simulated(), range) };
        for mut memory in [host(0x1000, 0x2000), host(0x4000, 0x1000)] {
            let before = memory.range();
            other = memory.merge(other).unwrap_err();
            assert_eq!((memory.into_raw(), other.range()), (before, range));
        }
        let _ = other.into_raw();
    }

    /// Nor is what differs in owner and machine, by the same bits.
    #[test]
    fn memory_of_another_owner_and_machine_is_not_joined() {
        let range = |base| PaRange::with_size(Pa::new(base), 0x1000).unwrap();
        // SAFETY: no test touches the memory.
        let other = unsafe { Undelegated::of_machine(Machine::from_code(1), range(0x2000)) };
        let mut any = AnyGranules::from(host(0x1000, 0x1000).into_delegated());
        let other = any.append(other.into_delegated().into_use().into()).unwrap_err();
        assert_eq!((any.range(), other.range()), (range(0x1000), range(0x2000)));
        let other = any.merge(other).unwrap_err();
        for any in [any, other] {
            core::mem::forget(any);
        }
    }

    /// All bits of the machine's number are kept.
    #[test]
    fn a_token_keeps_its_machine() {
        for code in [0, 1, 0xfff, 0x1000, 0x2_a5a5, (1 << Machine::BITS) - 1] {
            let machine = Machine::from_code(code);
            let range = PaRange::with_size(Pa::new(0x1000), 0x3000).unwrap();
            // SAFETY: no test touches the memory.
            let mut memory = unsafe { Undelegated::of_machine(machine, range) }.into_donated();
            let front = memory.take_front(0x1000).unwrap();
            for (part, base, bytes) in [(front, 0x1000, 0x1000), (memory, 0x2000, 0x2000)] {
                assert_eq!((part.base().raw(), part.bytes()), (base, bytes));
                assert!(part.machine() == machine && part.was_host());
                let _ = part.into_undelegated().unwrap().into_raw();
            }
        }
    }

    #[test]
    fn memory_that_is_refused_returns_to_the_owner_it_had() {
        let lent = host(0x1000, 0x2000).into_donated();
        let lent = lent.into_refused::<Free>().unwrap_err();
        assert_eq!(lent.into_refused::<HostOwned>().unwrap().into_raw().bytes(), 0x2000);
        let other = host(0x3000, 0x1000).into_delegated().into_donated();
        let other = other.into_refused::<HostOwned>().unwrap_err();
        let other = other.into_refused::<Free>().unwrap();
        assert_eq!(other.bytes(), 0x1000);
        let _ = other.into_record();
    }

    #[test]
    fn a_token_of_any_owner_keeps_what_it_is() {
        let lent: InUse = host(0x1000, 0x2000).into_donated();
        let other = host(0x3000, 0x1000).into_delegated().into_donated();
        assert!(lent.was_host() && !other.was_host());
        let mut any = AnyGranules::from(lent);
        // What was the host's is not joined with what was not, and is found again after storage.
        let other = any.append(other.into()).unwrap_err().into_granules::<Busy>().unwrap();
        let _ = other.into_undelegated().unwrap_err().into_released().into_record();
        let any =
            any.into_granules::<Free>().unwrap_err().into_granules::<HostOwned>().unwrap_err();
        let lent = any.into_granules::<Busy>().unwrap();
        assert_eq!(lent.into_undelegated().unwrap().into_raw().bytes(), 0x2000);
        assert!(AnyGranules::empty().into_granules::<Busy>().is_ok());
        let _alone = counting();
        let (before, host_before) = (leaked(), dropped_host_granules());
        drop(AnyGranules::from(host(0x1000, 0x1000).into_delegated()));
        drop(AnyGranules::from(host(0x1000, 0x2000)));
        assert_eq!((leaked() - before, dropped_host_granules() - host_before), (1, 2));
    }
}
