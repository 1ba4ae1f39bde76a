//! What a program that is a function does with its CPU: the same methods for an async function and
//! for a thread.

use super::{GuestCpu, Outcome};

/// The exception that an instruction of a program takes instead of completing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exception {
    /// A synchronous external abort.
    Aborted,
    /// The instruction is undefined in a Realm.
    Undefined,
}

impl core::fmt::Display for Exception {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Aborted => "the access took a synchronous external abort",
            Self::Undefined => "the instruction is undefined in a Realm",
        })
    }
}

impl core::error::Error for Exception {}

/// The value of a load or of a register.
pub(super) fn value(cpu: &GuestCpu) -> Result<u64, Exception> {
    match cpu.last {
        Outcome::Loaded(value) | Outcome::Read(value) => Ok(value),
        Outcome::Undefined => Err(Exception::Undefined),
        _ => Err(Exception::Aborted),
    }
}

/// Whether an instruction without a value completed.
pub(super) fn completed(cpu: &GuestCpu) -> Result<(), Exception> {
    match cpu.last {
        Outcome::Aborted => Err(Exception::Aborted),
        Outcome::Undefined => Err(Exception::Undefined),
        _ => Ok(()),
    }
}

/// X0 to X17.
pub(super) fn call_registers(cpu: &GuestCpu) -> [u64; 18] {
    let mut registers = [0; 18];
    for (to, from) in registers.iter_mut().zip(cpu.x) {
        *to = from;
    }
    registers
}

/// X0.
pub(super) fn first(cpu: &GuestCpu) -> u64 {
    let [x0, ..] = cpu.x;
    x0
}

/// The interrupt that a read of IAR gave.
pub(super) fn interrupt(cpu: &GuestCpu) -> Option<u32> {
    match cpu.last {
        // 1020 to 1023 are no interrupts.
        Outcome::Read(intid) => u32::try_from(intid).ok().filter(|id| !(1020..=1023).contains(id)),
        _ => None,
    }
}

/// The methods of both kinds of program; `act` of the type carries out an action, and gives the CPU
/// after it. `$asyncness` and `$waiting` are `async` and `.await`, or nothing.
macro_rules! vcpu_methods {
    ($vcpu:ty, [$($asyncness:tt)?], [$($waiting:tt)*]) => {
        impl $vcpu {
            /// The CPU after the last action; before the first one, as the program finds it.
            #[must_use]
            pub fn state(&self) -> GuestCpu {
                self.view
            }

            /// X0 to X30 after the last action.
            #[must_use]
            pub fn x(&self) -> [u64; RUN_GPRS] {
                self.view.x
            }

            /// The virtual interrupt of group 1 that was signalled after the last action, see
            /// [`GuestCpu::irq`]. A program that waits for one does actions meanwhile: a CPU that
            /// does nothing sees nothing.
            #[must_use]
            pub fn irq(&self) -> Option<u32> {
                self.view.irq
            }

            /// The same, of group 0.
            #[must_use]
            pub fn fiq(&self) -> Option<u32> {
                self.view.fiq
            }

            /// Loads 1, 2, 4 or 8 bytes, zero-extended.
            ///
            /// # Errors
            ///
            /// The exception that the access takes.
            pub $($asyncness)? fn load(&mut self, ipa: Ipa, bytes: u8) -> Result<u64, Exception> {
                vcpu::value(&self.act(Action::Load { ipa, bytes })$($waiting)*)
            }

            /// Stores the low 1, 2, 4 or 8 bytes of a value.
            ///
            /// # Errors
            ///
            /// The exception that the access takes.
            pub $($asyncness)? fn store(
                &mut self,
                ipa: Ipa,
                bytes: u8,
                value: u64,
            ) -> Result<(), Exception> {
                vcpu::completed(&self.act(Action::Store { ipa, bytes, value })$($waiting)*)
            }

            /// Fetches an instruction at an address.
            ///
            /// # Errors
            ///
            /// The exception that the access takes.
            pub $($asyncness)? fn fetch(&mut self, ipa: Ipa) -> Result<(), Exception> {
                vcpu::completed(&self.act(Action::Fetch { ipa })$($waiting)*)
            }

            /// Does nothing that changes the CPU; its state is that of now afterwards.
            pub $($asyncness)? fn nop(&mut self) {
                // X31 does not exist.
                self.act(Action::Set { register: 31, value: 0 })$($waiting)*;
            }

            /// Makes an SMC: X0 to X17 afterwards. Arguments from X1 on, at most 17.
            pub $($asyncness)? fn smc(&mut self, function: u64, arguments: &[u64]) -> [u64; 18] {
                vcpu::call_registers(&self.act(Action::smc(function, arguments))$($waiting)*)
            }

            /// Makes a call of the Realm, as [`Action`] has them (for example
            /// [`Action::ipa_state_set`]): X0 to X17 afterwards.
            pub $($asyncness)? fn call(&mut self, call: Action) -> [u64; 18] {
                vcpu::call_registers(&self.act(call)$($waiting)*)
            }

            /// Makes `RSI_HOST_CALL` with the structure at an address, 256-byte aligned and
            /// protected: X0.
            pub $($asyncness)? fn host_call(&mut self, structure: Ipa) -> u64 {
                vcpu::first(&self.act(Action::host_call(structure))$($waiting)*)
            }

            /// Waits for an interrupt.
            pub $($asyncness)? fn wfi(&mut self) {
                self.act(Action::Wfi)$($waiting)*;
            }

            /// Waits for an event.
            pub $($asyncness)? fn wfe(&mut self) {
                self.act(Action::Wfe)$($waiting)*;
            }

            /// Waits for an interrupt until the virtual counter has this value.
            pub $($asyncness)? fn wfit(&mut self, deadline: u64) {
                self.act(Action::Wfit { deadline })$($waiting)*;
            }

            /// Waits for an event until the virtual counter has this value.
            pub $($asyncness)? fn wfet(&mut self, deadline: u64) {
                self.act(Action::Wfet { deadline })$($waiting)*;
            }

            /// Reads a system register, through X0.
            ///
            /// # Errors
            ///
            /// The exception that the access takes.
            pub $($asyncness)? fn read_sysreg(
                &mut self,
                register: SysReg,
            ) -> Result<u64, Exception> {
                vcpu::value(&self.act(Action::SysRegRead { register, into: 0 })$($waiting)*)
            }

            /// Writes a system register.
            ///
            /// # Errors
            ///
            /// The exception that the access takes.
            pub $($asyncness)? fn write_sysreg(
                &mut self,
                register: SysReg,
                value: u64,
            ) -> Result<(), Exception> {
                vcpu::completed(&self.act(Action::SysRegWrite { register, value })$($waiting)*)
            }

            /// The virtual counter (`CNTVCT_EL0`), in ticks.
            pub $($asyncness)? fn counter(&mut self) -> u64 {
                let read = Action::SysRegRead { register: SysReg::CNTVCT_EL0, into: 0 };
                vcpu::first(&self.act(read)$($waiting)*)
            }

            /// Sets a timer: its interrupt is signalled when the counter has reached `cval`.
            pub $($asyncness)? fn set_timer(&mut self, kind: TimerKind, cval: u64) {
                self.act(Action::Timer { kind, ctl: 1, cval })$($waiting)*;
            }

            /// Turns a timer off.
            pub $($asyncness)? fn stop_timer(&mut self, kind: TimerKind) {
                self.act(Action::Timer { kind, ctl: 0, cval: 0 })$($waiting)*;
            }

            /// Acknowledges the most urgent interrupt of group 1 (`ICC_IAR1_EL1`), if there is one.
            pub $($asyncness)? fn acknowledge(&mut self) -> Option<u32> {
                vcpu::interrupt(&self.act(Action::acknowledge())$($waiting)*)
            }

            /// Ends an interrupt of group 1 (`ICC_EOIR1_EL1`).
            pub $($asyncness)? fn end_of_interrupt(&mut self, intid: u32) {
                self.act(Action::end_of_interrupt(intid))$($waiting)*;
            }

            /// Waits with WFI until an interrupt of group 1 is signalled, and acknowledges it.
            pub $($asyncness)? fn next_interrupt(&mut self) -> u32 {
                loop {
                    if self.view.irq.is_some()
                        && let Some(intid) = self.acknowledge()$($waiting)*
                    {
                        return intid;
                    }
                    self.wfi()$($waiting)*;
                }
            }

            /// Makes `PSCI_CPU_ON` of the CPU with that MPIDR (aff3 in bits 39:32).
            pub $($asyncness)? fn cpu_on(
                &mut self,
                mpidr: u64,
                entry: Ipa,
                context: u64,
            ) -> PsciReturnCode {
                let call = Action::psci_cpu_on(mpidr, entry.raw(), context);
                PsciReturnCode::from_register(vcpu::first(&self.act(call)$($waiting)*))
            }

            /// Makes `PSCI_AFFINITY_INFO` of the CPU with that MPIDR: 0 for on, 1 for off.
            pub $($asyncness)? fn affinity_info(&mut self, mpidr: u64) -> u64 {
                vcpu::first(&self.act(Action::psci_affinity_info(mpidr))$($waiting)*)
            }

            /// Makes `PSCI_CPU_OFF`. Returns when another CPU has turned this one on again: the
            /// program counter is the entry point then, and X0 the context.
            pub $($asyncness)? fn cpu_off(&mut self) -> GuestCpu {
                self.act(Action::psci_cpu_off())$($waiting)*
            }
        }
    };
}
pub(super) use vcpu_methods;
