//! Virtual CPUs: entries, exits, answers, and interrupts.
#![expect(unsafe_code, reason = "exported names")]

use realm_sdk::abi::IpaRange;
use realm_sdk::builder::{Active, RipasStopped};
use realm_sdk::host::{Failed, RecName};
use realm_sdk::rec::exit::PsciRequest;
use realm_sdk::rec::{Answer, EnterError, Event, Handler, Kick, Rec, Stopped};
use realm_sdk::sro::Pool;
use realm_sdk::vgic::{ListRegisters, VirtualInterface};

use crate::bare_metal::{BareMetal, BareMetalRealm, Session};

/// What the SDK does with exits of its own.
struct Defaults;

impl Handler<BareMetal> for Defaults {}

/// The list registers of a CPU that are saved in memory.
struct SavedRegisters {
    list: [u64; 16],
    hcr: u64,
}

impl VirtualInterface for SavedRegisters {
    fn list_register(&self, n: usize) -> u64 {
        self.list.get(n).copied().unwrap_or_default()
    }
    fn set_list_register(&mut self, n: usize, value: u64) {
        if let Some(register) = self.list.get_mut(n) {
            *register = value;
        }
    }
    fn hcr(&self) -> u64 {
        self.hcr
    }
    fn set_hcr(&mut self, value: u64) {
        self.hcr = value;
    }
}

#[unsafe(no_mangle)]
fn footprint_enter(
    rec: &mut Rec,
    session: &Session,
    answer: Answer,
) -> Result<Event, Failed<Option<Answer>, EnterError>> {
    rec.enter(session, answer)
}

#[unsafe(no_mangle)]
fn footprint_run(
    rec: &mut Rec,
    session: &Session,
    answer: Answer,
    kick: &Kick,
) -> Result<Stopped, Failed<Option<Answer>, EnterError>> {
    rec.run(session, answer, &mut Defaults, kick)
}

#[unsafe(no_mangle)]
fn footprint_psci(
    session: &Session,
    request: PsciRequest,
    target: RecName,
    allow: bool,
) -> Result<Answer, Failed<PsciRequest>> {
    if allow { request.accept(session, target) } else { request.deny(session, target) }
}

#[unsafe(no_mangle)]
fn footprint_set_ripas(
    realm: &BareMetalRealm<'_, Active>,
    pool: &mut Pool<'_>,
    rec: RecName,
    range: IpaRange,
) -> Result<(), RipasStopped> {
    realm.set_ripas(pool, rec, range)
}

#[unsafe(no_mangle)]
fn footprint_load_interrupts(registers: &ListRegisters, saved: &mut SavedRegisters) {
    registers.load(saved);
}

#[unsafe(no_mangle)]
fn footprint_save_interrupts(registers: &mut ListRegisters, saved: &SavedRegisters) {
    registers.save(saved);
}
