//! The tables in the documentation against the code, so that they cannot rot.

#![expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

use std::collections::BTreeMap;

use rmi_abi::commands::Fid;
use rmi_abi::desc::OpMemState;
use rmi_abi::describe::{Enumeration, Register, STRUCTURES};
use rmi_abi::dialect::InitialMeasurement;
use rmi_abi::realm::{OptionalParameter, RealmParams};
use rmi_abi::rtt::Geometry;
use rmi_abi::run::ExitReason;
use rmi_abi::{Command, Dialect, Pa, Status, rsi};

/// The rows of the first table after `heading` in the documentation of a module, cells trimmed.
fn table(source: &str, heading: &str) -> Vec<Vec<String>> {
    let lines = source.lines().map(|line| line.trim_start_matches("//!").trim());
    let rows = lines
        .skip_while(|line| !line.starts_with(heading))
        .take_while(|line| line.starts_with('|'));
    let cells =
        |row: &str| row.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    rows.map(cells).collect()
}

fn rmi(name: &str) -> Command {
    let name = format!("RMI_{name}");
    Command::ALL.iter().copied().find(|command| command.name() == name).unwrap()
}

/// What the table of differences should say in the row that starts with `what`, for one dialect.
fn difference(what: &str, d: Dialect) -> String {
    let ticked: Vec<_> = what.split('`').skip(1).step_by(2).collect();
    let yes_no = |yes| if yes { "yes" } else { "no" }.to_owned();
    let or_dash = |text: Option<String>| text.unwrap_or("-".into());
    let count = |list: Option<&[_]>| {
        list.map_or("-".into(), |list: &[rmi_abi::commands::Param]| list.len().to_string())
    };
    let value = |kind, name| {
        let found = Enumeration::find(kind).unwrap().values(d).find(|value| value.name == name);
        or_dash(found.map(|value| value.number.to_string()))
    };
    let bit = |register, field| {
        let found = Register::find(register).unwrap().fields(d).find(|f| f.name == field);
        or_dash(found.map(|f| {
            if f.width() == 1 {
                format!("bit {}", f.lsb)
            } else {
                format!("bits {}:{}", f.msb, f.lsb)
            }
        }))
    };
    let has_field = |structure: &str, field: &str| {
        STRUCTURES
            .iter()
            .filter(|s| s.name == structure && s.dialects.contains(d))
            .any(|s| s.fields(d).any(|f| f.name == field))
    };
    let feature = |field: &str| {
        let index = (0..5).find(|index| {
            let register = Register::find(&format!("RmiFeatureRegister{index}")).unwrap();
            register.fields(d).any(|f| f.name == field)
        });
        or_dash(index.map(|index| format!("register {index}")))
    };
    if let Some(number) = what.strip_prefix("number 0x") {
        let fid = Fid::from_function_number(u16::from_str_radix(number, 16).unwrap());
        let command = Command::from_fid(fid, d);
        return or_dash(command.map(|c| format!("`{}`", c.name().trim_start_matches("RMI_"))));
    }
    if let Some(code) = what.strip_prefix("exit reason ") {
        return match ExitReason::decode(code.parse().unwrap(), d) {
            ExitReason::Unknown(_) => "-".into(),
            reason => format!("`{reason:?}`"),
        };
    }
    if what.starts_with("inputs of ") {
        return rmi(ticked[0]).form(d).map_or("-".into(), |form| count(form.inputs()));
    }
    if what.starts_with("outputs of ") {
        return rmi(ticked[0]).form(d).map_or("-".into(), |form| count(form.outputs()));
    }
    match what {
        "commands" => d.commands().count().to_string(),
        "memory is delegated by" => {
            if Command::GranuleDelegate.form(d).is_some() { "granule" } else { "range" }.into()
        }
        "stateful operations" => yes_no(Command::OpContinue.form(d).is_some()),
        "state of an address range descriptor" => bit("RmiAddrRangeDesc4KB", "state"),
        "state of a donation request" => bit("RmiOpMemDonateReq", "state"),
        "memory state `CONDITIONAL`" => value("RmiOpMemState", "CONDITIONAL"),
        // The one row without a counterpart in the code: the position is not public.
        "level and address with `ERROR_TRACKING`" => match d {
            Dialect::V1_0 => "-".into(),
            _ => yes_no(d == Dialect::V2_0Bet3),
        },
        "hash bits of the features" => feature("HASH_SHA_256"),
        "feature fields `S2OASZ`, `L0GPT_BLOCK_DELEGATE`" => {
            assert_eq!(feature(ticked[0]), feature(ticked[1]));
            feature(ticked[0])
        }
        "feature field `REALM_MAX_VDEVS_ORDER`" => feature(ticked[0]),
        "Realm flag `lpa2`" => match bit("RmiRealmFlags", "lpa2").as_str() {
            "-" => bit("RmiRealmFlags0", "lpa2"),
            there => there.into(),
        },
        "Realm flag `ats`" => bit("RmiRealmFlags1", "ats"),
        "PDEV flag `p2p`" => bit("RmiPdevFlags", "p2p"),
        "tracking state `INTERMEDIATE`" => value("RmiTrackingRegionState", ticked[0]),
        "memory category `NONE`" => value("RmiMemCategory", ticked[0]),
        "entry state `AUX_DESTROYED`" | "entry state `ARCH_DEV`" => {
            value("RmiRttEntryState", ticked[0])
        }
        "Realm parameter `vmid`" | "Realm parameter `max_num_vdevs`" => {
            yes_no(has_field("RmiRealmParams", ticked[0]))
        }
        "REC parameters `num_aux`, `aux`" => yes_no(has_field("RmiRecParams", ticked[1])),
        "PDEV parameters" => {
            let with = ["max_vdevs_order", "hb_base"]
                .into_iter()
                .find(|field| has_field("RmiPdevParams", field));
            or_dash(with.map(|field| format!("with `{field}`")))
        }
        "`gicv3_*` of the run page" => {
            yes_no(d.gic_in_run_page() && has_field("RmiRecExit", "gicv3_lrs"))
        }
        "`rtt_level` of the run page" | "`vsmmu` of the run page" => {
            yes_no(has_field("RmiRecExit", ticked[0]))
        }
        "deadline of WFIT and WFET" => yes_no(d.tells_wait_deadline()),
        "a wait without a deadline may hide one" => yes_no(d.may_hide_wait_deadline()),
        "`PSCI_AFFINITY_INFO` reaches the host" => yes_no(d.affinity_info_exits()),
        "initial measurement" => match d.initial_measurement() {
            InitialMeasurement::Zero => "zero".into(),
            InitialMeasurement::Parameters => "parameter page".into(),
        },
        "`INIT_RIPAS` is measured" => yes_no(d.init_ripas_is_measured()),
        "SHA-384" => yes_no(value("RmiHashAlgorithm", "SHA_384") == "2"),
        other => panic!("a row that the test does not know: {other}"),
    }
}

#[test]
#[cfg_attr(miri, ignore = "tables against text, slow and without bytes to check")]
fn the_table_of_differences_is_true() {
    let rows = table(include_str!("../src/dialect.rs"), "| |");
    let columns: Vec<_> =
        rows[0][1..].iter().map(|name| name.parse::<Dialect>().unwrap()).collect();
    assert_eq!(columns, Dialect::ALL);
    let rows = rows[2..].iter().filter(|row| !row[0].starts_with("**"));
    let mut checked = 0;
    for row in rows {
        for (cell, dialect) in row[1..].iter().zip(Dialect::ALL) {
            assert_eq!(*cell, difference(&row[0], dialect), "{} in {dialect}", row[0]);
            checked += 1;
        }
    }
    assert!(checked > 200, "{checked} cells");
}

/// The methods of `Dialect` against the tables that say the same.
#[test]
#[cfg_attr(miri, ignore = "tables against text, slow and without bytes to check")]
fn the_methods_of_a_dialect_agree_with_the_tables() {
    for d in Dialect::ALL {
        let inputs =
            |command: Command| command.form(d).and_then(|form| form.inputs()).map_or(0, <[_]>::len);
        assert_eq!(d.psci_complete_names_target(), inputs(Command::PsciComplete) == 3);
        assert_eq!(d.dev_validate_names_devices(), inputs(Command::RttDevValidate) == 6);
        assert_eq!(d.tracking_get_takes_range(), inputs(Command::GranuleTrackingGet) == 2);
        assert_eq!(d.donate_has_flags(), inputs(Command::OpMemDonate) == 4);
        assert_eq!(d.aux_maps_by_range(), Command::RttAuxProtMap.form(d).is_some());
        assert_eq!(d.is_2_0(), Command::OpContinue.form(d).is_some());
        for command in Command::ALL {
            assert_eq!(command.require(d).is_ok(), d.commands().any(|c| c == *command));
            assert_eq!(command.require(d).ok().map(|form| form.fid()), command.fid(d));
        }
        if d.is_2_0() {
            let state = Register::find("RmiAddrRangeDesc4KB").unwrap().fields(d).last().unwrap();
            let (lsb, width) = d.range_state_field();
            assert_eq!((lsb, width), (u32::from(state.lsb), u32::from(state.width())));
            let conditional = Enumeration::find("RmiOpMemState").unwrap().name_of(2, d).is_some();
            assert_eq!(conditional, d.donate_state_width() == 2, "{:?}", OpMemState::Conditional);
        }
    }
}

#[test]
#[cfg_attr(miri, ignore = "tables against text, slow and without bytes to check")]
fn no_two_commands_of_a_dialect_share_a_number() {
    for dialect in Dialect::ALL {
        let mut numbers = BTreeMap::new();
        for command in dialect.commands() {
            let fid = command.fid(dialect).unwrap();
            assert_eq!(numbers.insert(fid, command), None);
            assert_eq!(Command::from_fid(fid, dialect), Some(command));
            assert_eq!(Command::from_fid(Fid(fid.0 | Fid::SVE_HINT), dialect), Some(command));
        }
    }
}

/// The cells of an index page, links reduced to what they are called.
fn index(source: &str) -> Vec<Vec<String>> {
    let rows = table(source, "| Identifier");
    let plain = |cell: &String| match cell.split_once("](super::Command::") {
        // The link must go to the variant that has the name.
        Some((name, variant)) => {
            let name = name.trim_matches(['[', '`']);
            let camel = variant.trim_end_matches(')').to_lowercase();
            assert_eq!(camel, name[4..].replace('_', "").to_lowercase());
            name.to_owned()
        }
        None => cell.trim_matches('`').to_owned(),
    };
    rows[2..].iter().map(|row| row.iter().map(plain).collect()).collect()
}

#[test]
#[cfg_attr(miri, ignore = "tables against text, slow and without bytes to check")]
fn the_index_page_of_commands_is_the_table() {
    let rows = index(include_str!("../src/commands/index.rs"));
    assert_eq!(rows.len(), Command::ALL.len());
    for (row, command) in rows.iter().zip(Command::ALL) {
        let mut effects = Vec::new();
        let mut wanted =
            vec![format!("{}", command.forms()[0].fid()), command.name().to_owned(), String::new()];
        for dialect in Dialect::ALL {
            wanted.push(match command.form(dialect) {
                None => "-".to_owned(),
                Some(form) => {
                    let effect = format!("{:?}", form.effect()).to_lowercase();
                    if !effects.contains(&effect) {
                        effects.push(effect);
                    }
                    if form.unsure_in().contains(dialect) { "(yes)" } else { "yes" }.to_owned()
                }
            });
        }
        wanted[2] = effects.join(", ");
        assert_eq!(*row, wanted);
    }
}

#[test]
#[cfg_attr(miri, ignore = "tables against text, slow and without bytes to check")]
fn the_index_page_of_the_rsi_is_the_table() {
    let rows = index(include_str!("../src/rsi/index.rs"));
    assert_eq!(rows.len(), rsi::Command::ALL.len());
    for (row, command) in rows.iter().zip(rsi::Command::ALL) {
        let form = command.form();
        let mut wanted = vec![format!("{}", form.fid()), command.name().to_owned()];
        for version in rsi::Version::ALL {
            wanted.push(if form.versions().contains(version) { "yes" } else { "-" }.to_owned());
        }
        assert_eq!(*row, wanted);
    }
}

/// Both tables are ordered by number, so that a reader finds a command by it.
#[test]
#[cfg_attr(miri, ignore = "tables against text, slow and without bytes to check")]
fn commands_are_ordered_by_their_numbers() {
    assert!(Command::ALL.is_sorted_by_key(|command| command.forms()[0].fid()));
    assert!(rsi::Command::ALL.is_sorted_by_key(|command| command.form().fid()));
}

#[test]
#[cfg_attr(miri, ignore = "tables against text, slow and without bytes to check")]
fn documented_statuses_fit_the_effect_of_their_command() {
    for command in Command::ALL {
        for form in command.forms() {
            let statuses = form.statuses();
            let codes: Vec<_> = statuses.iter().map(|status| u8::from(*status)).collect();
            assert!(codes.is_sorted_by(|a, b| a < b), "{command}: {codes:?}");
            if statuses.is_empty() {
                continue;
            }
            assert_eq!(statuses[0], Status::Success, "{command}");
            let drives = command.name().starts_with("RMI_OP_");
            let incomplete = statuses.contains(&Status::Incomplete);
            assert_eq!(incomplete, form.effect().is_stateful() || drives, "{command}");
            if form.dialects().contains(Dialect::V1_0) {
                assert!(
                    codes
                        .iter()
                        .all(|code| *code <= 4 || form.dialects().contains(Dialect::V2_0Bet3))
                );
            }
        }
    }
}

/// The parameters that not every dialect has, against the tables of fields and flags.
#[test]
fn optional_parameters_exist_where_their_field_or_flag_does() {
    for parameter in OptionalParameter::ALL {
        let (structure, field) = match parameter.name() {
            "tree_per_plane" => ("RmiRealmFlags1", "rtt_tree_per_plane"),
            "s2ap_indirect" => ("RmiRealmFlags1", "rtt_s2ap_encoding"),
            "ats" => ("RmiRealmFlags1", "ats"),
            "device_assignment" => ("RmiRealmFlags0", "da"),
            "live_activation" => ("RmiRealmFlags0", "lfa_policy"),
            "private_mec" => ("RmiRealmFlags0", "mec_policy"),
            field => ("RmiRealmParams", field),
        };
        for dialect in Dialect::ALL {
            let is_there = match Register::find(structure) {
                Some(register) => register.fields(dialect).any(|there| there.name == field),
                None => STRUCTURES
                    .iter()
                    .filter(|there| there.name == structure)
                    .flat_map(|there| there.fields)
                    .any(|there| there.name == field && there.dialects.contains(dialect)),
            };
            assert_eq!(parameter.exists_in(dialect), is_there, "{parameter} in {dialect}");
        }
        // They are fields of `RealmParams`, and a plain Realm needs none of them.
        let plain = RealmParams::new(Geometry::new(40).unwrap(), Pa::new(0));
        assert!(!parameter.is_set(&plain));
        assert!(format!("{plain:?}").contains(&format!(" {parameter}: ")));
    }
}

#[test]
fn dialects_are_found_by_their_index() {
    for dialect in Dialect::ALL {
        assert_eq!(Dialect::from_index(dialect.index()), Some(dialect));
    }
    assert_eq!(Dialect::from_index(5), None);
}
