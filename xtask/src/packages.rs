//! The packages of the workspace, as `cargo metadata` describes them.

use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::Failure;

/// What `cargo metadata` says about the workspace, with or without its dependencies.
pub(crate) fn metadata(root: &Path, with_dependencies: bool) -> Result<Value, Failure> {
    let mut command = Command::new("cargo");
    command.args(["metadata", "--format-version", "1", "--all-features"]).current_dir(root);
    if !with_dependencies {
        command.arg("--no-deps");
    }
    let done = command.stderr(Stdio::inherit()).output()?;
    if !done.status.success() {
        return Err(format!("cargo metadata ended with {}", done.status).into());
    }
    Ok(serde_json::from_slice(&done.stdout)?)
}

/// What is at a path in a value; null if there is nothing.
pub(crate) fn value<'v>(value: &'v Value, path: &[&str]) -> &'v Value {
    path.iter().fold(value, |value, key| value.get(key).unwrap_or(&Value::Null))
}

/// The elements of a list at a path in a value.
pub(crate) fn elements<'v>(
    of: &'v Value,
    path: &[&str],
) -> impl Iterator<Item = &'v Value> + use<'v> {
    value(of, path).as_array().into_iter().flatten()
}

/// The packages in what `cargo metadata` says.
pub(crate) fn packages(metadata: &Value) -> impl Iterator<Item = &Value> {
    elements(metadata, &["packages"])
}

/// A string in a package's description; empty if it is absent.
pub(crate) fn text<'v>(package: &'v Value, key: &str) -> &'v str {
    value(package, &[key]).as_str().unwrap_or_default()
}

/// Whether a package is published.
pub(crate) fn is_published(package: &Value) -> bool {
    // `publish = false` is a list of no registries; without the key it is null.
    value(package, &["publish"]).as_array().is_none_or(|registries| !registries.is_empty())
}

/// Names of a package's features.
pub(crate) fn features(package: &Value) -> Vec<&str> {
    package["features"]
        .as_object()
        .into_iter()
        .flat_map(|all| all.keys())
        .map(String::as_str)
        .collect()
}

/// Runs cargo, which has to succeed.
pub(crate) fn cargo(root: &Path, arguments: &[&str]) -> Result<(), Failure> {
    let status = Command::new("cargo").args(arguments).current_dir(root).status()?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("`cargo {}` ended with {status}", arguments.join(" ")).into())
    }
}

/// The last release, by its tag.
pub(crate) fn last_release(root: &Path) -> Result<Option<String>, Failure> {
    let mut command = Command::new("git");
    command.args(["describe", "--tags", "--abbrev=0", "--match", "v*"]).current_dir(root);
    let found = command.stderr(Stdio::null()).output()?;
    let tag = String::from_utf8(found.stdout)?;
    Ok(found.status.success().then(|| tag.trim().to_owned()))
}
