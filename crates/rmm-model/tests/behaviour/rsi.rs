//! The functions of RSI, version by version.

use std::sync::{Arc, Mutex};

use rmi_abi::realm::HashAlgorithm;
use rmi_abi::rsi::Version;
use rmi_abi::rtt::Ripas;
use rmi_abi::run::ExitReason;
use rmi_abi::{Command, Dialect, Ipa, Pa};
use rmm_model::{Action, GuestCpu, Options};
use zerocopy::IntoBytes;

use crate::host::{DIALECTS, Host, PAGE, Realm, Running};

const VERSIONS: [(Version, &str); 3] =
    [(Version::V1_0, "1.0"), (Version::V1_1, "1.1"), (Version::V2_0, "2.0")];

const NOT_SUPPORTED: u64 = u64::MAX;

/// X0 to X10 after each action.
type Seen = Arc<Mutex<Vec<[u64; 11]>>>;

fn watched(actions: Vec<Action>) -> (impl FnMut(&GuestCpu) -> Action, Seen) {
    let seen = Seen::default();
    let (log, mut actions) = (Arc::clone(&seen), actions.into_iter());
    let guest = move |cpu: &GuestCpu| {
        log.lock().unwrap().push(cpu.x[..11].try_into().unwrap());
        actions.next().unwrap_or(Action::Spin)
    };
    (guest, seen)
}

/// X0 to X10 after each action of a Realm that leaves its REC only to spin.
fn answers(host: &Host, actions: Vec<Action>) -> Vec<[u64; 11]> {
    let (guest, seen) = watched(actions);
    assert_eq!(host.running(guest).enter(0, &[]).0, ExitReason::Fiq);
    let seen = seen.lock().unwrap();
    seen[1..].to_vec()
}

/// The name of a function in a version.
fn name(number: u64, version: &str) -> Option<&'static str> {
    include_str!("rsi_functions.txt").lines().find_map(|line| {
        let mut words = line.split_whitespace();
        let is_this = words.next()? == format!("{number:#x}");
        let name = words.next()?;
        words.any(|word| word == version).then_some(name).filter(|_| is_this)
    })
}

#[test]
fn every_function_is_answered_in_every_version() {
    let numbers: Vec<u64> = (0xc400_0190..=0xc400_01cf).collect();
    let mut counts = Vec::new();
    for dialect in DIALECTS {
        for (rsi, version) in VERSIONS {
            for has_permissions in [false, true] {
                if has_permissions && rsi == Version::V1_0 {
                    continue;
                }
                let mut options = Options::new(dialect);
                options.rsi = rsi;
                options.features[3] = u64::from(has_permissions) << 6;
                let host = Host::new(options);
                let calls = numbers.iter().map(|number| Action::smc(*number, &[]));
                let answers = answers(&host, calls.collect());
                for (number, x) in numbers.iter().zip(&answers) {
                    let name = name(*number, version);
                    let expected = match name {
                        None => NOT_SUPPORTED,
                        // There is no plane that they could name.
                        Some(name) if name.starts_with("RSI_PLANE") => {
                            assert!([1, NOT_SUPPORTED].contains(&x[0]), "{name}");
                            continue;
                        }
                        Some(name) if name.starts_with("RSI_MEM") && !has_permissions => {
                            NOT_SUPPORTED
                        }
                        // The permissions of plane 0 can be read, and not be set.
                        Some("RSI_MEM_GET_PERM_VALUE") => 0,
                        Some(name) if name.starts_with("RSI_MEM") => 1,
                        // There are no devices.
                        Some(name) if name.contains("DEV_") => 2,
                        Some(
                            "RSI_FEATURES" | "RSI_MEASUREMENT_READ" | "RSI_ATTESTATION_TOKEN_INIT",
                        ) => 0,
                        // Version 0.0, measurement 0, an EMPTY page, an empty range.
                        Some(_) => 1,
                    };
                    assert_eq!(x[0], expected, "{dialect} {version} {number:#x} {name:?}");
                }
                counts.push(answers.iter().filter(|x| x[0] != NOT_SUPPORTED).count());
            }
        }
    }
    assert!(counts.iter().all(|count| *count >= 10), "{counts:?}");
    let host = Host::tf_rmm();
    let features = answers(&host, vec![Action::rsi_features(0), Action::rsi_features(1)]);
    assert!(features.iter().all(|x| x[..4] == [0; 4]));
}

#[test]
fn versions_are_negotiated() {
    let wanted = [0, 0x1_0000, 0x1_0001, 0x1_0002, 0x2_0000, 1 << 31 | 0x1_0000];
    let (v1_0, v1_1) = (0x1_0000, 0x1_0001);
    for dialect in DIALECTS {
        // The version of the betas of 2.0 says that it is 1.1.
        assert_eq!(Options::new(dialect).rsi, Version::V2_0);
        for (rsi, newest) in [(Version::V1_0, v1_0), (Version::V1_1, v1_1), (Version::V2_0, v1_1)] {
            let mut options = Options::new(dialect);
            options.rsi = rsi;
            let host = Host::new(options);
            let answers = answers(&host, wanted.map(Action::rsi_version).to_vec());
            for (x, wanted) in answers.iter().zip(wanted) {
                let (status, lower) = match wanted {
                    _ if wanted == newest => (0, newest),
                    0x1_0000 => (0, v1_0),
                    _ => (1, newest),
                };
                assert_eq!(x[..4], [status, lower, newest, 0], "{dialect} {rsi:?} {wanted:#x}");
            }
        }
    }
}

/// A new Realm with a page at 0x1000, filled with 0x5a.
fn realm_with_hash(host: &Host, hash: HashAlgorithm) -> (Realm, u64) {
    let (rd, root, page) = (host.fresh(1), host.fresh(1), host.page());
    let mut params = host.params(root);
    params.hash = hash;
    params.rpv = [0x77; 64];
    host.write(page, params.encode(host.dialect).unwrap().as_bytes());
    host.done(Command::RealmCreate, &[rd, page]);
    let realm = Realm { rd, root };
    for level in 1..=3 {
        host.table(realm, 0, level);
    }
    (realm, host.populate(realm, 0x1000, 0x5a, 1))
}

fn run_in(host: &Host, realm: Realm, actions: Vec<Action>) -> Vec<[u64; 11]> {
    let (guest, seen) = watched(actions);
    let rec = host.rec(realm, 0, true);
    host.done(Command::RealmActivate, &[realm.rd]);
    host.model.set_guest(Pa::new(realm.rd), 0, Box::new(guest));
    let running = Running { host, realm, rec, run: host.page() };
    assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq);
    let seen = seen.lock().unwrap();
    seen[1..].to_vec()
}

#[test]
fn the_configuration_has_the_fields_of_the_version() {
    for dialect in DIALECTS {
        for (rsi, _) in VERSIONS {
            for (hash, number) in [
                (HashAlgorithm::Sha256, 0),
                (HashAlgorithm::Sha512, 1),
                // TF-RMM says that it is SHA-512.
                (HashAlgorithm::Sha384, if dialect == Dialect::TfRmm2026_07 { 1 } else { 2 }),
            ] {
                let mut options = Options::new(dialect);
                options.rsi = rsi;
                options.features[1] |= 1 << 4;
                (options.list_registers, options.priority_bits) = (4, 5);
                let host = Host::new(options);
                let (realm, data) = realm_with_hash(&host, hash);
                let x = run_in(&host, realm, vec![Action::realm_config(Ipa::new(0x1000))]);
                assert_eq!(x[0][..4], [0; 4]);
                let mut page = [0; 0x1000];
                host.model.peek(Pa::new(data), &mut page);
                let kept = if dialect == Dialect::TfRmm2026_07 { 0x5a } else { 0 };
                let mut expected = [kept; 0x1000];
                expected[..8].copy_from_slice(&40_u64.to_le_bytes());
                expected[8] = number;
                if rsi > Version::V1_0 {
                    expected[0x10..0x18].fill(0);
                    let vtr = host.model.cpu(0).vtr().raw();
                    expected[0x18..0x1c].copy_from_slice(&vtr.to_le_bytes()[..4]);
                    expected[0x20..0x28].fill(0);
                }
                expected[0x200..0x240].fill(0x77);
                assert_eq!(page, expected, "{dialect} {rsi:?}");
            }
        }
    }
}

#[test]
fn a_measurement_takes_registers_1_to_8() {
    for dialect in DIALECTS {
        for (hash, words) in
            [(HashAlgorithm::Sha256, 4), (HashAlgorithm::Sha384, 6), (HashAlgorithm::Sha512, 8)]
        {
            let mut options = Options::new(dialect);
            options.features[1] |= 1 << 4;
            let host = Host::new(options);
            let (realm, _) = realm_with_hash(&host, hash);
            let read = Action::smc(0xc400_0192, &[0, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
            let x = run_in(&host, realm, vec![read])[0];
            let value = host.model.measurement(Pa::new(realm.rd), 0).unwrap();
            let mut expected = [0, 0, 0, 0, 0, 0, 0, 0, 0, 9, 10];
            for (to, word) in expected[1..9].iter_mut().zip(value.as_chunks().0) {
                *to = u64::from_le_bytes(*word);
            }
            if dialect == Dialect::TfRmm2026_07 {
                // It leaves X5 to X7 as they are, and clears X8.
                for (n, kept) in expected.iter_mut().enumerate().take(8).skip(words + 1) {
                    *kept = n as u64;
                }
            }
            assert_eq!(x, expected, "{dialect} {hash:?}");
        }
    }
}

#[test]
fn reserved_bits_of_a_ripas_change() {
    for dialect in DIALECTS {
        let is_tf_rmm = dialect == Dialect::TfRmm2026_07;
        let high = 1 << 40;
        for (ripas, flags, accepted, destroyed) in [
            (1, 0, true, false),
            (1, 1, true, true),
            (1, high | 1, true, true),
            (high | 1, 1, true, true),
            (0x101, 1, !is_tf_rmm, true),
            (1, 3, true, !is_tf_rmm),
            (1, 2, true, false),
            (2, 1, false, false),
        ] {
            let host = Host::new(Options::new(dialect));
            let realm = host.realm();
            host.done(Command::RttInitRipas, &[realm.rd, 0x3000, 0x4000]);
            let change = Action::smc(0xc400_0197, &[0x3000, 0x4000, ripas, flags]);
            let (guest, seen) = watched(vec![change]);
            let rec = host.rec(realm, 0, true);
            host.done(Command::RealmActivate, &[realm.rd]);
            host.map(realm, 0x3000);
            host.done(Command::RttDataUnmap, &[realm.rd, 0x3000, 0x4000, 0]);
            assert_eq!(host.entry(realm, 0x3000, 3).2, u64::from(u8::from(Ripas::Destroyed)));
            host.model.set_guest(Pa::new(realm.rd), 0, Box::new(guest));
            let running = Running { host: &host, realm, rec, run: host.page() };
            let (reason, exit) = running.enter(0, &[]);
            if !accepted {
                assert_eq!(reason, ExitReason::Fiq);
                assert_eq!(seen.lock().unwrap()[1][0], 1);
                continue;
            }
            assert_eq!(reason, ExitReason::RipasChange);
            assert_eq!((exit.ripas_base, exit.ripas_top), (0x3000, 0x4000));
            assert_eq!(exit.ripas_value, u8::from(Ripas::Ram));
            let x = host.call(Command::RttSetRipas, &[realm.rd, rec, 0x3000, 0x4000]);
            let changed = host.entry(realm, 0x3000, 3).2 == u64::from(u8::from(Ripas::Ram));
            assert_eq!(changed, destroyed, "{dialect} {ripas:#x} {flags:#x} {:#x}", x[0]);
            running.enter(0, &[]);
            let new_base = if destroyed { 0x3000 + PAGE } else { 0x3000 };
            assert_eq!(seen.lock().unwrap()[1][..2], [0, new_base]);
        }
    }
}
