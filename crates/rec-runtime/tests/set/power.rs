//! RECs that turn each other on and themselves off.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex};
use std::thread;

use rec_runtime::exit::{PsciNotice, PsciRequestKind};
use rec_runtime::set::{CpuOnDecision, ExitKind, Outcome, Power, RecSlot, Runner, SystemEnd};
use rec_runtime::{Answer, EnterError, Flow, Handler, Rec, RecSet, Timers};
use rmi_abi::rec::Mpidr;
use rmi_abi::{Command, Dialect, Status};
use rmi_host::{CountingLedger, Registers};
use rmm_model::{ForgedExit, Guest, GuestCpu, Model, Options};
use test_support::Altered;

use crate::fixture::{
    Action, CallingThread, Cpus, DIALECTS, Fixture, RAM, Rmm, cpu_on, move_to, realm, realm_of,
    realm_with_limit, script,
};

const CPU_ON: u64 = 0xc400_0003;
const ALREADY_ON: u64 = (-4_i64).cast_unsigned();
const DENIED: u64 = (-3_i64).cast_unsigned();
const INVALID_PARAMETERS: u64 = (-2_i64).cast_unsigned();
const INVALID_ADDRESS: u64 = (-9_i64).cast_unsigned();

/// A handler with the default methods.
struct Defaults;

impl Handler for Defaults {}

/// A handler that decides on each `CPU_ON`.
struct Decides(CpuOnDecision, Vec<(Mpidr, Mpidr)>);

impl Handler for Decides {
    fn cpu_on(&mut self, caller: &Rec, target: &Rec) -> CpuOnDecision {
        self.1.push((caller.mpidr(), target.mpidr()));
        self.0
    }
}

/// What a program has seen in X0 after each of its calls.
type Seen = Arc<Mutex<Vec<u64>>>;

/// A program that makes these calls, then turns itself off, and notes what they return.
fn calls(actions: &[Action]) -> (Box<dyn Guest>, Seen) {
    let seen = Seen::default();
    let (log, actions) = (Arc::clone(&seen), actions.to_vec());
    let mut next = actions.into_iter();
    let mut is_first = true;
    let guest = move |cpu: &GuestCpu| {
        if !std::mem::replace(&mut is_first, false) {
            log.lock().unwrap().push(cpu.x[0]);
        }
        next.next().unwrap_or(Action::psci_cpu_off())
    };
    (Box::new(guest), seen)
}

fn is_off(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Off { .. })
}

#[test]
fn four_recs_on_four_threads() {
    for dialect in DIALECTS {
        let mut first: Vec<_> = (1..4).map(cpu_on).collect();
        first.push(Action::psci_cpu_off());
        let mut programs = vec![script(first)];
        programs.extend((1..4).map(|_| script(vec![Action::Wfi, Action::psci_cpu_off()])));
        realm(dialect, programs, |fixture| {
            let (set, rmm) = (fixture.set, fixture.rmm);
            thread::scope(|scope| {
                for index in 0..4 {
                    let mut runner = set.claim(index).unwrap();
                    scope.spawn(move || {
                        move_to(u16::try_from(index).unwrap());
                        loop {
                            let outcome = runner.run(rmm, &mut Defaults).unwrap();
                            assert!(is_off(&outcome), "{outcome:?}");
                            if runner.rec().exits() > 0 {
                                return;
                            }
                            assert!(runner.wait(None));
                        }
                    });
                }
            });
            assert!(set.is_all_off());
            for index in 0..4 {
                assert_eq!(set.power(index), Some(Power::Off), "{set}");
            }
        });
    }
}

#[test]
fn the_realm_turns_itself_off_while_others_run() {
    for dialect in DIALECTS {
        let ends = [
            (Action::psci_system_off(), SystemEnd::Off),
            (Action::psci_system_reset(), SystemEnd::Reset),
        ];
        for (action, end) in ends {
            let programs = vec![script(vec![cpu_on(1), action]), script(vec![])];
            realm(dialect, programs, |fixture| {
                let (set, rmm) = (fixture.set, fixture.rmm);
                let mut first = set.claim(0).unwrap();
                let mut second = set.claim(1).unwrap();
                assert_eq!(set.system_end(), None);
                thread::scope(|scope| {
                    scope.spawn(move || {
                        move_to(1);
                        loop {
                            match second.run(rmm, &mut Defaults).unwrap() {
                                Outcome::Off { refused: None, .. } => {
                                    second.wait(None);
                                }
                                Outcome::RealmOff(how) => {
                                    assert!(how.is_none_or(|how| how == end));
                                    break;
                                }
                                other => panic!("{other:?}"),
                            }
                        }
                    });
                    let outcome = first.run(rmm, &mut Defaults).unwrap();
                    assert!(matches!(outcome, Outcome::RealmOff(Some(how)) if how == end));
                });
                assert_eq!(set.system_end(), Some(end));
            });
        }
    }
}

/// Does something right after an exit, before it is handled.
struct AfterExit<F>(F);

impl<F: FnMut()> Handler for AfterExit<F> {
    fn after_exit(&mut self, _: Timers, _: bool) {
        (self.0)();
    }
}

/// As [`AfterExit`], and notes the calls of `cpu_off`: who, and its power then.
struct CpuOffs<'s, F> {
    set: &'s RecSet<'s>,
    after_exit: F,
    seen: Vec<(u64, Option<Power>)>,
}

impl<F: FnMut()> Handler for CpuOffs<'_, F> {
    fn after_exit(&mut self, _: Timers, _: bool) {
        (self.after_exit)();
    }

    fn cpu_off(&mut self, rec: &Rec) {
        self.seen.push((rec.mpidr().raw(), self.set.power(1)));
    }
}

#[test]
fn an_entry_after_system_off_is_an_outcome() {
    for dialect in DIALECTS {
        let first = vec![cpu_on(1), Action::psci_system_off()];
        realm(dialect, vec![script(first), script(vec![])], |fixture| {
            let (set, rmm) = (fixture.set, fixture.rmm);
            let (mut first, mut second) = (set.claim(0).unwrap(), set.claim(1).unwrap());
            assert_eq!((first.index(), second.index()), (0, 1));
            assert_eq!(format!("{second:?}"), "Runner { index: 1, .. }");
            assert!(std::ptr::eq(second.rec(), set.rec(1).unwrap()));
            let mut exits = 0;
            let mut handler = AfterExit(|| {
                exits += 1;
                if exits == 2 {
                    // The Realm is off, and the host has not handled it.
                    move_to(1);
                    let outcome = second.run(rmm, &mut Defaults).unwrap();
                    assert!(matches!(outcome, Outcome::RealmOff(None)), "{outcome:?}");
                    move_to(0);
                }
            });
            let outcome = first.run(rmm, &mut handler).unwrap();
            assert!(matches!(outcome, Outcome::RealmOff(Some(SystemEnd::Off))), "{outcome:?}");
            assert_eq!(set.statistics(1).unwrap().refused, 1);
            let outcome = second.run(rmm, &mut Defaults).unwrap();
            assert!(matches!(outcome, Outcome::RealmOff(Some(SystemEnd::Off))), "{outcome:?}");
            // That was known without a call.
            assert_eq!(set.statistics(1).unwrap().refused, 1);
            assert!(set.is_ready(1));
        });
    }
}

#[test]
fn the_first_end_counts() {
    let actions = |last| script(vec![cpu_on(1), Action::Interrupt, last]);
    let programs = vec![actions(Action::psci_system_off()), actions(Action::psci_system_reset())];
    realm(DIALECTS[0], programs, |fixture| {
        let (set, rmm) = (fixture.set, fixture.rmm);
        let (mut first, mut second) = (set.claim(0).unwrap(), set.claim(1).unwrap());
        let bound = &mut |entries| entries == 2;
        assert!(matches!(first.run_until(rmm, &mut Defaults, bound).unwrap(), Outcome::Bounded));
        let mut exits = 0;
        let mut handler = AfterExit(|| {
            exits += 1;
            if exits == 2 {
                let outcome = second.run(rmm, &mut Defaults).unwrap();
                assert!(matches!(outcome, Outcome::RealmOff(None)), "{outcome:?}");
            }
        });
        let outcome = first.run(rmm, &mut handler).unwrap();
        assert!(matches!(outcome, Outcome::RealmOff(Some(SystemEnd::Off))), "{outcome:?}");
    });
}

#[test]
fn a_cpu_on_may_come_before_the_cpu_off_is_handled() {
    for dialect in DIALECTS {
        let again = vec![Action::psci_cpu_off(); 3];
        let first = vec![cpu_on(1), cpu_on(1), Action::Interrupt];
        realm(dialect, vec![script(first), script(again)], |fixture| {
            let (set, rmm) = (fixture.set, fixture.rmm);
            let (mut first, mut second) = (set.claim(0).unwrap(), set.claim(1).unwrap());
            let mut turn_on = || {
                move_to(0);
                let bound = &mut |entries| entries == 1;
                let outcome = first.run_until(rmm, &mut Defaults, bound).unwrap();
                assert!(matches!(outcome, Outcome::Bounded), "{outcome:?}");
                move_to(1);
            };
            turn_on();
            assert_eq!(set.power(1), Some(Power::OnPending));
            let mut exits = 0;
            let after_exit = || {
                exits += 1;
                if exits == 1 {
                    assert!(!fixture.is_on(1));
                    turn_on();
                    assert!(fixture.is_on(1));
                }
            };
            let mut handler = CpuOffs { set, after_exit, seen: vec![] };
            // It is entered again by the same loop, and turns itself off again.
            let outcome = second.run(rmm, &mut handler).unwrap();
            assert!(matches!(outcome, Outcome::Off { is_last: false, refused: None }));
            // The handler is told of both, before the set notes them.
            let mpidr = second.rec().mpidr().raw();
            let pending = (mpidr, Some(Power::OnPending));
            assert_eq!(handler.seen, [pending, pending]);
            assert_eq!((exits, second.rec().exits(), set.power(1)), (2, 2, Some(Power::Off)));
        });
    }
}

#[test]
fn a_cpu_on_of_a_rec_that_is_on_turns_nothing_on() {
    for dialect in DIALECTS {
        let (first, seen) = calls(&[cpu_on(1), cpu_on(1), cpu_on(0)]);
        let second = script(vec![Action::Interrupt, Action::Interrupt, Action::psci_cpu_off()]);
        realm(dialect, vec![first, second], |fixture| {
            let (set, rmm) = (fixture.set, fixture.rmm);
            let (mut first, mut second) = (set.claim(0).unwrap(), set.claim(1).unwrap());
            let bound = &mut |entries| entries == 1;
            let _ = first.run_until(rmm, &mut Defaults, bound).unwrap();
            let outcome = second.run_until(rmm, &mut Defaults, bound).unwrap();
            assert!(matches!(outcome, Outcome::Bounded));
            assert_eq!(set.power(1), Some(Power::On));
            assert!(is_off(&first.run(rmm, &mut Defaults).unwrap()));
            assert_eq!(*seen.lock().unwrap(), [0, ALREADY_ON, ALREADY_ON]);
            assert_eq!(set.power(1), Some(Power::OnPending));
            let outcome = second.run(rmm, &mut Defaults).unwrap();
            assert!(matches!(outcome, Outcome::Off { is_last: true, refused: None }));
            assert!(set.is_all_off());
        });
    }
}

#[test]
fn a_cpu_on_that_the_rmm_does_not_carry_out_leaves_the_rec_off() {
    for dialect in DIALECTS {
        let (first, _) = calls(&[Action::smc(0xf << 32 | CPU_ON, &[1, RAM, 0])]);
        realm(dialect, vec![first, script(vec![])], |fixture| {
            let (set, rmm) = (fixture.set, fixture.rmm);
            let outcome = set.claim(0).unwrap().run(rmm, &mut Defaults).unwrap();
            // The set does not know yet that the other is off, too.
            assert!(matches!(outcome, Outcome::Off { is_last: false, refused: None }));
            assert_eq!((set.power(1), set.count_on()), (Some(Power::OnPending), 1));
            let outcome = set.claim(1).unwrap().run(rmm, &mut Defaults).unwrap();
            let Outcome::Off { is_last: true, refused: Some(EnterError::Call(error)) } = outcome
            else {
                panic!("{outcome:?}")
            };
            assert_eq!(error.status(), Some(Status::ErrorRec));
            assert_eq!((set.power(1), set.count_on()), (Some(Power::Off), 0));
            assert_eq!(set.statistics(1).unwrap().refused, 1);
        });
    }
}

#[test]
fn what_the_rmm_answers_itself_does_not_exit() {
    for dialect in DIALECTS {
        let unprotected = 1 << 39;
        let (first, seen) = calls(&[cpu_on(9), cpu_on(0), Action::psci_cpu_on(1, unprotected, 0)]);
        realm(dialect, vec![first, script(vec![])], |fixture| {
            let outcome = fixture.set.claim(0).unwrap().run(fixture.rmm, &mut Defaults).unwrap();
            assert!(matches!(outcome, Outcome::Off { is_last: true, .. }));
            let expected = [INVALID_PARAMETERS, ALREADY_ON, INVALID_ADDRESS];
            assert_eq!(*seen.lock().unwrap(), expected);
            assert_eq!(fixture.set.rec(0).unwrap().exits(), 1);
            assert_eq!(fixture.set.power(1), Some(Power::Off));
        });
    }
}

#[test]
fn affinity_info_is_answered_where_it_exits() {
    for dialect in DIALECTS {
        let asks = Action::psci_affinity_info(1);
        let (first, seen) = calls(&[asks, cpu_on(1), asks]);
        realm(dialect, vec![first, script(vec![])], |fixture| {
            let outcome = fixture.set.claim(0).unwrap().run(fixture.rmm, &mut Defaults).unwrap();
            assert!(is_off(&outcome));
            assert_eq!(*seen.lock().unwrap(), [1, 0, 0]);
            let exits = if dialect.affinity_info_exits() { 3 } else { 1 };
            let statistics = fixture.set.statistics(0).unwrap();
            assert_eq!(statistics.exits(ExitKind::PsciRequest), exits);
            assert_eq!(fixture.set.power(1), Some(Power::OnPending));
        });
    }
}

#[test]
fn the_host_denies_a_cpu_on() {
    for dialect in DIALECTS {
        let (first, seen) = calls(&[cpu_on(1), cpu_on(1), cpu_on(1)]);
        realm(dialect, vec![first, script(vec![])], |fixture| {
            let (set, rmm) = (fixture.set, fixture.rmm);
            let mut first = set.claim(0).unwrap();
            let bound = &mut |entries| entries == 1;
            let mut decides = Decides(CpuOnDecision::Deny, Vec::new());
            let _ = first.run_until(rmm, &mut decides, bound).unwrap();
            assert_eq!((set.power(1), fixture.is_on(1)), (Some(Power::Off), false));
            decides.0 = CpuOnDecision::Accept;
            let _ = first.run_until(rmm, &mut decides, bound).unwrap();
            assert_eq!((set.power(1), fixture.is_on(1)), (Some(Power::OnPending), true));
            // The RMM does not let the host deny what is not for it to decide, and completes it.
            decides.0 = CpuOnDecision::Deny;
            assert!(is_off(&first.run(rmm, &mut decides).unwrap()));
            assert_eq!(*seen.lock().unwrap(), [DENIED, 0, ALREADY_ON]);
            let pair = (Mpidr::from_index(0), Mpidr::from_index(1));
            assert_eq!(decides.1, [pair; 3]);
        });
    }
}

/// What becomes of a denied `CPU_ON` of a REC that is on, if the RMM answers both denials with
/// these statuses, and the acceptance of the same call with that one, without doing any of them;
/// and what the caller's program has seen then.
fn denied(dialect: Dialect, answers: [Status; 2], accepted: Option<Status>) -> (Outcome, Vec<u64>) {
    let model = Model::new(Options::new(dialect)).unwrap();
    let (denials, ledger) = (Cell::new(0), CountingLedger::new());
    let complete = Command::PsciComplete.fid(dialect).map(|fid| u64::from(fid.0));
    let conduit = Altered {
        model: &model,
        instead: |call: &Registers| {
            let reply = if dialect.psci_complete_names_target() { call[3] } else { call[2] };
            let status = match reply {
                _ if Some(call[0]) != complete => None,
                DENIED => {
                    let answer = answers.get(denials.get()).copied();
                    denials.set(denials.get() + 1);
                    answer
                }
                _ if denials.get() > 0 => accepted,
                _ => None,
            };
            Some([u64::from(u8::from(status?)), 0, 0, 0, 0, 0, 0, 0])
        },
    };
    let (first, seen) = calls(&[cpu_on(1), cpu_on(1)]);
    let mut denied = None;
    realm_of(&model, &conduit, &ledger, vec![first, script(vec![])], |rmm, _, recs| {
        let (mut slots, cpus) = ([const { RecSlot::new() }; 2], Cpus(&model));
        let mut set = RecSet::new(&mut slots, &cpus);
        for (index, rec) in recs.drain(..).enumerate() {
            set.add(rec, index == 0).unwrap();
        }
        let mut first = set.claim(0).unwrap();
        let bound = &mut |entries| entries == 1;
        let _ = first.run_until(rmm, &mut Defaults, bound).unwrap();
        denied = Some(first.run(rmm, &mut Decides(CpuOnDecision::Deny, Vec::new())).unwrap());
        drop(first);
        recs.extend(set.drain());
    });
    // A refusal might be due to a state that the target has left.
    let attempts = if answers[0] == Status::ErrorInput { 2 } else { 1 };
    assert_eq!(denials.get(), attempts);
    let seen = seen.lock().unwrap().clone();
    (denied.unwrap(), seen)
}

#[test]
fn a_denial_that_the_rmm_refuses_is_accepted() {
    for dialect in DIALECTS {
        // As in the specification, the RMM has done nothing; it turns nothing on.
        let (input, other) = (Status::ErrorInput, Status::ErrorRec);
        let (outcome, seen) = denied(dialect, [input; 2], None);
        assert!(is_off(&outcome), "{outcome:?}");
        assert_eq!(seen, [0, ALREADY_ON]);
        // Other errors say nothing about the target.
        for (answers, accepted) in
            [([other; 2], None), ([input, other], None), ([input; 2], Some(other))]
        {
            let (outcome, _) = denied(dialect, answers, accepted);
            let Outcome::Incomplete { error: Some(error), .. } = outcome else {
                panic!("{outcome:?}")
            };
            assert_eq!(error.status(), Some(other));
        }
    }
}

#[test]
fn a_denial_holds_if_the_target_turns_itself_off_meanwhile() {
    for dialect in DIALECTS {
        let model = Model::new(Options::new(dialect)).unwrap();
        let (calls_so_far, ledger) = (Cell::new(0), CountingLedger::new());
        let complete = Command::PsciComplete.fid(dialect).map(|fid| u64::from(fid.0));
        // The first denial is refused, as that of a REC that is on. By the next call it is off.
        let conduit = Altered {
            model: &model,
            instead: |call: &Registers| {
                if Some(call[0]) != complete {
                    return None;
                }
                calls_so_far.set(calls_so_far.get() + 1);
                let refusal = u64::from(u8::from(Status::ErrorInput));
                (calls_so_far.get() == 1).then_some([refusal, 0, 0, 0, 0, 0, 0, 0])
            },
        };
        let (first, seen) = calls(&[cpu_on(1)]);
        realm_of(&model, &conduit, &ledger, vec![first, script(vec![])], |rmm, [rd, _], recs| {
            let (mut slots, cpus) = ([const { RecSlot::new() }; 2], Cpus(&model));
            let mut set = RecSet::new(&mut slots, &cpus);
            for (index, rec) in recs.drain(..).enumerate() {
                set.add(rec, index == 0).unwrap();
            }
            let mut decides = Decides(CpuOnDecision::Deny, Vec::new());
            let outcome = set.claim(0).unwrap().run(rmm, &mut decides).unwrap();
            assert!(is_off(&outcome), "{outcome:?}");
            assert_eq!(set.power(1), Some(Power::Off));
            assert_eq!(model.is_on(rd, set.rec(1).unwrap().mpidr().raw()), Some(false));
            recs.extend(set.drain());
        });
        assert_eq!((calls_so_far.get(), &seen.lock().unwrap()[..]), (2, &[DENIED][..]));
    }
}

#[test]
fn the_set_limits_how_many_are_on() {
    for dialect in DIALECTS {
        let (first, seen) = calls(&[cpu_on(1), cpu_on(1), cpu_on(2), cpu_on(2)]);
        let programs = vec![first, script(vec![Action::psci_cpu_off()]), script(vec![])];
        realm_with_limit(dialect, programs, 2, |fixture| {
            let (set, rmm) = (fixture.set, fixture.rmm);
            let mut first = set.claim(0).unwrap();
            let mut decides = Decides(CpuOnDecision::Accept, Vec::new());
            let bound = &mut |entries| entries == 3;
            let _ = first.run_until(rmm, &mut decides, bound).unwrap();
            assert_eq!((set.count_on(), set.power(2)), (2, Some(Power::Off)));
            assert!(is_off(&set.claim(1).unwrap().run(rmm, &mut Defaults).unwrap()));
            assert_eq!(set.count_on(), 1);
            assert!(is_off(&first.run(rmm, &mut decides).unwrap()));
            // The limit does not keep a REC from being told that another is on.
            assert_eq!(*seen.lock().unwrap(), [0, ALREADY_ON, DENIED, 0]);
            // The handler was not asked about what the limit denies.
            assert_eq!(decides.1.len(), 3);
        });
    }
}

/// Panics about one target and accepts the others.
struct PanicsAbout(Mpidr);

impl Handler for PanicsAbout {
    fn cpu_on(&mut self, _: &Rec, target: &Rec) -> CpuOnDecision {
        assert!(target.mpidr() != self.0, "on purpose");
        CpuOnDecision::Accept
    }
}

#[test]
fn a_decision_that_panics_takes_no_part_of_the_limit() {
    for dialect in DIALECTS {
        let (second, seen) = calls(&[cpu_on(2)]);
        let programs = vec![script(vec![cpu_on(1), cpu_on(2)]), second, script(vec![])];
        realm_with_limit(dialect, programs, 3, |fixture| {
            let (set, rmm) = (fixture.set, fixture.rmm);
            let mut panics = PanicsAbout(Mpidr::from_index(2));
            let unwound = catch_unwind(AssertUnwindSafe(|| {
                let _ = set.claim(0).unwrap().run(rmm, &mut panics);
            }));
            assert!(unwound.is_err());
            assert_eq!((set.count_on(), set.power(2)), (2, Some(Power::Off)));
            // There is one left to turn on.
            assert!(is_off(&set.claim(1).unwrap().run(rmm, &mut Defaults).unwrap()));
            assert_eq!(*seen.lock().unwrap(), [0]);
            assert_eq!(set.power(2), Some(Power::OnPending));
        });
    }
}

#[test]
fn a_rec_that_suspends_itself_waits() {
    for dialect in DIALECTS {
        let program = script(vec![Action::psci_cpu_suspend(), Action::psci_cpu_off()]);
        realm(dialect, vec![program], |fixture| {
            let mut runner = fixture.set.claim(0).unwrap();
            let outcome = runner.run(fixture.rmm, &mut Defaults).unwrap();
            let Outcome::Waiting(sleep) = outcome else { panic!("{outcome:?}") };
            assert_eq!((sleep.deadline, sleep.may_hide_deadline), (None, false));
            assert_eq!(fixture.set.power(0), Some(Power::On));
            assert!(!fixture.set.is_ready(0));
            assert!(is_off(&runner.run(fixture.rmm, &mut Defaults).unwrap()));
        });
    }
}

/// Notes the notices.
#[derive(Default)]
struct Notices(Vec<PsciNotice>);

impl Handler for Notices {
    fn psci_notice(&mut self, notice: PsciNotice) -> Flow {
        self.0.push(notice);
        Flow::Enter(Answer::resume())
    }
}

/// An exit because of a PSCI call that the RMM does not know.
fn forged(function: u64, target: u64) -> Action {
    Action::Forge(ForgedExit::psci(function, [target, 0, 0]))
}

#[test]
fn other_functions_are_notices() {
    let actions = vec![forged(0x8400_000e, 0), Action::psci_cpu_suspend()];
    realm(DIALECTS[0], vec![script(actions)], |fixture| {
        let mut notices = Notices::default();
        let mut runner = fixture.set.claim(0).unwrap();
        let bound = &mut |entries| entries == 3;
        let outcome = runner.run_until(fixture.rmm, &mut notices, bound).unwrap();
        assert!(matches!(outcome, Outcome::Bounded));
        let [PsciNotice::Other(other), PsciNotice::CpuSuspend] = notices.0[..] else { panic!() };
        assert_eq!(u32::from(other), 0x8400_000e);
    });
}

#[test]
fn a_call_that_cannot_be_completed_ends_the_loop() {
    for dialect in DIALECTS {
        for (target, has_target) in [(0, true), (7, false)] {
            let program = script(vec![forged(CPU_ON, target), Action::psci_cpu_off()]);
            realm(dialect, vec![program], |fixture| {
                let (set, rmm) = (fixture.set, fixture.rmm);
                let mut runner = set.claim(0).unwrap();
                let outcome = runner.run(rmm, &mut Defaults).unwrap();
                let Outcome::Incomplete { request, error } = outcome else { panic!() };
                assert_eq!(request.kind(), PsciRequestKind::CpuOn);
                assert_eq!(u64::from(request.target().index()), target);
                // The RMM has made no request.
                let status = error.and_then(|error| error.status());
                assert_eq!(status, has_target.then_some(Status::ErrorInput));
                let error = runner.run(rmm, &mut Defaults).unwrap_err();
                assert_eq!(error, EnterError::Unanswered);
                runner.set_answer(request.completed());
                assert!(is_off(&runner.run(rmm, &mut Defaults).unwrap()));
            });
        }
    }
}

#[test]
fn more_recs_than_the_lowest_affinity_tells_apart() {
    for dialect in DIALECTS {
        let count: u32 = 20;
        let mut first: Vec<_> = (1..count).map(cpu_on).collect();
        first.push(Action::psci_cpu_off());
        let mut programs = vec![script(first)];
        programs.extend((1..count).map(|_| script(vec![Action::psci_cpu_off()])));
        realm(dialect, programs, |fixture| {
            let set = fixture.set;
            for (index, mpidr) in [(0, 0), (15, 15), (16, 0x100), (19, 0x103)] {
                assert_eq!(set.index_of(Mpidr::from_raw(mpidr).unwrap()), Some(index));
                assert_eq!(set.index_of_psci(1 << 31 | mpidr), Some(index));
                assert_eq!(set.rec(index).unwrap().mpidr().raw(), mpidr);
            }
            assert_eq!(set.index_of(Mpidr::from_index(20)), None);
            // The highest affinity is in another place.
            assert_eq!(set.index_of_psci(1 << 32), None);
            assert_eq!(set.index_of(Mpidr::from_index(1 << 20)), None);
            assert_eq!((set.len(), set.is_empty(), set.count_on()), (20, false, 1));
            let run = |index| run_to_its_end(fixture.rmm, set.claim(index).unwrap());
            assert!(!run(0));
            assert_eq!(set.count_on(), 19);
            for index in 1..19 {
                assert!(!run(index) && !set.is_all_off());
            }
            assert!(run(19) && set.is_all_off());
        });
    }
}

/// Runs a REC until it is off; whether it was the last one.
fn run_to_its_end(rmm: &Rmm<'_, CallingThread<'_>>, mut runner: Runner<'_>) -> bool {
    match runner.run(rmm, &mut Defaults).unwrap() {
        Outcome::Off { is_last, .. } => is_last,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_rec_has_one_runner() {
    realm(DIALECTS[0], vec![script(vec![])], |fixture: &Fixture<'_, '_>| {
        let mut runner = fixture.set.claim(0).unwrap();
        assert_eq!(fixture.set.claim(0).unwrap_err().to_string(), "REC 0 has a runner already");
        assert_eq!(fixture.set.claim(1).unwrap_err().to_string(), "the set has no REC 1");
        let outcome = runner.run_until(fixture.rmm, &mut Defaults, &mut |_| true).unwrap();
        assert!(matches!(outcome, Outcome::Bounded));
        assert_eq!((runner.index(), runner.rec().exits()), (0, 0));
        drop(runner);
        assert!(fixture.set.claim(0).is_ok());
    });
}
