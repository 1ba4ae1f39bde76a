//! The check of a wire struct against the specification's table, row by row, at compile time.

/// Defines a wire struct and its layout: one row for each field, as in the specification's table,
/// with the dialects that have it and what it means. Where `table` stands, the documentation of the
/// struct has a table of these rows.
///
/// Size, and every offset and width are compared with the compiler's layout of the struct, whose
/// alignment is at most the specification's; the rows become the struct's `LAYOUT`. A field that
/// dialects name differently has one row for each name.
macro_rules! layout {
    (
        $(#[$head:meta])*
        table
        $(#[$tail:meta])*
        pub struct $type:ident { $($body:tt)* }

        $set:ident = $name:literal, $size:literal bytes, aligned to $align:literal,
        in $dialects:expr, unsure in $unsure:expr;
        $(
            $offset:literal, $width:literal, $field:ident $(as $alias:literal)?,
            $sets:ident::$in:ident, $meaning:literal;
        )*
    ) => {
        $(#[$head])*
        #[doc = concat!(
            "| Offset | Bytes | Field | Unit, meaning | ",
            $crate::layout::layout!(@column $set),
            " |",
        )]
        #[doc = "|---|---|---|---|---|"]
        $(#[doc = concat!(
            "| ", stringify!($offset), " | ", stringify!($width), " | `", stringify!($field), "`",
            $(" (`", $alias, "`)",)?
            " | ", $meaning, " | ", $crate::layout::layout!(@in $in), " |",
        )])*
        $(#[$tail])*
        pub struct $type { $($body)* }

        impl $type {
            /// The struct with every byte zero, reserved ones included: the initial value for an
            /// encoder.
            #[must_use]
            pub fn zeroed() -> Self {
                zerocopy::FromZeros::new_zeroed()
            }

            /// Where each field is, and the dialects that have it.
            pub const LAYOUT: $crate::describe::Structure<$set> =
                $crate::describe::Structure {
                    name: $name,
                    size: size_of::<Self>(),
                    align: $align,
                    dialects: $dialects,
                    unsure: $unsure,
                    fields: &[$($crate::describe::Field {
                        name: $crate::layout::layout!(@name $field $(as $alias)?),
                        offset: core::mem::offset_of!(Self, $field),
                        width: $crate::layout::width(|page: &Self| &page.$field),
                        dialects: $sets::$in,
                    }),*],
                };
        }

        static_assertions::const_assert_eq!(size_of::<$type>(), $size);
        static_assertions::const_assert!(align_of::<$type>() <= $align);
        $(
            static_assertions::const_assert_eq!(core::mem::offset_of!($type, $field), $offset);
            static_assertions::const_assert_eq!(
                $crate::layout::width(|page: &$type| &page.$field),
                $width
            );
        )*
    };
    (@name $field:ident as $alias:literal) => { $alias };
    (@name $field:ident) => { stringify!($field) };
    (@column DialectSet) => { "Dialects" };
    (@column VersionSet) => { "Versions" };
    (@in EVERY) => { "all" };
    (@in V1_0) => { "1.0" };
    (@in V1_1) => { "1.1" };
    (@in V2_0) => { "2.0" };
    (@in SINCE_1_1) => { "1.1, 2.0" };
    (@in EVERY_2_0) => { "2.0" };
    (@in BET0) => { "2.0-bet0" };
    (@in SINCE_BET1) => { "2.0 since bet1" };
    (@in TF_RMM) => { "tf-rmm-2026-07" };
    (@in BETAS) => { "2.0 but TF-RMM" };
    (@in BET3) => { "2.0-bet3" };
}

pub(crate) use layout;

/// Implements `Debug` without any content for structs that contain a Realm's registers.
macro_rules! hides_registers {
    ($($type:ident),+ $(,)?) => {$(
        impl core::fmt::Debug for $type {
            /// Omits all fields, because they include registers of a Realm.
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.debug_struct(stringify!($type)).finish_non_exhaustive()
            }
        }
    )+};
}

pub(crate) use hides_registers;

/// Size of the field that a projection selects.
pub(crate) const fn width<T, F>(_: fn(&T) -> &F) -> usize {
    size_of::<F>()
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::vec::Vec;

    use crate::Dialect;
    use crate::dialect::DialectSet as D;
    use crate::rsi::{Version, VersionSet as V};

    /// The dialects that a text of the table names.
    fn named(text: &str) -> Vec<Dialect> {
        let is_named = |dialect: &Dialect| match text {
            "all" => true,
            "2.0" => *dialect != Dialect::V1_0,
            "2.0 since bet1" => ![Dialect::V1_0, Dialect::V2_0Bet0].contains(dialect),
            "2.0 but TF-RMM" => ![Dialect::V1_0, Dialect::TfRmm2026_07].contains(dialect),
            name => std::format!("{dialect}") == name,
        };
        Dialect::ALL.into_iter().filter(is_named).collect()
    }

    #[test]
    fn the_table_names_the_dialects_of_a_row() {
        macro_rules! check {
            ($($in:ident),*) => {$(
                let dialects = Dialect::ALL.into_iter().filter(|one| D::$in.contains(*one));
                assert_eq!(
                    dialects.collect::<Vec<_>>(),
                    named(layout!(@in $in)),
                    stringify!($in)
                );
            )*};
        }
        check!(EVERY, V1_0, EVERY_2_0, BET0, SINCE_BET1, TF_RMM, BETAS, BET3);
    }

    #[test]
    fn the_table_names_the_versions_of_a_row() {
        macro_rules! check {
            ($($in:ident),*) => {$(
                let text = layout!(@in $in);
                for version in Version::ALL {
                    let name = std::format!("{version}");
                    let is_named = text == "all" || text.split(", ").any(|one| one == name);
                    assert_eq!(V::$in.contains(version), is_named, "{text}: {name}");
                }
            )*};
        }
        check!(EVERY, V1_1, V2_0, SINCE_1_1);
    }
}
