//! The timers of a Realm.

use rec_runtime::{Answer, Exit, PpiLine, Rec, Timer, Timers};
use rmi_abi::rtt::Ripas;
use rmi_abi::run::{ExitReason, RecExit};
use rmi_abi::{Dialect, IpaRange};
use rmm_model::TimerKind;
use sro::CallbackMemory;
use zerocopy::FromZeros;

use crate::fixture::{Action, DIALECTS, RAM, Twist, on, script, sync};

const ENABLE: u64 = 1;
const IMASK: u64 = 2;
const ISTATUS: u64 = 4;

#[test]
fn a_timer_is_raised_when_it_has_fired_and_is_not_masked() {
    for ctl in 0..8 {
        let timer = Timer { ctl, cval: 77 };
        assert_eq!(timer.is_raised(), ctl == ENABLE | ISTATUS, "{ctl}");
        assert_eq!(timer.deadline(), (ctl == ENABLE).then_some(77), "{ctl}");
        // Reserved bits are ignored.
        let timer = Timer { ctl: ctl | 0xfff0, cval: 77 };
        assert_eq!(timer.is_raised(), ctl == ENABLE | ISTATUS, "{ctl}");
    }
}

#[test]
fn a_timer_fires_when_the_counter_reaches_its_compare_value() {
    for ctl in 0..8 {
        let timer = Timer { ctl, cval: 77 };
        assert_eq!(timer.at(76), timer, "{ctl}");
        for counter in [77, 78, u64::MAX] {
            let fired = if ctl & ENABLE == 0 { ctl } else { ctl | ISTATUS };
            assert_eq!(timer.at(counter), Timer { ctl: fired, cval: 77 }, "{ctl}");
        }
    }
    let never = Timer { ctl: ENABLE, cval: u64::MAX };
    assert!(!never.at(u64::MAX - 1).is_raised());
}

#[test]
fn a_sleeping_rec_has_the_earlier_deadline_of_both() {
    let timer = |ctl, cval| Timer { ctl, cval };
    let timers = |virtual_timer, physical_timer| Timers { virtual_timer, physical_timer };
    for (first, second, deadline) in [
        (timer(ENABLE, 5), timer(ENABLE, 7), Some(5)),
        (timer(ENABLE, 7), timer(ENABLE, 5), Some(5)),
        (timer(ENABLE, 7), timer(0, 5), Some(7)),
        (timer(ENABLE | IMASK, 5), timer(ENABLE, 7), Some(7)),
        (timer(ENABLE | ISTATUS, 5), timer(0, 5), None),
    ] {
        assert_eq!(timers(first, second).deadline(), deadline);
    }
    let both = timers(timer(ENABLE, 5), timer(ENABLE, 7));
    let lines = |counter| both.at(counter).lines().map(|line| (line.intid, line.is_up));
    assert_eq!(lines(4), [(27, false), (30, false)]);
    assert_eq!(lines(6), [(27, true), (30, false)]);
    assert_eq!(lines(7), [(27, true), (30, true)]);
    let physical = timers(timer(ENABLE, 7), timer(ENABLE, 5)).at(5).lines();
    assert_eq!(physical.map(|line| line.is_up), [false, true]);
}

/// The timer expires at any point of the time between an exit and the next entry, and the host
/// raises it before that entry or not: it is raised exactly once.
#[test]
fn a_timer_that_fires_between_an_exit_and_an_entry_is_told_once() {
    for dialect in DIALECTS {
        for (kind, line) in [(TimerKind::Virtual, 0), (TimerKind::Physical, 1)] {
            on(dialect, |fixture| {
                let set = |ctl| Action::Timer { kind, ctl, cval: 100 };
                let actions =
                    vec![set(ENABLE), Action::Fiq, Action::Fiq, Action::Fiq, set(0), Action::Fiq];
                fixture.script(actions, |fixture, _, rec| {
                    let up = |lines: &[PpiLine]| lines[line].is_up;
                    let slept = fixture.event(rec, Answer::resume());
                    assert!(matches!(slept.exit, Exit::Fiq) && !up(&slept.lines()));
                    assert_eq!(slept.timers.deadline(), Some(100));
                    fixture.model.advance(99);
                    assert!(!up(&slept.timers.at(fixture.model.now()).lines()));
                    fixture.model.advance(1);
                    let awake = slept.timers.at(fixture.model.now());
                    assert!(up(&awake.lines()), "raised without an entry");
                    assert_eq!(awake.deadline(), None);
                    // The RMM reports the change as well, before the REC runs.
                    let told = fixture.event(rec, Answer::resume());
                    assert!(matches!(told.exit, Exit::Irq), "{:?}", told.exit);
                    assert_eq!(told.timers, awake);
                    // It does not end the next runs.
                    for _ in 0..2 {
                        let event = fixture.event(rec, Answer::resume());
                        assert!(matches!(event.exit, Exit::Fiq) && up(&event.lines()));
                    }
                    let ended = fixture.event(rec, Answer::resume());
                    assert!(!up(&ended.lines()) && ended.timers.deadline().is_none());
                });
            });
        }
    }
}

#[test]
fn each_exit_reports_both_timers() {
    for dialect in DIALECTS {
        on(dialect, |fixture| {
            let set = |kind, ctl, cval| Action::Timer { kind, ctl, cval };
            let actions = vec![
                set(TimerKind::Virtual, ENABLE, 1000),
                set(TimerKind::Physical, ENABLE | ISTATUS, 2000),
                set(TimerKind::Virtual, ENABLE | ISTATUS, 1000),
                set(TimerKind::Physical, ENABLE | ISTATUS | IMASK, 2000),
                Action::Interrupt,
            ];
            fixture.script(actions, |fixture, _, rec| {
                let mut raised = Vec::new();
                for _ in 0..4 {
                    let timers = fixture.event(rec, Answer::resume()).timers;
                    assert_eq!(timers.virtual_timer.cval, 1000);
                    assert_eq!(timers.physical_timer.cval, 2000);
                    raised.push((
                        timers.virtual_timer.is_raised(),
                        timers.physical_timer.is_raised(),
                    ));
                }
                // The first exit is caused by the physical timer.
                let expected = [(false, true), (true, true), (true, false), (true, false)];
                assert_eq!(raised, expected);
            });
        });
    }
}

/// Where TF-RMM cannot write the reply to a host call, the record contains only the abort and is
/// zero otherwise. It reports whether a timer has fired again only when that changes, so the
/// interrupt would be lost.
#[test]
fn a_timer_stays_raised_through_an_exit_before_the_rec_ran() {
    for dialect in DIALECTS {
        on(dialect, |fixture| {
            let page = IpaRange::with_size(RAM, 0x1000).unwrap();
            let ram = Action::ipa_state_set(page.base(), page.top(), Ripas::Ram, 0);
            let (kind, ctl) = (TimerKind::Virtual, ENABLE | ISTATUS);
            let timer = Action::Timer { kind, ctl, cval: 1000 };
            let program = script(vec![ram, timer, Action::host_call(RAM)]);
            fixture.realm(vec![program], |fixture, realm, recs| {
                let [rec] = &mut recs[..] else { panic!() };
                let exit = fixture.enter(rec, Answer::resume());
                let Exit::RipasChange(change) = exit else { panic!("{exit:?}") };
                realm.set_ripas(fixture.pool, rec.name(), change.range(), u32::MAX).unwrap();
                let memory = fixture.memory.take_front(0x1000).unwrap();
                realm.map(fixture.pool, RAM, memory).unwrap();
                let raised = fixture.event(rec, change.accept()).timers;
                assert!(raised.virtual_timer.is_raised());
                let exit = fixture.enter(rec, Answer::resume());
                let Exit::HostCall(call) = exit else { panic!("{exit:?}") };
                let _ =
                    realm.reclaim(&mut CallbackMemory::freeing(fixture.pool, drop), page).unwrap();
                let mut answer = call.complete([0; 31]);
                for _ in 0..3 {
                    // The answer carries the state of the lines, whatever happens to the `Rec`.
                    let (object, run) = recs.pop().unwrap().into_parts();
                    recs.push(Rec::new(object, run, realm.geometry()));
                    let [rec] = &mut recs[..] else { panic!() };
                    let event = fixture.event(rec, answer);
                    let Exit::Fault(fault) = event.exit else { panic!("{:?}", event.exit) };
                    assert_eq!(event.timers, raised);
                    answer = fault.retry();
                }
            });
        });
    }
}

/// An abort after a reply was written: the REC has run, and the record says how its lines are.
#[test]
fn an_exit_of_a_rec_that_ran_after_a_reply_reports_its_own_lines() {
    let dialect = Dialect::TfRmm2026_07;
    on(dialect, |fixture| {
        fixture.script(vec![], |fixture, _, rec| {
            let mut call = RecExit::new_zeroed();
            call.exit_reason = ExitReason::HostCall.encode(dialect).unwrap();
            (call.cntv_ctl, call.cntv_cval) = (ENABLE | ISTATUS, 1000);
            call.pmu_ovf_status = 1;
            let mut last = Answer::resume();
            for reported in 0..5 {
                let exit = fixture.decode(rec, last, call);
                let Exit::HostCall(call) = exit else { panic!("{exit:?}") };
                let mut record = sync(0x24 << 26 | 7, RAM.raw() >> 12 << 4);
                match reported {
                    0 => record.cntv_ctl = 1,
                    1 => record.cntv_cval = 1,
                    2 => record.cntp_ctl = 1,
                    3 => record.cntp_cval = 1,
                    _ => record.pmu_ovf_status = 1,
                }
                fixture.line.twist(Twist::Exit(Box::new(record)));
                let event = fixture.event(rec, call.complete([0; 31]));
                let (one, other) = (event.timers.virtual_timer, event.timers.physical_timer);
                let lines = [one.ctl, one.cval, other.ctl, other.cval, event.pmu_overflow.into()];
                let expected: [u64; 5] = std::array::from_fn(|line| (line == reported).into());
                assert_eq!(lines, expected);
                let pmu = PpiLine { intid: 23, is_up: reported == 4 };
                assert_eq!(event.lines()[2], pmu);
                let Exit::Fault(fault) = event.exit else { panic!("{:?}", event.exit) };
                last = fault.retry();
            }
        });
    });
}
