//! WFI, WFE, WFIT and WFET.

use rec_runtime::exit::Wait;
use rec_runtime::{Answer, Exit, Flow, Handler, Kick, RunEnd};
use rmi_abi::Dialect;
use rmi_abi::esr::Wfx;

use crate::fixture::{Action, on, sync};

/// Records the last wait.
struct Waiter(Option<Wait>);

impl Handler for Waiter {
    fn wait(&mut self, wait: Wait) -> Flow {
        self.0 = Some(wait);
        Flow::Stop(Answer::resume())
    }
}

fn waits(dialect: Dialect) -> Vec<(Wfx, Option<u64>)> {
    let mut waits = Vec::new();
    on(dialect, |fixture| {
        let actions = vec![
            Action::Wfi,
            Action::Wfe,
            Action::Wfit { deadline: 1000 },
            Action::Wfet { deadline: u64::MAX },
        ];
        fixture.script(actions, |fixture, _, rec| {
            rec.trap_waiting(true, true);
            for _ in 0..4 {
                let mut waiter = Waiter(None);
                let stopped =
                    rec.run(fixture.rmm, Answer::resume(), &mut waiter, &Kick::new()).unwrap();
                assert!(matches!(stopped, RunEnd::ByHandler(_)));
                let wait = waiter.0.unwrap();
                assert_eq!(wait.is_for_event(), wait.kind().is_for_event());
                assert_eq!(wait.may_hide_deadline(), dialect == Dialect::TfRmm2026_07);
                waits.push((wait.kind(), wait.deadline()));
            }
        });
    });
    waits
}

#[test]
fn a_deadline_is_reported_where_the_dialect_has_it() {
    let [wfi, wfe] = [(Wfx::Wfi, None), (Wfx::Wfe, None)];
    let told = [wfi, wfe, (Wfx::Wfit, Some(1000)), (Wfx::Wfet, Some(u64::MAX))];
    assert_eq!(waits(Dialect::V2_0Bet3), told);
    // TF-RMM reports only whether it is for an event.
    assert_eq!(waits(Dialect::TfRmm2026_07), [wfi, wfe, wfi, wfe]);
}

#[test]
fn a_deadline_that_is_not_reported_is_none() {
    on(Dialect::TfRmm2026_07, |fixture| {
        fixture.script(vec![], |fixture, _, rec| {
            let exit = fixture.decode(rec, Answer::resume(), sync(1 << 26 | 0b10, 0));
            let Exit::Wait(wait) = exit else { panic!("{exit:?}") };
            assert!(wait.kind().has_deadline() && !wait.is_for_event());
            assert_eq!((wait.deadline(), wait.may_hide_deadline()), (None, true));
        });
    });
}

#[test]
fn waits_are_trapped_one_by_one() {
    for (wfi, wfe) in [(true, false), (false, true)] {
        on(Dialect::TfRmm2026_07, |fixture| {
            let actions = vec![Action::Wfe, Action::Wfi, Action::Wfe];
            fixture.script(actions, |fixture, _, rec| {
                rec.trap_waiting(wfi, wfe);
                let exit = fixture.enter(rec, Answer::resume());
                let Exit::Wait(wait) = exit else { panic!("{exit:?}") };
                assert_eq!(wait.kind(), if wfi { Wfx::Wfi } else { Wfx::Wfe });
            });
        });
    }
}
