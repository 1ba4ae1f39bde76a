//! Virtual CPUs: entries, exits, answers, and interrupts.
#![expect(unsafe_code, reason = "exported names")]

use realm_sdk::host::Failed;
use realm_sdk::rec::exit::PsciRequest;
use realm_sdk::rec::{Answer, EnterError, Event, Handler, Kick, Rec, RunEnd};
use realm_sdk::vgic::{InterfaceState, Saved, VirtualInterface, Vtr};

use crate::bare_metal::Session;

/// The exits that the SDK handles itself.
struct Defaults;

impl Handler for Defaults {}

/// The virtual CPU interface of a CPU, in memory.
pub(crate) struct SavedRegisters {
    vtr: u64,
    list: [u64; 16],
    ap0r: [u64; 4],
    ap1r: [u64; 4],
    hcr: u64,
    vmcr: u64,
    misr: u64,
}

fn read(registers: &[u64], n: usize) -> u64 {
    registers.get(n).copied().unwrap_or_default()
}

fn write(registers: &mut [u64], n: usize, value: u64) {
    if let Some(register) = registers.get_mut(n) {
        *register = value;
    }
}

impl VirtualInterface for SavedRegisters {
    fn vtr(&self) -> Vtr {
        Vtr::from_raw(self.vtr)
    }
    fn list_register(&self, n: usize) -> u64 {
        read(&self.list, n)
    }
    fn set_list_register(&mut self, n: usize, value: u64) {
        write(&mut self.list, n, value);
    }
    fn hcr(&self) -> u64 {
        self.hcr
    }
    fn set_hcr(&mut self, value: u64) {
        self.hcr = value;
    }
    fn vmcr(&self) -> u64 {
        self.vmcr
    }
    fn set_vmcr(&mut self, value: u64) {
        self.vmcr = value;
    }
    fn ap0r(&self, n: usize) -> u64 {
        read(&self.ap0r, n)
    }
    fn set_ap0r(&mut self, n: usize, value: u64) {
        write(&mut self.ap0r, n, value);
    }
    fn ap1r(&self, n: usize) -> u64 {
        read(&self.ap1r, n)
    }
    fn set_ap1r(&mut self, n: usize, value: u64) {
        write(&mut self.ap1r, n, value);
    }
    fn misr(&self) -> u64 {
        self.misr
    }
}

#[unsafe(no_mangle)]
fn footprint_enter(
    rec: &Rec,
    session: &Session,
    answer: Answer,
) -> Result<Event, Failed<Option<Answer>, EnterError>> {
    rec.enter(session, answer)
}

#[unsafe(no_mangle)]
fn footprint_run(
    rec: &Rec,
    session: &Session,
    answer: Answer,
    kick: &Kick,
) -> Result<RunEnd, Failed<Option<Answer>, EnterError>> {
    rec.run(session, answer, &mut Defaults, kick)
}

#[unsafe(no_mangle)]
fn footprint_psci(
    session: &Session,
    request: PsciRequest,
    (rec, target): (&Rec, &Rec),
    allow: bool,
) -> Result<Answer, Failed<PsciRequest>> {
    if allow { request.accept(session, rec, target) } else { request.deny(session, rec, target) }
}

#[unsafe(no_mangle)]
fn footprint_load_interrupts(state: &InterfaceState, saved: &mut SavedRegisters) {
    state.load(saved);
}

#[unsafe(no_mangle)]
fn footprint_save_interrupts(state: &mut InterfaceState, saved: &mut SavedRegisters) -> Saved {
    state.save(saved)
}
