//! RECs that run with the GIC.

use std::mem::offset_of;
use std::sync::{Arc, Mutex};

use rec_runtime::exit::{MmioLoad, MmioStore, PsciNotice, SysRegRead, SysRegWrite, Wait};
use rec_runtime::gic::RealmGic;
use rec_runtime::mmio::{MmioBus, MmioDevice};
use rec_runtime::set::{ExitKind, Outcome, Runner};
use rec_runtime::{Answer, Exit, Flow, Handler, Rec, Timer, Timers};
use rmi_abi::esr::SysReg;
use rmi_abi::rtt::Geometry;
use rmi_abi::run::RecEnter;
use rmi_abi::{Ipa, IpaRange, Pa};
use rmm_model::{AsyncGuest, AsyncVcpu, Cpu, ForgedExit, Guest, TimerKind};
use vgic_realm::{PpiIntid, Route};

use crate::fixture::{Action, DIALECTS, Fixture, realm, script};
use crate::{SPI, spi, with_gic};

const GICD: u64 = 1 << 39;
const GICR: u64 = GICD + 0x10_0000;

pub(crate) struct Vcpu<'v> {
    index: usize,
    gic: RealmGic<'v>,
    bus: &'v MmioBus<'v, 2>,
    cpu: Cpu<'v>,
}

impl Handler for Vcpu<'_> {
    fn before_entry(&mut self, _: &Rec) {
        self.gic.load(self.index, &mut self.cpu);
    }

    fn entry_cancelled(&mut self, _: &Rec) {
        self.gic.save(self.index, &mut self.cpu);
    }

    fn after_exit(&mut self, timers: Timers, pmu_overflow: bool) {
        self.gic.after_exit(self.index, &mut self.cpu, timers, pmu_overflow);
    }

    fn wait(&mut self, wait: Wait) -> Flow {
        self.gic.wait(self.index, wait)
    }

    fn psci_notice(&mut self, notice: PsciNotice) -> Flow {
        match notice {
            PsciNotice::CpuSuspend => self.gic.suspend(self.index),
            _ => Flow::Leave,
        }
    }

    fn mmio_load(&mut self, load: MmioLoad) -> Flow {
        Flow::Enter(self.bus.load(load))
    }

    fn mmio_store(&mut self, store: MmioStore) -> Flow {
        Flow::Enter(self.bus.store(store))
    }

    fn sysreg_read(&mut self, read: SysRegRead) -> Flow {
        Flow::Enter(self.gic.read_sysreg(read))
    }

    fn sysreg_write(&mut self, write: SysRegWrite) -> Flow {
        Flow::Enter(self.gic.write_sysreg(self.index, write))
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
        let mut bus = MmioBus::new(Geometry::new(40).unwrap());
        for (base, bytes, device) in devices {
            bus.add(IpaRange::with_size(Ipa::new(base), bytes).unwrap(), device).unwrap();
        }
        let vcpu = |index| {
            let runner = fixture.set.claim(index).unwrap();
            runner.rec().trap_waiting(true, true);
            (runner, Vcpu { index, gic, bus: &bus, cpu: fixture.model.cpu(0) })
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

#[test]
fn an_spi_wakes_the_rec_that_waits_for_it() {
    for dialect in DIALECTS {
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
                    let mut is_enough = |_| {
                        entries += 1;
                        entries > 8
                    };
                    let outcome = runner.run_until(fixture.rmm, vcpu, &mut is_enough).unwrap();
                    assert!(matches!(outcome, Outcome::Bounded));
                    let taken = take(&seen);
                    assert!(taken.len() > 1 && taken.iter().all(|intid| *intid == SPI));
                }
                gic.set_spi(spi(), false);
                waits(fixture, vcpu);
                take(&seen);
                // It is level-sensitive.
                gic.pulse_spi(spi());
                assert!(!fixture.set.is_ready(0));
                // Now edge-triggered: GICD_ICFGR.
                let written = vcpu.1.bus.write(Ipa::new(GICD + 0xc08), 4, 1 << 17);
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
    for dialect in DIALECTS {
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
    for dialect in DIALECTS {
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
                let rec = fixture.set.rec(0).unwrap();
                let event = rec.enter(fixture.rmm, Answer::resume()).unwrap();
                let Exit::SysRegRead(read) = event.exit else { panic!("{:?}", event.exit) };
                let answer = gic.read_sysreg(read);
                let Exit::Fiq = rec.enter(fixture.rmm, answer).unwrap().exit else { panic!() };
                let mut reply = [0; 8];
                let at = fixture.run_page.raw() + offset_of!(RecEnter, gprs) as u64;
                fixture.model.peek(Pa::new(at), &mut reply);
                assert_eq!(u64::from_le_bytes(reply), value);
            });
        });
    }
}
