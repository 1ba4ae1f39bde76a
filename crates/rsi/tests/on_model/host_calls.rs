//! Calls to the host, and the Realm Host Interface.

use std::sync::mpsc;

use rmi_abi::dialect::InterfaceVersion;
use rmi_abi::rhi::{DaStatus, RhiFunction, SessionMode, SessionState, SessionStatus};
use rmi_abi::rsi::HostCallBlock;
use rmi_abi::{Dialect, Ipa};
use rsi::Rhi;
use rsi::rhi::{LogPart, RhiError, Session, SessionFeatures, SharedBuffer, Transfer};

use crate::model::Setup;
use crate::{on_each, with};

const BUFFER: SharedBuffer =
    SharedBuffer { ipa: Ipa::new(0x80_4000_0000), bytes: 0x1000, offset: 0x20 };

#[test]
fn the_host_gets_every_register_and_answers_in_every_register() {
    on_each(|rsi| {
        let mut block = HostCallBlock::zeroed();
        block.imm = 0x1234;
        block.gprs = std::array::from_fn(|register| 0x1_0000_0000 * register as u64 + 7);
        let asked = block.gprs;
        rsi.host_call(&mut block).unwrap();
        assert_eq!(block.imm, 0x1234);
        assert_eq!(block.gprs, asked.map(|register| !register));
    });
}

/// Answers of the host: X0 and up.
fn answering(answers: &[&[u64]]) -> Setup {
    let mut setup = Setup::new(Dialect::TfRmm2026_07);
    setup.host_calls = answers
        .iter()
        .map(|answer| {
            let mut registers = [0x77; 31];
            registers[..answer.len()].copy_from_slice(answer);
            registers
        })
        .collect();
    setup
}

#[test]
fn functions_of_the_host() {
    let answers: [&[u64]; 13] = [
        &[0x1_0000],
        &[0xf, 3],
        &[0, 5, 1],
        &[0, 5, 6],
        &[0, 5, 4, 0x1000],
        &[0, 5, 5, 0x9999],
        &[0, 5, 3, 0x10],
        &[0x800],
        &[0, 0x1000, 1],
        &[0x20_0000],
        &[0, 0x300],
        &[0, 0x1000],
        &[3],
    ];
    let mut setup = answering(&answers);
    let (tell, asked) = mpsc::channel();
    setup.asked = Some(tell);
    with(setup, |rsi| {
        let mut block = HostCallBlock::zeroed();
        block.gprs = [0x99; 31];
        let mut rhi = Rhi::new(rsi, &mut block);
        let version = InterfaceVersion::new(1, 0);
        assert_eq!(rhi.version(RhiFunction::SessionVersion), Ok(version));
        let features = SessionFeatures { functions: 0xf, modes: 3 };
        assert_eq!(rhi.session_features(), Ok(features));
        let opened = Session { id: 5, state: SessionState::ConnectInProgress };
        assert_eq!(rhi.open_session(0, SessionMode::NonBlocking), Ok(opened));
        let closed = Session { id: 5, state: SessionState::CloseInProgress };
        assert_eq!(rhi.close_session(5), Ok(closed));
        let done = Transfer { state: SessionState::IoComplete, bytes: 0x1000 };
        assert_eq!(rhi.send(5, BUFFER), Ok(done));
        let none = SharedBuffer { ipa: Ipa::new(0), bytes: 0, offset: 0 };
        let size = Transfer { state: SessionState::BufferSizeDetermined, bytes: 0x9999 };
        assert_eq!(rhi.receive(5, none), Ok(size));
        let some = Transfer { state: SessionState::IoInProgress, bytes: 0x10 };
        assert_eq!(rhi.receive(5, BUFFER), Ok(some));
        assert_eq!(rhi.activity_log_size(), Ok(0x800));
        assert_eq!(rhi.read_activity_log(BUFFER), Ok(LogPart { copied: 0x1000, remaining: 1 }));
        assert_eq!(rhi.ipa_change_alignment(), Ok(0x20_0000));
        assert_eq!(rhi.device_object_size(1, 2), Ok(0x300));
        assert_eq!(rhi.read_device_object(1, 2, BUFFER), Ok(0x1000));
        assert_eq!(rhi.features(RhiFunction::DaFeatures), Ok(3));
    });
    let buffer = [0x80_4000_0000, 0x1000, 0x20];
    let arguments: [(u64, &[u64]); 13] = [
        (0xc500_0040, &[]),
        (0xc500_0041, &[]),
        (0xc500_0042, &[0, 2]),
        (0xc500_0043, &[5]),
        (0xc500_0044, &[5, buffer[0], buffer[1], buffer[2]]),
        (0xc500_0045, &[5, 0, 0, 0]),
        (0xc500_0045, &[5, buffer[0], buffer[1], buffer[2]]),
        (0xc500_0048, &[]),
        (0xc500_0049, &buffer[..2]),
        (0xc500_0050, &[]),
        (0xc500_004c, &[1, 2]),
        (0xc500_004d, &[1, 2, buffer[0], buffer[1], buffer[2]]),
        (0xc500_004b, &[]),
    ];
    let expected = arguments.map(|(function, arguments)| {
        let mut registers = [0; 31];
        registers[0] = function;
        registers[1..=arguments.len()].copy_from_slice(arguments);
        (0, registers)
    });
    assert_eq!(asked.iter().collect::<Vec<_>>(), expected);
}

#[test]
fn texts_of_errors() {
    with(answering(&[&[u64::MAX], &[2], &[0x800], &[u64::MAX]]), |rsi| {
        let mut block = HostCallBlock::zeroed();
        let mut rhi = Rhi::new(rsi, &mut block);
        let text = |error: RhiError| {
            assert!(std::error::Error::source(&error).is_none());
            error.to_string()
        };
        let missing = rhi.version(RhiFunction::FalVersion).unwrap_err();
        assert_eq!(text(missing), "RHI_FAL_VERSION: the host does not have it");
        let refused = rhi.close_session(5).unwrap_err();
        assert_eq!(text(refused), "RHI_SESSION_CLOSE: status 2");
        let expected = "RHI_HOSTCONF_GET_IPA_CHANGE_ALIGNMENT: \
            the host answered with the impossible value 0x800";
        assert_eq!(text(rhi.ipa_change_alignment().unwrap_err()), expected);
        let missing = rhi.call(RhiFunction::Unknown(0xc500_0077), &[]).unwrap_err();
        assert_eq!(text(missing), "RHI function 0xc5000077: the host does not have it");
    });
}

#[test]
fn what_a_host_may_not_answer() {
    let answers: [&[u64]; 11] = [
        &[u64::MAX],
        &[2, 5, 0],
        &[9],
        &[0, 5, 4, 0x1001],
        &[0, 0x1001, 0],
        &[0x800],
        &[0x3000],
        &[0],
        &[0x1000],
        &[0, 0x1001],
        &[1],
    ];
    with(answering(&answers), |rsi| {
        let mut block = HostCallBlock::zeroed();
        let mut rhi = Rhi::new(rsi, &mut block);
        let unknown = rhi.version(RhiFunction::FalVersion).unwrap_err();
        let RhiError::NotSupported { function, .. } = unknown else { panic!("{unknown}") };
        assert_eq!(function, RhiFunction::FalVersion);
        let refused = rhi.close_session(5).unwrap_err();
        assert_eq!(refused.session_status(), Some(SessionStatus::InvalidState));
        let refused = rhi.device_object_size(0, 0).unwrap_err();
        assert_eq!(refused.da_status(), Some(DaStatus::Busy));
        let bad = |result: Result<u64, RhiError>| match result {
            Err(error @ RhiError::BadReply { value, .. }) => {
                assert_eq!((error.session_status(), error.da_status()), (None, None));
                value
            }
            other => panic!("{other:?}"),
        };
        assert_eq!(bad(rhi.send(5, BUFFER).map(|done| done.bytes)), 0x1001);
        assert_eq!(bad(rhi.read_activity_log(BUFFER).map(|part| part.copied)), 0x1001);
        for value in [0x800, 0x3000, 0] {
            assert_eq!(bad(rhi.ipa_change_alignment()), value);
        }
        assert_eq!(rhi.ipa_change_alignment(), Ok(0x1000));
        assert_eq!(bad(rhi.read_device_object(0, 0, BUFFER)), 0x1001);
        let refused = rhi.read_activity_log(BUFFER).unwrap_err();
        assert!(matches!(refused, RhiError::Refused { status: 1, .. }), "{refused}");
    });
}
