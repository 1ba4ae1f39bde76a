//! The fake kernel, driven call by call.

use std::os::fd::{AsFd, OwnedFd};
use std::ptr::NonNull;

use super::*;
use crate::host_memory::HostMemory;
use crate::kernel::{
    Call, DeviceAttr, Discard, EnableCap, Kernel, MemoryRegion, Request, Vcpu, VcpuInit,
};

const RAM: u64 = 0x8000_0000;
const PAGES: usize = 16;
const BYTES: u64 = PAGES as u64 * 0x1000;
const SHARED: u64 = 1 << 32;
const PRIVATE: u64 = 8;

/// The generations whose numbers are known.
const RME: [&str; 4] = ["rme-v5..v7", "rme-v8", "rme-v9", "rme-v10"];
const RMI: [&str; 5] = ["rmi-v12", "rmi-v13", "rmi-v14", "rmi-v15", "rmi-sep2026-tree"];

#[repr(align(4096))]
struct Ram(#[expect(dead_code, reason = "memory of a guest")] [u8; PAGES * 0x1000]);

/// A VM with RAM, two vCPUs and a GIC.
struct Fixture {
    kernel: FakeKernel,
    vm: OwnedFd,
    gmem: OwnedFd,
    vcpus: Vec<FakeVcpu>,
    gic: OwnedFd,
    host: HostMemory,
    ram: NonNull<Ram>,
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // SAFETY: it was made of a box, and nothing uses it any more.
        #[expect(unsafe_code, reason = "memory of a guest has no owner")]
        drop(unsafe { Box::from_raw(self.ram.as_ptr()) });
    }
}

fn realm_type(generation: &str) -> u64 {
    if RMI[2..].contains(&generation) { 1 << 30 } else { 0x100 }
}

impl Fixture {
    fn of(generation: &str) -> Self {
        Self::with(FakeKernel::new(generation).unwrap(), realm_type(generation) | 33)
    }

    fn with(kernel: FakeKernel, kind: u64) -> Self {
        let system = kernel.open_kvm().unwrap();
        let vm = kernel.create_vm(system.as_fd(), kind).unwrap();
        let ram = NonNull::from(Box::leak(Box::new(Ram([0; PAGES * 0x1000]))));
        // SAFETY: the fixture frees it when nothing uses it any more.
        #[expect(unsafe_code, reason = "memory of a guest has no owner")]
        let host = unsafe { HostMemory::new(ram.cast(), PAGES * 0x1000) };
        let gmem = kernel.create_guest_memfd(vm.as_fd(), BYTES, 0).unwrap();
        let region = MemoryRegion {
            slot: 0,
            flags: 4,
            guest_phys_addr: RAM,
            bytes: BYTES,
            host,
            guest_memfd: Some((gmem.as_fd(), 0)),
        };
        kernel.set_memory_region(vm.as_fd(), &region).unwrap();
        let vcpus = (0..2).map(|id| kernel.create_vcpu(vm.as_fd(), id).unwrap()).collect();
        let gic = kernel.create_device(vm.as_fd(), 7).unwrap();
        let fixture = Self { kernel, vm, gmem, vcpus, gic, host, ram };
        fixture.set_gic(0, 2, Some(&0x800_0000_u64.to_le_bytes())).unwrap();
        fixture.set_gic(0, 3, Some(&0x80a_0000_u64.to_le_bytes())).unwrap();
        fixture
    }

    fn set_gic(&self, group: u32, attr: u64, value: Option<&[u8]>) -> Result<(), Errno> {
        self.kernel.set_device_attr(self.gic.as_fd(), &DeviceAttr { group, attr, value })
    }

    fn init(&self) {
        let (rec, inits_rec) = {
            let machine = self.kernel.shared.lock();
            (machine.facts.rec_feature, machine.behaviour.inits_rec)
        };
        let rec = rec.filter(|_| inits_rec).map_or(0, |rec| 1 << rec);
        for (vcpu, off) in self.vcpus.iter().zip([0, 1]) {
            let features = [4 | rec | off, 0, 0, 0, 0, 0, 0];
            vcpu.init(&VcpuInit { target: 5, features }).unwrap();
        }
        self.set_gic(4, 0, None).unwrap();
    }

    fn capability(&self) -> u32 {
        self.kernel.shared.lock().facts.capability
    }

    fn act(&self, action: u64, pointee: Option<&[u8]>) -> Result<(), Errno> {
        let cap = EnableCap { capability: self.capability(), args: [action, 0, 0, 0], pointee };
        self.kernel.enable_cap(self.vm.as_fd(), &cap)
    }

    fn call(
        &self,
        request: u32,
        structure: &mut [u8],
        source: Option<&[u8]>,
    ) -> Result<u32, Errno> {
        let source = source.map(|source| (16, source));
        let call = Call { request: Request::new(request), structure, source };
        self.kernel.call(self.vm.as_fd(), call)
    }

    /// KVM_ARM_RMI_POPULATE, which the first kernel that had it only read.
    fn populate_request(&self) -> u32 {
        let machine = self.kernel.shared.lock();
        if machine.facts.id == "rmi-v12" { 0x4020_aed7 } else { 0xc020_aed7 }
    }

    /// Populates pages from the first on, and returns what is left to do.
    fn populate(&self, pages: u64, source: &[u8]) -> Result<u64, Errno> {
        let mut structure = range(RAM, pages * 0x1000);
        let returned = self.call(self.populate_request(), &mut structure, Some(source))?;
        let left = fields::u64_at(&structure, 8);
        let done = pages * 0x1000 - left;
        assert_eq!(fields::u64_at(&structure, 0), RAM + done);
        assert_eq!(fields::u64_at(&structure, 16), done);
        Ok(left - u64::from(returned))
    }

    fn make_private(&self) {
        if matches!(self.kernel.shared.lock().facts.attributes, facts::Attributes::Vm) {
            return;
        }
        let vm = self.vm.as_fd();
        let refused = self.kernel.set_memory_attributes(vm, RAM, BYTES, PRIVATE);
        assert_eq!(refused, Err(Errno::ENOTTY));
    }

    fn launch(&self) {
        let kernel = &self.kernel;
        self.init();
        let vm = self.vm.as_fd();
        if matches!(kernel.shared.lock().facts.attributes, facts::Attributes::Vm) {
            kernel.set_memory_attributes(vm, RAM, BYTES, PRIVATE).unwrap();
        } else {
            self.make_private();
        }
        self.vcpus[0].set_one_reg(PC, &RAM.to_le_bytes()).unwrap();
        self.vcpus[0].set_one_reg(X0, &7_u64.to_le_bytes()).unwrap();
        let page = page();
        self.host.write(0, &page.0).unwrap();
        if kernel.shared.lock().facts.rec_feature.is_some() {
            self.act(0, Some(&config(1, 0))).unwrap();
            self.act(1, None).unwrap();
            self.act(2, Some(&range(RAM, BYTES))).unwrap();
            self.act(3, Some(&range(RAM, 0x1000))).unwrap();
            let rec = kernel.shared.lock().facts.rec_feature.unwrap();
            self.vcpus.iter().for_each(|vcpu| vcpu.finalize(rec).unwrap());
            self.act(4, None).unwrap();
        } else {
            assert_eq!(self.populate(1, &page.0), Ok(0));
        }
    }

    /// Runs a vCPU; its result and the exit's reason and words.
    fn run(&mut self, vcpu: usize) -> (Result<(), Errno>, u32, [u64; 3]) {
        let result = self.vcpus[vcpu].run();
        let mut exit = [0; 56];
        self.vcpus[vcpu].read_run(0, &mut exit);
        let words = [32, 40, 48].map(|at| fields::u64_at(&exit, at));
        (result, fields::u32_at(&exit, 8), words)
    }
}

const X0: u64 = 0x6030_0000_0010_0000;
const PC: u64 = 0x6030_0000_0010_0040;

fn range(base: u64, size: u64) -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&base.to_le_bytes());
    bytes[8..16].copy_from_slice(&size.to_le_bytes());
    bytes
}

fn config(cfg: u32, value: u32) -> [u8; 260] {
    let mut bytes = [0; 260];
    bytes[..4].copy_from_slice(&cfg.to_le_bytes());
    bytes[4..8].copy_from_slice(&value.to_le_bytes());
    bytes
}

#[repr(align(4096))]
struct Page([u8; 0x1000]);

fn page() -> Box<Page> {
    Box::new(Page([0x5a; 0x1000]))
}

#[test]
fn each_generation_launches_in_its_order() {
    for generation in RME.into_iter().chain(RMI) {
        let mut fixture = Fixture::of(generation);
        fixture.launch();
        let (result, reason, words) = fixture.run(0);
        assert_eq!((result, reason, words[0]), (Ok(()), 24, 1), "{generation}");
        let calls = fixture.kernel.rmi_calls(0);
        let created = RmiCall::RealmCreate { ipa_bits: 33, hash_algo: 0, rpv: [0; 64] };
        assert_eq!((calls.first(), calls.last()), (Some(&created), Some(&RmiCall::RealmActivate)));
        let rec = RmiCall::RecCreate {
            mpidr: 0,
            gprs: [7, 0, 0, 0, 0, 0, 0, 0],
            pc: RAM,
            is_runnable: true,
        };
        assert!(calls.contains(&rec), "{generation}: {calls:?}");
        let data = RmiCall::DataCreate { ipa: RAM, is_measured: false, content: page().0.to_vec() };
        assert!(calls.contains(&data), "{generation}: {calls:?}");
        let ram = RmiCall::InitRipas { base: RAM, top: RAM + BYTES };
        assert_eq!(calls.contains(&ram), generation != "rmi-sep2026-tree", "{generation}");
    }
}

#[test]
fn what_is_of_another_generation_is_refused() {
    for generation in RME.into_iter().chain(RMI) {
        let facts = Facts::of(generation, Given::default()).unwrap();
        let kernel = FakeKernel::new(generation).unwrap();
        let system = kernel.open_kvm().unwrap();
        for kind in [0x100, 1 << 30, 1 << 31, 3 << 30, 0x200, 1 << 30 | 0x100] {
            let created = kernel.create_vm(system.as_fd(), kind | 33);
            assert_eq!(created.is_ok(), kind == facts.realm_type, "{generation}: {kind:#x}");
        }
        let fixture = Fixture::with(kernel, facts.realm_type | 33);
        fixture.init();
        for request in [0x4018_aed2, 0x4018_aed6, 0xc020_aed7, 0x4020_aed7, 0xc080_aed2] {
            let mut structure = vec![0; Request::new(request).argument_bytes()];
            let call =
                Call { request: Request::new(request), structure: &mut structure, source: None };
            let result = fixture.kernel.call(fixture.gmem.as_fd(), call);
            let is_known = request == 0xc080_aed2 && facts.calls.contains_key(&request);
            let expected = if is_known { Errno::EINVAL } else { Errno::ENOTTY };
            assert_eq!(result, Err(expected), "{generation}: {request:#x}");
            if !facts.calls.contains_key(&request) {
                let result = fixture.call(request, &mut structure, None);
                assert_eq!(result, Err(Errno::EINVAL), "{generation}: {request:#x}");
            }
        }
        for feature in [8, 9] {
            let result = fixture.vcpus[0].finalize(feature);
            let is_known = facts.rec_feature == Some(feature);
            let expected = if is_known { Errno::ENOENT } else { Errno::EINVAL };
            assert_eq!(result, Err(expected), "{generation}: {feature}");
        }
        for capability in [300, 240, 243, 244, 247, 248, 249, 251, 253] {
            let cap = EnableCap { capability, args: [1, 0, 0, 0], pointee: None };
            let result = fixture.kernel.enable_cap(fixture.vm.as_fd(), &cap);
            let is_known = facts.rec_feature.is_some() && capability == facts.capability;
            let expected = if is_known { Ok(()) } else { Err(Errno::EINVAL) };
            assert_eq!(result, expected, "{generation}: {capability}");
        }
    }
}

#[test]
fn the_feature_of_a_rec_belongs_to_the_initialisation_since_v6() {
    for (generation, is_demanded, rec) in
        [("rme-v5..v7", false, 8), ("rme-v5..v7", true, 8), ("rme-v10", true, 9)]
    {
        let fixture = Fixture::of(generation);
        fixture.kernel.set_rec_at_init(is_demanded);
        let init = |bits| VcpuInit { target: 5, features: [bits, 0, 0, 0, 0, 0, 0] };
        let expected = if is_demanded { Ok(()) } else { Err(Errno::ENOENT) };
        assert_eq!(fixture.vcpus[0].init(&init(4 | 1 << rec)), expected, "{generation}");
        if is_demanded {
            // All vCPUs have the same features.
            assert_eq!(fixture.vcpus[1].init(&init(4)), Err(Errno::EINVAL), "{generation}");
            assert_eq!(fixture.vcpus[1].init(&init(4 | 1 << rec)), Ok(()), "{generation}");
            fixture.act(1, None).unwrap();
            assert_eq!(fixture.vcpus[0].finalize(rec), Ok(()), "{generation}");
            let fixture = Fixture::of(generation);
            fixture.kernel.set_rec_at_init(is_demanded);
            fixture.vcpus[0].init(&init(4)).unwrap();
            fixture.act(1, None).unwrap();
            assert_eq!(fixture.vcpus[0].finalize(rec), Err(Errno::EINVAL), "{generation}");
        }
    }
}

#[test]
fn actions_are_refused_out_of_order() {
    let fixture = Fixture::of("rme-v5..v7");
    for action in [2, 3] {
        assert_eq!(fixture.act(action, Some(&range(RAM, 0x1000))), Err(Errno::EINVAL));
    }
    assert_eq!(fixture.act(4, None), Err(Errno::EINVAL));
    assert_eq!(fixture.act(5, None), Err(Errno::EINVAL));
    assert_eq!(fixture.vcpus[0].finalize(8), Err(Errno::ENOEXEC));
    fixture.init();
    assert_eq!(fixture.vcpus[0].finalize(8), Err(Errno::ENOENT));
    assert_eq!(fixture.act(0, Some(&config(2, 0))), Err(Errno::EINVAL));
    assert_eq!(fixture.act(0, Some(&config(1, 2))), Err(Errno::EINVAL));
    assert_eq!(fixture.act(0, Some(&config(1, 0)[..259])), Err(Errno::EFAULT));
    assert_eq!(fixture.act(0, Some(&config(1, 1))), Ok(()));
    assert_eq!(fixture.act(0, Some(&config(0, 9))), Ok(()));
    assert_eq!(fixture.act(1, None), Ok(()));
    assert_eq!(fixture.act(1, None), Err(Errno::EEXIST));
    assert_eq!(fixture.act(0, Some(&config(1, 0))), Err(Errno::EBUSY));
    assert_eq!(fixture.act(3, Some(&range(RAM, BYTES + 0x1000))), Err(Errno::EINVAL));
    assert_eq!(fixture.act(3, Some(&range(0, 0x1000))), Err(Errno::EFAULT));
    assert_eq!(fixture.act(3, Some(&range(RAM + 1, 0x1000))), Err(Errno::EINVAL));
    assert_eq!(fixture.act(3, Some(&range(RAM, 0x1000))), Ok(()));
    assert_eq!(fixture.act(3, Some(&range(RAM, 0x1000))), Err(Errno::ENXIO));
    assert_eq!(fixture.act(2, Some(&range(RAM, BYTES))), Err(Errno::ENXIO));
    assert_eq!(fixture.vcpus[1].finalize(8), Err(Errno::ENXIO));
    assert_eq!(fixture.vcpus[0].finalize(8), Ok(()));
    assert_eq!(fixture.act(4, None), Ok(()));
    assert_eq!(fixture.act(4, None), Err(Errno::EINVAL));
    let RmiCall::RealmCreate { hash_algo, rpv, .. } = fixture.kernel.rmi_calls(0)[0] else {
        panic!("{:?}", fixture.kernel.rmi_calls(0));
    };
    assert_eq!((hash_algo, rpv[0], rpv[1]), (1, 9, 0));
}

#[test]
fn populating_is_checked_and_reports_progress() {
    let source = Box::new([Page([1; 0x1000]), Page([2; 0x1000])]);
    let bytes: Vec<u8> = source.iter().flat_map(|page| page.0).collect();
    for generation in RMI {
        let fixture = Fixture::of(generation);
        let has_vm_attributes = RMI[..3].contains(&generation);
        let (vm, kernel) = (fixture.vm.as_fd(), &fixture.kernel);
        let aligned = kernel.set_memory_attributes(vm, RAM + 1, 0x1000, PRIVATE);
        if has_vm_attributes {
            // Memory that is not private is refused.
            assert_eq!(
                fixture.call(fixture.populate_request(), &mut range(RAM, 0x1000), Some(&bytes)),
                Err(Errno::EINVAL)
            );
            assert_eq!(aligned, Err(Errno::EINVAL));
            kernel.set_memory_attributes(vm, RAM, BYTES, PRIVATE).unwrap();
        } else {
            assert_eq!(aligned, Err(Errno::ENOTTY));
        }
        for wrong in [range(RAM + 1, 0x1000), range(RAM, 0x800), range(SHARED, 0x1000)] {
            let result = fixture.call(fixture.populate_request(), &mut wrong.clone(), Some(&bytes));
            assert_eq!(result, Err(Errno::EINVAL), "{generation}: {wrong:?}");
        }
        for (at, value) in [(24, 2), (28, 1)] {
            let mut wrong = range(RAM, 0x1000);
            wrong[at] = value;
            assert_eq!(
                fixture.call(fixture.populate_request(), &mut wrong, Some(&bytes)),
                Err(Errno::EINVAL)
            );
        }
        kernel.set_pages_per_populate(1);
        let mut structure = range(RAM, 0x2000);
        let returned =
            fixture.call(fixture.populate_request(), &mut structure, Some(page_of(&source)));
        let expected = match generation {
            "rmi-v12" => (0x1000, RAM, 0x2000),
            _ => (0, RAM + 0x1000, 0x1000),
        };
        let (base, left) = (fields::u64_at(&structure, 0), fields::u64_at(&structure, 8));
        assert_eq!((returned, base, left), (Ok(expected.0), expected.1, expected.2));
        // Once a page has content, it is the RMM that refuses.
        let again = fixture.call(
            fixture.populate_request(),
            &mut range(RAM, 0x1000),
            Some(page_of(&source)),
        );
        assert_eq!(again, Err(Errno::ENXIO), "{generation}");
        kernel.set_pages_per_populate(0);
        let mut structure = range(RAM + 0x1000, 0x1000);
        let returned =
            fixture.call(fixture.populate_request(), &mut structure, Some(page_of(&source)));
        assert_eq!((returned, fields::u64_at(&structure, 8)), (Ok(0), 0x1000));
    }
}

#[test]
fn a_guest_memfd_is_open_while_it_is_mapped() {
    for is_mapped in [false, true] {
        let kernel = FakeKernel::new("rmi-v14").unwrap();
        kernel.set_guest(|_| Script::new([Action::Load(RAM), Action::MmioStore(SHARED + 8, 1, 4)]));
        let mut fixture = Fixture::with(kernel, realm_type("rmi-v14") | 33);
        fixture.launch();
        // Another file of the kernel is mapped in both cases.
        HostMemory::map_file(fixture.vcpus[1].as_fd(), 0, 0x1000).unwrap();
        if is_mapped {
            HostMemory::map_file(fixture.gmem.as_fd(), 0, 0x1000).unwrap();
        }
        fixture.gmem = std::fs::File::open("/dev/null").unwrap().into();
        let (result, reason, words) = fixture.run(0);
        if is_mapped {
            assert_eq!((result, reason), (Ok(()), 6));
        } else {
            assert_eq!(
                (result, reason, words[..3].to_vec()),
                (Err(Errno::EFAULT), 39, vec![0, RAM, 0x1000])
            );
        }
    }
}

/// The bytes of pages, which are aligned.
fn page_of(pages: &[Page; 2]) -> &[u8] {
    &pages[0].0
}

#[test]
fn the_first_run_is_checked() {
    let off = |fixture: &mut Fixture| fixture.run(0).0;
    let mut fixture = Fixture::of("rmi-v14");
    assert_eq!(off(&mut fixture), Err(Errno::ENOEXEC));
    let mut fixture = Fixture::of("rme-v10");
    fixture.init();
    assert_eq!(off(&mut fixture), Err(Errno::EPERM));
    for (generation, errno) in [("rmi-v14", Errno::EBUSY), ("rmi-sep2026-tree", Errno::ENODEV)] {
        let mut fixture = Fixture::of(generation);
        let init = VcpuInit { target: 5, features: [4, 0, 0, 0, 0, 0, 0] };
        fixture.vcpus.iter().for_each(|vcpu| vcpu.init(&init).unwrap());
        assert_eq!(off(&mut fixture), Err(errno), "{generation}");
    }
    // Without PSCI, there is no REC, and that is final: of the Realm, or of the whole VM.
    for (generation, is_dead) in [
        ("rmi-v12", false),
        ("rmi-v13", false),
        ("rmi-v14", false),
        ("rmi-v15", true),
        ("rmi-sep2026-tree", true),
    ] {
        let mut fixture = Fixture::of(generation);
        let init = VcpuInit { target: 5, features: [0; 7] };
        fixture.vcpus.iter().for_each(|vcpu| vcpu.init(&init).unwrap());
        fixture.set_gic(4, 0, None).unwrap();
        assert_eq!(off(&mut fixture), Err(Errno::EINVAL), "{generation}");
        let errno = if is_dead { Errno::EIO } else { Errno::EINVAL };
        assert_eq!(off(&mut fixture), Err(errno), "{generation}");
        let hole = fixture.kernel.punch_hole(fixture.gmem.as_fd(), 0, 0x1000);
        assert_eq!(hole.is_err(), is_dead, "{generation}");
    }
}

#[test]
fn vcpus_are_alike_and_come_before_the_gic() {
    let fixture = Fixture::of("rmi-v13");
    let init = |bits| VcpuInit { target: 5, features: [bits, 0, 0, 0, 0, 0, 0] };
    assert_eq!(
        fixture.vcpus[0].init(&VcpuInit { target: 4, features: [4; 7] }),
        Err(Errno::EINVAL)
    );
    for (bits, errno) in [(1 << 9, Errno::ENOENT), (1 << 7, Errno::EINVAL), (1 << 5, Errno::EINVAL)]
    {
        assert_eq!(fixture.vcpus[0].init(&init(bits)), Err(errno), "{bits:#x}");
    }
    assert_eq!(fixture.vcpus[0].set_one_reg(X0, &[0; 8]), Err(Errno::ENOEXEC));
    assert_eq!(fixture.vcpus[0].init(&init(4)), Ok(()));
    assert_eq!(fixture.vcpus[1].init(&init(4 | 1 << 4)), Err(Errno::EINVAL));
    assert_eq!(fixture.vcpus[1].init(&init(5)), Ok(()));
    assert_eq!(fixture.vcpus[0].set_one_reg(X0 + 60, &[1; 8]), Ok(()));
    assert_eq!(fixture.vcpus[0].set_one_reg(X0 + 62, &[1; 8]), Err(Errno::EINVAL));
    let mut value = [0; 8];
    assert_eq!(fixture.vcpus[0].get_one_reg(X0 + 60, &mut value), Ok(()));
    assert_eq!(value, [1; 8]);
    let old = Fixture::of("rme-v10");
    old.init();
    assert_eq!(old.vcpus[0].set_one_reg(X0 + 14, &[1; 8]), Ok(()));
    assert_eq!(old.vcpus[0].set_one_reg(X0 + 16, &[1; 8]), Err(Errno::EINVAL));
    let late = old.kernel.create_vcpu(old.vm.as_fd(), 2);
    assert_eq!(late.map(|_| ()), Err(Errno::EBUSY));
    let twice = fixture.kernel.create_vcpu(fixture.vm.as_fd(), 1);
    assert_eq!(twice.map(|_| ()), Err(Errno::EEXIST));
}

#[test]
fn a_change_of_ripas_is_reported_as_each_kernel_does() {
    let ask = Action::SetRipas { base: RAM + 0x4000, top: RAM + 0x6000, ram: false };
    for generation in RME.into_iter().chain(RMI) {
        let kernel = FakeKernel::new(generation).unwrap();
        kernel.set_guest(move |_| {
            Script::new([ask, Action::Store(SHARED + RAM + 0x4000, 9), Action::MmioLoad(SHARED, 4)])
        });
        let mut fixture = Fixture::with(kernel, realm_type(generation) | 33);
        fixture.launch();
        let (result, reason, words) = fixture.run(0);
        let expected = if generation == "rme-v5..v7" { Ok(()) } else { Err(Errno::EFAULT) };
        assert_eq!((result, reason), (expected, 39), "{generation}");
        assert_eq!(words, [0, RAM + 0x4000, 0x2000]);
        let is_newest = generation == "rmi-sep2026-tree";
        if RME.contains(&generation) || RMI[..3].contains(&generation) {
            // The page is still private, so that sharing it does not help yet.
            if generation == "rme-v5..v7" {
                assert_eq!(fixture.run(0), (Err(Errno::EFAULT), 39, [0, RAM + 0x4000, 0x1000]));
            }
            let (vm, kernel) = (fixture.vm.as_fd(), &fixture.kernel);
            kernel.set_memory_attributes(vm, RAM + 0x4000, 0x2000, 0).unwrap();
        } else {
            let gmem = fixture.gmem.as_fd();
            fixture.kernel.punch_hole(gmem, 0x4000, 0x2000).unwrap();
            if is_newest {
                // A guest_memfd that cannot be mapped is private for ever, so the change never is.
                let expected = (Err(Errno::EFAULT), 39, [0, RAM + 0x4000, 0x2000]);
                assert_eq!(fixture.run(0), expected, "{generation}");
                continue;
            }
        }
        let (result, reason, words) = fixture.run(0);
        // Not all kernels mask the bit of the shared half.
        let address = if generation == "rmi-v15" { SHARED } else { 0 };
        assert_eq!((result, reason, words[0]), (Ok(()), 6, address), "{generation}");
        let mut stored = [0; 8];
        fixture.host.read(0x4000, &mut stored).unwrap();
        assert_eq!(stored, 9_u64.to_le_bytes());
    }
}

#[test]
fn the_other_vcpu_is_turned_on_by_the_first() {
    for generation in RME.into_iter().chain(RMI) {
        let kernel = FakeKernel::new(generation).unwrap();
        kernel.set_guest(|id| {
            let mut steps = 0;
            move |outcome: Outcome| {
                steps += 1;
                match (id, steps, outcome) {
                    (0, 1, Outcome::Started(RAM, 7)) => Action::CpuOn(5, 0, 0),
                    (0, 2, Outcome::Psci(-2)) => Action::CpuOn(1, RAM + 0x1000, 3),
                    (0, 3, Outcome::Psci(0)) => Action::CpuOn(1, 0, 0),
                    (0, 4, Outcome::Psci(-4)) => Action::NotYetOn,
                    (0, 5, Outcome::Done) => Action::SystemReset,
                    (1, 1, Outcome::Started(at, 3)) if at == RAM + 0x1000 => Action::Interrupted,
                    wrong => panic!("{wrong:?}"),
                }
            }
        });
        let mut fixture = Fixture::with(kernel, realm_type(generation) | 33);
        fixture.launch();
        let is_old = RME.contains(&generation) || ["rmi-v12", "rmi-v13"].contains(&generation);
        let not_entered = if is_old { Errno::ENXIO } else { Errno::EAGAIN };
        assert_eq!(fixture.run(0).0, Err(not_entered), "{generation}");
        assert_eq!(fixture.run(1).0, Err(Errno::EINTR), "{generation}");
        let (result, reason, words) = fixture.run(0);
        assert_eq!((result, reason, words[0]), (Ok(()), 24, 2), "{generation}");
        // The second sees once that the Realm is off, and then waits for ever.
        let off = if RME.contains(&generation) { 0 } else { 8 };
        let (result, reason, _) = fixture.run(1);
        assert_eq!((result, reason), (Ok(()), off), "{generation}");
        fixture.vcpus[1].write_run(1, &[1]);
        assert_eq!(fixture.run(1).0, Err(Errno::EINTR), "{generation}");
    }
}

#[test]
fn a_vmm_that_has_psci_completes_it_before_either_runs() {
    for generation in RME.into_iter().chain(RMI) {
        let kernel = FakeKernel::new(generation).unwrap();
        kernel.set_guest(|id| match id {
            0 => Script::new([Action::CpuOn(1, RAM, 3), Action::MmioStore(SHARED + 8, 1, 4)]),
            _ => Script::new([]),
        });
        let mut fixture = Fixture::with(kernel, realm_type(generation) | 33);
        let mut filter = [0; 24];
        filter[..4].copy_from_slice(&0xc400_0000_u32.to_le_bytes());
        filter[4..9].copy_from_slice(&[0x20, 0, 0, 0, 2]);
        let attr = DeviceAttr { group: 0, attr: 0, value: Some(&filter) };
        let set = fixture.kernel.set_device_attr(fixture.vm.as_fd(), &attr);
        let facts = fixture.kernel.shared.lock().facts.clone();
        let request = facts.calls.iter().find(|(_, call)| **call == facts::Extra::PsciComplete);
        let Some((request, _)) = request else {
            assert_eq!(set, Err(Errno::EINVAL), "{generation}");
            continue;
        };
        assert_eq!(set, Ok(()), "{generation}");
        fixture.launch();
        let (result, reason, words) = fixture.run(0);
        assert_eq!((result, reason, words[0]), (Ok(()), 3, 0xc400_0003));
        let mut value = [0; 8];
        fixture.vcpus[0].get_one_reg(X0 + 2, &mut value).unwrap();
        assert_eq!(value, [1, 0, 0, 0, 0, 0, 0, 0]);
        let refused = fixture.kernel.shared.lock().behaviour.retries_rec;
        let refused = if refused { Errno::EAGAIN } else { Errno::ENXIO };
        assert_eq!(fixture.run(0).0, Err(refused));
        for (target, status, ok) in [(0, 0, false), (1, 1, false), (1, 0, true), (1, 0, false)] {
            let mut structure = [0; 24];
            structure[0] = target;
            structure[8] = status;
            let call =
                Call { request: Request::new(*request), structure: &mut structure, source: None };
            let result = fixture.kernel.call(fixture.vcpus[0].as_fd(), call);
            assert_eq!(result, if ok { Ok(0) } else { Err(Errno::EINVAL) }, "{generation}");
        }
        assert_eq!(fixture.run(0).1, 6);
    }
}

#[test]
fn attributes_of_a_guest_memfd_decide_where_kernels_have_them() {
    let kernel = FakeKernel::unnumbered("da-v7-tree", 260, 0x4040_aed8).unwrap();
    let ask = |ram| Action::SetRipas { base: RAM, top: RAM + 0x2000, ram };
    kernel.set_guest(move |_| Script::new([ask(false), ask(true), Action::Load(RAM)]));
    let mut fixture = Fixture::with(kernel.clone(), 1 << 30 | 33);
    fixture.init();
    let shared = kernel.create_guest_memfd(fixture.vm.as_fd(), BYTES, 3).unwrap();
    let set = |fd: &OwnedFd, offset: u64, bytes: u64, attributes: u64| {
        let mut structure = [0; 128];
        for (at, value) in [(0, offset), (8, bytes), (16, attributes)] {
            structure[at..at + 8].copy_from_slice(&value.to_le_bytes());
        }
        let request = Request::new(0xc080_aed2);
        kernel.call(fd.as_fd(), Call { request, structure: &mut structure, source: None })
    };
    assert_eq!(set(&fixture.gmem, 0, 0x1000, PRIVATE), Err(Errno::EINVAL));
    let region = MemoryRegion {
        slot: 0,
        flags: 4,
        guest_phys_addr: RAM,
        bytes: 0,
        host: fixture.host,
        guest_memfd: Some((shared.as_fd(), 0)),
    };
    kernel.set_memory_region(fixture.vm.as_fd(), &region).unwrap();
    let again = MemoryRegion { bytes: BYTES, ..region };
    kernel.set_memory_region(fixture.vm.as_fd(), &again).unwrap();
    assert_eq!(set(&shared, 0, BYTES, PRIVATE), Ok(0));
    assert_eq!(set(&shared, 0, BYTES + 0x1000, PRIVATE), Err(Errno::EINVAL));
    assert_eq!(set(&shared, 0, BYTES, 4), Err(Errno::EINVAL));
    let mut init = [0; 64];
    init[..32].copy_from_slice(&range(RAM, BYTES));
    assert_eq!(fixture.call(0x4040_aed8, &mut init, None), Err(Errno::EBUSY));
    let source = page();
    assert_eq!(fixture.call(0xc020_aed7, &mut range(RAM, 0x1000), Some(&source.0)), Ok(0));
    assert_eq!(fixture.call(0x4040_aed8, &mut init, None), Ok(0));

    assert_eq!(fixture.run(0), (Err(Errno::EFAULT), 39, [0, RAM, 0x2000]));
    // Half of it is converted: the rest is asked for again, and that with 0.
    assert_eq!(set(&shared, 0, 0x1000, 0), Ok(0));
    assert_eq!(fixture.run(0), (Ok(()), 39, [0, RAM + 0x1000, 0x1000]));
    assert_eq!(set(&shared, 0x1000, 0x1000, 0), Ok(0));
    assert_eq!(fixture.run(0), (Err(Errno::EFAULT), 39, [PRIVATE, RAM, 0x2000]));
    assert_eq!(set(&shared, 0, 0x2000, PRIVATE), Ok(0));
    assert_eq!(fixture.run(0).1, 24);
}

#[test]
fn a_hole_in_shared_pages_that_the_rmm_has_kills_the_vm() {
    let fixture = Fixture::of("rmi-v15");
    fixture.launch();
    assert_eq!(fixture.kernel.punch_hole(fixture.gmem.as_fd(), 1, 0x1000), Err(Errno::EINVAL));
    assert_eq!(fixture.kernel.punch_hole(fixture.gmem.as_fd(), 0, BYTES + 1), Err(Errno::EINVAL));
    assert_eq!(fixture.kernel.punch_hole(fixture.gmem.as_fd(), 0, 0x1000), Ok(()));
    {
        let mut machine = fixture.kernel.shared.lock();
        let vm = &mut machine.vms[0];
        vm.realm.assigned.add(RAM / 0x1000, RAM / 0x1000 + 1);
        vm.gmems[0].private.remove(0, 1);
    }
    assert_eq!(fixture.kernel.punch_hole(fixture.gmem.as_fd(), 0, 0x1000), Err(Errno::EIO));
    assert!(fixture.kernel.shared.lock().vms[0].is_dead);
}

#[test]
fn slots_and_memory_are_checked() {
    let fixture = Fixture::of("rmi-v14");
    let (kernel, vm) = (&fixture.kernel, fixture.vm.as_fd());
    let region = |slot, flags, guest_phys_addr, bytes| MemoryRegion {
        slot,
        flags,
        guest_phys_addr,
        bytes,
        host: fixture.host,
        guest_memfd: None,
    };
    let cases = [
        (region(1, 0, RAM + BYTES - 0x1000, 0x1000), Err(Errno::EEXIST)),
        (region(1, 0, RAM + BYTES, 0x800), Err(Errno::EINVAL)),
        (region(1, 2, RAM + BYTES, 0x1000), Err(Errno::EINVAL)),
        (region(1, 4, RAM + BYTES, 0x1000), Err(Errno::EINVAL)),
        (region(1, 0, 1 << 33, 0x1000), Err(Errno::EFAULT)),
        (region(32_764, 0, RAM + BYTES, 0x1000), Err(Errno::EINVAL)),
        (region(1, 0, RAM + BYTES, 0), Err(Errno::EINVAL)),
        (region(1, 0, RAM + BYTES, 0x1000), Ok(())),
        (region(1, 0, RAM + BYTES, 0x2000), Err(Errno::EINVAL)),
        (region(1, 0, RAM + BYTES, 0), Ok(())),
    ];
    for (region, expected) in cases {
        assert_eq!(kernel.set_memory_region(vm, &region), expected, "{region:?}");
    }
    let twice = MemoryRegion {
        guest_memfd: Some((fixture.gmem.as_fd(), 0)),
        ..region(2, 4, RAM + BYTES, 0x1000)
    };
    assert_eq!(kernel.set_memory_region(vm, &twice), Err(Errno::EINVAL));
    for (bytes, flags) in [(0, 0), (0x800, 0), (0x1000, 4)] {
        assert_eq!(kernel.create_guest_memfd(vm, bytes, flags).map(|_| ()), Err(Errno::EINVAL));
    }
    fixture.host.write(0, &[1; 16]).unwrap();
    let part = fixture.host.part(0, 0x1000).unwrap();
    assert_eq!(kernel.discard(part, Discard::Remove), Err(Errno::EINVAL));
    assert_eq!(kernel.discard(part, Discard::DontNeed), Ok(()));
    let mut bytes = [9; 16];
    fixture.host.read(0, &mut bytes).unwrap();
    assert_eq!(bytes, [0; 16]);
    let half = fixture.host.part(0, 0x800).unwrap();
    assert_eq!(kernel.discard(half, Discard::DontNeed), Err(Errno::EINVAL));
    assert_eq!(kernel.page_bytes(), 0x1000);
}

#[test]
fn capabilities_answer_per_descriptor() {
    let values = |generation: &str| {
        let kernel = FakeKernel::new(generation).unwrap();
        let system = kernel.open_kvm().unwrap();
        let vm = kernel.create_vm(system.as_fd(), realm_type(generation) | 33).unwrap();
        let numbers = [231, 232, 233, 234, 240, 243, 244, 250, 252, 253, 81];
        [system, vm]
            .map(|fd| numbers.map(|number| kernel.check_extension(fd.as_fd(), number).unwrap()))
    };
    let system = [1, 0, 8, 1, 0, 0, 0, 0, 0, 0, 1];
    assert_eq!(values("rme-v5..v7"), [system, [1, 0, 8, 1, 0, 0, 0, 0, 0, 0, 0]]);
    let system = [1, 0, 8, 1, 0, 1, 3, 0, 0, 0, 1];
    assert_eq!(values("rmi-v14"), [system, [1, 0, 8, 1, 0, 0, 3, 0, 0, 0, 0]]);
    let system = [1, 0, 0, 1, 0, 1, 3, 8, 0, 0, 1];
    assert_eq!(values("rmi-v15"), [system, [1, 0, 0, 1, 0, 0, 3, 8, 0, 0, 0]]);
    let system = [1, 0, 0, 1, 0, 1, 3, 0, 8, 1, 1];
    assert_eq!(values("rmi-sep2026-tree"), [system, [1, 0, 0, 1, 0, 0, 3, 0, 8, 1, 0]]);

    let kernel = FakeKernel::without_realms("rmi-v14").unwrap();
    let system = kernel.open_kvm().unwrap();
    assert_eq!(kernel.check_extension(system.as_fd(), 249), Ok(0));
    let refused = kernel.create_vm(system.as_fd(), 1 << 30 | 33);
    assert_eq!(refused.map(|_| ()), Err(Errno::EINVAL));
    kernel.set_capability(249, 5);
    assert_eq!(kernel.check_extension(system.as_fd(), 249), Ok(5));
    kernel.set_parameter("kvm_cap_arm_rmi", "249");
    assert_eq!(kernel.parameter("kvm_cap_arm_rmi").as_deref(), Some("249"));
    assert_eq!(kernel.parameter("kvm_cap_arm_rme"), None);
}

#[test]
fn a_vcpu_with_a_pmu_runs_after_it_is_initialised() {
    const PMU: u32 = 4 | 1 << 3;
    let mut fixture = Fixture::of("rme-v5..v7");
    let attr = |fixture: &Fixture, vcpu: usize, attr: u64, value: Option<u32>| {
        let value = value.map(u32::to_le_bytes);
        let value = value.as_ref().map(<[u8; 4]>::as_slice);
        let attr = DeviceAttr { group: 0, attr, value };
        fixture.kernel.set_device_attr(fixture.vcpus[vcpu].as_fd(), &attr)
    };
    let has = |fixture: &Fixture, attr: u64| {
        let attr = DeviceAttr { group: 0, attr, value: None };
        fixture.kernel.has_device_attr(fixture.vcpus[0].as_fd(), &attr)
    };
    assert_eq!(attr(&fixture, 0, 0, Some(23)), Err(Errno::ENODEV));
    assert_eq!(has(&fixture, 0), Err(Errno::ENXIO));
    for (vcpu, off) in fixture.vcpus.iter().zip([0, 1]) {
        let init = VcpuInit { target: 5, features: [PMU | off, 0, 0, 0, 0, 0, 0] };
        vcpu.init(&init).unwrap();
    }
    assert_eq!([0, 1, 2].map(|attr| has(&fixture, attr).is_ok()), [true, true, false]);
    for (interrupt, refused) in
        [(None, Errno::EFAULT), (Some(15), Errno::EINVAL), (Some(1020), Errno::EINVAL)]
    {
        assert_eq!(attr(&fixture, 0, 0, interrupt), Err(refused), "{interrupt:?}");
    }
    assert_eq!(attr(&fixture, 0, 1, None), Err(Errno::ENODEV));
    fixture.set_gic(4, 0, None).unwrap();
    assert_eq!(attr(&fixture, 0, 1, None), Err(Errno::ENXIO));
    assert_eq!(attr(&fixture, 0, 0, Some(23)), Ok(()));
    assert_eq!(attr(&fixture, 0, 0, Some(23)), Err(Errno::EBUSY));
    assert_eq!(attr(&fixture, 1, 0, Some(24)), Err(Errno::EINVAL));
    assert_eq!(attr(&fixture, 1, 0, Some(23)), Ok(()));
    for action in [(0, config(1, 0).to_vec()), (1, vec![]), (2, range(RAM, BYTES).to_vec())] {
        fixture.act(action.0, Some(&action.1)).unwrap();
    }
    fixture.vcpus.iter().for_each(|vcpu| vcpu.finalize(8).unwrap());
    fixture.act(4, None).unwrap();
    assert_eq!(fixture.run(0).0, Err(Errno::EINVAL));
    assert_eq!(attr(&fixture, 0, 1, None), Ok(()));
    assert_eq!(attr(&fixture, 0, 1, None), Err(Errno::EBUSY));
    assert_ne!(fixture.run(0).0, Err(Errno::EINVAL));
    assert_eq!(fixture.run(1).0, Err(Errno::EINVAL));
    // An SPI is of one vCPU.
    let fixture = Fixture::of("rme-v5..v7");
    for (vcpu, off) in fixture.vcpus.iter().zip([0, 1]) {
        let init = VcpuInit { target: 5, features: [PMU | off, 0, 0, 0, 0, 0, 0] };
        vcpu.init(&init).unwrap();
    }
    assert_eq!(attr(&fixture, 0, 0, Some(1019)), Ok(()));
    assert_eq!(attr(&fixture, 1, 0, Some(1019)), Err(Errno::EINVAL));
    assert_eq!(attr(&fixture, 1, 0, Some(31)), Err(Errno::EINVAL));
    assert_eq!(attr(&fixture, 1, 0, Some(32)), Ok(()));
}

#[test]
fn a_realm_has_the_ipa_sizes_of_the_rmm() {
    let kernel = FakeKernel::new("rmi-v14").unwrap();
    kernel.set_ipa_limits(44, 40);
    let system = kernel.open_kvm().unwrap();
    let create = |kind| kernel.create_vm(system.as_fd(), kind).map(|_| ());
    assert_eq!(
        (create(44), create(45), create(31)),
        (Ok(()), Err(Errno::EINVAL), Err(Errno::EINVAL))
    );
    assert_eq!(kernel.check_extension(system.as_fd(), 165), Ok(44));
    assert_eq!((create(1 << 30 | 41), create(1 << 30)), (Err(Errno::EINVAL), Ok(())));
    assert_eq!(kernel.check_extension(system.as_fd(), 165), Ok(40));
}

#[test]
fn the_widest_ipa_space_is_one_that_a_realm_can_have() {
    for name in RME {
        let kernel = FakeKernel::new(name).unwrap();
        kernel.set_ipa_limits(52, 52);
        let system = kernel.open_kvm().unwrap();
        let generation = crate::Generation::ALL
            .into_iter()
            .find(|generation| name.ends_with(&generation.name().replace('-', "..")));
        let calls = crate::calls::Calls::new(&kernel, generation.unwrap());
        let limit = crate::vm::ipa_limit(&calls, system.as_fd()).unwrap();
        let made = crate::vm::create(&calls, system.as_fd(), 33, limit).unwrap();
        let widest = if name == "rme-v5..v7" { 48 } else { 52 };
        assert_eq!(made.geometry.ipa_width(), widest, "{name}");
        calls.create_realm(made.vm.as_fd()).unwrap();
        // The VM is created, the Realm is not.
        let vm = kernel.create_vm(system.as_fd(), 0x100 | 49).unwrap();
        let refused = if widest < 49 { Err(Errno::ENXIO) } else { Ok(()) };
        assert_eq!(calls.create_realm(vm.as_fd()).map_err(|error| error.errno), refused);
    }
}

#[test]
fn calls_are_recorded_fail_when_told_to_and_descriptors_are_counted() {
    let kernel = FakeKernel::new("rmi-v14").unwrap();
    let system = kernel.open_kvm().unwrap();
    kernel.fail_call(2, Errno::ENOMEM);
    assert_eq!(kernel.check_extension(system.as_fd(), 249), Ok(1));
    assert_eq!(kernel.create_vm(system.as_fd(), 33).map(|_| ()), Err(Errno::ENOMEM));
    let vm = kernel.create_vm(system.as_fd(), 33).unwrap();
    assert_eq!(kernel.create_vm(vm.as_fd(), 33).map(|_| ()), Err(Errno::ENOTTY));
    let record = |name, number, error| CallRecord { name, number: Some(number), error };
    assert_eq!(
        kernel.calls(),
        [
            CallRecord { name: "open", number: None, error: None },
            record("KVM_CHECK_EXTENSION", 249, None),
            record("KVM_CREATE_VM", 33, Some(Errno::ENOMEM)),
            record("KVM_CREATE_VM", 33, None),
            record("KVM_CREATE_VM", 33, Some(Errno::ENOTTY)),
        ]
    );
    assert_eq!(kernel.open_descriptors(), 2);
    let duplicate = vm.try_clone().unwrap();
    drop(vm);
    assert_eq!(kernel.open_descriptors(), 2);
    assert_eq!(kernel.check_extension(duplicate.as_fd(), 249), Ok(1));
    drop((system, duplicate));
    assert_eq!(kernel.open_descriptors(), 0);
    let other = std::fs::File::open("/dev/null").unwrap();
    assert_eq!(kernel.check_extension(other.as_fd(), 249), Err(Errno::ENOTTY));
}

#[test]
fn the_machine_is_what_it_was_set_to() {
    let kernel = FakeKernel::new("rme-v10").unwrap();
    kernel.set_max_vcpus(2);
    kernel.set_features(false, false);
    let fixture = Fixture::with(kernel.clone(), 0x100 | 33);
    let (vm, system) = (fixture.vm.as_fd(), kernel.open_kvm().unwrap());
    let answers = |fd: &OwnedFd| {
        [0, 9, 66, 87, 102, 126, 128, 131, 170, 171, 172, 3, 70, 136]
            .map(|number| kernel.check_extension(fd.as_fd(), number).unwrap())
    };
    assert_eq!(answers(&system), [1, 2, 2, 1, 1, 1, 2, 0, 1, 1, 1, 1, 1, 1]);
    assert_eq!(answers(&fixture.vm), [1, 2, 2, 1, 1, 1, 2, 0, 0, 1, 1, 1, 1, 1]);
    assert_eq!(kernel.create_vcpu(vm, 2).map(|_| ()), Err(Errno::EINVAL));
    assert_eq!(kernel.create_device(vm, 7).map(|_| ()), Err(Errno::EEXIST));
    assert_eq!(kernel.create_device(vm, 5).map(|_| ()), Err(Errno::ENODEV));
    let sve = VcpuInit { target: 5, features: [4 | 1 << 4, 0, 0, 0, 0, 0, 0] };
    assert_eq!(fixture.vcpus[0].init(&sve), Err(Errno::EINVAL));
    assert_eq!(fixture.act(0, Some(&config(1, 1))), Err(Errno::EINVAL));
    assert_eq!(fixture.act(0, Some(&config(1, 0))), Ok(()));

    // A filter of hypercalls.
    let filter = |base: u32, count: u32, action: u8, pad: u8| {
        let mut bytes = [0; 24];
        bytes[..4].copy_from_slice(&base.to_le_bytes());
        bytes[4..8].copy_from_slice(&count.to_le_bytes());
        (bytes[8], bytes[23]) = (action, pad);
        let attr = DeviceAttr { group: 0, attr: 0, value: Some(&bytes) };
        kernel.set_device_attr(vm, &attr)
    };
    for (base, count, action, pad, expected) in [
        (0xc600_0000, 0, 2, 0, Err(Errno::EINVAL)),
        (0xc600_0000, 1, 3, 0, Err(Errno::EINVAL)),
        (0xc600_0000, 1, 2, 1, Err(Errno::EINVAL)),
        (u32::MAX, 1, 2, 0, Err(Errno::EINVAL)),
        (0x8000_ffff, 1, 2, 0, Err(Errno::EEXIST)),
        (0xbfff_ffff, 2, 2, 0, Err(Errno::EEXIST)),
        (0x8001_0000, 1, 1, 0, Ok(())),
        (0xc600_0000, 2, 2, 0, Ok(())),
        (0xc600_0001, 2, 2, 0, Err(Errno::EEXIST)),
        (0xc5ff_ffff, 1, 0, 0, Ok(())),
    ] {
        assert_eq!(filter(base, count, action, pad), expected, "{base:#x} {count}");
    }
    {
        let mut machine = kernel.shared.lock();
        let vm = &mut machine.vms[0];
        let forwarded = [0xc5ff_ffff, 0xc600_0000, 0xc600_0001, 0xc600_0002, 0x8001_0000]
            .map(|function| vm.is_forwarded(function));
        assert_eq!(forwarded, [false, true, true, false, false]);
        vm.has_run = true;
    }
    assert_eq!(filter(0xc700_0000, 1, 2, 0), Err(Errno::EBUSY));
    let has =
        |fd, group, attr| kernel.has_device_attr(fd, &DeviceAttr { group, attr, value: None });
    assert_eq!((has(vm, 0, 0), has(vm, 0, 1)), (Ok(()), Err(Errno::ENXIO)));
    let vcpu = fixture.vcpus[0].as_fd();
    assert_eq!((has(vcpu, 1, 1), has(vcpu, 1, 2)), (Ok(()), Err(Errno::ENXIO)));
    assert_eq!(has(vcpu, 0, 0), Err(Errno::ENXIO));
    assert_eq!(has(fixture.gic.as_fd(), 4, 0), Ok(()));
    assert_eq!(has(fixture.gic.as_fd(), 4, 1), Err(Errno::ENXIO));
    assert_eq!(has(fixture.gmem.as_fd(), 0, 0), Err(Errno::ENOTTY));
}

#[test]
fn timers_and_lines_are_set_around_the_initialisation_of_the_gic() {
    let fixture = Fixture::of("rmi-v14");
    let kernel = &fixture.kernel;
    let set = |attr, ppi: u32| {
        let value = ppi.to_le_bytes();
        let attr = DeviceAttr { group: 1, attr, value: Some(&value) };
        kernel.set_device_attr(fixture.vcpus[1].as_fd(), &attr)
    };
    assert_eq!((set(0, 15), set(0, 32)), (Err(Errno::EINVAL), Err(Errno::EINVAL)));
    assert_eq!((set(0, 16), set(1, 31), set(2, 20)), (Ok(()), Ok(()), Err(Errno::ENXIO)));
    let spi = |intid: u32| kernel.set_irq_line(fixture.vm.as_fd(), 1 << 24 | intid, true);
    assert_eq!(spi(40), Err(Errno::EAGAIN));
    fixture.init();
    assert_eq!(set(0, 16), Err(Errno::EBUSY));
    assert_eq!((spi(40), spi(31), spi(256)), (Ok(()), Err(Errno::EINVAL), Err(Errno::EINVAL)));
    let ppi = kernel.set_irq_line(fixture.vm.as_fd(), 2 << 24 | 20, true);
    assert_eq!(ppi, Err(Errno::EINVAL));
    assert!(kernel.is_asserted(0, 40) && !kernel.is_asserted(0, 41) && !kernel.is_asserted(1, 40));
    kernel.set_irq_line(fixture.vm.as_fd(), 1 << 24 | 40, false).unwrap();
    assert!(!kernel.is_asserted(0, 40));
}

#[test]
fn an_ordinary_vm_is_not_populated() {
    for generation in RMI {
        let kernel = FakeKernel::new(generation).unwrap();
        let system = kernel.open_kvm().unwrap();
        let vm = kernel.create_vm(system.as_fd(), 33).unwrap();
        let number = if generation == "rmi-v12" { 0x4020_aed7 } else { 0xc020_aed7 };
        let source = page();
        let populate = |source| {
            let mut structure = range(RAM, 0x1000);
            let request = Request::new(number);
            kernel.call(vm.as_fd(), Call { request, structure: &mut structure, source })
        };
        let refused = match generation {
            "rmi-v12" => Errno::EPERM,
            "rmi-v14" => Errno::ENXIO,
            _ => Errno::EINVAL,
        };
        assert_eq!(populate(Some((16, &source.0))), Err(refused), "{generation}");
        // The source is looked at first, where it is.
        let checks = ["rmi-v14", "rmi-sep2026-tree"].contains(&generation);
        let refused = if checks { Errno::EINVAL } else { refused };
        assert_eq!(populate(None), Err(refused), "{generation}");
    }
}

#[test]
fn timers_with_one_interrupt_are_found_at_the_first_run() {
    for (ppi, expected) in [(30_u32, Err(Errno::EINVAL)), (29, Ok(()))] {
        let mut fixture = Fixture::of("rmi-v14");
        let value = ppi.to_le_bytes();
        let attr = DeviceAttr { group: 1, attr: 0, value: Some(&value) };
        fixture.kernel.set_device_attr(fixture.vcpus[0].as_fd(), &attr).unwrap();
        fixture.init();
        assert_eq!(fixture.run(0).0, expected, "{ppi}");
    }
}

#[test]
fn sve_is_finalised_once_and_before_the_realm() {
    let fixture = Fixture::of("rmi-v13");
    let init = VcpuInit { target: 5, features: [4 | 1 << 4, 0, 0, 0, 0, 0, 0] };
    let lengths = 0x6060_0000_0015_ffff;
    fixture.vcpus.iter().for_each(|vcpu| vcpu.init(&init).unwrap());
    fixture.set_gic(4, 0, None).unwrap();
    let vectors = |first, second| {
        let mut value = [0; 64];
        (value[0], value[1]) = (first, second);
        value
    };
    let set = |vcpu: usize, value: &[u8]| fixture.vcpus[vcpu].set_one_reg(lengths, value);
    let mut got = [9; 64];
    assert_eq!(fixture.vcpus[0].get_one_reg(lengths, &mut got), Ok(()));
    assert_eq!(got, vectors(0x8b, 0x80));
    assert_eq!(fixture.vcpus[0].get_one_reg(lengths, &mut got[..8]), Err(Errno::EINVAL));
    // None, one that the machine does not have, and one that is left out.
    for wrong in [vectors(0, 0), vectors(4, 0), vectors(8, 0), [1; 64]] {
        assert_eq!(set(0, &wrong), Err(Errno::EINVAL));
    }
    assert_eq!((set(0, &vectors(0x8b, 0x80)), set(0, &vectors(0xb, 0))), (Ok(()), Ok(())));
    assert_eq!(set(1, &[0; 8]), Err(Errno::EINVAL));
    let vm = fixture.vm.as_fd();
    fixture.kernel.set_memory_attributes(vm, RAM, BYTES, PRIVATE).unwrap();
    assert_eq!(fixture.populate(1, &page().0), Err(Errno::EINVAL));
    for vcpu in &fixture.vcpus {
        assert_eq!((vcpu.finalize(4), vcpu.finalize(4)), (Ok(()), Err(Errno::EPERM)));
    }
    assert_eq!(set(0, &vectors(0xb, 0)), Err(Errno::EPERM));
    // vCPUs have the same vectors.
    assert_eq!(fixture.populate(1, &page().0), Err(Errno::EINVAL));
    let alike = Fixture::of("rmi-v13");
    alike.vcpus.iter().for_each(|vcpu| vcpu.init(&init).unwrap());
    alike.set_gic(4, 0, None).unwrap();
    alike.kernel.set_memory_attributes(alike.vm.as_fd(), RAM, BYTES, PRIVATE).unwrap();
    for vcpu in &alike.vcpus {
        vcpu.set_one_reg(lengths, &vectors(3, 0)).unwrap();
        vcpu.finalize(4).unwrap();
    }
    assert_eq!(alike.populate(1, &page().0), Ok(0));
    let plain = Fixture::of("rmi-v13");
    plain.init();
    assert_eq!(plain.vcpus[0].finalize(4), Err(Errno::EINVAL));
    assert_eq!(plain.vcpus[0].set_one_reg(lengths, &[1; 64]), Err(Errno::ENOENT));
}

#[test]
fn what_is_private_is_known_and_what_becomes_shared_is_unmapped() {
    let fixture = Fixture::of("rmi-v14");
    fixture.launch();
    let kernel = &fixture.kernel;
    assert!(kernel.is_private(0, RAM) && kernel.is_private(0, RAM + BYTES - 1));
    assert!(!kernel.is_private(0, RAM + BYTES) && !kernel.is_private(1, RAM));
    kernel.set_memory_attributes(fixture.vm.as_fd(), RAM, 0x1000, 0).unwrap();
    assert!(!kernel.is_private(0, RAM) && kernel.is_private(0, RAM + 0x1000));
    {
        let machine = kernel.shared.lock();
        let realm = &machine.vms[0].realm;
        let page = RAM / 0x1000;
        assert!(realm.destroyed.has(page) && !realm.assigned.has(page));
    }
    let newest = Fixture::of("rmi-v15");
    assert!(newest.kernel.is_private(0, RAM) && !newest.kernel.is_private(0, RAM + BYTES));
    newest.kernel.set_in_place_conversion(false);
    let source = page();
    let refused = newest.call(0xc020_aed7, &mut range(RAM, 0x1000), Some(&source.0));
    assert_eq!(refused, Err(Errno::EINVAL));
    assert_eq!(newest.kernel.check_extension(newest.vm.as_fd(), 250), Ok(0));
    assert!(FakeKernel::generations().contains(&"rmi-v16".to_string()));
    assert!(format!("{:?}", newest.kernel).contains("rmi-v15"));
    assert!(format!("{:?}", newest.vcpus[1]).contains('1'));
}

#[test]
fn the_run_page_ends_with_its_page() {
    let mut fixture = Fixture::of("rmi-v14");
    let vcpu = &mut fixture.vcpus[0];
    vcpu.write_run(0xffc, &[1, 2, 3, 4, 5, 6, 7, 8]);
    let mut bytes = [9; 8];
    vcpu.read_run(0xffc, &mut bytes);
    assert_eq!(bytes, [1, 2, 3, 4, 0, 0, 0, 0]);
    vcpu.read_run(0x1000, &mut bytes);
    assert_eq!(bytes, [0; 8]);
    let mut mpidr = [0; 8];
    fixture.init();
    assert_eq!(fixture.vcpus[1].get_one_reg(0x6030_0000_0013_c005, &mut mpidr), Ok(()));
    assert_eq!(u64::from_le_bytes(mpidr), 1 << 31 | 1);
    assert_eq!(fixture.vcpus[1].get_one_reg(0x6030_0000_0013_c000, &mut mpidr), Err(Errno::ENOENT));
    assert_eq!(fixture.vcpus[1].get_one_reg(X0, &mut mpidr[..4]), Err(Errno::EINVAL));
    assert_eq!(fixture.vcpus[1].get_one_reg(X0 + 62, &mut mpidr), Err(Errno::EINVAL));
    assert_eq!(fixture.vcpus[1].get_one_reg(X0 + 1, &mut mpidr), Err(Errno::ENOENT));
}
