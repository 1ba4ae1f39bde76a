//! The check of a wire struct against the specification's table, row by row, at compile time.

/// Declares the layout of a wire struct: one row for each field, as the specification's table has it.
///
/// Size, and every offset and width are compared with what the compiler made of the struct, whose alignment is no more than the specification's; the rows become the
/// struct's `LAYOUT`. A field that dialects name differently has one row for each name.
macro_rules! layout {
    (
        $type:ident: $set:ty = $name:literal, $size:literal bytes, aligned to $align:literal,
        in $dialects:expr, unsure in $unsure:expr;
        $($offset:literal, $width:literal, $field:ident $(as $alias:literal)?, $in:expr;)*
    ) => {
        impl $type {
            /// The struct with every byte zero, reserved ones included: where an encoder starts.
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

/// Gives structs that hold a Realm's registers a `Debug` that leaves all of them out.
macro_rules! hides_registers {
    ($($type:ident),+ $(,)?) => {$(
        impl core::fmt::Debug for $type {
            /// Leaves everything out: there are registers of a Realm in it.
            fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
                f.debug_struct(stringify!($type)).finish_non_exhaustive()
            }
        }
    )+};
}

pub(crate) use hides_registers;

/// Size of the field that a projection names.
pub(crate) const fn width<T, F>(_: fn(&T) -> &F) -> usize {
    size_of::<F>()
}
