//! Hashing with the algorithm of a Realm.

use rmi_abi::GranuleSize;
use rmi_abi::realm::HashAlgorithm;
use sha2::{Sha256, Sha384, Sha512};

use crate::measurement_log::{Digest, DigestError};

/// Bytes of a granule.
pub(super) fn bytes(granule: GranuleSize) -> usize {
    1 << granule.shift()
}

/// Hashes `content`, then `zeros` zero bytes.
fn hash_with<H: sha2::Digest>(
    algorithm: HashAlgorithm,
    content: &[u8],
    zeros: usize,
) -> Result<Digest, DigestError> {
    static ZEROS: [u8; 0x1000] = [0; 0x1000];
    let mut hash = H::new_with_prefix(content);
    let mut left = zeros;
    while left > 0 {
        let part = ZEROS.get(..left).unwrap_or(&ZEROS);
        hash.update(part);
        left -= part.len();
    }
    Digest::new(algorithm, &hash.finalize())
}

fn hash_filled(
    algorithm: HashAlgorithm,
    content: &[u8],
    zeros: usize,
) -> Result<Digest, DigestError> {
    match algorithm {
        HashAlgorithm::Sha256 => hash_with::<Sha256>(algorithm, content, zeros),
        HashAlgorithm::Sha384 => hash_with::<Sha384>(algorithm, content, zeros),
        HashAlgorithm::Sha512 => hash_with::<Sha512>(algorithm, content, zeros),
        HashAlgorithm::Unknown(_) => Err(DigestError::Algorithm(algorithm)),
    }
}

/// The digest of `bytes`.
pub(super) fn hash(algorithm: HashAlgorithm, bytes: &[u8]) -> Result<Digest, DigestError> {
    hash_filled(algorithm, bytes, 0)
}

/// The digest of a granule that begins with `content`, at most a granule, and is zero from there
/// on.
pub(super) fn hash_granule(
    algorithm: HashAlgorithm,
    content: &[u8],
    granule: GranuleSize,
) -> Result<Digest, DigestError> {
    hash_filled(algorithm, content, bytes(granule).saturating_sub(content.len()))
}
