//! The links of the project's pages have targets that exist: in the repository, and in the
//! documentation that is built from them.

use std::fs;
use std::path::Path;

const PAGES: [&str; 7] = [
    "README.md",
    "ARCHITECTURE.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "SECURITY.md",
    "benches/README.md",
    "docs/model-protocol.md",
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The targets of links that are written inline, `[text](target)`.
fn inline_targets(page: &str) -> Vec<&str> {
    page.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect()
}

/// Definitions of link names, `[name]: target`.
fn definitions(page: &str) -> Vec<(&str, &str)> {
    let lines = page.lines().map(|line| line.trim_start_matches(['/', '!', ' ']));
    lines.filter_map(|line| line.strip_prefix('[')?.split_once("]: ")).collect()
}

fn is_relative(target: &str) -> bool {
    !target.contains("://") && !target.starts_with('#')
}

#[test]
fn every_relative_link_leads_to_a_file() {
    for name in PAGES {
        let page = fs::read_to_string(root().join(name)).unwrap();
        let defined = definitions(&page).into_iter().map(|(_, target)| target);
        for target in inline_targets(&page).into_iter().chain(defined).filter(|t| is_relative(t)) {
            let file = target.split('#').next().unwrap();
            let path = root().join(name).parent().unwrap().join(file);
            assert!(path.exists(), "{name}: {target}");
        }
    }
}

/// Built documentation has no files beside a page, so each such link has another target there.
#[test]
fn pages_in_the_documentation_have_no_links_to_files() {
    let facade = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let replaced = definitions(&facade);
    for name in PAGES {
        if !facade.contains(&format!("include_str!(\"../{name}\")")) {
            continue;
        }
        let page = fs::read_to_string(root().join(name)).unwrap();
        for target in inline_targets(&page) {
            assert!(!is_relative(target), "{name}: {target} is to be a link with a name");
        }
        for (link, target) in definitions(&page) {
            let is_replaced = replaced.iter().any(|(other, _)| *other == link);
            assert!(!is_relative(target) || is_replaced, "{name}: [{link}] in src/lib.rs");
        }
    }
    assert!(facade.contains("include_str!(\"../README.md\")"));
    assert!(replaced.len() >= 6, "{replaced:?}");
}
