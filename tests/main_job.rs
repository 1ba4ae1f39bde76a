//! The main job as a user runs it: its exit status, its balance line, its one line of error, and
//! its measurement.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The dialects of the model.
const NAMES: [&str; 5] = ["tf-rmm-2026-07", "2.0-bet3", "2.0-bet1", "2.0-bet0", "1.0"];

/// The example, which cargo builds before it runs the tests.
fn example() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(Path::parent).unwrap();
    profile.join("examples").join(format!("realm_lifecycle{}", std::env::consts::EXE_SUFFIX))
}

fn run(args: &[&str]) -> Output {
    Command::new(example()).args(args).output().expect("`cargo test` builds the example")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A file that exists during one test.
struct Image(PathBuf);

impl Image {
    fn new(name: &str, content: &[u8]) -> Self {
        let path =
            std::env::temp_dir().join(format!("realm-sdk-main-job-{}-{name}", std::process::id()));
        std::fs::write(&path, content).unwrap();
        Self(path)
    }

    fn path(&self) -> &str {
        self.0.to_str().unwrap()
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

/// An image of `granules` granules, all different.
fn flat(granules: u32) -> Vec<u8> {
    (0..granules * 1024).flat_map(|word| word.wrapping_mul(0x9e37_79b9).to_le_bytes()).collect()
}

/// Checks that the balance line says that all memory is back.
fn assert_exact(out: &str, args: &[&str]) {
    let balance = out.lines().find_map(|line| line.strip_prefix("balance: ")).expect("a balance");
    let number = |word: &str| -> u64 {
        let rest = balance.split(&format!("{word} ")).nth(1).unwrap();
        rest.split(',').next().unwrap().trim().parse().unwrap()
    };
    assert_eq!(number("delegated"), number("returned"), "{args:?}: {balance}");
    assert_eq!((number("quarantined"), number("leaked")), (0, 0), "{args:?}: {balance}");
}

/// Runs a job that must succeed, and returns its output and its Realm Initial Measurement.
fn good(args: &[&str]) -> (String, String) {
    let output = run(args);
    let out = text(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", text(&output.stderr));
    assert_exact(&out, args);
    let rim = out.lines().find(|line| line.contains("RIM")).expect("the RIM is told").to_owned();
    (out, rim)
}

#[test]
fn every_way_to_run_it_ends_in_an_exact_balance() {
    for args in [
        &["--ram", "8"][..],
        &["--ram", "8", "--dialect", "2.0-bet3"],
        &["--ram", "8", "--range-capable"],
        &["--ram", "8", "--yield-every", "2"],
        &["--ram", "8", "--busy-every", "3"],
        &["--ram", "8", "--hash", "sha-512", "--personalize", "mine", "--ipa-width", "44"],
        &["--ram", "72", "--granule", "16k", "--dialect", "2.0-bet3"],
        &["--ram", "72", "--granule", "64k", "--yield-every", "2"],
    ] {
        let (out, _) = good(args);
        for said in ["hello", "PSCI CpuOn", "SystemOff", "RMI_REC_ENTER", "read the same RIM"] {
            assert!(out.contains(said), "{args:?} does not say {said:?}: {out}");
        }
    }
}

#[test]
fn the_measurement_is_that_of_the_image_and_the_configuration() {
    let mut content = flat(700);
    let image = Image::new("flat", &content);
    let last = content.len() - 1;
    content[last] ^= 1;
    let changed = Image::new("changed", &content);

    let rim = |args: &[&str]| good(args).1;
    let first = rim(&["--ram", "8", image.path()]);
    assert_eq!(first, rim(&["--ram", "8", image.path()]));
    assert_eq!(first, rim(&["--ram", "8", "--range-capable", "--busy-every", "5", image.path()]));
    assert_ne!(first, rim(&["--ram", "8", changed.path()]));
    assert_ne!(first, rim(&["--ram", "8", "--ipa-width", "41", image.path()]));
}

/// On an RMM with granules of each size: blocks of that size, and the measurement that a verifier
/// computes from the image and the configuration.
#[cfg(feature = "rim")]
#[test]
fn the_measurement_is_predicted_for_each_granule_size() {
    use realm_sdk::abi::feature::Features;
    use realm_sdk::abi::rec::{Mpidr, RecParams};
    use realm_sdk::abi::{Dialect, GranuleSize, Ipa};
    use realm_sdk::measurement::{RealmConfig, Rim};
    use rmm_model::Options;

    let content = flat(33);
    let image = Image::new("predicted", &content);
    let dialect = Dialect::TfRmm2026_07;
    let features = Features::new(dialect, Options::new(dialect).with_all_granules().features);
    let mut measurements = Vec::new();
    for (name, granule, ram) in [
        ("4k", GranuleSize::Size4KiB, "8"),
        ("16k", GranuleSize::Size16KiB, "72"),
        ("64k", GranuleSize::Size64KiB, "1032"),
    ] {
        let args = ["--range-capable", "--ram", ram, "--granule", name, image.path()];
        let (out, told) = good(&args);
        let params = RealmConfig::new(40).validate_for(granule, &features, dialect).unwrap();
        let entry = Ipa::new(0x4000_0000);
        let mut rim = Rim::new(&params, dialect, &mut |_| {}).unwrap();
        rim.add_measured(entry, &content, &mut |_| {}).unwrap();
        let mpidr = Mpidr::from_index(0);
        let boot = RecParams { runnable: true, mpidr, pc: entry.raw(), gprs: [0; 8] };
        rim.add_rec(&boot, &mut |_| {}).unwrap();
        let digest = rim.digest().to_string();
        assert!(told.ends_with(digest.strip_prefix("sha-256:").unwrap()), "{told} {digest}");
        measurements.push(digest);
        // RAM of two blocks takes few tables, whatever their size.
        let tables =
            out.lines().find(|line| line.contains(" KiB measured, ")).expect("their number");
        let tables: u64 = tables.split_whitespace().rev().nth(1).unwrap().parse().unwrap();
        assert!((2..=5).contains(&tables), "{name}: {tables} tables");
    }
    measurements.dedup();
    assert_eq!(measurements.len(), 3);
}

#[test]
fn each_call_is_traced() {
    let output = run(&["--ram", "8", "--range-capable", "--trace"]);
    let trace = text(&output.stderr);
    let total = text(&output.stdout);
    let total = total.lines().find(|line| line.starts_with("total")).unwrap();
    let issued: usize = total.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert_eq!(trace.lines().filter(|line| line.contains(" = ")).count(), issued, "{trace}");
    assert!(trace.contains("RMI_REALM_CREATE"), "{trace}");
    // The reason of each exit of a REC is printed.
    let entries: Vec<_> = trace.lines().filter(|line| line.starts_with("RMI_REC_ENTER(")).collect();
    assert!(entries.iter().all(|line| line.contains(" = RMI_SUCCESS exit=")), "{trace}");
    for exit in [
        "exit=SYNC{data abort, translation fault at level ",
        "1-byte store, ipa=0x8009000000}",
        "exit=PSCI{PSCI_CPU_ON, target=0x1}",
        "exit=PSCI{PSCI_SYSTEM_OFF}",
        "exit=RIPAS_CHANGE{",
        "exit=HOST_CALL{imm=0x5d0}",
        "exit=IRQ",
    ] {
        assert!(entries.iter().any(|line| line.contains(exit)), "{exit}: {trace}");
    }
}

#[test]
fn no_call_fails_and_the_probe_is_named() {
    for dialect in NAMES {
        let (out, _) = good(&["--ram", "8", "--dialect", dialect]);
        // The session has found the dialect that the model plays.
        assert!(out.contains(&format!("\nrmm      dialect {dialect}, ")), "{out}");
        let table = out.lines().skip_while(|line| !line.starts_with("SMCs "));
        let rows: Vec<_> = table.take_while(|line| !line.starts_with("balance")).collect();
        for row in rows.iter().skip(1) {
            let failed = row.split_whitespace().rev().nth(2).unwrap();
            assert_eq!(failed, "0", "{dialect}: {row}");
        }
        let probes = rows.iter().filter(|row| row.starts_with("(probe for the dialect)")).count();
        assert_eq!(probes, 1, "{out}");
    }
}

/// Files and options that are refused, each with a word from the reason.
#[test]
fn bad_input_is_one_line_and_nothing_else() {
    let good = Image::new("good", &flat(4));
    let empty = Image::new("empty", &[]);
    let odd = Image::new("odd", &flat(2)[..5000]);
    let large = Image::new("large", &flat(2304));
    let directory = std::env::temp_dir();
    for (args, said) in [
        (&["/nonexistent/image"][..], "/nonexistent/image"),
        (&[empty.path()], "empty"),
        (&[odd.path()], "unaligned"),
        (&["--ram", "8", large.path()], "too large"),
        (&["--ram", "0"], "0 MiB"),
        (&["--ram", "4"], "too large"),
        (&["--ram", "5000", "--ipa-width", "32"], "protected half"),
        (&[directory.to_str().unwrap()], "directory"),
        (&["--ipa-width", "60", good.path()], "IPA width"),
        (&["--ipa-width", "many"], "many"),
        (&["--hash", "md5", good.path()], "md5"),
        (&["--dialect", "1.1", good.path()], "1.1"),
        (&["--busy-every", "1"], "busy_every"),
        (&["--granule", "8k"], "4k, 16k and 64k"),
        (&["--no-such-option"], "--no-such-option"),
    ] {
        let output = run(args);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(2), "{args:?}: {out}{err}");
        assert_eq!(err.lines().count(), 1, "{args:?}: {err}");
        assert!(err.to_lowercase().contains(&said.to_lowercase()), "{args:?}: {err}");
        assert_eq!(out, "", "{args:?}");
    }
}

#[test]
fn what_the_rmm_refuses_is_one_line_after_what_was_done() {
    for (args, said, has_balance) in [
        // The RMM was asked, and was given nothing yet.
        (&["--hash", "sha-384"][..], "sha-384", false),
        (&["--pool", "0"], "needs 2 granules more", false),
        // It was given the Realm Descriptor and root tables.
        (&["--pool", "9"], "granules more", true),
    ] {
        let output = run(args);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert_eq!(output.status.code(), Some(2), "{args:?}: {out}{err}");
        assert_eq!(err.lines().count(), 1, "{args:?}: {err}");
        assert!(err.contains(said), "{args:?}: {err}");
        assert!(!out.contains("delegated 0,"), "{args:?}: {out}");
        assert_eq!(out.contains("balance: "), has_balance, "{args:?}: {out}");
        if has_balance {
            assert_exact(&out, args);
        }
    }
}

#[test]
fn the_dialects_that_are_named_are_the_ones_that_work() {
    let output = run(&["--dialect", "foo"]);
    let err = text(&output.stderr);
    let names = err.split_once("dialects of the model are ").unwrap().1.split_once("; ").unwrap().0;
    assert_eq!(names, "tf-rmm-2026-07, 2.0-bet3, 2.0-bet1, 2.0-bet0 and 1.0");
    for name in NAMES {
        good(&["--ram", "8", "--dialect", name]);
    }
}

#[test]
fn the_pool_that_the_error_asks_for_is_enough() {
    let mut granules = 0;
    // Whatever is missing is requested in the unit of the option, one step after the other.
    for _ in 0..100 {
        let output = run(&["--ram", "8", "--pool", &granules.to_string()]);
        if output.status.success() {
            assert!((30..100).contains(&granules), "{granules}");
            return;
        }
        let err = text(&output.stderr);
        let missing = err.split_once(" needs ").and_then(|(_, rest)| rest.split(' ').next());
        granules += missing.unwrap().parse::<u64>().unwrap();
    }
    panic!("100 steps, and still short: {granules}");
}

/// A sparse file of 3 GiB is refused before it is read, and so are files that never end.
#[cfg(target_os = "linux")]
#[test]
fn files_are_looked_at_before_they_are_read() {
    let sparse = Image::new("sparse", &[]);
    std::fs::File::options().write(true).open(&sparse.0).unwrap().set_len(3 << 30).unwrap();
    let fifo = Image::new("fifo", &[]);
    std::fs::remove_file(&fifo.0).unwrap();
    let made = Command::new("mkfifo").arg(&fifo.0).status().unwrap();
    assert!(made.success());
    for (path, said) in [
        (sparse.path(), "too large"),
        (fifo.path(), "not a regular file"),
        ("/dev/zero", "not a regular file"),
    ] {
        // 512 MiB of address space are enough for what the example needs.
        let output = Command::new("sh")
            .args(["-c", "ulimit -v 524288; exec \"$0\" \"$1\""])
            .arg(example())
            .arg(path)
            .output()
            .unwrap();
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{path}: {err}");
        assert!(err.contains(said) && err.lines().count() == 1, "{path}: {err}");
    }
}
