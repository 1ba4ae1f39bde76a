//! Missing memory, and memory errors.

use rec_runtime::exit::MemoryError;
use rec_runtime::{Answer, Exit, Flow, Handler};
use rmi_abi::esr::{AbortSeverity, FaultStatus};
use rmi_abi::rtt::{Level, Ripas};
use rmi_abi::{Dialect, Ipa};
use rmm_model::{GuestCpu, Outcome};
use std::sync::{Arc, Mutex};

use crate::fixture::{Action, DIALECTS, on, sync};

fn memory_error(exit: Exit) -> MemoryError {
    let Exit::MemoryError(error) = exit else { panic!("{exit:?}") };
    error
}

#[test]
fn a_memory_error_is_no_missing_page() {
    for dialect in DIALECTS {
        for is_fetch in [false, true] {
            on(dialect, |fixture| {
                let seen = Arc::new(Mutex::new(Vec::new()));
                let log = Arc::clone(&seen);
                let mut actions = vec![
                    Action::memory_error(is_fetch, AbortSeverity::Recoverable),
                    Action::memory_error(is_fetch, AbortSeverity::Restartable),
                    Action::psci_system_off(),
                ]
                .into_iter();
                let guest = move |cpu: &GuestCpu| {
                    log.lock().unwrap().push(cpu.last);
                    actions.next().unwrap()
                };
                fixture.realm(vec![Box::new(guest)], |fixture, _, recs| {
                    let [rec] = &mut recs[..] else { panic!() };
                    let error = memory_error(fixture.enter(rec, Answer::resume()));
                    assert_eq!(error.severity(), Some(AbortSeverity::Recoverable));
                    assert_eq!(error.status(), FaultStatus::SynchronousExternal);
                    assert_eq!(error.is_fetch(), is_fetch);
                    let error = memory_error(fixture.enter(rec, Answer::resume()));
                    assert_eq!(error.severity(), Some(AbortSeverity::Restartable));
                    assert!(matches!(fixture.enter(rec, Answer::resume()), Exit::PsciNotice(_)));
                });
                // The RMM has injected the first error, and not the second.
                assert_eq!(seen.lock().unwrap()[1..], [Outcome::Aborted, Outcome::Done]);
            });
        }
    }
}

#[test]
fn all_errors_of_memory_with_their_severity() {
    on(Dialect::TfRmm2026_07, |fixture| {
        fixture.script(vec![], |fixture, _, rec| {
            for class in [0x20 << 26, 0x24 << 26] {
                for code in [0x10, 0x13, 0x14, 0x15, 0x16, 0x17] {
                    for (set, severity) in [
                        (0, AbortSeverity::Recoverable),
                        (1, AbortSeverity::Unknown(1)),
                        (2, AbortSeverity::Uncontainable),
                        (3, AbortSeverity::Restartable),
                    ] {
                        let record = sync(class | set << 11 | code, 0);
                        let error = memory_error(fixture.decode(rec, Answer::resume(), record));
                        assert_eq!(error.severity(), Some(severity));
                        let level = match code {
                            0x10 => None,
                            0x13 => Some(Level::MINUS_1),
                            _ => Level::new(i8::try_from(code).unwrap() - 0x14),
                        };
                        assert_eq!(error.status().level(), level);
                    }
                }
                // Parity and ECC errors have no severity.
                for code in [0x18, 0x1b, 0x1c, 0x1f] {
                    let error =
                        memory_error(fixture.decode(rec, Answer::resume(), sync(class | code, 0)));
                    assert_eq!(error.severity(), None);
                }
            }
        });
    });
}

/// A handler with the default behaviour, which counts exits.
#[derive(Default)]
struct Defaults(u32);

impl Handler for Defaults {
    fn after_exit(&mut self, _: rec_runtime::Timers, _: bool) {
        self.0 += 1;
    }

    fn interrupt(&mut self) -> Flow {
        Flow::Leave
    }
}

#[test]
fn by_default_a_run_continues_only_after_a_recoverable_error() {
    on(Dialect::TfRmm2026_07, |fixture| {
        let error = |severity| Action::memory_error(false, severity);
        let actions = vec![error(AbortSeverity::Recoverable), error(AbortSeverity::Restartable)];
        fixture.script(actions, |fixture, _, rec| {
            let mut handler = Defaults::default();
            let kick = rec_runtime::Kick::new();
            let stopped = rec.run(fixture.rmm, Answer::resume(), &mut handler, &kick).unwrap();
            assert!(matches!(stopped, rec_runtime::RunEnd::Left), "{stopped:?}");
            assert_eq!(handler.0, 2);
        });
    });
}

#[test]
fn missing_memory_is_mapped_and_the_realm_goes_on() {
    let page = Ipa::new(0);
    on(Dialect::TfRmm2026_07, |fixture| {
        let actions = vec![
            Action::ipa_state_set(page, Ipa::new(0x1000), Ripas::Ram, 0),
            Action::memory_error(false, AbortSeverity::Recoverable),
            Action::Load { ipa: page, bytes: 8 },
            Action::psci_system_off(),
        ];
        // With RAM at IPA 0, where a memory error must not be mistaken for a fault.
        fixture.script(actions, |fixture, realm, rec| {
            let exit = fixture.enter(rec, Answer::resume());
            let Exit::RipasChange(change) = exit else { panic!("{exit:?}") };
            realm.set_ripas(fixture.pool, rec.name(), change.range(), u32::MAX).unwrap();
            memory_error(fixture.enter(rec, change.accept()));
            let exit = fixture.enter(rec, Answer::resume());
            let Exit::Fault(fault) = exit else { panic!("{exit:?}") };
            assert_eq!((fault.page(), fault.is_fetch()), (page, false));
            let memory = fixture.memory.take_front(0x1000).unwrap();
            realm.map(fixture.pool, page, memory).unwrap();
            let exit = fixture.enter(rec, fault.retry());
            assert!(matches!(exit, Exit::PsciNotice(_)), "{exit:?}");
        });
    });
}
