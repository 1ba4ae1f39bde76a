//! Realms with planes: which parameters they may have, and what happens to their root tables.

use rmi_abi::realm::RealmParams;
use rmi_abi::rtt::{Geometry, Level};
use rmi_abi::{Command, Pa, Status};
use rmm_model::GranuleState;

use super::{
    BOTH_WAYS, aux_table, create, hide_shared, host, host_with, realm, share, show_shared,
};
use crate::host::{DIALECTS, PAGE, SHARED, status};

#[test]
fn each_tree_has_root_tables_of_its_own() {
    for dialect in DIALECTS {
        for planes in 1..=3 {
            let host = host(dialect);
            let (realm, aux) = realm(&host, planes);
            for (n, root) in aux.into_iter().enumerate() {
                let is_used = n < usize::from(planes);
                let state = if is_used { GranuleState::Rtt } else { GranuleState::Delegated };
                assert_eq!(host.model.granule_state(Pa::new(root)), Some(state));
            }
            for (ipa, level) in [(0, 3), (0, 2), (0, 1), (SHARED, 3), (SHARED, 2), (SHARED, 1)] {
                host.done(Command::RttDestroy, &[realm.rd, ipa, level]);
            }
            host.done(Command::RealmTerminate, &[realm.rd]);
            host.done(Command::RealmDestroy, &[realm.rd]);
            let census = host.model.census();
            assert_eq!((census.rtt, census.rd), (0, 0));
            host.undelegate(realm.root, PAGE);
            aux.into_iter().for_each(|root| host.undelegate(root, PAGE));
        }
    }
}

type Change = fn(&mut RealmParams);

#[test]
fn parameters_that_contradict_each_other_or_the_features() {
    fn per_plane(params: &mut RealmParams) {
        (params.num_aux_planes, params.tree_per_plane) = (1, true);
    }
    fn shared(params: &mut RealmParams) {
        (params.num_aux_planes, params.s2ap_indirect) = (1, true);
    }
    let cases: [(u64, Change); 12] = [
        (BOTH_WAYS, |p| {
            per_plane(p);
            p.num_aux_planes = 4;
        }),
        (BOTH_WAYS - 2, |p| {
            per_plane(p);
            p.num_aux_planes = 2;
        }),
        (0, per_plane),
        (BOTH_WAYS, |p| {
            per_plane(p);
            p.s2ap_indirect = true;
        }),
        (BOTH_WAYS, |p| {
            shared(p);
            p.s2ap_indirect = false;
        }),
        // Only a tree for each plane, only a shared tree, and no indirect permissions.
        (3 | 1 << 6, shared),
        (3 | 2 << 4 | 1 << 6, per_plane),
        (3 | 1 << 4, shared),
        (3, |p| p.s2ap_indirect = true),
        (BOTH_WAYS, |p| p.ats_plane = 1),
        (BOTH_WAYS, |p| {
            shared(p);
            p.ats_plane = 2;
        }),
        (BOTH_WAYS, |p| {
            shared(p);
            p.ats_plane = u64::MAX;
        }),
    ];
    for dialect in DIALECTS {
        for (register, change) in cases {
            let host = host_with(dialect, register);
            let aux = host.fresh(1);
            let (_, answer) = create(&host, |params| {
                params.aux_rtt_base = [Pa::new(aux); 3];
                change(params);
            });
            assert_eq!(status(answer), Status::ErrorInput);
            assert_eq!(host.model.census().delegated, 3);
        }
        // Any plane may be the one that translates for devices.
        let host = host(dialect);
        let (_, answer) = create(&host, |params| {
            shared(params);
            params.ats_plane = 1;
        });
        assert_eq!(answer[0], 0);
    }
}

#[test]
fn root_tables_are_delegated_aligned_and_apart() {
    for dialect in DIALECTS {
        let host = host(dialect);
        let (good, used, free) = (host.fresh(1), host.page(), host.fresh(1));
        for bad in [used, good, good + 8, 0] {
            let (_, answer) = create(&host, |params| {
                (params.num_aux_planes, params.tree_per_plane) = (2, true);
                params.aux_rtt_base = [good, bad, free].map(Pa::new);
            });
            assert_ne!(answer[0], 0, "{bad:#x}");
        }
        // The primary root and the descriptor are in use as well.
        let rd = host.fresh(1);
        for alias in [rd, good] {
            let mut params = host.params(good);
            (params.num_aux_planes, params.tree_per_plane) = (1, true);
            params.aux_rtt_base[0] = Pa::new(alias);
            let page = host.page();
            host.write(page, zerocopy::IntoBytes::as_bytes(&params.encode(dialect).unwrap()));
            host.fails(Status::ErrorInput, Command::RealmCreate, &[rd, page]);
        }
        // Two tables side by side, aligned to both.
        let geometry = Geometry::with_start_level(40, Level::L1).unwrap();
        let block = host.fresh_block();
        for (aux, fits) in [(3, false), (2, true)] {
            let (realm, answer) = create(&host, |params| {
                (params.num_aux_planes, params.tree_per_plane) = (1, true);
                (params.geometry, params.rtt_base) = (geometry, Pa::new(block));
                params.aux_rtt_base[0] = Pa::new(block + aux * PAGE);
            });
            assert_eq!(answer[0] == 0, fits);
            if fits {
                assert_eq!(host.model.census().rtt, 4);
                host.done(Command::RealmTerminate, &[realm.rd]);
                host.done(Command::RealmDestroy, &[realm.rd]);
            }
        }
        assert_eq!(host.model.census().rtt, 0);
    }
}

#[test]
fn without_auxiliary_planes_their_trees_do_not_matter() {
    for dialect in DIALECTS {
        let host = host(dialect);
        let (_, answer) = create(&host, |params| {
            (params.tree_per_plane, params.s2ap_indirect) = (true, true);
            params.aux_rtt_base = [Pa::new(8); 3];
        });
        assert_eq!(answer[0], 0);
        assert_eq!(host.model.census().rtt, 1);
    }
}

#[test]
fn a_realm_is_destroyed_after_its_auxiliary_trees() {
    for dialect in DIALECTS {
        let host = host(dialect);
        let (realm, _) = realm(&host, 2);
        aux_table(&host, realm, 2, 0, 1);
        share(&host, realm, SHARED);
        assert_eq!(show_shared(&host, realm, 1)[0], 0);
        host.done(Command::RealmTerminate, &[realm.rd]);
        for level in [3, 2, 1] {
            host.done(Command::RttDestroy, &[realm.rd, 0, level]);
        }
        let destroy = [realm.rd];
        host.fails(Status::ErrorRealm, Command::RealmDestroy, &destroy);
        host.done(Command::RttAuxDestroy, &[realm.rd, 0, 1, 2]);
        host.fails(Status::ErrorRealm, Command::RealmDestroy, &destroy);
        assert_eq!(hide_shared(&host, realm, 1)[0], 0);
        host.fails(Status::ErrorRealm, Command::RealmDestroy, &destroy);
        for level in [3, 2, 1] {
            host.done(Command::RttDestroy, &[realm.rd, SHARED, level]);
        }
        host.done(Command::RealmDestroy, &destroy);
        assert_eq!(host.model.census().rtt, 0);
    }
}
