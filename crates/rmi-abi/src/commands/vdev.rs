//! Register forms of virtual device commands.

use super::form::{
    Effect::{Immediate, Transfer},
    Form,
    ParamType::{Bits, Pa, VdevState},
    p,
};
use crate::dialect::DialectSet;
use crate::result::Status::{
    ErrorDevice, ErrorGranule, ErrorInput, ErrorNotSupported, ErrorRealm, ErrorTracking,
    Incomplete, Success,
};

use DialectSet as D;

pub(super) const VDEV_ABORT: &[Form] = &[Form::new(
    D::EVERY_2_0,
    0x185,
    Immediate,
    &[p(1, "rd", Pa), p(2, "pdev", Pa), p(3, "vdev", Pa)],
    &[],
)
.answers(&[Success, ErrorInput, ErrorNotSupported, ErrorDevice])];
pub(super) const VDEV_COMMUNICATE: &[Form] = &[Form::new(
    D::EVERY_2_0,
    0x186,
    Immediate,
    &[p(1, "rd", Pa), p(2, "pdev", Pa), p(3, "vdev", Pa), p(4, "data_ptr", Pa)],
    &[],
)
.answers(&[Success, ErrorInput, ErrorNotSupported, ErrorDevice])];
pub(super) const VDEV_CREATE: &[Form] = &[Form::new(
    D::EVERY_2_0,
    0x187,
    Transfer,
    &[p(1, "rd", Pa), p(2, "pdev", Pa), p(3, "vdev", Pa), p(4, "params_ptr", Pa)],
    &[],
)
.answers(&[
    Success,
    ErrorInput,
    ErrorRealm,
    ErrorNotSupported,
    ErrorDevice,
    ErrorTracking,
    Incomplete,
])];
pub(super) const VDEV_DESTROY: &[Form] = &[Form::new(
    D::EVERY_2_0,
    0x188,
    Transfer,
    &[p(1, "rd", Pa), p(2, "pdev", Pa), p(3, "vdev", Pa)],
    &[],
)
.answers(&[Success, ErrorInput, ErrorNotSupported, ErrorDevice, Incomplete])];
pub(super) const VDEV_GET_STATE: &[Form] =
    &[Form::new(D::EVERY_2_0, 0x189, Immediate, &[p(1, "vdev", Pa)], &[p(1, "state", VdevState)])
        .answers(&[Success, ErrorInput, ErrorNotSupported])];
pub(super) const VDEV_UNLOCK: &[Form] = &[Form::new(
    D::EVERY_2_0,
    0x18a,
    Immediate,
    &[p(1, "rd", Pa), p(2, "pdev", Pa), p(3, "vdev", Pa)],
    &[p(1, "granule", Pa)],
)
.answers(&[Success, ErrorInput, ErrorNotSupported, ErrorDevice, ErrorGranule])];
pub(super) const VDEV_COMPLETE: &[Form] =
    &[Form::new(D::BEFORE_BET3, 0x18e, Immediate, &[p(1, "rec", Pa), p(2, "vdev", Pa)], &[])
        .answers(&[Success, ErrorInput, ErrorNotSupported, ErrorDevice])];
pub(super) const VDEV_GET_INTERFACE_REPORT: &[Form] = &[Form::new(
    D::EVERY_2_0,
    0x1d0,
    Immediate,
    &[p(1, "rd", Pa), p(2, "pdev", Pa), p(3, "vdev", Pa)],
    &[],
)
.answers(&[Success, ErrorInput, ErrorNotSupported, ErrorDevice])];
pub(super) const VDEV_GET_MEASUREMENTS: &[Form] = &[Form::new(
    D::EVERY_2_0,
    0x1d1,
    Immediate,
    &[p(1, "rd", Pa), p(2, "pdev", Pa), p(3, "vdev", Pa), p(4, "params_ptr", Pa)],
    &[],
)
.answers(&[Success, ErrorInput, ErrorNotSupported, ErrorDevice])];
pub(super) const VDEV_LOCK: &[Form] = &[Form::new(
    D::EVERY_2_0,
    0x1d2,
    Immediate,
    &[p(1, "rd", Pa), p(2, "pdev", Pa), p(3, "vdev", Pa)],
    &[],
)
.answers(&[Success, ErrorInput, ErrorNotSupported, ErrorDevice])];
pub(super) const VDEV_START: &[Form] = &[Form::new(
    D::EVERY_2_0,
    0x1d3,
    Immediate,
    &[p(1, "rd", Pa), p(2, "pdev", Pa), p(3, "vdev", Pa)],
    &[],
)
.answers(&[Success, ErrorInput, ErrorNotSupported, ErrorDevice])];
pub(super) const VDEV_P2P_BIND: &[Form] = &[Form::new(
    D::BET0,
    0x1d4,
    Immediate,
    &[
        p(1, "rd", Pa),
        p(2, "rec", Pa),
        p(3, "pdev_1", Pa),
        p(4, "stream_handle", Bits),
        p(5, "pdev_2", Pa),
        p(6, "vdev_1", Pa),
        p(7, "vdev_2", Pa),
    ],
    &[],
)
.answers(&[Success, ErrorNotSupported])
.unsure(D::BET0)];
pub(super) const VDEV_P2P_UNBIND: &[Form] = &[Form::new(
    D::BET0,
    0x1d5,
    Immediate,
    &[
        p(1, "rd", Pa),
        p(2, "pdev_1", Pa),
        p(3, "pdev_2", Pa),
        p(4, "stream_handle", Bits),
        p(5, "vdev_1", Pa),
        p(6, "vdev_2", Pa),
    ],
    &[],
)
.answers(&[Success, ErrorNotSupported])
.unsure(D::BET0)];
