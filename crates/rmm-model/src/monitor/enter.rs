//! Entry into a REC and exit from it: the checks, the host's answer to the last exit, the exit
//! record.

use alloc::boxed::Box;
use alloc::collections::btree_map;
use core::mem::{self, offset_of};

use rmi_abi::esr::ExceptionClass;
use rmi_abi::rtt::Ripas;
use rmi_abi::run::{ExitReason, RecEnter, RecEnterFlags, RecExit, RecRun};
use rmi_abi::{Dialect, Ipa, Pa, ResultWord, Status};
use rmi_host::Registers;
use zerocopy::{FromZeros, IntoBytes};

use super::access::Translation;
use super::plane_call::reported;
use super::{GuestKey, Monitor, require_state};
use crate::answer::{Answer, require};
use crate::gic::{self, Group, VirtualInterface, Vtr};
use crate::granule::GranuleState;
use crate::guest::{Action, DeviceRequest, Guest, GuestCpu, GuestIdentity, Outcome};
use crate::realm::RealmState;
use crate::rec::{LastExit, Rec, Syndrome};
use crate::{rsi, syndrome};

/// Actions after which a REC exits by itself, as if the host's timer had fired: a program that
/// never exits must not hang the host.
const ACTIONS_PER_ENTRY: u32 = 1 << 16;

/// Offset of the exit record in the run page.
const EXIT_OFFSET: u64 = offset_of!(RecRun, exit) as u64;

/// Whose program it is, the program, and the action that it does again.
type Program = (GuestKey, Option<Box<dyn Guest>>, Option<Action>);

/// A REC that runs: what is needed to ask its program for the next action while the monitor is not
/// locked.
pub(crate) struct Entered {
    pub(super) rec: Pa,
    pub(super) cpu: u32,
    key: GuestKey,
    registers: Registers,
    guest: Option<Box<dyn Guest>>,
    view: GuestCpu,
    /// The action that the last exit interrupted, or the wait that goes on.
    retry: Option<Action>,
    /// How often the wait in progress has looked for what ends it.
    polls: u32,
}

impl Entered {
    /// The next action: the one that was interrupted, or what the program returns. A REC without a
    /// program spins.
    pub(crate) fn next_action(&mut self) -> Action {
        match (self.retry.take(), &mut self.guest) {
            (Some(action), _) => action,
            (None, Some(guest)) => guest.next(&self.view),
            (None, None) => Action::Spin,
        }
    }
}

/// How an action ended.
pub(crate) enum Stepped {
    /// The REC runs on.
    On,
    /// It waits.
    Waits,
    /// It exited; these are the registers for the host.
    Left(Registers),
}

/// What an action led to.
pub(super) enum Acted {
    /// The REC runs on.
    On,
    /// It is a wait that nothing ends yet.
    Wait,
    Exit(Exit),
}

impl From<Option<Exit>> for Acted {
    fn from(exit: Option<Exit>) -> Self {
        exit.map_or(Self::On, Self::Exit)
    }
}

/// An exit record that is not complete yet.
pub(super) type Exit = Box<RecExit>;

/// An exit record that has only the reason.
pub(super) fn exit(reason: ExitReason, dialect: Dialect) -> Exit {
    let mut exit = Box::new(RecExit::new_zeroed());
    exit.exit_reason = reason.encode(dialect).unwrap_or(u8::MAX);
    exit
}

impl Monitor {
    /// Enters a REC, if the checks pass. Without an error the REC runs; an answer of success means
    /// that it exited before it ran.
    pub(super) fn rec_enter(&mut self, cpu: u32, x: &Registers) -> Result<Box<Entered>, Answer> {
        let [_, address, run, ..] = *x;
        let gic_in_run_page = self.options.dialect.gic_in_run_page();
        let run = Pa::new(run);
        let is_host_page = self.granules.is(run, GranuleState::Undelegated);
        require(is_host_page, Status::ErrorInput)?;
        let rec = self.rec(address)?;
        require(!rec.running, Status::ErrorRec)?;
        let rd = rec.rd;
        let mut enter = RecEnter::new_zeroed();
        self.memory.read(run, enter.as_mut_bytes());
        let realm = self.realm(rd.raw())?;
        if realm.state == RealmState::SystemOff && gic_in_run_page {
            // 1.0 says which state it is.
            let ResultWord(word) = ResultWord::from_status(Status::ErrorRealm);
            return Err(Answer::from(ResultWord(word | 1 << 8)));
        }
        require_state(realm, &[RealmState::Active])?;
        let interface = match gic_in_run_page {
            true => gic::accepts_registers(&enter, self.vtr()),
            false => self.cpu(cpu).interface.may_enter(),
        };
        let rec = self.rec(address)?;
        require(rec.runnable, Status::ErrorRec)?;
        require(!matches!(rec.last_exit, LastExit::Psci(_)), Status::ErrorRec)?;
        require(interface, Status::ErrorRec)?;
        let flags = RecEnterFlags::from_bits_retain(enter.flags);
        if flags.contains(RecEnterFlags::INJECT_SEA) {
            let possible =
                matches!(rec.last_exit, LastExit::Emulatable { .. } | LastExit::Unprotected);
            require(possible, Status::ErrorRec)?;
        } else if flags.contains(RecEnterFlags::EMUL_MMIO) {
            let possible = matches!(rec.last_exit, LastExit::Emulatable { .. });
            require(possible, Status::ErrorRec)?;
        }

        rec.flags = flags;
        rec.run = run;
        rec.budget = ACTIONS_PER_ENTRY;
        if let LastExit::HostCall(structure) = rec.last_exit {
            self.complete_host_call(Pa::new(address), structure, &enter)?;
        }
        let rec = self.rec(address)?;
        if let LastExit::S2apChange(request) = rec.last_exit {
            self.answer_s2ap_change(Pa::new(address), request);
        }
        let rec = self.rec(address)?;
        answer_last_exit(rec, &enter);
        let rec = Pa::new(address);
        self.return_to_plane_0(rec, cpu).map_err(|()| Answer::from(Status::ErrorInput))?;
        self.start_running(cpu);
        if gic_in_run_page {
            self.load_run_page(rec, cpu, &enter);
        }
        self.load_plane(rec, cpu);
        if self.timers_end_run(rec, cpu) || self.is_interrupted(rec, cpu) {
            // The physical interrupt is taken before the first instruction.
            let exit = self.interrupt_exit(cpu);
            self.leave_cpu(rec, cpu);
            self.write_exit(rec, exit);
            return Err(Answer::success());
        }
        let (key, guest, retry) = self.take_guest(rec).ok_or(Answer::from(Status::ErrorRec))?;
        let view = self.view(rec, cpu);
        Ok(Box::new(Entered { rec, cpu, key, registers: *x, guest, view, retry, polls: 0 }))
    }

    /// The program of the plane of a REC that runs, and the action that it does again.
    fn take_guest(&mut self, rec: Pa) -> Option<Program> {
        let rec = self.recs.get_mut(&rec)?;
        let key = (rec.rd, rec.mpidr.raw(), rec.plane);
        let retry = rec.retry.take();
        let guest = self.guests.remove(&key).or_else(|| {
            let (rd, mpidr, plane) = key;
            let personalization = self.realms.get(&rd)?.rpv;
            let plane = u8::try_from(plane).ok()?;
            self.default_guest.as_ref()?(&GuestIdentity { rd, personalization, mpidr, plane })
        });
        let retry = retry.filter(|_| guest.as_ref().is_none_or(|guest| guest.repeats()));
        Some((key, guest, retry))
    }

    /// Puts back the program of a REC, or of a plane, that does not run any more.
    fn put_guest(&mut self, key: GuestKey, guest: Option<Box<dyn Guest>>) {
        let Some(guest) = guest else { return };
        match self.guests.entry(key) {
            btree_map::Entry::Vacant(slot) => _ = slot.insert(guest),
            // The REC was given a new program meanwhile.
            btree_map::Entry::Occupied(_) => self.ended.push(guest),
        }
    }

    /// Starts a run: the waits that the host wants trapped, and the interface of a plane that has
    /// its own one.
    fn load_plane(&mut self, address: Pa, cpu: u32) {
        let fresh = VirtualInterface::new(Vtr::new(&self.options));
        let physical = self.cpu(cpu).interface;
        let Some(rec) = self.recs.get_mut(&address) else { return };
        rec.running = true;
        rec.was_handled = false;
        rec.own.traps_wfi = rec.flags.contains(RecEnterFlags::TRAP_WFI);
        rec.own.traps_wfe = rec.flags.contains(RecEnterFlags::TRAP_WFE);
        if rec.gic_owner != rec.plane {
            rec.host_interface = Some(physical);
            let interface = rec.own.interface.unwrap_or(fresh);
            self.cpu(cpu).interface = interface;
        }
    }

    /// Puts the interface of a REC of 1.0 on the CPU: what the Realm had set, with the list
    /// registers of the run page and the enables of `ICH_HCR_EL2` that the host controls.
    fn load_run_page(&mut self, address: Pa, number: u32, enter: &RecEnter) {
        let fresh = VirtualInterface::new(Vtr::new(&self.options));
        let own = self.recs.get(&address).and_then(|rec| rec.own.interface);
        let mut interface = own.unwrap_or(fresh);
        interface.load_run_page(enter);
        let cpu = self.cpu(number);
        cpu.realms_use_it |= interface.holds_anything();
        cpu.interface = interface;
    }

    /// Ends a run: the interface of the host is on the CPU again, and off. In 1.0 it is the Realm's
    /// that is left there.
    fn leave_cpu(&mut self, address: Pa, number: u32) {
        let physical = self.cpu(number).interface;
        let gic_in_run_page = self.options.dialect.gic_in_run_page();
        let host = self.recs.get_mut(&address).and_then(|rec| {
            rec.running = false;
            if gic_in_run_page {
                rec.own.interface = Some(physical);
            }
            let host = rec.host_interface.take()?;
            rec.own.interface = Some(physical);
            Some(host)
        });
        let cpu = self.cpu(number);
        cpu.running = cpu.running.saturating_sub(1);
        cpu.interface = host.unwrap_or(physical);
        cpu.interface.leave();
    }

    /// Writes the host's reply into the structure of a host call. If it is not mapped any more, the
    /// REC exits at once as if it had been accessed there; the call stays pending.
    fn complete_host_call(
        &mut self,
        address: Pa,
        structure: Ipa,
        enter: &RecEnter,
    ) -> Result<(), Answer> {
        let rd = self.rec(address.raw())?.rd;
        match self.translate_structure(rd, structure) {
            Translation::Memory(pa) => {
                let gprs = Pa::new(pa.raw() + rsi::HOST_CALL_GPRS);
                self.memory.write(gprs, enter.gprs.as_bytes());
                Ok(())
            }
            Translation::Fault { level, .. } => {
                let status = syndrome::fault_status(level, false);
                let esr = syndrome::class(ExceptionClass::DataAbort) | status;
                let exit = self.sync_exit(esr, 0, syndrome::hpfar_of_structure(structure));
                // As in TF-RMM, nothing ran: the virtual CPU interface stays on, and the record
                // says nothing about timers.
                self.write_record(address, &exit);
                Err(Answer::success())
            }
            // The Realm itself made the page EMPTY meanwhile: nothing waits for the reply.
            Translation::Abort | Translation::ToPlane0 { .. } => Ok(()),
        }
    }

    /// What the program of a REC sees.
    pub(super) fn view(&mut self, rec: Pa, cpu: u32) -> GuestCpu {
        let interface = &self.cpu(cpu).interface;
        let (irq, fiq) = (interface.signalled(Group::One), interface.signalled(Group::Zero));
        match self.recs.get(&rec) {
            Some(rec) => {
                let (x, pc, last, plane) = (rec.x, rec.pc, rec.outcome, rec.plane as u64);
                GuestCpu { x, pc, last, irq, fiq, plane }
            }
            None => GuestCpu { x: [0; 31], pc: 0, last: Outcome::None, irq, fiq, plane: 0 },
        }
    }

    /// Carries out one action of a REC that runs.
    pub(crate) fn step(&mut self, entered: &mut Entered, action: Action) -> Stepped {
        let address = entered.rec;
        let acted = match self.recs.get_mut(&address) {
            Some(rec) if rec.budget > 0 => {
                rec.was_handled = false;
                rec.own.syndrome = Syndrome::default();
                if entered.polls == 0 {
                    rec.budget -= 1;
                }
                self.act(address, entered.cpu, action)
            }
            // Too many actions, or (impossible while it runs) no REC: an exit as for an interrupt
            // of the host.
            Some(rec) => {
                rec.retry = Some(action);
                Acted::Exit(exit(ExitReason::Fiq, self.options.dialect))
            }
            None => Acted::Exit(exit(ExitReason::Fiq, self.options.dialect)),
        };
        let acted = match acted {
            Acted::On if self.is_interrupted(address, entered.cpu) => {
                Acted::Exit(self.interrupt_exit(entered.cpu))
            }
            // The host's timer fires.
            Acted::Wait if entered.polls >= self.options.wait_polls => {
                self.end_wait(address);
                Acted::Exit(self.interrupt_exit(entered.cpu))
            }
            acted => acted,
        };
        match acted {
            Acted::On => {
                entered.polls = 0;
                self.follow_plane(entered);
                entered.view = self.view(address, entered.cpu);
                Stepped::On
            }
            Acted::Wait => {
                entered.polls += 1;
                entered.retry = Some(action);
                Stepped::Waits
            }
            Acted::Exit(exit) => {
                self.leave_cpu(address, entered.cpu);
                self.write_exit(address, exit);
                let guest = entered.guest.take();
                self.put_guest(entered.key, guest);
                Stepped::Left(Answer::success().registers(entered.registers))
            }
        }
    }

    /// Whether an interrupt ends the run of a REC after an action: a physical one, or that of a
    /// timer.
    pub(super) fn is_interrupted(&mut self, address: Pa, cpu: u32) -> bool {
        let was_handled = self.recs.get(&address).is_some_and(|rec| rec.was_handled);
        if was_handled && self.timers_end_run(address, cpu) {
            return true;
        }
        let now = self.clock.now();
        let fires = self.recs.get(&address).is_some_and(|rec| {
            let plane_0 = rec.timers_of_plane_0();
            rec.timers.interrupts(now) || plane_0.is_some_and(|timers| timers.has_expired(now))
        });
        fires || self.cpu(cpu).ends_run()
    }

    /// If another plane runs now, its program goes on.
    fn follow_plane(&mut self, entered: &mut Entered) {
        let (_, _, plane) = entered.key;
        if self.recs.get(&entered.rec).is_none_or(|rec| rec.plane == plane) {
            return;
        }
        let guest = entered.guest.take();
        self.put_guest(entered.key, guest);
        if let Some((key, guest, retry)) = self.take_guest(entered.rec) {
            (entered.key, entered.guest, entered.retry) = (key, guest, retry);
        }
    }

    /// Takes a REC off its CPU whose program has panicked. There is no exit record.
    pub(crate) fn abandon(&mut self, entered: &Entered) {
        self.leave_cpu(entered.rec, entered.cpu);
    }

    /// Ends an entry: completes the exit record and writes it to the run page.
    fn write_exit(&mut self, address: Pa, mut exit: Exit) {
        let now = self.clock.now();
        let gic_in_run_page = self.options.dialect.gic_in_run_page();
        let Some(rec) = self.recs.get_mut(&address) else { return };
        let timers = rec.reported.take().unwrap_or_else(|| reported(rec, now));
        [exit.cntp_ctl, exit.cntp_cval, exit.cntv_ctl, exit.cntv_cval] = timers;
        rec.timers.show(now);
        if gic_in_run_page && let Some(interface) = &rec.own.interface {
            interface.save_run_page(&mut exit);
        }
        self.write_record(address, &exit);
    }

    /// Writes an exit record to the run page.
    fn write_record(&mut self, address: Pa, exit: &RecExit) {
        let Some(rec) = self.recs.get(&address) else { return };
        // A run page that is no host memory any more cannot be written; the entry took place
        // nevertheless.
        if self.granules.is(rec.run, GranuleState::Undelegated)
            && let Some(at) = rec.run.checked_add(EXIT_OFFSET)
        {
            self.memory.write(at, exit.as_bytes());
        }
    }

    /// Notes that a physical CPU starts to run a REC.
    ///
    /// # Panics
    ///
    /// If it runs one already and the host or a Realm uses its virtual CPU interface, of which
    /// there is one: no machine can do that, so the host calls from a CPU that it is not on.
    #[expect(
        clippy::panic,
        reason = "a mistake in the host's program, which no status of an RMM describes"
    )]
    fn start_running(&mut self, number: u32) {
        let cpu = self.cpu(number);
        if cpu.is_taken() {
            panic!(
                "two RECs on physical CPU {number} at once: a host with several threads calls from \
                 several CPUs (Model::cpu, Model::calling_cpu)"
            );
        }
        cpu.running += 1;
    }

    /// The exit for a physical interrupt; the interrupt is no longer pending then.
    fn interrupt_exit(&mut self, cpu: u32) -> Exit {
        self.cpu(cpu).interrupted = false;
        exit(ExitReason::Irq, self.options.dialect)
    }

    /// An exit because of a synchronous exception.
    pub(super) fn sync_exit(&self, esr: u64, far: u64, hpfar: u64) -> Exit {
        let mut exit = exit(ExitReason::Sync, self.options.dialect);
        exit.esr = esr;
        exit.far = far;
        exit.hpfar = hpfar;
        exit
    }
}

/// Continues a REC after its last exit with what the host answered.
fn answer_last_exit(rec: &mut Rec, enter: &RecEnter) {
    let [reply, ..] = enter.gprs;
    let flags = rec.flags;
    match mem::replace(&mut rec.last_exit, LastExit::Other) {
        LastExit::Emulatable { .. } | LastExit::Unprotected
            if flags.contains(RecEnterFlags::INJECT_SEA) =>
        {
            rec.retry = None;
            rec.take_exception(Outcome::Aborted);
        }
        LastExit::Emulatable { load } if flags.contains(RecEnterFlags::EMUL_MMIO) => {
            rec.retry = None;
            rec.step();
            rec.outcome = match load {
                None => Outcome::Stored,
                Some(load) => {
                    let value = load.extended(reply);
                    if let Some(register) = load.register {
                        rec.set_x(usize::from(register), value);
                    }
                    Outcome::Loaded(value)
                }
            };
        }
        LastExit::SysRegRead(register) => {
            rec.set_x(usize::from(register), reply);
            rec.outcome = Outcome::Read(reply);
        }
        LastExit::HostCall(_) => {
            rec.set_x(0, rsi::SUCCESS);
            rec.outcome = Outcome::Returned;
        }
        LastExit::RipasChange(change) => {
            // Only a request for RAM that was not carried out to its end can have been rejected.
            let rejected = flags.contains(RecEnterFlags::RIPAS_REJECT)
                && change.value == Ripas::Ram
                && change.next != change.top;
            rec.answer([rsi::SUCCESS, change.next.raw(), u64::from(rejected), 0]);
        }
        LastExit::Device(request) => rec.answer(device_answer(request, flags)),
        // A change of permissions is answered before, where the Realm is accessible.
        LastExit::Emulatable { .. }
        | LastExit::Unprotected
        | LastExit::Psci(_)
        | LastExit::S2apChange(_)
        | LastExit::Other => {}
    }
}

/// What the Realm sees of a request about a device, X0 to X3.
fn device_answer(request: DeviceRequest, flags: RecEnterFlags) -> [u64; 4] {
    match request {
        DeviceRequest::Vdev { .. } | DeviceRequest::P2pBinding { .. } => {
            [rsi::ERROR_INPUT, 0, 0, 0]
        }
        DeviceRequest::ValidateMapping { base, top, .. } => {
            // As a change of RIPAS: only what is not complete can have been rejected.
            let rejected = flags.contains(RecEnterFlags::DEV_MEM_REJECT) && base != top;
            [rsi::SUCCESS, base.raw(), u64::from(rejected), 0]
        }
        DeviceRequest::VsmmuCommand { .. } => [rsi::SUCCESS, 0, 0, 0],
    }
}
