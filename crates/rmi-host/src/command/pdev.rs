//! Commands about physical devices, their streams, and the messages that the host relays to and
//! from devices.
#![expect(unsafe_code, reason = "calls go through the conduit")]

use rmi_abi::device::{
    DevCommDataPage, DevCommExit, DevCommStatus, PdevParams, PdevParamsEncoded, PdevState,
    PdevStreamParamsPage, PdevStreamType, PublicKeyParamsPage,
};
use rmi_abi::{Command, Pa};
use zerocopy::FromZeros;

use crate::channel::{Call, Channel, Progress, Reply};
use crate::command::PdevGranule;
use crate::command::tracking::code;
use crate::error::{Error, Failed, Subject};
use crate::granules::{Delegated, Undelegated};
use crate::platform::Platform;

/// Host memory for the RMM's communication with a device: three different pages.
#[derive(Debug)]
pub struct DevCommBuffers<'m> {
    /// Holds the record of each call; the RMM writes its half.
    pub data: &'m mut Undelegated,
    /// The RMM writes requests to it, for the host to send.
    pub request: &'m mut Undelegated,
    /// Responses of the device, for the RMM to read.
    pub response: &'m Undelegated,
}

/// A protected link between two physical devices, as `RMI_PDEV_STREAM_CONNECT` made it. The devices
/// cannot be released while it exists, and what is disconnected cannot be named:
///
/// ```compile_fail,E0382
/// # use rmi_host::{Platform, Rmm};
/// # use rmi_host::command::Stream;
/// fn late<P: Platform>(rmm: &Rmm<P>, mut stream: Stream<'_>) {
///     let _ = rmm.commands().pdev_stream_disconnect(&mut stream);
///     let _ = rmm.commands().pdev_stream_complete(stream);
///     let _ = rmm.commands().pdev_stream_info(&stream); // error: use of moved value
/// }
/// ```
///
/// Only the RMM makes one:
///
/// ```compile_fail,E0451
/// # use rmi_host::command::{PdevGranule, Stream};
/// fn forge(pdev_1: &PdevGranule) -> Stream<'_> {
///     // error: fields are private
///     Stream { pdev_1, pdev_2: None, handle: 7, disconnects: false }
/// }
/// ```
#[derive(Debug)]
#[must_use = "it can be disconnected by this only"]
pub struct Stream<'d> {
    pdev_1: &'d PdevGranule,
    pdev_2: Option<&'d PdevGranule>,
    handle: u64,
    /// Whether it does not exist any more once the operation on it is complete.
    disconnects: bool,
}

impl<'d> Stream<'d> {
    /// The first device.
    pub const fn pdev_1(&self) -> &'d PdevGranule {
        self.pdev_1
    }

    /// The second device, if the type of stream has one.
    #[must_use]
    pub const fn pdev_2(&self) -> Option<&'d PdevGranule> {
        self.pdev_2
    }

    /// The RMM's identifier of it.
    #[must_use]
    pub const fn handle(&self) -> u64 {
        self.handle
    }

    /// The registers that identify its devices; 0 for one that is absent.
    pub(super) fn devices(&self) -> (u64, u64) {
        (self.pdev_1.pa().raw(), optional(self.pdev_2))
    }
}

/// The output of `RMI_PDEV_STREAM_INFO`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StreamInfo {
    /// `RmiPdevStreamState`, a code whose meaning is not public.
    pub state: u64,
    /// What it carries.
    pub stream_type: PdevStreamType,
    /// How often its keys were refreshed.
    pub refresh_count: u64,
    /// How often its keys were purged.
    pub purge_count: u64,
}

/// The register that identifies a device that may be absent.
fn optional(pdev: Option<&PdevGranule>) -> u64 {
    pdev.map_or(0, |pdev| pdev.pa().raw())
}

impl<P: Platform> Channel<P> {
    fn pdev_call(&self, command: Command, pdev: Pa) -> Result<Reply, Error> {
        let call = Call::new(command, Subject::Pa(pdev), [pdev.raw()]);
        // SAFETY: the command accesses no memory except the object's own.
        unsafe { self.complete(&call) }
    }

    /// `RMI_PDEV_CREATE`: starts to create the object of a physical device in a delegated granule.
    /// `page` is host memory for the parameters.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_PDEV_CREATE.
    ///
    /// # Errors
    ///
    /// [`ErrorInput`](rmi_abi::Status::ErrorInput) for parameters or a granule that the RMM does
    /// not accept, or an identifier in use; [`ErrorTracking`](rmi_abi::Status::ErrorTracking) when
    /// the granule is not tracked at granule granularity;
    /// [`ErrorNotSupported`](rmi_abi::Status::ErrorNotSupported) without device assignment.
    /// [`Error::Argument`] identifies the parameter that the dialect cannot express.
    ///
    /// # Safety
    ///
    /// `hb_base` of `params` is the base address of the configuration space (ECAM) of a host
    /// bridge, from 2.0-bet1 on: the RMM reads and writes registers there, and no document says
    /// that it knows those addresses itself.
    ///
    /// ```compile_fail,E0133
    /// # use rmi_abi::device::PdevParams;
    /// # use rmi_host::{Channel, Delegated, Platform, Undelegated};
    /// fn create<P: Platform>(
    ///     channel: &Channel<P>, pdev: &Delegated, page: &mut Undelegated, params: &PdevParams,
    /// ) {
    ///     let _ = channel.pdev_create(pdev, page, params); // error: call to unsafe function
    /// }
    /// ```
    pub unsafe fn pdev_create(
        &self,
        pdev: &Delegated,
        page: &mut Undelegated,
        params: &PdevParams,
    ) -> Result<Progress, Error> {
        self.own(Command::PdevCreate, pdev)?;
        let (command, subject) = (Command::PdevCreate, Subject::Pa(pdev.base()));
        self.require(command)?;
        let encoded = params
            .encode(self.dialect())
            .map_err(|error| Error::argument(command, inexpressible(error.field), subject))?;
        let at = match &encoded {
            PdevParamsEncoded::Bet0(params) => self.put(command, page, params)?,
            PdevParamsEncoded::SinceBet1(params) => self.put(command, page, params)?,
        };
        let call = Call::new(command, subject, [pdev.base().raw(), at.raw()]);
        // SAFETY: the RMM reads a page that this function borrows exclusively; the granule is the
        // RMM's already; the caller vouches for what the RMM programs.
        unsafe { self.start(&call) }
    }

    /// `RMI_PDEV_DESTROY`: starts to destroy the object of a stopped device.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_PDEV_DESTROY.
    ///
    /// # Errors
    ///
    /// [`ErrorDevice`](rmi_abi::Status::ErrorDevice) unless it is stopped;
    /// [`ErrorNotSupported`](rmi_abi::Status::ErrorNotSupported) without device assignment.
    pub fn pdev_destroy(&self, pdev: &PdevGranule) -> Result<Progress, Error> {
        self.own(Command::PdevDestroy, pdev)?;
        let call = Call::new(Command::PdevDestroy, Subject::Pa(pdev.pa()), [pdev.pa().raw()]);
        // SAFETY: the command accesses no memory except the object's own.
        unsafe { self.start(&call) }
    }

    /// `RMI_PDEV_GET_STATE`: reads the state of a device.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_PDEV_GET_STATE.
    ///
    /// # Errors
    ///
    /// [`ErrorInput`](rmi_abi::Status::ErrorInput) when `pdev` is not such an object;
    /// [`ErrorNotSupported`](rmi_abi::Status::ErrorNotSupported) without device assignment.
    pub fn pdev_get_state(&self, pdev: &PdevGranule) -> Result<PdevState, Error> {
        self.own(Command::PdevGetState, pdev)?;
        let reply = self.pdev_call(Command::PdevGetState, pdev.pa())?;
        Ok(PdevState::from(code(reply.x1())))
    }

    /// `RMI_PDEV_ABORT`: aborts the communication with a device.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_PDEV_ABORT.
    ///
    /// # Errors
    ///
    /// [`ErrorDevice`](rmi_abi::Status::ErrorDevice) when none is in progress;
    /// [`ErrorNotSupported`](rmi_abi::Status::ErrorNotSupported) without device assignment.
    pub fn pdev_abort(&self, pdev: &PdevGranule) -> Result<(), Error> {
        self.own(Command::PdevAbort, pdev)?;
        self.pdev_call(Command::PdevAbort, pdev.pa()).map(|_| ())
    }

    /// `RMI_PDEV_STOP`: starts to stop a device; communication with it completes the operation.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_PDEV_STOP.
    ///
    /// # Errors
    ///
    /// [`ErrorDevice`](rmi_abi::Status::ErrorDevice) while it communicates, has a connected stream
    /// or virtual devices; [`ErrorNotSupported`](rmi_abi::Status::ErrorNotSupported) without device
    /// assignment.
    pub fn pdev_stop(&self, pdev: &PdevGranule) -> Result<(), Error> {
        self.own(Command::PdevStop, pdev)?;
        self.pdev_call(Command::PdevStop, pdev.pa()).map(|_| ())
    }

    /// `RMI_PDEV_SET_PUBKEY`: gives the RMM the public key of a device. `page` is host memory for
    /// it.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_PDEV_SET_PUBKEY.
    ///
    /// # Errors
    ///
    /// [`ErrorInput`](rmi_abi::Status::ErrorInput) when the key is not one of the algorithm;
    /// [`ErrorDevice`](rmi_abi::Status::ErrorDevice) unless the device waits for it;
    /// [`ErrorNotSupported`](rmi_abi::Status::ErrorNotSupported) without device assignment.
    pub fn pdev_set_pubkey(
        &self,
        pdev: &PdevGranule,
        page: &mut Undelegated,
        key: &PublicKeyParamsPage,
    ) -> Result<(), Error> {
        self.own(Command::PdevSetPubkey, pdev)?;
        let command = Command::PdevSetPubkey;
        self.require(command)?;
        let at = self.put(command, page, key)?;
        let args = [pdev.pa().raw(), at.raw()];
        let call = Call::new(command, Subject::Pa(pdev.pa()), args);
        // SAFETY: the RMM reads a page that this function borrows exclusively.
        unsafe { self.complete(&call) }.map(|_| ())
    }

    /// Performs one step of a communication: fills the host's half of the record, calls, and copies
    /// the RMM's half out.
    pub(super) fn communicate<const N: usize>(
        &self,
        command: Command,
        object: Pa,
        objects: [u64; N],
        buffers: &mut DevCommBuffers<'_>,
        (status, response_bytes): (DevCommStatus, u64),
    ) -> Result<DevCommExit, Error> {
        self.require(command)?;
        let subject = Subject::Pa(object);
        let argument = |what| Err(Error::argument(command, what, subject));
        self.own(command, &*buffers.request)?;
        self.own(command, buffers.response)?;
        let granule = self.granule_size().bytes();
        let (request, response): (&Undelegated, _) = (buffers.request, buffers.response);
        for buffer in [request, response] {
            if buffer.bytes() < granule || !buffer.base().is_aligned(granule) {
                return argument("a buffer is no whole granule");
            }
        }
        if response_bytes > buffers.response.bytes() {
            return argument("the response is longer than its buffer");
        }
        let mut page = DevCommDataPage::new_zeroed();
        page.enter.status = status.into();
        page.enter.req_addr = buffers.request.base().raw();
        page.enter.rsp_addr = buffers.response.base().raw();
        page.enter.rsp_len = response_bytes;
        let at = self.put(command, buffers.data, &page)?;
        let mut args = [0; 7];
        for (slot, arg) in args.iter_mut().zip(objects.into_iter().chain([at.raw()])) {
            *slot = arg;
        }
        let call = Call { command, args, subject };
        // SAFETY: the RMM reads and writes two pages that this function borrows exclusively, and
        // reads a third to which no reference exists.
        unsafe { self.complete(&call)? };
        self.get(buffers.data, core::mem::offset_of!(DevCommDataPage, exit) as u64)
    }

    /// `RMI_PDEV_COMMUNICATE`: performs one step of the communication of the RMM with a device, and
    /// returns what the host has to do next. `answer` is the outcome of the last request and the
    /// length of the response in bytes.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_PDEV_COMMUNICATE.
    ///
    /// # Errors
    ///
    /// [`ErrorDevice`](rmi_abi::Status::ErrorDevice) when no communication is pending;
    /// [`ErrorInput`](rmi_abi::Status::ErrorInput) when `answer` does not match the request;
    /// [`ErrorNotSupported`](rmi_abi::Status::ErrorNotSupported) without device assignment.
    /// [`Error::Argument`] when a buffer is too small.
    pub fn pdev_communicate(
        &self,
        pdev: &PdevGranule,
        buffers: &mut DevCommBuffers<'_>,
        answer: (DevCommStatus, u64),
    ) -> Result<DevCommExit, Error> {
        self.own(Command::PdevCommunicate, pdev)?;
        let pa = pdev.pa();
        self.communicate(Command::PdevCommunicate, pa, [pa.raw()], buffers, answer)
    }

    /// `RMI_PDEV_STREAM_CONNECT`: starts to connect a stream between two devices, which fill in
    /// their fields of `params`; communication with both completes the operation. `page` is host
    /// memory for the parameters.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_PDEV_STREAM_CONNECT.
    ///
    /// # Errors
    ///
    /// [`ErrorDevice`](rmi_abi::Status::ErrorDevice) when a device is in the wrong state;
    /// [`ErrorInput`](rmi_abi::Status::ErrorInput) for parameters that the RMM does not accept;
    /// [`ErrorNotSupported`](rmi_abi::Status::ErrorNotSupported) for an unsupported type of stream
    /// and without device assignment.
    pub fn pdev_stream_connect<'d>(
        &self,
        pdev_1: &'d PdevGranule,
        pdev_2: Option<&'d PdevGranule>,
        page: &mut Undelegated,
        params: &PdevStreamParamsPage,
    ) -> Result<Stream<'d>, Error> {
        self.own(Command::PdevStreamConnect, pdev_1)?;
        if let Some(pdev_2) = pdev_2 {
            self.own(Command::PdevStreamConnect, pdev_2)?;
        }
        let command = Command::PdevStreamConnect;
        self.require(command)?;
        let mut params = *params;
        params.pdev_1 = pdev_1.pa().raw();
        params.pdev_2 = optional(pdev_2);
        let at = self.put(command, page, &params)?;
        let call = Call::new(command, Subject::Pa(pdev_1.pa()), [at.raw()]);
        // SAFETY: the RMM reads a page that this function borrows exclusively.
        let handle = unsafe { self.complete(&call)? }.x1();
        Ok(Stream { pdev_1, pdev_2, handle, disconnects: false })
    }

    /// Refuses a stream between devices of another machine.
    pub(super) fn own_stream(&self, command: Command, stream: &Stream<'_>) -> Result<(), Error> {
        self.own(command, stream.pdev_1)?;
        stream.pdev_2.map_or(Ok(()), |pdev_2| self.own(command, pdev_2))
    }

    fn stream_call(&self, command: Command, stream: &Stream<'_>) -> Result<Reply, Error> {
        self.own_stream(command, stream)?;
        let (pdev_1, pdev_2) = stream.devices();
        let args = [pdev_1, pdev_2, stream.handle];
        let call = Call::new(command, Subject::Pa(stream.pdev_1.pa()), args);
        // SAFETY: the command names no memory except the objects'.
        unsafe { self.complete(&call) }
    }

    /// `RMI_PDEV_STREAM_DISCONNECT`: starts to disconnect a stream; communication with both devices
    /// and [`Channel::pdev_stream_complete`] complete the operation.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_PDEV_STREAM_DISCONNECT.
    ///
    /// # Errors
    ///
    /// [`ErrorDevice`](rmi_abi::Status::ErrorDevice) when it is in the wrong state or virtual
    /// devices use it; [`ErrorInput`](rmi_abi::Status::ErrorInput) when there is no such stream.
    pub fn pdev_stream_disconnect(&self, stream: &mut Stream<'_>) -> Result<(), Error> {
        let answer = self.stream_call(Command::PdevStreamDisconnect, stream);
        // After an unclear answer it may be about to end.
        stream.disconnects |= answer.as_ref().map_or_else(|error| !error.is_clean(), |_| true);
        answer.map(|_| ())
    }

    /// `RMI_PDEV_STREAM_COMPLETE`: completes a connection, refresh or disconnection of a stream.
    /// Returns the stream, and `None` when it was disconnected.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_PDEV_STREAM_COMPLETE.
    ///
    /// # Errors
    ///
    /// [`ErrorDevice`](rmi_abi::Status::ErrorDevice) while the communication with one of the
    /// devices is not finished; [`ErrorInput`](rmi_abi::Status::ErrorInput) when there is no such
    /// stream.
    ///
    /// The stream is returned, unless it was about to end and it is unclear whether it has: then
    /// `kept` is `None`.
    pub fn pdev_stream_complete<'d>(
        &self,
        stream: Stream<'d>,
    ) -> Result<Option<Stream<'d>>, Failed<Option<Stream<'d>>>> {
        match self.stream_call(Command::PdevStreamComplete, &stream) {
            Ok(_) => Ok((!stream.disconnects).then_some(stream)),
            Err(error) => {
                let exists = !stream.disconnects || error.is_clean();
                Err(Failed::new(exists.then_some(stream), error))
            }
        }
    }

    /// `RMI_PDEV_STREAM_KEY_REFRESH`: starts to give a stream new keys.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_PDEV_STREAM_KEY_REFRESH.
    ///
    /// # Errors
    ///
    /// [`ErrorDevice`](rmi_abi::Status::ErrorDevice) when a device or the stream is in the wrong
    /// state; [`ErrorInput`](rmi_abi::Status::ErrorInput) when there is no such stream;
    /// [`ErrorNotSupported`](rmi_abi::Status::ErrorNotSupported) without device assignment.
    pub fn pdev_stream_key_refresh(&self, stream: &Stream<'_>) -> Result<(), Error> {
        self.stream_call(Command::PdevStreamKeyRefresh, stream).map(|_| ())
    }

    /// `RMI_PDEV_STREAM_KEY_PURGE`: removes old keys from a stream.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_PDEV_STREAM_KEY_PURGE.
    ///
    /// # Errors
    ///
    /// [`ErrorNotSupported`](rmi_abi::Status::ErrorNotSupported), with TF-RMM (July 2026) always;
    /// the conditions of other statuses are not public.
    pub fn pdev_stream_key_purge(&self, stream: &Stream<'_>) -> Result<(), Error> {
        self.stream_call(Command::PdevStreamKeyPurge, stream).map(|_| ())
    }

    /// `RMI_PDEV_STREAM_INFO`: describes a stream.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_PDEV_STREAM_INFO.
    ///
    /// # Errors
    ///
    /// [`ErrorInput`](rmi_abi::Status::ErrorInput) when there is no such stream, or its type needs
    /// a second device; [`ErrorNotSupported`](rmi_abi::Status::ErrorNotSupported) without device
    /// assignment.
    pub fn pdev_stream_info(&self, stream: &Stream<'_>) -> Result<StreamInfo, Error> {
        let reply = self.stream_call(Command::PdevStreamInfo, stream)?;
        Ok(StreamInfo {
            state: reply.x1(),
            stream_type: PdevStreamType::from(code(reply.x2())),
            refresh_count: reply.x3(),
            purge_count: reply.x4(),
        })
    }
}

/// The error for a device parameter that a page cannot hold.
fn inexpressible(field: &str) -> &'static str {
    match field {
        "category" => "the kind of device has no code",
        "hb_base" => "the dialect has no host bridge base",
        "rid_base" | "rid_top" => "the dialect has no such routing identifiers",
        "p2p" => "the dialect has no peer to peer traffic",
        "max_vdevs_order" => "the dialect has no number of virtual devices",
        _ => "the dialect cannot express a device parameter",
    }
}
