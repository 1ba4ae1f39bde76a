//! `cargo xtask surface`: the size of the public interface of each library crate.
//!
//! The count is taken from the sources: it does not include what macros generate, except for the
//! wire structs that `layout!` defines, nor what is hidden from the documentation. Everything `pub`
//! counts, because the lint `unreachable_pub` rejects items that are `pub` but unreachable.

use std::path::{Path, PathBuf};

use syn::punctuated::Punctuated;
use syn::{
    Attribute, FnArg, GenericParam, Generics, ImplItem, Item, Meta, Signature, Token, TraitItem,
    Visibility,
};

use crate::Failure;
use crate::names;
use crate::output::say;

/// A number, and the item that it belongs to.
#[derive(Debug, Default)]
struct Most {
    number: usize,
    what: String,
}

impl Most {
    fn note(&mut self, number: usize, what: impl Into<String>) {
        if number > self.number {
            *self = Self { number, what: what.into() };
        }
    }
}

/// The public interface of a crate.
#[derive(Debug, Default)]
struct Surface {
    /// Types, traits, functions, constants and modules.
    items: usize,
    /// Methods and constants of types and traits.
    members: usize,
    parameters: Most,
    type_parameters: Most,
    lifetimes: Most,
}

/// Prints the surface of each library crate.
///
/// # Errors
///
/// [`Failure`] when a source file cannot be read, and when a name stands for different items in two
/// crates of the facade.
pub(crate) fn run(root: &Path) -> Result<(), Failure> {
    let mut crates: Vec<_> = std::fs::read_dir(root.join("crates"))?
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    crates.sort();
    say!("crate: public items, their members; most parameters, type parameters, lifetimes");
    for path in crates.into_iter().chain([root.to_owned()]) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let name = if path == root { "realm-sdk".into() } else { name };
        let mut surface = Surface::default();
        surface.read(&path.join("src/lib.rs"), &path.join("src"))?;
        let Surface { items, members, parameters, type_parameters, lifetimes } = surface;
        say!("{name}: {items} items, {members} members");
        for (what, most) in [
            ("parameters", parameters),
            ("type parameters", type_parameters),
            ("lifetimes", lifetimes),
        ] {
            if most.number > 0 {
                say!("  {what} {} {}", most.number, most.what);
            }
        }
    }
    let ambiguous = names::ambiguous(root)?;
    for name in &ambiguous {
        say!("ambiguous: {name}");
    }
    match ambiguous.len() {
        0 => Ok(()),
        count => Err(format!("{count} ambiguous names").into()),
    }
}

impl Surface {
    /// Counts the items of a file and of its modules, which are in `folder`.
    fn read(&mut self, file: &Path, folder: &Path) -> Result<(), Failure> {
        let text = std::fs::read_to_string(file)
            .map_err(|error| format!("{}: {error}", file.display()))?;
        let file =
            syn::parse_file(&text).map_err(|error| format!("{}: {error}", file.display()))?;
        self.count(&file.items, folder)
    }

    fn count(&mut self, items: &[Item], folder: &Path) -> Result<(), Failure> {
        for item in items {
            self.count_item(item, folder)?;
        }
        Ok(())
    }

    fn count_item(&mut self, item: &Item, folder: &Path) -> Result<(), Failure> {
        match item {
            Item::Const(item) => self.item(&item.vis, &item.attrs),
            Item::Static(item) => self.item(&item.vis, &item.attrs),
            Item::Enum(item) => {
                self.generic(&item.vis, &item.attrs, &item.generics, item.ident.to_string());
            }
            Item::Struct(item) => {
                self.generic(&item.vis, &item.attrs, &item.generics, item.ident.to_string());
            }
            Item::Union(item) => {
                self.generic(&item.vis, &item.attrs, &item.generics, item.ident.to_string());
            }
            Item::Type(item) => {
                self.generic(&item.vis, &item.attrs, &item.generics, item.ident.to_string());
            }
            Item::Fn(item) if is_shown(&item.vis, &item.attrs) => {
                self.items += 1;
                self.signature("", &item.sig);
            }
            // The wire structs of `rmi-abi`, each with its layout.
            Item::Macro(item) if item.mac.path.is_ident("layout") => {
                let text = item.mac.tokens.to_string();
                self.items += text.matches("pub struct ").count();
            }
            Item::Macro(item) => {
                let is_exported =
                    item.attrs.iter().any(|attribute| attribute.path().is_ident("macro_export"));
                self.items += usize::from(is_exported && !is_hidden(&item.attrs));
            }
            Item::Trait(item) if is_shown(&item.vis, &item.attrs) => {
                self.generic(&item.vis, &item.attrs, &item.generics, item.ident.to_string());
                self.members += item.items.len();
                for member in &item.items {
                    if let TraitItem::Fn(member) = member {
                        self.signature(&format!("{}::", item.ident), &member.sig);
                    }
                }
            }
            // Methods of traits are counted with the trait.
            Item::Impl(item) if item.trait_.is_none() && !is_hidden(&item.attrs) => {
                let name = match &*item.self_ty {
                    syn::Type::Path(path) => path.path.segments.last(),
                    _ => None,
                };
                let name = name.map_or(String::new(), |segment| format!("{}::", segment.ident));
                for member in &item.items {
                    self.member(&name, member);
                }
            }
            Item::Mod(item) if !is_hidden(&item.attrs) => {
                self.item(&item.vis, &item.attrs);
                let name = item.ident.to_string();
                let below = folder.join(&name);
                match &item.content {
                    Some((_, items)) => self.count(items, &below)?,
                    None => self.read(&with_extension(folder, &name), &below)?,
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn member(&mut self, of: &str, member: &ImplItem) {
        match member {
            ImplItem::Const(member) if is_shown(&member.vis, &member.attrs) => self.members += 1,
            ImplItem::Fn(member) if is_shown(&member.vis, &member.attrs) => {
                self.members += 1;
                self.signature(of, &member.sig);
            }
            _ => {}
        }
    }

    fn item(&mut self, visibility: &Visibility, attributes: &[Attribute]) {
        self.items += usize::from(is_shown(visibility, attributes));
    }

    fn generic(
        &mut self,
        visibility: &Visibility,
        attributes: &[Attribute],
        generics: &Generics,
        name: String,
    ) {
        if is_shown(visibility, attributes) {
            self.items += 1;
            let count = |wanted: fn(&GenericParam) -> bool| {
                generics.params.iter().filter(|parameter| wanted(parameter)).count()
            };
            let types = count(|parameter| matches!(parameter, GenericParam::Type(_)));
            let lifetimes = count(|parameter| matches!(parameter, GenericParam::Lifetime(_)));
            self.type_parameters.note(types, &*name);
            self.lifetimes.note(lifetimes, name);
        }
    }

    fn signature(&mut self, of: &str, signature: &Signature) {
        let parameters = signature.inputs.iter();
        let parameters = parameters.filter(|input| matches!(input, FnArg::Typed(_))).count();
        self.parameters.note(parameters, format!("{of}{}", signature.ident));
    }
}

fn with_extension(folder: &Path, module: &str) -> PathBuf {
    folder.join(format!("{module}.rs"))
}

/// Whether an item is public and in the documentation.
fn is_shown(visibility: &Visibility, attributes: &[Attribute]) -> bool {
    matches!(visibility, Visibility::Public(_)) && !is_hidden(attributes)
}

/// Whether an item is for tests only, or `doc(hidden)`.
fn is_hidden(attributes: &[Attribute]) -> bool {
    let has = |name: &str, argument: &str| {
        let named = attributes.iter().filter(|attribute| attribute.path().is_ident(name));
        named
            .filter_map(|attribute| {
                attribute.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).ok()
            })
            .any(|arguments| arguments.iter().any(|one| one.path().is_ident(argument)))
    };
    has("cfg", "test") || has("doc", "hidden")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn surface(text: &str) -> Surface {
        let mut surface = Surface::default();
        surface.count(&syn::parse_file(text).unwrap().items, Path::new("")).unwrap();
        surface
    }

    #[test]
    fn a_struct_with_a_layout_counts() {
        let surface = surface(
            "layout! { /// A page. table #[repr(C)] pub struct Page { pub a: u8, _b: u8 }
             DialectSet = \"Page\", 2 bytes; 0x0, 1, a, D::EVERY, \"a\"; }
             bitflags! { pub struct Flags: u64 { const A = 1; } }",
        );
        assert_eq!((surface.items, surface.members), (1, 0));
    }

    #[test]
    fn what_is_public_counts_with_its_members() {
        let found = surface(
            "pub struct Realm<'r, P, S>(&'r P, S);
             impl<P, S> Realm<'_, P, S> {
                 pub fn map(&self, a: u8, b: u8) {}
                 fn inner(&self, a: u8, b: u8, c: u8) {}
             }
             impl<P, S> Drop for Realm<'_, P, S> { fn drop(&mut self) {} }
             pub trait Handler { fn wait(&mut self) {} }
             pub(crate) fn hidden() {}",
        );
        assert_eq!((found.items, found.members), (2, 2));
        assert_eq!((found.parameters.number, &*found.parameters.what), (2, "Realm::map"));
        assert_eq!((found.type_parameters.number, found.lifetimes.number), (2, 1));
    }

    #[test]
    fn tests_and_hidden_items_do_not_count() {
        let found = surface(
            "#[cfg(test)] mod tests { pub fn helper() {} }
             #[doc(hidden)] pub mod sort { pub fn sort(a: u8) {} }
             #[doc(hidden)] pub fn also() {}
             pub mod seen { pub fn one(a: u8) {} }",
        );
        assert_eq!((found.items, found.parameters.number), (2, 1));
    }
}
