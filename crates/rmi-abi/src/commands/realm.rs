//! Register forms of Realm commands.

use super::form::{
    Effect::{Immediate, Stateful, Transfer},
    Form,
    ParamType::Pa,
    p,
};
use crate::dialect::DialectSet;
use crate::result::Status::{
    ErrorGlobal, ErrorInput, ErrorRealm, ErrorTracking, Incomplete, Success,
};

use DialectSet as D;

pub(super) const REALM_ACTIVATE: &[Form] =
    &[Form::new(D::EVERY, 0x157, Immediate, &[p(1, "rd", Pa)], &[])
        .answers(&[Success, ErrorInput, ErrorRealm])];
pub(super) const REALM_CREATE: &[Form] = &[
    Form::new(D::V1_0, 0x158, Immediate, &[p(1, "rd", Pa), p(2, "params_ptr", Pa)], &[])
        .answers(&[Success, ErrorInput]),
    Form::new(D::EVERY_2_0, 0x158, Transfer, &[p(1, "rd", Pa), p(2, "params_ptr", Pa)], &[])
        .answers(&[Success, ErrorInput, ErrorGlobal, ErrorTracking, Incomplete]),
];
pub(super) const REALM_DESTROY: &[Form] = &[
    Form::new(D::V1_0, 0x159, Immediate, &[p(1, "rd", Pa)], &[])
        .answers(&[Success, ErrorInput, ErrorRealm]),
    Form::new(D::EVERY_2_0, 0x159, Transfer, &[p(1, "rd", Pa)], &[])
        .answers(&[Success, ErrorInput, ErrorRealm, Incomplete]),
];
pub(super) const REALM_TERMINATE: &[Form] =
    &[Form::new(D::EVERY_2_0, 0x201, Stateful, &[p(1, "rd", Pa)], &[])
        .answers(&[Success, ErrorInput, ErrorRealm, Incomplete])];
