//! The attestation token.

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use realm_guest::Program;
use realm_guest::host_call::values;
use realm_guest::layout::{RAM, RAM_BYTES};
use realm_guest::programs::token::challenge;
use realm_sdk::abi::Ipa;
use spin::Mutex;

use crate::fixture::Fixture;
use crate::machine::Machine;
use crate::realm::{self, Plan, Running, Values};
use crate::report::{Outcome, Stop};

/// Where the Realm shares the token.
const BUFFER: u64 = RAM + RAM_BYTES / 2;
/// Bytes of the buffer.
const BYTES: u64 = 16 << 10;
/// CBOR tags 399 and 907.
const TAGS: [[u8; 3]; 2] = [[0xd9, 0x01, 0x8f], [0xd9, 0x03, 0x8b]];
const NUMBER: u64 = 0x7061_7373_776f_7264;
const SALT: u64 = 0xfeed_f00d_dead_beef;

pub(super) fn check<M: Machine>(fixture: &Fixture<'_, M>) -> Outcome {
    let token = Mutex::new(Vec::new());
    let told = |running: &Running<'_, '_, M>, told: &Values| {
        let ([length, at, ..], true) = (told.values, told.what == values::TOKEN) else { return };
        let mut bytes = vec![0; usize::try_from(length.min(BYTES)).unwrap_or(0)];
        match running.realm.read_shared(Ipa::new(at), &mut bytes) {
            Ok(()) => *token.lock() = bytes,
            Err(error) => running.give_up(format!("the token cannot be read: {error}")),
        }
    };
    let mut plan = Plan::new(Program::Token, &[NUMBER, BUFFER, BYTES]);
    (plan.shares, plan.salt, plan.on_values) = (true, SALT, &told);
    let ended = realm::run(fixture, &plan)?;
    ended.check(plan.vcpus)?;
    let token = core::mem::take(&mut *token.lock());
    // The tag of a CCA token: 399 or, in later drafts, 907.
    if !TAGS.iter().any(|tag| token.starts_with(tag)) {
        let start = token.get(..8).unwrap_or(&token);
        return Err(Stop::failed(format!("it begins with {start:02x?}, and not with a tag")));
    }
    let challenge: Vec<u8> = challenge(NUMBER).into_iter().flat_map(u64::to_le_bytes).collect();
    let [digest @ .., _, _, _, _, _, _, _, _] = ended.rim;
    let digest = digest.get(..plan.config.hash.digest_bytes().unwrap_or(64)).unwrap_or(&digest);
    let personalization = plan.program.personalization(SALT);
    for (what, bytes) in [
        ("the challenge", challenge.as_slice()),
        ("the predicted RIM", digest),
        ("the personalization value", &personalization),
    ] {
        if !token.windows(bytes.len()).any(|window| window == bytes) {
            return Err(Stop::failed(format!("{what} is not in its {} bytes", token.len())));
        }
    }
    Ok(format!("{} bytes, with challenge, RIM and personalization value", token.len()))
}
