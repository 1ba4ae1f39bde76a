//! What an entry writes to the run page, and what a dialect has in it.

use rec_runtime::set::{Outcome, PhysicalCpus, RecSlot};
use rec_runtime::{Answer, EnterError, Exit, Flow, Handler, Kick, Rec, RecSet, Timers};
use rmi_abi::rtt::Geometry;
use rmi_abi::run::{ExitReason, GicEntry, GicExit, RUN_GPRS, RecEnterFlags, RecExit};
use rmi_abi::{Dialect, Status};
use rmi_host::Undelegated;
use sro::Awaiting;
use test_support::Crafted;
use zerocopy::{FromZeros, IntoBytes};

use crate::fixture::{RAM, sync};

const TRAP_BOTH: u64 = 0b1100;
const FORCE_P0: u64 = 0x80;

/// A record with this reason.
fn record(reason: ExitReason) -> RecExit {
    let mut record = RecExit::new_zeroed();
    // The dialects agree on those that are used here.
    record.exit_reason = reason.encode(Dialect::V1_0).unwrap();
    record
}

#[test]
fn what_is_reserved_is_zero_and_what_is_not_used_is_left() {
    for dialect in Dialect::ALL {
        let machine = Crafted::new(dialect);
        machine.with_rec(|rmm, object, mut page, _| {
            rmm.write_host(&mut page, 0, &[0xa5; 0x1000]).unwrap();
            let rec = Rec::new(object, page, Geometry::new(40).unwrap());
            machine.exits_with(&record(ExitReason::HostCall));
            let exit = rec.enter(rmm, Answer::resume()).unwrap().exit;
            assert!(machine.last_entry().as_bytes().iter().all(|byte| *byte == 0));
            let Exit::HostCall(call) = exit else { panic!("{exit:?}") };

            machine.exits_with(&record(ExitReason::Irq));
            let _ = rec.enter(rmm, call.complete([9; RUN_GPRS])).unwrap();
            assert_eq!(machine.last_entry().gprs, [9; RUN_GPRS]);
            // The RMM does not look at them.
            let _ = rec.enter(rmm, Answer::resume()).unwrap();
            assert_eq!(machine.last_entry().gprs, [9; RUN_GPRS]);
            assert_eq!(machine.last_entry().flags, 0);
        });
    }
}

#[test]
fn a_page_that_cannot_be_written_is_refused_before_the_call() {
    let elsewhere = Crafted::new(Dialect::TfRmm2026_07);
    elsewhere.with_rec(|_, _, page, _| {
        for page in [Undelegated::empty(), page] {
            let machine = Crafted::new(Dialect::TfRmm2026_07);
            machine.with_rec(|rmm, object, _, _| {
                let rec = Rec::new(object, page, Geometry::new(40).unwrap());
                let calls = machine.calls();
                let failed = rec.enter(rmm, Answer::resume()).unwrap_err();
                assert!(failed.error.is_clean(), "{}", failed.error);
                assert_eq!((failed.kept, machine.calls()), (Some(Answer::resume()), calls));
                assert_eq!(rec.awaiting(), Awaiting::Nothing);
            });
        }
    });
}

#[test]
fn waits_are_trapped_until_that_is_changed() {
    let machine = Crafted::new(Dialect::V2_0Bet3);
    machine.with_rec(|rmm, object, page, _| {
        let rec = Rec::new(object, page, Geometry::new(40).unwrap());
        machine.exits_with(&record(ExitReason::Irq));
        for (wfi, wfe, flags) in
            [(true, true, TRAP_BOTH), (true, false, 4), (false, true, 8), (false, false, 0)]
        {
            rec.trap_waiting(wfi, wfe).unwrap();
            for _ in 0..2 {
                let _ = rec.enter(rmm, Answer::resume()).unwrap();
                assert_eq!(machine.last_entry().flags, flags);
            }
        }
    });
}

#[test]
fn an_entry_returns_to_plane_0_once() {
    for dialect in Dialect::ALL {
        // 1.0 has no planes.
        let force = if dialect == Dialect::V1_0 { 0 } else { FORCE_P0 };
        let machine = Crafted::new(dialect);
        machine.with_rec(|rmm, object, page, _| {
            let rec = Rec::new(object, page, Geometry::new(40).unwrap());
            machine.exits_with(&record(ExitReason::Irq));
            rec.trap_waiting(true, true).unwrap();
            let flags = || {
                let _ = rec.enter(rmm, Answer::resume()).unwrap();
                machine.last_entry().flags
            };
            assert_eq!(flags(), TRAP_BOTH);
            rec.force_plane_0(true).unwrap();
            // A refused entry did not return to it.
            machine.refuses_with(u8::from(Status::ErrorRec).into());
            assert!(rec.enter(rmm, Answer::resume()).unwrap_err().error.is_off());
            assert_eq!(flags(), TRAP_BOTH | force, "{dialect}");
            assert_eq!(flags(), TRAP_BOTH);
            rec.force_plane_0(true).unwrap();
            rec.force_plane_0(false).unwrap();
            assert_eq!(flags(), TRAP_BOTH);
        });
    }
}

/// Nobody is interrupted.
struct OneCpu;

impl PhysicalCpus for OneCpu {
    fn current(&self) -> u16 {
        0
    }

    fn interrupt(&self, _: u16) {}
}

/// The default methods, but that the loop ends after each exit.
struct Once;

impl Handler for Once {
    fn interrupt(&mut self) -> Flow {
        Flow::Stop(Answer::resume())
    }
}

#[test]
fn a_runner_sets_what_the_entries_of_its_rec_do() {
    let machine = Crafted::new(Dialect::V2_0Bet3);
    machine.with_rec(|rmm, object, page, _| {
        let mut slots = [const { RecSlot::new() }];
        let mut set = RecSet::new(&mut slots, &OneCpu);
        set.add(Rec::new(object, page, Geometry::new(40).unwrap()), true).unwrap();
        machine.exits_with(&record(ExitReason::Irq));
        let mut runner = set.claim(0).unwrap();
        let expect = |runner: &mut rec_runtime::set::Runner<'_>, flags| {
            let outcome = runner.run(rmm, &mut Once).unwrap();
            assert!(matches!(outcome, Outcome::Stopped), "{outcome:?}");
            assert_eq!(machine.last_entry().flags, flags);
        };
        expect(&mut runner, 0);
        runner.trap_waiting(false, true);
        runner.force_plane_0(true);
        expect(&mut runner, 8 | FORCE_P0);
        runner.trap_waiting(true, false);
        expect(&mut runner, 4);
        // They belong to the REC.
        drop(runner);
        let mut runner = set.claim(0).unwrap();
        runner.force_plane_0(true);
        runner.force_plane_0(false);
        expect(&mut runner, 4);
    });
}

/// A handler that has the virtual CPU interface, and notes what it is asked.
#[derive(Default)]
struct Interface {
    calls: Vec<&'static str>,
    entry: GicEntry,
    exit: GicExit,
}

impl Handler for Interface {
    fn before_entry(&mut self, _: &Rec) {
        self.calls.push("before_entry");
    }

    fn entry_cancelled(&mut self, _: &Rec) {
        self.calls.push("entry_cancelled");
    }

    fn gic_entry(&mut self, gic: &mut GicEntry) {
        self.calls.push("gic_entry");
        *gic = self.entry;
    }

    fn gic_exit(&mut self, gic: &GicExit) {
        self.calls.push("gic_exit");
        self.exit = *gic;
    }

    fn after_exit(&mut self, _: Timers, _: bool) {
        self.calls.push("after_exit");
    }

    fn interrupt(&mut self) -> Flow {
        Flow::Stop(Answer::resume())
    }
}

#[test]
fn a_handler_has_the_virtual_interrupts_of_the_run_page_of_1_0() {
    for dialect in Dialect::ALL {
        let machine = Crafted::new(dialect);
        machine.with_rec(|rmm, object, page, _| {
            let rec = Rec::new(object, page, Geometry::new(40).unwrap());
            let mut exit = record(ExitReason::Irq);
            (exit.gicv3_hcr, exit.gicv3_misr, exit.gicv3_vmcr) = (3, 4, 5);
            machine.exits_with(&exit);
            let entry = GicEntry { hcr: 2, lrs: [7; 16] };
            let mut handler = Interface { entry, ..Interface::default() };
            let _ = rec.run(rmm, Answer::resume(), &mut handler, &Kick::new()).unwrap();
            let has_gic = dialect == Dialect::V1_0;
            let calls: &[_] = match has_gic {
                true => &["before_entry", "gic_entry", "gic_exit", "after_exit"],
                false => &["before_entry", "after_exit"],
            };
            assert_eq!(handler.calls, calls, "{dialect}");
            let written = machine.last_entry();
            if has_gic {
                assert_eq!((written.gicv3_hcr, written.gicv3_lrs), (2, [7; 16]));
                let exit = GicExit { hcr: 3, lrs: [0; 16], misr: 4, vmcr: 5 };
                assert_eq!((handler.exit, rec.gic()), (exit, Ok(Some(exit))));
                // A handler that leaves it has it as it was.
                let _ = rec.run(rmm, Answer::resume(), &mut Once, &Kick::new()).unwrap();
                assert_eq!(machine.last_entry().gicv3_lrs, [7; 16]);
            }
            // An entry that was refused has no exit.
            handler.calls.clear();
            machine.refuses_with(u8::from(Status::ErrorRec).into());
            let refused = rec.run(rmm, Answer::resume(), &mut handler, &Kick::new());
            assert!(refused.unwrap_err().error.is_off());
            assert_eq!(handler.calls.last(), Some(&"entry_cancelled"));
            assert!(!handler.calls.contains(&"gic_exit"));
        });
    }
}

#[test]
fn the_run_page_of_1_0_has_the_virtual_interrupts() {
    for dialect in Dialect::ALL {
        let machine = Crafted::new(dialect);
        machine.with_rec(|rmm, object, page, _| {
            let rec = Rec::new(object, page, Geometry::new(40).unwrap());
            let mut lrs = [0; 16];
            (lrs[0], lrs[15]) = (0x5000_0000_0000_001b, 15);
            rec.set_gic(GicEntry { hcr: 2, lrs }).unwrap();
            let mut exit = record(ExitReason::HostCall);
            (exit.gicv3_hcr, exit.gicv3_misr, exit.gicv3_vmcr) = (3, 4, 5);
            exit.gicv3_lrs = lrs.map(|list| list + 1);
            exit.cntv_ctl = 5;
            machine.exits_with(&exit);
            let event = rec.enter(rmm, Answer::resume()).unwrap();
            let Exit::HostCall(call) = event.exit else { panic!() };
            let entry = machine.last_entry();
            let has_gic = dialect == Dialect::V1_0;
            if has_gic {
                assert_eq!((entry.gicv3_hcr, entry.gicv3_lrs), (2, lrs));
            } else {
                assert_eq!((entry.gicv3_hcr, entry.gicv3_lrs), (0, [0; 16]));
            }
            let gic = GicExit { hcr: 3, lrs: lrs.map(|list| list + 1), misr: 4, vmcr: 5 };
            assert_eq!(rec.gic(), Ok(has_gic.then_some(gic)), "{dialect}");

            // The reply could not be written. The REC did not run, and what the record has is not
            // the state of its interrupts.
            machine.exits_with(&sync(0x24 << 26 | 7, RAM.raw() >> 8));
            let event = rec.enter(rmm, call.not_supported()).unwrap();
            assert!(event.timers.virtual_timer.is_raised());
            assert_eq!(rec.gic(), Ok(None));
            // Setting it makes clear that there was no exit since.
            let Exit::Fault(fault) = event.exit else { panic!() };
            machine.exits_with(&exit);
            let _ = rec.enter(rmm, fault.retry()).unwrap();
            assert_eq!(rec.gic(), Ok(has_gic.then_some(gic)));
            rec.set_gic(GicEntry::EMPTY).unwrap();
            assert_eq!(rec.gic(), Ok(None));
        });
    }
}

#[test]
fn flags_and_interrupts_do_not_change_what_is_refused() {
    let machine = Crafted::new(Dialect::V1_0);
    machine.with_rec(|rmm, object, page, _| {
        let rec = Rec::new(object, page, Geometry::new(40).unwrap());
        machine.exits_with(&record(ExitReason::HostCall));
        let _ = rec.enter(rmm, Answer::resume()).unwrap();
        rec.force_plane_0(true).unwrap();
        rec.set_gic(GicEntry { hcr: 2, lrs: [0; 16] }).unwrap();
        let failed = rec.enter(rmm, Answer::resume()).unwrap_err();
        assert_eq!(failed.error, EnterError::Unanswered);
        let known = RecEnterFlags::defined(Dialect::V1_0).bits();
        assert_eq!(machine.last_entry().flags & !known, 0);
    });
}
