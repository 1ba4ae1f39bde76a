//! What planes may do with memory: each page has an index, and each plane a permission for each
//! index. Since RSI 1.1.

use core::fmt;

use rmi_abi::rsi::{Command, MemPermission};
use rmi_abi::{Ipa, IpaRange};

use crate::conduit::Conduit;
use crate::error::Error;
use crate::interface::{Plain, Rsi};
use crate::ripas::{Step, WhyStopped, step};

/// How far one `RSI_MEM_SET_PERM_INDEX` came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PermissionStep {
    /// All of the range has the index.
    Done,
    /// Call again from this address, with this cookie. The address may be before the last one: an
    /// RMM may go through the range once for each plane.
    Partial(Ipa, PermissionCookie),
    /// The host refuses what is from this address on.
    Rejected(Ipa),
}

/// Where an RMM has to continue with a range. It is for one call, which gives the next one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PermissionCookie(u64);

/// A change of permission indices that did not reach the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PermissionStopped {
    /// The RMM would have continued here.
    pub reached: Ipa,
    /// Why it stopped.
    pub why: WhyStopped,
}

impl fmt::Display for PermissionStopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the permission index is set as far as {:#x} only: {}", self.reached, self.why)
    }
}

impl core::error::Error for PermissionStopped {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        self.why.error()
    }
}

impl<C: Conduit> Rsi<C> {
    /// An RMM goes through a range at most so many times in one change of permission indices.
    pub const PASSES: u32 = 16;

    /// Reads the permission of a plane for an index, 0 to 14.
    ///
    /// # Errors
    ///
    /// [`Error::BadReply`] with a value that does not fit; [`Error`].
    #[doc(alias = "RSI_MEM_GET_PERM_VALUE")]
    pub fn permission(&self, plane: u64, index: u64) -> Result<MemPermission, Error> {
        let [_, value, ..] = self.plain(Plain::MemGetPermValue, &[plane, index])?;
        match u8::try_from(value) {
            Ok(code) => Ok(code.into()),
            Err(_) => Err(Error::BadReply { command: Command::MemGetPermValue, value }),
        }
    }

    /// Sets the permission of an auxiliary plane for an index, 0 to 14. The RMM refuses it once
    /// memory has that index, so always for index 0.
    ///
    /// # Errors
    ///
    /// [`Error`].
    #[doc(alias = "RSI_MEM_SET_PERM_VALUE")]
    pub fn set_permission(
        &self,
        plane: u64,
        index: u64,
        permission: MemPermission,
    ) -> Result<(), Error> {
        let code = u64::from(u8::from(permission));
        self.plain(Plain::MemSetPermValue, &[plane, index, code]).map(|_| ())
    }

    /// Gives a protected range an index, 0 to 14, by one call. The first call has the cookie
    /// `PermissionCookie::default()`. The call exits to the host.
    ///
    /// # Errors
    ///
    /// [`Error::BadReply`] with an address that is not in the range; [`Error`].
    #[doc(alias = "RSI_MEM_SET_PERM_INDEX")]
    pub fn set_permission_index(
        &self,
        range: IpaRange,
        index: u64,
        cookie: PermissionCookie,
    ) -> Result<PermissionStep, Error> {
        let arguments = [range.base().raw(), range.top().raw(), index, cookie.0];
        let registers = self.plain(Plain::MemSetPermIndex, &arguments)?;
        let [_, next, response, cookie, ..] = registers;
        Ok(match step(Command::MemSetPermIndex, range, next, response)? {
            Step::Done => PermissionStep::Done,
            Step::Partial(at) => PermissionStep::Partial(at, PermissionCookie(cookie)),
            Step::Rejected(at) => PermissionStep::Rejected(at),
        })
    }

    /// Gives a protected range an index by as many calls as it takes.
    ///
    /// With a tree for each plane, TF-RMM (July 2026) continues in the next tree where the last
    /// call began, not at the base of the range: there a range that takes several calls, because
    /// the host does part of it, is complete for the first plane only.
    ///
    /// # Errors
    ///
    /// [`PermissionStopped`]; [`WhyStopped::NoProgress`] also if the RMM begins again more often
    /// than [`Self::PASSES`].
    #[doc(alias = "RSI_MEM_SET_PERM_INDEX")]
    pub fn change_permission_index(
        &self,
        range: IpaRange,
        index: u64,
    ) -> Result<(), PermissionStopped> {
        let mut at = range.base();
        let mut cookie = PermissionCookie::default();
        let (mut passes, mut idle) = (1, 0);
        while passes <= Self::PASSES && idle < Self::CALLS_WITHOUT_PROGRESS {
            match self.set_permission_index(range.after(at), index, cookie) {
                Ok(PermissionStep::Done) => return Ok(()),
                Ok(PermissionStep::Partial(next, then)) => {
                    if (next, then) == (at, cookie) {
                        idle += 1;
                    } else if next > at {
                        idle = 0;
                    } else {
                        passes += 1;
                        idle = 0;
                    }
                    (at, cookie) = (next, then);
                }
                Ok(PermissionStep::Rejected(reached)) => {
                    return Err(PermissionStopped { reached, why: WhyStopped::Rejected });
                }
                Err(error) => {
                    return Err(PermissionStopped { reached: at, why: WhyStopped::Call(error) });
                }
            }
        }
        Err(PermissionStopped { reached: at, why: WhyStopped::NoProgress })
    }
}
