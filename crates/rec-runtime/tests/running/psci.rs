//! PSCI calls can be answered, whatever the Realm puts in its registers.

use rec_runtime::exit::{PsciCall, PsciNotice, PsciRequest, PsciRequestKind};
use rec_runtime::{Answer, EnterError, Exit, Flow, Handler, Kick, Rec, RunEnd};
use rmi_abi::rec::Mpidr;
use rmi_abi::run::{ExitReason, RecExit};
use rmi_abi::{Dialect, Status};
use zerocopy::FromZeros;

use crate::fixture::{Action, DIALECTS, RAM, on, script};

const UPPER: u64 = 0xdead_beef << 32;
const CPU_ON: u64 = 0xc400_0003;
const SYSTEM_OFF: u64 = 0x8400_0008;

fn cpu_on(function: u64, target: u64) -> Action {
    Action::smc(function, &[target, RAM.raw(), 0])
}

#[test]
fn a_target_is_its_affinities_in_both_conventions() {
    for dialect in Dialect::ALL {
        for function in [CPU_ON, 0x8400_0003] {
            // A complete MPIDR_EL1, as a guest may pass it; and bits that are not specified.
            for bits in [1 << 31, 1 << 30, 1 << 24, 0xf0, 1 << 40, 1 << 63] {
                let first = script(vec![cpu_on(function, bits | 1), Action::psci_system_off()]);
                let second = script(vec![Action::psci_cpu_off()]);
                on(dialect, |fixture| {
                    fixture.realm(vec![first, second], |fixture, _, recs| {
                        let [first, second] = &mut recs[..] else { panic!() };
                        let exit = fixture.enter(first, Answer::resume());
                        let Exit::PsciRequest(request) = exit else { panic!("{exit:?}") };
                        assert_eq!(request.kind(), PsciRequestKind::CpuOn);
                        assert_eq!(request.target(), Mpidr::from_index(1));
                        let answer = request.accept(fixture.rmm, first, second).unwrap();
                        let exit = fixture.enter(second, Answer::resume());
                        assert!(matches!(exit, Exit::PsciNotice(PsciNotice::CpuOff)), "{exit:?}");
                        let exit = fixture.enter(first, answer);
                        assert!(matches!(exit, Exit::PsciNotice(PsciNotice::SystemOff)));
                    });
                });
            }
        }
    }
}

#[test]
fn a_rec_is_off_until_another_turns_it_on() {
    for dialect in Dialect::ALL {
        on(dialect, |fixture| {
            let first = script(vec![cpu_on(CPU_ON, 1), Action::psci_system_off()]);
            let second = script(vec![Action::psci_cpu_off()]);
            fixture.realm(vec![first, second], |fixture, _, recs| {
                let [first, second] = &mut recs[..] else { panic!() };
                let is_off = |rec: &mut Rec| fixture.refused(rec, Answer::resume()).0.is_off();
                assert!(is_off(second));
                let exit = fixture.enter(first, Answer::resume());
                let Exit::PsciRequest(request) = exit else { panic!("{exit:?}") };
                // It waits for an answer, which says nothing about its power.
                assert!(!is_off(first));
                let answer = request.accept(fixture.rmm, first, second).unwrap();
                let exit = fixture.enter(second, Answer::resume());
                assert!(matches!(exit, Exit::PsciNotice(PsciNotice::CpuOff)), "{exit:?}");
                assert!(is_off(second));
                let exit = fixture.enter(first, answer);
                assert!(matches!(exit, Exit::PsciNotice(PsciNotice::SystemOff)));
                // The Realm is off.
                assert!(is_off(first) && is_off(second));
            });
        });
    }
}

#[test]
fn affinity_info_is_answered_where_it_exits() {
    on(Dialect::TfRmm2026_07, |fixture| {
        let asks = Action::smc(0xc400_0004, &[1 << 31 | 1, 0]);
        let programs = vec![script(vec![asks, Action::psci_system_off()]), script(vec![])];
        fixture.realm(programs, |fixture, _, recs| {
            let [first, second] = &mut recs[..] else { panic!() };
            let exit = fixture.enter(first, Answer::resume());
            let Exit::PsciRequest(request) = exit else { panic!("{exit:?}") };
            assert_eq!(request.kind(), PsciRequestKind::AffinityInfo);
            assert_eq!(request.target(), second.mpidr());
            assert_eq!(fixture.refused(first, Answer::resume()).0, EnterError::Unanswered);
            let answer = request.accept(fixture.rmm, first, second).unwrap();
            let exit = fixture.enter(first, answer);
            assert!(matches!(exit, Exit::PsciNotice(PsciNotice::SystemOff)), "{exit:?}");
        });
    });
}

#[test]
fn the_function_is_the_lower_half_of_x0() {
    for dialect in DIALECTS {
        on(dialect, |fixture| {
            let actions = vec![cpu_on(UPPER | CPU_ON, 1), Action::smc(UPPER | SYSTEM_OFF, &[])];
            let programs = vec![script(actions), script(vec![Action::psci_cpu_off()])];
            fixture.realm(programs, |fixture, _, recs| {
                let [first, second] = &mut recs[..] else { panic!() };
                let exit = fixture.enter(first, Answer::resume());
                let Exit::PsciRequest(request) = exit else { panic!("{exit:?}") };
                assert_eq!(request.target(), second.mpidr());
                let answer = request.accept(fixture.rmm, first, second).unwrap();
                // TF-RMM completes the request, and turns nothing on.
                let (error, _) = fixture.refused(second, Answer::resume());
                let EnterError::Call(error) = error else { panic!("{error:?}") };
                assert_eq!(error.status(), Some(Status::ErrorRec));
                let exit = fixture.enter(first, answer);
                assert!(matches!(exit, Exit::PsciNotice(PsciNotice::SystemOff)), "{exit:?}");
            });
        });
    }
}

#[test]
fn notices_whatever_the_upper_half() {
    let dialect = Dialect::TfRmm2026_07;
    on(dialect, |fixture| {
        fixture.script(vec![], |fixture, _, rec| {
            for (function, expected) in [
                (0x8400_0001, PsciNotice::CpuSuspend),
                (0xc400_0001, PsciNotice::CpuSuspend),
                (0x8400_0002, PsciNotice::CpuOff),
                (SYSTEM_OFF, PsciNotice::SystemOff),
                (0x8400_0009, PsciNotice::SystemReset),
            ] {
                for upper in [0, UPPER] {
                    let mut record = RecExit::new_zeroed();
                    record.exit_reason = ExitReason::Psci.encode(dialect).unwrap();
                    record.gprs[0] = upper | function;
                    let exit = fixture.decode(rec, Answer::resume(), record);
                    let Exit::PsciNotice(notice) = exit else { panic!("{exit:?}") };
                    assert_eq!(notice, expected);
                }
            }
        });
    });
}

/// What a handler does with PSCI calls.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reply {
    Accept,
    Deny,
    /// It names the calling REC as the target.
    WrongTarget,
    Keep,
}

/// Replies to each PSCI call.
struct Power<'r> {
    target: &'r Rec,
    reply: Reply,
    calls: Vec<(PsciRequestKind, Mpidr)>,
    refused: u32,
    kept: Option<PsciRequest>,
    notices: Vec<PsciNotice>,
}

impl<'r> Power<'r> {
    const fn new(target: &'r Rec, reply: Reply) -> Self {
        Self { target, reply, calls: Vec::new(), refused: 0, kept: None, notices: Vec::new() }
    }
}

impl Handler for Power<'_> {
    fn psci_request(&mut self, rec: &Rec, call: PsciCall<'_>) -> Flow {
        self.calls.push((call.kind(), call.target()));
        assert_eq!(call.can_be_denied(), call.kind() == PsciRequestKind::CpuOn);
        let text = format!("{call:?}");
        assert!(text.contains(&format!("target: {:?}", call.target())), "{text}");
        let completed = match self.reply {
            Reply::Accept => call.accept(self.target),
            Reply::Deny => call.deny(self.target),
            Reply::WrongTarget => call.accept(rec),
            Reply::Keep => {
                self.kept = Some(call.into_request());
                return Flow::Leave;
            }
        };
        match completed {
            Ok(answer) => Flow::Enter(answer),
            Err(failed) => {
                self.refused += 1;
                self.kept = Some(failed.kept);
                Flow::Leave
            }
        }
    }

    fn psci_notice(&mut self, notice: PsciNotice) -> Flow {
        self.notices.push(notice);
        Flow::Leave
    }
}

#[test]
fn a_handler_completes_calls_in_the_session_of_the_loop() {
    for dialect in Dialect::ALL {
        for reply in [Reply::Accept, Reply::Deny, Reply::WrongTarget, Reply::Keep] {
            on(dialect, |fixture| {
                let first = script(vec![cpu_on(CPU_ON, 1), Action::psci_system_off()]);
                let second = script(vec![Action::psci_cpu_off()]);
                fixture.realm(vec![first, second], |fixture, _, recs| {
                    let [first, second] = &mut recs[..] else { panic!() };
                    let kick = Kick::new();
                    let mut power = Power::new(second, reply);
                    // A handler is a trait object, too.
                    let handler: &mut dyn Handler = &mut power;
                    let stopped = first.run(fixture.rmm, Answer::resume(), handler, &kick).unwrap();
                    assert!(matches!(stopped, RunEnd::Left), "{stopped:?}");
                    assert_eq!(power.calls, [(PsciRequestKind::CpuOn, second.mpidr())]);
                    // 2.0-bet3 knows the target itself.
                    let is_wrong =
                        reply == Reply::WrongTarget && dialect.psci_complete_names_target();
                    assert_eq!(power.refused, u32::from(is_wrong));
                    let is_done = !is_wrong && reply != Reply::Keep;
                    assert_eq!(power.notices.len(), usize::from(is_done), "{:?}", power.notices);
                    let kept = power.kept.take();
                    assert_eq!(kept.is_some(), !is_done);
                    // What was not completed in the loop is completed after it.
                    if let Some(request) = kept {
                        let answer = request.accept(fixture.rmm, first, second).unwrap();
                        let exit = fixture.enter(first, answer);
                        assert!(matches!(exit, Exit::PsciNotice(PsciNotice::SystemOff)));
                    }
                });
            });
        }
    }
}

#[test]
fn a_handler_cannot_deny_what_cannot_be_denied() {
    on(Dialect::TfRmm2026_07, |fixture| {
        let asks = Action::smc(0xc400_0004, &[1, 0]);
        let programs = vec![script(vec![asks, Action::psci_system_off()]), script(vec![])];
        fixture.realm(programs, |fixture, _, recs| {
            let [first, second] = &mut recs[..] else { panic!() };
            let mut power = Power::new(second, Reply::Deny);
            let stopped = first.run(fixture.rmm, Answer::resume(), &mut power, &Kick::new());
            assert!(matches!(stopped, Ok(RunEnd::Left)), "{stopped:?}");
            assert_eq!(power.calls, [(PsciRequestKind::AffinityInfo, second.mpidr())]);
            let request = power.kept.take().expect("it was refused before the call");
            assert!(!request.can_be_denied());
            let answer = request.accept(fixture.rmm, first, second).unwrap();
            let exit = fixture.enter(first, answer);
            assert!(matches!(exit, Exit::PsciNotice(PsciNotice::SystemOff)), "{exit:?}");
        });
    });
}
