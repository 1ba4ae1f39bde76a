//! A verifier of attestation tokens, which shares no code with what makes them.

use std::collections::BTreeMap;

use ciborium::Value;
use p384::ecdsa::signature::Verifier;
use p384::ecdsa::{Signature, VerifyingKey};
use sha2::{Digest, Sha256};

pub(crate) type Claims = BTreeMap<i128, Value>;

/// What a token says, once both signatures and the binding were right.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) tag: u64,
    pub(crate) platform: Claims,
    pub(crate) realm: Claims,
    /// The Realm's claims as they are encoded.
    pub(crate) realm_payload: Vec<u8>,
}

/// One item that takes up all of `bytes`.
fn decoded(bytes: &[u8]) -> Value {
    let mut rest = bytes;
    let value = ciborium::from_reader(&mut rest).unwrap();
    assert!(rest.is_empty(), "{} bytes too many", rest.len());
    value
}

/// The entries of a map, whose keys are numbers and differ.
fn map(value: &Value) -> Claims {
    let entries = value.as_map().unwrap();
    let map: Claims = entries
        .iter()
        .map(|(key, value)| (key.as_integer().unwrap().into(), value.clone()))
        .collect();
    assert_eq!(map.len(), entries.len());
    map
}

pub(crate) fn bytes(value: &Value) -> &[u8] {
    value.as_bytes().unwrap()
}

pub(crate) fn number(value: &Value) -> i128 {
    value.as_integer().unwrap().into()
}

pub(crate) fn text(value: &Value) -> &str {
    value.as_text().unwrap()
}

/// The payload of a `COSE_Sign1`, and what its signature is of and is.
struct Signed {
    payload: Vec<u8>,
    message: Vec<u8>,
    signature: Signature,
}

impl Signed {
    fn parse(item: &[u8]) -> Self {
        let item = decoded(item);
        let (tag, inner) = item.as_tag().unwrap();
        let parts: &[Value; 4] = inner.as_array().unwrap()[..].try_into().unwrap();
        let [protected, unprotected, payload, signature] = parts;
        assert_eq!(tag, 18);
        assert_eq!(map(&decoded(bytes(protected))), Claims::from([(1, Value::from(-35))]));
        assert_eq!(unprotected, &Value::Map(Vec::new()));
        let signed = Value::Array(vec![
            "Signature1".into(),
            protected.clone(),
            Value::Bytes(Vec::new()),
            payload.clone(),
        ]);
        let mut message = Vec::new();
        ciborium::into_writer(&signed, &mut message).unwrap();
        Self {
            payload: bytes(payload).to_vec(),
            message,
            signature: Signature::from_slice(bytes(signature)).unwrap(),
        }
    }

    fn is_signed_by(&self, point: &[u8]) -> bool {
        let key = VerifyingKey::from_sec1_bytes(point).unwrap();
        key.verify(&self.message, &self.signature).is_ok()
    }
}

/// The point of an encoded `COSE_Key`.
fn point(key: &[u8]) -> Vec<u8> {
    let key = map(&decoded(key));
    assert_eq!((number(&key[&1]), number(&key[&-1]), key.len()), (2, 2, 4));
    [&[4][..], bytes(&key[&-2]), bytes(&key[&-3])].concat()
}

/// Verifies a token that is bound to its platform by the claim `binding`.
pub(crate) fn verify(token: &[u8], platform_key: &[u8], binding: i128) -> Verified {
    let token = decoded(token);
    let (tag, inner) = token.as_tag().unwrap();
    let parts = map(inner);
    assert_eq!(parts.len(), 2);
    let part = |key: i128| {
        if tag == 399 {
            return Signed::parse(bytes(&parts[&key]));
        }
        let pair: &[Value; 2] = parts[&key].as_array().unwrap()[..].try_into().unwrap();
        assert_eq!((tag, number(&pair[0])), (907, 263));
        Signed::parse(bytes(&pair[1]))
    };
    let (platform, realm) = (part(44234), part(44241));
    assert!(platform.is_signed_by(platform_key), "the platform's signature");
    let platform = map(&decoded(&platform.payload));
    let claims = map(&decoded(&realm.payload));
    let key = bytes(&claims[&44237]);
    assert_eq!(text(&claims[&44240]), "sha-256");
    assert_eq!(bytes(&platform[&binding]), &Sha256::digest(key)[..], "the binding");
    assert!(realm.is_signed_by(&point(key)), "the Realm's signature");
    Verified { tag, platform, realm: claims, realm_payload: realm.payload }
}
