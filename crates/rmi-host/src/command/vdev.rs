//! Commands about virtual devices: interfaces of physical devices that are assigned to Realms.
#![expect(unsafe_code, reason = "calls go through the conduit")]

use rmi_abi::device::{
    DevCommExit, DevCommStatus, VdevMeasureParamsPage, VdevParamsPage, VdevState,
};
use rmi_abi::{Command, Pa, Status};

use crate::channel::{Call, Channel, Progress, Reply};
use crate::command::tracking::code;
use crate::command::{DevCommBuffers, Halted, PdevGranule, Rd, RecName, Stream, VdevGranule};
use crate::error::{Error, Subject};
use crate::granules::{Delegated, Undelegated};
use crate::platform::Platform;

/// The two ends of peer to peer traffic.
#[derive(Clone, Copy, Debug)]
pub struct Peers<'d> {
    /// The virtual device of the stream's first device.
    pub vdev_1: &'d VdevGranule,
    /// The virtual device of the stream's second device.
    pub vdev_2: &'d VdevGranule,
}

impl<P: Platform> Channel<P> {
    fn vdev_args(command: Command, rd: &Rd, pdev: &PdevGranule, vdev: &VdevGranule) -> Call {
        let args = [rd.pa().raw(), pdev.pa().raw(), vdev.pa().raw()];
        Call::new(command, Subject::Pa(vdev.pa()), args)
    }

    fn vdev_call(
        &self,
        command: Command,
        rd: &Rd,
        pdev: &PdevGranule,
        vdev: &VdevGranule,
    ) -> Result<(), Error> {
        // SAFETY: the command names no memory except the objects'.
        unsafe { self.complete(&Self::vdev_args(command, rd, pdev, vdev)) }.map(|_| ())
    }

    /// `RMI_VDEV_CREATE`: starts to create a virtual device of a Realm in a delegated granule.
    /// `page` is host memory for the parameters.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_VDEV_CREATE.
    ///
    /// # Errors
    ///
    /// [`ErrorInput`](Status::ErrorInput) for parameters or a granule that the RMM does not accept;
    /// [`ErrorRealm`](Status::ErrorRealm) when the Realm was created without device assignment;
    /// [`ErrorDevice`](Status::ErrorDevice) when the physical device is not an endpoint, not ready,
    /// without a connected stream, or has too many virtual devices;
    /// [`ErrorTracking`](Status::ErrorTracking) when the granule is not tracked at granule
    /// granularity; [`ErrorNotSupported`](Status::ErrorNotSupported) without device assignment.
    pub fn vdev_create(
        &self,
        rd: &Rd,
        pdev: &PdevGranule,
        vdev: &Delegated,
        page: &mut Undelegated,
        params: &VdevParamsPage,
    ) -> Result<Progress, Error> {
        self.own(Command::VdevCreate, rd)?;
        self.own(Command::VdevCreate, pdev)?;
        self.own(Command::VdevCreate, vdev)?;
        let command = Command::VdevCreate;
        self.require(command)?;
        let at = self.put(command, page, params)?;
        let args = [rd.pa().raw(), pdev.pa().raw(), vdev.base().raw(), at.raw()];
        let call = Call::new(command, Subject::Pa(vdev.base()), args);
        // SAFETY: the RMM reads a page that this function borrows exclusively; the granule is the
        // RMM's already.
        unsafe { self.start(&call) }
    }

    /// `RMI_VDEV_DESTROY`: starts to destroy a virtual device.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_VDEV_DESTROY.
    ///
    /// # Errors
    ///
    /// [`ErrorDevice`](Status::ErrorDevice) unless it is new or unlocked;
    /// [`ErrorNotSupported`](Status::ErrorNotSupported) without device assignment.
    pub fn vdev_destroy(
        &self,
        rd: &Rd,
        pdev: &PdevGranule,
        vdev: &VdevGranule,
    ) -> Result<Progress, Error> {
        self.own(Command::VdevDestroy, rd)?;
        self.own(Command::VdevDestroy, pdev)?;
        self.own(Command::VdevDestroy, vdev)?;
        let call = Self::vdev_args(Command::VdevDestroy, rd, pdev, vdev);
        // SAFETY: the command accesses no memory except the object's own.
        unsafe { self.start(&call) }
    }

    /// `RMI_VDEV_GET_STATE`: reads the state of a virtual device.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_VDEV_GET_STATE.
    ///
    /// # Errors
    ///
    /// [`ErrorInput`](Status::ErrorInput) when `vdev` is not such an object;
    /// [`ErrorNotSupported`](Status::ErrorNotSupported) without device assignment.
    pub fn vdev_get_state(&self, vdev: &VdevGranule) -> Result<VdevState, Error> {
        self.own(Command::VdevGetState, vdev)?;
        let call = Call::new(Command::VdevGetState, Subject::Pa(vdev.pa()), [vdev.pa().raw()]);
        Ok(VdevState::from(code(self.ask_to_the_end(&call)?.x1())))
    }

    /// `RMI_VDEV_ABORT`: aborts the communication about a virtual device.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_VDEV_ABORT.
    ///
    /// # Errors
    ///
    /// [`ErrorDevice`](Status::ErrorDevice) when none is in progress, or the objects do not belong
    /// together; [`ErrorNotSupported`](Status::ErrorNotSupported) without device assignment.
    pub fn vdev_abort(&self, rd: &Rd, pdev: &PdevGranule, vdev: &VdevGranule) -> Result<(), Error> {
        self.own(Command::VdevAbort, rd)?;
        self.own(Command::VdevAbort, pdev)?;
        self.own(Command::VdevAbort, vdev)?;
        self.vdev_call(Command::VdevAbort, rd, pdev, vdev)
    }

    /// `RMI_VDEV_COMMUNICATE`: performs one step of the communication about a virtual device;
    /// otherwise as [`Channel::pdev_communicate`].
    ///
    /// Source: DEN0137 2.0-bet3, RMI_VDEV_COMMUNICATE.
    ///
    /// # Errors
    ///
    /// As [`Channel::pdev_communicate`].
    pub fn vdev_communicate(
        &self,
        rd: &Rd,
        pdev: &PdevGranule,
        vdev: &VdevGranule,
        buffers: &mut DevCommBuffers<'_>,
        answer: (DevCommStatus, u64),
    ) -> Result<DevCommExit, Error> {
        self.own(Command::VdevCommunicate, rd)?;
        self.own(Command::VdevCommunicate, pdev)?;
        self.own(Command::VdevCommunicate, vdev)?;
        let objects = [rd.pa().raw(), pdev.pa().raw(), vdev.pa().raw()];
        self.communicate(Command::VdevCommunicate, vdev.pa(), objects, buffers, answer)
    }

    /// `RMI_VDEV_LOCK`: starts to lock a virtual device; communication completes the operation.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_VDEV_LOCK.
    ///
    /// # Errors
    ///
    /// [`ErrorDevice`](Status::ErrorDevice) unless it is unlocked and idle, and of this physical
    /// device; [`ErrorNotSupported`](Status::ErrorNotSupported) without device assignment.
    pub fn vdev_lock(&self, rd: &Rd, pdev: &PdevGranule, vdev: &VdevGranule) -> Result<(), Error> {
        self.own(Command::VdevLock, rd)?;
        self.own(Command::VdevLock, pdev)?;
        self.own(Command::VdevLock, vdev)?;
        self.vdev_call(Command::VdevLock, rd, pdev, vdev)
    }

    /// `RMI_VDEV_START`: starts a locked virtual device; communication completes the operation.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_VDEV_START.
    ///
    /// # Errors
    ///
    /// [`ErrorDevice`](Status::ErrorDevice) unless it is locked and idle, and of this physical
    /// device; [`ErrorNotSupported`](Status::ErrorNotSupported) without device assignment.
    pub fn vdev_start(&self, rd: &Rd, pdev: &PdevGranule, vdev: &VdevGranule) -> Result<(), Error> {
        self.own(Command::VdevStart, rd)?;
        self.own(Command::VdevStart, pdev)?;
        self.own(Command::VdevStart, vdev)?;
        self.vdev_call(Command::VdevStart, rd, pdev, vdev)
    }

    /// `RMI_VDEV_UNLOCK`: starts to unlock a virtual device; communication completes the operation.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_VDEV_UNLOCK.
    ///
    /// # Errors
    ///
    /// [`ErrorGranule`](Status::ErrorGranule) while memory of the device is mapped: it includes the
    /// address of a granule of that memory. [`ErrorDevice`](Status::ErrorDevice) unless it is
    /// locked, started or broken, and idle; [`ErrorNotSupported`](Status::ErrorNotSupported)
    /// without device assignment.
    pub fn vdev_unlock(
        &self,
        rd: &Rd,
        pdev: &PdevGranule,
        vdev: &VdevGranule,
    ) -> Result<(), Halted<Pa>> {
        self.own(Command::VdevUnlock, rd)?;
        self.own(Command::VdevUnlock, pdev)?;
        self.own(Command::VdevUnlock, vdev)?;
        let call = Self::vdev_args(Command::VdevUnlock, rd, pdev, vdev);
        let granule = |reply: Reply| Some(Pa::new(reply.x1()));
        // SAFETY: the command names no memory except the objects'.
        unsafe { self.complete_or_halt(&call, &[Status::ErrorGranule], granule) }.map(|_| ())
    }

    /// `RMI_VDEV_GET_INTERFACE_REPORT`: starts to read the interface report of a virtual device;
    /// communication completes the operation.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_VDEV_GET_INTERFACE_REPORT.
    ///
    /// # Errors
    ///
    /// [`ErrorDevice`](Status::ErrorDevice) unless it is locked or started, and idle;
    /// [`ErrorNotSupported`](Status::ErrorNotSupported) without device assignment.
    pub fn vdev_get_interface_report(
        &self,
        rd: &Rd,
        pdev: &PdevGranule,
        vdev: &VdevGranule,
    ) -> Result<(), Error> {
        self.own(Command::VdevGetInterfaceReport, rd)?;
        self.own(Command::VdevGetInterfaceReport, pdev)?;
        self.own(Command::VdevGetInterfaceReport, vdev)?;
        self.vdev_call(Command::VdevGetInterfaceReport, rd, pdev, vdev)
    }

    /// `RMI_VDEV_GET_MEASUREMENTS`: starts to read the measurements of a virtual device;
    /// communication completes the operation. `page` is host memory for the parameters.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_VDEV_GET_MEASUREMENTS.
    ///
    /// # Errors
    ///
    /// [`ErrorDevice`](Status::ErrorDevice) when the objects do not belong together or the physical
    /// device communicates; [`ErrorNotSupported`](Status::ErrorNotSupported) without device
    /// assignment.
    pub fn vdev_get_measurements(
        &self,
        rd: &Rd,
        pdev: &PdevGranule,
        vdev: &VdevGranule,
        page: &mut Undelegated,
        params: &VdevMeasureParamsPage,
    ) -> Result<(), Error> {
        self.own(Command::VdevGetMeasurements, rd)?;
        self.own(Command::VdevGetMeasurements, pdev)?;
        self.own(Command::VdevGetMeasurements, vdev)?;
        let command = Command::VdevGetMeasurements;
        self.require(command)?;
        let at = self.put(command, page, params)?;
        let args = [rd.pa().raw(), pdev.pa().raw(), vdev.pa().raw(), at.raw()];
        let call = Call::new(command, Subject::Pa(vdev.pa()), args);
        // SAFETY: the RMM reads a page that this function borrows exclusively.
        unsafe { self.complete(&call) }.map(|_| ())
    }

    /// `RMI_VDEV_COMPLETE`: answers the request of `rec` for a virtual device. 2.0-bet3 no longer
    /// has this request.
    ///
    /// Source: DEN0137 2.0-bet1, RMI_VDEV_COMPLETE.
    ///
    /// # Errors
    ///
    /// [`ErrorInput`](Status::ErrorInput) when no request is pending, or it is for another device;
    /// [`ErrorDevice`](Status::ErrorDevice) while the virtual device communicates;
    /// [`ErrorNotSupported`](Status::ErrorNotSupported) without device assignment.
    pub fn vdev_complete(&self, rec: RecName<'_>, vdev: &VdevGranule) -> Result<(), Error> {
        self.own(Command::VdevComplete, &rec)?;
        self.own(Command::VdevComplete, vdev)?;
        let args = [rec.pa().raw(), vdev.pa().raw()];
        let call = Call::new(Command::VdevComplete, Subject::Pa(vdev.pa()), args);
        // SAFETY: the command names no memory except the objects'.
        unsafe { self.complete(&call) }.map(|_| ())
    }

    /// `RMI_VDEV_P2P_BIND`: binds two virtual devices for peer to peer traffic over a stream, as
    /// `rec` requested (2.0-bet0).
    ///
    /// Source: DEN0137 2.0-bet0, RMI_VDEV_P2P_BIND.
    ///
    /// # Errors
    ///
    /// [`ErrorNotSupported`](Status::ErrorNotSupported) without peer to peer traffic; the
    /// conditions of other statuses are not public.
    pub fn vdev_p2p_bind(
        &self,
        rd: &Rd,
        rec: RecName<'_>,
        stream: &Stream<'_>,
        peers: Peers<'_>,
    ) -> Result<(), Error> {
        self.own(Command::VdevP2pBind, rd)?;
        self.own(Command::VdevP2pBind, &rec)?;
        self.own_stream(Command::VdevP2pBind, stream)?;
        self.own(Command::VdevP2pBind, peers.vdev_1)?;
        self.own(Command::VdevP2pBind, peers.vdev_2)?;
        let (pdev_1, pdev_2) = stream.devices();
        let (vdev_1, vdev_2) = (peers.vdev_1.pa(), peers.vdev_2.pa());
        let (rd, rec) = (rd.pa().raw(), rec.pa().raw());
        let args = [rd, rec, pdev_1, stream.handle(), pdev_2, vdev_1.raw(), vdev_2.raw()];
        let call = Call::new(Command::VdevP2pBind, Subject::Pa(vdev_1), args);
        // SAFETY: the command names no memory except the objects'.
        unsafe { self.complete(&call) }.map(|_| ())
    }

    /// `RMI_VDEV_P2P_UNBIND`: undoes what `RMI_VDEV_P2P_BIND` did (2.0-bet0).
    ///
    /// Source: DEN0137 2.0-bet0, RMI_VDEV_P2P_UNBIND.
    ///
    /// # Errors
    ///
    /// As [`Channel::vdev_p2p_bind`].
    pub fn vdev_p2p_unbind(
        &self,
        rd: &Rd,
        stream: &Stream<'_>,
        peers: Peers<'_>,
    ) -> Result<(), Error> {
        self.own(Command::VdevP2pUnbind, rd)?;
        self.own_stream(Command::VdevP2pUnbind, stream)?;
        self.own(Command::VdevP2pUnbind, peers.vdev_1)?;
        self.own(Command::VdevP2pUnbind, peers.vdev_2)?;
        let (pdev_1, pdev_2) = stream.devices();
        let (vdev_1, vdev_2) = (peers.vdev_1.pa(), peers.vdev_2.pa());
        let args = [rd.pa().raw(), pdev_1, pdev_2, stream.handle(), vdev_1.raw(), vdev_2.raw()];
        let call = Call::new(Command::VdevP2pUnbind, Subject::Pa(vdev_1), args);
        // SAFETY: the command names no memory except the objects'.
        unsafe { self.complete(&call) }.map(|_| ())
    }
}
