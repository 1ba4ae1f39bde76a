//! Virtual CPUs: entries, exits, answers, and interrupts.
#![expect(unsafe_code, reason = "exported names")]

use realm_sdk::host::Failed;
use realm_sdk::rec::exit::PsciRequest;
use realm_sdk::rec::{Answer, EnterError, Event, Handler, Kick, Rec, RunEnd};
use realm_sdk::vgic::{InterfaceState, Saved};

use crate::bare_metal::Session;
use crate::cpu::Cpu;

/// The exits that the SDK handles itself.
struct Defaults;

impl Handler for Defaults {}

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
fn footprint_load_interrupts(state: &InterfaceState, saved: &mut Cpu) {
    state.load(saved);
}

#[unsafe(no_mangle)]
fn footprint_save_interrupts(state: &mut InterfaceState, saved: &mut Cpu) -> Saved {
    state.save(saved)
}
