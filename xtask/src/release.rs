//! `cargo xtask release`: packages are complete. `cargo xtask interface`: a break of the interface
//! since the last release comes with a new version and an entry in the change log.

use std::fs;
use std::path::Path;

use crate::Failure;
use crate::output::{complain, say};
use crate::packages::{cargo, is_published, last_release, metadata, packages, text, value};

/// What every published package states, by the key in `cargo metadata`.
const STATED: [&str; 8] = [
    "description",
    "documentation",
    "license",
    "readme",
    "repository",
    "rust_version",
    "keywords",
    "categories",
];

pub(crate) fn run(root: &Path) -> Result<(), Failure> {
    let metadata = metadata(root, false)?;
    let all: Vec<_> = packages(&metadata).collect();
    let (published, others): (Vec<_>, Vec<_>) = all.into_iter().partition(|one| is_published(one));
    let mut missing = 0;
    for package in &published {
        for key in STATED {
            let stated = value(package, &[key]);
            if stated.is_null() || stated.as_array().is_some_and(Vec::is_empty) {
                complain!("{} states no `{key}`", text(package, "name"));
                missing += 1;
            }
        }
        let directory = Path::new(text(package, "manifest_path")).parent().ok_or("no directory")?;
        for file in ["LICENSE-APACHE", "LICENSE-MIT", "README.md"] {
            if !directory.join(file).is_file() {
                complain!("{} has no {file}", text(package, "name"));
                missing += 1;
            }
        }
        if value(package, &["metadata", "docs", "rs", "all-features"]).as_bool() != Some(true) {
            complain!("{} does not document all features", text(package, "name"));
            missing += 1;
        }
    }
    if missing > 0 {
        return Err(format!("{missing} things are missing").into());
    }
    let mut arguments = vec!["package", "--workspace", "--quiet", "--allow-dirty"];
    for package in &others {
        arguments.extend(["--exclude", text(package, "name")]);
    }
    cargo(root, &arguments)?;
    say!("{} packages", published.len());
    Ok(())
}

/// Compares the interface with that of the last release, with `cargo-semver-checks`.
pub(crate) fn interface(root: &Path) -> Result<(), Failure> {
    let metadata = metadata(root, false)?;
    let facade = packages(&metadata).find(|package| text(package, "name") == "realm-sdk");
    let version = facade.map(|package| text(package, "version")).unwrap_or_default();
    let Some(tag) = last_release(root)? else {
        say!("no release to compare with");
        return Ok(());
    };
    let compare = ["semver-checks", "--workspace", "--all-features", "--baseline-rev", &tag];
    if cargo(root, &[&compare[..], &["--release-type", "minor"]].concat()).is_ok() {
        say!("the interface is compatible with {tag}");
        return Ok(());
    }
    // It breaks: then the version says so (which the tool judges), and so does the change log.
    cargo(root, &compare)?;
    let log = fs::read_to_string(root.join("CHANGELOG.md"))?;
    let unreleased = log.split("\n## ").find(|part| part.starts_with("Unreleased"));
    if !unreleased.is_some_and(|part| part.contains("### Breaking changes\n\n-")) {
        return Err(format!("{version} breaks {tag}, and the change log does not say how").into());
    }
    say!("the interface differs from {tag}; the version and the change log say so");
    Ok(())
}
