//! Random programs that turn each other on and themselves off, compared with what the RMM has.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use rec_runtime::exit::MmioLoad;
use rec_runtime::set::{CpuOnDecision, Outcome, Power};
use rec_runtime::{Flow, Handler, Rec};
use rmm_model::{Guest, GuestCpu};

use crate::fixture::{Action, DEVICE, DIALECTS, Fixture, cpu_on, move_to, realm};

/// A sequence of random numbers (xorshift).
#[derive(Clone)]
struct Random(u64);

impl Random {
    const fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// An index below the length of something.
    fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap()
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % limit
    }
}

/// A program for one of `count` RECs. The first one turns the Realm off after so many actions, and
/// not itself before.
fn program(index: u32, count: u32, seed: u64, actions: u32) -> Box<dyn Guest> {
    let mut random = Random::new(seed << 8 | u64::from(index));
    let mut left = actions;
    Box::new(move |_: &GuestCpu| {
        thread::yield_now();
        left = left.saturating_sub(1);
        let target = u32::try_from(random.below(count.into())).unwrap();
        match random.below(10) {
            _ if index == 0 && left == 0 => Action::psci_system_off(),
            0..3 => cpu_on(target),
            3 if index > 0 => Action::psci_cpu_off(),
            4 => Action::psci_affinity_info(target.into()),
            5 => Action::psci_cpu_suspend(),
            6 => Action::Wfi,
            7 => Action::Load { ipa: DEVICE, bytes: 4 },
            8 => Action::Interrupt,
            _ => Action::Set { register: 5, value: 1 },
        }
    })
}

/// A handler that answers loads and denies some calls.
struct Board(Random);

impl Handler for Board {
    fn mmio_load(&mut self, load: MmioLoad) -> Flow {
        Flow::Enter(load.complete(1))
    }

    fn cpu_on(&mut self, _: &Rec, _: &Rec) -> CpuOnDecision {
        if self.0.below(8) == 0 { CpuOnDecision::Deny } else { CpuOnDecision::Accept }
    }
}

/// Compares the power of all RECs with what the RMM has, while none runs.
fn assert_power_is_right(fixture: &Fixture<'_, '_>) {
    for index in 0..fixture.set.len() {
        let is_on = fixture.is_on(index);
        match fixture.set.power(index).unwrap() {
            Power::Off => assert!(!is_on, "REC {index} was turned on\n{}", fixture.set),
            Power::On => assert!(is_on, "REC {index} is off\n{}", fixture.set),
            // That is known when it is entered.
            Power::OnPending => {}
        }
    }
}

#[test]
fn the_set_knows_what_the_rmm_knows() {
    const COUNT: u32 = 5;
    for (dialect, seed) in DIALECTS.into_iter().flat_map(|it| (0..6).map(move |seed| (it, seed))) {
        let programs = (0..COUNT).map(|index| program(index, COUNT, seed, 150)).collect();
        realm(dialect, programs, |fixture| {
            let (set, rmm) = (fixture.set, fixture.rmm);
            let mut random = Random::new(seed);
            let mut board = Board(Random::new(seed + 100));
            let mut runners: Vec<_> = (0..set.len()).map(|n| set.claim(n).unwrap()).collect();
            let (mut ran, mut was_off) = (0, 0);
            while set.system_end().is_none() {
                let index = random.index(runners.len());
                let (is_on, power) = (fixture.is_on(index), set.power(index).unwrap());
                let bound = &mut |entries| entries == 1;
                let outcome = runners[index].run_until(rmm, &mut board, bound).unwrap();
                match &outcome {
                    // What is on is entered.
                    Outcome::Off { refused, .. } if runners[index].rec().exits() == 0 => {
                        assert!(!is_on);
                        assert_eq!(refused.is_some(), power == Power::OnPending);
                    }
                    Outcome::Off { .. } => was_off += 1,
                    Outcome::Bounded | Outcome::Waiting(_) | Outcome::RealmOff(Some(_)) => {
                        assert!(is_on);
                        ran += 1;
                    }
                    other => panic!("{other:?}"),
                }
                if !matches!(outcome, Outcome::Off { .. }) || set.system_end().is_some() {
                    assert_ne!(set.power(index), Some(Power::OnPending));
                }
                assert_power_is_right(fixture);
                assert!(!set.is_all_off());
            }
            assert!(ran > 50 && was_off > 0, "{ran} {was_off}");
        });
    }
}

/// `count` RECs on as many threads, while another kicks, notifies and pauses at random.
fn storm(fixture: &Fixture<'_, '_>, seed: u64) -> [usize; 4] {
    let (set, rmm) = (fixture.set, fixture.rmm);
    let seen = [const { AtomicUsize::new(0) }; 4];
    let [waited, was_off, paused, kicked] =
        seen.each_ref().map(|seen| move || seen.fetch_add(1, Ordering::Relaxed));
    thread::scope(|scope| {
        for index in 0..set.len() {
            let mut runner = set.claim(index).unwrap();
            let mut board = Board(Random::new(seed << 8 | index as u64));
            scope.spawn(move || {
                move_to(u16::try_from(index).unwrap());
                runner.trap_waiting(true, true);
                loop {
                    match runner.run(rmm, &mut board).unwrap() {
                        Outcome::Waiting(_) => {
                            waited();
                            runner.wait(Some(Duration::from_micros(300)));
                        }
                        Outcome::Off { .. } => {
                            was_off();
                            runner.wait(None);
                        }
                        Outcome::Paused => {
                            paused();
                            runner.wait(None);
                        }
                        Outcome::Kicked => {
                            kicked();
                        }
                        Outcome::RealmOff(_) => return,
                        other => panic!("{other:?}"),
                    }
                }
            });
        }
        let mut random = Random::new(seed);
        while set.system_end().is_none() {
            let index = random.index(set.len());
            match random.below(4) {
                0 => assert!(set.kick(index)),
                1 => assert!(set.notify(index)),
                2 => {
                    let _ = set.pause();
                    assert!(set.wait_paused(None));
                    assert_power_is_right(fixture);
                    set.resume();
                }
                _ => thread::yield_now(),
            }
        }
    });
    seen.map(AtomicUsize::into_inner)
}

#[test]
fn storms_of_cpu_on_and_off_on_threads() {
    // A single storm may miss an outcome where threads get little time.
    let mut seen = [0; 4];
    for dialect in DIALECTS {
        for (count, seed) in [(4, 1), (6, 2), (18, 3)] {
            let programs = (0..count).map(|index| program(index, count, seed, 200)).collect();
            realm(dialect, programs, |fixture| {
                for (all, more) in seen.iter_mut().zip(storm(fixture, seed)) {
                    *all += more;
                }
            });
        }
    }
    assert!(seen.iter().all(|seen| *seen > 0), "{seen:?}");
}
