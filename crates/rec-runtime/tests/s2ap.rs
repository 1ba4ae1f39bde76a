//! Changes of stage 2 permissions: applied and accepted, or rejected, as the Realm sees it.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::{Arc, Mutex};

use realm_builder::{Content, PlaneTables, Realm, RealmConfig, RealmStorage, RecStart, Region};
use rec_runtime::{Answer, EnterError, Exit, Rec};
use rmi_abi::{Dialect, Ipa, IpaRange};
use rmi_host::CountingLedger;
use rmm_model::{Action, GuestCpu, Model, Options};
use sro::CallbackMemory;

const RAM: Ipa = Ipa::new(0x4000_0000);

/// The result that the Realm sees after the host has applied its request and accepted it, or
/// rejected it: X0 to X2.
fn ask(dialect: Dialect, accept: bool) -> [u64; 3] {
    let mut options = Options::new(dialect);
    // Three auxiliary planes with a common tree.
    options.features[3] = 3 | 1 << 4 | 1 << 6;
    let model = Model::new(options).unwrap();
    let mut memory = model.take_memory();
    let ledger = CountingLedger::new();
    let mut pool = test_support::pool::<16>(&mut memory, 64 << 12);
    let platform = model.host().with_ledger(&ledger);
    let rmm = test_support::open(platform, &mut pool);
    let mut config = RealmConfig::new(40);
    config.num_aux_planes = 1;
    config.plane_tables = Some(PlaneTables::Shared);
    let mut storage = RealmStorage::<16, 0>::new();
    let mut realm = Realm::create(&rmm, &config, &mut storage, &mut pool).unwrap();
    let ram = memory.take_front(0x4000).unwrap();
    let mut regions = [Region::new(RAM, ram, Content::Unspecified)];
    realm.populate(&mut pool, &mut regions).unwrap();
    let start = RecStart { runnable: true, pc: RAM, gprs: [0; 8] };
    let object = realm.create_rec(&mut pool, &start).unwrap();

    let range = IpaRange::with_size(RAM, 0x2000).unwrap();
    let seen = Arc::new(Mutex::new(None));
    let (told, mut asked) = (Arc::clone(&seen), false);
    let guest = move |cpu: &GuestCpu| {
        if std::mem::replace(&mut asked, true) {
            *told.lock().unwrap() = Some([cpu.x[0], cpu.x[1], cpu.x[2]]);
            return Action::psci_system_off();
        }
        Action::mem_set_perm_index(range.base(), range.top(), 1, 0)
    };
    model.set_guest(realm.rd().pa(), 0, Box::new(guest));
    let realm = realm.activate().unwrap();
    let rec = Rec::new(object, memory.take_front(0x1000).unwrap(), realm.geometry());

    let event = rec.enter(&rmm, Answer::resume()).unwrap();
    let Exit::S2apChange(change) = event.exit else { panic!("{event:?}") };
    assert_eq!(change.range(), range);
    let unanswered = rec.enter(&rmm, Answer::resume()).unwrap_err();
    assert_eq!(unanswered.error, EnterError::Unanswered);
    let answer = if accept {
        realm.set_s2ap(&mut pool, rec.name(), change.range(), u32::MAX).unwrap();
        change.accept()
    } else {
        change.reject()
    };
    let event = rec.enter(&rmm, answer).unwrap();
    assert!(matches!(event.exit, Exit::PsciNotice(_)), "{event:?}");
    assert_eq!(
        realm.tear_down(&mut CallbackMemory::freeing(&mut pool, drop), [rec.into_parts().0]).error,
        None
    );
    pool.drain(&rmm, &mut |_| {});
    assert_eq!(ledger.balance().outstanding(), 0);
    seen.lock().unwrap().unwrap()
}

#[test]
fn the_realm_gets_the_result_of_its_request() {
    for dialect in Options::DIALECTS {
        let [status, reached, response] = ask(dialect, true);
        assert_eq!((status, reached, response), (0, RAM.raw() + 0x2000, 0));
        let [status, reached, response] = ask(dialect, false);
        assert_eq!((status, reached, response), (0, RAM.raw(), 1));
    }
}
