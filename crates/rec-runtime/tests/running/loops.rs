//! The run loop, and requests to leave it.

use rec_runtime::exit::{MmioLoad, PsciNotice};
use rec_runtime::{Answer, EnterError, Flow, Handler, Kick, Rec, Stopped, Timers};
use rmi_abi::Dialect;

use crate::bench::{Action, DEVICE, Platform, on};

/// A handler that counts, and makes a request while it handles an exit.
struct Counter<'k> {
    kick: Option<&'k Kick>,
    before: u32,
    after: u32,
    cancelled: u32,
    raised: Vec<bool>,
}

impl<'k> Counter<'k> {
    fn new(kick: Option<&'k Kick>) -> Self {
        Self { kick, before: 0, after: 0, cancelled: 0, raised: Vec::new() }
    }
}

impl<'m> Handler<Platform<'m>> for Counter<'_> {
    fn before_entry(&mut self, _: &Rec) {
        self.before += 1;
    }

    fn entry_cancelled(&mut self, _: &Rec) {
        self.cancelled += 1;
    }

    fn after_exit(&mut self, timers: Timers, _: bool) {
        self.after += 1;
        self.raised.push(timers.virtual_timer.is_raised());
    }

    fn mmio_load(&mut self, load: MmioLoad) -> Flow {
        if let Some(kick) = self.kick.take() {
            kick.request();
        }
        Flow::Enter(load.complete(0))
    }

    fn psci_notice(&mut self, notice: PsciNotice) -> Flow {
        assert_eq!(notice, PsciNotice::SystemOff);
        Flow::Leave
    }
}

fn load() -> Action {
    Action::Load { ipa: DEVICE, bytes: 4 }
}

#[test]
fn a_kick_is_seen_before_the_first_entry() {
    on(Dialect::TfRmm2026_07, |bench| {
        bench.script(vec![load(), Action::psci_system_off()], |bench, _, rec| {
            let (kick, mut counter) = (Kick::new(), Counter::new(None));
            kick.request();
            kick.request();
            let stopped = rec.run(bench.rmm, Answer::resume(), &mut counter, &kick).unwrap();
            let Stopped::Kicked(answer) = stopped else { panic!("{stopped:?}") };
            assert_eq!((counter.before, counter.cancelled, counter.after), (1, 1, 0));
            assert_eq!(bench.line.entries(), 0);
            // It is taken, however often it was made.
            assert!(!kick.take());
            let stopped = rec.run(bench.rmm, answer, &mut counter, &kick).unwrap();
            assert!(matches!(stopped, Stopped::Left), "{stopped:?}");
            assert_eq!((counter.before, counter.cancelled, counter.after), (3, 1, 2));
        });
    });
}

#[test]
fn a_kick_while_an_exit_is_handled_is_seen_before_the_next_entry() {
    on(Dialect::TfRmm2026_07, |bench| {
        bench.script(vec![load(), Action::psci_system_off()], |bench, _, rec| {
            let kick = Kick::new();
            let mut counter = Counter::new(Some(&kick));
            let stopped = rec.run(bench.rmm, Answer::resume(), &mut counter, &kick).unwrap();
            let Stopped::Kicked(answer) = stopped else { panic!("{stopped:?}") };
            assert_eq!((counter.before, counter.cancelled, counter.after), (2, 1, 1));
            assert_eq!(bench.line.entries(), 1);
            // The answer of the handler has not been given yet, and is not lost.
            assert!(answer.exit().is_some());
            assert_eq!(bench.refused(rec, Answer::resume()).0, EnterError::Unanswered);
            let stopped = rec.run(bench.rmm, answer, &mut counter, &kick).unwrap();
            assert!(matches!(stopped, Stopped::Left), "{stopped:?}");
        });
    });
}

#[test]
fn a_request_is_taken_once() {
    let kick = Kick::new();
    assert!(!kick.take());
    kick.request();
    assert!(kick.take() && !kick.take());
}

#[test]
fn a_refused_entry_is_cancelled() {
    on(Dialect::TfRmm2026_07, |bench| {
        bench.script(vec![load()], |bench, _, rec| {
            let mut counter = Counter::new(None);
            let exit = bench.enter(rec, Answer::resume());
            let failed =
                rec.run(bench.rmm, Answer::resume(), &mut counter, &Kick::new()).unwrap_err();
            assert_eq!(failed.error, EnterError::Unanswered);
            assert_eq!((counter.before, counter.cancelled, counter.after), (1, 1, 0));
            assert!(exit.wants_answer());
        });
    });
}

#[test]
fn the_handler_sees_a_timer_that_is_raised() {
    on(Dialect::TfRmm2026_07, |bench| {
        let timer = |ctl| Action::Timer { kind: rmm_model::TimerKind::Virtual, ctl, cval: 9 };
        let actions = vec![timer(1), load(), timer(5), timer(7), Action::psci_system_off()];
        bench.script(actions, |bench, _, rec| {
            let mut counter = Counter::new(None);
            let stopped = rec.run(bench.rmm, Answer::resume(), &mut counter, &Kick::new()).unwrap();
            assert!(matches!(stopped, Stopped::Left), "{stopped:?}");
            assert_eq!(counter.raised, [false, true, false, false]);
        });
    });
}
