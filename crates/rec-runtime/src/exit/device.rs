//! Requests about devices.

use rmi_abi::run::{ExitReason, RecEnterFlags};

use crate::answer::{Answer, Ticket};

/// The Realm asks for something about a device. This version assigns no devices, and can only reject
/// it.
///
/// What the Realm sees of a rejected request: of a mapping that is to be validated, REJECT without
/// progress; of a virtual device that is to be named, `RSI_ERROR_INPUT`.
///
/// Source: DEN0137 2.0-bet3, "REC exit due to device memory mapping"; TF-RMM (July 2026),
/// `complete_vdev_id_mapping`.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "reject the request; the REC cannot be entered before"]
pub struct DeviceRequest {
    pub(crate) ticket: Ticket,
    pub(crate) reason: ExitReason,
    pub(crate) vdev_id: u64,
}

impl DeviceRequest {
    /// What is asked, which is one of the reasons about devices.
    #[must_use]
    pub const fn reason(&self) -> ExitReason {
        self.reason
    }

    /// The device, as the Realm names it: not to be trusted.
    #[must_use]
    pub const fn vdev_id(&self) -> u64 {
        self.vdev_id
    }

    /// The request is refused.
    pub const fn reject(self) -> Answer {
        Answer::with_flags(self.ticket, RecEnterFlags::DEV_MEM_REJECT)
    }
}
