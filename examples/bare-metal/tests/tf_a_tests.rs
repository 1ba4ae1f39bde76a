//! The host of Arm's Realm payload, with a payload that is a function of the model: it speaks the
//! same protocol.
#![expect(clippy::unwrap_used, reason = "tests")]

#[expect(clippy::indexing_slicing, reason = "of a test")]
#[path = "shared/threads.rs"]
mod machine;

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bare_metal::{Machine, Summary, tf_a_tests};
use realm_sdk::abi::rtt::Ripas;
use realm_sdk::abi::{Dialect, Ipa};
use rmm_model::{Action, AsyncGuest, AsyncVcpu, GuestIdentity, TimerKind};

use machine::Threads;

/// What the payload does for a command, in place of success.
#[derive(Clone, Copy)]
enum Does {
    Fails,
    Spins,
    CallsUnknown,
    TurnsOff,
}

/// A page of the payload's RAM for the structure of a host call.
const STRUCTURE: u64 = 0x6010_0000;
const TIMER: u32 = 27;
const LIMIT: Duration = Duration::from_secs(2);

/// Commands with their first two arguments.
type Commands = Vec<(u8, [u64; 2])>;

struct Payload {
    cpu: AsyncVcpu,
    does: HashMap<u8, Does>,
    /// The commands that were executed.
    seen: Arc<Mutex<Commands>>,
}

impl Payload {
    /// `RSI_HOST_CALL`: X0 of the host.
    async fn call(&mut self, imm: u16) -> u64 {
        let structure = Ipa::new(STRUCTURE);
        self.cpu.store(structure, 2, imm.into()).await.unwrap();
        assert_eq!(self.cpu.host_call(structure).await, 0);
        self.cpu.load(Ipa::new(STRUCTURE + 8), 8).await.unwrap()
    }

    async fn print(&mut self, buffer: u64, text: &[u8]) {
        assert_eq!(self.cpu.load(Ipa::new(buffer), 1).await, Ok(0), "the host clears it");
        for (at, byte) in (buffer..).zip(text) {
            self.cpu.store(Ipa::new(at), 1, (*byte).into()).await.unwrap();
        }
        self.call(4).await;
    }

    async fn set_ripas(&mut self, base: u64, top: u64) -> u64 {
        let call = Action::ipa_state_set(Ipa::new(base), Ipa::new(top), Ripas::Ram, 0);
        let [result, reached, response, ..] = self.cpu.call(call).await;
        assert_eq!(result, 0);
        if response == 0 {
            assert_eq!(reached, top);
        }
        response
    }

    async fn run(mut self) {
        loop {
            let buffer = self.call(1).await;
            let load = async |cpu: &mut AsyncVcpu, offset: u64, bytes| {
                cpu.load(Ipa::new(buffer + offset), bytes).await.unwrap()
            };
            let command = u8::try_from(load(&mut self.cpu, 10240, 1).await).unwrap();
            let first = load(&mut self.cpu, 10256, 8).await;
            let second = load(&mut self.cpu, 10264, 8).await;
            self.seen.lock().unwrap().push((command, [first, second]));
            let mut is_right = true;
            match self.does.get(&command) {
                None => {}
                Some(Does::Fails) => is_right = false,
                Some(Does::Spins) => return,
                Some(Does::CallsUnknown) => assert_eq!(self.call(77).await, u64::MAX),
                Some(Does::TurnsOff) => self.cpu.system_off().await,
            }
            match command {
                9 => self.print(buffer, b"RSI\tversion\n").await,
                21 => {
                    is_right = self.set_ripas(first, second).await == 0;
                    self.cpu.store(Ipa::new(first), 8, 1).await.unwrap();
                }
                22 => is_right = self.set_ripas(first, second).await == 1,
                49 => {
                    self.cpu.act(Action::set_priority_mask(0xf0)).await;
                    self.cpu.act(Action::enable_group_1(true)).await;
                    let now = self.cpu.counter().await;
                    self.cpu.set_timer(TimerKind::Virtual, now + 2_000_000).await;
                    assert_eq!(self.cpu.next_interrupt().await, TIMER);
                    self.cpu.stop_timer(TimerKind::Virtual).await;
                    self.cpu.end_of_interrupt(TIMER).await;
                }
                _ => {}
            }
            self.call(if is_right { 2 } else { 3 }).await;
        }
    }
}

struct Ran {
    summary: Summary,
    printed: Vec<String>,
    seen: Commands,
}

impl Ran {
    fn line(&self, start: &str) -> &str {
        let found = self.printed.iter().find(|line| line.starts_with(start));
        found.unwrap_or_else(|| unreachable!("no `{start}` in {:#?}", self.printed))
    }
}

fn run(payload: &[u8], does: &[(u8, Does)]) -> Ran {
    let model = machine::model(rmm_model::Options::new(Dialect::TfRmm2026_07).range_capable());
    let seen = Arc::new(Mutex::default());
    let (shared, does) = (Arc::clone(&seen), does.iter().copied().collect::<HashMap<_, _>>());
    model.set_default_guest(Box::new(move |_: &GuestIdentity| {
        let (does, seen) = (does.clone(), Arc::clone(&shared));
        Some(Box::new(AsyncGuest::new(move |cpu| Payload { cpu, does, seen }.run())))
    }));
    let machine = Threads::new(&model, machine::calling(&model), 1);
    let free = machine.memory().bytes();
    let summary = machine.with_alarms(|| tf_a_tests::run(&machine, payload, LIMIT));
    assert_eq!(machine.memory().bytes(), free);
    let printed = machine.printed();
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    Ran { summary, printed, seen }
}

#[test]
fn a_payload_that_does_all() {
    let ran = run(b"payload", &[]);
    assert_eq!(ran.summary.failed, 0, "{:#?}", ran.printed);
    assert_eq!(ran.summary.passed + ran.summary.skipped, 30);
    assert_eq!(ran.line("realm |"), "realm | RSI version");
    let cost = ran.line("pass  cost: create");
    // A delegation, and a map of 32 blocks.
    assert!(cost.contains("; map 64 MiB 2 SMCs, "), "{cost}");
    assert!(ran.line("pass  balance").contains("leaked 0"));
    let of = |command| ran.seen.iter().filter(move |(seen, _)| *seen == command);
    assert_eq!(of(1).collect::<Vec<_>>(), [&(1, [100, 0])]);
    assert_eq!(of(21).collect::<Vec<_>>(), [&(21, [0x7000_0000, 0x7000_3000])]);
    // Two commands of one test, in their order.
    let at = |command| ran.seen.iter().position(|(seen, _)| *seen == command).unwrap();
    assert_eq!(at(20), at(19) + 1);
    assert_eq!(ran.printed.last().unwrap(), &ran.summary.to_string());
}

#[test]
fn what_goes_wrong_is_told() {
    let does =
        [(20, Does::Fails), (32, Does::Fails), (5, Does::TurnsOff), (45, Does::CallsUnknown)];
    let ran = run(&[1; 0x1001], &does);
    assert_eq!(ran.summary.failed, 3, "{:#?}", ran.printed);
    assert_eq!(ran.line("FAIL  floating"), "FAIL  floating point preserved: command 20 fails");
    assert_eq!(ran.line("FAIL  PAuth"), "FAIL  PAuth keys preserved: command 32 fails");
    assert_eq!(ran.seen.iter().filter(|(command, _)| *command == 33).count(), 0);
    assert!(ran.line("FAIL  MPAM hidden").contains("RealmOff"));
    assert!(ran.line("pass  TCR2").contains("success"));
    assert!(ran.line("pass  balance").contains("leaked 0"));
}

#[test]
fn a_payload_that_does_not_end() {
    let ran = run(b"payload", &[(3, Does::Spins)]);
    assert_eq!(ran.line("FAIL"), "FAIL  S2POE undefined: it takes too long");
    assert_eq!(ran.summary.failed, 1);
}

#[test]
fn payloads_without_a_place() {
    for payload in [&[][..], &[0; (1 << 20) + 1]] {
        let ran = run(payload, &[]);
        assert!(ran.line("FAIL").contains("the payload is empty, or larger"), "{:?}", ran.printed);
        // Only the balance is right.
        assert_eq!(ran.summary.passed, 1);
    }
}
