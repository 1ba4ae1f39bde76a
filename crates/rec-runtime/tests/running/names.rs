//! What a REC asks for is done for that REC, while it exists and waits for it.

use rec_runtime::exit::PsciRequest;
use rec_runtime::{Answer, Exit, Rec};
use rmi_abi::{Command, Dialect, Status};
use rmi_host::{Error, Failed};
use sro::Awaiting;

use crate::bench::{Action, DIALECTS, on, script};

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
    let Error::Argument { command: Command::PsciComplete, .. } = failed.error else {
        panic!("{}", failed.error)
    };
    failed.kept
}

#[test]
fn sound_3_stale_requests_do_not_reach_the_next_rec() {
    for dialect in DIALECTS {
        on(dialect, |bench| {
            let programs = || vec![script(turns_on(1)), script(vec![])];
            let (mut place, mut stale) = (None, None);
            bench.realm(programs(), |bench, _, recs| {
                let [first, _] = &mut recs[..] else { panic!() };
                place = Some(first.name().pa());
                stale = Some(request(bench.enter(first, Answer::resume())));
            });
            // The REC of another Realm has its granule, and has made the same request.
            bench.realm(programs(), |bench, _, recs| {
                let [first, second] = &mut recs[..] else { panic!() };
                assert_eq!(Some(first.name().pa()), place);
                let own = request(bench.enter(first, Answer::resume()));
                let calls = bench.model.calls();
                let stale = refused(stale.take().unwrap().accept(bench.rmm, first, second));
                let _ = refused(stale.deny(bench.rmm, first, second));
                assert_eq!(bench.model.calls(), calls);
                let answer = own.accept(bench.rmm, first, second).unwrap();
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
        on(dialect, |bench| {
            let programs = vec![script(turns_on(1)), script(turns_on(0))];
            bench.realm(programs, |bench, _, recs| {
                let [first, second] = &mut recs[..] else { panic!() };
                let of_first = request(bench.enter(first, Answer::resume()));
                let calls = bench.model.calls();
                // The second has not exited yet.
                let of_first = refused(of_first.accept(bench.rmm, second, first));
                assert_eq!(bench.model.calls(), calls);
                let first_goes_on = of_first.accept(bench.rmm, first, second).unwrap();
                let of_second = request(bench.enter(second, Answer::resume()));
                let of_second = refused(of_second.accept(bench.rmm, first, second));
                let answer = of_second.accept(bench.rmm, second, first).unwrap();
                assert_ne!(answer.exit(), first_goes_on.exit());
            });
        });
    }
}

#[test]
fn only_a_cpu_on_is_denied() {
    on(Dialect::TfRmm2026_07, |bench| {
        let asks = Action::smc(0xc400_0004, &[1, 0]);
        let programs = vec![script(vec![asks, turns_on(1).remove(0)]), script(vec![])];
        bench.realm(programs, |bench, _, recs| {
            let [first, second] = &mut recs[..] else { panic!() };
            let asked = request(bench.enter(first, Answer::resume()));
            assert!(!asked.can_be_denied());
            let calls = bench.model.calls();
            let asked = refused(asked.deny(bench.rmm, first, second));
            assert_eq!(bench.model.calls(), calls);
            let answer = asked.accept(bench.rmm, first, second).unwrap();
            let asked = request(bench.enter(first, answer));
            assert!(asked.can_be_denied());
            let _ = asked.deny(bench.rmm, first, second).unwrap();
        });
    });
}

#[test]
fn a_target_that_the_realm_did_not_name_is_refused_by_the_rmm() {
    on(Dialect::TfRmm2026_07, |bench| {
        let programs = vec![script(turns_on(1)), script(vec![]), script(vec![])];
        bench.realm(programs, |bench, _, recs| {
            let [first, second, third] = &mut recs[..] else { panic!() };
            let asked = request(bench.enter(first, Answer::resume()));
            let failed = asked.accept(bench.rmm, first, third).unwrap_err();
            assert_eq!(failed.error.status(), Some(Status::ErrorInput));
            let _ = failed.kept.accept(bench.rmm, first, second).unwrap();
        });
    });
}
