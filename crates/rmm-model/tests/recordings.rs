//! What TF-RMM answered, asked of the model again.
//!
//! `tests/recordings` holds transcripts of TF-RMM 9a7f8ef4 (`fake_host` build): a line that starts with `> ` is sent, the lines up to
//! the next are the answer. The model must give the same answers, but for the differences listed with each transcript.

#![expect(unsafe_code, reason = "calling the model goes through the door of a real RMM")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex};

use rmi_abi::{Dialect, Pa};
use rmi_host::{Conduit, HostAccess};
use rmm_model::{Action, GranuleState, GuestCpu, Model, Options};

/// What one entry of a Realm does: registers to set, then what to leave with.
struct Queued {
    set: Vec<(u8, u64)>,
    action: Action,
}

#[derive(Default)]
struct Stage {
    queue: VecDeque<Queued>,
    log: Vec<String>,
    is_setting: bool,
}

impl Stage {
    fn next(&mut self, cpu: &GuestCpu) -> Action {
        if !std::mem::take(&mut self.is_setting) {
            let mut line = format!("pc={:x} x", cpu.pc);
            for x in cpu.x {
                write!(line, " {x:x}").unwrap();
            }
            self.log.push(line);
        }
        let Some(next) = self.queue.front_mut() else { return Action::Fiq };
        if let Some((register, value)) = next.set.pop() {
            self.is_setting = true;
            return Action::Set { register, value };
        }
        match self.queue.pop_front().unwrap().action {
            // An SMC of the recordings keeps the registers that it does not name.
            Action::Smc(_) => Action::Smc(std::array::from_fn(|n| cpu.x[n])),
            action => action,
        }
    }
}

struct Player {
    model: Model,
    stage: Arc<Mutex<Stage>>,
    cpu: u32,
}

fn number(word: &str) -> u64 {
    u64::from_str_radix(word, 16).unwrap()
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2).map(|n| u8::from_str_radix(&hex[2 * n..2 * n + 2], 16).unwrap()).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

impl Player {
    fn new() -> Self {
        let mut options = Options::new(Dialect::TfRmm2026_07);
        // The machine of the recordings, without its planes and devices.
        options.features = [0x10_4130, 0x1_42a9, 0, 0, 0xfffe];
        let stage = Arc::new(Mutex::new(Stage::default()));
        Self { model: Model::new(options).unwrap(), stage, cpu: 0 }
    }

    fn smc(&self, x: [u64; 8]) -> [u64; 8] {
        // SAFETY: the model has memory of its own only.
        let after = unsafe { self.model.cpu(self.cpu).call(x) };
        if x[0] & 0xffff == 0x158 && after[0] == 0 {
            for index in 0..32_u64 {
                let stage = Arc::clone(&self.stage);
                let guest = move |cpu: &GuestCpu| stage.lock().unwrap().next(cpu);
                let mpidr = rmi_abi::rec::Mpidr::from_index(index as u32).raw();
                self.model.set_guest(Pa::new(x[1]), mpidr, Box::new(guest));
            }
        }
        after
    }

    fn guest(&self, words: &[&str]) {
        let value = |name: &str| {
            let found = words.iter().find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
            found.map_or(0, number)
        };
        let (esr, far, hpfar) = (value("esr"), value("far"), value("hpfar"));
        let action = match words[0] {
            // The program of the recordings does not make a call again that the RMM wants again; here an abort stands in for it.
            "smc" if words[1..] == ["c4000196", "4000"] => {
                Action::Sync { esr: 0x93c0_0007, far: 0, hpfar: 0x40 }
            }
            "smc" => Action::Smc([0; 18]),
            "hvc" => Action::Hvc,
            "wfi" => Action::Sync { esr: 0x0600_0000, far: 0, hpfar: 0 },
            "wfe" => Action::Sync { esr: 0x0600_0001, far: 0, hpfar: 0 },
            "irq" => Action::Interrupt,
            "fiq" => Action::Fiq,
            "sync" => Action::Sync { esr, far, hpfar },
            "serror" => Action::SError { esr },
            other => panic!("guest {other}"),
        };
        let mut set: Vec<(u8, u64)> = words
            .iter()
            .filter_map(|word| word.strip_prefix('x')?.split_once('='))
            .map(|(register, value)| (register.parse().unwrap(), number(value)))
            .collect();
        if matches!(words[0], "smc" | "hvc") {
            set = words[1..].iter().map(|w| number(w)).zip(0..).map(|(v, n)| (n, v)).collect();
        }
        self.stage.lock().unwrap().queue.push_back(Queued { set, action });
    }

    /// Plays one line; `None` where the answer does not matter.
    fn play(&mut self, line: &str) -> Option<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.as_slice() {
            ["smc", rest @ ..] => {
                let mut x = [0; 8];
                for (to, word) in x.iter_mut().zip(rest) {
                    *to = number(word);
                }
                let words: Vec<String> = self.smc(x).iter().map(|x| format!("{x:x}")).collect();
                Some(format!("ok {}", words.join(" ")))
            }
            ["r", at, length] => {
                let mut into = vec![0; number(length) as usize];
                self.model.peek(Pa::new(number(at)), &mut into);
                Some(format!("ok {}", hex(&into)))
            }
            ["w", at, data] => {
                self.model.poke(Pa::new(number(at)), &bytes(data));
                None
            }
            ["fill", at, length, byte] => {
                let data = vec![number(byte) as u8; number(length) as usize];
                self.model.poke(Pa::new(number(at)), &data);
                None
            }
            ["hr", at, length] => {
                let mut into = vec![0; number(length) as usize];
                // SAFETY: as above.
                let read = unsafe { self.model.read(Pa::new(number(at)), &mut into) };
                Some(read.map_or("err gpf".into(), |()| format!("ok {}", hex(&into))))
            }
            ["hw", at, data] => {
                // SAFETY: as above.
                let wrote = unsafe { self.model.write(Pa::new(number(at)), &bytes(data)) };
                Some(wrote.map_or("err gpf".into(), |()| "ok".into()))
            }
            ["guest", rest @ ..] => {
                self.guest(rest);
                None
            }
            ["glog"] => {
                let log = std::mem::take(&mut self.stage.lock().unwrap().log);
                Some(log.iter().map(|line| format!("{line}\n")).collect::<String>() + "ok")
            }
            ["gran", at] => {
                let state = match self.model.granule_state(Pa::new(number(at))) {
                    Some(GranuleState::Undelegated) => "NS",
                    Some(GranuleState::Delegated) => "DELEGATED",
                    Some(GranuleState::Rd) => "RD",
                    Some(GranuleState::Rec) => "REC",
                    Some(GranuleState::Internal) => "REC_AUX",
                    Some(GranuleState::Rtt) => "RTT",
                    Some(GranuleState::Data) => "DATA",
                    Some(GranuleState::Partial) => "PARTIAL",
                    None => "none",
                };
                Some(format!("ok {state} refcount 0"))
            }
            ["rim", rd, rest @ ..] => {
                let index = rest.first().map_or(0, |word| number(word) as usize);
                let value = self.model.measurement(Pa::new(number(rd)), index);
                Some(value.map_or("err".into(), |value| format!("ok {}", hex(&value))))
            }
            ["sysreg", "ich_lr0_el2", value] => {
                self.model.cpu(self.cpu).set_list_register(0, number(value));
                None
            }
            ["cpu", number_] => {
                self.cpu = number(number_) as u32;
                None
            }
            ["quit" | "mem" | "sysreg", ..] => None,
            other => panic!("{other:?}"),
        }
    }

    /// What a comment says was done without being recorded.
    fn comment(&self, line: &str) {
        let Some(range) = line.strip_prefix("# delegate ").and_then(|rest| rest.split_once(' '))
        else {
            return;
        };
        let (base, top) = range.0.split_once("..").unwrap();
        for granule in (number(base)..number(top)).step_by(0x1000) {
            let after = self.smc([0xc400_01f1, granule, granule + 0x1000, 0, 0, 0, 0, 0]);
            assert_eq!(after[0], 0, "delegate {granule:#x}");
        }
    }
}

/// Drops what a log line says of the physical CPU: programs do not see it.
fn without_cpu(answer: &str) -> String {
    let lines = answer.lines().map(|line| match line.find("pc=") {
        Some(at) => line[at..].to_owned(),
        None => line.to_owned(),
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Plays a transcript up to the line that starts with `until`. Answers may differ where the line sent, the comment above it or
/// the answer contains one of `differ`.
fn play(transcript: &str, until: &str, differ: &[&str]) {
    let mut player = Player::new();
    let mut topic = String::new();
    let mut lines = transcript.lines().peekable();
    let mut wrong = String::new();
    let (mut compared, mut different) = (0, 0);
    while let Some(line) = lines.next() {
        if !until.is_empty() && line.starts_with(until) {
            break;
        }
        if line.starts_with('#') && !line.starts_with("#   =") {
            player.comment(line);
            line.clone_into(&mut topic);
        }
        let Some(sent) = line.strip_prefix("> ") else { continue };
        let mut recorded = Vec::new();
        while let Some(answer) = lines.next_if(|line| !line.starts_with(['>', '#'])) {
            recorded.push(answer);
        }
        let recorded = without_cpu(&recorded.join("\n"));
        if recorded.starts_with('!') {
            break;
        }
        let Some(answer) = player.play(sent) else { continue };
        compared += 1;
        let is_known = differ
            .iter()
            .any(|known| [&topic, sent, &*recorded].iter().any(|text| text.contains(known)));
        if answer != recorded && !is_known {
            different += 1;
            writeln!(wrong, "{topic}\n> {sent}\nrecorded {recorded}\nmodel    {answer}").unwrap();
        }
    }
    assert!(compared > 50, "only {compared} answers compared");
    assert!(wrong.is_empty(), "{different} of {compared} answers differ:\n{wrong}");
}

#[test]
fn boot() {
    // This RMM has neither devices nor planes.
    let differ = ["c4000165 2", "c4000165 3", "c4000178"];
    play(include_str!("recordings/1-boot.txt"), "", &differ);
}

#[test]
fn life_sha256() {
    play(include_str!("recordings/2-life-sha256.txt"), "", &[]);
}

#[test]
fn life_sha384() {
    play(include_str!("recordings/2-life-sha384.txt"), "", &[]);
}

#[test]
fn life_sha512() {
    play(include_str!("recordings/2-life-sha512.txt"), "", &[]);
}

#[test]
fn errors() {
    let differ = [
        // There are no planes here.
        "num_aux_planes 1 with per-plane tree",
        "it was accepted; undo",
        // All 64 bits of this slot are measured there, 8 here.
        "sve_vl 0x100",
        // Delegated memory is poisoned here, and memory that a refused mapping tried is left alone.
        "r 80114000 8",
        "r 88000000 8",
        // There, a reclaim whose list cannot be written fixes how many granules the next one returns.
        "RECLAIM list_count 200",
    ];
    play(include_str!("recordings/3-errors.txt"), "", &differ);
}

#[test]
fn ranges() {
    play(include_str!("recordings/4-ranges.txt"), "", &[]);
}

#[test]
fn misc() {
    let differ = [
        // Delegated memory is poisoned here.
        "r 8011f000 4",
        // `gicv3_vtr` is that of the machine.
        "r 80126000 60",
        // There is no attestation here.
        "ATTEST_TOKEN",
        "x 0 87e",
        // The program's timers are not the CPU's.
        "cntv",
    ];
    play(include_str!("recordings/4-misc.txt"), "# ================ planes", &differ);
}

#[test]
fn operations() {
    play(include_str!("recordings/4-sro.txt"), "", &[]);
}
