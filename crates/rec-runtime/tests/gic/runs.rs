//! RECs that run with the GIC.

use std::mem::offset_of;
use std::sync::{Arc, Mutex};

use rec_runtime::exit::{PsciNotice, SysRegRead, SysRegWrite};
use rec_runtime::gic::{GicHandler, RealmGic, RunReport};
use rec_runtime::mmio::{AccessSize, MmioBus, MmioDevice};
use rec_runtime::set::{CpuOnDecision, ExitKind, Outcome, Runner};
use rec_runtime::{Answer, Flow, Handler, Rec, RecSet, Timer, Timers};
use rmi_abi::esr::SysReg;
use rmi_abi::rtt::Geometry;
use rmi_abi::run::RecEnter;
use rmi_abi::{Dialect, Ipa, IpaRange, Pa};
use rmm_model::{AsyncGuest, AsyncVcpu, Cpu, ForgedExit, Guest, TimerKind};
use vgic_realm::{Bank, EndedInterrupts, Field, Intid, PpiIntid, Route, Saved};

use crate::fixture::{Action, DIALECTS, Fixture, realm, script};
use crate::{SPI, spi, with_gic};

const GICD: u64 = 1 << 39;
const GICR: u64 = GICD + 0x10_0000;

/// A REC on CPU 0 of the model.
type Vcpu<'v> = GicHandler<'v, Cpu<'v>, Rest<'v>>;

/// The handler of the rest: notes what it is asked, and whether the CPU's interface is on then.
#[derive(Debug)]
struct Rest<'v> {
    cpu: Cpu<'v>,
    calls: Vec<(&'static str, bool)>,
    reports: Vec<RunReport>,
    /// Whom it kicks before the entry.
    kicks: Option<&'v RecSet<'v>>,
    /// Which interrupts it was told to have ended.
    ended: Vec<u32>,
    gic: RealmGic<'v>,
    /// Whether it lowers the line of the SPI then.
    lowers: bool,
}

impl Rest<'_> {
    fn note(&mut self, call: &'static str) {
        self.calls.push((call, self.cpu.hcr() & 1 != 0));
    }
}

impl Handler for Rest<'_> {
    fn before_entry(&mut self, _: &Rec) {
        self.note("before_entry");
        if let Some(set) = self.kicks {
            set.kick_all();
        }
    }

    fn entry_cancelled(&mut self, _: &Rec) {
        self.note("entry_cancelled");
    }

    fn interrupts_saved(&mut self, report: &RunReport) {
        self.note("interrupts_saved");
        self.reports.push(*report);
    }

    fn interrupts_ended(&mut self, ended: &EndedInterrupts) {
        assert!(!ended.is_empty());
        self.ended.extend(ended.iter().map(Intid::number));
        if self.lowers {
            self.gic.set_spi(spi(), false);
        }
    }

    fn after_exit(&mut self, _: Timers, _: bool) {
        self.note("after_exit");
    }

    fn cpu_on(&mut self, _: &Rec, _: &Rec) -> CpuOnDecision {
        self.note("cpu_on");
        CpuOnDecision::Accept
    }

    fn cpu_off(&mut self, _: &Rec) {
        self.note("cpu_off");
    }

    fn sysreg_read(&mut self, read: SysRegRead) -> Flow {
        self.note("sysreg_read");
        Flow::Enter(read.complete(9))
    }

    fn sysreg_write(&mut self, _: SysRegWrite) -> Flow {
        self.note("sysreg_write");
        Flow::Enter(Answer::resume())
    }

    fn interrupt(&mut self) -> Flow {
        self.note("interrupt");
        Flow::Enter(Answer::resume())
    }

    fn psci_notice(&mut self, _: PsciNotice) -> Flow {
        self.note("psci_notice");
        Flow::Leave
    }
}

/// Calls `test` with runners of all RECs, each with its handler.
fn run(fixture: &Fixture<'_, '_>, test: impl FnOnce(RealmGic<'_>, Vec<(Runner<'_>, Vcpu<'_>)>)) {
    with_gic(fixture.model, fixture.set, |gic| {
        let (distributor, redistributors) = (gic.distributor(), gic.redistributors());
        let devices: [(u64, u64, &dyn MmioDevice); 2] = [
            (GICD, distributor.bytes(), &distributor),
            (GICR, redistributors.bytes(), &redistributors),
        ];
        let mut bus = MmioBus::<2>::new(Geometry::new(40).unwrap());
        for (base, bytes, device) in devices {
            bus.add(IpaRange::with_size(Ipa::new(base), bytes).unwrap(), device).unwrap();
        }
        let vcpu = |index| {
            let mut runner = fixture.set.claim(index).unwrap();
            runner.trap_waiting(true, true);
            let cpu = fixture.model.cpu(0);
            let rest = Rest {
                cpu,
                calls: vec![],
                reports: vec![],
                kicks: None,
                ended: vec![],
                gic,
                lowers: false,
            };
            (runner, Vcpu { gic, index, interface: cpu, bus: &bus, rest })
        };
        test(gic, (0..fixture.set.len()).map(vcpu).collect());
    });
}

/// Enables the interrupts that these tests use: SGIs 0 to 15, all PPIs, and an SPI for REC 0.
async fn enable(cpu: &mut AsyncVcpu, index: u64) {
    let redistributor = GICR + 0x2_0000 * index;
    for (address, value) in [
        (GICD, 0b10),
        (GICD + 0x100 + 4 * u64::from(SPI / 32), 1 << (SPI % 32)),
        (redistributor + 0x14, 0),
        (redistributor + 0x1_0100, 0xffff_ffff),
    ] {
        cpu.store(Ipa::new(address), 4, value).await.unwrap();
    }
    cpu.act(Action::set_priority_mask(0xf0)).await;
    cpu.act(Action::enable_group_1(true)).await;
}

/// What a program got, in order.
type Seen = Arc<Mutex<Vec<u32>>>;

fn take(seen: &Seen) -> Vec<u32> {
    std::mem::take(&mut *seen.lock().unwrap())
}

/// A program that enables interrupts, and takes and ends them forever.
fn taker(index: u64, seen: &Seen) -> Box<dyn Guest> {
    let seen = Arc::clone(seen);
    Box::new(AsyncGuest::new(move |mut cpu: AsyncVcpu| async move {
        enable(&mut cpu, index).await;
        loop {
            let intid = cpu.next_interrupt().await;
            seen.lock().unwrap().push(intid);
            cpu.end_of_interrupt(intid).await;
        }
    }))
}

fn waits(fixture: &Fixture<'_, '_>, (runner, vcpu): &mut (Runner<'_>, Vcpu<'_>)) {
    let outcome = runner.run(fixture.rmm, vcpu).unwrap();
    assert!(matches!(outcome, Outcome::Waiting(_)), "{outcome:?}");
    assert!(!fixture.set.is_ready(vcpu.index));
}

/// How a program ends an interrupt.
#[derive(Clone, Copy, Debug)]
enum End {
    Eoi,
    /// EOImode 1, and `ICC_DIR_EL1`.
    Dir,
    /// EOImode 1, and `GICD_ICACTIVER<n>`.
    Register,
}

/// The dialects in which list registers are those of the CPU; `run_page` has the other.
fn with_registers_of_the_cpu() -> impl Iterator<Item = Dialect> {
    DIALECTS.into_iter().filter(|dialect| !dialect.gic_in_run_page())
}

/// A device that lowers its line when its interrupt has ended interrupts once each time.
#[test]
fn an_end_is_told_before_the_next_entry_however_it_is_made() {
    for (dialect, end) in with_registers_of_the_cpu()
        .flat_map(|dialect| [End::Eoi, End::Dir, End::Register].map(|end| (dialect, end)))
    {
        let seen = Seen::default();
        let by_program = Arc::clone(&seen);
        let program = AsyncGuest::new(move |mut cpu: AsyncVcpu| async move {
            enable(&mut cpu, 0).await;
            if !matches!(end, End::Eoi) {
                cpu.write_sysreg(SysReg::ICC_CTLR_EL1, 0b10).await.unwrap();
            }
            loop {
                let intid = cpu.next_interrupt().await;
                by_program.lock().unwrap().push(intid);
                cpu.end_of_interrupt(intid).await;
                match end {
                    End::Eoi => {}
                    End::Dir => {
                        cpu.write_sysreg(SysReg::ICC_DIR_EL1, intid.into()).await.unwrap();
                    }
                    End::Register => {
                        let register = GICD + 0x380 + 4 * u64::from(SPI / 32);
                        cpu.store(Ipa::new(register), 4, 1 << (SPI % 32)).await.unwrap();
                    }
                }
            }
        });
        realm(dialect, vec![Box::new(program)], |fixture| {
            run(fixture, |gic, mut vcpus| {
                let [vcpu] = &mut vcpus[..] else { panic!() };
                vcpu.1.rest.lowers = true;
                waits(fixture, vcpu);
                for _ in 0..3 {
                    gic.set_spi(spi(), true);
                    waits(fixture, vcpu);
                    assert_eq!(take(&seen), [SPI], "{end:?}");
                    assert_eq!(std::mem::take(&mut vcpu.1.rest.ended), [SPI], "{end:?}");
                }
            });
        });
    }
}

/// Of one that another REC deactivates while it is loaded, after which the entry is cancelled.
#[test]
fn an_end_in_a_cancelled_entry_is_told() {
    let seen = Seen::default();
    realm(DIALECTS[0], vec![taker(0, &seen)], |fixture| {
        run(fixture, |gic, mut vcpus| {
            let [(runner, vcpu)] = &mut vcpus[..] else { panic!() };
            let bit = 1 << (SPI % 32);
            let _ = gic.gic().set_bits(Bank::Shared, 1, Field::Active, bit, true);
            let _ = gic.gic().set_bits(Bank::Shared, 1, Field::Active, bit, false);
            vcpu.rest.kicks = Some(vcpu.gic.set());
            let outcome = runner.run(fixture.rmm, vcpu).unwrap();
            assert!(matches!(outcome, Outcome::Kicked), "{outcome:?}");
            assert_eq!(vcpu.rest.calls.last().unwrap().0, "entry_cancelled");
            assert_eq!(vcpu.rest.ended, [SPI]);
            assert_eq!(vcpu.rest.reports, []);
        });
    });
}

#[test]
fn an_spi_wakes_the_rec_that_waits_for_it() {
    for dialect in with_registers_of_the_cpu() {
        let seen = Seen::default();
        realm(dialect, vec![taker(0, &seen)], |fixture| {
            run(fixture, |gic, mut vcpus| {
                let [vcpu] = &mut vcpus[..] else { panic!() };
                waits(fixture, vcpu);
                gic.set_spi(spi(), true);
                assert!(fixture.set.is_ready(0));
                // The line stays up: it is pending again after each end.
                for _ in 0..3 {
                    let (runner, vcpu) = &mut *vcpu;
                    let mut entries = 0;
                    let mut should_stop = |_| {
                        entries += 1;
                        entries > 8
                    };
                    let outcome = runner.run_until(fixture.rmm, vcpu, &mut should_stop).unwrap();
                    assert!(matches!(outcome, Outcome::Bounded));
                    let taken = take(&seen);
                    assert!(taken.len() > 1 && taken.iter().all(|intid| *intid == SPI));
                }
                gic.set_spi(spi(), false);
                waits(fixture, vcpu);
                take(&seen);
                // Each run used the registers, and reports which interrupts it ended.
                let reports = &vcpu.1.rest.reports;
                assert!(reports.iter().all(|report| report.saved == Saved::Used));
                let ended = reports.iter().flat_map(|report| report.ended.iter());
                let ended: Vec<_> = ended.map(Intid::number).collect();
                assert!(ended.len() > 3 && ended.iter().all(|intid| *intid == SPI), "{ended:?}");
                assert_eq!(vcpu.1.rest.ended, ended);
                // It is level-sensitive.
                gic.pulse_spi(spi());
                assert!(!fixture.set.is_ready(0));
                // Now edge-triggered: GICD_ICFGR.
                let written = gic.distributor().write(0xc08, AccessSize::Word, 1 << 17);
                assert_eq!(written, Ok(()));
                gic.pulse_spi(spi());
                assert!(fixture.set.is_ready(0));
                waits(fixture, vcpu);
                assert_eq!(take(&seen), [SPI]);
            });
        });
    }
}

#[test]
fn a_rec_with_a_pending_interrupt_does_not_wait() {
    let seen = Seen::default();
    let program = {
        let seen = Arc::clone(&seen);
        AsyncGuest::new(move |mut cpu: AsyncVcpu| async move {
            enable(&mut cpu, 0).await;
            // An SGI to itself.
            cpu.write_sysreg(SysReg::ICC_SGI1R_EL1, 3 << 24 | 1).await.unwrap();
            loop {
                let intid = cpu.next_interrupt().await;
                seen.lock().unwrap().push(intid);
                cpu.end_of_interrupt(intid).await;
            }
        })
    };
    realm(DIALECTS[0], vec![Box::new(program)], |fixture| {
        run(fixture, |gic, mut vcpus| {
            let [vcpu] = &mut vcpus[..] else { panic!() };
            waits(fixture, vcpu);
            assert_eq!(take(&seen), [3]);
            assert!(!gic.gic().has_pending(0));
            // Its CPU is not interrupted for what it did itself.
            assert_eq!(fixture.set.statistics(0).unwrap().exits(ExitKind::Irq), 0);
            assert!(!fixture.model.cpu(0).take_interrupt());
        });
    });
}

#[test]
fn a_suspended_rec_is_woken_by_an_interrupt() {
    for dialect in with_registers_of_the_cpu() {
        let seen = Seen::default();
        let program = {
            let seen = Arc::clone(&seen);
            AsyncGuest::new(move |mut cpu: AsyncVcpu| async move {
                enable(&mut cpu, 0).await;
                // With an interrupt there already, it does not wait.
                cpu.write_sysreg(SysReg::ICC_SGI1R_EL1, 3 << 24 | 1).await.unwrap();
                loop {
                    cpu.call(Action::psci_cpu_suspend()).await;
                    let Some(intid) = cpu.acknowledge().await else { continue };
                    seen.lock().unwrap().push(intid);
                    cpu.end_of_interrupt(intid).await;
                }
            })
        };
        realm(dialect, vec![Box::new(program)], |fixture| {
            run(fixture, |gic, mut vcpus| {
                let [vcpu] = &mut vcpus[..] else { panic!() };
                waits(fixture, vcpu);
                assert_eq!(take(&seen), [3]);
                // PPI 20, which is level-sensitive.
                let ppi = PpiIntid::new(20).unwrap();
                gic.notify(gic.gic().set_ppi(0, ppi, true));
                assert!(fixture.set.is_ready(0));
                let _ = gic.gic().set_ppi(0, ppi, false);
                waits(fixture, vcpu);
                assert_eq!(take(&seen), []);
                gic.set_spi(spi(), true);
                assert!(fixture.set.is_ready(0));
            });
        });
    }
}

#[test]
fn a_wait_for_an_event_ends_at_once() {
    let program = AsyncGuest::new(|mut cpu: AsyncVcpu| async move {
        cpu.wfe().await;
        cpu.wfe().await;
        cpu.wfi().await;
        cpu.system_off().await
    });
    realm(DIALECTS[0], vec![Box::new(program)], |fixture| {
        run(fixture, |_, mut vcpus| {
            let [vcpu] = &mut vcpus[..] else { panic!() };
            waits(fixture, vcpu);
            assert_eq!(vcpu.0.rec().exits(), 3);
        });
    });
}

#[test]
fn an_sgi_wakes_the_rec_that_it_is_for() {
    for dialect in with_registers_of_the_cpu() {
        let seen = Seen::default();
        let sender = AsyncGuest::new(|mut cpu: AsyncVcpu| async move {
            enable(&mut cpu, 0).await;
            cpu.cpu_on(1, Ipa::new(0x1000), 0).await;
            cpu.wfi().await;
            cpu.write_sysreg(SysReg::ICC_SGI1R_EL1, 5 << 24 | 1 << 1).await.unwrap();
            // A register that is not one of the GIC's.
            cpu.write_sysreg(SysReg { op0: 3, op1: 0, crn: 1, crm: 0, op2: 1 }, 7).await.unwrap();
            loop {
                cpu.wfi().await;
            }
        });
        realm(dialect, vec![Box::new(sender), taker(1, &seen)], |fixture| {
            run(fixture, |_, mut vcpus| {
                let [sender, taker] = &mut vcpus[..] else { panic!() };
                waits(fixture, sender);
                waits(fixture, taker);
                fixture.set.notify(0);
                waits(fixture, sender);
                assert!(fixture.set.is_ready(1));
                waits(fixture, taker);
                assert_eq!(take(&seen), [5]);
            });
        });
    }
}

#[test]
fn a_timer_that_fires_is_an_interrupt() {
    for (kind, intid) in [(TimerKind::Virtual, 27), (TimerKind::Physical, 30)] {
        let seen = Seen::default();
        let program = {
            let seen = Arc::clone(&seen);
            AsyncGuest::new(move |mut cpu: AsyncVcpu| async move {
                enable(&mut cpu, 0).await;
                cpu.set_timer(kind, 100).await;
                let intid = cpu.next_interrupt().await;
                seen.lock().unwrap().push(intid);
                cpu.stop_timer(kind).await;
                cpu.end_of_interrupt(intid).await;
                cpu.next_interrupt().await;
            })
        };
        realm(DIALECTS[1], vec![Box::new(program)], |fixture| {
            run(fixture, |_, mut vcpus| {
                let [vcpu] = &mut vcpus[..] else { panic!() };
                let (runner, handler) = &mut *vcpu;
                let outcome = runner.run(fixture.rmm, handler).unwrap();
                let Outcome::Waiting(sleep) = outcome else { panic!("{outcome:?}") };
                assert_eq!(sleep.deadline, Some(100));
                fixture.model.advance(100);
                waits(fixture, vcpu);
                assert_eq!(take(&seen), [intid]);
            });
        });
    }
}

#[test]
fn saving_notifies_the_rec_that_an_interrupt_moves_to() {
    let seen = Seen::default();
    let other = AsyncGuest::new(|mut cpu: AsyncVcpu| async move {
        enable(&mut cpu, 0).await;
        cpu.cpu_on(1, Ipa::new(0x1000), 0).await;
        loop {
            cpu.wfi().await;
        }
    });
    realm(DIALECTS[0], vec![Box::new(other), taker(1, &seen)], |fixture| {
        run(fixture, |gic, mut vcpus| {
            let [other, taker] = &mut vcpus[..] else { panic!() };
            waits(fixture, other);
            waits(fixture, taker);
            for after_an_exit in [false, true] {
                let mut cpu = fixture.model.cpu(0);
                let here = Route::Specific(gic.gic().affinity(0).unwrap());
                let there = Route::Specific(gic.gic().affinity(1).unwrap());
                let _ = gic.gic().set_route(spi(), here);
                gic.set_spi(spi(), true);
                gic.load(0, &mut cpu);
                // The interrupt is in a list register of REC 0.
                let _ = gic.gic().set_route(spi(), there);
                assert!(!fixture.set.is_ready(1));
                if after_an_exit {
                    const OFF: Timer = Timer { ctl: 0, cval: 0 };
                    let timers = Timers { virtual_timer: OFF, physical_timer: OFF };
                    gic.after_exit(0, &mut cpu, timers, false);
                } else {
                    gic.save(0, &mut cpu);
                }
                assert!(fixture.set.is_ready(1));
                gic.set_spi(spi(), false);
                waits(fixture, taker);
            }
        });
    });
}

/// Answers reads of system registers.
struct Reads<'v>(RealmGic<'v>);

impl Handler for Reads<'_> {
    fn sysreg_read(&mut self, read: SysRegRead) -> Flow {
        Flow::Enter(self.0.read_sysreg(read))
    }
}

#[test]
fn an_interrupt_for_any_rec_goes_to_another_when_the_loop_ends() {
    let seen = Seen::default();
    let other = AsyncGuest::new(|mut cpu: AsyncVcpu| async move {
        enable(&mut cpu, 0).await;
        cpu.cpu_on(1, Ipa::new(0x1000), 0).await;
        loop {
            cpu.wfi().await;
        }
    });
    realm(DIALECTS[0], vec![Box::new(other), taker(1, &seen)], |fixture| {
        run(fixture, |gic, mut vcpus| {
            for vcpu in &mut vcpus {
                waits(fixture, vcpu);
            }
            let _ = gic.gic().set_route(spi(), Route::Any);
            gic.set_spi(spi(), true);
            let chosen = usize::from(fixture.set.is_ready(1));
            let another = 1 - chosen;
            assert!(fixture.set.is_ready(chosen) && !fixture.set.is_ready(another));
            // Its thread does something else.
            assert!(fixture.set.kick(chosen));
            let (runner, vcpu) = &mut vcpus[chosen];
            let Ok(Outcome::Kicked) = runner.run(fixture.rmm, vcpu) else { panic!() };
            assert!(fixture.set.is_ready(another));
        });
    });
}

/// What the RMM gives the Realm for a read of a register that traps.
#[test]
fn reads_are_answered_with_the_value_of_the_register() {
    // `ICC_SRE_EL1` into X3, and a register that is not one of the GIC's into X4.
    const SRE: SysReg = SysReg::ICC_SRE_EL1;
    let other = SysReg { op0: 3, op1: 0, crn: 1, crm: 0, op2: 1 };
    for (register, value) in [(SRE, 7), (other, 0)] {
        let SysReg { op0, op1, crn, crm, op2 } = register;
        let iss = u64::from(op0) << 20
            | u64::from(op2) << 17
            | u64::from(op1) << 14
            | u64::from(crn) << 10
            | u64::from(crm) << 1;
        let forged = ForgedExit { esr: 0x18 << 26 | 1 << 25 | iss | 1, ..ForgedExit::new(0) };
        realm(DIALECTS[0], vec![script(vec![Action::Forge(forged)])], |fixture| {
            with_gic(fixture.model, fixture.set, |gic| {
                let mut runner = fixture.set.claim(0).unwrap();
                let bound = &mut |entries| entries == 2;
                let outcome = runner.run_until(fixture.rmm, &mut Reads(gic), bound).unwrap();
                assert!(matches!(outcome, Outcome::Bounded), "{outcome:?}");
                let statistics = fixture.set.statistics(0).unwrap();
                assert_eq!(statistics.exits(ExitKind::SysRegRead), 1);
                let mut reply = [0; 8];
                let at = fixture.run_page.raw() + offset_of!(RecEnter, gprs) as u64;
                fixture.model.peek(Pa::new(at), &mut reply);
                assert_eq!(u64::from_le_bytes(reply), value);
            });
        });
    }
}

#[test]
fn a_rec_that_turns_itself_off_has_a_new_interface() {
    for dialect in with_registers_of_the_cpu() {
        let first = script(vec![Action::psci_cpu_on(1, 0x1000, 0), Action::Wfi]);
        let second = AsyncGuest::new(|mut cpu: AsyncVcpu| async move {
            enable(&mut cpu, 1).await;
            // An SGI to itself, which stays active.
            cpu.write_sysreg(SysReg::ICC_SGI1R_EL1, 3 << 24 | 1 << 1).await.unwrap();
            assert_eq!(cpu.next_interrupt().await, 3);
            cpu.wfi().await;
            cpu.cpu_off().await;
        });
        realm(dialect, vec![first, Box::new(second)], |fixture| {
            run(fixture, |gic, mut vcpus| {
                let [first, second] = &mut vcpus[..] else { panic!() };
                waits(fixture, first);
                waits(fixture, second);
                let mut cpu = fixture.model.cpu(0);
                let interface = |cpu: &mut Cpu<'_>| {
                    gic.load(1, cpu);
                    // Priority mask, enabled groups, active priorities.
                    let registers = (cpu.vmcr() >> 24, cpu.vmcr() & 0b11, cpu.ap1r(0));
                    let report = gic.save(1, cpu);
                    assert_eq!((report.saved, report.ended.iter().count()), (Saved::Unused, 0));
                    registers
                };
                let (mask, groups, active) = interface(&mut cpu);
                assert_eq!((mask, groups, active.count_ones()), (0xf0, 0b10, 1));
                let outcome = second.0.run(fixture.rmm, &mut second.1).unwrap();
                assert!(matches!(outcome, Outcome::Off { is_last: false, .. }), "{outcome:?}");
                assert_eq!(interface(&mut cpu), (0, 0, 0));
            });
        });
    }
}

#[test]
fn an_spi_that_any_rec_may_take_leaves_a_rec_that_turns_itself_off() {
    for dialect in with_registers_of_the_cpu() {
        let first = AsyncGuest::new(|mut cpu: AsyncVcpu| async move {
            enable(&mut cpu, 0).await;
            cpu.cpu_on(1, Ipa::new(0x1000), 0).await;
            loop {
                cpu.wfi().await;
            }
        });
        let second = AsyncGuest::new(|mut cpu: AsyncVcpu| async move {
            enable(&mut cpu, 1).await;
            cpu.wfi().await;
            cpu.cpu_off().await;
        });
        realm(dialect, vec![Box::new(first), Box::new(second)], |fixture| {
            run(fixture, |gic, mut vcpus| {
                let [first, second] = &mut vcpus[..] else { panic!() };
                waits(fixture, first);
                waits(fixture, second);
                let _ = gic.gic().set_route(spi(), Route::Any);
                gic.set_spi(spi(), true);
                // The interrupt is in a list register of REC 1, so REC 0 waits.
                gic.load(1, &mut fixture.model.cpu(1));
                waits(fixture, first);
                let outcome = second.0.run(fixture.rmm, &mut second.1).unwrap();
                assert!(matches!(outcome, Outcome::Off { .. }), "{outcome:?}");
                assert!(fixture.set.is_ready(0));
                assert!(gic.gic().has_pending(0) && !gic.gic().has_pending(1));
            });
        });
    }
}

#[test]
fn a_timer_that_expires_between_runs_is_raised_before_the_next_one() {
    for (kind, line) in [(TimerKind::Virtual, 1 << 27), (TimerKind::Physical, 1 << 30)] {
        let program = AsyncGuest::new(move |mut cpu: AsyncVcpu| async move {
            enable(&mut cpu, 0).await;
            cpu.set_timer(kind, 100).await;
            cpu.next_interrupt().await;
            loop {
                cpu.wfi().await;
            }
        });
        realm(DIALECTS[1], vec![Box::new(program)], |fixture| {
            run(fixture, |gic, mut vcpus| {
                let [(runner, vcpu)] = &mut vcpus[..] else { panic!() };
                let outcome = runner.run(fixture.rmm, vcpu).unwrap();
                let Outcome::Waiting(sleep) = outcome else { panic!("{outcome:?}") };
                let pending = || gic.gic().bits(Bank::Private(0), 0, Field::Pending);
                let _ = gic.gic().set_ppi(0, PpiIntid::PMU, true);
                for (counter, lines) in [(99, 0), (100, line), (99, 0), (101, line)] {
                    gic.set_timers(0, sleep.timers.at(counter));
                    // The PMU stays as it is.
                    assert_eq!(pending(), lines | 1 << 23);
                }
                assert!(fixture.set.is_ready(0));
            });
        });
    }
}

#[test]
fn a_timer_that_expires_between_runs_wakes_the_rec() {
    let program = AsyncGuest::new(move |mut cpu: AsyncVcpu| async move {
        enable(&mut cpu, 0).await;
        cpu.set_timer(TimerKind::Virtual, 100).await;
        cpu.next_interrupt().await;
    });
    realm(DIALECTS[1], vec![Box::new(program)], |fixture| {
        run(fixture, |gic, mut vcpus| {
            let [(runner, vcpu)] = &mut vcpus[..] else { panic!() };
            let outcome = runner.run(fixture.rmm, vcpu).unwrap();
            let Outcome::Waiting(sleep) = outcome else { panic!("{outcome:?}") };
            gic.set_timers(0, sleep.timers.at(99));
            assert!(!fixture.set.is_ready(0));
            gic.set_timers(0, sleep.timers.at(100));
            assert!(fixture.set.is_ready(0));
        });
    });
}

/// An exit for a read of a register into X3, or for a write.
fn forged_access(SysReg { op0, op1, crn, crm, op2 }: SysReg, is_read: bool) -> Action {
    let iss = u64::from(op0) << 20
        | u64::from(op2) << 17
        | u64::from(op1) << 14
        | u64::from(crn) << 10
        | u64::from(crm) << 1;
    let esr = 0x18 << 26 | 1 << 25 | iss | u64::from(is_read);
    Action::Forge(ForgedExit { esr, ..ForgedExit::new(0) })
}

const OTHER: SysReg = SysReg { op0: 3, op1: 0, crn: 1, crm: 0, op2: 1 };

#[test]
fn the_rest_is_asked_about_all_that_the_gic_and_the_bus_do_not_do() {
    let program = AsyncGuest::new(|mut cpu: AsyncVcpu| async move {
        enable(&mut cpu, 0).await;
        cpu.act(Action::Interrupt).await;
        cpu.cpu_on(1, Ipa::new(0x1000), 0).await;
        // To nobody; then one that is not the GIC's.
        cpu.write_sysreg(SysReg::ICC_SGI1R_EL1, 5 << 24).await.unwrap();
        cpu.act(forged_access(OTHER, false)).await;
        cpu.wfe().await;
        cpu.cpu_off().await;
    });
    let programs = vec![Box::new(program) as Box<dyn Guest>, script(vec![])];
    realm(DIALECTS[0], programs, |fixture| {
        run(fixture, |_, mut vcpus| {
            let (runner, vcpu) = &mut vcpus[0];
            // A kick comes when the interrupts are masked.
            vcpu.rest.kicks = Some(vcpu.gic.set());
            let outcome = runner.run(fixture.rmm, vcpu).unwrap();
            assert!(matches!(outcome, Outcome::Kicked), "{outcome:?}");
            let calls = std::mem::take(&mut vcpu.rest.calls);
            assert_eq!(calls, [("before_entry", false), ("entry_cancelled", false)]);
            assert_eq!(vcpu.rest.reports, []);
            vcpu.rest.kicks = None;
            assert!(fixture.model.cpu(0).take_interrupt());
            let outcome = runner.run(fixture.rmm, vcpu).unwrap();
            assert!(matches!(outcome, Outcome::Off { .. }), "{outcome:?}");
            // Never is the interface on when the rest is called.
            assert!(vcpu.rest.calls.iter().all(|(_, is_on)| !is_on));
            let calls: Vec<_> = vcpu.rest.calls.iter().map(|(call, _)| *call).collect();
            let steps: Vec<_> = calls.split(|call| *call == "before_entry").skip(1).collect();
            assert!(steps.iter().all(|step| step.starts_with(&["interrupts_saved", "after_exit"])));
            let asked = steps.iter().map(|step| &step[2..]);
            let asked: Vec<_> = asked.filter(|asked| !asked.is_empty()).collect();
            let expected: [&[&str]; 4] =
                [&["interrupt"], &["cpu_on"], &["sysreg_write"], &["cpu_off"]];
            assert_eq!(asked, expected);
            assert_eq!(vcpu.rest.reports.len(), steps.len());
            assert!(format!("{vcpu:?}").starts_with("GicHandler { index: 0, rest: "));
        });
    });
}

#[test]
fn the_rest_answers_reads_of_registers_that_the_gic_does_not_have() {
    for (register, value, asked) in [(SysReg::ICC_SRE_EL1, 7, 0), (OTHER, 9, 1)] {
        realm(DIALECTS[0], vec![script(vec![forged_access(register, true)])], |fixture| {
            run(fixture, |_, mut vcpus| {
                let [(runner, vcpu)] = &mut vcpus[..] else { panic!() };
                let bound = &mut |entries| entries == 2;
                let outcome = runner.run_until(fixture.rmm, vcpu, bound).unwrap();
                assert!(matches!(outcome, Outcome::Bounded), "{outcome:?}");
                let calls = &vcpu.rest.calls;
                assert_eq!(calls.iter().filter(|(call, _)| *call == "sysreg_read").count(), asked);
                let mut reply = [0; 8];
                let at = fixture.run_page.raw() + offset_of!(RecEnter, gprs) as u64;
                fixture.model.peek(Pa::new(at), &mut reply);
                assert_eq!(u64::from_le_bytes(reply), value);
            });
        });
    }
}
