//! What an abort says about the access, and what `Debug` prints of it.

use rec_runtime::{Answer, Exit};
use rmi_abi::rtt::Level;
use rmi_abi::{Dialect, Ipa};

use crate::fixture::{DEVICE, RAM, on, sync};

const DATA: u64 = 0x24 << 26;
/// ISV: the syndrome describes the instruction.
const VALID: u64 = 1 << 24;
const STORE: u64 = 1 << 6;
/// A translation fault at level 3.
const MISSING: u64 = 7;

fn hpfar(ipa: Ipa) -> u64 {
    ipa.raw() >> 12 << 4
}

#[test]
fn loads_and_stores_have_the_size_of_the_access() {
    on(Dialect::TfRmm2026_07, |fixture| {
        fixture.script(vec![], |fixture, _, rec| {
            let mut last = Answer::resume();
            // SAS is the binary logarithm of the size.
            for (sas, bytes) in [(0, 1), (1, 2), (2, 4), (3, 8)] {
                let esr = DATA | VALID | sas << 22 | MISSING;
                let Exit::MmioLoad(load) = fixture.decode(rec, last, sync(esr, hpfar(DEVICE)))
                else {
                    panic!("no load")
                };
                assert_eq!((load.ipa(), load.bytes()), (DEVICE, bytes));
                let mut record = sync(esr | STORE, hpfar(DEVICE));
                record.gprs[0] = u64::MAX;
                let Exit::MmioStore(store) = fixture.decode(rec, load.complete(0), record) else {
                    panic!("no store")
                };
                assert_eq!((store.ipa(), store.bytes()), (DEVICE, bytes));
                assert_eq!(store.value(), u64::MAX >> (64 - 8 * u32::from(bytes)));
                last = store.complete();
            }
        });
    });
}

#[test]
fn a_fault_names_the_tree_that_lacks_the_page() {
    on(Dialect::TfRmm2026_07, |fixture| {
        fixture.script(vec![], |fixture, _, rec| {
            let mut last = Answer::resume();
            for tree in [0, 1, 2, 3] {
                let mut record = sync(DATA | MISSING, hpfar(RAM));
                record.rtt_tree = tree;
                let Exit::Fault(fault) = fixture.decode(rec, last, record) else {
                    panic!("no fault")
                };
                assert_eq!((fault.rtt_tree(), fault.page()), (tree, RAM));
                assert_eq!((fault.level(), fault.esr().0), (Level::L3, DATA | MISSING));
                last = fault.retry();
            }
        });
    });
}

#[test]
fn a_shared_fault_names_the_page() {
    on(Dialect::TfRmm2026_07, |fixture| {
        fixture.script(vec![], |fixture, _, rec| {
            let esr = DATA | MISSING;
            let exit = fixture.decode(rec, Answer::resume(), sync(esr, hpfar(DEVICE)));
            let Exit::SharedFault(fault) = exit else { panic!("{exit:?}") };
            assert_eq!((fault.page(), fault.esr().0), (DEVICE, esr));
            assert!(fault.status().is_translation());
        });
    });
}

#[test]
fn debug_prints_all_of_a_store_except_its_value() {
    on(Dialect::TfRmm2026_07, |fixture| {
        fixture.script(vec![], |fixture, _, rec| {
            let mut record = sync(DATA | VALID | STORE | 2 << 22 | MISSING, hpfar(DEVICE));
            record.gprs[0] = 0x5ec2_e7ed;
            let exit = fixture.decode(rec, Answer::resume(), record);
            let text = format!("{exit:?}");
            for part in ["MmioStore", "ticket: Ticket", "ipa: ", "bytes: 4", ".."] {
                assert!(text.contains(part), "{text}");
            }
            let ipa = format!("ipa: {DEVICE:?}");
            assert!(text.contains(&ipa) && !text.contains("value"), "{text}");
        });
    });
}

#[test]
fn debug_prints_the_register_that_is_written_and_not_the_value() {
    on(Dialect::TfRmm2026_07, |fixture| {
        fixture.script(vec![], |fixture, _, rec| {
            let mut record = sync(0x6030_3016, 0);
            record.gprs[0] = 0x5ec2_e7ed;
            let exit = fixture.decode(rec, Answer::resume(), record);
            let text = format!("{exit:?}");
            let esr = rmi_abi::esr::Esr(0x6030_3016);
            assert!(text.contains(&format!("esr: {esr:?}")) && !text.contains("value"), "{text}");
        });
    });
}

#[test]
fn debug_prints_all_of_a_fault_except_the_reply() {
    on(Dialect::TfRmm2026_07, |fixture| {
        fixture.script(vec![], |fixture, _, rec| {
            let mut record = sync(DATA | MISSING, hpfar(RAM));
            record.rtt_tree = 2;
            let exit = fixture.decode(rec, Answer::resume(), record);
            let text = format!("{exit:?}");
            let esr = rmi_abi::esr::Esr(DATA | MISSING);
            for part in [
                "Fault".to_owned(),
                "ticket: Ticket".to_owned(),
                format!("page: {RAM:?}"),
                format!("esr: {esr:?}"),
                format!("level: {:?}", Level::L3),
                "is_fetch: false".to_owned(),
                "rtt_tree: 2".to_owned(),
                "..".to_owned(),
            ] {
                assert!(text.contains(&part), "{part} in {text}");
            }
            assert!(!text.contains("reply"), "{text}");
        });
    });
}
