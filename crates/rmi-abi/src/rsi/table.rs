//! Register forms of all RSI commands.

use super::ReturnCode::{ErrorDevice, ErrorInput, ErrorState, ErrorUnknown, Incomplete, Success};
use super::VersionSet;
use super::command::{
    Form,
    ParamType::{Address, Bits, InterfaceVersion, Response, Ripas, RipasChangeFlags, UInt},
};
use crate::commands::p;

use VersionSet as V;

pub(super) const VERSION: Form = Form::new(
    V::EVERY,
    0x190,
    &[p(1, "req", InterfaceVersion)],
    &[p(1, "lower", InterfaceVersion), p(2, "higher", InterfaceVersion)],
    &[Success, ErrorInput],
);
pub(super) const FEATURES: Form =
    Form::new(V::EVERY, 0x191, &[p(1, "index", UInt)], &[p(1, "value", Bits)], &[Success]);
pub(super) const MEASUREMENT_READ: Form = Form::new(
    V::EVERY,
    0x192,
    &[p(1, "index", UInt)],
    &[
        p(1, "value_0", Bits),
        p(2, "value_1", Bits),
        p(3, "value_2", Bits),
        p(4, "value_3", Bits),
        p(5, "value_4", Bits),
        p(6, "value_5", Bits),
        p(7, "value_6", Bits),
        p(8, "value_7", Bits),
    ],
    &[Success, ErrorInput],
);
pub(super) const MEASUREMENT_EXTEND: Form = Form::new(
    V::EVERY,
    0x193,
    &[
        p(1, "index", UInt),
        p(2, "size", UInt),
        p(3, "value_0", Bits),
        p(4, "value_1", Bits),
        p(5, "value_2", Bits),
        p(6, "value_3", Bits),
        p(7, "value_4", Bits),
        p(8, "value_5", Bits),
        p(9, "value_6", Bits),
        p(10, "value_7", Bits),
    ],
    &[],
    &[Success, ErrorInput],
);
pub(super) const ATTESTATION_TOKEN_INIT: Form = Form::new(
    V::EVERY,
    0x194,
    &[
        p(1, "challenge_0", Bits),
        p(2, "challenge_1", Bits),
        p(3, "challenge_2", Bits),
        p(4, "challenge_3", Bits),
        p(5, "challenge_4", Bits),
        p(6, "challenge_5", Bits),
        p(7, "challenge_6", Bits),
        p(8, "challenge_7", Bits),
    ],
    &[p(1, "size", UInt)],
    &[Success, ErrorUnknown],
);
pub(super) const ATTESTATION_TOKEN_CONTINUE: Form = Form::new(
    V::EVERY,
    0x195,
    &[p(1, "addr", Address), p(2, "offset", UInt), p(3, "size", UInt)],
    &[p(1, "len", UInt)],
    &[Success, ErrorInput, ErrorState, Incomplete, ErrorUnknown],
);
pub(super) const REALM_CONFIG: Form =
    Form::new(V::EVERY, 0x196, &[p(1, "addr", Address)], &[], &[Success, ErrorInput]);
pub(super) const IPA_STATE_SET: Form = Form::new(
    V::EVERY,
    0x197,
    &[
        p(1, "base", Address),
        p(2, "top", Address),
        p(3, "ripas", Ripas),
        p(4, "flags", RipasChangeFlags),
    ],
    &[p(1, "new_base", Address), p(2, "response", Response)],
    &[Success, ErrorInput],
);
pub(super) const IPA_STATE_GET: Form = Form::new(
    V::EVERY,
    0x198,
    &[p(1, "base", Address), p(2, "top", Address)],
    &[p(1, "out_top", Address), p(2, "ripas", Ripas)],
    &[Success, ErrorInput],
);
pub(super) const HOST_CALL: Form =
    Form::new(V::EVERY, 0x199, &[p(1, "addr", Address)], &[], &[Success, ErrorInput]);
pub(super) const RDEV_GET_INSTANCE_ID: Form =
    Form::new(V::V1_1, 0x19c, &[p(1, "vdev_id", UInt)], &[p(1, "inst_id", UInt)], &[Success]);
pub(super) const VDEV_DMA_ENABLE: Form = Form::new(
    V::V2_0,
    0x19c,
    &[
        p(1, "vdev_id", UInt),
        p(2, "flags", Bits),
        p(3, "non_ats_plane", UInt),
        p(4, "lock_nonce", UInt),
        p(5, "meas_nonce", UInt),
        p(6, "report_nonce", UInt),
    ],
    &[],
    &[Success, ErrorInput, ErrorState, ErrorDevice],
);
pub(super) const VDEV_GET_INFO: Form = Form::new(
    V::V2_0,
    0x19d,
    &[p(1, "vdev_id", UInt), p(2, "addr", Address)],
    &[],
    &[Success, ErrorInput, ErrorState, ErrorDevice],
);
pub(super) const VDEV_VALIDATE_MAPPING: Form = Form::new(
    V::V2_0,
    0x19f,
    &[
        p(1, "vdev_id", UInt),
        p(2, "ipa_base", Address),
        p(3, "ipa_top", Address),
        p(4, "pa_base", Address),
        p(5, "flags", Bits),
        p(6, "lock_nonce", UInt),
        p(7, "meas_nonce", UInt),
        p(8, "report_nonce", UInt),
    ],
    &[p(1, "new_base", Address), p(2, "response", Response)],
    &[Success, ErrorInput, ErrorState, ErrorDevice],
);
pub(super) const MEM_GET_PERM_VALUE: Form = Form::new(
    V::SINCE_1_1,
    0x1a0,
    &[p(1, "plane", UInt), p(2, "index", UInt)],
    &[p(1, "value", UInt)],
    &[Success, ErrorInput],
);
pub(super) const MEM_SET_PERM_INDEX: Form = Form::new(
    V::SINCE_1_1,
    0x1a1,
    &[p(1, "base", Address), p(2, "top", Address), p(3, "index", UInt), p(4, "cookie", UInt)],
    &[p(1, "new_base", Address), p(2, "response", Response), p(3, "new_cookie", UInt)],
    &[Success, ErrorInput],
);
pub(super) const MEM_SET_PERM_VALUE: Form = Form::new(
    V::SINCE_1_1,
    0x1a2,
    &[p(1, "plane", UInt), p(2, "index", UInt), p(3, "value", UInt)],
    &[],
    &[Success, ErrorInput],
);
pub(super) const PLANE_ENTER: Form = Form::new(
    V::SINCE_1_1,
    0x1a3,
    &[p(1, "plane", UInt), p(2, "run_ptr", Address)],
    &[],
    &[Success, ErrorInput],
);
pub(super) const RDEV_CONTINUE: Form = Form::new(
    V::V1_1,
    0x1a4,
    &[p(1, "vdev_id", UInt), p(2, "inst_id", UInt)],
    &[],
    &[Success, Incomplete],
);
pub(super) const VDEV_DMA_DISABLE: Form = Form::new(
    V::V2_0,
    0x1a4,
    &[p(1, "vdev_id", UInt)],
    &[],
    &[Success, ErrorInput, ErrorState, ErrorDevice],
);
pub(super) const RDEV_GET_INFO: Form = Form::new(
    V::V1_1,
    0x1a5,
    &[p(1, "vdev_id", UInt), p(2, "inst_id", UInt), p(3, "addr", Address)],
    &[],
    &[Success],
);
pub(super) const RDEV_GET_INTERFACE_REPORT: Form = Form::new(
    V::V1_1,
    0x1a6,
    &[p(1, "vdev_id", UInt), p(2, "inst_id", UInt), p(3, "version_max", UInt)],
    &[p(1, "version", UInt)],
    &[Success],
);
pub(super) const RDEV_GET_MEASUREMENTS: Form = Form::new(
    V::V1_1,
    0x1a7,
    &[p(1, "vdev_id", UInt), p(2, "inst_id", UInt), p(3, "params_ptr", Address)],
    &[],
    &[Success],
);
pub(super) const RDEV_GET_STATE: Form = Form::new(
    V::V1_1,
    0x1a8,
    &[p(1, "vdev_id", UInt), p(2, "inst_id", UInt)],
    &[p(1, "state", UInt)],
    &[Success],
);
pub(super) const RDEV_LOCK: Form =
    Form::new(V::V1_1, 0x1a9, &[p(1, "vdev_id", UInt), p(2, "inst_id", UInt)], &[], &[Success]);
pub(super) const RDEV_START: Form =
    Form::new(V::V1_1, 0x1aa, &[p(1, "vdev_id", UInt), p(2, "inst_id", UInt)], &[], &[Success]);
pub(super) const RDEV_STOP: Form =
    Form::new(V::V1_1, 0x1ab, &[p(1, "vdev_id", UInt), p(2, "inst_id", UInt)], &[], &[Success]);
pub(super) const RDEV_VALIDATE_MAPPING: Form = Form::new(
    V::V1_1,
    0x1ac,
    &[
        p(1, "vdev_id", UInt),
        p(2, "inst_id", UInt),
        p(3, "ipa_base", Address),
        p(4, "ipa_top", Address),
        p(5, "pa_base", Address),
        p(6, "flags", Bits),
    ],
    &[p(1, "new_base", Address), p(2, "response", Response)],
    &[Success],
);
pub(super) const PLANE_SYSREG_READ: Form = Form::new(
    V::SINCE_1_1,
    0x1ae,
    &[p(1, "plane", UInt), p(2, "encoding", Bits)],
    &[p(1, "value_lo", Bits), p(2, "value_hi", Bits)],
    &[Success, ErrorInput],
);
pub(super) const PLANE_SYSREG_WRITE: Form = Form::new(
    V::SINCE_1_1,
    0x1af,
    &[p(1, "plane", UInt), p(2, "encoding", Bits), p(3, "value_lo", Bits), p(4, "value_hi", Bits)],
    &[],
    &[Success, ErrorInput],
);
