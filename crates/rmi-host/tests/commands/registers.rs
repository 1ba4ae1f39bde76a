//! Every argument is in the register that the table names, in every dialect; no other register is
//! sent.

use rmi_abi::{Command, Dialect};
use rmi_host::{Error, Registers};

use crate::cases::{Outcome, cases, value};
use crate::fixture::Fake;

/// Operations are driven by handles; see `progress`.
pub(crate) fn drives_operations(command: Command) -> bool {
    command.name().starts_with("RMI_OP_")
}

#[test]
fn arguments_land_where_the_table_says() {
    let mut seen = 0;
    for case in cases() {
        for dialect in Dialect::ALL {
            let fake = Fake::default();
            let [x1, x2, x3, x4] = case.success;
            fake.always([0, x1, x2, x3, x4, 0, 0, 0]);
            let Some(form) = case.command.form(dialect) else { continue };
            let outcome = (case.run)(&fake, dialect);
            assert_eq!(outcome, Outcome::Done, "{} in {dialect}", case.command);
            let mut expected: Registers = [form.fid().0.into(), 0, 0, 0, 0, 0, 0, 0];
            for param in form.inputs().expect("a case needs registers") {
                expected[usize::from(param.register())] = value(case.command, dialect, param);
            }
            let calls = fake.calls();
            assert_eq!(calls, [expected], "{} in {dialect}: {calls:x?}", case.command);
            seen += 1;
        }
    }
    // Every form with public registers except those of the four commands that drive operations; two
    // commands have a second wrapper in each dialect.
    let all: usize = Dialect::ALL.iter().map(|d| d.commands().count()).sum();
    let unknown = Command::ALL.iter().flat_map(|command| command.forms());
    let unknown: usize = unknown
        .filter(|form| form.inputs().is_none())
        .map(|form| form.dialects().iter().count())
        .sum();
    assert_eq!(seen, all - unknown - 4 * 4 + 5 + 5);
}

/// Commands of 2.0 in whose place others are issued in 1.0; see `one_by_one`.
pub(crate) const HAVE_EQUIVALENT: [Command; 8] = [
    Command::GranuleRangeDelegate,
    Command::GranuleRangeUndelegate,
    Command::RttDataMap,
    Command::RttDataMapInit,
    Command::RttDataUnmap,
    Command::RttUnprotMap,
    Command::RttUnprotUnmap,
    Command::RealmTerminate,
];

#[test]
fn nothing_of_2_0_is_called_in_1_0() {
    let known: Vec<u64> = Dialect::V1_0
        .commands()
        .map(|command| command.fid(Dialect::V1_0).unwrap().0.into())
        .collect();
    assert_eq!(known.len(), 23);
    let mut calls = 0;
    for case in cases() {
        let fake = Fake::default();
        let _ = (case.run)(&fake, Dialect::V1_0);
        for call in fake.calls() {
            assert!(known.contains(&call[0]), "{}: {call:x?}", case.command);
            calls += 1;
        }
        let issues = !fake.calls().is_empty();
        let has = case.command.form(Dialect::V1_0).is_some();
        // Blocks are not mapped directly; a Realm need not be terminated.
        let silent = matches!(case.command, Command::RttDataMap | Command::RealmTerminate);
        let expected = has || (HAVE_EQUIVALENT.contains(&case.command) && !silent);
        assert_eq!(issues, expected, "{}", case.command);
    }
    assert!(calls > 23);
}

#[test]
fn a_command_that_the_dialect_lacks_is_never_called() {
    for case in cases() {
        for dialect in Dialect::ALL {
            if case.command.form(dialect).is_some() {
                continue;
            }
            if dialect == Dialect::V1_0 && HAVE_EQUIVALENT.contains(&case.command) {
                continue;
            }
            let fake = Fake::default();
            match (case.run)(&fake, dialect) {
                Outcome::Failed(error @ Error::Unsupported { .. }) => {
                    let lacks = (error.command(), error.dialect());
                    assert_eq!(lacks, (Some(case.command), Some(dialect)));
                }
                other => panic!("{} in {dialect}: {other:?}", case.command),
            }
            assert!(fake.calls().is_empty());
        }
    }
}

#[test]
fn every_command_with_public_registers_has_a_case() {
    for command in Command::ALL {
        let public = command.forms().iter().any(|form| form.inputs().is_some());
        let covered = cases().iter().any(|case| case.command == *command);
        assert_eq!(covered, public && !drives_operations(*command), "{command}");
    }
}
