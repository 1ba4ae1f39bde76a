//! `cargo xtask release`: packages are complete. `cargo xtask interface`: a break of the interface
//! since the last release comes with a new version and an entry in the change log.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

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
    let names: Vec<_> = published.iter().map(|package| text(package, "name")).collect();
    remove_unpacked(&cargo_directory()?, &names)?;
    let target = Path::new(text(&metadata, "target_directory")).join("release-check");
    remove(&target)?;
    let target = target.to_str().ok_or("the target directory is not UTF-8")?;
    let mut arguments =
        vec!["package", "--workspace", "--quiet", "--allow-dirty", "--target-dir", target];
    for package in &others {
        arguments.extend(["--exclude", text(package, "name")]);
    }
    cargo(root, &arguments)?;
    say!("{} packages", published.len());
    Ok(())
}

/// Where cargo keeps what it unpacks.
fn cargo_directory() -> Result<PathBuf, Failure> {
    let set = env::var_os("CARGO_HOME").map(PathBuf::from);
    let found = set.or_else(|| env::home_dir().map(|user| user.join(".cargo")));
    found.ok_or_else(|| "cargo has no directory".into())
}

/// Removes what earlier runs unpacked of these packages.
///
/// `cargo package` builds each package on those before it, by way of a registry in the target
/// directory. It unpacks them in its own directory by name and version, and what is there already
/// counts as unpacked, so of a version that is in work the first state would be used for ever. A
/// registry in a directory has a name without a host: it begins with a hyphen.
fn remove_unpacked(cargo_directory: &Path, names: &[&str]) -> Result<(), Failure> {
    let registries = match fs::read_dir(cargo_directory.join("registry/src")) {
        Ok(registries) => registries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    for registry in registries {
        let registry = registry?;
        if !registry.file_name().to_string_lossy().starts_with('-') {
            continue;
        }
        for unpacked in fs::read_dir(registry.path())? {
            let unpacked = unpacked?;
            let directory = unpacked.file_name();
            let of_a_package = |name: &&str| {
                let rest = directory.to_str().and_then(|it| it.strip_prefix(*name));
                let version = rest.and_then(|rest| rest.strip_prefix('-'));
                version.is_some_and(|it| it.starts_with(|first: char| first.is_ascii_digit()))
            };
            if names.iter().any(of_a_package) {
                remove(&unpacked.path())?;
            }
        }
    }
    Ok(())
}

/// Removes a directory, if there is one.
fn remove(directory: &Path) -> Result<(), Failure> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error.into()),
        _ => Ok(()),
    }
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
    fn only_unpacked_packages_of_local_registries_are_removed() {
        let cargo = env::temp_dir().join(format!("release-check-{}", std::process::id()));
        let sources = cargo.join("registry/src");
        let path = |registry: &str, package: &str| sources.join(registry).join(package);
        let kept = [
            path("index-0", "sro-0.2.0"),
            path("-0", "sro-tools-0.2.0"),
            path("-0", "sro"),
            path("-0", "other-0.2.0"),
        ];
        let removed = [path("-0", "sro-0.2.0"), path("-1", "sro-0.1.0")];
        remove_unpacked(&cargo, &["sro"]).unwrap();
        for directory in kept.iter().chain(&removed) {
            fs::create_dir_all(directory.join("src")).unwrap();
        }
        remove_unpacked(&cargo, &["sro"]).unwrap();
        assert!(kept.iter().all(|directory| directory.is_dir()), "{kept:?}");
        assert!(!removed.iter().any(|directory| directory.exists()), "{removed:?}");
        remove(&cargo).unwrap();
        remove(&cargo).unwrap();
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
