//! Opening and closing a session, and its pool.
#![expect(unsafe_code, reason = "exported names")]

#[cfg(not(feature = "all-dialects"))]
use realm_sdk::abi::Dialect;
use realm_sdk::host::{Discovered, SessionError, SessionOptions, Undelegated};
use realm_sdk::sro::{Activated, Pool, PoolStorage, activate, deactivate};

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
    pool: &mut Pool<'_>,
) -> Result<Activated<BareMetal>, SessionError> {
    let mut found = Discovered::probe(machine, options()).map_err(|failed| failed.error)?;
    found.configure(pool.pages().page)?;
    Ok(activate(found, pool).map_err(|failed| failed.error)?)
}

#[unsafe(no_mangle)]
fn footprint_close(session: Activated<BareMetal>, pool: &mut Pool<'_>) -> bool {
    deactivate(session, pool).is_ok()
}

#[unsafe(no_mangle)]
fn footprint_pool(
    storage: &'static mut PoolStorage<16>,
    pages: Undelegated,
) -> Result<Pool<'static>, Undelegated> {
    Pool::new(storage, pages)
}

#[unsafe(no_mangle)]
fn footprint_add(pool: &mut Pool<'_>, memory: Undelegated) -> Result<(), Undelegated> {
    pool.add(memory)
}

#[unsafe(no_mangle)]
fn footprint_drain(pool: Pool<'_>, session: &Session, home: &mut dyn FnMut(Undelegated)) {
    pool.drain(session, home);
}
