//! Every status as the answer to every command: the exact error that an embedder gets.

use rmi_abi::commands::Effect;
use rmi_abi::result::OpMemReq;
use rmi_abi::{Dialect, ResultWord, Status};
use rmi_host::{Error, Violation};

use crate::cases::{Case, Outcome, cases};
use crate::fixture::Fake;
use crate::registers::HAVE_EQUIVALENT;

const HANDLE: u64 = 0x4a4d;

/// Every status with the data that goes with it, the code after the last one, an unknown one, and
/// the answer of a function that does not exist.
fn words() -> Vec<ResultWord> {
    let mut words: Vec<_> = (0..=17).chain([99, 255]).map(ResultWord).collect();
    for status in [4, 7, 8, 9, 12] {
        // Levels 2 and -1; above them a granule number, as late revisions have it.
        words.extend([0x0200, 0xff00, 0x0008_0000_0000].map(|data| ResultWord(status | data)));
    }
    for mem in [OpMemReq::None, OpMemReq::Donate, OpMemReq::Reclaim, OpMemReq::Reserved] {
        words.extend([false, true].map(|can_cancel| ResultWord::incomplete(mem, can_cancel)));
    }
    words.push(ResultWord::NOT_SUPPORTED);
    words
}

/// What an embedder must get when X0 is always `word`.
fn expected(case: &Case, effect: Effect, word: ResultWord) -> Expected {
    let status = word.status();
    let violation = |violation, value| {
        Expected::Error(Error::violation(case.command, violation, value, case.subject))
    };
    if word.is_not_supported() {
        return Expected::Refused;
    }
    match (status, effect) {
        (Status::Success, _) => Expected::Done,
        (Status::Busy | Status::Blocked, _) => Expected::Exhausted(status),
        (Status::Incomplete, Effect::Immediate) => violation(Violation::Status, 13),
        (Status::Incomplete, _) if word.op_mem_req() == OpMemReq::Reserved => {
            violation(Violation::Status, word.0)
        }
        (Status::Incomplete, Effect::Transfer) => Expected::Pending,
        (Status::Incomplete, Effect::Stateful) => match word.op_mem_req() {
            OpMemReq::None => {
                Expected::Error(Error::unfinished(case.command, HANDLE, case.subject))
            }
            _ => violation(Violation::UnexpectedTransfer, HANDLE),
        },
        (Status::Unknown(_), _) => Expected::Unclear,
        _ => Expected::Refused,
    }
}

#[derive(Debug)]
enum Expected {
    Done,
    Pending,
    Exhausted(Status),
    Refused,
    Unclear,
    Error(Error),
}

#[test]
fn every_status_of_every_command_is_the_error_it_stands_for() {
    let mut seen = 0;
    for case in cases() {
        for dialect in Dialect::ALL {
            let Some(form) = case.command.form(dialect) else { continue };
            for word in words() {
                let fake = Fake::default();
                let [mut x1, x2, x3, x4] = case.success;
                if word.status() == Status::Incomplete {
                    x1 = HANDLE;
                }
                fake.always([word.0, x1, x2, x3, x4, 0, 0, 0]);
                let outcome = (case.run)(&fake, dialect);
                let expected = expected(&case, form.effect(), word);
                check(&case, dialect, word, &outcome, &expected);
                seen += 1;
            }
        }
    }
    assert!(seen > 10_000, "{seen}");
}

fn check(case: &Case, dialect: Dialect, word: ResultWord, outcome: &Outcome, expected: &Expected) {
    let place = format!("{} in {dialect}, X0 {:#x}: {outcome:?}", case.command, word.0);
    let refusal = |found: &rmi_host::Refusal| {
        let as_it_came = (found.command(), found.dialect(), found.result(), found.subject());
        assert_eq!(as_it_came, (case.command, dialect, word, case.subject), "{place}");
        assert_eq!(found.result().level(), word.level(), "{place}");
        let text = found.to_string();
        assert!(text.contains(case.command.name()) && text.contains(dialect.name()), "{text}");
    };
    match (expected, outcome) {
        (Expected::Done, Outcome::Done) | (Expected::Pending, Outcome::Pending) => {}
        (Expected::Refused, Outcome::Failed(error @ Error::Refused(found))) => {
            refusal(found);
            assert!(error.is_clean());
        }
        (Expected::Unclear, Outcome::Failed(error @ Error::Unclear(found))) => {
            refusal(found);
            assert!(!error.is_clean());
        }
        (Expected::Exhausted(status), Outcome::Failed(error @ Error::Exhausted { .. })) => {
            let all = (error.command(), error.status(), error.subject());
            let expected = (Some(case.command), Some(*status), Some(case.subject));
            assert_eq!(all, expected, "{place}");
        }
        (Expected::Error(error), Outcome::Failed(found)) => assert_eq!(error, found, "{place}"),
        _ => panic!("{place}, expected {expected:?}"),
    }
}

/// Whatever the other registers contain: no panic, and no success that claims more than was
/// requested.
#[test]
fn garbage_outputs_are_survived() {
    let values = [0, 1, 0xfff, 0x1000, u64::MAX, u64::MAX << 12, 1 << 63, 0x4000_1000, 0xc000_0ffd];
    for case in cases() {
        for dialect in Dialect::ALL {
            let is_known = case.command.form(dialect).is_some();
            let is_v1 = dialect == Dialect::V1_0;
            let has_equivalent = is_v1 && HAVE_EQUIVALENT.contains(&case.command);
            if !is_known && !has_equivalent {
                continue;
            }
            for value in values {
                for x0 in [0, 4, 7, 16] {
                    let fake = Fake::default();
                    fake.always([x0, value, value, value, value, value, value, value]);
                    let outcome = (case.run)(&fake, dialect);
                    assert_ne!(outcome, Outcome::Pending);
                    // What is not mapped is passed over in 1.0.
                    assert!(x0 == 0 || !is_known || outcome != Outcome::Done, "{}", case.command);
                }
            }
        }
    }
}
