//! The crate's tables against the oracles: what public sources of each dialect say, resolved into
//! one file per dialect.
//!
//! An oracle marks what rests on one weak source as not `sure`: there only identifier and name must
//! agree. What is compared is what the `abi_json` example prints, so the example is covered too.

#![expect(clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../examples/abi_json/export.rs"]
mod export;

use rmi_abi::Dialect;
use serde_json::Value;

/// Where the typed modules say more, or something else, than an oracle, and why.
const DELIBERATE: &[(&str, &str)] = &[
    (
        "ExitReason: 10 is VDEV_P2P_BINDING in tf-rmm-2026-07",
        "a constant of TF-RMM's header that its code never writes; the oracle lists what is \
         written",
    ),
    (
        "RttEntryState: 4 and 5 have no variant",
        "bet0 and TF-RMM disagree on them; `describe` names them by dialect, the type keeps the \
         number",
    ),
    (
        "RmmState: typed, though no oracle lists it",
        "TF-RMM's own numbers; that RMI_RMM_STATE_GET reports the same ones is not confirmed",
    ),
    (
        "PsciReturnCode: typed for every dialect, though only the oracle of 1.0 lists it",
        "the codes are those of PSCI, not of the RMI",
    ),
    (
        "DevCommObject: also found as NEGOTIATION and IDENTITY",
        "the names of the 2.0-bet0 text for 0 and 1; the oracle has the later ones",
    ),
];

/// The oracle of a dialect, or of the RSI.
fn oracle(name: &str) -> Value {
    let text = match name {
        "1.0" => include_str!("oracle/1.0.json"),
        "2.0-bet0" => include_str!("oracle/2.0-bet0.json"),
        "2.0-bet1" => include_str!("oracle/2.0-bet1.json"),
        "tf-rmm-2026-07" => include_str!("oracle/tf-rmm-2026-07.json"),
        "2.0-bet3" => include_str!("oracle/2.0-bet3.json"),
        "rsi" => include_str!("oracle/rsi.json"),
        _ => panic!("no oracle {name}"),
    };
    serde_json::from_str(text).unwrap()
}

/// The element of a list with these values.
fn find<'a>(list: &'a Value, keys: &[(&str, &Value)]) -> Option<&'a Value> {
    let mut list = list.as_array().unwrap().iter();
    list.find(|entry| keys.iter().all(|(key, value)| entry[*key] == **value))
}

fn by_offset(mut fields: Vec<Value>) -> Vec<Value> {
    fields.sort_by_key(|f| f["offset"].as_u64());
    fields
}

/// Compares two lists of objects by their names, and each pair on all keys of the oracle's.
fn compare_lists(kind: &str, ours: &Value, theirs: &Value, differences: &mut Vec<String>) {
    for entry in theirs.as_array().unwrap() {
        let name = &entry["name"];
        let mut candidates = ours.as_array().unwrap().iter().filter(|c| c["name"] == *name);
        let Some(own) = candidates.next() else {
            differences.push(format!("{kind} {name}: missing"));
            continue;
        };
        assert!(candidates.next().is_none(), "{kind} {name} occurs twice");
        let sure = entry["sure"] == true;
        let keys: &[&str] = match (kind, sure) {
            ("command", false) => &["fid", "sure"],
            ("command", true) => &["fid", "inputs", "outputs", "stateful", "mem_transfer", "sure"],
            _ => &["size", "sure"],
        };
        for key in keys {
            if own[key] != entry[key] {
                differences
                    .push(format!("{kind} {name}, {key}: {} is not {}", own[key], entry[key]));
            }
        }
        if kind == "struct" {
            let [own, entry] =
                [own, entry].map(|s| by_offset(s["fields"].as_array().unwrap().clone()));
            if own != entry {
                differences.push(format!("struct {name}: {own:?} is not {entry:?}"));
            }
        }
    }
    for own in ours.as_array().unwrap() {
        if find(theirs, &[("name", &own["name"])]).is_none() {
            differences.push(format!("{kind} {}: only in the crate", own["name"]));
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "tables against JSON, slow and without bytes to check")]
fn every_dialect_is_as_its_oracle_says() {
    let mut differences = Vec::new();
    for dialect in Dialect::ALL {
        let (ours, theirs) = (export::rmi(dialect), oracle(dialect.name()));
        let before = differences.len();
        compare_lists("command", &ours["commands"], &theirs["commands"], &mut differences);
        compare_lists("struct", &ours["structs"], &theirs["structs"], &mut differences);
        for kind in ["enums", "bitfields"] {
            let (ours, theirs) =
                (ours[kind].as_object().unwrap(), theirs[kind].as_object().unwrap());
            for name in ours.keys().chain(theirs.keys()) {
                if ours.get(name) != theirs.get(name) {
                    differences.push(format!(
                        "{kind} {name}: {:?} is not {:?}",
                        ours.get(name),
                        theirs.get(name)
                    ));
                }
            }
        }
        let count = |kind: &str| match &theirs[kind] {
            Value::Array(list) => list.len(),
            other => other.as_object().unwrap().len(),
        };
        println!(
            "{dialect}: {} commands, {} structures, {} enumerations, {} bit fields; {} differences",
            count("commands"),
            count("structs"),
            count("enums"),
            count("bitfields"),
            differences.len() - before,
        );
    }
    assert!(differences.is_empty(), "{differences:#?}");
    println!("deliberate differences of the typed modules:");
    for (what, why) in DELIBERATE {
        println!("  {what}: {why}");
    }
}

/// Registers that a dialect marks unsure agree too; this says so, without making it a promise.
#[test]
#[cfg_attr(miri, ignore = "tables against JSON, slow and without bytes to check")]
fn registers_that_are_not_sure_agree_as_well() {
    for dialect in Dialect::ALL {
        let (ours, theirs) = (export::rmi(dialect), oracle(dialect.name()));
        assert_eq!(
            ours["commands"].as_array().unwrap().len(),
            theirs["commands"].as_array().unwrap().len()
        );
        for entry in theirs["commands"].as_array().unwrap() {
            let own = find(&ours["commands"], &[("name", &entry["name"])]).unwrap();
            assert_eq!(own, entry, "{dialect}");
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "tables against JSON, slow and without bytes to check")]
fn the_rsi_is_as_its_oracle_says() {
    let (ours, theirs) = (export::rsi(), oracle("rsi"));
    let list = |json: &Value, key: &str| json[key].as_array().unwrap().clone();
    assert_eq!(list(&ours, "commands").len(), list(&theirs, "commands").len());
    for entry in list(&theirs, "commands") {
        let own = find(&ours["commands"], &[("name", &entry["name"])]).unwrap();
        for key in ["fid", "versions", "inputs", "outputs"] {
            assert_eq!(own[key], entry[key], "{} {key}", entry["name"]);
        }
        for failure in entry["failures"].as_array().into_iter().flatten() {
            assert!(list(own, "statuses").contains(&failure["status"]), "{}", entry["name"]);
        }
    }
    for key in ["psci", "rhi"] {
        assert_eq!(ours[key], theirs[key]);
    }
    assert_eq!(list(&ours, "structs").len(), list(&theirs, "structs").len());
    for entry in list(&theirs, "structs") {
        let keys = [("name", &entry["name"]), ("version", &entry["version"])];
        let own = find(&ours["structs"], &keys).unwrap();
        assert_eq!(own["size"], entry["size"], "{}", entry["name"]);
        let fields = |json: &Value| -> Vec<_> {
            let row = |f: &Value| (f["name"].clone(), f["offset"].clone(), f["width"].clone());
            by_offset(list(json, "fields")).iter().map(row).collect()
        };
        assert_eq!(fields(own), fields(&entry), "{} {}", entry["name"], entry["version"]);
    }
    for key in ["enums", "bitfields"] {
        assert_eq!(list(&ours, key).len(), list(&theirs, key).len());
        for entry in list(&theirs, key) {
            let own = find(&ours[key], &[("name", &entry["name"])]).unwrap();
            let rows = if key == "enums" { "values" } else { "fields" };
            assert_eq!(own[rows], entry[rows], "{}", entry["name"]);
        }
    }
}

/// Offsets that a list of structures fixes: one for each field, and in arrays of registers one for
/// each element.
fn offsets(structures: &[&Value]) -> u64 {
    let fields = structures.iter().flat_map(|s| s["fields"].as_array().unwrap());
    let elements = |f: &Value| match f["name"].as_str().unwrap() {
        "gprs" | "gicv3_lrs" | "aux" => f["width"].as_u64().unwrap() / 8,
        _ => 1,
    };
    fields.map(elements).sum()
}

#[test]
#[cfg_attr(miri, ignore = "tables against JSON, slow and without bytes to check")]
fn all_known_offsets_are_covered() {
    let (rmi, rsi) = (export::rmi(Dialect::V1_0), export::rsi());
    let rsi = rsi["structs"].as_array().unwrap().iter().filter(|s| s["version"] == "1.0");
    let structures: Vec<_> = rmi["structs"].as_array().unwrap().iter().chain(rsi).collect();
    assert_eq!(offsets(&structures), 204, "RMI and RSI 1.0");

    let compiled = export::rmi(Dialect::TfRmm2026_07);
    let fields = compiled["structs"].as_array().unwrap().iter();
    let fields: usize = fields.map(|s| s["fields"].as_array().unwrap().len()).sum();
    assert_eq!(fields, 113, "compiled from the TF-RMM header");
}
