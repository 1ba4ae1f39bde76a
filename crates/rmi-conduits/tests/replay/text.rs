//! The text of recordings: what is written can be read, what is read is written the same, and
//! nothing else is accepted.

use std::fmt::Write as _;

use proptest::prelude::*;
use rmi_abi::Dialect;
use rmi_conduits::replay::{Transcript, TranscriptErrorKind, parse};

/// The part of a page line after its keyword and number, in the only form that a recorder writes.
fn page() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        2 => Just(None),
        1 => Just(Some(None)),
        3 => (1..=u64::MAX).prop_map(|w| Some(Some(w))),
    ];
    (any::<u64>(), 0..512u64, prop::collection::vec(word, 0..40)).prop_map(|(at, first, words)| {
        let at = (at & !0xfff) + first * 8;
        let words = &words[..words.len().min(512 - usize::try_from(first).unwrap())];
        let mut text = format!("{at:x} {:x}", words.len() * 8);
        let mut before = false;
        for (index, word) in words.iter().enumerate() {
            let Some(word) = word else {
                before = false;
                continue;
            };
            match before {
                true => text.push(','),
                false => write!(text, " {:x}:", index * 8).unwrap(),
            }
            match word {
                Some(word) => write!(text, "{word:x}").unwrap(),
                None => text.push('*'),
            }
            before = true;
        }
        text
    })
}

fn registers(values: [u64; 8]) -> String {
    let used = values.iter().rposition(|value| *value != 0).unwrap_or(0);
    values[..=used].iter().map(|value| format!(" {value:x}")).collect()
}

fn register() -> impl Strategy<Value = [u64; 8]> {
    prop::array::uniform8(prop_oneof![Just(0), 0..16u64, any::<u64>()])
}

fn call() -> impl Strategy<Value = (String, [u64; 8], [u64; 8], String)> {
    let pages = |keyword: &'static str| {
        prop::collection::vec(page(), 0..3).prop_map(move |pages| {
            pages.iter().map(|page| format!("{keyword} N {page}\n")).collect::<String>()
        })
    };
    (pages("in"), register(), register(), pages("out"))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_written_is_read_and_written_again(
        dialect in prop::sample::select(Dialect::ALL.to_vec()),
        calls in prop::collection::vec(call(), 0..8),
        first in 0..u64::MAX / 2,
    ) {
        let mut text = format!("rmi-recording 1 {dialect}\n");
        for (number, (reads, x, y, writes)) in (first..).zip(&calls) {
            let number = number.to_string();
            text += &reads.replace('N', &number);
            text += &format!("call {number}{} ={}\n", registers(*x), registers(*y));
            text += &writes.replace('N', &number);
        }
        let transcript: Transcript = text.parse().unwrap();
        prop_assert_eq!(transcript.to_string(), text);
        for (call, (_, x, y, _)) in transcript.calls().iter().zip(&calls) {
            prop_assert_eq!((call.registers(), call.answer()), (x, y));
        }
    }

    /// The order of lines does not matter, as long as the lines for one direction of a page keep
    /// their order.
    #[test]
    fn lines_of_several_calls_may_mix(calls in prop::collection::vec(call(), 0..6)) {
        let header = String::from("rmi-recording 1 2.0-bet3\n");
        let (mut pages, mut lines) = (String::new(), Vec::new());
        for (number, (reads, x, y, writes)) in calls.iter().enumerate() {
            pages += &reads.replace('N', &number.to_string());
            pages += &writes.replace('N', &number.to_string());
            lines.push(format!("call {number}{} ={}\n", registers(*x), registers(*y)));
        }
        let sorted = parse(&format!("{header}{}{pages}", lines.concat())).unwrap();
        lines.reverse();
        let mixed = parse(&format!("{header}{pages}# remark\n\n{}", lines.concat())).unwrap();
        prop_assert_eq!(sorted, mixed);
    }

    #[test]
    fn any_text_is_read_or_refused(
        text in "(rmi-recording 1 2.0-bet3\n)?((call|in|out|dialect|=|\
            [0-9a-f]{1,17}|[0-9a-f]{1,3}:[0-9a-f]{1,4}|\\*|:|,|[ -~])[ \n]){0,30}",
    ) {
        if let Ok(transcript) = parse(&text) {
            prop_assert_eq!(parse(&transcript.to_string()), Ok(transcript));
        }
    }
}

#[test]
fn bad_texts_are_refused_by_line() {
    use TranscriptErrorKind as Kind;
    for (text, kind) in [
        ("", Kind::Header),
        ("rmi-recording 2 2.0-bet3", Kind::Header),
        ("rmi-recording 1 3.0", Kind::Dialect),
        ("rmi-recording 1 1.0\ndialect x", Kind::Dialect),
        ("rmi-recording 1 1.0\nring 0 1 = 0", Kind::Keyword),
        ("rmi-recording 1 1.0\ncall", Kind::Keyword),
        ("rmi-recording 1 1.0\ncall +1 1 = 0", Kind::Number),
        ("rmi-recording 1 1.0\ncall 18446744073709551616 1 = 0", Kind::Number),
        ("rmi-recording 1 1.0\ncall 1 1", Kind::Registers),
        ("rmi-recording 1 1.0\ncall 1 1 2 3 4 5 6 7 8 9 = 0", Kind::Registers),
        ("rmi-recording 1 1.0\ncall 1 1 = +0", Kind::Registers),
        ("rmi-recording 1 1.0\ncall 1 1 = 10000000000000000", Kind::Registers),
        ("rmi-recording 1 1.0\ncall 1 1 = 0\ncall 1 1 = 0", Kind::Repeated),
        ("rmi-recording 1 1.0\nin 1 1000", Kind::Region),
        ("rmi-recording 1 1.0\nin 1 1000 4", Kind::Region),
        ("rmi-recording 1 1.0\nin 1 1008 1000", Kind::Region),
        ("rmi-recording 1 1.0\nin 1 ffffffffffffffff fffffffffffffff8", Kind::Region),
        ("rmi-recording 1 1.0\nin 1 1000 10 4:1", Kind::Words),
        ("rmi-recording 1 1.0\nin 1 1000 10 10:1", Kind::Words),
        ("rmi-recording 1 1.0\nin 1 1000 10 0:1,2,3", Kind::Words),
        ("rmi-recording 1 1.0\nin 1 1000 10 8:1 0:1", Kind::Words),
        ("rmi-recording 1 1.0\nin 1 1000 10 0:", Kind::Words),
        ("rmi-recording 1 1.0\nin 1 1000 10 0:1 0:1", Kind::Words),
    ] {
        let error = parse(text).unwrap_err();
        assert_eq!((error.line, error.kind), (text.lines().count().max(1), kind), "{text}");
    }
}

#[test]
fn a_call_that_never_came_back_is_left_out() {
    let transcript = parse("rmi-recording 1 1.0\ncall 0 1 = 2\nin 1 1000 10 0:1\n").unwrap();
    assert_eq!(transcript.calls().len(), 1);
}
