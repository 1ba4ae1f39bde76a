//! An RMM behind the line protocol, and peers that do not implement the protocol.
#![cfg(feature = "std")]
#![expect(unsafe_code, reason = "the conduit and its memory are also reached without a session")]
#![expect(clippy::unwrap_used, reason = "tests")]

mod wire;

use std::error::Error as _;
use std::io::{Cursor, sink};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use proptest::prelude::*;
use rmi_abi::{Dialect, Pa};
use rmi_conduits::lines::{Lines, LinesError};
use rmi_host::conduit::{NO_ANSWER, NOT_SENT};
use rmi_host::{AccessFault, Conduit, CountingLedger, Discovered, HostAccess, SessionOptions};
use rmm_model::Options;

const D: Dialect = Dialect::TfRmm2026_07;

/// A peer that sends this text, whatever it is asked.
fn says(text: impl Into<Vec<u8>>) -> Result<Lines, LinesError> {
    Lines::new(Cursor::new(text.into()), sink())
}

fn call(lines: &Lines) -> [u64; 8] {
    // SAFETY: the call names no memory, and there is none.
    unsafe { lines.call([0xc400_0150, 0x2_0000, 0, 0, 0, 0, 0, 0]) }
}

#[test]
fn a_session_through_lines() {
    let lines = wire::model(Options::new(D));
    assert!(lines.banner().contains("tf-rmm-2026-07"), "{}", lines.banner());
    let mut memory = lines.take_memory().unwrap();
    assert_eq!(memory.range(), Options::new(D).dram);
    assert!(lines.take_memory().unwrap().is_empty(), "there is one token");
    let ledger = CountingLedger::new();
    let platform = lines.host().with_ledger(&ledger);
    let found = Discovered::probe(platform, SessionOptions::default()).unwrap();
    assert_eq!(found.dialect(), D);
    let configured = found.configure(&mut memory).unwrap();
    let _ = configured.start_activation().unwrap();
    let rmm = configured.into_active();

    // More than fits into a line.
    let content: Vec<u8> = (0..0x3000u32).map(|n| (n % 251) as u8).collect();
    let mut pages = memory.take_front(0x4000).unwrap();
    rmm.write_host(&mut pages, 0xff8, &content).unwrap();
    let mut back = vec![0; content.len()];
    rmm.read_host(&pages, 0xff8, &mut back).unwrap();
    assert_eq!(back, content);

    let base = pages.base();
    let pages = rmm.delegate(pages).unwrap();
    assert_eq!(ledger.balance().outstanding(), 4);
    let second = Pa::new(base.raw() + 0x1000);
    // SAFETY: the memory exists only in the model.
    let read = unsafe { lines.read(second, &mut [0; 2]) };
    assert_eq!(read, Err(AccessFault { at: second }), "the host sees no delegated memory");
    // SAFETY: as before.
    assert_eq!(unsafe { lines.write(second, &[1]) }, Err(AccessFault { at: second }));
    // SAFETY: as before.
    let beyond = unsafe { lines.read(Pa::new(u64::MAX - 0x3ff), &mut [0; 0x800]) };
    assert!(beyond.is_err());
    let _ = rmm.undelegate(pages).unwrap().into_raw();
    assert_eq!(ledger.balance().outstanding(), 0);

    assert_eq!(lines.say("cpu").unwrap().words, "0");
    assert_eq!(lines.say("glog").unwrap().rows, [""; 0]);
    let refused = lines.say("no such line").unwrap_err();
    assert_eq!(refused.to_string(), "refused: unknown");
    for line in ["", "  ", "# no", "cpu\ncpu", "cpu\r"] {
        assert!(matches!(lines.say(line), Ok(_) | Err(LinesError::NotALine)), "{line:?}");
    }
    // The answers still match their lines.
    assert_eq!(lines.say("cpu 1").unwrap().words, "1");
}

/// The reader and the writer of the embedder panic at any point: no later call takes the answer of
/// the one that was interrupted.
#[test]
fn sound_1_a_line_that_is_interrupted_has_no_successor() {
    let mut interrupted = 0;
    for n in 1..8 {
        let countdown = Arc::new(AtomicU32::new(0));
        let lines = wire::panicking(Options::new(D), &countdown);
        let ask = || lines.say("mem").map(|answer| answer.words);
        let known = ask().unwrap();
        countdown.store(n, Ordering::Relaxed);
        // The answer to this one is another.
        let quiet = std::panic::take_hook();
        std::panic::set_hook(Box::new(|_| ()));
        let outcome = catch_unwind(AssertUnwindSafe(|| lines.say("cpu")));
        std::panic::set_hook(quiet);
        countdown.store(0, Ordering::Relaxed);
        if outcome.is_ok() {
            assert_eq!(ask().unwrap(), known);
            continue;
        }
        interrupted += 1;
        assert_eq!(call(&lines), NOT_SENT, "interrupted at {n}");
        assert_eq!(ask().unwrap_err().to_string(), "no answer: a line was interrupted");
    }
    assert!(interrupted >= 3, "{interrupted}");
}

#[test]
fn what_is_no_answer() {
    for text in ["", "ok", "ready", "ok ready", "err busy\n", "- ok\n", "!\n", "ok go\n"] {
        let ready = text == "ok ready\n";
        assert_eq!(says(text).is_ok(), ready, "{text:?}");
    }
    let endless = says(vec![b'x'; 3 << 20]).unwrap_err().to_string();
    assert_eq!(endless, "not an answer: 1048576 bytes without an end");
    let endless = says("- row\n".repeat(1 << 17)).unwrap_err().to_string();
    assert_eq!(endless, "not an answer: 65536 lines");

    let large = says(("- ".to_owned() + &"x".repeat(1 << 19) + "\n").repeat(64)).unwrap_err();
    assert!(large.to_string().ends_with("bytes without an end"), "{large}");

    let ready = "ok ready x\n";
    for (text, why) in [
        ("", "no answer: the other end closed"),
        ("! assertion\n", "the RMM crashed: assertion"),
        ("what\n", "not an answer: what"),
        ("ok 0 0", "not an answer: 6 bytes without an end"),
    ] {
        let lines = says(format!("{ready}{text}")).unwrap();
        assert_eq!(lines.say("mem").unwrap_err().to_string(), why);
        // The connection stays in that state.
        assert_eq!(call(&lines), NOT_SENT);
        let later = lines.say("mem").unwrap_err().to_string();
        assert_eq!(later, format!("no answer: {}", why.trim_start_matches("no answer: ")));
    }
    // Also when the peer ended during a call, without an answer.
    let lines = says(format!("{ready}! assertion\n")).unwrap();
    assert_eq!((call(&lines), call(&lines)), (NO_ANSWER, NOT_SENT));
    let later = lines.say("mem").unwrap_err().to_string();
    assert_eq!(later, "no answer: the RMM crashed: assertion");
    // Seven registers, nine, and one that is not a number; the good answer after that is too late.
    for words in ["0 1 2 3 4 5 6", "0 1 2 3 4 5 6 7 8", "0 1 2 3 4 5 6 x", ""] {
        let lines = says(format!("{ready}ok {words}\nok 0 1 2 3 4 5 6 7\n")).unwrap();
        assert_eq!((call(&lines), call(&lines)), (NO_ANSWER, NOT_SENT));
    }
    let lines = says(format!("{ready}ok 0 1 2 3 4 5 6 f\r\n")).unwrap();
    assert_eq!(call(&lines), [0, 1, 2, 3, 4, 5, 6, 15]);
    for words in
        ["dram", "dram 80000000", "dram 80000001 1000", "dram fffffffffffff000 2000", "x 0 0"]
    {
        let lines = says(format!("{ready}ok {words}\n")).unwrap();
        assert_eq!(lines.take_memory().unwrap_err().to_string(), format!("not an answer: {words}"));
    }
    for digits in ["", "0", "00", "000", "0000 ", "0g00", "+1+1", "é1"] {
        let lines = says(format!("{ready}ok {digits}\n")).unwrap();
        // SAFETY: there is no memory.
        let read = unsafe { lines.read(Pa::new(0x1000), &mut [0; 2]) };
        assert_eq!(read.is_ok(), digits.trim() == "0000", "{digits}");
    }
}

proptest! {
    #[test]
    fn no_answer_does_harm(
        text in prop::collection::vec(
            prop_oneof![
                any::<u8>(),
                prop::sample::select(b"ok err- !\n0123456789abcdef".to_vec()),
            ],
            0..200,
        ),
    ) {
        let mut all = b"ok ready\n".to_vec();
        all.extend(text);
        let lines = says(all).unwrap();
        for _ in 0..4 {
            let _ = (call(&lines), lines.take_memory(), lines.say("glog"));
            // SAFETY: there is no memory.
            let _ = unsafe { lines.read(Pa::new(0), &mut [0; 3]) };
        }
    }
}

#[cfg(unix)]
#[test]
fn a_process() {
    use std::process::Command;

    let script = |text| Lines::spawn(Command::new("sh").args(["-c", text]));
    let lines =
        script("echo ok ready a shell; while read a b; do echo \"- $a\"; echo \"ok $b\"; done")
            .unwrap();
    assert_eq!(lines.banner(), "a shell");
    let answer = lines.say("one two three").unwrap();
    assert_eq!((answer.rows, answer.words), (vec!["one".to_owned()], "two three".to_owned()));
    assert_eq!(call(&lines), [0xc400_0150, 0x2_0000, 0, 0, 0, 0, 0, 0], "as the shell was told");
    drop(lines);
    // A process that does not end by itself ends when the value is dropped, and one that says
    // nothing is not an RMM.
    drop(script("echo ok ready; exec sleep 1000").unwrap());
    assert!(matches!(script("exit 0"), Err(LinesError::Gone { .. })));
    let missing = Lines::spawn(&mut Command::new("/no such program")).unwrap_err();
    let source = missing.source().expect("the error of the system").to_string();
    assert_eq!(missing.to_string(), format!("the connection failed: {source}"));
}
