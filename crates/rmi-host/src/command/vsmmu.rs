//! Commands about virtual SMMUs.
#![expect(unsafe_code, reason = "calls go through the conduit")]

use rmi_abi::device::{VsmmuCmdFlags, VsmmuEventFlags, VsmmuFeaturesBlock, VsmmuParamsPage};
use rmi_abi::{Command, Ipa};

use crate::channel::{Call, Channel, Progress, Reply};
use crate::command::{PdevGranule, PsmmuName, Rd, RecName, VdevGranule, VsmmuGranule};
use crate::error::{Error, Subject};
use crate::granules::{Delegated, Undelegated};
use crate::platform::Platform;

/// A message by which a virtual SMMU interrupts its Realm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VsmmuMessage {
    /// The address that the Realm set; the specification does not say in which address space.
    pub address: u64,
    /// The payload.
    pub data: u64,
}

/// What an event of a virtual SMMU requires of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VsmmuEvent {
    /// What the host has to do.
    pub flags: VsmmuEventFlags,
    /// The message to deliver, if the flags request one.
    pub message: VsmmuMessage,
    /// The faulting address.
    pub fipa: Ipa,
    /// How the device accessed it.
    pub syndrome: u64,
}

/// A command that a Realm issued to its virtual SMMU.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VsmmuCmd {
    /// Its state of completion.
    pub flags: VsmmuCmdFlags,
    /// The virtual stream that it concerns.
    pub vsid: u64,
    /// The message to deliver, if the flags request one.
    pub message: VsmmuMessage,
}

impl VsmmuEvent {
    fn of(reply: &Reply) -> Self {
        let [flags, address, data, fipa, syndrome, ..] = reply.outputs;
        Self {
            flags: VsmmuEventFlags::from_bits_retain(flags),
            message: VsmmuMessage { address, data },
            fipa: Ipa::new(fipa),
            syndrome,
        }
    }
}

impl VsmmuCmd {
    fn of(reply: &Reply) -> Self {
        let [flags, vsid, address, data, ..] = reply.outputs;
        let flags = VsmmuCmdFlags::from_bits_retain(flags);
        Self { flags, vsid, message: VsmmuMessage { address, data } }
    }
}

impl<P: Platform> Channel<P> {
    /// `RMI_VSMMU_FEATURES`: reads the features of virtual SMMUs. `page` is host memory that the
    /// RMM writes them to.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_VSMMU_FEATURES.
    ///
    /// # Errors
    ///
    /// [`ErrorInput`](rmi_abi::Status::ErrorInput) when the RMM cannot write the page.
    pub fn vsmmu_features(&self, page: &mut Undelegated) -> Result<VsmmuFeaturesBlock, Error> {
        let command = Command::VsmmuFeatures;
        self.require(command)?;
        // The RMM writes the page; filling it first ensures that the host can access it and that it
        // is large enough.
        let at = self.put(command, page, &[0u8; size_of::<VsmmuFeaturesBlock>()])?;
        let call = Call::new(command, Subject::Pa(at), [at.raw()]);
        // SAFETY: the RMM writes to a page that this function borrows exclusively.
        unsafe { self.complete(&call)? };
        self.get(page, 0)
    }

    /// `RMI_VSMMU_CREATE`: starts to create a virtual SMMU of a new Realm in a delegated granule.
    /// `page` is host memory for the parameters.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_VSMMU_CREATE.
    ///
    /// # Errors
    ///
    /// [`ErrorRealm`](rmi_abi::Status::ErrorRealm) unless the Realm is new;
    /// [`ErrorInput`](rmi_abi::Status::ErrorInput) for parameters or a granule that the RMM does
    /// not accept; [`ErrorTracking`](rmi_abi::Status::ErrorTracking) when the granule is not
    /// tracked at granule granularity; [`ErrorNotSupported`](rmi_abi::Status::ErrorNotSupported)
    /// without virtual SMMUs.
    pub fn vsmmu_create(
        &self,
        rd: &Rd,
        vsmmu: &Delegated,
        page: &mut Undelegated,
        params: &VsmmuParamsPage,
    ) -> Result<Progress, Error> {
        self.own(Command::VsmmuCreate, rd)?;
        self.own(Command::VsmmuCreate, vsmmu)?;
        let command = Command::VsmmuCreate;
        self.require(command)?;
        let at = self.put(command, page, params)?;
        let args = [rd.pa().raw(), vsmmu.base().raw(), at.raw()];
        let call = Call::new(command, Subject::Pa(vsmmu.base()), args);
        // SAFETY: the RMM reads a page that this function borrows exclusively; the granule is the
        // RMM's already.
        unsafe { self.start(&call) }
    }

    /// `RMI_VSMMU_DESTROY`: starts to destroy a virtual SMMU.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_VSMMU_DESTROY.
    ///
    /// # Errors
    ///
    /// [`ErrorNotSupported`](rmi_abi::Status::ErrorNotSupported) without virtual SMMUs; the
    /// conditions of other statuses are not public.
    pub fn vsmmu_destroy(&self, rd: &Rd, vsmmu: &VsmmuGranule) -> Result<Progress, Error> {
        self.own(Command::VsmmuDestroy, rd)?;
        self.own(Command::VsmmuDestroy, vsmmu)?;
        let args = [rd.pa().raw(), vsmmu.pa().raw()];
        let call = Call::new(Command::VsmmuDestroy, Subject::Pa(vsmmu.pa()), args);
        // SAFETY: the command accesses no memory except the object's own.
        unsafe { self.start(&call) }
    }

    /// `RMI_VSMMU_EVENT_NOTIFY`: passes an event of a physical SMMU to the virtual one of a Realm
    /// (2.0-bet0 and 2.0-bet1).
    ///
    /// Source: DEN0137 2.0-bet1, RMI_VSMMU_EVENT_NOTIFY.
    ///
    /// # Errors
    ///
    /// [`ErrorInput`](rmi_abi::Status::ErrorInput) when the objects do not belong together;
    /// [`ErrorRealm`](rmi_abi::Status::ErrorRealm) when the Realm is in the wrong state;
    /// [`ErrorNotSupported`](rmi_abi::Status::ErrorNotSupported) without virtual SMMUs.
    pub fn vsmmu_event_notify(
        &self,
        psmmu: PsmmuName<'_>,
        rd: &Rd,
        vsmmu: &VsmmuGranule,
        (pdev, vdev): (&PdevGranule, &VdevGranule),
    ) -> Result<VsmmuEvent, Error> {
        self.own(Command::VsmmuEventNotify, &psmmu)?;
        self.own(Command::VsmmuEventNotify, rd)?;
        self.own(Command::VsmmuEventNotify, vsmmu)?;
        self.own(Command::VsmmuEventNotify, pdev)?;
        self.own(Command::VsmmuEventNotify, vdev)?;
        let (psmmu, rd) = (psmmu.pa().raw(), rd.pa().raw());
        let args = [psmmu, rd, vsmmu.pa().raw(), pdev.pa().raw(), vdev.pa().raw()];
        let call = Call::new(Command::VsmmuEventNotify, Subject::Pa(vsmmu.pa()), args);
        Ok(VsmmuEvent::of(&self.ask_to_the_end(&call)?))
    }

    fn vsmmu_call(
        &self,
        command: Command,
        rd: &Rd,
        vsmmu: &VsmmuGranule,
        (pdev, vdev): (&PdevGranule, &VdevGranule),
    ) -> Result<Reply, Error> {
        let args = [rd.pa().raw(), vsmmu.pa().raw(), pdev.pa().raw(), vdev.pa().raw()];
        self.ask_to_the_end(&Call::new(command, Subject::Pa(vsmmu.pa()), args))
    }

    /// `RMI_VSMMU_EVENT_HANDLE`: handles an event of a virtual SMMU (2.0-bet3).
    ///
    /// Source: DEN0137 2.0-bet3, RMI_VSMMU_EVENT_HANDLE.
    ///
    /// # Errors
    ///
    /// As [`Channel::vsmmu_event_notify`].
    pub fn vsmmu_event_handle(
        &self,
        rd: &Rd,
        vsmmu: &VsmmuGranule,
        devices: (&PdevGranule, &VdevGranule),
    ) -> Result<VsmmuEvent, Error> {
        self.own(Command::VsmmuEventHandle, rd)?;
        self.own(Command::VsmmuEventHandle, vsmmu)?;
        self.own(Command::VsmmuEventHandle, devices.0)?;
        self.own(Command::VsmmuEventHandle, devices.1)?;
        let reply = self.vsmmu_call(Command::VsmmuEventHandle, rd, vsmmu, devices)?;
        Ok(VsmmuEvent::of(&reply))
    }

    /// `RMI_VSMMU_EVENT_COMPLETE`: completes an event of physical stream `psid` that was reported
    /// to `rec` (2.0-bet0).
    ///
    /// Source: DEN0137 2.0-bet0, RMI_VSMMU_EVENT_COMPLETE.
    ///
    /// # Errors
    ///
    /// [`Error`]; the statuses are not public.
    pub fn vsmmu_event_complete(
        &self,
        psmmu: PsmmuName<'_>,
        rd: &Rd,
        rec: RecName<'_>,
        psid: u64,
    ) -> Result<(), Error> {
        self.own(Command::VsmmuEventComplete, &psmmu)?;
        self.own(Command::VsmmuEventComplete, rd)?;
        self.own(Command::VsmmuEventComplete, &rec)?;
        let args = [psmmu.pa().raw(), rd.pa().raw(), rec.pa().raw(), psid];
        let call = Call::new(Command::VsmmuEventComplete, Subject::Pa(psmmu.pa()), args);
        self.ask_to_the_end(&call).map(|_| ())
    }

    /// `RMI_VSMMU_CMD_GET`: reads the command whose completion a virtual SMMU waits for.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_VSMMU_CMD_GET.
    ///
    /// # Errors
    ///
    /// [`ErrorInput`](rmi_abi::Status::ErrorInput) when the virtual SMMU does not belong to the
    /// Realm; [`ErrorRealm`](rmi_abi::Status::ErrorRealm) when the Realm is in the wrong state;
    /// [`ErrorNotSupported`](rmi_abi::Status::ErrorNotSupported) without virtual SMMUs.
    pub fn vsmmu_cmd_get(&self, rd: &Rd, vsmmu: &VsmmuGranule) -> Result<VsmmuCmd, Error> {
        self.own(Command::VsmmuCmdGet, rd)?;
        self.own(Command::VsmmuCmdGet, vsmmu)?;
        let args = [vsmmu.pa().raw(), rd.pa().raw()];
        let call = Call::new(Command::VsmmuCmdGet, Subject::Pa(vsmmu.pa()), args);
        Ok(VsmmuCmd::of(&self.ask_to_the_end(&call)?))
    }

    /// `RMI_VSMMU_CMD_COMPLETE`: completes the command that a virtual SMMU waits for, which
    /// concerns a virtual device.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_VSMMU_CMD_COMPLETE.
    ///
    /// # Errors
    ///
    /// As [`Channel::vsmmu_cmd_get`].
    pub fn vsmmu_cmd_complete(
        &self,
        rd: &Rd,
        vsmmu: &VsmmuGranule,
        devices: (&PdevGranule, &VdevGranule),
    ) -> Result<VsmmuCmd, Error> {
        self.own(Command::VsmmuCmdComplete, rd)?;
        self.own(Command::VsmmuCmdComplete, vsmmu)?;
        self.own(Command::VsmmuCmdComplete, devices.0)?;
        self.own(Command::VsmmuCmdComplete, devices.1)?;
        Ok(VsmmuCmd::of(&self.vsmmu_call(Command::VsmmuCmdComplete, rd, vsmmu, devices)?))
    }
}
