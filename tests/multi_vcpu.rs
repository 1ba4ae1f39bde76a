//! The example `multi_vcpu` as a user runs it, for two seconds on each dialect: what the Realm's
//! programs check, interrupts that do not get lost, and the balance.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::path::Path;
use std::process::{Command, Output};

fn run(args: &[&str]) -> Output {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    let name = format!("multi_vcpu{}", std::env::consts::EXE_SUFFIX);
    Command::new(profile.join("examples").join(name)).args(args).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Runs it, and checks its end: nothing lost, nothing wrong, an exact balance.
fn assert_good(args: &[&str]) {
    let output = run(args);
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert_eq!((output.status.code(), err.as_str()), (Some(0), ""), "{args:?}: {out}");
    let lines: Vec<_> = out.lines().collect();
    let [.., checks, free, balance] = lines.as_slice() else { unreachable!("{out}") };
    assert_eq!(*checks, "0 interrupts lost, 0 failures", "{args:?}: {out}");
    assert_eq!(*free, "131072 of 131072 KiB are free");
    let counts = balance.strip_prefix("balance: delegated ").unwrap();
    let (delegated, rest) = counts.split_once(", returned ").unwrap();
    assert!(delegated.parse::<u64>().unwrap() > 2 * 512, "{balance}");
    assert_eq!(rest, format!("{delegated}, quarantined 0, leaked 0"));
    // The programs and the host did everything that the example is for.
    for kind in [
        "MmioLoad",
        "MmioStore",
        "Fault",
        "SysRegWrite",
        "Wait",
        "Irq",
        "PsciRequest",
        "PsciNotice",
        "RipasChange",
    ] {
        assert!(out.contains(&format!(" exits: {kind}\n")), "{args:?}: no {kind}: {out}");
    }
    for nothing in ["\n0 kicks", " 0 pauses", "\n0 device", " 0 bytes", " 0 printed", "\n0 times"] {
        assert!(!out.contains(nothing), "{args:?}: {out}");
    }
}

#[test]
fn nothing_is_lost_on_tf_rmm() {
    assert_good(&["--seconds", "2", "--seed", "3"]);
}

#[test]
fn nothing_is_lost_on_a_busy_rmm_that_yields_with_one_list_register() {
    let busy = ["--busy-every", "3", "--yield-every", "2", "--list-registers", "1"];
    assert_good(&[&["--seconds", "2", "--dialect", "2.0-bet3"][..], &busy].concat());
}

#[test]
fn nothing_is_lost_in_the_other_dialects() {
    for dialect in ["2.0-bet0", "2.0-bet1", "1.0"] {
        assert_good(&["--seconds", "2", "--seed", "5", "--dialect", dialect]);
    }
}

#[test]
fn bad_input_is_one_line() {
    for (args, said) in [
        (&["--dialect", "1.1"][..], "tf-rmm-2026-07, 2.0-bet3, 2.0-bet1, 2.0-bet0 and 1.0"),
        (&["--seconds", "x"], "invalid digit"),
        (&["--list-registers", "17"], "list"),
        (&["--busy-every", "1"], "busy_every"),
        (&["extra"], "extra"),
    ] {
        let output = run(args);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!((output.status.code(), out.as_str()), (Some(2), ""), "{args:?}: {err}");
        assert!(err.lines().count() == 1 && err.contains(said), "{args:?}: {err}");
    }
}
