//! `cargo xtask release`: packages are complete. `cargo xtask interface`: a break of the interface
//! since the last release comes with a new version and an entry in the change log.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

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

/// Builds the tool that compares interfaces. Without optimisation that takes
/// half the time.
const INSTALL: [&str; 7] = [
    "install",
    "--debug",
    "--locked",
    "--quiet",
    "--target-dir",
    "target/tools",
    "cargo-semver-checks",
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

/// The published packages with sources that differ from those of a release.
fn changed_since<'m>(root: &Path, tag: &str, metadata: &'m Value) -> Result<Vec<&'m str>, Failure> {
    let mut changed = Vec::new();
    for package in packages(metadata).filter(|package| is_published(package)) {
        let manifest = Path::new(text(package, "manifest_path"));
        let directory = manifest.parent().ok_or("no directory")?;
        let status = Command::new("git")
            .args(["diff", "--quiet", tag, "--"])
            .args([manifest, &directory.join("src")])
            .current_dir(root)
            .status()?;
        match status.code() {
            Some(0) => {}
            Some(1) => changed.push(text(package, "name")),
            _ => return Err(format!("git diff ended with {status}").into()),
        }
    }
    Ok(changed)
}

/// Compares the interface with that of the last release, with `cargo-semver-checks`.
pub(crate) fn interface(root: &Path, install: bool) -> Result<(), Failure> {
    let metadata = metadata(root, false)?;
    let facade = packages(&metadata).find(|package| text(package, "name") == "realm-sdk");
    let version = facade.map(|package| text(package, "version")).unwrap_or_default();
    let Some(tag) = last_release(root)? else {
        say!("no release to compare with");
        return Ok(());
    };
    let changed = changed_since(root, &tag, &metadata)?;
    if changed.is_empty() {
        say!("no published package differs from {tag}");
        return Ok(());
    }
    let log = fs::read_to_string(root.join("CHANGELOG.md"))?;
    let says_how = lists_breaks(&log);
    if may_break(&tag, version) && says_how {
        // Whatever the comparison finds is allowed, so it is not built, which takes minutes.
        say!("{version} may break {tag}, and the change log says how");
        return Ok(());
    }
    if install && cargo(root, &["semver-checks", "--version"]).is_err() {
        cargo(root, &INSTALL)?;
    }
    let mut compare = vec!["semver-checks", "--all-features", "--baseline-rev", &tag];
    for package in &changed {
        compare.extend(["--package", package]);
    }
    if cargo(root, &[&compare[..], &["--release-type", "minor"]].concat()).is_ok() {
        say!("compatible with {tag}: {}", changed.join(", "));
        return Ok(());
    }
    // It breaks: then the version says so (which the tool judges), and so does the change log.
    cargo(root, &compare)?;
    if !says_how {
        return Err(format!("{version} breaks {tag}, and the change log does not say how").into());
    }
    say!("the interface differs from {tag}; the version and the change log say so");
    Ok(())
}

/// Whether the changes since the last release have a list of those that break the interface.
fn lists_breaks(log: &str) -> bool {
    let unreleased = log.split("\n## ").find(|part| part.starts_with("Unreleased"));
    unreleased.is_some_and(|part| part.contains("### Breaking changes\n\n-"))
}

/// Whether a version may break the interface of a release: by the rules of Cargo, where another
/// number stands at the place of the first one that is not zero, or before it.
fn may_break(tag: &str, version: &str) -> bool {
    let numbers = |version: &str| -> Vec<u64> {
        let numbers = version.trim_start_matches('v').split('.');
        numbers.map_while(|number| number.parse().ok()).collect()
    };
    let (before, after) = (numbers(tag), numbers(version));
    if before.len() != 3 || after.len() != 3 {
        return false;
    }
    let deciding = before.iter().position(|number| *number != 0).unwrap_or(2);
    before.iter().zip(&after).take(deciding + 1).any(|(before, after)| before != after)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_version_that_says_so_may_break() {
        for (tag, version, allowed) in [
            ("v0.1.0", "0.2.0", true),
            ("v0.1.0", "1.0.0", true),
            ("v0.1.0", "0.1.1", false),
            ("v0.1.0", "0.1.0", false),
            ("v1.2.0", "1.3.0", false),
            ("v1.2.0", "2.0.0", true),
            ("v0.0.1", "0.0.2", true),
            ("a-release", "0.2.0", false),
            ("v0.1.0", "next", false),
        ] {
            assert_eq!(may_break(tag, version), allowed, "{tag} {version}");
        }
    }

    #[test]
    fn breaks_are_listed_under_what_is_not_released() {
        let breaks = "### Breaking changes\n\n- `a`\n";
        assert!(lists_breaks(&format!("# Changelog\n\n## Unreleased\n\n{breaks}")));
        assert!(!lists_breaks("# Changelog\n\n## Unreleased\n\n### Breaking changes\n\n### New\n"));
        let released = format!("# Changelog\n\n## Unreleased\n\nNothing.\n\n## 0.1.0\n\n{breaks}");
        assert!(!lists_breaks(&released));
    }
}
