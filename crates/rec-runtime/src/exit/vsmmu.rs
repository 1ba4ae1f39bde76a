//! Commands for virtual SMMUs.

use rmi_abi::Pa;

use crate::answer::{Answer, Ticket};

/// The Realm has written a command for a virtual SMMU that the host has a part in (2.0, not TF-RMM
/// of July 2026).
///
/// The host finds the virtual SMMU by its address, reads the command
/// ([`vsmmu_cmd_get`](rmi_host::Channel::vsmmu_cmd_get)) and completes it
/// ([`vsmmu_cmd_complete`](rmi_host::Channel::vsmmu_cmd_complete)).
///
/// Source: DEN0137 2.0-bet3, RMI_VSMMU_CMD_GET.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "complete the command; the REC cannot be entered before"]
#[doc(alias = "VSMMU_COMMAND")]
pub struct VsmmuCommand {
    pub(crate) ticket: Ticket,
    pub(crate) vsmmu: Pa,
}

impl VsmmuCommand {
    /// The address of the virtual SMMU, as the RMM reports it.
    #[must_use]
    pub const fn vsmmu(&self) -> Pa {
        self.vsmmu
    }

    /// The command is done, or there is nothing to do: the REC goes on.
    pub const fn completed(self) -> Answer {
        Answer::plain(self.ticket)
    }
}
