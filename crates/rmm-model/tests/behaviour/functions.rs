//! Programs that are functions: async ones, and ones on threads.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};

use rmi_abi::psci::PsciReturnCode;
use rmi_abi::rtt::Ripas;
use rmi_abi::run::{ExitReason, RecEnterFlags};
use rmi_abi::{Command, Ipa, Pa};
use rmm_model::{Action, AsyncGuest, AsyncVcpu, Exception, Guest, GuestCpu, Model, Script, SysReg};

use crate::host::{Host, Running, SHARED};

/// A Realm with a page at 0x1000 that runs this program.
fn with_memory(host: &Host, guest: Box<dyn Guest>) -> Running<'_> {
    let realm = host.realm();
    host.populate(realm, 0x1000, 0x5a, 0);
    let rec = host.rec(realm, 0, true);
    host.done(Command::RealmActivate, &[realm.rd]);
    host.model.set_guest(Pa::new(realm.rd), 0, guest);
    Running { host, realm, rec, run: host.page() }
}

/// What each of the methods does, for both kinds of program.
macro_rules! methods {
    ($cpu:ident, $say:ident, [$($waiting:tt)*]) => {{
        assert_eq!(($cpu.state().pc, $cpu.irq(), $cpu.fiq()), (0x1000, None, None));
        let page = Ipa::new(0x1000);
        assert_eq!($cpu.load(page, 2)$($waiting)*, Ok(0x5a5a));
        assert_eq!($cpu.store(page, 1, 0x1234)$($waiting)*, Ok(()));
        assert_eq!($cpu.load(page, 2)$($waiting)*, Ok(0x5a34));
        assert_eq!($cpu.fetch(page)$($waiting)*, Ok(()));
        let empty = Ipa::new(0x8000);
        assert_eq!($cpu.load(empty, 4)$($waiting)*, Err(Exception::Aborted));
        assert_eq!($cpu.store(empty, 4, 0)$($waiting)*, Err(Exception::Aborted));
        assert_eq!($cpu.fetch(empty)$($waiting)*, Err(Exception::Aborted));
        assert_eq!($cpu.smc(0xc400_0190, &[0x1_0000])$($waiting)*[..3], [0, 0x1_0000, 0x1_0001]);
        let get = Action::ipa_state_get(page, Ipa::new(0x2000));
        assert_eq!($cpu.call(get)$($waiting)*[..3], [0, 0x2000, u8::from(Ripas::Ram).into()]);
        assert_eq!($cpu.x()[..3], [0, 0x2000, 1]);
        let mask = SysReg::ICC_PMR_EL1;
        assert_eq!($cpu.write_sysreg(mask, 0xf0)$($waiting)*, Ok(()));
        assert_eq!($cpu.read_sysreg(mask)$($waiting)*, Ok(0xf0));
        assert_eq!($cpu.acknowledge()$($waiting)*, None);
        let code = $cpu.cpu_on(9, page, 0)$($waiting)*;
        assert_eq!(code, PsciReturnCode::InvalidParameters);
        assert_eq!($cpu.affinity_info(0)$($waiting)*, 0);
        $say.send("load").unwrap();
        assert_eq!($cpu.load(Ipa::new(SHARED), 4)$($waiting)*, Ok(0x77));
        $say.send("wfi").unwrap();
        $cpu.wfi()$($waiting)*;
        $say.send("wfe").unwrap();
        $cpu.wfe()$($waiting)*;
        $say.send("wfit").unwrap();
        $cpu.wfit(u64::MAX)$($waiting)*;
        $say.send("wfet").unwrap();
        $cpu.wfet(u64::MAX)$($waiting)*;
        $say.send("host call").unwrap();
        assert_eq!($cpu.host_call(page)$($waiting)*, 0);
        $cpu.act(Action::enable_group_1(true))$($waiting)*;
        $say.send("interrupt").unwrap();
        assert_eq!($cpu.next_interrupt()$($waiting)*, 27);
        $cpu.end_of_interrupt(27)$($waiting)*;
        $cpu.nop()$($waiting)*;
        $say.send("suspend").unwrap();
        $cpu.call(Action::psci_cpu_suspend())$($waiting)*;
        $say.send("return").unwrap();
    }};
}

/// The host's side of it.
fn answer_methods(running: &Running<'_>, said: &Receiver<&'static str>) {
    let trap = (RecEnterFlags::TRAP_WFI | RecEnterFlags::TRAP_WFE).bits();
    let cpu = running.host.model.cpu(0);
    let step = |flags, reason, last| {
        cpu.set_hcr(1);
        assert_eq!(running.enter(flags, &[0x77]).0, reason, "{last}");
        assert_eq!(said.try_iter().last(), Some(last));
    };
    step(0, ExitReason::Sync, "load");
    step(trap | RecEnterFlags::EMUL_MMIO.bits(), ExitReason::Sync, "wfi");
    for wait in ["wfe", "wfit", "wfet"] {
        step(trap, ExitReason::Sync, wait);
    }
    step(0, ExitReason::HostCall, "host call");
    step(trap, ExitReason::Sync, "interrupt");
    cpu.set_list_register(0, 1 << 62 | 1 << 60 | 27);
    step(trap, ExitReason::Psci, "suspend");
    assert_eq!(cpu.list_register(0) >> 62, 0);
    step(0, ExitReason::Fiq, "return");
    assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq, "a CPU without a program spins");
}

#[test]
fn an_async_function_uses_its_cpu() {
    let host = Host::tf_rmm();
    let (say, said) = mpsc::channel();
    let guest = AsyncGuest::new(move |mut cpu: AsyncVcpu| async move {
        methods!(cpu, say, [.await]);
    });
    answer_methods(&with_memory(&host, Box::new(guest)), &said);
}

/// Says what the program did when it is dropped, and uses the model for it.
struct Droppable {
    model: Arc<Model>,
    dropped: Sender<u64>,
}

impl Drop for Droppable {
    fn drop(&mut self) {
        self.dropped.send(self.model.calls()).unwrap();
    }
}

fn droppable(host: &Host) -> (Droppable, Receiver<u64>) {
    let (dropped, seen) = mpsc::channel();
    (Droppable { model: Arc::clone(&host.model), dropped }, seen)
}

/// The ways in which a program is dropped that `make` makes, after it ran until its first exit.
fn is_dropped(make: fn(Droppable) -> Box<dyn Guest>) {
    // Another takes its place.
    let host = Host::tf_rmm();
    let (inside, dropped) = droppable(&host);
    let running = with_memory(&host, make(inside));
    assert_eq!(running.enter(0, &[]).0, ExitReason::Irq);
    let (inside, other) = droppable(&host);
    host.model.set_guest(Pa::new(running.realm.rd), 0, make(inside));
    assert_eq!(dropped.try_recv(), Ok(host.model.calls()));
    // With its REC.
    assert_eq!(running.enter(0, &[]).0, ExitReason::Irq);
    assert!(other.try_recv().is_err());
    host.destroy_rec(running.rec);
    assert_eq!(other.try_recv(), Ok(host.model.calls()));

    // With its Realm, even if it never ran. Those of other Realms stay.
    let (inside, dropped) = droppable(&host);
    let (rd, root) = (host.fresh(1), host.fresh(1));
    let page = host.page();
    let params = host.params(root).encode(host.dialect).unwrap();
    host.write(page, zerocopy::IntoBytes::as_bytes(&params));
    host.done(Command::RealmCreate, &[rd, page]);
    host.model.set_guest(Pa::new(rd), 0, make(inside));
    let (inside, other) = droppable(&host);
    host.model.set_guest(Pa::new(running.realm.rd), 1, make(inside));
    host.done(Command::RealmTerminate, &[rd]);
    host.done(Command::RealmDestroy, &[rd]);
    assert_eq!(dropped.try_recv(), Ok(host.model.calls()));
    assert!(other.try_recv().is_err());
    host.model.set_guest(Pa::new(running.realm.rd), 1, Box::new(Script::new(vec![])));
    assert!(other.try_recv().is_ok());
}

#[test]
fn a_program_that_is_replaced_while_it_runs_is_dropped_at_the_exit() {
    let host = Host::tf_rmm();
    let (inside, dropped) = droppable(&host);
    let rd = Arc::new(Mutex::new(0));
    let realm = Arc::clone(&rd);
    let running = host.running(move |_: &GuestCpu| {
        let next = Script::new(vec![Action::Interrupt]);
        inside.model.set_guest(Pa::new(*realm.lock().unwrap()), 0, Box::new(next));
        Action::Wfe
    });
    *rd.lock().unwrap() = running.realm.rd;
    assert_eq!(running.enter(RecEnterFlags::TRAP_WFE.bits(), &[]).0, ExitReason::Sync);
    assert_eq!(dropped.try_recv(), Ok(host.model.calls()));
    assert_eq!(running.enter(0, &[]).0, ExitReason::Irq);
    assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq);
}

#[test]
fn an_async_function_is_dropped_where_it_waits() {
    is_dropped(|inside| {
        Box::new(AsyncGuest::new(move |mut cpu: AsyncVcpu| async move {
            cpu.act(Action::Interrupt).await;
            cpu.act(Action::Interrupt).await;
            drop(inside);
        }))
    });
}

/// A program that panics: the caller of the entry does, and the REC is usable.
fn panics_in_the_caller(guest: Box<dyn Guest>) {
    let host = Host::tf_rmm();
    let running = with_memory(&host, guest);
    let cpu = host.model.cpu(0);
    // The CPU's interface is used: it would be taken if the REC still ran.
    cpu.set_hcr(1);
    assert_eq!(running.enter(0, &[]).0, ExitReason::Irq);
    cpu.set_hcr(1);
    let caught = catch_unwind(AssertUnwindSafe(|| running.enter(0, &[]))).unwrap_err();
    assert_eq!(caught.downcast_ref::<String>().map(String::as_str), Some("wrong: 7"));
    assert_eq!(cpu.hcr(), 0, "the REC has left");
    cpu.set_hcr(1);
    assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq, "and has no program");
    host.destroy_rec(running.rec);
}

#[test]
fn the_panic_of_an_async_function_is_that_of_the_caller() {
    let seven = 7;
    panics_in_the_caller(Box::new(AsyncGuest::new(move |mut cpu: AsyncVcpu| async move {
        cpu.act(Action::Interrupt).await;
        panic!("wrong: {seven}");
    })));
}

#[test]
fn a_function_that_waits_for_something_else_spins() {
    let host = Host::tf_rmm();
    let (say, said) = mpsc::channel();
    let mut polls = 0;
    let running = host.running(AsyncGuest::new(move |mut cpu: AsyncVcpu| async move {
        cpu.nop().await;
        std::future::poll_fn(|_| {
            polls += 1;
            if polls < 3 { std::task::Poll::Pending } else { std::task::Poll::Ready(()) }
        })
        .await;
        // What happened while it waited is not the outcome of its next action.
        assert_eq!(cpu.load(Ipa::new(0x8000), 4).await, Err(Exception::Aborted));
        say.send(polls).unwrap();
        cpu.system_off().await
    }));
    for _ in 0..2 {
        assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq);
        assert!(said.try_recv().is_err());
    }
    assert_eq!(running.enter(0, &[]).0, ExitReason::Psci);
    assert_eq!(said.try_recv(), Ok(3));
}

/// A CPU that is turned on twice, and what its program sees.
fn is_turned_on_twice(make: fn(Sender<[u64; 2]>) -> Box<dyn Guest>) {
    let host = Host::tf_rmm();
    let (say, said) = mpsc::channel();
    let realm = host.realm();
    let (rec, second) = (host.rec(realm, 0, true), host.rec(realm, 1, false));
    host.done(Command::RealmActivate, &[realm.rd]);
    let calls = [(0x2000, 5), (0x3000, 6)].map(|(pc, x0)| Action::psci_cpu_on(1, pc, x0));
    let script = Script::new(calls.to_vec());
    host.model.set_guest(Pa::new(realm.rd), 0, Box::new(script));
    host.model.set_guest(Pa::new(realm.rd), 1, make(say));
    let running = Running { host: &host, realm, rec, run: host.page() };
    let target = Running { host: &host, realm, rec: second, run: host.page() };
    for expected in [[0x2000, 5], [0x3000, 6]] {
        assert_eq!(running.enter(0, &[]).0, ExitReason::Psci);
        host.done(Command::PsciComplete, &[rec, second, 0]);
        let (reason, exit) = target.enter(0, &[]);
        assert_eq!((reason, exit.gprs[0]), (ExitReason::Psci, 0x8400_0002));
        assert_eq!(said.try_iter().collect::<Vec<_>>(), [expected]);
    }
}

#[test]
fn an_async_function_is_turned_off_and_on() {
    is_turned_on_twice(|say| {
        Box::new(AsyncGuest::new(move |mut cpu: AsyncVcpu| async move {
            let mut start = cpu.state();
            loop {
                say.send([start.pc, start.x[0]]).unwrap();
                start = cpu.cpu_off().await;
            }
        }))
    });
}

#[cfg(feature = "std")]
mod threads {
    use rmm_model::{ThreadGuest, ThreadVcpu};

    use super::*;

    #[test]
    fn a_thread_uses_its_cpu() {
        let host = Host::tf_rmm();
        let (say, said) = mpsc::channel();
        let guest = ThreadGuest::new(move |cpu: &mut ThreadVcpu| methods!(cpu, say, []));
        answer_methods(&with_memory(&host, Box::new(guest)), &said);
    }

    #[test]
    fn a_thread_is_dropped_where_it_waits() {
        is_dropped(|inside| {
            Box::new(ThreadGuest::new(move |cpu: &mut ThreadVcpu| {
                cpu.act(Action::Interrupt);
                cpu.act(Action::Interrupt);
                drop(inside);
            }))
        });
    }

    #[test]
    fn the_panic_of_a_thread_is_that_of_the_caller() {
        let seven = 7;
        panics_in_the_caller(Box::new(ThreadGuest::new(move |cpu: &mut ThreadVcpu| {
            cpu.act(Action::Interrupt);
            panic!("wrong: {seven}");
        })));
    }

    #[test]
    fn a_thread_is_turned_off_and_on() {
        is_turned_on_twice(|say| {
            Box::new(ThreadGuest::new(move |cpu: &mut ThreadVcpu| {
                let mut start = cpu.state();
                loop {
                    say.send([start.pc, start.x[0]]).unwrap();
                    start = cpu.cpu_off();
                }
            }))
        });
    }

    /// Uses the CPU when it is dropped.
    struct Reporting<'c> {
        cpu: &'c mut ThreadVcpu,
        say: Sender<[Result<u64, Exception>; 2]>,
    }

    impl Drop for Reporting<'_> {
        fn drop(&mut self) {
            let _ = self.cpu.store(Ipa::new(0x1000), 1, 1);
            let page = Ipa::new(0x1000);
            let both = [self.cpu.load(page, 1), self.cpu.load(page, 1)];
            self.say.send(both).unwrap();
        }
    }

    fn reporting(say: Sender<[Result<u64, Exception>; 2]>) -> Box<dyn Guest> {
        Box::new(ThreadGuest::new(move |cpu: &mut ThreadVcpu| {
            let reporting = Reporting { cpu, say };
            reporting.cpu.act(Action::Interrupt);
            drop(reporting);
        }))
    }

    #[test]
    fn destructors_of_a_thread_have_no_cpu_once_it_is_dropped() {
        for is_dropped in [false, true] {
            let host = Host::tf_rmm();
            let (say, said) = mpsc::channel();
            let running = with_memory(&host, reporting(say));
            assert_eq!(running.enter(0, &[]).0, ExitReason::Irq);
            if is_dropped {
                host.destroy_rec(running.rec);
                assert_eq!(said.try_recv(), Ok([Err(Exception::Aborted); 2]));
            } else {
                assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq);
                assert_eq!(said.try_recv(), Ok([Ok(1); 2]));
            }
        }
    }

    #[test]
    fn threads_end_with_the_model() {
        let host = Host::tf_rmm();
        let (say, said) = mpsc::channel();
        let running = with_memory(&host, reporting(say));
        assert_eq!(running.enter(0, &[]).0, ExitReason::Irq);
        drop(host);
        assert_eq!(said.try_recv(), Ok([Err(Exception::Aborted); 2]));
    }
}
