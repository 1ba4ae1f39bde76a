//! Running the vCPUs, each on a thread of its own.

use std::collections::BTreeMap;
use std::os::fd::BorrowedFd;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bare_metal::linux::layout::{UART, UART_INTID};
use kvm_realm::exit::{Exit, Hypercall, PsciCall, SystemEventKind};
use kvm_realm::kernel::Kernel;
use kvm_realm::launch::Running;
use kvm_realm::vcpu::{PsciAnswer, RealmVcpu};
use realm_sdk::rec::mmio::{AccessSize, MmioDevice, PL011_SIZE, Pl011};

use crate::console::{Console, Terminal};
use crate::input::{InputEnd, Space, copy};
use crate::options::Failure;
use crate::power::Power;
use crate::report::{End, Report};
use crate::signal::Threads;

/// KVM_ARM_IRQ_TYPE_SPI, as KVM_IRQ_LINE has it.
const SPI: u32 = 1 << 24;
/// How often in a row the RMM may not enter a REC that has just been turned on.
const RETRIES: u32 = 10_000;

/// When the steps before were done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeline {
    pub(crate) start: Instant,
    pub(crate) created: Duration,
    pub(crate) populated: Duration,
}

/// What the VM is connected to.
pub(crate) struct Host<'h, K> {
    pub(crate) kernel: &'h K,
    pub(crate) vm: BorrowedFd<'h>,
    pub(crate) terminal: Terminal<'h>,
    /// Where this program answers PSCI calls.
    pub(crate) psci: Option<Power>,
}

/// What the threads share.
struct Shared<'s, 'k, K: Kernel> {
    running: Option<Mutex<Running<'k, K>>>,
    uart: Pl011<Console<'s, K>>,
    threads: Threads,
    space: &'s Space,
    psci: Option<Power>,
    /// How it ended: the first that says so is right.
    end: Mutex<Option<End>>,
    exits: Mutex<BTreeMap<&'static str, u64>>,
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs the vCPUs until the guest ends.
pub(crate) fn run<K>(
    running: Option<Running<'_, K>>,
    host: Host<'_, K>,
    vcpus: Vec<RealmVcpu<'_, K>>,
    timeline: Timeline,
) -> Result<Report, Failure>
where
    K: Kernel + Sync,
    K::Vcpu: Send,
{
    let Host { kernel, vm, terminal, psci } = host;
    let space = Space::new()?;
    let console = Console { kernel, vm, irq: SPI | UART_INTID, terminal, space: &space };
    let shared = Shared {
        running: running.map(Mutex::new),
        uart: Pl011::new(console),
        threads: Threads::new(),
        space: &space,
        psci,
        end: Mutex::new(None),
        exits: Mutex::default(),
    };
    let vcpus = vcpus.into_iter().map(|vcpu| Ok((vcpu.kick()?, vcpu)));
    let vcpus = vcpus.collect::<Result<Vec<_>, Failure>>()?;
    std::thread::scope(|scope| {
        let shared = &shared;
        if let Some(input) = terminal.input {
            scope.spawn(move || {
                let push = |bytes: &[u8]| shared.uart.push(bytes);
                if copy(input, terminal.is_interactive, shared.space, push) == InputEnd::Quit {
                    shared.stop(End::Quit);
                }
            });
        }
        for (id, (kick, mut vcpu)) in (0..).zip(vcpus) {
            scope.spawn(move || {
                // A thread that panics ends the others, too.
                let panicked = Stop { shared, id };
                let end = shared.threads.during(kick, || shared.run(id, &mut vcpu));
                shared.stop(end);
                drop(panicked);
            });
        }
    });
    let end = lock(&shared.end).take();
    let exits = std::mem::take(&mut *lock(&shared.exits));
    Ok(Report {
        generation: None,
        rim: None,
        created: timeline.created,
        populated: timeline.populated,
        ended: timeline.start.elapsed(),
        end: end.unwrap_or_else(|| End::Stopped(0, "nothing has run".to_string())),
        exits,
    })
}

/// Ends the guest when it is dropped, unless it has ended.
struct Stop<'t, 's, 'k, K: Kernel + Sync> {
    shared: &'t Shared<'s, 'k, K>,
    id: u64,
}

impl<K: Kernel + Sync> Drop for Stop<'_, '_, '_, K> {
    fn drop(&mut self) {
        self.shared.stop(End::Stopped(self.id, "its thread has panicked".to_string()));
    }
}

impl<K: Kernel + Sync> Shared<'_, '_, K> {
    /// Ends the guest, unless it has ended.
    fn stop(&self, end: End) {
        lock(&self.end).get_or_insert(end);
        self.space.end();
        if let Some(psci) = &self.psci {
            psci.end();
        }
        self.threads.stop();
    }

    /// Runs a vCPU until the guest ends, or another vCPU says so.
    fn run(&self, id: u64, vcpu: &mut RealmVcpu<'_, K>) -> End {
        loop {
            if let Some(psci) = &self.psci {
                psci.wait(id);
            }
            // Threads that are not in KVM_RUN when they are to stop see it here.
            if let Some(end) = lock(&self.end).clone() {
                return end;
            }
            let exit = match vcpu.run() {
                Ok(exit) => exit,
                Err(error) => return End::Stopped(id, error.to_string()),
            };
            if let Some(end) = self.handle(id, vcpu, exit) {
                return end;
            }
        }
    }

    fn count(&self, name: &'static str) {
        *lock(&self.exits).entry(name).or_default() += 1;
    }

    /// Handles an exit; the end, if it is one.
    fn handle(&self, id: u64, vcpu: &mut RealmVcpu<'_, K>, exit: Exit) -> Option<End> {
        match exit {
            Exit::MmioLoad(load) => {
                self.count("MMIO read");
                let value = self.device(load.address, load.bytes, |offset, size| {
                    self.uart.read(offset, size).unwrap_or(0)
                });
                // The exit is a read.
                let _ = vcpu.answer_load(value);
            }
            Exit::MmioStore(store) => {
                self.count("MMIO write");
                self.device(store.address, store.bytes, |offset, size| {
                    // What the UART does not take, the guest cannot be told.
                    let _ = self.uart.write(offset, size, store.value);
                    0
                });
            }
            Exit::MemoryFault { fault, .. } => {
                self.count("memory fault");
                let Some(running) = &self.running else {
                    return Some(End::Stopped(id, format!("{exit:x?} without a realm")));
                };
                if let Err(error) = lock(running).convert(id, fault) {
                    return Some(End::Stopped(id, error.to_string()));
                }
            }
            Exit::System(event) => {
                self.count("system event");
                return Some(match event.kind {
                    SystemEventKind::Shutdown => End::Off,
                    SystemEventKind::Reset => End::Reset,
                    other => End::Stopped(id, format!("{other:?}")),
                });
            }
            // Another vCPU says how it ended; it may not have come to that yet.
            Exit::Off => {
                self.count("off");
                std::thread::sleep(Duration::from_millis(1));
            }
            Exit::Interrupted => self.count("interrupted"),
            Exit::Again { times } => {
                self.count("again");
                if times > RETRIES {
                    return Some(End::Stopped(id, "the RMM does not enter the REC".to_string()));
                }
                std::thread::yield_now();
            }
            Exit::Hypercall(call) => {
                self.count("hypercall");
                return self.call(id, vcpu, call);
            }
            // Without an answer it is refused: there are no such devices.
            Exit::DeviceMapping(_) => self.count("device mapping"),
            other => return Some(End::Stopped(id, format!("{other:x?}"))),
        }
        None
    }

    /// Answers a hypercall; the end, if it is one. Without an answer it is refused.
    fn call(&self, id: u64, vcpu: &mut RealmVcpu<'_, K>, call: Hypercall) -> Option<End> {
        let (psci, call) = (self.psci.as_ref()?, call.psci()?);
        if call.waits_for().is_some()
            && let Err(error) = vcpu.complete_psci(PsciAnswer::Success)
        {
            return Some(End::Stopped(id, error.to_string()));
        }
        match call {
            // The RMM has been told, so the other vCPU can run.
            PsciCall::CpuOn { target_mpidr, .. } => psci.turn_on(target_mpidr),
            PsciCall::CpuOff => psci.turn_off(id),
            PsciCall::SystemOff => return Some(End::Off),
            PsciCall::SystemReset => return Some(End::Reset),
            // The RMM has answered it; a vCPU that suspends itself runs again at once.
            _ => {}
        }
        None
    }

    /// An access to the UART; elsewhere, there is nothing, which reads as zero.
    fn device(&self, address: u64, bytes: u8, access: impl FnOnce(u64, AccessSize) -> u64) -> u64 {
        let offset = address.checked_sub(UART).filter(|offset| *offset < PL011_SIZE);
        match (offset, AccessSize::from_bytes(bytes)) {
            (Some(offset), Some(size)) => access(offset, size),
            _ => 0,
        }
    }
}
