//! Syndromes: any bits decode, and masking to what a host may see changes only the hidden bits.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rmi_abi::esr::{Esr, FaultStatus, Syndrome, fault_address};

fuzz_target!(|input: (Esr, u64, u64)| {
    let (esr, hpfar, far) = input;
    let visible = esr.visible();
    assert_eq!(visible.visible(), visible);
    match (esr.decode(), visible.decode()) {
        (Syndrome::Unknown { .. }, Syndrome::Unknown { .. }) => {}
        (all, seen) => assert_eq!(all, seen),
    }
    assert_eq!(FaultStatus::decode(esr.fault_status()).encode(), esr.fault_status());
    if let Syndrome::DataAbort(abort) = esr.decode()
        && let Some(access) = abort.access
    {
        assert!(access.bytes.is_power_of_two() && access.bytes <= 8);
        let kept = access.mask() & if access.register_64 { u64::MAX } else { 0xffff_ffff };
        for sign_extend in [false, true] {
            assert_eq!(access.extended(far, sign_extend) & kept, far & kept);
        }
    }
    assert_eq!(fault_address(hpfar, far).raw() & 0xfff, far & 0xfff);
});
