//! Register forms of translation table commands.

use super::form::{
    Effect::{Immediate, Stateful},
    Form,
    ParamType::{
        AddrRangeDesc, AddrSetDesc, Bits, DataFlags, Ipa, Level, Pa, Ripas, RttEntryDesc,
        RttEntryState, RttProtMapFlags, RttUnmapFlags, RttUnprotMapFlags, UInt,
    },
    p,
};
use crate::dialect::DialectSet;
use crate::result::Status::{
    Blocked, Busy, ErrorDevice, ErrorDpt, ErrorInput, ErrorNotSupported, ErrorRealm, ErrorRec,
    ErrorRtt, ErrorRttAux, ErrorTracking, Incomplete, Success,
};

use DialectSet as D;

pub(super) const RTT_DATA_MAP_INIT: &[Form] = &[Form::new(
    D::EVERY_2_0,
    0x153,
    Stateful,
    &[
        p(1, "rd", Pa),
        p(2, "data", Pa),
        p(3, "ipa", Ipa),
        p(4, "src", Pa),
        p(5, "flags", DataFlags),
    ],
    &[],
)
.answers(&[
    Success,
    ErrorInput,
    ErrorRealm,
    ErrorRtt,
    ErrorDpt,
    Busy,
    ErrorTracking,
    Incomplete,
    Blocked,
])];
pub(super) const RTT_CREATE: &[Form] = &[
    Form::new(
        D::V1_0,
        0x15d,
        Immediate,
        &[p(1, "rd", Pa), p(2, "rtt", Pa), p(3, "ipa", Ipa), p(4, "level", Level)],
        &[],
    )
    .answers(&[Success, ErrorInput, ErrorRtt]),
    Form::new(
        D::EVERY_2_0,
        0x15d,
        Stateful,
        &[p(1, "rd", Pa), p(2, "rtt", Pa), p(3, "ipa", Ipa), p(4, "level", Level)],
        &[],
    )
    .answers(&[Success, ErrorInput, ErrorRtt, ErrorTracking, Incomplete]),
];
pub(super) const RTT_DESTROY: &[Form] = &[
    Form::new(
        D::V1_0,
        0x15e,
        Immediate,
        &[p(1, "rd", Pa), p(2, "ipa", Ipa), p(3, "level", Level)],
        &[p(1, "rtt", Pa), p(2, "top", Ipa)],
    )
    .answers(&[Success, ErrorInput, ErrorRtt]),
    Form::new(
        D::EVERY_2_0,
        0x15e,
        Stateful,
        &[p(1, "rd", Pa), p(2, "ipa", Ipa), p(3, "level", Level)],
        &[p(1, "rtt", Pa), p(2, "top", Ipa)],
    )
    .answers(&[Success, ErrorInput, ErrorRtt, Incomplete]),
];
pub(super) const RTT_MAP_UNPROTECTED: &[Form] = &[Form::new(
    D::V1_0,
    0x15f,
    Immediate,
    &[p(1, "rd", Pa), p(2, "ipa", Ipa), p(3, "level", Level), p(4, "desc", Bits)],
    &[],
)
.answers(&[Success, ErrorInput, ErrorRtt])];
pub(super) const RTT_READ_ENTRY: &[Form] = &[
    Form::new(
        D::V1_0,
        0x161,
        Immediate,
        &[p(1, "rd", Pa), p(2, "ipa", Ipa), p(3, "level", Level)],
        &[
            p(1, "walk_level", UInt),
            p(2, "state", RttEntryState),
            p(3, "desc", Bits),
            p(4, "ripas", Ripas),
        ],
    )
    .answers(&[Success, ErrorInput]),
    Form::new(
        D::EVERY_2_0,
        0x161,
        Immediate,
        &[p(1, "rd", Pa), p(2, "ipa", Ipa), p(3, "level", Level)],
        &[
            p(1, "walk_level", Level),
            p(2, "state", RttEntryState),
            p(3, "desc", RttEntryDesc),
            p(4, "ripas", Ripas),
        ],
    )
    .answers(&[Success, ErrorInput]),
];
pub(super) const RTT_UNMAP_UNPROTECTED: &[Form] = &[Form::new(
    D::V1_0,
    0x162,
    Immediate,
    &[p(1, "rd", Pa), p(2, "ipa", Ipa), p(3, "level", Level)],
    &[p(1, "top", Ipa)],
)
.answers(&[Success, ErrorInput, ErrorRtt])];
pub(super) const RTT_DEV_VALIDATE: &[Form] = &[
    Form::new(
        D::BET0,
        0x163,
        Stateful,
        &[
            p(1, "rd", Pa),
            p(2, "rec", Pa),
            p(3, "pdev", Pa),
            p(4, "vdev", Pa),
            p(5, "base", Ipa),
            p(6, "top", Ipa),
        ],
        &[p(1, "out_top", Ipa)],
    )
    .answers(&[Success, ErrorInput, ErrorRec, ErrorRtt, ErrorDevice, Incomplete]),
    Form::new(
        D::SINCE_BET1,
        0x163,
        Stateful,
        &[p(1, "rd", Pa), p(2, "rec", Pa), p(3, "base", Ipa), p(4, "top", Ipa)],
        &[p(1, "out_top", Ipa)],
    )
    .answers(&[Success, ErrorInput, ErrorRec, ErrorRtt, ErrorDevice, Incomplete]),
];
pub(super) const RTT_FOLD: &[Form] = &[
    Form::new(
        D::V1_0,
        0x166,
        Immediate,
        &[p(1, "rd", Pa), p(2, "ipa", Ipa), p(3, "level", Level)],
        &[p(1, "rtt", Pa)],
    )
    .answers(&[Success, ErrorInput, ErrorRtt]),
    Form::new(
        D::EVERY_2_0,
        0x166,
        Stateful,
        &[p(1, "rd", Pa), p(2, "ipa", Ipa), p(3, "level", Level)],
        &[p(1, "rtt", Pa)],
    )
    .answers(&[Success, ErrorInput, ErrorRtt, Incomplete]),
];
pub(super) const RTT_INIT_RIPAS: &[Form] = &[
    Form::new(
        D::V1_0,
        0x168,
        Immediate,
        &[p(1, "rd", Pa), p(2, "base", Ipa), p(3, "top", Ipa)],
        &[p(1, "out_top", Ipa)],
    )
    .answers(&[Success, ErrorInput, ErrorRealm, ErrorRtt]),
    Form::new(
        D::EVERY_2_0,
        0x168,
        Stateful,
        &[p(1, "rd", Pa), p(2, "base", Ipa), p(3, "top", Ipa)],
        &[p(1, "out_top", Ipa)],
    )
    .answers(&[Success, ErrorInput, ErrorRealm, ErrorRtt, Incomplete]),
];
pub(super) const RTT_SET_RIPAS: &[Form] = &[
    Form::new(
        D::V1_0,
        0x169,
        Immediate,
        &[p(1, "rd", Pa), p(2, "rec_ptr", Pa), p(3, "base", Ipa), p(4, "top", Ipa)],
        &[p(1, "out_top", Ipa)],
    )
    .answers(&[Success, ErrorInput, ErrorRec, ErrorRtt]),
    Form::new(
        D::EVERY_2_0,
        0x169,
        Stateful,
        &[p(1, "rd", Pa), p(2, "rec", Pa), p(3, "base", Ipa), p(4, "top", Ipa)],
        &[p(1, "out_top", Ipa)],
    )
    .answers(&[Success, ErrorInput, ErrorRec, ErrorRtt, ErrorRttAux, Incomplete]),
];
pub(super) const RTT_SET_S2AP: &[Form] = &[Form::new(
    D::EVERY_2_0,
    0x18b,
    Stateful,
    &[p(1, "rd", Pa), p(2, "rec", Pa), p(3, "base", Ipa), p(4, "top", Ipa)],
    &[p(1, "out_top", Ipa), p(2, "rtt_tree", UInt)],
)
.answers(&[Success, ErrorInput, ErrorRec, ErrorRtt, ErrorRttAux, Incomplete])];
pub(super) const RTT_DATA_MAP: &[Form] = &[Form::new(
    D::EVERY_2_0,
    0x1f5,
    Stateful,
    &[
        p(1, "rd", Pa),
        p(2, "base", Ipa),
        p(3, "top", Ipa),
        p(4, "flags", RttProtMapFlags),
        p(5, "oaddr", AddrSetDesc),
    ],
    &[p(1, "out_top", Ipa)],
)
.answers(&[Success, ErrorInput, ErrorRealm, ErrorRtt, ErrorDpt, Busy, ErrorTracking, Incomplete])];
pub(super) const RTT_DATA_UNMAP: &[Form] = &[Form::new(
    D::EVERY_2_0,
    0x1f6,
    Stateful,
    &[
        p(1, "rd", Pa),
        p(2, "base", Ipa),
        p(3, "top", Ipa),
        p(4, "flags", RttUnmapFlags),
        p(5, "oaddr", AddrSetDesc),
    ],
    &[p(1, "out_top", Ipa), p(2, "out_range", AddrRangeDesc), p(3, "out_count", UInt)],
)
.answers(&[Success, ErrorInput, ErrorRtt, ErrorRttAux, Incomplete])];
pub(super) const RTT_DEV_MAP: &[Form] = &[Form::new(
    D::EVERY_2_0,
    0x1f7,
    Stateful,
    &[
        p(1, "rd", Pa),
        p(2, "vdev", Pa),
        p(3, "base", Ipa),
        p(4, "top", Ipa),
        p(5, "flags", RttProtMapFlags),
        p(6, "oaddr", AddrSetDesc),
    ],
    &[p(1, "out_top", Ipa)],
)
.answers(&[Success, ErrorInput, ErrorRtt, ErrorNotSupported, Busy, ErrorTracking, Incomplete])];
pub(super) const RTT_DEV_UNMAP: &[Form] = &[Form::new(
    D::EVERY_2_0,
    0x1f8,
    Stateful,
    &[
        p(1, "rd", Pa),
        p(2, "base", Ipa),
        p(3, "top", Ipa),
        p(4, "flags", RttUnmapFlags),
        p(5, "oaddr", AddrSetDesc),
    ],
    &[p(1, "out_top", Ipa), p(2, "out_range", AddrRangeDesc), p(3, "out_count", UInt)],
)
.answers(&[Success, ErrorInput, ErrorRtt, ErrorNotSupported, Incomplete])];
pub(super) const RTT_ARCH_DEV_MAP: &[Form] = &[Form::new(
    D::BETAS,
    0x1f9,
    Immediate,
    &[p(1, "rd", Pa), p(2, "dev_ptr", Pa), p(3, "base", Ipa), p(4, "top", Ipa)],
    &[p(1, "out_top", Ipa)],
)
.answers(&[Success, ErrorInput, ErrorRtt, ErrorNotSupported])
.unsure(D::BETAS)];
pub(super) const RTT_ARCH_DEV_UNMAP: &[Form] = &[Form::new(
    D::BETAS,
    0x1fa,
    Immediate,
    &[p(1, "rd", Pa), p(2, "dev_ptr", Pa), p(3, "base", Ipa), p(4, "top", Ipa)],
    &[p(1, "out_top", Ipa)],
)
.answers(&[Success, ErrorNotSupported])
.unsure(D::BETAS)];
pub(super) const RTT_UNPROT_MAP: &[Form] = &[Form::new(
    D::EVERY_2_0,
    0x1fb,
    Stateful,
    &[
        p(1, "rd", Pa),
        p(2, "base", Ipa),
        p(3, "top", Ipa),
        p(4, "flags", RttUnprotMapFlags),
        p(5, "oaddr", AddrSetDesc),
    ],
    &[p(1, "out_top", Ipa)],
)
.answers(&[Success, ErrorInput, ErrorRealm, ErrorRtt, Incomplete])];
pub(super) const RTT_UNPROT_UNMAP: &[Form] = &[Form::new(
    D::EVERY_2_0,
    0x1fc,
    Stateful,
    &[
        p(1, "rd", Pa),
        p(2, "base", Ipa),
        p(3, "top", Ipa),
        p(4, "flags", RttUnmapFlags),
        p(5, "oaddr", AddrSetDesc),
    ],
    &[p(1, "out_top", Ipa), p(2, "out_range", AddrRangeDesc), p(3, "out_count", UInt)],
)
.answers(&[Success, ErrorInput, ErrorRtt, Incomplete])];
