//! Guests, and kernels, that do anything: nothing panics, nothing goes on for ever, and the memory
//! is in the state that the kernel has.
//!
//! `REALM_SDK_KVM_SEED` is the seed of the random numbers.

use kvm_realm::fake::FakeKernel;
use kvm_realm::generation::MemoryModel;
use kvm_realm::launch::Running;
use kvm_realm::memory::ConvertError;
use kvm_realm::vcpu::RealmVcpu;

use super::*;
use fixture::BYTES;

/// Numbers from a seed (xorshift).
#[derive(Clone, Copy, Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % end
    }

    /// One of these.
    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        let index = usize::try_from(self.below(of.len() as u64)).unwrap();
        *of.get(index).unwrap()
    }

    /// An address: mostly in RAM, before or behind it.
    fn address(&mut self) -> u64 {
        match self.below(8) {
            0 => self.below(u64::MAX),
            1 => SHARED - self.below(0x3000),
            2 => SHARED + RAM + self.below(BYTES as u64),
            _ => RAM - 0x2000 + self.below(BYTES as u64 + 0x4000),
        }
    }

    fn action(&mut self) -> Action {
        let page = self.address() & !0xfff;
        match self.below(14) {
            0..=5 => {
                let top = page.saturating_add((1 + self.below(6)) << 12);
                Action::SetRipas { base: page, top, ram: self.below(2) == 0 }
            }
            6 => Action::Load(self.address() & !7),
            7 => Action::Store(self.address() & !7, 9),
            8 => Action::MmioLoad(SHARED + self.below(0x1000), 1 << self.below(4)),
            9 => Action::MmioStore(SHARED + self.below(0x1000), self.below(u64::MAX), 8),
            10 => Action::Interrupted,
            11 => Action::Hypercall([self.below(u64::MAX); 7]),
            12 => {
                let flags = self.pick(&[0, 8, 1, u64::MAX]);
                let bytes = self.pick(&[0, 1, 0x1000, 0x5001, u64::MAX]);
                Action::ExitWithFault(39, [flags, self.address(), bytes, 0])
            }
            _ => {
                let reason = self.pick(&[0, 3, 6, 8, 9, 17, 24, 28, 39, 44, 77]);
                Action::Exit(reason, [self.below(64), self.address(), self.address(), 4])
            }
        }
    }
}

/// Whether the ledger says of each page what the kernel has.
fn is_true(kernel: &FakeKernel, running: &Running<'_, FakeKernel>) -> bool {
    (RAM..RAM + BYTES as u64).step_by(0x1000).all(|page| {
        let range = IpaRange::with_size(Ipa::new(page), 0x1000).unwrap();
        let sides = running.memory().sides(range);
        sides == if kernel.is_private(0, page) { Sides::Private } else { Sides::Shared }
    })
}

/// Runs a vCPU as a VMM does that goes on as long as it can; how many exits and conversions there
/// were.
fn drive(
    kernel: &FakeKernel,
    generation: Generation,
    running: &mut Running<'_, FakeKernel>,
    vcpu: &mut RealmVcpu<'_, FakeKernel>,
    fail: Option<Errno>,
) -> (u64, u64) {
    let mut converted = 0;
    for exits in 0..400 {
        let exit = match vcpu.run() {
            Ok(exit) => exit,
            Err(RunError::Call(error)) if error.is_final() => return (exits, converted),
            Err(_) => continue,
        };
        let Exit::MemoryFault { fault, .. } = exit else {
            running.has_progressed(0);
            if let Exit::MmioLoad(_) = exit {
                vcpu.answer_load(u64::MAX).unwrap();
            }
            if let Exit::System(SystemEvent { kind: SystemEventKind::Shutdown, .. }) = exit {
                return (exits, converted);
            }
            continue;
        };
        if let (Some(errno), 0) = (fail, exits % 7) {
            kernel.fail_call(kernel.calls().len(), errno);
        }
        match running.convert(0, fault) {
            Ok(Converted::Done { .. }) => converted += 1,
            Ok(_) => {}
            Err(error) if error.is_final() => {
                // From here on, nothing is converted.
                let again = running.convert(0, fault);
                assert_eq!(again, Err(ConvertError::Lost), "{generation}");
                return (exits, converted);
            }
            // What is refused changes nothing, and the VMM may go on.
            Err(_) => running.has_progressed(0),
        }
        let model = generation.facts().memory;
        assert!(model == MemoryModel::AlwaysPrivate || is_true(kernel, running), "{generation}");
    }
    (400, converted)
}

#[test]
fn random_guests_leave_the_memory_as_the_ledger_has_it() {
    let seed = std::env::var("REALM_SDK_KVM_SEED").ok().and_then(|seed| seed.parse().ok());
    let (mut exits, mut converted) = (0, 0);
    for round in 0..20_u64 {
        for (generation, name) in generations() {
            for fail in [None, Some(Errno::ENOMEM), Some(Errno::EIO)] {
                let kernel = fake(name);
                let random = Random(seed.unwrap_or(0x9e37_79b9_7f4a_7c15) ^ (round * 31 + 7));
                kernel.set_guest(move |_| {
                    let (mut random, mut left) = (random, 200);
                    move |_: Outcome| {
                        left -= 1;
                        if left == 0 { Action::SystemOff } else { random.action() }
                    }
                });
                Machine::new(&kernel, generation, 1, None).launched(|running, vcpus| {
                    let done = drive(&kernel, generation, running, &mut vcpus[0], fail);
                    (exits, converted) = (exits + done.0, converted + done.1);
                });
                assert_eq!(kernel.open_descriptors(), 0);
            }
        }
    }
    // They do something.
    assert!(exits > 5_000 && converted > 500, "{exits} {converted}");
}
