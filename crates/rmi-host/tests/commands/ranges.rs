//! Delegation of ranges on an RMM that has no command for them, and on one with large granules.

use rmi_abi::rtt::Level;
use rmi_abi::{Command, Dialect, GranuleSize, Status};
use rmi_host::{CallLimits, Error, FixedQuarantine, Host, QuarantineReason, Violation};

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
    assert_eq!(failed.doubt(), None);
}

/// An unclear answer is about the granule that the call named, not about the rest of the range.
#[test]
fn an_unclear_answer_of_rmi_1_0_concerns_one_granule() {
    let fake = Fake::default();
    let rmm = fake.session(Dialect::V1_0);
    fake.next([0; 8]);
    fake.next([200, 0, 0, 0, 0, 0, 0, 0]);
    let failed = rmm.delegate(host(A, 4 * PAGE)).unwrap_err();
    assert!(!failed.error.is_clean());
    assert_eq!((failed.delegated.bytes(), failed.host.bytes()), (2 * PAGE, 2 * PAGE));
    assert_eq!((failed.delegated.base().raw(), failed.host.base().raw()), (A, A + 2 * PAGE));
    let command = Command::GranuleDelegate;
    assert_eq!(failed.doubt(), Some(QuarantineReason::Unclear { command }));
    assert_eq!(fake.calls().len(), 2);

    // Where a call names a range, all that is left of it is in doubt.
    let fake = Fake::default();
    let rmm = fake.session(Dialect::V2_0Bet3);
    fake.next([200, 0, 0, 0, 0, 0, 0, 0]);
    let failed = rmm.delegate(host(A, 4 * PAGE)).unwrap_err();
    assert_eq!((failed.delegated.bytes(), failed.host.bytes()), (4 * PAGE, 0));
    let command = Command::GranuleRangeDelegate;
    assert_eq!(failed.doubt(), Some(QuarantineReason::Unclear { command }));
}

#[test]
fn an_undelegation_of_rmi_1_0_returns_one_granule_per_call() {
    let fake = Fake::default();
    let rmm = fake.session(Dialect::V1_0);
    let mut memory = delegated(A, 3 * PAGE);
    let first = rmm.undelegate_some(&mut memory).unwrap();
    assert_eq!((first.base().raw(), first.bytes()), (A, PAGE));
    assert_eq!((memory.base().raw(), memory.bytes()), (A + PAGE, 2 * PAGE));
    assert_eq!(fake.calls().len(), 1);
    // The second is refused, and nothing else is returned.
    fake.next([1, 0, 0, 0, 0, 0, 0, 0]);
    let failed = rmm.undelegate(memory).unwrap_err();
    assert_eq!((failed.host.bytes(), failed.kept.bytes()), (0, 2 * PAGE));
    assert_eq!(failed.error.command(), Some(Command::GranuleUndelegate));
}

#[test]
fn what_an_rmm_of_1_0_does_not_return_goes_to_quarantine() {
    let fake = Fake::default();
    let quarantine = FixedQuarantine::<4>::new();
    let rmm = fake.session_on(Host::new(&fake, &fake).with_quarantine(&quarantine), Dialect::V1_0);
    // The second of four granules is refused.
    fake.next([0; 8]);
    fake.next([1, 0, 0, 0, 0, 0, 0, 0]);
    let mut back = Vec::new();
    rmm.return_or_quarantine(delegated(A, 4 * PAGE), &mut |host| {
        back.push((host.base().raw(), host.bytes()));
    });
    assert_eq!(back, [(A, PAGE), (A + 2 * PAGE, 2 * PAGE)]);
    assert_eq!((quarantine.len(), fake.calls().len()), (1, 4));

    // Memory that was in doubt is proved to be the host's: refused, delegated, undelegated.
    let before = fake.calls().len();
    fake.next([1, 0, 0, 0, 0, 0, 0, 0]);
    let mut back = Vec::new();
    let reason = QuarantineReason::Unclear { command: Command::GranuleDelegate };
    rmm.recover(delegated(A, PAGE), reason, &mut |host| back.push(host.base().raw()));
    assert_eq!((back, quarantine.len()), (vec![A], 1));
    let fid = |command: Command| u64::from(command.fid(Dialect::V1_0).unwrap().0);
    let (take, give) = (fid(Command::GranuleUndelegate), fid(Command::GranuleDelegate));
    let calls: Vec<_> = fake.calls()[before..].iter().map(|call| call[0]).collect();
    assert_eq!(calls, [take, give, take]);
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

#[test]
fn a_session_says_how_much_one_call_does() {
    for dialect in Dialect::ALL {
        let fake = Fake::default();
        let limits = fake.session(dialect).call_limits();
        assert_eq!(limits, CallLimits::of(dialect));
        let (per_call, data_level) = match dialect {
            Dialect::V1_0 => (Some(1), Level::L3),
            _ => (None, Level::L1),
        };
        assert_eq!((limits.granules, limits.entries), (per_call, per_call));
        assert_eq!((limits.data_level, limits.shared_level), (data_level, Level::L1));
    }
}
