//! What a REC did, by numbers.

use core::sync::atomic::{AtomicU64, Ordering};

use crate::exit::Exit;

/// A kind of exit, without what the Realm chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
#[expect(missing_docs, reason = "the variants of `Exit`")]
pub enum ExitKind {
    MmioLoad,
    MmioStore,
    Fault,
    SharedFault,
    MemoryError,
    Abort,
    SysRegRead,
    SysRegWrite,
    Wait,
    Irq,
    Fiq,
    PsciRequest,
    PsciNotice,
    RipasChange,
    HostCall,
    SError,
    S2apChange,
    VdevRequest,
    VdevMapping,
    P2pBinding,
    VsmmuCommand,
    UnknownSync,
    Unknown,
}

impl ExitKind {
    /// All kinds.
    pub const ALL: [Self; 23] = [
        Self::MmioLoad,
        Self::MmioStore,
        Self::Fault,
        Self::SharedFault,
        Self::MemoryError,
        Self::Abort,
        Self::SysRegRead,
        Self::SysRegWrite,
        Self::Wait,
        Self::Irq,
        Self::Fiq,
        Self::PsciRequest,
        Self::PsciNotice,
        Self::RipasChange,
        Self::HostCall,
        Self::SError,
        Self::S2apChange,
        Self::VdevRequest,
        Self::VdevMapping,
        Self::P2pBinding,
        Self::VsmmuCommand,
        Self::UnknownSync,
        Self::Unknown,
    ];

    /// The kind of an exit.
    #[must_use]
    pub const fn of(exit: &Exit) -> Self {
        match exit {
            Exit::MmioLoad(_) => Self::MmioLoad,
            Exit::MmioStore(_) => Self::MmioStore,
            Exit::Fault(_) => Self::Fault,
            Exit::SharedFault(_) => Self::SharedFault,
            Exit::MemoryError(_) => Self::MemoryError,
            Exit::Abort(_) => Self::Abort,
            Exit::SysRegRead(_) => Self::SysRegRead,
            Exit::SysRegWrite(_) => Self::SysRegWrite,
            Exit::Wait(_) => Self::Wait,
            Exit::Irq => Self::Irq,
            Exit::Fiq => Self::Fiq,
            Exit::PsciRequest(_) => Self::PsciRequest,
            Exit::PsciNotice(_) => Self::PsciNotice,
            Exit::RipasChange(_) => Self::RipasChange,
            Exit::HostCall(_) => Self::HostCall,
            Exit::SError { .. } => Self::SError,
            Exit::S2apChange(_) => Self::S2apChange,
            Exit::VdevRequest(_) => Self::VdevRequest,
            Exit::VdevMapping(_) => Self::VdevMapping,
            Exit::P2pBinding(_) => Self::P2pBinding,
            Exit::VsmmuCommand(_) => Self::VsmmuCommand,
            Exit::UnknownSync { .. } => Self::UnknownSync,
            Exit::Unknown { .. } => Self::Unknown,
        }
    }
}

/// What a REC did since it was added to its set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Statistics {
    /// Exits by kind.
    exits: [u64; ExitKind::ALL.len()],
    /// Entries that were refused, by the RMM or before the call.
    pub refused: u64,
    /// Time in `RMI_REC_ENTER`, in the units of the set's clock; 0 without one.
    pub time_inside: u64,
    /// Time between the end of one entry and the beginning of the next, also while the run loop had
    /// ended.
    pub time_outside: u64,
    /// The same by the kind of exit that ended the first of the two.
    outside: [u64; ExitKind::ALL.len()],
}

impl Statistics {
    /// Exits of this kind.
    #[must_use]
    pub fn exits(&self, kind: ExitKind) -> u64 {
        self.exits.get(kind as usize).copied().unwrap_or(0)
    }

    /// The part of [`Statistics::time_outside`] that followed exits of this kind: what handling
    /// them took, and waiting after them.
    #[must_use]
    pub fn time_after(&self, kind: ExitKind) -> u64 {
        self.outside.get(kind as usize).copied().unwrap_or(0)
    }

    /// All exits.
    #[must_use]
    pub fn all_exits(&self) -> u64 {
        self.exits.iter().fold(0, |sum, exits| sum.wrapping_add(*exits))
    }
}

/// Counters with one writer: the thread that runs the REC.
#[derive(Debug)]
pub(crate) struct Counters {
    exits: [AtomicU64; ExitKind::ALL.len()],
    pub(crate) refused: Counter,
    pub(crate) inside: Counter,
    outside: [AtomicU64; ExitKind::ALL.len()],
}

/// A number that one thread adds to. That takes no atomic operation beyond a load and a store.
#[derive(Debug)]
pub(crate) struct Counter(AtomicU64);

impl Counter {
    const fn new() -> Self {
        Self(AtomicU64::new(0))
    }

    pub(crate) fn add(&self, more: u64) {
        add(&self.0, more);
    }
}

fn add(to: &AtomicU64, more: u64) {
    to.store(to.load(Ordering::Relaxed).wrapping_add(more), Ordering::Relaxed);
}

impl Counters {
    pub(crate) const fn new() -> Self {
        Self {
            exits: [const { AtomicU64::new(0) }; ExitKind::ALL.len()],
            refused: Counter::new(),
            inside: Counter::new(),
            outside: [const { AtomicU64::new(0) }; ExitKind::ALL.len()],
        }
    }

    pub(crate) fn count(&self, kind: ExitKind) {
        if let Some(exits) = self.exits.get(kind as usize) {
            add(exits, 1);
        }
    }

    /// Counts time after an exit of this kind.
    pub(crate) fn count_outside(&self, kind: ExitKind, time: u64) {
        if let Some(outside) = self.outside.get(kind as usize) {
            add(outside, time);
        }
    }

    pub(crate) fn read(&self) -> Statistics {
        let read = |from: &AtomicU64| from.load(Ordering::Relaxed);
        let outside = self.outside.each_ref().map(read);
        Statistics {
            exits: self.exits.each_ref().map(read),
            refused: read(&self.refused.0),
            time_inside: read(&self.inside.0),
            time_outside: outside.iter().fold(0, |sum, time| sum.wrapping_add(*time)),
            outside,
        }
    }
}
