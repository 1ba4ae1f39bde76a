//! The claims of a Realm and of the platform.

use alloc::vec::Vec;

use rmi_abi::realm::{HashAlgorithm, RPV_BYTES};
use sha2::{Digest, Sha256};

use super::cbor::Encoder;
use super::test_key::REALM_KEY;
use super::{Form, MecPolicyClaim};

/// Claims of both. Source: draft-ffm-rats-cca-token-04, 4.
pub(super) const NONCE: i64 = 10;
const INSTANCE_ID: i64 = 256;
const PROFILE: i64 = 265;

/// Claims of a Realm.
const PERSONALIZATION_VALUE: i64 = 44235;
const HASH_ALGORITHM: i64 = 44236;
const PUBLIC_KEY: i64 = 44237;
const INITIAL_MEASUREMENT: i64 = 44238;
const EXTENSIBLE_MEASUREMENTS: i64 = 44239;
const PUBLIC_KEY_HASH_ALGORITHM: i64 = 44240;
const MEC_POLICY: i64 = 44243;

/// Claims of the platform.
const CLIENT_ID: i64 = 2394;
const LIFECYCLE: i64 = 2395;
const IMPLEMENTATION_ID: i64 = 2396;
const SOFTWARE_COMPONENTS: i64 = 2399;
const CONFIGURATION: i64 = 2401;
const DEFAULT_HASH_ALGORITHM: i64 = 2402;
pub(super) const WORKLOAD_BINDING: i64 = 2408;

/// The lifecycle state "secured".
const SECURED: i64 = 0x3000;
/// The client that requests platform tokens: the security domain of the monitor.
const MONITOR_DOMAIN: i64 = 1;
/// The first byte of an instance identity.
const RANDOM_IDENTITY: u8 = 1;

/// Entries of a software component: its type, measurement, signer and hash algorithm.
const COMPONENT_TYPE: i64 = 1;
const COMPONENT_MEASUREMENT: i64 = 2;
const COMPONENT_SIGNER: i64 = 5;
const COMPONENT_HASH_ALGORITHM: i64 = 6;

/// The software components of the platform.
const COMPONENTS: [&str; 5] = ["BL1", "BL2", "BL31", "RMM", "HW_CONFIG"];

/// What a Realm's token says about it.
pub(crate) struct RealmClaims<'a> {
    pub(crate) challenge: [u8; 64],
    pub(crate) personalization_value: [u8; RPV_BYTES],
    pub(crate) algorithm: HashAlgorithm,
    /// The initial measurement and the four extensible ones.
    pub(crate) measurements: [&'a [u8]; 5],
    pub(crate) private_mec: bool,
    /// The number of the Realm on its machine, from which its identity is made.
    pub(crate) number: u64,
}

impl RealmClaims<'_> {
    /// The claims, encoded in the order of TF-RMM.
    pub(crate) fn encode(&self, form: &Form) -> Vec<u8> {
        let mut claims = Encoder::new();
        let has_mec_policy = form.mec_policy != MecPolicyClaim::None;
        claims.map(8 + u64::from(form.has_instance) + u64::from(has_mec_policy));
        claims.int(NONCE).bytes(&self.challenge);
        if form.has_instance {
            claims.int(INSTANCE_ID).bytes(&instance_id(&self.number.to_le_bytes()));
        }
        claims.int(PERSONALIZATION_VALUE).bytes(&self.personalization_value);
        claims.int(PUBLIC_KEY).bytes(&REALM_KEY.cose_key());
        claims.int(HASH_ALGORITHM).text(hash_name(self.algorithm));
        claims.int(PUBLIC_KEY_HASH_ALGORITHM).text(hash_name(HashAlgorithm::Sha256));
        match (form.mec_policy, self.private_mec) {
            (MecPolicyClaim::None, _) => &mut claims,
            (MecPolicyClaim::Number, private) => claims.int(MEC_POLICY).int(private.into()),
            (MecPolicyClaim::Text, false) => claims.int(MEC_POLICY).text("shared"),
            (MecPolicyClaim::Text, true) => claims.int(MEC_POLICY).text("private"),
        };
        claims.int(PROFILE).text(form.realm_profile);
        let [initial, extensible @ ..] = &self.measurements;
        claims.int(INITIAL_MEASUREMENT).bytes(initial);
        claims.int(EXTENSIBLE_MEASUREMENTS).array(4);
        for measurement in extensible {
            claims.bytes(measurement);
        }
        claims.finish()
    }
}

/// The platform's claims, encoded: made up, except for the hash of the Realm's key.
pub(crate) fn platform_claims(form: &Form) -> Vec<u8> {
    let mut claims = Encoder::new();
    claims.map(8 + u64::from(form.has_client));
    claims.int(PROFILE).text(form.platform_profile);
    claims.int(form.binding).bytes(&Sha256::digest(REALM_KEY.cose_key()));
    claims.int(IMPLEMENTATION_ID).bytes(&Sha256::digest(b"rmm-model implementation"));
    claims.int(INSTANCE_ID).bytes(&instance_id(b"rmm-model platform"));
    claims.int(CONFIGURATION).bytes(&[0; 4]);
    claims.int(LIFECYCLE).int(SECURED);
    claims.int(DEFAULT_HASH_ALGORITHM).text(hash_name(HashAlgorithm::Sha256));
    if form.has_client {
        claims.int(CLIENT_ID).int(MONITOR_DOMAIN);
    }
    claims.int(SOFTWARE_COMPONENTS).array(COMPONENTS.len() as u64);
    for component in COMPONENTS {
        claims.map(4);
        claims.int(COMPONENT_TYPE).text(component);
        claims.int(COMPONENT_SIGNER).bytes(&Sha256::digest(b"rmm-model signer"));
        claims.int(COMPONENT_MEASUREMENT).bytes(&Sha256::digest(component));
        claims.int(COMPONENT_HASH_ALGORITHM).text(hash_name(HashAlgorithm::Sha256));
    }
    claims.finish()
}

/// An identity of 33 bytes that is the same for the same `seed`.
fn instance_id(seed: &[u8]) -> [u8; 33] {
    let mut id = [RANDOM_IDENTITY; 33];
    let [_, random @ ..] = &mut id;
    for (to, from) in random.iter_mut().zip(Sha256::digest(seed)) {
        *to = from;
    }
    id
}

/// The name of a hash algorithm in the IANA registry "Hash Function Textual Names".
fn hash_name(algorithm: HashAlgorithm) -> &'static str {
    match algorithm {
        HashAlgorithm::Sha256 => "sha-256",
        HashAlgorithm::Sha384 => "sha-384",
        HashAlgorithm::Sha512 => "sha-512",
        HashAlgorithm::Unknown(_) => "unknown",
    }
}
