//! Memory that is tracked coarsely or not at all, and granule protection tables that do not exist
//! yet.

use rmi_abi::{Command, Dialect, Pa, PaRange, ResultWord, Status};
use rmm_model::{GranuleState, Model, Options};
use zerocopy::IntoBytes;

use crate::host::{DIALECTS, Host, MIB2, PAGE};

pub(crate) const GIB: u64 = 1 << 30;
pub(crate) const DRAM: u64 = 2 * GIB;
/// Codes of `RmiTrackingRegionState`.
pub(crate) const RESERVED: u64 = 0;
pub(crate) const NONE: u64 = 1;
pub(crate) const FINE: u64 = 2;
pub(crate) const COARSE: u64 = 3;
pub(crate) const INTERMEDIATE: u64 = 4;

/// Regions of 2 MiB at 3 and 5 times 2 MiB: one untracked, one coarse.
const UNTRACKED: u64 = DRAM + 3 * MIB2;
const COARSELY: u64 = DRAM + 5 * MIB2;

pub(crate) fn range(base: u64, bytes: u64) -> PaRange {
    PaRange::with_size(Pa::new(base), bytes).unwrap()
}

/// How the use of memory that is not FINE ends.
fn untracked(dialect: Dialect) -> Status {
    match dialect {
        Dialect::TfRmm2026_07 => Status::ErrorInput,
        _ => Status::ErrorTracking,
    }
}

fn patchy(dialect: Dialect) -> Options {
    let mut options = Options::new(dialect).range_capable();
    options.untracked = vec![range(UNTRACKED, MIB2)];
    options.coarse = vec![range(COARSELY, MIB2)];
    options
}

#[test]
fn tracking_is_reported_by_ranges() {
    let end = 1 << 48;
    for dialect in [Dialect::V2_0Bet0, Dialect::V2_0Bet1, Dialect::V2_0Bet3] {
        let host = Host::new(patchy(dialect));
        for (base, state, top) in [
            (0, NONE, DRAM),
            (DRAM, FINE, UNTRACKED),
            (UNTRACKED - PAGE, FINE, UNTRACKED),
            (UNTRACKED, NONE, UNTRACKED + MIB2),
            (UNTRACKED + MIB2, FINE, COARSELY),
            (COARSELY + PAGE, COARSE, COARSELY + MIB2),
            (COARSELY + MIB2, FINE, DRAM + GIB),
            (DRAM + GIB, NONE, end),
        ] {
            // 2.0-bet0 takes one address.
            let told = if dialect == Dialect::V2_0Bet0 { 0 } else { top };
            let answer = host.done(Command::GranuleTrackingGet, &[base, end]);
            assert_eq!(answer[1..4], [0, state, told], "{dialect}");
        }
    }
    let host = Host::new(patchy(Dialect::V2_0Bet3));
    assert_eq!(host.done(Command::GranuleTrackingGet, &[DRAM, DRAM + PAGE])[3], DRAM + PAGE);
    // TF-RMM reports the same for the base, and nothing for the rest.
    let host = Host::new(patchy(Dialect::TfRmm2026_07));
    let answer = host.done(Command::GranuleTrackingGet, &[UNTRACKED, end - PAGE]);
    assert_eq!(answer[1..4], [0, NONE, end - PAGE]);
    host.fails(Status::ErrorInput, Command::GranuleTrackingGet, &[UNTRACKED, end]);
}

#[test]
fn coarse_regions_change_their_owner_as_a_whole() {
    for (dialect, status) in DIALECTS.map(|dialect| (dialect, untracked(dialect))) {
        let host = Host::new(patchy(dialect));
        let delegate = Command::GranuleRangeDelegate;
        host.fails(status, delegate, &[UNTRACKED, UNTRACKED + MIB2]);
        host.fails(status, delegate, &[COARSELY, COARSELY + PAGE]);
        host.fails(status, delegate, &[COARSELY + PAGE, COARSELY + MIB2]);
        let answer = host.call(delegate, &[COARSELY + PAGE, COARSELY + MIB2]);
        assert_eq!(answer[1], COARSELY + PAGE);
        // The level, and above it the number of the granule.
        let is_told = dialect == Dialect::V2_0Bet3;
        assert_eq!(ResultWord(answer[0]).index(), 0);
        assert_eq!(answer[0] >> 16, if is_told { (COARSELY + PAGE) / PAGE } else { 0 });
        // A range stops where the next region begins, or cannot be taken as a whole.
        assert_eq!(host.done(delegate, &[DRAM, COARSELY])[1], UNTRACKED);
        let base = UNTRACKED + MIB2;
        assert_eq!(host.done(delegate, &[base, COARSELY + MIB2 - PAGE])[1], COARSELY);
        assert_eq!(host.done(delegate, &[COARSELY, COARSELY + 2 * MIB2])[1], COARSELY + 2 * MIB2);
        host.fails(Status::ErrorInput, delegate, &[COARSELY, COARSELY + MIB2]);
        host.fails(status, Command::GranuleRangeUndelegate, &[COARSELY, COARSELY + PAGE]);
        host.undelegate(COARSELY, MIB2);
    }
}

#[test]
fn memory_that_is_not_fine_is_refused() {
    for (dialect, status) in DIALECTS.map(|dialect| (dialect, untracked(dialect))) {
        let host = Host::new(patchy(dialect));
        let realm = host.realm();
        host.delegate(COARSELY, MIB2);
        let source = host.page();
        let params = host.page();
        host.fails(status, Command::RealmCreate, &[COARSELY, params]);
        host.fails(status, Command::RecCreate, &[realm.rd, COARSELY, params]);
        host.fails(status, Command::RttCreate, &[realm.rd, COARSELY, 1 << 30, 2]);
        host.fails(status, Command::RttDataMapInit, &[realm.rd, COARSELY, 0, source, 0]);
        let map = [realm.rd, 0, PAGE, 1, COARSELY | 1 << 2];
        host.fails(status, Command::RttDataMap, &map);
        host.fails(status, Command::RecCreate, &[realm.rd, UNTRACKED, params]);
        // It cannot be donated either: its first granule is refused.
        let rec = host.fresh(1);
        host.call(Command::RecCreate, &[realm.rd, rec, params]);
        let list = host.list(&[COARSELY | 16 << 2]);
        assert_eq!(host.call(Command::OpMemDonate, &[0, list, 1])[..2], [0x20d, 0]);
        assert_eq!(host.model.granule_state(Pa::new(COARSELY)), Some(GranuleState::Delegated));
    }
}

#[test]
fn a_region_becomes_fine_with_memory_that_may_lie_in_it() {
    let mut options = patchy(Dialect::V2_0Bet3);
    options.tracking_donates = 2;
    options.can_cancel = true;
    let host = Host::new(options);
    let set = |state| host.call(Command::GranuleTrackingSet, &[UNTRACKED, 0, state]);
    let state = || host.done(Command::GranuleTrackingGet, &[UNTRACKED, UNTRACKED + PAGE])[2];
    // Two granules, in either state.
    assert_eq!(set(FINE)[..3], [0x50d, 0, 2 << 2 | 2 << 17]);
    assert_eq!(state(), INTERMEDIATE);
    let undelegated = 1 << 62;
    let list = host.list(&[UNTRACKED | 1 << 2 | undelegated, host.fresh(1) | 1 << 2]);
    assert_eq!(set(FINE)[0], 1);
    assert_eq!(host.call(Command::OpMemDonate, &[0, list, 2])[..2], [0x40d, 2]);
    host.done(Command::OpContinue, &[0, 0]);
    assert_eq!(state(), FINE);
    host.delegate(UNTRACKED + PAGE, PAGE);
    assert_eq!(set(COARSE)[0], 1);
    host.undelegate(UNTRACKED + PAGE, PAGE);
    // Coarse again; the memory is given back as host memory.
    assert_eq!(set(COARSE)[..2], [0x20d, 0]);
    assert_eq!(host.call(Command::OpMemReclaim, &[0, list, 2])[..2], [0xd, 2]);
    assert_eq!(host.words(list, 1), [UNTRACKED | 1 << 2 | undelegated]);
    host.done(Command::OpContinue, &[0, 0]);
    assert_eq!(state(), COARSE);
    assert_eq!(host.model.census().undelegated, host.model.census().total);
    assert_eq!(set(NONE)[0], 0);

    // A change that is cancelled leaves the region as it was.
    assert_eq!(set(FINE)[0], 0x50d);
    assert_eq!(host.call(Command::OpCancel, &[0])[0], 0xd);
    host.fails(Status::ErrorInput, Command::OpContinue, &[0, 0]);
    assert_eq!(state(), NONE);

    // What is FINE and in no such region stays so, by whole GiBs.
    host.done(Command::GranuleTrackingSet, &[DRAM, 0, FINE]);
    for (address, state) in [(DRAM, COARSE), (DRAM, NONE), (DRAM + PAGE, FINE), (0, FINE)] {
        let arguments = [address, 0, state];
        host.fails(Status::ErrorInput, Command::GranuleTrackingSet, &arguments);
    }
    for (address, category, state) in
        [(UNTRACKED, 1, FINE), (UNTRACKED, 0, 0), (UNTRACKED, 0, 4), (UNTRACKED + PAGE, 0, FINE)]
    {
        let arguments = [address, category, state];
        host.fails(Status::ErrorInput, Command::GranuleTrackingSet, &arguments);
    }
}

/// Before 2.0-bet3 the memory is a delegated granule, and a region that is being changed is none
/// that the host may use.
#[test]
fn a_region_becomes_fine_with_delegated_memory() {
    for dialect in [Dialect::V2_0Bet0, Dialect::V2_0Bet1] {
        let mut options = patchy(dialect);
        options.tracking_donates = 1;
        options.gpt_missing = vec![range(0x1_0000_0000, GIB)];
        let host = Host::new(options);
        let set = |state| host.call(Command::GranuleTrackingSet, &[UNTRACKED, 0, state]);
        let state = || host.done(Command::GranuleTrackingGet, &[UNTRACKED, UNTRACKED + PAGE])[2];
        assert_eq!(set(FINE)[..3], [0x10d, 0, 1 << 2]);
        assert_eq!(state(), RESERVED);
        let granule = host.fresh(1);
        let list = host.list(&[granule | 1 << 2]);
        assert_eq!(host.call(Command::OpMemDonate, &[0, list, 1])[..2], [0xd, 1]);
        host.done(Command::OpContinue, &[0, 0]);
        assert_eq!(state(), FINE);
        host.delegate(UNTRACKED, PAGE);
        host.undelegate(UNTRACKED, PAGE);
        assert_eq!(set(NONE)[..2], [0x20d, 0]);
        assert_eq!(host.call(Command::OpMemReclaim, &[0, list, 1])[..2], [0xd, 1]);
        assert_eq!(host.words(list, 1), [granule | 1 << 2]);
        host.done(Command::OpContinue, &[0, 0]);
        assert_eq!(state(), NONE);
        assert_eq!(
            host.model.granule_state(Pa::new(granule)),
            Some(GranuleState::Delegated),
            "{dialect}"
        );
        // The table of a GiB is created without memory here; that of another is the firmware's.
        host.done(Command::GptL1Create, &[0x1_0000_0000]);
        host.done(Command::GptL1Destroy, &[0x1_0000_0000]);
        host.fails(Status::ErrorGpt, Command::GptL1Create, &[DRAM]);
        host.fails(Status::ErrorGpt, Command::GptL1Destroy, &[DRAM]);
    }
}

#[test]
fn tables_that_the_host_has_to_create() {
    let mut options = Options::new(Dialect::V2_0Bet3).range_capable();
    options.dram = range(DRAM, 2 * GIB);
    options.gpt_missing = vec![range(DRAM + GIB, GIB)];
    options.gpt_donates = 1;
    let host = Host::new(options);
    let gib = DRAM + GIB;
    let info = |base| host.done(Command::GptInfo, &[base, 1 << 48])[1..3].to_vec();
    assert_eq!(info(GIB), [2 * GIB, 0]);
    assert_eq!(info(DRAM), [DRAM + GIB, 1]);
    assert_eq!(info(gib), [gib + GIB, 2]);
    // Whole GiBs below the end of the machine.
    host.fails(Status::ErrorInput, Command::GptInfo, &[1 << 48, (1 << 48) + GIB]);
    host.fails(Status::ErrorInput, Command::GptInfo, &[gib, gib + PAGE]);
    host.fails(Status::ErrorInput, Command::GptInfo, &[gib - PAGE, gib + GIB - PAGE]);
    host.fails(Status::ErrorGpt, Command::GranuleRangeDelegate, &[gib, gib + PAGE]);
    let edge = gib - PAGE;
    assert_eq!(host.done(Command::GranuleRangeDelegate, &[edge, gib + PAGE])[1], gib);

    host.fails(Status::ErrorGpt, Command::GptL1Destroy, &[gib]);
    host.fails(Status::ErrorGlobal, Command::GptL1Create, &[DRAM]);
    host.fails(Status::ErrorInput, Command::GptL1Create, &[gib + PAGE]);
    // One granule, still undelegated.
    assert_eq!(host.call(Command::GptL1Create, &[gib])[..3], [0x10d, 0, 1 << 2 | 1 << 17]);
    host.fails(Status::Blocked, Command::GptL1Create, &[gib]);
    let mine = host.page();
    let list = host.list(&[mine | 1 << 2 | 1 << 62]);
    assert_eq!(host.call(Command::OpMemDonate, &[0, list, 1])[..2], [0xd, 1]);
    host.done(Command::OpContinue, &[0, 0]);
    assert_eq!(info(gib), [gib + GIB, 3]);
    assert!(!host.can_read(mine));

    host.delegate(gib, PAGE);
    // It can be used as any other memory.
    let rd = gib + PAGE;
    host.delegate(rd, 2 * PAGE);
    let params = host.page();
    host.write(params, host.params(rd + PAGE).encode(host.dialect).unwrap().as_bytes());
    host.done(Command::RealmCreate, &[rd, params]);
    host.done(Command::RealmTerminate, &[rd]);
    host.done(Command::RealmDestroy, &[rd]);
    host.undelegate(rd, 2 * PAGE);
    host.fails(Status::ErrorGpt, Command::GptL1Destroy, &[gib]);
    host.undelegate(gib, PAGE);
    assert_eq!(host.call(Command::GptL1Destroy, &[gib])[..2], [0x20d, 0]);
    assert_eq!(host.call(Command::OpMemReclaim, &[0, list, 1])[..2], [0xd, 1]);
    assert_eq!(host.words(list, 1), [mine | 1 << 2 | 1 << 62]);
    host.done(Command::OpContinue, &[0, 0]);
    assert_eq!(info(gib), [gib + GIB, 2]);
    assert!(host.can_read(mine));
}

#[test]
fn deactivation_returns_what_regions_took() {
    let mut options = patchy(Dialect::V2_0Bet3);
    options.tracking_donates = 1;
    let host = Host::new(options);
    host.call(Command::GranuleTrackingSet, &[UNTRACKED, 0, FINE]);
    let list = host.list(&[UNTRACKED | 1 << 2 | 1 << 62]);
    host.call(Command::OpMemDonate, &[0, list, 1]);
    host.done(Command::OpContinue, &[0, 0]);
    assert_eq!(host.call(Command::RmmDeactivate, &[])[0], 0x20d);
    assert_eq!(host.call(Command::OpMemReclaim, &[0, list, 8])[..2], [0xd, 1]);
    host.done(Command::OpContinue, &[0, 0]);
    assert_eq!(host.model.census().undelegated, host.model.census().total);
    assert_eq!(host.done(Command::GranuleTrackingGet, &[UNTRACKED, DRAM + GIB])[2], NONE);
}

#[test]
fn regions_must_be_parts_of_memory() {
    let refused = |change: &dyn Fn(&mut Options)| {
        let mut options = patchy(Dialect::V2_0Bet3);
        change(&mut options);
        Model::new(options).is_err()
    };
    assert!(!refused(&|_| ()));
    assert!(refused(&|o| o.coarse.push(range(UNTRACKED + PAGE, PAGE))));
    assert!(refused(&|o| o.coarse.push(range(DRAM - PAGE, 2 * PAGE))));
    assert!(refused(&|o| o.untracked.push(PaRange::empty(Pa::new(DRAM)))));
    assert!(refused(&|o| o.gpt_missing.push(range(DRAM, PAGE))));
    assert!(refused(&|o| {
        o.dialect = Dialect::TfRmm2026_07;
        o.tracking_donates = 1;
    }));
}
