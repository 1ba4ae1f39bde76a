//! Attestation tokens: whole, in parts, and not at all.

use rmi_abi::Dialect;
use rmi_abi::rsi::ReturnCode;
use rsi::{Granule, TokenPart};

use crate::model::Setup;
use crate::{on_each, with};

const CHALLENGE: [u8; 64] = [0xa7; 64];

/// Whether these bytes are in others.
fn is_in(part: &[u8], whole: &[u8]) -> bool {
    whole.windows(part.len()).any(|window| window == part)
}

#[test]
fn a_token_is_read_whole() {
    on_each(|rsi| {
        let mut granule = Granule::zeroed();
        let mut bytes = vec![0; 16384];
        let mut token = rsi.attestation_token(&CHALLENGE).unwrap();
        assert!(!token.is_complete());
        let part = token.read(&mut granule, &mut bytes).unwrap();
        assert!(part.is_complete && token.is_complete());
        assert!(part.bytes as u64 <= token.size_bound());
        assert!(is_in(&CHALLENGE, &bytes[..part.bytes]));
        assert!(is_in(b"sha-256", &bytes[..part.bytes]));
        assert!(bytes[part.bytes..].iter().all(|byte| *byte == 0));
        // No more calls are made.
        let none = TokenPart { bytes: 0, is_complete: true };
        assert_eq!(token.next_part(&mut granule, &mut bytes), Ok(none));
        assert_eq!(token.read(&mut granule, &mut bytes), Ok(none));
    });
}

#[test]
fn a_token_is_read_in_parts_of_any_size() {
    with(Setup::new(Dialect::TfRmm2026_07), |rsi| {
        let mut granule = Granule::zeroed();
        // The signatures are deterministic.
        let mut whole = vec![0; 16384];
        let mut token = rsi.attestation_token(&CHALLENGE).unwrap();
        let length = token.read(&mut granule, &mut whole).unwrap().bytes;
        whole.truncate(length);
        for size in [1000, length - 1, length] {
            let mut token = rsi.attestation_token(&CHALLENGE).unwrap();
            let mut all = Vec::new();
            while !token.is_complete() {
                let mut buffer = vec![0xee; size];
                let part = token.read(&mut granule, &mut buffer).unwrap();
                assert!(part.bytes == size || part.is_complete);
                all.extend_from_slice(&buffer[..part.bytes]);
                assert!(buffer[part.bytes..].iter().all(|byte| *byte == 0xee));
            }
            assert_eq!(all, whole);
        }
        // With no space, nothing is asked for.
        let mut token = rsi.attestation_token(&CHALLENGE).unwrap();
        let calls = rsi.conduit().with(|cpu| cpu.state().pc);
        let none = TokenPart { bytes: 0, is_complete: false };
        assert_eq!(token.read(&mut granule, &mut []), Ok(none));
        assert_eq!(token.next_part(&mut granule, &mut []), Ok(none));
        assert_eq!(rsi.conduit().with(|cpu| cpu.state().pc), calls);
    });
}

#[test]
fn a_second_token_ends_the_first() {
    with(Setup::new(Dialect::TfRmm2026_07), |rsi| {
        let mut granule = Granule::zeroed();
        let mut bytes = vec![0; 16384];
        let mut first = rsi.attestation_token(&CHALLENGE).unwrap();
        let mut second = rsi.attestation_token(&[1; 64]).unwrap();
        assert!(second.read(&mut granule, &mut bytes).unwrap().is_complete);
        let stopped = first.read(&mut granule, &mut bytes).unwrap_err();
        let error = stopped.error.unwrap();
        assert_eq!((stopped.bytes, error.status()), (0, Some(ReturnCode::ErrorState)));
        assert!(!first.is_complete());
    });
}
