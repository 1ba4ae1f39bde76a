//! What an RMM does with a COARSE region that no host expects.

use std::cell::Cell;
use std::num::NonZeroU8;

use rmi_abi::granule::TrackingRegionSize;
use rmi_abi::{Command, Dialect, Pa, PaRange, ResultWord, Status};
use rmi_host::{CountingLedger, FixedQuarantine, Host, Registers, SessionOptions, TrackingRegion};
use rmm_model::{FirstTracking, Model, Options, RegionOptions};
use test_support::Altered;

const DIALECT: Dialect = Dialect::V2_0Bet3;
const DRAM: u64 = 0x8000_0000;
const MIB2: u64 = 2 << 20;
const PAGE: u64 = 0x1000;

#[test]
fn what_is_left_of_a_region_that_was_proved_in_part_is_not_lost() {
    let mut options = Options::new(DIALECT).range_capable();
    options.dram = PaRange::with_size(Pa::new(DRAM), 8 * MIB2).unwrap();
    let mut regions = RegionOptions::new(FirstTracking::Coarse);
    regions.code_of_2_mib = NonZeroU8::new(1);
    options.regions = Some(regions);
    options.tracking_donates = 1;
    let model = Model::new(options).unwrap();
    let (ledger, quarantine) = (CountingLedger::new(), FixedQuarantine::<64>::new());
    let calls = Cell::new(None);
    let conduit = Altered {
        model: &model,
        instead: |call: &Registers| {
            if call[0] != u64::from(Command::GranuleRangeUndelegate.fid(DIALECT).unwrap().0) {
                return None;
            }
            let n = calls.get()?;
            calls.set(Some(n + 1));
            match n {
                // Refused, and after the proof by delegation one granule is undelegated.
                0 => {
                    Some([ResultWord::from_status(Status::ErrorInput).0, call[1], 0, 0, 0, 0, 0, 0])
                }
                1 => Some([0, call[1] + PAGE, 0, 0, 0, 0, 0, 0]),
                _ => None,
            }
        },
    };
    let mut memory = model.take_memory();
    let mut session = SessionOptions::default();
    session.dialect = Some(DIALECT);
    session.tracking_region = Some(TrackingRegion::with_code(MIB2, TrackingRegionSize(1)));
    let platform = Host::new(&conduit, &model).with_ledger(&ledger).with_quarantine(&quarantine);
    let rmm = rmm_model::open_with(platform, session, &mut memory).unwrap();
    let delegated = rmm.delegate(memory.take_front(MIB2).unwrap()).unwrap();
    let reason = rmi_host::QuarantineReason::NotReclaimed { command: Command::GranuleTrackingSet };
    let mut back = 0;
    calls.set(Some(0));
    rmm.recover(delegated, reason, &mut |host| back += host.bytes());
    let mut kept = 0;
    quarantine.for_each(|range, _| kept += range.bytes());
    assert_eq!(back + kept, MIB2);
    assert_eq!(ledger.balance().leaked, 0);
}

/// RMI_BLOCKED as the specification has it: nothing changed, the call is to be repeated later.
#[test]
fn an_operation_that_stays_blocked_keeps_its_memory() {
    let mut options = Options::new(DIALECT).range_capable();
    options.dram = PaRange::with_size(Pa::new(DRAM), 8 * MIB2).unwrap();
    let mut regions = RegionOptions::new(FirstTracking::Coarse);
    regions.code_of_2_mib = NonZeroU8::new(1);
    regions.coarse_steps = 3;
    options.regions = Some(regions);
    options.tracking_donates = 1;
    let model = Model::new(options).unwrap();
    let (ledger, quarantine) = (CountingLedger::new(), FixedQuarantine::<64>::new());
    let blocked = Cell::new(false);
    let conduit = Altered {
        model: &model,
        instead: |call: &Registers| {
            let is_continue = call[0] == u64::from(Command::OpContinue.fid(DIALECT).unwrap().0);
            let word = ResultWord::from_status(Status::Blocked).0;
            (blocked.get() && is_continue).then_some([word, 0, 0, 0, 0, 0, 0, 0])
        },
    };
    let mut memory = model.take_memory();
    let mut session = SessionOptions::default();
    session.dialect = Some(DIALECT);
    session.tracking_region = Some(TrackingRegion::with_code(MIB2, TrackingRegionSize(1)));
    let platform = Host::new(&conduit, &model).with_ledger(&ledger).with_quarantine(&quarantine);
    let rmm = rmm_model::open_with(platform, session, &mut memory).unwrap();
    blocked.set(true);
    let failed = rmm.delegate(memory.take_front(MIB2).unwrap()).unwrap_err();
    assert!(!failed.error.is_clean(), "{:?}", failed.error);
    assert_eq!(failed.error.status(), Some(Status::Blocked));
    assert_eq!((failed.delegated.bytes(), failed.host.bytes()), (MIB2, 0));
    assert!(model.open_operations() > 0);
}
