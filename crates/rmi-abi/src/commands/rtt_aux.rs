//! Register forms of auxiliary translation table commands (planes).

use super::form::{
    Effect::{Immediate, Stateful},
    Form,
    ParamType::{Ipa, Level, Pa, Ripas, RttAuxMapFlags, RttAuxUnmapFlags, RttEntryState, UInt},
    p,
};
use crate::dialect::DialectSet;
use crate::result::Status::{
    ErrorInput, ErrorRtt, ErrorRttAux, ErrorTracking, Incomplete, Success,
};

use DialectSet as D;

pub(super) const RTT_AUX_CREATE: &[Form] = &[Form::new(
    D::EVERY_2_0,
    0x17d,
    Stateful,
    &[p(1, "rd", Pa), p(2, "rtt", Pa), p(3, "ipa", Ipa), p(4, "level", Level), p(5, "index", UInt)],
    &[],
)
.answers(&[Success, ErrorInput, ErrorRttAux, ErrorTracking, Incomplete])];
pub(super) const RTT_AUX_DESTROY: &[Form] = &[Form::new(
    D::EVERY_2_0,
    0x17e,
    Stateful,
    &[p(1, "rd", Pa), p(2, "ipa", Ipa), p(3, "level", Level), p(4, "index", UInt)],
    &[p(1, "rtt", Pa), p(2, "top", Ipa)],
)
.answers(&[Success, ErrorInput, ErrorRttAux, Incomplete])];
pub(super) const RTT_AUX_FOLD: &[Form] = &[Form::new(
    D::EVERY_2_0,
    0x17f,
    Stateful,
    &[p(1, "rd", Pa), p(2, "ipa", Ipa), p(3, "level", Level), p(4, "index", UInt)],
    &[p(1, "rtt", Pa)],
)
.answers(&[Success, ErrorInput, ErrorRttAux, Incomplete])];
pub(super) const RTT_AUX_MAP_PROTECTED: &[Form] = &[Form::new(
    D::TF_RMM,
    0x180,
    Immediate,
    &[p(1, "rd", Pa), p(2, "ipa", Ipa), p(3, "index", UInt)],
    &[
        p(1, "fail_index", UInt),
        p(2, "level", Level),
        p(3, "state", RttEntryState),
        p(4, "ripas", Ripas),
    ],
)];
pub(super) const RTT_AUX_MAP_UNPROTECTED: &[Form] = &[Form::new(
    D::TF_RMM,
    0x181,
    Immediate,
    &[p(1, "rd", Pa), p(2, "ipa", Ipa), p(3, "index", UInt)],
    &[p(1, "fail_index", UInt), p(2, "level", Level), p(3, "state", RttEntryState)],
)];
pub(super) const RTT_AUX_UNMAP_PROTECTED: &[Form] = &[Form::new(
    D::TF_RMM,
    0x183,
    Immediate,
    &[p(1, "rd", Pa), p(2, "ipa", Ipa), p(3, "index", UInt)],
    &[p(1, "top", Ipa)],
)];
pub(super) const RTT_AUX_UNMAP_UNPROTECTED: &[Form] = &[Form::new(
    D::TF_RMM,
    0x184,
    Immediate,
    &[p(1, "rd", Pa), p(2, "ipa", Ipa), p(3, "index", UInt)],
    &[p(1, "top", Ipa), p(2, "level", Level)],
)];
pub(super) const RTT_AUX_PROT_MAP: &[Form] = &[Form::new(
    D::BETAS,
    0x1fd,
    Stateful,
    &[p(1, "rd", Pa), p(2, "base", Ipa), p(3, "top", Ipa), p(4, "flags", RttAuxMapFlags)],
    &[p(1, "out_top", Ipa)],
)
.answers(&[Success, ErrorInput, ErrorRtt, ErrorRttAux, Incomplete])];
pub(super) const RTT_AUX_PROT_UNMAP: &[Form] = &[Form::new(
    D::BETAS,
    0x1fe,
    Stateful,
    &[p(1, "rd", Pa), p(2, "base", Ipa), p(3, "top", Ipa), p(4, "flags", RttAuxUnmapFlags)],
    &[p(1, "out_top", Ipa)],
)
.answers(&[Success, ErrorInput, ErrorRttAux, Incomplete])
.unsure(D::BETAS)];
pub(super) const RTT_AUX_UNPROT_MAP: &[Form] = &[Form::new(
    D::BETAS,
    0x1ff,
    Stateful,
    &[p(1, "rd", Pa), p(2, "base", Ipa), p(3, "top", Ipa), p(4, "flags", RttAuxMapFlags)],
    &[p(1, "out_top", Ipa)],
)
.answers(&[Success, ErrorInput, ErrorRttAux, Incomplete])
.unsure(D::BETAS)];
pub(super) const RTT_AUX_UNPROT_UNMAP: &[Form] = &[Form::new(
    D::BETAS,
    0x200,
    Stateful,
    &[p(1, "rd", Pa), p(2, "base", Ipa), p(3, "top", Ipa), p(4, "flags", RttAuxUnmapFlags)],
    &[p(1, "out_top", Ipa)],
)
.answers(&[Success, ErrorInput, ErrorRttAux, Incomplete])
.unsure(D::BETAS)];
