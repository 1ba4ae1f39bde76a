use std::format;

use p384::ecdsa::signature::Verifier;
use p384::ecdsa::{Signature, VerifyingKey};

use super::*;

#[test]
fn the_halves_of_the_keys_fit() {
    for key in [PLATFORM_KEY, REALM_KEY] {
        let point = key.point();
        let public = VerifyingKey::from_sec1_bytes(&point).unwrap();
        let signature = key.sign(b"message").unwrap();
        // The same message gets the same signature.
        assert_eq!(key.sign(b"message"), Some(signature));
        assert_ne!(key.sign(b"another"), Some(signature));
        let signature = Signature::from_slice(&signature).unwrap();
        assert!(public.verify(b"message", &signature).is_ok());
        assert!(public.verify(b"another", &signature).is_err());
        // Only the public half is shown.
        assert!(format!("{key:?}").ends_with("], .. }"));
    }
    assert_ne!(PLATFORM_KEY, REALM_KEY);
}

#[test]
fn a_key_in_cose_has_107_bytes() {
    let key = REALM_KEY.cose_key();
    let start = [0xa4, 0x01, 0x02, 0x20, 0x02, 0x21, 0x58, 0x30];
    assert_eq!((key.len(), &key[..8]), (107, &start[..]));
    assert_eq!((&key[8..56], &key[56..59]), (&REALM_KEY.point()[1..49], &[0x22, 0x58, 0x30][..]));
    assert_eq!((&key[59..], REALM_KEY.point()[0]), (&REALM_KEY.point()[49..], 4));
}
