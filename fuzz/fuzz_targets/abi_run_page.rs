//! The run page: any bytes decode to an exit.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rmi_abi::Dialect;
use rmi_abi::esr::{Esr, fault_address};
use rmi_abi::psci::PsciFunction;
use rmi_abi::rtt::{Level, Ripas};
use rmi_abi::run::{ExitReason, PmuOverflowStatus, RecEnterFlags, RecRun};
use zerocopy::IntoBytes;

fuzz_target!(|input: (Dialect, RecRun)| {
    let (dialect, run) = input;
    let exit = run.exit;
    let reason = ExitReason::decode(exit.exit_reason, dialect);
    assert_eq!(reason.encode(dialect), Some(exit.exit_reason));
    let _ = Esr(exit.esr).visible().decode();
    assert!(fault_address(exit.hpfar, exit.far).raw() < 1 << 52);
    let [function, ..] = exit.gprs;
    let function = PsciFunction::from(function as u32);
    assert!(function.exits_to_host(dialect) || !function.needs_complete(dialect));
    assert_eq!(u8::from(Ripas::from(exit.ripas_value)), exit.ripas_value);
    assert_eq!(u8::from(PmuOverflowStatus::from(exit.pmu_ovf_status)), exit.pmu_ovf_status);
    let _ = Level::from_register(exit.rtt_level.cast_unsigned());
    assert_eq!(RecEnterFlags::from_bits_retain(run.enter.flags).bits(), run.enter.flags);
    let mut copy = run;
    copy.exit = exit;
    assert!(copy.as_bytes() == run.as_bytes());
});
