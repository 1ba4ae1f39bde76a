//! Data and instruction aborts.

use rmi_abi::Ipa;
use rmi_abi::esr::Esr;
use rmi_abi::run::RecEnterFlags;

use crate::answer::{Answer, Ticket};

/// A load from an unprotected IPA that the host emulates.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "complete, abort or retry the load; the REC cannot be entered before"]
pub struct MmioLoad {
    pub(crate) ticket: Ticket,
    pub(crate) ipa: Ipa,
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

    /// The load gives this value. Only its low bytes count; the RMM extends the sign where the instruction wants it, and goes on behind the instruction.
    pub const fn complete(self, value: u64) -> Answer {
        Answer::with_value(self.ticket, RecEnterFlags::EMUL_MMIO, value)
    }

    /// The load takes a synchronous external abort.
    pub const fn abort(self) -> Answer {
        Answer::with_flags(self.ticket, RecEnterFlags::INJECT_SEA)
    }

    /// The instruction is executed again: something is mapped there now.
    pub const fn retry(self) -> Answer {
        Answer::plain(self.ticket)
    }
}

/// A store to an unprotected IPA that the host emulates.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "complete, abort or retry the store; the REC cannot be entered before"]
pub struct MmioStore {
    pub(crate) ticket: Ticket,
    pub(crate) ipa: Ipa,
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

    /// What is stored; bytes beyond the size are zero.
    #[must_use]
    pub const fn value(&self) -> u64 {
        self.value
    }

    /// The store is done; the RMM goes on behind the instruction.
    pub const fn complete(self) -> Answer {
        Answer::with_flags(self.ticket, RecEnterFlags::EMUL_MMIO)
    }

    /// The store takes a synchronous external abort.
    pub const fn abort(self) -> Answer {
        Answer::with_flags(self.ticket, RecEnterFlags::INJECT_SEA)
    }

    /// The instruction is executed again: something is mapped there now.
    pub const fn retry(self) -> Answer {
        Answer::plain(self.ticket)
    }
}

/// An access to private memory that is not mapped. The exit does not tell whether the memory is RAM (map it) or was destroyed (the Realm cannot go on);
/// the host knows what it took away, or reads the table entry.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "map the memory and let the Realm retry; the REC cannot be entered before"]
pub struct Fault {
    pub(crate) ticket: Ticket,
    pub(crate) page: Ipa,
    pub(crate) esr: Esr,
    pub(crate) is_fetch: bool,
    pub(crate) rtt_tree: u64,
}

impl Fault {
    /// The page of the access; more is not known.
    #[must_use]
    pub const fn page(&self) -> Ipa {
        self.page
    }

    /// Whether an instruction was fetched.
    #[must_use]
    pub const fn is_fetch(&self) -> bool {
        self.is_fetch
    }

    /// The syndrome.
    #[must_use]
    pub const fn esr(&self) -> Esr {
        self.esr
    }

    /// The translation tree that lacks the mapping; 0 is the primary one.
    #[must_use]
    pub const fn rtt_tree(&self) -> u64 {
        self.rtt_tree
    }

    /// The instruction is executed again.
    pub const fn retry(self) -> Answer {
        Answer::plain(self.ticket)
    }
}

/// An access to an unprotected IPA whose instruction the RMM does not describe.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "abort or retry the access; the REC cannot be entered before"]
pub struct SharedFault {
    pub(crate) ticket: Ticket,
    pub(crate) page: Ipa,
    pub(crate) esr: Esr,
}

impl SharedFault {
    /// The page of the access; more is not known.
    #[must_use]
    pub const fn page(&self) -> Ipa {
        self.page
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

    /// The instruction is executed again: something is mapped there now.
    pub const fn retry(self) -> Answer {
        Answer::plain(self.ticket)
    }
}
