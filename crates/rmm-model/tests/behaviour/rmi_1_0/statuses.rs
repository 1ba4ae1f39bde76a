//! Every status of every command that the specification lists is reached, and no other.

use std::cell::RefCell;
use std::collections::BTreeSet;

use rmi_abi::rtt::Ripas;
use rmi_abi::{Command, Dialect, Ipa, Pa, Status};
use rmm_model::{Action, GuestCpu, Options};

use crate::host::{Host, PAGE, SHARED, status};

use Status::{ErrorInput, ErrorRealm, ErrorRec, ErrorRtt, Success};

const LISTED: [(Command, &[Status]); 23] = [
    (Command::Version, &[Success, ErrorInput]),
    (Command::GranuleDelegate, &[Success, ErrorInput]),
    (Command::GranuleUndelegate, &[Success, ErrorInput]),
    (Command::DataCreate, &[Success, ErrorInput, ErrorRealm, ErrorRtt]),
    (Command::DataCreateUnknown, &[Success, ErrorInput, ErrorRtt]),
    (Command::DataDestroy, &[Success, ErrorInput, ErrorRtt]),
    (Command::RealmActivate, &[Success, ErrorInput, ErrorRealm]),
    (Command::RealmCreate, &[Success, ErrorInput]),
    (Command::RealmDestroy, &[Success, ErrorInput, ErrorRealm]),
    (Command::RecCreate, &[Success, ErrorInput, ErrorRealm]),
    (Command::RecDestroy, &[Success, ErrorInput, ErrorRec]),
    (Command::RecEnter, &[Success, ErrorInput, ErrorRealm, ErrorRec]),
    (Command::RttCreate, &[Success, ErrorInput, ErrorRtt]),
    (Command::RttDestroy, &[Success, ErrorInput, ErrorRtt]),
    (Command::RttMapUnprotected, &[Success, ErrorInput, ErrorRtt]),
    (Command::RttReadEntry, &[Success, ErrorInput]),
    (Command::RttUnmapUnprotected, &[Success, ErrorInput, ErrorRtt]),
    (Command::PsciComplete, &[Success, ErrorInput]),
    (Command::Features, &[Success]),
    (Command::RttFold, &[Success, ErrorInput, ErrorRtt]),
    (Command::RecAuxCount, &[Success, ErrorInput]),
    (Command::RttInitRipas, &[Success, ErrorInput, ErrorRealm, ErrorRtt]),
    (Command::RttSetRipas, &[Success, ErrorInput, ErrorRec, ErrorRtt]),
];

#[test]
fn every_status_that_a_command_can_end_with() {
    let host = Host::new(Options::new(Dialect::V1_0));
    let seen: RefCell<BTreeSet<(Command, u8)>> = RefCell::default();
    let ends = |with: Status, command: Command, arguments: &[u64]| {
        let answer = host.call(command, arguments);
        assert_eq!(status(answer), with, "{command} {arguments:x?}");
        seen.borrow_mut().insert((command, u8::from(with)));
    };
    // Every command that takes an address refuses this one.
    for (command, statuses) in LISTED {
        if statuses.contains(&ErrorInput) {
            ends(ErrorInput, command, &[8, 8, 8, 8]);
        }
    }
    ends(Success, Command::Version, &[0x1_0000]);
    ends(Success, Command::Features, &[0]);
    let granule = host.page();
    ends(Success, Command::GranuleDelegate, &[granule]);
    ends(Success, Command::GranuleUndelegate, &[granule]);

    let (rd, root, page, src) = (host.fresh(1), host.fresh(1), host.page(), host.page());
    let params = host.params(root).encode(host.dialect).unwrap();
    host.write(page, zerocopy::IntoBytes::as_bytes(&params));
    ends(Success, Command::RealmCreate, &[rd, page]);
    ends(Success, Command::RecAuxCount, &[rd]);
    let tables = [(0, 1), (0, 2), (0, 3), (SHARED, 1), (SHARED, 2), (SHARED, 3)];
    for (ipa, level) in tables {
        ends(Success, Command::RttCreate, &[rd, host.fresh(1), ipa, level]);
    }
    let spare = host.fresh(1);
    ends(ErrorRtt, Command::RttCreate, &[rd, spare, 0, 3]);
    ends(Success, Command::RttReadEntry, &[rd, 0, 3]);
    ends(Success, Command::RttFold, &[rd, SHARED, 3]);
    ends(ErrorRtt, Command::RttFold, &[rd, SHARED, 3]);
    ends(Success, Command::RttMapUnprotected, &[rd, SHARED, 2, 0xd8]);
    ends(ErrorRtt, Command::RttMapUnprotected, &[rd, SHARED, 2, 0xd8]);
    ends(Success, Command::RttUnmapUnprotected, &[rd, SHARED, 2]);
    ends(ErrorRtt, Command::RttUnmapUnprotected, &[rd, SHARED, 2]);
    ends(Success, Command::RttDestroy, &[rd, SHARED, 2]);
    ends(ErrorRtt, Command::RttDestroy, &[rd, SHARED, 2]);
    ends(Success, Command::RttInitRipas, &[rd, 0, PAGE]);
    ends(ErrorRtt, Command::RttInitRipas, &[rd, 1 << 21, (1 << 21) + PAGE]);
    ends(Success, Command::DataCreate, &[rd, host.fresh(1), 0, src, 1]);
    ends(ErrorRtt, Command::DataCreate, &[rd, spare, 0, src, 1]);
    ends(Success, Command::DataCreateUnknown, &[rd, host.fresh(1), PAGE]);
    ends(ErrorRtt, Command::DataCreateUnknown, &[rd, spare, PAGE]);
    ends(Success, Command::DataDestroy, &[rd, PAGE]);
    ends(ErrorRtt, Command::DataDestroy, &[rd, PAGE]);

    let realm = crate::host::Realm { rd, root };
    let rec = |index| {
        let (rec, aux) = (host.fresh(1), host.fresh(16));
        let params = host.rec_params(index, index == 0);
        host.name_aux(params, aux, 16);
        (rec, params)
    };
    let ((first, params), (second, other), (third, late)) = (rec(0), rec(1), rec(2));
    ends(Success, Command::RecCreate, &[rd, first, params]);
    ends(Success, Command::RecCreate, &[rd, second, other]);
    let run = host.page();
    ends(ErrorRealm, Command::RecEnter, &[first, run]);
    ends(Success, Command::RealmActivate, &[rd]);
    ends(ErrorRealm, Command::RealmActivate, &[rd]);
    ends(ErrorRealm, Command::RealmDestroy, &[rd]);
    ends(ErrorRealm, Command::RecCreate, &[rd, third, late]);
    ends(ErrorRealm, Command::DataCreate, &[rd, spare, 0, src, 1]);
    ends(ErrorRealm, Command::RttInitRipas, &[rd, 0, PAGE]);
    ends(ErrorRec, Command::RecEnter, &[second, run]);

    let mut actions = vec![
        Action::psci_cpu_on(1, 0x1000, 0),
        Action::ipa_state_set(Ipa::new(0), Ipa::new((1 << 21) + PAGE), Ripas::Ram, 0),
    ]
    .into_iter();
    let guest = move |_: &GuestCpu| actions.next().unwrap_or(Action::Interrupt);
    host.model.set_guest(Pa::new(rd), 0, Box::new(guest));
    ends(Success, Command::RecEnter, &[first, run]);
    ends(Success, Command::PsciComplete, &[first, second, 0]);
    ends(Success, Command::RecEnter, &[first, run]);
    let foreign = host.realm();
    ends(ErrorRec, Command::RttSetRipas, &[foreign.rd, first, 0, PAGE]);
    ends(Success, Command::RttSetRipas, &[rd, first, 0, PAGE]);
    host.map(realm, 3 * PAGE);
    ends(ErrorInput, Command::RttSetRipas, &[rd, first, 0, PAGE]);
    ends(Success, Command::RttSetRipas, &[rd, first, PAGE, 1 << 21]);
    ends(ErrorRtt, Command::RttSetRipas, &[rd, first, 1 << 21, (1 << 21) + PAGE]);

    // A REC that runs cannot be destroyed.
    let (model, said) = (std::sync::Arc::clone(&host.model), std::sync::Arc::default());
    let log: std::sync::Arc<std::sync::Mutex<Option<u64>>> = std::sync::Arc::clone(&said);
    let guest = move |_: &GuestCpu| {
        let fid = Command::RecDestroy.fid(Dialect::V1_0).unwrap().0;
        *log.lock().unwrap() = Some(crate::host::raw(&model, [fid.into(), first])[0]);
        Action::Interrupt
    };
    host.model.set_guest(Pa::new(rd), 0, Box::new(guest));
    ends(Success, Command::RecEnter, &[first, run]);
    assert_eq!(*said.lock().unwrap(), Some(u64::from(u8::from(ErrorRec))));
    seen.borrow_mut().insert((Command::RecDestroy, u8::from(ErrorRec)));
    ends(Success, Command::RecDestroy, &[first]);
    ends(Success, Command::RecDestroy, &[second]);
    for ipa in [0, 3 * PAGE] {
        ends(Success, Command::DataDestroy, &[rd, ipa]);
    }
    for (ipa, level) in [(0, 3), (0, 2), (0, 1), (SHARED, 1)] {
        ends(Success, Command::RttDestroy, &[rd, ipa, level]);
    }
    ends(Success, Command::RealmDestroy, &[rd]);

    let listed = LISTED
        .iter()
        .flat_map(|(command, with)| with.iter().map(move |with| (*command, u8::from(*with))));
    assert_eq!(seen.into_inner(), listed.collect());
}
