//! A conduit that counts.

use core::sync::atomic::{AtomicU64, Ordering};

use rmi_abi::{Command, Dialect, Fid, ResultWord, Status};

use crate::conduit::{Conduit, Registers};

/// First function number of the RMI and number of function numbers counted one by one.
const FIRST: u32 = 0x150;
const NUMBERS: usize = 0x212 - 0x150;

#[derive(Debug)]
struct Counters {
    issued: AtomicU64,
    failed: AtomicU64,
    retried: AtomicU64,
    incomplete: AtomicU64,
}

impl Counters {
    const fn new() -> Self {
        Self {
            issued: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            retried: AtomicU64::new(0),
            incomplete: AtomicU64::new(0),
        }
    }

    fn read(&self) -> Counts {
        Counts {
            issued: self.issued.load(Ordering::Relaxed),
            failed: self.failed.load(Ordering::Relaxed),
            retried: self.retried.load(Ordering::Relaxed),
            incomplete: self.incomplete.load(Ordering::Relaxed),
        }
    }
}

/// Calls of one command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// All calls.
    pub issued: u64,
    /// Calls that were refused.
    pub failed: u64,
    /// Calls answered `RMI_BUSY` or `RMI_BLOCKED`, to be made again.
    pub retried: u64,
    /// Calls answered `RMI_INCOMPLETE`.
    pub incomplete: u64,
}

impl Counts {
    /// The sum of both.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            issued: self.issued + other.issued,
            failed: self.failed + other.failed,
            retried: self.retried + other.retried,
            incomplete: self.incomplete + other.incomplete,
        }
    }
}

/// Counts calls by function identifier and outcome on their way to another conduit. Lock-free; 6 KiB.
#[derive(Debug)]
pub struct Counting<C> {
    inner: C,
    counters: [Counters; NUMBERS],
    others: Counters,
}

impl<C> Counting<C> {
    /// Counts from zero what goes to `inner`.
    pub const fn new(inner: C) -> Self {
        Self { inner, counters: [const { Counters::new() }; NUMBERS], others: Counters::new() }
    }

    /// The conduit that the calls go to.
    pub const fn inner(&self) -> &C {
        &self.inner
    }

    fn counters(&self, fid: u64) -> &Counters {
        let number = u32::try_from(fid)
            .ok()
            .and_then(|fid| {
                Fid(fid).without_sve_hint().0.checked_sub(Fid::from_function_number(0).0)
            })
            .and_then(|number| number.checked_sub(FIRST))
            .and_then(|number| usize::try_from(number).ok());
        number.and_then(|number| self.counters.get(number)).unwrap_or(&self.others)
    }

    /// The counts of one command of a dialect; zero for a command that the dialect lacks.
    #[must_use]
    pub fn counts(&self, command: Command, dialect: Dialect) -> Counts {
        command.fid(dialect).map(|fid| self.counters(fid.0.into()).read()).unwrap_or_default()
    }

    /// The counts of calls that are no commands of a dialect.
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
        self.counters.iter().map(Counters::read).fold(self.others.read(), Counts::plus)
    }
}

impl<C: Conduit> Conduit for Counting<C> {
    #[expect(unsafe_code, reason = "the one door is an unsafe method")]
    unsafe fn call(&self, registers: Registers) -> Registers {
        // SAFETY: the caller's promise is passed on unchanged.
        let result = unsafe { self.inner.call(registers) };
        let ([fid, ..], [x0, ..]) = (registers, result);
        let counters = self.counters(fid);
        counters.issued.fetch_add(1, Ordering::Relaxed);
        let outcome = match ResultWord(x0).status() {
            Status::Success => return result,
            Status::Busy | Status::Blocked => &counters.retried,
            Status::Incomplete => &counters.incomplete,
            _ => &counters.failed,
        };
        outcome.fetch_add(1, Ordering::Relaxed);
        result
    }
}
