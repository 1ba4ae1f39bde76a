//! Exits on demand: those about devices, which the model does not have, and any exit record that an
//! RMM could write.

use rmi_abi::Ipa;
use rmi_abi::run::{ExitReason, RecExit};
use zerocopy::FromZeros;

/// A request of the Realm about a device, for [`Action::Device`](super::Action::Device).
///
/// The model has no devices, so no request succeeds; what the host answers decides what the Realm
/// sees. A dialect without the exit reason answers the call as an unknown function.
///
/// Source: DEN0137 2.0-bet0 and 2.0-bet3, `RmiRecExitReason`; TF-RMM of July 2026,
/// `complete_vdev_id_mapping` and `complete_dev_mem_mapping`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeviceRequest {
    /// The RMM asks the host for the virtual device with an identifier (up to TF-RMM of July
    /// 2026). The Realm's call fails with `RSI_ERROR_INPUT` at the next entry, as no
    /// `RMI_VDEV_COMPLETE` names a device.
    Vdev {
        /// `vdev_id_1`
        id: u64,
    },
    /// The host is to validate a mapping of device memory. At the next entry the Realm is told that
    /// nothing was mapped (X1 is the base) and whether the host rejected it (X2).
    ValidateMapping {
        /// `vdev_id_1`
        id: u64,
        /// `dev_mem_base`
        base: Ipa,
        /// `dev_mem_top`
        top: Ipa,
        /// `dev_mem_pa`: a physical address, as the Realm knows it.
        pa: u64,
    },
    /// The host is to connect two devices (2.0-bet0, and a reason of TF-RMM of July 2026, which
    /// never reports it). The Realm's call fails with `RSI_ERROR_INPUT` at the next entry.
    P2pBinding {
        /// `vdev_id_1` and `vdev_id_2`
        ids: [u64; 2],
    },
    /// The Realm has written a command for a virtual SMMU. It runs on at the next entry.
    VsmmuCommand {
        /// `vsmmu`: the physical address of the virtual SMMU.
        vsmmu: u64,
    },
}

impl DeviceRequest {
    /// The reason that the host sees.
    #[must_use]
    pub const fn reason(&self) -> ExitReason {
        match self {
            Self::Vdev { .. } => ExitReason::VdevRequest,
            Self::ValidateMapping { .. } => ExitReason::VdevValidateMapping,
            Self::P2pBinding { .. } => ExitReason::VdevP2pBinding,
            Self::VsmmuCommand { .. } => ExitReason::VsmmuCommand,
        }
    }

    /// Fills the fields of the exit record.
    pub(crate) fn describe(&self, exit: &mut RecExit) {
        match *self {
            Self::Vdev { id } => exit.vdev_id_1 = id,
            Self::ValidateMapping { id, base, top, pa } => {
                exit.vdev_id_1 = id;
                exit.dev_mem_base = base.raw();
                exit.dev_mem_top = top.raw();
                exit.dev_mem_pa = pa;
            }
            Self::P2pBinding { ids: [first, second] } => {
                exit.vdev_id_1 = first;
                exit.vdev_id_2 = second;
            }
            Self::VsmmuCommand { vsmmu } => exit.vsmmu = vsmmu,
        }
    }
}

/// An exit record that the RMM writes although nothing happened, for
/// [`Action::Forge`](super::Action::Forge): unknown reasons, PSCI functions that no RMM forwards,
/// fields that contradict each other. For tests of hosts.
///
/// The RMM waits for no answer to it. Fields that a dialect does not have are written all the same.
/// The timers are those of the REC.
///
/// ```
/// use rmm_model::{Action, ForgedExit};
///
/// let unknown = Action::Forge(ForgedExit::new(0x7f));
/// let psci = Action::Forge(ForgedExit::psci(0x8400_0015, [0; 3]));
/// # let _ = (unknown, psci);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(missing_docs, reason = "the fields are those of `RecExit`")]
pub struct ForgedExit {
    /// The code of the reason, see [`ExitReason::decode`].
    pub exit_reason: u8,
    pub esr: u64,
    pub far: u64,
    pub hpfar: u64,
    pub rtt_tree: u64,
    /// X0 to X3; the others are 0.
    pub gprs: [u64; 4],
    pub ripas_base: u64,
    pub ripas_top: u64,
    pub ripas_value: u8,
    pub s2ap_base: u64,
    pub s2ap_top: u64,
    pub vdev_ids: [u64; 2],
    pub dev_mem_base: u64,
    pub dev_mem_top: u64,
    pub dev_mem_pa: u64,
    pub imm: u16,
    pub plane: u64,
    pub pmu_ovf_status: u8,
    pub vsmmu: u64,
}

impl ForgedExit {
    /// A record with this code of a reason, zero otherwise.
    #[must_use]
    pub fn new(exit_reason: u8) -> Self {
        Self { exit_reason, ..Self::default() }
    }

    /// A PSCI exit for any function, with X1 to X3.
    #[must_use]
    pub fn psci(function: u64, arguments: [u64; 3]) -> Self {
        let [a, b, c] = arguments;
        // The code is the same in all dialects.
        Self { gprs: [function, a, b, c], ..Self::new(3) }
    }

    pub(crate) fn record(&self) -> RecExit {
        let mut exit = RecExit::new_zeroed();
        exit.exit_reason = self.exit_reason;
        exit.esr = self.esr;
        exit.far = self.far;
        exit.hpfar = self.hpfar;
        exit.rtt_tree = self.rtt_tree;
        for (to, from) in exit.gprs.iter_mut().zip(self.gprs) {
            *to = from;
        }
        exit.ripas_base = self.ripas_base;
        exit.ripas_top = self.ripas_top;
        exit.ripas_value = self.ripas_value;
        exit.s2ap_base = self.s2ap_base;
        exit.s2ap_top = self.s2ap_top;
        [exit.vdev_id_1, exit.vdev_id_2] = self.vdev_ids;
        exit.dev_mem_base = self.dev_mem_base;
        exit.dev_mem_top = self.dev_mem_top;
        exit.dev_mem_pa = self.dev_mem_pa;
        exit.imm = self.imm;
        exit.plane = self.plane;
        exit.pmu_ovf_status = self.pmu_ovf_status;
        exit.vsmmu = self.vsmmu;
        exit
    }
}
