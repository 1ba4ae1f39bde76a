//! KVM_RUN: what a vCPU's program does, until it exits to the VMM.

use std::os::unix::fs::FileExt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::behaviour::{Behaviour, RipasChange};
use super::fields::{low, u64_at};
use super::guest::{Action, Outcome};
use super::machine::{Machine, Object};
use super::realm::{PAGE, PAGE_BYTES, RealmState, affinity};
use super::vm::{Pending, PsciRequest, VcpuState};
use crate::Errno;

/// The machine, and what vCPUs that do not run wait for.
pub(super) struct Shared {
    pub(super) machine: Mutex<Machine>,
    pub(super) wake: Condvar,
}

impl Shared {
    /// The machine. A test that panics with it does not stop the others.
    pub(super) fn lock(&self) -> MutexGuard<'_, Machine> {
        self.machine.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How often a vCPU that waits looks whether it has been kicked.
const TICK: Duration = Duration::from_millis(1);

/// After so many of them, two minutes, it returns as if a signal had come, so that a test that has
/// forgotten to kick it ends.
const TICKS: u32 = 120_000;

/// Offsets in the run page. Source: Linux, `include/uapi/linux/kvm.h`, `struct kvm_run`.
const IMMEDIATE_EXIT: u64 = 1;
const EXIT_REASON: u64 = 8;
const EXIT: u64 = 32;

/// Exit reasons.
const HYPERCALL: u32 = 3;
const MMIO: u32 = 6;
const INTERNAL_ERROR: u32 = 17;
const SYSTEM_EVENT: u32 = 24;
const ARM64_TIO: u32 = 44;

/// Types of system events.
const EVENT_SHUTDOWN: u32 = 1;
const EVENT_RESET: u32 = 2;

/// Functions and results of PSCI. Source: Arm DEN0022.
const CPU_OFF: u64 = 0x8400_0002;
const CPU_ON: u64 = 0xc400_0003;
const SYSTEM_OFF: u64 = 0x8400_0008;
const SYSTEM_RESET: u64 = 0x8400_0009;
const SUCCESS: i64 = 0;
const INVALID_PARAMETERS: i64 = -2;
const ALREADY_ON: i64 = -4;

/// The mapping of a device is to be validated.
const VDEV_VALIDATE_MAPPING: u64 = 8;

/// What became of an action.
enum Step {
    /// The program goes on.
    Next(Outcome),
    /// `KVM_RUN` returns 0 with this exit, and then does that.
    Exit(u32, Vec<u8>, Pending),
    /// `KVM_RUN` returns `EFAULT` with this exit, and then does that.
    Fault(u32, Vec<u8>, Pending),
    /// `KVM_RUN` returns an error, and then does that.
    Error(Errno, Pending),
    /// `KVM_RUN` returns 0 with this exit, and the VM is dead.
    Dead(u32),
    /// The vCPU waits until it is turned on.
    Wait,
}

/// The bytes of words.
fn words(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

impl Shared {
    /// KVM_RUN.
    pub(super) fn run(&self, vm: usize, vcpu: usize) -> Result<(), Errno> {
        let mut machine = self.lock();
        machine.prepare(vm, vcpu)?;
        machine.close_guest_memfds(vm)?;
        if machine.is_kicked(vm, vcpu) {
            return Err(Errno::EINTR);
        }
        let (mut outcome, mut ticks) = (None, 0_u32);
        if machine.vm(vm)?.vcpu(vcpu)?.psci.is_some() {
            // The RMM does not enter a REC whose call was not completed.
            return Err(machine.behaviour.not_entered());
        }
        loop {
            let (is_off, reason) = (machine.vm(vm)?.is_off, machine.behaviour.off_reason);
            let state = machine.vm(vm)?.vcpu(vcpu)?;
            if is_off && state.is_rec_on && !state.has_seen_off {
                state.has_seen_off = true;
                return machine.exit(vm, vcpu, reason, &[]);
            }
            if state.is_stopped {
                ticks += 1;
                machine = self.wait(machine);
                if machine.is_kicked(vm, vcpu) || ticks > TICKS {
                    return Err(Errno::EINTR);
                }
                continue;
            }
            let is_realm = machine.vm(vm)?.is_realm;
            if is_realm && !machine.vm(vm)?.vcpu(vcpu)?.is_rec_on {
                return Err(machine.behaviour.not_entered());
            }
            let step = match outcome.take() {
                Some(outcome) => {
                    let program = machine.vm(vm)?.vcpu(vcpu)?.guest.take();
                    let mut program = program.ok_or(Errno::EBUSY)?;
                    drop(machine);
                    let action = program.next(outcome);
                    machine = self.lock();
                    machine.vm(vm)?.vcpu(vcpu)?.guest = Some(program);
                    machine.act(vm, vcpu, action)?
                }
                None => machine.complete(vm, vcpu)?,
            };
            match step {
                Step::Next(next) => {
                    machine.vm(vm)?.vcpu(vcpu)?.pending = Pending::Outcome(next);
                    outcome = Some(next);
                    if machine.is_kicked(vm, vcpu) {
                        return Err(Errno::EINTR);
                    }
                }
                Step::Exit(reason, description, pending) => {
                    machine.vm(vm)?.vcpu(vcpu)?.pending = pending;
                    self.wake.notify_all();
                    return machine.exit(vm, vcpu, reason, &description);
                }
                Step::Fault(reason, description, pending) => {
                    machine.vm(vm)?.vcpu(vcpu)?.pending = pending;
                    machine.exit(vm, vcpu, reason, &description)?;
                    return Err(Errno::EFAULT);
                }
                Step::Error(errno, pending) => {
                    machine.vm(vm)?.vcpu(vcpu)?.pending = pending;
                    return Err(errno);
                }
                Step::Dead(reason) => {
                    machine.exit(vm, vcpu, reason, &[])?;
                    machine.vm(vm)?.is_dead = true;
                    self.wake.notify_all();
                    return Ok(());
                }
                Step::Wait => {}
            }
            self.wake.notify_all();
        }
    }

    fn wait<'m>(&self, machine: MutexGuard<'m, Machine>) -> MutexGuard<'m, Machine> {
        let waited = self.wake.wait_timeout(machine, TICK);
        waited.map_or_else(|poisoned| poisoned.into_inner().0, |(machine, _)| machine)
    }
}

impl Behaviour {
    /// What `KVM_RUN` returns when the RMM does not enter a REC.
    const fn not_entered(&self) -> Errno {
        if self.retries_rec { Errno::EAGAIN } else { Errno::ENXIO }
    }
}

impl Machine {
    /// What comes before a vCPU can run, each time or the first time.
    fn prepare(&mut self, vm_index: usize, vcpu_index: usize) -> Result<(), Errno> {
        let (behaviour, is_rme) = (self.behaviour, self.facts.rec_feature.is_some());
        let psci = self.facts.constant("KVM_ARM_VCPU_PSCI_0_2");
        let sve = self.facts.constant("KVM_ARM_VCPU_SVE");
        let pmu = self.facts.constant("KVM_ARM_VCPU_PMU_V3");
        let vm = self.vm(vm_index)?;
        let (is_realm, vcpus, is_active) =
            (vm.is_realm, vm.vcpu_count(), vm.realm.state == RealmState::Active);
        let vcpu = vm.vcpu(vcpu_index)?;
        if vcpu.features.is_none() {
            return Err(Errno::ENOEXEC);
        }
        if (vcpu.has_feature(sve) && !vcpu.is_sve_finalised)
            || (is_realm && is_rme && !(vcpu.is_rec && is_active))
        {
            return Err(Errno::EPERM);
        }
        if vcpu.has_run {
            return Ok(());
        }
        if is_realm && behaviour.checks_gic_first {
            let vgic = vm.vgic.as_ref().ok_or(Errno::EOPNOTSUPP)?;
            if !vgic.is_initialised {
                return Err(Errno::ENODEV);
            }
        }
        match &vm.vgic {
            Some(vgic) => vgic.check(vcpus)?,
            None if is_realm => return Err(Errno::EOPNOTSUPP),
            None => {}
        }
        let timers: Vec<u32> = vm.timers.values().copied().collect();
        if vm.vgic.is_some() && vm.timers.get(&0) == vm.timers.get(&1) {
            return Err(Errno::EINVAL);
        }
        let vcpu = vm.vcpu(vcpu_index)?;
        // Linux, `timer_irqs_are_valid`: the interrupt belongs to the PMU already.
        if vcpu.has_pmu && vcpu.pmu_interrupt.is_some_and(|interrupt| timers.contains(&interrupt)) {
            return Err(Errno::EINVAL);
        }
        if vcpu.has_feature(pmu) && !vcpu.has_pmu {
            return Err(Errno::EINVAL);
        }
        if is_realm && !is_rme {
            vm.activate(psci, behaviour)?;
        }
        let vm = self.vm(vm_index)?;
        vm.has_run = true;
        let vcpu = vm.vcpu(vcpu_index)?;
        vcpu.has_run = true;
        if !is_realm {
            vcpu.is_rec_on = true;
        }
        Ok(())
    }

    /// Whether `immediate_exit` is set in the run page.
    fn is_kicked(&self, vm: usize, vcpu: usize) -> bool {
        let mut byte = [0];
        self.file(Object::Vcpu(vm, vcpu))
            .is_some_and(|page| page.read_exact_at(&mut byte, IMMEDIATE_EXIT).is_ok())
            && byte != [0]
    }

    /// Reads a part of the description of the exit.
    fn read_exit<const N: usize>(&self, vm: usize, vcpu: usize, at: u64) -> Result<[u8; N], Errno> {
        let mut bytes = [0; N];
        let page = self.file(Object::Vcpu(vm, vcpu)).ok_or(Errno::EBADF)?;
        page.read_exact_at(&mut bytes, EXIT + at).map_err(Errno::of)?;
        Ok(bytes)
    }

    /// Describes an exit.
    fn exit(&self, vm: usize, vcpu: usize, reason: u32, description: &[u8]) -> Result<(), Errno> {
        let page = self.file(Object::Vcpu(vm, vcpu)).ok_or(Errno::EBADF)?;
        page.write_all_at(&reason.to_le_bytes(), EXIT_REASON).map_err(Errno::of)?;
        page.write_all_at(description, EXIT).map_err(Errno::of)
    }

    /// The exit of a memory fault that asks for private memory or not: reason and description.
    fn memory_fault(&self, private: bool, base: u64, bytes: u64) -> (u32, Vec<u8>) {
        let flag = self.facts.constant("KVM_MEMORY_EXIT_FLAG_PRIVATE");
        let reason = self.facts.small_constant("KVM_EXIT_MEMORY_FAULT");
        (reason, words(&[if private { flag } else { 0 }, base, bytes]))
    }

    /// A page of a guest_memfd that is closed.
    fn lost(&self, page: u64, action: Action) -> Step {
        let pending = Pending::Action(action);
        if self.facts.rec_feature.is_some() {
            return Step::Error(Errno::EFAULT, pending);
        }
        // Linux, `gmem_abort`: it says that shared memory is asked for, which is not so.
        let (reason, description) = self.memory_fault(false, page * PAGE, PAGE);
        Step::Fault(reason, description, pending)
    }

    /// Takes the guest_memfds from a VM that nobody has open or mapped any more: the slots do not
    /// keep them.
    fn close_guest_memfds(&mut self, vm_index: usize) -> Result<(), Errno> {
        for index in 0..self.vm(vm_index)?.gmems.len() {
            let vm = self.vm(vm_index)?;
            let known = vm.gmems.get_mut(index).and_then(|gmem| gmem.holder.take());
            let holder = self.holder(Object::Gmem(vm_index, index), known);
            if let Some(gmem) = self.vm(vm_index)?.gmems.get_mut(index) {
                gmem.is_closed |= holder.is_none();
                gmem.holder = holder;
            }
        }
        Ok(())
    }

    /// Completes the last exit.
    fn complete(&mut self, vm: usize, vcpu: usize) -> Result<Step, Errno> {
        let pending = self.vm(vm)?.vcpu(vcpu)?.pending;
        Ok(match pending {
            Pending::Start => {
                let state = self.vm(vm)?.vcpu(vcpu)?;
                Step::Next(Outcome::Started(state.pc, state.registers[0]))
            }
            Pending::Outcome(outcome) => Step::Next(outcome),
            Pending::Action(action) => return self.act(vm, vcpu, action),
            Pending::MmioLoad(bytes) => {
                let data = u64::from_le_bytes(self.read_exit(vm, vcpu, 8)?);
                Step::Next(Outcome::Value(data & mask(bytes)))
            }
            Pending::Hypercall => {
                let registers = self.vm(vm)?.vcpu(vcpu)?.registers;
                let results = registers.first_chunk().copied().unwrap_or_default();
                Step::Next(Outcome::Registers(results))
            }
            Pending::Psci => {
                let result = self.vm(vm)?.vcpu(vcpu)?.registers[0];
                Step::Next(Outcome::Psci(result.cast_signed()))
            }
            Pending::Mapping => {
                let response: [u8; 8] = self.read_exit(vm, vcpu, 48)?;
                Step::Next(Outcome::Validated(response == [0; 8]))
            }
            Pending::Ripas { base, top, ram } => self.complete_ripas(vm, base, top, ram)?,
        })
    }

    /// Makes a change of RIPAS that was reported before.
    fn complete_ripas(
        &mut self,
        vm_index: usize,
        base: u64,
        top: u64,
        ram: bool,
    ) -> Result<Step, Errno> {
        let change = self.behaviour.ripas_change;
        let vm = self.vm(vm_index)?;
        if let RipasChange::AtReentryIfAttributesMatch { again_returns_zero } = change {
            let mut pages = (base..top).step_by(PAGE_BYTES);
            if let Some(wrong) = pages.find(|page| vm.is_private(*page) != ram) {
                // What comes before that page is not asked for again.
                vm.realm.set_ripas(base, wrong, ram);
                let (reason, description) = self.memory_fault(ram, wrong, top - wrong);
                let pending = Pending::Ripas { base: wrong, top, ram };
                return Ok(if again_returns_zero {
                    Step::Exit(reason, description, pending)
                } else {
                    Step::Fault(reason, description, pending)
                });
            }
        }
        vm.realm.set_ripas(base, top, ram);
        Ok(Step::Next(Outcome::Done))
    }

    /// Does what a program does.
    fn act(&mut self, vm_index: usize, vcpu: usize, action: Action) -> Result<Step, Errno> {
        let done = Pending::Outcome(Outcome::Done);
        let strips = self.behaviour.strips_shared_bit;
        Ok(match action {
            Action::Load(ipa) => return self.access((vm_index, vcpu), action, ipa, None),
            Action::Store(ipa, value) => {
                return self.access((vm_index, vcpu), action, ipa, Some(value));
            }
            Action::MmioLoad(ipa, bytes) | Action::MmioStore(ipa, _, bytes) => {
                let shared = self.vm(vm_index)?.shared_bit();
                let address = if strips { ipa & !shared } else { ipa };
                let (value, is_write, pending) = match action {
                    Action::MmioStore(_, value, _) => (value & mask(bytes), 1, done),
                    _ => (0, 0, Pending::MmioLoad(bytes)),
                };
                let length = u64::from(bytes) | is_write << 32;
                Step::Exit(MMIO, words(&[address, value, length]), pending)
            }
            Action::SetRipas { base, top, ram } => {
                return self.ask_for_ripas(vm_index, base, top, ram);
            }
            Action::Hypercall(registers) => {
                let vm = self.vm(vm_index)?;
                let function = registers[0];
                let is_forwarded = u32::try_from(function).is_ok_and(|f| vm.is_forwarded(f));
                let state = vm.vcpu(vcpu)?;
                state.registers.iter_mut().zip(registers).for_each(|(own, new)| *own = new);
                if is_forwarded {
                    // The arguments and the result are not filled on Arm.
                    Step::Exit(HYPERCALL, words(&[function]), Pending::Hypercall)
                } else {
                    state.registers[0] = u64::MAX;
                    Step::Next(Outcome::Registers([
                        u64::MAX,
                        registers[1],
                        registers[2],
                        registers[3],
                    ]))
                }
            }
            Action::CpuOn(target, entry, context) => {
                return self.cpu_on(vm_index, vcpu, target, entry, context);
            }
            Action::CpuOff => {
                let vm = self.vm(vm_index)?;
                let is_forwarded = vm.is_forwarded(low(CPU_OFF));
                let state = vm.vcpu(vcpu)?;
                state.is_rec_on = false;
                state.registers[0] = CPU_OFF;
                if is_forwarded {
                    Step::Exit(HYPERCALL, words(&[CPU_OFF]), Pending::Psci)
                } else {
                    state.is_stopped = true;
                    Step::Wait
                }
            }
            Action::SystemOff | Action::SystemReset => {
                let vm = self.vm(vm_index)?;
                vm.is_off = true;
                let function = if action == Action::SystemOff { SYSTEM_OFF } else { SYSTEM_RESET };
                if vm.is_forwarded(low(function)) {
                    let state = vm.vcpu(vcpu)?;
                    state.has_seen_off = true;
                    state.registers[0] = function;
                    return Ok(Step::Exit(HYPERCALL, words(&[function]), Pending::Psci));
                }
                for (index, state) in vm.vcpus.iter_mut().enumerate() {
                    state.is_stopped = true;
                    state.has_seen_off |= index == vcpu;
                }
                let event = if action == Action::SystemOff { EVENT_SHUTDOWN } else { EVENT_RESET };
                Step::Exit(SYSTEM_EVENT, words(&[event.into()]), done)
            }
            Action::ValidateMapping(device, base, top, address) => {
                if !self.behaviour.assigns_devices {
                    return Ok(Step::Next(Outcome::Validated(false)));
                }
                // The kernel has set the response to success.
                let description = words(&[0, VDEV_VALIDATE_MAPPING, device, base, top, address, 0]);
                Step::Exit(ARM64_TIO, description, Pending::Mapping)
            }
            Action::Interrupted => Step::Error(Errno::EINTR, done),
            Action::NotYetOn => Step::Error(self.behaviour.not_entered(), done),
            Action::Exit(reason, description) => Step::Exit(reason, words(&description), done),
            Action::ExitWithFault(reason, description) => {
                Step::Fault(reason, words(&description), done)
            }
            Action::Poisoned(ipa) => {
                // Linux, `gmem_abort`: the exit has no flag.
                let (reason, description) = self.memory_fault(false, ipa, PAGE);
                self.exit(vm_index, vcpu, reason, &description)?;
                Step::Error(Errno::EHWPOISON, Pending::Action(action))
            }
            Action::UnknownExit => {
                if self.behaviour.dies_of_unknown_exits {
                    Step::Dead(INTERNAL_ERROR)
                } else {
                    Step::Exit(INTERNAL_ERROR, words(&[0]), done)
                }
            }
        })
    }

    /// A guest asks for another RIPAS.
    fn ask_for_ripas(
        &mut self,
        vm_index: usize,
        base: u64,
        top: u64,
        ram: bool,
    ) -> Result<Step, Errno> {
        let is_early = self.behaviour.ripas_change == RipasChange::BeforeTheExit;
        let vm = self.vm(vm_index)?;
        if top <= base || top > vm.realm.protected_end() || !vm.is_realm {
            return Ok(Step::Error(Errno::EINVAL, Pending::Outcome(Outcome::Done)));
        }
        if !is_early {
            let (reason, description) = self.memory_fault(ram, base, top - base);
            return Ok(Step::Fault(reason, description, Pending::Ripas { base, top, ram }));
        }
        let pages = self.options.ripas_pages.take().unwrap_or(u64::MAX);
        let end = base.saturating_add(pages.saturating_mul(PAGE)).min(top);
        self.vm(vm_index)?.realm.set_ripas(base, end, ram);
        let (reason, description) = self.memory_fault(ram, base, end - base);
        // The guest asks for the rest.
        let rest = Pending::Action(Action::SetRipas { base: end, top, ram });
        let pending = if end < top { rest } else { Pending::Outcome(Outcome::Done) };
        Ok(Step::Exit(reason, description, pending))
    }

    /// PSCI CPU_ON.
    fn cpu_on(
        &mut self,
        vm_index: usize,
        caller: usize,
        target: u64,
        entry: u64,
        context: u64,
    ) -> Result<Step, Errno> {
        let vm = self.vm(vm_index)?;
        let (is_realm, is_forwarded) = (vm.is_realm, vm.is_forwarded(low(CPU_ON)));
        let found = vm.vcpus.iter_mut().find(|vcpu| affinity(vcpu.id) == target);
        let Some(state) = found else {
            return Ok(Step::Next(Outcome::Psci(INVALID_PARAMETERS)));
        };
        if is_forwarded {
            let start = (!state.is_rec_on).then_some((entry, context));
            let state = vm.vcpu(caller)?;
            let registers = [CPU_ON, target, entry, context];
            state.registers.iter_mut().zip(registers).for_each(|(own, new)| *own = new);
            if is_realm {
                state.psci = Some(PsciRequest { target, start });
            }
            return Ok(Step::Exit(HYPERCALL, words(&[CPU_ON]), Pending::Psci));
        }
        let is_on = if is_realm { state.is_rec_on } else { !state.is_stopped };
        if is_on {
            return Ok(Step::Next(Outcome::Psci(ALREADY_ON)));
        }
        state.turn_on(entry, context);
        state.is_stopped = false;
        Ok(Step::Next(Outcome::Psci(SUCCESS)))
    }

    /// A guest reads or writes RAM.
    fn access(
        &mut self,
        (vm_index, vcpu): (usize, usize),
        action: Action,
        ipa: u64,
        store: Option<u64>,
    ) -> Result<Step, Errno> {
        let vm = self.vm(vm_index)?;
        let (is_realm, shared) = (vm.is_realm, vm.shared_bit());
        let (is_shared, address) = (!is_realm || ipa & shared != 0, ipa & !shared);
        let page = address / PAGE;
        if is_realm && !is_shared && !vm.realm.ram.has(page) {
            return Ok(Step::Next(Outcome::Aborted));
        }
        let Some(slot) = vm.slot(address).copied() else {
            // Without memory, an access to the unprotected half is one to a device.
            let aborted = Step::Next(Outcome::Aborted);
            return match store {
                _ if !is_shared => Ok(aborted),
                Some(value) => self.act(vm_index, vcpu, Action::MmioStore(ipa, value, 8)),
                None => self.act(vm_index, vcpu, Action::MmioLoad(ipa, 8)),
            };
        };
        if is_shared {
            if is_realm && vm.is_private(address) && !vm.has_two_backings(&slot) {
                let (reason, description) = self.memory_fault(false, page * PAGE, PAGE);
                return Ok(Step::Fault(reason, description, Pending::Action(action)));
            }
            let at = usize::try_from(address - slot.base).map_err(|_| Errno::EFAULT)?;
            return Ok(Step::Next(match store {
                Some(value) => {
                    let stored = slot.host.write(at, &value.to_le_bytes());
                    stored.map_or(Outcome::Aborted, |()| Outcome::Done)
                }
                None => {
                    let mut bytes = [0; 8];
                    let loaded = slot.host.read(at, &mut bytes);
                    loaded.map_or(Outcome::Aborted, |()| Outcome::Value(u64_at(&bytes, 0)))
                }
            }));
        }
        let Some((gmem, offset)) = slot.gmem else { return Err(Errno::EFAULT) };
        if vm.gmems.get(gmem).is_none_or(|gmem| gmem.is_closed) {
            return Ok(self.lost(page, action));
        }
        if !vm.is_private(address) {
            let (reason, description) = self.memory_fault(true, page * PAGE, PAGE);
            return Ok(Step::Fault(reason, description, Pending::Action(action)));
        }
        if vm.realm.destroyed.has(page) {
            // The RMM maps nothing there until the Realm asks.
            return Ok(Step::Error(Errno::ENXIO, Pending::Action(action)));
        }
        let is_new = !vm.realm.assigned.has(page);
        vm.realm.assigned.add(page, page + 1);
        let at = (address - slot.base).saturating_add(offset);
        let file = self.file(Object::Gmem(vm_index, gmem)).ok_or(Errno::EFAULT)?;
        if is_new {
            // Whatever was there, the Realm gets zeros.
            file.write_all_at(&[0; PAGE_BYTES], at - at % PAGE).map_err(Errno::of)?;
        }
        let mut bytes = [0; 8];
        Ok(Step::Next(match store {
            Some(value) => {
                file.write_all_at(&value.to_le_bytes(), at).map_err(Errno::of)?;
                Outcome::Done
            }
            None => {
                file.read_exact_at(&mut bytes, at).map_err(Errno::of)?;
                Outcome::Value(u64_at(&bytes, 0))
            }
        }))
    }
}

/// The bits of a value of so many bytes.
const fn mask(bytes: u32) -> u64 {
    if bytes >= 8 { u64::MAX } else { (1 << (8 * bytes)) - 1 }
}

impl VcpuState {
    /// The RMM starts it.
    pub(super) fn turn_on(&mut self, entry: u64, context: u64) {
        self.is_rec_on = true;
        self.pc = entry;
        self.registers[0] = context;
        self.pending = Pending::Start;
    }
}
