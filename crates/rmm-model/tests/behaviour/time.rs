//! The counter, and the timers that follow it.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};

use rmi_abi::esr::{Esr, ExceptionClass};
use rmi_abi::run::{ExitReason, RecEnterFlags};
use rmm_model::{Action, AsyncGuest, AsyncVcpu, Options, Outcome, SysReg, TimerKind};

use crate::host::{ALL, DIALECTS, Host};

const KINDS: [TimerKind; 2] = [TimerKind::Virtual, TimerKind::Physical];
const TRAP_WFI: u64 = RecEnterFlags::TRAP_WFI.bits();
const TRAP_WFE: u64 = RecEnterFlags::TRAP_WFE.bits();

fn timer(kind: TimerKind, ctl: u64, cval: u64) -> Action {
    Action::Timer { kind, ctl, cval }
}

fn version() -> Action {
    Action::rsi_version(0x1_0000)
}

#[test]
fn a_timer_fires_when_its_time_has_come() {
    for dialect in ALL {
        for kind in KINDS {
            let host = Host::new(Options::new(dialect));
            let running = host.script(vec![
                timer(kind, 1, 100),
                Action::Fiq,
                Action::Fiq,
                Action::Fiq,
                // Read by the program, and stopped.
                Action::read_register(SysReg::CNTVCT_EL0),
                timer(kind, 0, 0),
                timer(kind, 3, 100),
                Action::Fiq,
            ]);
            let ctl = |exit: &rmi_abi::run::RecExit| match kind {
                TimerKind::Virtual => (exit.cntv_ctl, exit.cntv_cval, exit.cntp_ctl),
                TimerKind::Physical => (exit.cntp_ctl, exit.cntp_cval, exit.cntv_ctl),
            };
            host.model.advance(99);
            let (reason, exit) = running.enter(0, &[]);
            assert_eq!((reason, ctl(&exit)), (ExitReason::Fiq, (1, 100, 0)));
            // It expires while the host has the CPU: an exit before the program runs.
            host.model.advance(1);
            assert_eq!(host.model.now(), 100);
            let (reason, exit) = running.enter(0, &[]);
            assert_eq!((reason, ctl(&exit)), (ExitReason::Irq, (5, 100, 0)));
            // Masked from now on.
            for _ in 0..2 {
                let (reason, exit) = running.enter(0, &[]);
                assert_eq!((reason, ctl(&exit)), (ExitReason::Fiq, (5, 100, 0)));
            }
            let (reason, exit) = running.enter(0, &[]);
            assert_eq!((reason, ctl(&exit)), (ExitReason::Fiq, (7, 100, 0)));
        }
    }
}

#[test]
fn an_output_that_goes_low_ends_a_run_when_the_rmm_is_called() {
    for kind in KINDS {
        let host = Host::tf_rmm();
        let running = host.script(vec![
            timer(kind, 1, 0),
            // Low, high, low: it is masked, so nothing ends the run.
            timer(kind, 0, 0),
            timer(kind, 1, 0),
            timer(kind, 0, 0),
            version(),
            // High again, and not masked.
            timer(kind, 1, 0),
            // Low and high again before a call: nothing has changed then.
            timer(kind, 0, 0),
            timer(kind, 1, 0),
            version(),
            Action::Fiq,
            // An abort that the RMM injects is as good as a call.
            timer(kind, 0, 0),
            Action::Load { ipa: rmi_abi::Ipa::new(0x8000), bytes: 1 },
            Action::Fiq,
        ]);
        let enter = || {
            let (reason, exit) = running.enter(0, &[]);
            (reason, exit.cntv_ctl | exit.cntp_ctl)
        };
        assert_eq!(enter(), (ExitReason::Irq, 5));
        assert_eq!(enter(), (ExitReason::Irq, 0));
        assert_eq!(enter(), (ExitReason::Irq, 5));
        assert_eq!(enter(), (ExitReason::Fiq, 5));
        assert_eq!(enter(), (ExitReason::Irq, 0));
        assert_eq!(enter(), (ExitReason::Fiq, 0));
    }
}

#[test]
fn the_program_has_the_registers_of_its_timers() {
    let mut options = Options::new(DIALECTS[0]);
    options.counter_frequency = 62_500_000;
    let host = Host::new(options);
    let (say, said) = mpsc::channel();
    let running = host.running(AsyncGuest::new(move |mut cpu: AsyncVcpu| async move {
        assert_eq!(cpu.read_sysreg(SysReg::CNTFRQ_EL0).await, Ok(62_500_000));
        assert_eq!(cpu.counter().await, 40);
        cpu.write_sysreg(SysReg::CNTV_TVAL_EL0, 60).await.unwrap();
        assert_eq!(cpu.read_sysreg(SysReg::CNTV_CVAL_EL0).await, Ok(100));
        cpu.write_sysreg(SysReg::CNTV_CTL_EL0, 1).await.unwrap();
        assert_eq!(cpu.read_sysreg(SysReg::CNTV_CTL_EL0).await, Ok(1));
        cpu.act(Action::Fiq).await;
        assert_eq!(cpu.read_sysreg(SysReg::CNTV_CTL_EL0).await, Ok(5));
        cpu.set_timer(TimerKind::Physical, 200).await;
        assert_eq!(cpu.read_sysreg(SysReg::CNTP_TVAL_EL0).await, Ok(100));
        cpu.stop_timer(TimerKind::Virtual).await;
        assert_eq!(cpu.read_sysreg(SysReg::CNTV_CTL_EL0).await, Ok(0));
        say.send(()).unwrap();
        cpu.system_off().await
    }));
    host.model.advance(40);
    assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq);
    host.model.advance(60);
    assert_eq!(running.enter(0, &[]).0, ExitReason::Irq);
    let (reason, exit) = running.enter(0, &[]);
    assert_eq!((reason, exit.cntv_ctl), (ExitReason::Psci, 0));
    assert_eq!((exit.cntp_ctl, exit.cntp_cval), (1, 200));
    assert_eq!(said.try_recv(), Ok(()));
}

#[test]
fn a_wait_that_would_end_at_once_is_not_trapped() {
    let host = Host::tf_rmm();
    host.model.advance(50);
    let running = host.script(vec![
        Action::Wfit { deadline: 50 },
        Action::Wfet { deadline: 50 },
        Action::Wfit { deadline: 51 },
        Action::Wfet { deadline: 51 },
        Action::Wfi,
        Action::Wfi,
        Action::Wfe,
        Action::Fiq,
    ]);
    let trapped = |kind| {
        let (reason, exit) = running.enter(TRAP_WFI | TRAP_WFE, &[]);
        assert_eq!((reason, Esr(exit.esr).class()), (ExitReason::Sync, ExceptionClass::Wfx));
        assert_eq!(Esr(exit.esr).wfx_kind(), kind);
    };
    trapped(0);
    trapped(1);
    trapped(0);
    // A virtual interrupt that is signalled ends WFI, not WFE.
    let cpu = host.model.cpu(0);
    cpu.set_list_register(0, 1 << 62 | 1 << 60 | 27);
    cpu.set_vmcr(0xf8 << 24 | 1 << 1);
    cpu.set_hcr(1);
    trapped(1);
    assert_eq!(running.enter(TRAP_WFI | TRAP_WFE, &[]).0, ExitReason::Fiq);
}

#[test]
fn without_polls_a_wait_exits_at_once() {
    let host = Host::tf_rmm();
    let running = host.script(vec![
        Action::Wfit { deadline: 10 },
        Action::Wfi,
        Action::Wfe,
        Action::Wfet { deadline: 10 },
        Action::Fiq,
    ]);
    assert_eq!(running.enter(0, &[]).0, ExitReason::Irq);
    assert_eq!(running.enter(0, &[]).0, ExitReason::Irq);
    assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq);
}

/// A machine whose waits last, and whose counter counts how often it is read.
fn polling(polls: u32) -> Host {
    let mut options = Options::new(DIALECTS[0]);
    options.wait_polls = polls;
    Host::new(options)
}

#[test]
fn a_wait_lasts_until_its_deadline() {
    let host = polling(u32::MAX);
    let ticks = AtomicU64::new(0);
    host.model.set_clock(Box::new(move || ticks.fetch_add(1, Ordering::Relaxed)));
    let (say, said) = mpsc::channel();
    let running = host.running(AsyncGuest::new(move |mut cpu: AsyncVcpu| async move {
        // More looks than a run may have actions.
        cpu.wfit(200_000).await;
        say.send(cpu.state().last).unwrap();
        assert!(cpu.counter().await >= 200_000);
        // For the timer.
        cpu.set_timer(TimerKind::Virtual, 300_000).await;
        cpu.wfi().await;
        assert!(cpu.counter().await >= 300_000);
        cpu.act(Action::Fiq).await;
    }));
    let (reason, exit) = running.enter(0, &[]);
    assert_eq!((reason, exit.cntv_ctl, exit.cntv_cval), (ExitReason::Irq, 5, 300_000));
    assert_eq!(said.try_recv(), Ok(Outcome::Done));
    assert!((300_000..301_000).contains(&host.model.now()));
    assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq);
}

/// How often the counter is read while a wait lasts.
fn looks(polls: u32) -> u32 {
    let host = polling(polls);
    let running = host.script(vec![Action::Wfi]);
    let reads = Arc::new(AtomicU32::new(0));
    let seen = Arc::clone(&reads);
    host.model.set_clock(Box::new(move || {
        reads.fetch_add(1, Ordering::Relaxed);
        0
    }));
    let before = seen.load(Ordering::Relaxed);
    assert_eq!(running.enter(0, &[]).0, ExitReason::Irq);
    seen.load(Ordering::Relaxed) - before
}

#[test]
fn a_wait_lasts_as_many_polls_as_the_options_say() {
    assert_eq!([looks(1), looks(2), looks(9)].map(|n| n - looks(0)), [1, 2, 9]);
}

#[test]
fn another_thread_ends_a_wait() {
    for by_timer in [true, false] {
        let host = polling(u32::MAX);
        let cpu = host.model.cpu(0);
        let (say, waits) = mpsc::channel();
        let running = host.running(AsyncGuest::new(move |mut cpu: AsyncVcpu| async move {
            cpu.set_timer(TimerKind::Virtual, 1000).await;
            say.send(()).unwrap();
            cpu.wfi().await;
            cpu.act(Action::Fiq).await;
        }));
        let model = Arc::clone(&host.model);
        let reason = std::thread::scope(|scope| {
            scope.spawn(move || {
                waits.recv().unwrap();
                if by_timer {
                    model.advance(999);
                    model.advance(1);
                } else {
                    cpu.interrupt();
                }
            });
            running.enter(0, &[])
        });
        assert_eq!((reason.0, reason.1.cntv_ctl), (ExitReason::Irq, if by_timer { 5 } else { 1 }));
        assert!(!cpu.take_interrupt());
        // The wait is over.
        assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq);
    }
}
