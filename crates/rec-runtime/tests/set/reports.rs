//! Making sets, statistics, bounds, and the state as text.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};

use realm_builder::{Realm, RealmConfig, RealmStorage, RecStart};
use rec_runtime::exit::{MmioLoad, Wait};
use rec_runtime::set::{AddError, ExitKind, Outcome, RecSlot};
use rec_runtime::{Answer, Flow, Handler, Rec, RecSet};
use rmi_abi::rec::Mpidr;
use rmi_abi::rtt::Geometry;
use rmi_abi::run::RecExit;
use rmi_abi::{Ipa, Status};
use rmm_model::{Model, Options, TimerKind};
use sro::CallbackMemory;
use test_support::Crafted;

use crate::fixture::{
    Action, Cpus, DEVICE, DIALECTS, cpu_on, move_to, page, realm, realm_with, script,
};

/// A handler that answers loads.
struct Board;

impl Handler for Board {
    fn mmio_load(&mut self, load: MmioLoad) -> Flow {
        Flow::Enter(load.complete(1))
    }
}

fn load() -> Action {
    Action::Load { ipa: DEVICE, bytes: 4 }
}

#[test]
fn a_set_takes_the_recs_of_one_realm_in_their_order() {
    let model = Model::new(Options::new(DIALECTS[0])).unwrap();
    let mut memory = model.take_memory();
    let mut pool = test_support::pool::<16>(&mut memory, 256 << 12);
    let rmm = test_support::open(model.host(), &mut pool);
    let cpus = Cpus(&model);
    let mut storage = [const { RealmStorage::<16, 8>::new() }; 2];
    let [first, second] = &mut storage;
    let mut realms = [first, second]
        .map(|storage| Realm::create(&rmm, &RealmConfig::new(40), storage, &mut pool).unwrap());
    let mut recs = realms.each_mut().map(|realm| {
        let geometry = realm.geometry();
        let start = RecStart { runnable: true, pc: Ipa::new(0), gprs: [0; 8] };
        [(); 3].map(|()| {
            let object = realm.create_rec(&mut pool, &start).unwrap();
            Some(Rec::new(object, page(&mut memory), geometry))
        })
    });
    let [[first, second, third], [of_other, also_of_other, last]] = &mut recs;
    let mut slots = [const { RecSlot::new() }; 2];
    let mut set = RecSet::new(&mut slots, &cpus);
    assert!(set.is_empty() && set.rec(0).is_none() && set.claim(0).is_err());
    // There is nothing that a pause could wait for.
    assert!(!set.is_paused() && !set.wait_paused(None));
    assert!(set.pause().next().is_none() && set.is_paused() && set.wait_paused(None));
    set.resume();
    assert_eq!(set.to_string(), "0 RECs");
    // Refused RECs come back.
    let failed = set.add(second.take().unwrap(), true).unwrap_err();
    let expected = AddError::OutOfOrder { found: Mpidr::from_index(1), index: 0 };
    assert_eq!(failed.error, expected);
    assert_eq!(failed.error.to_string(), "the REC with MPIDR 0x1 is not number 0");
    let second = failed.kept;
    assert_eq!(set.add(first.take().unwrap(), true).unwrap(), 0);
    let failed = set.add(also_of_other.take().unwrap(), true).unwrap_err();
    assert_eq!(failed.error, AddError::OtherRealm);
    *also_of_other = Some(failed.kept);
    assert_eq!(set.add(second, false).unwrap(), 1);
    let failed = set.add(third.take().unwrap(), true).unwrap_err();
    assert_eq!(failed.error, AddError::Full);
    *third = Some(failed.kept);
    assert_eq!((set.len(), set.count_on()), (2, 1));
    let mut taken: Vec<_> = set.drain().collect();
    assert_eq!(taken.iter().map(|rec| rec.mpidr().index()).collect::<Vec<_>>(), [0, 1]);
    assert!(set.is_empty() && set.rec(0).is_none());
    taken.extend(third.take());
    // The same set can be that of the other Realm.
    assert_eq!(set.add(of_other.take().unwrap(), true).unwrap(), 0);
    drop(set);
    // What was in it is lost, and not in the slots.
    assert!(slots.iter().all(|slot| format!("{slot:?}").starts_with("RecSlot { rec: None, ")));
    let mut set = RecSet::new(&mut slots, &cpus);
    assert_eq!(set.drain().count(), 0);
    // On the heap it has as many slots as wanted.
    let mut set = RecSet::with_capacity(3, &cpus);
    for (index, rec) in taken.into_iter().enumerate() {
        assert_eq!(set.add(rec, false).unwrap(), index);
    }
    let objects: Vec<_> = set.drain().map(|rec| rec.into_parts().0).collect();
    let others = [also_of_other.take(), last.take()].into_iter().flatten();
    let others: Vec<_> = others.map(|rec| rec.into_parts().0).collect();
    let [realm, other] = realms;
    let mut host = CallbackMemory::freeing(&mut pool, drop);
    assert_eq!(realm.activate().unwrap().tear_down(&mut host, objects).error, None);
    let _ = other.activate().unwrap().tear_down(&mut host, others);
}

#[test]
fn exits_are_counted_by_kind_and_timed() {
    let actions = vec![load(), load(), Action::Interrupt, Action::psci_cpu_off()];
    let options = Options::new(DIALECTS[0]);
    // Each look at the clock takes a tick more than the one before.
    let clock: &(dyn Fn() -> u64 + Sync) = Box::leak(Box::new({
        let (now, step) = (AtomicU64::new(100), AtomicU64::new(0));
        move || now.fetch_add(step.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed)
    }));
    let prepare = |set: &mut RecSet<'_>| set.set_clock(clock);
    realm_with(options, vec![script(actions)], prepare, |fixture| {
        let set = fixture.set;
        assert_eq!(set.statistics(1), None);
        let empty = set.statistics(0).unwrap();
        assert_eq!((empty.all_exits(), empty.time_inside, empty.time_outside), (0, 0, 0));
        let outcome = set.claim(0).unwrap().run(fixture.rmm, &mut Board).unwrap();
        assert!(matches!(outcome, Outcome::Off { is_last: true, refused: None }));
        let statistics = set.statistics(0).unwrap();
        assert_eq!(statistics.exits(ExitKind::MmioLoad), 2);
        assert_eq!(statistics.exits(ExitKind::Irq), 1);
        assert_eq!(statistics.exits(ExitKind::PsciNotice), 1);
        assert_eq!(statistics.exits(ExitKind::MmioStore), 0);
        assert_eq!((statistics.all_exits(), statistics.refused), (4, 0));
        // It is looked at before and after each entry: at 100, 100, 101, 103, 106, 110, 115, 121.
        assert_eq!(statistics.time_inside, (103 - 101) + (110 - 106) + (121 - 115));
        assert_eq!(statistics.time_outside, (101 - 100) + (106 - 103) + (115 - 110));
        // After two loads and an interrupt. After the last exit it is not entered.
        assert_eq!(statistics.time_after(ExitKind::MmioLoad), (101 - 100) + (106 - 103));
        assert_eq!(statistics.time_after(ExitKind::Irq), 115 - 110);
        assert_eq!(statistics.time_after(ExitKind::PsciNotice), 0);
        assert_eq!(
            set.to_string(),
            "1 REC\n\
             REC 0, MPIDR 0x0: off, exits 4: MmioLoad 2, Irq 1, PsciNotice 1, \
             time inside 12, outside 9"
        );
    });
}

#[test]
fn a_bound_ends_the_loop_before_an_entry() {
    realm(DIALECTS[1], vec![script(vec![load(); 9])], |fixture| {
        let mut runner = fixture.set.claim(0).unwrap();
        let mut asked = Vec::new();
        let mut bound = |entries| {
            asked.push(entries);
            entries == 3
        };
        let outcome = runner.run_until(fixture.rmm, &mut Board, &mut bound).unwrap();
        assert!(matches!(outcome, Outcome::Bounded));
        assert_eq!((asked, runner.rec().exits()), (vec![0, 1, 2, 3], 3));
        // The answer to the last exit is not lost with the runner.
        drop(runner);
        let mut runner = fixture.set.claim(0).unwrap();
        let bound = &mut |entries| entries == 2;
        let outcome = runner.run_until(fixture.rmm, &mut Board, bound).unwrap();
        assert!(matches!(outcome, Outcome::Bounded));
        assert_eq!(runner.rec().exits(), 5);
    });
}

/// Ends the loop in each way that a handler can.
struct Ends(u32);

impl Handler for Ends {
    fn mmio_load(&mut self, load: MmioLoad) -> Flow {
        self.0 += 1;
        match self.0 {
            1 => Flow::Stop(load.complete(1)),
            2 => Flow::Leave,
            _ => panic!("on purpose"),
        }
    }

    fn wait(&mut self, _: Wait) -> Flow {
        Flow::Enter(Answer::resume())
    }
}

#[test]
fn a_handler_ends_the_loop() {
    let actions = vec![load(), Action::Wfi, load(), load()];
    realm(DIALECTS[0], vec![script(actions)], |fixture| {
        let (set, rmm) = (fixture.set, fixture.rmm);
        let mut runner = set.claim(0).unwrap();
        runner.trap_waiting(true, false);
        let mut ends = Ends(0);
        let outcome = runner.run(rmm, &mut ends).unwrap();
        assert!(matches!(outcome, Outcome::Stopped), "{outcome:?}");
        assert!(set.inside().next().is_none());
        let outcome = runner.run(rmm, &mut ends).unwrap();
        assert!(matches!(outcome, Outcome::Left), "{outcome:?}");
        assert!(set.inside().next().is_none());
        // The load is not answered.
        assert!(runner.run(rmm, &mut ends).is_err() && set.inside().next().is_none());
        assert_eq!(set.statistics(0).unwrap().refused, 1);
        assert_eq!(set.statistics(0).unwrap().exits(ExitKind::Wait), 1);
    });
}

#[test]
fn a_thread_that_unwinds_is_not_in_the_loop_when_its_runner_is_gone() {
    realm(DIALECTS[0], vec![script(vec![load()])], |fixture| {
        let (set, rmm) = (fixture.set, fixture.rmm);
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let _ = set.claim(0).unwrap().run(rmm, &mut Ends(2));
        }));
        assert!(unwound.is_err());
        assert!(set.inside().next().is_none());
        let _ = set.pause();
        assert!(set.is_paused() && set.claim(0).is_ok());
    });
}

#[test]
fn a_wait_has_the_earliest_deadline() {
    let timer = |kind, ctl, cval| Action::Timer { kind, ctl, cval };
    let (far, near) = (u64::MAX - 1, u64::MAX - 2);
    for (dialect, own, deadline) in [
        (DIALECTS[0], 7, Some(near)),
        // Where the dialect tells the deadline of the wait, that counts, too.
        (DIALECTS[1], 7, if DIALECTS[1].tells_wait_deadline() { Some(7) } else { Some(near) }),
        (DIALECTS[1], u64::MAX, Some(near)),
    ] {
        let actions = vec![
            timer(TimerKind::Virtual, 1, far),
            timer(TimerKind::Physical, 1, near),
            Action::Wfit { deadline: own },
        ];
        realm(dialect, vec![script(actions)], |fixture| {
            let mut runner = fixture.set.claim(0).unwrap();
            runner.trap_waiting(true, true);
            let outcome = runner.run(fixture.rmm, &mut Board).unwrap();
            let Outcome::Waiting(sleep) = outcome else { panic!("{outcome:?}") };
            assert_eq!(sleep.deadline, deadline);
            assert_eq!(sleep.timers.virtual_timer.cval, far);
            assert_eq!(sleep.may_hide_deadline, dialect.may_hide_wait_deadline());
        });
    }
}

#[test]
fn an_answer_is_kept_for_the_entry_after_a_refused_one() {
    let machine = Crafted::new(DIALECTS[0]);
    let mut exit = RecExit::zeros();
    // A load of 4 bytes, with a valid syndrome.
    (exit.esr, exit.hpfar) = (0x24 << 26 | 1 << 24 | 2 << 22 | 7, DEVICE.raw() >> 12 << 4);
    machine.exits_with(&exit);
    machine.with_rec(|rmm, object, page, _| {
        let model = Model::new(Options::new(DIALECTS[0])).unwrap();
        let (cpus, mut slots) = (Cpus(&model), [const { RecSlot::new() }]);
        let mut set = RecSet::new(&mut slots, &cpus);
        set.add(Rec::new(object, page, Geometry::new(40).unwrap()), true).unwrap();
        let mut runner = set.claim(0).unwrap();
        let mut once = || runner.run_until(rmm, &mut Board, &mut |entries| entries == 1);
        assert!(matches!(once(), Ok(Outcome::Bounded)));
        machine.refuses_with(u8::from(Status::ErrorRec).into());
        assert!(once().unwrap_err().is_clean());
        assert!(matches!(once(), Ok(Outcome::Bounded)));
        assert_eq!(set.statistics(0).unwrap().exits(ExitKind::MmioLoad), 2);
    });
}

#[test]
fn the_state_is_described() {
    let secret = 0x5ec2e7;
    let first = vec![cpu_on(1), load(), load(), Action::smc(0xc400_0003, &[1, secret, secret])];
    let programs = vec![script(first), script(vec![Action::Wfi]), script(vec![])];
    realm(DIALECTS[0], programs, |fixture| {
        let (set, rmm) = (fixture.set, fixture.rmm);
        assert_eq!(
            set.to_string(),
            "3 RECs\n\
             REC 0, MPIDR 0x0: on, exits 0\n\
             REC 1, MPIDR 0x1: off, exits 0\n\
             REC 2, MPIDR 0x2: off, exits 0"
        );
        assert!(set.kick(0) && set.notify(1));
        assert_eq!(
            set.to_string(),
            "3 RECs\n\
             REC 0, MPIDR 0x0: on, kicked, exits 0\n\
             REC 1, MPIDR 0x1: off, notified, exits 0\n\
             REC 2, MPIDR 0x2: off, exits 0"
        );
        for index in [0, 1] {
            // Both are used up by runs that enter nothing.
            let _ = set.claim(index).unwrap().run(rmm, &mut Board).unwrap();
        }
        let mut runner = set.claim(0).unwrap();
        let _ = runner.run_until(rmm, &mut Board, &mut |entries| entries == 3).unwrap();
        assert_eq!(
            set.to_string(),
            "3 RECs\n\
             REC 0, MPIDR 0x0: on, claimed, last exit unanswered, \
             exits 3: MmioLoad 2, PsciRequest 1\n\
             REC 1, MPIDR 0x1: on pending, exits 0\n\
             REC 2, MPIDR 0x2: off, exits 0"
        );
        let mut second = set.claim(1).unwrap();
        second.trap_waiting(true, true);
        let _ = second.run(rmm, &mut Board).unwrap();
        let _ = set.pause();
        move_to(2);
        // Seen from the loop itself.
        struct Sees<'s>(&'s RecSet<'s>, String);
        impl Handler for Sees<'_> {
            fn mmio_load(&mut self, load: MmioLoad) -> Flow {
                Flow::Enter(load.complete(1))
            }
            fn before_entry(&mut self, _: &Rec) {
                self.1 = self.0.to_string();
            }
        }
        set.resume();
        let mut sees = Sees(set, String::new());
        let _ = runner.run_until(rmm, &mut sees, &mut |entries| entries == 1);
        let line = "REC 0, MPIDR 0x0: on, claimed, in the loop on CPU 2, last exit unanswered, ";
        assert!(sees.1.contains(line), "{}", sees.1);
        let _ = set.pause();
        assert!(set.kick(1) && set.notify(1));
        let text = format!("{set:?}");
        let line = "\nREC 1, MPIDR 0x1: on pending, claimed, waits for an interrupt or event, \
                    kicked, notified, paused, exits 1: Wait 1\n";
        assert!(text.contains(line), "{text}");
        assert!(!text.contains("5ec2e7"), "{text}");
    });
    let programs = vec![script(vec![load(), Action::psci_system_off()]), script(vec![])];
    realm(DIALECTS[0], programs, |fixture| {
        let (set, rmm) = (fixture.set, fixture.rmm);
        let mut runner = set.claim(0).unwrap();
        let _ = runner.run_until(rmm, &mut Ends(1), &mut |entries| entries == 1);
        let _ = runner.run(rmm, &mut Board);
        let text = set.to_string();
        let line = "REC 0, MPIDR 0x0: on, claimed, last exit unanswered, exits 1: MmioLoad 1, \
                    refused entries 1\n";
        assert!(text.contains(line), "{text}");
    });
    // An entry whose outcome is not known.
    let machine = Crafted::new(DIALECTS[0]);
    machine.with_rec(|rmm, object, page, _| {
        let model = Model::new(Options::new(DIALECTS[0])).unwrap();
        let (cpus, mut slots) = (Cpus(&model), [const { RecSlot::new() }]);
        let mut set = RecSet::new(&mut slots, &cpus);
        set.add(Rec::new(object, page, Geometry::new(40).unwrap()), true).unwrap();
        machine.refuses_with(0xff);
        let error = set.claim(0).unwrap().run(rmm, &mut Board).unwrap_err();
        assert!(!error.is_clean(), "{error}");
        let line = "REC 0, MPIDR 0x0: on, state unknown to the host, exits 0, refused entries 1";
        assert_eq!(set.to_string(), format!("1 REC\n{line}"));
    });
    realm(DIALECTS[0], vec![script(vec![Action::psci_system_reset()])], |fixture| {
        let outcome = fixture.set.claim(0).unwrap().run(fixture.rmm, &mut Board).unwrap();
        assert!(matches!(outcome, Outcome::RealmOff(Some(_))));
        assert!(fixture.set.to_string().starts_with("1 REC, system Reset\n"));
    });
}
