//! Public keys of devices.

use core::fmt;

use num_enum::{FromPrimitive, IntoPrimitive};
use zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes, KnownLayout};

use crate::dialect::DialectSet;
use crate::layout::layout;

use DialectSet as D;

/// The algorithm of a public key.
///
/// Source: DEN0137 2.0-bet3, `RmiSignatureAlgorithm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromPrimitive, IntoPrimitive)]
#[repr(u8)]
#[doc(alias = "RmiSignatureAlgorithm")]
#[non_exhaustive]
pub enum SignatureAlgorithm {
    /// RSASSA, 3072 bits.
    #[doc(alias = "RSASSA_3072")]
    Rsassa3072 = 0,
    /// ECDSA on P-256.
    #[doc(alias = "ECDSA_P256")]
    EcdsaP256 = 1,
    /// ECDSA on P-384.
    #[doc(alias = "ECDSA_P384")]
    EcdsaP384 = 2,
    /// A code this crate does not know.
    #[num_enum(catch_all)]
    Unknown(u8),
}

impl SignatureAlgorithm {
    /// Length in bytes of the keys that TF-RMM (July 2026) accepts; `None` for an unknown
    /// algorithm.
    #[must_use]
    pub const fn key_bytes(self) -> Option<usize> {
        match self {
            Self::Rsassa3072 => Some(384),
            Self::EcdsaP256 => Some(65),
            Self::EcdsaP384 => Some(97),
            Self::Unknown(_) => None,
        }
    }
}

layout! {
    /// The parameter page of `RMI_PDEV_SET_PUBKEY`, 4 KiB, host to RMM. Bytes between fields are
    /// reserved and zero.
    ///
    table
    ///
    /// Source: DEN0137 2.0-bet3, `RmiPublicKeyParams`.
    #[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
    #[repr(C)]
    #[doc(alias = "RmiPublicKeyParams")]
    #[expect(missing_docs, reason = "the table above documents every field")]
    pub struct PublicKeyParamsPage {
        pub key: [u8; 1024],
        pub metadata: [u8; 1024],
        pub key_len: u64,
        pub metadata_len: u64,
        pub algo: u8,
        _sbz0: [u8; 0x1000 - 0x811],
    }

    DialectSet = "RmiPublicKeyParams", 0x1000 bytes, aligned to 0x1000,
    in D::EVERY_2_0, unsure in D::NONE;
    0x000, 1024, key, D::EVERY_2_0, "the key, in its first `key_len` bytes";
    0x400, 1024, metadata, D::EVERY_2_0,
        "what goes with the key (RSA: the exponent), in its first `metadata_len` bytes";
    0x800, 8, key_len, D::EVERY_2_0, "bytes";
    0x808, 8, metadata_len, D::EVERY_2_0, "bytes";
    0x810, 1, algo, D::EVERY_2_0, "[`SignatureAlgorithm`]";
}

impl PublicKeyParamsPage {
    /// Lays a key and its metadata out.
    ///
    /// # Errors
    ///
    /// [`KeyError`] when one of them is longer than 1024 bytes.
    pub fn new(algo: SignatureAlgorithm, key: &[u8], metadata: &[u8]) -> Result<Self, KeyError> {
        let mut page = Self::new_zeroed();
        page.key.get_mut(..key.len()).ok_or(KeyError)?.copy_from_slice(key);
        page.metadata.get_mut(..metadata.len()).ok_or(KeyError)?.copy_from_slice(metadata);
        page.key_len = key.len() as u64;
        page.metadata_len = metadata.len() as u64;
        page.algo = algo.into();
        Ok(page)
    }

    /// The key; `None` when its length is not possible.
    #[must_use]
    pub fn key(&self) -> Option<&[u8]> {
        usize::try_from(self.key_len).ok().and_then(|len| self.key.get(..len))
    }

    /// The metadata; `None` when their length is not possible.
    #[must_use]
    pub fn metadata(&self) -> Option<&[u8]> {
        usize::try_from(self.metadata_len).ok().and_then(|len| self.metadata.get(..len))
    }
}

/// A key or its metadata are longer than 1024 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyError;

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a public key and its metadata have at most 1024 bytes each")
    }
}

impl core::error::Error for KeyError {}
