//! Commands about the RMM as a whole, and internal functions that other commands use.
#![expect(unsafe_code, reason = "calls go through the conduit")]

use core::mem::offset_of;

use rmi_abi::address::Address;
use rmi_abi::address::AddressRange;
use rmi_abi::dialect::InterfaceVersion;
use rmi_abi::realm::RmmConfigPage;
use rmi_abi::rmm::RmmState;
use rmi_abi::{Command, Dialect, ResultWord, Status};

use crate::channel::{Attempts, Call, Channel, Progress, Reply};
use crate::command::Halted;
use crate::command::tracking::code;
use crate::error::{Error, Subject, Violation};
use crate::granules::Undelegated;
use crate::platform::Platform;

/// The fields of the RMM's configuration, as its page lays them out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConfigCodes {
    pub(crate) rmi_granule_size: u8,
    pub(crate) tracking_region_size: u8,
}

impl<P: Platform> Channel<P> {
    /// Issues a command that names no memory, repeats it while the RMM is busy, and returns the
    /// last answer unchanged.
    pub(crate) fn ask(&self, call: &Call) -> Result<(ResultWord, Reply), Error> {
        self.ask_in(self.dialect(), call)
    }

    /// As [`Channel::ask`], with the function identifier of a dialect that may be another.
    pub(crate) fn ask_in(
        &self,
        dialect: Dialect,
        call: &Call,
    ) -> Result<(ResultWord, Reply), Error> {
        let (mut attempts, mut reply) = (Attempts::default(), Reply::EMPTY);
        loop {
            // SAFETY: version, feature and table queries have no effect on memory.
            let result = unsafe { self.issue_in(dialect, call, &mut reply)? };
            let status = result.status();
            let may_be_repeated = matches!(status, Status::Busy | Status::Blocked);
            if !may_be_repeated || !self.pause(&mut attempts, status) {
                return Ok((result, reply));
            }
        }
    }

    /// Issues a command that names no memory and waits for its success.
    pub(crate) fn ask_to_the_end(&self, call: &Call) -> Result<Reply, Error> {
        // SAFETY: queries have no effect on memory.
        unsafe { self.complete(call) }
    }

    /// Has the RMM write its configuration to `page`.
    fn fetch_config(&self, page: &mut Undelegated) -> Result<(), Error> {
        // The RMM writes the page; filling it first ensures that the host can access it and that it
        // is large enough.
        let at = self.put(Command::RmmConfigGet, page, &[0u8; size_of::<RmmConfigPage>()])?;
        let call = Call::new(Command::RmmConfigGet, Subject::Pa(at), [at.raw()]);
        // SAFETY: the RMM writes to a page that this function borrows exclusively.
        unsafe { self.complete(&call) }.map(|_| ())
    }

    /// Reads the RMM's configuration, without a copy of its page on the stack.
    pub(crate) fn config(&self, page: &mut Undelegated) -> Result<ConfigCodes, Error> {
        self.fetch_config(page)?;
        let code = |offset: usize| self.get::<u8, Error>(page, offset as u64);
        Ok(ConfigCodes {
            rmi_granule_size: code(offset_of!(RmmConfigPage, rmi_granule_size))?,
            tracking_region_size: code(offset_of!(RmmConfigPage, tracking_region_size))?,
        })
    }

    /// Changes the RMM's configuration, without a copy of its page on the stack.
    pub(crate) fn set_config(
        &self,
        page: &mut Undelegated,
        config: &ConfigCodes,
    ) -> Result<(), Error> {
        self.put(Command::RmmConfigSet, page, &[0u8; size_of::<RmmConfigPage>()])?;
        for (offset, code) in [
            (offset_of!(RmmConfigPage, rmi_granule_size), config.rmi_granule_size),
            (offset_of!(RmmConfigPage, tracking_region_size), config.tracking_region_size),
        ] {
            self.write_host(page, offset as u64, &[code])?;
        }
        self.send_config(page)
    }

    /// Has the RMM read its configuration from `page`.
    fn send_config(&self, page: &mut Undelegated) -> Result<(), Error> {
        let at = page.base();
        let call = Call::new(Command::RmmConfigSet, Subject::Pa(at), [at.raw()]);
        // SAFETY: the RMM reads a page that this function borrows exclusively.
        unsafe { self.complete(&call) }.map(|_| ())
    }

    pub(crate) fn activate(&self) -> Result<Progress, Error> {
        // SAFETY: the command names no memory; what the operation wants is donated by tokens.
        unsafe { self.start(&Call::new(Command::RmmActivate, Subject::Rmm, [])) }
    }

    /// Checks the end that a range command reported: inside the range, past its base, 4 KiB
    /// aligned.
    pub(crate) fn progress<A: Address>(
        &self,
        call: &Call,
        range: AddressRange<A>,
        out_top: u64,
    ) -> Result<A, Error> {
        let top = A::from_raw(out_top);
        let sound = top > range.base()
            && top <= range.top()
            && AddressRange::new(range.base(), top).is_ok();
        if sound {
            Ok(top)
        } else {
            Err(Error::violation(call.command, Violation::Progress, out_top, call.subject))
        }
    }
}

/// The versions of the interface that an RMM implements.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The lowest.
    pub lower: InterfaceVersion,
    /// The highest.
    pub higher: InterfaceVersion,
}

impl Versions {
    fn of(reply: Reply) -> Self {
        Self { lower: InterfaceVersion(reply.x1()), higher: InterfaceVersion(reply.x2()) }
    }
}

impl<P: Platform> Channel<P> {
    /// `RMI_VERSION`: requests a version of the interface; returns the versions that the RMM
    /// implements.
    ///
    /// All betas of 2.0 answer alike; see [`Discovered::probe`](crate::Discovered::probe) for how a
    /// session tells them apart.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_VERSION.
    ///
    /// # Errors
    ///
    /// [`ErrorInput`](Status::ErrorInput) when the RMM does not implement that version; the
    /// versions that it implements are included.
    pub fn rmi_version(&self, version: InterfaceVersion) -> Result<Versions, Halted<Versions>> {
        let call = Call::new(Command::Version, Subject::Rmm, [version.0]);
        // SAFETY: the command has no effect on memory.
        let answer = unsafe {
            self.complete_or_halt(&call, &[Status::ErrorInput], |reply| Some(Versions::of(reply)))
        };
        answer.map(Versions::of)
    }

    /// `RMI_RMM_CONFIG_GET`: reads the RMM's configuration. `page` is host memory that the RMM
    /// writes it to.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RMM_CONFIG_GET.
    ///
    /// # Errors
    ///
    /// [`ErrorInput`](Status::ErrorInput) when the RMM cannot write the page.
    pub fn rmm_config_get(&self, page: &mut Undelegated) -> Result<RmmConfigPage, Error> {
        self.require(Command::RmmConfigGet)?;
        self.fetch_config(page)?;
        self.get(page, 0)
    }

    /// `RMI_RMM_CONFIG_SET`: changes the RMM's configuration, before it is activated. `page` is
    /// host memory for it.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RMM_CONFIG_SET.
    ///
    /// # Errors
    ///
    /// [`ErrorInput`](Status::ErrorInput) for a value that the RMM does not support,
    /// [`ErrorGlobal`](Status::ErrorGlobal) once it is active.
    pub fn rmm_config_set(
        &self,
        page: &mut Undelegated,
        config: &RmmConfigPage,
    ) -> Result<(), Error> {
        self.require(Command::RmmConfigSet)?;
        if config.rmi_granule_size != self.granule_size().code() {
            let what = "a session keeps its granule size; open another one";
            return Err(Error::argument(Command::RmmConfigSet, what, Subject::Rmm));
        }
        self.put(Command::RmmConfigSet, page, config)?;
        self.send_config(page)
    }

    /// `RMI_RMM_STATE_GET`: reads whether the RMM is active.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RMM_STATE_GET.
    ///
    /// # Errors
    ///
    /// [`Error`]; the command itself never fails.
    pub fn rmm_state_get(&self) -> Result<RmmState, Error> {
        let reply = self.ask_to_the_end(&Call::new(Command::RmmStateGet, Subject::Rmm, []))?;
        Ok(RmmState::from(code(reply.x1())))
    }

    /// `RMI_RMM_ACTIVATE`: starts to activate the RMM, which may take memory.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RMM_ACTIVATE.
    ///
    /// # Errors
    ///
    /// [`ErrorGlobal`](Status::ErrorGlobal) when it is active already.
    pub fn rmm_activate(&self) -> Result<Progress, Error> {
        self.activate()
    }

    /// `RMI_RMM_DEACTIVATE`: starts to return the RMM to the state in which it can be configured,
    /// which may return memory.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RMM_DEACTIVATE.
    ///
    /// # Errors
    ///
    /// [`ErrorGlobal`](Status::ErrorGlobal) unless it is active and has no objects left.
    pub fn rmm_deactivate(&self) -> Result<Progress, Error> {
        // SAFETY: the command names no memory; tokens represent all memory that the RMM returns.
        unsafe { self.start(&Call::new(Command::RmmDeactivate, Subject::Rmm, [])) }
    }

    /// `RMI_ATTEST_PLAT_TOKEN_REFRESH`: has the RMM fetch the attestation token of the platform
    /// again.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_ATTEST_PLAT_TOKEN_REFRESH.
    ///
    /// # Errors
    ///
    /// [`ErrorGlobal`](Status::ErrorGlobal) unless the RMM is active.
    pub fn attest_plat_token_refresh(&self) -> Result<(), Error> {
        let call = Call::new(Command::AttestPlatTokenRefresh, Subject::Rmm, []);
        self.ask_to_the_end(&call).map(|_| ())
    }
}

/// Issues `RMI_GRANULE_RANGE_DELEGATE` or `RMI_GRANULE_RANGE_UNDELEGATE` until it is complete.
pub(crate) fn delegate_range<P: Platform>(
    channel: &Channel<P>,
    call: &Call,
    reply: &mut Reply,
) -> Result<(), Error> {
    // SAFETY: all callers have the token of the whole range and give it up for as much of it as the
    // RMM may have taken.
    unsafe { channel.complete_into(call, reply) }
}
