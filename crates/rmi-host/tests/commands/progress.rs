//! What is returned beside an error, and the commands that drive operations.

use rmi_abi::device::{PsmmuIrqResult, PsmmuIrqSet};
use rmi_abi::dialect::InterfaceVersion;
use rmi_abi::rtt::{Level, Ripas, RttEntryState};
use rmi_abi::{Command, Dialect, Ipa, Pa, ResultWord, Status};
use rmi_host::command::{
    AuxObstacle, AuxTree, DataDestroyed, Donation, Offer, PdevGranule, Reclaim, RttDestroyed,
    S2apProgress, VdevGranule, Versions,
};
use rmi_host::{Error, Failed, Failure, Pending, Progress, Violation};

use crate::cases::{BYTES, IPA, RD, range, shared};
use crate::fixture::{Fake, PAGE, delegated, host, rd, rec};

const HANDLE: u64 = 0x4a4d;
const BET3: Dialect = Dialect::V2_0Bet3;
const RTT_2: u64 = 0x204;
const RTT_AUX_2: u64 = 0x207;

fn answers(x0: u64, outputs: [u64; 4]) -> Fake {
    let fake = Fake::default();
    let [x1, x2, x3, x4] = outputs;
    fake.always([x0, x1, x2, x3, x4, 0, 0, 0]);
    fake
}

#[test]
fn a_refused_destroy_says_what_to_skip() {
    let ipa = Ipa::new(IPA);
    let destroy = |x0, x2, dialect| {
        let halted = answers(x0, [0, x2, 0, 0])
            .channel(dialect)
            .rtt_destroy_or_skip(&rd(RD), ipa, Level::L3)
            .unwrap_err();
        assert_eq!(halted.error.status(), Some(ResultWord(x0).status()));
        halted.reached
    };
    for dialect in Dialect::ALL {
        assert_eq!(destroy(RTT_2, IPA + BYTES, dialect), Some(Ipa::new(IPA + BYTES)));
        assert_eq!(destroy(RTT_2, IPA, dialect), Some(ipa));
        // TF-RMM may name an address beyond the Realm's space.
        assert_eq!(destroy(RTT_2, 1 << 48, dialect), Some(Ipa::new(1 << 48)));
        assert_eq!(destroy(RTT_2, IPA - PAGE, dialect), None);
        assert_eq!(destroy(1, IPA + BYTES, dialect), None);
    }
    let tree = AuxTree::new(1).unwrap();
    let fake = answers(RTT_AUX_2, [0, IPA + PAGE, 0, 0]);
    let halted = fake.channel(BET3).rtt_aux_destroy(&rd(RD), tree, ipa, Level::L3).unwrap_err();
    assert_eq!(halted.reached, Some(Ipa::new(IPA + PAGE)));
    let done = answers(0, [0x8000_0000, IPA + PAGE, 0, 0]).channel(BET3).rtt_destroy_or_skip(
        &rd(RD),
        ipa,
        Level::L3,
    );
    let table = Pa::new(0x8000_0000);
    assert_eq!(done, Ok(RttDestroyed { table, top: Ipa::new(IPA + PAGE) }));
}

#[test]
fn a_refusal_at_the_end_of_an_operation_says_it_too() {
    let fake = answers(RTT_2, [0, IPA + BYTES, 0, 0]);
    fake.next([13, HANDLE, 0, 0, 0, 0, 0, 0]);
    let halted =
        fake.channel(BET3).rtt_destroy_or_skip(&rd(RD), Ipa::new(IPA), Level::L3).unwrap_err();
    assert!(matches!(halted.error, Error::Unclear(_)));
    assert_eq!(halted.reached, Some(Ipa::new(IPA + BYTES)));
    let [_, x1, x2, ..] = fake.calls()[1];
    assert_eq!((fake.calls().len(), x1, x2), (2, HANDLE, 0));
}

#[test]
fn ripas_and_permissions_say_how_far_they_came() {
    let ripas = |x0, x1| {
        let fake = answers(x0, [x1, 0, 0, 0]);
        let halted =
            fake.channel(BET3).rtt_set_ripas_or_halt(&rd(RD), rec(RD + PAGE).name(), range());
        halted.unwrap_err().reached
    };
    assert_eq!(ripas(RTT_AUX_2, IPA + PAGE), Some(Ipa::new(IPA + PAGE)));
    assert_eq!(ripas(RTT_AUX_2, IPA + 1), None);
    assert_eq!(ripas(RTT_AUX_2, IPA + 2 * BYTES), None);
    assert_eq!(ripas(RTT_2, IPA + PAGE), None);

    let s2ap = |x0, x1| {
        let fake = answers(x0, [x1, 2, 0, 0]);
        fake.channel(BET3).rtt_set_s2ap(&rd(RD), rec(RD + PAGE).name(), range())
    };
    let at = |ipa| S2apProgress { top: Ipa::new(ipa), tree: 2 };
    assert_eq!(s2ap(0, IPA + PAGE), Ok(at(IPA + PAGE)));
    for x0 in [RTT_2, RTT_AUX_2] {
        assert_eq!(s2ap(x0, IPA).unwrap_err().reached, Some(at(IPA)));
    }
    assert_eq!(s2ap(1, IPA).unwrap_err().reached, None);
}

#[test]
fn a_device_that_is_mapped_says_where() {
    let pdev = PdevGranule::new(delegated(0x8000_4000, PAGE));
    let vdev = VdevGranule::new(delegated(0x8000_6000, PAGE));
    let unlock =
        |x0| answers(x0, [0x5000_0000, 0, 0, 0]).channel(BET3).vdev_unlock(&rd(RD), &pdev, &vdev);
    assert_eq!(unlock(16).unwrap_err().reached, Some(Pa::new(0x5000_0000)));
    assert_eq!(unlock(6).unwrap_err().reached, None);
    assert_eq!(unlock(0), Ok(()));
}

#[test]
fn the_commands_of_1_0_say_what_to_skip() {
    let ipa = Ipa::new(IPA);
    let destroy =
        |x0| answers(x0, [RD, IPA + BYTES, 0, 0]).channel(Dialect::V1_0).data_destroy(&rd(RD), ipa);
    let top = Ipa::new(IPA + BYTES);
    assert_eq!(destroy(0), Ok(DataDestroyed { data: Pa::new(RD), top }));
    assert_eq!(destroy(RTT_2).unwrap_err().reached, Some(top));
    assert_eq!(destroy(1).unwrap_err().reached, None);

    let unmap = |x0, x1| {
        let fake = answers(x0, [x1, 0, 0, 0]);
        let rd = rd(RD);
        fake.channel(Dialect::V1_0).rtt_unmap_unprotected(&rd, shared(&rd), Level::L2)
    };
    let failed = unmap(RTT_2, IPA).unwrap_err();
    assert_eq!((failed.top, failed.kept.bytes()), (Some(ipa), BYTES));
    assert_eq!(unmap(1, IPA).unwrap_err().top, None);
    // Only this entry is unmapped, however far away the next live one is.
    let unshared = unmap(0, IPA + BYTES).unwrap();
    assert_eq!((unshared.host.bytes(), unshared.rest.bytes()), (BYTES / 2, BYTES / 2));
    assert_eq!(unshared.rest.ipa(), Ipa::new(IPA + BYTES / 2));
}

#[test]
fn a_refused_version_says_which_there_are() {
    let versions =
        Versions { lower: InterfaceVersion::new(1, 0), higher: InterfaceVersion::new(2, 0) };
    let ask = |x0| {
        answers(x0, [0x1_0000, 0x2_0000, 0, 0])
            .channel(BET3)
            .rmi_version(InterfaceVersion::new(3, 0))
    };
    assert_eq!(ask(0), Ok(versions));
    assert_eq!(ask(1).unwrap_err().reached, Some(versions));
    assert_eq!(ask(u64::MAX).unwrap_err().reached, None);
}

#[test]
fn auxiliary_trees_of_tf_rmm_say_what_is_in_the_way() {
    let (ipa, tree) = (Ipa::new(IPA), AuxTree::new(3).unwrap());
    let fake = answers(RTT_AUX_2, [3, 2, 2, 1]);
    let channel = fake.channel(Dialect::TfRmm2026_07);
    let halted = channel.rtt_aux_map_protected(&rd(RD), tree, ipa).unwrap_err();
    let obstacle = AuxObstacle {
        tree: 3,
        level: Some(Level::L2),
        state: RttEntryState::Table,
        ripas: Some(Ripas::Ram),
    };
    assert_eq!(halted.reached, Some(obstacle));

    let fake = answers(0, [IPA + PAGE, 3, 0, 0]);
    let channel = fake.channel(Dialect::TfRmm2026_07);
    let unmapped = channel.rtt_aux_unmap_unprotected(&rd(RD), tree, ipa).unwrap();
    assert_eq!((unmapped.top, unmapped.level), (Ipa::new(IPA + PAGE), Some(Level::L3)));
    let unmapped = channel.rtt_aux_unmap_protected(&rd(RD), tree, ipa).unwrap();
    assert_eq!(unmapped.level, None);
}

#[test]
fn outputs_of_an_smmu_interrupt_move_between_dialects() {
    for dialect in [Dialect::V2_0Bet0, Dialect::V2_0Bet1, BET3] {
        let fake = Fake::default();
        fake.always([0, 2, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60]);
        let channel = fake.channel(dialect);
        let psmmu = channel.psmmu(Pa::new(0x2b40_0000));
        let event = channel.psmmu_irq_notify(psmmu, PsmmuIrqSet::EVENTQ).unwrap();
        assert_eq!(event.result, PsmmuIrqResult::VSMMU_EVENT);
        assert_eq!((event.number, event.sid), (0x10, 0x20));
        assert_eq!((event.fetch_addr, event.input_addr), (0x30, 0x40));
        let (fipa, syndrome) = match dialect {
            Dialect::V2_0Bet0 => (Some(Ipa::new(0x50)), 0x60),
            _ => (None, 0x50),
        };
        assert_eq!((event.fipa, event.syndrome.0), (fipa, syndrome));
    }
}

/// An activation that is not finished and wants what `mem` says.
fn pending(fake: &Fake, dialect: Dialect, mem: u64) -> Pending {
    fake.next([13 | mem << 8, HANDLE, 1 << 2, 0, 0, 0, 0, 0]);
    match fake.channel(dialect).rmm_activate().unwrap() {
        Progress::Pending(pending) => pending,
        Progress::Done(_) => panic!("it has ended"),
    }
}

fn dialects_of_2_0() -> impl Iterator<Item = Dialect> {
    Dialect::ALL.into_iter().filter(|dialect| dialect.is_2_0())
}

fn words() -> impl Iterator<Item = ResultWord> {
    (0..=17).chain([99, 0x204, 0xff07, 0x30d, 0x10d, 0x20d, 0x40d, u64::MAX]).map(ResultWord)
}

fn fid(command: Command, dialect: Dialect) -> u64 {
    command.fid(dialect).unwrap().0.into()
}

#[test]
fn continuing_and_cancelling_at_every_status() {
    for dialect in dialects_of_2_0() {
        for word in words() {
            let fake = answers(word.0, [HANDLE, 0, 0, 0]);
            let operation = pending(&fake, dialect, 0);
            let answer = fake.channel(dialect).op_continue(operation);
            let expected = [fid(Command::OpContinue, dialect), HANDLE, 0, 0, 0, 0, 0, 0];
            assert_eq!(fake.calls()[1], expected);
            match (word.status(), answer) {
                (Status::Success, Ok(Progress::Done(_))) => {}
                (Status::Busy | Status::Blocked, Ok(Progress::Pending(_))) => {}
                (Status::Incomplete, Ok(Progress::Pending(_))) => assert_ne!(word.0, 0x30d),
                (
                    Status::Incomplete,
                    Err(Failure::Stuck(_, Error::Violation { violation, .. })),
                ) => {
                    assert_eq!((word.0, violation), (0x30d, Violation::Status));
                }
                // The result is that of the command that was started.
                (_, Err(Failure::Ended(Error::Refused(refusal) | Error::Unclear(refusal)))) => {
                    assert_eq!((refusal.command(), refusal.result()), (Command::RmmActivate, word));
                }
                (_, answer) => panic!("{word:?}: {answer:?}"),
            }

            let fake = answers(word.0, [0; 4]);
            let operation = pending(&fake, dialect, 0);
            let answer = fake.channel(dialect).op_cancel(operation);
            let expected = [fid(Command::OpCancel, dialect), HANDLE, 0, 0, 0, 0, 0, 0];
            assert_eq!(fake.calls()[1], expected);
            match (word.status(), answer) {
                (Status::Busy | Status::Blocked, Ok(_)) => {}
                (Status::Incomplete, Ok(_)) => assert_ne!(word.0, 0x30d),
                (_, Err(Failed { error, kept })) => {
                    assert_eq!(kept.handle(), HANDLE);
                    match error {
                        Error::Refused(refusal) | Error::Unclear(refusal) => {
                            assert_eq!(
                                (refusal.command(), refusal.result()),
                                (Command::OpCancel, word)
                            );
                        }
                        Error::Violation { violation, .. } => {
                            assert_eq!(violation, Violation::Status);
                            assert!(matches!(word.0, 0 | 0x30d));
                        }
                        error => panic!("{word:?}: {error}"),
                    }
                }
                (_, answer) => panic!("{word:?}: {answer:?}"),
            }
        }
    }
}

#[test]
fn donating_and_reclaiming_at_every_status() {
    for dialect in dialects_of_2_0() {
        for word in words() {
            // One granule is taken, if any.
            let fake = answers(word.0, [1, 0, 0, 0]);
            let mut operation = pending(&fake, dialect, 1);
            let mut list = host(0x9000_0000, PAGE);
            let mut offers = [Offer::new(delegated(0xa000_0000, PAGE))];
            let blocks = rmi_abi::desc::BlockSize::Page;
            let answer =
                fake.channel(dialect).op_mem_donate(&mut operation, &mut list, &mut offers, blocks);
            let taken = offers[0].taken().bytes();
            assert_eq!(offers[0].rest().bytes() + taken, PAGE);
            let donate = fid(Command::OpMemDonate, dialect);
            assert_eq!(fake.calls()[1], [donate, HANDLE, 0x9000_0000, 1, 0, 0, 0, 0]);
            assert_eq!(fake.peek(0x9000_0000), 0xa000_0000 | 1 << 2);
            match (word.status(), &answer) {
                (Status::Busy | Status::Blocked, Ok(Donation::Busy)) => {}
                (Status::Incomplete, Ok(Donation::Taken(PAGE))) => assert_ne!(word.0, 0x30d),
                // After these two it is unclear whether the granule was taken.
                (Status::Incomplete, Err(Error::Violation { .. })) => assert_eq!(word.0, 0x30d),
                (Status::Success, Err(Error::Violation { .. })) => {}
                (Status::Unknown(_), Err(Error::Unclear(found))) => {
                    assert_eq!(found.result(), word)
                }
                (Status::Unknown(_), Ok(Donation::Refused(_))) => {
                    assert!(word.is_not_supported());
                }
                (_, Ok(Donation::Refused(found))) => assert_eq!(*found, word),
                _ => panic!("{word:?}: {answer:?}"),
            }
            let gone = matches!(answer, Ok(Donation::Taken(_)) | Err(_));
            assert_eq!(taken, if gone { PAGE } else { 0 });

            let fake = answers(word.0, [0; 4]);
            let mut operation = pending(&fake, dialect, 2);
            let answer = fake.channel(dialect).op_mem_reclaim(
                &mut operation,
                &mut list,
                &mut |_| None,
                &mut |_| panic!("nothing was given"),
            );
            let reclaim = fid(Command::OpMemReclaim, dialect);
            assert_eq!(fake.calls()[1], [reclaim, HANDLE, 0x9000_0000, 512, 0, 0, 0, 0]);
            match (word.status(), &answer) {
                (Status::Busy | Status::Blocked, Ok(Reclaim::Busy)) => {}
                (Status::Incomplete, Ok(Reclaim::Given(0))) => assert_ne!(word.0, 0x30d),
                (Status::Incomplete, Err(Error::Violation { .. })) => assert_eq!(word.0, 0x30d),
                (_, Ok(Reclaim::Refused(found))) => assert_eq!(*found, word),
                _ => panic!("{word:?}: {answer:?}"),
            }
        }
    }
}
