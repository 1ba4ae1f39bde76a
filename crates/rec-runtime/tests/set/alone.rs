//! Kicks of a REC that belongs to no set.

use std::thread;

use rec_runtime::set::PhysicalCpus;
use rec_runtime::{Answer, Handler, Kick, RunEnd};
use rmi_host::CountingLedger;
use rmm_model::{Guest, GuestCpu, Model, Options};

use crate::fixture::{Action, Cpus, DIALECTS, calling_thread, move_to, realm_of};

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
            assert!(!kick.take());
            kick.interrupt(&cpus);
            assert!((0..8).all(|cpu| !model.cpu(cpu).take_interrupt()));
            assert!(kick.take());
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
