//! The timers of a Realm.

use rec_runtime::{Answer, Timer};
use rmm_model::TimerKind;

use crate::bench::{Action, DIALECTS, on};

const ENABLE: u64 = 1;
const IMASK: u64 = 2;
const ISTATUS: u64 = 4;

#[test]
fn a_timer_is_raised_when_it_has_fired_and_is_not_masked() {
    for ctl in 0..8 {
        let timer = Timer { ctl, cval: 77 };
        assert_eq!(timer.is_raised(), ctl == ENABLE | ISTATUS, "{ctl}");
        assert_eq!(timer.deadline(), (ctl == ENABLE).then_some(77), "{ctl}");
        // Reserved bits do not count.
        let timer = Timer { ctl: ctl | 0xfff0, cval: 77 };
        assert_eq!(timer.is_raised(), ctl == ENABLE | ISTATUS, "{ctl}");
    }
}

#[test]
fn each_exit_tells_both_timers() {
    for dialect in DIALECTS {
        on(dialect, |bench| {
            let set = |kind, ctl, cval| Action::Timer { kind, ctl, cval };
            let actions = vec![
                set(TimerKind::Virtual, ENABLE, 1000),
                set(TimerKind::Physical, ENABLE | ISTATUS, 2000),
                set(TimerKind::Virtual, ENABLE | ISTATUS, 1000),
                set(TimerKind::Physical, ENABLE | ISTATUS | IMASK, 2000),
                Action::Interrupt,
            ];
            bench.script(actions, |bench, _, rec| {
                let mut raised = Vec::new();
                for _ in 0..4 {
                    let timers = bench.event(rec, Answer::resume()).timers;
                    assert_eq!(timers.virtual_timer.cval, 1000);
                    assert_eq!(timers.physical_timer.cval, 2000);
                    raised.push((
                        timers.virtual_timer.is_raised(),
                        timers.physical_timer.is_raised(),
                    ));
                }
                // The first exit is that of the physical timer.
                let expected = [(false, true), (true, true), (true, false), (true, false)];
                assert_eq!(raised, expected);
            });
        });
    }
}
