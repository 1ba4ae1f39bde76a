//! The run loop, and requests to leave it.

use std::sync::{Arc, Mutex};

use rec_runtime::exit::{MmioLoad, PsciNotice};
use rec_runtime::{Answer, EnterError, Flow, Handler, Kick, Rec, RunEnd, Timers};
use rmi_abi::Dialect;
use rmi_abi::run::{ExitReason, RecExit};
use rmm_model::{GuestCpu, Outcome, SysReg};
use zerocopy::FromZeros;

use crate::fixture::{Action, DEVICE, Twist, on, sync};

/// A handler that counts, and makes a stop request while it handles an exit.
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

impl Handler for Counter<'_> {
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
    on(Dialect::TfRmm2026_07, |fixture| {
        fixture.script(vec![load(), Action::psci_system_off()], |fixture, _, rec| {
            let (kick, mut counter) = (Kick::new(), Counter::new(None));
            kick.request();
            kick.request();
            let stopped = rec.run(fixture.rmm, Answer::resume(), &mut counter, &kick).unwrap();
            let RunEnd::Kicked(answer) = stopped else { panic!("{stopped:?}") };
            assert_eq!((counter.before, counter.cancelled, counter.after), (1, 1, 0));
            assert_eq!(fixture.line.entries(), 0);
            // The request is cleared, however often it was made.
            assert!(!kick.take_request());
            let stopped = rec.run(fixture.rmm, answer, &mut counter, &kick).unwrap();
            assert!(matches!(stopped, RunEnd::Left), "{stopped:?}");
            assert_eq!((counter.before, counter.cancelled, counter.after), (3, 1, 2));
        });
    });
}

#[test]
fn a_kick_while_an_exit_is_handled_is_seen_before_the_next_entry() {
    on(Dialect::TfRmm2026_07, |fixture| {
        fixture.script(vec![load(), Action::psci_system_off()], |fixture, _, rec| {
            let kick = Kick::new();
            let mut counter = Counter::new(Some(&kick));
            let stopped = rec.run(fixture.rmm, Answer::resume(), &mut counter, &kick).unwrap();
            let RunEnd::Kicked(answer) = stopped else { panic!("{stopped:?}") };
            assert_eq!((counter.before, counter.cancelled, counter.after), (2, 1, 1));
            assert_eq!(fixture.line.entries(), 1);
            // The answer of the handler has not been given yet, and is not lost.
            assert!(answer.exit().is_some());
            assert_eq!(fixture.refused(rec, Answer::resume()).0, EnterError::Unanswered);
            let stopped = rec.run(fixture.rmm, answer, &mut counter, &kick).unwrap();
            assert!(matches!(stopped, RunEnd::Left), "{stopped:?}");
        });
    });
}

#[test]
fn a_request_is_taken_once() {
    let kick = Kick::new();
    assert!(!kick.take_request());
    kick.request();
    assert!(kick.take_request() && !kick.take_request());
}

#[test]
fn a_refused_entry_is_cancelled() {
    on(Dialect::TfRmm2026_07, |fixture| {
        fixture.script(vec![load()], |fixture, _, rec| {
            let mut counter = Counter::new(None);
            let exit = fixture.enter(rec, Answer::resume());
            let failed =
                rec.run(fixture.rmm, Answer::resume(), &mut counter, &Kick::new()).unwrap_err();
            assert_eq!(failed.error, EnterError::Unanswered);
            assert_eq!((counter.before, counter.cancelled, counter.after), (1, 1, 0));
            assert!(exit.wants_answer());
        });
    });
}

#[test]
fn the_handler_sees_a_timer_that_is_raised() {
    on(Dialect::TfRmm2026_07, |fixture| {
        let timer = |ctl| Action::Timer { kind: rmm_model::TimerKind::Virtual, ctl, cval: 9 };
        let call = Action::rsi_version(0);
        let actions = vec![timer(1), load(), timer(5), timer(7), call, Action::psci_system_off()];
        fixture.script(actions, |fixture, _, rec| {
            let mut counter = Counter::new(None);
            let stopped =
                rec.run(fixture.rmm, Answer::resume(), &mut counter, &Kick::new()).unwrap();
            assert!(matches!(stopped, RunEnd::Left), "{stopped:?}");
            assert_eq!(counter.raised, [false, true, false, false]);
        });
    });
}

/// A handler with the default methods, which records the overflow of the PMU.
#[derive(Default)]
struct Defaults {
    overflows: Vec<bool>,
}

impl Handler for Defaults {
    fn after_exit(&mut self, _: Timers, pmu_overflow: bool) {
        self.overflows.push(pmu_overflow);
    }
}

/// Runs a REC whose first exit is this one, or that of its first action, and that then turns its
/// Realm off: how the loop ends, and after how many entries.
fn by_default(first: Result<Action, RecExit>) -> (RunEnd, u32) {
    let mut end = None;
    let off = Action::psci_system_off();
    let actions = first.as_ref().map_or(vec![off], |action| vec![*action, off]);
    on(Dialect::TfRmm2026_07, |fixture| {
        fixture.script(actions, |fixture, _, rec| {
            rec.trap_waiting(true, true).unwrap();
            if let Err(record) = first {
                fixture.line.twist(Twist::Exit(Box::new(record)));
            }
            let mut handler = Defaults::default();
            let stopped =
                rec.run(fixture.rmm, Answer::resume(), &mut handler, &Kick::new()).unwrap();
            end = Some((stopped, fixture.line.entries()));
        });
    });
    end.unwrap()
}

#[test]
fn what_is_done_by_default() {
    let store = Action::Store { ipa: DEVICE, bytes: 4, value: 1 };
    let sgi = Action::SysRegWrite { register: SysReg::ICC_SGI1R_EL1, value: 1 };
    // Refused, or without effect: the REC is entered again.
    for action in [load(), store, sgi, Action::Interrupt, Action::Fiq] {
        let (stopped, entries) = by_default(Ok(action));
        assert!(matches!(stopped, RunEnd::Left) && entries == 2, "{action:?}: {stopped:?}");
    }
    // The REC waits: the loop ends, and may be entered again.
    for action in [Action::Wfi, Action::Wfe, Action::psci_cpu_suspend()] {
        let (stopped, entries) = by_default(Ok(action));
        assert!(matches!(stopped, RunEnd::Stopped(_)) && entries == 1, "{action:?}");
    }
    // The REC cannot continue, or that is not known.
    for action in [Action::psci_cpu_off(), Action::SError { esr: 0xbe00_0811 }] {
        let (stopped, entries) = by_default(Ok(action));
        assert!(matches!(stopped, RunEnd::Left) && entries == 1, "{action:?}");
    }
}

#[test]
fn accesses_abort_by_default() {
    for access in [load(), Action::Store { ipa: DEVICE, bytes: 4, value: 1 }] {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (log, mut done) = (Arc::clone(&seen), false);
        let guest = move |cpu: &GuestCpu| {
            log.lock().unwrap().push(cpu.last);
            if std::mem::replace(&mut done, true) { Action::psci_system_off() } else { access }
        };
        on(Dialect::TfRmm2026_07, |fixture| {
            fixture.realm(vec![Box::new(guest)], |fixture, _, recs| {
                let [rec] = &mut recs[..] else { panic!() };
                let mut handler = Defaults::default();
                let stopped = rec.run(fixture.rmm, Answer::resume(), &mut handler, &Kick::new());
                assert!(matches!(stopped.unwrap(), RunEnd::Left));
            });
        });
        assert_eq!(seen.lock().unwrap()[1..], [Outcome::Aborted]);
    }
}

#[test]
fn what_is_done_by_default_with_exits_that_are_rare() {
    let dialect = Dialect::TfRmm2026_07;
    let reason = |reason: ExitReason| {
        let mut record = RecExit::new_zeroed();
        record.exit_reason = reason.encode(dialect).unwrap();
        record
    };
    // A host call, a device request, a change of permissions, a register read.
    let again = [
        reason(ExitReason::HostCall),
        reason(ExitReason::VdevRequest),
        reason(ExitReason::S2apChange),
        sync(0x18 << 26 | 1, 0),
    ];
    for record in again {
        let (stopped, entries) = by_default(Err(record));
        assert!(matches!(stopped, RunEnd::Left) && entries == 2, "{record:?}");
    }
    let mut request = reason(ExitReason::Psci);
    request.gprs[0] = 0xc400_0003;
    // A PSCI request, missing memory, an abort, an unknown exception class, an unknown exit reason.
    let mut unknown = RecExit::new_zeroed();
    unknown.exit_reason = 0xee;
    let leaves = [
        request,
        sync(0x24 << 26 | 7, 0),
        sync(0x24 << 26 | 0x30, 0),
        sync(0x3c << 26, 0),
        unknown,
    ];
    for record in leaves {
        let (stopped, entries) = by_default(Err(record));
        assert!(matches!(stopped, RunEnd::Left) && entries == 1, "{record:?}");
    }
}

#[test]
fn an_overflow_of_the_pmu_is_reported() {
    on(Dialect::TfRmm2026_07, |fixture| {
        fixture.script(vec![Action::psci_system_off()], |fixture, _, rec| {
            let mut record = RecExit::new_zeroed();
            record.exit_reason = 1;
            record.pmu_ovf_status = 1;
            fixture.line.twist(Twist::Exit(Box::new(record)));
            let mut handler = Defaults::default();
            let stopped =
                rec.run(fixture.rmm, Answer::resume(), &mut handler, &Kick::new()).unwrap();
            assert!(matches!(stopped, RunEnd::Left), "{stopped:?}");
            assert_eq!(handler.overflows, [true, false]);
        });
    });
}
