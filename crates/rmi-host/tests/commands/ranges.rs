//! Delegation of ranges on an RMM that has no command for them, and on one with large granules.

use rmi_abi::{Command, Dialect, GranuleSize, Status};
use rmi_host::{Error, Violation};

use crate::fixture::{Fake, PAGE, delegated, host};
use crate::session::{open, willing};

const A: u64 = 0x8000_0000;

/// RMI 1.0 has no command for ranges.
#[test]
fn rmi_1_0_delegates_granule_by_granule() {
    let fake = Fake::default();
    let rmm = fake.session(Dialect::V1_0);
    let fid = |command: Command| u64::from(command.fid(Dialect::V1_0).unwrap().0);
    let each = |command| (0..3).map(|n| (fid(command), A + n * PAGE)).collect::<Vec<_>>();
    let calls = || fake.calls().iter().map(|call| (call[0], call[1])).collect::<Vec<_>>();
    let memory = rmm.delegate(host(A, 3 * PAGE)).unwrap();
    assert_eq!((memory.base().raw(), memory.bytes()), (A, 3 * PAGE));
    assert_eq!(calls(), each(Command::GranuleDelegate));
    let memory = rmm.undelegate(memory).unwrap();
    assert_eq!((memory.base().raw(), memory.bytes()), (A, 3 * PAGE));
    assert_eq!(calls()[3..], each(Command::GranuleUndelegate));

    // The second one is refused.
    fake.next([0; 8]);
    fake.next([1, 0, 0, 0, 0, 0, 0, 0]);
    let failed = rmm.delegate(host(A, 3 * PAGE)).unwrap_err();
    assert_eq!(failed.error.status(), Some(Status::ErrorInput));
    assert_eq!((failed.delegated.bytes(), failed.host.bytes()), (PAGE, 2 * PAGE));
}

/// An RMM that claims to have processed a part of a granule has broken the specification.
#[test]
fn progress_is_made_in_whole_granules_of_the_rmm() {
    const GRANULE: u64 = 0x1_0000;
    let fake = willing();
    let rmm = open(&fake, GranuleSize::Size64KiB);
    for (top, delegated_bytes) in [(A + GRANULE, GRANULE), (A + 2 * GRANULE, 2 * GRANULE)] {
        fake.always([1, 0, 0, 0, 0, 0, 0, 0]);
        fake.next([0, top, 0, 0, 0, 0, 0, 0]);
        let (delegated, host) = match rmm.delegate(host(A, 2 * GRANULE)) {
            Ok(memory) => (memory.bytes(), 0),
            Err(failed) => (failed.delegated.bytes(), failed.host.bytes()),
        };
        assert_eq!((delegated, host), (delegated_bytes, 2 * GRANULE - delegated_bytes));
    }
    fake.always([0, A + PAGE, 0, 0, 0, 0, 0, 0]);
    let failed = rmm.delegate(host(A, 2 * GRANULE)).unwrap_err();
    let violation = Violation::Progress;
    assert!(
        matches!(failed.error, Error::Violation { violation: found, .. } if found == violation)
    );
    assert_eq!((failed.delegated.bytes(), failed.host.bytes()), (2 * GRANULE, 0));
    let failed = rmm.undelegate(delegated(A, GRANULE)).unwrap_err();
    assert!(
        matches!(failed.error, Error::Violation { violation: found, .. } if found == violation)
    );
    assert_eq!((failed.host.bytes(), failed.kept.bytes()), (0, GRANULE));
}
