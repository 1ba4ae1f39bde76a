//! Each answer belongs to one exit.

use rec_runtime::{Answer, EnterError, Exit, Rec};
use rmi_abi::{Dialect, Status};
use rmi_host::{Platform, Rmm};
use sro::Awaiting;

use crate::fixture::{Action, DEVICE, DIALECTS, Twist, on, script};

fn load() -> Action {
    Action::Load { ipa: DEVICE, bytes: 4 }
}

fn value(exit: Exit, value: u64) -> Answer {
    let Exit::MmioLoad(load) = exit else { panic!("{exit:?}") };
    load.complete(value)
}

/// Asserts that an answer is refused as belonging to another exit, before any call, and is
/// returned.
fn wrong<P: Platform>(rmm: &Rmm<P>, calls: impl Fn() -> u32, rec: &mut Rec, of: &Answer) {
    let (before, awaited) = (calls(), rec.awaiting());
    let failed = rec.enter(rmm, of.clone()).unwrap_err();
    assert_eq!(failed.error, EnterError::WrongAnswer);
    assert_eq!(failed.kept.as_ref(), Some(of));
    assert_eq!((calls(), rec.awaiting()), (before, awaited));
}

#[test]
fn an_answer_fits_one_exit() {
    for dialect in DIALECTS {
        on(dialect, |fixture| {
            let actions = vec![load(), load(), Action::Interrupt, load()];
            fixture.script(actions, |fixture, _, rec| {
                let calls = || fixture.line.entries();
                let first = value(fixture.enter(rec, Answer::resume()), 1);
                assert_eq!(rec.awaiting(), Awaiting::Answer(first.exit().unwrap()));
                assert_eq!(fixture.refused(rec, Answer::resume()).0, EnterError::Unanswered);
                let second = value(fixture.enter(rec, first.clone()), 2);
                assert_ne!(first, second);
                wrong(fixture.rmm, calls, rec, &first);
                assert!(matches!(fixture.enter(rec, second.clone()), Exit::Irq));
                // The REC waits for nothing.
                assert_eq!(rec.awaiting(), Awaiting::Nothing);
                wrong(fixture.rmm, calls, rec, &second);
                let third = value(fixture.enter(rec, Answer::resume()), 3);
                wrong(fixture.rmm, calls, rec, &first);
                wrong(fixture.rmm, calls, rec, &second);
                assert_eq!(rec.exits(), 4);
                let _ = fixture.enter(rec, third);
                assert_eq!(rec.exits(), 5);
            });
        });
    }
}

#[test]
fn an_answer_fits_one_rec() {
    on(Dialect::TfRmm2026_07, |fixture| {
        let turns_on = Action::psci_cpu_on(1, 0, 0);
        let programs = vec![script(vec![turns_on, load()]), script(vec![load()])];
        fixture.realm(programs, |fixture, _, recs| {
            let [first, second] = &mut recs[..] else { panic!() };
            let calls = || fixture.line.entries();
            let exit = fixture.enter(first, Answer::resume());
            let Exit::PsciRequest(request) = exit else { panic!("{exit:?}") };
            let answer = request.accept(fixture.rmm, first, second).unwrap();
            // Both have exited again, for the same reason.
            let of_first = value(fixture.enter(first, answer), 1);
            let of_second = value(fixture.enter(second, Answer::resume()), 2);
            wrong(fixture.rmm, calls, first, &of_second);
            wrong(fixture.rmm, calls, second, &of_first);
            let _ = fixture.enter(first, of_first);
            let _ = fixture.enter(second, of_second);
        });
    });
}

#[test]
fn sound_5_an_answer_is_refused_after_its_realm_is_destroyed() {
    for dialect in DIALECTS {
        on(dialect, |fixture| {
            let (mut granule, mut of_first) = (None, None);
            fixture.script(vec![load()], |fixture, _, rec| {
                granule = Some(rec.name().pa());
                of_first = Some(value(fixture.enter(rec, Answer::resume()), 0x5ec2_e7ed));
            });
            fixture.script(vec![load()], |fixture, _, rec| {
                assert_eq!(Some(rec.name().pa()), granule, "the REC is where the first one was");
                let of_second = value(fixture.enter(rec, Answer::resume()), 1);
                let of_first = of_first.unwrap();
                wrong(fixture.rmm, || fixture.line.entries(), rec, &of_first);
                let _ = fixture.enter(rec, of_second);
            });
        });
    }
}

#[test]
fn sound_5_what_is_waited_for_belongs_to_the_rec() {
    on(Dialect::TfRmm2026_07, |fixture| {
        fixture.realm(vec![script(vec![load(), load()])], |fixture, realm, recs| {
            let calls = || fixture.line.entries();
            let anew = |rec: Rec| {
                let (object, page) = rec.into_parts();
                Rec::new(object, page, realm.geometry())
            };
            let mut rec = recs.remove(0);
            let first = value(fixture.enter(&mut rec, Answer::resume()), 1);
            // The REC still waits for the answer, and the answer is still valid.
            let mut rec = anew(rec);
            assert_eq!(fixture.refused(&mut rec, Answer::resume()).0, EnterError::Unanswered);
            let second = value(fixture.enter(&mut rec, first.clone()), 2);
            // An answered exit is not waited for again: the count of exits does not restart.
            let mut rec = anew(rec);
            wrong(fixture.rmm, calls, &mut rec, &first);
            let _ = fixture.enter(&mut rec, second.clone());
            let mut rec = anew(rec);
            wrong(fixture.rmm, calls, &mut rec, &second);
            recs.push(rec);
        });
    });
}

#[test]
fn sound_5_an_unclear_entry_uses_its_answer_up() {
    // X0 of an answer that no RMM returns.
    const GARBAGE: u64 = 0xdead_beef_0000_00fe;
    for twist in [Twist::Afterwards(GARBAGE), Twist::Instead(GARBAGE)] {
        on(Dialect::TfRmm2026_07, |fixture| {
            fixture.realm(vec![script(vec![load(), load(), load()])], |fixture, realm, recs| {
                let mut rec = recs.remove(0);
                let answer = value(fixture.enter(&mut rec, Answer::resume()), 0x5ec2_e7ed);
                fixture.line.twist(twist);
                let (error, kept) = fixture.refused(&mut rec, answer.clone());
                assert!(matches!(error, EnterError::Call(_)) && !error.is_clean(), "{error:?}");
                assert_eq!(kept, None);
                assert_eq!(rec.awaiting(), Awaiting::Unknown);
                // There may have been an exit that the host did not see: neither the old answer nor
                // an entry without one is sent.
                let (object, page) = rec.into_parts();
                let mut rec = Rec::new(object, page, realm.geometry());
                let calls = fixture.line.entries();
                for answer in [answer, Answer::resume()] {
                    let (error, kept) = fixture.refused(&mut rec, answer.clone());
                    assert_eq!((error, kept), (EnterError::Unclear, Some(answer)));
                }
                assert_eq!(fixture.line.entries(), calls);
                recs.push(rec);
            });
        });
    }
}

#[test]
fn sound_5_an_entry_that_unwinds_is_unclear() {
    on(Dialect::TfRmm2026_07, |fixture| {
        fixture.script(vec![load(), load()], |fixture, _, rec| {
            let answer = value(fixture.enter(rec, Answer::resume()), 1);
            fixture.line.twist(Twist::Unwind);
            let again = answer.clone();
            let entry = std::panic::AssertUnwindSafe(|| rec.enter(fixture.rmm, again).is_ok());
            assert!(std::panic::catch_unwind(entry).is_err());
            assert_eq!(rec.awaiting(), Awaiting::Unknown);
            assert_eq!(fixture.refused(rec, answer).0, EnterError::Unclear);
        });
    });
}

#[test]
fn sound_5_a_refused_entry_gives_its_answer_back() {
    on(Dialect::TfRmm2026_07, |fixture| {
        fixture.script(vec![load(), Action::psci_system_off()], |fixture, _, rec| {
            let answer = value(fixture.enter(rec, Answer::resume()), 1);
            fixture.line.twist(Twist::Instead(u8::from(Status::ErrorRec).into()));
            let (error, kept) = fixture.refused(rec, answer.clone());
            assert!(matches!(error, EnterError::Call(_)) && error.is_clean(), "{error:?}");
            assert_eq!(kept.as_ref(), Some(&answer));
            assert_eq!(rec.awaiting(), Awaiting::Answer(answer.exit().unwrap()));
            assert!(matches!(fixture.enter(rec, answer), Exit::PsciNotice(_)));
        });
    });
}

#[test]
fn sound_5_no_number_is_used_twice() {
    let mut seen = std::collections::HashSet::new();
    for dialect in DIALECTS {
        on(dialect, |fixture| {
            for _ in 0..3 {
                fixture.script(vec![load(); 4], |fixture, _, rec| {
                    let mut answer = Answer::resume();
                    for _ in 0..4 {
                        answer = value(fixture.enter(rec, answer), 0);
                        assert!(seen.insert(answer.exit().unwrap()));
                    }
                });
            }
        });
    }
    assert_eq!(seen.len(), 12 * DIALECTS.len());
}

#[test]
fn errors_say_what_is_wrong() {
    for (error, word) in [
        (EnterError::Unanswered, "not been answered"),
        (EnterError::WrongAnswer, "another exit"),
        (EnterError::Running, "another thread"),
        (EnterError::Unclear, "earlier entry"),
    ] {
        assert!(error.to_string().contains(word), "{error}");
    }
}
