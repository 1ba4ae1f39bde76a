//! Register forms of the data commands of 1.0.

use super::form::{
    Effect::Immediate,
    Form,
    ParamType::{DataFlags, Ipa, Pa},
    p,
};
use crate::dialect::DialectSet;
use crate::result::Status::{ErrorInput, ErrorRealm, ErrorRtt, Success};

use DialectSet as D;

pub(super) const DATA_CREATE: &[Form] = &[Form::new(
    D::V1_0,
    0x153,
    Immediate,
    &[
        p(1, "rd", Pa),
        p(2, "data", Pa),
        p(3, "ipa", Ipa),
        p(4, "src", Pa),
        p(5, "flags", DataFlags),
    ],
    &[],
)
.answers(&[Success, ErrorInput, ErrorRealm, ErrorRtt])];
pub(super) const DATA_CREATE_UNKNOWN: &[Form] = &[Form::new(
    D::V1_0,
    0x154,
    Immediate,
    &[p(1, "rd", Pa), p(2, "data", Pa), p(3, "ipa", Ipa)],
    &[],
)
.answers(&[Success, ErrorInput, ErrorRtt])];
pub(super) const DATA_DESTROY: &[Form] = &[Form::new(
    D::V1_0,
    0x155,
    Immediate,
    &[p(1, "rd", Pa), p(2, "ipa", Ipa)],
    &[p(1, "data", Pa), p(2, "top", Ipa)],
)
.answers(&[Success, ErrorInput, ErrorRtt])];
