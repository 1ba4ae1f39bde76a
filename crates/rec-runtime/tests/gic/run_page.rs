//! The GIC on an RMM that has the list registers in the run page: the same as on others.

use std::sync::{Arc, Mutex};

use rec_runtime::exit::{Fault, HostCall};
use rec_runtime::gic::{GicHandler, RealmGic, RecInterface, RunReport};
use rec_runtime::mmio::MmioBus;
use rec_runtime::set::{Outcome, PhysicalCpus, RecSlot, Runner};
use rec_runtime::{EnterError, Flow, Handler, Rec, RecSet};
use rmi_abi::esr::SysReg;
use rmi_abi::rtt::Geometry;
use rmi_abi::run::{ExitReason, RecEnter, RecExit};
use rmi_abi::{Command, Dialect, Ipa, IpaRange, Pa, Status};
use rmi_host::{CountingLedger, Platform, Rmm};
use rmm_model::{AsyncGuest, AsyncVcpu, Cpu, Guest, Model, Options, TimerKind, accepts_run_page};
use test_support::{Crafted, CraftedHost};
use vgic_realm::{Gic, GicConfig, GicStorage, Saved, SpiIntid, VirtualInterface, Vtr};
use zerocopy::{FromZeros, IntoBytes};

use crate::fixture::{RAM, calling_thread, realm_of};

const GICD: u64 = 1 << 39;
const GICR: u64 = GICD + 0x10_0000;
const SPIS: usize = 32;
/// The most urgent of these SPIs is the last.
const FIRST: u32 = 40;
const LAST: u32 = 47;
const TIMER: u32 = 27;
/// An SGI that is more urgent than all of them.
const URGENT: u32 = 2;

/// The interrupts that a program got, and `1000 + n` when it ended `n`.
type Seen = Arc<Mutex<Vec<u32>>>;

/// A program that sends itself an SGI in the handler of the first SPI, and then sets its timer.
fn program(seen: &Seen) -> Box<dyn Guest> {
    let seen = Arc::clone(seen);
    Box::new(AsyncGuest::new(move |mut cpu: AsyncVcpu| async move {
        let note = |number| seen.lock().unwrap().push(number);
        for (address, value) in [
            (GICD, 0b10),
            (GICD + 0x104, 0xffff_ffff),
            // Edge-triggered, but for the last.
            (GICD + 0xc08, 0x2aaa_0000),
            (GICR + 0x14, 0),
            (GICR + 0x1_0100, 0xffff_ffff),
            (GICR + 0x1_0400, 0xa0_10_a0_a0),
        ] {
            cpu.store(Ipa::new(address), 4, value).await.unwrap();
        }
        for spi in FIRST..=LAST {
            let priority = 0x80 - 8 * u64::from(spi - FIRST);
            cpu.store(Ipa::new(GICD + 0x400 + u64::from(spi)), 1, priority).await.unwrap();
        }
        cpu.act(rmm_model::Action::set_priority_mask(0xf0)).await;
        cpu.act(rmm_model::Action::enable_group_1(true)).await;
        loop {
            let intid = cpu.next_interrupt().await;
            note(intid);
            if intid == FIRST {
                let itself = u64::from(URGENT) << 24 | 1;
                cpu.write_sysreg(SysReg::ICC_SGI1R_EL1, itself).await.unwrap();
                let urgent = cpu.next_interrupt().await;
                note(urgent);
                cpu.end_of_interrupt(urgent).await;
                note(1000 + urgent);
                cpu.set_timer(TimerKind::Virtual, 100).await;
            }
            if intid == TIMER {
                cpu.stop_timer(TimerKind::Virtual).await;
            }
            cpu.end_of_interrupt(intid).await;
            note(1000 + intid);
        }
    }))
}

/// Lowers the line of the last SPI when it has ended twice.
struct Rest<'v> {
    gic: RealmGic<'v>,
    saved: Vec<Saved>,
    ended: usize,
}

impl Handler for Rest<'_> {
    fn interrupts_saved(&mut self, report: &RunReport) {
        self.saved.push(report.saved);
        self.ended += report.ended.iter().filter(|intid| intid.number() == LAST).count();
        if self.ended == 2 {
            self.gic.set_spi(spi(LAST), false);
        }
    }

    fn host_call(&mut self, call: HostCall) -> Flow {
        Flow::Enter(call.complete([9; 31]))
    }

    fn fault(&mut self, fault: Fault) -> Flow {
        Flow::Enter(fault.retry())
    }
}

fn spi(number: u32) -> SpiIntid {
    SpiIntid::new(number).unwrap()
}

type Vcpu<'v> = GicHandler<'v, RecInterface<Cpu<'v>>, Rest<'v>>;

/// Calls `test` with a GIC for the only REC of a set, and what makes a handler of that REC.
fn with_vcpu<P: Platform>(
    (rmm, set, model): (&Rmm<P>, &RecSet<'_>, &Model),
    test: impl for<'v> FnOnce(RealmGic<'v>, &dyn Fn() -> Vcpu<'v>),
) {
    let interface = RecInterface::new(rmm, model.cpu(0));
    let storage = GicStorage::<1, SPIS>::new();
    let affinities: Vec<_> = set.affinities().collect();
    let config = GicConfig { affinities: &affinities, spis: SPIS, vtr: interface.vtr() };
    let gic = Gic::new(&storage, &config).unwrap();
    let gic = RealmGic::new(&gic, set).unwrap();
    let (distributor, redistributors) = (gic.distributor(), gic.redistributors());
    let mut bus = MmioBus::<2>::new(Geometry::new(40).unwrap());
    let range = |base, bytes| IpaRange::with_size(Ipa::new(base), bytes).unwrap();
    bus.add(range(GICD, distributor.bytes()), &distributor).unwrap();
    bus.add(range(GICR, redistributors.bytes()), &redistributors).unwrap();
    test(gic, &|| {
        let rest = Rest { gic, saved: Vec::new(), ended: 0 };
        Vcpu { gic, index: 0, interface: RecInterface::new(rmm, model.cpu(0)), bus: &bus, rest }
    });
}

fn waits<P: Platform>(rmm: &Rmm<P>, runner: &mut Runner<'_>, vcpu: &mut Vcpu<'_>) -> Option<u64> {
    let outcome = runner.run(rmm, vcpu).unwrap();
    let Outcome::Waiting(sleep) = outcome else { unreachable!("{outcome:?}") };
    sleep.deadline
}

/// Runs [`program`] on the only REC of a set with all its interrupts.
fn deliver<P: Platform>(rmm: &Rmm<P>, set: &RecSet<'_>, model: &Model) {
    with_vcpu((rmm, set, model), |gic, vcpu| {
        let mut vcpu = vcpu();
        let mut runner = set.claim(0).unwrap();
        runner.trap_waiting(true, false);
        assert_eq!(waits(rmm, &mut runner, &mut vcpu), None);
        for number in FIRST..LAST {
            gic.pulse_spi(spi(number));
        }
        assert_eq!(waits(rmm, &mut runner, &mut vcpu), Some(100));
        model.advance(100);
        assert_eq!(waits(rmm, &mut runner, &mut vcpu), None);
        gic.set_spi(spi(LAST), true);
        assert_eq!(waits(rmm, &mut runner, &mut vcpu), None);
        assert!(vcpu.rest.saved.iter().all(|saved| *saved == Saved::Used));
    });
}

/// Nobody is interrupted.
struct OneCpu;

impl PhysicalCpus for OneCpu {
    fn current(&self) -> u16 {
        0
    }

    fn interrupt(&self, _: u16) {}
}

/// Calls `test` with a set of one REC of a machine of 1.0.
fn on_1_0(machine: &Crafted, test: impl FnOnce(&Rmm<CraftedHost<'_>>, &RecSet<'_>)) {
    machine.with_rec(|rmm, object, page, _| {
        let mut slots = [const { RecSlot::new() }];
        let mut set = RecSet::new(&mut slots, &OneCpu);
        set.add(Rec::new(object, page, Geometry::new(40).unwrap()), true).unwrap();
        test(rmm, &set);
        set.drain().for_each(drop);
    });
}

/// Has a REC of the model run as the REC of a machine of 1.0: it gets the interrupts in the run
/// page, and leaves them there.
fn run_as_1_0(machine: &Crafted, lists: u8, model: &Arc<Model>, [rec, run_page]: [Pa; 2]) {
    let (model, inner) = (Arc::clone(model), INNER);
    machine.has_list_registers(lists);
    machine.runs(move |entry| {
        assert!(accepts_run_page(entry, Vtr::of_run_page(lists - 1)));
        let cpu = model.cpu(0);
        for (n, list) in entry.gicv3_lrs.into_iter().enumerate().take(lists.into()) {
            cpu.set_list_register(n, list);
        }
        cpu.set_hcr(entry.gicv3_hcr | 1);
        let mut there = *entry;
        (there.gicv3_hcr, there.gicv3_lrs) = (0, [0; 16]);
        model.poke(run_page, there.as_bytes());
        let mut x = [0; 18];
        x[..3].copy_from_slice(&[
            Command::RecEnter.fid(inner).unwrap().0.into(),
            rec.raw(),
            run_page.raw(),
        ]);
        assert_eq!(model.handle(0, x)[0], 0);
        let mut exit = RecExit::new_zeroed();
        model.peek(Pa::new(run_page.raw() + size_of::<RecEnter>() as u64), exit.as_mut_bytes());
        let reason = ExitReason::decode(exit.exit_reason, inner);
        exit.exit_reason = reason.encode(Dialect::V1_0).unwrap();
        (exit.gicv3_hcr, exit.gicv3_misr, exit.gicv3_vmcr) = (cpu.hcr(), cpu.misr(), cpu.vmcr());
        for (n, list) in exit.gicv3_lrs.iter_mut().enumerate() {
            // Those that do not exist are zero.
            *list = cpu.list_register(n);
        }
        exit
    });
}

/// The dialect of the model that runs the programs.
const INNER: Dialect = Dialect::V2_0Bet3;

/// Calls `test` with the model, a session, and the only REC of a Realm with its run page.
fn with_program(
    lists: u8,
    seen: &Seen,
    test: impl FnOnce(&Arc<Model>, &Session<'_>, &mut Vec<Rec>, Pa),
) {
    let mut options = Options::new(INNER);
    options.list_registers = lists;
    let model = Arc::new(Model::new(options).unwrap());
    let (conduit, ledger) = (calling_thread(&model), CountingLedger::new());
    realm_of(&model, &conduit, &ledger, vec![program(seen)], |rmm, [_, run_page], recs| {
        test(&model, rmm, recs, run_page);
    });
}

type Session<'m> = crate::fixture::Rmm<'m, crate::fixture::CallingThread<'m>>;

#[test]
fn an_interface_is_where_the_rmm_has_it() {
    let model = test_support::model(INNER);
    for dialect in Dialect::ALL {
        for count in [1, 4] {
            let machine = Crafted::new(dialect);
            machine.has_list_registers(count);
            machine.with_rec(|rmm, _, _, _| {
                let mut interface = RecInterface::new(rmm, model.cpu(0));
                let is_in_page = dialect == Dialect::V1_0;
                assert_eq!(interface.run_page().is_some(), is_in_page, "{dialect}");
                let expected = if is_in_page { count.into() } else { 16 };
                assert_eq!(interface.vtr().list_registers(), expected, "{dialect}");
            });
        }
    }
}

#[test]
fn an_interface_of_a_cpu_is_that_of_the_cpu() {
    const PENDING: u64 = 1 << 62 | 1 << 60 | 0x80 << 48 | 40;
    let model = test_support::model(INNER);
    let cpu = model.cpu(0);
    let mut interface = RecInterface::Cpu(cpu);
    assert_eq!(interface.vtr(), cpu.vtr());
    interface.set_list_register(1, PENDING);
    interface.set_ap0r(0, 4);
    interface.set_ap1r(0, 8);
    interface.set_vmcr(0xf000_0002);
    // UIE: at most one list register is in use.
    interface.set_hcr(0b11);
    assert_eq!((cpu.list_register(0), cpu.list_register(1)), (0, PENDING));
    assert_eq!((cpu.ap0r(0), cpu.ap1r(0), cpu.hcr(), cpu.misr()), (4, 8, 0b11, 0b10));
    assert_eq!(cpu.vmcr() & 0xff00_0002, 0xf000_0002);
    assert_eq!((interface.list_register(0), interface.list_register(1)), (0, PENDING));
    assert_eq!((interface.ap0r(0), interface.ap1r(0)), (4, 8));
    assert_eq!((interface.hcr(), interface.misr(), interface.vmcr()), (0b11, 0b10, cpu.vmcr()));
}

#[test]
fn the_same_interrupts_are_delivered() {
    for lists in [1, 4] {
        let seen = Seen::default();
        with_program(lists, &seen, |model, rmm, recs, _| {
            let mut slots = [const { RecSlot::new() }];
            let mut set = RecSet::new(&mut slots, &OneCpu);
            set.add(recs.remove(0), true).unwrap();
            deliver(rmm, &set, model);
            recs.extend(set.drain());
        });
        let in_registers = std::mem::take(&mut *seen.lock().unwrap());

        with_program(lists, &seen, |model, _, recs, run_page| {
            let machine = Crafted::new(Dialect::V1_0);
            run_as_1_0(&machine, lists, model, [recs[0].name().pa(), run_page]);
            on_1_0(&machine, |rmm, set| deliver(rmm, set, model));
        });
        let in_run_page = std::mem::take(&mut *seen.lock().unwrap());

        let mut expected: Vec<_> =
            (FIRST + 1..LAST).rev().flat_map(|spi| [spi, 1000 + spi]).collect();
        expected.extend([FIRST, URGENT, 1000 + URGENT, 1000 + FIRST, TIMER, 1000 + TIMER]);
        expected.extend([LAST, 1000 + LAST, LAST, 1000 + LAST]);
        assert_eq!(in_registers, expected, "{lists} list registers");
        assert_eq!(in_run_page, expected, "{lists} list registers");
    }
}

#[test]
fn an_entry_that_is_refused_leaves_interrupts_pending() {
    let seen = Seen::default();
    with_program(4, &seen, |model, _, recs, run_page| {
        let machine = Crafted::new(Dialect::V1_0);
        run_as_1_0(&machine, 4, model, [recs[0].name().pa(), run_page]);
        on_1_0(&machine, |rmm, set| {
            with_vcpu((rmm, set, model), |gic, vcpu| {
                let mut runner = set.claim(0).unwrap();
                runner.trap_waiting(true, false);
                assert_eq!(waits(rmm, &mut runner, &mut vcpu()), None);
                gic.pulse_spi(spi(LAST - 1));
                machine.refuses_with(u8::from(Status::ErrorRec).into());
                // The next handler is of another thread.
                let refused = runner.run(rmm, &mut vcpu()).unwrap_err();
                assert!(matches!(refused, EnterError::Call(_)) && refused.is_clean());
                assert!(gic.gic().has_pending(0), "the REC has not masked it");
                assert_eq!(waits(rmm, &mut runner, &mut vcpu()), None);
            });
        });
    });
    assert_eq!(*seen.lock().unwrap(), [LAST - 1, 1000 + LAST - 1]);
}

/// An SPI is pending. The REC makes a host call, faults at its second entry, and exits for an
/// interrupt at the third; `fill` writes the rest of each exit, from the list registers and the
/// number of the entry. Returns the first list register of each entry, and which were used.
fn faults_after_a_host_call(
    fill: impl Fn(&mut RecExit, [u64; 16], usize) + Send + 'static,
) -> (Vec<u64>, Vec<Saved>) {
    let machine = Crafted::new(Dialect::V1_0);
    let model = test_support::model(INNER);
    let loaded = Arc::new(Mutex::new(Vec::new()));
    let mut saved = Vec::new();
    on_1_0(&machine, |rmm, set| {
        with_vcpu((rmm, set, &model), |gic, vcpu| {
            for (offset, value) in [(0, 0b10), (0x104, 1 << (FIRST % 32)), (0xc08, 0x2aaa_0000)] {
                let _ = gic.gic().gicd_write(offset, 4, value);
            }
            let _ = gic.gic().gicr_write(0, 0x14, 4, 0);
            gic.pulse_spi(spi(FIRST));
            let entries = Arc::clone(&loaded);
            machine.runs(move |entry| {
                let mut entries = entries.lock().unwrap();
                entries.push(entry.gicv3_lrs[0]);
                let mut exit = RecExit::new_zeroed();
                fill(&mut exit, entry.gicv3_lrs, entries.len());
                let reason = match entries.len() {
                    1 => ExitReason::HostCall,
                    2 => {
                        (exit.esr, exit.hpfar) = (0x24 << 26 | 7, RAM >> 8);
                        return exit;
                    }
                    _ => ExitReason::Irq,
                };
                exit.exit_reason = reason.encode(Dialect::V1_0).unwrap();
                exit
            });
            let (mut runner, mut vcpu) = (set.claim(0).unwrap(), vcpu());
            let outcome = runner.run_until(rmm, &mut vcpu, &mut |entries| entries == 3).unwrap();
            assert!(matches!(outcome, Outcome::Bounded), "{outcome:?}");
            saved = vcpu.rest.saved;
        });
    });
    let loaded = loaded.lock().unwrap().clone();
    assert_eq!(loaded.first().map(|register| register & 0xffff_ffff), Some(FIRST.into()));
    (loaded, saved)
}

#[test]
fn an_exit_before_the_rec_ran_leaves_interrupts_pending() {
    let (loaded, saved) = faults_after_a_host_call(|exit, lrs, entry| {
        // The reply is not written; the RMM leaves the rest zero.
        if entry != 2 {
            (exit.gicv3_lrs, exit.cntv_ctl) = (lrs, 5);
        }
    });
    assert_eq!(saved, [Saved::Used, Saved::Unused, Saved::Used]);
    // The line of the timer went up meanwhile, but its PPI is disabled.
    assert_eq!(loaded, [loaded[0]; 3]);
}

#[test]
fn a_fault_of_a_rec_that_ran_without_timers_has_its_interrupts() {
    let (loaded, saved) = faults_after_a_host_call(|exit, lrs, entry| {
        (exit.gicv3_vmcr, exit.gicv3_lrs) = (0xf000_0002, lrs);
        // The REC gets the reply, takes the interrupt, ends it, and then faults.
        if entry == 2 {
            exit.gicv3_lrs[0] = 0;
        }
    });
    assert_eq!(saved, [Saved::Used; 3]);
    assert_eq!(loaded, [loaded[0], loaded[0], 0]);
}
