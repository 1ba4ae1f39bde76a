//! Memory that the host takes from a Realm that had not given it up: the RIPAS becomes DESTROYED,
//! and the host that serves faults there gets that result, instead of entering the REC again
//! without end.
#![expect(clippy::unwrap_used, reason = "tests")]

use realm_sdk::abi::rtt::{Level, Ripas, RttEntryState};
use realm_sdk::abi::{Command, Dialect, Ipa, IpaRange, Status};
use realm_sdk::builder::{
    Active, BuildError, FoldPolicy, Realm, RealmConfig, RealmStorage, RecStart, Reclaimed, Served,
};
use realm_sdk::conduits::inject::{Fault, Injecting, Rule};
use realm_sdk::host::{CountingLedger, Host, Registers, Undelegated};
use realm_sdk::rec::{Answer, Exit, Rec};
use realm_sdk::sro::{CallbackMemory, FixedPool};
use rmm_model::{Action, Model, Options, Script};

const PAGE: u64 = 0x1000;
const BLOCK: u64 = 2 << 20;

type TestConduit<'m> = Injecting<&'m Model, fn(&Registers) -> bool>;
type Machine<'p> = Host<&'p TestConduit<'p>, &'p Model, &'p CountingLedger>;

fn range(base: u64, bytes: u64) -> IpaRange {
    IpaRange::with_size(Ipa::new(base), bytes).unwrap()
}

/// A Realm of 4 MiB of RAM without memory, whose first half has a table of pages, with a REC.
struct Fixture<'p> {
    realm: Realm<'p, Machine<'p>, Active>,
    rec: Rec,
    pool: FixedPool<32>,
    memory: Undelegated,
    model: &'p Model,
}

impl Fixture<'_> {
    fn map(&mut self, ipa: u64, bytes: u64) {
        let _ = self.memory.take_front(self.memory.base().raw().wrapping_neg() % bytes);
        let memory = self.memory.take_front(bytes).unwrap();
        self.realm.map(&mut self.pool, Ipa::new(ipa), memory).unwrap();
    }

    fn reclaim(&mut self, range: IpaRange) {
        let done =
            self.realm.reclaim(&mut CallbackMemory::freeing(&mut self.pool, drop), range).unwrap();
        assert_eq!(done, Reclaimed::Whole);
    }

    /// Serves a fault, and returns how many calls that took.
    fn serve(&mut self, ipa: u64) -> (Served, u64) {
        let before = self.model.calls();
        let memory = &mut self.memory;
        let supply = |void: IpaRange| memory.take_front(void.bytes().min(4 * PAGE));
        let window = range(0, 2 * BLOCK);
        let served = self
            .realm
            .serve_fault(
                &mut CallbackMemory::new(&mut self.pool, supply, |_| Ok(())),
                Ipa::new(ipa),
                window,
            )
            .unwrap();
        (served, self.model.calls() - before)
    }

    /// Serves a fault for which no memory is asked.
    fn serve_without_memory(&mut self, ipa: u64) -> (Served, u64) {
        let left = self.memory.bytes();
        let served = self.serve(ipa);
        assert_eq!(self.memory.bytes(), left, "memory was taken");
        served
    }

    fn ripas(&self, ipa: u64) -> (RttEntryState, Ripas) {
        let rmm = self.realm.rmm();
        let entry =
            rmm.commands().rtt_read_entry(self.realm.rd(), Ipa::new(ipa), Level::L3).unwrap();
        (entry.state, entry.ripas)
    }
}

fn with_realm(
    dialect: Dialect,
    script: Vec<Action>,
    (rule, fault): (Rule, Fault),
    act: impl FnOnce(&mut Fixture<'_>),
) {
    let model = Model::new(Options::new(dialect).range_capable()).unwrap();
    let conduit = Injecting::by_rule(&model, rule, fault);
    let ledger = CountingLedger::new();
    let mut memory = model.take_memory();
    let mut pool = test_support::pool::<32>(&mut memory, 64 * PAGE);
    let page = memory.take_front(PAGE).unwrap();
    let platform = Host::new(&conduit, &model).with_ledger(&ledger);
    let rmm = test_support::open(platform, &mut pool);
    let mut storage = RealmStorage::<16, 4>::new();
    let realm = Realm::create(&rmm, &RealmConfig::new(40), &mut storage, &mut pool).unwrap();
    realm.make_tables(&mut pool, range(0, BLOCK), Level::L3).unwrap();
    for part in [range(0, BLOCK), range(BLOCK, BLOCK)] {
        assert_eq!(rmm.commands().rtt_init_ripas(realm.rd(), part), Ok(part.top()));
    }
    let mut realm = realm.populated();
    let start = RecStart { runnable: true, pc: Ipa::new(0), gprs: [0; 8] };
    let rec = realm.create_rec(&mut pool, &start).unwrap();
    model.set_guest(realm.rd().pa(), 0, Box::new(Script::new(script)));
    let realm = realm.activate().unwrap();
    let rec = Rec::new(rec, page, realm.geometry());
    let mut fixture = Fixture { realm, rec, pool, memory, model: &model };
    act(&mut fixture);
    let Fixture { realm, rec, mut pool, .. } = fixture;
    assert_eq!(
        realm.tear_down(&mut CallbackMemory::freeing(&mut pool, drop), [rec.into_parts().0]).error,
        None
    );
    pool.drain(&rmm, &mut |_| {});
    assert_eq!(ledger.balance().outstanding(), 0, "{}", ledger.balance());
}

fn never() -> (Rule, Fault) {
    (Rule::any().nth(u64::MAX), Fault::Instead([0; 8]))
}

const DIALECTS: [Dialect; 5] = Dialect::ALL;

#[test]
fn a_load_of_a_page_that_was_taken_away_is_not_served_for_ever() {
    let load = Action::Load { ipa: Ipa::new(PAGE), bytes: 8 };
    for dialect in DIALECTS {
        with_realm(dialect, vec![load], never(), |fixture| {
            fixture.map(0, 4 * PAGE);
            fixture.reclaim(range(PAGE, PAGE));
            let mut answer = Answer::resume();
            for _ in 0..2 {
                let event = fixture.rec.enter(fixture.realm.rmm(), answer).unwrap();
                let Exit::Fault(fault) = event.exit else { panic!("{:?}", event.exit) };
                let page = fault.page().raw();
                // One call, which reads the RIPAS.
                let destroyed = Served::Destroyed(range(PAGE, PAGE));
                assert_eq!(fixture.serve_without_memory(page), (destroyed, 1));
                answer = fault.retry();
            }
            assert_eq!(fixture.ripas(PAGE), (RttEntryState::Void, Ripas::Destroyed));
        });
    }
}

#[test]
fn what_the_realm_makes_ram_again_is_served_at_no_extra_cost() {
    let script = vec![
        Action::ipa_state_set(Ipa::new(PAGE), Ipa::new(3 * PAGE), Ripas::Ram, 1),
        Action::Load { ipa: Ipa::new(PAGE), bytes: 8 },
        Action::psci_system_off(),
    ];
    for dialect in DIALECTS {
        with_realm(dialect, script.clone(), never(), |fixture| {
            fixture.map(0, 8 * PAGE);
            fixture.reclaim(range(PAGE, 2 * PAGE));
            let rmm = fixture.realm.rmm();
            let event = fixture.rec.enter(rmm, Answer::resume()).unwrap();
            let Exit::RipasChange(change) = event.exit else { panic!("{:?}", event.exit) };
            let (asked, rec) = (change.range(), fixture.rec.name());
            fixture
                .realm
                .set_ripas_to(&mut fixture.pool, rec, asked, Ripas::Ram, u32::MAX)
                .unwrap();
            let event = fixture.rec.enter(rmm, change.accept()).unwrap();
            let Exit::Fault(fault) = event.exit else { panic!("{:?}", event.exit) };
            // Both pages and the rest of the table, each delegated and mapped by two calls: no call
            // was made to read entries.
            // In 1.0 it is two calls for each page.
            let mapped = Served::Mapped(range(PAGE, 2 * PAGE));
            let calls = if dialect == Dialect::V1_0 { 2 * (2 + 504) } else { 4 };
            assert_eq!(fixture.serve(fault.page().raw()), (mapped, calls));
            let event = fixture.rec.enter(rmm, fault.retry()).unwrap();
            assert!(matches!(event.exit, Exit::PsciNotice(_)), "{:?}", event.exit);
        });
    }
}

#[test]
fn a_change_to_ram_stops_at_what_was_taken_away() {
    // Without RSI_CHANGE_DESTROYED.
    let ask =
        |first| Action::ipa_state_set(Ipa::new(first * PAGE), Ipa::new(3 * PAGE), Ripas::Ram, 0);
    let script = vec![ask(0), ask(1), ask(1), Action::psci_system_off()];
    for dialect in DIALECTS {
        with_realm(dialect, script.clone(), never(), |fixture| {
            fixture.map(0, 8 * PAGE);
            fixture.reclaim(range(PAGE, PAGE));
            let rmm = fixture.realm.rmm();
            let mut answer = Answer::resume();
            for (asked, rejects) in [(0, false), (1, false), (1, true)] {
                let event = fixture.rec.enter(rmm, answer).unwrap();
                let Exit::RipasChange(change) = event.exit else { panic!("{:?}", event.exit) };
                assert_eq!(change.range(), range(asked * PAGE, (3 - asked) * PAGE));
                let (range, rec) = (change.range(), fixture.rec.name());
                let changed =
                    fixture.realm.set_ripas_to(&mut fixture.pool, rec, range, Ripas::Ram, u32::MAX);
                let stopped = changed.unwrap_err();
                assert_eq!(stopped.reached, Ipa::new(PAGE));
                let BuildError::Call(error) = stopped.error else { panic!("{stopped}") };
                assert_eq!(error.status(), Some(Status::ErrorRtt));
                answer = if rejects { change.reject().unwrap() } else { change.accept() };
            }
            let event = fixture.rec.enter(rmm, answer).unwrap();
            assert!(matches!(event.exit, Exit::PsciNotice(_)), "{:?}", event.exit);
            assert_eq!(fixture.ripas(PAGE), (RttEntryState::Void, Ripas::Destroyed));
        });
    }
}

#[test]
fn memory_is_not_mapped_around_a_fault_where_it_was_taken_away() {
    for dialect in DIALECTS {
        with_realm(dialect, vec![], never(), |fixture| {
            fixture.map(0, 4 * PAGE);
            fixture.reclaim(range(PAGE, PAGE));
            fixture.reclaim(range(3 * PAGE, PAGE));
            let (served, _) = fixture.serve(5 * PAGE);
            assert_eq!(served, Served::Mapped(range(4 * PAGE, BLOCK - 4 * PAGE)));
            assert_eq!(fixture.realm.memory_at(Ipa::new(3 * PAGE)), None);
            // Mapping memory there does not help the Realm.
            fixture.map(PAGE, PAGE);
            let destroyed = Served::Destroyed(range(PAGE, PAGE));
            assert_eq!(fixture.serve_without_memory(PAGE), (destroyed, 1));
        });
    }
}

#[test]
fn what_was_taken_away_is_known_through_folding_and_splitting() {
    for dialect in DIALECTS {
        with_realm(dialect, vec![], never(), |fixture| {
            fixture.map(0, BLOCK);
            fixture.map(BLOCK, BLOCK);
            fixture.reclaim(range(0, BLOCK));
            fixture.reclaim(range(BLOCK, BLOCK));
            // The table of pages is folded into one entry, and the entry of a block is split into
            // pages.
            let folded = fixture
                .realm
                .fold(&mut fixture.pool, range(0, BLOCK), FoldPolicy::BlocksAndVoid)
                .unwrap();
            assert_eq!(folded.void, 1);
            fixture.realm.make_tables(&mut fixture.pool, range(BLOCK, PAGE), Level::L3).unwrap();
            let whole = Served::Destroyed(range(0, BLOCK));
            assert_eq!(fixture.serve_without_memory(7 * PAGE), (whole, 1));
            let page = Served::Destroyed(range(BLOCK + 7 * PAGE, PAGE));
            assert_eq!(fixture.serve_without_memory(BLOCK + 7 * PAGE), (page, 1));
        });
    }
}

#[test]
fn a_mapping_that_was_unclear_and_made_is_not_destroyed() {
    // A status that is not known, and an address that is not reached: the calls of 1.0 tell none.
    let status = [99, 0, 0, 0, 0, 0, 0, 0];
    let reached = [0, 0xdead_beef_f001, 0, 0, 0, 0, 0, 0];
    let faults = |unclear| [(Fault::Afterwards(unclear), true), (Fault::Instead(unclear), false)];
    let both = faults(status).into_iter().chain(faults(reached)).enumerate();
    for (dialect, (n, (fault, made))) in
        DIALECTS.into_iter().flat_map(|dialect| both.clone().map(move |fault| (dialect, fault)))
    {
        if n >= 2 && !dialect.is_2_0() {
            continue;
        }
        let command = test_support::equivalent(Command::RttDataMap, dialect).unwrap();
        let rule = Rule::command(command, dialect).nth(0);
        with_realm(dialect, vec![], (rule, fault), |fixture| {
            let Fixture { realm, pool, memory, .. } = fixture;
            let mut returned = 0;
            let mut fault = |returned: &mut u64| {
                let supply = |_: IpaRange| memory.take_front(PAGE);
                let keep = &mut |memory: Undelegated| *returned += memory.bytes();
                realm.serve_fault(
                    &mut CallbackMemory::new(pool, supply, |host| {
                        keep(host);
                        Ok(())
                    }),
                    Ipa::new(PAGE),
                    range(PAGE, PAGE),
                )
            };
            assert!(fault(&mut returned).is_err());
            let served = if made { Served::Present } else { Served::Mapped(range(PAGE, PAGE)) };
            assert_eq!(fault(&mut returned), Ok(served));
            assert_eq!(fault(&mut returned), Ok(Served::Present));
            assert_eq!(returned, if made { 0 } else { PAGE });
            assert_eq!(fixture.ripas(PAGE), (RttEntryState::Data, Ripas::Ram));
        });
    }
}
