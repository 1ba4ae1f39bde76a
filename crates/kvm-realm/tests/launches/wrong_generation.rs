//! No number of one generation is any good in another: each is tried on each kernel.

use super::*;

/// Pairs in which no launch makes a call that differs: the kernel, and what it is taken for. Only
/// the number of the capability tells them apart, which the probe asks for.
fn is_alike(kernel: Generation, taken_for: Generation) -> bool {
    matches!(
        (kernel, taken_for),
        (Generation::V15 | Generation::DaV7(_), Generation::Tree2026_09)
            | (Generation::Tree2026_09 | Generation::DaV7(_), Generation::V15)
    )
}

#[test]
fn no_kernel_is_launched_on_as_another_generation() {
    for (kernel_is, name) in generations() {
        for (taken_for, _) in generations() {
            if kernel_is == taken_for {
                continue;
            }
            let kernel = fake(name);
            let end = end(&kernel, taken_for);
            if is_alike(kernel_is, taken_for) {
                assert_eq!(end, End::Ran);
                continue;
            }
            assert_ne!(end, End::Ran, "{taken_for} on {kernel_is}");
            // The kernel refused a number, or a state that its own generation has.
            let refused = kernel.calls().into_iter().find(|call| call.error.is_some());
            assert!(refused.is_some(), "{taken_for} on {kernel_is}");
        }
    }
}

#[test]
fn generations_that_launch_alike_part_when_memory_is_shared() {
    for (kernel_is, name) in generations() {
        for (taken_for, _) in generations() {
            if kernel_is == taken_for || !is_alike(kernel_is, taken_for) {
                continue;
            }
            let kernel = fake(name);
            let shared = Action::SetRipas { base: RAM, top: RAM + 0x1000, ram: false };
            kernel.set_guest(move |_| Script::new([shared]));
            let machine = fixture::Machine::new(&kernel, taken_for, 1, None);
            machine.launched(|running, vcpus| {
                let mut share = || match vcpus[0].run().unwrap() {
                    Exit::MemoryFault { fault, .. } => Some(running.convert(0, fault)),
                    _ => None,
                };
                assert_eq!(share(), Some(Ok(Converted::Done { bytes: 0x1000 })));
                if taken_for == Generation::V15 {
                    // The attributes of the guest_memfd are not changed, so the kernel asks again.
                    assert_eq!(share(), Some(Ok(Converted::AsItWas)));
                    let refused = share().unwrap().unwrap_err();
                    assert!(matches!(refused, ConvertError::Repeated { .. }), "{refused}");
                } else {
                    assert_eq!(share(), None, "{taken_for} on {kernel_is}");
                }
            });
        }
    }
}
