//! Commands about the RMM as a whole, and the plumbing that other commands use.
#![expect(unsafe_code, reason = "calls go through the one door")]

use rmi_abi::address::Address;
use rmi_abi::address::AddressRange;
use rmi_abi::realm::RmmConfigPage;
use rmi_abi::{Command, ResultWord, Status};

use crate::channel::{Call, Channel, Progress, Reply};
use crate::error::{Error, Subject, Violation};
use crate::granules::Undelegated;
use crate::platform::Platform;

impl<P: Platform> Channel<P> {
    /// Issues a command that names no memory, again while the RMM is busy, and hands the last answer over as it is.
    pub(crate) fn ask(&self, call: &Call) -> Result<(ResultWord, Reply), Error> {
        let mut patience = self.patience().busy;
        loop {
            // SAFETY: version, feature and table queries have no effect on memory.
            let answer = unsafe { self.issue(call)? };
            if patience == 0 || !matches!(answer.0.status(), Status::Busy | Status::Blocked) {
                return Ok(answer);
            }
            patience -= 1;
            self.platform().relax();
        }
    }

    /// Issues a command that names no memory and waits for its success.
    pub(crate) fn ask_to_the_end(&self, call: &Call) -> Result<Reply, Error> {
        // SAFETY: queries have no effect on memory.
        unsafe { self.complete(call) }
    }

    pub(crate) fn config(&self, page: &mut Undelegated) -> Result<RmmConfigPage, Error> {
        // The RMM writes the page; filling it first makes sure that the host reaches it and that it is large enough.
        let at = self.put(Command::RmmConfigGet, page, &[0u8; size_of::<RmmConfigPage>()])?;
        let call = Call::new(Command::RmmConfigGet, Subject::Pa(at), [at.raw()]);
        // SAFETY: the RMM writes to a page that this function borrows exclusively.
        unsafe { self.complete(&call)? };
        Ok(self.get(page, 0)?)
    }

    pub(crate) fn set_config(
        &self,
        page: &mut Undelegated,
        config: &RmmConfigPage,
    ) -> Result<(), Error> {
        let at = self.put(Command::RmmConfigSet, page, config)?;
        let call = Call::new(Command::RmmConfigSet, Subject::Pa(at), [at.raw()]);
        // SAFETY: the RMM reads a page that this function borrows exclusively.
        unsafe { self.complete(&call) }.map(|_| ())
    }

    pub(crate) fn activate(&self) -> Result<Progress, Error> {
        // SAFETY: the command names no memory; what the operation wants is donated by tokens.
        unsafe { self.start(&Call::new(Command::RmmActivate, Subject::Rmm, [])) }
    }

    /// Checks the end that a range command reported: inside the range, past its base, 4 KiB aligned.
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
            Err(Error::Violation {
                command: call.command,
                violation: Violation::Progress,
                value: out_top,
                subject: call.subject,
            })
        }
    }
}

/// Issues `RMI_GRANULE_RANGE_DELEGATE` or `RMI_GRANULE_RANGE_UNDELEGATE` to its end.
pub(crate) fn delegate_range<P: Platform>(
    channel: &Channel<P>,
    call: &Call,
) -> Result<Reply, Error> {
    // SAFETY: the only callers hold the token of the whole range and give it up for as much of it as the RMM may have taken.
    unsafe { channel.complete(call) }
}
