//! Any exit record decodes to an exit from which the REC can continue, if the RMM waits for
//! something.

use rec_runtime::exit::{RipasChange, S2apChange};
use rec_runtime::{Answer, EnterError, Exit};
use rmi_abi::esr::FaultStatus;
use rmi_abi::rhi::RhiFunction;
use rmi_abi::rtt::{Level, Ripas};
use rmi_abi::run::{ExitReason, RecExit};
use rmi_abi::{Command, Dialect, Ipa};
use zerocopy::FromZeros;

use crate::fixture::{DEVICE, DIALECTS, RAM, on, sync};

const DATA: u64 = 0x24 << 26;
const FETCH: u64 = 0x20 << 26;
const VALID: u64 = 1 << 24;

fn hpfar(ipa: Ipa) -> u64 {
    ipa.raw() >> 12 << 4
}

/// The name of the exit with this syndrome at this address, by its status.
fn name(exit: &Exit) -> &'static str {
    match exit {
        Exit::MmioLoad(_) => "load",
        Exit::MmioStore(_) => "store",
        Exit::Fault(_) => "missing",
        Exit::SharedFault(_) => "shared",
        Exit::MemoryError(_) => "error",
        Exit::Abort(_) => "abort",
        _ => "other",
    }
}

/// The answer that an exit needs, or none.
fn answer(exit: Exit) -> Answer {
    match exit {
        Exit::MmioLoad(load) => load.complete(0),
        Exit::MmioStore(store) => store.complete(),
        Exit::Fault(fault) => fault.retry(),
        Exit::SharedFault(fault) => fault.abort(),
        Exit::SysRegRead(read) => read.complete(0),
        Exit::PsciRequest(request) => request.completed(),
        Exit::RipasChange(change) => change.reject().unwrap_or_else(RipasChange::accept),
        Exit::S2apChange(change) => change.reject(),
        Exit::HostCall(call) => call.not_supported(),
        Exit::VdevRequest(request) => request.reject(),
        Exit::VdevMapping(mapping) => mapping.reject(),
        Exit::P2pBinding(binding) => binding.reject(),
        Exit::VsmmuCommand(command) => command.completed(),
        _ => Answer::resume(),
    }
}

#[test]
fn every_fault_status_is_distinguished_from_a_missing_page() {
    on(Dialect::TfRmm2026_07, |fixture| {
        fixture.script(vec![], |fixture, _, rec| {
            let mut last = Answer::resume();
            for code in 0..=0x3f {
                let status = FaultStatus::decode(code);
                let esr = u64::from(code) | 1 << 25;
                let mut seen = Vec::new();
                for record in [
                    sync(DATA | esr, hpfar(RAM)),
                    sync(FETCH | esr, hpfar(RAM)),
                    sync(DATA | esr, hpfar(DEVICE)),
                    sync(DATA | VALID | esr, hpfar(DEVICE)),
                    sync(DATA | VALID | 1 << 6 | esr, hpfar(DEVICE)),
                    sync(FETCH | esr, hpfar(DEVICE)),
                ] {
                    let exit = fixture.decode(rec, last, record);
                    seen.push(name(&exit));
                    last = answer(exit);
                }
                let expected = match code {
                    0x04..=0x07 | 0x2b => {
                        ["missing", "missing", "shared", "load", "store", "abort"]
                    }
                    0x0c..=0x0f => ["abort", "abort", "shared", "load", "store", "abort"],
                    0x10 | 0x13..=0x18 | 0x1b..=0x1f => ["error"; 6],
                    // Address size, access flag, granule protection.
                    0x00..=0x03 | 0x08..=0x0b | 0x23..=0x29 => {
                        ["abort", "abort", "shared", "shared", "shared", "abort"]
                    }
                    // The address is not valid: it is not known whether an abort may be injected.
                    _ => ["abort"; 6],
                };
                assert_eq!(seen, expected, "{status:?}");
            }
        });
    });
}

#[test]
fn an_address_is_reported_where_it_is_valid() {
    on(Dialect::TfRmm2026_07, |fixture| {
        fixture.script(vec![], |fixture, _, rec| {
            for (code, page) in [(0x0f, Some(RAM)), (0x09, Some(RAM)), (0x30, None), (0x35, None)] {
                let record = sync(DATA | code, hpfar(RAM));
                let exit = fixture.decode(rec, Answer::resume(), record);
                let Exit::Abort(abort) = exit else { panic!("{exit:?}") };
                assert_eq!((abort.page(), abort.is_fetch()), (page, false));
            }
            let exit = fixture.decode(rec, Answer::resume(), sync(FETCH | 0x2b, hpfar(RAM)));
            let Exit::Fault(fault) = exit else { panic!("{exit:?}") };
            assert_eq!((fault.level(), fault.is_fetch()), (Level::MINUS_1, true));
        });
    });
}

#[test]
fn a_request_about_no_range_can_be_answered() {
    for dialect in DIALECTS {
        on(dialect, |fixture| {
            fixture.script(vec![], |fixture, _, rec| {
                let mut record = RecExit::new_zeroed();
                record.exit_reason = ExitReason::RipasChange.encode(dialect).unwrap();
                (record.ripas_base, record.ripas_top) = (0x8000, 0x4000);
                record.ripas_value = Ripas::Ram.into();
                let exit = fixture.decode(rec, Answer::resume(), record);
                let Exit::RipasChange(change) = exit else { panic!("{exit:?}") };
                assert!(change.range().is_empty());
                assert_eq!(fixture.refused(rec, Answer::resume()).0, EnterError::Unanswered);
                let rejected = change.reject().unwrap();
                // Where there are planes.
                if Command::RttSetS2ap.form(dialect).is_none() {
                    let _ = fixture.enter(rec, rejected);
                    return;
                }

                record.exit_reason = ExitReason::S2apChange.encode(dialect).unwrap();
                (record.s2ap_base, record.s2ap_top) = (u64::MAX, 0);
                let exit = fixture.decode(rec, rejected, record);
                let Exit::S2apChange(change) = exit else { panic!("{exit:?}") };
                assert!(change.range().is_empty());
                assert_eq!(fixture.refused(rec, Answer::resume()).0, EnterError::Unanswered);
                let _ = fixture.enter(rec, S2apChange::reject(change));
            });
        });
    }
}

#[test]
fn every_reason_of_every_dialect_goes_on() {
    for dialect in DIALECTS {
        on(dialect, |fixture| {
            fixture.script(vec![], |fixture, _, rec| {
                let mut last = Answer::resume();
                for code in 0..=u8::MAX {
                    for gpr in [0, 0xc400_0003, u64::MAX] {
                        let mut record = sync(DATA | 7, hpfar(RAM));
                        record.exit_reason = code;
                        record.gprs = [gpr; 31];
                        record.ripas_value = code;
                        let exit = fixture.decode(rec, last, record);
                        let wants = exit.wants_answer();
                        last = answer(exit);
                        assert_eq!(last.exit().is_some(), wants, "{code}");
                        if wants {
                            let refused = fixture.refused(rec, Answer::resume());
                            assert_eq!(refused.0, EnterError::Unanswered, "{code}");
                        }
                    }
                }
                let _ = fixture.enter(rec, last);
            });
        });
    }
}

#[test]
fn interrupts_errors_and_registers() {
    let dialect = Dialect::TfRmm2026_07;
    on(dialect, |fixture| {
        fixture.script(vec![], |fixture, _, rec| {
            let mut record = sync(0xbc00_0811, 0);
            let mut decode = |reason: ExitReason| {
                record.exit_reason = reason.encode(dialect).unwrap();
                fixture.decode(rec, Answer::resume(), record)
            };
            assert!(matches!(decode(ExitReason::Irq), Exit::Irq));
            assert!(matches!(decode(ExitReason::Fiq), Exit::Fiq));
            let exit = decode(ExitReason::SError);
            assert!(matches!(exit, Exit::SError { esr, .. } if esr.0 == 0xbc00_0811), "{exit:?}");

            // ICC_SGI1R_EL1, written and read.
            let sgi = 0x18 << 26 | 3 << 20 | 5 << 17 | 12 << 10 | 11 << 1;
            let mut record = sync(sgi, 0);
            record.gprs[0] = 7;
            let exit = fixture.decode(rec, Answer::resume(), record);
            let Exit::SysRegWrite(write) = exit else { panic!("{exit:?}") };
            assert_eq!((write.register(), write.value()), ((3, 0, 12, 11, 5), 7));
            let exit = fixture.decode(rec, Answer::resume(), sync(sgi | 1, 0));
            let Exit::SysRegRead(read) = exit else { panic!("{exit:?}") };
            assert_eq!(read.register(), (3, 0, 12, 11, 5));
            let _ = fixture.enter(rec, read.complete(1));
        });
    });
}

#[test]
fn the_function_of_a_host_call_is_the_lower_half_of_x0() {
    let dialect = Dialect::TfRmm2026_07;
    on(dialect, |fixture| {
        fixture.script(vec![], |fixture, _, rec| {
            let mut record = RecExit::new_zeroed();
            record.exit_reason = ExitReason::HostCall.encode(dialect).unwrap();
            record.plane = 2;
            let mut last = Answer::resume();
            for (imm, x0, rhi) in [
                (0, 0xc500_004b, Some(RhiFunction::DaFeatures)),
                (0, 0xdead_beef_c500_004b, Some(RhiFunction::DaFeatures)),
                (0, 0x1_0000_0007, Some(RhiFunction::Unknown(7))),
                // Another protocol.
                (9, 0xc500_004b, None),
            ] {
                (record.imm, record.gprs[0]) = (imm, x0);
                let exit = fixture.decode(rec, last, record);
                assert!(format!("{exit:?}").contains("imm"));
                let Exit::HostCall(call) = exit else { panic!("{exit:?}") };
                assert_eq!((call.imm(), call.plane(), call.rhi()), (imm, 2, rhi));
                assert_eq!(call.gprs()[0], x0);
                last = call.not_supported();
            }
            let exit = fixture.decode(rec, last, sync(FETCH | 0x30, 0));
            assert!(matches!(exit, Exit::Abort(abort) if abort.is_fetch()), "{exit:?}");
        });
    });
}
