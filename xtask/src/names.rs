//! Names that two crates of the facade have at their root.
//!
//! A program that imports both crates with a glob cannot use such a name.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use syn::{Attribute, Ident, Item, Meta, UseTree, Visibility};

use crate::Failure;

/// An item, by the crate that defines it and its name there.
type Origin = (String, String);

/// The public names at the root of a crate, each with the item that it stands for.
#[derive(Debug, Default)]
struct Root(BTreeMap<String, Origin>);

/// A name that stands for different items.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ambiguous {
    name: String,
    crates: Vec<String>,
}

impl fmt::Display for Ambiguous {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}", self.name, self.crates.join(", "))
    }
}

/// The names that are ambiguous after a glob import of each crate that the facade in `root`
/// re-exports.
///
/// Items that are the same are not ambiguous. Namespaces are not told apart: a function and a
/// module with one name count.
///
/// # Errors
///
/// [`Failure`] when a source file cannot be read, or when a crate has a glob at its root.
pub(crate) fn ambiguous(root: &Path) -> Result<Vec<Ambiguous>, Failure> {
    let mut roots = Vec::new();
    let facade = "realm_sdk";
    for (_, (name, _)) in Root::read(facade, &root.join("src/lib.rs"))?.0 {
        // What the facade defines itself is not a crate.
        if name == facade {
            continue;
        }
        let file = root.join("crates").join(name.replace('_', "-")).join("src/lib.rs");
        roots.push((Root::read(&name, &file)?, name));
    }
    Ok(find(&roots))
}

fn find(roots: &[(Root, String)]) -> Vec<Ambiguous> {
    let mut found: BTreeMap<&str, (BTreeSet<&Origin>, Vec<String>)> = BTreeMap::new();
    for (root, of) in roots {
        for (name, origin) in &root.0 {
            let (origins, crates) = found.entry(name).or_default();
            origins.insert(origin);
            crates.push(of.clone());
        }
    }
    found
        .into_iter()
        .filter(|(_, (origins, _))| origins.len() > 1)
        .map(|(name, (_, crates))| Ambiguous { name: name.to_owned(), crates })
        .collect()
}

impl Root {
    fn read(name: &str, file: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| format!("{}: {error}", file.display()))?;
        Self::parse(name, &text).map_err(|error| format!("{}: {error}", file.display()).into())
    }

    fn parse(of: &str, text: &str) -> Result<Self, Failure> {
        let items = syn::parse_file(text)?.items;
        let mut root = Self::default();
        for item in &items {
            if let Some(name) = defined(item) {
                root.0.insert(name.clone(), (of.to_owned(), name));
            }
        }
        // Modules of the crate, public or not: paths that begin with one stay in the crate.
        let modules: BTreeSet<String> = items
            .iter()
            .filter_map(|item| match item {
                Item::Mod(item) => Some(item.ident.to_string()),
                _ => None,
            })
            .collect();
        let mut uses = Vec::new();
        for item in &items {
            if let Item::Use(item) = item
                && is_public(&item.vis, &item.attrs)
            {
                leaves(&item.tree, &mut Vec::new(), &mut uses)?;
            }
        }
        // A path can begin with a name that another `use` brings in: those of one segment less
        // come first.
        uses.sort_by_key(|(path, _)| path.len());
        for (path, name) in uses {
            let (Some(first), Some(last)) = (path.first(), path.last()) else { continue };
            let from = match root.0.get(first) {
                _ if matches!(&**first, "crate" | "self") || modules.contains(first) => of,
                Some((origin, _)) => origin,
                None => first,
            };
            let origin = (from.to_owned(), last.clone());
            root.0.entry(name).or_insert(origin);
        }
        Ok(root)
    }
}

/// The names that a `use` brings in, each with its path.
fn leaves(
    tree: &UseTree,
    above: &mut Vec<String>,
    found: &mut Vec<(Vec<String>, String)>,
) -> Result<(), Failure> {
    let path = |ident: &Ident| {
        // `use module::{self}` is the module.
        let last = (ident != "self").then(|| ident.to_string());
        above.iter().cloned().chain(last).collect::<Vec<_>>()
    };
    match tree {
        UseTree::Name(tree) => {
            let path = path(&tree.ident);
            let name = path.last().cloned().unwrap_or_default();
            found.push((path, name));
        }
        UseTree::Rename(tree) => found.push((path(&tree.ident), tree.rename.to_string())),
        UseTree::Path(tree) => {
            above.push(tree.ident.to_string());
            leaves(&tree.tree, above, found)?;
            above.pop();
        }
        UseTree::Group(group) => {
            for tree in &group.items {
                leaves(tree, above, found)?;
            }
        }
        UseTree::Glob(_) => {
            return Err(format!("a glob at the root: {}::*", above.join("::")).into());
        }
    }
    Ok(())
}

/// The name of a public item that is defined at the root. Exported macros are not looked at.
fn defined(item: &Item) -> Option<String> {
    let (visibility, attributes, ident) = match item {
        Item::Const(item) => (&item.vis, &item.attrs, &item.ident),
        Item::Static(item) => (&item.vis, &item.attrs, &item.ident),
        Item::Enum(item) => (&item.vis, &item.attrs, &item.ident),
        Item::Struct(item) => (&item.vis, &item.attrs, &item.ident),
        Item::Union(item) => (&item.vis, &item.attrs, &item.ident),
        Item::Type(item) => (&item.vis, &item.attrs, &item.ident),
        Item::Fn(item) => (&item.vis, &item.attrs, &item.sig.ident),
        Item::Trait(item) => (&item.vis, &item.attrs, &item.ident),
        Item::Mod(item) => (&item.vis, &item.attrs, &item.ident),
        _ => return None,
    };
    is_public(visibility, attributes).then(|| ident.to_string())
}

/// Whether an item is public, in other builds than those of tests and of documentation. What is
/// hidden from the documentation is imported by a glob, too.
fn is_public(visibility: &Visibility, attributes: &[Attribute]) -> bool {
    let is_absent = attributes.iter().filter(|one| one.path().is_ident("cfg")).any(|one| {
        one.parse_args::<Meta>()
            .is_ok_and(|only| only.path().is_ident("test") || only.path().is_ident("doc"))
    });
    matches!(visibility, Visibility::Public(_)) && !is_absent
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roots(texts: &[(&str, &str)]) -> Vec<(Root, String)> {
        texts.iter().map(|(of, text)| (Root::parse(of, text).unwrap(), (*of).into())).collect()
    }

    #[test]
    fn a_name_of_two_items_is_ambiguous() {
        let roots = roots(&[
            ("host", "pub mod session; mod own; pub use own::{Progress, Step as Stage};"),
            ("builder", "pub mod session { } pub enum Progress {} pub struct Step;"),
        ]);
        let names: Vec<_> = find(&roots).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["Progress in host, builder", "session in host, builder"]);
    }

    #[test]
    fn one_item_under_one_name_is_not_ambiguous() {
        let roots = roots(&[
            ("measurement", "pub mod config; pub use config::{self, Config as RealmConfig};"),
            (
                "builder",
                "pub use measurement::config; pub use config::Config as RealmConfig;
                 #[cfg(test)] pub mod tests; mod own; pub(crate) use own::Rd;",
            ),
            ("host", "mod config; pub use crate::config::Rd;"),
        ]);
        assert_eq!(find(&roots), []);
    }

    #[test]
    fn a_glob_is_refused() {
        let refused = Root::parse("host", "pub use own::inner::*;").unwrap_err();
        assert_eq!(refused.to_string(), "a glob at the root: own::inner::*");
    }
}
