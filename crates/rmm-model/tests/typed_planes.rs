//! The host's typed commands for auxiliary trees, on a model that has planes.
#![expect(clippy::unwrap_used, unsafe_code, reason = "a test fails by panicking")]

use rmi_abi::desc::BlockSize;
use rmi_abi::flags::{AuxMapFlags, AuxUnmapFlags};
use rmi_abi::realm::RealmParams;
use rmi_abi::rtt::{Geometry, Level, Ripas, RttEntryState};
use rmi_abi::{Dialect, Ipa, IpaRange, Pa, Status};
use rmi_host::command::{AuxObstacle, AuxTree};
use rmi_host::{
    Delegated, Discovered, Error, Host, Progress, Rd, Rmm, SessionOptions, Undelegated,
};
use rmm_model::{GranuleState, Model, Options};

const PAGE: u64 = 0x1000;

struct Fixture<'m> {
    rmm: Rmm<Host<&'m Model, &'m Model>>,
    memory: Undelegated,
    rd: Rd,
    tree: AuxTree,
}

impl<'m> Fixture<'m> {
    /// A Realm with one auxiliary plane, tables at address 0, and one page of RAM there.
    fn new(model: &'m Model) -> Self {
        let mut session = SessionOptions::default();
        session.dialect = Some(model.options().dialect);
        let mut memory = model.take_memory();
        let found = Discovered::probe(model.host(), session).unwrap();
        let rmm = found.configure(&mut memory).unwrap().into_active();
        let mut take = |bytes| rmm.delegate(memory.take_front(bytes).unwrap()).unwrap();
        let (rd, root, aux) = (take(PAGE), take(PAGE), take(PAGE));
        let mut params = RealmParams::new(Geometry::new(40).unwrap(), root.base());
        (params.num_aux_planes, params.tree_per_plane) = (1, true);
        params.aux_rtt_base[0] = aux.base();
        let params = params.encode(rmm.dialect()).unwrap();
        let mut page = memory.take_front(PAGE).unwrap();
        assert!(matches!(
            rmm.commands().realm_create(&rd, &mut page, &params),
            Ok(Progress::Done(_))
        ));
        drop((root.into_use(), aux.into_use(), page));
        let tree = AuxTree::new(1).unwrap();
        let mut fixture = Self { rmm, memory, rd: Rd::new(rd), tree };
        for level in [Level::L1, Level::L2, Level::L3] {
            let table = fixture.delegated();
            drop(
                fixture.rmm.commands().rtt_create(&fixture.rd, table, Ipa::new(0), level).unwrap(),
            );
        }
        fixture.rmm.commands().rtt_init_ripas(&fixture.rd, range(0, 1)).unwrap();
        let data = fixture.delegated();
        drop(
            fixture
                .rmm
                .commands()
                .rtt_data_map(&fixture.rd, Ipa::new(0), data, BlockSize::Page)
                .unwrap(),
        );
        fixture
    }

    fn delegated(&mut self) -> Delegated {
        let memory = self.memory.take_front(PAGE).unwrap();
        self.rmm.delegate(memory).unwrap()
    }

    fn aux_tables(&mut self) -> Vec<Pa> {
        let levels = [Level::L1, Level::L2, Level::L3];
        levels.map(|level| self.aux_table(level)).to_vec()
    }

    fn aux_table(&mut self, level: Level) -> Pa {
        let table = self.delegated();
        let made =
            self.rmm.commands().rtt_aux_create(&self.rd, self.tree, table, Ipa::new(0), level);
        made.unwrap().base()
    }
}

fn range(base: u64, top: u64) -> IpaRange {
    IpaRange::new(Ipa::new(base * PAGE), Ipa::new(top * PAGE)).unwrap()
}

fn level_of(error: &Error) -> Option<Level> {
    match error {
        Error::Refused(refusal) => refusal.level(),
        _ => None,
    }
}

fn model(dialect: Dialect) -> Model {
    let mut options = Options::new(dialect);
    options.features[3] = 3;
    options.already_active = true;
    Model::new(options).unwrap()
}

#[test]
fn tables_come_back_delegated() {
    for dialect in Options::DIALECTS {
        let model = model(dialect);
        let mut fixture = Fixture::new(&model);
        let table = fixture.delegated();
        let (rd, tree, zero) = (&fixture.rd, fixture.tree, Ipa::new(0));
        let failed =
            fixture.rmm.commands().rtt_aux_create(rd, tree, table, zero, Level::L2).unwrap_err();
        assert_eq!(failed.error.status(), Some(Status::ErrorRttAux));
        assert_eq!(level_of(&failed.error), Some(Level::L0));
        let tables = fixture.aux_tables();
        let (rd, tree) = (&fixture.rd, fixture.tree);
        let folded = fixture.rmm.commands().rtt_aux_fold(rd, tree, zero, Level::L3).unwrap();
        assert_eq!(folded, tables[2]);
        let live = fixture.rmm.commands().rtt_aux_destroy(rd, tree, zero, Level::L1).unwrap_err();
        assert_eq!((level_of(&live.error), live.reached), (Some(Level::L1), Some(zero)));
        let gone = fixture.rmm.commands().rtt_aux_destroy(rd, tree, zero, Level::L2).unwrap();
        assert_eq!((gone.table, gone.top), (tables[1], Ipa::new(1 << 39)));
        for table in [tables[1], tables[2]] {
            assert_eq!(model.granule_state(table), Some(GranuleState::Delegated));
        }
    }
}

#[test]
fn entries_and_what_is_in_their_way() {
    let model = model(Dialect::TfRmm2026_07);
    let mut fixture = Fixture::new(&model);
    let obstacle = |fixture: &Fixture<'_>, page: u64| {
        let ipa = Ipa::new(page * PAGE);
        fixture
            .rmm
            .commands()
            .rtt_aux_map_protected(&fixture.rd, fixture.tree, ipa)
            .unwrap_err()
            .reached
            .unwrap()
    };
    let (void, level) = (RttEntryState::Void, Some(Level::L3));
    assert_eq!(
        obstacle(&fixture, 1),
        AuxObstacle { tree: 0, level, state: void, ripas: Some(Ripas::Empty) }
    );
    assert_eq!(
        obstacle(&fixture, 0),
        AuxObstacle { tree: 1, level, state: void, ripas: Some(Ripas::Ram) }
    );
    fixture.aux_tables();
    let (rd, tree, zero) = (&fixture.rd, fixture.tree, Ipa::new(0));
    fixture.rmm.commands().rtt_aux_map_protected(rd, tree, zero).unwrap();
    let kept = fixture.rmm.commands().rtt_data_unmap(rd, range(0, 1)).unwrap_err();
    assert_eq!(kept.status(), Some(Status::ErrorRttAux));
    let unmapped = fixture.rmm.commands().rtt_aux_unmap_protected(rd, tree, zero).unwrap();
    assert_eq!((unmapped.top, unmapped.level), (Ipa::new(512 * PAGE), None));
    let absent = fixture.rmm.commands().rtt_aux_unmap_protected(rd, tree, zero).unwrap_err();
    assert_eq!(absent.reached, Some(Ipa::new(512 * PAGE)));
    // A table that was destroyed: TF-RMM returns the entry's index where the interface has the
    // tree's.
    fixture.rmm.commands().rtt_aux_destroy(rd, tree, zero, Level::L3).unwrap();
    fixture.aux_table(Level::L3);
    let lost = obstacle(&fixture, 0);
    assert!(lost.state.is_aux_destroyed(Dialect::TfRmm2026_07));
    assert_eq!(lost.tree, 0);

    let shared = Ipa::new(1 << 39);
    let (rd, tree) = (&fixture.rd, fixture.tree);
    // SAFETY: nothing is shared.
    let nothing =
        unsafe { fixture.rmm.commands().rtt_aux_map_unprotected(rd, tree, shared) }.unwrap_err();
    assert_eq!(level_of(&nothing.error), Some(Level::L0));
    let unmapped = fixture.rmm.commands().rtt_aux_unmap_unprotected(rd, tree, shared).unwrap();
    assert_eq!(unmapped.top, Ipa::new(1 << 48));
}

#[test]
fn ranges() {
    let model = model(Dialect::V2_0Bet3);
    let mut fixture = Fixture::new(&model);
    let map = |block, invalid_pri| AuxMapFlags { tree_index: 1, block, invalid_pri };
    let unmap = AuxUnmapFlags { tree_index: 1 };
    let rd = &fixture.rd;
    let refused =
        fixture.rmm.commands().rtt_aux_prot_map(rd, range(0, 1), map(true, false)).unwrap_err();
    assert_eq!(
        (refused.status(), level_of(&refused)),
        (Some(Status::ErrorRttAux), Some(Level::L0))
    );
    fixture.aux_tables();
    let rd = &fixture.rd;
    let reached =
        fixture.rmm.commands().rtt_aux_prot_map(rd, range(0, 2), map(false, false)).unwrap();
    assert_eq!(reached, Ipa::new(PAGE));
    let reached =
        fixture.rmm.commands().rtt_aux_prot_map(rd, range(0, 2), map(false, true)).unwrap();
    assert_eq!(reached, Ipa::new(2 * PAGE));
    let reached = fixture.rmm.commands().rtt_aux_prot_unmap(rd, range(0, 2), unmap).unwrap();
    assert_eq!(reached, Ipa::new(PAGE));
    let half = IpaRange::new(Ipa::new(1 << 39), Ipa::new(1 << 40)).unwrap();
    // SAFETY: nothing is shared.
    let nothing = unsafe { fixture.rmm.commands().rtt_aux_unprot_map(rd, half, map(false, false)) }
        .unwrap_err();
    assert_eq!((nothing.status(), level_of(&nothing)), (Some(Status::ErrorRtt), Some(Level::L0)));
    let nothing = fixture.rmm.commands().rtt_aux_unprot_unmap(rd, half, unmap).unwrap_err();
    assert_eq!(nothing.status(), Some(Status::ErrorRttAux));
}
