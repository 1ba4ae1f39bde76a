//! The check of a wire struct against the specification's table, row by row, at compile time.

/// Declares the layout of a wire struct: one row for each field, as in the specification's table.
///
/// Size, and every offset and width are compared with the compiler's layout of the struct, whose
/// alignment is at most the specification's; the rows become the struct's `LAYOUT`. A field that
/// dialects name differently has one row for each name.
macro_rules! layout {
    (
        $type:ident: $set:ty = $name:literal, $size:literal bytes, aligned to $align:literal,
        in $dialects:expr, unsure in $unsure:expr;
        $($offset:literal, $width:literal, $field:ident $(as $alias:literal)?, $in:expr;)*
    ) => {
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
                        dialects: $in,
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
