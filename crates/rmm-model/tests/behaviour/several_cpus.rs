//! RECs on CPUs of their own, each entered by its own thread, that interrupt each other.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use rmi_abi::esr::{Esr, SysReg};
use rmi_abi::run::{RecEnter, RecExit};
use rmi_abi::{Command, Pa};
use rmi_host::{Conduit, HostAccess};
use rmm_model::{Action, AsyncGuest, AsyncVcpu, Cpu, Guest, Options};
use zerocopy::{FromZeros, IntoBytes};

use crate::host::{DIALECTS, Host};

const CPUS: usize = 4;
const ROUNDS: u64 = 50;
/// A pending interrupt of group 1.
const PENDING: u64 = 1 << 62 | 1 << 60 | 0x80 << 48;

/// What the program of a CPU does in each round: it sends an SGI to the next CPU, another one each
/// time so that none is merged with the last, and waits for that of the previous CPU.
macro_rules! ring {
    ($cpu:ident, $index:ident, [$($waiting:tt)*]) => {{
        $cpu.act(Action::set_priority_mask(0xf0))$($waiting)*;
        $cpu.act(Action::enable_group_1(true))$($waiting)*;
        let mut sum = 0;
        for round in 0..ROUNDS {
            let target = ($index + 1) % CPUS;
            let value = (round % 16) << 24 | 1 << target;
            $cpu.write_sysreg(SysReg::ICC_SGI1R_EL1, value)$($waiting)*.unwrap();
            let intid = $cpu.next_interrupt()$($waiting)*;
            sum += u64::from(intid);
            $cpu.end_of_interrupt(intid)$($waiting)*;
        }
        // The previous CPU may be ahead, so the order is not certain, but each came once.
        assert_eq!(sum, (0..ROUNDS).map(|round| round % 16).sum());
        $cpu.cpu_off()$($waiting)*;
    }};
}

fn async_ring(index: usize) -> Box<dyn Guest> {
    Box::new(AsyncGuest::new(move |mut cpu: AsyncVcpu| async move {
        ring!(cpu, index, [.await]);
    }))
}

/// Says that a thread has failed, so that the others do not wait for it for ever.
struct Failing<'f>(&'f AtomicBool);

impl Drop for Failing<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// The host's side of a CPU.
struct Runner<'h> {
    enter: u64,
    cpu: Cpu<'h>,
    rec: u64,
    run: u64,
}

impl Runner<'_> {
    /// Runs the REC until it turns itself off; counts its SGIs. `pending` has a set of SGIs for
    /// each CPU.
    #[expect(unsafe_code, reason = "the model is called as a real RMM is")]
    fn run(&self, others: &[Cpu<'_>], pending: &[AtomicU32], failed: &AtomicBool) -> u64 {
        let own = usize::try_from(self.cpu.number()).unwrap();
        let mut sent = 0;
        let failing = Failing(failed);
        loop {
            assert!(!failed.load(Ordering::Relaxed), "another CPU has failed");
            let new = pending[own].swap(0, Ordering::AcqRel);
            for sgi in (0..16).filter(|sgi| new & 1 << sgi != 0) {
                assert_eq!(self.cpu.list_register(sgi) >> 62, 0, "none is merged");
                self.cpu.set_list_register(sgi, PENDING | sgi as u64);
            }
            self.cpu.set_hcr(1);
            let enter = RecEnter::new_zeroed();
            let mut exit = RecExit::new_zeroed();
            // SAFETY: the model has memory of its own only.
            unsafe {
                self.cpu.write(Pa::new(self.run), enter.as_bytes()).unwrap();
                let answer = self.cpu.call([self.enter, self.rec, self.run, 0, 0, 0, 0, 0]);
                assert_eq!(answer[0], 0);
                self.cpu.read(Pa::new(self.run + 0x800), exit.as_mut_bytes()).unwrap();
            }
            match exit.exit_reason {
                0 => {
                    assert_eq!(Esr(exit.esr).system_register(), SysReg::ICC_SGI1R_EL1);
                    let value = exit.gprs[0];
                    let target = (value & 0xffff).trailing_zeros() as usize;
                    pending[target].fetch_or(1 << (value >> 24 & 0xf), Ordering::AcqRel);
                    others[target].interrupt();
                    sent += 1;
                }
                3 => {
                    std::mem::forget(failing);
                    return sent;
                }
                reason => assert_eq!(reason, 1),
            }
        }
    }
}

/// All CPUs, until all are off.
fn run_ring(make: fn(usize) -> Box<dyn Guest>) {
    for dialect in DIALECTS {
        let mut options = Options::new(dialect);
        options.wait_polls = 1000;
        let host = Host::new(options);
        let realm = host.realm();
        let recs: Vec<u64> = (0..4).map(|index| host.rec(realm, index, true)).collect();
        host.done(Command::RealmActivate, &[realm.rd]);
        for index in 0..CPUS {
            host.model.set_guest(Pa::new(realm.rd), index as u64, make(index));
        }
        let enter = Command::RecEnter.fid(dialect).unwrap().0.into();
        let cpus: Vec<Cpu<'_>> = (0..4).map(|number| host.model.cpu(number)).collect();
        let hosts: Vec<_> = cpus
            .iter()
            .zip(&recs)
            .map(|(cpu, rec)| Runner { enter, cpu: *cpu, rec: *rec, run: host.page() })
            .collect();
        let pending: [AtomicU32; CPUS] = std::array::from_fn(|_| AtomicU32::new(0));
        let (sent, failed) = (AtomicU64::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for one in &hosts {
                let (cpus, pending, sent, failed) = (&cpus, &pending, &sent, &failed);
                scope.spawn(move || {
                    sent.fetch_add(one.run(cpus, pending, failed), Ordering::Relaxed);
                });
            }
        });
        assert_eq!(sent.load(Ordering::Relaxed), ROUNDS * 4);
        // None runs any more.
        host.done(Command::RealmTerminate, &[realm.rd]);
        recs.into_iter().for_each(|rec| host.destroy_rec(rec));
    }
}

#[test]
fn four_cpus_interrupt_each_other() {
    run_ring(async_ring);
}

#[cfg(feature = "std")]
#[test]
fn four_threads_interrupt_each_other() {
    run_ring(|index| {
        Box::new(rmm_model::ThreadGuest::new(move |cpu: &mut rmm_model::ThreadVcpu| {
            ring!(cpu, index, []);
        }))
    });
}
