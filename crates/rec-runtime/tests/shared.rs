//! Threads share a REC: one runs it, and the others name it.

use std::sync::mpsc::channel;
use std::thread;

use realm_builder::{Realm, RealmConfig, RealmStorage, RecStart};
use rec_runtime::{Answer, EnterError, Exit, Rec};
use rmi_abi::{Dialect, Ipa};
use rmm_model::{Action, GuestCpu, Model, Options};
use sro::{Awaiting, CallbackMemory};

#[test]
fn sound_3_a_rec_that_runs_is_named_and_not_entered_twice() {
    let model = Model::new(Options::new(Dialect::TfRmm2026_07)).unwrap();
    let mut memory = model.take_memory();
    let mut pool = test_support::pool::<16>(&mut memory, 128 << 12);
    let rmm = test_support::open(model.host(), &mut pool);
    let mut storage = RealmStorage::<16, 8>::new();
    let mut realm = Realm::create(&rmm, &RealmConfig::new(40), &mut storage, &mut pool).unwrap();
    let start = RecStart { runnable: true, pc: Ipa::new(0), gprs: [0; 8] };
    let object = realm.create_rec(&mut pool, &start).unwrap();
    // The program waits until the test has looked at it from outside.
    let (runs, is_running) = channel();
    let (go_on, may_go_on) = channel();
    let guest = move |_: &GuestCpu| {
        runs.send(()).unwrap();
        may_go_on.recv().unwrap();
        Action::psci_system_off()
    };
    model.set_guest(realm.rd().pa(), 0, Box::new(guest));
    let realm = realm.activate().unwrap();
    let rec = Rec::new(object, memory.take_front(0x1000).unwrap(), realm.geometry());

    let place = rec.name().pa();
    thread::scope(|scope| {
        // Should the test fail, the program ends as well.
        let go_on = go_on;
        let run = scope.spawn(|| rec.enter(&rmm, Answer::resume()).unwrap().exit);
        is_running.recv().unwrap();
        assert_eq!((rec.name().pa(), rec.awaiting(), rec.exits()), (place, Awaiting::Exit, 0));
        assert_eq!(rec.trap_waiting(true, true), Err(EnterError::Running));
        let calls = model.calls();
        let failed = rec.enter(&rmm, Answer::resume()).unwrap_err();
        assert_eq!((failed.error, failed.kept), (EnterError::Running, Some(Answer::resume())));
        assert_eq!(model.calls(), calls);
        go_on.send(()).unwrap();
        assert!(matches!(run.join().unwrap(), Exit::PsciNotice(_)));
    });
    assert_eq!((rec.awaiting(), rec.exits()), (Awaiting::Nothing, 1));
    let (object, _) = rec.into_parts();
    assert_eq!(
        realm.tear_down(&mut CallbackMemory::freeing(&mut pool, drop), [object]).error,
        None
    );
    pool.drain(&rmm, &mut |_| {});
}
