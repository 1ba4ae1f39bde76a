use rmi_abi::{Command, Dialect, Pa, PaRange};
use rmi_host::{Error, Subject, Violation};
use rmm_model::{Model, Options};

use super::{RegionsStopped, each_region};

#[test]
fn a_step_without_progress_is_an_error_and_not_repeated() {
    let model = Model::new(Options::new(Dialect::V2_0Bet3)).unwrap();
    let rmm = rmm_model::open(model.host(), &mut model.take_memory()).unwrap();
    let base = model.options().dram.base();
    let at = |bytes| Pa::new(base.raw() + bytes);
    let range = PaRange::with_size(base, 0x4000).unwrap();
    for (next, steps) in [(0, 1), (0x1000, 2), (0x4000, 1)] {
        let mut seen = 0;
        let walked = each_region(&rmm, range, |_, _, _| {
            seen += 1;
            Ok(at(next))
        });
        let stopped = |reached| RegionsStopped {
            error: Error::violation(
                Command::GranuleTrackingGet,
                Violation::Progress,
                reached,
                Subject::Pa(Pa::new(reached)),
            ),
            reached: Pa::new(reached),
        };
        let expected = match next {
            0x4000 => Ok(()),
            next => Err(stopped(at(next).raw())),
        };
        assert_eq!((walked, seen), (expected, steps));
    }
}
