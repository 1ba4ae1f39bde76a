//! RECs that turn each other on and themselves off.

use std::thread;

use rec_runtime::set::{Outcome, Power, SystemEnd};
use rec_runtime::{Flow, Handler};

use crate::fixture::{Action, DIALECTS, cpu_on, move_to, realm, script};

/// A handler with the default methods.
struct Defaults;

impl Handler for Defaults {}

#[test]
fn four_recs_on_four_threads() {
    for dialect in DIALECTS {
        let mut first: Vec<_> = (1..4).map(cpu_on).collect();
        first.push(Action::psci_cpu_off());
        let mut programs = vec![script(first)];
        programs.extend((1..4).map(|_| script(vec![Action::Wfi, Action::psci_cpu_off()])));
        realm(dialect, programs, |fixture| {
            let (set, rmm) = (fixture.set, fixture.rmm);
            thread::scope(|scope| {
                for index in 0..4 {
                    let mut runner = set.claim(index).unwrap();
                    scope.spawn(move || {
                        move_to(u16::try_from(index).unwrap());
                        loop {
                            let outcome = runner.run(rmm, &mut Defaults).unwrap();
                            assert!(matches!(outcome, Outcome::Off { .. }), "{outcome:?}");
                            if runner.rec().exits() > 0 {
                                return;
                            }
                            assert!(runner.wait(None));
                        }
                    });
                }
            });
            assert!(set.is_all_off());
            for index in 0..4 {
                assert_eq!(set.power(index), Some(Power::Off), "{set}");
            }
        });
    }
}

#[test]
fn the_realm_turns_itself_off_while_others_run() {
    for dialect in DIALECTS {
        let ends = [
            (Action::psci_system_off(), SystemEnd::Off),
            (Action::psci_system_reset(), SystemEnd::Reset),
        ];
        for (action, end) in ends {
            let programs = vec![script(vec![cpu_on(1), action]), script(vec![])];
            realm(dialect, programs, |fixture| {
                let (set, rmm) = (fixture.set, fixture.rmm);
                let mut first = set.claim(0).unwrap();
                let mut second = set.claim(1).unwrap();
                thread::scope(|scope| {
                    scope.spawn(move || {
                        move_to(1);
                        loop {
                            match second.run(rmm, &mut Defaults).unwrap() {
                                Outcome::Off { refused: None, .. } => {
                                    second.wait(None);
                                }
                                Outcome::RealmOff(how) => {
                                    assert!(how.is_none_or(|how| how == end));
                                    break;
                                }
                                other => panic!("{other:?}"),
                            }
                        }
                    });
                    let outcome = first.run(rmm, &mut Defaults).unwrap();
                    assert!(matches!(outcome, Outcome::RealmOff(Some(how)) if how == end));
                });
                assert_eq!(set.system_end(), Some(end));
            });
        }
    }
}

/// Leaves the loop at each interrupt.
struct Leaves;

impl Handler for Leaves {
    fn interrupt(&mut self) -> Flow {
        Flow::Leave
    }
}

#[test]
fn a_rec_has_one_runner() {
    realm(DIALECTS[0], vec![script(vec![])], |fixture| {
        let mut runner = fixture.set.claim(0).unwrap();
        assert_eq!(fixture.set.claim(0).unwrap_err().to_string(), "REC 0 has a runner already");
        assert_eq!(fixture.set.claim(1).unwrap_err().to_string(), "the set has no REC 1");
        let outcome = runner.run(fixture.rmm, &mut Leaves).unwrap();
        assert!(matches!(outcome, Outcome::Left));
        drop(runner);
        assert!(fixture.set.claim(0).is_ok());
    });
}
