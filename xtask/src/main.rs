//! The project's chores.

mod aarch64;
mod budgets;
mod debian;
mod features;
mod instructions;
mod kvm_realm_boot;
mod lines;
mod msrv;
mod mutants;
mod names;
#[path = "../../examples/shared/output.rs"]
mod output;
mod packages;
mod pictures;
mod qemu_model;
mod release;
mod surface;
mod words;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use lexopt::prelude::*;
use output::{complain, say};

/// Why a chore failed: a message.
type Failure = Box<dyn Error>;

const USAGE: &str = "\
usage: cargo xtask <chore>

  aarch64 [--install]
                     tests of rmi-abi on aarch64, under QEMU; --install: installs QEMU where it is
                     missing
  budgets [--paths]  text, stack and panics of the images in benches/footprint; fails above a
                     ceiling; --paths: the deepest path of each exported function
  features           each published package without features, with each one alone, with all
  instructions       instructions of the SDK per exit and per call; fails above a ceiling of
                     benches/instructions; needs valgrind
  kvm-realm-boot     the example VMM and the probe of kvm-realm for arm64, linked statically
  lines              lines of source files of more than 100 columns; fails if there are any
  msrv               the workspace with its minimum supported Rust version
  mutants [--base REV] [--limit N] [--seed N] [--results DIR]
                     tests mutants of what changed since the last release, or REV; with a limit,
                     some of them; fails if one survives that xtask/mutants.txt does not list;
                     --results: judges what cargo mutants has left in a directory
  pictures [--check] draws the pictures of the documentation from the texts in docs/pictures;
                     --check: fails if one differs from its text
  interface [--install]
                     what differs from the last release, with cargo-semver-checks; a break needs
                     a new version and an entry in the change log; --install: builds that tool
                     if it is needed and missing
  qemu-model [--install] [--qemu PROGRAM]
                     the bare-metal host in QEMU, on the model RMM at EL3; fails if a check fails,
                     or if there are others than expected; --install: installs QEMU where it is
                     missing; --qemu: another QEMU than qemu-system-aarch64
  release            what packages state and contain
  surface            public items of each library crate, and the largest numbers of parameters;
                     fails if a name stands for two items when the facade is imported with globs
  words [--places]   words that do not say what they mean; fails if there are any;
                     --places: where they are
";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Failure> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().ok_or("no workspace")?;
    let mut arguments = lexopt::Parser::from_env();
    let chore = match arguments.next()? {
        Some(Value(chore)) => chore.string()?,
        Some(Short('h') | Long("help")) | None => {
            say!("{}", USAGE.trim_end());
            return Ok(());
        }
        Some(other) => return Err(other.unexpected().into()),
    };
    let mut in_detail = false;
    let mut mutants = mutants::Options::default();
    let mut qemu_model = qemu_model::Options::default();
    while let Some(argument) = arguments.next()? {
        match argument {
            Long("paths") if chore == "budgets" => in_detail = true,
            Long("check") if chore == "pictures" => in_detail = true,
            Long("install") if matches!(chore.as_str(), "aarch64" | "interface") => {
                in_detail = true;
            }
            Long("install") if chore == "qemu-model" => qemu_model.install = true,
            Long("qemu") if chore == "qemu-model" => {
                qemu_model.qemu = Some(arguments.value()?.string()?);
            }
            Long("places") if chore == "words" => in_detail = true,
            Long("base") if chore == "mutants" => {
                mutants.base = Some(arguments.value()?.string()?);
            }
            Long("limit") if chore == "mutants" => {
                mutants.limit = Some(arguments.value()?.parse()?);
            }
            Long("seed") if chore == "mutants" => mutants.seed = arguments.value()?.parse()?,
            Long("results") if chore == "mutants" => {
                mutants.results = Some(arguments.value()?.into());
            }
            other => return Err(other.unexpected().into()),
        }
    }
    match chore.as_str() {
        "aarch64" => aarch64::run(root, in_detail),
        "budgets" => budgets::run(root, in_detail),
        "features" => features::run(root),
        "instructions" => instructions::run(root),
        "kvm-realm-boot" => kvm_realm_boot::run(root),
        "lines" => lines::run(root),
        "msrv" => msrv::run(root),
        "mutants" => mutants::run(root, &mutants),
        "pictures" => pictures::run(root, in_detail),
        "qemu-model" => qemu_model::run(root, &qemu_model),
        "interface" => release::interface(root, in_detail),
        "release" => release::run(root),
        "surface" => surface::run(root),
        "words" => words::run(root, in_detail),
        other => Err(format!("no chore `{other}`\n{USAGE}").into()),
    }
}
