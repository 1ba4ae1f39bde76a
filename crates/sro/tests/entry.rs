//! A REC that threads share is entered by one of them at a time.

use rmi_abi::Dialect;
use rmi_abi::realm::RealmParams;
use rmi_abi::rec::{Mpidr, RecParams};
use rmi_abi::rtt::Geometry;
use rmi_abi::run::EntryRecord;
use rmi_host::{Rd, Undelegated};
use sro::{Awaiting, EnterError, RecObject};

#[test]
fn sound_5_a_rec_is_entered_by_one_thread_at_a_time() {
    let model = test_support::model(Dialect::TfRmm2026_07);
    let mut memory = model.take_memory();
    let rmm = rmm_model::open(model.host(), &mut memory).unwrap();
    let take = |memory: &mut Undelegated| memory.take_front(0x1000).unwrap();
    let [rd, root] = [(), ()].map(|()| rmm.delegate(take(&mut memory)).unwrap());
    let mut page = take(&mut memory);
    let params = RealmParams::new(Geometry::new(40).unwrap(), root.base());
    let params = params.encode(rmm.dialect()).unwrap();
    let _ = rmm.commands().realm_create(&rd, &mut page, &params).unwrap();
    let rd = Rd::new(rd);
    let mut pool = test_support::pool::<8>(&mut memory, 0x20_000);
    let params = RecParams { runnable: true, mpidr: Mpidr::from_index(0), pc: 0, gprs: [0; 8] };
    let rec = RecObject::create(&rmm, &rd, &mut pool, &params).unwrap();
    let (enter, mut other) = (EntryRecord::default(), take(&mut memory));
    // The Realm is not active yet.
    let early = rec.enter(&rmm, &mut page, &enter, None, |_, _| ((), false)).unwrap_err();
    assert!(early.is_off(), "{early}");
    rmm.commands().realm_activate(&rd).unwrap();

    let again = |run: &mut Undelegated, answers| {
        rec.enter(&rmm, run, &enter, answers, |_, _| ((), false)).unwrap_err()
    };
    // The exit is being decoded: the entry has not ended.
    let number = rec
        .enter(&rmm, &mut page, &enter, None, |_, number| {
            assert_eq!(rec.awaiting(), Awaiting::Exit);
            let calls = model.calls();
            assert_eq!(again(&mut other, None), EnterError::Running);
            assert_eq!(again(&mut other, Some(number)), EnterError::Running);
            assert_eq!(model.calls(), calls);
            (number, true)
        })
        .unwrap();
    assert_eq!(rec.awaiting(), Awaiting::Answer(number));
    let unanswered = again(&mut other, None);
    assert!(unanswered == EnterError::Unanswered && !unanswered.is_off());
    rec.destroy(&rmm, &mut pool).unwrap();
    pool.drain(&rmm, &mut |_| ());
}
