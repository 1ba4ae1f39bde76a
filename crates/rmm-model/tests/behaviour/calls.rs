//! Calls of a Realm: the function is in W0, and only the affinities of an MPIDR count.

use std::sync::{Arc, Mutex};

use rmi_abi::psci::PsciReturnCode;
use rmi_abi::run::ExitReason;
use rmi_abi::{Command, Ipa, Pa, Status};
use rmm_model::{Action, GuestCpu, Options};

use crate::host::{ALL, Host, Running};

const UPPER: u64 = 0xdead_beef << 32;
const NOT_SUPPORTED: u64 = u64::MAX;

/// What a program saw in X0, before each of its actions.
type Seen = Arc<Mutex<Vec<u64>>>;

fn watched(actions: Vec<Action>) -> (impl FnMut(&GuestCpu) -> Action, Seen) {
    let seen = Seen::default();
    let (log, mut actions) = (Arc::clone(&seen), actions.into_iter());
    let guest = move |cpu: &GuestCpu| {
        log.lock().unwrap().push(cpu.x[0]);
        actions.next().unwrap_or(Action::Spin)
    };
    (guest, seen)
}

fn results(seen: &Seen) -> Vec<u64> {
    seen.lock().unwrap()[1..].to_vec()
}

#[test]
fn the_upper_half_of_x0_does_not_count() {
    let host = Host::tf_rmm();
    let sve_hint = 1 << 16;
    let (guest, seen) = watched(vec![
        // SMCCC_VERSION, PSCI_VERSION, RSI_VERSION 1.0.
        Action::smc(UPPER | 0x8000_0000, &[]),
        Action::smc(UPPER | 0x8400_0000, &[]),
        Action::smc(UPPER | 0xc400_0190, &[0x1_0000]),
        // The hint that the SVE state is not live is ignored for RSI, but not for PSCI.
        Action::smc(UPPER | 0xc400_0190 | sve_hint, &[0x1_0000]),
        Action::smc(0x8400_0000 | sve_hint, &[]),
        // PSCI_FEATURES reads W1, and says that PSCI_VERSION is not supported.
        Action::smc(0x8400_000a, &[UPPER | 0xc400_0003]),
        Action::smc(0x8400_000a, &[0x8000_0000]),
        Action::smc(0x8400_000a, &[0x8400_0000]),
        // RSI_IPA_STATE_SET reads W3.
        Action::smc(0xc400_0197, &[0x4000, 0x5000, 0x100, 0]),
        Action::smc(UPPER | 0x8400_0008, &[]),
    ]);
    let running = host.running(guest);
    let (reason, exit) = running.enter(0, &[]);
    // X0 is passed to the host unchanged.
    assert_eq!((reason, exit.gprs[0]), (ExitReason::Psci, UPPER | 0x8400_0008));
    running.refused(0, Status::ErrorRealm);
    let versions = [0x1_0002, 0x1_0001, 0, 0, NOT_SUPPORTED];
    assert_eq!(results(&seen)[..5], versions);
    assert_eq!(results(&seen)[5..], [0, 0, NOT_SUPPORTED, 1]);
}

#[test]
fn only_the_affinities_of_a_target_count() {
    for dialect in ALL {
        let host = Host::new(Options::new(dialect));
        let ignored = [1 << 31, 1 << 24, 0xf0, 1 << 40, 1 << 63];
        let on = |raw: u64| Action::psci_cpu_on(raw, 0x2000, 0);
        let mut actions: Vec<_> = ignored.iter().map(|bits| on(bits | 1)).collect();
        // Also in the 32-bit convention; as in TF-RMM, aff3 comes from the upper half of X1.
        actions.push(Action::smc(0x8400_0003, &[1 << 31 | 1, 0x2000, 0]));
        actions.push(Action::smc(0x8400_0003, &[1 << 32 | 1, 0x2000, 0]));
        let (guest, seen) = watched(actions);
        let realm = host.realm();
        let (rec, second) = (host.rec(realm, 0, true), host.rec(realm, 1, false));
        host.done(Command::RealmActivate, &[realm.rd]);
        host.model.set_guest(Pa::new(realm.rd), 0, Box::new(guest));
        let running = Running { host: &host, realm, rec, run: host.page() };
        let denied = PsciReturnCode::Denied.to_register();
        for bits in ignored.into_iter().chain([1 << 31]) {
            let (reason, exit) = running.enter(0, &[]);
            assert_eq!((reason, exit.gprs[1]), (ExitReason::Psci, bits | 1));
            running.refused(0, Status::ErrorRec);
            match dialect.psci_complete_names_target() {
                true => host.done(Command::PsciComplete, &[rec, second, denied]),
                false => host.done(Command::PsciComplete, &[rec, denied]),
            };
        }
        assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq);
        let [answers @ .., unknown] = &results(&seen)[..] else { panic!() };
        assert_eq!(answers, [denied; 6]);
        assert_eq!(*unknown, PsciReturnCode::InvalidParameters.to_register());
    }
}

#[test]
fn a_request_with_a_dirty_x0_ends_as_not_supported() {
    let host = Host::tf_rmm();
    let call = Action::smc(UPPER | 0xc400_0003, &[1, Ipa::new(0x2000).raw(), 0]);
    let (guest, seen) = watched(vec![call]);
    let realm = host.realm();
    let (rec, second) = (host.rec(realm, 0, true), host.rec(realm, 1, false));
    host.done(Command::RealmActivate, &[realm.rd]);
    host.model.set_guest(Pa::new(realm.rd), 0, Box::new(guest));
    let running = Running { host: &host, realm, rec, run: host.page() };
    let target = Running { host: &host, realm, rec: second, run: host.page() };
    let (reason, exit) = running.enter(0, &[]);
    assert_eq!((reason, exit.gprs[0]), (ExitReason::Psci, UPPER | 0xc400_0003));
    running.refused(0, Status::ErrorRec);
    host.done(Command::PsciComplete, &[rec, second, 0]);
    assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq);
    assert_eq!(results(&seen), [NOT_SUPPORTED]);
    target.refused(0, Status::ErrorRec);
}
