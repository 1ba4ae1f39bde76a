//! Opening and closing a session, and its pool.
#![expect(unsafe_code, reason = "exported names")]

#[cfg(not(feature = "all-dialects"))]
use realm_sdk::abi::Dialect;
use realm_sdk::host::{SessionError, SessionOptions, Undelegated};
use realm_sdk::sro::{self, FixedPool, Pool};

use crate::bare_metal::{BareMetal, Session};

#[cfg(feature = "all-dialects")]
fn options() -> SessionOptions {
    SessionOptions::default()
}

#[cfg(not(feature = "all-dialects"))]
fn options() -> SessionOptions {
    let mut options = SessionOptions::default();
    options.dialect = Some(Dialect::TfRmm2026_07);
    options
}

#[unsafe(no_mangle)]
fn footprint_open(
    machine: BareMetal,
    pool: &mut Pool,
) -> Result<sro::Session<BareMetal>, SessionError> {
    Ok(sro::open(machine, options(), pool)?)
}

#[unsafe(no_mangle)]
fn footprint_close(session: sro::Session<BareMetal>, pool: &mut Pool) -> bool {
    session.close(pool).is_ok()
}

#[unsafe(no_mangle)]
fn footprint_pool(pool: &mut FixedPool<16>, pages: Undelegated) -> Result<(), Undelegated> {
    pool.add(pages)
}

#[unsafe(no_mangle)]
fn footprint_add(pool: &mut Pool, memory: Undelegated) -> Result<(), Undelegated> {
    pool.add(memory)
}

#[unsafe(no_mangle)]
fn footprint_drain(pool: &mut Pool, session: &Session, give_back: &mut dyn FnMut(Undelegated)) {
    pool.drain(session, give_back);
}
