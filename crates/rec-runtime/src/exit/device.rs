//! Requests about devices.

use rmi_abi::run::{ExitReason, RecEnterFlags};

use crate::answer::{Answer, Ticket};

/// A request of the Realm about a device. This version assigns no devices, and can only reject it.
///
/// What the Realm sees of a rejected request: for the validation of a mapping, REJECT without
/// progress; for the identification of a virtual device, `RSI_ERROR_INPUT`.
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
    /// The request: one of the exit reasons that concern devices.
    #[must_use]
    pub const fn reason(&self) -> ExitReason {
        self.reason
    }

    /// The device, as the Realm names it: untrusted.
    #[must_use]
    pub const fn vdev_id(&self) -> u64 {
        self.vdev_id
    }

    /// Refuses the request.
    pub const fn reject(self) -> Answer {
        Answer::with_flags(self.ticket, RecEnterFlags::DEV_MEM_REJECT)
    }
}
