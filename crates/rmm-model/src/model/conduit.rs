//! The interface of the host: calls, and the host's view of memory.
//!
//! The traits are unsafe to use because a real RMM can take memory away from the program that calls
//! it. This one has only its own memory, so no call made here can do that.
#![expect(unsafe_code, reason = "the methods of a conduit are unsafe")]

use rmi_abi::Pa;
use rmi_host::{AccessFault, Conduit, HostAccess, Machine, OpenSessions, Registers, Simulated};

use super::{CallingCpu, Cpu, Model};

// SAFETY: the answers are the model's, about memory that only the model has.
unsafe impl Conduit for Model {
    fn open_sessions(&self) -> &OpenSessions {
        &self.sessions
    }

    unsafe fn call(&self, registers: Registers) -> Registers {
        self.call_from_first(registers)
    }
}

// SAFETY: only the model's memory is accessed.
unsafe impl HostAccess for Model {
    fn machine(&self) -> Machine {
        self.sessions.machine()
    }

    unsafe fn read(&self, at: Pa, into: &mut [u8]) -> Result<(), AccessFault> {
        self.read_as_host(at, into)
    }

    unsafe fn write(&self, at: Pa, from: &[u8]) -> Result<(), AccessFault> {
        self.write_as_host(at, from)
    }
}

// SAFETY: as for the model.
unsafe impl Conduit for Cpu<'_> {
    fn open_sessions(&self) -> &OpenSessions {
        &self.model.sessions
    }

    unsafe fn call(&self, registers: Registers) -> Registers {
        self.call_from_here(registers)
    }
}

// SAFETY: as for the model.
unsafe impl HostAccess for Cpu<'_> {
    fn machine(&self) -> Machine {
        self.model.machine()
    }

    unsafe fn read(&self, at: Pa, into: &mut [u8]) -> Result<(), AccessFault> {
        self.model.read_as_host(at, into)
    }

    unsafe fn write(&self, at: Pa, from: &[u8]) -> Result<(), AccessFault> {
        self.model.write_as_host(at, from)
    }
}

// SAFETY: as for the model.
unsafe impl<F: Fn() -> u32> Conduit for CallingCpu<'_, F> {
    unsafe fn call(&self, registers: Registers) -> Registers {
        self.cpu().call_from_here(registers)
    }

    fn open_sessions(&self) -> &OpenSessions {
        &self.model.sessions
    }
}

// SAFETY: as for the model.
unsafe impl<F: Fn() -> u32> HostAccess for CallingCpu<'_, F> {
    unsafe fn read(&self, at: Pa, into: &mut [u8]) -> Result<(), AccessFault> {
        self.model.read_as_host(at, into)
    }

    unsafe fn write(&self, at: Pa, from: &[u8]) -> Result<(), AccessFault> {
        self.model.write_as_host(at, from)
    }

    fn machine(&self) -> Machine {
        self.model.machine()
    }
}

// SAFETY: no call touches memory outside the model.
unsafe impl Simulated for Model {}
// SAFETY: as for the model.
unsafe impl Simulated for Cpu<'_> {}
// SAFETY: as for the model.
unsafe impl<F: Fn() -> u32> Simulated for CallingCpu<'_, F> {}
