//! Requests about devices: their fields, and what the Realm sees of the answers.

use std::sync::mpsc;

use rec_runtime::exit::{VdevMapping, VdevRequest};
use rec_runtime::{Answer, Exit, Rec, Timers};
use rmi_abi::rtt::Geometry;
use rmi_abi::run::{ExitReason, RecExit};
use rmi_abi::{Command, Dialect, Ipa, IpaRange, Pa, PaRange, Status};
use rmi_host::Error;
use rmi_host::command::VdevGranule;
use rmm_model::{DeviceRequest, GuestCpu};
use test_support::Crafted;
use zerocopy::FromZeros;

use crate::fixture::{Action, DIALECTS, Fixture, RAM, on, sync};

/// Makes a request, has `answer` answer its exit, and returns X0 to X2 as the Realm sees them.
fn request(
    dialect: Dialect,
    request: DeviceRequest,
    answer: impl FnOnce(&mut Fixture<'_, '_>, &Rec, Exit) -> Answer,
) -> [u64; 3] {
    let (results, seen) = mpsc::channel();
    let mut action = Some(Action::Device(request));
    let guest = move |cpu: &GuestCpu| {
        action.take().unwrap_or_else(|| {
            let [x0, x1, x2, ..] = cpu.x;
            results.send([x0, x1, x2]).unwrap();
            Action::Spin
        })
    };
    on(dialect, |fixture| {
        fixture.realm(vec![Box::new(guest)], |fixture, _, recs| {
            let [rec] = &mut recs[..] else { panic!() };
            let exit = fixture.enter(rec, Answer::resume());
            assert!(exit.wants_answer(), "{exit:?}");
            let answer = answer(fixture, rec, exit);
            assert!(matches!(fixture.enter(rec, answer), Exit::Fiq));
        });
    });
    seen.recv().unwrap()
}

fn mapping(exit: Exit) -> VdevMapping {
    let Exit::VdevMapping(mapping) = exit else { panic!("{exit:?}") };
    mapping
}

#[test]
fn a_mapping_has_a_range_and_the_memory_of_a_device() {
    let (base, top) = (RAM, Ipa::new(RAM.raw() + 0x3000));
    let with_devices = |dialect: &Dialect| Command::VdevCreate.form(*dialect).is_some();
    for dialect in DIALECTS.into_iter().filter(with_devices) {
        for is_rejected in [false, true] {
            let asked = DeviceRequest::ValidateMapping { id: 7, base, top, pa: 0x1000_0000 };
            let x = request(dialect, asked, |_, _, exit| {
                let mapping = mapping(exit);
                assert_eq!(mapping.vdev_id(), 7);
                assert_eq!(mapping.range(), IpaRange::new(base, top).unwrap());
                assert_eq!(mapping.pa(), Pa::new(0x1000_0000));
                let memory = PaRange::with_size(Pa::new(0x1000_0000), 0x3000).unwrap();
                assert_eq!(mapping.memory(), Some(memory));
                if is_rejected { mapping.reject() } else { mapping.accept() }
            });
            // Nothing was validated: X1 is the base.
            assert_eq!(x, [0, base.raw(), u64::from(is_rejected)]);
        }
    }
}

#[test]
fn a_mapping_that_is_none_can_be_answered() {
    let machine = Crafted::new(Dialect::V2_0Bet3);
    machine.with_rec(|rmm, object, page, _| {
        let rec = Rec::new(object, page, Geometry::new(40).unwrap());
        let mut record = RecExit::new_zeroed();
        record.exit_reason = 8;
        let mut answer = Answer::resume();
        for (base, top, pa, is_range, is_memory) in [
            (0x1000, 0x3000, u64::MAX << 12, true, false),
            (0x1000, 0x3000, u64::MAX << 13, true, false),
            (0x1000, 0x3000, 0xfff_ffff_f000, true, true),
            (0x3000, 0x1000, 0x1000, false, true),
            (0x1001, 0x3000, 0x1000, false, true),
        ] {
            (record.dev_mem_base, record.dev_mem_top, record.dev_mem_pa) = (base, top, pa);
            machine.exits_with(&record);
            let mapping = mapping(rec.enter(rmm, answer).unwrap().exit);
            assert_eq!(!mapping.range().is_empty(), is_range, "{base:#x} {top:#x}");
            assert_eq!(mapping.memory().is_some(), is_memory, "{pa:#x}");
            answer = mapping.reject();
        }
    });
}

#[test]
fn a_device_that_is_not_named_fails_the_call_of_the_realm() {
    let asked = DeviceRequest::Vdev { id: 0x11 };
    let x = request(Dialect::TfRmm2026_07, asked, |_, _, exit| {
        let Exit::VdevRequest(request) = exit else { panic!("{exit:?}") };
        assert_eq!(request.vdev_id(), 0x11);
        request.reject()
    });
    assert_eq!(x[0], 1);
}

#[test]
fn a_binding_names_two_devices() {
    let asked = DeviceRequest::P2pBinding { ids: [0x21, 0x22] };
    let x = request(Dialect::TfRmm2026_07, asked, |_, _, exit| {
        let Exit::P2pBinding(binding) = exit else { panic!("{exit:?}") };
        assert_eq!(binding.vdev_ids(), [0x21, 0x22]);
        binding.reject()
    });
    assert_eq!(x[0], 1);
}

#[test]
fn a_command_for_a_virtual_smmu_has_its_address() {
    let asked = DeviceRequest::VsmmuCommand { vsmmu: 0x9000 };
    let _ = request(Dialect::V2_0Bet3, asked, |_, _, exit| {
        let Exit::VsmmuCommand(command) = exit else { panic!("{exit:?}") };
        assert_eq!(command.vsmmu(), Pa::new(0x9000));
        command.completed()
    });
}

fn record(reason: ExitReason, dialect: Dialect) -> RecExit {
    let mut record = RecExit::new_zeroed();
    record.exit_reason = reason.encode(dialect).unwrap();
    record
}

/// A REC that exits with a request for a device while the timer's interrupt is raised.
fn requested(
    test: impl Fn(
        &Crafted,
        &dyn Fn(Answer) -> (Exit, Timers),
        (&Rec, VdevRequest),
        &dyn Fn(VdevRequest, &Rec) -> Result<Answer, Error>,
    ),
) {
    for dialect in [Dialect::V2_0Bet0, Dialect::V2_0Bet1, Dialect::TfRmm2026_07] {
        let machine = Crafted::new(dialect);
        machine.with_rec(|rmm, object, page, mut rest| {
            let rec = Rec::new(object, page, Geometry::new(40).unwrap());
            let vdev = VdevGranule::new(rmm.delegate(rest.take_front(0x1000).unwrap()).unwrap());
            let enter = |answer| {
                let event = rec.enter(rmm, answer).unwrap();
                (event.exit, event.timers)
            };
            let mut exit = record(ExitReason::VdevRequest, dialect);
            (exit.cntv_ctl, exit.cntv_cval) = (5, 1000);
            machine.exits_with(&exit);
            let (exit, timers) = enter(Answer::resume());
            assert!(timers.virtual_timer.is_raised());
            let Exit::VdevRequest(request) = exit else { panic!("{exit:?}") };
            let accept = |request: VdevRequest, rec: &Rec| {
                request.accept(rmm, rec, &vdev).map_err(|failed| failed.error)
            };
            test(&machine, &enter, (&rec, request), &accept);
        });
    }
}

/// What follows a named device may come before the REC runs: the RMM then reports no timers, and
/// they are as before.
#[test]
fn a_timer_stays_raised_until_the_rec_has_run() {
    requested(|machine, enter, (rec, request), accept| {
        let calls = machine.calls();
        let answer = accept(request, rec).unwrap();
        assert_eq!(machine.calls(), calls + 1);
        // The Realm's buffer is not mapped, twice.
        machine.exits_with(&sync(0x24 << 26 | 7, RAM.raw() >> 8));
        let (exit, timers) = enter(answer);
        assert!(timers.virtual_timer.is_raised());
        let Exit::Fault(fault) = exit else { panic!("{exit:?}") };
        let (exit, timers) = enter(fault.retry());
        assert!(timers.virtual_timer.is_raised());
        let Exit::Fault(fault) = exit else { panic!("{exit:?}") };
        // The REC has run and turned its timer off.
        machine.exits_with(&record(ExitReason::Irq, machine.dialect()));
        let (exit, timers) = enter(fault.retry());
        assert!(matches!(exit, Exit::Irq) && !timers.virtual_timer.is_raised());
    });
}

#[test]
fn a_mapping_may_follow_a_named_device_at_once() {
    requested(|machine, enter, (rec, request), accept| {
        let answer = accept(request, rec).unwrap();
        machine.exits_with(&record(ExitReason::VdevValidateMapping, machine.dialect()));
        let (exit, timers) = enter(answer);
        assert!(timers.virtual_timer.is_raised());
        // After its answer the REC runs.
        machine.exits_with(&sync(0x24 << 26 | 7, RAM.raw() >> 8));
        let (_, timers) = enter(mapping(exit).accept());
        assert!(!timers.virtual_timer.is_raised());
    });
}

#[test]
fn timers_that_are_reported_count() {
    requested(|machine, enter, (_, request), _| {
        let mut exit = sync(0x24 << 26 | 7, RAM.raw() >> 8);
        exit.cntv_ctl = 1;
        machine.exits_with(&exit);
        let (exit, timers) = enter(request.completed());
        assert!(!timers.virtual_timer.is_raised());
        // From now on that is the last state.
        let Exit::Fault(fault) = exit else { panic!("{exit:?}") };
        machine.exits_with(&sync(0x24 << 26 | 7, RAM.raw() >> 8));
        let (_, timers) = enter(fault.retry());
        assert_eq!(timers.virtual_timer.ctl, 1);
    });
}

#[test]
fn a_rejected_request_is_followed_by_a_run() {
    requested(|machine, enter, (_, request), _| {
        machine.exits_with(&sync(0x24 << 26 | 7, RAM.raw() >> 8));
        let (_, timers) = enter(request.reject());
        assert!(!timers.virtual_timer.is_raised());
    });
}

#[test]
fn a_device_is_named_for_the_rec_that_asks() {
    requested(|machine, enter, (rec, request), accept| {
        let answer = request.completed();
        let number = answer.exit();
        machine.exits_with(&record(ExitReason::VdevRequest, machine.dialect()));
        let (exit, _) = enter(answer);
        let Exit::VdevRequest(second) = exit else { panic!("{exit:?}") };
        // The RMM refuses; the request is not used up.
        machine.refuses_with(u8::from(Status::ErrorDevice).into());
        let error = accept(second, rec).unwrap_err();
        assert_eq!(error.status(), Some(Status::ErrorDevice));
        assert_ne!(number, None);
        // No other REC waits for it.
        let elsewhere = Crafted::new(machine.dialect());
        elsewhere.exits_with(&record(ExitReason::VdevRequest, machine.dialect()));
        elsewhere.with_rec(|rmm, object, page, _| {
            let other = Rec::new(object, page, Geometry::new(40).unwrap());
            let exit = other.enter(rmm, Answer::resume()).unwrap().exit;
            let Exit::VdevRequest(request) = exit else { panic!("{exit:?}") };
            let calls = machine.calls();
            assert!(matches!(accept(request, rec), Err(Error::Argument { .. })));
            assert_eq!(machine.calls(), calls);
        });
    });
}
