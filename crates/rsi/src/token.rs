//! Attestation tokens.
//!
//! What a token contains is described in DEN0137 1.0-rel0, "CCA attestation token"; the token is
//! passed on as it is.

use core::fmt;
use core::marker::PhantomData;

use rmi_abi::rsi::{Command, ReturnCode};

use crate::conduit::Conduit;
use crate::error::Error;
use crate::granule::Granule;
use crate::interface::{Plain, Rsi, success};
use crate::measurement::pack;

/// An attestation token that the RMM has begun, and the part of it that is not read yet.
///
/// It belongs to the CPU that began it, so it is not `Send`: the program has to stay on that CPU
/// until the token is complete. A second token on the same CPU ends this one, with
/// `RSI_ERROR_STATE` or by taking its place.
#[derive(Debug)]
pub struct AttestationToken<'r, C> {
    rsi: &'r Rsi<C>,
    size_bound: u64,
    is_complete: bool,
    on_one_cpu: PhantomData<*const ()>,
}

/// How much of a token a call gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenPart {
    /// Bytes that were written to the start of the buffer. 0 while the token is being made.
    pub bytes: usize,
    /// Whether they end the token.
    pub is_complete: bool,
}

/// A token that could not be read further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TokenStopped {
    /// Bytes that were written to the start of the buffer before that.
    pub bytes: usize,
    /// Why it stopped; `None` if [`AttestationToken::EMPTY_PARTS`] calls gave nothing.
    pub error: Option<Error>,
}

impl fmt::Display for TokenStopped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the token ends after {} bytes: ", self.bytes)?;
        match self.error {
            Some(error) => error.fmt(f),
            None => f.write_str("calls give nothing"),
        }
    }
}

impl core::error::Error for TokenStopped {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        self.error.as_ref().map(|error| error as _)
    }
}

impl<C: Conduit> Rsi<C> {
    /// Begins a token for a challenge. One of less than 64 bytes is filled up with zeros; at least
    /// 32 bytes should be unique.
    ///
    /// # Errors
    ///
    /// [`Error`]; `RSI_ERROR_UNKNOWN` where the firmware has no key.
    #[doc(alias = "RSI_ATTESTATION_TOKEN_INIT")]
    pub fn attestation_token(
        &self,
        challenge: &[u8; 64],
    ) -> Result<AttestationToken<'_, C>, Error> {
        let mut words = [0; 8];
        pack(challenge, &mut words);
        let [_, size_bound, ..] = self.plain(Plain::TokenInit, &words)?;
        Ok(AttestationToken { rsi: self, size_bound, is_complete: false, on_one_cpu: PhantomData })
    }
}

impl<C: Conduit> AttestationToken<'_, C> {
    /// So many calls in a row that give nothing end [`AttestationToken::read`]. The RMM interrupts
    /// its work for the host, with nothing to give, as often as the host has interrupts.
    pub const EMPTY_PARTS: u32 = 1 << 20;

    /// The most bytes that the token has, as the RMM says: nothing relies on it.
    #[must_use]
    pub const fn size_bound(&self) -> u64 {
        self.size_bound
    }

    /// Whether all of the token has been read.
    #[must_use]
    pub const fn is_complete(&self) -> bool {
        self.is_complete
    }

    /// Reads the next part of the token by one call: at most 4 KiB, and what `into` has space for.
    /// The RMM writes to the granule, whose content is lost.
    ///
    /// After the last part, and with no space, no call is made.
    ///
    /// # Errors
    ///
    /// [`Error::BadReply`] with a number of bytes that was not asked for; [`Error`].
    #[doc(alias = "RSI_ATTESTATION_TOKEN_CONTINUE")]
    pub fn next_part(
        &mut self,
        granule: &mut Granule,
        into: &mut [u8],
    ) -> Result<TokenPart, Error> {
        let command = Command::AttestationTokenContinue;
        let size = into.len().min(Granule::BYTES);
        if self.is_complete || size == 0 {
            return Ok(TokenPart { bytes: 0, is_complete: self.is_complete });
        }
        let registers = self.rsi.continue_token(granule, size as u64)?;
        let [x0, length, ..] = registers;
        let is_complete = match ReturnCode::from(x0) {
            ReturnCode::Incomplete => false,
            _ => success(command, registers).map(|_| true)?,
        };
        let part = usize::try_from(length).ok().filter(|bytes| *bytes <= size);
        let part = part.and_then(|bytes| granule.bytes().get(..bytes));
        let Some(part) = part else { return Err(Error::BadReply { command, value: length }) };
        for (to, from) in into.iter_mut().zip(part) {
            *to = *from;
        }
        self.is_complete = is_complete;
        Ok(TokenPart { bytes: part.len(), is_complete })
    }

    /// Reads the token until it is complete or `into` is full. If it is full first, a further call
    /// goes on.
    ///
    /// # Errors
    ///
    /// [`TokenStopped`], which says how far it came; a further call goes on.
    pub fn read(
        &mut self,
        granule: &mut Granule,
        into: &mut [u8],
    ) -> Result<TokenPart, TokenStopped> {
        let mut bytes = 0;
        let mut empty = 0;
        while empty < Self::EMPTY_PARTS {
            let rest = into.get_mut(bytes..).unwrap_or_default();
            if rest.is_empty() || self.is_complete {
                return Ok(TokenPart { bytes, is_complete: self.is_complete });
            }
            match self.next_part(granule, rest) {
                Ok(part) => {
                    empty = if part.bytes == 0 { empty + 1 } else { 0 };
                    bytes += part.bytes;
                }
                Err(error) => return Err(TokenStopped { bytes, error: Some(error) }),
            }
        }
        Err(TokenStopped { bytes, error: None })
    }
}
