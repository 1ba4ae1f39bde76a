//! Every public method of a Realm that takes its lock says where it may be called.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

use syn::{Attribute, ImplItem, Item, Type, Visibility};

/// Methods that do not take the lock; the page of `Realm` names those that read a field.
const LOCK_FREE: [&str; 12] = [
    "rd",
    "rmm",
    "geometry",
    "recs",
    "populated",
    "create",
    "activate",
    "terminate",
    "create_rec",
    "destroy_rec",
    "into_records",
    "dialect",
];

/// The text of a documentation comment.
fn documentation(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(|attribute| match &attribute.meta {
        syn::Meta::NameValue(pair) if pair.path.is_ident("doc") => match &pair.value {
            syn::Expr::Lit(syn::ExprLit { lit: syn::Lit::Str(text), .. }) => Some(text.value()),
            _ => None,
        },
        _ => None,
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Public methods of `Realm` in a source: names, and whether they document their contexts.
fn methods(source: &str, found: &mut Vec<(String, bool)>) {
    for item in syn::parse_file(source).unwrap().items {
        let Item::Impl(block) = item else { continue };
        let Type::Path(of) = &*block.self_ty else { continue };
        if block.trait_.is_some() || of.path.segments.last().unwrap().ident != "Realm" {
            continue;
        }
        for item in &block.items {
            let ImplItem::Fn(method) = item else { continue };
            if matches!(method.vis, Visibility::Public(_)) {
                let says = documentation(&method.attrs).contains("# Contexts");
                found.push((method.sig.ident.to_string(), says));
            }
        }
    }
}

fn visit(directory: &Path, found: &mut Vec<(String, bool)>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            visit(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            methods(&fs::read_to_string(path).unwrap(), found);
        }
    }
}

#[test]
fn sound_8_every_method_that_locks_says_where_it_may_be_called() {
    let mut found = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    visit(&root.join("crates/realm-builder/src"), &mut found);
    assert!(found.len() > 30, "{found:?}");
    let silent: Vec<_> = found
        .iter()
        .filter(|(name, says)| !says && !LOCK_FREE.contains(&name.as_str()))
        .map(|(name, _)| name)
        .collect();
    assert!(silent.is_empty(), "no contexts: {silent:?}");
}

#[test]
fn a_method_without_contexts_is_found() {
    let mut found = Vec::new();
    let source = "impl<P, S> Realm<'_, P, S> {
        /// Does it.
        pub fn silent(&self) {}
        /// Does it.
        ///
        /// # Contexts
        ///
        /// Takes the lock.
        pub fn says(&self) {}
        fn private(&self) {}
    }";
    methods(source, &mut found);
    assert_eq!(found, [("silent".to_owned(), false), ("says".to_owned(), true)]);
}
