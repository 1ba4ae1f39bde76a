//! Wrappers against the model RMM, in all dialects; in those of 2.0 with one granule or table per
//! call and with whole ranges.

use core::num::NonZeroU32;

use rmi_abi::desc::BlockSize;
use rmi_abi::dialect::InterfaceVersion;
use rmi_abi::flags::{MemAttr, S2Access};
use rmi_abi::granule::{GptParState, MemCategory, TrackingRegionState};
use rmi_abi::realm::RealmParams;
use rmi_abi::rmm::RmmState;
use rmi_abi::rtt::{Geometry, Level, Ripas, RttEntryState};
use rmi_abi::{Dialect, Ipa, IpaRange, Pa, PaRange, Status};
use rmi_host::command::{ShareAt, Shared, SharedAccess, Unmapped};
use rmi_host::{
    Delegated, Error, Host, InUse, Progress, Rd, RetryBudget, Rmm, SessionOptions, SharedMemory,
    Undelegated,
};
use rmm_model::{GranuleState, Model, Options};

use crate::fixture::PAGE;

const PAGES: BlockSize = BlockSize::Page;
const MIB2: u64 = 2 << 20;
/// The first unprotected address of a Realm with 40-bit addresses.
const SHARED: u64 = 1 << 39;

type Session<'m> = Rmm<Host<&'m Model, &'m Model>>;

struct Fixture<'m> {
    rmm: Session<'m>,
    memory: Undelegated,
    rd: Rd,
}

/// All dialects. The same code maps and shares memory in each.
fn each(test: impl Fn(&Model)) {
    test(&Model::new(Options::new(Dialect::V1_0)).unwrap());
    each_2_0(test);
}

fn each_2_0(test: impl Fn(&Model)) {
    for dialect in Options::DIALECTS {
        let options = Options::new(dialect);
        let mut yielding = options.clone().range_capable();
        yielding.yield_every = NonZeroU32::new(2);
        yielding.busy_every = NonZeroU32::new(3);
        for options in [options.clone(), options.range_capable(), yielding] {
            test(&Model::new(options).unwrap());
        }
    }
}

fn open<'m>(model: &'m Model, memory: &mut Undelegated) -> Session<'m> {
    let mut options = SessionOptions::default();
    options.dialect = Some(model.options().dialect);
    options.retry_budget = RetryBudget::default();
    rmm_model::open_with(model.host(), options, memory).unwrap()
}

impl<'m> Fixture<'m> {
    /// A Realm with tables down to level 3 at both ends.
    fn new(model: &'m Model) -> Self {
        let mut memory = model.take_memory();
        let rmm = open(model, &mut memory);
        let mut take = |bytes| rmm.delegate(memory.take_front(bytes).unwrap()).unwrap();
        let (rd, root) = (take(PAGE), take(PAGE));
        let params = RealmParams::new(Geometry::new(40).unwrap(), root.base());
        let params = params.encode(rmm.dialect()).unwrap();
        let mut page = memory.take_front(PAGE).unwrap();
        assert!(matches!(
            rmm.commands().realm_create(&rd, &mut page, &params),
            Ok(Progress::Done(_))
        ));
        let mut fixture = Self { rmm, memory, rd: Rd::new(rd) };
        for base in [0, SHARED] {
            for level in [Level::L1, Level::L2, Level::L3] {
                fixture.table(base, level);
            }
        }
        drop((root.into_use(), page));
        fixture
    }

    fn host(&mut self, bytes: u64) -> Undelegated {
        self.memory.take_front(bytes).unwrap()
    }

    fn delegated(&mut self, bytes: u64) -> Delegated {
        let memory = self.host(bytes);
        self.rmm.delegate(memory).unwrap()
    }

    fn table(&mut self, ipa: u64, level: Level) -> Pa {
        let table = self.delegated(PAGE);
        self.rmm.commands().rtt_create(&self.rd, table, Ipa::new(ipa), level).unwrap().base()
    }

    fn at(&self, ipa: u64) -> ShareAt<'_> {
        ShareAt { rd: &self.rd, ipa: Ipa::new(ipa), access: SharedAccess::MEMORY }
    }

    /// Memory at an aligned block address.
    fn block(&mut self) -> Undelegated {
        test_support::take_aligned(&mut self.memory, MIB2, MIB2)
    }
}

/// Joins ranges that follow each other.
fn joined(ranges: impl IntoIterator<Item = PaRange>) -> Vec<PaRange> {
    let mut all: Vec<PaRange> = Vec::new();
    for range in ranges {
        match all.last_mut().filter(|last| last.top() == range.base()) {
            Some(last) => *last = PaRange::new(last.base(), range.top()).unwrap(),
            None => all.push(range),
        }
    }
    all
}

#[test]
fn what_an_rmm_of_1_0_says_of_itself() {
    let model = Model::new(Options::new(Dialect::V1_0)).unwrap();
    let mut fixture = Fixture::new(&model);
    let commands = fixture.rmm.commands();
    let versions = commands.rmi_version(InterfaceVersion::new(1, 0)).unwrap();
    let refused = commands.rmi_version(InterfaceVersion::new(2, 0)).unwrap_err();
    assert_eq!(refused.error.status(), Some(Status::ErrorInput));
    assert_eq!(refused.reached.map(|found| found.higher), Some(versions.higher));
    // Every REC of a Realm needs as many granules.
    let count = commands.rec_aux_granules(&fixture.rd).unwrap();
    assert_eq!(commands.rec_aux_count(&fixture.rd), Ok(count.into()));
    // There is nothing to configure, and nothing else that the model would not know.
    let calls = model.calls();
    let mut page = fixture.host(PAGE);
    let commands = fixture.rmm.commands();
    assert!(commands.rmm_config_get(&mut page).unwrap_err().is_clean());
    assert!(commands.rmm_activate().unwrap_err().is_clean());
    assert!(commands.granule_tracking_get(page.range()).unwrap_err().is_clean());
    assert_eq!(model.calls(), calls);
}

#[test]
fn what_the_rmm_says_of_itself() {
    each_2_0(|model| {
        let dialect = model.options().dialect;
        let mut page = model.take_memory();
        let rmm = open(model, &mut page);
        let versions = rmm.commands().rmi_version(dialect.version()).unwrap();
        assert_eq!(versions.higher, InterfaceVersion::new(2, 0));
        let refused = rmm.commands().rmi_version(InterfaceVersion::new(1, 0)).unwrap_err();
        assert_eq!(refused.error.status(), Some(Status::ErrorInput));
        assert_eq!(refused.reached, Some(versions));

        assert_eq!(rmm.commands().rmm_config_get(&mut page).unwrap().rmi_granule_size, 0);
        let config = rmm.commands().rmm_config_get(&mut page).unwrap();
        let error = rmm.commands().rmm_config_set(&mut page, &config).unwrap_err();
        assert_eq!(error.status(), Some(Status::ErrorGlobal));

        let region = PaRange::with_size(page.base(), 1 << 30).unwrap();
        let found = rmm.commands().granule_tracking_get(region).unwrap();
        assert_eq!(found.category, MemCategory::Conventional);
        let top = dialect.tracking_get_takes_range().then_some(region.top());
        assert_eq!((found.state, found.top), (TrackingRegionState::Fine, top));
        // The firmware has created the tables.
        let error = rmm.commands().gpt_l1_create(region.base()).unwrap_err();
        assert!(matches!(error.status(), Some(Status::ErrorGpt | Status::ErrorGlobal)));
        if dialect == Dialect::V2_0Bet3 {
            assert_eq!(rmm.commands().gpt_info(region).unwrap().state, GptParState::Plat);
            assert_eq!(rmm.commands().rmm_state_get(), Ok(RmmState::Active));
            assert!(matches!(rmm.commands().rmm_deactivate(), Ok(Progress::Done(_))));
            assert_eq!(rmm.commands().rmm_state_get(), Ok(RmmState::Init));
            rmm.commands().rmm_config_set(&mut page, &config).unwrap();
        } else {
            assert!(rmm.commands().gpt_info(region).is_err());
        }
    });
}

#[test]
fn data_by_list_and_back() {
    each(|model| {
        let mut fixture = Fixture::new(model);
        let (mut list, base) = (fixture.host(PAGE), 16 * PAGE);
        // Runs of 3, 1 and 4 pages, the last first in memory.
        let last = fixture.delegated(4 * PAGE);
        drop(fixture.host(PAGE));
        let first = fixture.delegated(3 * PAGE);
        drop(fixture.host(PAGE));
        let mut memory = [first, fixture.delegated(PAGE), last];
        let before: Vec<_> = memory.iter().map(|token| token.range()).collect();
        let mut mapped = Vec::new();
        let mut at = Ipa::new(base);
        while memory.iter().any(|token| !token.is_empty()) {
            let left: Vec<usize> = (0..3).filter(|&n| !memory[n].is_empty()).collect();
            at = fixture
                .rmm
                .commands()
                .rtt_data_map_list(
                    &fixture.rd,
                    at,
                    &mut list,
                    &mut memory[left[0]..],
                    PAGES,
                    &mut |part| {
                        let apart = match mapped.last_mut() {
                            Some(last) => InUse::append(last, part).err(),
                            None => Some(part),
                        };
                        mapped.extend(apart);
                    },
                )
                .unwrap();
        }
        assert_eq!(at, Ipa::new(base + 8 * PAGE));
        let ranges: Vec<_> = mapped.iter().map(|token| token.range()).collect();
        assert_eq!(ranges, before);
        assert_eq!(model.granule_state(before[2].base()), Some(GranuleState::Data));

        // Storage for two runs at a time.
        let mut runs = [PaRange::empty(Pa::new(0)); 2];
        let range = IpaRange::with_size(Ipa::new(base), 8 * PAGE).unwrap();
        let (mut at, mut back) = (range.base(), Vec::new());
        while at < range.top() {
            let rest = IpaRange::new(at, range.top()).unwrap();
            let unmapped = fixture
                .rmm
                .commands()
                .rtt_data_unmap_list(&fixture.rd, rest, &mut list, &mut runs)
                .unwrap();
            back.extend_from_slice(&runs[..unmapped.runs]);
            assert!(unmapped.top > at);
            at = unmapped.top;
        }
        assert_eq!(back.iter().map(|run| run.bytes()).sum::<u64>(), 8 * PAGE);
        let back = joined(back);
        for token in mapped {
            let is_back = back.iter().any(|run| run.contains_range(&token.range()));
            assert!(is_back, "{token:?} of {back:?}");
            drop(fixture.rmm.undelegate(token.into_released()).unwrap());
        }
    });
}

#[test]
fn a_table_is_folded_and_its_loss_skipped() {
    each(|model| {
        let mut fixture = Fixture::new(model);
        let block = fixture.block();
        let block = fixture.rmm.delegate(block).unwrap();
        fixture.table(MIB2, Level::L3);
        let (mut at, mut rest) = (MIB2, block);
        while !rest.is_empty() {
            let done = fixture
                .rmm
                .commands()
                .rtt_data_map(&fixture.rd, Ipa::new(at), rest, PAGES)
                .unwrap();
            at += done.mapped.bytes();
            drop(done.mapped);
            rest = done.rest;
        }
        let table =
            fixture.rmm.commands().rtt_fold(&fixture.rd, Ipa::new(MIB2), Level::L3).unwrap();
        assert_eq!(model.granule_state(table), Some(GranuleState::Delegated));
        let entry =
            fixture.rmm.commands().rtt_read_entry(&fixture.rd, Ipa::new(MIB2), Level::L2).unwrap();
        assert_eq!((entry.level, entry.state), (Some(Level::L2), RttEntryState::Data));
        assert_eq!(entry.ripas, Ripas::Empty);

        // There is no table any more: a block replaces it.
        let skip = |ipa| {
            let halted = fixture
                .rmm
                .commands()
                .rtt_destroy_or_skip(&fixture.rd, Ipa::new(ipa), Level::L3)
                .unwrap_err();
            (halted.error.status(), halted.reached)
        };
        assert_eq!(skip(MIB2), (Some(Status::ErrorRtt), Some(Ipa::new(MIB2))));
        // No table at all: continues at the next live entry.
        let (status, reached) = skip(2 * MIB2);
        assert_eq!(status, Some(Status::ErrorRtt));
        assert!(reached > Some(Ipa::new(2 * MIB2)));
        // Unaligned: nothing is reported.
        assert_eq!(skip(PAGE), (Some(Status::ErrorInput), None));
    });
}

/// Data of 1.0 is mapped and unmapped by pages; folding makes a block of them.
#[test]
fn a_block_of_1_0_is_split_before_it_is_unmapped() {
    let model = Model::new(Options::new(Dialect::V1_0)).unwrap();
    let mut fixture = Fixture::new(&model);
    let block = fixture.block();
    let whole = block.range();
    let mut rest = fixture.rmm.delegate(block).unwrap();
    fixture.table(MIB2, Level::L3);
    let calls = model.calls();
    let (mut mapped, mut at) = (InUse::empty(), MIB2);
    while !rest.is_empty() {
        let commands = fixture.rmm.commands();
        let done = commands.rtt_data_map(&fixture.rd, Ipa::new(at), rest, PAGES).unwrap();
        at += done.mapped.bytes();
        mapped.append(done.mapped).unwrap();
        rest = done.rest;
    }
    assert_eq!((mapped.range(), model.calls()), (whole, calls + 512));
    let commands = fixture.rmm.commands();
    commands.rtt_fold(&fixture.rd, Ipa::new(MIB2), Level::L3).unwrap();
    let range = IpaRange::with_size(Ipa::new(MIB2), MIB2).unwrap();
    let Err(Error::Refused(refusal)) = commands.rtt_data_unmap(&fixture.rd, range) else {
        panic!("a block is mapped")
    };
    assert_eq!((refusal.status(), refusal.level()), (Status::ErrorRtt, Some(Level::L2)));

    fixture.table(MIB2, Level::L3);
    let (calls, mut at, mut back) = (model.calls(), range.base(), Vec::new());
    let commands = fixture.rmm.commands();
    while at < range.top() {
        let unmapped = commands.rtt_data_unmap(&fixture.rd, range.after(at)).unwrap();
        back.extend(unmapped.memory);
        at = unmapped.top;
    }
    assert_eq!((joined(back), model.calls()), (vec![whole], calls + 512));
    // All of it was unmapped. One call passes over it, up to the end of the table.
    let all = IpaRange::with_size(Ipa::new(0), 1 << 30).unwrap();
    let unmapped = commands.rtt_data_unmap(&fixture.rd, all.after(range.base())).unwrap();
    assert_eq!(unmapped, Unmapped { top: range.top(), memory: None });
    drop(fixture.rmm.undelegate(mapped.into_released()).unwrap());
}

/// The level of an entry that maps shared memory is part of a call of 1.0.
#[test]
fn shared_pages_of_1_0_come_back_without_a_failing_call() {
    let model = Model::new(Options::new(Dialect::V1_0)).unwrap();
    let mut fixture = Fixture::new(&model);
    fixture.table(SHARED + MIB2, Level::L3);
    let mut block = fixture.block();
    for (largest, failing) in [(Level::L3, 0), (Level::L2, 1), (Level::L1, 1)] {
        // All together they would fit one entry of level 2.
        let mut shared = share(&fixture, SHARED + MIB2, block, PAGES);
        let (calls, mut back) = (model.calls(), Undelegated::empty());
        while !shared.is_empty() {
            let commands = fixture.rmm.commands();
            let page = commands.rtt_unprot_unmap_entry(&fixture.rd, &mut shared, largest).unwrap();
            assert_eq!(page.bytes(), PAGE);
            back.append(page).unwrap();
        }
        assert_eq!(model.calls(), calls + 512 + failing, "{largest:?}");
        block = back;
    }
    // A block, of which the caller believes that it is pages.
    let commands = fixture.rmm.commands();
    commands.rtt_destroy(&fixture.rd, Ipa::new(SHARED + MIB2), Level::L3).unwrap();
    let mut shared = share(&fixture, SHARED + MIB2, block, BlockSize::Level2);
    let calls = model.calls();
    let back = commands.rtt_unprot_unmap_entry(&fixture.rd, &mut shared, Level::L3).unwrap();
    assert_eq!((back.bytes(), model.calls()), (MIB2, calls + 2));
}

/// Shares memory until it is all shared.
fn share(
    fixture: &Fixture<'_>,
    ipa: u64,
    mut memory: Undelegated,
    blocks: BlockSize,
) -> SharedMemory {
    let done = fixture.rmm.commands().rtt_unprot_map(fixture.at(ipa), memory, blocks).unwrap();
    let mut all = done.shared;
    memory = done.rest;
    while !memory.is_empty() {
        let at = fixture.at(all.ipa_range().top().raw());
        let done = fixture.rmm.commands().rtt_unprot_map(at, memory, blocks).unwrap();
        memory = done.rest;
        all.append(done.shared).unwrap();
    }
    all
}

#[test]
fn memory_is_shared_and_comes_back() {
    each(|model| {
        let mut fixture = Fixture::new(model);
        let memory = fixture.host(5 * PAGE);
        let range = memory.range();
        let mut shared = share(&fixture, SHARED, memory, PAGES);
        assert_eq!(shared.range(), range);
        fixture.rmm.commands().write_shared(&mut shared, PAGE, b"to the Realm").unwrap();
        let mut word = [0; 12];
        fixture.rmm.read_host(shared.memory(), PAGE, &mut word).unwrap();
        assert_eq!(&word, b"to the Realm");
        let entry = fixture
            .rmm
            .commands()
            .rtt_read_entry(&fixture.rd, Ipa::new(SHARED + PAGE), Level::L3)
            .unwrap();
        assert_eq!(entry.state, RttEntryState::Data);
        assert_eq!(entry.desc & !0xfff & ((1 << 48) - 1), range.base().raw() + PAGE);

        // Mapped already: the memory stays the host's, unless the refusal ended an operation and
        // might refer to continuing that.
        let other = fixture.host(PAGE);
        let failed =
            fixture.rmm.commands().rtt_unprot_map(fixture.at(SHARED), other, PAGES).unwrap_err();
        assert_eq!(failed.error.status(), Some(Status::ErrorRtt));
        assert_eq!(failed.error.is_clean(), failed.shared.is_empty());
        assert_eq!(failed.shared.bytes() + failed.host.bytes(), PAGE);
        // Protected addresses are only for private memory.
        let other = fixture.host(PAGE);
        let failed =
            fixture.rmm.commands().rtt_unprot_map(fixture.at(0), other, PAGES).unwrap_err();
        assert_eq!(failed.error.status(), Some(Status::ErrorInput));

        let mut back = Undelegated::empty();
        while !shared.is_empty() {
            let unshared = fixture.rmm.commands().rtt_unprot_unmap(&fixture.rd, shared).unwrap();
            back.append(unshared.host).unwrap();
            shared = unshared.rest;
        }
        assert_eq!(back.range(), range);
        let entry = fixture
            .rmm
            .commands()
            .rtt_read_entry(&fixture.rd, Ipa::new(SHARED + PAGE), Level::L3)
            .unwrap();
        assert_eq!(entry.state, RttEntryState::Void);
        // It may be delegated again.
        drop(fixture.rmm.delegate(back).unwrap());
    });
}

#[test]
fn scattered_memory_is_shared_by_list() {
    each(|model| {
        let mut fixture = Fixture::new(model);
        let mut list = fixture.host(PAGE);
        let last = fixture.host(4 * PAGE);
        drop(fixture.host(PAGE));
        let mut memory = [fixture.host(2 * PAGE), last];
        let before = [memory[0].range(), memory[1].range()];
        let mut shared: Vec<SharedMemory> = Vec::new();
        let mut at = SHARED;
        while memory.iter().any(|token| !token.is_empty()) {
            let skip = usize::from(memory[0].is_empty());
            let mut parts: Vec<Shared> =
                memory[skip..].iter_mut().map(|token| Shared::new(token.take())).collect();
            let list = &mut list;
            let map =
                fixture.rmm.commands().rtt_unprot_map_list(fixture.at(at), list, &mut parts, PAGES);
            at = map.unwrap().raw();
            for (token, part) in memory[skip..].iter_mut().zip(parts) {
                *token = part.rest;
                if !part.shared.is_empty() {
                    let apart = match shared.last_mut() {
                        Some(last) => last.append(part.shared).err(),
                        None => Some(part.shared),
                    };
                    shared.extend(apart);
                }
            }
        }
        assert_eq!(at, SHARED + 6 * PAGE);
        assert_eq!(shared.iter().map(SharedMemory::range).collect::<Vec<_>>(), before);

        let mut returned = Vec::new();
        while shared.iter().any(|piece| !piece.is_empty()) {
            let skip = usize::from(shared[0].is_empty());
            let pieces = &mut shared[skip..];
            fixture
                .rmm
                .commands()
                .rtt_unprot_unmap_list(&fixture.rd, pieces, &mut list, &mut |part| {
                    returned.push(part.range());
                })
                .unwrap();
        }
        assert_eq!(joined(returned), before);
    });
}

#[test]
fn a_block_may_be_read_only_and_vanish_with_its_table() {
    each(|model| {
        let mut fixture = Fixture::new(model);
        let block = fixture.block();
        let range = block.range();
        let access = SharedAccess {
            memattr: MemAttr::NormalNonCacheable,
            permissions: S2Access::READ_ONLY,
            ..SharedAccess::MEMORY
        };
        let at = ShareAt { access, ..fixture.at(SHARED + MIB2) };
        let blocks = BlockSize::Level2;
        let mut done = fixture.rmm.commands().rtt_unprot_map(at, block, blocks).unwrap();
        assert!(done.rest.is_empty());
        // A part of a block cannot be unmapped.
        let front = done.shared.take_front(PAGE).unwrap();
        let failed = fixture.rmm.commands().rtt_unprot_unmap(&fixture.rd, front).unwrap_err();
        assert_eq!(failed.error.status(), Some(Status::ErrorRtt));
        let mut whole = failed.kept;
        whole.append(done.shared).unwrap();
        let unshared = fixture.rmm.commands().rtt_unprot_unmap(&fixture.rd, whole).unwrap();
        assert_eq!(unshared.host.range(), range);
        // The table above it is destroyed, and the mapping with it: the RMM has nothing to report,
        // which is correct.
        let again = share(&fixture, SHARED + MIB2, unshared.host, blocks);
        for (ipa, level) in [(SHARED, Level::L3), (SHARED, Level::L2)] {
            let gone = fixture
                .rmm
                .commands()
                .rtt_destroy_or_skip(&fixture.rd, Ipa::new(ipa), level)
                .unwrap();
            assert_eq!(model.granule_state(gone.table), Some(GranuleState::Delegated));
        }
        fixture.table(SHARED, Level::L2);
        let unshared = fixture.rmm.commands().rtt_unprot_unmap(&fixture.rd, again).unwrap();
        assert_eq!(unshared.host.range(), range);
    });
}

#[test]
fn planes_and_devices_are_refused_like_an_rmm_without_them() {
    each_2_0(|model| {
        let mut fixture = Fixture::new(model);
        let tree = rmi_host::command::AuxTree::new(1).unwrap();
        let table = fixture.delegated(PAGE);
        let failed = fixture
            .rmm
            .commands()
            .rtt_aux_create(&fixture.rd, tree, table, Ipa::new(0), Level::L2)
            .unwrap_err();
        assert_eq!(failed.error.status(), Some(Status::ErrorInput));
        let pdev = rmi_host::command::PdevGranule::new(failed.kept);
        let error = fixture.rmm.commands().pdev_get_state(&pdev).unwrap_err();
        assert!(error.is_clean() && error.to_string().contains("RMI_PDEV_GET_STATE"));
    });
}
