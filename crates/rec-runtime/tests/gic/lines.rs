//! The lines of timers and PMU.

use rec_runtime::gic::RealmGic;
use rec_runtime::{Timer, Timers};
use vgic_realm::{Bank, Field, Saved};

use crate::fixture::{DIALECTS, realm, script};
use crate::with_gic;

const ON: Timer = Timer { ctl: 0b101, cval: 0 };
const MASKED: Timer = Timer { ctl: 0b111, cval: 0 };

fn pending(gic: RealmGic<'_>, rec: usize) -> u32 {
    gic.gic().bits(Bank::Private(rec), 0, Field::Pending)
}

#[test]
fn each_line_is_a_ppi_of_the_rec_that_exited() {
    realm(DIALECTS[0], vec![script(vec![]), script(vec![])], |fixture| {
        with_gic(fixture.model, fixture.set, |gic| {
            let mut cpu = fixture.model.cpu(0);
            for (virtual_timer, physical_timer, pmu_overflow, lines) in [
                (ON, MASKED, false, 1 << 27),
                (MASKED, ON, false, 1 << 30),
                (MASKED, MASKED, true, 1 << 23),
                (ON, ON, true, 1 << 27 | 1 << 30 | 1 << 23),
                (MASKED, MASKED, false, 0),
            ] {
                gic.load(1, &mut cpu);
                let timers = Timers { virtual_timer, physical_timer };
                let report = gic.after_exit(1, &mut cpu, timers, pmu_overflow);
                assert_eq!((pending(gic, 0), pending(gic, 1)), (0, lines));
                // No entry was made.
                assert_eq!((report.saved, report.ended.iter().count()), (Saved::Unused, 0));
            }
        });
    });
}
