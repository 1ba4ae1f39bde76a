//! Trapped system registers, such as those that send interrupts to other RECs.

use core::fmt;

use rmi_abi::esr::Esr;
use rmi_abi::run::RecEnterFlags;

use crate::answer::{Answer, Ticket};

/// A read of a trapped system register.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "complete the read; the REC cannot be entered before"]
pub struct SysRegRead {
    pub(crate) ticket: Ticket,
    pub(crate) esr: Esr,
}

impl SysRegRead {
    /// The register: Op0, Op1, CRn, CRm, Op2.
    #[must_use]
    pub const fn register(&self) -> (u8, u8, u8, u8, u8) {
        self.esr.sysreg()
    }

    /// The read returns this value.
    pub const fn complete(self, value: u64) -> Answer {
        Answer::with_value(self.ticket, RecEnterFlags::empty(), value)
    }
}

/// A write of a trapped system register, which for the Realm is complete.
#[derive(PartialEq, Eq)]
#[must_use = "emulate the write"]
pub struct SysRegWrite {
    pub(crate) esr: Esr,
    pub(crate) value: u64,
}

impl SysRegWrite {
    /// The register: Op0, Op1, CRn, CRm, Op2.
    #[must_use]
    pub const fn register(&self) -> (u8, u8, u8, u8, u8) {
        self.esr.sysreg()
    }

    /// The value that was written.
    #[must_use]
    pub const fn value(&self) -> u64 {
        self.value
    }
}

impl fmt::Debug for SysRegWrite {
    /// Omits what the Realm wrote.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SysRegWrite").field("esr", &self.esr).finish_non_exhaustive()
    }
}
