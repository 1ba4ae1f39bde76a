//! What TF-RMM answered, compared with the answers of the model.
//!
//! `tests/recordings` contains transcripts of TF-RMM 9a7f8ef4, and `tests/recordings/1.0` of v0.8.0
//! (`fake_host` builds): a line that starts with `> ` is sent, the lines up to the next one are the
//! answer. The model must give the same answers, except for the differences listed with each
//! transcript.

#![expect(
    clippy::cast_possible_truncation,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

use std::fmt::Write as _;

use rmi_abi::{Dialect, Pa};
use rmm_model::protocol::Session;
use rmm_model::{GranuleState, Options};

struct Player {
    session: Session,
    dialect: Dialect,
}

fn number(word: &str) -> u64 {
    u64::from_str_radix(word, 16).unwrap()
}

impl Player {
    /// The machine of the recordings, without its planes and devices.
    fn new(dialect: Dialect) -> Self {
        let mut options = Options::new(dialect);
        if dialect.is_2_0() {
            options.features = [0x10_4130, 0x1_42a9, 0, 0, 0xfffe];
        } else {
            options.features = [0x283_fc10_4130, 0, 0, 0, 0];
            options.list_registers = 1;
        }
        Self { session: Session::new(options).unwrap(), dialect }
    }

    /// Replays one line; `None` where the answer does not matter. Lines that only the recorded
    /// process understands read the model's state.
    fn play(&mut self, line: &str) -> Option<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        let model = self.session.model();
        match words.as_slice() {
            // The number of references is internal to TF-RMM, and so is that of the state.
            ["gran", at] => {
                let (state, code) = match model.granule_state(Pa::new(number(at))) {
                    Some(GranuleState::Undelegated) => ("NS", 0),
                    Some(GranuleState::Delegated) => ("DELEGATED", 1),
                    Some(GranuleState::Rd) => ("RD", 2),
                    Some(GranuleState::Rec) => ("REC", 3),
                    Some(GranuleState::Internal) => ("REC_AUX", 4),
                    Some(GranuleState::Rtt) => ("RTT", 6),
                    Some(GranuleState::Data) => ("DATA", 5),
                    Some(GranuleState::Partial) => ("PARTIAL", 0),
                    None => ("none", 0),
                };
                Some(match self.dialect.is_2_0() {
                    true => format!("ok {state} refcount 0"),
                    false => format!("ok {state} {code} refcount 0"),
                })
            }
            ["rim", rd, rest @ ..] => {
                let index = rest.first().map_or(0, |word| number(word) as usize);
                let value = model.measurement(Pa::new(number(rd)), index);
                Some(value.map_or("err".into(), |value| {
                    value.iter().fold("ok ".to_owned(), |text, byte| text + &format!("{byte:02x}"))
                }))
            }
            ["sysreg", "ich_lr0_el2", value] => {
                model.cpu(self.session.cpu()).set_list_register(0, number(value));
                None
            }
            ["sysreg", ..] => None,
            // That machine has four CPUs.
            ["cpu", cpu] if !self.dialect.is_2_0() && number(cpu) > 3 => Some("err cpu".into()),
            ["hr", at, length] if !self.dialect.is_2_0() => {
                let (at, length) = (number(at), number(length));
                let mut text = self.session.line(line).text.trim_end().to_owned();
                // The virtual CPU interface of that machine keeps nothing.
                for byte in
                    (at..at + length).filter(|byte| (0xb00..0xb98).contains(&(byte & 0xfff)))
                {
                    let digits = 3 + 2 * (byte - at) as usize;
                    text.replace_range(digits..digits + 2, "00");
                }
                Some(text)
            }
            _ => Some(self.session.line(line).text.trim_end().to_owned()),
        }
    }

    /// Does what a comment says was done without being recorded.
    fn comment(&mut self, line: &str) {
        let Some(range) = line.strip_prefix("# delegate ") else { return };
        let range = range.split(' ').next().unwrap_or(range);
        let (base, top) = range.split_once("..").unwrap();
        for granule in (number(base)..number(top)).step_by(0x1000) {
            let call = match self.dialect.is_2_0() {
                true => format!("smc c40001f1 {granule:x} {:x}", granule + 0x1000),
                false => format!("smc c4000151 {granule:x}"),
            };
            let after = self.session.line(&call);
            assert!(after.text.starts_with("ok 0 "), "delegate {granule:#x}");
        }
    }
}

/// Replays a transcript up to the line that starts with `until`. Answers may differ where the line
/// sent, the comment above it or the answer contains one of `differ`.
fn play(transcript: &str, until: &str, differ: &[&str]) {
    play_on(Dialect::TfRmm2026_07, transcript, until, differ);
}

fn play_on(dialect: Dialect, transcript: &str, until: &str, differ: &[&str]) {
    let mut player = Player::new(dialect);
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

/// What TF-RMM v0.8.0 has of a draft of 1.1, and the model has not.
const DRAFT: [&str; 11] = [
    "c4000163 1",
    "c4000172 1",
    "c4000173 1",
    "c400017d 1",
    "c400017e 1",
    "c400017f 1",
    "c4000180 1",
    "c4000181 1",
    "c4000183 1",
    "c4000184 1",
    "c400018b 1",
];

#[test]
fn boot_of_1_0() {
    play_on(Dialect::V1_0, include_str!("recordings/1.0/1-boot.txt"), "", &DRAFT);
}

#[test]
fn lifecycle_of_1_0_sha256() {
    play_on(Dialect::V1_0, include_str!("recordings/1.0/2-lifecycle-sha256.txt"), "", &[]);
}

#[test]
fn lifecycle_of_1_0_sha512() {
    play_on(Dialect::V1_0, include_str!("recordings/1.0/2-lifecycle-sha512.txt"), "", &[]);
}

#[test]
fn errors_of_1_0() {
    let differ = [
        // Here, memory of a refused command stays poisoned.
        "r 80200000 10",
        // There, no maintenance interrupt is signalled.
        "gicv3_hcr bit 63",
        // That machine has fewer priorities and no extended ranges of interrupts.
        "INTID 1056",
        "INTID 4096",
        "priority 08",
    ];
    play_on(Dialect::V1_0, include_str!("recordings/1.0/3-errors.txt"), "", &differ);
}

#[test]
fn walks_of_1_0() {
    // The one number of references that is recorded.
    play_on(Dialect::V1_0, include_str!("recordings/1.0/4-ranges.txt"), "", &["gran 80156000"]);
}

#[test]
fn calls_of_a_realm_of_1_0() {
    let differ = [
        // An identification register; here it is zero.
        "x 0 101700",
        // Calls of drafts of RSI 1.1, which are not supported here.
        "x 1 0 0 0 4 5 6 7 8 9",
        "x 2 0 0 0 4 5 6 7 8 9",
        "x 2 10 0 0 4 5 6 7 8 9",
        // `gicv3_vtr` is that of the machine.
        "r 80144000 1000",
        "r 80148000 40",
    ];
    play_on(Dialect::V1_0, include_str!("recordings/1.0/5-rsi.txt"), "", &differ);
}

#[test]
fn tokens_of_1_0() {
    // The platform's part is as long as the claims that the platform makes up.
    let differ = ["another length", "x 0 846 "];
    play_on(Dialect::V1_0, include_str!("recordings/1.0/6-token.txt"), "", &differ);
}
