//! What TF-RMM answered, compared with the answers of the model.
//!
//! `tests/recordings` contains transcripts of TF-RMM 9a7f8ef4 (`fake_host` build): a line that
//! starts with `> ` is sent, the lines up to the next one are the answer. The model must give the
//! same answers, except for the differences listed with each transcript.

#![expect(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::fmt::Write as _;

use rmi_abi::{Dialect, Pa};
use rmm_model::protocol::Session;
use rmm_model::{GranuleState, Options};

struct Player(Session);

fn number(word: &str) -> u64 {
    u64::from_str_radix(word, 16).unwrap()
}

impl Player {
    fn new() -> Self {
        let mut options = Options::new(Dialect::TfRmm2026_07);
        // The machine of the recordings, without its planes and devices.
        options.features = [0x10_4130, 0x1_42a9, 0, 0, 0xfffe];
        Self(Session::new(options).unwrap())
    }

    /// Replays one line; `None` where the answer does not matter. Lines that only the recorded
    /// process understands read the model's state.
    fn play(&mut self, line: &str) -> Option<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let model = self.0.model();
        match words.as_slice() {
            // The number of references is internal to TF-RMM.
            ["gran", at] => {
                let state = match model.granule_state(Pa::new(number(at))) {
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
                let value = model.measurement(Pa::new(number(rd)), index);
                Some(value.map_or("err".into(), |value| {
                    value.iter().fold("ok ".to_owned(), |text, byte| text + &format!("{byte:02x}"))
                }))
            }
            ["sysreg", "ich_lr0_el2", value] => {
                model.cpu(self.0.cpu()).set_list_register(0, number(value));
                None
            }
            ["sysreg", ..] => None,
            _ => Some(self.0.line(line).text.trim_end().to_owned()),
        }
    }

    /// Does what a comment says was done without being recorded.
    fn comment(&mut self, line: &str) {
        let Some(range) = line.strip_prefix("# delegate ").and_then(|rest| rest.split_once(' '))
        else {
            return;
        };
        let (base, top) = range.0.split_once("..").unwrap();
        for granule in (number(base)..number(top)).step_by(0x1000) {
            let after = self.0.line(&format!("smc c40001f1 {granule:x} {:x}", granule + 0x1000));
            assert!(after.text.starts_with("ok 0 "), "delegate {granule:#x}");
        }
    }
}

/// Replays a transcript up to the line that starts with `until`. Answers may differ where the line
/// sent, the comment above it or the answer contains one of `differ`.
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
        let recorded = recorded.join("\n");
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
fn lifecycle_sha256() {
    play(include_str!("recordings/2-lifecycle-sha256.txt"), "", &[]);
}

#[test]
fn lifecycle_sha384() {
    play(include_str!("recordings/2-lifecycle-sha384.txt"), "", &[]);
}

#[test]
fn lifecycle_sha512() {
    play(include_str!("recordings/2-lifecycle-sha512.txt"), "", &[]);
}

#[test]
fn errors() {
    let differ = [
        // There are no planes here.
        "num_aux_planes 1 with per-plane tree",
        "it was accepted; undo",
        // There, all 64 bits of this field are measured, here 8.
        "sve_vl 0x100",
        // Here, delegated memory is poisoned, and memory of a refused mapping is not changed.
        "r 80114000 8",
        "r 88000000 8",
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
        // Here, delegated memory is poisoned.
        "r 8011f000 4",
        // `gicv3_vtr` is that of the machine.
        "r 80126000 60",
        // The length of the token: the platform's claims are other ones.
        "x 0 87e",
        // The timers are the program's, not the CPU's.
        "cntv",
    ];
    play(include_str!("recordings/4-misc.txt"), "# ================ planes", &differ);
}

#[test]
fn order_of_checks() {
    play(include_str!("recordings/5-order-limits.txt"), "", &[]);
}

#[test]
fn exits() {
    play(include_str!("recordings/6-extra.txt"), "", &[]);
}

#[test]
fn found_by_random_calls() {
    play(include_str!("recordings/7-found.txt"), "", &[]);
}

#[test]
fn calls_of_a_realm() {
    let differ = [
        // As in `misc`.
        "r 8011f000 4",
        "r 80126000 60",
        // The length of the token: the platform's claims are other ones.
        "x 0 86e",
    ];
    play(include_str!("recordings/8-rsi.txt"), "", &differ);
}

#[test]
fn operations() {
    play(include_str!("recordings/4-sro.txt"), "", &[]);
}
