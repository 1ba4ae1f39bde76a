//! Kicks of a REC that belongs to no set, and hosts whose threads are no threads of `std`.

use std::sync::Mutex;
use std::thread;

use rec_runtime::set::{Outcome, PhysicalCpus, RecSlot};
use rec_runtime::{Answer, EnterError, Flow, Handler, Kick, RecSet, RunEnd, Timers};
use rmi_abi::run::GicEntry;
use rmi_host::CountingLedger;
use rmm_model::{Guest, GuestCpu, Model, Options};

use crate::fixture::{Action, Cpus, DIALECTS, calling_thread, cpu_on, move_to, realm_of, script};

/// Moves its thread to another CPU after so many exits.
struct Moves<'k> {
    kick: &'k Kick,
    cpus: &'k Cpus<'k>,
    exits: u32,
}

impl Handler for Moves<'_> {
    fn before_entry(&mut self, _: &rec_runtime::Rec) {
        if self.exits == 2 {
            move_to(7);
        }
    }

    fn after_exit(&mut self, _: rec_runtime::Timers, _: bool) {
        self.exits += 1;
        if self.exits == 5 {
            self.kick.interrupt(self.cpus);
        }
    }
}

#[test]
fn a_kick_interrupts_the_cpu_of_the_loop() {
    for dialect in DIALECTS {
        let model = Model::new(Options::new(dialect)).unwrap();
        let cpus = Cpus(&model);
        let kick = Kick::default();
        // Nobody is there to be interrupted.
        kick.interrupt(&cpus);
        assert!((0..8).all(|cpu| !model.cpu(cpu).take_interrupt()));
        let (conduit, ledger) = (calling_thread(&model), CountingLedger::new());
        let program: Vec<Box<dyn Guest>> = vec![Box::new(|_: &GuestCpu| Action::Interrupt)];
        realm_of(&model, &conduit, &ledger, program, |rmm, _, recs| {
            let run = |handler: &mut Moves<'_>| {
                recs[0].run_on(&cpus, rmm, Answer::resume(), handler, &kick).unwrap()
            };
            let mut moves = Moves { kick: &kick, cpus: &cpus, exits: 0 };
            assert!(matches!(run(&mut moves), RunEnd::Kicked(_)) && moves.exits == 0);
            assert!(matches!(run(&mut moves), RunEnd::Kicked(_)) && moves.exits == 5);
            // The loop was on that CPU when it was kicked, and is no longer.
            assert!(model.cpu(7).take_interrupt() && !model.cpu(0).take_interrupt());
            assert!(!kick.take_request());
            kick.interrupt(&cpus);
            assert!((0..8).all(|cpu| !model.cpu(cpu).take_interrupt()));
            assert!(kick.take_request());
        });
    }
}

/// Leaves the loop at the first interrupt.
struct Leaves;

impl Handler for Leaves {
    fn interrupt(&mut self) -> Flow {
        Flow::Leave
    }
}

#[test]
fn a_kick_interrupts_nothing_after_the_loop() {
    for dialect in DIALECTS {
        let model = Model::new(Options::new(dialect)).unwrap();
        let (cpus, kick) = (Cpus(&model), Kick::new());
        let (conduit, ledger) = (calling_thread(&model), CountingLedger::new());
        let program: Vec<Box<dyn Guest>> = vec![Box::new(|_: &GuestCpu| Action::Interrupt)];
        realm_of(&model, &conduit, &ledger, program, |rmm, _, recs| {
            let end = recs[0].run_on(&cpus, rmm, Answer::resume(), &mut Leaves, &kick).unwrap();
            assert!(matches!(end, RunEnd::Left), "{end:?}");
            kick.interrupt(&cpus);
            assert!((0..8).all(|cpu| !model.cpu(cpu).take_interrupt()));
            assert!(kick.take_request());
        });
    }
}

/// The default methods.
struct Defaults;

impl Handler for Defaults {}

#[test]
fn a_kick_ends_a_run_in_progress() {
    let model = Model::new(Options::new(DIALECTS[0])).unwrap();
    let cpus = Cpus(&model);
    let busy = |_: &GuestCpu| {
        thread::yield_now();
        Action::Set { register: 0, value: 0 }
    };
    let (conduit, ledger) = (calling_thread(&model), CountingLedger::new());
    realm_of(&model, &conduit, &ledger, vec![Box::new(busy)], |rmm, _, recs| {
        let kick = Kick::new();
        thread::scope(|scope| {
            let running = scope.spawn(|| {
                move_to(2);
                let answer = Answer::resume();
                let cpus: &dyn PhysicalCpus = &cpus;
                recs[0].run_on(cpus, rmm, answer, &mut Defaults, &kick).unwrap()
            });
            kick.interrupt(&cpus);
            assert!(matches!(running.join().unwrap(), RunEnd::Kicked(_)));
        });
    });
}

/// Notes who is interrupted and who is woken.
#[derive(Default)]
struct Log {
    interrupted: Mutex<Vec<u16>>,
    woken: Mutex<Vec<usize>>,
}

impl PhysicalCpus for Log {
    fn current(&self) -> u16 {
        5
    }

    fn interrupt(&self, cpu: u16) {
        self.interrupted.lock().unwrap().push(cpu);
    }

    fn wake(&self, index: usize) {
        self.woken.lock().unwrap().push(index);
    }
}

/// Calls a function after each exit.
struct AfterExit<F>(F);

impl<F: FnMut()> Handler for AfterExit<F> {
    fn after_exit(&mut self, _: Timers, _: bool) {
        (self.0)();
    }
}

#[test]
fn whoever_slept_is_woken_and_whoever_runs_is_interrupted() {
    let model = Model::new(Options::new(DIALECTS[0])).unwrap();
    let (conduit, ledger) = (calling_thread(&model), CountingLedger::new());
    let programs = vec![script(vec![cpu_on(1), Action::psci_cpu_suspend()]), script(vec![])];
    realm_of(&model, &conduit, &ledger, programs, |rmm, _, recs| {
        let (log, mut slots) = (Log::default(), [const { RecSlot::new() }; 2]);
        let woken = || std::mem::take(&mut *log.woken.lock().unwrap());
        let interrupted = || std::mem::take(&mut *log.interrupted.lock().unwrap());
        let mut set = RecSet::new(&mut slots, &log);
        for (index, rec) in recs.drain(..).enumerate() {
            set.add(rec, index == 0).unwrap();
        }
        let (mut first, mut second) = (set.claim(0).unwrap(), set.claim(1).unwrap());
        // Nobody sleeps yet.
        set.kick_all();
        assert!(matches!(first.run(rmm, &mut Defaults).unwrap(), Outcome::Kicked));
        assert!(matches!(second.run(rmm, &mut Defaults).unwrap(), Outcome::Kicked));
        assert_eq!((woken(), interrupted()), (vec![], vec![]));
        assert!(matches!(second.run(rmm, &mut Defaults).unwrap(), Outcome::Off { .. }));
        let outcome = first.run(rmm, &mut Defaults).unwrap();
        assert!(matches!(outcome, Outcome::Waiting(_)), "{outcome:?}");
        assert_eq!((woken(), interrupted()), (vec![1], vec![]));
        assert!(set.notify(0) && !set.notify(2));
        assert_eq!((woken(), interrupted()), (vec![0], vec![]));
        // In the loop.
        let mut exits = 0;
        let mut handler = AfterExit(|| {
            exits += 1;
            match exits {
                1 => assert!(set.notify(0)),
                2 => assert_eq!(set.pause().collect::<Vec<_>>(), [(0, 5)]),
                _ => {}
            }
        });
        assert!(matches!(first.run(rmm, &mut handler).unwrap(), Outcome::Paused));
        assert_eq!((exits, woken(), interrupted()), (2, vec![1], vec![5, 5]));
        assert!(set.is_paused());
        set.resume();
        assert_eq!((woken(), interrupted()), (vec![0, 1], vec![]));
        drop((first, second));
        recs.extend(set.drain());
    });
}

#[test]
fn only_a_runner_enters_a_rec_of_a_set() {
    let model = Model::new(Options::new(DIALECTS[0])).unwrap();
    let (conduit, ledger) = (calling_thread(&model), CountingLedger::new());
    let programs = vec![script(vec![Action::Wfi, Action::psci_cpu_off()])];
    let cpus = Cpus(&model);
    realm_of(&model, &conduit, &ledger, programs, |rmm, _, recs| {
        let mut slots = [const { RecSlot::new() }; 1];
        let mut set = RecSet::new(&mut slots, &cpus);
        set.add(recs.remove(0), true).unwrap();
        let rec = set.rec(0).unwrap();
        let runner = set.claim(0).unwrap();
        let refused = || {
            let failed = rec.enter(rmm, Answer::resume()).unwrap_err();
            assert_eq!((failed.error, failed.kept), (EnterError::Running, Some(Answer::resume())));
            let kick = Kick::new();
            kick.request();
            // Neither the handler nor the request is touched.
            let mut calls = 0;
            let mut handler = AfterExit(|| calls += 1);
            let failed = rec.run(rmm, Answer::resume(), &mut handler, &kick).unwrap_err();
            assert_eq!((failed.error, failed.kept), (EnterError::Running, Some(Answer::resume())));
            let failed = rec.run_on(&cpus, rmm, Answer::resume(), &mut handler, &kick).unwrap_err();
            assert_eq!((failed.error, failed.kept), (EnterError::Running, Some(Answer::resume())));
            assert_eq!((calls, kick.take_request(), rec.exits()), (0, true, 0));
            // Nor does it change what the runner's next entry does.
            assert_eq!(rec.trap_waiting(false, false), Err(EnterError::Running));
            assert_eq!(rec.force_plane_0(true), Err(EnterError::Running));
            assert_eq!(rec.set_gic(GicEntry::EMPTY), Err(EnterError::Running));
            assert_eq!(rec.gic(), Err(EnterError::Running));
            assert!(format!("{rec:?}").contains("is_in_set: true"));
        };
        refused();
        let mut runner = runner;
        runner.trap_waiting(true, false);
        refused();
        drop(runner);
        refused();
        let outcome = set.claim(0).unwrap().run(rmm, &mut Defaults).unwrap();
        assert!(matches!(outcome, Outcome::Waiting(_)), "{outcome:?}");
        let outcome = set.claim(0).unwrap().run(rmm, &mut Defaults).unwrap();
        assert!(matches!(outcome, Outcome::Off { .. }), "{outcome:?}");
        let exits = rec.exits();
        recs.extend(set.drain());
        assert_eq!(recs[0].gic(), Ok(None));
        // It is off now, which the RMM says.
        let failed = recs[0].enter(rmm, Answer::resume()).unwrap_err();
        assert!(failed.error.is_off(), "{}", failed.error);
        assert_eq!((exits > 0, recs[0].exits()), (true, exits));
    });
}
