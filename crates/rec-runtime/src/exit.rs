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
//!
//! # What does not compile
//!
//! Neither does any other pair of an exit and an answer that is not in the documentation of the
//! exit.
//!
//! A load takes a value:
//!
//! ```compile_fail,E0061
//! # use rec_runtime::exit::MmioLoad;
//! # fn answer(load: MmioLoad) -> rec_runtime::Answer {
//! load.complete() // error: a load takes a value
//! # }
//! ```
//!
//! Missing private memory is not an access that the host could abort or emulate:
//!
//! ```compile_fail,E0599
//! # use rec_runtime::exit::Fault;
//! # fn answer(fault: Fault) -> rec_runtime::Answer {
//! fault.abort() // error: no method `abort`
//! # }
//! ```
//!
//! What the RMM does not describe cannot be emulated:
//!
//! ```compile_fail,E0599
//! # use rec_runtime::exit::SharedFault;
//! # fn answer(fault: SharedFault) -> rec_runtime::Answer {
//! fault.complete(42) // error: no method `complete`
//! # }
//! ```
//!
//! No RMM injects an abort for a system register:
//!
//! ```compile_fail,E0599
//! # use rec_runtime::exit::SysRegRead;
//! # fn answer(read: SysRegRead) -> rec_runtime::Answer {
//! read.abort() // error: no method `abort`
//! # }
//! ```
//!
//! A host call returns something; there is no other refusal:
//!
//! ```compile_fail,E0599
//! # use rec_runtime::exit::HostCall;
//! # fn answer(call: HostCall) -> rec_runtime::Answer {
//! call.reject() // error: no method `reject`
//! # }
//! ```
//!
//! Only a change to RAM can be rejected, which is known at run time:
//!
//! ```compile_fail,E0308
//! # use rec_runtime::exit::RipasChange;
//! # fn answer(change: RipasChange) -> rec_runtime::Answer {
//! change.reject() // error: expected `Answer`, found `Result`
//! # }
//! ```
//!
//! A permission change is accepted or rejected:
//!
//! ```compile_fail,E0599
//! # use rec_runtime::exit::S2apChange;
//! # fn answer(change: S2apChange) -> rec_runtime::Answer {
//! change.retry() // error: no method `retry`
//! # }
//! ```
//!
//! A PSCI request is not rejected but denied, by a call to the RMM:
//!
//! ```compile_fail,E0599
//! # use rec_runtime::exit::PsciRequest;
//! # fn answer(request: PsciRequest) -> rec_runtime::Answer {
//! request.reject() // error: no method `reject`
//! # }
//! ```
//!
//! Memory of a device is validated by calls, and then accepted:
//!
//! ```compile_fail,E0599
//! # use rec_runtime::exit::VdevMapping;
//! # fn answer(mapping: VdevMapping) -> rec_runtime::Answer {
//! mapping.completed() // error: no method `completed`
//! # }
//! ```
//!
//! A device is named by a call to the RMM:
//!
//! ```compile_fail,E0061
//! # use rec_runtime::exit::VdevRequest;
//! # fn answer(request: VdevRequest) -> rec_runtime::Answer {
//! request.accept() // error: takes a session, a REC and a device
//! # }
//! ```
//!
//! Nothing but the host binds devices:
//!
//! ```compile_fail,E0599
//! # use rec_runtime::exit::P2pBinding;
//! # fn answer(binding: P2pBinding) -> rec_runtime::Answer {
//! binding.accept() // error: no method `accept`
//! # }
//! ```
//!
//! A command for a virtual SMMU cannot be refused:
//!
//! ```compile_fail,E0599
//! # use rec_runtime::exit::VsmmuCommand;
//! # fn answer(command: VsmmuCommand) -> rec_runtime::Answer {
//! command.reject() // error: no method `reject`
//! # }
//! ```
//!
//! Some exits need no answer, and so have none:
//!
//! ```compile_fail,E0599
//! # use rec_runtime::exit::Wait;
//! # fn answer(wait: Wait) -> rec_runtime::Answer {
//! wait.completed() // error: no method `completed`
//! # }
//! ```
//!
//! An exit is answered once, an answer is given once, and neither is made in another way:
//!
//! ```compile_fail,E0382
//! # use rec_runtime::{Answer, exit::MmioLoad};
//! # fn answers(load: MmioLoad) -> [Answer; 2] {
//! [load.complete(1), load.abort()] // error: use of moved value
//! # }
//! ```
//!
//! ```compile_fail,E0382
//! # use rec_runtime::{Answer, Rec};
//! # fn enter<P: rmi_host::Platform>(rmm: &rmi_host::Rmm<P>, rec: &Rec, answer: Answer) {
//! let _ = rec.enter(rmm, answer);
//! let _ = rec.enter(rmm, answer); // error: use of moved value
//! # }
//! ```
//!
//! ```compile_fail,E0451
//! # fn answer(from: rec_runtime::Answer) -> rec_runtime::Answer {
//! rec_runtime::Answer { exit: None, ..from } // error: the field is private
//! # }
//! ```
//!
//! What compiles and is wrong nevertheless is refused before any call, and the REC can still be
//! entered: an entry without the answer that is due, the answer to another exit or to that of
//! another REC, one that was given before ([`EnterError`](crate::EnterError)).
//!
//! # What is printed
//!
//! `Debug` of an exit, and of an answer, omits contents of the Realm's registers and memory: what
//! it stores, writes and passes to the host, and what it is given. Addresses, ranges, syndromes and
//! identifiers of devices and calls are printed.

mod abort;
mod decode;
mod host_call;
#[cfg(test)]
mod matrix;
mod memory_error;
mod psci;
mod ripas;
mod s2ap;
mod sysreg;
mod vdev;
mod vsmmu;
mod wait;

use rmi_abi::Ipa;
use rmi_abi::esr::Esr;

pub use abort::{Abort, Fault, MmioLoad, MmioStore, SharedFault};
pub(crate) use decode::decode;
pub use host_call::HostCall;
pub use memory_error::MemoryError;
pub use psci::{PsciCall, PsciNotice, PsciRequest, PsciRequestKind};
pub use ripas::RipasChange;
pub use s2ap::S2apChange;
pub use sysreg::{SysRegRead, SysRegWrite};
pub use vdev::{P2pBinding, VdevMapping, VdevRequest};
pub use vsmmu::VsmmuCommand;
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
    /// The RMM asks which virtual device has an identifier. Needs an answer.
    VdevRequest(VdevRequest),
    /// The Realm asks to map memory of a device. Needs an answer.
    VdevMapping(VdevMapping),
    /// The Realm asks to bind two virtual devices. Needs an answer.
    P2pBinding(P2pBinding),
    /// The Realm has written a command for a virtual SMMU. Needs an answer.
    VsmmuCommand(VsmmuCommand),
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
            Self::VdevRequest(exit) => Some(exit.ticket),
            Self::VdevMapping(exit) => Some(exit.ticket),
            Self::P2pBinding(exit) => Some(exit.ticket),
            Self::VsmmuCommand(exit) => Some(exit.ticket),
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
