//! The numbers of a kernel, from the description of KVM's interfaces and not from the tables of
//! this crate, so that an error in those is found.

use std::collections::BTreeMap;

use serde_json::Value;

/// The description: every generation of the interface with its numbers, as they were read in
/// patches, headers and sources.
pub(super) const DESCRIPTION: &str = include_str!("../../tests/kvm-uapi.json");

/// Where the attributes of guest memory are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Attributes {
    /// In the VM, by guest physical address.
    Vm,
    /// In each `guest_memfd`, by offset; the number of the capability that says so.
    Gmem(u32),
}

/// How a Realm is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    /// By actions of `KVM_ENABLE_CAP`.
    Rme(Actions),
    /// By `KVM_ARM_RMI_POPULATE` and the first `KVM_RUN`.
    Rmi,
}

/// The numbers of the actions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Actions {
    pub(super) config: u64,
    pub(super) create: u64,
    pub(super) init_ripas: u64,
    pub(super) populate: u64,
    pub(super) activate: u64,
    pub(super) sha256: u32,
    pub(super) sha512: u32,
}

/// The numbers of one kernel.
#[derive(Clone, Debug)]
pub(super) struct Facts {
    /// The generation, as the description names it.
    pub(super) id: String,
    /// The capability that says that there are Realms.
    pub(super) capability: u32,
    /// The bits of the argument of `KVM_CREATE_VM` that ask for a Realm.
    pub(super) realm_type: u64,
    pub(super) family: Family,
    /// The feature of `KVM_ARM_VCPU_FINALIZE` that makes a REC.
    pub(super) rec_feature: Option<u32>,
    pub(super) attributes: Attributes,
    /// Which call a request is.
    pub(super) calls: BTreeMap<u32, Extra>,
    /// Constants that all kernels share.
    pub(super) constants: BTreeMap<String, u64>,
}

/// A call that a generation may have beside those that all share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extra {
    PsciComplete,
    Populate,
    InitRipas,
    SetMemoryAttributes2,
}

const OF_GENERATIONS: [(&str, Extra); 3] = [
    ("KVM_ARM_VCPU_RMM_PSCI_COMPLETE", Extra::PsciComplete),
    ("KVM_ARM_VCPU_RMI_PSCI_COMPLETE", Extra::PsciComplete),
    ("KVM_ARM_RMI_POPULATE", Extra::Populate),
];

/// The number at the beginning of a text of the description: `0x…`, `1<<n`, or digits.
fn leading(text: &str) -> Option<u64> {
    let end = |digits: &str, is: fn(char) -> bool| {
        digits.find(|letter| !is(letter)).unwrap_or(digits.len())
    };
    if let Some(digits) = text.strip_prefix("0x") {
        let digits = digits.get(..end(digits, |letter| letter.is_ascii_hexdigit()))?;
        return u64::from_str_radix(digits, 16).ok();
    }
    if let Some(digits) = text.strip_prefix("1<<") {
        let digits = digits.get(..end(digits, |letter| letter.is_ascii_digit()))?;
        return 1_u64.checked_shl(digits.parse().ok()?);
    }
    text.get(..end(text, |letter| letter.is_ascii_digit()))?.parse().ok()
}

/// A number of the description, which may be written as a number or as a text.
fn number(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| leading(value.as_str()?))
}

fn small(value: &Value) -> Option<u32> {
    number(value)?.try_into().ok()
}

/// What is at a path in a value; null if there is nothing.
fn at<'v>(value: &'v Value, path: &[&str]) -> &'v Value {
    static NULL: Value = Value::Null;
    path.iter().fold(value, |value, key| value.get(key).unwrap_or(&NULL))
}

/// What a generation whose numbers are not published is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) capability: Option<u32>,
    pub(super) init_ripas: Option<u32>,
}

/// The description, parsed.
fn description() -> Option<Value> {
    serde_json::from_str(DESCRIPTION).ok()
}

/// The names of all generations of the description.
pub(super) fn generations() -> Vec<String> {
    let description = description().unwrap_or_default();
    let all = at(&description, &["generations"]).as_array().cloned().unwrap_or_default();
    all.iter().filter_map(|one| Some(at(one, &["id"]).as_str()?.to_string())).collect()
}

impl Facts {
    /// Those of a generation; `None` for one whose capability or type bits are not known and not
    /// given.
    pub(super) fn of(id: &str, given: Given) -> Option<Self> {
        let description = description()?;
        let generations = at(&description, &["generations"]).as_array()?;
        let entry = generations.iter().find(|entry| at(entry, &["id"]) == id)?;
        let common = at(&description, &["common"]);

        let mut calls = BTreeMap::new();
        for (listed, call) in OF_GENERATIONS {
            if let Some(request) = small(at(entry, &["ioctl", listed])) {
                calls.insert(request, call);
            }
        }
        let is_extended = !at(entry, &["extra_ioctl"]).is_null();
        if is_extended {
            calls.insert(given.init_ripas?, Extra::InitRipas);
            // It extends the interface of the newest posted generation.
            calls.insert(populate_request(generations)?, Extra::Populate);
        }

        let family = match at(entry, &["actions_via_enable_cap"]) {
            Value::Null => Family::Rmi,
            actions => Family::Rme(Actions {
                config: number(at(actions, &["CONFIG_REALM"]))?,
                create: number(at(actions, &["CREATE_REALM"]))?,
                init_ripas: number(at(actions, &["INIT_RIPAS_REALM"]))?,
                populate: number(at(actions, &["POPULATE_REALM"]))?,
                activate: number(at(actions, &["ACTIVATE_REALM"]))?,
                sha256: small(at(entry, &["hash_algo", "sha256"]))?,
                sha512: small(at(entry, &["hash_algo", "sha512"]))?,
            }),
        };
        let capability = small(at(entry, &["capability", "nr"])).or(given.capability)?;
        let attributes = match small(at(entry, &["needs", "KVM_CAP_GUEST_MEMFD_MEMORY_ATTRIBUTES"]))
        {
            Some(number) => Attributes::Gmem(number),
            // The number below that of Realms, as in both kernels whose numbers are known.
            None if is_extended => Attributes::Gmem(capability.checked_sub(1)?),
            None => Attributes::Vm,
        };
        if matches!(attributes, Attributes::Gmem(_)) {
            let request = small(at(common, &["ioctl", "KVM_SET_MEMORY_ATTRIBUTES2 (gmem fd)"]))?;
            calls.insert(request, Extra::SetMemoryAttributes2);
        }
        let constants = at(common, &["const"]).as_object()?.iter();
        let capabilities = at(common, &["caps_upstream"]).as_object()?.iter();
        Some(Self {
            id: id.to_string(),
            capability,
            realm_type: match number(at(entry, &["vm_type", "realm"])) {
                Some(bits) => bits,
                // An extension of the newest posted generation.
                None if is_extended => newest_type(generations)?,
                None => return None,
            },
            family,
            rec_feature: small(at(entry, &["vcpu_feature_rec"])),
            attributes,
            calls,
            constants: constants
                .chain(capabilities)
                .filter_map(|(name, value)| Some((name.clone(), number(value)?)))
                .collect(),
        })
    }

    /// A constant that all kernels share; `u64::MAX`, which no call accepts, for one that is not
    /// in the description.
    pub(super) fn constant(&self, name: &str) -> u64 {
        self.constants.get(name).copied().unwrap_or(u64::MAX)
    }

    /// The same, for constants of 32 bits.
    pub(super) fn small_constant(&self, name: &str) -> u32 {
        u32::try_from(self.constant(name)).unwrap_or(u32::MAX)
    }

    /// Whether this generation has a call.
    pub(super) fn has(&self, call: Extra) -> bool {
        self.calls.values().any(|one| *one == call)
    }
}

fn populate_request(generations: &[Value]) -> Option<u32> {
    generations.iter().rev().find_map(|entry| small(at(entry, &["ioctl", "KVM_ARM_RMI_POPULATE"])))
}

fn newest_type(generations: &[Value]) -> Option<u64> {
    generations.iter().rev().find_map(|entry| number(at(entry, &["vm_type", "realm"])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_in_each_notation() {
        assert_eq!(leading("0x4018aed2 in v5 (0xd2); v7: not read"), Some(0x4018_aed2));
        assert_eq!(leading("1<<30 presumed"), Some(1 << 30));
        assert_eq!(leading("0x100"), Some(0x100));
        assert_eq!(leading("249"), Some(249));
        assert_eq!(leading("not found"), None);
        assert_eq!(leading("1<<64"), None);
        assert_eq!(leading("0x"), None);
    }

    #[test]
    fn generations_have_their_numbers() {
        let facts = |id| Facts::of(id, Given::default());
        let numbers = [
            ("rme-v5..v7", 300, 0x100, Some(8), true),
            ("rme-v8", 240, 0x100, Some(9), true),
            ("rme-v9", 243, 0x100, Some(9), true),
            ("rme-v10", 244, 0x100, Some(9), true),
            ("rmi-v12", 247, 0x100, None, true),
            ("rmi-v13", 248, 0x100, None, true),
            ("rmi-v14", 249, 1 << 30, None, false),
            ("rmi-v15", 251, 1 << 30, None, false),
            ("rmi-sep2026-tree", 253, 1 << 30, None, false),
        ];
        for (id, capability, realm_type, rec_feature, has_psci) in numbers {
            let facts = facts(id).unwrap();
            assert_eq!(facts.id, id);
            assert_eq!(facts.capability, capability, "{id}");
            assert_eq!(facts.realm_type, realm_type, "{id}");
            assert_eq!(facts.rec_feature, rec_feature, "{id}");
            assert_eq!(facts.has(Extra::PsciComplete), has_psci, "{id}");
            assert_eq!(facts.has(Extra::Populate), facts.family == Family::Rmi, "{id}");
            assert_eq!(facts.constant("KVM_EXIT_MEMORY_FAULT"), 39);
            assert_eq!(facts.constant("KVM_CAP_GUEST_MEMFD_FLAGS"), 244);
            assert_eq!(facts.constant("KVM_CAP_NONE"), u64::MAX);
        }
        assert_eq!(
            facts("rme-v5..v7").unwrap().calls.get(&0x4018_aed2),
            Some(&Extra::PsciComplete)
        );
        assert_eq!(facts("rme-v8").unwrap().calls.get(&0x4018_aed6), Some(&Extra::PsciComplete));
        assert_eq!(facts("rmi-v15").unwrap().attributes, Attributes::Gmem(250));
        assert_eq!(facts("rmi-v14").unwrap().attributes, Attributes::Vm);
        for unknown in ["rmi-v11", "rmi-v16", "kvm-plumbing-v17..v21", "da-v7-tree", "rmi-v99"] {
            assert!(facts(unknown).is_none(), "{unknown}");
        }
        let given = Given { capability: Some(300), init_ripas: Some(0x4040_aed8) };
        let extended = Facts::of("da-v7-tree", given).unwrap();
        assert_eq!(extended.attributes, Attributes::Gmem(299));
        assert!(extended.has(Extra::InitRipas) && extended.has(Extra::Populate));
        assert_eq!(extended.realm_type, 1 << 30);
    }
}
