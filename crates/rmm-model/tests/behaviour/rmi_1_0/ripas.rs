//! RIPAS: measured before activation, on the Realm's request after it.

use std::num::NonZeroU32;
use std::sync::{Arc, Mutex};

use rmi_abi::rtt::{Level, Ripas};
use rmi_abi::run::{ExitReason, RecEnterFlags};
use rmi_abi::{Command, Dialect, Ipa, Pa};
use rmm_model::{Action, GuestCpu, Options};
use zerocopy::IntoBytes;

use crate::host::{Host, MIB2, PAGE, Realm, Running, SHARED, rtt_error};

fn init(host: &Host, realm: Realm, base: u64, top: u64) -> (u64, u64) {
    let answer = host.call(Command::RttInitRipas, &[realm.rd, base, top]);
    (answer[0], answer[1])
}

fn rim(host: &Host, rd: u64) -> [u8; 64] {
    host.model.measurement(Pa::new(rd), 0).unwrap()
}

#[test]
fn entries_of_one_table_become_ram() {
    let host = Host::v1_0();
    let realm = host.realm();
    // The call ends with the table, with the range, or at an entry that maps memory.
    assert_eq!(init(&host, realm, 2 * PAGE, MIB2 + 4 * PAGE), (0, MIB2));
    assert_eq!(host.entry(realm, PAGE, 3).2, 0);
    assert_eq!(host.entry(realm, 2 * PAGE, 3).2, 1);
    assert_eq!(init(&host, realm, MIB2, 3 * MIB2 + PAGE), (0, 3 * MIB2));
    host.map(realm, PAGE);
    assert_eq!(init(&host, realm, 0, 4 * PAGE), (0, PAGE));
    // The first entry cannot be one that maps memory, that begins earlier, or that ends later.
    assert_eq!(init(&host, realm, PAGE, 4 * PAGE), (rtt_error(Level::L3), 0));
    assert_eq!(init(&host, realm, MIB2 + PAGE, 2 * MIB2), (rtt_error(Level::L2), 0));
    assert_eq!(init(&host, realm, 4 * MIB2, 4 * MIB2 + PAGE), (rtt_error(Level::L2), 0));
    // What is RAM already is measured again.
    let before = rim(&host, realm.rd);
    assert_eq!(init(&host, realm, 0, PAGE), (0, PAGE));
    assert_ne!(rim(&host, realm.rd), before);
    // What is DESTROYED stays so.
    host.done(Command::DataDestroy, &[realm.rd, PAGE]);
    host.map(realm, 2 * PAGE);
    host.done(Command::DataDestroy, &[realm.rd, 2 * PAGE]);
    assert_eq!(init(&host, realm, 2 * PAGE, 3 * PAGE), (rtt_error(Level::L3), 0));
}

#[test]
fn ranges_and_states_are_checked() {
    let host = Host::v1_0();
    let realm = host.realm();
    let before = rim(&host, realm.rd);
    for (base, top) in [
        (PAGE, PAGE),
        (2 * PAGE, PAGE),
        (8, PAGE),
        (0, PAGE + 8),
        (SHARED, SHARED + PAGE),
        (SHARED - PAGE, SHARED + PAGE),
        (0, 1 << 63),
    ] {
        assert_eq!(init(&host, realm, base, top), (1, 0), "{base:#x} {top:#x}");
    }
    assert_eq!(init(&host, Realm { rd: realm.root, ..realm }, 0, PAGE), (1, 0));
    host.done(Command::RealmActivate, &[realm.rd]);
    assert_eq!(init(&host, realm, 0, PAGE), (2, 0));
    assert_eq!(init(&host, realm, 8, PAGE), (1, 0));
    assert_eq!(rim(&host, realm.rd), before);
}

#[test]
fn a_call_may_end_after_one_entry() {
    let mut options = Options::new(Dialect::V1_0);
    options.yield_every = NonZeroU32::new(2);
    let host = Host::new(options);
    let realm = host.realm();
    assert_eq!(init(&host, realm, 0, 4 * PAGE), (0, 4 * PAGE));
    assert_eq!(init(&host, realm, 4 * PAGE, 8 * PAGE), (0, 5 * PAGE));
    assert_eq!(host.entry(realm, 5 * PAGE, 3).2, 0);
    assert_eq!(init(&host, realm, 5 * PAGE, 8 * PAGE), (0, 8 * PAGE));
}

/// The measurement of `host`, of a Realm with these parameters, after each of five steps.
fn steps(hash: rmi_abi::realm::HashAlgorithm) -> [String; 5] {
    let mut options = Options::new(Dialect::V1_0);
    options.features[0] |= 1 << 26 | 4 << 27;
    let host = Host::new(options);
    let rd = host.fresh(1);
    let root = host.fresh(3).next_multiple_of(2 * PAGE);
    let level = Level::L1;
    let geometry = rmi_abi::rtt::Geometry::with_start_level(40, level).unwrap();
    let mut params = rmi_abi::realm::RealmParams::new(geometry, Pa::new(root));
    params.hash = hash;
    params.num_bps = 5;
    params.num_wps = 3;
    params.rpv = [0xbb; 64];
    params.vmid = 77;
    let realm = host.create_realm(rd, &params);
    let length = hash.digest_bytes().unwrap();
    let value = || {
        rim(&host, rd)[..length]
            .iter()
            .fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    };
    let first = value();
    assert_eq!(rim(&host, rd)[length..], vec![0; 64 - length]);
    host.table(realm, 0x8000_0000, 2);
    assert_eq!(init(&host, realm, 0x8000_0000, 0x8020_0000), (0, 0x8020_0000));
    let second = value();
    host.table(realm, 0x8020_0000, 3);
    host.populate(realm, 0x8020_0000, 0xa5, 1);
    let third = value();
    host.populate(realm, 0x8020_1000, 0xa5, 0);
    let fourth = value();
    let (rec, aux) = (host.fresh(1), host.fresh(16));
    let rec_params = rmi_abi::rec::RecParams {
        runnable: true,
        mpidr: rmi_abi::rec::Mpidr::from_index(0),
        pc: 0x8020_0000,
        gprs: [0x8400_0000, 0, 0, 0, 0, 0, 0, 0],
    };
    let page = host.page();
    host.write(page, rec_params.encode().as_bytes());
    host.name_aux(page, aux, 16);
    host.done(Command::RecCreate, &[rd, rec, page]);
    // A REC that does not start, tables, pages without content and the end of the state NEW are
    // not measured.
    let fifth = value();
    host.rec(realm, 1, false);
    host.map(realm, 0x8020_2000);
    host.done(Command::DataDestroy, &[rd, 0x8020_2000]);
    host.done(Command::RealmActivate, &[rd]);
    assert_eq!(value(), fifth);
    [first, second, third, fourth, fifth]
}

/// The public vectors of 1.0, as TF-RMM computes them.
#[test]
fn the_measurement_of_a_realm() {
    use rmi_abi::realm::HashAlgorithm;
    assert_eq!(
        steps(HashAlgorithm::Sha256),
        [
            "f33498f22eed8d51fb28b95769b27275a8c69a469e26b0050f1e809c4e0146b4",
            "f1716fdda6e64db71c74619256e348fab4818fd547d9abc6b8cab34ab5a8001c",
            "74ce397e9857648778773ddbb4a33a6059c5b7a935a78a705d328bfda27e570a",
            "fe5b0fee29f53091aef1130ed8d94e3b1a33d8af37c9dcebbc956a8e115839bc",
            "4cbc9849ebc9079c0c8422a9a64ba436cf78e586ba1da5ff90aceefe56fd35da",
        ]
    );
    assert_eq!(
        steps(HashAlgorithm::Sha512),
        [
            "1cda1fc639e5604da537f04e7f2d6f8e18894c86f4b64f3397783b090053ba0d\
             81dd585810b5aad1e5c2ac5c65fa0c8ad8b125031ae2d3a987f0d84dd775c4c6",
            "32a6b1c70fbe3244066bcbddac340775fbc989549b8458cda14abb837c02ffe1\
             abd813273b5eeb5b582aaa5204732a6e56358b09d2137860e8f20d0b9c661d35",
            "9287b520dfe7dbb64965cffa78fa0f910e2b29f3792e6536857dd6fd39260a45\
             6f8fe61c769e3ed6159d28ac9481ee215f36fc6fae0a3c6d218851cd546b4165",
            "42abcf9373d98eec4ee563e6ea2994d2a6509239f424c37b3ef48d97f361d53a\
             c48c91e61bf3c5edf09442db368538e9083838a306445a93b2248967778979f7",
            "87b8aa088e8fb672d02cbdf2b5a04ef6a8ee3e337ceb600a6d13f97c1c31a896\
             6890561b686d0eea64367106b97269f6e98567d4ab3b61a0f1ccb288e36ca01c",
        ]
    );
}

/// What a Realm sees that asks for `[0, top)` to become RAM.
type Answers = Arc<Mutex<Vec<[u64; 3]>>>;

fn asking(host: &Host, top: u64) -> (Running<'_>, Answers) {
    let answers = Answers::default();
    let log = Arc::clone(&answers);
    let ask = Action::ipa_state_set(Ipa::new(0), Ipa::new(top), Ripas::Ram, 0);
    let mut asked = false;
    let running = host.running(move |cpu: &GuestCpu| {
        if core::mem::replace(&mut asked, true) {
            log.lock().unwrap().push([cpu.x[0], cpu.x[1], cpu.x[2]]);
            return Action::Interrupt;
        }
        ask
    });
    (running, answers)
}

#[test]
fn a_request_is_carried_out_in_order() {
    let host = Host::v1_0();
    let (running, answers) = asking(&host, 6 * PAGE);
    let (realm, rec) = (running.realm, running.rec);
    let set = |base, top| {
        let answer = host.call(Command::RttSetRipas, &[realm.rd, rec, base, top]);
        (answer[0], answer[1])
    };
    assert_eq!(set(0, PAGE), (1, 0), "nothing was asked for");
    let (reason, exit) = running.enter(0, &[]);
    assert_eq!(reason, ExitReason::RipasChange);
    assert_eq!((exit.ripas_base, exit.ripas_top, exit.ripas_value), (0, 6 * PAGE, 1));
    assert_eq!(exit.gprs, [0; 31]);
    for (base, top) in [(PAGE, 2 * PAGE), (0, 7 * PAGE), (0, 0), (0, PAGE + 8)] {
        assert_eq!(set(base, top), (1, 0));
    }
    let other = host.realm();
    assert_eq!(host.call(Command::RttSetRipas, &[other.rd, rec, 0, PAGE])[0], 3);
    assert_eq!(host.call(Command::RttSetRipas, &[realm.rd, realm.rd, 0, PAGE])[0], 1);
    assert_eq!(set(0, 2 * PAGE), (0, 2 * PAGE));
    assert_eq!(set(0, 2 * PAGE), (1, 0));
    host.map(realm, 3 * PAGE);
    assert_eq!(set(2 * PAGE, 5 * PAGE), (0, 5 * PAGE));
    assert_eq!(host.entry(realm, 3 * PAGE, 3).2, 1);
    // What was not carried out is rejected.
    assert_eq!(running.enter(RecEnterFlags::RIPAS_REJECT.bits(), &[]).0, ExitReason::Irq);
    assert_eq!(*answers.lock().unwrap(), [[0, 5 * PAGE, 1]]);
    assert_eq!(set(5 * PAGE, 6 * PAGE), (1, 0), "the request has ended");
}

#[test]
fn what_is_done_is_accepted() {
    let host = Host::v1_0();
    for (reject, done) in [(false, 0), (false, 2), (true, 3)] {
        let (running, answers) = asking(&host, 3 * PAGE);
        running.enter(0, &[]);
        if done != 0 {
            let set = [running.realm.rd, running.rec, 0, done * PAGE];
            host.done(Command::RttSetRipas, &set);
        }
        let flags = if reject { RecEnterFlags::RIPAS_REJECT.bits() } else { 0 };
        running.enter(flags, &[]);
        assert_eq!(*answers.lock().unwrap(), [[0, done * PAGE, 0]]);
    }
}

#[test]
fn a_request_needs_tables_and_stops_at_what_is_destroyed() {
    let host = Host::v1_0();
    let (running, _) = asking(&host, 2 * MIB2);
    let (realm, rec) = (running.realm, running.rec);
    running.enter(0, &[]);
    let set = |base, top| {
        let answer = host.call(Command::RttSetRipas, &[realm.rd, rec, base, top]);
        (answer[0], answer[1])
    };
    assert_eq!(set(0, 3 * PAGE), (0, 3 * PAGE));
    host.map(realm, 3 * PAGE);
    assert_eq!(set(3 * PAGE, 4 * PAGE), (0, 4 * PAGE));
    host.map(realm, 5 * PAGE);
    assert_eq!(set(4 * PAGE, 2 * MIB2), (0, MIB2));
    host.done(Command::DataDestroy, &[realm.rd, 5 * PAGE]);
    assert_eq!(host.entry(realm, 5 * PAGE, 3).2, 2);
    // A larger entry has to be divided first.
    assert_eq!(set(MIB2, MIB2 + PAGE), (rtt_error(Level::L2), 0));
    host.table(realm, MIB2, 3);
    host.map(realm, MIB2 + PAGE);
    assert_eq!(set(MIB2, MIB2 + PAGE), (0, MIB2 + PAGE));
    assert_eq!(set(MIB2 + PAGE, MIB2 + 2 * PAGE), (0, MIB2 + 2 * PAGE));
    // A page whose content is lost ends the call.
    for page in 2..5 {
        host.map(realm, MIB2 + page * PAGE);
    }
    let lost = MIB2 + 4 * PAGE;
    host.done(Command::DataDestroy, &[realm.rd, MIB2 + PAGE]);
    assert_eq!(host.entry(realm, MIB2 + PAGE, 3).2, 2);
    assert_eq!(set(MIB2 + 2 * PAGE, lost), (0, lost));
    host.done(Command::DataDestroy, &[realm.rd, lost]);
    assert_eq!(host.entry(realm, lost, 3).2, 0);
    assert_eq!(set(lost, 2 * MIB2), (0, 2 * MIB2));
}

#[test]
fn what_is_destroyed_ends_a_request() {
    let host = Host::v1_0();
    let realm = host.realm();
    host.done(Command::RttInitRipas, &[realm.rd, 0, 3 * PAGE]);
    host.map(realm, PAGE);
    host.done(Command::DataDestroy, &[realm.rd, PAGE]);
    let ask = Action::ipa_state_set(Ipa::new(0), Ipa::new(3 * PAGE), Ripas::Ram, 0);
    let running = host.run(realm, move |_: &GuestCpu| ask);
    running.enter(0, &[]);
    let set = |base| host.call(Command::RttSetRipas, &[realm.rd, running.rec, base, 3 * PAGE]);
    assert_eq!(set(0)[..2], [0, PAGE]);
    assert_eq!(set(PAGE)[..2], [rtt_error(Level::L3), 0]);
}
