//! The programs of the bare-metal host's Realms, which the model RMM calls in place of executing
//! instructions.
//!
//! Which program a virtual CPU runs is in the first bytes of the personalization value of its
//! Realm, and must be the one in the registers that it starts with.
//!
//! ```
//! use rmi_abi::Dialect;
//! use rmm_model::{Model, Options};
//!
//! let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
//! model_guests::install(&model);
//! # Ok::<(), rmm_model::OptionsError>(())
//! ```
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod vcpu;

use alloc::boxed::Box;

use realm_guest::{Entry, Program, programs};
use rmm_model::{AsyncGuest, AsyncVcpu, Guest, GuestIdentity, Model};

use vcpu::ModelVcpu;

/// Gives each virtual CPU of each Realm on the model the program that the personalization value of
/// its Realm names. One of a Realm whose value names none spins.
pub fn install(model: &Model) {
    model.set_default_guest(Box::new(guest));
}

/// The program of a virtual CPU.
fn guest(identity: &GuestIdentity) -> Option<Box<dyn Guest>> {
    let program = Program::from_personalization(&identity.personalization)?;
    let program = match (identity.plane, program) {
        (0, program) => program,
        (1, Program::Planes) => Program::InPlane,
        _ => return None,
    };
    Some(Box::new(AsyncGuest::new(move |cpu| run(cpu, program))))
}

/// Runs the program if it is that of the registers; otherwise the CPU spins.
async fn run(cpu: AsyncVcpu, named: Program) {
    let mut cpu = ModelVcpu::new(cpu);
    let entry = Entry::from_registers(realm_guest::Vcpu::entry(&cpu));
    if entry.is_some_and(|entry| entry.program == named) {
        programs::start(&mut cpu).await;
    }
}
