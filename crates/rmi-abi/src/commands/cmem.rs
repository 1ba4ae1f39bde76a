//! Register forms of coherent memory commands (2.0-bet0 only).

use super::form::{
    Effect::{Immediate, Transfer},
    Form,
    ParamType::{Pa, UInt},
    p,
};
use crate::dialect::DialectSet;

use DialectSet as D;

pub(super) const CMEM_ADD_PDEV: &[Form] = &[Form::new(
    D::BET0,
    0x1e4,
    Immediate,
    &[p(1, "cmem", Pa), p(2, "pdev", Pa), p(3, "index", UInt), p(4, "params_ptr", Pa)],
    &[],
)
.unsure(D::BET0)];
pub(super) const CMEM_CREATE: &[Form] =
    &[Form::new(D::BET0, 0x1e5, Transfer, &[p(1, "cmem", Pa), p(2, "params_ptr", Pa)], &[])
        .unsure(D::BET0)];
pub(super) const CMEM_DESTROY: &[Form] =
    &[Form::new(D::BET0, 0x1e6, Transfer, &[p(1, "cmem", Pa)], &[]).unsure(D::BET0)];
pub(super) const CMEM_POPULATE: &[Form] =
    &[Form::unknown_inputs(D::BET0, 0x1e7, Immediate).unsure(D::BET0)];
pub(super) const CMEM_REMOVE_PDEV: &[Form] = &[Form::new(
    D::BET0,
    0x1e8,
    Immediate,
    &[p(1, "cmem", Pa), p(2, "pdev", Pa), p(3, "index", UInt)],
    &[],
)
.unsure(D::BET0)];
pub(super) const CMEM_START: &[Form] =
    &[Form::unknown_inputs(D::BET0, 0x1e9, Immediate).unsure(D::BET0)];
pub(super) const CMEM_STOP: &[Form] =
    &[Form::unknown_inputs(D::BET0, 0x1ea, Immediate).unsure(D::BET0)];
pub(super) const CMEM_UNPOPULATE: &[Form] =
    &[Form::unknown_inputs(D::BET0, 0x1eb, Immediate).unsure(D::BET0)];
