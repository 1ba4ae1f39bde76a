//! Where a source makes a difference between dialects.
//!
//! To name a dialect, to pass it on, to print it or to ask it for a property is none. To match it
//! or compare it is one, and so is that of what stands for it: its name, number or version. Code
//! of tests and comments do not count.

use std::collections::BTreeSet;

use syn::parse::{Parse, ParseStream};
use syn::punctuated::Punctuated;
use syn::visit::{self, Visit};
use syn::{
    Attribute, BinOp, Expr, ExprBinary, ExprCall, ExprCast, ExprMatch, ExprMethodCall, Field,
    FnArg, GenericArgument, Ident, ImplItemFn, ItemConst, ItemFn, ItemMod, ItemStatic, ItemType,
    ItemUse, Local, Macro, Member, Pat, PatType, Path, PathArguments, Token, Type, UseTree,
};

/// Methods that tell a dialect by something that stands for it, or that pass it on.
const SAME: [&str; 18] = [
    "as_bytes",
    "as_deref",
    "as_ref",
    "as_str",
    "clone",
    "copied",
    "expect",
    "index",
    "into",
    "into_iter",
    "iter",
    "name",
    "rsi_version",
    "to_owned",
    "to_string",
    "unwrap",
    "unwrap_or",
    "version",
];
/// Methods that compare.
const COMPARE: [&str; 16] = [
    "cmp",
    "contains",
    "ends_with",
    "eq",
    "eq_ignore_ascii_case",
    "ge",
    "gt",
    "is_2_0",
    "le",
    "lt",
    "max",
    "min",
    "ne",
    "partial_cmp",
    "position",
    "starts_with",
];
/// Functions of which the result stands for the argument.
const CONVERT: [&str; 6] = ["Err", "Ok", "Some", "discriminant", "from", "to_string"];

/// The differences that a source makes: the function, and what is there.
pub(crate) fn differences(source: &str) -> Vec<String> {
    let file = syn::parse_file(source).unwrap();
    let mut names = Names { types: ["Dialect".to_owned()].into(), values: BTreeSet::new() };
    // Each pass may find names for what the one before it found.
    loop {
        let before = names.types.len() + names.values.len();
        names.visit_file(&file);
        if names.types.len() + names.values.len() == before {
            break;
        }
    }
    let mut found = Found { names, function: String::new(), differences: Vec::new() };
    found.visit_file(&file);
    found.differences
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<Ident>().is_ok_and(|name| name == "test")
    })
}

/// The names of types and values that are dialects.
struct Names {
    types: BTreeSet<String>,
    values: BTreeSet<String>,
}

impl Names {
    /// Whether a path goes through the type: a variant, a constant, a function of it.
    fn is_of_the_type(&self, path: &Path) -> bool {
        let through = path.segments.len().saturating_sub(1);
        path.segments.iter().take(through).any(|part| self.types.contains(&part.ident.to_string()))
    }

    fn is_type(&self, ty: &Type) -> bool {
        match ty {
            Type::Reference(inner) => self.is_type(&inner.elem),
            Type::Array(inner) => self.is_type(&inner.elem),
            Type::Slice(inner) => self.is_type(&inner.elem),
            Type::Path(path) => path.path.segments.last().is_some_and(|last| {
                let is_wrapper = ["Option", "Vec", "Result"].iter().any(|name| last.ident == name);
                self.types.contains(&last.ident.to_string())
                    || is_wrapper && self.is_argument(&last.arguments)
            }),
            _ => false,
        }
    }

    /// Whether the type is among the arguments of a type.
    fn is_argument(&self, arguments: &PathArguments) -> bool {
        let PathArguments::AngleBracketed(arguments) = arguments else { return false };
        arguments.args.iter().any(|argument| match argument {
            GenericArgument::Type(ty) => self.is_type(ty),
            _ => false,
        })
    }

    /// Whether a name is that of a dialect.
    fn is_name(&self, name: &Ident) -> bool {
        let name = name.to_string();
        name.to_lowercase().ends_with("dialect") && !self.types.contains(&name)
            || self.values.contains(&name)
    }

    /// Whether a value is a dialect, or stands for one.
    fn is_dialect(&self, value: &Expr) -> bool {
        match value {
            Expr::Path(path) => {
                self.is_of_the_type(&path.path)
                    || path.path.segments.last().is_some_and(|last| self.is_name(&last.ident))
            }
            Expr::Field(field) => match &field.member {
                Member::Named(name) => self.is_name(name),
                Member::Unnamed(_) => self.is_dialect(&field.base),
            },
            Expr::MethodCall(call) => {
                self.is_name(&call.method)
                    || SAME.iter().any(|name| call.method == name)
                        && self.is_dialect(&call.receiver)
            }
            Expr::Call(ExprCall { func, args, .. }) => match &**func {
                Expr::Path(path) => {
                    let last = path.path.segments.last();
                    let converts =
                        last.is_some_and(|last| CONVERT.iter().any(|name| last.ident == name));
                    converts && args.iter().any(|argument| self.is_dialect(argument))
                        || last.is_some_and(|last| self.is_name(&last.ident))
                }
                _ => false,
            },
            Expr::Array(array) => array.elems.iter().any(|value| self.is_dialect(value)),
            Expr::Tuple(tuple) => tuple.elems.iter().any(|value| self.is_dialect(value)),
            Expr::Cast(ExprCast { expr, .. }) => self.is_dialect(expr),
            Expr::Group(inner) => self.is_dialect(&inner.expr),
            Expr::Index(inner) => self.is_dialect(&inner.expr),
            Expr::Paren(inner) => self.is_dialect(&inner.expr),
            Expr::Reference(inner) => self.is_dialect(&inner.expr),
            Expr::Try(inner) => self.is_dialect(&inner.expr),
            Expr::Unary(inner) => self.is_dialect(&inner.expr),
            Expr::Macro(inner) if inner.mac.path.is_ident("format") => {
                inner.mac.tokens.to_string().contains("dialect")
            }
            _ => false,
        }
    }

    fn learn(&mut self, pattern: &Pat) {
        if let Pat::Ident(name) = pattern {
            self.values.insert(name.ident.to_string());
        }
    }

    fn learn_use(&mut self, tree: &UseTree) {
        match tree {
            UseTree::Path(path) => self.learn_use(&path.tree),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.learn_use(tree)),
            UseTree::Rename(name) if self.types.contains(&name.ident.to_string()) => {
                self.types.insert(name.rename.to_string());
            }
            _ => {}
        }
    }
}

impl<'ast> Visit<'ast> for Names {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.learn_use(&item.tree);
    }

    fn visit_item_type(&mut self, item: &'ast ItemType) {
        if self.is_type(&item.ty) {
            self.types.insert(item.ident.to_string());
        }
    }

    fn visit_item_const(&mut self, item: &'ast ItemConst) {
        if self.is_type(&item.ty) {
            self.values.insert(item.ident.to_string());
        }
        visit::visit_item_const(self, item);
    }

    fn visit_item_static(&mut self, item: &'ast ItemStatic) {
        if self.is_type(&item.ty) {
            self.values.insert(item.ident.to_string());
        }
    }

    fn visit_field(&mut self, field: &'ast Field) {
        if let Some(name) = field.ident.as_ref().filter(|_| self.is_type(&field.ty)) {
            self.values.insert(name.to_string());
        }
    }

    fn visit_fn_arg(&mut self, argument: &'ast FnArg) {
        if let FnArg::Typed(PatType { pat, ty, .. }) = argument
            && self.is_type(ty)
        {
            self.learn(pat);
        }
    }

    fn visit_local(&mut self, local: &'ast Local) {
        match &local.pat {
            Pat::Type(PatType { pat, ty, .. }) if self.is_type(ty) => self.learn(pat),
            pattern => {
                let value = local.init.as_ref().map(|init| &*init.expr);
                if value.is_some_and(|value| self.is_dialect(value)) {
                    self.learn(pattern);
                }
            }
        }
        visit::visit_local(self, local);
    }
}

/// `matches!` without its parentheses.
struct Matches {
    value: Expr,
    pattern: Pat,
}

impl Parse for Matches {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        let value = input.parse()?;
        input.parse::<Token![,]>()?;
        let pattern = Pat::parse_multi_with_leading_vert(input)?;
        if input.parse::<Option<Token![if]>>()?.is_some() {
            input.parse::<Expr>()?;
        }
        input.parse::<Option<Token![,]>>()?;
        Ok(Self { value, pattern })
    }
}

/// Whether the tokens of a macro that cannot be parsed make a difference.
fn differs(tokens: &str) -> bool {
    let is_named = ["Dialect :: V", "Dialect :: TfRmm"].iter().any(|name| tokens.contains(name));
    let decides = ["==", "!=", "=>", "matches !", " | "].iter().any(|sign| tokens.contains(sign));
    is_named && decides || tokens.contains("is_2_0")
}

struct Found {
    names: Names,
    function: String,
    differences: Vec<String>,
}

impl Found {
    fn add(&mut self, what: &str) {
        self.differences.push(format!("{}: {what}", self.function));
    }

    fn is_dialect(&self, value: &Expr) -> bool {
        self.names.is_dialect(value)
    }

    fn in_function(&mut self, name: &Ident, visit: impl FnOnce(&mut Self)) {
        let before = std::mem::replace(&mut self.function, name.to_string());
        visit(self);
        self.function = before;
    }

    fn imports(&mut self, tree: &UseTree) {
        match tree {
            UseTree::Path(path) if self.names.types.contains(&path.ident.to_string()) => {
                self.add("a variant is imported");
            }
            UseTree::Path(path) => self.imports(&path.tree),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.imports(tree)),
            _ => {}
        }
    }
}

impl<'ast> Visit<'ast> for Found {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        if !is_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast ItemFn) {
        if !is_test(&item.attrs) {
            self.in_function(&item.sig.ident, |found| visit::visit_item_fn(found, item));
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast ImplItemFn) {
        self.in_function(&item.sig.ident, |found| visit::visit_impl_item_fn(found, item));
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.imports(&item.tree);
    }

    fn visit_expr_binary(&mut self, binary: &'ast ExprBinary) {
        let compares = matches!(
            binary.op,
            BinOp::Eq(_) | BinOp::Ne(_) | BinOp::Lt(_) | BinOp::Le(_) | BinOp::Gt(_) | BinOp::Ge(_)
        );
        if compares && (self.is_dialect(&binary.left) || self.is_dialect(&binary.right)) {
            self.add("a comparison");
        }
        visit::visit_expr_binary(self, binary);
    }

    fn visit_expr_match(&mut self, matched: &'ast ExprMatch) {
        if self.is_dialect(&matched.expr) {
            self.add("a match");
        }
        visit::visit_expr_match(self, matched);
    }

    fn visit_expr_method_call(&mut self, call: &'ast ExprMethodCall) {
        let is_told = self.is_dialect(&call.receiver) || call.method == "is_2_0";
        if COMPARE.iter().any(|name| call.method == name) && is_told {
            self.add("a comparison by a method");
        }
        visit::visit_expr_method_call(self, call);
    }

    fn visit_expr_call(&mut self, call: &'ast ExprCall) {
        if let Expr::Path(path) = &*call.func
            && self.names.is_of_the_type(&path.path)
            && path.path.segments.last().is_some_and(|last| last.ident == "is_2_0")
        {
            self.add("a comparison by a function");
        }
        visit::visit_expr_call(self, call);
    }

    fn visit_expr_cast(&mut self, cast: &'ast ExprCast) {
        if self.is_dialect(&cast.expr) {
            self.add("a number");
        }
        visit::visit_expr_cast(self, cast);
    }

    fn visit_pat(&mut self, pattern: &'ast Pat) {
        let path = match pattern {
            Pat::Path(path) => Some(&path.path),
            Pat::TupleStruct(path) => Some(&path.path),
            Pat::Struct(path) => Some(&path.path),
            _ => None,
        };
        if path.is_some_and(|path| self.names.is_of_the_type(path)) {
            self.add("a pattern");
        }
        visit::visit_pat(self, pattern);
    }

    fn visit_macro(&mut self, mac: &'ast Macro) {
        if mac.path.is_ident("matches")
            && let Ok(matches) = mac.parse_body::<Matches>()
        {
            if self.is_dialect(&matches.value) {
                self.add("a match");
            }
            self.visit_expr(&matches.value);
            self.visit_pat(&matches.pattern);
        } else if let Ok(values) =
            mac.parse_body_with(Punctuated::<Expr, Token![,]>::parse_terminated)
        {
            let compares = ["assert_eq", "assert_ne"].iter().any(|name| mac.path.is_ident(name));
            if compares && values.iter().take(2).any(|value| self.is_dialect(value)) {
                self.add("a comparison by a macro");
            }
            for value in &values {
                self.visit_expr(value);
            }
        } else if differs(&mac.tokens.to_string()) {
            self.add("something in a macro");
        }
    }
}

/// A source with these statements.
fn of(statements: &str) -> String {
    format!("fn f(rmm: &Rmm, other: Dialect, number: u8) {{ {statements} }}")
}

#[test]
fn naming_a_dialect_is_no_difference() {
    for statements in [
        "let dialect = Dialect::TfRmm2026_07;",
        "let known = from_index(code).unwrap_or(Dialect::V2_0Bet3);",
        "dialect.has_lpa2_flag();",
        "if rmm.dialect().has_lpa2_flag() { one() } else { two() }",
        "let is_filtered = command.fid(Dialect::V1_0).is_none();",
        "if let Some(fid) = command.fid(dialect) { call(fid) }",
        "match command.form(rmm.dialect()) { Some(_) => 1, None => 2 };",
        "write!(f, \"{dialect}\");",
        "if parameter.dialects().contains(dialect) { set() }",
        "let found = number == 3;",
        "// match Dialect::V1_0 { _ => 1 }\n",
    ] {
        assert_eq!(differences(&of(statements)), [""; 0], "{statements}");
    }
}

#[test]
fn matching_or_comparing_one_is_a_difference() {
    for statements in [
        "if dialect == wanted {}",
        "if wanted != rmm.dialect() {}",
        "if other < wanted {}",
        "if self.options.dialect == wanted {}",
        "if session\n.dialect()\n==\nwanted {}",
        "if Some(other) == wanted {}",
        "if (rmm.version(), rmm.dialect()) == pair {}",
        "let spoken = rmm.dialect(); if spoken == wanted {}",
        "let spoken: Dialect = find(); if spoken == wanted {}",
        "let spoken = rmm.dialect(); let again = spoken; if again == wanted {}",
        "matches!(rmm.spoken(), Dialect::V1_0)",
        "matches!(other, V1_0)",
        "matches!(rmm.pair(), (1, Dialect::V1_0) if number == 1)",
        "match rmm.spoken() { Dialect::V1_0 => 1, _ => 2 }",
        "match rmm.dialect() { one => 1, _ => 2 }",
        "match rmm.dialect().name() { \"1.0\" => 1, _ => 2 }",
        "if let Dialect::V1_0 = rmm.spoken() {}",
        "if let Some(Dialect::V1_0 | Dialect::V2_0Bet0) = rmm.spoken() {}",
        "let Dialect::V1_0 = rmm.spoken() else { return };",
        "while let realm_sdk::abi::Dialect::V1_0 = rmm.spoken() {}",
        "if other.name() == \"1.0\" {}",
        "if other.index() == 0 {}",
        "if other.to_string() == \"1.0\" {}",
        "if format!(\"{dialect}\") == \"1.0\" {}",
        "if other.name().starts_with(\"2.0\") {}",
        "if other as u8 == 0 {}",
        "let code = other as u8;",
        "if u8::from(other) == 0 {}",
        "if std::mem::discriminant(&other) == wanted {}",
        "if other.eq(&wanted) {}",
        "if [Dialect::V1_0].contains(&rmm.spoken()) {}",
        "if Dialect::ALL[0] == rmm.spoken() {}",
        "if Dialect::ALL.iter().position(|it| true).is_some() {}",
        "let v2 = rmm.spoken().is_2_0();",
        "let v2 = Dialect::is_2_0(rmm.spoken());",
        "if rmm.dialect().rsi_version() == wanted {}",
        "assert_eq!(rmm.dialect(), wanted);",
        "assert!(rmm.dialect() == wanted);",
        "generate! { Dialect::V1_0 => 1; }",
        "use Dialect::V1_0; f()",
        "use rmi_abi::Dialect::*; f()",
        "use rmi_abi::Dialect as D; match rmm.spoken() { D::V1_0 => 1, _ => 2 }",
        "type D = Dialect; if let D::V1_0 = rmm.spoken() {}",
        "const OLD: Dialect = Dialect::V1_0; if rmm.spoken() == OLD {}",
    ] {
        assert!(!differences(&of(statements)).is_empty(), "{statements}");
    }
    let method = "impl A { fn g(&self, spoken: Option<Dialect>) { if spoken == None {} } }";
    assert_eq!(differences(method), ["g: a comparison"]);
    let field = "struct A { spoken: Dialect } fn f(a: A) { if a.spoken == wanted() {} }";
    assert_eq!(differences(field), ["f: a comparison"]);
    // Tests may.
    let test = "#[cfg(test)] mod tests { fn f(dialect: Dialect) { if dialect == D {} } }";
    assert_eq!(differences(test), [""; 0]);
}
