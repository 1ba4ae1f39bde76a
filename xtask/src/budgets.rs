//! `cargo xtask budgets`: text, stack and panics of the images in `benches/footprint`.
//!
//! The images are built with a nightly toolchain, because only that reports the sizes of frames.

mod a64;
mod ceilings;
mod graph;
mod image;

use std::path::Path;
use std::process::Command;

use ceilings::{Ceilings, Figures};
use graph::{Depth, Recursion};
use image::Image;

use crate::Failure;
use crate::output::say;

const TARGET: &str = "aarch64-unknown-none";
const PACKAGE: &str = "realm-sdk-footprint";
/// The environment variable that names a toolchain other than the one that `.ci/run` installs.
const NIGHTLY: &str = "NIGHTLY";
/// The compiler emits the sizes of frames and the linker keeps the relocations. Symbols are mangled
/// so that they contain paths.
const FLAGS: &str = "-Zemit-stack-sizes -Clink-arg=--emit-relocs -Csymbol-mangling-version=v0";
/// Emits checks of the types of calls through pointers, from which the possible targets are read.
/// The checks make the text larger, so its size is taken from another build; frames have the same
/// size.
const TYPES: &str = "-Zsanitizer=kcfi -Cunsafe-allow-abi-mismatch=sanitizer,\
                     sanitizer-cfi-normalize-integers";

/// The images: their names, and the features of the package.
const IMAGES: [(&str, &str); 6] = [
    ("fixed-memory", "no-aux-trees,virtual-cpus"),
    ("no-aux-trees", "no-aux-trees,memory"),
    ("core", "memory"),
    ("virtual-cpus", "memory,virtual-cpus"),
    ("virtual-gic", "memory,virtual-gic"),
    ("all-dialects", "memory,virtual-cpus,all-dialects"),
];

/// Builds the images, prints their figures, and compares them with their ceilings.
///
/// # Errors
///
/// [`Failure`] when an image cannot be built or read, recurses, or is above a ceiling.
pub(crate) fn run(root: &Path, with_paths: bool) -> Result<(), Failure> {
    let file = root.join("benches/footprint/ceilings.txt");
    let text =
        std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
    let ceilings = Ceilings::parse(&text)?;
    let nightly = nightly()?;
    let mut above = Vec::new();
    for (name, features) in IMAGES {
        let image = build(root, &nightly, features, "footprint", FLAGS)?;
        let typed = format!("{FLAGS} {TYPES}");
        let typed = build(root, &nightly, features, "footprint-types", &typed)?;
        let ceiling = ceilings.of(name)?;
        say!("{name}");
        above.extend(report(name, (&image, &typed), ceiling, with_paths)?);
    }
    if above.is_empty() { Ok(()) } else { Err(above.join("; ").into()) }
}

/// Prints the figures of an image, and returns those that are above their ceiling.
fn report(
    name: &str,
    (image, typed): (&Image, &Image),
    ceiling: Figures,
    with_paths: bool,
) -> Result<Vec<String>, Failure> {
    let mut depths = Vec::new();
    for id in typed.entries() {
        let depth = typed.graph.depth(id).map_err(|recursion| cycle(name, typed, &recursion))?;
        depths.push((typed.name(id), depth));
    }
    depths.sort_by_key(|(_, depth)| std::cmp::Reverse(depth.bytes));
    let (deepest, stack) = depths
        .first()
        .map(|(name, depth)| (name, depth.bytes))
        .ok_or("the image has no entries")?;
    let panics = image.panicking();

    say!("  text {} (ceiling {})", image.text, ceiling.text);
    say!("  stack {stack} {deepest} (ceiling {})", ceiling.stack);
    if with_paths {
        for (entry, depth) in &depths {
            print_path(typed, entry, depth);
        }
    }
    say!("  panics {} (ceiling {})", panics.len(), ceiling.panics);
    for function in &panics {
        say!("    {function}");
    }

    let figures = Figures { text: image.text, stack, panics: panics.len() as u64 };
    Ok(figures
        .above(&ceiling)
        .map(|(what, is, most)| format!("{name}: {what} {is} > {most}"))
        .collect())
}

fn print_path(image: &Image, entry: &str, depth: &Depth) {
    say!("    {} {entry}", depth.bytes);
    for id in &depth.path {
        let function = image.graph.functions.get(*id);
        if let Some(function) = function.filter(|function| function.frame > 0) {
            say!("      {:>6} {}", function.frame, image.name(*id));
        }
    }
}

fn cycle(name: &str, image: &Image, Recursion(cycle): &Recursion) -> Failure {
    let names: Vec<_> = cycle.iter().map(|id| image.name(*id)).collect();
    format!("{name}: recursion, so the stack has no bound: {}", names.join(" -> ")).into()
}

/// The nightly toolchain: from the environment, or the first that rustup lists.
fn nightly() -> Result<String, Failure> {
    if let Ok(name) = std::env::var(NIGHTLY) {
        return Ok(name);
    }
    let output = Command::new("rustup").args(["toolchain", "list"]).output();
    let output = output.map_err(|error| format!("rustup: {error}"))?;
    let list = String::from_utf8_lossy(&output.stdout);
    let names = list.lines().filter_map(|line| line.split_whitespace().next());
    names
        .into_iter()
        .find(|name| name.starts_with("nightly"))
        .map(Into::into)
        .ok_or_else(|| "no nightly toolchain, which tells the sizes of frames; install one".into())
}

/// Builds the image with the given features in a directory below `target`, and reads it.
fn build(
    root: &Path,
    nightly: &str,
    features: &str,
    directory: &str,
    flags: &str,
) -> Result<Image, Failure> {
    let target = root.join("target").join(directory);
    let status = Command::new("rustup")
        .args(["run", nightly, "cargo", "build", "--quiet", "--package", PACKAGE])
        .args(["--features", features, "--profile", "footprint", "--target", TARGET])
        .arg("--target-dir")
        .arg(&target)
        .env("RUSTFLAGS", flags)
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .current_dir(root)
        .status()
        .map_err(|error| format!("rustup: {error}"))?;
    if !status.success() {
        return Err(format!("{PACKAGE} with the features `{features}` cannot be built").into());
    }
    let path = target.join(TARGET).join("footprint/footprint");
    let bytes = std::fs::read(&path).map_err(|error| format!("{}: {error}", path.display()))?;
    Image::read(&bytes)
}
