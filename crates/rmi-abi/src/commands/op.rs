//! Register forms of the commands that drive stateful operations.

use super::form::{
    Effect::Immediate,
    Form,
    ParamType::{Bits, ContinueFlags, OpMemDonateReq, Pa, UInt},
    p,
};
use crate::dialect::DialectSet;
use crate::result::Status::{Busy, ErrorInput, Incomplete, Success};

use DialectSet as D;

pub(super) const OP_CONTINUE: &[Form] = &[Form::new(
    D::EVERY_2_0,
    0x203,
    Immediate,
    &[p(1, "handle", Bits), p(2, "flags", ContinueFlags)],
    &[p(1, "cmd_out_1_or_0", Bits), p(2, "donate_req", OpMemDonateReq)],
)
.answers(&[Success, ErrorInput, Busy, Incomplete])];
pub(super) const OP_MEM_DONATE: &[Form] = &[
    Form::new(
        D::BEFORE_BET3,
        0x208,
        Immediate,
        &[p(1, "handle", Bits), p(2, "list_addr", Pa), p(3, "list_count", UInt)],
        &[p(1, "donated_count", UInt), p(2, "donate_req", OpMemDonateReq)],
    )
    .answers(&[Success, ErrorInput, Incomplete]),
    Form::new(
        D::BET3,
        0x208,
        Immediate,
        &[
            p(1, "handle", Bits),
            p(2, "list_addr", Pa),
            p(3, "list_count", UInt),
            p(4, "flags", Bits),
        ],
        &[p(1, "donated_count", UInt), p(2, "donate_req", OpMemDonateReq)],
    )
    .answers(&[Success, ErrorInput, Incomplete]),
];
pub(super) const OP_MEM_RECLAIM: &[Form] = &[Form::new(
    D::EVERY_2_0,
    0x209,
    Immediate,
    &[p(1, "handle", Bits), p(2, "list_addr", Pa), p(3, "list_count", UInt)],
    &[p(1, "out_count", UInt)],
)
.answers(&[Success, ErrorInput, Incomplete])];
pub(super) const OP_CANCEL: &[Form] =
    &[Form::new(D::EVERY_2_0, 0x20a, Immediate, &[p(1, "handle", Bits)], &[])
        .answers(&[Success, ErrorInput, Incomplete])];
