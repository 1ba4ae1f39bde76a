//! The timers of a Realm.

use rec_runtime::{Answer, Exit, Rec, Timer};
use rmi_abi::IpaRange;
use rmi_abi::rtt::Ripas;
use rmm_model::TimerKind;
use sro::CallbackMemory;

use crate::fixture::{Action, DIALECTS, RAM, on, script};

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
                let _ = realm
                    .reclaim(&mut CallbackMemory::new(fixture.pool, |_| None, |_| Ok(())), page)
                    .unwrap();
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
