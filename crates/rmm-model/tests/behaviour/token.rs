//! The attestation token, as a Realm gets it.

use std::sync::{Arc, Mutex};
use std::thread;

use rmi_abi::esr::{Esr, fault_page};
use rmi_abi::realm::HashAlgorithm;
use rmi_abi::rsi::Version;
use rmi_abi::run::ExitReason;
use rmi_abi::{Command, Dialect, Ipa, Pa};
use rmm_model::attestation::{PLATFORM_KEY, REALM_KEY};
use rmm_model::protocol::Session;
use rmm_model::{Action, GuestCpu, Model, Options};
use zerocopy::IntoBytes;

use crate::host::{ALL, DIALECTS, Host, PAGE, Realm, Running, SHARED};
use crate::verifier::{Verified, bytes, number, text, verify};

const SUCCESS: u64 = 0;
const ERROR_INPUT: u64 = 1;
const ERROR_STATE: u64 = 2;
const INCOMPLETE: u64 = 3;

const CHALLENGE: [u64; 8] = [1, 2, 3, 4, 5, 6, 7, u64::MAX];

fn init(challenge: [u64; 8]) -> Action {
    Action::attestation_token_init(challenge)
}

fn proceed(page: u64, offset: u64, size: u64) -> Action {
    Action::attestation_token_continue(Ipa::new(page), offset, size)
}

/// X0 to X8 after each action.
type Seen = Arc<Mutex<Vec<[u64; 9]>>>;

fn watched(actions: Vec<Action>) -> (impl FnMut(&GuestCpu) -> Action, Seen) {
    let seen = Seen::default();
    let (log, mut actions) = (Arc::clone(&seen), actions.into_iter());
    let guest = move |cpu: &GuestCpu| {
        log.lock().unwrap().push(cpu.x[..9].try_into().unwrap());
        actions.next().unwrap_or(Action::Spin)
    };
    (guest, seen)
}

/// X0 and X1 after each action but the first `skip`.
fn results(seen: &Seen, skip: usize) -> Vec<(u64, u64)> {
    seen.lock().unwrap()[1 + skip..].iter().map(|x| (x[0], x[1])).collect()
}

/// Activates a Realm with one REC, and runs it until it spins.
fn run(host: &Host, realm: Realm, actions: Vec<Action>) -> Seen {
    let (guest, seen) = watched(actions);
    let rec = host.rec(realm, 0, true);
    host.done(Command::RealmActivate, &[realm.rd]);
    host.model.set_guest(Pa::new(realm.rd), 0, Box::new(guest));
    let running = Running { host, realm, rec, run: host.page() };
    assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq);
    seen
}

fn peek(model: &Model, at: u64, length: u64) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(length).unwrap()];
    model.peek(Pa::new(at), &mut bytes);
    bytes
}

/// The token of a Realm of its own that asks for it at once.
fn whole_token(options: Options, hash: HashAlgorithm, private_mec: bool) -> Vec<u8> {
    let host = Host::new(options);
    let (realm, page) = realm_with_page(&host, hash, private_mec);
    let seen = run(&host, realm, vec![init(CHALLENGE), proceed(0x1000, 0, PAGE)]);
    let results: [_; 2] = results(&seen, 0).try_into().unwrap();
    let [started, fetched] = results;
    assert_eq!((started, fetched.0), ((SUCCESS, 0x1000), SUCCESS));
    assert!(fetched.1 <= started.1);
    peek(&host.model, page, fetched.1)
}

/// A new Realm with the personalization value 1, 2, 3, … and a page at 0x1000; returns the memory
/// of the page.
fn realm_with_page(host: &Host, hash: HashAlgorithm, private_mec: bool) -> (Realm, u64) {
    let (rd, root, page) = (host.fresh(1), host.fresh(1), host.page());
    let mut params = host.params(root);
    params.hash = hash;
    params.rpv = rpv();
    params.private_mec = private_mec;
    host.write(page, params.encode(host.dialect).unwrap().as_bytes());
    host.done(Command::RealmCreate, &[rd, page]);
    let realm = Realm { rd, root };
    for level in 1..=3 {
        host.table(realm, 0, level);
    }
    let data = host.populate(realm, 0x1000, 0x5a, 1);
    (realm, data)
}

fn rpv() -> [u8; 64] {
    std::array::from_fn(|n| u8::try_from(n).unwrap() + 1)
}

fn every_hash(options: &mut Options) {
    options.features[1] |= 1 << 4;
}

fn challenge_bytes(challenge: [u64; 8]) -> Vec<u8> {
    challenge.iter().flat_map(|word| word.to_le_bytes()).collect()
}

#[test]
fn the_claims_are_those_of_the_realm() {
    let mut lengths = Vec::new();
    for dialect in ALL {
        for (hash, name, length) in
            [(HashAlgorithm::Sha256, "sha-256", 32), (HashAlgorithm::Sha512, "sha-512", 64)]
        {
            let host = Host::new(Options::new(dialect));
            let (realm, page) = realm_with_page(&host, hash, false);
            let seen = run(
                &host,
                realm,
                vec![
                    Action::measurement_extend(2, 5, [0x55; 8]),
                    init(CHALLENGE),
                    // Too late for this token.
                    Action::measurement_extend(3, 5, [0x66; 8]),
                    proceed(0x1000, 0, PAGE),
                ],
            );
            let bytes_written = results(&seen, 3)[0].1;
            lengths.push(bytes_written);
            let token = peek(&host.model, page, bytes_written);
            let binding = if dialect == Dialect::V2_0Bet3 { 2408 } else { 10 };
            let Verified { realm: claims, .. } = verify(&token, &PLATFORM_KEY.point(), binding);
            assert_eq!(bytes(&claims[&10]), challenge_bytes(CHALLENGE));
            assert_eq!(bytes(&claims[&44235]), rpv());
            assert_eq!(text(&claims[&44236]), name);
            assert_eq!(bytes(&claims[&44237]), REALM_KEY.cose_key());
            let measured = |index| {
                host.model.measurement(Pa::new(realm.rd), index).unwrap()[..length].to_vec()
            };
            assert_eq!(bytes(&claims[&44238]), measured(0));
            let extensible = claims[&44239].as_array().unwrap();
            assert_eq!(extensible.len(), 4);
            for (n, value) in extensible.iter().enumerate() {
                let expected = if n == 2 { vec![0; length] } else { measured(n + 1) };
                assert_eq!(bytes(value), expected, "{n}");
            }
            assert_ne!(measured(2), vec![0; length]);
            assert_ne!(measured(3), vec![0; length]);
            // What follows the token in the page is as it was.
            assert_eq!(peek(&host.model, page + bytes_written, 4), [0x5a; 4]);
        }
    }
    // Five digests are 32 bytes longer; 64 bytes take the same head as 32.
    assert_eq!((lengths[1] - lengths[0], lengths[3] - lengths[2]), (160, 160));
}

#[test]
fn each_version_has_its_form() {
    let tf_rmm = Dialect::TfRmm2026_07;
    let (old, old_realm) = ("tag:arm.com,2023:cca_platform#1.0.0", "tag:arm.com,2023:realm#1.0.0");
    for (dialect, version, tag, platform, realm, binding) in [
        (Dialect::V1_0, Version::V1_0, 399, old, old_realm, 10),
        (tf_rmm, Version::V1_0, 399, old, old_realm, 10),
        (Dialect::V2_0Bet3, Version::V1_0, 399, old, old_realm, 10),
        (tf_rmm, Version::V1_1, 399, old, old_realm, 10),
        (
            tf_rmm,
            Version::V2_0,
            907,
            "tag:arm.com,2024:cca_platform#2.0.0",
            "tag:arm.com,2024:realm#2.0.0",
            10,
        ),
        (
            Dialect::V2_0Bet3,
            Version::V2_0,
            907,
            "tag:arm.com,2026:cca_platform#2.0.0",
            "tag:arm.com,2026:realm#2.0.0",
            2408,
        ),
    ] {
        let mut options = Options::new(dialect);
        options.rsi = version;
        let token = whole_token(options, HashAlgorithm::Sha256, false);
        let token = verify(&token, &PLATFORM_KEY.point(), binding);
        assert_eq!(token.tag, tag);
        assert_eq!(text(&token.platform[&265]), platform);
        assert_eq!(text(&token.realm[&265]), realm);
        let is_new = version == Version::V2_0;
        // TF-RMM v0.8.0 has it in 1.0.
        let has_policy = version > Version::V1_0 || dialect == Dialect::V1_0;
        assert_eq!(token.realm.contains_key(&44243), has_policy);
        assert_eq!(token.realm.contains_key(&256), is_new);
        assert_eq!(token.platform.contains_key(&2394), is_new);
        assert_eq!(token.platform.contains_key(&10), binding == 10);
        assert_eq!(token.platform.contains_key(&2408), binding == 2408);
        // What a verifier of platforms looks at.
        let id = bytes(&token.platform[&256]);
        assert_eq!((id.len(), id[0]), (33, 1));
        assert_eq!(bytes(&token.platform[&2396]).len(), 32);
        assert_eq!(number(&token.platform[&2395]) >> 8, 0x30);
        assert_eq!(text(&token.platform[&2402]), "sha-256");
        assert_eq!(bytes(&token.platform[&2401]), [0; 4]);
        let components = token.platform[&2399].as_array().unwrap();
        assert_eq!(components.len(), 5);
        for component in components {
            assert_eq!(component.as_map().unwrap().len(), 4);
        }
    }
}

#[test]
fn realms_have_an_identity_and_a_memory_encryption_policy() {
    let host = Host::tf_rmm();
    let mut seen = Vec::new();
    for private in [false, true, false] {
        let (realm, page) = realm_with_page(&host, HashAlgorithm::Sha256, private);
        let x = run(&host, realm, vec![init([0; 8]), proceed(0x1000, 0, PAGE)]);
        let length = results(&x, 1)[0].1;
        let claims = verify(&peek(&host.model, page, length), &PLATFORM_KEY.point(), 10).realm;
        assert_eq!(number(&claims[&44243]), private.into());
        let id = bytes(&claims[&256]).to_vec();
        assert_eq!((id.len(), id[0]), (33, 1));
        assert!(!seen.contains(&id));
        seen.push(id);
    }
    // The same calls on another machine give the same token.
    let token = || whole_token(Options::new(Dialect::TfRmm2026_07), HashAlgorithm::Sha256, true);
    assert_eq!(token(), token());
}

#[test]
fn the_longest_token_is_within_the_bound() {
    for dialect in DIALECTS {
        let mut options = Options::new(dialect);
        every_hash(&mut options);
        for hash in [HashAlgorithm::Sha384, HashAlgorithm::Sha512] {
            let token = whole_token(options.clone(), hash, true);
            assert!(token.len() < 0x1000);
            if hash == HashAlgorithm::Sha384 {
                let binding = if dialect == Dialect::V2_0Bet3 { 2408 } else { 10 };
                let claims = verify(&token, &PLATFORM_KEY.point(), binding).realm;
                assert_eq!(text(&claims[&44236]), "sha-384");
                assert_eq!(bytes(&claims[&44238]).len(), 48);
            }
        }
    }
}

#[test]
fn parts_join_to_the_whole() {
    let dialect = Dialect::TfRmm2026_07;
    let whole = whole_token(Options::new(dialect), HashAlgorithm::Sha256, false);
    let length = whole.len() as u64;
    let host = Host::new(Options::new(dialect));
    let (realm, page) = realm_with_page(&host, HashAlgorithm::Sha256, false);
    let other = host.populate(realm, 0x2000, 0, 1);
    // The initial measurement is another one now, so only the lengths can be compared.
    let seen = run(
        &host,
        realm,
        vec![
            init(CHALLENGE),
            proceed(0x1000, 0, 0),
            proceed(0x1000, 0xfff, 1),
            proceed(0x2000, 0, 1),
            proceed(0x2000, 1, 0xff),
            proceed(0x1000, 0xfff, 0),
            proceed(0x2000, 0x100, length - 0x101),
            // One byte more than there is.
            proceed(0x2000, 0xfff, 1),
            proceed(0x2000, 0, 1),
        ],
    );
    let expected = [
        (SUCCESS, 0x1000),
        (INCOMPLETE, 0),
        (INCOMPLETE, 1),
        (INCOMPLETE, 1),
        (INCOMPLETE, 0xff),
        (INCOMPLETE, 0),
        (SUCCESS, length - 0x101),
        (ERROR_STATE, 0),
        (ERROR_STATE, 0),
    ];
    assert_eq!(results(&seen, 0), expected);
    let mut token = peek(&host.model, page + 0xfff, 1);
    token.extend(peek(&host.model, other, length - 1));
    assert_eq!(token[..20], whole[..20]);
    verify(&token, &PLATFORM_KEY.point(), 10);
    // Registers that are not results keep what they held: X4 and up.
    for (x, action) in seen.lock().unwrap()[1..].iter().zip([CHALLENGE; 1]) {
        assert_eq!((&x[2..4], &x[4..]), (&[0, 0][..], &action[3..]));
    }
}

#[test]
fn the_last_part_may_ask_for_exactly_what_is_left() {
    let dialect = Dialect::V2_0Bet3;
    let length = whole_token(Options::new(dialect), HashAlgorithm::Sha256, false).len() as u64;
    let host = Host::new(Options::new(dialect));
    let (realm, page) = realm_with_page(&host, HashAlgorithm::Sha256, false);
    let seen = run(
        &host,
        realm,
        vec![init(CHALLENGE), proceed(0x1000, 0, length - 1), proceed(0x1000, length - 1, 1)],
    );
    assert_eq!(results(&seen, 1), [(INCOMPLETE, length - 1), (SUCCESS, 1)]);
    let token = peek(&host.model, page, length);
    assert_eq!(token, whole_token(Options::new(dialect), HashAlgorithm::Sha256, false));
}

#[test]
fn arguments_come_before_the_state_and_the_state_before_the_buffer() {
    for dialect in ALL {
        let host = Host::new(Options::new(dialect));
        let (realm, _) = realm_with_page(&host, HashAlgorithm::Sha256, false);
        let wrong = [
            (0x1008, 0, 1),
            (SHARED, 0, 1),
            (SHARED + 0x1000, 0, 1),
            (1 << 50, 0, 1),
            (0x1000, PAGE, 0),
            (0x1000, 0, PAGE + 1),
            (0x1000, 1, PAGE),
            (0x1000, u64::MAX, 1),
            (0x1000, 1, u64::MAX),
            (0x1000, u64::MAX, u64::MAX),
        ];
        let bad = || wrong.into_iter().map(|(page, offset, size)| proceed(page, offset, size));
        let mut actions: Vec<Action> = bad().collect();
        // 0x3000 is EMPTY, and 0x1000 a page: without a token it does not matter.
        actions.extend([proceed(0x3000, 0, 1), proceed(0x1000, 0, 1), init(CHALLENGE)]);
        actions.extend(bad());
        // Two bytes are fetched, with an EMPTY buffer in between, and then a new token.
        actions.extend([
            proceed(0x1000, 0, 1),
            proceed(0x3000, 0, 1),
            proceed(0x1000, 0xfff, 1),
            init([9; 8]),
            proceed(0x3000, 0, 0),
            proceed(0x1000, 0, PAGE),
        ]);
        let seen = run(&host, realm, actions);
        let n = wrong.len();
        let results = results(&seen, 0);
        assert!(results[..n].iter().all(|result| *result == (ERROR_INPUT, 0)));
        assert_eq!(results[n..n + 3], [(ERROR_STATE, 0), (ERROR_STATE, 0), (SUCCESS, 0x1000)]);
        assert!(results[n + 3..2 * n + 3].iter().all(|result| *result == (ERROR_INPUT, 0)));
        let last: [_; 6] = results[2 * n + 3..].try_into().unwrap();
        let [first, empty, second, again, empty_of_none, whole] = last;
        assert_eq!((first, empty, second), ((INCOMPLETE, 1), (ERROR_INPUT, 0), (INCOMPLETE, 1)));
        assert_eq!((again, empty_of_none), ((SUCCESS, 0x1000), (ERROR_INPUT, 0)));
        assert_eq!(whole.0, SUCCESS);
    }
}

#[test]
fn a_buffer_that_is_not_mapped_is_asked_for() {
    let host = Host::tf_rmm();
    let (realm, _) = realm_with_page(&host, HashAlgorithm::Sha256, false);
    host.done(Command::RttInitRipas, &[realm.rd, 0x5000, 0x6000]);
    let (guest, seen) = watched(vec![init(CHALLENGE), proceed(0x5000, 0, PAGE)]);
    let rec = host.rec(realm, 0, true);
    host.done(Command::RealmActivate, &[realm.rd]);
    host.model.set_guest(Pa::new(realm.rd), 0, Box::new(guest));
    let running = Running { host: &host, realm, rec, run: host.page() };
    for _ in 0..2 {
        let (reason, exit) = running.enter(0, &[]);
        assert_eq!(reason, ExitReason::Sync);
        assert!(!Esr(exit.esr).is_valid_syndrome());
        assert_eq!(fault_page(exit.hpfar), Ipa::new(0x5000));
    }
    let data = host.map(realm, 0x5000);
    assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq);
    let (status, length) = results(&seen, 1)[0];
    assert_eq!(status, SUCCESS);
    verify(&peek(&host.model, data, length), &PLATFORM_KEY.point(), 10);
}

#[test]
fn an_interrupt_ends_the_call_that_signs() {
    let host = Host::tf_rmm();
    let (realm, _) = realm_with_page(&host, HashAlgorithm::Sha256, false);
    let cpu = host.model.cpu(0);
    let seen = Arc::new(Mutex::new(Vec::new()));
    let rec = host.rec(realm, 0, true);
    host.done(Command::RealmActivate, &[realm.rd]);
    let running = Running { host: &host, realm, rec, run: host.page() };
    // The host interrupts the CPU while the program decides: the interrupt is pending when the call
    // is made.
    let (ready, go) = (Arc::new(std::sync::Barrier::new(2)), Arc::new(std::sync::Barrier::new(2)));
    let (log, at, on) = (Arc::clone(&seen), Arc::clone(&ready), Arc::clone(&go));
    let mut step = 0;
    let guest = move |cpu: &GuestCpu| {
        log.lock().unwrap().push((cpu.x[0], cpu.x[1]));
        step += 1;
        match step {
            1 => init(CHALLENGE),
            2 | 3 => {
                at.wait();
                on.wait();
                proceed(0x1000, 0, 8)
            }
            _ => Action::Spin,
        }
    };
    host.model.set_guest(Pa::new(realm.rd), 0, Box::new(guest));
    thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..2 {
                ready.wait();
                cpu.interrupt();
                go.wait();
            }
        });
        // The token is signed, but nothing was copied.
        assert_eq!(running.enter(0, &[]).0, ExitReason::Irq);
        // After that an interrupt does not matter to the call.
        assert_eq!(running.enter(0, &[]).0, ExitReason::Irq);
        assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq);
    });
    let expected = [(SUCCESS, 0x1000), (INCOMPLETE, 0), (INCOMPLETE, 8)];
    assert_eq!(seen.lock().unwrap()[1..], expected);
}

/// Each REC has its own challenge, and two fetch their tokens at once, byte by byte.
#[test]
fn two_recs_fetch_tokens_at_once() {
    let host = Host::tf_rmm();
    let (realm, first) = realm_with_page(&host, HashAlgorithm::Sha256, false);
    let second = host.populate(realm, 0x2000, 0, 1);
    let recs = [host.rec(realm, 0, true), host.rec(realm, 1, true)];
    host.done(Command::RealmActivate, &[realm.rd]);
    let lengths = Arc::new(Mutex::new([0; 2]));
    for n in 0..2_usize {
        let lengths = Arc::clone(&lengths);
        let (page, mut offset, mut begun) = (0x1000 * (n as u64 + 1), 0, false);
        let guest = move |cpu: &GuestCpu| {
            if !begun {
                begun = true;
                return init([n as u64 + 1; 8]);
            }
            match (cpu.x[0], offset) {
                (SUCCESS, 1..) => {
                    lengths.lock().unwrap()[n] = offset + cpu.x[1];
                    return Action::Spin;
                }
                (SUCCESS, 0) => {}
                (INCOMPLETE, _) => offset += cpu.x[1],
                other => panic!("{other:?}"),
            }
            proceed(page, offset, (PAGE - offset).min(7))
        };
        host.model.set_guest(Pa::new(realm.rd), n as u64, Box::new(guest));
    }
    let pages = [host.page(), host.page()];
    thread::scope(|scope| {
        for n in 0..2 {
            let (model, rec, page) = (&host.model, recs[n], pages[n]);
            let fid = Command::RecEnter.fid(host.dialect).unwrap().0.into();
            scope.spawn(move || {
                let mut x = [0; 18];
                x[..3].copy_from_slice(&[fid, rec, page]);
                assert_eq!(model.handle(u32::try_from(n).unwrap(), x)[0], 0);
            });
        }
    });
    for (n, at) in [first, second].into_iter().enumerate() {
        let length = lengths.lock().unwrap()[n];
        let token = verify(&peek(&host.model, at, length), &PLATFORM_KEY.point(), 10);
        assert_eq!(bytes(&token.realm[&10]), challenge_bytes([n as u64 + 1; 8]));
    }
}

/// A token that TF-RMM wrote, in hexadecimal digits.
fn recorded(hex: &str) -> Vec<u8> {
    let hex: String = hex.split_whitespace().collect();
    let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digits).collect()
}

/// Verifies the token that `model` has at `at`, whose length is not known.
fn verified_at(model: &Model, at: u64) -> Verified {
    let page = peek(model, at, PAGE);
    let mut rest = &page[..];
    let _: ciborium::Value = ciborium::from_reader(&mut rest).unwrap();
    verify(&page[..page.len() - rest.len()], &PLATFORM_KEY.point(), 10)
}

/// Sends the lines of a transcript up to the first that `ends` accepts, and does what its comments
/// say.
fn send(session: &mut Session, transcript: &str, ends: impl Fn(&str) -> bool) {
    let unrecorded = ["gran", "rim", "sysreg"];
    for line in transcript.lines() {
        if let Some(range) = line.strip_prefix("# delegate ") {
            let (base, top) = range.split_once("..").unwrap();
            let number = |text: &str| u64::from_str_radix(text, 16).unwrap();
            for granule in (number(base)..number(top)).step_by(0x1000) {
                assert!(
                    session.line(&format!("smc c4000151 {granule:x}")).text.starts_with("ok 0")
                );
            }
        }
        let Some(sent) = line.strip_prefix("> ") else { continue };
        if !unrecorded.iter().any(|start| sent.starts_with(start)) {
            session.line(sent);
        }
        if ends(sent) {
            return;
        }
    }
}

/// TF-RMM signs with the same keys: its token of the Realm in a recording passes the verifier, and
/// the model encodes the same claims of the same Realm in the same way.
#[test]
fn the_realms_claims_are_encoded_as_by_tf_rmm() {
    let recorded = recorded(include_str!("../recordings/8-token.hex"));
    let theirs = verify(&recorded, &PLATFORM_KEY.point(), 10);

    let mut options = Options::new(Dialect::TfRmm2026_07);
    options.features = [0x10_4130, 0x1_42a9, 0, 0, 0xfffe];
    let mut session = Session::new(options).unwrap();
    let is_asked = std::cell::Cell::new(false);
    // The entry after the call.
    send(&mut session, include_str!("../recordings/4-misc.txt"), |line| {
        is_asked.replace(is_asked.get() || line.starts_with("guest smc c4000195"))
    });
    // The page at the IPA that the call names.
    let ours = verified_at(session.model(), 0x8012_7000);

    assert_eq!(ours.tag, theirs.tag);
    assert_eq!(ours.realm_payload.len(), theirs.realm_payload.len());
    // Only the identity differs, which is random there.
    let id = bytes(&theirs.realm[&256]);
    let at = theirs.realm_payload.windows(id.len()).position(|part| part == id).unwrap();
    let (ours, theirs) = (&ours.realm_payload, &theirs.realm_payload);
    assert_eq!(ours[..=at], theirs[..=at]);
    assert_eq!(ours[at + id.len()..], theirs[at + id.len()..]);
}

/// What TF-RMM v0.8.0 writes about a Realm of 1.0, the model writes, byte for byte: the claims and
/// their order, the names of algorithms, the profile, the word for the policy of memory encryption.
#[test]
fn the_claims_of_1_0_are_encoded_as_by_tf_rmm_0_8_0() {
    let recorded = recorded(include_str!("../recordings/1.0/6-token.hex"));
    let theirs = verify(&recorded, &PLATFORM_KEY.point(), 10);

    let mut options = Options::new(Dialect::V1_0);
    options.features = [0x283_fc10_4130, 0, 0, 0, 0];
    options.list_registers = 1;
    let mut session = Session::new(options).unwrap();
    send(&mut session, include_str!("../recordings/1.0/6-token.txt"), |_| false);
    let ours = verified_at(session.model(), 0x8014_6000);

    assert_eq!((ours.tag, theirs.tag), (399, 399));
    assert_eq!(ours.realm_payload, theirs.realm_payload);
    let keys = [10, 265, 44235, 44236, 44237, 44238, 44239, 44240, 44243];
    assert!(ours.realm.keys().copied().eq(keys));
    assert_eq!(text(&ours.realm[&265]), "tag:arm.com,2023:realm#1.0.0");
    assert_eq!(text(&ours.realm[&44243]), "shared");
    assert_eq!(text(&ours.realm[&44236]), "sha-256");
    // The platform's claims are made up here and there. What a verifier looks for is in both.
    for claim in [10, 256, 265, 2395, 2396, 2399, 2401, 2402] {
        assert!(theirs.platform.contains_key(&claim), "{claim}");
        assert!(ours.platform.contains_key(&claim), "{claim}");
    }
    for claim in [10, 265, 2402] {
        assert_eq!(ours.platform[&claim], theirs.platform[&claim], "{claim}");
    }
    assert_eq!(number(&ours.platform[&2395]) >> 8, number(&theirs.platform[&2395]) >> 8);
    // Of 1.0 are neither the client nor the binding of later profiles.
    assert!([2394, 2408].iter().all(|claim| !ours.platform.contains_key(claim)));
}
