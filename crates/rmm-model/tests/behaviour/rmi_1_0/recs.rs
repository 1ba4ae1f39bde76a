//! RECs: their memory, their order, the states in which they are entered, and PSCI.

use rmi_abi::psci::PsciReturnCode;
use rmi_abi::run::ExitReason;
use rmi_abi::{Command, Dialect, Pa, Status};
use rmm_model::{Action, GranuleState, GuestCpu, Options};

use crate::host::{Host, PAGE, Realm, Running};

const INPUT: u64 = 1;
const REALM: u64 = 2;
const REC: u64 = 3;

struct Parts {
    rec: u64,
    aux: u64,
    params: u64,
}

/// A REC that is not created yet, with index 0 and its memory.
fn parts(host: &Host) -> Parts {
    let (rec, aux) = (host.fresh(1), host.fresh(16));
    let params = host.rec_params(0, true);
    host.name_aux(params, aux, 16);
    Parts { rec, aux, params }
}

fn create(host: &Host, realm: Realm, parts: &Parts) -> u64 {
    host.call(Command::RecCreate, &[realm.rd, parts.rec, parts.params])[0]
}

#[test]
fn a_rec_takes_the_memory_that_it_names() {
    let host = Host::v1_0();
    let realm = host.bare_realm();
    assert_eq!(host.call(Command::RecAuxCount, &[realm.rd])[..3], [0, 16, 0]);
    host.fails(Status::ErrorInput, Command::RecAuxCount, &[realm.root]);
    let parts = parts(&host);
    let before = host.model.census();
    assert_eq!(create(&host, realm, &parts), 0);
    let census = host.model.census();
    assert_eq!((census.rec, census.rec_aux), (1, 16));
    assert_eq!(census.delegated, before.delegated - 17);
    host.fails(Status::ErrorInput, Command::GranuleUndelegate, &[parts.aux]);
    host.fails(Status::ErrorInput, Command::RecDestroy, &[parts.aux]);
    host.done(Command::RecDestroy, &[parts.rec]);
    assert_eq!(host.model.census(), before);
    host.fails(Status::ErrorInput, Command::RecDestroy, &[parts.rec]);
    host.undelegate(parts.aux, 16 * PAGE);
}

#[test]
fn a_machine_with_other_numbers() {
    for count in [0, 3] {
        let mut options = Options::new(Dialect::V1_0);
        options.rec_aux_granules = count;
        let host = Host::new(options);
        let realm = host.bare_realm();
        let count = u64::from(count);
        assert_eq!(host.call(Command::RecAuxCount, &[realm.rd])[1], count);
        let parts = parts(&host);
        assert_eq!(create(&host, realm, &parts), INPUT);
        host.name_aux(parts.params, parts.aux, count);
        assert_eq!(create(&host, realm, &parts), 0);
        assert_eq!(host.model.census().rec_aux, count);
    }
}

#[test]
fn what_is_refused_and_in_which_order() {
    let host = Host::v1_0();
    let realm = host.bare_realm();
    let good = parts(&host);
    let before = host.model.census();
    let word = |offset: u64, value: u64| host.write(good.params + offset, &value.to_le_bytes());
    let with =
        |rd: u64, rec: u64, params: u64| host.call(Command::RecCreate, &[rd, rec, params])[0];
    assert_eq!(with(realm.rd, good.rec, good.rec), INPUT);
    assert_eq!(with(realm.rd, good.rec, good.params + 8), INPUT);
    assert_eq!(with(realm.root, good.rec, good.params), INPUT);
    assert_eq!(with(realm.rd, good.params, good.params), INPUT);
    // Auxiliary memory: too much of it, too little, something else, one page twice, the REC.
    for count in [17, 15, 0, u64::MAX] {
        word(0x800, count);
        assert_eq!(create(&host, realm, &good), INPUT, "{count}");
    }
    word(0x800, 16);
    for other in [good.params, realm.rd, good.aux + 8, 0, good.rec, good.aux] {
        word(0x808 + 8 * 15, other);
        assert_eq!(create(&host, realm, &good), INPUT, "{other:#x}");
    }
    word(0x808 + 8 * 15, good.aux + 15 * PAGE);
    // The MPIDR.
    for mpidr in [1, 1 << 4, 1 << 32, 0x100] {
        word(0x100, mpidr);
        assert_eq!(create(&host, realm, &good), INPUT, "{mpidr:#x}");
    }
    assert_eq!(host.model.census(), before);
    // The state of the Realm comes after the granules, before the MPIDR and the number.
    let active = host.bare_realm();
    host.done(Command::RealmActivate, &[active.rd]);
    assert_eq!(create(&host, active, &good), REALM);
    word(0x800, 15);
    assert_eq!(create(&host, active, &good), REALM);
    word(0x800, 17);
    assert_eq!(create(&host, active, &good), INPUT);
    word(0x800, 16);
    word(0x808, good.params);
    assert_eq!(create(&host, active, &good), INPUT);
    word(0x808, good.aux);
    assert_eq!(with(active.rd, good.params, good.params), INPUT);
    word(0x100, 0);
    // As in TF-RMM, 32 bits of the number count.
    word(0x800, 1 << 32 | 16);
    assert_eq!(create(&host, realm, &good), 0);
}

#[test]
fn as_many_recs_exist_as_the_features_say() {
    let mut options = Options::new(Dialect::V1_0);
    options.features[0] = options.features[0] & !(0xf << 38) | 1 << 38;
    options.rec_aux_granules = 0;
    let host = Host::new(options);
    let realm = host.bare_realm();
    let create = |index| {
        let (rec, params) = (host.fresh(1), host.rec_params(index, false));
        (host.call(Command::RecCreate, &[realm.rd, rec, params])[0], rec)
    };
    let (status, first) = create(0);
    assert_eq!(status, 0);
    assert_eq!(create(1).0, REALM);
    // Those that were destroyed do not count, but their indices are used up.
    host.done(Command::RecDestroy, &[first]);
    assert_eq!(create(0).0, INPUT);
    assert_eq!(create(1).0, 0);
}

#[test]
fn states_in_which_a_rec_is_entered() {
    let host = Host::v1_0();
    let realm = host.realm();
    let (rec, second) = (host.rec(realm, 0, true), host.rec(realm, 1, false));
    let run = host.page();
    let enter = |rec: u64, run: u64| host.call(Command::RecEnter, &[rec, run])[0];
    assert_eq!(enter(rec, run), REALM);
    assert_eq!(enter(rec, rec), INPUT);
    assert_eq!(enter(rec, run + 8), INPUT);
    assert_eq!(enter(run, run), INPUT);
    host.done(Command::RealmActivate, &[realm.rd]);
    assert_eq!(enter(second, run), REC);
    let mut off = Some(Action::psci_system_off());
    host.model.set_guest(
        Pa::new(realm.rd),
        0,
        Box::new(move |_: &GuestCpu| off.take().unwrap_or(Action::Interrupt)),
    );
    assert_eq!(enter(rec, run), 0);
    // The second value says that the Realm has ended.
    assert_eq!(enter(rec, run), 1 << 8 | REALM);
    assert_eq!(enter(second, run), 1 << 8 | REALM);
    for rec in [rec, second] {
        host.destroy_rec(rec);
    }
}

/// A Realm with two RECs, of which the first calls PSCI.
fn calling(host: &Host, action: Action) -> (Running<'_>, u64) {
    let realm = host.realm();
    let (rec, second) = (host.rec(realm, 0, true), host.rec(realm, 1, false));
    host.done(Command::RealmActivate, &[realm.rd]);
    let mut actions = vec![action].into_iter();
    host.model.set_guest(
        Pa::new(realm.rd),
        0,
        Box::new(move |_: &GuestCpu| actions.next().unwrap_or(Action::Interrupt)),
    );
    let running = Running { host, realm, rec, run: host.page() };
    let (reason, exit) = running.enter(0, &[]);
    assert_eq!(reason, ExitReason::Psci);
    assert_eq!(exit.gprs[2..], [0; 29]);
    (running, second)
}

#[test]
fn a_request_is_completed_with_its_target() {
    let host = Host::v1_0();
    let (running, second) = calling(&host, Action::psci_cpu_on(1, 0x2000, 0x77));
    let rec = running.rec;
    let complete = |calling: u64, target: u64, status: u64| {
        host.call(Command::PsciComplete, &[calling, target, status])[0]
    };
    running.refused(0, Status::ErrorRec);
    let (other, foreign) = calling(&host, Action::psci_affinity_info(1));
    assert_eq!(complete(rec, rec, 0), INPUT);
    assert_eq!(complete(rec, running.realm.rd, 0), INPUT);
    assert_eq!(complete(running.realm.rd, second, 0), INPUT);
    assert_eq!(complete(rec, foreign, 0), INPUT);
    assert_eq!(complete(second, rec, 0), INPUT);
    let invalid = PsciReturnCode::InvalidParameters.to_register();
    let denied = PsciReturnCode::Denied.to_register();
    assert_eq!(complete(rec, second, invalid), INPUT);
    assert_eq!(complete(other.rec, foreign, denied), INPUT);
    assert_eq!(complete(rec, second, 0), 0);
    assert_eq!(host.model.is_on(Pa::new(running.realm.rd), 1), Some(true));
    assert_eq!(complete(rec, second, 0), INPUT);
    assert_eq!(complete(other.rec, foreign, 0), 0);
    running.enter(0, &[]);
}

#[test]
fn a_request_for_a_cpu_that_is_on_cannot_be_denied() {
    let host = Host::v1_0();
    let denied = PsciReturnCode::Denied.to_register();
    let (running, second) = calling(&host, Action::psci_cpu_on(1, 0x2000, 0));
    host.done(Command::PsciComplete, &[running.rec, second, denied]);
    assert_eq!(host.model.is_on(Pa::new(running.realm.rd), 1), Some(false));

    let realm = host.realm();
    let (rec, on) = (host.rec(realm, 0, true), host.rec(realm, 1, true));
    host.done(Command::RealmActivate, &[realm.rd]);
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let log = std::sync::Arc::clone(&seen);
    let mut call = Some(Action::psci_cpu_on(1, 0x2000, 0));
    host.model.set_guest(
        Pa::new(realm.rd),
        0,
        Box::new(move |cpu: &GuestCpu| {
            log.lock().unwrap().push(cpu.x[0]);
            call.take().unwrap_or(Action::Interrupt)
        }),
    );
    let running = Running { host: &host, realm, rec, run: host.page() };
    running.enter(0, &[]);
    // The host gets an error, and the Realm its answer.
    host.fails(Status::ErrorInput, Command::PsciComplete, &[rec, on, denied]);
    running.enter(0, &[]);
    assert_eq!(seen.lock().unwrap()[1], PsciReturnCode::AlreadyOn.to_register());
}

#[test]
fn memory_of_a_rec_goes_back_as_it_came() {
    let host = Host::v1_0();
    let realm = host.bare_realm();
    let parts = parts(&host);
    assert_eq!(create(&host, realm, &parts), 0);
    host.done(Command::RecDestroy, &[parts.rec]);
    for n in 0..16 {
        let state = host.model.granule_state(Pa::new(parts.aux + n * PAGE));
        assert_eq!(state, Some(GranuleState::Delegated));
    }
    let mut bytes = [1; 64];
    host.model.peek(Pa::new(parts.aux), &mut bytes);
    assert_eq!(bytes, [0; 64]);
}
