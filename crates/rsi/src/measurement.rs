//! Measurements: the initial one (RIM), and those that a Realm extends (REM).

use rmi_abi::measurement::MEASUREMENT_BYTES;
use rmi_abi::rsi::Command;

use crate::conduit::Conduit;
use crate::error::Error;
use crate::interface::{Plain, Rsi};

/// One of the measurements of a Realm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Measurement {
    /// The Realm Initial Measurement: what the host loaded, in which order, where.
    #[doc(alias = "RIM")]
    Initial,
    /// Realm Extensible Measurement 0, index 1.
    #[doc(alias = "REM")]
    Extensible0,
    /// Realm Extensible Measurement 1, index 2.
    Extensible1,
    /// Realm Extensible Measurement 2, index 3.
    Extensible2,
    /// Realm Extensible Measurement 3, index 4.
    Extensible3,
}

impl Measurement {
    /// Every measurement, by its index.
    pub const ALL: [Self; 5] =
        [Self::Initial, Self::Extensible0, Self::Extensible1, Self::Extensible2, Self::Extensible3];

    /// Its index in calls: 0 to 4.
    #[must_use]
    pub const fn index(self) -> u64 {
        match self {
            Self::Initial => 0,
            Self::Extensible0 => 1,
            Self::Extensible1 => 2,
            Self::Extensible2 => 3,
            Self::Extensible3 => 4,
        }
    }
}

impl<C: Conduit> Rsi<C> {
    /// Reads a measurement. A digest of less than 64 bytes is in the low ones, the rest is zero.
    ///
    /// # Errors
    ///
    /// [`Error`].
    #[doc(alias = "RSI_MEASUREMENT_READ")]
    pub fn measurement(&self, which: Measurement) -> Result<[u8; MEASUREMENT_BYTES], Error> {
        let [_, words @ ..] = self.plain(Plain::MeasurementRead, &[which.index()])?;
        let mut bytes = [0; MEASUREMENT_BYTES];
        for (to, word) in bytes.as_chunks_mut().0.iter_mut().zip(words) {
            *to = word.to_le_bytes();
        }
        Ok(bytes)
    }

    /// Extends a measurement with up to 64 bytes.
    ///
    /// The new value is the hash of the old one followed by `value`. RMMs differ in what follows:
    /// DEN0137 1.0-rel0 fills `value` up with zeros to 64 bytes, TF-RMM adds nothing. With 64 bytes
    /// all agree.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] with the number of bytes if there are more than 64; [`Error`].
    /// [`Measurement::Initial`] is refused by the RMM.
    #[doc(alias = "RSI_MEASUREMENT_EXTEND")]
    pub fn extend_measurement(&self, which: Measurement, value: &[u8]) -> Result<(), Error> {
        let size = value.len() as u64;
        if value.len() > MEASUREMENT_BYTES {
            return Err(Error::Argument { command: Command::MeasurementExtend, value: size });
        }
        let mut arguments = [0; 10];
        let [index, bytes, words @ ..] = &mut arguments;
        (*index, *bytes) = (which.index(), size);
        pack(value, words);
        self.plain(Plain::MeasurementExtend, &arguments).map(|_| ())
    }
}

/// Bytes as registers, little-endian; what is missing is zero.
pub(crate) fn pack(bytes: &[u8], words: &mut [u64; 8]) {
    for (word, chunk) in words.iter_mut().zip(bytes.chunks(8)) {
        let mut all = [0; 8];
        for (to, from) in all.iter_mut().zip(chunk) {
            *to = *from;
        }
        *word = u64::from_le_bytes(all);
    }
}
