//! `cargo xtask features`: checks each published package without features, with each one alone, and
//! with all of them on the host; and with those that need no operating system on bare metal.

use std::path::Path;

use crate::Failure;
use crate::output::say;
use crate::packages::{cargo, features, is_published, metadata, packages, text};

/// The target without an operating system.
const BARE_METAL: &str = "aarch64-unknown-none";
/// Features that need no operating system.
const WITHOUT_STD: [&str; 3] = ["alloc", "hardware", "smc"];
/// Packages that need one.
const NEED_STD: [&str; 1] = ["kvm-realm"];

pub(crate) fn run(root: &Path) -> Result<(), Failure> {
    let metadata = metadata(root, false)?;
    let mut checked = 0;
    for package in packages(&metadata).filter(|package| is_published(package)) {
        let (name, all) = (text(package, "name"), features(package));
        let check = |features: &str, more: &[&str]| {
            let fixed = ["check", "--quiet", "--package", name, "--no-default-features"];
            cargo(root, &[&fixed[..], &["--features", features], more].concat())
        };
        check("", &[])?;
        for feature in &all {
            check(feature, &[])?;
        }
        check(&all.join(","), &[])?;
        checked += all.len() + 2;
        if NEED_STD.contains(&name) {
            say!("{name}: none, {}, all", all.join(", "));
            continue;
        }
        let bare: Vec<&str> = WITHOUT_STD.into_iter().filter(|one| all.contains(one)).collect();
        check(&bare.join(","), &["--target", BARE_METAL])?;
        checked += 1;
        say!("{name}: none, {}, all; [{}] on {BARE_METAL}", all.join(", "), bare.join(", "));
    }
    say!("{checked} combinations");
    Ok(())
}
