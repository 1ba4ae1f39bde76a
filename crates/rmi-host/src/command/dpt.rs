//! Commands about the device permission tables, which an RMM with ATS has.
#![expect(unsafe_code, reason = "calls go through the conduit")]

use rmi_abi::{Command, Pa};

use crate::channel::{Call, Channel, Progress};
use crate::error::{Error, Subject};
use crate::platform::Platform;

impl<P: Platform> Channel<P> {
    fn dpt_root(&self, command: Command) -> Result<Progress, Error> {
        // SAFETY: the command names no memory; what the operation wants is donated by tokens.
        unsafe { self.start(&Call::new(command, Subject::Rmm, [])) }
    }

    /// `RMI_DPT_L0_CREATE`: starts to create the level 0 device permission table, which takes
    /// memory.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_DPT_L0_CREATE.
    ///
    /// # Errors
    ///
    /// [`ErrorNotSupported`](rmi_abi::Status::ErrorNotSupported) without ATS; the conditions of
    /// other statuses are not public.
    pub fn dpt_l0_create(&self) -> Result<Progress, Error> {
        self.dpt_root(Command::DptL0Create)
    }

    /// `RMI_DPT_L0_DESTROY`: starts to destroy the level 0 device permission table, which returns
    /// memory.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_DPT_L0_DESTROY.
    ///
    /// # Errors
    ///
    /// As [`Channel::dpt_l0_create`].
    pub fn dpt_l0_destroy(&self) -> Result<Progress, Error> {
        self.dpt_root(Command::DptL0Destroy)
    }

    /// `RMI_DPT_L1_CREATE`: starts to create the device permission table of the region at `region`,
    /// which takes memory.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_DPT_L1_CREATE.
    ///
    /// # Errors
    ///
    /// As [`Channel::dpt_l0_create`].
    pub fn dpt_l1_create(&self, region: Pa) -> Result<Progress, Error> {
        self.region_command(Command::DptL1Create, region)
    }

    /// `RMI_DPT_L1_DESTROY`: starts to destroy the device permission table of the region at
    /// `region`, which returns memory.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_DPT_L1_DESTROY.
    ///
    /// # Errors
    ///
    /// As [`Channel::dpt_l0_create`].
    pub fn dpt_l1_destroy(&self, region: Pa) -> Result<Progress, Error> {
        self.region_command(Command::DptL1Destroy, region)
    }
}
