//! Values that no RMM answers.

use rmi_abi::rsi::{Command, MemPermission, RealmConfigPage, RipasChangeFlags};
use rmi_abi::rtt::Ripas;
use rmi_abi::{Ipa, IpaRange};
use rsi::{
    AttestationToken, Error, Granule, PermissionCookie, PermissionStep, RealmConfig, RipasStep,
    Rsi, TokenPart, WhyStopped,
};

use crate::fake::{Fake, range, rsi};

const BASE: u64 = 0x10_0000;
const TOP: u64 = 0x11_0000;

/// The value of a bad reply.
fn bad<T: std::fmt::Debug>(result: Result<T, Error>, command: Command) -> u64 {
    let error = result.unwrap_err();
    let Error::BadReply { value, .. } = error else { panic!("{error}") };
    assert_eq!(
        (error.command(), error.status()),
        (command, Some(rmi_abi::rsi::ReturnCode::Success))
    );
    assert_eq!(
        error.to_string(),
        format!("{command}: the RMM answered with the impossible value {value:#x}")
    );
    value
}

fn set(rsi: &Rsi<Fake>) -> Result<RipasStep, Error> {
    // SAFETY: the call does nothing.
    unsafe { rsi.set_ripas(range(), Ripas::Ram, RipasChangeFlags::empty()) }
}

#[test]
fn a_change_ends_in_its_range() {
    for value in [0, BASE - 0x1000, BASE + 1, BASE + 0xfff, TOP + 0x1000, u64::MAX] {
        let rsi = rsi(&[&[0, value]]);
        assert_eq!(bad(set(&rsi), Command::IpaStateSet), value);
        let first = PermissionCookie::default();
        let step = rsi.set_permission_index(range(), 1, first);
        assert_eq!(bad(step, Command::MemSetPermIndex), value);
        // SAFETY: the call does nothing.
        let stopped = unsafe { rsi.claim_ram(range()) }.unwrap_err();
        let WhyStopped::Call(error) = stopped.why else { panic!("{stopped}") };
        assert_eq!(bad::<()>(Err(error), Command::IpaStateSet), value);
        let stopped = rsi.change_permission_index(range(), 1).unwrap_err();
        assert!(matches!(stopped.why, WhyStopped::Call(_)));
    }
    for response in [2, 0x100, u64::MAX] {
        let rsi = rsi(&[&[0, BASE, response]]);
        assert_eq!(bad(set(&rsi), Command::IpaStateSet), response);
    }
    let steps = [
        (&[0, TOP, 0], RipasStep::Done),
        (&[0, BASE, 0], RipasStep::Partial(Ipa::new(BASE))),
        (&[0, TOP - 0x1000, 0], RipasStep::Partial(Ipa::new(TOP - 0x1000))),
        (&[0, BASE, 1], RipasStep::Rejected(Ipa::new(BASE))),
        (&[0, TOP, 1], RipasStep::Rejected(Ipa::new(TOP))),
    ];
    for (answer, step) in steps {
        assert_eq!(set(&rsi(&[answer])), Ok(step));
    }
}

#[test]
fn a_state_ends_in_its_range() {
    for value in [0, BASE, BASE + 1, BASE + 0x1fff, TOP + 0x1000, u64::MAX] {
        let rsi = rsi(&[&[0, value, 1]]);
        assert_eq!(bad(rsi.ripas(range()), Command::IpaStateGet), value);
        assert_eq!(bad(rsi.is_all(range(), Ripas::Ram), Command::IpaStateGet), value);
    }
    let run = rsi(&[&[0, TOP, 0xff_ff02]]).ripas(range()).unwrap();
    assert_eq!((run.ripas, run.top.raw()), (Ripas::Destroyed, TOP));
    assert_eq!(rsi(&[&[0, BASE + 0x1000, 9]]).ripas(range()).unwrap().ripas, Ripas::Unknown(9));
}

#[test]
fn a_loop_over_memory_ends() {
    // The RMM accepts, and nothing happens.
    let idle = rsi(&[&[0, BASE, 0]]);
    // SAFETY: the calls do nothing.
    let stopped = unsafe { idle.claim_ram(range()) }.unwrap_err();
    assert_eq!((stopped.reached.raw(), stopped.why), (BASE, WhyStopped::NoProgress));
    assert_eq!(idle.conduit().count(), 16);
    let expected = "the state of memory is changed before 0x100000 only: calls make no progress";
    assert_eq!(stopped.to_string(), expected);
    assert!(std::error::Error::source(&stopped).is_none());
    // One page for each call.
    let page = |n: u64| [0, BASE + 0x1000 * n, 0];
    let answers: Vec<_> = (1..=16).map(page).collect();
    let slow = rsi(&answers.iter().map(|answer| &answer[..]).collect::<Vec<_>>());
    // SAFETY: as above.
    assert_eq!(unsafe { slow.claim_ram(range()) }, Ok(()));
    assert_eq!(slow.conduit().count(), 16);
    let refused = rsi(&[&[0, BASE + 0x1000, 0], &[1]]);
    // SAFETY: as above.
    let stopped = unsafe { refused.claim_ram(range()) }.unwrap_err();
    assert_eq!(stopped.reached.raw(), BASE + 0x1000);
    assert_eq!(
        std::error::Error::source(&stopped).unwrap().to_string(),
        "RSI_IPA_STATE_SET: RSI_ERROR_INPUT"
    );
    let refused = rsi(&[&[0, BASE + 0x1000, 1]]);
    // SAFETY: as above.
    let stopped = unsafe { refused.claim_ram(range()) }.unwrap_err();
    let expected = "the state of memory is changed before 0x101000 only: the host refuses the rest";
    assert_eq!(stopped.to_string(), expected);
}

#[test]
fn a_loop_over_permissions_ends() {
    let idle = rsi(&[&[0, BASE, 0, 0]]);
    let stopped = idle.change_permission_index(range(), 1).unwrap_err();
    assert_eq!((stopped.reached.raw(), stopped.why), (BASE, WhyStopped::NoProgress));
    assert_eq!(idle.conduit().count(), 16);
    let expected = "the permission index is set as far as 0x100000 only: calls make no progress";
    assert_eq!(stopped.to_string(), expected);
    assert!(std::error::Error::source(&stopped).is_none());

    // It begins again and again, with another cookie each time.
    let again: Vec<_> = (1..40).map(|cookie| [0, BASE, 0, cookie]).collect();
    let again = rsi(&again.iter().map(|answer| &answer[..]).collect::<Vec<_>>());
    assert_eq!(again.change_permission_index(range(), 1).unwrap_err().why, WhyStopped::NoProgress);
    assert_eq!(again.conduit().calls.borrow()[3][4], 3);
    assert_eq!(again.conduit().count(), 16);

    // Progress in each of three passes, with pauses.
    let mut answers = vec![[0, BASE + 0x1000, 0, 0]; 16];
    answers.push([0, BASE + 0x2000, 0, 1]);
    answers.push([0, BASE + 0x2000, 0, 2]);
    answers.extend([[0, BASE + 0x3000, 0, 2]; 16]);
    answers.push([0, TOP, 0, 0]);
    let count = answers.len();
    let slow = rsi(&answers.iter().map(|answer| &answer[..]).collect::<Vec<_>>());
    assert_eq!(slow.change_permission_index(range(), 1), Ok(()));
    assert_eq!(slow.conduit().count(), count);

    // Progress in more calls than there may be passes.
    let long = IpaRange::with_size(Ipa::new(BASE), 0x2_0000).unwrap();
    let answers: Vec<_> = (1..=32).map(|page| [0, BASE + page * 0x1000, 0, 0]).collect();
    let steps = rsi(&answers.iter().map(|answer| &answer[..]).collect::<Vec<_>>());
    assert_eq!(steps.change_permission_index(long, 1), Ok(()));
    assert_eq!(steps.conduit().count(), 32);

    let step =
        rsi(&[&[0, BASE, 0, 7]]).set_permission_index(range(), 1, PermissionCookie::default());
    assert!(matches!(step, Ok(PermissionStep::Partial(at, _)) if at.raw() == BASE));
    let refused = rsi(&[&[0, BASE + 0x1000, 1]]).change_permission_index(range(), 1).unwrap_err();
    assert_eq!((refused.reached.raw(), refused.why), (BASE + 0x1000, WhyStopped::Rejected));
    let failed = rsi(&[&[0, BASE + 0x1000, 0, 1], &[1]]);
    let failed = failed.change_permission_index(range(), 1).unwrap_err();
    assert_eq!(failed.reached.raw(), BASE + 0x1000);
    assert_eq!(
        std::error::Error::source(&failed).unwrap().to_string(),
        "RSI_MEM_SET_PERM_INDEX: RSI_ERROR_INPUT"
    );
}

#[test]
fn permissions_have_a_byte() {
    let read = |value| rsi(&[&[0, value]]).permission(1, 0);
    assert_eq!(read(12), Ok(MemPermission::ReadWrite));
    assert_eq!(read(255), Ok(MemPermission::Unknown(255)));
    for value in [256, 0x1_0000_000f] {
        assert_eq!(bad(read(value), Command::MemGetPermValue), value);
    }
}

#[test]
fn the_space_has_32_to_52_bits() {
    let mut page = RealmConfigPage::zeroed();
    for width in [0, 31, 53, 64, 256 + 40, u64::MAX] {
        page.ipa_width = width;
        assert_eq!(bad(RealmConfig::decode(&page), Command::RealmConfig), width);
    }
    for width in [32, 52] {
        page.ipa_width = width;
        assert_eq!(u64::from(RealmConfig::decode(&page).unwrap().space.width()), width);
    }
}

#[test]
fn a_part_of_a_token_is_not_larger_than_asked() {
    for (length, space) in [(9, 8), (4097, 8192), (u64::MAX, 8192)] {
        for code in [0, 3] {
            let rsi = rsi(&[&[0, 64], &[code, length]]);
            let mut token = rsi.attestation_token(&[0; 64]).unwrap();
            let part = token.next_part(&mut Granule::zeroed(), &mut vec![0; space]);
            assert_eq!(bad(part, Command::AttestationTokenContinue), length);
            assert!(!token.is_complete());
        }
    }
}

#[test]
fn a_token_comes_in_any_parts() {
    let rsi = rsi(&[&[0, 64], &[3, 0], &[3, 5], &[3, 4096], &[3, 0], &[2], &[0, 7]]);
    let mut granule = Granule::zeroed();
    granule.bytes_mut().fill(0x5a);
    let mut token = rsi.attestation_token(&[0; 64]).unwrap();
    let mut bytes = vec![0; 5000];
    let stopped = token.read(&mut granule, &mut bytes).unwrap_err();
    assert_eq!(stopped.bytes, 4101);
    let text = "the token ends after 4101 bytes: \
        RSI_ATTESTATION_TOKEN_CONTINUE: RSI_ERROR_STATE";
    assert_eq!(stopped.to_string(), text);
    assert!(std::error::Error::source(&stopped).is_some());
    assert!(bytes[..4101].iter().all(|byte| *byte == 0x5a) && bytes[4101] == 0);
    let last = TokenPart { bytes: 7, is_complete: true };
    assert_eq!(token.read(&mut granule, &mut bytes), Ok(last));
    // It asked for what there was space for.
    let sizes: Vec<_> = rsi.conduit().calls.borrow()[1..].iter().map(|call| call[3]).collect();
    assert_eq!(sizes, [4096, 4096, 4096, 899, 899, 4096]);
}

#[test]
fn a_token_that_never_comes() {
    let rsi = rsi(&[&[0, 64], &[3, 2], &[3, 0]]);
    let mut token = rsi.attestation_token(&[0; 64]).unwrap();
    let stopped = token.read(&mut Granule::zeroed(), &mut [0; 64]).unwrap_err();
    assert_eq!((stopped.bytes, stopped.error), (2, None));
    assert_eq!(stopped.to_string(), "the token ends after 2 bytes: calls give nothing");
    assert!(std::error::Error::source(&stopped).is_none());
    assert_eq!(AttestationToken::<Fake>::EMPTY_PARTS, 1 << 20);
    assert_eq!(rsi.conduit().count(), 2 + (1 << 20));
}
