//! Why a REC came back, and what may be said to it.
//!
//! An [`Exit`] is owned and total: every reason that an RMM may report has a variant, and what this crate does not know arrives raw. An exit that wants an answer is a value
//! from which only fitting answers can be made, each consuming it. A store, for instance, cannot be answered with a value:
//!
//! ```compile_fail,E0061
//! # use rec_runtime::exit::MmioStore;
//! # fn emulate(store: MmioStore) -> rec_runtime::Answer {
//! store.complete(42) // error: a store takes no value
//! # }
//! ```

mod abort;
mod decode;
mod host_call;
mod psci;
mod ripas;
mod s2ap;
mod sysreg;

use rmi_abi::Ipa;
use rmi_abi::esr::Esr;

pub use abort::{Fault, MmioLoad, MmioStore, SharedFault};
pub(crate) use decode::decode;
pub use host_call::HostCall;
pub use psci::{PsciNotice, PsciRequest, PsciRequestKind};
pub use ripas::RipasChange;
pub use s2ap::S2apChange;
pub use sysreg::{SysRegRead, SysRegWrite};

/// Why a REC came back.
#[derive(Debug)]
#[must_use = "an exit may want an answer"]
#[non_exhaustive]
pub enum Exit {
    /// The Realm reads a device at an unprotected IPA. Wants an answer.
    MmioLoad(MmioLoad),
    /// The Realm writes a device at an unprotected IPA. Wants an answer.
    MmioStore(MmioStore),
    /// The Realm touched memory that it has but that is not mapped: private memory. Map it, then say that it may retry.
    Fault(Fault),
    /// The Realm touched an unprotected IPA in a way that cannot be emulated. Wants an answer.
    SharedFault(SharedFault),
    /// The Realm reads a trapped system register. Wants an answer.
    SysRegRead(SysRegRead),
    /// The Realm wrote a trapped system register.
    SysRegWrite(SysRegWrite),
    /// The Realm waits for an interrupt or event.
    #[non_exhaustive]
    Wfx {
        /// Whether it waits for an event (WFE, WFET) rather than an interrupt.
        is_wfe: bool,
        /// X0 of the exit: the deadline of WFIT and WFET, where the RMM tells it.
        deadline: u64,
    },
    /// A physical interrupt for the host; or one of the Realm's timers changed its output.
    Irq,
    /// A fast physical interrupt for the host.
    Fiq,
    /// The Realm made a PSCI call about another REC. Wants an answer.
    PsciRequest(PsciRequest),
    /// The Realm made a PSCI call that the host should know of.
    PsciNotice(PsciNotice),
    /// The Realm asks to change what a range of its memory is. Wants an answer.
    RipasChange(RipasChange),
    /// The Realm calls the host. Wants an answer.
    HostCall(HostCall),
    /// A system error, while the Realm ran.
    #[non_exhaustive]
    SError {
        /// The syndrome.
        esr: Esr,
    },
    /// The Realm asks to change stage 2 permissions of its planes. Wants an answer.
    S2apChange(S2apChange),
    /// The Realm asks for something about a device. This version assigns no devices: the next entry rejects it.
    #[non_exhaustive]
    Device {
        /// The code of the exit reason, which depends on the dialect.
        reason: u8,
        /// The device.
        vdev_id: u64,
    },
    /// A synchronous exception of a class that this version does not decode.
    #[non_exhaustive]
    UnknownSync {
        /// The syndrome.
        esr: Esr,
        /// The page of the fault, if it is one.
        page: Ipa,
    },
    /// A reason that the dialect does not define.
    #[non_exhaustive]
    Unknown {
        /// Its code.
        reason: u8,
    },
}
