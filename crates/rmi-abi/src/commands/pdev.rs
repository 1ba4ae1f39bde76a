//! Register forms of physical device commands.

use super::form::{
    Effect::{Immediate, Transfer},
    Form,
    ParamType::{Bits, Pa, PdevState, PdevStreamState, PdevStreamType, UInt},
    p,
};
use crate::dialect::DialectSet;
use crate::result::Status::{
    ErrorDevice, ErrorInput, ErrorNotSupported, ErrorTracking, Incomplete, Success,
};

use DialectSet as D;

pub(super) const PDEV_ABORT: &[Form] =
    &[Form::new(D::EVERY_2_0, 0x174, Immediate, &[p(1, "pdev", Pa)], &[]).answers(&[
        Success,
        ErrorInput,
        ErrorNotSupported,
        ErrorDevice,
    ])];
pub(super) const PDEV_COMMUNICATE: &[Form] =
    &[Form::new(D::EVERY_2_0, 0x175, Immediate, &[p(1, "pdev", Pa), p(2, "data_ptr", Pa)], &[])
        .answers(&[Success, ErrorInput, ErrorNotSupported, ErrorDevice])];
pub(super) const PDEV_CREATE: &[Form] =
    &[Form::new(D::EVERY_2_0, 0x176, Transfer, &[p(1, "pdev", Pa), p(2, "params_ptr", Pa)], &[])
        .answers(&[Success, ErrorInput, ErrorNotSupported, ErrorTracking, Incomplete])];
pub(super) const PDEV_DESTROY: &[Form] =
    &[Form::new(D::EVERY_2_0, 0x177, Transfer, &[p(1, "pdev", Pa)], &[]).answers(&[
        Success,
        ErrorInput,
        ErrorNotSupported,
        ErrorDevice,
        Incomplete,
    ])];
pub(super) const PDEV_GET_STATE: &[Form] =
    &[Form::new(D::EVERY_2_0, 0x178, Immediate, &[p(1, "pdev", Pa)], &[p(1, "state", PdevState)])
        .answers(&[Success, ErrorInput, ErrorNotSupported])];
pub(super) const PDEV_STREAM_KEY_REFRESH: &[Form] = &[Form::new(
    D::EVERY_2_0,
    0x17a,
    Immediate,
    &[p(1, "pdev_1", Pa), p(2, "pdev_2", Pa), p(3, "stream_handle", Bits)],
    &[],
)
.answers(&[Success, ErrorInput, ErrorNotSupported, ErrorDevice])];
pub(super) const PDEV_SET_PUBKEY: &[Form] =
    &[Form::new(D::EVERY_2_0, 0x17b, Immediate, &[p(1, "pdev", Pa), p(2, "params_ptr", Pa)], &[])
        .answers(&[Success, ErrorInput, ErrorNotSupported, ErrorDevice])];
pub(super) const PDEV_STOP: &[Form] =
    &[Form::new(D::EVERY_2_0, 0x17c, Immediate, &[p(1, "pdev", Pa)], &[]).answers(&[
        Success,
        ErrorInput,
        ErrorNotSupported,
        ErrorDevice,
    ])];
pub(super) const PDEV_MEC_UPDATE: &[Form] =
    &[Form::unknown(D::BET0, 0x1ed, Immediate).unsure(D::BET0)];
pub(super) const PDEV_STREAM_CONNECT: &[Form] = &[Form::new(
    D::EVERY_2_0,
    0x204,
    Immediate,
    &[p(1, "params_ptr", Pa)],
    &[p(1, "stream_handle", Bits)],
)
.answers(&[Success, ErrorInput, ErrorNotSupported, ErrorDevice])];
pub(super) const PDEV_STREAM_DISCONNECT: &[Form] = &[Form::new(
    D::EVERY_2_0,
    0x205,
    Immediate,
    &[p(1, "pdev_1", Pa), p(2, "pdev_2", Pa), p(3, "stream_handle", Bits)],
    &[],
)
.answers(&[Success, ErrorInput, ErrorDevice])];
pub(super) const PDEV_STREAM_COMPLETE: &[Form] = &[Form::new(
    D::EVERY_2_0,
    0x206,
    Immediate,
    &[p(1, "pdev_1", Pa), p(2, "pdev_2", Pa), p(3, "stream_handle", Bits)],
    &[],
)
.answers(&[Success, ErrorInput, ErrorDevice])];
pub(super) const PDEV_STREAM_KEY_PURGE: &[Form] = &[Form::new(
    D::EVERY_2_0,
    0x207,
    Immediate,
    &[p(1, "pdev_1", Pa), p(2, "pdev_2", Pa), p(3, "stream_handle", Bits)],
    &[],
)
.answers(&[Success, ErrorNotSupported])];
pub(super) const PDEV_SET_PROT: &[Form] =
    &[Form::unknown(D::BET0, 0x20b, Immediate).unsure(D::BET0)];
pub(super) const PDEV_STREAM_INFO: &[Form] = &[Form::new(
    D::BET3,
    0x210,
    Immediate,
    &[p(1, "pdev_1", Pa), p(2, "pdev_2", Pa), p(3, "stream_handle", Bits)],
    &[
        p(1, "stream_state", PdevStreamState),
        p(2, "stream_type", PdevStreamType),
        p(3, "refresh_count", UInt),
        p(4, "purge_count", UInt),
    ],
)
.answers(&[Success, ErrorInput, ErrorNotSupported])
.unsure(D::BET3)];
