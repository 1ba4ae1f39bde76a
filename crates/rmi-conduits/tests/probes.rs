//! How the calls are counted by which a session finds out the dialect.

use rmi_abi::{Command, Dialect};
use rmi_conduits::counting::Counting;
use rmi_host::{Conduit, Discovered, Host, SessionOptions};
use rmm_model::{Model, Options};

#[test]
fn no_call_fails_while_a_session_opens() {
    for (dialect, probes) in [
        (Dialect::V1_0, 1),
        (Dialect::V2_0Bet0, 2),
        (Dialect::V2_0Bet1, 3),
        (Dialect::TfRmm2026_07, 3),
        (Dialect::V2_0Bet3, 1),
    ] {
        let model = Model::new(Options::new(dialect)).unwrap();
        let counting = Counting::new(&model);
        let platform = Host::new(&counting, &model);
        let found = Discovered::probe(platform, SessionOptions::default()).unwrap();
        assert_eq!(found.dialect(), dialect);
        assert_eq!((counting.probes(), counting.total().failed), (probes, 0), "{dialect}");
        let version = counting.counts(Command::Version, dialect);
        assert_eq!((version.issued, version.failed), (1, 0), "{dialect}");
        assert_eq!(counting.total().issued, model.calls());
    }
}

/// Only a refusal that reports the versions is expected.
#[test]
#[expect(unsafe_code, reason = "calls of the model")]
fn a_version_that_is_refused_is_a_probe() {
    let model = Model::new(Options::new(Dialect::TfRmm2026_07)).unwrap();
    let counting = Counting::new(&model);
    let fid = u64::from(Command::Version.fid(Dialect::TfRmm2026_07).unwrap().0);
    let activate = u64::from(Command::RealmActivate.fid(Dialect::TfRmm2026_07).unwrap().0);
    for (x0, x1, probes, failed) in
        [(fid, 0x2_0000, 0, 0), (fid, 0x1_0000, 1, 0), (fid | 1 << 16, 0x1_0000, 2, 0)]
    {
        // SAFETY: the model has its own memory.
        let _ = unsafe { counting.call([x0, x1, 0, 0, 0, 0, 0, 0]) };
        assert_eq!((counting.probes(), counting.total().failed), (probes, failed));
    }
    // Another command that is refused.
    // SAFETY: as above.
    let _ = unsafe { counting.call([activate, 1, 0, 0, 0, 0, 0, 0]) };
    assert_eq!((counting.probes(), counting.total().failed), (2, 1));
}
