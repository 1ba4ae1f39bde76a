//! Operations of two machines: neither handles nor records of one are of use in the other.
// Uses machines of 1 GiB, which are too large for Miri.
#![cfg(not(miri))]
#![expect(clippy::unwrap_used, reason = "tests")]

use rmi_abi::desc::BlockSize;
use rmi_abi::{Dialect, Pa};
use rmi_host::command::{Offer, Reclaim, Returned};
use rmi_host::{Discovered, Error, Host, Progress, Rmm, SessionOptions, Undelegated};
use rmm_model::{GranuleState, Model, Options};
use sro::{Advance, Donated, FixedPool, Next, Operation, Pool, drive};

/// A machine whose RMM takes four granules of host memory when it is activated.
fn machine() -> Model {
    let mut options = Options::new(Dialect::V2_0Bet3);
    options.rmm_activate_donates = 4;
    Model::new(options).unwrap()
}

type Platform<'m> = Host<&'m Model, &'m Model>;

/// An active session, its pool, and what activation took.
fn session(model: &Model) -> (Rmm<Platform<'_>>, FixedPool<8>, Donated) {
    let mut memory = model.take_memory();
    let (mut pool, mut donated) = (FixedPool::<8>::new(), Donated::default());
    pool.add(memory.take_front(Pool::PAGES + 0x4000).unwrap()).unwrap();
    let found = Discovered::probe(model.host(), SessionOptions::default()).unwrap();
    let configured = found.configure(pool.pages().page).unwrap();
    let started = configured.start_activation().unwrap();
    let rmm = configured.into_active();
    drive(&rmm, &mut pool, &mut donated, started).unwrap();
    assert_eq!(donated.bytes(), 0x4000);
    (rmm, pool, donated)
}

/// How many granules the RMM of a machine has for itself.
fn internal(model: &Model, donated: &Donated) -> usize {
    let pages = donated
        .iter()
        .flat_map(|range| (range.base().raw()..range.top().raw()).step_by(0x1000).map(Pa::new));
    pages.filter(|page| model.granule_state(*page) == Some(GranuleState::Internal)).count()
}

#[test]
fn sound_3_a_reclaim_takes_nothing_from_the_record_of_another_machine() {
    let (a, b) = (machine(), machine());
    let (rmm, mut pool, of_a) = session(&a);
    let (_b, _pool, mut of_b) = session(&b);
    let started = rmm.start_deactivation().unwrap();
    let Advance::Again(mut operation) = Operation::take_up(&rmm, started) else { panic!() };
    assert_eq!(operation.next().unwrap(), Next::Take);
    let calls = a.calls();
    let mut returned = 0;
    let refused = operation.reclaim(pool.pages().list, &mut of_b, &mut |_| returned += 1);
    assert!(matches!(refused, Err(Error::OtherMachine { .. })), "{refused:?}");
    assert_eq!((returned, a.calls(), of_b.bytes()), (0, calls, 0x4000));
    assert_eq!((internal(&a, &of_a), internal(&b, &of_b)), (4, 4));
}

/// The command itself asks code of its caller for the token.
#[test]
fn sound_3_a_token_of_another_machine_does_not_become_the_hosts() {
    let (a, b) = (machine(), machine());
    let mut of_b = None;
    let mut active = Vec::new();
    for model in [&a, &b] {
        let mut memory = model.take_memory();
        let mut list = memory.take_front(0x1000).unwrap();
        let found = Discovered::probe(model.host(), SessionOptions::default()).unwrap();
        let configured = found.configure(&mut list).unwrap();
        let Progress::Pending(mut pending) = configured.start_activation().unwrap() else {
            panic!("it wants memory")
        };
        let rmm = configured.into_active();
        let mut offers = [Offer::new(memory.take_front(0x4000).unwrap())];
        let page = BlockSize::Page;
        let taken = rmm.commands().op_mem_donate(&mut pending, &mut list, &mut offers, page);
        assert!(taken.is_ok());
        of_b = Some(offers[0].take_taken());
        assert!(matches!(rmm.commands().op_continue(pending), Ok(Progress::Done(_))));
        active.push((rmm, list));
    }
    let (rmm, list) = &mut active[0];
    let Progress::Pending(mut pending) = rmm.start_deactivation().unwrap() else { panic!() };
    let mut host: Vec<Undelegated> = Vec::new();
    let given =
        rmm.commands().op_mem_reclaim(&mut pending, list, &mut |_| of_b.take(), &mut |returned| {
            if let Returned::Undelegated(memory) = returned {
                host.push(memory);
            }
        });
    assert!(!matches!(given, Ok(Reclaim::Given(_))), "{given:?}");
    assert!(host.is_empty(), "{host:?}");
}

/// Both RMMs have an operation of the same number.
#[test]
fn sound_3_an_operation_of_one_machine_is_not_driven_in_another() {
    let (a, b) = (machine(), machine());
    let (rmm_a, ..) = session(&a);
    let (rmm_b, mut pool, mut of_b) = session(&b);
    let [started_a, started_b] = [&rmm_a, &rmm_b].map(|rmm| rmm.start_deactivation().unwrap());
    assert_eq!((a.open_operations(), b.open_operations()), (1, 1));
    let calls = b.calls();
    let foreign = drive(&rmm_b, &mut pool, &mut of_b, started_a);
    assert!(foreign.is_err(), "{foreign:?}");
    assert_eq!((a.open_operations(), b.open_operations(), b.calls()), (1, 1, calls));
    assert_eq!(of_b.bytes(), 0x4000);
    drive(&rmm_b, &mut pool, &mut of_b, started_b).unwrap();
    assert!(of_b.is_empty());
}
