//! Launches, call by call.

use std::os::fd::{AsFd, OwnedFd};

use realm_measurement::region::LayoutProblem;
use realm_measurement::{MeasurementEvent, Rim};
use rmi_abi::{Dialect, Ipa, Pa};

use super::*;
use crate::errno::Errno;
use crate::memory::tests::{geometry, ram, range};
use crate::recorder::{Recorder, RecorderVcpu, fd};

const BASE: u64 = 0x8000_0000;
const KERNEL: [u8; 0x1800] = [1; 0x1800];
const DTB: [u8; 1] = [2];

/// A slot of 8 pages, and one of 8 after it.
fn memory(calls: &Calls<'_, Recorder>) -> RealmMemory {
    let mut memory = RealmMemory::new(geometry());
    for base in [BASE, BASE + 0x8000] {
        memory.add(calls, fd().as_fd(), ram(base, 0x8000)).unwrap();
    }
    memory
}

/// Content over the end of the first slot, measured, and before it, not measured.
fn regions() -> Vec<RegionLayout<'static>> {
    vec![
        RegionLayout::measured(Ipa::new(BASE + 0x7000), &KERNEL),
        RegionLayout::unspecified(Ipa::new(0), 0x1000),
        RegionLayout::unmeasured(Ipa::new(BASE), &DTB),
    ]
}

fn plan() -> Plan<'static> {
    Plan::new(regions())
}

struct Fixture {
    kernel: Recorder,
    vm: OwnedFd,
    generation: Generation,
}

impl Fixture {
    fn new(generation: Generation) -> Self {
        Self { kernel: Recorder::default(), vm: fd(), generation }
    }

    fn calls(&self) -> Calls<'_, Recorder> {
        Calls::new(&self.kernel, self.generation)
    }

    fn plan(&self, plan: Plan<'static>) -> Result<Configured<'_, 'static, Recorder>, Unplanned> {
        let memory = memory(&self.calls());
        self.kernel.take();
        Configured::new(self.calls(), self.vm.as_fd(), memory, plan)
    }

    fn vcpus(&self) -> Vec<RecorderVcpu> {
        let vcpus = (0..2).map(|id| self.kernel.create_vcpu(self.vm.as_fd(), id).unwrap());
        let vcpus = vcpus.collect();
        self.kernel.take();
        vcpus
    }

    /// All steps, each tried once again when it is refused.
    fn launch(&self, fail: Option<(usize, Errno)>) -> Result<Vec<String>, String> {
        fn again<S: std::fmt::Debug, T, E: std::fmt::Display>(
            result: Result<T, StepError<S, E>>,
            kernel: &Recorder,
            calls: &mut Vec<String>,
            step: impl FnOnce(S) -> Result<T, StepError<S, E>>,
        ) -> Result<T, String> {
            let result = result.or_else(|error| {
                let text = error.to_string();
                calls.append(&mut kernel.take());
                calls.push("refused".to_owned());
                error.into_state().ok_or(text).map(step)?.map_err(|error| error.to_string())
            });
            calls.append(&mut kernel.take());
            result
        }
        let mut calls = Vec::new();
        let vcpus = self.vcpus();
        let kernel = &self.kernel;
        let configured = self.plan(plan()).unwrap();
        kernel.fail.set(fail);
        let created = again(configured.create(), kernel, &mut calls, Configured::create)?;
        let populated = again(created.populate(), kernel, &mut calls, Created::populate)?;
        assert_eq!(populated.populated(), 0x3000);
        let result = populated.activate(&vcpus);
        drop(again(result, kernel, &mut calls, |populated| populated.activate(&vcpus))?);
        Ok(calls)
    }
}

#[test]
fn actions_come_in_their_order() {
    let fixture = Fixture::new(Generation::V10);
    assert_eq!(
        fixture.launch(None).unwrap(),
        [
            "attributes 0x80000000 0x8000 8",
            "attributes 0x80008000 0x8000 8",
            "cap 244 0 0x1 0x0 of 260",
            "cap 244 1 0x0 0x0 of 0",
            "cap 244 2 0x80000000 0x8000 of 32",
            "cap 244 2 0x80008000 0x8000 of 32",
            "cap 244 3 0x80000000 0x1000 of 32",
            "cap 244 3 0x80007000 0x1000 of 32",
            "cap 244 3 0x80008000 0x1000 of 32",
            "discard 0x1000 Remove",
            "discard 0x1000 DontNeed",
            "discard 0x1000 Remove",
            "discard 0x1000 DontNeed",
            "discard 0x1000 Remove",
            "discard 0x1000 DontNeed",
            "finalize 0 9",
            "finalize 1 9",
            "cap 244 4 0x0 0x0 of 0",
        ]
    );
}

#[test]
fn implicit_steps_are_populate_calls() {
    for (generation, request) in [
        (Generation::V12, "0x4020aed7"),
        (Generation::V13, "0xc020aed7"),
        (Generation::V14, "0xc020aed7"),
        (Generation::V15, "0xc020aed7"),
    ] {
        let fixture = Fixture::new(generation);
        let mut calls = fixture.launch(None).unwrap();
        if generation != Generation::V15 {
            let attributes: Vec<_> = calls.drain(..2).collect();
            assert_eq!(
                attributes,
                ["attributes 0x80000000 0x8000 8", "attributes 0x80008000 0x8000 8"]
            );
        }
        // Source and flags; the last page is filled with zeros.
        let expected =
            [(BASE, "0x0", 0x2), (BASE + 0x7000, "0x1", 0x1000), (BASE + 0x8000, "0x1", 0x800)]
                .map(|(base, flags, sum)| {
                    format!("call {request} {base:#x} 0x1000 0x0 {flags} Some((10, 1000, {sum:x}))")
                });
        assert_eq!(calls, expected, "{generation}");
    }
}

#[test]
fn slots_become_ram_after_population_where_that_is_a_call() {
    let numbers = crate::generation::DaV7Numbers::new(254, 0xc040_aed9).unwrap();
    let fixture = Fixture::new(Generation::DaV7(numbers));
    let calls = fixture.launch(None).unwrap();
    assert_eq!(calls.len(), 2 + 3 + 2);
    assert_eq!(
        calls[5..],
        [
            "call 0xc040aed9 0x80000000 0x8000 0x0 0x0 None",
            "call 0xc040aed9 0x80008000 0x8000 0x0 0x0 None"
        ]
    );
    // In place, the attributes are those of the guest_memfd.
    assert!(calls[0].starts_with("call 0xc080aed2 0x0 0x8000 0x8 "));
}

#[test]
fn every_call_fails_once_and_the_step_goes_on_where_it_stopped() {
    let numbers = crate::generation::DaV7Numbers::new(254, 0xc040_aed9).unwrap();
    for generation in Generation::ALL.into_iter().chain([Generation::DaV7(numbers)]) {
        let clean = Fixture::new(generation).launch(None).unwrap();
        for fail in 0..clean.len() {
            // An interrupted call changed nothing.
            let fixture = Fixture::new(generation);
            let calls = fixture.launch(Some((fail, Errno::EINTR))).unwrap();
            let refused = calls.iter().filter(|call| *call == "refused").count();
            assert_eq!(refused, 1, "{generation} {fail}");
            assert_eq!(calls[fail + 1], "refused");
            // Nothing is left out; populate calls and finalizations that were done are not done
            // again.
            for (index, call) in clean.iter().enumerate() {
                let count = calls.iter().filter(|other| *other == call).count();
                let in_clean = clean.iter().filter(|other| *other == call).count();
                assert!(count >= in_clean, "{generation}: {call} at {index}");
                let is_once = ["finalize", "aed7", "aed9"].iter().any(|once| call.contains(once));
                let failed = calls[fail] == *call;
                assert!(!is_once || failed || count == in_clean, "{generation}: {call}");
            }
            // Content that is discarded is not discarded again, but for the region that failed,
            // which is in two slots.
            let discards =
                |calls: &[String]| calls.iter().filter(|call| call.starts_with("discard")).count();
            assert!(discards(&calls) <= discards(&clean) + 4, "{generation} {fail}");
        }
        // And with what ends a VM, it is final.
        for fail in 0..clean.len() {
            let fixture = Fixture::new(generation);
            let error = fixture.launch(Some((fail, Errno::EIO))).unwrap_err();
            assert!(error.ends_with("; the VM is dead"), "{generation} {fail}: {error}");
        }
    }
}

#[test]
fn a_kernel_that_makes_no_progress_is_not_asked_for_ever() {
    let fixture = Fixture::new(Generation::V14);
    let created = fixture.plan(plan()).unwrap().create().unwrap();
    fixture.kernel.populates.set(Some(0));
    let first = range(BASE, 0x1000);
    let error = created.populate().unwrap_err();
    assert_eq!(*error.error(), PopulateError::NoProgress(first));
    let source = std::error::Error::source(&error).unwrap();
    assert_eq!(source.to_string(), format!("the kernel populates nothing of {first}"));
    assert_eq!(error.to_string(), source.to_string());
    // It can be tried again.
    fixture.kernel.populates.set(None);
    let created = error.into_state().unwrap();
    assert_eq!(created.populated(), 0);
    assert_eq!(created.populate().unwrap().populated(), 0x3000);
}

#[test]
fn a_kernel_that_reports_nonsense_is_not_believed() {
    for (reported, generation) in [
        (0x2000, Generation::V12),
        (0x800, Generation::V12),
        (0x800, Generation::V13),
        (0xfff, Generation::V13),
        // More is left than there was.
        (0_u64.wrapping_sub(0x1000), Generation::V13),
        (0x2000, Generation::V13),
    ] {
        let fixture = Fixture::new(generation);
        let created = fixture.plan(plan()).unwrap().create().unwrap();
        fixture.kernel.populates.set(Some(reported));
        let error = created.populate().unwrap_err();
        let at = range(BASE, 0x1000);
        assert_eq!(*error.error(), PopulateError::BadProgress { at, reported });
        assert!(error.into_state().is_none());
    }
}

#[test]
fn progress_within_a_chunk_goes_on_behind_it() {
    static CONTENT: [u8; 0x4000] = [3; 0x4000];
    let fixture = Fixture::new(Generation::V13);
    let regions = vec![RegionLayout::measured(Ipa::new(BASE), &CONTENT)];
    let created = fixture.plan(Plan::new(regions)).unwrap().create().unwrap();
    fixture.kernel.take();
    fixture.kernel.populates.set(Some(0x1000));
    drop(created.populate().unwrap());
    let calls = fixture.kernel.take();
    let expected = [(0, 4), (1, 3), (2, 2), (3, 1)].map(|(page, left)| {
        let (base, bytes) = (BASE + page * 0x1000, left * 0x1000);
        let sum = 3 * bytes;
        format!("call 0xc020aed7 {base:#x} {bytes:#x} 0x0 0x1 Some((10, {bytes:x}, {sum:x}))")
    });
    assert_eq!(calls, expected);
}

#[test]
fn a_plan_that_is_refused_can_be_changed() {
    let fixture = Fixture::new(Generation::V8);
    let first = Plan { hash: HashAlgorithm::Sha512, personalization: [7; 64], ..plan() };
    let configured = fixture.plan(first).unwrap();
    // After two slots, the algorithm: the RMM does not have it.
    fixture.kernel.fail.set(Some((2, Errno::EINVAL)));
    let configured = configured.create().unwrap_err().into_state().unwrap();
    // What no Realm can have is refused without a call, and the plan stays.
    fixture.kernel.take();
    let refused = configured.replan(Plan { hash: HashAlgorithm::Sha384, ..plan() }).unwrap_err();
    assert!(refused.to_string().starts_with("v8 does not measure"), "{refused}");
    assert!(fixture.kernel.take().is_empty());
    let configured = refused.into_state().unwrap();
    // The personalization value that was set is set to the new plan's.
    fixture.kernel.fail.set(Some((4, Errno::EINVAL)));
    let configured = configured.create().unwrap_err().into_state().unwrap();
    fixture.kernel.take();
    drop(configured.replan(plan()).unwrap().create().unwrap());
    assert_eq!(
        fixture.kernel.take()[2..],
        ["cap 240 0 0x1 0x0 of 260", "cap 240 0 0x0 0x0 of 260", "cap 240 1 0x0 0x0 of 0",]
    );
}

#[test]
fn progress_is_told_and_population_stopped_after_any_call() {
    for generation in Generation::ALL {
        let clean = Fixture::new(generation).launch(None).unwrap();
        for stop in [0x1000, 0x2000, 0x3000] {
            let fixture = Fixture::new(generation);
            let created = fixture.plan(plan()).unwrap().create().unwrap();
            let mut told = Vec::new();
            let stopped = created.populate_with(|bytes| {
                told.push(bytes);
                if bytes == stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            });
            let stopped = stopped.unwrap_err();
            assert_eq!(*stopped.error(), PopulateError::Stopped);
            let created = stopped.into_state().unwrap();
            assert_eq!((told.last(), created.populated()), (Some(&stop), stop), "{generation}");
            let populated = created.populate_with(|bytes| {
                told.push(bytes);
                ControlFlow::Continue(())
            });
            assert_eq!(populated.unwrap().populated(), 0x3000);
            assert_eq!(told, [0x1000, 0x2000, 0x3000], "{generation}");
            // No call is made twice, and none is left out.
            let calls = fixture.kernel.take();
            assert_eq!(calls, clean[..calls.len()], "{generation}");
        }
    }
}

#[test]
fn plans_are_checked_before_the_first_call() {
    let measured = |at, content| vec![RegionLayout::measured(Ipa::new(at), content)];
    let long = [0_u8; 0x9000];
    let long: &'static [u8] = Box::leak(Box::new(long));
    for (generation, change, problem) in [
        (Generation::V14, Plan { hash: HashAlgorithm::Sha512, ..plan() }, "v14 does not measure"),
        (Generation::V10, Plan { hash: HashAlgorithm::Sha384, ..plan() }, "v10 does not measure"),
        (Generation::V12, Plan { personalization: [1; 64], ..plan() }, "v12 has no personal"),
        (Generation::V12, Plan::new(measured(BASE + 1, &DTB)), "is not aligned"),
        (Generation::V12, Plan::new(measured(0, &DTB)), "the content at "),
        (Generation::V12, Plan::new(measured(BASE + 0x8000, long)), "the content at "),
        (
            Generation::V12,
            Plan::new([measured(BASE, &KERNEL), measured(BASE + 0x1000, &DTB)].concat()),
            "overlaps",
        ),
    ] {
        let fixture = Fixture::new(generation);
        let refused = fixture.plan(change).unwrap_err();
        assert!(refused.to_string().contains(problem), "{refused}");
        assert_eq!(refused.memory.ranges().count(), 2);
        assert!(fixture.kernel.take().is_empty());
    }
    let fixture = Fixture::new(Generation::V12);
    let layout = fixture.plan(Plan::new(measured(BASE + 1, &DTB)));
    let Err(Unplanned { error: PlanError::Region(error), .. }) = layout else {
        panic!("not aligned");
    };
    assert_eq!(error.problem, LayoutProblem::Unaligned);
    // Nothing, or nothing that has content, creates no Realm.
    for generation in Generation::ALL {
        for regions in [vec![], vec![RegionLayout::unspecified(Ipa::new(BASE), 0x1000)]] {
            let fixture = Fixture::new(generation);
            let refused = fixture.plan(Plan::new(regions)).unwrap_err();
            assert_eq!(refused.error, PlanError::NoContent, "{generation}");
            assert!(fixture.kernel.take().is_empty());
        }
    }
    // What can be chosen is.
    let fixture = Fixture::new(Generation::V8);
    let plan = Plan { hash: HashAlgorithm::Sha512, personalization: [7; 64], ..plan() };
    drop(fixture.plan(plan).unwrap().create().unwrap());
    let calls = fixture.kernel.take();
    assert_eq!(
        calls[2..4],
        [
            "cap 240 0 0x100000001 0x0 of 260",
            "cap 240 0 0x707070700000000 0x707070707070707 of 260"
        ]
    );
}

fn params() -> rmi_abi::realm::RealmParams {
    rmi_abi::realm::RealmParams::new(geometry(), Pa::new(0))
}

fn predicted(generation: Generation, dialect: Dialect) -> (Rim, Vec<MeasurementEvent>) {
    let mut events = Vec::new();
    let slots = [BASE, BASE + 0x8000].map(|base| range(base, 0x8000));
    let boot = BootRegisters { pc: BASE, x: [BASE, 1, 2, 3, 4, 5, 6, 7] };
    let mut log = |event: &MeasurementEvent| events.push(*event);
    let mut regions = regions();
    let rim =
        predict(generation, dialect, &params(), &slots, &mut regions, &boot, &mut log).unwrap();
    (rim, events)
}

/// The events in short: R for RIPAS, D for data, C for the REC.
fn order(events: &[MeasurementEvent]) -> String {
    let letter = |event: &MeasurementEvent| match event {
        MeasurementEvent::Create { .. } => 'N',
        MeasurementEvent::Ripas { .. } => 'R',
        MeasurementEvent::Data { .. } => 'D',
        MeasurementEvent::Rec { .. } => 'C',
    };
    events.iter().map(letter).collect()
}

#[test]
fn predictions_follow_the_order_of_rmi_calls() {
    for (generation, expected) in [
        (Generation::V5ToV7, "NRRDDDC"),
        (Generation::V10, "NRRDDDC"),
        // Of the first slot what is between the contents, of the second what is behind.
        (Generation::V12, "NDDDCRR"),
        (Generation::V13, "NDDDC"),
        (Generation::V14, "NDDDC"),
        (Generation::Tree2026_09, "NDDDC"),
    ] {
        let (rim, events) = predicted(generation, generation.facts().dialect);
        assert_eq!(order(&events), expected, "{generation}");
        assert_eq!(Rim::replay(&events).unwrap(), rim);
    }
    let (_, events) = predicted(Generation::V12, Dialect::V1_0);
    let changed: Vec<_> = events
        .iter()
        .filter_map(|event| match event {
            MeasurementEvent::Ripas { range, level } => {
                Some((range.base().raw(), range.bytes(), level.number()))
            }
            _ => None,
        })
        .collect();
    assert_eq!(changed, [(BASE + 0x1000, 0x6000, 3), (BASE + 0x9000, 0x7000, 3)]);
}

#[test]
fn a_prediction_is_what_the_measurement_of_each_call_gives() {
    let (rim, _) = predicted(Generation::V10, Dialect::V1_0);
    let log = &mut |_: &MeasurementEvent| {};
    let mut other = Rim::new(&params(), Dialect::V1_0, log).unwrap();
    for base in [BASE, BASE + 0x8000] {
        let slot = range(base, 0x8000);
        other.add_ripas(slot, rmi_abi::rtt::Level::L3, log).unwrap();
    }
    let dtb = range(BASE, 0x1000);
    other.add_unmeasured(dtb, log).unwrap();
    other.add_measured(Ipa::new(BASE + 0x7000), &KERNEL, log).unwrap();
    let boot = rmi_abi::rec::RecParams {
        runnable: true,
        mpidr: rmi_abi::rec::Mpidr::from_index(0),
        pc: BASE,
        gprs: [BASE, 1, 2, 3, 4, 5, 6, 7],
    };
    other.add_rec(&boot, log).unwrap();
    assert_eq!(rim, other);
}
