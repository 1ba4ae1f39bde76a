//! What `HardwareInterface::new` refuses, on every architecture.

use vgic_realm::HardwareError;

/// `CurrentEL` at this exception level; its other bits are reserved.
fn current_el(level: u64) -> u64 {
    level << 2
}

/// `ID_AA64PFR0_EL1` with this field GIC, at bits 27:24, and all others set.
fn pfr0(gic: u64) -> u64 {
    !(0xf << 24) | gic << 24
}

/// A register that does not exist there.
fn undefined() -> u64 {
    unreachable!("reading ICC_SRE_EL2 is undefined here")
}

#[test]
fn a_host_is_at_el2_and_a_monitor_at_el3() {
    for level in [0, 1, 3] {
        // Whatever the other registers say.
        for gic in [0, 1] {
            let refused = HardwareError::check(current_el(level), pfr0(gic), undefined);
            let exception_level = u8::try_from(level).unwrap();
            assert_eq!(refused, Err(HardwareError::NotAtEl2 { exception_level }));
        }
    }
    for level in [0, 1, 2] {
        let refused = HardwareError::check_monitor(current_el(level), pfr0(1), undefined);
        let exception_level = u8::try_from(level).unwrap();
        assert_eq!(refused, Err(HardwareError::NotAtEl3 { exception_level }));
    }
    assert_eq!(HardwareError::check(current_el(2), pfr0(1), || 1), Ok(()));
    assert_eq!(HardwareError::check_monitor(current_el(3), pfr0(1), || 1), Ok(()));
    let refused = HardwareError::check_monitor(current_el(3), pfr0(0), undefined);
    assert_eq!(refused, Err(HardwareError::NoSystemRegisters));
    let refused = HardwareError::check_monitor(current_el(3), pfr0(1), || 0);
    assert_eq!(refused, Err(HardwareError::SystemRegistersDisabled));
    // Reserved bits do not count.
    let read = || !0;
    assert_eq!(HardwareError::check(!0b1100 | current_el(2), pfr0(1), read), Ok(()));
    let refused = HardwareError::check(!0b1100 | current_el(1), pfr0(1), undefined);
    assert_eq!(refused, Err(HardwareError::NotAtEl2 { exception_level: 1 }));
}

#[test]
fn a_cpu_without_gic_system_registers_is_refused() {
    let refused = HardwareError::check(current_el(2), pfr0(0), undefined);
    assert_eq!(refused, Err(HardwareError::NoSystemRegisters));
    // 1 is GICv3 and 4.0, 3 is 4.1; later ones have them, too.
    for gic in [1, 2, 3, 4, 8, 15] {
        assert_eq!(HardwareError::check(current_el(2), pfr0(gic), || 1), Ok(()));
        assert_eq!(HardwareError::check(current_el(2), gic << 24, || 1), Ok(()));
    }
}

#[test]
fn the_system_registers_have_to_be_enabled() {
    // The other bits: DFB, DIB and Enable.
    for (sre, expected) in [
        (0b0000, Err(HardwareError::SystemRegistersDisabled)),
        (0b1110, Err(HardwareError::SystemRegistersDisabled)),
        (0b0001, Ok(())),
        (0b1111, Ok(())),
    ] {
        assert_eq!(HardwareError::check(current_el(2), pfr0(1), || sre), expected);
    }
}

#[test]
fn refusals_say_which_field_it_is() {
    for (error, text) in [
        (
            HardwareError::NotAtEl2 { exception_level: 1 },
            "CurrentEL is EL1: a host uses the virtual CPU interface at EL2",
        ),
        (
            HardwareError::NotAtEl3 { exception_level: 2 },
            "CurrentEL is EL2: a monitor uses the virtual CPU interface at EL3",
        ),
        (
            HardwareError::NoSystemRegisters,
            "ID_AA64PFR0_EL1.GIC is 0: the CPU has no GIC system registers",
        ),
        (
            HardwareError::SystemRegistersDisabled,
            "ICC_SRE_EL2.SRE is 0: GIC system registers are not enabled",
        ),
    ] {
        assert_eq!(error.to_string(), text);
    }
}
