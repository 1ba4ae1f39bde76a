//! Measurements of a Realm: the initial one (RIM) and the four that the Realm extends itself (REM).

use alloc::vec::Vec;

use rmi_abi::IpaRange;
use rmi_abi::measurement::{DataDescriptor, MEASUREMENT_BYTES, RecDescriptor, RipasDescriptor};
use rmi_abi::realm::HashAlgorithm;
use sha2::{Digest, Sha256, Sha384, Sha512};
use zerocopy::IntoBytes;

/// Number of measurements: the initial one and four extensible ones.
pub(crate) const SLOTS: usize = 5;

/// A measurement: the digest in the low bytes, zeros above.
pub(crate) type Value = [u8; MEASUREMENT_BYTES];

/// Hashes `bytes`; an algorithm that does not exist gives zeros.
pub(crate) fn hash(algorithm: HashAlgorithm, bytes: &[u8]) -> Value {
    fn widen(digest: &[u8]) -> Value {
        let mut value = [0; MEASUREMENT_BYTES];
        for (to, from) in value.iter_mut().zip(digest) {
            *to = *from;
        }
        value
    }
    match algorithm {
        HashAlgorithm::Sha256 => widen(&Sha256::digest(bytes)),
        HashAlgorithm::Sha384 => widen(&Sha384::digest(bytes)),
        HashAlgorithm::Sha512 => widen(&Sha512::digest(bytes)),
        HashAlgorithm::Unknown(_) => [0; MEASUREMENT_BYTES],
    }
}

/// The measurements of one Realm.
pub(crate) struct Measurements {
    algorithm: HashAlgorithm,
    slots: [Value; SLOTS],
}

impl Measurements {
    /// A Realm that starts from `initial`.
    pub(crate) fn new(algorithm: HashAlgorithm, initial: Value) -> Self {
        let mut slots = [[0; MEASUREMENT_BYTES]; SLOTS];
        let [rim, ..] = &mut slots;
        *rim = initial;
        Self { algorithm, slots }
    }

    /// Length of a digest in bytes.
    pub(crate) fn digest_bytes(&self) -> usize {
        self.algorithm.digest_bytes().unwrap_or(0)
    }

    /// The digests: the initial one, then the four extensible ones.
    pub(crate) fn digests(&self) -> [&[u8]; SLOTS] {
        let length = self.digest_bytes();
        self.slots.each_ref().map(|slot| slot.get(..length).unwrap_or(slot))
    }

    pub(crate) fn get(&self, index: usize) -> Option<Value> {
        self.slots.get(index).copied()
    }

    fn rim(&mut self) -> &mut Value {
        let [rim, ..] = &mut self.slots;
        rim
    }

    /// Replaces the initial measurement by the hash of a descriptor that was made on top of it.
    fn extend_rim(&mut self, descriptor: impl FnOnce(Value) -> Value) {
        let old = *self.rim();
        *self.rim() = descriptor(old);
    }

    /// Extends the initial measurement by a DATA granule; `content` only if it is to be measured.
    pub(crate) fn add_data(&mut self, ipa: u64, flags: u64, content: Option<&[u8]>) {
        let algorithm = self.algorithm;
        let content = content.map_or([0; MEASUREMENT_BYTES], |bytes| hash(algorithm, bytes));
        self.extend_rim(|rim| {
            hash(algorithm, DataDescriptor::new(rim, ipa, flags, content).as_bytes())
        });
    }

    /// Extends the initial measurement by a runnable REC.
    pub(crate) fn add_rec(&mut self, measured_params: &[u8]) {
        let algorithm = self.algorithm;
        let content = hash(algorithm, measured_params);
        self.extend_rim(|rim| hash(algorithm, RecDescriptor::new(rim, content).as_bytes()));
    }

    /// Extends the initial measurement by an entry that became RAM (1.0).
    pub(crate) fn add_ripas(&mut self, entry: &IpaRange) {
        let algorithm = self.algorithm;
        self.extend_rim(|rim| hash(algorithm, RipasDescriptor::new(rim, entry).as_bytes()));
    }

    /// Extends a Realm extensible measurement (1 to 4); false for another index.
    ///
    /// The new value hashes the old digest followed by the value. The specification pads the value
    /// to 64 bytes first; deployed software verifies what TF-RMM does, and this model does the
    /// same.
    pub(crate) fn extend(&mut self, index: usize, value: &[u8]) -> bool {
        let algorithm = self.algorithm;
        let length = self.digest_bytes();
        let Some(slot) = self.slots.get_mut(index).filter(|_| index != 0) else { return false };
        let mut input = Vec::with_capacity(length + value.len());
        input.extend(slot.iter().take(length));
        input.extend(value);
        *slot = hash(algorithm, &input);
        true
    }
}

#[cfg(test)]
mod tests;
