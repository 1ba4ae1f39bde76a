//! Kernels that answer to numbers of several meanings.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use super::*;
use crate::host_memory::HostMemory;
use crate::kernel::{
    Call, DeviceAttr, Discard, EnableCap, MemoryRegion, Result as KernelResult, VcpuInit,
};
use crate::recorder::{RecorderVcpu, fd};

/// What a kernel answers; everything that a probe must not call panics.
struct Host {
    parameters: BTreeMap<&'static str, &'static str>,
    /// Capabilities of `/dev/kvm`, and their values.
    system: BTreeMap<u32, u32>,
    /// The same of a VM.
    vm: BTreeMap<u32, u32>,
    realm_type: Option<u64>,
    /// What types are refused with; `EINVAL` otherwise.
    refused: BTreeMap<u64, Errno>,
    page_bytes: usize,
    vms: Cell<u32>,
}

impl Host {
    /// A kernel of a generation, whose VM answers only to its own and generic capabilities.
    fn new(generation: Generation) -> Self {
        let facts = generation.facts();
        let mut vm = BTreeMap::from([(facts.capability, 1), (231, 1), (234, 1)]);
        vm.insert(facts.memfd_attributes_capability.unwrap_or(233), 8);
        Self {
            parameters: BTreeMap::new(),
            system: BTreeMap::from([(165, 48), (facts.capability, 1)]),
            vm,
            realm_type: Some(facts.realm_type),
            refused: BTreeMap::new(),
            page_bytes: 0x1000,
            vms: Cell::new(0),
        }
    }

    fn probe(&self) -> Report {
        let report = probe(self, fd().as_fd()).unwrap();
        assert!(self.vms.get() <= 1);
        report
    }
}

impl Kernel for Host {
    type Vcpu = RecorderVcpu;

    fn open_kvm(&self) -> KernelResult<OwnedFd> {
        panic!("not of a probe")
    }

    fn parameter(&self, name: &str) -> Option<String> {
        self.parameters.get(name).map(|text| (*text).to_owned())
    }

    fn check_extension(&self, _: BorrowedFd<'_>, capability: u32) -> KernelResult<u32> {
        let of = if self.vms.get() == 0 { &self.system } else { &self.vm };
        Ok(of.get(&capability).copied().unwrap_or(0))
    }

    fn create_vm(&self, _: BorrowedFd<'_>, machine_type: u64) -> KernelResult<OwnedFd> {
        if self.realm_type.map(|realm| realm | 32) != Some(machine_type) {
            return Err(self.refused.get(&machine_type).copied().unwrap_or(Errno::EINVAL));
        }
        self.vms.set(self.vms.get() + 1);
        Ok(fd())
    }

    fn enable_cap(&self, _: BorrowedFd<'_>, _: &EnableCap<'_>) -> KernelResult<()> {
        panic!("not of a probe")
    }

    fn create_guest_memfd(&self, _: BorrowedFd<'_>, _: u64, _: u64) -> KernelResult<OwnedFd> {
        panic!("not of a probe")
    }

    fn set_memory_region(&self, _: BorrowedFd<'_>, _: &MemoryRegion<'_>) -> KernelResult<()> {
        panic!("not of a probe")
    }

    fn set_memory_attributes(&self, _: BorrowedFd<'_>, _: u64, _: u64, _: u64) -> KernelResult<()> {
        panic!("not of a probe")
    }

    fn create_device(&self, _: BorrowedFd<'_>, _: u32) -> KernelResult<OwnedFd> {
        panic!("not of a probe")
    }

    fn set_device_attr(&self, _: BorrowedFd<'_>, _: &DeviceAttr<'_>) -> KernelResult<()> {
        panic!("not of a probe")
    }

    fn has_device_attr(&self, _: BorrowedFd<'_>, _: &DeviceAttr<'_>) -> KernelResult<()> {
        panic!("not of a probe")
    }

    fn set_irq_line(&self, _: BorrowedFd<'_>, _: u32, _: bool) -> KernelResult<()> {
        panic!("not of a probe")
    }

    fn create_vcpu(&self, _: BorrowedFd<'_>, _: u64) -> KernelResult<RecorderVcpu> {
        panic!("not of a probe")
    }

    fn open_vcpu(&self, _: BorrowedFd<'_>) -> KernelResult<RecorderVcpu> {
        panic!("not of a probe")
    }

    fn preferred_target(&self, _: BorrowedFd<'_>) -> KernelResult<VcpuInit> {
        panic!("not of a probe")
    }

    fn call(&self, _: BorrowedFd<'_>, _: Call<'_>) -> KernelResult<u32> {
        panic!("not of a probe")
    }

    fn punch_hole(&self, _: BorrowedFd<'_>, _: u64, _: u64) -> KernelResult<()> {
        panic!("not of a probe")
    }

    fn discard(&self, _: HostMemory, _: Discard) -> KernelResult<()> {
        panic!("not of a probe")
    }

    fn page_bytes(&self) -> usize {
        self.page_bytes
    }
}

#[test]
fn every_generation_is_found() {
    for generation in Generation::ALL {
        let report = Host::new(generation).probe();
        assert_eq!(report.verdict(), Verdict::Found(generation));
        assert_eq!((report.generation(), report.exit_status()), (Some(generation), 0));
    }
}

#[test]
fn every_generation_is_found_among_numbers_that_mean_something_else() {
    // What kernels without Realms know on arm64, up to the generation's base.
    let others = [239, 240, 241, 243, 244, 245, 251];
    for generation in Generation::ALL {
        let mut host = Host::new(generation);
        let own = generation.facts().capability;
        let is_first = generation == Generation::V5ToV7;
        for number in others.into_iter().filter(|number| *number < own && !is_first) {
            host.system.insert(number, 1);
            // A VM that filters nothing.
            host.vm.insert(number, 1);
        }
        let verdict = host.probe().verdict();
        assert_eq!(verdict, Verdict::Found(generation));
    }
}

#[test]
fn a_kernel_without_realms_has_none_whatever_its_numbers() {
    let mut host = Host::new(Generation::V10);
    host.realm_type = None;
    host.system.extend([(240, 1), (243, 1), (251, 1)]);
    let report = host.probe();
    assert_eq!((report.verdict(), report.generation()), (Verdict::NoRealms, None));
    assert_eq!(report.exit_status(), 1);
    let refused = report
        .findings()
        .iter()
        .filter(|finding| matches!(finding, Finding::Type { errno: Some(Errno::EINVAL), .. }));
    assert_eq!(refused.count(), 2);
    // Whichever type it is, and of two the first.
    let (field, bit) = ((0x120, Errno::ENOMEM), (1 << 30 | 0x20, Errno::EPERM));
    for (refused, errno) in
        [(vec![field], Errno::ENOMEM), (vec![bit], Errno::EPERM), (vec![field, bit], Errno::EPERM)]
    {
        host.refused = refused.into_iter().collect();
        let report = host.probe();
        assert_eq!(report.verdict(), Verdict::Refused(errno));
        let tells = report.to_string().contains("; its log tells of the RMM\n");
        assert_eq!(tells, errno == Errno::EPERM);
        assert_eq!(report.exit_status(), 1);
    }
}

#[test]
fn a_type_without_a_known_number_is_not_known() {
    let mut host = Host::new(Generation::V15);
    host.system.remove(&251);
    let report = host.probe();
    assert_eq!((report.verdict(), report.exit_status()), (Verdict::Unknown, 2));
    assert_eq!(report.generation(), None);
    // Nor is one whose VM does not fit.
    for missing in [251, 250] {
        let mut host = Host::new(Generation::V15);
        host.vm.remove(&missing);
        assert_eq!(host.probe().verdict(), Verdict::Unknown, "{missing}");
    }
    // Attributes without the private one are not enough.
    for (generation, capability, ends) in [
        (Generation::V14, 233, "private memory\n"),
        (Generation::V15, 250, ", or the host boots with gmem_in_place_conversion=0\n"),
    ] {
        let mut host = Host::new(generation);
        host.vm.insert(capability, 7);
        let report = host.probe();
        assert_eq!(report.verdict(), Verdict::Unknown);
        assert!(report.to_string().ends_with(ends), "{report}");
    }
    // A number with the type of another generation.
    let mut host = Host::new(Generation::V13);
    host.realm_type = Some(1 << 30);
    assert_eq!(host.probe().verdict(), Verdict::Unknown);
}

#[test]
fn a_kernel_that_knows_later_numbers_is_of_no_earlier_generation() {
    for generation in Generation::ALL {
        let own = generation.facts().capability;
        for later in [own + 1, 299, 300, 301] {
            // 299 is the last that counts; a vendor's number says nothing.
            let is_other = (own + 1..300).contains(&later);
            let mut host = Host::new(generation);
            host.system.insert(later, 1);
            let report = host.probe();
            let is_known = Generation::ALL.iter().any(|one| one.facts().capability == later);
            if is_other {
                assert_eq!(report.verdict(), Verdict::Unknown, "{generation}: {later}");
                assert!(report.findings().contains(&Finding::Highest { capability: Some(later) }));
            } else if later != own && !is_known {
                assert_eq!(report.verdict(), Verdict::Found(generation), "{later}");
            }
            // What the module tells is right.
            host.vms.set(0);
            let own_text: &'static str = Box::leak(own.to_string().into_boxed_str());
            host.parameters.insert("kvm_cap_arm_rmi", own_text);
            assert_eq!(host.probe().verdict(), Verdict::Found(generation), "{later}");
        }
    }
    // As v11: of the type of v10, with other meanings of its number and those before.
    let mut host = Host::new(Generation::V10);
    host.system.extend([(240, 1), (243, 1), (246, 1)]);
    host.vm.extend([(240, 1), (243, 1), (246, 1)]);
    assert_eq!(host.probe().verdict(), Verdict::Unknown);
    let none = Host::new(Generation::V5ToV7).probe();
    assert!(none.findings().contains(&Finding::Highest { capability: None }));
    assert!(none.to_string().contains("  - no capability from 240 to 299 is known\n"));
}

#[test]
fn the_modules_parameter_rules_other_numbers_out() {
    let mut host = Host::new(Generation::V13);
    host.system.insert(247, 1);
    host.vm.insert(247, 1);
    host.parameters.insert("kvm_cap_arm_rmi", "247\n");
    assert_eq!(host.probe().verdict(), Verdict::Found(Generation::V12));
    host.vms.set(0);
    host.parameters.insert("kvm_cap_arm_rmi", "260\n");
    assert_eq!(host.probe().verdict(), Verdict::UnknownNumber(260));
    // What is no number of a capability tells nothing; the older parameter comes second.
    for text in ["0", "4096", "-1", "x", ""] {
        host.vms.set(0);
        host.parameters.insert("kvm_cap_arm_rmi", text);
        let report = host.probe();
        assert_eq!(report.verdict(), Verdict::Found(Generation::V13), "{text}");
        let none = Finding::Parameter { name: "kvm_cap_arm_rmi", number: None };
        assert!(report.findings().contains(&none));
    }
    host.vms.set(0);
    host.parameters.insert("kvm_cap_arm_rme", "4095");
    assert_eq!(host.probe().verdict(), Verdict::UnknownNumber(4095));
    host.vms.set(0);
    host.parameters.insert("kvm_cap_arm_rmi", "1");
    assert_eq!(host.probe().verdict(), Verdict::UnknownNumber(1));
}

#[test]
fn what_every_generation_needs_is_looked_for() {
    for (missing, name) in NEEDED {
        let mut host = Host::new(Generation::V14);
        host.vm.remove(&missing);
        let report = host.probe();
        assert_eq!(report.verdict(), Verdict::Found(Generation::V14));
        assert_eq!((report.generation(), report.exit_status()), (None, 2));
        assert!(report.findings().contains(&Finding::Missing { name }));
        assert!(report.to_string().starts_with("not usable: realms of generation v14\n"));
        for (other, status) in [(Generation::V15, 0), (Generation::V13, 1)] {
            let forced = report.clone().forced(other);
            assert_eq!((forced.generation(), forced.exit_status()), (Some(other), status));
            assert_eq!(forced.verdict(), Verdict::Forced(other));
        }
    }
}

#[test]
fn hosts_with_larger_pages_are_refused() {
    for (page_bytes, text) in [(0x4000, "16 KiB"), (0x1_0000, "64 KiB")] {
        let host = Host { page_bytes, ..Host::new(Generation::V14) };
        let report = host.probe();
        assert_eq!(report.verdict(), Verdict::Found(Generation::V14));
        assert_eq!((report.generation(), report.exit_status()), (None, 2));
        let line =
            format!("  - the host has pages of {text}, and only those of 4 KiB can be used\n");
        assert!(report.to_string().contains(&line), "{report}");
        let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
        assert_eq!(json["findings"][1]["kind"], "host-pages");
    }
}

#[test]
fn the_ipa_limit_is_asked_for_first() {
    let mut host = Host::new(Generation::V14);
    assert_eq!(host.probe().findings()[0], Finding::IpaLimit { bits: 48 });
    host.vms.set(0);
    host.system.remove(&165);
    assert_eq!(host.probe().findings()[0].to_string(), "VMs have 40 bits of IPA space");
}

#[test]
fn a_report_is_text_and_json() {
    let host = Host::new(Generation::V5ToV7);
    let report = host.probe();
    let text = report.to_string();
    assert!(text.starts_with("usable: realms of generation v5-v7\n  - VMs have up to 48 bits"));
    for line in [
        "  - capability 300 (v5-v7, or something else) is 1\n",
        "  - capability 253 (2026-09) is not known\n",
        "  - no capability from 240 to 299 is known\n",
        "  - a VM of type 0x40000020 is refused: EINVAL\n",
        "  - a VM of type 0x120 can be created\n",
        "  - it is v5-v7: the VM has its capability and its private memory\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    assert_eq!((&json["usable"], &json["generation"]), (&true.into(), &"v5-v7".into()));
    assert_eq!(json["verdict"], "realms of generation v5-v7");
    let findings = json["findings"].as_array().unwrap();
    assert_eq!(findings.len(), report.findings().len());
    assert_eq!(findings[0]["kind"], "ipa-limit");
    assert_eq!(findings[1]["text"], report.findings()[1].to_string());
    let mut none = host;
    none.realm_type = None;
    none.vms.set(0);
    let json: serde_json::Value = serde_json::from_str(&none.probe().to_json()).unwrap();
    assert_eq!((&json["usable"], &json["generation"]), (&false.into(), &serde_json::Value::Null));
}
