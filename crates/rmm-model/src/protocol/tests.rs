use alloc::string::ToString;
use core::num::{NonZeroU8, NonZeroU32};

use rmi_abi::feature::Features;
use rmi_abi::{Dialect, GranuleSize};

use super::*;
use crate::options::{FirstTracking, GranulesPerCall};

fn session() -> Session {
    Session::new(Options::new(Dialect::TfRmm2026_07)).unwrap()
}

/// Sends a line and compares the answer, without the newline at its end.
fn says(session: &mut Session, line: &str, answer: &str) {
    let reply = session.line(line);
    assert_eq!(reply.text.strip_suffix('\n').unwrap_or(&reply.text), answer, "{line}");
    assert_eq!(reply.ends, line == "quit");
}

fn start(arguments: &str) -> Result<Options, String> {
    match Start::from_arguments(arguments.split_whitespace().map(String::from)) {
        Ok(Start::Serve(options)) => Ok(options),
        Ok(Start::Help) => Err("help".into()),
        Err(why) => Err(why.to_string()),
    }
}

#[test]
fn memory_as_the_host_sees_it_and_as_it_is() {
    let mut s = session();
    for (line, answer) in [
        ("mem", "ok dram 80000000 40000000"),
        ("w 80000ffe 01020304", "ok"),
        ("r 80000ffd 6", "ok 000102030400"),
        ("hr 80000ffe 4", "ok 01020304"),
        ("smc c4000202", "ok 0 0 0 0 0 0 0 0"),
        ("smc c40001f1 80001000 80002000", "ok 0 80002000 0 0 0 0 0 0"),
        ("hr 80000ffe 4", "err gpf"),
        ("hw 80001000 00", "err gpf"),
        ("hfill 80000000 1001 7", "err gpf"),
        ("hr 80000ffe 2", "ok 0102"),
        ("r 80001000 2", "ok d5d5"),
        ("w 80001000 aB", "ok"),
        ("r 80001000 2", "ok abd5"),
        ("fill 80001001 1fff 7", "ok"),
        ("r 80001000 2", "ok ab07"),
        ("hr 80002ffe 3", "ok 070700"),
        ("hfill 80002fff 2 9", "ok"),
        ("hr 80002ffe 4", "ok 07090900"),
        ("r bfffffff 1", "ok 00"),
        ("r 80000000 0", "ok "),
        ("fill 80000000 40000000 1", "ok"),
    ] {
        says(&mut s, line, answer);
    }
    assert_eq!(s.line("r 80000000 100000").text.len(), 4 + (2 << 20));
}

#[test]
fn what_cannot_be_done_is_one_error_and_no_output() {
    let mut s = session();
    for (line, answer) in [
        ("", ""),
        ("   ", ""),
        ("# a comment", ""),
        ("#comment", ""),
        ("hello", "err unknown"),
        ("mem 1", "err unknown"),
        ("quit now", "err unknown"),
        ("guest", "err unknown"),
        ("w 80000000", "err unknown"),
        ("w 80000000 1", "err hex"),
        ("w 80000000 0x", "err hex"),
        ("w +1 00", "err number"),
        ("r 80000000 12345678123456789", "err number"),
        ("r 7fffffff 2", "err range"),
        ("r bfffffff 2", "err range"),
        ("r 80000000 ffffffffffffffff", "err range"),
        ("hr ffffffffffffffff 1", "err range"),
        ("hr ffffffffffffffff 2", "err range"),
        ("fill 80000000 1 100", "err number"),
        ("smc", "err registers"),
        ("smc 0 1 2 3 4 5 6 7 8", "err registers"),
        ("smc 0x84000000", "err number"),
        ("cpu 100000000", "err cpu"),
        ("guest jump", "err guest"),
        ("guest default", "err guest"),
        ("guest default hvc", "err guest"),
        ("guest sync esr=g", "err number"),
        ("guest sync est=0", "err guest"),
        ("guest sync x31=0", "err number"),
        ("guest sync xa=0", "err number"),
        ("guest wfi é=0", "err guest"),
    ] {
        says(&mut s, line, answer);
    }
}

#[test]
fn calls_of_every_processor() {
    let mut s = session();
    says(&mut s, "cpu", "ok 0");
    says(&mut s, "cpu 1f", "ok 1f");
    says(&mut s, "smc c4000150 20000 2 3 4 5 6 7", "ok 0 20000 20000 0 4 5 6 7");
    says(&mut s, "smc 84000000 1 1", "ok ffffffffffffffff 0 0 0 0 0 0 0");
    says(&mut s, "smc c4000202", "ok 0 0 0 0 0 0 0 0");
    says(&mut s, "smc c4000202", "ok b 0 0 0 0 0 0 0");
    says(&mut s, "w 80000000 01", "ok");
    says(&mut s, "reset", "ok");
    says(&mut s, "cpu", "ok 0");
    says(&mut s, "r 80000000 1", "ok 00");
    says(&mut s, "smc c4000202", "ok 0 0 0 0 0 0 0 0");
    says(&mut s, "quit", "ok");
}

/// The lines that make a Realm with one REC and enter it are those of the example in
/// `docs/model-protocol.md`.
#[test]
fn the_session_of_the_page() {
    let page = include_str!("../../../../docs/model-protocol.md");
    let (_, example) = page.split_once("```session\n").unwrap();
    let (example, _) = example.split_once("```").unwrap();
    let mut s = session();
    let mut lines = example.lines().peekable();
    assert!(lines.next().unwrap().starts_with("ok ready rmm-model "));
    let mut compared = 0;
    while let Some(line) = lines.next() {
        let sent = line.strip_prefix("> ").unwrap();
        let mut answer = String::new();
        while let Some(line) = lines.next_if(|line| !line.starts_with("> ")) {
            answer = answer + line + "\n";
        }
        assert_eq!(s.line(sent).text, answer, "{sent}");
        compared += 1;
    }
    assert!(compared > 30);
}

#[test]
fn arguments_are_options() {
    let options = start("").unwrap();
    assert_eq!(options.dialect, Dialect::TfRmm2026_07);
    assert_eq!(options.granules_per_call, GranulesPerCall::One);
    assert!(options.can_cancel && options.yield_every.is_none());
    let options = start(
        "--cannot-cancel --dialect 2.0-bet3 --dram 40000000 1000000 --features 30,1001,0,0,1 \
         --granules-per-call 10 --yield-every 3",
    )
    .unwrap();
    assert_eq!(options.dialect, Dialect::V2_0Bet3);
    assert_eq!((options.dram.base().raw(), options.dram.bytes()), (0x4000_0000, 0x100_0000));
    assert_eq!(options.features, [0x30, 0x1001, 0, 0, 1]);
    let sixteen = NonZeroU32::new(16).unwrap();
    assert_eq!(options.granules_per_call, GranulesPerCall::AtMost(sixteen));
    assert_eq!(options.yield_every, NonZeroU32::new(3));
    assert!(!options.can_cancel);
    assert_eq!(start("--granules-per-call all").unwrap().granules_per_call, GranulesPerCall::All);
    assert_eq!(start("--help --nonsense").unwrap_err(), "help");
}

#[test]
fn regions_and_granules_are_options() {
    let options = start("--dialect 2.0-bet3 --all-granules").unwrap();
    assert!(options.regions.is_none() && options.tracking_donates == 0);
    let features = Features::new(options.dialect, options.features);
    for size in [GranuleSize::Size4KiB, GranuleSize::Size16KiB, GranuleSize::Size64KiB] {
        assert!(features.supports_granule(size));
        let plain = start("--dialect 2.0-bet3").unwrap();
        let plain = Features::new(plain.dialect, plain.features).supports_granule(size);
        assert_eq!(plain, size == GranuleSize::Size4KiB);
    }
    // The features that are given have it as well.
    let given = start("--all-granules --features 130,142a8").unwrap();
    assert_eq!(given.features, [0x130, 0x1_42af, 0, 0, 0]);

    let options = start("--dialect 2.0-bet3 --regions fine").unwrap();
    let regions = options.regions.unwrap();
    assert_eq!((regions.first, options.tracking_donates), (FirstTracking::Fine, 0));
    assert_eq!((regions.code_of_2_mib, regions.coarse_steps), (None, 0));
    assert_eq!(regions.roll_back_every, None);
    let options = start("--dialect 2.0-bet1 --regions coarse").unwrap();
    assert_eq!(options.regions.unwrap().first, FirstTracking::Coarse);
    assert_eq!(options.tracking_donates, 1);
    let options = start(
        "--coarse-steps 10 --tracking-donates 3fff --roll-back-every 3 --code-of-2-mib ff \
         --regions coarse --dialect 2.0-bet0",
    )
    .unwrap();
    let regions = options.regions.unwrap();
    assert_eq!((regions.coarse_steps, options.tracking_donates), (16, 0x3fff));
    assert_eq!(regions.code_of_2_mib, NonZeroU8::new(0xff));
    assert_eq!(regions.roll_back_every, NonZeroU32::new(3));
}

#[test]
fn a_server_has_the_regions_that_it_is_told() {
    let options = start(
        "--dialect 2.0-bet3 --regions coarse --code-of-2-mib 2 --coarse-steps 1 --dram 80000000 \
         800000 --granules-per-call all",
    )
    .unwrap();
    let mut s = Session::new(options).unwrap();
    // Code 2 is 2 MiB here, and 1 is nothing.
    let config = rmi_abi::Command::RmmConfigSet.fid(Dialect::V2_0Bet3).unwrap().0;
    let activate = rmi_abi::Command::RmmActivate.fid(Dialect::V2_0Bet3).unwrap().0;
    let delegate = rmi_abi::Command::GranuleRangeDelegate.fid(Dialect::V2_0Bet3).unwrap().0;
    let proceed = rmi_abi::Command::OpContinue.fid(Dialect::V2_0Bet3).unwrap().0;
    says(&mut s, "w 80000000 01", "ok");
    says(&mut s, &format!("smc {config:x} 80000000"), "ok 1 0 0 0 0 0 0 0");
    says(&mut s, "w 80000000 02", "ok");
    says(&mut s, &format!("smc {config:x} 80000000"), "ok 0 0 0 0 0 0 0 0");
    says(&mut s, &format!("smc {activate:x}"), "ok 0 0 0 0 0 0 0 0");
    // One step, and then it is done.
    says(&mut s, &format!("smc {delegate:x} 80200000 80400000"), "ok d 0 0 0 0 0 0 0");
    says(&mut s, &format!("smc {proceed:x} 0"), "ok 0 80400000 0 0 0 0 0 0");
    says(&mut s, "hr 80200000 1", "err gpf");
    // A part of a COARSE region is refused.
    let part = s.line(&format!("smc {delegate:x} 80400000 80401000")).text;
    assert!(!part.starts_with("ok 0 "), "{part}");
}

#[test]
fn what_tf_rmm_080_reports_as_a_program() {
    let options = start("--dialect 1.0 --features 283fc104130").unwrap();
    assert_eq!(options.features, [0x283_fc10_4130, 0, 0, 0, 0]);
    assert_eq!((options.list_registers, options.can_cancel), (1, false));
    assert_eq!(start("--features 130,142a9").unwrap().features, [0x130, 0x1_42a9, 0, 0, 0]);
    assert_eq!(start("--dialect 1.0").unwrap().list_registers, 16);
}

#[test]
fn wrong_arguments_are_named_in_one_line() {
    for (arguments, why) in [
        ("--fast", "unknown argument \"--fast\""),
        ("--dialect", "--dialect needs a value"),
        (
            "--dialect 3.0",
            "\"3.0\" is not a dialect of the model; it has tf-rmm-2026-07, 2.0-bet3, 2.0-bet1, \
             2.0-bet0 and 1.0",
        ),
        ("--dram 80000000", "--dram needs a value"),
        ("--dram 80000000 0x1000", "--dram: \"0x1000\" is no hexadecimal number"),
        ("--features 1,2,3,4,5,6", "--features takes up to five numbers, not \"1,2,3,4,5,6\""),
        ("--features 1,2,3,4,-5", "--features: \"-5\" is no hexadecimal number"),
        ("--granules-per-call 0", "--granules-per-call: \"0\" is 0 or too large"),
        ("--yield-every 100000000", "--yield-every: \"100000000\" is 0 or too large"),
        ("--regions", "--regions needs a value"),
        ("--regions Fine", "--regions: \"Fine\" is neither fine nor coarse"),
        ("--regions fine", "regions is not in the dialect"),
        ("--dialect 1.0 --regions fine", "regions is not in the dialect"),
        ("--tracking-donates 1", "--tracking-donates needs --regions"),
        ("--code-of-2-mib 1", "--code-of-2-mib needs --regions"),
        ("--coarse-steps 1 --roll-back-every 1", "--coarse-steps needs --regions"),
        ("--roll-back-every 1", "--roll-back-every needs --regions"),
        ("--code-of-2-mib 0", "--code-of-2-mib: \"0\" is 0 or too large"),
        ("--code-of-2-mib 100", "--code-of-2-mib is above ff"),
        ("--coarse-steps 100000000", "--coarse-steps: 100000000 is too large"),
        ("--coarse-steps x", "--coarse-steps: \"x\" is no hexadecimal number"),
        ("--roll-back-every 0", "--roll-back-every: \"0\" is 0 or too large"),
        ("--tracking-donates 10000", "--tracking-donates: 10000 is too large"),
        (
            "--dialect 2.0-bet3 --regions fine --tracking-donates 1",
            "tracking_donates cannot be asked for in one request",
        ),
        (
            "--dialect 2.0-bet3 --regions coarse --tracking-donates 0",
            "tracking_donates cannot be asked for in one request",
        ),
        (
            "--dialect 2.0-bet3 --regions coarse --tracking-donates 4000",
            "tracking_donates cannot be asked for in one request",
        ),
        ("--dialect 1.0 --all-granules", "--all-granules: the dialect has granules of 4 KiB only"),
    ] {
        assert_eq!(start(arguments).unwrap_err(), why);
    }
    for arguments in ["--dram 80000001 1000", "--dram 80000000 0", "--features 0,0,0,0,0"] {
        let why = start(arguments).unwrap_err();
        assert!(!why.is_empty() && !why.contains('\n'), "{arguments}: {why}");
    }
}
