//! What the host does when an RMM does not release memory.

use realm_builder::{PlaneTables, Realm, RealmConfig, RealmStorage};
use rmi_abi::{Command, Ipa, IpaRange, Status};
use rmi_conduits::inject::{Fault, Injecting, Rule};
use rmi_host::command::{AuxTree, SharedAccess};
use rmi_host::{CountingLedger, FixedQuarantine, Host};
use sro::CallbackMemory;

use crate::rmms::{Both, D};
use crate::step::show_shared;
use crate::{MIB, PAGE};

/// Tables that an auxiliary tree refers to cannot be destroyed: TF-RMM refuses that, leaves one of
/// them locked, and hangs the next time.
#[test]
fn a_table_that_an_auxiliary_tree_still_refers_to() {
    let both = Both::new();
    if both.dialect() != D {
        return;
    }
    let rule = Rule::command(Command::RttAuxUnmapUnprotected, D).from(0);
    let conduit = Injecting::by_rule(&both, rule, Fault::status(Status::ErrorInput));
    let (ledger, quarantine) = (CountingLedger::new(), FixedQuarantine::<16>::new());
    let platform = Host::new(&conduit, &both).with_ledger(&ledger).with_quarantine(&quarantine);
    let mut memory = both.take_memory(4 * MIB);
    let mut pool = test_support::pool::<64>(&mut memory, 64 * PAGE);
    let rmm = test_support::open(platform, &mut pool);
    let mut storage = RealmStorage::<16, 4>::new();
    let mut config = RealmConfig::new(40);
    (config.num_aux_planes, config.plane_tables) = (1, Some(PlaneTables::PerPlane));
    let realm = Realm::create(&rmm, &config, &mut storage, &mut pool).unwrap();
    let half = realm.geometry().unprotected_base().raw();
    for at in [half, half + 2 * MIB] {
        let page = memory.take_front(PAGE).unwrap();
        let shared = realm.share(&mut pool, Ipa::new(at), page, SharedAccess::MEMORY);
        shared.unwrap();
    }
    let tables = realm.tables() as u64;
    let page = IpaRange::with_size(Ipa::new(half), PAGE).unwrap();
    show_shared(&realm, &mut pool, AuxTree::new(1).unwrap(), page).unwrap();

    let mut returned = 0;
    let left = realm
        .tear_down(&mut CallbackMemory::freeing(&mut pool, |memory| returned += memory.bytes()), [])
        .error;
    assert_eq!(left.and_then(|error| error.status()), Some(Status::ErrorInput));
    // Shared memory is returned: it was unmapped from the table for both trees.
    assert_eq!(returned, 2 * PAGE);
    pool.drain(&rmm, &mut |_| {});
    let balance = ledger.balance();
    // The descriptor and all tables.
    assert_eq!((balance.outstanding(), balance.quarantined), (0, 1 + tables));
    both.say("cpu");
}
