//! A session is recorded on the model and replayed without it.
#![cfg(feature = "alloc")]
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

mod ledger;
mod lifecycle;
mod text;

use std::cell::RefCell;

use rmi_abi::Dialect;
use rmi_conduits::recording::{REGISTERS_FOLLOW, Recording};
use rmi_conduits::replay::{Divergence, Replay, Transcript};
use rmi_conduits::tracing::{TraceSink, WriteSink};
use rmi_host::Host;
use rmm_model::{Model, Options};

use lifecycle::{Image, Observed, run_host};

const DIALECTS: [Dialect; 5] = Dialect::ALL;
const IMAGE: Image = [0xa5; 0x2800];

fn sink() -> WriteSink<RefCell<String>> {
    WriteSink::new(RefCell::new(String::new()))
}

fn model(dialect: Dialect) -> Model {
    let mut options = Options::new(dialect).range_capable();
    options.yield_every = std::num::NonZeroU32::new(3);
    Model::new(options).unwrap()
}

/// Records a run of the host on a model: what the host observed, and the text.
fn record(dialect: Dialect, redacted: bool) -> (Observed, String) {
    let model = model(dialect);
    let recording = if redacted {
        Recording::redacted(&model, &model, sink(), dialect)
    } else {
        Recording::new(&model, &model, sink(), dialect)
    };
    let memory = model.take_memory();
    let observed = run_host(Host::new(&recording, &recording), memory, &IMAGE, |rd| {
        lifecycle::set_guest(&model, rd)
    });
    assert_eq!(model.census().undelegated, model.census().total);
    assert_eq!(recording.sink().lost(), 0);
    (observed, recording.into_sink().into_inner().into_inner())
}

/// Runs the host again on a recording.
fn replay(text: &str, image: &Image) -> (Observed, Replay) {
    let replay = Replay::new(text.parse().unwrap());
    let memory = replay.take_memory(model(replay.transcript().dialect()).options().dram);
    let observed = run_host(Host::new(&replay, &replay), memory, image, |_| {});
    (observed, replay)
}

#[test]
fn the_same_host_sees_the_same_again() {
    for dialect in DIALECTS {
        let (recorded, text) = record(dialect, false);
        assert!(recorded.ended, "{recorded:?}");
        assert_eq!(recorded.stored, [0x1234_5678]);
        let (played, replay) = replay(&text, &IMAGE);
        assert_eq!(replay.divergence(), None);
        assert_eq!(replay.remaining(), 0);
        assert_eq!(played, recorded);
    }
}

#[test]
fn a_transcript_is_the_text_it_was_read_from() {
    for dialect in DIALECTS {
        let (_, text) = record(dialect, false);
        let calls = text.replace(&format!("{REGISTERS_FOLLOW}\n"), "");
        assert_eq!(text.parse::<Transcript>().unwrap().to_string(), calls);
    }
}

#[test]
fn recording_a_replay_gives_the_recording() {
    let dialect = Dialect::TfRmm2026_07;
    let (_, text) = record(dialect, false);
    let replay = Replay::new(text.parse().unwrap());
    let again = Recording::new(&replay, &replay, sink(), dialect);
    let memory = replay.take_memory(model(dialect).options().dram);
    run_host(Host::new(&again, &again), memory, &IMAGE, |_| {});
    assert_eq!(again.into_sink().into_inner().into_inner(), text);
}

#[test]
fn a_changed_call_is_reported_and_nothing_panics() {
    let (_, text) = record(Dialect::TfRmm2026_07, false);
    let calls = text.parse::<Transcript>().unwrap().calls().len();
    for changed in 0..calls {
        // Another X1 in one call: the host, which sends the old value, diverges there.
        let lines = text.lines().map(|line| {
            if line.starts_with(&format!("call {changed} ")) {
                let mut words: Vec<_> = line.split(' ').collect();
                match words[3] {
                    "=" => words.insert(3, "77"),
                    _ => words[3] = "77",
                }
                words.join(" ") + "\n"
            } else {
                format!("{line}\n")
            }
        });
        let (_, replay) = replay(&lines.collect::<String>(), &IMAGE);
        match replay.divergence() {
            Some(Divergence::Call { call, expected, got, .. }) => {
                assert_eq!((call, expected[1]), (changed as u64, 0x77));
                assert_ne!(got[1], 0x77);
            }
            other => panic!("call {changed}: {other:?}"),
        }
        assert_eq!(replay.played(), changed);
    }
}

#[test]
fn a_changed_parameter_is_reported() {
    let (_, text) = record(Dialect::TfRmm2026_07, false);
    // The last word of the Realm's parameters.
    let line = text.lines().find(|line| line.starts_with("in ")).unwrap();
    let changed = format!("{} ff8:1", line);
    let (_, replay) = replay(&text.replace(line, &changed), &IMAGE);
    match replay.divergence() {
        Some(Divergence::Memory { at, expected: 1, got: 0, .. }) => {
            assert_eq!(at.raw() & 0xfff, 0xff8);
        }
        other => panic!("{other:?}"),
    }
    assert!(replay.divergence().unwrap().to_string().contains("passes 0x0 to the RMM at"));
}

#[test]
fn a_call_too_many_is_reported() {
    let (recorded, text) = record(Dialect::TfRmm2026_07, false);
    let cut = text.rfind("\ncall ").unwrap();
    let (played, replay) = replay(&text[..=cut], &IMAGE);
    assert!(matches!(replay.divergence(), Some(Divergence::End { .. })));
    assert!(replay.divergence().unwrap().to_string().ends_with("after the end of the recording"));
    assert_ne!(played, recorded);
}

/// Whoever is given a recording reads that registers of a Realm are in it, once, before they are.
#[test]
fn sound_9_a_recording_says_that_it_holds_registers_of_a_realm() {
    let (_, text) = record(Dialect::TfRmm2026_07, false);
    let lines: Vec<&str> = text.lines().collect();
    let said: Vec<usize> = (0..lines.len()).filter(|&at| lines[at] == REGISTERS_FOLLOW).collect();
    let first = lines.iter().position(|line| line.contains("12345678")).unwrap();
    assert_eq!(said.len(), 1);
    assert!(said[0] < first);

    let (_, redacted) = record(Dialect::TfRmm2026_07, true);
    assert!(!redacted.contains(REGISTERS_FOLLOW));
}

#[test]
fn a_redacted_recording_keeps_what_the_realm_said_to_itself() {
    let (recorded, whole) = record(Dialect::TfRmm2026_07, false);
    assert!(whole.contains("12345678"));
    let (_, redacted) = record(Dialect::TfRmm2026_07, true);
    assert!(!redacted.contains("12345678"));
    // This host does the same whatever is stored: the replay completes, and the value is removed.
    let (played, replay) = replay(&redacted, &IMAGE);
    assert_eq!((replay.divergence(), replay.remaining()), (None, 0));
    assert_eq!(recorded.stored, [0x1234_5678]);
    assert_eq!(played.stored, [0]);
}

#[test]
fn what_a_realm_is_populated_with_is_not_in_a_redacted_recording() {
    // The values of the Realm's host call come from the content, and only a complete recording
    // contains them.
    assert!(record(Dialect::TfRmm2026_07, false).1.contains("a5a5a5"));
    let (recorded, text) = record(Dialect::TfRmm2026_07, true);
    assert!(!text.contains("a5a5a5"), "{text}");
    let (played, replay) = replay(&text, &[0x5a; 0x2800]);
    assert_eq!(replay.divergence(), None);
    assert_eq!(played.exits, recorded.exits);
}

#[test]
fn a_recorder_writes_the_dialect_that_probing_found() {
    let model = model(Dialect::TfRmm2026_07);
    let recording = Recording::new(&model, &model, sink(), Dialect::V2_0Bet3);
    recording.set_dialect(Dialect::TfRmm2026_07);
    assert_eq!(recording.dialect(), Dialect::TfRmm2026_07);
    recording.sink().line(format_args!("# a remark"));
    let text = recording.into_sink().into_inner().into_inner();
    let transcript: Transcript = text.parse().unwrap();
    assert_eq!(transcript.dialect(), Dialect::TfRmm2026_07);
}
