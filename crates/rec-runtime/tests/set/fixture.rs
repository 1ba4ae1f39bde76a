//! A Realm on the model whose RECs are in a set, and threads that run them.

use std::cell::Cell;

use realm_builder::{Realm, RealmConfig, RealmStorage, RecStart};
use rec_runtime::set::PhysicalCpus;
use rec_runtime::{Rec, RecSet, set::RecSlot};
use rmi_abi::{Dialect, Ipa, Pa};
use rmi_host::{Conduit, CountingLedger, Host, Undelegated};
use rmm_model::{CallingCpu, Guest, Model, Options, Script};
use sro::CallbackMemory;

pub(crate) use rmm_model::Action;

pub(crate) const DIALECTS: [Dialect; 5] = {
    let [first, second, third, fourth] = Options::DIALECTS;
    [first, second, third, fourth, Dialect::V1_0]
};
/// A protected IPA.
pub(crate) const RAM: u64 = 0x4000_0000;
/// An unprotected IPA: bit 39 of 40.
pub(crate) const DEVICE: Ipa = Ipa::new(0x80_0900_0000);

thread_local! { static CPU: Cell<u16> = const { Cell::new(0) } }

/// Moves the calling thread to a physical CPU.
pub(crate) fn move_to(cpu: u16) {
    CPU.set(cpu);
}

/// Calls come from the CPU that the calling thread is on.
pub(crate) type CallingThread<'m> = CallingCpu<'m, fn() -> u32>;
pub(crate) type Rmm<'b, C> = rmi_host::Rmm<Host<&'b C, &'b Model, &'b CountingLedger>>;

pub(crate) fn calling_thread(model: &Model) -> CallingThread<'_> {
    model.calling_cpu(|| CPU.get().into())
}

/// The CPUs of the model; each thread says which it is on.
pub(crate) struct Cpus<'m>(pub(crate) &'m Model);

impl PhysicalCpus for Cpus<'_> {
    fn current(&self) -> u16 {
        CPU.get()
    }

    fn interrupt(&self, cpu: u16) {
        self.0.cpu(cpu.into()).interrupt();
    }
}

/// What a test has: a session, and a set of RECs of an active Realm.
pub(crate) struct Fixture<'f, 'm> {
    pub(crate) rmm: &'f Rmm<'m, CallingThread<'m>>,
    pub(crate) set: &'f RecSet<'f>,
    pub(crate) model: &'f Model,
    /// The run page of the first REC.
    #[allow(dead_code, reason = "for tests that look into it")]
    pub(crate) run_page: Pa,
    rd: Pa,
}

impl Fixture<'_, '_> {
    /// Whether a REC is on, as the RMM has it.
    pub(crate) fn is_on(&self, index: usize) -> bool {
        let mpidr = self.set.rec(index).unwrap().mpidr().raw();
        self.model.is_on(self.rd, mpidr).unwrap()
    }
}

/// Runs `test` with a Realm that has a REC for each program, of which the first can be entered;
/// then tears it down. In the end no memory may be missing.
pub(crate) fn realm(
    dialect: Dialect,
    programs: Vec<Box<dyn Guest>>,
    test: impl FnOnce(&Fixture<'_, '_>),
) {
    realm_with(Options::new(dialect), programs, |_| {}, test);
}

/// As [`realm`], with at most `limit` RECs on at a time.
pub(crate) fn realm_with_limit(
    dialect: Dialect,
    programs: Vec<Box<dyn Guest>>,
    limit: usize,
    test: impl FnOnce(&Fixture<'_, '_>),
) {
    realm_with(Options::new(dialect), programs, |set| set.set_limit(limit), test);
}

/// As [`realm`], on an RMM with these options and with a set that `prepare` changes first.
pub(crate) fn realm_with(
    options: Options,
    programs: Vec<Box<dyn Guest>>,
    prepare: impl FnOnce(&mut RecSet<'_>),
    test: impl FnOnce(&Fixture<'_, '_>),
) {
    let model = Model::new(options).unwrap();
    let (cpus, conduit, ledger) = (Cpus(&model), calling_thread(&model), CountingLedger::new());
    realm_of(&model, &conduit, &ledger, programs, |rmm, [rd, run_page], recs| {
        let mut slots: Vec<RecSlot> = recs.iter().map(|_| RecSlot::new()).collect();
        let mut set = RecSet::new(&mut slots, &cpus);
        for (index, rec) in recs.drain(..).enumerate() {
            assert_eq!(set.add(rec, index == 0).unwrap(), index);
        }
        prepare(&mut set);
        test(&Fixture { rmm, set: &set, model: &model, run_page, rd });
        recs.extend(set.drain());
    });
}

/// As [`realm`], for a test that gets the RECs themselves, and calls through any conduit; also the
/// addresses of the Realm's descriptor and of the first REC's run page.
pub(crate) fn realm_of<'b, C: Conduit>(
    model: &'b Model,
    conduit: &'b C,
    ledger: &'b CountingLedger,
    programs: Vec<Box<dyn Guest>>,
    test: impl FnOnce(&Rmm<'b, C>, [Pa; 2], &mut Vec<Rec>),
) {
    CPU.set(0);
    let mut memory = model.take_memory();
    let count = programs.len();
    let mut pool = test_support::pool::<64>(&mut memory, (64 + 17 * count as u64) << 12);
    let platform = Host::new(conduit, model).with_ledger(ledger);
    let rmm = test_support::open(platform, &mut pool);
    let mut storage = RealmStorage::<16, 8>::new();
    let mut realm = Realm::create(&rmm, &RealmConfig::new(40), &mut storage, &mut pool).unwrap();
    let mut objects = Vec::new();
    for (index, program) in programs.into_iter().enumerate() {
        let start = RecStart { runnable: index == 0, pc: Ipa::new(RAM), gprs: [0; 8] };
        let object = realm.create_rec(&mut pool, &start).unwrap();
        model.set_guest(realm.rd().pa(), object.mpidr().raw(), program);
        objects.push(object);
    }
    let realm = realm.activate().unwrap();
    let geometry = realm.geometry();
    let run_page = memory.range().base();
    let recs = objects.into_iter().map(|object| Rec::new(object, page(&mut memory), geometry));
    let mut recs = recs.collect();
    test(&rmm, [realm.rd().pa(), run_page], &mut recs);
    assert_eq!(recs.len(), count);
    let objects: Vec<_> = recs.into_iter().map(|rec| rec.into_parts().0).collect();
    let ended = realm.tear_down(&mut CallbackMemory::freeing(&mut pool, drop), objects);
    assert_eq!(ended.error, None);
    pool.drain(&rmm, &mut |_| {});
    assert_eq!(ledger.balance().outstanding(), 0);
}

pub(crate) fn page(memory: &mut Undelegated) -> Undelegated {
    memory.take_front(0x1000).unwrap()
}

pub(crate) fn script(actions: Vec<Action>) -> Box<dyn Guest> {
    Box::new(Script::new(actions))
}

/// A call of `PSCI_CPU_ON` of the REC with this index, with its MPIDR as PSCI has it.
pub(crate) fn cpu_on(index: u32) -> Action {
    Action::psci_cpu_on(rmi_abi::rec::Mpidr::from_index(index).to_psci(), RAM, 0)
}
