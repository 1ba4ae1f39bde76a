//! Memory, calls and names of one machine never reach another one. All of this is safe code.
#![expect(clippy::unwrap_used, reason = "tests")]

use rmi_abi::desc::BlockSize;
use rmi_abi::realm::RealmParams;
use rmi_abi::rtt::Geometry;
use rmi_abi::rtt::Level;
use rmi_abi::{Command, Dialect, Ipa, PaRange};
use rmi_host::command::{ShareAt, SharedAccess};
use rmi_host::linear_map::LinearMap;
use rmi_host::{
    CountingLedger, Delegated, Discovered, Error, FixedQuarantine, Host, HostAccess, Machine,
    PackedBlock, Progress, Quarantine, QuarantineReason, Quarantined, Rd, RecGranule, Rmm,
    SessionError, SessionOptions, Undelegated,
};
use rmm_model::{Model, Options};

const PAGE: u64 = 0x1000;

type Session<'m> = Rmm<Host<&'m Model, &'m Model>>;

fn model() -> Model {
    Model::new(Options::new(Dialect::TfRmm2026_07)).unwrap()
}

fn open<'m>(model: &'m Model, memory: &mut Undelegated) -> Session<'m> {
    rmm_model::open(model.host(), memory).unwrap()
}

fn page(memory: &mut Undelegated) -> Undelegated {
    memory.take_front(PAGE).unwrap()
}

/// A map of memory in place of the real machine's, at the addresses of the models.
#[expect(unsafe_code, reason = "the promise that an embedder makes")]
fn map(bytes: &mut [u8]) -> LinearMap {
    let base = Options::new(Dialect::TfRmm2026_07).dram.base();
    let window = PaRange::with_size(base, bytes.len() as u64).unwrap();
    // SAFETY: the slice is the window, and outlives the map; no conduit of a test reaches a real
    // RMM.
    unsafe { LinearMap::new(window, bytes.as_mut_ptr()) }
}

/// Checks that something was refused because it belongs to another machine, before any call.
fn foreign(model: &Model, calls: u64, error: Error) {
    assert!(matches!(error, Error::OtherMachine { .. }), "{error}");
    assert!(error.is_clean());
    assert_eq!(model.calls(), calls);
}

#[test]
fn sound_3_no_session_opens_on_parts_of_two_machines() {
    let (one, two) = (model(), model());
    let mut bytes = vec![0xa5; 0x4000];
    let map = map(&mut bytes);

    let failed = Discovered::probe(Host::new(&one, map), SessionOptions::default()).unwrap_err();
    assert_eq!(failed.error, SessionError::OtherMachine);
    let failed = Discovered::probe(Host::new(&one, &two), SessionOptions::default()).unwrap_err();
    assert_eq!(failed.error, SessionError::OtherMachine);
    assert_eq!((one.calls(), two.calls()), (0, 0));
    assert!(bytes.iter().all(|byte| *byte == 0xa5));
}

#[test]
fn sound_3_memory_of_one_machine_is_not_written_delegated_or_donated_in_another() {
    let (one, two) = (model(), model());
    let mut memory = one.take_memory();
    let mut own = two.take_memory();
    let rmm = open(&two, &mut own);
    assert_eq!(memory.range(), own.range());
    let calls = two.calls();

    let mut page = page(&mut memory);
    assert!(rmm.write_host(&mut page, 0, b"foreign").is_err());
    assert!(rmm.read_host(&page, 0, &mut [0; 8]).is_err());
    let failed = rmm.delegate(page).unwrap_err();
    foreign(&two, calls, failed.error);
    assert_eq!((failed.host.bytes(), failed.delegated.bytes()), (PAGE, 0));

    // It was delegated on the other machine and is not undelegated on this one: `two` has host
    // memory at the same address.
    let delegated = open(&one, &mut memory).delegate(failed.host).unwrap();
    let failed = rmm.undelegate(delegated).unwrap_err();
    foreign(&two, calls, failed.error);
    assert_eq!((failed.host.bytes(), failed.kept.bytes()), (0, PAGE));

    // Tokens of the two machines cannot be joined either.
    let mut front = own.take_front(PAGE).unwrap();
    let apart = front.append(memory).unwrap_err();
    let mut apart = apart;
    let front = apart.merge(front).unwrap_err();
    assert_eq!((front.machine(), apart.machine()), (two.machine(), one.machine()));
}

#[test]
fn sound_3_commands_refuse_pages_objects_and_names_of_another_machine() {
    let (one, two) = (model(), model());
    let (mut mine, mut theirs) = (one.take_memory(), two.take_memory());
    let (here, there) = (open(&one, &mut mine), open(&two, &mut theirs));
    let [rd, root] = [(), ()].map(|()| here.delegate(page(&mut mine)).unwrap());
    let params = RealmParams::new(Geometry::new(40).unwrap(), root.base()).encode(here.dialect());
    let params = params.unwrap();
    let calls = (one.calls(), two.calls());

    // A page.
    let error = here.commands().realm_create(&rd, &mut theirs, &params).unwrap_err();
    foreign(&one, calls.0, error);
    // A granule.
    let error = there.commands().realm_create(&rd, &mut theirs, &params).unwrap_err();
    foreign(&two, calls.1, error);
    // An object.
    assert!(matches!(here.commands().realm_create(&rd, &mut mine, &params), Ok(Progress::Done(_))));
    let rd = Rd::new(rd);
    foreign(&two, calls.1, there.commands().realm_activate(&rd).unwrap_err());
    let error = there.commands().rtt_read_entry(&rd, Ipa::new(0), Level::L0).unwrap_err();
    foreign(&two, calls.1, error);
    // Memory to share: of this machine with a Realm of the other, and vice versa.
    let (size, at) = (
        BlockSize::Page,
        ShareAt { rd: &rd, ipa: Ipa::new(1 << 39), access: SharedAccess::MEMORY },
    );
    let failed = here.commands().rtt_unprot_map(at, page(&mut theirs), size).unwrap_err();
    assert!(failed.shared.is_empty() && failed.host.bytes() == PAGE);
    foreign(&one, one.calls(), failed.error);
    let failed = there.commands().rtt_unprot_map(at, page(&mut theirs), size).unwrap_err();
    foreign(&two, calls.1, failed.error);
    here.commands().realm_activate(&rd).unwrap();
}

#[test]
fn sound_3_the_name_of_an_empty_token_names_nothing() {
    let model = model();
    let rmm = open(&model, &mut model.take_memory());
    let calls = model.calls();
    let rd = Rd::new(Delegated::empty());
    for error in [
        rmm.commands().realm_terminate(&rd).unwrap_err(),
        rmm.commands().realm_activate(&rd).unwrap_err(),
    ] {
        assert!(matches!(error, Error::Argument { .. }), "{error}");
    }
    let rec = RecGranule::new(Delegated::empty());
    let error = rmm.commands().rec_destroy(&rec).unwrap_err();
    assert!(matches!(error, Error::Argument { .. }), "{error}");
    let status = rmi_abi::psci::PsciReturnCode::Success;
    let error = rmm.commands().psci_complete(rec.name(), Some(rec.name()), status).unwrap_err();
    assert!(matches!(error, Error::Argument { .. }), "{error}");
    assert_eq!(model.calls(), calls);
}

#[test]
fn sound_3_stored_tokens_keep_their_machine() {
    let (one, two) = (model(), model());
    let (mut mine, mut theirs) = (one.take_memory(), two.take_memory());
    let ledger = CountingLedger::new();
    let here = rmm_model::open(one.host().with_ledger(&ledger), &mut mine).unwrap();
    let there = open(&two, &mut theirs);
    let quarantine = FixedQuarantine::<4>::new();
    let reason = QuarantineReason::Unclear { command: Command::RttDestroy };
    let mine = here.delegate(page(&mut mine)).unwrap();
    let theirs = there.delegate(page(&mut theirs)).unwrap();
    let mut packed = PackedBlock::memory(theirs.into_use(), 0).unwrap();
    assert_eq!(packed.machine(), Some(two.machine()));
    let theirs = packed.take().unwrap().into_released();
    for memory in [mine, theirs] {
        assert!(quarantine.put(Quarantined { memory, reason }).is_ok());
    }
    assert_eq!(quarantine.len(), 2);
    // Each session gets back its own memory and leaves the other's.
    let mut back = Vec::new();
    let returned = ledger.balance().returned;
    assert_eq!(quarantine.retry(&here, |memory| back.push(memory.machine())), 1);
    assert_eq!(back, [one.machine()]);
    // Its ledger learns only of its own: of one granule that left a quarantine it had not entered.
    let balance = ledger.balance();
    assert_eq!((balance.returned - returned, balance.quarantined), (1, 1u64.wrapping_neg()));
}

#[test]
fn sound_3_a_new_machine_has_a_new_number() {
    let (one, two) = (model(), Machine::simulated());
    assert!(one.machine() != two && two != Machine::REAL && one.machine() != Machine::REAL);
    assert_eq!(HostAccess::machine(&one), one.machine());
}

#[test]
fn sound_3_shared_memory_is_not_taken_from_a_realm_that_has_the_descriptor_next() {
    let model = model();
    let mut memory = model.take_memory();
    let rmm = open(&model, &mut memory);
    let commands = rmm.commands();
    let ipa = Ipa::new(1 << 39);
    let levels = [Level::L1, Level::L2, Level::L3];
    let tables: Vec<Delegated> =
        levels.iter().map(|_| rmm.delegate(page(&mut memory)).unwrap()).collect();
    let [rd, root] = [(), ()].map(|()| rmm.delegate(page(&mut memory)).unwrap());
    let params = RealmParams::new(Geometry::new(40).unwrap(), root.base()).encode(rmm.dialect());
    let params = params.unwrap();

    let realm = |rd: Delegated, tables: Vec<Delegated>, memory: Undelegated, page: &mut _| {
        let created = commands.realm_create(&rd, page, &params);
        assert!(matches!(created, Ok(Progress::Done(_))));
        let rd = Rd::new(rd);
        let made: Vec<_> = levels
            .into_iter()
            .zip(tables)
            .map(|(level, table)| commands.rtt_create(&rd, table, ipa, level).unwrap())
            .collect();
        let at = ShareAt { rd: &rd, ipa, access: SharedAccess::MEMORY };
        let shared = commands.rtt_unprot_map(at, memory, BlockSize::Page).unwrap().shared;
        assert_eq!(shared.realm(), Some(rd.number()));
        (rd, made, shared)
    };
    let (first, made, stale) = realm(rd, tables, page(&mut memory), &mut memory);
    // The Realm is destroyed with its tables; the RMM does not mind what is shared.
    for level in levels.into_iter().rev() {
        let _ = commands.rtt_destroy(&first, ipa, level).unwrap();
    }
    let tables = made.into_iter().map(rmi_host::granules::Granules::into_released).collect();
    commands.realm_terminate(&first).unwrap();
    assert!(matches!(commands.realm_destroy(&first), Ok(Progress::Done(_))));
    let number = first.number();
    let (second, _made, live) =
        realm(first.into_released(), tables, page(&mut memory), &mut memory);
    assert_ne!(second.number(), number);

    // Its name reaches no call, so the memory of the second Realm stays mapped.
    let calls = model.calls();
    let failed = commands.rtt_unprot_unmap(&second, stale).unwrap_err();
    assert!(matches!(failed.error, Error::Argument { .. }), "{}", failed.error);
    assert_eq!((failed.kept.bytes(), model.calls()), (PAGE, calls));
    assert_eq!(commands.rtt_unprot_unmap(&second, live).unwrap().host.bytes(), PAGE);
}
