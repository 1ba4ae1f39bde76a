//! Register forms of granule, tracking and protection table commands.

use super::form::{
    Effect::{Immediate, Stateful, Transfer},
    Form,
    ParamType::{GptParState, MemCategory, Pa, TrackingRegionState},
    p,
};
use crate::dialect::DialectSet;
use crate::result::Status::{
    ErrorGlobal, ErrorGpt, ErrorInput, ErrorNotSupported, ErrorTracking, Incomplete, Success,
};

use DialectSet as D;

pub(super) const GRANULE_DELEGATE: &[Form] =
    &[Form::new(D::V1_0, 0x151, Immediate, &[p(1, "addr", Pa)], &[])
        .answers(&[Success, ErrorInput])];
pub(super) const GRANULE_UNDELEGATE: &[Form] =
    &[Form::new(D::V1_0, 0x152, Immediate, &[p(1, "addr", Pa)], &[])
        .answers(&[Success, ErrorInput])];
pub(super) const DPT_L0_CREATE: &[Form] = &[Form::new(D::BETAS, 0x1dd, Transfer, &[], &[])
    .answers(&[Success, ErrorNotSupported, Incomplete])
    .unsure(D::BETAS)];
pub(super) const DPT_L0_DESTROY: &[Form] = &[Form::new(D::BETAS, 0x1de, Transfer, &[], &[])
    .answers(&[Success, ErrorNotSupported, Incomplete])
    .unsure(D::BETAS)];
pub(super) const DPT_L1_CREATE: &[Form] =
    &[Form::new(D::BETAS, 0x1df, Transfer, &[p(1, "addr", Pa)], &[])
        .answers(&[Success, ErrorNotSupported, Incomplete])
        .unsure(D::BETAS)];
pub(super) const DPT_L1_DESTROY: &[Form] =
    &[Form::new(D::BETAS, 0x1e0, Transfer, &[p(1, "addr", Pa)], &[])
        .answers(&[Success, ErrorNotSupported, Incomplete])
        .unsure(D::BETAS)];
pub(super) const GRANULE_TRACKING_GET: &[Form] = &[
    Form::new(
        D::BET0,
        0x1e1,
        Immediate,
        &[p(1, "addr", Pa)],
        &[p(1, "category", MemCategory), p(2, "state", TrackingRegionState)],
    )
    .answers(&[Success, ErrorInput, ErrorGlobal]),
    Form::new(
        D::SINCE_BET1,
        0x1e1,
        Immediate,
        &[p(1, "base", Pa), p(2, "top", Pa)],
        &[p(1, "category", MemCategory), p(2, "state", TrackingRegionState), p(3, "out_top", Pa)],
    )
    .answers(&[Success, ErrorInput, ErrorGlobal]),
];
pub(super) const GRANULE_TRACKING_SET: &[Form] = &[Form::new(
    D::BETAS,
    0x1e3,
    Transfer,
    &[p(1, "addr", Pa), p(2, "category", MemCategory), p(3, "state", TrackingRegionState)],
    &[],
)
.answers(&[Success, ErrorInput, ErrorGlobal, Incomplete])];
pub(super) const GRANULE_RANGE_DELEGATE: &[Form] = &[Form::new(
    D::EVERY_2_0,
    0x1f1,
    Stateful,
    &[p(1, "base", Pa), p(2, "top", Pa)],
    &[p(1, "out_top", Pa)],
)
.answers(&[Success, ErrorInput, ErrorGlobal, ErrorTracking, Incomplete])];
pub(super) const GRANULE_RANGE_UNDELEGATE: &[Form] = &[Form::new(
    D::EVERY_2_0,
    0x1f2,
    Stateful,
    &[p(1, "base", Pa), p(2, "top", Pa)],
    &[p(1, "out_top", Pa)],
)
.answers(&[Success, ErrorInput, ErrorGlobal, ErrorTracking, Incomplete])];
pub(super) const GPT_L1_CREATE: &[Form] =
    &[Form::new(D::EVERY_2_0, 0x1f3, Transfer, &[p(1, "addr", Pa)], &[])
        .answers(&[Success, ErrorInput, Incomplete, ErrorGpt])];
pub(super) const GPT_L1_DESTROY: &[Form] =
    &[Form::new(D::BETAS, 0x1f4, Transfer, &[p(1, "addr", Pa)], &[]).answers(&[
        Success,
        ErrorInput,
        ErrorGlobal,
        Incomplete,
        ErrorGpt,
    ])];
pub(super) const GPT_INFO: &[Form] = &[Form::new(
    D::BET3,
    0x211,
    Immediate,
    &[p(1, "base", Pa), p(2, "top", Pa)],
    &[p(1, "out_top", Pa), p(2, "state", GptParState)],
)
.answers(&[Success, ErrorInput])];
