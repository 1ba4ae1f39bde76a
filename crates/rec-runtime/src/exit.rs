//! The reasons why a REC exited, and the answers to them.
//!
//! An [`Exit`] is owned and total: every reason that an RMM may report has a variant, and what this
//! crate does not know is passed on raw. An exit that needs an answer is a value from which only
//! valid answers can be made, each consuming it. A store, for instance, cannot be answered with a
//! value:
//!
//! ```compile_fail,E0061
//! # use rec_runtime::exit::MmioStore;
//! # fn emulate(store: MmioStore) -> rec_runtime::Answer {
//! store.complete(42) // error: a store takes no value
//! # }
//! ```

mod abort;
mod decode;
mod device;
mod host_call;
mod memory_error;
mod psci;
mod ripas;
mod s2ap;
mod sysreg;
mod wait;

use rmi_abi::Ipa;
use rmi_abi::esr::Esr;

pub use abort::{Abort, Fault, MmioLoad, MmioStore, SharedFault};
pub(crate) use decode::decode;
pub use device::DeviceRequest;
pub use host_call::HostCall;
pub use memory_error::MemoryError;
pub use psci::{PsciCall, PsciNotice, PsciRequest, PsciRequestKind};
pub use ripas::RipasChange;
pub use s2ap::S2apChange;
pub use sysreg::{SysRegRead, SysRegWrite};
pub use wait::Wait;

use crate::answer::Ticket;

/// The reason why a REC exited.
#[derive(Debug)]
#[must_use = "an exit may want an answer"]
#[non_exhaustive]
pub enum Exit {
    /// The Realm reads a device at an unprotected IPA. Needs an answer.
    MmioLoad(MmioLoad),
    /// The Realm writes a device at an unprotected IPA. Needs an answer.
    MmioStore(MmioStore),
    /// The Realm accessed private memory that it has but that is not mapped. Map it, then let the
    /// Realm retry.
    Fault(Fault),
    /// The Realm accessed an unprotected IPA in a way that cannot be emulated. Needs an answer.
    SharedFault(SharedFault),
    /// Memory reported an error to the Realm. No mapping is missing; the severity determines what
    /// to do.
    MemoryError(MemoryError),
    /// Another abort, which neither a mapping nor an answer can resolve.
    Abort(Abort),
    /// The Realm reads a trapped system register. Needs an answer.
    SysRegRead(SysRegRead),
    /// The Realm wrote a trapped system register.
    SysRegWrite(SysRegWrite),
    /// The Realm waits for an interrupt or event.
    Wait(Wait),
    /// A physical interrupt for the host; or one of the Realm's timers changed its output.
    Irq,
    /// A fast physical interrupt for the host.
    Fiq,
    /// The Realm made a PSCI call about another REC. Needs an answer.
    PsciRequest(PsciRequest),
    /// The Realm made a PSCI call that the host should know about.
    PsciNotice(PsciNotice),
    /// The Realm asks to change the RIPAS of a range of its memory. Needs an answer.
    RipasChange(RipasChange),
    /// The Realm calls the host. Needs an answer.
    HostCall(HostCall),
    /// An SError while the Realm ran: memory or a device reported an error that is not attributed
    /// to an instruction. The RMM waits for nothing.
    ///
    /// Depending on the severity ([`Esr::serror`]), TF-RMM (July 2026) injects it into the Realm if
    /// it is unrecoverable or recoverable (1, 3), does nothing if it is restartable or corrected
    /// (2, 6), and does not return from any other. The host enters the REC again or stops the
    /// Realm; the platform (RAS) reports to it what is in error.
    #[non_exhaustive]
    SError {
        /// The syndrome.
        esr: Esr,
    },
    /// The Realm asks to change stage 2 permissions of its planes. Needs an answer.
    S2apChange(S2apChange),
    /// The Realm makes a request about a device. Needs an answer.
    DeviceRequest(DeviceRequest),
    /// A synchronous exception of a class that this version does not decode.
    #[non_exhaustive]
    UnknownSync {
        /// The syndrome.
        esr: Esr,
        /// The page of the fault, if it is a fault.
        page: Ipa,
    },
    /// A reason that the dialect does not define.
    #[non_exhaustive]
    Unknown {
        /// Its code.
        reason: u8,
    },
}

impl Exit {
    /// Whether the REC waits for an answer, that is, whether the exit is a value from which answers
    /// are made.
    #[must_use]
    pub const fn wants_answer(&self) -> bool {
        self.ticket().is_some()
    }

    /// The ticket for the answer. No wildcard, so that no variant is forgotten.
    const fn ticket(&self) -> Option<Ticket> {
        match self {
            Self::MmioLoad(exit) => Some(exit.ticket),
            Self::MmioStore(exit) => Some(exit.ticket),
            Self::Fault(exit) => Some(exit.ticket),
            Self::SharedFault(exit) => Some(exit.ticket),
            Self::SysRegRead(exit) => Some(exit.ticket),
            Self::PsciRequest(exit) => Some(exit.ticket),
            Self::RipasChange(exit) => Some(exit.ticket),
            Self::HostCall(exit) => Some(exit.ticket),
            Self::S2apChange(exit) => Some(exit.ticket),
            Self::DeviceRequest(exit) => Some(exit.ticket),
            Self::MemoryError(_)
            | Self::Abort(_)
            | Self::SysRegWrite(_)
            | Self::Wait(_)
            | Self::Irq
            | Self::Fiq
            | Self::PsciNotice(_)
            | Self::SError { .. }
            | Self::UnknownSync { .. }
            | Self::Unknown { .. } => None,
        }
    }
}
