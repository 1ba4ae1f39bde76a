//! A kernel for this crate's tests that writes down each call, in the order in which they come.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use crate::errno::Errno;
use crate::host_memory::HostMemory;
use crate::kernel::{
    Call, DeviceAttr, Discard, EnableCap, Kernel, MemoryRegion, Result, Vcpu, VcpuInit,
};
use crate::uapi::get_u64;

/// What is called, and how the next call is answered.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    calls: Rc<RefCell<Vec<String>>>,
    /// The call fails before which this number of calls succeed.
    pub(crate) fail: Rc<Cell<Option<(usize, Errno)>>>,
    /// What populate calls say they did, in bytes; otherwise all.
    pub(crate) populates: Cell<Option<u64>>,
    /// The answer to KVM_CHECK_EXTENSION.
    pub(crate) capability: Cell<u32>,
    /// The widest IPA space of a VM.
    pub(crate) ipa_limit: Cell<u8>,
    /// `error_offset` of attributes that are not set.
    pub(crate) error_offset: Cell<u64>,
    /// Whether shared memory is a file.
    pub(crate) is_file: Cell<bool>,
}

/// A descriptor of something.
pub(crate) fn fd() -> OwnedFd {
    File::open("/dev/null").unwrap().into()
}

impl Recorder {
    /// The calls since the last time.
    pub(crate) fn take(&self) -> Vec<String> {
        self.calls.take()
    }

    fn record(&self, call: String) -> Result<()> {
        note(&self.calls, &self.fail, call)
    }
}

fn note(
    calls: &RefCell<Vec<String>>,
    fail: &Cell<Option<(usize, Errno)>>,
    call: String,
) -> Result<()> {
    calls.borrow_mut().push(call);
    match fail.get() {
        Some((0, errno)) => {
            fail.set(None);
            Err(errno)
        }
        Some((before, errno)) => {
            fail.set(Some((before - 1, errno)));
            Ok(())
        }
        None => Ok(()),
    }
}

impl Kernel for Recorder {
    type Vcpu = RecorderVcpu;

    fn open_kvm(&self) -> Result<OwnedFd> {
        self.record("open".to_owned()).map(|()| fd())
    }

    fn parameter(&self, _: &str) -> Option<String> {
        None
    }

    fn check_extension(&self, _: BorrowedFd<'_>, capability: u32) -> Result<u32> {
        self.record(format!("check {capability}")).map(|()| self.capability.get())
    }

    fn create_vm(&self, _: BorrowedFd<'_>, machine_type: u64) -> Result<OwnedFd> {
        self.record(format!("vm {machine_type:#x}"))?;
        if machine_type & 0xff > u64::from(self.ipa_limit.get()) {
            return Err(Errno::EINVAL);
        }
        Ok(fd())
    }

    fn enable_cap(&self, _: BorrowedFd<'_>, cap: &EnableCap<'_>) -> Result<()> {
        let pointee = cap.pointee.unwrap_or_default();
        let words = (get_u64(pointee, 0), get_u64(pointee, 8));
        self.record(format!(
            "cap {} {} {:#x} {:#x} of {}",
            cap.capability,
            cap.args[0],
            words.0,
            words.1,
            pointee.len()
        ))
    }

    fn create_guest_memfd(&self, _: BorrowedFd<'_>, bytes: u64, flags: u64) -> Result<OwnedFd> {
        self.record(format!("memfd {bytes:#x} {flags}")).map(|()| fd())
    }

    fn set_memory_region(&self, _: BorrowedFd<'_>, region: &MemoryRegion<'_>) -> Result<()> {
        let MemoryRegion { slot, flags, guest_phys_addr, bytes, guest_memfd, .. } = region;
        let offset = guest_memfd.map(|(_, offset)| offset).unwrap();
        self.record(format!("slot {slot} {flags} {guest_phys_addr:#x} {bytes:#x} {offset:#x}"))
    }

    fn set_memory_attributes(
        &self,
        _: BorrowedFd<'_>,
        address: u64,
        bytes: u64,
        attributes: u64,
    ) -> Result<()> {
        self.record(format!("attributes {address:#x} {bytes:#x} {attributes}"))
    }

    fn create_device(&self, _: BorrowedFd<'_>, kind: u32) -> Result<OwnedFd> {
        self.record(format!("device {kind}")).map(|()| fd())
    }

    fn set_device_attr(&self, _: BorrowedFd<'_>, attr: &DeviceAttr<'_>) -> Result<()> {
        let DeviceAttr { group, attr, value } = attr;
        let value = value.map(|value| (get_u64(value, 0), value.len()));
        self.record(format!("attr {group} {attr} {value:x?}"))
    }

    fn has_device_attr(&self, _: BorrowedFd<'_>, attr: &DeviceAttr<'_>) -> Result<()> {
        self.record(format!("has {} {}", attr.group, attr.attr))
    }

    fn set_irq_line(&self, _: BorrowedFd<'_>, irq: u32, is_asserted: bool) -> Result<()> {
        self.record(format!("irq {irq:#x} {is_asserted}"))
    }

    fn create_vcpu(&self, _: BorrowedFd<'_>, id: u64) -> Result<RecorderVcpu> {
        self.record(format!("vcpu {id}"))?;
        Ok(RecorderVcpu { id, fd: fd(), calls: self.calls.clone(), fail: self.fail.clone() })
    }

    fn open_vcpu(&self, _: BorrowedFd<'_>) -> Result<RecorderVcpu> {
        Err(Errno::ENOSYS)
    }

    fn preferred_target(&self, _: BorrowedFd<'_>) -> Result<VcpuInit> {
        self.record("target".to_owned()).map(|()| VcpuInit::default())
    }

    fn call(&self, _: BorrowedFd<'_>, call: Call<'_>) -> Result<u32> {
        let (first, second) = (get_u64(call.structure, 0), get_u64(call.structure, 8));
        let third = get_u64(call.structure, 16);
        let source = call.source.map(|(offset, source)| {
            assert_eq!(source.as_ptr().addr() % 0x1000, 0);
            let bytes: u64 = source.iter().copied().map(u64::from).sum();
            (offset, source.len(), bytes)
        });
        let flags = get_u64(call.structure, 24);
        let number = call.request.number();
        let recorded = self.record(format!(
            "call {number:#x} {first:#x} {second:#x} {third:#x} {flags:#x} {source:x?}"
        ));
        if recorded.is_err() && number == 0xc080_aed2 {
            crate::uapi::put(call.structure, 32, &self.error_offset.get().to_le_bytes());
        }
        recorded?;
        let done = self.populates.get().unwrap_or(second);
        // A number that reads alone returns what it did.
        if number >> 30 == 1 {
            return Ok(u32::try_from(done).unwrap());
        }
        crate::uapi::put(call.structure, 8, &second.wrapping_sub(done).to_le_bytes());
        Ok(0)
    }

    fn punch_hole(&self, _: BorrowedFd<'_>, offset: u64, bytes: u64) -> Result<()> {
        self.record(format!("punch {offset:#x} {bytes:#x}"))
    }

    fn discard(&self, memory: HostMemory, how: Discard) -> Result<()> {
        self.record(format!("discard {:#x} {how:?}", memory.bytes()))?;
        if how == Discard::Remove && !self.is_file.get() { Err(Errno::EINVAL) } else { Ok(()) }
    }

    fn page_bytes(&self) -> usize {
        0x1000
    }
}

/// A vCPU of the recorder.
#[derive(Debug)]
pub(crate) struct RecorderVcpu {
    id: u64,
    fd: OwnedFd,
    calls: Rc<RefCell<Vec<String>>>,
    fail: Rc<Cell<Option<(usize, Errno)>>>,
}

impl AsFd for RecorderVcpu {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Vcpu for RecorderVcpu {
    fn init(&self, init: &VcpuInit) -> Result<()> {
        note(&self.calls, &self.fail, format!("init {} {:#x}", self.id, init.features[0]))
    }

    fn finalize(&self, feature: u32) -> Result<()> {
        note(&self.calls, &self.fail, format!("finalize {} {feature}", self.id))
    }

    fn set_one_reg(&self, id: u64, _: &[u8]) -> Result<()> {
        note(&self.calls, &self.fail, format!("set {} {id:#x}", self.id))
    }

    fn get_one_reg(&self, id: u64, _: &mut [u8]) -> Result<()> {
        note(&self.calls, &self.fail, format!("get {} {id:#x}", self.id))
    }

    fn run(&mut self) -> Result<()> {
        note(&self.calls, &self.fail, format!("run {}", self.id))
    }

    fn read_run(&mut self, _: usize, bytes: &mut [u8]) {
        bytes.fill(0);
    }

    fn write_run(&mut self, _: usize, _: &[u8]) {}
}
