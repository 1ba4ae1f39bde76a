//! The ledger of a whole session, whatever the outcome of any one call.

use rmi_abi::{Dialect, ResultWord, Status};
use rmi_conduits::inject::{Fault, Injecting};
use rmi_host::{GrowingQuarantine, Host, Ownership, OwnershipMap};
use rmm_model::{Model, Options};

use crate::lifecycle::{Observed, run_host, set_guest};
use crate::{DIALECTS, IMAGE};

/// Runs the host on a small model with a fault at one call; says whether the fault was injected.
/// The records of the ledger are checked against each other and against the quarantine.
fn run(dialect: Dialect, at: u64, fault: Fault) -> (Observed, OwnershipMap, bool) {
    let mut options = Options::new(dialect).range_capable();
    options.dram = rmi_abi::PaRange::with_size(options.dram.base(), 4 << 20).unwrap();
    let model = Model::new(options).unwrap();
    let conduit = Injecting::once(&model, at, fault);
    let (map, quarantine) = (OwnershipMap::new(), GrowingQuarantine::new());
    let platform = Host::new(&conduit, &model).with_ledger(&map).with_quarantine(&quarantine);
    let observed = run_host(platform, model.take_memory(), &IMAGE, |rd| set_guest(&model, rd));
    let when = format!("{dialect}, call {at}, {fault:x?}");
    assert_eq!(map.with(Ownership::check), Ok(()), "{when}");
    let quarantined = map.with(|ownership| {
        ownership
            .bytes_where(|holding| matches!(holding, rmi_host::ledger::Holding::Quarantined { .. }))
    });
    assert_eq!(quarantined, quarantine.bytes(), "{when}");
    assert_eq!(map.with(Ownership::rmm_owned_bytes), quarantined, "{when}");
    (observed, map, conduit.has_injected())
}

#[test]
fn the_ledger_balances_and_what_a_rec_was_given_comes_back() {
    for dialect in DIALECTS {
        let (observed, map, _) = run(dialect, u64::MAX, Fault::status(Status::ErrorInput));
        assert!(observed.ended);
        assert_eq!(map.with(Ownership::check_balance), Ok(()));
        let given: Vec<_> = map.with(|ownership| ownership.donations().collect());
        if dialect == Dialect::V1_0 {
            // It has no operations to donate to.
            assert!(given.is_empty());
            continue;
        }
        assert_eq!(given.len(), 1);
        assert_eq!(given[0].1.donated, 16);
        assert!(given.iter().all(|(_, donations)| donations.is_even()));
    }
}

#[test]
fn the_ledger_agrees_whatever_happens_to_any_call() {
    let word = |status| ResultWord::from_status(status).0;
    for dialect in DIALECTS {
        for fault in [
            Fault::status(Status::ErrorInput),
            Fault::status(Status::Incomplete),
            Fault::status(Status::Unknown(99)),
            Fault::Delay { status: Status::Busy, times: 2 },
            Fault::Delay { status: Status::Blocked, times: 9 },
            Fault::Garbage { seed: 1 },
            Fault::Scribble { seed: 2 },
            Fault::Afterwards([word(Status::Incomplete), 7, 7, 7, 7, 7, 7, 7]),
            Fault::Afterwards([u64::MAX, 0, 0, 0, 0, 0, 0, 0]),
        ] {
            for at in 0.. {
                let (_, _, injected) = run(dialect, at, fault);
                if !injected {
                    break;
                }
            }
        }
    }
}
