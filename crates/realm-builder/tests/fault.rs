//! Faults, served with more and with less memory than was asked for.
#![expect(clippy::unwrap_used, reason = "tests")]

use realm_builder::{BuildError, Realm, RealmConfig, RealmStorage, RegionProblem, Served};
use rmi_abi::{Dialect, Ipa, IpaRange, Status};
use rmi_conduits::inject::{Fault, Injecting, Rule};
use rmi_host::command::SharedAccess;
use rmi_host::{CountingLedger, Host, Undelegated};
use sro::CallbackMemory;

const RAM: u64 = 0x4000_0000;
const MIB: u64 = 1 << 20;
const PAGE: u64 = 0x1000;

fn range(base: u64, bytes: u64) -> IpaRange {
    IpaRange::with_size(Ipa::new(base), bytes).unwrap()
}

#[test]
fn a_fault_is_served_however_little_there_is() {
    let model = test_support::model(Dialect::TfRmm2026_07);
    let mut memory = model.take_memory();
    let ledger = CountingLedger::new();
    let mut pool = test_support::pool::<16>(&mut memory, 64 << 12);
    let platform = model.host().with_ledger(&ledger);
    let rmm = test_support::open(platform, &mut pool);
    let mut storage = RealmStorage::<16, 0>::new();
    let realm = Realm::create(&rmm, &RealmConfig::new(40), &mut storage, &mut pool).unwrap();
    let realm = realm.activate().unwrap();
    let window = range(RAM, 8 * MIB);
    let fault = Ipa::new(RAM + 0x5123);
    let mut returned = Vec::new();

    // No memory at all.
    let served = realm.serve_fault(&mut CallbackMemory::freeing(&mut pool, drop), fault, window);
    let Err(BuildError::Region { problem: RegionProblem::NoMemory { ipa, .. }, .. }) = served
    else {
        panic!("{served:?}");
    };
    assert_eq!(ipa, Ipa::new(RAM + 0x5000));

    // Three pages, which do not reach from the start of the hole to the address: they are mapped at
    // the address.
    let mut left = 3;
    let pages = |_: IpaRange| {
        left -= 1;
        (left >= 0).then(|| memory.take_front(PAGE).unwrap())
    };
    let served = realm
        .serve_fault(&mut CallbackMemory::new(&mut pool, pages, |_| Ok(())), fault, window)
        .unwrap();
    assert_eq!(served, Served::Mapped(range(RAM + 0x5000, 3 * PAGE)));
    assert_eq!(realm.memory_bytes(), 3 * PAGE);

    // The address is mapped now; no memory is asked for.
    let served = realm.serve_fault(
        &mut CallbackMemory::new(&mut pool, |_| unreachable!(), |_| Ok(())),
        fault,
        window,
    );
    assert_eq!(served.unwrap(), Served::Present);

    // Enough memory: the rest of the 2 MiB is mapped, on both sides, and no more.
    let plenty = |void: IpaRange| memory.take_front(void.bytes());
    let next = Ipa::new(RAM + 0x9000);
    realm
        .serve_fault(&mut CallbackMemory::new(&mut pool, plenty, |_| Ok(())), next, window)
        .unwrap();
    assert_eq!(realm.memory_bytes(), 2 * MIB);

    // What exceeds the request is given back.
    let much = |_: IpaRange| memory.take_front(4 * MIB);
    let keep = &mut |host: Undelegated| returned.push(host);
    let far = Ipa::new(RAM + 2 * MIB + 0x1f_f000);
    realm
        .serve_fault(
            &mut CallbackMemory::new(&mut pool, much, |host| {
                keep(host);
                Ok(())
            }),
            far,
            window,
        )
        .unwrap();
    assert_eq!(realm.memory_bytes(), 4 * MIB);
    assert_eq!(returned.iter().map(Undelegated::bytes).sum::<u64>(), 2 * MIB);

    // Outside the window there is no fault to serve.
    let outside = Ipa::new(RAM + 8 * MIB);
    let served = realm.serve_fault(&mut CallbackMemory::freeing(&mut pool, drop), outside, window);
    let problem =
        matches!(served, Err(BuildError::Region { problem: RegionProblem::Elsewhere { .. }, .. }));
    assert!(problem, "{served:?}");

    assert_eq!(realm.tear_down(&mut CallbackMemory::freeing(&mut pool, drop), []).error, None);
    pool.drain(&rmm, &mut |_| {});
    assert_eq!(ledger.balance().outstanding(), 0);
}

fn pages(first: u64, count: u64) -> IpaRange {
    range(RAM + first * PAGE, count * PAGE)
}

#[test]
fn nothing_is_mapped_where_the_alias_is_shared() {
    let model = test_support::model(Dialect::TfRmm2026_07);
    let never = Rule::any().nth(u64::MAX);
    let conduit = Injecting::by_rule(&model, never, Fault::status(Status::ErrorInput));
    let mut memory = model.take_memory();
    let ledger = CountingLedger::new();
    let mut pool = test_support::pool::<16>(&mut memory, 64 << 12);
    let rmm = test_support::open(Host::new(&conduit, &model).with_ledger(&ledger), &mut pool);
    let mut storage = RealmStorage::<32, 16>::new();
    let realm = Realm::create(&rmm, &RealmConfig::new(40), &mut storage, &mut pool).unwrap();
    let realm = realm.activate().unwrap();
    let window = range(RAM, 16 * MIB);
    // Returns what memory was asked for, and how many calls it took.
    let fault = |pool: &mut _, memory: &mut Undelegated, page: u64| {
        let (mut asked, before) = (Vec::new(), conduit.calls());
        let supply = |void: IpaRange| {
            asked.push(void);
            // Behind a gap, so that the alignment is that of the IPA.
            let skip = (void.base().raw().wrapping_sub(memory.base().raw())) % (2 * MIB);
            drop(memory.take_front(skip));
            memory.take_front(void.bytes())
        };
        let at = Ipa::new(RAM + page * PAGE + 0x123);
        let served =
            realm.serve_fault(&mut CallbackMemory::new(pool, supply, |_| Ok(())), at, window);
        (served.unwrap(), asked, conduit.calls() - before)
    };
    let present = (Served::Present, vec![], 0);

    // The first fault makes the tables above.
    fault(&mut pool, &mut memory, 0xe00);
    let (served, asked, calls) = fault(&mut pool, &mut memory, 0xc05);
    assert_eq!((served, asked), (Served::Mapped(pages(0xc00, 0x200)), vec![pages(0xc00, 0x200)]));

    // Buffers that were never touched: the host shares them at their aliases. The last two end and
    // begin a part of 2 MiB.
    let share = |pool: &mut _, memory: &mut Undelegated, buffer: IpaRange| {
        let supply = |part: IpaRange| memory.take_front(part.bytes());
        let mut memory = CallbackMemory::new(pool, supply, |_| Ok(()));
        let shared = realm.convert_to_shared(&mut memory, buffer, SharedAccess::MEMORY).unwrap();
        assert_eq!((shared.bytes, shared.without_memory), (buffer.bytes(), 0));
    };
    let buffers = [pages(0x10, 4), pages(0x20, 1), pages(0x1ff, 2), pages(0x3fe, 2)];
    for buffer in buffers {
        share(&mut pool, &mut memory, buffer);
    }
    let shared = buffers.iter().map(IpaRange::bytes).sum::<u64>();
    assert_eq!((realm.memory_bytes(), realm.shared_bytes()), (4 * MIB, shared));

    // Where nothing is shared, a fault takes the same calls as before.
    let served = fault(&mut pool, &mut memory, 0xa05);
    let block = pages(0xa00, 0x200);
    assert_eq!(served, (Served::Mapped(block), vec![block], calls));

    // The memory around the address ends where memory is shared; then the other runs are mapped.
    let (served, asked, _) = fault(&mut pool, &mut memory, 0x1f);
    assert_eq!(served, Served::Mapped(pages(0x14, 0xc)));
    assert_eq!(asked, [pages(0x14, 0xc), pages(0, 0x10), pages(0x21, 0x1de)]);
    let (served, asked, _) = fault(&mut pool, &mut memory, 0x201);
    assert_eq!((served, asked), (Served::Mapped(pages(0x201, 0x1fd)), vec![pages(0x201, 0x1fd)]));
    for page in [0, 0xf, 0x14, 0x1f, 0x21, 0x1fe, 0x201, 0x3fd] {
        assert_eq!(fault(&mut pool, &mut memory, page), present, "{page:#x}");
    }
    let private = 10 * MIB - shared;
    assert_eq!((realm.memory_bytes(), realm.shared_bytes()), (private, shared));

    // What is shared is not served, with or without memory around it, in any tree.
    for page in [0x10, 0x13, 0x20, 0x1ff, 0x200, 0x3fe, 0x3ff] {
        let served = Served::Shared(pages(page, 1));
        assert_eq!(fault(&mut pool, &mut memory, page), (served, vec![], 0), "{page:#x}");
        let at = pages(page, 1).base();
        let in_tree = realm.serve_plane_fault(&mut pool, 1, at, window);
        assert_eq!(in_tree, Ok(served));
    }
    share(&mut pool, &mut memory, pages(0x600, 0x200));
    let served = fault(&mut pool, &mut memory, 0x700);
    assert_eq!(served, (Served::Shared(pages(0x700, 1)), vec![], 0));

    // The Realm asks for RAM again.
    for buffer in buffers {
        let memory = &mut CallbackMemory::freeing(&mut pool, drop);
        let converted = realm.convert_to_private(memory, buffer).unwrap();
        assert_eq!((converted.bytes, converted.without_memory), (buffer.bytes(), 0));
    }
    assert_eq!((realm.memory_bytes(), realm.shared_bytes()), (10 * MIB, 2 * MIB));
    assert_eq!(fault(&mut pool, &mut memory, 0x12), present);

    // Memory in both halves, which only the host can cause: it is there.
    let more = memory.take_front(PAGE).unwrap();
    let alias = realm.geometry().unprotected_alias(pages(0x12, 1).base()).unwrap();
    realm.share(&mut pool, alias, more, SharedAccess::MEMORY).unwrap();
    assert_eq!(fault(&mut pool, &mut memory, 0x12), present);

    assert_eq!(realm.tear_down(&mut CallbackMemory::freeing(&mut pool, drop), []).error, None);
    pool.drain(&rmm, &mut |_| {});
    assert_eq!(ledger.balance().outstanding(), 0);
}
