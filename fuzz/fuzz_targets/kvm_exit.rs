//! Any run page, after any result of KVM_RUN: it decodes to an exit, or to the error itself.

#![no_main]

use kvm_realm::Errno;
use kvm_realm::exit::{Context, Exit, RUN_BYTES};
use libfuzzer_sys::fuzz_target;

// The input: the width of an IPA (0 is an ordinary VM), the old way to say that a Realm is off, and
// the exit for mappings of devices; what KVM_RUN returns (0 is success), the exit reason, and bytes
// of the page from the description on.
fuzz_target!(|input: (u8, (bool, bool), u8, u32, Vec<u8>)| {
    let (width, (is_off_unknown, has_device_mapping), number, reason, description) = input;
    let shared_bit = if width == 0 { 0 } else { 1 << (31 + width % 21) };
    let context = Context { shared_bit, is_off_unknown, has_device_mapping };
    let mut page = [0; RUN_BYTES];
    page[8..12].copy_from_slice(&reason.to_le_bytes());
    let bytes = description.len().min(RUN_BYTES - 32);
    page[32..32 + bytes].copy_from_slice(&description[..bytes]);
    let errno = Errno::new(number.into());
    let returned = if number == 0 { Ok(()) } else { Err(errno) };
    let exit = match Exit::decode(returned, &page, context) {
        Ok(exit) => exit,
        // An error never comes from nothing, and a success never becomes one.
        Err(error) => {
            assert_eq!(Err(error), returned);
            assert!(!matches!(errno, Errno::EINTR | Errno::EAGAIN));
            return;
        }
    };
    let _ = format!("{exit:?}");
    assert_eq!(exit.is_retry(), matches!(errno, Errno::EINTR | Errno::EAGAIN));
    match exit {
        Exit::MmioLoad(load) => {
            assert_eq!(load.address & shared_bit, 0);
            assert!((1..=8).contains(&load.bytes));
        }
        Exit::MmioStore(store) => {
            assert_eq!(store.address & shared_bit, 0);
            assert!(store.bytes == 8 || store.value < 1 << (8 * store.bytes));
        }
        Exit::MemoryFault { returned_zero, .. } => assert_eq!(returned_zero, number == 0),
        Exit::Hypercall(call) => {
            let waits = call.psci().and_then(|psci| psci.waits_for());
            assert!(waits.is_none_or(|target| target == call.arguments[0]));
        }
        Exit::Undecoded { address, .. } => assert_eq!(address & shared_bit, 0),
        Exit::DeviceMapping(_) => assert!(has_device_mapping),
        Exit::Unknown { reason: told, .. } => assert_eq!(told, reason),
        _ => {}
    }
    // Only a memory fault is reported together with an error.
    if number != 0 && !exit.is_retry() {
        assert_eq!(reason, 39);
    }
});
