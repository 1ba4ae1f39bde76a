//! The map of who owns which memory: compared with a simple one, with the model, and written as
//! text.
#![cfg(feature = "alloc")]

use proptest::prelude::*;
use rmi_abi::{Command, Dialect, Pa, PaRange, Status};
use rmi_host::ledger::{Holding, Imbalance, Ownership, OwnershipErrorKind, OwnershipMap};
use rmi_host::{CountingLedger, Ledger, LedgerEvent, QuarantineReason};
use rmm_model::{Model, Options};

const CREATE: Command = Command::RecCreate;
const DESTROY: Command = Command::RecDestroy;

fn range(first: u64, granules: u64) -> PaRange {
    PaRange::with_size(Pa::new(first * 0x1000), granules * 0x1000)
        .unwrap_or(PaRange::empty(Pa::new(0)))
}

fn reasons() -> Vec<QuarantineReason> {
    vec![
        QuarantineReason::PoolFull,
        QuarantineReason::UndelegateRefused { status: Status::from(200) },
        QuarantineReason::Unclear { command: CREATE },
        QuarantineReason::NotReclaimed { command: DESTROY },
        QuarantineReason::NotDestroyed { command: CREATE },
    ]
}

fn events() -> impl Strategy<Value = LedgerEvent> {
    prop_oneof![
        Just(LedgerEvent::Delegated),
        Just(LedgerEvent::Returned),
        prop::sample::select(vec![CREATE, Command::RmmActivate])
            .prop_map(|command| LedgerEvent::Donated { command }),
        Just(LedgerEvent::Reclaimed { command: DESTROY }),
        prop::sample::select(reasons()).prop_map(|reason| LedgerEvent::Quarantined { reason }),
        Just(LedgerEvent::Retried),
        Just(LedgerEvent::Leaked),
        Just(LedgerEvent::Untracked),
        Just(LedgerEvent::Exposed),
    ]
}

/// The holding that an event leads to.
fn after(event: LedgerEvent) -> Option<Holding> {
    Some(match event {
        LedgerEvent::Returned => return None,
        LedgerEvent::Donated { command } => Holding::Donated { command },
        LedgerEvent::Quarantined { reason } => Holding::Quarantined { reason },
        LedgerEvent::Leaked => Holding::Leaked,
        LedgerEvent::Untracked => Holding::Untracked,
        LedgerEvent::Exposed => Holding::Exposed,
        _ => Holding::Delegated,
    })
}

/// Whether an event can happen to memory with this holding.
fn fits(event: LedgerEvent, found: Option<Holding>) -> bool {
    match (event, found) {
        (
            LedgerEvent::Delegated | LedgerEvent::Untracked | LedgerEvent::Exposed,
            None | Some(Holding::Untracked),
        )
        | (LedgerEvent::Donated { .. }, Some(Holding::Delegated))
        | (LedgerEvent::Reclaimed { .. }, Some(Holding::Donated { .. }))
        | (LedgerEvent::Retried, Some(Holding::Quarantined { .. })) => true,
        (
            LedgerEvent::Returned | LedgerEvent::Quarantined { .. } | LedgerEvent::Leaked,
            Some(found),
        ) => matches!(found, Holding::Delegated | Holding::Donated { .. }),
        _ => false,
    }
}

const GRANULES: usize = 24;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// For any events, the map agrees with one that has an entry for each granule, and its text
    /// says the same.
    #[test]
    fn the_map_is_the_simple_map(
        steps in prop::collection::vec((events(), 0..GRANULES, 0..8usize), 0..60),
    ) {
        let mut ownership = Ownership::new();
        let mut simple = [None; GRANULES];
        let mut sound = true;
        for (event, first, count) in steps {
            let top = (first + count).min(GRANULES);
            sound &= simple[first..top].iter().all(|found| fits(event, *found));
            simple[first..top].fill(after(event));
            ownership.apply(event, range(first as u64, (top - first) as u64));
            prop_assert_eq!(ownership.check().is_ok(), sound);
        }
        for (number, holding) in simple.iter().enumerate() {
            prop_assert_eq!(ownership.holding(Pa::new(number as u64 * 0x1000)), *holding);
        }
        let ranges: Vec<_> = ownership.ranges().collect();
        let apart = |pair: &[(PaRange, Holding)]| {
            let ((before, holding), (after, next)) = (pair[0], pair[1]);
            before.top() < after.base() || (before.top() == after.base() && holding != next)
        };
        prop_assert!(ranges.windows(2).all(apart));

        let back: Ownership = ownership.to_string().parse().unwrap();
        prop_assert_eq!(back.ranges().collect::<Vec<_>>(), ranges);
        prop_assert_eq!(back.to_string(), ownership.to_string());
        prop_assert_eq!(back.check(), Ok(()));
    }

    /// Any text is either read or refused.
    #[test]
    fn any_text_is_parsed_or_refused(
        text in "(rmi-ownership 1\n)?((0x[0-9a-f]{0,17}|[ -~]{0,9}|end|delegated|donated|\
            RMI_REC_CREATE|quarantined|[0-9])[ \n]){0,20}",
    ) {
        let _ = text.parse::<Ownership>();
    }
}

#[test]
fn every_holding_has_a_text_that_parses_back() {
    let mut ownership = Ownership::new();
    let mut events = vec![
        LedgerEvent::Delegated,
        LedgerEvent::Donated { command: CREATE },
        LedgerEvent::Leaked,
        LedgerEvent::Untracked,
        LedgerEvent::Exposed,
    ];
    events.extend(reasons().into_iter().map(|reason| LedgerEvent::Quarantined { reason }));
    for (number, event) in events.into_iter().enumerate() {
        let memory = range(number as u64, 1);
        let begins =
            matches!(event, LedgerEvent::Delegated | LedgerEvent::Untracked | LedgerEvent::Exposed);
        if !begins {
            ownership.apply(LedgerEvent::Delegated, memory);
        }
        ownership.apply(event, memory);
    }
    let text = "\
rmi-ownership 1
0x0 0x1000 delegated
0x1000 0x2000 donated RMI_REC_CREATE
0x2000 0x3000 leaked
0x3000 0x4000 untracked
0x4000 0x5000 exposed
0x5000 0x6000 quarantined pool-full
0x6000 0x7000 quarantined undelegate-refused 200
0x7000 0x8000 quarantined unclear RMI_REC_CREATE
0x8000 0x9000 quarantined not-reclaimed RMI_REC_DESTROY
0x9000 0xa000 quarantined not-destroyed RMI_REC_CREATE
end 10
";
    assert_eq!(ownership.to_string(), text);
    assert_eq!(text.parse::<Ownership>().unwrap().to_string(), text);
    assert_eq!(ownership.check(), Ok(()));
}

#[test]
fn bad_texts_are_refused_by_line() {
    for (text, line, kind) in [
        ("", 1, OwnershipErrorKind::Header),
        ("rmi-ownership 2\nend 0\n", 1, OwnershipErrorKind::Header),
        ("rmi-ownership 1\n", 2, OwnershipErrorKind::Truncated),
        ("rmi-ownership 1\n0x0 0x1000 delegated\n", 3, OwnershipErrorKind::Truncated),
        ("rmi-ownership 1\n0x0 0x1000 delegated\nend 2\n", 3, OwnershipErrorKind::Truncated),
        ("rmi-ownership 1\n0x0 delegated\nend 1\n", 2, OwnershipErrorKind::Line),
        ("rmi-ownership 1\n0x+1 0x1000 delegated\nend 1\n", 2, OwnershipErrorKind::Line),
        ("rmi-ownership 1\n0x0 0x0 delegated\nend 1\n", 2, OwnershipErrorKind::Range),
        ("rmi-ownership 1\n0x0 0x1800 delegated\nend 1\n", 2, OwnershipErrorKind::Range),
        ("rmi-ownership 1\n0x0 0x1000 borrowed\nend 1\n", 2, OwnershipErrorKind::Holding),
        ("rmi-ownership 1\n0x0 0x1000 donated X\nend 1\n", 2, OwnershipErrorKind::Holding),
        (
            "rmi-ownership 1\n0x0 0x2000 leaked\n0x1000 0x3000 leaked\nend 2\n",
            3,
            OwnershipErrorKind::Overlap,
        ),
        ("rmi-ownership 1\nend 0\nend 0\n", 3, OwnershipErrorKind::Trailing),
    ] {
        let error = text.parse::<Ownership>().unwrap_err();
        assert_eq!((error.line, error.kind), (line, kind), "{text}");
    }
    let error = "rmi-ownership 1\nx\n".parse::<Ownership>().unwrap_err();
    assert_eq!(error.to_string(), "line 2 of an ownership map: neither a range nor the end");
}

/// What a map begins with counts as delegated and donated, as if the events were known.
#[test]
fn a_map_from_a_text_goes_on() {
    let text = "\
rmi-ownership 1
0x1000 0x3000 delegated
0x3000 0x5000 donated RMI_REC_CREATE
0x8000 0x9000 untracked
end 3
";
    let map = OwnershipMap::resume(text.parse().unwrap());
    assert_eq!((map.with(Ownership::check), map.is_balanced()), (Ok(()), false));
    let (_, donations) = map.with(|map| map.donations().next().unwrap());
    assert_eq!((donations.donated, donations.held()), (2, 2));
    map.record(LedgerEvent::Reclaimed { command: DESTROY }, range(3, 2));
    assert!(map.with(|map| map.donations().all(|(_, donations)| donations.is_even())));
    map.record(LedgerEvent::Returned, range(1, 4));
    assert_eq!(map.take_untracked(), Some(range(8, 1)));
    assert!(map.is_balanced());
}

#[test]
fn a_dropped_operation_is_counted_through_a_reference() {
    let (map, counts) = (OwnershipMap::new(), CountingLedger::new());
    let ledgers: [&dyn Ledger; 2] = [&&map, &&counts];
    for ledger in ledgers {
        ledger.operation_dropped(CREATE, 7);
    }
    let imbalance = map.with(Ownership::check_balance);
    assert!(matches!(imbalance, Err(Imbalance::Dropped { operations: 1, .. })), "{imbalance:?}");
    assert_eq!(counts.balance().dropped_operations, 1);
}

#[test]
fn a_balance_and_a_reason_are_printed() {
    let counts = CountingLedger::new();
    counts.record(LedgerEvent::Delegated, range(0, 9));
    counts.record(LedgerEvent::Returned, range(0, 4));
    counts.record(LedgerEvent::Quarantined { reason: QuarantineReason::PoolFull }, range(4, 2));
    let text = "delegated 9, returned 4, quarantined 2, leaked 3";
    assert_eq!(counts.balance().to_string(), text);
    let texts = reasons().into_iter().map(|reason| reason.to_string()).collect::<Vec<_>>();
    let expected = [
        "the pool is full",
        "undelegation refused with UNKNOWN",
        "unclear outcome of RMI_REC_CREATE",
        "not given back by RMI_REC_DESTROY",
        "object not destroyed by RMI_REC_CREATE",
    ];
    assert_eq!(texts, expected);
}

#[test]
fn donations_are_recorded_under_the_command_that_took_them() {
    let mut ownership = Ownership::new();
    ownership.apply(LedgerEvent::Delegated, range(0, 16));
    ownership.apply(LedgerEvent::Donated { command: CREATE }, range(0, 16));
    ownership.apply(LedgerEvent::Reclaimed { command: DESTROY }, range(0, 12));
    let (_, donations) = ownership.donations().next().unwrap();
    assert_eq!((donations.donated, donations.reclaimed, donations.held()), (16, 12, 4));
    assert!(!donations.is_even());
    ownership.apply(LedgerEvent::Returned, range(0, 12));
    assert_eq!(ownership.check(), Ok(()));
    let held = ownership.check_balance().unwrap_err();
    assert_eq!(held.to_string(), "[0xc000, 0x10000) is still donated RMI_REC_CREATE");

    // The object is destroyed although its memory was never reclaimed.
    ownership.apply(LedgerEvent::Returned, range(12, 4));
    let (_, donations) = ownership.donations().next().unwrap();
    assert_eq!((donations.recovered, donations.is_even()), (4, false));
    assert!(ownership.is_balanced());

    ownership.apply(LedgerEvent::Returned, range(3, 1));
    assert!(matches!(ownership.check(), Err(Imbalance::Contradicted { count: 1, .. })));
    assert_eq!(
        ownership.check().unwrap_err().to_string(),
        "1 events contradict the ledger, first Returned of [0x3000, 0x4000), which was the host's"
    );
}

#[test]
fn a_dropped_operation_and_an_untracked_range_are_found() {
    let map = OwnershipMap::new();
    map.operation_dropped(CREATE, 7);
    assert!(matches!(
        map.with(Ownership::check_balance),
        Err(Imbalance::Dropped { operations: 1, .. })
    ));
    let map = OwnershipMap::new();
    map.record(LedgerEvent::Untracked, range(4, 2));
    assert!(!map.is_balanced());
    assert_eq!(map.take_untracked(), Some(range(4, 2)));
    assert_eq!(map.take_untracked(), None);
    assert!(map.is_balanced());
    // Memory that a Realm may still reach cannot be taken.
    map.record(LedgerEvent::Exposed, range(4, 2));
    assert_eq!(map.take_untracked(), None);
    let (exposed, there) =
        (map.with(|ownership| ownership.holding(Pa::new(0x4000))), Holding::Exposed);
    assert_eq!(exposed, Some(there));
    assert!(!map.is_balanced() && there.is_in_use() && !there.is_rmm_owned());
    // It can be taken when its Realm is known to be destroyed.
    assert_eq!((map.take_exposed(), map.take_exposed()), (Some(range(4, 2)), None));
    assert!(map.is_balanced());
    // Host memory that no token stands for may have been shared again.
    for event in [LedgerEvent::Untracked, LedgerEvent::Exposed] {
        map.record(event, range(4, 2));
    }
    assert_eq!(map.with(Ownership::check), Ok(()));
    assert_eq!(map.take_exposed(), Some(range(4, 2)));
    assert!(!Holding::Untracked.is_in_use() && Holding::Leaked.is_in_use());
    assert_eq!(map.try_with(|_| map.try_with(|_| ())), Some(None));
}

/// Threads delegate and undelegate; the map, the counting ledger and the model agree.
#[test]
fn eight_threads_share_a_map() {
    #[derive(Debug)]
    struct Both<'l>(&'l OwnershipMap, &'l CountingLedger);
    impl Ledger for Both<'_> {
        fn record(&self, event: LedgerEvent, memory: PaRange) {
            self.0.record(event, memory);
            self.1.record(event, memory);
        }
    }
    let model = Model::new(Options::new(Dialect::TfRmm2026_07)).unwrap();
    let (map, counts) = (OwnershipMap::new(), CountingLedger::new());
    let platform = model.host().with_ledger(Both(&map, &counts));
    let mut memory = model.take_memory();
    let rmm = rmm_model::open(platform, &mut memory).unwrap();
    let rounds = if cfg!(miri) { 2 } else { 50 };
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let (rmm, mut mine) = (&rmm, memory.take_front(0x4000).unwrap());
            scope.spawn(move || {
                for _ in 0..rounds {
                    let given = rmm.delegate(mine).unwrap();
                    mine = rmm.undelegate(given).unwrap();
                }
                let kept = rmm.delegate(mine).unwrap();
                let _ = kept.into_use();
            });
        }
    });
    assert_eq!(map.with(Ownership::check), Ok(()));
    assert_eq!(map.with(Ownership::rmm_owned_bytes), 8 * 0x4000);
    assert_eq!(map.with(|ownership| ownership.ranges().count()), 1);
    assert_eq!(counts.balance().outstanding(), 32);
    assert_eq!(model.census().delegated, 32);
}
