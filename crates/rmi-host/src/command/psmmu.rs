//! Commands about physical SMMUs.
#![expect(unsafe_code, reason = "calls go through the conduit")]

use core::marker::PhantomData;

use rmi_abi::device::{PsmmuEventSyndrome, PsmmuIrq, PsmmuIrqResult, PsmmuIrqSet, PsmmuParamsPage};
use rmi_abi::{Command, Ipa, Pa};

use crate::channel::{Call, Channel, Progress};
use crate::command::named::Named;
use crate::error::{Error, Subject};
use crate::granules::{Machine, Undelegated};
use crate::platform::Platform;

/// A physical SMMU of the machine of a session ([`Channel::psmmu`]), identified by the address of
/// its first page of registers. It owns nothing, and cannot outlive the session:
///
/// ```compile_fail,E0505
/// # use rmi_abi::Pa;
/// # use rmi_host::{Platform, Rmm};
/// # fn handle(psmmu: rmi_host::command::PsmmuName<'_>) {}
/// fn late<P: Platform>(rmm: Rmm<P>, registers: Pa) {
///     let psmmu = rmm.commands().psmmu(registers);
///     let platform = rmm.into_platform(); // error: `rmm` is borrowed by the name
///     handle(psmmu);
/// }
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PsmmuName<'s> {
    pa: Pa,
    machine: Machine,
    session: PhantomData<&'s ()>,
}

impl Named for PsmmuName<'_> {
    fn place(&self) -> (Option<Machine>, Pa) {
        (Some(self.machine), self.pa)
    }
}

impl PsmmuName<'_> {
    /// Address of its first page of registers.
    #[must_use]
    pub const fn pa(self) -> Pa {
        self.pa
    }
}

/// The output of `RMI_PSMMU_IRQ_NOTIFY`. Only the fields that `result` refers to are meaningful.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PsmmuEvent {
    /// What caused the interrupt.
    pub result: PsmmuIrqResult,
    /// Number of the event, as SMMUv3 defines it.
    pub number: u64,
    /// Stream of the transaction.
    pub sid: u64,
    /// Where the SMMU fetched a descriptor; the specification does not say in which address space.
    pub fetch_addr: u64,
    /// What the device accessed, in the device's address space.
    pub input_addr: u64,
    /// The faulting address; 2.0-bet0 only.
    pub fipa: Option<Ipa>,
    /// How the device accessed it.
    pub syndrome: PsmmuEventSyndrome,
}

impl<P: Platform> Channel<P> {
    /// The physical SMMU of this machine whose registers begin there. The RMM knows which there
    /// are, and refuses others.
    #[must_use]
    pub const fn psmmu(&self, pa: Pa) -> PsmmuName<'_> {
        PsmmuName { pa, machine: self.machine(), session: PhantomData }
    }

    /// `RMI_PSMMU_ACTIVATE`: starts to give the RMM control of the Realm state of a physical SMMU,
    /// which takes memory for its tables and queues. `page` is host memory for the parameters.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_PSMMU_ACTIVATE.
    ///
    /// # Errors
    ///
    /// [`ErrorInput`](rmi_abi::Status::ErrorInput) when there is no such SMMU, it is active, or the
    /// parameters are not accepted; [`ErrorNotSupported`](rmi_abi::Status::ErrorNotSupported)
    /// without device assignment.
    ///
    /// # Safety
    ///
    /// When `params` ask for messages, the SMMU writes to the addresses in them until it is
    /// deactivated. They must be those of an interrupt controller's doorbell register, not of
    /// memory or of another device.
    pub unsafe fn psmmu_activate(
        &self,
        psmmu: PsmmuName<'_>,
        page: &mut Undelegated,
        params: &PsmmuParamsPage,
    ) -> Result<Progress, Error> {
        let command = Command::PsmmuActivate;
        self.require(command)?;
        self.own(command, &psmmu)?;
        let at = self.put(command, page, params)?;
        let call = Call::new(command, Subject::Pa(psmmu.pa), [psmmu.pa.raw(), at.raw()]);
        // SAFETY: the RMM reads a page that this function borrows exclusively; the caller vouches
        // for where the SMMU writes.
        unsafe { self.start(&call) }
    }

    /// `RMI_PSMMU_DEACTIVATE`: starts to take a physical SMMU back, which returns memory.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_PSMMU_DEACTIVATE.
    ///
    /// # Errors
    ///
    /// [`ErrorInput`](rmi_abi::Status::ErrorInput) when it is not active, or has level 2 stream
    /// tables; [`ErrorNotSupported`](rmi_abi::Status::ErrorNotSupported) without device assignment.
    pub fn psmmu_deactivate(&self, psmmu: PsmmuName<'_>) -> Result<Progress, Error> {
        self.own(Command::PsmmuDeactivate, &psmmu)?;
        let args = [psmmu.pa.raw()];
        let call = Call::new(Command::PsmmuDeactivate, Subject::Pa(psmmu.pa), args);
        // SAFETY: the command accesses no memory except the object's own.
        unsafe { self.start(&call) }
    }

    fn stream_table(
        &self,
        command: Command,
        psmmu: PsmmuName<'_>,
        sid: u64,
    ) -> Result<Progress, Error> {
        self.own(command, &psmmu)?;
        let call = Call::new(command, Subject::Pa(psmmu.pa), [psmmu.pa.raw(), sid]);
        // SAFETY: the command names no memory; what the operation wants is donated by tokens.
        unsafe { self.start(&call) }
    }

    /// `RMI_PSMMU_ST_L2_CREATE`: starts to add the level 2 stream table that covers stream `sid`,
    /// which takes memory.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_PSMMU_ST_L2_CREATE.
    ///
    /// # Errors
    ///
    /// [`ErrorPsmmuSt`](rmi_abi::Status::ErrorPsmmuSt), with TF-RMM
    /// [`ErrorInput`](rmi_abi::Status::ErrorInput), when the table exists;
    /// [`ErrorInput`](rmi_abi::Status::ErrorInput) when there is no such SMMU or stream;
    /// [`ErrorNotSupported`](rmi_abi::Status::ErrorNotSupported) without device assignment.
    pub fn psmmu_st_l2_create(&self, psmmu: PsmmuName<'_>, sid: u64) -> Result<Progress, Error> {
        self.stream_table(Command::PsmmuStL2Create, psmmu, sid)
    }

    /// `RMI_PSMMU_ST_L2_DESTROY`: starts to remove the level 2 stream table that covers stream
    /// `sid`, which returns memory.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_PSMMU_ST_L2_DESTROY.
    ///
    /// # Errors
    ///
    /// [`ErrorPsmmuSt`](rmi_abi::Status::ErrorPsmmuSt), with TF-RMM
    /// [`ErrorInput`](rmi_abi::Status::ErrorInput), when the table is missing or in use;
    /// [`ErrorInput`](rmi_abi::Status::ErrorInput) when there is no such SMMU or stream;
    /// [`ErrorNotSupported`](rmi_abi::Status::ErrorNotSupported) without device assignment.
    pub fn psmmu_st_l2_destroy(&self, psmmu: PsmmuName<'_>, sid: u64) -> Result<Progress, Error> {
        self.stream_table(Command::PsmmuStL2Destroy, psmmu, sid)
    }

    /// `RMI_PSMMU_IRQ_NOTIFY`: tells the RMM that interrupts of a physical SMMU arrived, and
    /// returns what caused them.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_PSMMU_IRQ_NOTIFY.
    ///
    /// # Errors
    ///
    /// [`ErrorInput`](rmi_abi::Status::ErrorInput) when there is no such active SMMU;
    /// [`ErrorNotSupported`](rmi_abi::Status::ErrorNotSupported) without device assignment.
    pub fn psmmu_irq_notify(
        &self,
        psmmu: PsmmuName<'_>,
        irqs: PsmmuIrqSet,
    ) -> Result<PsmmuEvent, Error> {
        let command = Command::PsmmuIrqNotify;
        self.own(command, &psmmu)?;
        let args = [psmmu.pa.raw(), irqs.bits()];
        let reply = self.ask_to_the_end(&Call::new(command, Subject::Pa(psmmu.pa), args))?;
        let output = |name| self.output(command, &reply, name);
        Ok(PsmmuEvent {
            result: PsmmuIrqResult::from_bits_retain(reply.x1()),
            number: reply.x2(),
            sid: reply.x3(),
            fetch_addr: reply.x4(),
            input_addr: output("input_addr").unwrap_or(0),
            fipa: output("fipa").map(Ipa::new),
            syndrome: PsmmuEventSyndrome(output("syndrome").unwrap_or(0)),
        })
    }

    /// `RMI_PSMMU_EVENT_CONSUME`: removes the event of an interrupt that was handled.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_PSMMU_EVENT_CONSUME.
    ///
    /// # Errors
    ///
    /// [`ErrorInput`](rmi_abi::Status::ErrorInput) when there is no such active SMMU;
    /// [`ErrorNotSupported`](rmi_abi::Status::ErrorNotSupported) without device assignment.
    pub fn psmmu_event_consume(&self, psmmu: PsmmuName<'_>, irq: PsmmuIrq) -> Result<(), Error> {
        self.own(Command::PsmmuEventConsume, &psmmu)?;
        let args = [psmmu.pa.raw(), u8::from(irq).into()];
        let call = Call::new(Command::PsmmuEventConsume, Subject::Pa(psmmu.pa), args);
        self.ask_to_the_end(&call).map(|_| ())
    }
}
