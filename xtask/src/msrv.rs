//! `cargo xtask msrv`: holds the workspace to its minimum supported Rust version.
//!
//! Where that toolchain is installed, it checks the workspace with it. Otherwise clippy looks for
//! what was stabilised later, and `cargo metadata` for dependencies that need a later version.

use std::path::Path;
use std::process::Command;

use crate::Failure;
use crate::output::{complain, say};
use crate::packages::{cargo, elements, is_published, metadata, packages, text, value};

pub(crate) fn run(root: &Path) -> Result<(), Failure> {
    let metadata = metadata(root, true)?;
    let facade = packages(&metadata).find(|package| text(package, "name") == "realm-sdk");
    let floor = facade.map(|package| text(package, "rust_version")).unwrap_or_default();
    let version = parse(floor).ok_or("the workspace states no `rust-version`")?;

    let mut arguments = Vec::new();
    for package in
        packages(&metadata).filter(|one| value(one, &["source"]).is_null() && is_published(one))
    {
        arguments.extend(["--package", text(package, "name")]);
    }
    let toolchain = format!("+{floor}");
    let found = Command::new("cargo").args([&toolchain, "--version"]).output();
    if found.is_ok_and(|found| found.status.success()) {
        say!("with the toolchain {floor}");
        let check = [toolchain.as_str(), "check", "--quiet", "--all-features"];
        return cargo(root, &[&check[..], &arguments].concat());
    }
    say!("without the toolchain {floor}, by clippy and by the dependencies");
    let clippy = ["clippy", "--quiet", "--all-features"];
    let deny = ["--", "--deny", "clippy::incompatible_msrv"];
    cargo(root, &[&clippy[..], &arguments, &deny].concat())?;

    let mut late = 0;
    for package in packages(&metadata).filter(|package| is_needed(&metadata, package)) {
        let stated = text(package, "rust_version");
        if parse(stated).is_some_and(|stated| stated > version) {
            complain!("{} {} needs {stated}", text(package, "name"), text(package, "version"));
            late += 1;
        }
    }
    match late {
        0 => Ok(()),
        _ => Err(format!("{late} dependencies need a later Rust than {floor}").into()),
    }
}

/// Whether a published package of the workspace needs a package, directly or not, for anything but
/// its tests.
fn is_needed(metadata: &serde_json::Value, package: &serde_json::Value) -> bool {
    let nodes = || elements(metadata, &["resolve", "nodes"]);
    let mut needed: Vec<&str> = packages(metadata)
        .filter(|one| value(one, &["source"]).is_null() && is_published(one))
        .map(|one| text(one, "id"))
        .collect();
    let mut next = 0;
    while let Some(&id) = needed.get(next) {
        next += 1;
        let node = nodes().find(|node| text(node, "id") == id);
        for dependency in node.into_iter().flat_map(|node| elements(node, &["deps"])) {
            let mut kinds = elements(dependency, &["dep_kinds"]);
            let is_new = !needed.contains(&text(dependency, "pkg"));
            if is_new && kinds.any(|kind| text(kind, "kind") != "dev") {
                needed.push(text(dependency, "pkg"));
            }
        }
    }
    needed.contains(&text(package, "id"))
}

/// A version as numbers, of which `1.88` has two and `1.88.0` three.
fn parse(version: &str) -> Option<[u32; 3]> {
    let mut numbers = version.split('.').map(str::parse);
    let mut next = || numbers.next().unwrap_or(Ok(0)).ok();
    let all = [next()?, next()?, next()?];
    (all != [0; 3]).then_some(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_compare_as_numbers() {
        assert!(parse("1.100") > parse("1.88"));
        assert_eq!(parse("1.88"), parse("1.88.0"));
        assert_eq!((parse(""), parse("none")), (None, None));
    }
}
