//! Data and instruction aborts.

use core::fmt;

use rmi_abi::Ipa;
use rmi_abi::esr::{Esr, FaultStatus};
use rmi_abi::rtt::Level;
use rmi_abi::run::RecEnterFlags;

use crate::answer::{Answer, AnswerValue, Ticket};

/// A load from an unprotected IPA that the host emulates.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "complete, abort or retry the load; the REC cannot be entered before"]
pub struct MmioLoad {
    pub(crate) ticket: Ticket,
    pub(crate) ipa: Ipa,
    pub(crate) esr: Esr,
    pub(crate) bytes: u8,
}

impl MmioLoad {
    /// Address of the access.
    #[must_use]
    pub const fn ipa(&self) -> Ipa {
        self.ipa
    }

    /// Size of the access in bytes: 1, 2, 4 or 8.
    #[must_use]
    pub const fn bytes(&self) -> u8 {
        self.bytes
    }

    /// Why stage 2 refused the access: a translation fault where nothing is mapped, a permission
    /// fault where host memory is mapped that does not permit it.
    #[must_use]
    pub const fn status(&self) -> FaultStatus {
        self.esr.fault()
    }

    /// The load returns this value. Only its low bytes count; the RMM extends the sign where the
    /// instruction requires it, and continues after the instruction.
    pub const fn complete(self, value: u64) -> Answer {
        Answer::with_value(self.ticket, RecEnterFlags::EMUL_MMIO, value)
    }

    /// The load takes a synchronous external abort.
    pub const fn abort(self) -> Answer {
        Answer::with_flags(self.ticket, RecEnterFlags::INJECT_SEA)
    }

    /// The instruction is executed again: memory is mapped there now.
    pub const fn retry(self) -> Answer {
        Answer::plain(self.ticket)
    }
}

/// A store to an unprotected IPA that the host emulates.
#[derive(PartialEq, Eq)]
#[must_use = "complete, abort or retry the store; the REC cannot be entered before"]
pub struct MmioStore {
    pub(crate) ticket: Ticket,
    pub(crate) ipa: Ipa,
    pub(crate) esr: Esr,
    pub(crate) bytes: u8,
    pub(crate) value: u64,
}

impl MmioStore {
    /// Address of the access.
    #[must_use]
    pub const fn ipa(&self) -> Ipa {
        self.ipa
    }

    /// Size of the access in bytes: 1, 2, 4 or 8.
    #[must_use]
    pub const fn bytes(&self) -> u8 {
        self.bytes
    }

    /// The value that is stored; bytes beyond the size are zero.
    #[must_use]
    pub const fn value(&self) -> u64 {
        self.value
    }

    /// Why stage 2 refused the access: a translation fault where nothing is mapped, a permission
    /// fault where host memory is mapped that does not permit it.
    #[must_use]
    pub const fn status(&self) -> FaultStatus {
        self.esr.fault()
    }

    /// The store is done; the RMM continues after the instruction.
    pub const fn complete(self) -> Answer {
        Answer::with_flags(self.ticket, RecEnterFlags::EMUL_MMIO)
    }

    /// The store takes a synchronous external abort.
    pub const fn abort(self) -> Answer {
        Answer::with_flags(self.ticket, RecEnterFlags::INJECT_SEA)
    }

    /// The instruction is executed again: memory is mapped there now.
    pub const fn retry(self) -> Answer {
        Answer::plain(self.ticket)
    }
}

impl fmt::Debug for MmioStore {
    /// Omits what the Realm stores.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MmioStore")
            .field("ticket", &self.ticket)
            .field("ipa", &self.ipa)
            .field("bytes", &self.bytes)
            .finish_non_exhaustive()
    }
}

/// An access to private memory that is not mapped: a translation fault at a protected IPA.
///
/// The exit does not report whether the memory is RAM (map it) or was destroyed (the Realm cannot
/// continue); the host knows what it took away, or reads the table entry.
///
/// The access may be the RMM's: it could not write the reply to a host call, and still waits for
/// it. [`Fault::retry`] gives the reply again.
#[derive(PartialEq, Eq)]
#[must_use = "map the memory and let the Realm retry; the REC cannot be entered before"]
pub struct Fault {
    pub(crate) ticket: Ticket,
    pub(crate) page: Ipa,
    pub(crate) esr: Esr,
    pub(crate) level: Level,
    pub(crate) is_fetch: bool,
    pub(crate) rtt_tree: u64,
    /// What the REC was entered with, if the RMM may still wait for it.
    pub(crate) again: AnswerValue,
}

impl Fault {
    /// The page of the access; the offset is not known.
    #[must_use]
    pub const fn page(&self) -> Ipa {
        self.page
    }

    /// Whether it was an instruction fetch.
    #[must_use]
    pub const fn is_fetch(&self) -> bool {
        self.is_fetch
    }

    /// The syndrome.
    #[must_use]
    pub const fn esr(&self) -> Esr {
        self.esr
    }

    /// The level of the invalid table entry.
    #[must_use]
    pub const fn level(&self) -> Level {
        self.level
    }

    /// The translation tree that lacks the mapping; 0 is the primary one.
    #[must_use]
    pub const fn rtt_tree(&self) -> u64 {
        self.rtt_tree
    }

    /// The instruction is executed again; or the reply to a host call is written again.
    pub const fn retry(self) -> Answer {
        Answer::again(self.ticket, self.again)
    }
}

impl fmt::Debug for Fault {
    /// Omits what is returned to the Realm.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fault")
            .field("ticket", &self.ticket)
            .field("page", &self.page)
            .field("esr", &self.esr)
            .field("level", &self.level)
            .field("is_fetch", &self.is_fetch)
            .field("rtt_tree", &self.rtt_tree)
            .finish_non_exhaustive()
    }
}

/// A load or store at an unprotected IPA that cannot be emulated: the RMM does not describe the
/// instruction, or stage 2 refused it for a reason other than a missing mapping.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "abort or retry the access; the REC cannot be entered before"]
pub struct SharedFault {
    pub(crate) ticket: Ticket,
    pub(crate) page: Ipa,
    pub(crate) esr: Esr,
}

impl SharedFault {
    /// The page of the access; the offset is not known.
    #[must_use]
    pub const fn page(&self) -> Ipa {
        self.page
    }

    /// Why stage 2 refused the access. Only a [translation fault](FaultStatus::is_translation) is
    /// resolved by mapping memory.
    #[must_use]
    pub const fn status(&self) -> FaultStatus {
        self.esr.fault()
    }

    /// The syndrome.
    #[must_use]
    pub const fn esr(&self) -> Esr {
        self.esr
    }

    /// The access takes a synchronous external abort.
    pub const fn abort(self) -> Answer {
        Answer::with_flags(self.ticket, RecEnterFlags::INJECT_SEA)
    }

    /// The instruction is executed again: memory is mapped there now.
    pub const fn retry(self) -> Answer {
        Answer::plain(self.ticket)
    }
}

/// An abort that no mapping resolves and that the host cannot answer: a permission or access flag
/// fault, an address size fault, a TLB conflict or a code that this crate does not know, at a
/// protected IPA; or an instruction fetch at an unprotected one.
///
/// No RMM should report one. The RMM waits for nothing: entered again, the REC executes the
/// instruction again and exits with the same abort, so a host stops the Realm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abort {
    pub(crate) page: Ipa,
    pub(crate) esr: Esr,
    pub(crate) is_fetch: bool,
}

impl Abort {
    /// Why the abort was taken.
    #[must_use]
    pub const fn status(&self) -> FaultStatus {
        self.esr.fault()
    }

    /// The page of the access, if this kind of fault [has an address](FaultStatus::has_ipa).
    #[must_use]
    pub const fn page(&self) -> Option<Ipa> {
        if self.status().has_ipa() { Some(self.page) } else { None }
    }

    /// Whether it was an instruction fetch.
    #[must_use]
    pub const fn is_fetch(&self) -> bool {
        self.is_fetch
    }

    /// The syndrome.
    #[must_use]
    pub const fn esr(&self) -> Esr {
        self.esr
    }
}
