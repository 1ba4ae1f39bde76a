//! What a Realm sees as the results of its requests, depending on what was applied and how they
//! were answered.

use sro::CallbackMemory;
use std::sync::{Arc, Mutex};

use rec_runtime::exit::RipasChange;
use rec_runtime::{Answer, Exit, Handler, Kick, Rec, RunEnd};
use rmi_abi::rtt::Ripas;
use rmi_abi::{Dialect, Ipa, IpaRange};
use rmm_model::{GuestCpu, Outcome, Script};

use crate::fixture::{Action, DIALECTS, Fixture, RAM, on};

const BYTES: u64 = 0x4000;

/// How a request is answered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Reply {
    Accept,
    Reject,
}

/// Requests a change of four pages, of which `applied` bytes are applied; X0 to X2 in the Realm, or
/// `None` if there is no such answer.
fn ask(dialect: Dialect, ripas: Ripas, applied: u64, reply: Reply) -> Option<[u64; 3]> {
    let range = IpaRange::with_size(RAM, BYTES).unwrap();
    let seen = Arc::new(Mutex::new(None));
    let (told, mut asked) = (Arc::clone(&seen), false);
    let guest = move |cpu: &GuestCpu| {
        if std::mem::replace(&mut asked, true) {
            *told.lock().unwrap() = Some([cpu.x[0], cpu.x[1], cpu.x[2]]);
            return Action::psci_system_off();
        }
        Action::ipa_state_set(range.base(), range.top(), ripas, 0)
    };
    on(dialect, |fixture| {
        fixture.realm(vec![Box::new(guest)], |fixture, realm, recs| {
            let [rec] = &mut recs[..] else { panic!() };
            let exit = fixture.enter(rec, Answer::resume());
            let Exit::RipasChange(change) = exit else { panic!("{exit:?}") };
            assert_eq!((change.range(), change.ripas()), (range, ripas));
            assert_eq!(change.can_be_rejected(), ripas == Ripas::Ram);
            if applied > 0 {
                let part = IpaRange::with_size(RAM, applied).unwrap();
                realm.set_ripas(fixture.pool, rec.name(), part, u32::MAX).unwrap();
            }
            let answer = match reply {
                Reply::Accept => Ok(change.accept()),
                Reply::Reject => change.reject(),
            };
            match answer {
                Ok(answer) => drop(fixture.enter(rec, answer)),
                Err(change) => assert_eq!(change.ripas(), Ripas::Empty),
            }
        });
    });
    *seen.lock().unwrap()
}

#[test]
fn what_a_realm_sees_of_a_ripas_change() {
    const ACCEPT: u64 = 0;
    const REJECT: u64 = 1;
    for dialect in DIALECTS {
        for applied in [0, 0x1000, BYTES] {
            let reached = RAM.raw() + applied;
            for ripas in [Ripas::Ram, Ripas::Empty] {
                let accepted = ask(dialect, ripas, applied, Reply::Accept);
                assert_eq!(accepted, Some([0, reached, ACCEPT]));
            }
            let response = if applied == BYTES { ACCEPT } else { REJECT };
            let rejected = ask(dialect, Ripas::Ram, applied, Reply::Reject);
            assert_eq!(rejected, Some([0, reached, response]));
            assert_eq!(ask(dialect, Ripas::Empty, applied, Reply::Reject), None);
        }
    }
}

/// A handler with the default methods.
struct Defaults;

impl Handler for Defaults {}

#[test]
fn a_request_for_empty_is_not_repeated_without_end() {
    for (ripas, entries) in [(Ripas::Empty, 1), (Ripas::Ram, 2)] {
        on(Dialect::TfRmm2026_07, |fixture| {
            let (base, top) = (RAM, Ipa::new(RAM.raw() + BYTES));
            // A guest that repeats its request until it is granted or refused.
            let guest = move |cpu: &GuestCpu| match (cpu.x[0], cpu.x[1], cpu.x[2]) {
                (_, _, 1) => Action::psci_system_off(),
                _ => Action::ipa_state_set(base, top, ripas, 0),
            };
            fixture.realm(vec![Box::new(guest)], |fixture, _, recs| {
                let [rec] = &mut recs[..] else { panic!() };
                let stopped =
                    rec.run(fixture.rmm, Answer::resume(), &mut Defaults, &Kick::new()).unwrap();
                assert!(matches!(stopped, RunEnd::Left), "{stopped:?}");
                assert_eq!(fixture.line.entries(), entries);
            });
        });
    }
}

#[test]
fn accepting_is_what_is_left_of_an_empty_range() {
    on(Dialect::V2_0Bet3, |fixture| {
        let (base, top) = (RAM, Ipa::new(RAM.raw() + BYTES));
        let actions =
            vec![Action::ipa_state_set(base, top, Ripas::Empty, 0), Action::psci_system_off()];
        fixture.script(actions, |fixture, _, rec| {
            let exit = fixture.enter(rec, Answer::resume());
            let Exit::RipasChange(change) = exit else { panic!("{exit:?}") };
            let answer = change.reject().unwrap_or_else(RipasChange::accept);
            assert!(matches!(fixture.enter(rec, answer), Exit::PsciNotice(_)));
        });
    });
}

#[test]
fn a_reply_whose_page_is_not_mapped_is_passed_again() {
    for dialect in DIALECTS {
        let seen = Arc::new(Mutex::new(None));
        let (told, mut step) = (Arc::clone(&seen), 0);
        let first = move |cpu: &GuestCpu| {
            step += 1;
            match step {
                1 => Action::psci_cpu_on(1, RAM.raw(), 0),
                2 => Action::host_call(RAM),
                3 => Action::Load { ipa: Ipa::new(RAM.raw() + 8 + 8 * 30), bytes: 8 },
                _ => {
                    *told.lock().unwrap() = Some(cpu.last);
                    Action::psci_system_off()
                }
            }
        };
        let page = IpaRange::with_size(RAM, 0x1000).unwrap();
        let asks = Action::ipa_state_set(page.base(), page.top(), Ripas::Ram, 1);
        let second = Script::new(vec![asks, asks, Action::psci_cpu_off()]);
        on(dialect, |fixture| {
            fixture.realm(vec![Box::new(first), Box::new(second)], |fixture, realm, recs| {
                let [first, second] = &mut recs[..] else { panic!() };
                let exit = fixture.enter(first, Answer::resume());
                let Exit::PsciRequest(request) = exit else { panic!("{exit:?}") };
                let on = request.accept(fixture.rmm, first, second).unwrap();
                // The other REC sets the page to RAM whenever it is destroyed.
                let ram = |fixture: &mut Fixture<'_, '_>, second: &mut Rec, answer| {
                    let exit = fixture.enter(second, answer);
                    let Exit::RipasChange(change) = exit else { panic!("{exit:?}") };
                    realm.set_ripas(fixture.pool, second.name(), change.range(), u32::MAX).unwrap();
                    change.accept()
                };
                let accepted = ram(fixture, second, Answer::resume());
                let memory = fixture.memory.take_front(0x1000).unwrap();
                realm.map(fixture.pool, RAM, memory).unwrap();
                let exit = fixture.enter(first, on);
                let Exit::HostCall(call) = exit else { panic!("{exit:?}") };
                let mut memory = None;
                let _ = realm
                    .reclaim(
                        &mut CallbackMemory::freeing(fixture.pool, |host| memory = Some(host)),
                        page,
                    )
                    .unwrap();
                let again = ram(fixture, second, accepted);
                assert!(matches!(fixture.enter(second, again), Exit::PsciNotice(_)));

                let mut answer = call.complete([42; 31]);
                for _ in 0..2 {
                    let exit = fixture.enter(first, answer);
                    let Exit::Fault(fault) = exit else { panic!("{exit:?}") };
                    assert_eq!(fault.page(), RAM);
                    answer = fault.retry();
                }
                let memory = memory.unwrap();
                realm.map(fixture.pool, RAM, memory).unwrap();
                assert!(matches!(fixture.enter(first, answer), Exit::PsciNotice(_)));
            });
        });
        assert_eq!(*seen.lock().unwrap(), Some(Outcome::Loaded(42)));
    }
}
