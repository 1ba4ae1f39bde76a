//! Every return code of every function.

use rmi_abi::dialect::InterfaceVersion;
use rmi_abi::psci::PsciReturnCode;
use rmi_abi::rsi::{
    Command, HostCallBlock, MemPermission, PlaneRunPage1_1, RealmConfigPage, ReturnCode,
    RipasChangeFlags, SysregAddress,
};
use rmi_abi::rtt::Ripas;
use rsi::{
    Error, Granule, Measurement, OpenError, PermissionCookie, Psci, PsciError, Rhi, Rsi, WhyStopped,
};

use crate::fake::{Fake, range, rsi};

type Function = fn(&Rsi<Fake>) -> Result<(), Error>;

/// Every function that makes one call, and its command.
const FUNCTIONS: [(Command, Function); 17] = [
    (Command::Features, |rsi| rsi.features().map(|_| ())),
    (Command::Features, |rsi| rsi.feature_register(1).map(|_| ())),
    (Command::RealmConfig, |rsi| rsi.realm_config(&mut RealmConfigPage::zeroed()).map(|_| ())),
    (Command::MeasurementRead, |rsi| rsi.measurement(Measurement::Initial).map(|_| ())),
    (Command::MeasurementExtend, |rsi| rsi.extend_measurement(Measurement::Extensible0, &[1])),
    (Command::AttestationTokenInit, |rsi| rsi.attestation_token(&[0; 64]).map(|_| ())),
    (Command::AttestationTokenContinue, |rsi| {
        // The token is begun; then comes the answer to be looked at.
        let answer = rsi.conduit().last();
        rsi.conduit().then(&[&[0, 1], &answer]);
        let mut token = rsi.attestation_token(&[0; 64]).unwrap();
        token.next_part(&mut Granule::zeroed(), &mut [0; 8]).map(|_| ())
    }),
    (Command::IpaStateSet, |rsi| {
        // SAFETY: the call does nothing.
        unsafe { rsi.set_ripas(range(), Ripas::Ram, RipasChangeFlags::empty()) }.map(|_| ())
    }),
    (Command::IpaStateSet, |rsi| {
        // SAFETY: the call does nothing.
        let stopped = unsafe { rsi.claim_ram(range()) }.unwrap_err();
        assert_eq!(stopped.reached, range().base());
        let WhyStopped::Call(error) = stopped.why else { panic!("{stopped}") };
        Err(error)
    }),
    (Command::IpaStateGet, |rsi| rsi.ripas(range()).map(|_| ())),
    (Command::HostCall, |rsi| rsi.host_call(&mut HostCallBlock::zeroed())),
    (Command::MemGetPermValue, |rsi| rsi.permission(1, 2).map(|_| ())),
    (Command::MemSetPermValue, |rsi| rsi.set_permission(1, 2, MemPermission::ReadOnly)),
    (Command::MemSetPermIndex, |rsi| {
        rsi.set_permission_index(range(), 1, PermissionCookie::default()).map(|_| ())
    }),
    (Command::PlaneEnter, |rsi| {
        // SAFETY: the call does nothing.
        unsafe { rsi.enter_plane(1, &mut PlaneRunPage1_1::zeroed()) }.map(|_| ())
    }),
    (Command::PlaneSysregRead, |rsi| rsi.plane_register(1, SysregAddress(0)).map(|_| ())),
    (Command::PlaneSysregWrite, |rsi| rsi.set_plane_register(1, SysregAddress(0), 0)),
];

#[test]
fn every_return_code_is_reported_with_its_command() {
    for (command, function) in FUNCTIONS {
        for code in [1, 2, 3, 4, 5, 6, 0x1_0000_0000, u64::MAX - 1, u64::MAX] {
            let is_part = command == Command::AttestationTokenContinue && code == 3;
            let rsi = rsi(&[]);
            rsi.conduit().answer(&[code]);
            let result = function(&rsi);
            if is_part {
                assert_eq!(result, Ok(()));
                continue;
            }
            let error = result.unwrap_err();
            assert_eq!(error.command(), command);
            assert_eq!(error.status(), Some(ReturnCode::from(code)));
            assert_eq!(matches!(error, Error::NotSupported { .. }), code == u64::MAX);
            assert!(error.to_string().starts_with(command.name()), "{error}");
        }
    }
}

#[test]
fn texts_of_errors() {
    let text = |code| {
        let rsi = rsi(&[&[code]]);
        rsi.permission(0, 0).unwrap_err().to_string()
    };
    assert_eq!(text(1), "RSI_MEM_GET_PERM_VALUE: RSI_ERROR_INPUT");
    assert_eq!(text(0x17), "RSI_MEM_GET_PERM_VALUE: return code 0x17");
    assert_eq!(text(u64::MAX), "RSI_MEM_GET_PERM_VALUE: the RMM does not have it");
    let long = rsi(&[]).extend_measurement(Measurement::Initial, &[0; 70]).unwrap_err();
    let expected = "RSI_MEASUREMENT_EXTEND: the argument 0x46 is out of its range";
    assert_eq!((long.to_string().as_str(), long.status()), (expected, None));
}

#[test]
fn a_buffer_has_to_be_private_memory() {
    let functions: [(Command, Function); 4] = [
        (Command::RealmConfig, FUNCTIONS[2].1),
        (Command::AttestationTokenContinue, FUNCTIONS[6].1),
        (Command::HostCall, FUNCTIONS[10].1),
        (Command::PlaneEnter, FUNCTIONS[14].1),
    ];
    for (command, function) in functions {
        // Not mapped; and mapped where the granule is not aligned.
        for offset in [None, Some(0x80)] {
            let rsi = rsi(&[]);
            rsi.conduit().offset.set(offset);
            let error = function(&rsi).unwrap_err();
            assert!(matches!(error, Error::Buffer { .. }), "{error}");
            assert_eq!((error.command(), error.status()), (command, None));
            let calls = if command == Command::AttestationTokenContinue { 1 } else { 0 };
            assert_eq!(rsi.conduit().count(), calls);
            assert!(error.to_string().ends_with("is not in private memory of the Realm"));
        }
    }
    let rsi = rsi(&[]);
    rsi.conduit().offset.set(None);
    let mut block = HostCallBlock::zeroed();
    let error = Rhi::new(&rsi, &mut block).activity_log_size().unwrap_err();
    let expected = "RSI_HOST_CALL: the buffer is not in private memory of the Realm";
    assert_eq!(error.to_string(), expected);
    assert_eq!(std::error::Error::source(&error).unwrap().to_string(), expected);
}

#[test]
fn a_reference_to_a_conduit_is_one() {
    let fake = Fake::default();
    fake.offset.set(Some(0));
    fake.then(&[&[0, 0x1_0001, 0x1_0001], &[0]]);
    let rsi = Rsi::open(&fake).unwrap();
    assert_eq!(rsi.host_call(&mut HostCallBlock::zeroed()), Ok(()));
    assert_eq!(fake.count(), 2);
}

#[test]
fn opening() {
    let open = |answers: &[&[u64]]| {
        let fake = Fake::default();
        fake.then(answers);
        Rsi::open(fake).map(|rsi| rsi.version())
    };
    let (v1_0, v1_1) = (InterfaceVersion::new(1, 0), InterfaceVersion::new(1, 1));
    assert_eq!(open(&[&[0, 0x1_0001, 0x2_0000]]), Ok(v1_1));
    assert_eq!(open(&[&[1, 0x1_0000, 0x1_0000], &[0, 0x1_0000, 0x1_0000]]), Ok(v1_0));
    // An RMM whose oldest version is newer.
    let error = open(&[&[1, 0x2_0000, 0x2_0003]]).unwrap_err();
    let OpenError::Version { lower, higher, .. } = error else { panic!("{error}") };
    let expected = (InterfaceVersion::new(2, 0), InterfaceVersion::new(2, 3));
    assert_eq!((lower, higher), expected);
    assert_eq!(error.to_string(), "the RMM has RSI 2.0 to 2.3, and this program 1.0 and 1.1");
    assert_eq!(open(&[&[u64::MAX]]), Err(OpenError::NotARealm));
    for code in [2, 3, 4, 5, 77] {
        let error = open(&[&[code]]).unwrap_err();
        let OpenError::Call(inner) = error else { panic!("{error}") };
        assert_eq!(inner.status(), Some(code.into()));
        assert_eq!(std::error::Error::source(&error).unwrap().to_string(), error.to_string());
    }
    let error = open(&[&[0, 0x1_0000, 0x1_0001]]).unwrap_err();
    assert!(matches!(error, OpenError::Call(Error::BadReply { value: 0x1_0000, .. })), "{error}");
    assert!(std::error::Error::source(&OpenError::NotARealm).is_none());
}

#[test]
fn psci_codes() {
    let fake = Fake::default();
    let psci = Psci::new(&fake);
    let code = |result: Result<(), PsciError>| result.map_err(|error| error.code);
    for (value, expected) in [
        (-9i64, PsciReturnCode::InvalidAddress),
        (-1, PsciReturnCode::NotSupported),
        (-3, PsciReturnCode::Denied),
        (1, PsciReturnCode::Off),
        (5, PsciReturnCode::Unknown(5)),
        (1 << 32, PsciReturnCode::Unknown(1 << 32)),
    ] {
        fake.answer(&[value.cast_unsigned()]);
        // SAFETY: nothing starts.
        assert_eq!(code(unsafe { psci.cpu_on(0, rmi_abi::Ipa::new(0), 0) }), Err(expected));
        assert_eq!(code(psci.cpu_suspend()), Err(expected));
    }
    // Functions of 32 bits answer in W0.
    for value in [u64::MAX, 0xffff_ffff, 0x7_ffff_ffff] {
        fake.answer(&[value]);
        assert_eq!(psci.cpu_off().code, PsciReturnCode::NotSupported);
        assert_eq!(psci.system_off().code, PsciReturnCode::NotSupported);
        assert_eq!(psci.system_reset().code, PsciReturnCode::NotSupported);
        assert_eq!(psci.version().unwrap_err().code, PsciReturnCode::NotSupported);
        assert_eq!(psci.has(rmi_abi::psci::PsciFunction::CpuOff), Ok(false));
    }
    fake.answer(&[0xffff_ffff]);
    assert_eq!(code(psci.cpu_suspend()), Err(PsciReturnCode::Unknown(0xffff_ffff)));
    fake.answer(&[0xffff_fffd]);
    let denied = psci.has(rmi_abi::psci::PsciFunction::CpuOff).unwrap_err();
    assert_eq!(denied.to_string(), "PSCI_FEATURES: PSCI_DENIED");
    assert_eq!(psci.cpu_off().to_string(), "PSCI_CPU_OFF: PSCI_DENIED");
    fake.answer(&[0x77]);
    assert_eq!(psci.cpu_suspend().unwrap_err().to_string(), "PSCI_CPU_SUSPEND: return code 119");
    fake.answer(&[2]);
    assert_eq!(psci.affinity_info(0), Ok(rsi::CpuPower::OnPending));
    assert_eq!(psci.has(rmi_abi::psci::PsciFunction::CpuOff), Ok(true));
    fake.answer(&[3]);
    assert_eq!(psci.affinity_info(0).unwrap_err().code, PsciReturnCode::Unknown(3));
    fake.answer(&[0x1_0001]);
    assert_eq!(psci.version(), Ok(InterfaceVersion::new(1, 1)));
}
