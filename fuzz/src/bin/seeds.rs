//! Writes seeds for every target: `cargo run --bin seeds` fills `corpus/`, which is not committed.
//!
//! The seeds are words and pages that are valid in the interface, built with the crate itself, so
//! that they are never out of date. A target takes its input through `arbitrary`: numbers first, as
//! little-endian bytes, then pages.

use std::error::Error;
use std::fs;
use std::io::Write as _;
use std::mem::offset_of;
use std::path::{Path, PathBuf};

use realm_measurement::{Image, MeasurementEvent, Rim};
use rmi_abi::realm::RealmParams;
use rmi_abi::rec::{Mpidr, RecParams};
use rmi_abi::result::{OpMemReq, ResultWord, Status};
use rmi_abi::rtt::{Geometry, Level};
use rmi_abi::run::{RecExit, RecRun};
use rmi_abi::{Command, Dialect, Ipa, IpaRange, Pa, rsi};
use zerocopy::{FromZeros, IntoBytes};

struct Corpus {
    directory: PathBuf,
    written: usize,
}

impl Corpus {
    fn new(target: &str) -> std::io::Result<Self> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
        fs::create_dir_all(&directory)?;
        Ok(Self { directory, written: 0 })
    }

    fn add(&mut self, name: &str, parts: &[&[u8]]) -> std::io::Result<()> {
        self.written += 1;
        fs::write(self.directory.join(name), parts.concat())
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let mut seeds = 0;

    let mut corpus = Corpus::new("abi_result_word")?;
    for code in 0..=17 {
        let word = ResultWord::from_status(Status::from(code));
        corpus.add(&format!("status-{code}"), &[&word.0.to_le_bytes()])?;
    }
    for level in [Level::MINUS_1, Level::L0, Level::L3] {
        let word = ResultWord::with_level(Status::ErrorRtt, level);
        corpus.add(&format!("level{level}"), &[&word.0.to_le_bytes()])?;
    }
    for (name, req) in [("donate", OpMemReq::Donate), ("reclaim", OpMemReq::Reclaim)] {
        corpus.add(name, &[&ResultWord::incomplete(req, true).0.to_le_bytes()])?;
    }
    seeds += corpus.written;

    // Steps as the target reads them: words of the exit record change (0), a loop runs (8, 9), and
    // the set is kicked (11), notified (12), paused (13) and resumed (14).
    let mut corpus = Corpus::new("rec_loop")?;
    let step = |what: u8, at: usize, value: u64| {
        let [low, high, ..] = at.to_le_bytes();
        [&[what, low, high][..], &value.to_le_bytes()].concat()
    };
    let esr = offset_of!(RecExit, esr) / 8;
    let hpfar = offset_of!(RecExit, hpfar) / 8;
    let gprs = offset_of!(RecExit, gprs) / 8;
    let around = [step(11, 0, 0), step(12, 1, 0), step(13, 0, 0), step(9, 1, 0), step(14, 0, 0)];
    for reason in 0..14 {
        let exits = [step(0, 0, reason), step(0, gprs, 0xc400_0003), step(0, 0, reason)];
        let steps = [exits.concat(), step(8, 0, 0), exits.concat(), step(9, 1, 7), around.concat()];
        corpus.add(&format!("reason-{reason}"), &[&[1], &steps.concat()])?;
    }
    // Loads, stores, faults, waits, system registers.
    for syndrome in [
        0x9380_0007_u64,
        0x9380_0047,
        0x9200_0007,
        0x8200_0007,
        0x9200_0010,
        0x0600_0000,
        0x0600_0001,
        0x6230_3016,
        0x6230_3017,
    ] {
        let exits = [step(0, esr, syndrome), step(0, hpfar, 1 << 35), step(0, hpfar, 0x4000_0000)];
        let steps = [exits.concat(), step(8, 2, 1), exits.concat(), step(9, 0, 1), around.concat()];
        corpus.add(&format!("syndrome-{syndrome:x}"), &[&[0], &steps.concat()])?;
    }
    seeds += corpus.written;

    // Operations as the target reads them: interrupts are raised (13), sent (11), taken (20) and
    // ended (27), and registers are written (0, 4).
    let mut corpus = Corpus::new("vgic")?;
    let operation = |what: u8, rec: u8, place: u32, value: u64| {
        [&[what, rec][..], &place.to_le_bytes(), &value.to_le_bytes()].concat()
    };
    for options in 0..8_u8 {
        let mut input = vec![options];
        for n in 0..24_u8 {
            let intid = u32::from(n) * 3;
            input.extend(operation(13, n, intid, 0xc000_0000_0000_0000 | u64::from(n) << 3));
            input.extend(operation(13, n, intid + 1, u64::from(n) << 3));
            input.extend(operation(11, n, 0, 2 << 32 | u64::from(n) << 24));
            input.extend(operation(20, n, 0, 0));
            input.extend(operation(n % 7, n, u32::from(n) << 2, u64::MAX >> n));
            input.extend(operation(27, n, 0, 0));
        }
        corpus.add(&format!("options-{options}"), &[&input])?;
    }
    seeds += corpus.written;

    let mut corpus = Corpus::new("host_lines")?;
    for (name, answers) in [
        ("call", "ok 0 20000 20000 0 0 0 0 0\n".to_owned()),
        ("memory", "ok dram 80000000 40000000\n".to_owned()),
        ("rows", "- 0 cpu=0 pc=1000 x 0 1 2\n- 1 cpu=0 pc=1000 x 0 1 2\nok\n".to_owned()),
        ("bytes", format!("ok {}\nok 00\n", "5a".repeat(0x400))),
        ("refused", "err gpf\nerr range\n! assertion\n".to_owned()),
    ] {
        corpus.add(name, &[answers.as_bytes()])?;
    }
    seeds += corpus.written;

    let mut corpus = Corpus::new("abi_descriptors")?;
    for (name, word) in [
        ("page", 0x8000_0004u64),
        ("block", 0x8000_0005),
        ("sixteen", 0x8000_0040),
        ("host-memory", 0x8000_0004 | 1 << 63),
        ("host-memory-bet3", 0x8000_0004 | 1 << 62),
        ("flags", 0x1e_0001),
        ("list", 0x26),
        ("request", 0x1_0040),
    ] {
        corpus.add(name, &[&word.to_le_bytes(), &[0xff; 8]])?;
    }
    seeds += corpus.written;

    let mut corpus = Corpus::new("abi_run_page")?;
    for reason in 0..=11 {
        let mut run = RecRun::new_zeroed();
        run.exit.exit_reason = reason;
        run.exit.esr = 0x9380_8047;
        run.exit.hpfar = 0x8_0000;
        run.exit.far = 0x10;
        run.exit.gprs[0] = 0xc400_0003;
        corpus.add(&format!("reason-{reason}"), &[&[0; 4], run.as_bytes()])?;
    }
    seeds += corpus.written;

    let mut corpus = Corpus::new("abi_params")?;
    for width in [32, 40, 48] {
        let params = RealmParams::new(Geometry::new(width)?, Pa::new(0x8800_0000));
        for dialect in Dialect::ALL {
            let page = params.encode(dialect)?;
            corpus.add(&format!("realm-{width}-{dialect}"), &[&[0; 8], page.as_bytes()])?;
        }
    }
    let rec = RecParams { runnable: true, mpidr: Mpidr::from_index(1), pc: 0x1000, gprs: [0; 8] };
    corpus.add("rec", &[&[0, 0, 0, 0, 0, 0, 0, 0x40], rec.encode().as_bytes()])?;
    seeds += corpus.written;

    let mut corpus = Corpus::new("abi_features")?;
    let tf_rmm: [u64; 5] = [0x0000_0000_0030_c030, 0x1_4281, 0xa1, 0x53, 0];
    let bytes: Vec<u8> = tf_rmm.iter().flat_map(|register| register.to_le_bytes()).collect();
    for dialect in 0..Dialect::ALL.len() {
        corpus.add(&format!("dialect-{dialect}"), &[&bytes, &[u8::try_from(dialect)?; 4]])?;
    }
    corpus.add("ones", &[&[0xff; 64]])?;
    seeds += corpus.written;

    let mut corpus = Corpus::new("abi_esr")?;
    for (name, esr) in [
        ("load", 0x9380_8007u64),
        ("store", 0x9380_8047),
        ("protected", 0x9000_0007),
        ("fetch", 0x8000_0007),
        ("sgi", 0x6000_0000 | 3 << 20 | 5 << 17 | 12 << 10 | 11 << 1),
        ("wfi", 0x0400_0000),
        ("hvc", 0x5a00_0001),
        ("smc", 0x5e00_0001),
    ] {
        corpus.add(
            name,
            &[&esr.to_le_bytes(), &0x8_0000u64.to_le_bytes(), &0x123u64.to_le_bytes()],
        )?;
    }
    seeds += corpus.written;

    let mut corpus = Corpus::new("abi_trace")?;
    for command in Command::ALL {
        let [form, ..] = command.forms() else { continue };
        let fid = u64::from(form.fid().0).to_le_bytes();
        let arguments: Vec<u8> = (1..8u64).flat_map(|i| (i << 12 | 1).to_le_bytes()).collect();
        corpus.add(command.name(), &[&fid, &arguments, &[0; 64]])?;
    }
    seeds += corpus.written;

    let mut corpus = Corpus::new("abi_rsi")?;
    for command in rsi::Command::ALL {
        corpus.add(command.name(), &[&[0; 4], &command.form().fid().0.to_le_bytes(), &[0; 4]])?;
    }
    seeds += corpus.written;

    let mut corpus = Corpus::new("measurement_log")?;
    for dialect in Dialect::ALL {
        let mut log = String::new();
        let mut write = |event: &MeasurementEvent| log += &format!("{event}\n");
        let params = RealmParams::new(Geometry::new(40)?, Pa::new(0x8800_0000));
        let mut rim = Rim::new(&params, dialect, &mut write)?;
        let ram = IpaRange::with_size(Ipa::new(0x8020_0000), 0x2000)?;
        rim.add_ripas(ram, Level::L3, &mut write)?;
        rim.add_measured(ram.base(), b"content", &mut write)?;
        rim.add_unmeasured(ram, &mut write)?;
        rim.add_rec(&rec, &mut write)?;
        corpus.add(dialect.name(), &[log.as_bytes()])?;
    }
    seeds += corpus.written;

    // Files, preceded by the address at which flat images and kernels are loaded.
    let mut corpus = Corpus::new("measurement_image")?;
    let at = Ipa::new(0x8020_0000);
    let words = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect();
    let kernel: Vec<u8> =
        words(&[0x1400_0000, 0x8_0000, 0x3000, 0b1010, 0, 0, 0, 0x644d_5241, 0xd503_207f]);
    let program: Vec<u8> = words(&[
        // The file header: an executable for AArch64, followed by two program headers.
        0x0001_0102_464c_457f,
        0,
        0x0000_0001_00b7_0002,
        0x8000_00b0,
        64,
        0,
        0x0038_0040_0000_0000,
        2,
        // A text segment, and a data segment in the middle of the next page, with a BSS.
        0x5_0000_0001,
        0,
        0x8000_0000,
        0x8000_0000,
        0xb8,
        0xb8,
        0x1000,
        0x6_0000_0001,
        0xb8,
        0x8000_10b8,
        0x8000_10b8,
        8,
        0x2000,
        0x1000,
        // The text, and the data.
        0x1400_0000_d503_207f,
        1,
    ]);
    Image::arm64(&kernel, at)?;
    Image::elf(&program)?;
    for (name, file) in [("arm64", &kernel), ("elf", &program), ("flat", &vec![0xd5; 0x1234])] {
        corpus.add(name, &[&at.raw().to_le_bytes(), file])?;
    }
    seeds += corpus.written;

    writeln!(std::io::stdout(), "{seeds} seeds")?;
    Ok(())
}
