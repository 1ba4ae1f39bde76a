//! Whether memory can be delegated: the host asks about every granule that the dialect reports on,
//! in parts.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::fmt::Debug;

use rmi_abi::granule::TrackingRegionState;
use rmi_abi::{Command, Dialect, Pa, PaRange};
use rmi_host::{Conduit, Error, Host, Registers, Rmm, SessionOptions, TrackingError, Violation};
use rmm_model::{Model, Options};
use test_support::Altered;

const RAM: u64 = 0x8000_0000;
const PAGE: u64 = 0x1000;
const MIB: u64 = 1 << 20;

fn range(base: u64, bytes: u64) -> PaRange {
    PaRange::with_size(Pa::new(base), bytes).unwrap()
}

/// A model with memory that does not fill its last tracking region.
fn model(dialect: Dialect, bytes: u64) -> Model {
    let mut options = Options::new(dialect);
    options.dram = range(RAM, bytes);
    Model::new(options).unwrap()
}

fn session<'c, C: Conduit + Debug>(
    conduit: &'c C,
    model: &'c Model,
) -> Rmm<Host<&'c C, &'c Model>> {
    let mut options = SessionOptions::default();
    options.dialect = Some(model.options().dialect);
    rmm_model::open_with(Host::new(conduit, model), options, &mut model.take_memory()).unwrap()
}

#[test]
fn memory_of_which_the_rmm_knows_a_part_is_not_reported_as_good() {
    // An answer of 2.0-bet0 is for a region of a GiB, whatever part of it is memory.
    let by_range = |dialect: &Dialect| dialect.tracking_get_takes_range();
    for dialect in Options::DIALECTS.into_iter().filter(by_range) {
        let known = 5 * MIB + 3 * PAGE;
        let model = model(dialect, known);
        let rmm = session(&model, &model);
        for base in [RAM, RAM + PAGE, RAM + 4 * MIB] {
            let good = PaRange::new(Pa::new(base), Pa::new(RAM + known)).unwrap();
            assert_eq!(rmm.check_memory(good), Ok(()));
            // A granule more, a part of a region more, several regions more.
            for more in [PAGE, MIB, 7 * MIB] {
                let Err(TrackingError::NotTracked { range: part, state, .. }) =
                    rmm.check_memory(range(base, good.bytes() + more))
                else {
                    panic!("{more:#x} bytes too many from {base:#x}");
                };
                assert_eq!(part.base(), good.top());
                assert_eq!(state, TrackingRegionState::None);
            }
        }
    }
}

#[test]
fn an_address_answers_for_its_region_where_the_command_takes_no_range() {
    let model = model(Dialect::V2_0Bet0, 8 * MIB);
    let conduit = &model;
    let rmm = session(&conduit, &model);
    let before = model.calls();
    assert_eq!(rmm.check_memory(range(RAM + PAGE, 7 * MIB)), Ok(()));
    assert_eq!(model.calls() - before, 1);
    // The next region has no memory, and the one before has none.
    let gib = 1 << 30;
    for (base, bytes, calls) in [(RAM, gib + PAGE, 2), (RAM - PAGE, 2 * PAGE, 1)] {
        let before = model.calls();
        let refused = rmm.check_memory(range(base, bytes));
        assert!(matches!(refused, Err(TrackingError::NotTracked { .. })), "{refused:?}");
        assert_eq!(model.calls() - before, calls);
    }
}

#[test]
fn sound_9_memory_is_checked_in_parts() {
    for (dialect, granules_at_once) in [(Dialect::TfRmm2026_07, true), (Dialect::V2_0Bet3, false)] {
        let model = model(dialect, 8 * MIB);
        let conduit = &model;
        let rmm = session(&conduit, &model);
        for calls in [0, 1, 2, 3, 100, 5000, u32::MAX] {
            let mut left = range(RAM, 3 * MIB);
            let mut rounds = 0;
            while !left.is_empty() {
                let before = model.calls();
                let rest = rmm.check_memory_some(left, calls).unwrap();
                assert!(model.calls() - before <= u64::from(calls.max(2)));
                assert!(rest.base() > left.base() && rest.top() == left.top(), "no progress");
                left = rest;
                rounds += 1;
            }
            let granules = 3 * MIB / PAGE;
            let expected = granules.div_ceil(u64::from(calls.max(2)));
            assert_eq!(rounds, if granules_at_once { expected } else { 1 }, "{calls} calls");
        }
        // It stops at the same address with any budget.
        let mut left = range(RAM + 7 * MIB, 2 * MIB);
        let refused = loop {
            match rmm.check_memory_some(left, 33) {
                Ok(rest) => left = rest,
                Err(error) => break error,
            }
        };
        assert_eq!(Err(refused), rmm.check_memory(range(RAM + 7 * MIB, 2 * MIB)));
    }
}

#[test]
fn sound_9_an_answer_about_something_else_is_no_progress() {
    let model = model(Dialect::V2_0Bet3, 8 * MIB);
    // Tables are reported in units of a GiB; this answer ends before the memory that was asked
    // about.
    let short = [0, RAM + PAGE, 1, 0, 0, 0, 0, 0];
    let gpt_info = u64::from(Command::GptInfo.fid(Dialect::V2_0Bet3).unwrap().0);
    let conduit = Altered {
        model: &model,
        instead: |call: &Registers| (call[0] == gpt_info).then_some(short),
    };
    let rmm = session(&conduit, &model);
    let refused = rmm.check_memory(range(RAM + MIB, MIB));
    let Err(TrackingError::Call(error @ Error::Violation { violation, value, .. })) = refused
    else {
        panic!("{refused:?}");
    };
    assert_eq!((error.command(), violation), (Some(Command::GptInfo), Violation::Progress));
    assert_eq!(value, RAM + PAGE);
}
