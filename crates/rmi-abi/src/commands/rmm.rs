//! Register forms of RMM set-up commands.

use super::form::{
    Effect::{Immediate, Transfer},
    Form,
    ParamType::{Bits, InterfaceVersion, Pa, RmmState, UInt},
    p,
};
use crate::dialect::DialectSet;
use crate::result::Status::{ErrorGlobal, ErrorInput, Incomplete, Success};

use DialectSet as D;

pub(super) const VERSION: &[Form] = &[Form::new(
    D::EVERY,
    0x150,
    Immediate,
    &[p(1, "req", InterfaceVersion)],
    &[p(1, "lower", InterfaceVersion), p(2, "higher", InterfaceVersion)],
)
.answers(&[Success, ErrorInput])];
pub(super) const FEATURES: &[Form] =
    &[Form::new(D::EVERY, 0x165, Immediate, &[p(1, "index", UInt)], &[p(1, "value", Bits)])
        .answers(&[Success])];
pub(super) const RMM_CONFIG_SET: &[Form] =
    &[Form::new(D::EVERY_2_0, 0x16e, Immediate, &[p(1, "config_ptr", Pa)], &[]).answers(&[
        Success,
        ErrorInput,
        ErrorGlobal,
    ])];
pub(super) const ATTEST_PLAT_TOKEN_REFRESH: &[Form] =
    &[Form::new(D::BET0.and(D::BET3), 0x170, Immediate, &[], &[])
        .answers(&[Success, ErrorGlobal])
        .unsure(D::BET0.and(D::BET3))];
pub(super) const RMM_CONFIG_GET: &[Form] =
    &[Form::new(D::EVERY_2_0, 0x1ec, Immediate, &[p(1, "config_ptr", Pa)], &[])
        .answers(&[Success, ErrorInput])];
pub(super) const RMM_STATE_GET: &[Form] =
    &[Form::new(D::BET1.and(D::BET3), 0x1ee, Immediate, &[], &[p(1, "state", RmmState)])
        .answers(&[Success])
        .unsure(D::BET1.and(D::BET3))];
pub(super) const RMM_ACTIVATE: &[Form] = &[
    Form::new(D::EVERY_2_0, 0x202, Transfer, &[], &[]).answers(&[Success, ErrorGlobal, Incomplete])
];
pub(super) const RMM_DEACTIVATE: &[Form] = &[Form::new(D::BET3, 0x20f, Transfer, &[], &[])
    .answers(&[Success, ErrorGlobal, Incomplete])
    .unsure(D::BET3)];
