//! Where memory waits that the RMM will not give back now.
//!
//! Nothing that was delegated is ever freed on a guess. Memory whose undelegation is refused, or whose fate an unclear answer left open,
//! goes to a [`Quarantine`] with the reason, and may be tried again later.
//!
//! | Quarantine | Keeps memory |
//! |---|---|
//! | [`NoQuarantine`] | not at all: it is leaked, and counted |
//! | [`QuarantineShelf`] | in a fixed number of places, without heap or locks |
//! | [`CallbackQuarantine`] | where a function of the embedder's puts it |
//! | `GrowingQuarantine`, feature `alloc` | on the heap |
//!
//! ```
//! use rmi_abi::{Command, Dialect};
//! use rmi_host::{Discovered, Host, QuarantineReason, QuarantineShelf, SessionOptions};
//! use rmm_model::{Model, Options};
//!
//! let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
//! let shelf = QuarantineShelf::<8>::new();
//! let platform = Host::new(&model, &model).with_quarantine(&shelf);
//! let found = Discovered::probe(platform, SessionOptions::default()).map_err(|failed| failed.error)?;
//! found.start_activation()?;
//! let rmm = found.into_active();
//!
//! let memory = model.take_memory().take_front(0x4000).unwrap();
//! let memory = rmm.delegate(memory).map_err(|failed| failed.error)?;
//! rmm.quarantine(memory, QuarantineReason::ObjectAlive { command: Command::RecDestroy });
//! assert_eq!(shelf.len(), 1);
//!
//! // The object turned out to be gone: the RMM gives the memory back.
//! let mut bytes = 0;
//! assert_eq!(shelf.retry(&rmm, |memory| bytes += memory.bytes()), 0);
//! assert_eq!(bytes, 0x4000);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod callback;
#[cfg(feature = "alloc")]
mod growing;

pub use callback::CallbackQuarantine;
#[cfg(feature = "alloc")]
pub use growing::GrowingQuarantine;

use core::fmt;
use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

use rmi_abi::{Command, Pa, PaRange, Status};

use crate::delegate::UndelegateFailed;
use crate::granules::{Delegated, Machine, Undelegated};
use crate::ledger::{Ledger, LedgerEvent};
use crate::platform::Platform;
use crate::session::Rmm;

/// Why memory is in quarantine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum QuarantineReason {
    /// The RMM refused to undelegate it.
    UndelegateRefused {
        /// With this status.
        status: Status,
    },
    /// A command's answer left open what became of it.
    Unclear {
        /// The command.
        command: Command,
    },
    /// A stateful operation ended without giving it back.
    NotReclaimed {
        /// The command that started the operation.
        command: Command,
    },
    /// The pool that it belongs to has no room for it.
    PoolFull,
    /// The object that is made of it could not be destroyed.
    ObjectAlive {
        /// The command that refused.
        command: Command,
    },
}

impl fmt::Display for QuarantineReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::UndelegateRefused { status } => {
                write!(f, "undelegation refused with {}", status.name())
            }
            Self::Unclear { command } => write!(f, "unclear outcome of {command}"),
            Self::NotReclaimed { command } => write!(f, "not given back by {command}"),
            Self::PoolFull => f.write_str("no room in the pool"),
            Self::ObjectAlive { command } => write!(f, "object not destroyed by {command}"),
        }
    }
}

/// Memory in quarantine.
#[derive(Debug)]
#[must_use = "dropping this leaks the memory"]
pub struct Quarantined {
    /// The memory.
    pub memory: Delegated,
    /// Why it is here.
    pub reason: QuarantineReason,
}

/// A place for memory that cannot be returned now. Called on any CPU.
///
/// One that frees what belongs to nobody and keeps the rest, with a lock of the embedder's:
///
/// ```
/// use std::sync::Mutex;
/// use rmi_host::{Quarantine, Quarantined};
/// # use rmi_abi::{Command, Dialect};
/// # use rmi_host::{Discovered, Host, QuarantineReason, SessionOptions};
/// # use rmm_model::{Model, Options};
///
/// #[derive(Default)]
/// struct Drawer(Mutex<Vec<Quarantined>>);
///
/// impl Quarantine for Drawer {
///     fn put(&self, memory: Quarantined) -> Result<(), Quarantined> {
///         match self.0.lock() {
///             Ok(mut drawer) => Ok(drawer.push(memory)),
///             Err(_) => Err(memory), // counted as leaked
///         }
///     }
/// }
///
/// let drawer = Drawer::default();
/// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// # let mut memory = model.take_memory();
/// # let found = Discovered::probe(Host::new(&model, &model).with_quarantine(&drawer), SessionOptions::default()).map_err(|failed| failed.error)?;
/// # found.start_activation()?;
/// # let rmm = found.into_active();
/// let memory = rmm.delegate(memory.take_front(0x1000).expect("1 GiB")).map_err(|failed| failed.error)?;
/// rmm.quarantine(memory, QuarantineReason::PoolFull);
/// assert_eq!(drawer.0.lock().unwrap().len(), 1);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub trait Quarantine {
    /// Takes memory in.
    ///
    /// # Errors
    ///
    /// Gives it back when there is no room; the SDK then counts it as leaked.
    fn put(&self, quarantined: Quarantined) -> Result<(), Quarantined>;
}

impl<Q: Quarantine + ?Sized> Quarantine for &Q {
    fn put(&self, quarantined: Quarantined) -> Result<(), Quarantined> {
        (**self).put(quarantined)
    }
}

/// No room for anything: what cannot be returned is leaked, and counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoQuarantine;

impl Quarantine for NoQuarantine {
    fn put(&self, quarantined: Quarantined) -> Result<(), Quarantined> {
        Err(quarantined)
    }
}

const EMPTY: u8 = 0;
const CLAIMED: u8 = 1;
const FULL: u8 = 2;

/// One place on a shelf. The flag says who may touch the rest: nobody else while it is `CLAIMED`.
#[derive(Debug)]
struct Place {
    flag: AtomicU8,
    base: AtomicU64,
    top: AtomicU64,
    reason: AtomicU64,
}

/// A quarantine of `N` ranges without heap or locks.
///
/// A full shelf takes nothing more in except neighbours of what it has for the same reason, and the books say what that cost:
///
/// ```
/// # use rmi_abi::Dialect;
/// # use rmi_host::{CountingLedger, Discovered, Host, QuarantineReason, QuarantineShelf, SessionOptions};
/// # use rmm_model::{Model, Options};
/// let (shelf, ledger) = (QuarantineShelf::<1>::new(), CountingLedger::new());
/// # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// # let mut memory = model.take_memory();
/// # let found = Discovered::probe(Host::new(&model, &model).with_quarantine(&shelf).with_ledger(&ledger), SessionOptions::default()).map_err(|failed| failed.error)?;
/// # found.start_activation()?;
/// # let rmm = found.into_active();
/// let mut take = || memory.take_front(0x1000).expect("1 GiB");
/// let [first, second, _, third] = [take(), take(), take(), take()];
/// for memory in [first, second, third] {
///     let memory = rmm.delegate(memory).map_err(|failed| failed.error)?;
///     rmm.quarantine(memory, QuarantineReason::PoolFull);
/// }
/// assert_eq!((shelf.len(), ledger.balance().quarantined, ledger.balance().leaked), (1, 2, 1));
/// shelf.for_each(|range, reason| println!("{range}: {reason}"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct QuarantineShelf<const N: usize> {
    places: [Place; N],
}

impl<const N: usize> QuarantineShelf<N> {
    /// An empty shelf.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            places: [const {
                Place {
                    flag: AtomicU8::new(EMPTY),
                    base: AtomicU64::new(0),
                    top: AtomicU64::new(0),
                    reason: AtomicU64::new(0),
                }
            }; N],
        }
    }

    /// Number of ranges on the shelf.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.iter().filter(|place| place.flag.load(Ordering::Relaxed) == FULL).count()
    }

    /// Whether nothing is in quarantine.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Calls `visit` for each range with its reason.
    pub fn for_each(&self, mut visit: impl FnMut(PaRange, QuarantineReason)) {
        for place in &self.places {
            if place.claim(FULL) {
                let seen = place.read();
                place.flag.store(FULL, Ordering::Release);
                if let Some((_, range, reason)) = seen {
                    visit(range, reason);
                }
            }
        }
    }

    /// Tries to undelegate everything once more, each range from both of its ends. What the RMM returns goes to `home`, the rest stays: between two granules that it does not return, all.
    ///
    /// Returns how many ranges are still in quarantine.
    pub fn retry<P: Platform>(&self, rmm: &Rmm<P>, mut home: impl FnMut(Undelegated)) -> usize {
        for place in &self.places {
            // Memory of another machine waits for a session there.
            if let Some(Quarantined { memory, reason }) = place.take(Some(rmm.machine())) {
                rmm.platform().ledger().record(LedgerEvent::Retried, memory.range());
                let kept = match rmm.undelegate(memory) {
                    Ok(host) => {
                        home(host);
                        continue;
                    }
                    Err(UndelegateFailed { host, kept, .. }) => {
                        if !host.is_empty() {
                            home(host);
                        }
                        shrink(rmm, kept, reason, &mut home)
                    }
                };
                // It is still one range, so its place is enough for what is left.
                rmm.quarantine(kept, reason);
            }
        }
        self.len()
    }
}

/// Takes back what the RMM returns from the back of a range.
fn shrink<P: Platform>(
    rmm: &Rmm<P>,
    mut kept: Delegated,
    reason: QuarantineReason,
    home: &mut dyn FnMut(Undelegated),
) -> Delegated {
    while let Some(last) = kept.take_back(rmm.granule_size().bytes()) {
        match rmm.undelegate(last) {
            Ok(host) => home(host),
            Err(UndelegateFailed { host, kept: last, .. }) => {
                if !host.is_empty() {
                    home(host);
                }
                if let Err(apart) = kept.append(last) {
                    rmm.quarantine(apart, reason);
                }
                break;
            }
        }
    }
    kept
}

impl<const N: usize> Default for QuarantineShelf<N> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const N: usize> Drop for QuarantineShelf<N> {
    /// Counts what is lost with the shelf, as dropped tokens count.
    fn drop(&mut self) {
        for place in &self.places {
            drop(place.take(None));
        }
    }
}

impl Place {
    fn claim(&self, from: u8) -> bool {
        self.flag.compare_exchange(from, CLAIMED, Ordering::Acquire, Ordering::Relaxed).is_ok()
    }

    /// Reads a claimed place.
    fn read(&self) -> Option<(Machine, PaRange, QuarantineReason)> {
        let base = Pa::new(self.base.load(Ordering::Relaxed));
        let top = Pa::new(self.top.load(Ordering::Relaxed));
        let (machine, reason) = decode(self.reason.load(Ordering::Relaxed));
        Some((machine, PaRange::new(base, top).ok()?, reason))
    }

    /// Takes out what is here, if it is of that machine; of any for `None`.
    fn take(&self, of: Option<Machine>) -> Option<Quarantined> {
        if !self.claim(FULL) {
            return None;
        }
        let seen = self.read();
        if let (Some(of), Some((machine, ..))) = (of, &seen)
            && of != *machine
        {
            self.flag.store(FULL, Ordering::Release);
            return None;
        }
        self.flag.store(EMPTY, Ordering::Release);
        seen.map(|(machine, range, reason)| Quarantined {
            memory: Delegated::from_shelf(machine, range),
            reason,
        })
    }
}

impl<const N: usize> Quarantine for QuarantineShelf<N> {
    fn put(&self, quarantined: Quarantined) -> Result<(), Quarantined> {
        let Quarantined { mut memory, reason } = quarantined;
        // Neighbours that are here for the same reason share a place: what is refused granule by granule would fill the shelf with crumbs.
        for place in &self.places {
            if place.claim(FULL) {
                let (machine, range) = (memory.machine(), memory.range());
                let joined = place
                    .read()
                    .filter(|(other, _, why)| (*other, *why) == (machine, reason))
                    .and_then(|(_, other, _)| join(other, range));
                if let Some(joined) = joined {
                    let _ = core::mem::take(&mut memory).into_shelf();
                    place.base.store(joined.base().raw(), Ordering::Relaxed);
                    place.top.store(joined.top().raw(), Ordering::Relaxed);
                }
                place.flag.store(FULL, Ordering::Release);
                if joined.is_some() {
                    return Ok(());
                }
            }
        }
        for place in &self.places {
            if place.claim(EMPTY) {
                let (machine, range) = memory.into_shelf();
                place.base.store(range.base().raw(), Ordering::Relaxed);
                place.top.store(range.top().raw(), Ordering::Relaxed);
                place.reason.store(encode(machine, reason), Ordering::Relaxed);
                place.flag.store(FULL, Ordering::Release);
                return Ok(());
            }
        }
        Err(Quarantined { memory, reason })
    }
}

/// Two ranges as one, if they touch.
fn join(one: PaRange, two: PaRange) -> Option<PaRange> {
    if one.top() == two.base() {
        PaRange::new(one.base(), two.top()).ok()
    } else if two.top() == one.base() {
        PaRange::new(two.base(), one.top()).ok()
    } else {
        None
    }
}

/// A machine and a reason as one word, so that a place can be filled without a lock: the kind of reason in bits 7:0, its detail in bits 15:8, the machine in bits 63:32.
fn encode(machine: Machine, reason: QuarantineReason) -> u64 {
    let (kind, detail) = match reason {
        QuarantineReason::UndelegateRefused { status } => (0, u8::from(status)),
        QuarantineReason::Unclear { command } => (1, command as u8),
        QuarantineReason::NotReclaimed { command } => (2, command as u8),
        QuarantineReason::ObjectAlive { command } => (3, command as u8),
        QuarantineReason::PoolFull => (4, 0),
    };
    let [m0, m1, m2, m3] = machine.code().to_le_bytes();
    u64::from_le_bytes([kind, detail, 0, 0, m0, m1, m2, m3])
}

fn decode(word: u64) -> (Machine, QuarantineReason) {
    let [kind, detail, _, _, machine @ ..] = word.to_le_bytes();
    let machine = Machine::from_code(u32::from_le_bytes(machine));
    let command =
        Command::ALL.get(usize::from(detail)).copied().unwrap_or(Command::GranuleRangeUndelegate);
    let reason = match kind {
        0 => QuarantineReason::UndelegateRefused { status: Status::from(detail) },
        1 => QuarantineReason::Unclear { command },
        2 => QuarantineReason::NotReclaimed { command },
        3 => QuarantineReason::ObjectAlive { command },
        _ => QuarantineReason::PoolFull,
    };
    (machine, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Machine = Machine::from_code((1 << Machine::BITS) - 1);

    #[test]
    fn every_reason_survives_the_shelf() {
        for command in Command::ALL.iter().copied() {
            for reason in [
                QuarantineReason::Unclear { command },
                QuarantineReason::NotReclaimed { command },
                QuarantineReason::ObjectAlive { command },
            ] {
                assert_eq!(decode(encode(MACHINE, reason)), (MACHINE, reason));
            }
        }
        assert_eq!(
            decode(encode(MACHINE, QuarantineReason::PoolFull)),
            (MACHINE, QuarantineReason::PoolFull)
        );
        for status in 0..=u8::MAX {
            let reason = QuarantineReason::UndelegateRefused { status: Status::from(status) };
            assert_eq!(decode(encode(MACHINE, reason)), (MACHINE, reason));
        }
    }

    #[test]
    fn a_full_shelf_gives_the_memory_back() {
        let shelf = QuarantineShelf::<1>::new();
        let entry = |base| Quarantined {
            memory: Delegated::from_shelf(
                MACHINE,
                PaRange::with_size(Pa::new(base), 0x1000).unwrap(),
            ),
            reason: QuarantineReason::UndelegateRefused { status: Status::ErrorInput },
        };
        shelf.put(entry(0x1000)).unwrap();
        let back = shelf.put(entry(0x4000)).unwrap_err();
        assert_eq!(back.memory.base(), Pa::new(0x4000));
        let mut other = entry(0x2000);
        other.reason = QuarantineReason::PoolFull;
        let _ = shelf.put(other).unwrap_err().memory.into_shelf();
        let _ = back.memory.into_shelf();
        // Neighbours with the same reason share a place, but not those of another machine.
        let range = PaRange::with_size(Pa::new(0x2000), 0x1000).unwrap();
        let reason = QuarantineReason::UndelegateRefused { status: Status::ErrorInput };
        let foreign = Quarantined { memory: Delegated::from_shelf(Machine::REAL, range), reason };
        let foreign = shelf.put(foreign).unwrap_err().memory;
        assert_eq!(foreign.into_shelf(), (Machine::REAL, range));
        shelf.put(entry(0x2000)).unwrap();
        shelf.put(entry(0)).unwrap();
        assert_eq!(shelf.len(), 1);
        let mut seen = 0;
        shelf.for_each(|range, _| {
            assert_eq!(range, PaRange::with_size(Pa::new(0), 0x3000).unwrap());
            seen += 1;
        });
        assert_eq!((seen, shelf.len()), (1, 1));
    }
}
