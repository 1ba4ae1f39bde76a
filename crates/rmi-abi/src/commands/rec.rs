//! Register forms of REC commands.

use super::form::{
    Effect::{Immediate, Transfer},
    Form,
    ParamType::{Pa, PsciReturnCode, UInt},
    p,
};
use crate::dialect::DialectSet;
use crate::result::Status::{ErrorInput, ErrorRealm, ErrorRec, Incomplete, Success};

use DialectSet as D;

pub(super) const REC_CREATE: &[Form] = &[
    Form::new(
        D::V1_0,
        0x15a,
        Immediate,
        &[p(1, "rd", Pa), p(2, "rec", Pa), p(3, "params_ptr", Pa)],
        &[],
    )
    .answers(&[Success, ErrorInput, ErrorRealm]),
    Form::new(
        D::EVERY_2_0,
        0x15a,
        Transfer,
        &[p(1, "rd", Pa), p(2, "rec", Pa), p(3, "params_ptr", Pa)],
        &[],
    )
    .answers(&[Success, ErrorInput, ErrorRealm, Incomplete]),
];
pub(super) const REC_DESTROY: &[Form] = &[
    Form::new(D::V1_0, 0x15b, Immediate, &[p(1, "rec_ptr", Pa)], &[])
        .answers(&[Success, ErrorInput, ErrorRec]),
    Form::new(D::EVERY_2_0, 0x15b, Transfer, &[p(1, "rec", Pa)], &[])
        .answers(&[Success, ErrorInput, ErrorRec, Incomplete]),
];
pub(super) const REC_ENTER: &[Form] =
    &[Form::new(D::EVERY, 0x15c, Immediate, &[p(1, "rec", Pa), p(2, "run_ptr", Pa)], &[])
        .answers(&[Success, ErrorInput, ErrorRealm, ErrorRec])];
pub(super) const PSCI_COMPLETE: &[Form] = &[
    Form::new(
        D::V1_0,
        0x164,
        Immediate,
        &[p(1, "calling_rec", Pa), p(2, "target_rec", Pa), p(3, "status", PsciReturnCode)],
        &[],
    )
    .answers(&[Success, ErrorInput]),
    Form::new(
        D::BEFORE_BET3,
        0x164,
        Immediate,
        &[p(1, "calling_rec", Pa), p(2, "target_rec", Pa), p(3, "status", PsciReturnCode)],
        &[],
    )
    .answers(&[Success, ErrorInput, ErrorRec]),
    Form::new(
        D::BET3,
        0x164,
        Immediate,
        &[p(1, "calling_rec", Pa), p(2, "status", PsciReturnCode)],
        &[],
    )
    .answers(&[Success, ErrorInput, ErrorRec]),
];
pub(super) const REC_AUX_COUNT: &[Form] =
    &[Form::new(D::V1_0, 0x167, Immediate, &[p(1, "rd", Pa)], &[p(1, "aux_count", UInt)])
        .answers(&[Success, ErrorInput])];
