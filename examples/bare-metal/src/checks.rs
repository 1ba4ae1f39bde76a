//! The checks.

mod configurations;
mod content;
mod control;
mod costs;
mod discovery;
mod exits;
mod identity;
mod interrupts;
mod memory;
mod planes;
mod power;
mod protection;
mod refusals;
mod several;
mod teardown;
mod times;
mod token;

use alloc::format;
use alloc::vec;
use alloc::vec::Vec;

use realm_guest::layout::word_at;
use realm_sdk::abi::Ipa;

use crate::fixture::Fixture;
use crate::machine::Machine;
use crate::realm::Running;
use crate::report::{Outcome, Stop};

/// A check.
pub type Check<'b, M> = fn(&Fixture<'b, M>) -> Outcome;

/// All checks with their names, in the order in which they are made.
#[must_use]
pub fn all<'b, M: Machine>() -> Vec<(&'static str, Check<'b, M>)> {
    vec![
        ("discovery", discovery::check),
        ("wrong configurations", configurations::check),
        ("refused commands", refusals::check),
        ("granule protection", protection::check),
        ("identity of a Realm", identity::check),
        ("measured and unmeasured content", content::check),
        ("RAM by blocks", memory::blocks),
        ("fault-around", memory::fault_around),
        ("RIPAS", memory::ripas),
        ("shared memory", memory::shared),
        ("conversions", memory::conversions),
        ("folding", memory::folding),
        ("every exit", exits::every_exit),
        ("calls of the Realm", exits::calls),
        ("WFI with a timer", interrupts::timers),
        ("distributor", interrupts::distributor),
        ("SGIs between virtual CPUs", interrupts::between_cpus),
        ("kick", control::kick),
        ("kick from another CPU", control::kick_from_another_cpu),
        ("pause and resume", control::pause),
        ("CPU_ON and CPU_OFF", power::check),
        ("attestation token", token::check),
        ("planes", planes::check),
        ("virtual CPUs on several CPUs", several::one_realm),
        ("Realms in sequence", several::in_sequence),
        ("Realms at once", several::at_once),
        ("termination in the middle", control::terminate),
        ("teardown", teardown::check),
        ("SMCs as predicted", costs::check),
        ("SMCs of faults", costs::faults::check),
        ("a Realm of 64 MiB", times::large_realm),
        ("round trips", times::round_trips),
    ]
}

/// Checks a number.
pub(crate) fn expect(what: &str, expected: u64, found: u64) -> Result<(), Stop> {
    if expected == found {
        return Ok(());
    }
    Err(Stop::failed(format!("{what}: {found}, not {expected}")))
}

/// The words of 64 bytes, little endian.
fn words(bytes: &[u8; 64]) -> [u64; 8] {
    let (words, _) = bytes.as_chunks::<8>();
    let mut all = [0; 8];
    for (to, from) in all.iter_mut().zip(words) {
        *to = u64::from_le_bytes(*from);
    }
    all
}

/// The steps of [`Program::Share`](realm_guest::Program::Share): at the first one, compares the
/// words of shared memory, and inverts them. Returns 1 if they were right.
fn share_step<M: Machine>(running: &Running<'_, '_, M>, [step, alias, bytes]: [u64; 3]) -> u64 {
    if step != 1 {
        return 1;
    }
    let (mut is_right, mut round) = (true, None);
    for page in (alias..alias.saturating_add(bytes)).step_by(0x1000) {
        let (at, mut word) = (Ipa::new(page), [0; 8]);
        let read = running.realm.read_shared(at, &mut word);
        let found = u64::from_le_bytes(word);
        let protected = page & !realm_guest::layout::UNPROTECTED;
        // The number of the round is added to each of them.
        let expected = word_at(protected);
        let this = found.wrapping_sub(expected);
        is_right &= *round.get_or_insert(this) == this && this < 1000;
        let written = running.realm.write_shared(at, &(!found).to_le_bytes());
        is_right &= read.is_ok() && written.is_ok();
    }
    is_right.into()
}
