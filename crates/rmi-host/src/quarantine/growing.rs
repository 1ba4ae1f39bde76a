//! A quarantine on the heap.

use alloc::vec::Vec;

use rmi_abi::PaRange;
use spin::Mutex;

use super::{Quarantine, Quarantined};
use crate::ledger::QuarantineReason;

/// A quarantine of any number of ranges, on the heap: 24 bytes for each, and never on a stack. It
/// may be a static.
///
/// When the heap is exhausted it does not accept memory, as a full
/// [`FixedQuarantine`](super::FixedQuarantine) does. A spin lock protects it, held for a few
/// instructions and one allocation; contexts that must not wait for an allocator use a quarantine
/// of a fixed size.
///
/// ```
/// use rmi_abi::{Command, Dialect};
/// use rmi_host::{GrowingQuarantine, QuarantineReason};
/// use rmm_model::{Model, Options};
///
/// let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
/// static QUARANTINE: GrowingQuarantine = GrowingQuarantine::new();
/// let platform = model.host().with_quarantine(&QUARANTINE);
/// let mut memory = model.take_memory();
/// let rmm = rmm_model::open(platform, &mut memory)?;
///
/// let memory = memory.take_front(0x4000).unwrap();
/// let memory = rmm.delegate(memory)?;
/// rmm.quarantine(memory, QuarantineReason::Unclear { command: Command::RttDestroy });
/// assert_eq!((QUARANTINE.len(), QUARANTINE.bytes()), (1, 0x4000));
///
/// let mut returned = Vec::new();
/// assert_eq!(QUARANTINE.retry(&rmm, |memory| returned.push(memory)), 0);
/// assert_eq!(returned.iter().map(|memory| memory.bytes()).sum::<u64>(), 0x4000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Default)]
pub struct GrowingQuarantine {
    ranges: Mutex<Vec<Quarantined>>,
}

// The size that the documentation states.
const _: () = assert!(size_of::<Quarantined>() == 24);

impl GrowingQuarantine {
    /// An empty quarantine.
    #[must_use]
    pub const fn new() -> Self {
        Self { ranges: Mutex::new(Vec::new()) }
    }

    /// Number of ranges in quarantine.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ranges.lock().len()
    }

    /// Whether nothing is in quarantine.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory in quarantine, in bytes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.ranges.lock().iter().map(|quarantined| quarantined.memory.bytes()).sum()
    }

    /// Calls `visit` for each range with its reason. Nothing is locked meanwhile, so what others
    /// add or take may be missed.
    pub fn for_each(&self, mut visit: impl FnMut(PaRange, QuarantineReason)) {
        let at = |index: usize| {
            let ranges = self.ranges.lock();
            ranges.get(index).map(|found| (found.memory.range(), found.reason))
        };
        for (range, reason) in (0..).map_while(at) {
            visit(range, reason);
        }
    }

    /// Takes out all ranges, the first one first.
    pub(crate) fn take_all(&self) -> Waiting<'_> {
        let mut left = core::mem::take(&mut *self.ranges.lock());
        left.reverse();
        Waiting { quarantine: self, left }
    }
}

/// What is still to be tried, the first at the end. It is put back when code of the embedder
/// panics.
pub(crate) struct Waiting<'q> {
    quarantine: &'q GrowingQuarantine,
    left: Vec<Quarantined>,
}

impl Waiting<'_> {
    /// The next one, which stays where it is.
    pub(crate) fn peek(&self) -> Option<&Quarantined> {
        self.left.last()
    }
}

impl Iterator for Waiting<'_> {
    type Item = Quarantined;

    fn next(&mut self) -> Option<Quarantined> {
        self.left.pop()
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        while let Some(quarantined) = self.left.pop() {
            // If it does not fit, it is leaked, and counted.
            drop(self.quarantine.put(quarantined));
        }
    }
}

impl Quarantine for GrowingQuarantine {
    fn put(&self, quarantined: Quarantined) -> Result<(), Quarantined> {
        let mut ranges = self.ranges.lock();
        if ranges.try_reserve(1).is_err() {
            return Err(quarantined);
        }
        ranges.push(quarantined);
        Ok(())
    }
}
