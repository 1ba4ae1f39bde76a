//! Which numbers reach a kernel from the creation of a Realm to its end: those of its own
//! generation, by the description of the interfaces, and none that only others have.

use std::collections::BTreeSet;

use serde_json::Value;

use super::*;

/// A number that a generation chooses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Constant {
    Capability(u64),
    Type(u64),
    Feature(u64),
    Ioctl(u64),
}

/// The number that a text begins with.
fn leading(value: &Value) -> Option<u64> {
    if let Some(number) = value.as_u64() {
        return Some(number);
    }
    let text = value.as_str()?;
    if text.starts_with("1<<30") {
        return Some(1 << 30);
    }
    let digits = text.strip_prefix("0x")?;
    let end = digits.find(|letter: char| !letter.is_ascii_hexdigit()).unwrap_or(digits.len());
    u64::from_str_radix(&digits[..end], 16).ok()
}

/// The numbers of all generations that have been published, in the order of [`kernels`].
fn described() -> Vec<BTreeSet<Constant>> {
    let numbers: Value = serde_json::from_str(include_str!("../kvm-uapi.json")).unwrap();
    let attributes = &numbers["common"]["ioctl"]["KVM_SET_MEMORY_ATTRIBUTES2 (gmem fd)"];
    let all = numbers["generations"].as_array().unwrap().iter();
    let published = all.filter(|one| one["capability"]["nr"].is_u64());
    published
        .map(|one| {
            let mut constants = BTreeSet::from([
                Constant::Capability(leading(&one["capability"]["nr"]).unwrap()),
                Constant::Type(leading(&one["vm_type"]["realm"]).unwrap()),
            ]);
            constants.extend(leading(&one["vcpu_feature_rec"]).map(Constant::Feature));
            let ioctls = one["ioctl"].as_object().into_iter().flatten();
            constants.extend(ioctls.filter_map(|(_, number)| leading(number).map(Constant::Ioctl)));
            if one["needs"]["KVM_CAP_GUEST_MEMFD_MEMORY_ATTRIBUTES"].is_u64() {
                constants.extend(leading(attributes).map(Constant::Ioctl));
            }
            constants
        })
        .collect()
}

/// The numbers of these kinds that calls have passed.
fn passed(calls: &[kvm_realm::fake::CallRecord]) -> BTreeSet<Constant> {
    let mut constants = BTreeSet::new();
    for call in calls {
        let Some(number) = call.number else { continue };
        match call.name {
            "KVM_CREATE_VM" => constants.extend([Constant::Type(number & !0xff)]),
            "KVM_ENABLE_CAP" => constants.extend([Constant::Capability(number)]),
            "KVM_ARM_VCPU_FINALIZE" => constants.extend([Constant::Feature(number)]),
            "ioctl" => constants.extend([Constant::Ioctl(number)]),
            "KVM_ARM_VCPU_INIT" => {
                // Those from 7 on are not the same in all kernels.
                let features = (7..32).filter(|feature| number >> feature & 1 == 1);
                constants.extend(features.map(Constant::Feature));
            }
            _ => {}
        }
    }
    constants
}

#[test]
fn no_number_of_another_generation_reaches_a_kernel() {
    let described = described();
    assert_eq!(described.len(), Generation::ALL.len());
    let everything: BTreeSet<_> = described.iter().flatten().copied().collect();
    for ((generation, kernel), own) in kernels().zip(&described) {
        let owns_psci = generation.facts().psci_complete.is_some();
        let style = Style::new(generation, 3);
        kernel.set_guest(move |vcpu| program(vcpu, style));
        let options = Options { owns_psci, ..options(generation, 3) };
        assert!(boot(&kernel, &options).0.unwrap().is_orderly(), "{generation}");
        let passed = passed(&kernel.calls());
        let foreign: Vec<_> = passed.difference(own).collect();
        assert!(foreign.is_empty(), "{generation}: {foreign:?}");
        // What is not passed is only asked for by the probe, or is no call of a launch.
        let unused: BTreeSet<_> = own.difference(&passed).copied().collect();
        let capability = Constant::Capability(generation.facts().capability.into());
        let attributes = Constant::Ioctl(0xc080_aed2);
        for constant in unused {
            let is_known = match constant {
                Constant::Capability(_) => constant == capability && own.len() < 6,
                // v15 has it, and needs it for no memory that always is private.
                Constant::Ioctl(_) => constant == attributes && generation == Generation::V15,
                _ => false,
            };
            assert!(is_known, "{generation}: {constant:?}");
        }
        assert!(everything.len() > own.len() + 10);
    }
}
