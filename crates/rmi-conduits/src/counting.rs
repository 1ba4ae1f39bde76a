//! A conduit that counts calls, by command and outcome, and the memory that changed its owner.
//!
//! ```
//! use rmi_abi::{Command, Dialect};
//! use rmi_host::Conduit;
//! use rmi_conduits::counting::Counting;
//! use rmm_model::{Model, Options};
//!
//! let dialect = Dialect::TfRmm2026_07;
//! let model = Model::new(Options::new(dialect).range_capable())?;
//! let conduit = Counting::new(&model);
//! let call = |command: Command, x1: u64, x2: u64| {
//!     let fid = command.fid(dialect).map_or(0, |fid| fid.0.into());
//!     // SAFETY: the model has its own memory; no memory of this program is affected.
//!     unsafe { conduit.call([fid, x1, x2, 0, 0, 0, 0, 0]) }
//! };
//!
//! call(Command::RmmActivate, 0, 0);
//! call(Command::GranuleRangeDelegate, 0x8000_0000, 0x8001_0000);
//! // Refused: it is already delegated.
//! call(Command::GranuleRangeDelegate, 0x8000_0000, 0x8001_0000);
//!
//! let delegate = conduit.counts(Command::GranuleRangeDelegate, dialect);
//! assert_eq!((delegate.issued, delegate.failed, delegate.delegated), (2, 1, 16));
//! assert_eq!(
//!     conduit.report(dialect).to_string(),
//!     "\
//! command                            issued   failed     busy  blocked  incomplete
//! RMI_GRANULE_RANGE_DELEGATE              2        1        0        0           0
//! RMI_RMM_ACTIVATE                        1        0        0        0           0
//! total                                   3        1        0        0           0
//! granules delegated 16, undelegated 0, donated 0; runs reclaimed 0; operations continued 0
//! "
//! );
//! # Ok::<(), rmm_model::OptionsError>(())
//! ```
#![expect(unsafe_code, reason = "`Conduit` is an unsafe trait")]

mod counters;
mod moved;
mod report;

pub use counters::Counts;
pub use report::Report;

use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use rmi_abi::commands::fid;
use rmi_abi::{Command, Dialect, Fid, GranuleSize, ResultWord, Status};
use rmi_host::OpenSessions;
use rmi_host::conduit::{Conduit, Registers, Simulated};
use rmi_host::session::is_probe;

use counters::Counters;
use moved::OpenRanges;

/// First function number of the RMI and number of function numbers counted one by one.
const FIRST: u32 = 0x150;
const NUMBERS: usize = 0x212 - 0x150;

/// Counts calls by function identifier and outcome, and forwards them to another conduit.
/// Lock-free; 16 KiB.
///
/// The counts of one call become visible one after the other, so a reader on another CPU may see a
/// call without its outcome.
#[derive(Debug)]
pub struct Counting<C> {
    inner: C,
    counters: [Counters; NUMBERS],
    others: Counters,
    probes: AtomicU64,
    open: OpenRanges,
    granule: AtomicU8,
}

// As documented.
const _: () = assert!(size_of::<Counting<()>>().div_ceil(1 << 10) == 16);

impl<C> Counting<C> {
    /// Counts the calls to `inner` from zero, and memory in granules of 4 KiB.
    pub const fn new(inner: C) -> Self {
        Self {
            inner,
            counters: [const { Counters::new() }; NUMBERS],
            others: Counters::new(),
            probes: AtomicU64::new(0),
            open: OpenRanges::new(),
            granule: AtomicU8::new(GranuleSize::Size4KiB.code()),
        }
    }

    /// The conduit that calls are forwarded to.
    pub const fn inner(&self) -> &C {
        &self.inner
    }

    /// Counts memory in granules of this size from now on: for use when the session has set the
    /// granule size.
    pub fn set_granule(&self, granule: GranuleSize) {
        self.granule.store(granule.code(), Ordering::Relaxed);
    }

    /// The size of the granules that memory is counted in.
    pub fn granule(&self) -> GranuleSize {
        GranuleSize::from_code(self.granule.load(Ordering::Relaxed)).unwrap_or_default()
    }

    fn counters(&self, fid: u64) -> &Counters {
        let fid = Fid::from_register(fid).without_sve_hint().0;
        let number = fid
            .checked_sub(Fid::from_function_number(0).0)
            .and_then(|number| number.checked_sub(FIRST))
            .and_then(|number| usize::try_from(number).ok());
        number.and_then(|number| self.counters.get(number)).unwrap_or(&self.others)
    }

    /// The counts of one command of a dialect; zero for a command that the dialect does not have.
    #[must_use]
    pub fn counts(&self, command: Command, dialect: Dialect) -> Counts {
        command.fid(dialect).map(|fid| self.counters(fid.0.into()).read()).unwrap_or_default()
    }

    /// Calls by which a session has determined the dialect, see
    /// [`Discovered::probe`](rmi_host::Discovered::probe): refusals of them are expected. They are
    /// counted here, and not as failed calls. `RMI_VERSION` is one of them when it is refused
    /// because the RMM has other versions.
    pub fn probes(&self) -> u64 {
        self.probes.load(Ordering::Relaxed)
    }

    /// The counts of calls that are not commands of a dialect, without probes.
    #[must_use]
    pub fn others(&self, dialect: Dialect) -> Counts {
        let known =
            |number: &u16| Command::from_fid(Fid::from_function_number(*number), dialect).is_some();
        let numbers = (FIRST..).map_while(|number| u16::try_from(number).ok());
        let unknown = numbers.zip(&self.counters).filter(|(number, _)| !known(number));
        unknown.map(|(_, counters)| counters.read()).fold(self.others.read(), Counts::plus)
    }

    /// The counts of all calls.
    #[must_use]
    pub fn total(&self) -> Counts {
        let probes = Counts { issued: self.probes(), ..Counts::default() };
        let first = self.others.read().plus(probes);
        self.counters.iter().map(Counters::read).fold(first, Counts::plus)
    }

    /// A table of all counts, for printing.
    #[must_use]
    pub const fn report(&self, dialect: Dialect) -> Report<'_, C> {
        Report::new(self, dialect)
    }
}

/// Whether an RMM was asked for a version that it does not have, and reported those that it has.
fn is_other_version(call: &Registers, answer: &Registers) -> bool {
    let ([x0, ..], [result, ..]) = (*call, *answer);
    Fid::from_register(x0).without_sve_hint() == fid::VERSION
        && ResultWord(result).status() == Status::ErrorInput
}

// SAFETY: the answers are those of the inner conduit.
unsafe impl<C: Conduit> Conduit for Counting<C> {
    fn open_sessions(&self) -> &OpenSessions {
        self.inner.open_sessions()
    }

    unsafe fn call(&self, registers: Registers) -> Registers {
        // SAFETY: the caller's promise is passed on unchanged.
        let result = unsafe { self.inner.call(registers) };
        if is_probe(&registers) || is_other_version(&registers, &result) {
            self.probes.fetch_add(1, Ordering::Relaxed);
            return result;
        }
        let [fid, ..] = registers;
        let counters = self.counters(fid);
        counters.count(&result);
        counters.add(&self.open.moved(&registers, &result, self.granule()));
        result
    }
}

// SAFETY: the calls are those of the inner conduit.
unsafe impl<C: Simulated> Simulated for Counting<C> {}
