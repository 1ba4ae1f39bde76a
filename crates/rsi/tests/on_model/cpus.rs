//! PSCI: CPUs that are turned on and off.

use rec_runtime::exit::PsciNotice;
use rmi_abi::dialect::InterfaceVersion;
use rmi_abi::psci::{PsciFunction, PsciReturnCode};
use rmi_abi::{Dialect, Ipa};
use rsi::{CpuPower, Psci, PsciError};

use crate::DIALECTS;
use crate::model::{self, CpuConduit, Reply, Setup};

const ENTRY: Ipa = Ipa::new(model::RAM + 0x2000);

fn code(result: Result<(), PsciError>) -> PsciReturnCode {
    result.unwrap_err().code
}

#[test]
fn a_cpu_is_turned_on_and_off() {
    for dialect in DIALECTS {
        let mut setup = Setup::new(dialect);
        setup.replies = vec![Reply::Refuse(0), Reply::Grant];
        let cpu_0 = |conduit: CpuConduit<'_>| {
            let psci = Psci::new(&conduit);
            assert_eq!(psci.version(), Ok(InterfaceVersion::new(1, 1)));
            assert_eq!(psci.has(PsciFunction::CpuOn64), Ok(true));
            assert_eq!(psci.has(PsciFunction::Unknown(0x8400_0099)), Ok(false));
            assert_eq!(psci.affinity_info(0), Ok(CpuPower::On));
            assert_eq!(psci.affinity_info(1), Ok(CpuPower::Off));
            let missing = psci.affinity_info(2).unwrap_err();
            assert_eq!(missing.function, PsciFunction::AffinityInfo64);
            assert_eq!(missing.code, PsciReturnCode::InvalidParameters);
            // SAFETY: the program of the model runs, whatever is at the entry.
            let on = |mpidr, entry| unsafe { psci.cpu_on(mpidr, entry, 0x1234_5678_9abc) };
            assert_eq!(code(on(2, ENTRY)), PsciReturnCode::InvalidParameters);
            assert_eq!(code(on(1, Ipa::new(1 << 39))), PsciReturnCode::InvalidAddress);
            assert_eq!(code(on(0, ENTRY)), PsciReturnCode::AlreadyOn);
            assert_eq!(code(on(1, ENTRY)), PsciReturnCode::Denied);
            assert_eq!(on(1, ENTRY), Ok(()));
            assert_eq!(psci.affinity_info(1), Ok(CpuPower::On));
            assert_eq!(psci.cpu_suspend(), Ok(()));
            // It does not return, as CPU 0 is not turned on again.
            let returned = psci.cpu_off();
            panic!("{returned}");
        };
        let cpu_1 = |conduit: CpuConduit<'_>| {
            let state = conduit.with(|cpu| cpu.state());
            assert_eq!((state.pc, state.x[0]), (ENTRY.raw(), 0x1234_5678_9abc));
            let psci = Psci::new(&conduit);
            assert_eq!(psci.affinity_info(0), Ok(CpuPower::Off));
            let returned = psci.system_reset();
            panic!("{returned}");
        };
        let end = model::run(setup, cpu_0, cpu_1, None);
        assert_eq!(end, Some(PsciNotice::SystemReset));
    }
}

#[test]
fn the_realm_is_turned_off() {
    let off = |conduit: CpuConduit<'_>| panic!("{}", Psci::new(conduit).system_off());
    let end = model::run(Setup::new(Dialect::V2_0Bet3), off, |_| (), None);
    assert_eq!(end, Some(PsciNotice::SystemOff));
}
