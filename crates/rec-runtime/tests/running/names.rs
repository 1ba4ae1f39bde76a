//! What a REC asks for is done for that REC, while it exists and waits for it.

use rec_runtime::exit::PsciRequest;
use rec_runtime::{Answer, Exit, Rec};
use rmi_abi::{Command, Dialect, Status};
use rmi_host::{Error, Failed};
use sro::Awaiting;

use crate::fixture::{Action, DIALECTS, on, script};

fn request(exit: Exit) -> PsciRequest {
    let Exit::PsciRequest(request) = exit else { panic!("{exit:?}") };
    request
}

/// The request of a REC for another, as the only action of its program.
fn turns_on(target: u64) -> Vec<Action> {
    vec![Action::psci_cpu_on(target, 0, 0)]
}

/// Asserts that a request was refused before any call, and returns it.
fn refused(result: Result<Answer, Failed<PsciRequest>>) -> PsciRequest {
    let failed = result.unwrap_err();
    assert!(matches!(failed.error, Error::Argument { .. }), "{}", failed.error);
    assert_eq!(failed.error.command(), Some(Command::PsciComplete));
    failed.kept
}

#[test]
fn sound_3_stale_requests_do_not_reach_the_next_rec() {
    for dialect in DIALECTS {
        on(dialect, |fixture| {
            let programs = || vec![script(turns_on(1)), script(vec![])];
            let (mut place, mut stale) = (None, None);
            fixture.realm(programs(), |fixture, _, recs| {
                let [first, _] = &mut recs[..] else { panic!() };
                place = Some(first.name().pa());
                stale = Some(request(fixture.enter(first, Answer::resume())));
            });
            // The REC of another Realm has its granule, and has made the same request.
            fixture.realm(programs(), |fixture, _, recs| {
                let [first, second] = &mut recs[..] else { panic!() };
                assert_eq!(Some(first.name().pa()), place);
                let own = request(fixture.enter(first, Answer::resume()));
                let calls = fixture.model.calls();
                let stale = refused(stale.take().unwrap().accept(fixture.rmm, first, second));
                let _ = refused(stale.deny(fixture.rmm, first, second));
                assert_eq!(fixture.model.calls(), calls);
                let answer = own.accept(fixture.rmm, first, second).unwrap();
                assert_eq!(rec_waits(first), answer.exit());
            });
        });
    }
}

fn rec_waits(rec: &Rec) -> Option<sro::ExitNumber> {
    match rec.awaiting() {
        Awaiting::Answer(exit) => Some(exit),
        _ => None,
    }
}

#[test]
fn sound_3_stale_requests_do_not_reach_another_rec_of_the_realm() {
    for dialect in DIALECTS {
        on(dialect, |fixture| {
            let programs = vec![script(turns_on(1)), script(turns_on(0))];
            fixture.realm(programs, |fixture, _, recs| {
                let [first, second] = &mut recs[..] else { panic!() };
                let of_first = request(fixture.enter(first, Answer::resume()));
                let calls = fixture.model.calls();
                // The second has not exited yet.
                let of_first = refused(of_first.accept(fixture.rmm, second, first));
                assert_eq!(fixture.model.calls(), calls);
                let first_goes_on = of_first.accept(fixture.rmm, first, second).unwrap();
                let of_second = request(fixture.enter(second, Answer::resume()));
                let of_second = refused(of_second.accept(fixture.rmm, first, second));
                let answer = of_second.accept(fixture.rmm, second, first).unwrap();
                assert_ne!(answer.exit(), first_goes_on.exit());
            });
        });
    }
}

#[test]
fn only_a_cpu_on_is_denied() {
    on(Dialect::TfRmm2026_07, |fixture| {
        let asks = Action::smc(0xc400_0004, &[1, 0]);
        let programs = vec![script(vec![asks, turns_on(1).remove(0)]), script(vec![])];
        fixture.realm(programs, |fixture, _, recs| {
            let [first, second] = &mut recs[..] else { panic!() };
            let asked = request(fixture.enter(first, Answer::resume()));
            assert!(!asked.can_be_denied());
            let calls = fixture.model.calls();
            let asked = refused(asked.deny(fixture.rmm, first, second));
            assert_eq!(fixture.model.calls(), calls);
            let answer = asked.accept(fixture.rmm, first, second).unwrap();
            let asked = request(fixture.enter(first, answer));
            assert!(asked.can_be_denied());
            let _ = asked.deny(fixture.rmm, first, second).unwrap();
        });
    });
}

#[test]
fn a_target_that_the_realm_did_not_name_is_refused_by_the_rmm() {
    on(Dialect::TfRmm2026_07, |fixture| {
        let programs = vec![script(turns_on(1)), script(vec![]), script(vec![])];
        fixture.realm(programs, |fixture, _, recs| {
            let [first, second, third] = &mut recs[..] else { panic!() };
            let asked = request(fixture.enter(first, Answer::resume()));
            let failed = asked.accept(fixture.rmm, first, third).unwrap_err();
            assert_eq!(failed.error.status(), Some(Status::ErrorInput));
            let _ = failed.kept.accept(fixture.rmm, first, second).unwrap();
        });
    });
}
