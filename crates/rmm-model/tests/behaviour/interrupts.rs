//! The virtual CPU interface, as several RECs and several physical CPUs see it.

use rmi_abi::esr::{Esr, ExceptionClass, SysReg};
use rmi_abi::run::{ExitReason, RecEnter, RecExit};
use rmi_abi::{Command, Pa, Status};
use rmm_model::{Action, Cpu, Options, Outcome, Script};
use zerocopy::{FromZeros, IntoBytes};

use crate::host::{DIALECTS, Host, Running, status};

const PENDING: u64 = 1 << 62 | 1 << 60;
const TIMER: u64 = PENDING | 0x80 << 48 | 27;

/// Two Realms with a REC each.
fn two<'h>(host: &'h Host, first: Vec<Action>, second: Vec<Action>) -> [Running<'h>; 2] {
    [first, second].map(|actions| host.script(actions))
}

/// Enters on a physical CPU; returns the exit.
#[expect(unsafe_code, reason = "a raw call")]
fn enter_on(cpu: Cpu<'_>, running: &Running<'_>) -> (ExitReason, RecExit) {
    let host = running.host;
    host.write(running.run, RecEnter::new_zeroed().as_bytes());
    let enter = Command::RecEnter.fid(host.dialect).unwrap().0.into();
    let registers = [enter, running.rec, running.run, 0, 0, 0, 0, 0];
    // SAFETY: the model has memory of its own only.
    let answer = unsafe { rmi_host::Conduit::call(&cpu, registers) };
    assert_eq!(status(answer), Status::Success);
    let mut exit = RecExit::new_zeroed();
    exit.as_mut_bytes().copy_from_slice(&host.read::<0x800>(running.run + 0x800));
    (ExitReason::decode(exit.exit_reason, host.dialect), exit)
}

#[test]
fn what_a_realm_leaves_in_the_interface_is_what_the_next_one_finds() {
    for dialect in DIALECTS {
        let host = Host::new(Options::new(dialect));
        let first =
            vec![Action::set_priority_mask(0xf0), Action::enable_group_1(true), Action::Interrupt];
        let second = vec![Action::set_priority_mask(0), Action::enable_group_1(false)];
        let [a, b] = two(&host, first, second);
        let cpu = host.model.cpu(0);
        cpu.set_hcr(1);
        a.enter(0, &[]);
        assert_eq!(cpu.vmcr() >> 24, 0xf0);
        assert_eq!(cpu.vmcr() & 2, 2);
        cpu.set_hcr(1);
        b.enter(0, &[]);
        assert_eq!((cpu.vmcr() >> 24, cpu.vmcr() & 2), (0, 0));
        assert_eq!(host.model.cpu(1).vmcr() & 2, 0);
    }
}

#[test]
fn an_active_interrupt_blocks_until_it_is_swapped() {
    let host = Host::tf_rmm();
    let enabled = || vec![Action::set_priority_mask(0xf0), Action::enable_group_1(true)];
    let mut first = enabled();
    first.extend([Action::acknowledge(), Action::Interrupt]);
    let mut second = enabled();
    second.extend([Action::acknowledge(), Action::Interrupt, Action::acknowledge()]);
    let [a, b] = two(&host, first, second);
    let cpu = host.model.cpu(0);
    cpu.set_list_register(0, TIMER);
    cpu.set_hcr(1);
    assert_eq!(a.enter(0, &[]).0, ExitReason::Irq);
    assert_eq!((cpu.list_register(0) >> 62, cpu.ap1r(0)), (2, 0x1_0000));
    // The host saves and restores only list registers: the other Realm's interrupt waits for one
    // that it does not have.
    cpu.set_list_register(0, TIMER);
    cpu.set_hcr(1);
    assert_eq!(b.enter(0, &[]).0, ExitReason::Irq);
    assert_eq!((cpu.list_register(0), cpu.ap1r(0)), (TIMER, 0x1_0000));
    cpu.set_ap1r(0, 0);
    cpu.set_hcr(1);
    b.enter(0, &[]);
    assert_eq!((cpu.list_register(0) >> 62, cpu.ap1r(0)), (2, 0x1_0000));
    // The other group has other registers, and so do other CPUs.
    assert_eq!((cpu.ap0r(0), host.model.cpu(1).ap1r(0)), (0, 0));
    cpu.set_ap0r(0, 1);
    assert_eq!((cpu.ap0r(0), cpu.ap0r(1), cpu.ap1r(0)), (1, 0, 0x1_0000));
}

#[test]
fn trapped_registers_are_the_hosts() {
    let host = Host::tf_rmm();
    let running = host.script(vec![
        Action::SysRegWrite { register: SysReg::ICC_DIR_EL1, value: 27 },
        Action::SysRegRead { register: SysReg::ICC_RPR_EL1, into: 7 },
    ]);
    let cpu = host.model.cpu(0);
    // Without traps, both registers are the CPU's own.
    cpu.set_hcr(1);
    assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq);

    let running = host.script(vec![
        Action::SysRegWrite { register: SysReg::ICC_DIR_EL1, value: 28 },
        Action::SysRegRead { register: SysReg::ICC_RPR_EL1, into: 7 },
    ]);
    cpu.set_hcr(1 | 1 << 14);
    let (reason, exit) = running.enter(0, &[]);
    assert_eq!((reason, Esr(exit.esr).class()), (ExitReason::Sync, ExceptionClass::SysReg));
    assert_eq!((Esr(exit.esr).system_register(), exit.gprs[0]), (SysReg::ICC_DIR_EL1, 28));
    cpu.set_hcr(1 | 1 << 10);
    let (_, exit) = running.enter(0, &[]);
    assert_eq!(Esr(exit.esr).system_register(), SysReg::ICC_RPR_EL1);
    assert!(Esr(exit.esr).sysreg_is_read());
    assert_eq!(running.enter(0, &[0x55]).0, ExitReason::Fiq);
}

#[test]
fn the_hosts_answer_to_a_read_arrives_in_the_register() {
    let host = Host::tf_rmm();
    let (sender, receiver) = std::sync::mpsc::channel();
    let mut actions =
        vec![Action::SysRegRead { register: SysReg::ICC_RPR_EL1, into: 7 }].into_iter();
    let running = host.running(move |cpu: &rmm_model::GuestCpu| {
        sender.send((cpu.last, cpu.x[7])).unwrap();
        actions.next().unwrap_or(Action::Spin)
    });
    host.model.cpu(0).set_hcr(1 | 1 << 10);
    running.enter(0, &[]);
    running.enter(0, &[0x55]);
    let seen: Vec<_> = receiver.try_iter().collect();
    assert_eq!(seen, [(Outcome::None, 0), (Outcome::Read(0x55), 0x55)]);
}

#[test]
fn a_maintenance_interrupt_ends_a_run() {
    let host = Host::tf_rmm();
    let running = host.script(vec![
        Action::set_priority_mask(0xf0),
        Action::enable_group_1(true),
        Action::acknowledge(),
        Action::end_of_interrupt(27),
        Action::Fiq,
    ]);
    let cpu = host.model.cpu(0);
    // NPIE with nothing pending: before the first action.
    cpu.set_hcr(1 | 1 << 3);
    assert_eq!(running.enter(0, &[]).0, ExitReason::Irq);
    assert_eq!(cpu.vmcr() >> 24, 0);
    // An indication of the end of the interrupt is requested.
    cpu.set_list_register(0, TIMER | 1 << 41);
    cpu.set_hcr(1);
    assert_eq!(running.enter(0, &[]).0, ExitReason::Irq);
    assert_eq!((cpu.misr(), cpu.hcr(), cpu.list_register(0) >> 62), (1, 0, 0));
    cpu.set_list_register(0, 0);
    assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq);
}

#[test]
fn a_cpu_is_interrupted_from_another_thread() {
    let host = Host::tf_rmm();
    let (sender, started) = std::sync::mpsc::channel();
    let mut round = 0_u64;
    let running = host.running(move |_: &rmm_model::GuestCpu| {
        // Runs until it is interrupted, however long that takes.
        round += 1;
        if round % 16 == 1 {
            let _ = sender.send(());
            std::thread::yield_now();
        }
        Action::Set { register: 0, value: round }
    });
    let cpu = host.model.cpu(0);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let stop = &stop;
        scope.spawn(move || {
            for _ in 0..20 {
                started.recv().unwrap();
                cpu.interrupt();
            }
            stop.store(true, std::sync::atomic::Ordering::Release);
        });
        let mut interrupted = 0;
        while !stop.load(std::sync::atomic::Ordering::Acquire) {
            let (reason, _) = running.enter(0, &[]);
            interrupted += u32::from(reason == ExitReason::Irq);
        }
        assert!(interrupted > 0);
    });
    // An interrupt that arrives while no REC runs ends the next run, once.
    cpu.interrupt();
    assert_eq!(running.enter(0, &[]).0, ExitReason::Irq);
    cpu.interrupt();
    assert!(cpu.take_interrupt());
    assert!(!cpu.take_interrupt());
    assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq, "too many actions");
    host.model.cpu(1).interrupt();
    assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq);
}

#[test]
fn answering_a_host_call_without_its_page_leaves_the_interface_on() {
    use crate::host::PAGE;
    let host = Host::tf_rmm();
    let realm = host.realm();
    let rec = host.rec(realm, 0, true);
    host.populate(realm, 0x2000, 0, 0);
    host.done(Command::RealmActivate, &[realm.rd]);
    let call = Action::host_call(rmi_abi::Ipa::new(0x2000));
    host.model.set_guest(Pa::new(realm.rd), 0, Box::new(Script::new(vec![call])));
    let running = Running { host: &host, realm, rec, run: host.page() };
    let cpu = host.model.cpu(0);
    cpu.set_hcr(1);
    assert_eq!(running.enter(0, &[]).0, ExitReason::HostCall);
    assert_eq!(cpu.hcr(), 0);
    host.done(Command::RttDataUnmap, &[realm.rd, 0x2000, 0x2000 + PAGE, 0, 0]);
    cpu.set_hcr(1);
    assert_eq!(running.enter(0, &[]).0, ExitReason::Sync);
    assert_eq!(cpu.hcr(), 1, "as in TF-RMM: nothing ran");
}

#[test]
#[should_panic(expected = "CPU 3 has the virtual CPU interface")]
fn the_loss_of_list_registers_of_another_cpu_is_reported() {
    let host = Host::tf_rmm();
    let running = host.script(vec![]);
    host.model.cpu(3).set_list_register(0, TIMER);
    running.enter(0, &[]);
}

#[test]
fn a_host_may_enter_on_the_cpu_whose_interface_it_loaded() {
    let host = Host::tf_rmm();
    let running = host.script(vec![Action::Interrupt]);
    let cpu = host.model.cpu(3);
    cpu.set_list_register(0, TIMER);
    assert_eq!(enter_on(cpu, &running).0, ExitReason::Irq);
    let calling = host.model.calling_cpu(|| 3);
    assert_eq!(calling.cpu().list_register(0), TIMER);
    assert_eq!(enter_on(calling.cpu(), &running).0, ExitReason::Fiq);
}

#[test]
#[should_panic(expected = "two RECs on physical CPU 2 at once")]
fn two_recs_do_not_run_on_one_cpu_that_uses_its_interface() {
    let host = Host::tf_rmm();
    let [inside, outside] = [1, 2].map(|_| std::sync::Arc::new(std::sync::Barrier::new(2)));
    let (i, o) = (std::sync::Arc::clone(&inside), std::sync::Arc::clone(&outside));
    let first = host.running(move |_: &rmm_model::GuestCpu| {
        i.wait();
        o.wait();
        Action::Fiq
    });
    let second = host.script(vec![]);
    let cpu = host.model.cpu(2);
    cpu.set_hcr(1);
    let rec = (first.rec, first.run);
    let enter = Command::RecEnter.fid(host.dialect).unwrap().0.into();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            #[expect(unsafe_code, reason = "a raw call")]
            // SAFETY: the model has memory of its own only.
            let answer =
                unsafe { rmi_host::Conduit::call(&cpu, [enter, rec.0, rec.1, 0, 0, 0, 0, 0]) };
            assert_eq!(answer[0], 0);
        });
        inside.wait();
        let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            enter_on(cpu, &second);
        }));
        outside.wait();
        if let Err(panic) = caught {
            std::panic::resume_unwind(panic);
        }
    });
}
