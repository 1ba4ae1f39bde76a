//! Calls from the Realm to its host.

use core::fmt;

use rmi_abi::rhi::{HOST_CALL_IMMEDIATE, NOT_SUPPORTED, RhiFunction};
use rmi_abi::run::RUN_GPRS;

use crate::answer::{Answer, Reply, Ticket};
use crate::timer::InterruptLines;

/// A call from the Realm to its host (`RSI_HOST_CALL`).
#[derive(PartialEq, Eq)]
#[must_use = "complete the call; the REC cannot be entered before"]
pub struct HostCall {
    pub(crate) ticket: Ticket,
    pub(crate) imm: u16,
    pub(crate) gprs: [u64; RUN_GPRS],
    pub(crate) plane: u64,
    pub(crate) lines: InterruptLines,
}

impl HostCall {
    /// The immediate value.
    #[must_use]
    pub const fn imm(&self) -> u16 {
        self.imm
    }

    /// X0 to X30 as the Realm set them: untrusted.
    #[must_use]
    pub const fn gprs(&self) -> &[u64; RUN_GPRS] {
        &self.gprs
    }

    /// The function of the Realm Host Interface that is called: W0, if the immediate is the one of
    /// that interface.
    #[must_use]
    pub fn rhi(&self) -> Option<RhiFunction> {
        let [x0, ..] = self.gprs;
        (self.imm == HOST_CALL_IMMEDIATE).then(|| RhiFunction::from_register(x0))
    }

    /// The plane that makes the call.
    #[must_use]
    pub const fn plane(&self) -> u64 {
        self.plane
    }

    /// The call returns these registers.
    pub const fn complete(self, gprs: [u64; RUN_GPRS]) -> Answer {
        Answer::reply(self.ticket, Reply { gprs, lines: self.lines })
    }

    /// The call returns "no such function" (all ones) in X0, and zeros in the other registers.
    pub const fn not_supported(self) -> Answer {
        let mut gprs = [0; RUN_GPRS];
        let [x0, ..] = &mut gprs;
        *x0 = NOT_SUPPORTED;
        Answer::reply(self.ticket, Reply { gprs, lines: self.lines })
    }
}

impl fmt::Debug for HostCall {
    /// Omits what the Realm set.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostCall")
            .field("imm", &self.imm)
            .field("plane", &self.plane)
            .finish_non_exhaustive()
    }
}
