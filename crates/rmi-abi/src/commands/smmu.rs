//! Register forms of SMMU commands.

use super::form::{
    Effect::{Immediate, Transfer},
    Form,
    ParamType::{
        Address, Bits, Pa, PsmmuIrq, PsmmuIrqResult, PsmmuIrqSet, UInt, VsmmuCmdFlags,
        VsmmuEventFlags,
    },
    p,
};
use crate::dialect::DialectSet;
use crate::result::Status::{
    ErrorInput, ErrorNotSupported, ErrorPsmmuSt, ErrorRealm, ErrorTracking, Incomplete, Success,
};

use DialectSet as D;

pub(super) const VSMMU_CREATE: &[Form] = &[Form::new(
    D::BETAS,
    0x16a,
    Transfer,
    &[p(1, "rd", Pa), p(2, "vsmmu", Pa), p(3, "params_ptr", Pa)],
    &[],
)
.answers(&[Success, ErrorInput, ErrorRealm, ErrorNotSupported, ErrorTracking, Incomplete])
.unsure(D::BETAS)];
pub(super) const VSMMU_DESTROY: &[Form] =
    &[Form::new(D::BETAS, 0x16b, Transfer, &[p(1, "rd", Pa), p(2, "vsmmu", Pa)], &[])
        .answers(&[Success, ErrorNotSupported, Incomplete])
        .unsure(D::BETAS)];
pub(super) const PSMMU_IRQ_NOTIFY: &[Form] = &[
    Form::new(
        D::BET0,
        0x16f,
        Immediate,
        &[p(1, "psmmu", Pa), p(2, "irqs", PsmmuIrqSet)],
        &[
            p(1, "result", PsmmuIrqResult),
            p(2, "event_num", UInt),
            p(3, "sid", Bits),
            p(4, "fetch_addr", Address),
            p(5, "input_addr", Address),
            p(6, "fipa", Address),
            p(7, "syndrome", Bits),
        ],
    )
    .answers(&[Success, ErrorInput, ErrorNotSupported])
    .unsure(D::BET0),
    Form::new(
        D::BET1.and(D::BET3),
        0x16f,
        Immediate,
        &[p(1, "psmmu", Pa), p(2, "irqs", PsmmuIrqSet)],
        &[
            p(1, "result", PsmmuIrqResult),
            p(2, "event_num", UInt),
            p(3, "sid", Bits),
            p(4, "fetch_addr", Address),
            p(5, "input_addr", Address),
            p(6, "syndrome", Bits),
        ],
    )
    .answers(&[Success, ErrorInput, ErrorNotSupported])
    .unsure(D::BET1.and(D::BET3)),
];
pub(super) const VSMMU_EVENT_NOTIFY: &[Form] = &[Form::new(
    D::BET0.and(D::BET1),
    0x1d6,
    Immediate,
    &[p(1, "psmmu", Pa), p(2, "rd", Pa), p(3, "vsmmu", Pa), p(4, "pdev", Pa), p(5, "vdev", Pa)],
    &[
        p(1, "flags", VsmmuEventFlags),
        p(2, "msi_addr", Address),
        p(3, "msi_data", Bits),
        p(4, "fipa", Address),
        p(5, "syndrome", Bits),
    ],
)
.answers(&[Success, ErrorInput, ErrorRealm, ErrorNotSupported])
.unsure(D::BET0.and(D::BET1))];
pub(super) const VSMMU_EVENT_HANDLE: &[Form] = &[Form::new(
    D::BET3,
    0x1d6,
    Immediate,
    &[p(1, "rd", Pa), p(2, "vsmmu", Pa), p(3, "pdev", Pa), p(4, "vdev", Pa)],
    &[
        p(1, "flags", VsmmuEventFlags),
        p(2, "msi_addr", Address),
        p(3, "msi_data", Bits),
        p(4, "fipa", Address),
        p(5, "syndrome", Bits),
    ],
)
.answers(&[Success, ErrorInput, ErrorRealm, ErrorNotSupported])
.unsure(D::BET3)];
pub(super) const PSMMU_ACTIVATE: &[Form] =
    &[Form::new(D::EVERY_2_0, 0x1d7, Transfer, &[p(1, "psmmu", Pa), p(2, "params_ptr", Pa)], &[])
        .answers(&[Success, ErrorInput, ErrorNotSupported, Incomplete])];
pub(super) const PSMMU_DEACTIVATE: &[Form] =
    &[Form::new(D::EVERY_2_0, 0x1d8, Transfer, &[p(1, "psmmu", Pa)], &[]).answers(&[
        Success,
        ErrorInput,
        ErrorNotSupported,
        Incomplete,
    ])];
pub(super) const PSMMU_ST_L2_CREATE: &[Form] =
    &[Form::new(D::EVERY_2_0, 0x1db, Transfer, &[p(1, "psmmu", Pa), p(2, "sid", Bits)], &[])
        .answers(&[Success, ErrorInput, ErrorNotSupported, ErrorPsmmuSt, Incomplete])];
pub(super) const PSMMU_ST_L2_DESTROY: &[Form] =
    &[Form::new(D::EVERY_2_0, 0x1dc, Transfer, &[p(1, "psmmu", Pa), p(2, "sid", Bits)], &[])
        .answers(&[Success, ErrorInput, ErrorNotSupported, ErrorPsmmuSt, Incomplete])];
pub(super) const VSMMU_EVENT_COMPLETE: &[Form] = &[Form::new(
    D::BET0,
    0x1ee,
    Immediate,
    &[p(1, "psmmu", Pa), p(2, "rd", Pa), p(3, "rec", Pa), p(4, "psid", Bits)],
    &[],
)
.unsure(D::BET0)];
pub(super) const PSMMU_EVENT_DISCARD: &[Form] =
    &[Form::unknown(D::BET0, 0x1f0, Immediate).unsure(D::BET0)];
pub(super) const PSMMU_EVENT_CONSUME: &[Form] = &[Form::new(
    D::BET1.and(D::BET3),
    0x1f0,
    Immediate,
    &[p(1, "psmmu", Pa), p(2, "irq", PsmmuIrq)],
    &[],
)
.answers(&[Success, ErrorInput, ErrorNotSupported])
.unsure(D::BET1.and(D::BET3))];
pub(super) const VSMMU_FEATURES: &[Form] =
    &[Form::new(D::BET1.and(D::BET3), 0x20b, Immediate, &[p(1, "features_ptr", Pa)], &[])
        .answers(&[Success, ErrorInput])
        .unsure(D::BET1.and(D::BET3))];
pub(super) const VSMMU_CMD_GET: &[Form] = &[Form::new(
    D::BETAS,
    0x20c,
    Immediate,
    &[p(1, "vsmmu", Pa), p(2, "rd", Pa)],
    &[
        p(1, "flags", VsmmuCmdFlags),
        p(2, "vsid", Bits),
        p(3, "msi_addr", Address),
        p(4, "msi_data", Bits),
    ],
)
.answers(&[Success, ErrorInput, ErrorRealm, ErrorNotSupported])
.unsure(D::BETAS)];
pub(super) const VSMMU_CMD_COMPLETE: &[Form] = &[Form::new(
    D::BETAS,
    0x20d,
    Immediate,
    &[p(1, "rd", Pa), p(2, "vsmmu", Pa), p(3, "pdev", Pa), p(4, "vdev", Pa)],
    &[
        p(1, "flags", VsmmuCmdFlags),
        p(2, "vsid", Bits),
        p(3, "msi_addr", Address),
        p(4, "msi_data", Bits),
    ],
)
.answers(&[Success, ErrorInput, ErrorRealm, ErrorNotSupported])
.unsure(D::BETAS)];
pub(super) const PSMMU_INFO: &[Form] =
    &[Form::unknown(D::BET1.and(D::BET3), 0x20e, Immediate).unsure(D::BET1.and(D::BET3))];
