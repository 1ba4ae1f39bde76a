//! Exits that a program causes on demand: each reason of the dialect, and those that no dialect
//! has.

use std::sync::{Arc, Mutex};

use rmi_abi::run::{ExitReason, RecEnterFlags};
use rmi_abi::{Dialect, Ipa, Status};
use rmm_model::{Action, DeviceRequest, ForgedExit, GuestCpu, Options};

use crate::host::{ALL, DIALECTS, Host};

type Seen = Arc<Mutex<Vec<[u64; 4]>>>;

/// The program, and X0 to X3 before each of its actions.
fn watched(actions: Vec<Action>) -> (impl FnMut(&GuestCpu) -> Action, Seen) {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let mut actions = actions.into_iter();
    let guest = move |cpu: &GuestCpu| {
        let [a, b, c, d, ..] = cpu.x;
        log.lock().unwrap().push([a, b, c, d]);
        actions.next().unwrap_or(Action::Spin)
    };
    (guest, seen)
}

fn mapping(base: u64, top: u64) -> DeviceRequest {
    DeviceRequest::ValidateMapping { id: 5, base: Ipa::new(base), top: Ipa::new(top), pa: 0x7000 }
}

#[test]
fn each_request_about_a_device_where_the_dialect_has_it() {
    for dialect in DIALECTS {
        for request in [
            DeviceRequest::Vdev { id: 0x11 },
            mapping(0x1000, 0x3000),
            DeviceRequest::P2pBinding { ids: [0x21, 0x22] },
            DeviceRequest::VsmmuCommand { vsmmu: 0x9000 },
        ] {
            let host = Host::new(Options::new(dialect));
            let (guest, seen) = watched(vec![Action::Device(request)]);
            let running = host.running(guest);
            let (reason, exit) = running.enter(0, &[]);
            let is_absent = match (request, dialect) {
                (DeviceRequest::ValidateMapping { .. }, _) => false,
                (DeviceRequest::VsmmuCommand { .. }, dialect) => dialect == Dialect::TfRmm2026_07,
                (DeviceRequest::P2pBinding { .. }, Dialect::V2_0Bet1) => true,
                (_, dialect) => dialect == Dialect::V2_0Bet3,
            };
            if is_absent {
                assert_eq!((reason, seen.lock().unwrap()[1]), (ExitReason::Fiq, [!0, 0, 0, 0]));
                continue;
            }
            assert_eq!(reason, request.reason());
            let fields = [exit.vdev_id_1, exit.vdev_id_2, exit.vsmmu, exit.dev_mem_base];
            let (expected, x) = match request {
                DeviceRequest::Vdev { .. } => ([0x11, 0, 0, 0], [1, 0, 0, 0]),
                DeviceRequest::ValidateMapping { .. } => ([5, 0, 0, 0x1000], [0, 0x1000, 0, 0]),
                DeviceRequest::P2pBinding { .. } => ([0x21, 0x22, 0, 0], [1, 0, 0, 0]),
                DeviceRequest::VsmmuCommand { .. } => ([0, 0, 0x9000, 0], [0; 4]),
            };
            assert_eq!(fields, expected);
            let is_mapping = expected[3] != 0;
            let (top, pa) = if is_mapping { (0x3000, 0x7000) } else { (0, 0) };
            assert_eq!((exit.dev_mem_top, exit.dev_mem_pa), (top, pa));
            assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq);
            assert_eq!(seen.lock().unwrap()[1], x);
        }
    }
}

#[test]
fn a_mapping_is_rejected_unless_it_is_complete() {
    for dialect in DIALECTS {
        let host = Host::new(Options::new(dialect));
        let (guest, seen) = watched(vec![
            Action::Device(mapping(0x1000, 0x3000)),
            Action::Device(mapping(0x3000, 0x3000)),
        ]);
        let running = host.running(guest);
        running.enter(0, &[]);
        let reject = RecEnterFlags::DEV_MEM_REJECT.bits();
        assert_eq!(running.enter(reject, &[]).0, ExitReason::VdevValidateMapping);
        running.enter(reject, &[]);
        assert_eq!(seen.lock().unwrap()[1..3], [[0, 0x1000, 1, 0], [0, 0x3000, 0, 0]]);
    }
}

#[test]
fn a_forged_record_has_every_field() {
    for dialect in ALL {
        let host = Host::new(Options::new(dialect));
        let forged = ForgedExit {
            exit_reason: 0xfe,
            esr: 1,
            far: 2,
            hpfar: 3,
            rtt_tree: 4,
            gprs: [5, 6, 7, 8],
            ripas_base: 9,
            ripas_top: 10,
            ripas_value: 11,
            s2ap_base: 12,
            s2ap_top: 13,
            vdev_ids: [14, 15],
            dev_mem_base: 16,
            dev_mem_top: 17,
            dev_mem_pa: 18,
            imm: 19,
            plane: 20,
            pmu_ovf_status: 21,
            vsmmu: 22,
        };
        let psci = ForgedExit::psci(0x8400_0015, [1, 2, 3]);
        let (guest, seen) = watched(vec![Action::Forge(forged), Action::Forge(psci)]);
        let running = host.running(guest);
        let (reason, exit) = running.enter(0, &[]);
        assert_eq!(reason, ExitReason::Unknown(0xfe));
        let [x0, x1, x2, x3, x4, ..] = exit.gprs;
        let fields = [
            exit.esr,
            exit.far,
            exit.hpfar,
            exit.rtt_tree,
            x0,
            x1,
            x2,
            x3,
            exit.ripas_base,
            exit.ripas_top,
            exit.ripas_value.into(),
            exit.s2ap_base,
            exit.s2ap_top,
            exit.vdev_id_1,
            exit.vdev_id_2,
            exit.dev_mem_base,
            exit.dev_mem_top,
            exit.dev_mem_pa,
            exit.imm.into(),
            exit.plane,
            exit.pmu_ovf_status.into(),
            exit.vsmmu,
        ];
        assert_eq!((fields, x4), (core::array::from_fn(|n| n as u64 + 1), 0));
        // Nothing is pending: no answer is possible, and the program goes on.
        running.refused(RecEnterFlags::EMUL_MMIO.bits(), Status::ErrorRec);
        let (reason, exit) = running.enter(0, &[9]);
        assert_eq!(
            (reason, exit.gprs[..5].to_vec()),
            (ExitReason::Psci, vec![0x8400_0015, 1, 2, 3, 0])
        );
        assert_eq!(running.enter(0, &[9]).0, ExitReason::Fiq);
        assert_eq!(*seen.lock().unwrap(), [[0; 4]; 3]);
    }
}
