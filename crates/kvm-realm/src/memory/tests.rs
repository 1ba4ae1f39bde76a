//! Slots and conversions, call by call.

use std::os::fd::AsFd;

use super::*;
use crate::errno::Errno;
use crate::generation::Generation;
use crate::host_memory::HostMemory;
use crate::recorder::{Recorder, fd};

const BASE: u64 = 0x8000_0000;

/// Pages that are not given back; the tests are short.
pub(crate) fn host(bytes: usize) -> HostMemory {
    // Of no bytes, there is no mapping.
    HostMemory::map(bytes.max(1)).unwrap().part(0, bytes).unwrap()
}

pub(crate) fn ram(base: u64, bytes: u64) -> Ram {
    let host = host(usize::try_from(bytes).unwrap());
    Ram { base: Ipa::new(base), bytes, host, guest_memfd: fd(), offset: 0 }
}

pub(crate) fn geometry() -> Geometry {
    Geometry::new(40).unwrap()
}

pub(crate) fn range(base: u64, bytes: u64) -> IpaRange {
    IpaRange::with_size(Ipa::new(base), bytes).unwrap()
}

fn fault(to_private: bool, gpa: u64, bytes: u64) -> MemoryFault {
    MemoryFault { to_private, gpa, bytes, after_other_exit: false }
}

/// Two slots with a hole of a page between them, all of them private.
fn memory(kernel: &Recorder, generation: Generation) -> RealmMemory {
    let (calls, vm) = (Calls::new(kernel, generation), fd());
    let mut memory = RealmMemory::new(geometry());
    let second = Ram { offset: 0x7000, ..ram(BASE + 0x3000, 0x4000) };
    for ram in [ram(BASE, 0x2000), second] {
        memory.add(&calls, vm.as_fd(), ram).unwrap();
    }
    memory.make_private(&calls, vm.as_fd()).unwrap();
    memory
}

fn convert(
    memory: &mut RealmMemory,
    kernel: &Recorder,
    generation: Generation,
    fault: MemoryFault,
) -> Result<Converted, ConvertError> {
    memory.convert(&Calls::new(kernel, generation), fd().as_fd(), 0, fault)
}

#[test]
fn slots_are_checked_before_the_kernel_is_asked() {
    let kernel = Recorder::default();
    let (calls, vm) = (Calls::new(&kernel, Generation::V14), fd());
    let mut memory = RealmMemory::new(geometry());
    let half = geometry().unprotected_base().raw();
    memory.add(&calls, vm.as_fd(), ram(BASE, 0x2000)).unwrap();
    kernel.take();
    let short = Ram { host: host(0xfff), ..ram(BASE + 0x2000, 0x1000) };
    let odd = Ram { host: host(0x1fff).part(0xfff, 0x1000).unwrap(), ..ram(BASE + 0x2000, 0x1000) };
    let skewed = Ram { offset: 0x800, ..ram(BASE + 0x2000, 0x1000) };
    // Two wrong ones do not make a right one.
    let both = Ram { offset: 0x800, ..ram(BASE + 0x2800, 0x1000) };
    let host_at = host(0x2000).part(0x800, 0x1000).unwrap();
    let with_host = Ram { host: host_at, ..ram(BASE + 0x2800, 0x1000) };
    let offset_and_host = Ram { host: host_at, offset: 0x800, ..ram(BASE + 0x2000, 0x1000) };
    for (ram, problem) in [
        (both, RamProblem::Unaligned),
        (with_host, RamProblem::Unaligned),
        (offset_and_host, RamProblem::Unaligned),
        (ram(BASE + 0x2000, 0), RamProblem::Empty),
        (ram(BASE + 0x2800, 0x1000), RamProblem::Unaligned),
        (ram(BASE + 0x2000, 0x1800), RamProblem::Unaligned),
        (ram(BASE + 0x2800, 0x1800), RamProblem::Unaligned),
        (skewed, RamProblem::Unaligned),
        (odd, RamProblem::Unaligned),
        (short, RamProblem::HostTooShort { bytes: 0xfff }),
        (ram(half, 0x1000), RamProblem::NotProtected),
        (ram(half - 0x1000, 0x2000), RamProblem::NotProtected),
        (ram(BASE + 0x1000, 0x1000), RamProblem::Overlap { at: Ipa::new(BASE) }),
        (ram(BASE - 0x1000, 0x2000), RamProblem::Overlap { at: Ipa::new(BASE) }),
    ] {
        let base = ram.base;
        let error = memory.add(&calls, vm.as_fd(), ram).unwrap_err();
        assert_eq!((error.problem, error.ram.base), (problem, base));
    }
    assert!(kernel.take().is_empty());
    // Up to the shared half, and next to another.
    memory.add(&calls, vm.as_fd(), ram(half - 0x1000, 0x1000)).unwrap();
    memory.add(&calls, vm.as_fd(), ram(BASE + 0x2000, 0x1000)).unwrap();
    let calls = kernel.take();
    assert_eq!(calls[0], format!("slot 1 4 {:#x} 0x1000 0x0", half - 0x1000));
    assert_eq!(calls[1], format!("slot 2 4 {:#x} 0x1000 0x0", BASE + 0x2000));
}

#[test]
fn ram_is_allocated_as_the_memory_model_wants_it() {
    let kernel = Recorder::default();
    let vm = fd();
    let calls = Calls::new(&kernel, Generation::V15);
    let ram = Ram::allocate(&calls, vm.as_fd(), Ipa::new(BASE), 0x2000).unwrap();
    assert_eq!((ram.bytes, ram.host.bytes(), ram.offset), (0x2000, 0x2000, 0));
    assert_eq!(kernel.take(), ["memfd 0x2000 0"]);
    // The guest_memfd of these tests cannot be mapped.
    let calls = Calls::new(&kernel, Generation::Tree2026_09);
    let error = Ram::allocate(&calls, vm.as_fd(), Ipa::new(BASE), 0x2000).unwrap_err();
    assert_eq!(error.to_string().split(": ").next(), Some("mmap of shared memory"));
    assert_eq!(kernel.take(), ["memfd 0x2000 3"]);
    kernel.fail.set(Some((0, Errno::ENOMEM)));
    assert!(Ram::allocate(&calls, vm.as_fd(), Ipa::new(BASE), 0x2000).is_err());
}

#[test]
fn a_slot_that_the_kernel_refuses_is_given_back() {
    let kernel = Recorder::default();
    let (calls, vm) = (Calls::new(&kernel, Generation::V14), fd());
    let mut memory = RealmMemory::new(geometry());
    kernel.fail.set(Some((0, Errno::EEXIST)));
    let error = memory.add(&calls, vm.as_fd(), ram(BASE, 0x1000)).unwrap_err();
    assert!(matches!(error.problem, RamProblem::Call(call) if call.errno == Errno::EEXIST));
    assert_eq!(memory.ranges().count(), 0);
    kernel.fail.set(None);
    memory.add(&calls, vm.as_fd(), error.ram).unwrap();
    assert_eq!(memory.ranges().collect::<Vec<_>>(), [range(BASE, 0x1000)]);
}

#[test]
fn ram_is_private_by_what_the_memory_model_has() {
    let slots = ["slot 0 4 0x80000000 0x2000 0x0", "slot 1 4 0x80003000 0x4000 0x7000"];
    for (generation, calls) in [
        (
            Generation::V10,
            &["attributes 0x80000000 0x2000 8", "attributes 0x80003000 0x4000 8"][..],
        ),
        (Generation::V15, &[]),
        (
            Generation::Tree2026_09,
            &[
                "call 0xc080aed2 0x0 0x2000 0x8 0x0 None",
                "call 0xc080aed2 0x7000 0x4000 0x8 0x0 None",
            ],
        ),
    ] {
        let kernel = Recorder::default();
        let memory = memory(&kernel, generation);
        assert_eq!(kernel.take(), [&slots[..], calls].concat(), "{generation}");
        assert_eq!(memory.sides(range(BASE, 0x2000)), Sides::Private);
        assert_eq!(memory.sides(range(BASE, 0x3000)), Sides::Mixed);
        assert!(memory.is_ram(range(BASE + 0x1000, 0x1000)));
        assert!(!memory.is_ram(range(BASE + 0x1000, 0x2000)));
        assert!(!memory.is_ram(range(BASE + 0x1000, 0)));
    }
}

#[test]
fn conversions_keep_to_the_order_of_the_memory_model() {
    for (generation, to_shared, to_private) in [
        (
            Generation::V14,
            &["attributes 0x80001000 0x1000 0", "punch 0x1000 0x1000"][..],
            &["attributes 0x80001000 0x1000 8", "discard 0x1000 Remove"][..],
        ),
        (Generation::V15, &["punch 0x1000 0x1000"], &["discard 0x1000 Remove"]),
        (
            Generation::Tree2026_09,
            &["call 0xc080aed2 0x1000 0x1000 0x0 0x0 None"],
            &["call 0xc080aed2 0x1000 0x1000 0x8 0x0 None"],
        ),
    ] {
        let kernel = Recorder::default();
        kernel.is_file.set(true);
        let mut memory = memory(&kernel, generation);
        kernel.take();
        // The shared alias means the same.
        let alias = geometry().unprotected_base().raw() + BASE + 0x1000;
        for (to_private, gpa, calls) in
            [(false, alias, to_shared), (true, BASE + 0x1000, to_private)]
        {
            let fault = fault(to_private, gpa, 0x1000);
            let done = convert(&mut memory, &kernel, generation, fault);
            assert_eq!(done, Ok(Converted::Done { bytes: 0x1000 }));
            assert_eq!(kernel.take(), calls, "{generation}");
            let sides = if to_private { Sides::Private } else { Sides::Shared };
            assert_eq!(memory.sides(range(BASE + 0x1000, 0x1000)), sides);
            assert_eq!(memory.sides(range(BASE, 0x1000)), Sides::Private);
        }
    }
}

#[test]
fn anonymous_memory_is_discarded_in_another_way() {
    let kernel = Recorder::default();
    let mut memory = memory(&kernel, Generation::V15);
    convert(&mut memory, &kernel, Generation::V15, fault(false, BASE, 0x1000)).unwrap();
    kernel.take();
    convert(&mut memory, &kernel, Generation::V15, fault(true, BASE, 0x1000)).unwrap();
    assert_eq!(kernel.take(), ["discard 0x1000 Remove", "discard 0x1000 DontNeed"]);
}

#[test]
fn what_is_no_ram_is_left_out() {
    let kernel = Recorder::default();
    let mut memory = memory(&kernel, Generation::V15);
    kernel.take();
    let done = convert(&mut memory, &kernel, Generation::V15, fault(false, BASE, 0x4000));
    assert_eq!(done, Ok(Converted::Done { bytes: 0x3000 }));
    assert_eq!(kernel.take(), ["punch 0x0 0x2000", "punch 0x7000 0x1000"]);
    let hole = range(BASE + 0x2000, 0x1000);
    // The kernel says what a request for it gives; an access comes again.
    let in_hole = fault(false, BASE + 0x2000, 4);
    let passed = convert(&mut memory, &kernel, Generation::V15, in_hole);
    assert_eq!(passed, Ok(Converted::AsItWas));
    let refused = convert(&mut memory, &kernel, Generation::V15, in_hole);
    assert_eq!(refused, Err(ConvertError::NoRam(hole)));
    assert!(kernel.take().is_empty());
    assert!(!refused.unwrap_err().is_final());
}

#[test]
fn faults_outside_of_the_ipa_space_are_refused() {
    let kernel = Recorder::default();
    let mut memory = memory(&kernel, Generation::V15);
    kernel.take();
    let (half, end) = (geometry().unprotected_base().raw(), geometry().end().raw());
    for (gpa, bytes) in [
        (end, 0),
        (half - 0x1000, 0x1001),
        (end, 0x1000),
        (end - 0x1000, 0x1001),
        (u64::MAX, 2),
        (BASE, u64::MAX),
    ] {
        let refused = convert(&mut memory, &kernel, Generation::V15, fault(true, gpa, bytes));
        assert_eq!(refused, Err(ConvertError::OutOfRange { gpa, bytes }));
    }
    // The last page of both halves is in range.
    for gpa in [half - 0x1000, end - 0x1000] {
        let last = fault(true, gpa, 0x1000);
        let passed = convert(&mut memory, &kernel, Generation::V15, last);
        assert_eq!(passed, Ok(Converted::AsItWas));
        let refused = convert(&mut memory, &kernel, Generation::V15, last);
        assert_eq!(refused, Err(ConvertError::NoRam(range(half - 0x1000, 0x1000))));
    }
    // Of no bytes, wherever it is.
    for gpa in [BASE + 1, half - 1, end - 1] {
        for to_private in [true, false] {
            let none = fault(to_private, gpa, 0);
            let passed = convert(&mut memory, &kernel, Generation::V15, none);
            assert_eq!(passed, Ok(Converted::AsItWas), "{gpa:#x}");
        }
    }
    assert!(kernel.take().is_empty());
    // Parts of pages are pages.
    let done = convert(&mut memory, &kernel, Generation::V15, fault(false, BASE + 0xfff, 2));
    assert_eq!(done, Ok(Converted::Done { bytes: 0x2000 }));
}

#[test]
fn an_identical_fault_is_answered_once() {
    let kernel = Recorder::default();
    let mut memory = memory(&kernel, Generation::V14);
    kernel.take();
    let (same, calls) = (fault(true, BASE, 0x1000), Calls::new(&kernel, Generation::V14));
    let vm = fd();
    let mut ask = |vcpu, fault| memory.convert(&calls, vm.as_fd(), vcpu, fault);
    assert_eq!(ask(0, same), Ok(Converted::AsItWas));
    // Another vCPU, and another fault, are others.
    assert_eq!(ask(1, same), Ok(Converted::AsItWas));
    assert_eq!(ask(0, fault(true, BASE + 0x1000, 0x1000)), Ok(Converted::AsItWas));
    assert_eq!(ask(0, same), Ok(Converted::AsItWas));
    let range = range(BASE, 0x1000);
    let refused = ask(0, same).unwrap_err();
    assert_eq!(refused, ConvertError::Repeated { range, to_private: true });
    assert!(!refused.is_final());
    assert!(refused.to_string().ends_with("is private already, and the kernel asks again"));
    // What was converted in between, or another exit, makes it a fresh one.
    assert_eq!(ask(0, fault(false, BASE, 0x1000)), Ok(Converted::Done { bytes: 0x1000 }));
    assert_eq!(ask(0, same), Ok(Converted::Done { bytes: 0x1000 }));
    assert_eq!(ask(0, same), Ok(Converted::AsItWas));
    memory.has_progressed(0);
    assert_eq!(memory.convert(&calls, vm.as_fd(), 0, same), Ok(Converted::AsItWas));
    assert!(memory.convert(&calls, vm.as_fd(), 0, same).is_err());
    let later = MemoryFault { after_other_exit: true, ..same };
    assert_eq!(memory.convert(&calls, vm.as_fd(), 0, later), Ok(Converted::AsItWas));
    assert!(memory.convert(&calls, vm.as_fd(), 0, same).is_err());
}

#[test]
fn pages_in_use_are_converted_when_they_are_free() {
    let kernel = Recorder::default();
    let generation = Generation::Tree2026_09;
    let mut memory = memory(&kernel, generation);
    let all = fault(false, BASE, 0x7000);
    let (first, second) = (range(BASE, 0x2000), range(BASE + 0x3000, 0x4000));
    // The second call, of the slot whose guest_memfd begins at 0x7000.
    for (offset, at) in [
        (0x7000, second),
        (0x8fff, range(BASE + 0x4000, 0x3000)),
        (0xa000, range(BASE + 0x6000, 0x1000)),
        // No page of it.
        (0xb000, second),
        (0x6fff, second),
        (u64::MAX, second),
    ] {
        convert(&mut memory, &kernel, generation, fault(true, BASE, 0x7000)).unwrap();
        kernel.fail.set(Some((1, Errno::EAGAIN)));
        kernel.error_offset.set(offset);
        let refused = convert(&mut memory, &kernel, generation, all).unwrap_err();
        let ConvertError::Busy { call, at: found, done } = refused else { panic!("{refused}") };
        assert_eq!((call.errno, found, done), (Errno::EAGAIN, at, 0x2000), "{offset:#x}");
        assert!(!refused.is_final() && refused.to_string().ends_with(" is as it was"));
        assert_eq!((memory.sides(first), memory.sides(second)), (Sides::Shared, Sides::Private));
        let done = convert(&mut memory, &kernel, generation, all);
        assert_eq!(done, Ok(Converted::Done { bytes: 0x4000 }));
    }
    // Other errors, and other calls, may have changed something.
    for (generation, errno) in
        [(Generation::Tree2026_09, Errno::ENOMEM), (Generation::V14, Errno::EAGAIN)]
    {
        let mut memory = self::memory(&kernel, generation);
        kernel.fail.set(Some((0, errno)));
        let refused = convert(&mut memory, &kernel, generation, all).unwrap_err();
        assert!(refused.is_final() && matches!(refused, ConvertError::Failed { .. }));
    }
}

#[test]
fn a_call_that_fails_ends_all_conversions() {
    for (fail, done) in [(0, 0), (1, 0), (2, 0x2000), (3, 0x2000)] {
        let kernel = Recorder::default();
        let mut memory = memory(&kernel, Generation::V14);
        kernel.take();
        kernel.fail.set(Some((fail, Errno::ENOMEM)));
        let error = convert(&mut memory, &kernel, Generation::V14, fault(false, BASE, 0x5000));
        let Err(ConvertError::Failed { call, at, done: before }) = error else {
            panic!("{error:?}");
        };
        assert_eq!((call.errno, before), (Errno::ENOMEM, done));
        let expected = if fail < 2 { range(BASE, 0x2000) } else { range(BASE + 0x3000, 0x2000) };
        assert_eq!(at, expected);
        assert!(error.unwrap_err().is_final());
        kernel.take();
        let again = convert(&mut memory, &kernel, Generation::V14, fault(true, BASE, 0x1000));
        assert_eq!(again, Err(ConvertError::Lost));
        assert!(again.unwrap_err().is_final() && kernel.take().is_empty());
    }
}

#[test]
fn flags_of_faults_that_are_not_known_are_no_fault() {
    assert_eq!(MemoryFault::new(8, 1, 2), Some(fault(true, 1, 2)));
    assert_eq!(MemoryFault::new(0, 1, 2), Some(fault(false, 1, 2)));
    for flags in [1, 4, 9, 16] {
        assert_eq!(MemoryFault::new(flags, 1, 2), None);
    }
}

#[test]
fn the_shared_side_is_written_over_slots_and_up_to_holes() {
    let kernel = Recorder::default();
    let (calls, vm) = (Calls::new(&kernel, Generation::V10), fd());
    let mut memory = RealmMemory::new(geometry());
    let (first, second) = (ram(BASE, 0x1000), ram(BASE + 0x1000, 0x1000));
    let hosts = [first.host, second.host];
    memory.add(&calls, vm.as_fd(), second).unwrap();
    memory.add(&calls, vm.as_fd(), first).unwrap();
    let pages: Vec<u8> = [[1; 0x1000], [2; 0x1000]].concat();
    assert_eq!(memory.write(Ipa::new(BASE), &pages), Ok(()));
    let mut read = [0; 0x1000];
    for (host, byte) in hosts.iter().zip([1, 2]) {
        host.read(0, &mut read).unwrap();
        assert_eq!(read, [byte; 0x1000]);
    }
    let end = Ipa::new(BASE + 0x2000);
    assert_eq!(memory.write(Ipa::new(BASE + 0x1000), &pages), Err(end));
    assert_eq!(memory.write(end, &pages), Err(end));
    let before = Ipa::new(BASE - 0x1000);
    assert_eq!(memory.write(before, &pages), Err(before));
    assert_eq!(memory.write(Ipa::new(BASE + 1), &pages), Err(Ipa::new(BASE + 1)));
    assert_eq!(memory.write(before, &[]), Ok(()));
}
