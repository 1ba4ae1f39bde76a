//! Register forms of REC commands.

use super::form::{
    Effect::{Immediate, Transfer},
    Form,
    ParamType::{Pa, PsciReturnCode, UInt},
    p,
};
use crate::dialect::DialectSet;

use DialectSet as D;

pub(super) const REC_CREATE: &[Form] = &[
    Form::new(
        D::V1_0,
        0x15a,
        Immediate,
        &[p(1, "rd", Pa), p(2, "rec", Pa), p(3, "params_ptr", Pa)],
        &[],
    ),
    Form::new(
        D::EVERY_2_0,
        0x15a,
        Transfer,
        &[p(1, "rd", Pa), p(2, "rec", Pa), p(3, "params_ptr", Pa)],
        &[],
    ),
];
pub(super) const REC_DESTROY: &[Form] = &[
    Form::new(D::V1_0, 0x15b, Immediate, &[p(1, "rec_ptr", Pa)], &[]),
    Form::new(D::EVERY_2_0, 0x15b, Transfer, &[p(1, "rec", Pa)], &[]),
];
pub(super) const REC_ENTER: &[Form] =
    &[Form::new(D::EVERY, 0x15c, Immediate, &[p(1, "rec", Pa), p(2, "run_ptr", Pa)], &[])];
pub(super) const PSCI_COMPLETE: &[Form] = &[
    Form::new(
        D::V1_0.and(D::BET0).and(D::BET1).and(D::TF_RMM),
        0x164,
        Immediate,
        &[p(1, "calling_rec", Pa), p(2, "target_rec", Pa), p(3, "status", PsciReturnCode)],
        &[],
    ),
    Form::new(
        D::BET3,
        0x164,
        Immediate,
        &[p(1, "calling_rec", Pa), p(2, "status", PsciReturnCode)],
        &[],
    ),
];
pub(super) const REC_AUX_COUNT: &[Form] =
    &[Form::new(D::V1_0, 0x167, Immediate, &[p(1, "rd", Pa)], &[p(1, "aux_count", UInt)])];
