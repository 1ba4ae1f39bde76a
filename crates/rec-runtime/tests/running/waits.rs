//! WFI, WFE, WFIT and WFET.

use rec_runtime::exit::Wait;
use rec_runtime::{Answer, Exit, Flow, Handler, Kick, RunEnd, Timers};
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

fn waits(dialect: Dialect) -> Vec<(Wfx, Option<u64>, bool)> {
    let mut waits = Vec::new();
    on(dialect, |fixture| {
        let actions = vec![
            Action::Wfi,
            Action::Wfe,
            Action::Wfit { deadline: 1000 },
            Action::Wfet { deadline: u64::MAX },
        ];
        fixture.script(actions, |fixture, _, rec| {
            rec.trap_waiting(true, true).unwrap();
            for _ in 0..4 {
                let mut waiter = Waiter(None);
                let stopped =
                    rec.run(fixture.rmm, Answer::resume(), &mut waiter, &Kick::new()).unwrap();
                assert!(matches!(stopped, RunEnd::Stopped(_)));
                let wait = waiter.0.unwrap();
                assert_eq!(wait.is_for_event(), wait.kind().is_for_event());
                waits.push((wait.kind(), wait.deadline(), wait.may_hide_deadline()));
            }
        });
    });
    waits
}

#[test]
fn a_deadline_is_reported_where_the_dialect_has_it() {
    let [wfi, wfe] = [(Wfx::Wfi, None, false), (Wfx::Wfe, None, false)];
    let told = [wfi, wfe, (Wfx::Wfit, Some(1000), false), (Wfx::Wfet, Some(u64::MAX), false)];
    assert_eq!(waits(Dialect::V2_0Bet3), told);
    // TF-RMM reports only whether it is for an event, and the first betas say no more.
    let [wfi, wfe] = [(Wfx::Wfi, None, true), (Wfx::Wfe, None, true)];
    for dialect in Dialect::ALL.into_iter().filter(|dialect| *dialect != Dialect::V2_0Bet3) {
        assert_eq!(waits(dialect), [wfi, wfe, wfi, wfe], "{dialect}");
    }
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
fn a_deadline_of_1_0_is_reported_if_the_rmm_has_it() {
    on(Dialect::V1_0, |fixture| {
        fixture.script(vec![], |fixture, _, rec| {
            for (ti, expected) in [(0b00, (None, true)), (0b10, (Some(7), false))] {
                let mut exit = sync(1 << 26 | ti, 0);
                exit.gprs[0] = 7;
                let exit = fixture.decode(rec, Answer::resume(), exit);
                let Exit::Wait(wait) = exit else { panic!("{exit:?}") };
                assert_eq!((wait.deadline(), wait.may_hide_deadline()), expected);
            }
        });
    });
}

#[test]
fn waits_are_trapped_one_by_one() {
    for (wfi, wfe) in [(true, false), (false, true)] {
        on(Dialect::TfRmm2026_07, |fixture| {
            let actions = vec![Action::Wfe, Action::Wfi, Action::Wfe];
            fixture.script(actions, |fixture, _, rec| {
                rec.trap_waiting(wfi, wfe).unwrap();
                let exit = fixture.enter(rec, Answer::resume());
                let Exit::Wait(wait) = exit else { panic!("{exit:?}") };
                assert_eq!(wait.kind(), if wfi { Wfx::Wfi } else { Wfx::Wfe });
            });
        });
    }
}

#[test]
fn a_wait_ends_at_the_first_deadline() {
    let dialect = Dialect::V2_0Bet3;
    on(dialect, |fixture| {
        fixture.script(vec![], |fixture, _, rec| {
            let (wfi, wfit, mut last) = (0, 2, None);
            // TI, X0, both timers (control, compare value), and when the wait ends.
            for (ti, x0, timer_v, timer_p, end) in [
                (wfi, 0, (0, 0), (0, 0), None),
                (wfi, 7, (1, 20), (0, 5), Some(20)),
                (wfi, 7, (1, 20), (1, 10), Some(10)),
                (wfi, 7, (3, 20), (1, 30), Some(30)),
                (wfi, 7, (5, 20), (7, 10), None),
                (wfit, 15, (1, 20), (1, 30), Some(15)),
                (wfit, 25, (1, 20), (0, 0), Some(20)),
                (wfit, 25, (0, 0), (0, 0), Some(25)),
            ] {
                let mut record = sync(1 << 26 | ti, 0);
                record.gprs[0] = x0;
                (record.cntv_ctl, record.cntv_cval) = timer_v;
                (record.cntp_ctl, record.cntp_cval) = timer_p;
                let exit = fixture.decode(rec, Answer::resume(), record);
                let Exit::Wait(wait) = exit else { panic!("{exit:?}") };
                assert_eq!(wait.ends_at(), end, "{ti} {x0} {timer_v:?} {timer_p:?}");
                let Timers { virtual_timer, physical_timer, .. } = wait.timers();
                assert_eq!((virtual_timer.ctl, virtual_timer.cval), timer_v);
                assert_eq!((physical_timer.ctl, physical_timer.cval), timer_p);
                assert_ne!(Some(wait), last.replace(wait));
            }
        });
    });
}
