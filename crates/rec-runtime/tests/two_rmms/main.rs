//! Loads and stores of a device on two RMMs that have to agree; see `both/rmms.rs` of
//! `realm-builder` for which.
#![expect(clippy::unwrap_used, reason = "tests")]

#[path = "../running/load_store.rs"]
mod load_store;
#[path = "../../../realm-builder/tests/both/rmms.rs"]
mod rmms;

use std::sync::Mutex;

use realm_builder::{Realm, RealmConfig, RealmStorage, RecStart};
use rec_runtime::mmio::{AccessSize, ExternalAbort, MmioBus, MmioDevice};
use rec_runtime::{Answer, Exit, Rec};
use rmi_abi::{Ipa, IpaRange};
use rmi_host::{CountingLedger, Host};

use load_store::{VALUES, cases};
use rmms::Both;

/// A register that holds `value`, and what was stored.
struct Register {
    value: u64,
    stored: Mutex<Option<u64>>,
}

impl MmioDevice for Register {
    fn read(&self, _: u64, _: AccessSize) -> Result<u64, ExternalAbort> {
        Ok(self.value)
    }

    fn write(&self, _: u64, _: AccessSize, value: u64) -> Result<(), ExternalAbort> {
        *self.stored.lock().unwrap() = Some(value);
        Ok(())
    }
}

/// The registers of the Realm at its latest entry, and its program counter.
fn saw(both: &Both) -> ([u64; 31], u64) {
    let rows = both.say("glog").rows;
    let (before, words) = rows.last().unwrap().split_once(" x ").unwrap();
    let number = |text: &str| u64::from_str_radix(text, 16).unwrap();
    let pc = before.split(' ').find_map(|word| word.strip_prefix("pc=")).unwrap();
    let mut words = words.split(' ').map(number);
    ([(); 31].map(|()| words.next().unwrap()), number(pc))
}

#[test]
fn both_extend_loads_as_the_architecture_says() {
    let both = Both::new();
    let mut memory = both.take_memory(32 << 20);
    let mut pool = test_support::pool::<16>(&mut memory, 128 << 12);
    let ledger = CountingLedger::new();
    let platform = Host::new(&both, &both).with_ledger(&ledger);
    let rmm = test_support::open(platform, &mut pool);
    let mut storage = RealmStorage::<16, 8>::new();
    let mut realm = Realm::create(&rmm, &RealmConfig::new(40), &mut storage, &mut pool).unwrap();
    let start = RecStart { runnable: true, pc: Ipa::new(0x1000), gprs: [0; 8] };
    let object = realm.create_rec(&mut pool, &start).unwrap();
    let realm = realm.activate().unwrap();
    let rec = Rec::new(object, memory.take_front(0x1000).unwrap(), realm.geometry());
    // Nothing was ever mapped there, so that the table that would map it does not exist.
    let page = realm.geometry().unprotected_base();
    let mut answer = Answer::resume();
    for value in VALUES {
        let device = Register { value: !value, stored: Mutex::new(None) };
        let mut bus = MmioBus::<1>::new(realm.geometry());
        bus.add(IpaRange::with_size(page, 0x1000).unwrap(), &device).unwrap();
        for case in cases() {
            let (esr, far, hpfar) = case.syndromes(page);
            let mut line = format!("guest sync esr={esr:x} far={far:x} hpfar={hpfar:x}");
            (0..31).for_each(|register| line.push_str(&format!(" x{register}={value:x}")));
            both.say(&line);
            let exit = rec.enter(&rmm, answer).unwrap().exit;
            let (_, pc_before) = saw(&both);
            answer = match exit {
                Exit::MmioLoad(load) => {
                    assert!(!case.is_store, "{case:?}");
                    bus.load(load)
                }
                Exit::MmioStore(store) => {
                    assert!(case.is_store, "{case:?}");
                    bus.store(store)
                }
                other => unreachable!("{other:?} after {case:?}"),
            };
            assert_eq!(device.stored.lock().unwrap().take(), case.stored(value), "{case:?}");
            // With no action left, it is interrupted.
            assert!(matches!(rec.enter(&rmm, answer).unwrap().exit, Exit::Fiq));
            answer = Answer::resume();
            let (x, pc) = saw(&both);
            let mut expected = [value; 31];
            if let Some((register, loaded)) = case.loaded(!value) {
                expected[register] = loaded;
            }
            assert_eq!((x, pc), (expected, pc_before + 4), "{case:?}");
        }
    }
    let (object, _) = rec.into_parts();
    assert_eq!(realm.tear_down(&mut pool, [object]).error, None);
    pool.drain(&rmm, &mut |_| {});
    assert_eq!(ledger.balance().outstanding(), 0);
}
