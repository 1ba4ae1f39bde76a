//! What ARCHITECTURE.md says of the layers, against manifests and sources.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod dialects;

use std::fs;
use std::path::{Path, PathBuf};

/// What may know dialects from each other: the tables, the commands, and the model, which is an RMM
/// of each of them.
const KNOW_DIALECTS: [&str; 3] = ["rmi-abi", "rmi-host", "rmm-model"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// The names in a directory, sorted.
fn entries(directory: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> =
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

/// The sources below a directory, without those of tests.
fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for path in entries(directory) {
        if path.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn above_rmi_host_no_dialect_is_matched_or_compared() {
    let crates = entries(&root().join("crates"));
    let above = crates.iter().filter(|path| !KNOW_DIALECTS.iter().any(|name| path.ends_with(name)));
    let mut files = Vec::new();
    above.for_each(|library| sources(&library.join("src"), &mut files));
    for others in ["src", "examples", "benches"] {
        sources(&root().join(others), &mut files);
    }
    assert!(files.len() > 100, "{files:?}");
    for file in files {
        let found = dialects::differences(&fs::read_to_string(&file).unwrap());
        assert_eq!(found, [""; 0], "{}", file.display());
    }
    // The test finds them where they belong.
    let table = fs::read_to_string(root().join("crates/rmi-abi/src/dialect.rs")).unwrap();
    assert!(dialects::differences(&table).len() > 5);
}

/// The dependencies of a library crate, as its manifest has them.
fn dependencies(library: &str) -> Vec<String> {
    let manifest = root().join("crates").join(library).join("Cargo.toml");
    let manifest = fs::read_to_string(manifest).unwrap();
    manifest
        .lines()
        .skip_while(|line| *line != "[dependencies]")
        .skip(1)
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty() && !name.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

#[test]
fn measurement_needs_no_host_code() {
    let names = dependencies("realm-measurement");
    assert_eq!(names, ["elf", "rmi-abi", "serde", "sha2", "thiserror", "zerocopy"]);
}

#[test]
fn a_realm_links_no_code_of_a_host() {
    assert_eq!(dependencies("rsi"), ["rmi-abi"]);
    let crates = entries(&root().join("crates"));
    for library in crates.iter().filter_map(|path| path.file_name()?.to_str()) {
        assert!(!dependencies(library).contains(&"rsi".to_owned()), "{library}");
    }
    let facade = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    assert!(!facade.contains("rsi.workspace"));
}

#[test]
fn a_virtual_gic_needs_no_other_crate_of_the_project() {
    let crates = entries(&root().join("crates"));
    let names: Vec<_> =
        crates.iter().filter_map(|path| path.file_name()?.to_str()).map(str::to_owned).collect();
    assert!(dependencies("rec-runtime").contains(&"vgic-realm".to_owned()));
    let needed = dependencies("vgic-realm");
    assert!(needed.iter().all(|name| !names.contains(name)), "{needed:?}");
}
