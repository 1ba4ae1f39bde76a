//! The options that make an RMM yield, or answer that it is busy or blocked.

use std::num::NonZeroU32;

use rmi_abi::{Command, Dialect, Pa, Status};
use rmm_model::{GranuleState, Options};

use crate::host::{Host, PAGE, status};

#[test]
fn a_yielding_command_is_finished_by_continue() {
    let mut options = Options::new(Dialect::TfRmm2026_07).range_capable();
    options.yield_every = NonZeroU32::new(2);
    let host = Host::new(options);
    let (a, b) = (host.page(), host.page());
    host.done(Command::GranuleRangeDelegate, &[a, a + PAGE]);
    let answer = host.call(Command::GranuleRangeDelegate, &[b, b + 3 * PAGE]);
    assert_eq!(answer[..4], [0xd, 0, 0, 0]);
    assert!(host.can_read(b), "nothing happens before the operation goes on");
    let answer = host.done(Command::OpContinue, &[0, 0]);
    assert_eq!(answer[1], b + 3 * PAGE);
    assert!(!host.can_read(b));

    // STOP ends the command after the current object.
    host.done(Command::GranuleRangeUndelegate, &[a, a + PAGE]);
    assert_eq!(host.call(Command::GranuleRangeUndelegate, &[b, b + 3 * PAGE])[0], 0xd);
    assert_eq!(host.done(Command::OpContinue, &[0, 1])[1], b + PAGE);

    // An operation that fails at its end is answered with the failure then.
    host.done(Command::GranuleRangeUndelegate, &[b + PAGE, b + 3 * PAGE]);
    assert_eq!(host.call(Command::GranuleRangeUndelegate, &[b, b + PAGE])[0], 0xd);
    host.fails(Status::ErrorInput, Command::OpContinue, &[0, 0]);
    assert_eq!(host.model.open_operations(), 0);
}

#[test]
fn busy_and_blocked_calls_have_no_effect() {
    let mut options = Options::new(Dialect::V2_0Bet3);
    options.busy_every = NonZeroU32::new(3);
    options.blocked_every = NonZeroU32::new(4);
    let host = Host::cold(options);
    let mut page = 0x8000_0000;
    let (mut busy, mut blocked) = (0, 0);
    assert_eq!(status(host.call(Command::RmmActivate, &[])), Status::Success);
    for _ in 0..60 {
        host.done(Command::Version, &[0x2_0000]);
        let answer = host.call(Command::GranuleRangeDelegate, &[page, page + PAGE]);
        match status(answer) {
            Status::Success => page += PAGE,
            Status::Busy => busy += 1,
            Status::Blocked => blocked += 1,
            other => panic!("{other:?}"),
        }
        assert_ne!(host.model.granule_state(Pa::new(page)), Some(GranuleState::Delegated));
    }
    assert!(busy == 20 && blocked == 10, "{busy} {blocked}");
    assert_eq!(host.model.calls(), 121);
}
