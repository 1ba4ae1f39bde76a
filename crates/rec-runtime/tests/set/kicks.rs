//! Kicks, notifications and pauses, while RECs run, wait or are off.

use std::num::NonZeroU32;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use rec_runtime::exit::{MmioLoad, Wait};
use rec_runtime::set::{ExitKind, Outcome, PhysicalCpus};
use rec_runtime::{Flow, Handler, RecSet};
use rmi_host::CountingLedger;
use rmm_model::{Guest, GuestCpu, Model, Options};

use crate::fixture::{
    Action, Cpus, DEVICE, DIALECTS, calling_thread, cpu_on, move_to, realm, realm_of, script,
};

/// A handler with the default methods, which stops a loop that runs too long.
#[derive(Default)]
struct Defaults;

impl Handler for Defaults {}

/// A program that never exits by itself, but for the model's limit.
fn busy() -> Box<dyn Guest> {
    Box::new(|_: &GuestCpu| {
        thread::yield_now();
        Action::Set { register: 0, value: 0 }
    })
}

#[test]
fn a_kick_ends_a_run_in_progress() {
    for dialect in DIALECTS.into_iter().take(2) {
        realm(dialect, vec![busy()], |fixture| {
            let (set, rmm) = (fixture.set, fixture.rmm);
            let mut runner = set.claim(0).unwrap();
            thread::scope(|scope| {
                let running = scope.spawn(move || {
                    move_to(3);
                    runner.run(rmm, &mut Defaults).unwrap()
                });
                while set.inside().next() != Some((0, 3)) {
                    thread::yield_now();
                }
                assert!(set.kick(0));
                assert!(matches!(running.join().unwrap(), Outcome::Kicked));
            });
            assert!(!set.kick(1));
            // Nothing is left of the kick.
            let mut runner = set.claim(0).unwrap();
            let outcome = runner.run_until(rmm, &mut Defaults, &mut |entries| entries == 2);
            assert!(matches!(outcome.unwrap(), Outcome::Bounded));
        });
    }
}

#[test]
fn a_kick_reaches_a_rec_that_is_off() {
    realm(DIALECTS[0], vec![busy(), busy()], |fixture| {
        let (set, rmm) = (fixture.set, fixture.rmm);
        let mut runner = set.claim(1).unwrap();
        let outcome = runner.run(rmm, &mut Defaults).unwrap();
        assert!(matches!(outcome, Outcome::Off { is_last: false, refused: None }));
        assert!(!set.is_ready(1) && set.is_ready(0) && !set.is_ready(2));
        // Nobody is in a loop, and nobody has asked for that.
        assert!(!set.is_paused() && !set.wait_paused(Some(Duration::ZERO)));
        thread::scope(|scope| {
            let waiting = scope.spawn(move || {
                assert!(runner.wait(None));
                runner.run(rmm, &mut Defaults).unwrap()
            });
            set.kick_all();
            assert!(matches!(waiting.join().unwrap(), Outcome::Kicked));
        });
        // The other has not run yet.
        let outcome = set.claim(0).unwrap().run(rmm, &mut Defaults).unwrap();
        assert!(matches!(outcome, Outcome::Kicked));
    });
}

/// Notifies its own REC when it waits, as a device might.
struct Notifies<'s>(&'s RecSet<'s>, u32);

impl Handler for Notifies<'_> {
    fn wait(&mut self, _: Wait) -> Flow {
        self.1 += 1;
        if self.1 == 1 {
            self.0.notify(0);
        }
        Flow::Stop(rec_runtime::Answer::resume())
    }
}

const FREQUENCY: NonZeroU32 = NonZeroU32::new(62_500_000).unwrap();

#[test]
fn a_thread_waits_until_the_deadline() {
    realm(DIALECTS[1], vec![script(vec![Action::Wfi])], |fixture| {
        let mut runner = fixture.set.claim(0).unwrap();
        runner.trap_waiting(true, true);
        let outcome = runner.run(fixture.rmm, &mut Defaults).unwrap();
        let Outcome::Waiting(mut sleep) = outcome else { panic!("{outcome:?}") };
        assert!(!sleep.may_hide_deadline);
        let bound = Duration::from_millis(3);
        assert_eq!(sleep.timeout(7, FREQUENCY, bound), None);
        let end = 1000 + 2 * 62_500_000;
        for (counter, nanoseconds) in [
            (1000, 2_000_000_000),
            (1001, 1_999_999_984),
            (end - 2, 32),
            (end - 1, 16),
            (end, 0),
            (end + 1, 0),
            (u64::MAX, 0),
        ] {
            sleep.deadline = Some(end);
            sleep.may_hide_deadline = false;
            let time = Duration::from_nanos(nanoseconds);
            assert_eq!(sleep.timeout(counter, FREQUENCY, bound), Some(time));
            sleep.may_hide_deadline = true;
            assert_eq!(sleep.timeout(counter, FREQUENCY, bound), Some(time.min(bound)));
        }
        sleep.may_hide_deadline = false;
        // Rounded up, of the whole range, at any frequency.
        let third = NonZeroU32::new(3).unwrap();
        sleep.deadline = Some(4);
        assert_eq!(sleep.timeout(0, third, bound), Some(Duration::new(1, 333_333_334)));
        assert_eq!(sleep.timeout(2, third, bound), Some(Duration::new(0, 666_666_667)));
        sleep.deadline = Some(u64::MAX);
        let one = NonZeroU32::new(1).unwrap();
        assert_eq!(sleep.timeout(0, one, bound), Some(Duration::from_secs(u64::MAX)));
        // 2^64 - 1 is a multiple of 2^32 - 1.
        let time = sleep.timeout(0, NonZeroU32::MAX, bound);
        assert_eq!(time, Some(Duration::from_secs((1 << 32) + 1)));
    });
}

#[test]
fn what_ends_a_wait_is_not_lost() {
    realm(DIALECTS[0], vec![script(vec![Action::Wfi; 3])], |fixture| {
        let (set, rmm) = (fixture.set, fixture.rmm);
        let mut runner = set.claim(0).unwrap();
        runner.trap_waiting(true, true);
        let mut handler = Notifies(set, 0);
        // The first wait ends before it began.
        let Outcome::Waiting(sleep) = runner.run(rmm, &mut handler).unwrap() else { panic!() };
        assert_eq!((handler.1, sleep.deadline, sleep.may_hide_deadline), (2, None, true));
        let bound = Duration::from_millis(3);
        assert_eq!(sleep.timeout(0, FREQUENCY, bound), Some(bound));
        assert!(!set.is_ready(0) && !runner.wait(Some(Duration::ZERO)));
        set.notify(0);
        assert!(set.is_ready(0) && runner.wait(None));
        let outcome = runner.run(rmm, &mut handler).unwrap();
        assert!(matches!(outcome, Outcome::Waiting(_)) && handler.1 == 3);
        // It may be entered at any time.
        assert!(!set.is_ready(0));
        let outcome = runner.run_until(rmm, &mut handler, &mut |entries| entries == 1);
        assert!(matches!(outcome.unwrap(), Outcome::Bounded));
        assert_eq!(set.statistics(0).unwrap().exits(ExitKind::Wait), 3);
    });
}

#[test]
fn a_pause_gets_all_recs_out() {
    for dialect in DIALECTS {
        let caller = {
            let mut is_first = true;
            Box::new(move |_: &GuestCpu| {
                let first = std::mem::replace(&mut is_first, false);
                if first { cpu_on(1) } else { Action::Load { ipa: DEVICE, bytes: 4 } }
            })
        };
        realm(dialect, vec![caller, busy(), busy()], |fixture| {
            let (set, rmm) = (fixture.set, fixture.rmm);
            let is_over = AtomicBool::new(false);
            thread::scope(|scope| {
                for index in 0..3 {
                    let (mut runner, is_over) = (set.claim(index).unwrap(), &is_over);
                    scope.spawn(move || {
                        move_to(u16::try_from(index).unwrap());
                        loop {
                            match runner.run(rmm, &mut Loads).unwrap() {
                                Outcome::Kicked if is_over.load(Ordering::Relaxed) => return,
                                Outcome::Paused | Outcome::Off { .. } => {
                                    runner.wait(None);
                                }
                                other => panic!("{other:?}"),
                            }
                        }
                    });
                }
                for _ in 0..10 {
                    while set.inside().count() < 2 {
                        thread::yield_now();
                    }
                    assert!(!set.is_paused());
                    let _ = set.pause();
                    assert!(set.wait_paused(None) && set.is_paused());
                    let before: Vec<_> = (0..3).map(|n| set.rec(n).unwrap().exits()).collect();
                    assert!(set.inside().next().is_none());
                    thread::yield_now();
                    let after: Vec<_> = (0..3).map(|n| set.rec(n).unwrap().exits()).collect();
                    assert_eq!(before, after);
                    set.resume();
                    assert!(!set.is_paused());
                }
                is_over.store(true, Ordering::Relaxed);
                set.kick_all();
            });
        });
    }
}

#[test]
fn the_wait_for_a_pause_ends_with_the_pause() {
    realm(DIALECTS[0], vec![script(vec![Action::Load { ipa: DEVICE, bytes: 4 }])], |fixture| {
        let (set, rmm) = (fixture.set, fixture.rmm);
        // Nobody has requested one.
        assert!(!set.wait_paused(None));
        thread::scope(|scope| {
            let (paused, pausing) = channel();
            let mut handler = Then(Some(|| {
                let _ = set.pause();
                let waiter = scope.spawn(move || {
                    paused.send(()).unwrap();
                    set.wait_paused(None)
                });
                pausing.recv().unwrap();
                thread::sleep(Duration::from_millis(20));
                // This REC is still in its loop.
                assert!(!waiter.is_finished());
                set.resume();
                assert!(!waiter.join().unwrap());
            }));
            let outcome = set.claim(0).unwrap().run(rmm, &mut handler).unwrap();
            assert!(matches!(outcome, Outcome::Left), "{outcome:?}");
        });
    });
}

/// Calls a function at the first load, and leaves the loop.
struct Then<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Handler for Then<F> {
    fn mmio_load(&mut self, _: MmioLoad) -> Flow {
        self.0.take().unwrap()();
        Flow::Leave
    }
}

#[test]
fn of_two_pausers_the_last_ends_the_pause() {
    realm(DIALECTS[0], vec![script(vec![Action::Wfi]), script(vec![])], |fixture| {
        let (set, rmm) = (fixture.set, fixture.rmm);
        let mut runner = set.claim(0).unwrap();
        let (first, second) = (set.pause().count(), set.pause().count());
        assert_eq!((first, second), (0, 0));
        assert!(set.wait_paused(None));
        set.resume();
        assert!(set.is_paused() && set.wait_paused(None));
        let outcome = runner.run(rmm, &mut Loads).unwrap();
        assert!(matches!(outcome, Outcome::Paused), "{outcome:?}");
        set.resume();
        assert!(!set.is_paused() && set.is_ready(0));
        // One too many takes nothing from the next pause.
        set.resume();
        let _ = set.pause();
        assert!(set.is_paused());
        set.resume();
        // So many are counted.
        for _ in 0..256 {
            let _ = set.pause();
        }
        for _ in 0..254 {
            set.resume();
        }
        assert!(set.is_paused() && !set.is_ready(0));
        set.resume();
        assert!(!set.is_paused() && set.is_ready(0));
    });
}

/// Has another thread resume once, after a call of `pause` has reached some RECs.
struct ResumesBetween {
    is_armed: AtomicBool,
    ask: Mutex<Sender<bool>>,
    done: Mutex<Receiver<()>>,
}

impl PhysicalCpus for ResumesBetween {
    fn current(&self) -> u16 {
        0
    }

    fn interrupt(&self, _: u16) {}

    fn wake(&self, index: usize) {
        if index == 1 && self.is_armed.swap(false, Ordering::SeqCst) {
            self.ask.lock().unwrap().send(true).unwrap();
            self.done.lock().unwrap().recv().unwrap();
        }
    }
}

#[test]
fn a_pause_and_a_resume_at_the_same_time_leave_all_recs_with_as_many() {
    let model = Model::new(Options::new(DIALECTS[0])).unwrap();
    let (conduit, ledger) = (calling_thread(&model), CountingLedger::new());
    let programs = vec![script(vec![]), script(vec![]), script(vec![])];
    realm_of(&model, &conduit, &ledger, programs, |rmm, _, recs| {
        // How many there are after both. The 256th is not counted, and reaches no REC.
        for (before, after) in [(253, 253), (254, 254), (255, 255)] {
            let ((ask, asked), (done, is_done)) = (channel(), channel());
            let cpus = ResumesBetween {
                is_armed: AtomicBool::new(false),
                ask: Mutex::new(ask),
                done: Mutex::new(is_done),
            };
            let mut set = RecSet::with_capacity(3, &cpus);
            for rec in recs.drain(..) {
                set.add(rec, true).unwrap();
            }
            let _ = set.pause();
            for index in 0..3 {
                let outcome = set.claim(index).unwrap().run(rmm, &mut Defaults).unwrap();
                assert!(matches!(outcome, Outcome::Paused), "{outcome:?}");
            }
            for _ in 1..before {
                let _ = set.pause();
            }
            thread::scope(|scope| {
                let set = &set;
                scope.spawn(move || {
                    while asked.recv().unwrap() {
                        set.resume();
                        done.send(()).unwrap();
                    }
                });
                cpus.is_armed.store(true, Ordering::SeqCst);
                let _ = set.pause();
                cpus.is_armed.store(false, Ordering::SeqCst);
                cpus.ask.lock().unwrap().send(false).unwrap();
            });
            for left in (0..after).rev() {
                set.resume();
                let ready = [0, 1, 2].map(|index| set.is_ready(index));
                assert_eq!((ready, set.is_paused()), ([left == 0; 3], left > 0), "{left} left");
            }
            recs.extend(set.drain());
        }
    });
}

#[test]
fn a_rec_that_is_added_during_a_pause_is_paused() {
    let model = Model::new(Options::new(DIALECTS[0])).unwrap();
    let (conduit, ledger) = (calling_thread(&model), CountingLedger::new());
    let (cpus, programs) = (Cpus(&model), vec![script(vec![]), script(vec![])]);
    realm_of(&model, &conduit, &ledger, programs, |_, _, recs| {
        let mut set = RecSet::with_capacity(2, &cpus);
        assert!(!set.is_paused());
        // No more are counted than for a REC.
        for _ in 0..256 {
            let _ = set.pause();
        }
        for paused in (0..255).rev() {
            set.resume();
            assert_eq!(set.is_paused(), paused > 0);
        }
        let _ = set.pause();
        assert!(set.is_paused());
        let mut rest = recs.split_off(1);
        set.add(recs.remove(0), true).unwrap();
        let _ = set.pause();
        set.add(rest.remove(0), true).unwrap();
        set.resume();
        assert!(set.is_paused() && !set.is_ready(0) && !set.is_ready(1));
        set.resume();
        assert!(!set.is_paused() && set.is_ready(0) && set.is_ready(1));
        let _ = set.pause();
        recs.extend(set.drain());
        assert!(!set.is_paused());
    });
}

/// Answers loads.
struct Loads;

impl Handler for Loads {
    fn mmio_load(&mut self, load: MmioLoad) -> Flow {
        Flow::Enter(load.complete(0))
    }
}
