//! Where a host diverges from a recording.

use rmi_abi::trace::CallDisplay;
use rmi_abi::{Dialect, Pa};
use rmi_host::conduit::Registers;

/// The first difference between a host and a recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Divergence {
    /// The host makes another call.
    #[error(
        "call {call} is {}, the recording has {}",
        CallDisplay::new(*.dialect, .got),
        CallDisplay::new(*.dialect, .expected)
    )]
    #[non_exhaustive]
    Call {
        /// The dialect of the recording.
        dialect: Dialect,
        /// Number of the recorded call.
        call: u64,
        /// X0 to X7 of the recorded call.
        expected: Registers,
        /// X0 to X7 of the host's.
        got: Registers,
    },
    /// The host makes the same call, but a page that it passes to the RMM has another content.
    #[error("call {call} passes {got:#x} to the RMM at {at}, the recording has {expected:#x}")]
    #[non_exhaustive]
    Memory {
        /// Number of the call.
        call: u64,
        /// Address of the first 64-bit word that differs.
        at: Pa,
        /// The recorded word, little-endian.
        expected: u64,
        /// The host's.
        got: u64,
    },
    /// The host makes a call after the last recorded one.
    #[error("{} after the end of the recording", CallDisplay::new(*.dialect, .got))]
    #[non_exhaustive]
    End {
        /// The dialect of the recording.
        dialect: Dialect,
        /// X0 to X7 of the host's call.
        got: Registers,
    },
}
