//! The rules of the crate, checked on its sources.
//!
//! - A wire struct holds numbers, arrays of numbers and other wire structs: no enum, no `bool`, no
//!   reference. It has a `repr`, its reserved bytes are private, and every other field is public
//!   and has a row in its `layout!`, which says what it means. The table in its documentation is
//!   made of these rows.
//! - What holds a Realm's registers prints none of them: it derives no `Debug`.
//! - Enums with codes and words wrapped in a struct have a `repr`.
//! - Every public item is documented; every name of the specification finds the item that stands
//!   for it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use rmi_abi::{Command, describe, psci, rhi, rsi};
use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::{
    Attribute, Expr, Field, Fields, Ident, ImplItem, Item, ItemMacro, ItemStruct, LitInt, LitStr,
    Token, Type, Visibility,
};

/// A `layout!`: the struct, with its attributes, and the field and meaning of each row.
struct Layout {
    of: ItemStruct,
    rows: Vec<(String, String)>,
}

impl Parse for Layout {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let head = input.call(Attribute::parse_outer)?;
        let table: Ident = input.parse()?;
        assert_eq!(table, "table");
        let mut of: ItemStruct = input.parse()?;
        of.attrs.splice(0..0, head);
        while !input.peek(Token![;]) {
            input.step(|cursor| {
                cursor.token_tree().map(|(_, rest)| ((), rest)).ok_or(cursor.error("a `;`"))
            })?;
        }
        input.parse::<Token![;]>()?;
        let mut rows = Vec::new();
        while !input.is_empty() {
            input.parse::<LitInt>()?;
            input.parse::<Token![,]>()?;
            input.parse::<LitInt>()?;
            input.parse::<Token![,]>()?;
            let field: Ident = input.parse()?;
            if input.parse::<Option<Token![as]>>()?.is_some() {
                input.parse::<LitStr>()?;
            }
            input.parse::<Token![,]>()?;
            input.parse::<syn::Path>()?;
            input.parse::<Token![,]>()?;
            let meaning: LitStr = input.parse()?;
            input.parse::<Token![;]>()?;
            rows.push((field.to_string(), meaning.value()));
        }
        Ok(Self { of, rows })
    }
}

/// An item of a macro of ours that declares public items: attributes and name.
type Declared = (Vec<Attribute>, String);

/// `bitflags!`: structs and their flags.
struct Bitflags(Vec<Declared>);

impl Parse for Bitflags {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut declared = Vec::new();
        while !input.is_empty() {
            let attributes = input.call(Attribute::parse_outer)?;
            input.parse::<Visibility>()?;
            input.parse::<Token![struct]>()?;
            declared.push((attributes, input.parse::<Ident>()?.to_string()));
            input.parse::<Token![:]>()?;
            input.parse::<Type>()?;
            let flags;
            syn::braced!(flags in input);
            while !flags.is_empty() {
                let attributes = flags.call(Attribute::parse_outer)?;
                flags.parse::<Token![const]>()?;
                // The catch-all that keeps unknown bits is no item.
                if flags.parse::<Option<Token![_]>>()?.is_none() {
                    declared.push((attributes, flags.parse::<Ident>()?.to_string()));
                }
                flags.parse::<Token![=]>()?;
                flags.parse::<Expr>()?;
                flags.parse::<Token![;]>()?;
            }
        }
        Ok(Self(declared))
    }
}

/// `commands!`: variants and the names of the specification.
struct Commands(Vec<(Declared, String)>);

impl Parse for Commands {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let mut rows = Vec::new();
        while !input.is_empty() {
            let attributes = input.call(Attribute::parse_outer)?;
            let variant: Ident = input.parse()?;
            input.parse::<Token![=]>()?;
            let name: LitStr = input.parse()?;
            input.parse::<Token![,]>()?;
            input.parse::<syn::Path>()?;
            input.parse::<Token![;]>()?;
            rows.push(((attributes, variant.to_string()), name.value()));
        }
        Ok(Self(rows))
    }
}

/// Everything that the walk over the sources collects.
#[derive(Default)]
struct Rules {
    broken: Vec<String>,
    /// Names and aliases of public items, lower case without underscores.
    names: BTreeSet<String>,
    wire: BTreeMap<String, ItemStruct>,
    layouts: BTreeMap<String, Vec<(String, String)>>,
    items: usize,
}

fn normal(name: &str) -> String {
    name.to_lowercase().replace('_', "")
}

fn is(attribute: &Attribute, name: &str) -> bool {
    attribute.path().is_ident(name)
}

/// The documentation of an item, line by line.
fn documentation(attributes: &[Attribute]) -> Vec<String> {
    let lines = attributes.iter().filter(|a| is(a, "doc")).filter_map(|a| match &a.meta {
        syn::Meta::NameValue(pair) => match &pair.value {
            Expr::Lit(literal) => match &literal.lit {
                syn::Lit::Str(text) => Some(text.value().trim().to_owned()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    });
    lines.collect()
}

/// The paths in all `#[derive]`s or `#[repr]`s of an item, by their last segment.
fn listed(attributes: &[Attribute], name: &str) -> Vec<String> {
    let lists = attributes.iter().filter(|a| is(a, name)).filter_map(|a| {
        let metas = a.parse_args_with(Punctuated::<syn::Meta, Token![,]>::parse_terminated).ok()?;
        Some(metas.into_iter().map(|m| m.path().segments.last().unwrap().ident.to_string()))
    });
    lists.flatten().collect()
}

impl Rules {
    fn require(&mut self, holds: bool, what: &str) {
        if !holds {
            self.broken.push(what.to_owned());
        }
    }

    /// A public item: it must be documented, and its names are what a search finds.
    fn public(&mut self, attributes: &[Attribute], name: &str, at: &str) {
        self.items += 1;
        self.names.insert(normal(name));
        let mut of_the_specification = false;
        for attribute in attributes.iter().filter(|a| is(a, "doc")) {
            let _ = attribute.parse_nested_meta(|meta| {
                if meta.path.is_ident("alias") {
                    let alias: LitStr = meta.value()?.parse()?;
                    self.names.insert(normal(&alias.value()));
                    of_the_specification |= ["Rmi", "Rsi", "Rmm"]
                        .iter()
                        .any(|prefix| alias.value().starts_with(prefix));
                }
                Ok(())
            });
        }
        // A type; its fields, flags and methods have the source of the type.
        let is_type = name.starts_with(char::is_uppercase) && name.contains(char::is_lowercase);
        let sourced = documentation(attributes).iter().any(|line| line.contains("Source:"));
        self.require(
            sourced || !of_the_specification || !is_type || at.contains("::"),
            &format!("{at}: {name} does not say its source"),
        );
        let documented = documentation(attributes).first().is_some_and(|line| !line.is_empty());
        self.require(documented, &format!("{at}: {name} is not documented"));
    }

    fn file(&mut self, path: &Path) {
        let at = path.file_name().unwrap().to_string_lossy().into_owned();
        let source = fs::read_to_string(path).unwrap();
        let lines = source.lines().count();
        self.require(lines <= 500, &format!("{at}: {lines} lines"));
        self.require(at != "mod.rs", &format!("{} is a mod.rs", path.display()));
        let file = syn::parse_file(&source).unwrap();
        let documented = file.attrs.iter().any(|a| is(a, "doc"));
        self.require(documented, &format!("{at}: the module is not documented"));
        for item in &file.items {
            self.item(item, &at);
        }
    }

    fn item(&mut self, item: &Item, at: &str) {
        let open = |visibility: &Visibility| matches!(visibility, Visibility::Public(_));
        match item {
            Item::Struct(item) => self.structure(item, at),
            Item::Enum(item) if open(&item.vis) => {
                self.public(&item.attrs, &item.ident.to_string(), at);
                let coded = listed(&item.attrs, "derive").iter().any(|d| d == "FromPrimitive");
                let name = format!("{at}: {}", item.ident);
                self.require(
                    !coded || !listed(&item.attrs, "repr").is_empty(),
                    &format!("{name} has no repr"),
                );
                let keeps = item.variants.iter().any(|v| v.attrs.iter().any(|a| is(a, "num_enum")));
                self.require(!coded || keeps, &format!("{name} does not keep unknown codes"));
                for variant in &item.variants {
                    let place = format!("{name}::");
                    self.public(&variant.attrs, &variant.ident.to_string(), &place);
                    for field in variant.fields.iter().filter(|f| f.ident.is_some()) {
                        self.public(
                            &field.attrs,
                            &field.ident.as_ref().unwrap().to_string(),
                            &place,
                        );
                    }
                }
            }
            Item::Impl(item) if item.trait_.is_none() => {
                for member in &item.items {
                    match member {
                        ImplItem::Fn(f) if open(&f.vis) => {
                            self.public(&f.attrs, &f.sig.ident.to_string(), at)
                        }
                        ImplItem::Const(c) if open(&c.vis) => {
                            self.public(&c.attrs, &c.ident.to_string(), at)
                        }
                        _ => {}
                    }
                }
            }
            Item::Fn(item) if open(&item.vis) => {
                self.public(&item.attrs, &item.sig.ident.to_string(), at)
            }
            Item::Const(item) if open(&item.vis) => {
                self.public(&item.attrs, &item.ident.to_string(), at)
            }
            Item::Type(item) if open(&item.vis) => {
                self.public(&item.attrs, &item.ident.to_string(), at)
            }
            Item::Trait(item) if open(&item.vis) => {
                self.public(&item.attrs, &item.ident.to_string(), at)
            }
            Item::Macro(item) => self.invocation(item, at),
            _ => {}
        }
    }

    fn structure(&mut self, item: &ItemStruct, at: &str) {
        let name = item.ident.to_string();
        let open = |field: &Field| matches!(field.vis, Visibility::Public(_));
        let derives = listed(&item.attrs, "derive");
        let wire = derives.iter().any(|d| d == "FromBytes");
        self.require(
            !holds_registers(item) || !derives.iter().any(|d| d == "Debug"),
            &format!("{at}: {name} prints registers of a Realm"),
        );
        if !matches!(item.vis, Visibility::Public(_)) {
            self.require(!wire, &format!("{at}: the wire struct {name} is private"));
            return;
        }
        self.public(&item.attrs, &name, at);
        if let Fields::Unnamed(fields) = &item.fields
            && fields.unnamed.iter().any(open)
        {
            self.require(
                listed(&item.attrs, "repr").iter().any(|r| r == "transparent"),
                &format!("{at}: the word {name} is not transparent"),
            );
        }
        if wire {
            self.wire.insert(name, item.clone());
            return;
        }
        for field in item.fields.iter().filter(|f| open(f) && f.ident.is_some()) {
            self.public(
                &field.attrs,
                &field.ident.as_ref().unwrap().to_string(),
                &format!("{at}: {name}."),
            );
        }
    }

    fn invocation(&mut self, item: &ItemMacro, at: &str) {
        let name = item.mac.path.segments.last().unwrap().ident.to_string();
        match name.as_str() {
            "layout" => {
                let layout: Layout = item.mac.parse_body().unwrap();
                self.structure(&layout.of, at);
                self.layouts.insert(layout.of.ident.to_string(), layout.rows);
            }
            "bitflags" => {
                let flags: Bitflags = item.mac.parse_body().unwrap();
                for (attributes, name) in flags.0 {
                    self.public(&attributes, &name, at);
                }
            }
            "commands" => {
                let commands: Commands = item.mac.parse_body().unwrap();
                for ((attributes, variant), name) in commands.0 {
                    self.public(&attributes, &variant, at);
                    self.names.insert(normal(&name));
                }
            }
            _ => {}
        }
    }

    /// Whether a type may stand in a wire struct.
    fn is_wire(&self, kind: &Type) -> bool {
        match kind {
            Type::Array(array) => self.is_wire(&array.elem),
            Type::Path(path) => path.path.get_ident().is_some_and(|name| {
                let name = name.to_string();
                ["u8", "u16", "u32", "u64", "i64"].contains(&name.as_str())
                    || self.wire.contains_key(&name)
            }),
            _ => false,
        }
    }

    fn wire_structs(&mut self) {
        for (name, item) in self.wire.clone() {
            let repr = listed(&item.attrs, "repr");
            self.require(repr.iter().any(|r| r == "C"), &format!("{name} is not repr(C)"));
            let mut fields = BTreeSet::new();
            for field in &item.fields {
                let place = format!("{name}.{}", field.ident.as_ref().unwrap());
                self.require(self.is_wire(&field.ty), &format!("{place} is not made of numbers"));
                let field_name = field.ident.as_ref().unwrap().to_string();
                let open = matches!(field.vis, Visibility::Public(_));
                let reserved = field_name.starts_with('_');
                self.require(
                    open != reserved,
                    &format!("{place}: reserved is private, all else public"),
                );
                if open {
                    fields.insert(field_name.clone());
                    self.names.insert(normal(&field_name));
                }
            }
            let Some(rows) = self.layouts.remove(&name) else {
                self.broken.push(format!("{name} has no layout!"));
                continue;
            };
            let laid_out: BTreeSet<_> = rows.iter().map(|row| row.0.clone()).collect();
            self.require(laid_out == fields, &format!("{name}: layout! and fields differ"));
            let is_explained = rows.iter().all(|row| !row.1.is_empty());
            self.require(is_explained, &format!("{name}: a row does not say what it means"));
            let has_rows = documentation(&item.attrs).iter().any(|line| line.starts_with("| 0x"));
            self.require(!has_rows, &format!("{name}: rows of a table beside its layout!"));
        }
        let rest: Vec<_> = self.layouts.keys().cloned().collect();
        self.require(rest.is_empty(), &format!("layouts of no wire struct: {rest:?}"));
    }
}

/// Whether a struct has all of a Realm's registers, not only the eight that a REC starts with.
fn holds_registers(item: &ItemStruct) -> bool {
    item.fields.iter().any(|field| {
        let is_start = matches!(&field.ty, Type::Array(array)
            if matches!(&array.len, Expr::Lit(len)
                if matches!(&len.lit, syn::Lit::Int(n) if n.base10_digits() == "8")));
        field.ident.as_ref().is_some_and(|name| name == "gprs") && !is_start
    })
}

fn sources(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn walk() -> Rules {
    let mut rules = Rules::default();
    let mut files = Vec::new();
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut files);
    for file in files {
        rules.file(&file);
    }
    rules
}

#[test]
#[cfg_attr(miri, ignore = "reads the sources")]
fn the_sources_keep_the_rules() {
    let mut rules = walk();
    let structs = rules.wire.len();
    rules.wire_structs();
    assert!(rules.broken.is_empty(), "{:#?}", rules.broken);
    assert!(structs >= 35, "{structs} wire structs");
    println!("{structs} wire structs, {} public items", rules.items);
}

/// Types, codes and fields of the specification that a search must find; a name in the tables alone
/// is not enough.
#[test]
#[cfg_attr(miri, ignore = "reads the sources")]
fn every_name_of_the_specification_is_found() {
    let mut rules = walk();
    rules.wire_structs();
    let mut names = BTreeSet::new();
    names.extend(Command::ALL.iter().map(|command| command.name()));
    names.extend(rsi::Command::ALL.iter().map(|command| command.name()));
    names.extend(rhi::RhiFunction::ALL.iter().filter_map(|function| function.name()));
    names.extend(psci::PsciFunction::ALL.iter().filter_map(|function| function.name()));
    names.extend(describe::STRUCTURES.iter().map(|structure| structure.name));
    names.extend(rsi::STRUCTURES.iter().map(|structure| structure.name));
    for enumeration in describe::ENUMERATIONS.iter().chain(rsi::ENUMERATIONS) {
        names.insert(enumeration.name);
        names.extend(enumeration.values.iter().map(|value| value.name));
    }
    for register in describe::REGISTERS.iter().chain(rsi::REGISTERS) {
        names.insert(register.name);
        names.extend(register.fields.iter().map(|field| field.name));
    }
    let missing: Vec<_> =
        names.iter().filter(|name| !rules.names.contains(&normal(name))).collect();
    assert!(
        missing.is_empty(),
        "{} of {} names are not found: {missing:#?}",
        missing.len(),
        names.len()
    );
}
