//! The crate on the model RMM: a Realm's program makes every call, and a host carries out what it
//! asks for.
#![expect(clippy::expect_used, clippy::unwrap_used, reason = "tests")]
#![expect(clippy::indexing_slicing, reason = "tests")]
#![expect(unsafe_code, reason = "the program of a Realm gives up memory and starts code")]

#[expect(dead_code, unreachable_pub, reason = "the documentation uses it, too")]
mod model;

mod cpus;
mod host_calls;
mod memory;
mod planes;
mod start;
mod tokens;

use model::{CpuConduit, Setup};
use rmi_abi::rsi::Version;
use rmi_abi::{Dialect, Ipa, IpaRange};
use rsi::Rsi;

pub(crate) const DIALECTS: [Dialect; 5] = Dialect::ALL;

/// Pages of the Realm's RAM, from one number to another.
pub(crate) fn pages(from: u64, to: u64) -> IpaRange {
    let page = |number| Ipa::new(model::RAM + 0x1000 * number);
    IpaRange::new(page(from), page(to)).unwrap()
}

/// Runs a program on one CPU.
pub(crate) fn with(setup: Setup, program: impl FnOnce(&Rsi<CpuConduit<'_>>) + Send + 'static) {
    let run = |conduit: CpuConduit<'_>| program(&Rsi::open(conduit).unwrap());
    let end = model::run(setup, run, |_| (), None);
    assert_eq!(end, Some(rec_runtime::exit::PsciNotice::SystemOff));
}

/// Runs a program on each kind of RMM: with every version of the RSI in two dialects, and in the
/// others with the one that they have.
pub(crate) fn on_each(program: impl Fn(&Rsi<CpuConduit<'_>>) + Clone + Send + 'static) {
    for dialect in DIALECTS {
        let with_all = [Dialect::TfRmm2026_07, Dialect::V2_0Bet3].contains(&dialect);
        let own = |version: &Version| with_all || *version == dialect.rsi_version();
        for version in Version::ALL.into_iter().filter(own) {
            let mut setup = Setup::new(dialect);
            setup.options.rsi = version;
            let program = program.clone();
            with(setup, move |rsi| program(rsi));
        }
    }
}
