//! The attestation token of a Realm: its own claims and those of the platform, each signed with a
//! key that everybody knows.
//!
//! A Realm gets it by `RSI_ATTESTATION_TOKEN_INIT` and `RSI_ATTESTATION_TOKEN_CONTINUE`. It has the
//! form, the claims and the binding of a token of an RMM; the platform's claims are made up and do
//! not change. A verifier that trusts [`PLATFORM_KEY`] accepts it, which it must only do in a test.
//!
//! | [version](rmi_abi::rsi::Version) of RSI | envelope | profiles | in the platform token, the hash of the Realm's key is |
//! |---|---|---|---|
//! | 1.0, 1.1 | tag 399 | 2023, 1.0.0 | claim 10 |
//! | 2.0, TF-RMM of July 2026 | tag 907 | 2024, 2.0.0 | claim 10 |
//! | 2.0 | tag 907 | 2026, 2.0.0 | claim 2408 |
//!
//! Source: DEN0137 1.0, "Realm attestation"; draft-ffm-rats-cca-token-04; TF-RMM of July 2026,
//! `attestation_token.c`.

mod cbor;
mod claims;
mod test_key;

use alloc::vec::Vec;

use cbor::Encoder;
pub(crate) use claims::{RealmClaims, platform_claims};
use rmi_abi::Dialect;
use rmi_abi::rsi::Version;
pub use test_key::{PLATFORM_KEY, REALM_KEY, TestKey};

use crate::unsupported::claims_are_of_2024;

/// What `RSI_ATTESTATION_TOKEN_INIT` returns as the upper bound of the size: as TF-RMM, the size of
/// a buffer. No token is longer.
pub(crate) const MAX_BYTES: u64 = 0x1000;

/// The keys of the envelope.
const PLATFORM_TOKEN: i64 = 44234;
const REALM_TOKEN: i64 = 44241;
/// The content format `application/eat+cwt`.
const EAT_CWT: i64 = 263;
/// The tag of `COSE_Sign1`.
const COSE_SIGN1: u64 = 18;
/// The protected header: the algorithm (1) is ES384 (-35).
const PROTECTED: [u8; 4] = [0xa1, 0x01, 0x38, 0x22];

/// The form of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    /// The tag of the envelope.
    tag: u64,
    /// Whether each token in the envelope has its content format beside it.
    has_formats: bool,
    platform_profile: &'static str,
    realm_profile: &'static str,
    /// The claim of the platform that is the hash of the Realm's key.
    binding: i64,
    /// Whether the Realm's claims say whether its memory encryption context is private.
    mec_policy: MecPolicyClaim,
    /// Whether the Realm's claims have the identity of the instance.
    has_instance: bool,
    /// Whether the platform's claims say who requested them.
    has_client: bool,
}

/// How the Realm's claims say which policy of memory encryption it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MecPolicyClaim {
    /// Not at all.
    None,
    /// By the words "shared" and "private".
    Text,
    /// By the numbers 0 and 1.
    Number,
}

impl Form {
    /// The form that an RMM of a version makes.
    pub(crate) fn new(version: Version, dialect: Dialect) -> Self {
        let old = Self {
            tag: 399,
            has_formats: false,
            platform_profile: "tag:arm.com,2023:cca_platform#1.0.0",
            realm_profile: "tag:arm.com,2023:realm#1.0.0",
            binding: claims::NONCE,
            mec_policy: match version {
                // TF-RMM v0.8.0, which has this claim of later versions.
                Version::V1_0 if !dialect.is_2_0() => MecPolicyClaim::Text,
                Version::V1_0 => MecPolicyClaim::None,
                _ => MecPolicyClaim::Number,
            },
            has_instance: false,
            has_client: false,
        };
        let new = Self {
            tag: 907,
            has_formats: true,
            platform_profile: "tag:arm.com,2024:cca_platform#2.0.0",
            realm_profile: "tag:arm.com,2024:realm#2.0.0",
            has_instance: true,
            has_client: true,
            ..old
        };
        match version {
            Version::V1_0 | Version::V1_1 => old,
            _ if claims_are_of_2024(dialect) => new,
            _ => Self {
                platform_profile: "tag:arm.com,2026:cca_platform#2.0.0",
                realm_profile: "tag:arm.com,2026:realm#2.0.0",
                binding: claims::WORKLOAD_BINDING,
                ..new
            },
        }
    }

    /// Signs the Realm's claims and joins them with the platform's. `None` if a signature cannot be
    /// made.
    pub(crate) fn token(&self, realm_claims: &[u8]) -> Option<Vec<u8>> {
        let mut token = Encoder::new();
        token.tag(self.tag).map(2);
        for (key, part) in [
            (PLATFORM_TOKEN, signed(&PLATFORM_KEY, &platform_claims(self))?),
            (REALM_TOKEN, signed(&REALM_KEY, realm_claims)?),
        ] {
            token.int(key);
            if self.has_formats {
                token.array(2).int(EAT_CWT);
            }
            token.bytes(&part);
        }
        Some(token.finish())
    }
}

/// A payload in a `COSE_Sign1`. Source: RFC 9052, 4.2 and 4.4.
fn signed(key: &TestKey, payload: &[u8]) -> Option<Vec<u8>> {
    let mut to_be_signed = Encoder::new();
    to_be_signed.array(4).text("Signature1").bytes(&PROTECTED).bytes(&[]).bytes(payload);
    let signature = key.sign(&to_be_signed.finish())?;
    let mut signed = Encoder::new();
    signed.tag(COSE_SIGN1).array(4).bytes(&PROTECTED).map(0).bytes(payload).bytes(&signature);
    Some(signed.finish())
}

#[cfg(test)]
mod tests;
