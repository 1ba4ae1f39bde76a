//! All dialects, on a machine that replays exits of any kind.

use std::format;
use std::string::ToString;

use rmi_abi::psci::PsciFunction;
use rmi_abi::rtt::Ripas;
use rmi_abi::run::{ExitReason, RecExit};
use test_support::CraftedHost;
use zerocopy::{FromZeros, IntoBytes};

use super::*;
use crate::set::ExitKind;

/// Records of exits with this code: the fields of its reason, and elsewhere bytes that mean
/// nothing.
pub(super) fn records(code: u8, dialect: Dialect) -> Vec<RecExit> {
    let mut record = RecExit::new_zeroed();
    record.as_mut_bytes().fill(0x5a);
    record.exit_reason = code;
    let with = |change: &dyn Fn(&mut RecExit)| {
        let mut record = record;
        change(&mut record);
        record
    };
    match ExitReason::decode(code, dialect) {
        ExitReason::Sync => [
            (DATA_ABORT | VALID | TRANSLATION_L3, DEVICE),
            (DATA_ABORT | VALID | WRITE | TRANSLATION_L3, DEVICE),
            (DATA_ABORT | TRANSLATION_L3, RAM),
            (FETCH_ABORT | TRANSLATION_L3, RAM),
            (DATA_ABORT | TRANSLATION_L3, DEVICE),
            (DATA_ABORT | 0x10, 0),
            (FETCH_ABORT | TRANSLATION_L3, DEVICE),
            (SYSREG | 1, 0),
            (SYSREG, 0),
            (WFX, 0),
            (WFX | 3, 0),
            (0x3c << 26, 0),
        ]
        .into_iter()
        .map(|(esr, ipa)| with(&|exit| (exit.esr, exit.hpfar) = (esr, ipa >> 12 << 4)))
        .collect(),
        ExitReason::Psci => [
            PsciFunction::CpuOn64,
            PsciFunction::AffinityInfo64,
            PsciFunction::CpuOff,
            PsciFunction::CpuSuspend64,
            PsciFunction::SystemOff,
            PsciFunction::SystemReset,
            PsciFunction::Version,
        ]
        .into_iter()
        .map(|function| with(&|exit| exit.gprs = [u32::from(function).into(); RUN_GPRS]))
        .collect(),
        ExitReason::RipasChange => [Ripas::Ram, Ripas::Empty]
            .into_iter()
            .map(|ripas| {
                with(&|exit| {
                    (exit.ripas_base, exit.ripas_top) = (RAM, RAM + 0x3000);
                    exit.ripas_value = ripas.into();
                })
            })
            .collect(),
        ExitReason::S2apChange => {
            Vec::from([with(&|exit| (exit.s2ap_base, exit.s2ap_top) = (RAM, RAM + 0x1000))])
        }
        ExitReason::VdevValidateMapping => Vec::from([with(&|exit| {
            (exit.dev_mem_base, exit.dev_mem_top) = (RAM, RAM + 0x2000);
            (exit.dev_mem_pa, exit.vdev_id_1) = (0x1000_0000, 7);
        })]),
        ExitReason::VdevRequest | ExitReason::VdevP2pBinding => {
            Vec::from([with(&|exit| (exit.vdev_id_1, exit.vdev_id_2) = (7, 8))])
        }
        ExitReason::VsmmuCommand => Vec::from([with(&|exit| exit.vsmmu = 0x8000_7000)]),
        _ => Vec::from([record]),
    }
}

/// The exits that not every dialect has, and the dialects that have them.
const ONLY_SOME: [(ExitKind, &[Dialect]); 5] = [
    (ExitKind::S2apChange, AFTER_1_0),
    (ExitKind::VdevMapping, AFTER_1_0),
    (ExitKind::VdevRequest, &[Dialect::V2_0Bet0, Dialect::V2_0Bet1, Dialect::TfRmm2026_07]),
    (ExitKind::P2pBinding, &[Dialect::V2_0Bet0, Dialect::TfRmm2026_07]),
    (ExitKind::VsmmuCommand, &[Dialect::V2_0Bet0, Dialect::V2_0Bet1, Dialect::V2_0Bet3]),
];
const AFTER_1_0: &[Dialect] =
    &[Dialect::V2_0Bet0, Dialect::V2_0Bet1, Dialect::TfRmm2026_07, Dialect::V2_0Bet3];

/// The kinds of exits that a dialect has.
pub(super) fn kinds(dialect: Dialect) -> BTreeSet<String> {
    let is_there = |kind: &ExitKind| {
        let some = ONLY_SOME.iter().find(|(only, _)| only == kind);
        some.is_none_or(|(_, dialects)| dialects.contains(&dialect))
    };
    ExitKind::ALL.into_iter().filter(is_there).map(|kind| format!("{kind:?}")).collect()
}

/// Gives the `n`th answer of the exit with this record, after all that the REC refuses. Returns the
/// kind of the exit, and the method that made the answer; `None` if there are not so many answers.
fn cell(
    machine: &Crafted,
    scene: &Scene<'_, CraftedHost<'_>>,
    record: &RecExit,
    n: usize,
    foreign: &Answer,
) -> (ExitKind, Option<Option<&'static str>>) {
    machine.exits_with(record);
    let exit = scene.rec.enter(scene.rmm, Answer::resume()).unwrap().exit;
    let kind = ExitKind::of(&exit);
    // Afterwards the REC waits for nothing.
    let mut irq = RecExit::new_zeroed();
    irq.exit_reason = 1;
    machine.exits_with(&irq);

    let ((method, answer, wire), is_there) = answered(scene, exit, n, foreign);
    let calls = machine.calls();
    let exit = scene.rec.enter(scene.rmm, answer.clone()).unwrap().exit;
    assert!(matches!(exit, Exit::Irq), "{exit:?}");
    assert_eq!(machine.calls(), calls + 1);
    let (flags, gprs) = wire;
    let entry = machine.last_entry();
    assert_eq!(entry.flags, flags.bits(), "{method:?}");
    assert_eq!(entry.gprs[..gprs.len()], gprs, "{method:?}");
    // It answers one exit, once.
    if method.is_some() {
        refused(scene, &answer, EnterError::WrongAnswer);
    }
    (kind, is_there.then_some(method))
}

#[test]
fn every_exit_has_its_answers_in_every_dialect() {
    let foreign = foreign();
    let mut given = BTreeSet::new();
    for dialect in Dialect::ALL {
        let machine = Crafted::new(dialect);
        let mut seen = BTreeSet::new();
        machine.with_rec(|rmm, object, page, mut rest| {
            let rec = &Rec::new(object, page, Geometry::new(40).unwrap());
            let granule = rmm.delegate(rest.take_front(0x1000).unwrap()).unwrap();
            let scene = Scene {
                rmm,
                rec,
                target: rec,
                vdev: &VdevGranule::new(granule),
                calls: &|| machine.calls(),
                refuse: Some(&|status| machine.refuses_with(u8::from(status).into())),
            };
            for record in (0..=u8::MAX).flat_map(|code| records(code, dialect)) {
                for n in 0.. {
                    let (kind, method) = cell(&machine, &scene, &record, n, &foreign);
                    seen.insert(format!("{kind:?}"));
                    let Some(method) = method else { break };
                    given.extend(method.map(ToString::to_string));
                }
            }
        });
        assert_eq!(seen, kinds(dialect), "{dialect}");
    }
    let all = answers_in_the_sources();
    assert_eq!(given, all.iter().map(|(exit, answer)| format!("{exit}::{answer}")).collect());
}
