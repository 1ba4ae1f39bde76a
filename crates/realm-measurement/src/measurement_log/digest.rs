//! Digests with their algorithm.

use core::fmt;
use core::str::FromStr;

use rmi_abi::measurement::MEASUREMENT_BYTES;
use rmi_abi::realm::HashAlgorithm;
use thiserror::Error;

/// The algorithms with a digest, and their names in a log.
const NAMES: [(HashAlgorithm, &str); 3] = [
    (HashAlgorithm::Sha256, "sha-256"),
    (HashAlgorithm::Sha384, "sha-384"),
    (HashAlgorithm::Sha512, "sha-512"),
];

/// A digest, with the algorithm that made it; as text `sha-256:` and lower case hexadecimal digits.
///
/// The algorithm is known, and the bytes of a measurement above the digest are zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest {
    algorithm: HashAlgorithm,
    value: [u8; MEASUREMENT_BYTES],
}

impl Digest {
    /// Wraps the bytes of a digest, as many as the algorithm has: 32, 48 or 64.
    ///
    /// # Errors
    ///
    /// [`DigestError::Algorithm`] and [`DigestError::Length`].
    pub fn new(algorithm: HashAlgorithm, bytes: &[u8]) -> Result<Self, DigestError> {
        let mut digest = Self::zero(algorithm)?;
        let expected = digest.as_bytes().len();
        if bytes.len() != expected {
            return Err(DigestError::Length { expected, bytes: bytes.len() });
        }
        for (to, from) in digest.value.iter_mut().zip(bytes) {
            *to = *from;
        }
        Ok(digest)
    }

    /// The digest that a Realm reads: `registers` are X1 to X8 after `RSI_MEASUREMENT_READ`, of
    /// which only those count that a digest of this algorithm fills.
    ///
    /// ```
    /// use realm_measurement::measurement_log::Digest;
    /// use rmi_abi::realm::HashAlgorithm;
    ///
    /// let garbage = 0xdead_beef;
    /// let read = [1, 2, 3, 4, garbage, garbage, garbage, garbage];
    /// let digest = Digest::from_registers(HashAlgorithm::Sha256, &read)?;
    /// assert_eq!(digest.as_bytes()[..9], [1, 0, 0, 0, 0, 0, 0, 0, 2]);
    /// assert_eq!(digest.value()[32..], [0; 32]);
    /// # Ok::<(), realm_measurement::measurement_log::DigestError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`DigestError::Algorithm`].
    #[doc(alias = "RSI_MEASUREMENT_READ")]
    pub fn from_registers(
        algorithm: HashAlgorithm,
        registers: &[u64; MEASUREMENT_BYTES / 8],
    ) -> Result<Self, DigestError> {
        let mut digest = Self::zero(algorithm)?;
        let bytes = digest.as_bytes().len();
        let read = registers.iter().flat_map(|register| register.to_le_bytes());
        for (to, from) in digest.value.iter_mut().zip(read).take(bytes) {
            *to = from;
        }
        Ok(digest)
    }

    /// All zeros: what a measurement starts from where the parameters are not measured.
    ///
    /// # Errors
    ///
    /// [`DigestError::Algorithm`].
    pub const fn zero(algorithm: HashAlgorithm) -> Result<Self, DigestError> {
        match algorithm.digest_bytes() {
            Some(_) => Ok(Self { algorithm, value: [0; MEASUREMENT_BYTES] }),
            None => Err(DigestError::Algorithm(algorithm)),
        }
    }

    /// The algorithm, never an unknown one.
    #[must_use]
    pub const fn algorithm(&self) -> HashAlgorithm {
        self.algorithm
    }

    /// The digest itself: 32, 48 or 64 bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        let bytes = self.algorithm.digest_bytes().unwrap_or(0);
        self.value.get(..bytes).unwrap_or(&self.value)
    }

    /// The digest as measurements and descriptors contain it: in the low bytes, zeros above.
    #[must_use]
    pub const fn value(&self) -> [u8; MEASUREMENT_BYTES] {
        self.value
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = NAMES.iter().find(|(algorithm, _)| *algorithm == self.algorithm);
        write!(f, "{}:", name.map_or("", |(_, name)| name))?;
        self.as_bytes().iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let (name, hex) = text.split_once(':').ok_or(DigestError::Name)?;
        let known = NAMES.iter().find(|(_, known)| *known == name);
        let (algorithm, _) = known.ok_or(DigestError::Name)?;
        let mut digest = Self::zero(*algorithm)?;
        let expected = digest.as_bytes().len();
        // Anything but a digit is refused below, so a byte is a character here.
        if hex.len() != 2 * expected {
            return Err(DigestError::Length { expected, bytes: hex.len() / 2 });
        }
        for (to, pair) in digest.value.iter_mut().zip(hex.as_bytes().chunks_exact(2)) {
            let &[high, low] = pair else { return Err(DigestError::Digit) };
            *to = nibble(high)? << 4 | nibble(low)?;
        }
        Ok(digest)
    }
}

/// The value of a digit, lower case, so that a digest has one text only.
const fn nibble(digit: u8) -> Result<u8, DigestError> {
    match digit {
        b'0'..=b'9' => Ok(digit - b'0'),
        b'a'..=b'f' => Ok(digit - b'a' + 10),
        _ => Err(DigestError::Digit),
    }
}

/// Why bytes or a text are not a digest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DigestError {
    /// No digest is known for this algorithm.
    #[error("no digest is known for {0}")]
    Algorithm(HashAlgorithm),
    /// The length is not that of the algorithm's digests.
    #[error("a digest of {bytes} bytes where {expected} are expected")]
    #[non_exhaustive]
    Length {
        /// Length of the algorithm's digests in bytes.
        expected: usize,
        /// Length found, in whole bytes.
        bytes: usize,
    },
    /// The text does not begin with the name of an algorithm and a colon.
    #[error("a digest begins with `sha-256:`, `sha-384:` or `sha-512:`")]
    Name,
    /// A character is not a lower case hexadecimal digit.
    #[error("a digest is written in lower case hexadecimal digits")]
    Digit,
}
