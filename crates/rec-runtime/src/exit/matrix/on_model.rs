//! The dialects that the model has: it accepts every answer.

use std::format;
use std::vec;

use realm_builder::{Realm, RealmConfig, RealmStorage, RecStart};
use rmi_abi::Ipa;
use rmi_abi::esr::{AbortSeverity, SysReg};
use rmi_abi::rtt::Ripas;
use rmi_abi::run::ExitReason;
use rmm_model::{Action, DeviceRequest, ForgedExit, Model, Options, Script};

use super::*;
use crate::set::ExitKind;

/// Programs of one action, each with the kind of exit that it causes.
fn programs(dialect: Dialect) -> Vec<(ExitKind, Action)> {
    let (ram, device) = (Ipa::new(RAM), Ipa::new(DEVICE));
    let sync = |esr, ipa: u64| Action::Sync { esr, far: 0, hpfar: ipa >> 12 << 4 };
    // Without memory there, the Realm would take the abort itself.
    let forge_sync = |esr, ipa: u64| {
        Action::Forge(ForgedExit { esr, hpfar: ipa >> 12 << 4, ..ForgedExit::new(0) })
    };
    let set_ripas = |ripas| Action::ipa_state_set(ram, Ipa::new(RAM + 0x1000), ripas, 0);
    let sgi1r = SysReg { op0: 3, op1: 0, crn: 12, crm: 11, op2: 5 };
    let forge =
        |reason: ExitReason| Action::Forge(ForgedExit::new(reason.encode(dialect).unwrap()));
    let mut all = vec![
        (ExitKind::MmioLoad, Action::Load { ipa: device, bytes: 4 }),
        (ExitKind::MmioStore, Action::Store { ipa: device, bytes: 4, value: 5 }),
        (ExitKind::Fault, forge_sync(DATA_ABORT | TRANSLATION_L3, RAM)),
        (ExitKind::SharedFault, sync(DATA_ABORT | TRANSLATION_L3, DEVICE)),
        (ExitKind::MemoryError, Action::memory_error(false, AbortSeverity::Recoverable)),
        (ExitKind::Abort, forge_sync(DATA_ABORT | 0xf, RAM)),
        (ExitKind::SysRegRead, forge_sync(SYSREG | 1, 0)),
        (ExitKind::SysRegWrite, Action::SysRegWrite { register: sgi1r, value: 7 }),
        (ExitKind::Wait, Action::Wfi),
        (ExitKind::Irq, Action::Interrupt),
        (ExitKind::Fiq, Action::Fiq),
        (ExitKind::PsciRequest, Action::psci_cpu_on(1, RAM, 0)),
        (ExitKind::PsciNotice, Action::psci_cpu_suspend()),
        (ExitKind::RipasChange, set_ripas(Ripas::Ram)),
        (ExitKind::RipasChange, set_ripas(Ripas::Empty)),
        (ExitKind::HostCall, forge(ExitReason::HostCall)),
        (ExitKind::SError, Action::SError { esr: 0x2f << 26 }),
        (ExitKind::UnknownSync, forge_sync(0x3c << 26, 0)),
        (ExitKind::Unknown, Action::Forge(ForgedExit::new(0x7f))),
    ];
    let mapping = DeviceRequest::ValidateMapping { id: 1, base: ram, top: ram, pa: 0 };
    let command = DeviceRequest::VsmmuCommand { vsmmu: 0x9000 };
    let binding = DeviceRequest::P2pBinding { ids: [1, 2] };
    if ExitReason::S2apChange.encode(dialect).is_some() {
        all.push((ExitKind::S2apChange, forge(ExitReason::S2apChange)));
    }
    for (reason, kind, request) in [
        (ExitReason::VdevValidateMapping, ExitKind::VdevMapping, mapping),
        (ExitReason::VsmmuCommand, ExitKind::VsmmuCommand, command),
        (ExitReason::VdevRequest, ExitKind::VdevRequest, DeviceRequest::Vdev { id: 1 }),
        (ExitReason::VdevP2pBinding, ExitKind::P2pBinding, binding),
    ] {
        if reason.encode(dialect).is_some() {
            all.push((kind, Action::Device(request)));
        }
    }
    if dialect.affinity_info_exits() {
        all.push((ExitKind::PsciRequest, Action::psci_affinity_info(1)));
    }
    all
}

/// Runs a Realm whose first REC does an action, and gives the `n`th answer to its exit; whether
/// there is one.
fn cell(dialect: Dialect, (kind, action): (ExitKind, Action), n: usize, foreign: &Answer) -> bool {
    let model = Model::new(Options::new(dialect)).unwrap();
    let mut memory = model.take_memory();
    let mut pool = test_support::pool::<16>(&mut memory, 128 << 12);
    let rmm = test_support::open(model.host(), &mut pool);
    let mut storage = RealmStorage::<16, 8>::new();
    let config = RealmConfig::new(40);
    let mut realm = Realm::create(&rmm, &config, &mut storage, &mut pool).unwrap();
    let [first, second] = [true, false].map(|runnable| {
        let start = RecStart { runnable, pc: Ipa::new(RAM), gprs: [0; 8] };
        realm.create_rec(&mut pool, &start).unwrap()
    });
    model.set_guest(realm.rd().pa(), 0, Box::new(Script::new(vec![action])));
    let realm = realm.activate().unwrap();
    let mut page = || memory.take_front(0x1000).unwrap();
    let rec = Rec::new(first, page(), realm.geometry());
    let target = Rec::new(second, page(), realm.geometry());
    let vdev = VdevGranule::new(rmm.delegate(page()).unwrap());
    let calls = || model.calls();
    let scene =
        Scene { rmm: &rmm, rec: &rec, target: &target, vdev: &vdev, calls: &calls, refuse: None };

    rec.trap_waiting(true, true).unwrap();
    let exit = rec.enter(&rmm, Answer::resume()).unwrap().exit;
    assert_eq!(ExitKind::of(&exit), kind, "{dialect}: {exit:?}");
    let ((method, answer, _), is_there) = answered(&scene, exit, n, foreign);
    let before = model.calls();
    let entered = rec.enter(&rmm, answer.clone());
    let event = entered.unwrap_or_else(|failed| panic!("{dialect} {method:?}: {}", failed.error));
    assert_eq!(model.calls(), before + 1, "{dialect} {kind:?} {method:?}");
    // The RMM has run it: the next exit is another one.
    let next = event.exit;
    let awaiting = rec.awaiting();
    assert_ne!(awaiting, Awaiting::Unknown, "{next:?}");
    if answer.exit().is_some() {
        refused(&scene, &answer, EnterError::WrongAnswer);
    }
    drop(next);
    is_there
}

#[test]
fn the_rmm_accepts_every_answer() {
    let foreign = foreign();
    for dialect in Dialect::ALL {
        let mut seen = BTreeSet::new();
        for program in programs(dialect) {
            seen.insert(format!("{:?}", program.0));
            for n in 0.. {
                if !cell(dialect, program, n, &foreign) {
                    break;
                }
            }
        }
        assert_eq!(seen, replayed::kinds(dialect));
    }
}
