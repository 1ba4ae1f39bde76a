//! The state of the Realm's memory (RIPAS): which of it is private memory.
#![expect(unsafe_code, reason = "a change of the state takes memory away")]

use core::fmt;

use rmi_abi::address::MIN_GRANULE;
use rmi_abi::rsi::{Command, RipasChangeFlags};
use rmi_abi::rtt::Ripas;
use rmi_abi::{Ipa, IpaRange};

use crate::conduit::Conduit;
use crate::config::IpaSpace;
use crate::error::Error;
use crate::interface::{Plain, Rsi};

/// How far one `RSI_IPA_STATE_SET` came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RipasStep {
    /// All of the range has the state.
    Done,
    /// What is before this address has the state. Call again from there.
    Partial(Ipa),
    /// What is before this address has the state; the host refuses the rest.
    #[doc(alias = "RSI_REJECT")]
    Rejected(Ipa),
}

/// A part of a range, from its base on, that has one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RipasRun {
    /// The state. It may become [`Ripas::Destroyed`] at any time.
    pub ripas: Ripas,
    /// The end of the part; what follows may have the same state.
    pub top: Ipa,
}

/// A change of the state of memory that did not reach the end of its range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RipasStopped {
    /// What is before this address has the state; the rest has the one that it had.
    pub reached: Ipa,
    /// Why it stopped.
    pub why: WhyStopped,
}

/// Why a change of memory, or of its permissions, stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum WhyStopped {
    /// The host refuses the rest.
    Rejected,
    /// [`Rsi::CALLS_WITHOUT_PROGRESS`] calls changed nothing: the next page is destroyed, and the
    /// flags exclude destroyed pages; or the host does not do what it accepts.
    NoProgress,
    /// A call failed.
    Call(Error),
}

impl fmt::Display for WhyStopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rejected => f.write_str("the host refuses the rest"),
            Self::NoProgress => f.write_str("calls make no progress"),
            Self::Call(error) => error.fmt(f),
        }
    }
}

impl fmt::Display for RipasStopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the state of memory is changed before {:#x} only: {}", self.reached, self.why)
    }
}

impl core::error::Error for RipasStopped {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        self.why.error()
    }
}

impl WhyStopped {
    pub(crate) fn error(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Call(error) => Some(error),
            Self::Rejected | Self::NoProgress => None,
        }
    }
}

impl<C: Conduit> Rsi<C> {
    /// So many calls in a row that change nothing end a change of memory. A host may need more than
    /// one: it enters the Realm again before it is done.
    pub const CALLS_WITHOUT_PROGRESS: u32 = 16;

    /// Requests a state for a range by one call: [`Ripas::Empty`] or [`Ripas::Ram`].
    ///
    /// The range is protected, and its bounds are multiples of 4 KiB. The call exits to the host.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] with the code of any other state; [`Error::BadReply`] with an address
    /// that is not in the range; [`Error`].
    ///
    /// # Safety
    ///
    /// For [`Ripas::Empty`], no object of the program is in the range: an access aborts afterwards,
    /// and the content is lost. For [`Ripas::Ram`], no object is in the pages that have another
    /// state: their content is not specified afterwards.
    #[doc(alias = "RSI_IPA_STATE_SET")]
    pub unsafe fn set_ripas(
        &self,
        range: IpaRange,
        ripas: Ripas,
        flags: RipasChangeFlags,
    ) -> Result<RipasStep, Error> {
        let command = Command::IpaStateSet;
        let code = u64::from(u8::from(ripas));
        if !matches!(ripas, Ripas::Empty | Ripas::Ram) {
            return Err(Error::Argument { command, value: code });
        }
        let (base, top) = (range.base().raw(), range.top().raw());
        let arguments = [base, top, code, flags.bits()];
        // SAFETY: the caller answers for what is in the range.
        let [_, next, response, ..] = unsafe { self.any(command, &arguments) }?;
        let step = step(command, range, next, response)?;
        Ok(match step {
            Step::Done => RipasStep::Done,
            Step::Partial(next) => RipasStep::Partial(next),
            Step::Rejected(next) => RipasStep::Rejected(next),
        })
    }

    /// Requests a state for a range by as many calls as it takes.
    ///
    /// # Errors
    ///
    /// [`RipasStopped`], which says how far the change came. The number of calls is at most
    /// [`Self::CALLS_WITHOUT_PROGRESS`] for each page.
    ///
    /// # Safety
    ///
    /// That of [`Rsi::set_ripas`].
    #[doc(alias = "RSI_IPA_STATE_SET")]
    pub unsafe fn change_ripas(
        &self,
        range: IpaRange,
        ripas: Ripas,
        flags: RipasChangeFlags,
    ) -> Result<(), RipasStopped> {
        let mut rest = range;
        let mut idle = 0;
        while idle < Self::CALLS_WITHOUT_PROGRESS {
            let reached = rest.base();
            // SAFETY: the caller answers for what is in the range.
            match unsafe { self.set_ripas(rest, ripas, flags) } {
                Ok(RipasStep::Done) => return Ok(()),
                Ok(RipasStep::Partial(next)) if next > reached => {
                    rest = rest.after(next);
                    idle = 0;
                }
                Ok(RipasStep::Partial(_)) => idle += 1,
                Ok(RipasStep::Rejected(reached)) => {
                    return Err(RipasStopped { reached, why: WhyStopped::Rejected });
                }
                Err(error) => return Err(RipasStopped { reached, why: WhyStopped::Call(error) }),
            }
        }
        Err(RipasStopped { reached: rest.base(), why: WhyStopped::NoProgress })
    }

    /// Claims RAM at start-up: pages that are EMPTY become RAM, and a page that the host has
    /// destroyed since it was measured stops the change.
    ///
    /// # Errors
    ///
    /// As [`Rsi::change_ripas`].
    ///
    /// # Safety
    ///
    /// No object of the program is in pages of the range that are not RAM.
    pub unsafe fn claim_ram(&self, range: IpaRange) -> Result<(), RipasStopped> {
        // SAFETY: the promise is that of this function.
        unsafe { self.change_ripas(range, Ripas::Ram, RipasChangeFlags::empty()) }
    }

    /// Gives a protected range up and returns its alias, at which memory is shared with the host.
    ///
    /// The host maps memory there when the alias is used, or before. The program maps the alias
    /// itself, and uses it by way of [`SharedMemory`](crate::SharedMemory).
    ///
    /// # Errors
    ///
    /// As [`Rsi::change_ripas`]; [`Error::Argument`] with the base of a range that is not
    /// protected.
    ///
    /// # Safety
    ///
    /// No object of the program is in the range; its content is lost.
    #[doc(alias = "set_memory_decrypted")]
    pub unsafe fn share(
        &self,
        space: &IpaSpace,
        range: IpaRange,
    ) -> Result<IpaRange, RipasStopped> {
        let Some(alias) = space.shared_range(&range) else {
            let value = range.base().raw();
            let error = Error::Argument { command: Command::IpaStateSet, value };
            return Err(RipasStopped { reached: range.base(), why: WhyStopped::Call(error) });
        };
        // SAFETY: the promise is that of this function.
        unsafe { self.change_ripas(range, Ripas::Empty, RipasChangeFlags::DESTROYED) }?;
        Ok(alias)
    }

    /// Makes a protected range private memory again. Its content is not specified.
    ///
    /// # Errors
    ///
    /// As [`Rsi::change_ripas`].
    ///
    /// # Safety
    ///
    /// No object of the program is in pages of the range that are not RAM, and nothing uses the
    /// alias of the range any more.
    #[doc(alias = "set_memory_encrypted")]
    pub unsafe fn unshare(&self, range: IpaRange) -> Result<(), RipasStopped> {
        // SAFETY: the promise is that of this function.
        unsafe { self.change_ripas(range, Ripas::Ram, RipasChangeFlags::DESTROYED) }
    }

    /// Reads the state at the base of a range, and how far it extends at least.
    ///
    /// # Errors
    ///
    /// [`Error::BadReply`] with an end that is not in the range; [`Error`].
    #[doc(alias = "RSI_IPA_STATE_GET")]
    pub fn ripas(&self, range: IpaRange) -> Result<RipasRun, Error> {
        let (base, top) = (range.base().raw(), range.top().raw());
        let [_, out_top, code, ..] = self.plain(Plain::IpaStateGet, &[base, top])?;
        let end = Ipa::new(out_top);
        if end <= range.base() || end > range.top() || !end.is_aligned(MIN_GRANULE) {
            return Err(Error::BadReply { command: Command::IpaStateGet, value: out_top });
        }
        let [code, ..] = code.to_le_bytes();
        Ok(RipasRun { ripas: code.into(), top: end })
    }

    /// Whether all of a range has a state. A range in which some page is not EMPTY is not for
    /// devices that the host emulates.
    ///
    /// # Errors
    ///
    /// As [`Rsi::ripas`].
    pub fn is_all(&self, range: IpaRange, ripas: Ripas) -> Result<bool, Error> {
        let mut rest = range;
        loop {
            let run = self.ripas(rest)?;
            if run.ripas != ripas {
                return Ok(false);
            }
            // Each call passes one page at least.
            rest = rest.after(run.top);
            if rest.is_empty() {
                return Ok(true);
            }
        }
    }
}

/// What a call on a range did.
#[derive(Clone, Copy)]
pub(crate) enum Step {
    Done,
    Partial(Ipa),
    Rejected(Ipa),
}

/// What a call on a range did, by X1 and X2.
pub(crate) fn step(
    command: Command,
    range: IpaRange,
    next: u64,
    response: u64,
) -> Result<Step, Error> {
    let at = Ipa::new(next);
    if at < range.base() || at > range.top() || !at.is_aligned(MIN_GRANULE) {
        return Err(Error::BadReply { command, value: next });
    }
    match response {
        0 if at == range.top() => Ok(Step::Done),
        0 => Ok(Step::Partial(at)),
        1 => Ok(Step::Rejected(at)),
        _ => Err(Error::BadReply { command, value: response }),
    }
}
