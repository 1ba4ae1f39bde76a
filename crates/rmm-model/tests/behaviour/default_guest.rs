//! Programs that are made for RECs which have none, by what they are made for.

use std::sync::{Arc, Mutex};

use rmi_abi::rec::Mpidr;
use rmi_abi::run::ExitReason;
use rmi_abi::{Command, Pa};
use rmm_model::{Action, Guest, GuestIdentity, Options, Script};
use zerocopy::IntoBytes;

use crate::host::{ALL, Host, Realm, Running};

/// A Realm whose personalization value ends with `last`.
fn personalized(host: &Host, last: u8) -> Realm {
    let (rd, root) = (host.fresh(1), host.fresh(1));
    let mut params = host.params(root);
    params.rpv[63] = last;
    let page = host.page();
    host.write(page, params.encode(host.dialect).unwrap().as_bytes());
    host.done(Command::RealmCreate, &[rd, page]);
    Realm { rd, root }
}

#[test]
fn a_program_is_made_for_each_rec_by_its_realm() {
    for dialect in ALL {
        let host = Host::new(Options::new(dialect));
        let asked = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&asked);
        host.model.set_default_guest(Box::new(move |identity: &GuestIdentity| {
            log.lock().unwrap().push(*identity);
            let action = match identity.personalization[63] {
                1 => Action::psci_system_off(),
                2 => Action::Interrupt,
                _ => return None,
            };
            Some(Box::new(Script::new(vec![action])) as Box<dyn Guest>)
        }));
        let mut expected = Vec::new();
        for (last, first, second) in [
            (1, ExitReason::Psci, None),
            (2, ExitReason::Irq, Some(ExitReason::Fiq)),
            // No program is made, and the next entry asks again.
            (3, ExitReason::Fiq, Some(ExitReason::Fiq)),
        ] {
            let realm = personalized(&host, last);
            let recs = [host.rec(realm, 0, false), host.rec(realm, 1, true)];
            host.done(Command::RealmActivate, &[realm.rd]);
            let running = Running { host: &host, realm, rec: recs[1], run: host.page() };
            assert_eq!(running.enter(0, &[]).0, first);
            if let Some(second) = second {
                assert_eq!(running.enter(0, &[]).0, second);
            }
            let mut personalization = [0; 64];
            personalization[63] = last;
            let mpidr = Mpidr::from_index(1).raw();
            let identity =
                GuestIdentity { rd: Pa::new(realm.rd), personalization, mpidr, plane: 0 };
            expected.extend(vec![identity; if last == 3 { 2 } else { 1 }]);
        }
        assert_eq!(*asked.lock().unwrap(), expected);
    }
}

#[test]
fn a_program_of_its_own_comes_first() {
    let host = Host::tf_rmm();
    host.model.set_default_guest(Box::new(|_| {
        Some(Box::new(Script::new(vec![Action::psci_system_off()])) as Box<dyn Guest>)
    }));
    let running = host.script(vec![Action::Interrupt]);
    assert_eq!(running.enter(0, &[]).0, ExitReason::Irq);
    assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq);
}
