//! The tables against the copy of the numbers that the sources have.

use serde_json::Value;

use super::*;
use crate::uapi;

fn numbers() -> Value {
    serde_json::from_str(include_str!("../../tests/kvm-uapi.json")).unwrap()
}

/// What the sources have of a generation.
fn sources(numbers: &Value, generation: Generation) -> Value {
    let id = match generation {
        Generation::V5ToV7 => "rme-v5..v7",
        Generation::V8 => "rme-v8",
        Generation::V9 => "rme-v9",
        Generation::V10 => "rme-v10",
        Generation::V12 => "rmi-v12",
        Generation::V13 => "rmi-v13",
        Generation::V14 => "rmi-v14",
        Generation::V15 => "rmi-v15",
        Generation::Tree2026_09 => "rmi-sep2026-tree",
        Generation::DaV7(_) => "da-v7-tree",
    };
    let all = numbers["generations"].as_array().unwrap();
    all.iter().find(|one| one["id"] == id).unwrap().clone()
}

/// The hexadecimal number that a text begins with.
fn hex(text: &Value) -> u64 {
    let text = text.as_str().unwrap().strip_prefix("0x").unwrap();
    let digits = text.find(|c: char| !c.is_ascii_hexdigit()).unwrap_or(text.len());
    u64::from_str_radix(&text[..digits], 16).unwrap()
}

fn ioctl(of: &Value, name_ends: &str) -> Option<u64> {
    let all = of["ioctl"].as_object()?;
    all.iter().find(|(name, _)| name.ends_with(name_ends)).map(|(_, number)| hex(number))
}

fn da_v7() -> DaV7Numbers {
    DaV7Numbers::new(254, 0xc040_aed9).unwrap()
}

#[test]
fn numbers_are_those_of_the_sources() {
    let numbers = numbers();
    for generation in Generation::ALL {
        let (of, facts) = (sources(&numbers, generation), generation.facts());
        assert_eq!(of["capability"]["nr"], facts.capability, "{generation}");
        let parameter = of["capability"]["name"].as_str().unwrap().to_lowercase();
        assert_eq!(parameter, facts.parameter, "{generation}");
        let realm = of["vm_type"]["realm"].as_str().unwrap();
        let realm = if realm.starts_with("1<<30") { 1 << 30 } else { hex(&realm.into()) };
        assert_eq!(facts.realm_type, realm, "{generation}");
        let rec = of["vcpu_feature_rec"].as_u64();
        assert_eq!(facts.rec_feature.map(u64::from), rec, "{generation}");
        let needs = of["needs"]["KVM_CAP_GUEST_MEMFD_MEMORY_ATTRIBUTES"].as_u64();
        assert_eq!(facts.memfd_attributes_capability.map(u64::from), needs, "{generation}");
        let psci = facts.psci_complete.map(|request| u64::from(request.number()));
        assert_eq!(psci, ioctl(&of, "PSCI_COMPLETE"), "{generation}");
        let populate = match facts.populate {
            PopulateCall::FromSlot => None,
            PopulateCall::ReturnsBytes(request) | PopulateCall::UpdatesStructure(request) => {
                Some(u64::from(request.number()))
            }
        };
        assert_eq!(populate, ioctl(&of, "POPULATE"), "{generation}");
        assert_eq!(facts.steps == Steps::Actions, of["family"] == "RME", "{generation}");
        assert_eq!(facts.personalization, of["rpv"] == true, "{generation}");
        let hashes: Vec<_> = facts.hashes.iter().map(|hash| u64::from(u8::from(*hash))).collect();
        let known = &of["hash_algo"];
        let known: Vec<_> =
            ["sha256", "sha512"].iter().filter_map(|name| known[name].as_u64()).collect();
        assert_eq!(hashes, known, "{generation}");
    }
    let attributes = hex(&numbers["common"]["ioctl"]["KVM_SET_MEMORY_ATTRIBUTES2 (gmem fd)"]);
    for generation in [Generation::Tree2026_09, Generation::DaV7(da_v7())] {
        let MemoryModel::GuestMemfdAttributes(request) = generation.facts().memory else {
            panic!("attributes of the guest_memfd");
        };
        assert_eq!(u64::from(request.number()), attributes);
    }
}

#[test]
fn capabilities_are_different() {
    for (index, generation) in Generation::ALL.into_iter().enumerate() {
        for other in &Generation::ALL[..index] {
            assert_ne!(generation.facts().capability, other.facts().capability);
            assert_ne!(generation.name(), other.name());
        }
    }
}

/// The fields of a structure in the sources: each offset, and the bytes up to the next one.
fn layout(structure: &Value) -> (u64, Vec<(u64, u64)>) {
    let size = structure["size"].as_u64().unwrap();
    let mut offsets: Vec<_> = structure["fields"]
        .as_array()
        .unwrap()
        .iter()
        .map(|f| f["off"].as_u64().unwrap())
        .collect();
    offsets.dedup();
    let ends = offsets.iter().skip(1).copied().chain([size]);
    (size, offsets.iter().copied().zip(ends).map(|(from, to)| (from, to - from)).collect())
}

fn check(structure: &Value, bytes: usize, fields: &[(&str, usize, usize)]) {
    let fields: Vec<_> = fields.iter().map(|(_, at, len)| (*at as u64, *len as u64)).collect();
    assert_eq!((bytes as u64, fields), layout(structure));
}

#[test]
fn structures_are_those_of_the_sources() {
    let numbers = numbers();
    let mut found = 0;
    for generation in Generation::ALL {
        let of = sources(&numbers, generation);
        for (name, structure) in of["struct"].as_object().unwrap() {
            found += 1;
            match name.as_str() {
                "arm_rme_config" => check(structure, 260, uapi::RmeConfig::FIELDS),
                "arm_rme_init_ripas" => check(structure, 32, uapi::RmeInitRipas::FIELDS),
                "arm_rme_populate_realm" => check(structure, 32, uapi::RmePopulate::FIELDS),
                "kvm_arm_rmi_populate" => check(structure, 32, uapi::RmiPopulate::FIELDS),
                "kvm_arm_rmm_psci_complete" | "kvm_arm_rmi_psci_complete" => {
                    check(structure, 24, uapi::PsciComplete::FIELDS);
                }
                _ => panic!("{name}"),
            }
        }
    }
    // Four of each with actions, populate of five, and two with a PSCI call of their own.
    assert_eq!(found, 4 * 4 + 5 + 2);
    let attributes = &numbers["common"]["struct"]["kvm_memory_attributes2"];
    check(attributes, 128, uapi::MemoryAttributes2::FIELDS);
}

#[test]
fn constants_are_those_of_the_sources() {
    let common = &numbers()["common"];
    let (capabilities, constants) = (&common["caps_upstream"], &common["const"]);
    for (number, name) in [
        (uapi::CAP_USER_MEMORY2, "KVM_CAP_USER_MEMORY2"),
        (uapi::CAP_MEMORY_ATTRIBUTES, "KVM_CAP_MEMORY_ATTRIBUTES"),
        (uapi::CAP_GUEST_MEMFD, "KVM_CAP_GUEST_MEMFD"),
        (uapi::CAP_GUEST_MEMFD_FLAGS, "KVM_CAP_GUEST_MEMFD_FLAGS"),
    ] {
        assert_eq!(capabilities[name], number);
    }
    for (number, name) in [
        (u64::from(uapi::MEM_GUEST_MEMFD), "KVM_MEM_GUEST_MEMFD"),
        (uapi::ATTRIBUTE_PRIVATE, "KVM_MEMORY_ATTRIBUTE_PRIVATE"),
        (u64::from(uapi::EXIT_MEMORY_FAULT), "KVM_EXIT_MEMORY_FAULT"),
        (uapi::MEMORY_FAULT_PRIVATE, "KVM_MEMORY_EXIT_FLAG_PRIVATE"),
        (uapi::GUEST_MEMFD_MMAP, "GUEST_MEMFD_FLAG_MMAP"),
        (uapi::GUEST_MEMFD_INIT_SHARED, "GUEST_MEMFD_FLAG_INIT_SHARED"),
        (uapi::VM_TYPE_IPA_WIDTH, "KVM_VM_TYPE_ARM_IPA_SIZE_MASK"),
        (u64::from(uapi::VCPU_POWER_OFF), "KVM_ARM_VCPU_POWER_OFF"),
        (u64::from(uapi::VCPU_PSCI_0_2), "KVM_ARM_VCPU_PSCI_0_2"),
        (u64::from(uapi::VCPU_PMU_V3), "KVM_ARM_VCPU_PMU_V3"),
        (u64::from(uapi::VCPU_SVE), "KVM_ARM_VCPU_SVE"),
        (u64::from(uapi::VCPU_PTRAUTH_ADDRESS), "KVM_ARM_VCPU_PTRAUTH_ADDRESS"),
        (u64::from(uapi::VCPU_PTRAUTH_GENERIC), "KVM_ARM_VCPU_PTRAUTH_GENERIC"),
    ] {
        assert_eq!(constants[name], number, "{name}");
    }
}

#[test]
fn structures_become_bytes_at_their_offsets() {
    let structure = uapi::RmiPopulate {
        base: 0x0102_0304_0506_0708,
        size: 0x1000,
        source_uaddr: 9,
        flags: 0xa,
        reserved: 0xb0,
    };
    let bytes = structure.bytes();
    assert_eq!(bytes[..9], [8, 7, 6, 5, 4, 3, 2, 1, 0]);
    assert_eq!((bytes[9], bytes[16], bytes[24], bytes[28]), (0x10, 9, 0xa, 0xb0));
    assert_eq!(uapi::get_u64(&bytes, 0), structure.base);
    assert_eq!(uapi::get_u64(&bytes, 28), 0xb0);
    let mut short = [0; 3];
    uapi::put(&mut short, 2, &[1, 2]);
    assert_eq!(short, [0, 0, 1]);
}

#[test]
fn names_are_parsed_and_refused() {
    for generation in Generation::ALL {
        assert_eq!(Generation::parse(generation.name()), Ok(generation));
        assert_eq!(generation.to_string(), generation.name());
    }
    for name in ["v5", "v6", "v7"] {
        assert_eq!(Generation::parse(name), Ok(Generation::V5ToV7));
    }
    for name in ["v11", "v16"] {
        let refused = Generation::parse(name).unwrap_err();
        assert_eq!(refused, UnknownGeneration::NotPublic { name: name.to_owned() });
    }
    let da = |capability, request| Generation::DaV7(DaV7Numbers::new(capability, request).unwrap());
    assert_eq!(Generation::parse("da-v7:254:0xc040aed9"), Ok(da(254, 0xc040_aed9)));
    assert_eq!(Generation::parse("da-v7:0x104:1077980888"), Ok(da(260, 0x4040_aed8)));
    for wrong in [
        "da-v7",
        "da-v7:",
        "da-v7:254",
        "da-v7:254:",
        "da-v7::0xc040aed9",
        "da-v7:254:0xc020aed9",
        "da-v7:x:0xc040aed9",
        "da-v7:254:c040aed9",
        "da-v7:254:0xc040aed9:1",
        "da-v7:254:0x1c040aed9",
    ] {
        assert_eq!(Generation::parse(wrong), Err(UnknownGeneration::NeedsNumbers), "{wrong}");
    }
    assert!(UnknownGeneration::NeedsNumbers.to_string().ends_with(": da-v7:CAPABILITY:REQUEST"));
    let unknown = UnknownGeneration::NoSuchName { name: "v17".to_owned() };
    assert_eq!(Generation::parse("v17"), Err(unknown));
}

#[test]
fn types_of_vms_have_the_width() {
    assert_eq!(Generation::V13.machine_type(40), 0x128);
    assert_eq!(Generation::V14.machine_type(40), 0x4000_0028);
}

#[test]
fn numbers_of_da_v7_are_those_of_a_structure_of_64_bytes() {
    let generation = Generation::DaV7(da_v7());
    assert_eq!((generation.name(), generation.facts().capability), ("da-v7", 254));
    let InitialRipas::Ioctl(request) = generation.facts().ripas else {
        panic!("an ioctl");
    };
    assert_eq!((request.number(), request.argument_bytes()), (0xc040_aed9, 64));
    assert!(DaV7Numbers::new(254, 0x4040_aed9).is_some());
    for wrong in [0xc020_aed9, 0xc040_afd9, 0x8040_aed9, 0x0040_aed9, 0xd9, 0xc040_aed9 ^ 1 << 16] {
        assert_eq!(DaV7Numbers::new(254, wrong), None, "{wrong:#x}");
    }
}

/// The table of the documentation.
fn table() -> String {
    let posted = [
        "2024-10", "2025-04", "mid 2025", "2025-08", "2025-12", "2026-03", "2026-05", "2026-07",
        "(tree)", "(tree)",
    ];
    let all: Vec<_> = Generation::ALL.into_iter().chain([Generation::DaV7(da_v7())]).collect();
    let yes = |is: bool| if is { "yes" } else { "-" }.to_owned();
    let number = |request: Request| format!("`{:#x}`", request.number() & 0xff);
    let mut table = String::new();
    let mut row = |name: &str, cell: &dyn Fn(Facts) -> String| {
        let cells: Vec<_> = all.iter().map(|generation| cell(generation.facts())).collect();
        table += &format!("| {name} | {} |\n", cells.join(" | "));
        if name.is_empty() {
            table += &format!("|---{}|\n", "|---".repeat(all.len()));
        }
    };
    row("", &|facts| facts.name.to_owned());
    let index = |facts: Facts| all.iter().position(|one| one.name() == facts.name).unwrap();
    row("posted", &|facts| posted[index(facts)].to_owned());
    row("capability", &|facts| match facts.name {
        "da-v7" => "not known".to_owned(),
        _ => facts.capability.to_string(),
    });
    row("told by the module as", &|facts| format!("`{}`", facts.parameter));
    row("type of VM", &|facts| match facts.realm_type {
        0x4000_0000 => "`1 << 30`".to_owned(),
        realm => format!("`{realm:#x}`"),
    });
    row("IPA width, at most", &|facts| facts.max_ipa_width.to_string());
    let rec = |feature: Option<u32>| feature.map_or("-".to_owned(), |number| number.to_string());
    row("feature REC", &|facts| rec(facts.rec_feature));
    row("REC at KVM_ARM_VCPU_INIT", &|facts| {
        let demanded = if facts.rec_is_optional_at_init { "not in v5" } else { "yes" };
        facts.rec_feature.map_or("-", |_| demanded).to_owned()
    });
    let steps = |facts: Facts| facts.steps == Steps::Actions;
    let created = |facts| if steps(facts) { "action" } else { "populate" }.to_owned();
    row("created by", &created);
    row("populate", &|facts| match facts.populate {
        PopulateCall::FromSlot => "action".to_owned(),
        PopulateCall::ReturnsBytes(request) | PopulateCall::UpdatesStructure(request) => {
            number(request)
        }
    });
    row("populated from", &|facts| match facts.populate {
        PopulateCall::FromSlot => "slot".to_owned(),
        _ => "address".to_owned(),
    });
    row("progress", &|facts| match facts.populate {
        PopulateCall::FromSlot => "none".to_owned(),
        PopulateCall::ReturnsBytes(_) => "returned".to_owned(),
        PopulateCall::UpdatesStructure(_) => "in place".to_owned(),
    });
    row("RIPAS of the rest", &|facts| match facts.ripas {
        InitialRipas::Action => "action".to_owned(),
        InitialRipas::AtFirstRun => "first run".to_owned(),
        InitialRipas::ByRealm => "by the Realm".to_owned(),
        InitialRipas::Ioctl(_) => "ioctl".to_owned(),
    });
    row("activated by", &|facts| if steps(facts) { "action" } else { "first run" }.to_owned());
    row("private memory", &|facts| match facts.memory {
        MemoryModel::VmAttributes => "VM".to_owned(),
        MemoryModel::AlwaysPrivate => "always".to_owned(),
        MemoryModel::GuestMemfdAttributes(_) => "memfd".to_owned(),
    });
    row("told by capability", &|facts| match (facts.name, facts.memfd_attributes_capability) {
        ("da-v7", None) => "not known".to_owned(),
        (_, number) => number.unwrap_or(uapi::CAP_MEMORY_ATTRIBUTES).to_string(),
    });
    row("flags of a guest_memfd", &|facts| facts.memory.guest_memfd_flags().to_string());
    row("PSCI by the VMM", &|facts| facts.psci_complete.map_or("-".to_owned(), number));
    row("hash", &|facts| {
        let hashes: Vec<_> = facts.hashes.iter().map(HashAlgorithm::to_string).collect();
        if hashes.is_empty() { HashAlgorithm::Sha256.to_string() } else { hashes.join(", ") }
    });
    row("RPV", &|facts| yes(facts.personalization));
    row("SVE, breakpoints", &|_| "vCPUs".to_owned());
    row("PMU", &|facts| yes(facts.pmu));
    row("RIPAS exit", &|facts| match facts.exits.ripas {
        RipasExit::Done => "0".to_owned(),
        RipasExit::Asked => "EFAULT".to_owned(),
        RipasExit::AskedAgain => "EFAULT, again EFAULT".to_owned(),
        RipasExit::AskedAgainWithZero => "EFAULT, again 0".to_owned(),
    });
    row("off exit", &|facts| facts.exits.off.to_string());
    row("not entered", &|facts| facts.exits.not_entered.to_string());
    row("exit 44", &|facts| yes(facts.exits.device_mapping));
    row("RMM", &|facts| facts.dialect.to_string());
    table
}

#[test]
fn the_documentation_shows_the_generations_side_by_side() {
    assert_eq!(include_str!("../../docs/generations.md"), table());
    assert_eq!(da_v7(), DaV7Numbers::new(254, 0xc040_aed9).unwrap());
}
