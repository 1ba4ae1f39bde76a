//! Tracking regions that the host can change, in every state that they can have, and what commands
//! do with the memory of each.

use std::num::{NonZeroU8, NonZeroU32};

use rmi_abi::desc::{AddrRangeDesc, BlockSize, OpMemState};
use rmi_abi::rtt::Level;
use rmi_abi::{Command, Dialect, GranuleSize, Pa, ResultWord, Status};
use rmm_model::{FirstTracking, GranuleState, GranulesPerCall, Model, Options, RegionOptions};

use crate::host::{Host, MIB2, PAGE, status, word};
use crate::regions::{COARSE, DRAM, FINE, GIB, INTERMEDIATE, NONE, RESERVED, range};

const CONVENTIONAL: u64 = 0;

/// The code of 2 MiB in this RMM.
const TWO_MIB: u8 = 1;

const DELEGATE: Command = Command::GranuleRangeDelegate;
const UNDELEGATE: Command = Command::GranuleRangeUndelegate;

/// `RMI_INCOMPLETE`: nothing wanted, memory wanted, memory given back.
const CONTINUE: u64 = 0xd;
const DONATE: u64 = 0x10d;
const RECLAIM: u64 = 0x20d;

/// An RMM with regions of 2 MiB, 16 of them and a half.
fn options(first: FirstTracking) -> Options {
    let mut options = Options::new(Dialect::V2_0Bet3).range_capable();
    options.dram = range(DRAM, 16 * MIB2 + MIB2 / 2);
    let mut regions = RegionOptions::new(first);
    regions.code_of_2_mib = NonZeroU8::new(TWO_MIB);
    options.regions = Some(regions);
    options.tracking_donates = if first == FirstTracking::Coarse { 1 } else { 0 };
    options
}

/// A host on an RMM that is configured for regions of 2 MiB.
fn host(options: Options) -> Host {
    let host = Host::cold(options);
    configure(&host, TWO_MIB);
    host.done(Command::RmmActivate, &[]);
    host
}

fn configure(host: &Host, code: u8) {
    let page = DRAM + 0x100 * PAGE;
    host.write(page, &[0; 0x1000]);
    host.write(page, &[code]);
    host.done(Command::RmmConfigSet, &[page]);
}

fn region(number: u64) -> u64 {
    DRAM + number * MIB2
}

fn set(host: &Host, region: u64, state: u64) -> [u64; 8] {
    host.call(Command::GranuleTrackingSet, &[region, CONVENTIONAL, state])
}

/// How a region is tracked.
fn tracked(host: &Host, region: u64) -> u64 {
    host.done(Command::GranuleTrackingGet, &[region, region + PAGE])[2]
}

fn desc(base: u64, count: u16, size: BlockSize, state: OpMemState) -> u64 {
    let desc = AddrRangeDesc { base: Pa::new(base), size, count, state };
    desc.encode(Dialect::V2_0Bet3, GranuleSize::Size4KiB).unwrap()
}

fn page_of(base: u64, state: OpMemState) -> u64 {
    desc(base, 1, BlockSize::Page, state)
}

/// Makes a region FINE with a page of its own.
fn make_fine(host: &Host, region: u64) {
    let answer = set(host, region, FINE);
    if answer[0] == 0 {
        return;
    }
    assert_eq!(answer[0], DONATE);
    let list = listed(host, page_of(region + OWN, OpMemState::Undelegated));
    assert_eq!(host.call(Command::OpMemDonate, &[answer[1], list, 1])[..2], [CONTINUE, 1]);
    host.done(Command::OpContinue, &[answer[1], 0]);
}

/// An address list with one descriptor.
fn listed(host: &Host, desc: u64) -> u64 {
    host.write(LIST, &desc.to_le_bytes());
    LIST
}

/// Where the host has its address lists, and where in a region the page is that it gives for that
/// region.
const LIST: u64 = DRAM + 16 * MIB2 + 8 * PAGE;
const OWN: u64 = 0x1f0 * PAGE;

fn state_of(host: &Host, at: u64) -> GranuleState {
    host.model.granule_state(Pa::new(at)).unwrap()
}

#[test]
fn a_configuration_has_a_known_size() {
    let host = Host::cold(options(FirstTracking::Coarse));
    let page = DRAM;
    for (code, expected) in [(0, Status::Success), (TWO_MIB, Status::Success)]
        .into_iter()
        .chain([2, 3, 0xff].map(|code| (code, Status::ErrorInput)))
    {
        host.write(page, &[0; 0x1000]);
        host.write(page, &[code]);
        assert_eq!(status(host.call(Command::RmmConfigSet, &[page])), expected);
        host.write(page, &[0xff; 0x1000]);
        host.done(Command::RmmConfigGet, &[page]);
        let kept = if expected == Status::Success { code } else { TWO_MIB };
        assert_eq!(host.read::<9>(page), [kept, 0, 0, 0, 0, 0, 0, 0, 0]);
    }
    // An RMM of which nobody said the code has no such size.
    let mut unknown = options(FirstTracking::Fine);
    unknown.regions = Some(RegionOptions::new(FirstTracking::Fine));
    let host = Host::cold(unknown);
    host.write(page, &[TWO_MIB]);
    host.fails(Status::ErrorInput, Command::RmmConfigSet, &[page]);
}

#[test]
fn regions_are_coarse_where_they_are_memory_as_a_whole() {
    let end = 1 << 48;
    let top = DRAM + 16 * MIB2 + MIB2 / 2;
    let get =
        |host: &Host, base| host.done(Command::GranuleTrackingGet, &[base, end])[1..4].to_vec();
    let small = host(options(FirstTracking::Coarse));
    assert_eq!(get(&small, 0), [3, RESERVED, DRAM]);
    assert_eq!(get(&small, DRAM), [0, COARSE, DRAM + 16 * MIB2]);
    assert_eq!(get(&small, DRAM + 16 * MIB2), [0, NONE, top]);
    assert_eq!(get(&small, top), [3, RESERVED, end]);
    make_fine(&small, region(1));
    assert_eq!(get(&small, DRAM), [0, COARSE, region(1)]);
    assert_eq!(get(&small, region(1) + PAGE), [0, FINE, region(2)]);
    // With regions of a GiB there is none that is memory as a whole.
    let large = Host::new(options(FirstTracking::Coarse));
    assert_eq!(get(&large, DRAM), [0, NONE, top]);
    let fine = host(options(FirstTracking::Fine));
    assert_eq!(get(&fine, DRAM), [0, FINE, top]);
    assert_eq!(get(&fine, top), [3, RESERVED, end]);
}

#[test]
fn a_delegation_skips_what_is_delegated_and_stays_in_its_region() {
    let host = host(options(FirstTracking::Fine));
    let base = region(1);
    for granule in [4, 5, 8] {
        host.done(DELEGATE, &[base + granule * PAGE, base + (granule + 1) * PAGE]);
    }
    // Each call ends before what the next one skips.
    let top = base + 10 * PAGE;
    for (from, to) in [(0, 4), (4, 8), (8, 10)] {
        let answer = host.done(DELEGATE, &[base + from * PAGE, top]);
        assert_eq!(answer[1], base + to * PAGE);
    }
    // All of it once more: nothing changes, and that is progress.
    assert_eq!(host.done(DELEGATE, &[base, top])[1], top);
    assert_eq!(host.model.census().delegated, 10);
    assert_eq!(host.done(DELEGATE, &[base + 10 * PAGE, base + 2 * MIB2])[1], region(2));
    host.done(UNDELEGATE, &[base, base + PAGE]);
    // The same backwards: skipped in front, and not in between.
    host.done(UNDELEGATE, &[base + 3 * PAGE, base + 4 * PAGE]);
    assert_eq!(host.done(UNDELEGATE, &[base, base + 8 * PAGE])[1], base + 3 * PAGE);
    assert_eq!(host.done(UNDELEGATE, &[base + 3 * PAGE, base + 8 * PAGE])[1], base + 8 * PAGE);
    // What is in use is neither moved nor skipped.
    let realm = host.realm();
    for command in [DELEGATE, UNDELEGATE] {
        host.fails(Status::ErrorInput, command, &[realm.rd, realm.rd + PAGE]);
    }
    assert_eq!(host.call(DELEGATE, &[realm.rd, realm.rd + PAGE])[1], realm.rd);
    // Nor is what is no memory.
    let top = DRAM + 16 * MIB2 + MIB2 / 2;
    assert_eq!(host.done(DELEGATE, &[top - PAGE, top + PAGE])[1], top);
    host.fails(Status::ErrorInput, DELEGATE, &[top, top + PAGE]);
    host.fails(Status::ErrorInput, DELEGATE, &[DRAM - PAGE, DRAM + PAGE]);
}

#[test]
fn a_coarse_region_moves_as_a_whole() {
    let host = host(options(FirstTracking::Coarse));
    let base = region(2);
    for (from, to) in
        [(base, base + PAGE), (base + PAGE, base + 2 * MIB2), (base, base + MIB2 - PAGE)]
    {
        let answer = host.call(DELEGATE, &[from, to]);
        assert_eq!((status(answer), answer[1]), (Status::ErrorTracking, from));
        assert_eq!(answer[0] >> 16, from / PAGE);
    }
    assert_eq!(host.done(DELEGATE, &[base, base + 2 * MIB2])[1], base + MIB2);
    assert_eq!(host.model.census().delegated, 512);
    assert!(!host.can_read(base + MIB2 - PAGE));
    assert_eq!(host.done(DELEGATE, &[base, base + MIB2])[1], base + MIB2);
    host.fails(Status::ErrorTracking, UNDELEGATE, &[base, base + PAGE]);
    assert_eq!(host.done(UNDELEGATE, &[base, base + 2 * MIB2])[1], base + MIB2);
    // The next one is the host's already.
    assert_eq!(host.done(UNDELEGATE, &[base, base + 2 * MIB2])[1], base + MIB2);
    assert_eq!(host.model.census().delegated, 0);
    // Half a region is not tracked.
    let half = region(16);
    let answer = host.call(DELEGATE, &[half, half + PAGE]);
    assert_eq!((status(answer), answer[0] >> 16), (Status::ErrorTracking, half / PAGE));
}

#[test]
fn a_coarse_region_may_take_several_calls_and_belongs_to_none_meanwhile() {
    let mut options = options(FirstTracking::Coarse);
    options.regions.as_mut().unwrap().coarse_steps = 3;
    let host = host(options);
    let (base, top) = (region(2), region(3));
    for (command, from, to) in [
        (DELEGATE, GranuleState::Undelegated, GranuleState::Delegated),
        (UNDELEGATE, GranuleState::Delegated, GranuleState::Undelegated),
    ] {
        assert_eq!(state_of(&host, base), from);
        assert_eq!(host.call(command, &[base, top])[..2], [CONTINUE, 0]);
        for step in 0..2 {
            assert_eq!(state_of(&host, top - PAGE), GranuleState::Partial, "{step}");
            assert!(!host.can_read(base));
            for other in [DELEGATE, UNDELEGATE] {
                host.fails(Status::Blocked, other, &[base, top]);
            }
            for state in [NONE, FINE] {
                assert_eq!(status(set(&host, base, state)), Status::Blocked);
            }
            assert_eq!(host.call(Command::OpContinue, &[0, 0])[0], CONTINUE);
            host.fails(Status::ErrorInput, Command::OpCancel, &[0]);
        }
        assert_eq!(host.done(Command::OpContinue, &[0, 0])[1], top);
        assert_eq!(state_of(&host, top - PAGE), to);
        host.fails(Status::ErrorInput, Command::OpContinue, &[0, 0]);
        // What is skipped needs no second call.
        assert_eq!(host.done(command, &[base, top])[1], top);
    }
}

#[test]
fn a_delegation_that_fails_half_way_is_rolled_back() {
    for steps in [0, 2] {
        let mut options = options(FirstTracking::Coarse);
        let regions = options.regions.as_mut().unwrap();
        regions.roll_back_every = NonZeroU32::new(2);
        regions.coarse_steps = steps;
        let host = host(options);
        let (base, top) = (region(2), region(3));
        let delegate = || {
            let mut answer = host.call(DELEGATE, &[base, top]);
            let mut calls = 0;
            while word(answer).status() == Status::Incomplete {
                assert_eq!(state_of(&host, base), GranuleState::Partial);
                answer = host.call(Command::OpContinue, &[0, 0]);
                calls += 1;
            }
            (calls, answer)
        };
        for failure in [Status::ErrorTracking, Status::Blocked, Status::ErrorTracking] {
            let (calls, answer) = delegate();
            assert_eq!((calls, status(answer), answer[1]), (steps, Status::Success, top));
            let mut back = host.call(UNDELEGATE, &[base, top]);
            while word(back).status() == Status::Incomplete {
                back = host.call(Command::OpContinue, &[0, 0]);
            }
            host.write(base, b"content");
            let (calls, answer) = delegate();
            // A roll-back is never done at once.
            assert_eq!((calls, status(answer), answer[1]), (steps.max(1), failure, base));
            let place = if failure == Status::ErrorTracking { base / PAGE } else { 0 };
            assert_eq!(answer[0] >> 16, place);
            assert_eq!(host.model.census().undelegated, host.model.census().total);
            assert_eq!(host.read(base), [0; 7]);
        }
        assert_eq!(host.model.open_operations(), 0);
    }
}

#[test]
fn transitions_of_a_region_that_is_the_hosts() {
    let host = host(options(FirstTracking::Coarse));
    let at = region(3);
    // Invalid input first.
    for (address, category, state) in [
        (at, 1, FINE),
        (at, CONVENTIONAL, RESERVED),
        (at, CONVENTIONAL, INTERMEDIATE),
        (at, CONVENTIONAL, 5),
        (at + PAGE, CONVENTIONAL, FINE),
        (DRAM - MIB2, CONVENTIONAL, FINE),
        (DRAM + 17 * MIB2, CONVENTIONAL, FINE),
    ] {
        let arguments = [address, category, state];
        host.fails(Status::ErrorInput, Command::GranuleTrackingSet, &arguments);
    }
    for state in [COARSE, NONE, NONE, COARSE, COARSE] {
        assert_eq!(set(&host, at, state)[0], 0);
        assert_eq!(tracked(&host, at), state);
    }
    make_fine(&host, at);
    assert_eq!(state_of(&host, at + OWN), GranuleState::Internal);
    assert_eq!(set(&host, at, FINE)[0], 0);
    // Its own page does not count; any other does.
    host.done(DELEGATE, &[at, at + PAGE]);
    for state in [NONE, COARSE] {
        assert_eq!(status(set(&host, at, state)), Status::ErrorInput);
    }
    host.done(UNDELEGATE, &[at, at + PAGE]);
    for state in [NONE, COARSE] {
        make_fine(&host, at);
        let answer = set(&host, at, state);
        assert_eq!(answer[0], RECLAIM);
        assert_eq!(tracked(&host, at), INTERMEDIATE);
        let list = listed(&host, 0);
        let reclaim = host.call(Command::OpMemReclaim, &[answer[1], list, 1]);
        assert_eq!(reclaim[..2], [CONTINUE, 1]);
        assert_eq!(host.words(list, 1), [page_of(at + OWN, OpMemState::Undelegated)]);
        for state in [NONE, FINE, COARSE] {
            assert_eq!(status(set(&host, at, state)), Status::Blocked);
        }
        host.fails(Status::Blocked, DELEGATE, &[at, at + MIB2]);
        host.done(Command::OpContinue, &[answer[1], 0]);
        assert_eq!(tracked(&host, at), state);
        assert_eq!(host.model.census().undelegated, host.model.census().total);
    }
    // Half a region can be FINE, and not COARSE.
    let half = region(16);
    assert_eq!(status(set(&host, half, COARSE)), Status::ErrorInput);
    let answer = set(&host, half, FINE);
    let list = listed(&host, page_of(half, OpMemState::Undelegated));
    host.call(Command::OpMemDonate, &[answer[1], list, 1]);
    host.done(Command::OpContinue, &[answer[1], 0]);
    host.done(DELEGATE, &[half + PAGE, half + 2 * PAGE]);
    assert_eq!(status(set(&host, half, COARSE)), Status::ErrorInput);
}

#[test]
fn a_delegated_region_keeps_its_state_when_its_tracking_changes() {
    let host = host(options(FirstTracking::Coarse));
    let (at, other) = (region(3), region(5));
    host.done(DELEGATE, &[at, at + MIB2]);
    assert_eq!(status(set(&host, at, NONE)), Status::ErrorInput);
    // A page of its own is offered as what it is; a page elsewhere must be FINE and delegated.
    let refused = [
        page_of(at, OpMemState::Undelegated),
        page_of(other, OpMemState::Undelegated),
        page_of(other, OpMemState::Delegated),
    ];
    for offer in refused {
        let answer = set(&host, at, FINE);
        assert_eq!(answer[0], DONATE);
        let list = listed(&host, offer);
        let refusal = host.call(Command::OpMemDonate, &[answer[1], list, 1]);
        assert_eq!(refusal[..2], [RECLAIM, 0]);
        let list = listed(&host, 0);
        assert_eq!(host.call(Command::OpMemReclaim, &[answer[1], list, 1])[..2], [CONTINUE, 0]);
        assert_eq!(status(host.call(Command::OpContinue, &[answer[1], 0])), Status::ErrorInput);
        assert_eq!(tracked(&host, at), COARSE);
    }
    make_fine(&host, other);
    host.done(DELEGATE, &[other, other + PAGE]);
    for page in [at, other] {
        let answer = set(&host, at, FINE);
        let list = listed(&host, page_of(page, OpMemState::Delegated));
        assert_eq!(host.call(Command::OpMemDonate, &[answer[1], list, 1])[..2], [CONTINUE, 1]);
        host.fails(Status::Blocked, UNDELEGATE, &[at, at + MIB2]);
        host.done(Command::OpContinue, &[answer[1], 0]);
        assert_eq!(tracked(&host, at), FINE);
        assert_eq!(state_of(&host, page), GranuleState::Internal);
        // The region whose page tracks another one stays FINE.
        let is_uniform = status(set(&host, other, COARSE)) != Status::ErrorInput;
        assert!(!is_uniform);
        // One granule that is the host's, and there is no one state for all.
        let last = at + MIB2 - PAGE;
        host.done(UNDELEGATE, &[last, last + PAGE]);
        assert_eq!(status(set(&host, at, COARSE)), Status::ErrorInput);
        host.done(DELEGATE, &[last, last + PAGE]);
        assert_eq!(status(set(&host, at, NONE)), Status::ErrorInput);
        let answer = set(&host, at, COARSE);
        assert_eq!(answer[0], RECLAIM);
        let list = listed(&host, 0);
        host.call(Command::OpMemReclaim, &[answer[1], list, 1]);
        assert_eq!(host.words(list, 1), [page_of(page, OpMemState::Delegated)]);
        host.done(Command::OpContinue, &[answer[1], 0]);
        assert_eq!(state_of(&host, page), GranuleState::Delegated);
        assert_eq!(host.model.census().delegated, 513);
    }
}

/// A Realm with a table for the IPAs from 0, whose own memory is in region 0.
fn realm_with_table(host: &Host) -> u64 {
    make_fine(host, region(0));
    let realm = host.bare_realm();
    for level in [1, 2] {
        host.table(realm, 0, level);
    }
    realm.rd
}

#[test]
fn a_mapping_is_not_smaller_than_a_coarse_region_and_not_larger_than_any() {
    let host = host(options(FirstTracking::Coarse));
    let rd = realm_with_table(&host);
    let at = region(4);
    host.done(DELEGATE, &[at, at + MIB2]);
    let block = |base| desc(base, 1, BlockSize::Level2, OpMemState::Delegated);
    host.done(Command::RttCreate, &[rd, host.fresh(1), MIB2, 3]);
    let page = page_of(at, OpMemState::Delegated);
    let answer = host.call(Command::RttDataMap, &[rd, MIB2, MIB2 + PAGE, 1, page]);
    assert_eq!((status(answer), answer[0] >> 16), (Status::ErrorTracking, at / PAGE));
    host.fails(Status::ErrorTracking, Command::RttDataMapInit, &[rd, at, MIB2, LIST, 0]);
    assert_eq!(state_of(&host, at), GranuleState::Delegated);
    // The block that is the region can be mapped.
    host.done(Command::RttDataMap, &[rd, 0, MIB2, 1, block(at)]);
    assert_eq!(state_of(&host, at + MIB2 - PAGE), GranuleState::Data);
    host.fails(Status::ErrorInput, UNDELEGATE, &[at, at + MIB2]);
    host.fails(Status::ErrorInput, DELEGATE, &[at, at + MIB2]);
    // Its entry can be split, but no part of the region unmapped; once it is FINE it can.
    host.done(Command::RttCreate, &[rd, host.fresh(1), 0, 3]);
    let unmap = [rd, 0, PAGE, 1, 0];
    let answer = host.call(Command::RttDataUnmap, &unmap);
    assert_eq!((status(answer), answer[0] >> 16), (Status::ErrorTracking, at / PAGE));
    // Memory of a Realm cannot be given to track it.
    let answer = set(&host, at, FINE);
    host.fails(Status::Blocked, Command::RttDataUnmap, &unmap);
    let own = listed(&host, page_of(host.fresh(1), OpMemState::Delegated));
    host.call(Command::OpMemDonate, &[answer[1], own, 1]);
    host.done(Command::OpContinue, &[answer[1], 0]);
    assert_eq!(host.done(Command::RttDataUnmap, &unmap)[1..3], [PAGE, page]);
    assert_eq!(status(set(&host, at, COARSE)), Status::ErrorInput);

    // Two regions in one call, but one after the other.
    let (third, fourth) = (region(6), region(7));
    host.done(DELEGATE, &[third, third + MIB2]);
    host.done(DELEGATE, &[fourth, fourth + MIB2]);
    let two = desc(third, 2, BlockSize::Level2, OpMemState::Delegated);
    assert_eq!(host.done(Command::RttDataMap, &[rd, 2 * MIB2, 4 * MIB2, 1, two])[1], 4 * MIB2);
    for (n, region) in (2..).zip([third, fourth]) {
        let answer = host.done(Command::RttDataUnmap, &[rd, n * MIB2, 4 * MIB2, 1, 0]);
        assert_eq!(answer[1..3], [(n + 1) * MIB2, block(region)]);
    }
    // Memory of two FINE regions: as far as the first one reaches.
    for region in [third, fourth] {
        host.done(UNDELEGATE, &[region, region + MIB2]);
        make_fine(&host, region);
    }
    host.delegate(fourth - PAGE, 2 * PAGE);
    let pages = desc(fourth - PAGE, 2, BlockSize::Page, OpMemState::Delegated);
    host.done(Command::RttDataMap, &[rd, MIB2, MIB2 + 2 * PAGE, 1, pages]);
    let answer = host.done(Command::RttDataUnmap, &[rd, MIB2, MIB2 + 2 * PAGE, 1, 0]);
    assert_eq!(answer[1], MIB2 + PAGE);
}

#[test]
fn no_block_is_larger_than_a_region() {
    let mut options = options(FirstTracking::Fine);
    options.dram = range(DRAM, 2 * GIB);
    let host = host(options);
    let realm = host.bare_realm();
    host.table(realm, 0, 1);
    let base = DRAM + GIB;
    host.delegate(base, GIB);
    let block = desc(base, 1, BlockSize::Level1, OpMemState::Delegated);
    let answer = host.call(Command::RttDataMap, &[realm.rd, 0, GIB, 1, block]);
    assert_eq!((status(answer), answer[0] >> 16), (Status::ErrorTracking, base / PAGE));
    assert_eq!(ResultWord(answer[0]).level(), Level::new(0));
}

#[test]
fn a_coarse_region_is_mapped_and_unmapped_in_steps() {
    let mut options = options(FirstTracking::Coarse);
    options.regions.as_mut().unwrap().coarse_steps = 2;
    let host = host(options);
    let rd = realm_with_table(&host);
    let at = region(4);
    assert_eq!(host.call(DELEGATE, &[at, at + MIB2])[0], CONTINUE);
    assert_eq!(host.call(Command::OpContinue, &[0, 0])[0], CONTINUE);
    host.done(Command::OpContinue, &[0, 0]);
    let block = desc(at, 1, BlockSize::Level2, OpMemState::Delegated);
    let map = (Command::RttDataMap, [rd, 0, MIB2, 1, block]);
    let unmap = (Command::RttDataUnmap, [rd, 0, MIB2, 1, 0]);
    for ((command, arguments), end) in [(map, GranuleState::Data), (unmap, GranuleState::Delegated)]
    {
        assert_eq!(host.call(command, &arguments)[..2], [CONTINUE, 0]);
        assert_eq!(state_of(&host, at), GranuleState::Partial);
        host.fails(Status::Blocked, command, &arguments);
        assert_eq!(status(set(&host, at, FINE)), Status::Blocked);
        host.fails(Status::Blocked, UNDELEGATE, &[at, at + MIB2]);
        assert_eq!(host.call(Command::OpContinue, &[0, 0])[0], CONTINUE);
        assert_eq!(host.done(Command::OpContinue, &[0, 0])[1], MIB2);
        assert_eq!(state_of(&host, at + MIB2 - PAGE), end);
    }
}

#[test]
fn an_rmm_with_regions_is_not_deactivated_while_it_has_memory_for_them() {
    let host = host(options(FirstTracking::Coarse));
    make_fine(&host, region(1));
    host.fails(Status::ErrorGlobal, Command::RmmDeactivate, &[]);
    let answer = set(&host, region(1), NONE);
    let list = listed(&host, 0);
    host.call(Command::OpMemReclaim, &[answer[1], list, 1]);
    host.done(Command::OpContinue, &[answer[1], 0]);
    host.done(Command::RmmDeactivate, &[]);
    // Regions begin again as they did.
    configure(&host, TWO_MIB);
    host.done(Command::RmmActivate, &[]);
    assert_eq!(tracked(&host, region(1)), COARSE);
}

#[test]
fn options_of_regions_fit_together() {
    let is_refused = |change: &dyn Fn(&mut Options)| {
        let mut options = options(FirstTracking::Coarse);
        change(&mut options);
        Model::new(options).is_err()
    };
    assert!(!is_refused(&|_| ()));
    assert!(is_refused(&|o| o.tracking_donates = 0));
    assert!(is_refused(&|o| o.untracked.push(range(DRAM, PAGE))));
    assert!(is_refused(&|o| o.coarse.push(range(DRAM, PAGE))));
    assert!(is_refused(&|o| o.regions = Some(RegionOptions::new(FirstTracking::Fine))));
    assert!(is_refused(&|o| {
        o.dialect = Dialect::TfRmm2026_07;
        o.regions = Some(RegionOptions::new(FirstTracking::Fine));
        o.tracking_donates = 0;
    }));
}

#[test]
fn a_delegation_by_granule_moves_as_many_as_the_rmm_takes() {
    let mut options = options(FirstTracking::Fine);
    options.granules_per_call = GranulesPerCall::AtMost(NonZeroU32::new(2).unwrap());
    let host = host(options);
    let base = region(1);
    let top = base + 8 * PAGE;
    assert_eq!(host.done(DELEGATE, &[base, top])[1], base + 2 * PAGE);
    assert_eq!(host.model.census().delegated, 2);
    // What is skipped does not count.
    assert_eq!(host.done(DELEGATE, &[base, top])[1], base + 4 * PAGE);
    assert_eq!(host.model.census().delegated, 4);
}

#[test]
fn there_is_no_region_at_the_end_of_memory() {
    for first in [FirstTracking::Fine, FirstTracking::Coarse] {
        let mut options = options(first);
        options.dram = range(DRAM, 2 * MIB2);
        let host = Host::cold(options);
        host.write(DRAM, &[TWO_MIB]);
        host.done(Command::RmmConfigSet, &[DRAM]);
        host.done(Command::RmmActivate, &[]);
        for state in [NONE, FINE, COARSE] {
            assert_eq!(status(set(&host, region(2), state)), Status::ErrorInput);
        }
        assert_eq!(status(set(&host, region(1), tracked(&host, region(1)))), Status::Success);
    }
}

#[test]
fn memory_of_the_host_is_not_mapped_whatever_its_region() {
    let host = host(options(FirstTracking::Fine));
    let rd = realm_with_table(&host);
    host.done(Command::RttCreate, &[rd, host.fresh(1), MIB2, 3]);
    let page = page_of(region(4), OpMemState::Delegated);
    host.fails(Status::ErrorInput, Command::RttDataMap, &[rd, MIB2, MIB2 + PAGE, 1, page]);
    let block = desc(region(5), 1, BlockSize::Level2, OpMemState::Delegated);
    host.fails(Status::ErrorInput, Command::RttDataMap, &[rd, 0, MIB2, 1, block]);
}

/// An operation anywhere in a region blocks it.
#[test]
fn a_region_with_an_operation_does_not_change() {
    let host = host(options(FirstTracking::Fine));
    let rd = realm_with_table(&host);
    let rec = region(4) + 7 * PAGE;
    host.delegate(rec, PAGE);
    let params = host.page();
    host.write(params, &[0; 0x1000]);
    assert_eq!(host.call(Command::RecCreate, &[rd, rec, params])[0] & 0xff, CONTINUE);
    assert_eq!(state_of(&host, rec), GranuleState::Partial);
    for state in [NONE, COARSE] {
        assert_eq!(status(set(&host, region(4), state)), Status::Blocked);
    }
}

/// What a command about a COARSE region refuses, it refuses before the first step.
#[test]
fn only_what_can_be_done_is_done_in_steps() {
    let mut options = options(FirstTracking::Coarse);
    options.regions.as_mut().unwrap().coarse_steps = 1;
    let host = host(options);
    let rd = realm_with_table(&host);
    let delegate = |region: u64| {
        assert_eq!(host.call(DELEGATE, &[region, region + MIB2])[0], CONTINUE);
        host.done(Command::OpContinue, &[0, 0]);
    };
    let (third, fourth, fifth) = (region(3), region(4), region(5));
    for region in [third, fourth, fifth] {
        delegate(region);
    }
    let block = |base| desc(base, 1, BlockSize::Level2, OpMemState::Delegated);
    // Above the table there is an entry for 1 GiB.
    host.fails(Status::ErrorRtt, Command::RttDataMap, &[rd, GIB, GIB + MIB2, 1, block(third)]);
    // A list whose first descriptor is for no page, but decides that pages are mapped.
    let none = desc(third, 0, BlockSize::Page, OpMemState::Delegated);
    host.write(LIST, &none.to_le_bytes());
    host.write(LIST + 8, &block(third).to_le_bytes());
    let list = [rd, 0, MIB2, 2 | 2 << 2, LIST];
    host.fails(Status::ErrorRtt, Command::RttDataMap, &list);

    // Steps are those of the first region that is named.
    let two = desc(third, 2, BlockSize::Level2, OpMemState::Delegated);
    assert_eq!(host.call(Command::RttDataMap, &[rd, 0, 2 * MIB2, 1, two])[0], CONTINUE);
    assert_eq!(host.done(Command::OpContinue, &[0, 0])[1], 2 * MIB2);
    assert_eq!(state_of(&host, fourth), GranuleState::Data);
    // The entry is not free any more.
    host.fails(Status::ErrorRtt, Command::RttDataMap, &[rd, 0, MIB2, 1, block(fifth)]);
    assert_eq!(state_of(&host, fifth), GranuleState::Delegated);
    // Only a part of it, or a part before it.
    host.fails(Status::ErrorRtt, Command::RttDataUnmap, &[rd, 0, PAGE, 1, 0]);
    host.fails(Status::ErrorRtt, Command::RttDataUnmap, &[rd, PAGE, MIB2, 1, 0]);
    assert_eq!(state_of(&host, third), GranuleState::Data);
    assert_eq!(host.call(Command::RttDataUnmap, &[rd, 0, MIB2, 1, 0])[0], CONTINUE);
    host.done(Command::OpContinue, &[0, 0]);
    assert_eq!(state_of(&host, third), GranuleState::Delegated);
}
