//! How the dialect of an RMM is found.
//!
//! All dialects of 2.0 report the same version. Three commands that read and change nothing tell
//! the known ones apart:
//!
//! | Dialect | `RMI_GPT_INFO` without a range | `RMI_GRANULE_TRACKING_GET` without a range | `RMI_RMM_STATE_GET` |
//! |---|---|---|---|
//! | 2.0-bet3 | exists, and refuses it | | |
//! | 2.0-bet0 | unknown | takes the one address, or refuses it because the RMM is not active | |
//! | 2.0-bet1 | unknown | refuses the range | the state |
//! | tf-rmm-2026-07 | unknown | refuses the range | unknown |
//!
//! They are issued in this order, up to the answer that decides. The number of
//! `RMI_RMM_STATE_GET` is that of `RMI_VSMMU_EVENT_COMPLETE` in 2.0-bet0, so it is issued only when
//! the RMM is not that, and with arguments that are no granules: even a 2.0-bet0 that refused the
//! address would refuse them before it changed anything.
//!
//! What this does not tell:
//!
//! - 2.0-bet2, of which no complete text is public: it is taken for the dialect that answers alike.
//! - The drafts of 2.0-bet0. They name a few commands for devices differently, which this SDK does
//!   not issue unless asked to.
//! - TF-RMM of another month: it may mix what the dialects have. Commands that would tell more,
//!   such as those of auxiliary trees, change a Realm when their arguments happen to be valid, so
//!   they are not issued.
//! - An RMM whose answers are those of no dialect is taken for `tf-rmm-2026-07`, and
//!   [`DialectSource::Assumed`] says so.

use core::fmt;

use rmi_abi::{Command, Dialect, ResultWord, Status};

use crate::channel::{Call, Channel};
use crate::conduit::Registers;
use crate::error::{Error, Subject};
use crate::platform::Platform;

/// No granule is here: it is not aligned.
const NO_GRANULE: u64 = 1;

/// What `RMI_RMM_STATE_GET` ignores, and a command of the same number in 2.0-bet0 refuses.
const NO_OBJECTS: [u64; 3] = [NO_GRANULE; 3];

/// Whether this call is one of those by which a session finds the dialect: `RMI_GPT_INFO` and
/// `RMI_GRANULE_TRACKING_GET` without a range, and `RMI_RMM_STATE_GET` with arguments.
///
/// For conduits that count failures: these may be refused.
#[must_use]
pub fn is_probe(registers: &Registers) -> bool {
    let [x0, x1, x2, x3, ..] = *registers;
    let is =
        |command: Command| command.fid(Dialect::V2_0Bet3).is_some_and(|fid| u64::from(fid.0) == x0);
    let has_no_range = is(Command::GptInfo) || is(Command::GranuleTrackingGet);
    (has_no_range && x1 == 0 && x2 == 0) || (is(Command::RmmStateGet) && [x1, x2, x3] == NO_OBJECTS)
}

/// How the dialect of a session was determined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DialectSource {
    /// [`SessionOptions::dialect`](crate::SessionOptions::dialect) sets it. Nothing confirms it.
    Options,
    /// The version of the interface: no other dialect has it.
    Version,
    /// The answers of the RMM: no other known dialect gives them.
    Answers,
    /// The answers of the RMM are those of no known dialect.
    Assumed,
}

impl fmt::Display for DialectSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Options => "set by the options; not confirmed",
            Self::Version => "by the version of the interface",
            Self::Answers => {
                "by the answers to probes; 2.0-bet2 and later TF-RMM cannot be told from it"
            }
            Self::Assumed => {
                "assumed, because the answers to probes are those of no known dialect; set it in \
                 the options"
            }
        })
    }
}

impl<P: Platform> Channel<P> {
    /// The dialect of an RMM of 2.0.
    pub(super) fn find_dialect(&self) -> Result<(Dialect, DialectSource), Error> {
        if self.has_gpt_info()? {
            return Ok((Dialect::V2_0Bet3, DialectSource::Answers));
        }
        match self.probe(Command::GranuleTrackingGet, [0; 3])?.status() {
            Status::Success | Status::ErrorGlobal => {
                return Ok((Dialect::V2_0Bet0, DialectSource::Answers));
            }
            Status::ErrorInput => {}
            _ => return Ok((Dialect::TfRmm2026_07, DialectSource::Assumed)),
        }
        let result = self.probe(Command::RmmStateGet, NO_OBJECTS)?;
        Ok(match result.status() {
            _ if result.is_not_supported() => (Dialect::TfRmm2026_07, DialectSource::Answers),
            Status::Success => (Dialect::V2_0Bet1, DialectSource::Answers),
            _ => (Dialect::TfRmm2026_07, DialectSource::Assumed),
        })
    }

    fn has_gpt_info(&self) -> Result<bool, Error> {
        let result = self.probe(Command::GptInfo, [0; 3])?;
        Ok(!result.is_not_supported() && result.status() != Status::ErrorNotSupported)
    }

    /// Issues a command that only reads, by the number that it has in 2.0-bet3, until the RMM is
    /// not busy.
    fn probe(&self, command: Command, args: [u64; 3]) -> Result<ResultWord, Error> {
        let call = Call::new(command, Subject::Rmm, args);
        let (result, _) = self.ask_in(Dialect::V2_0Bet3, &call)?;
        match result.status() {
            Status::Busy | Status::Blocked => Err(self.failure(&call, result)),
            _ => Ok(result),
        }
    }
}
