//! A fake kernel whose guest prints a line on each vCPU, instead of Linux.

use bare_metal::linux::layout::{IPA_WIDTH, UART};
use kvm_realm::fake::{Action, FakeKernel, Outcome};

use crate::options::Failure;

/// The fake kernel of a generation.
pub(crate) fn kernel(generation: &str, is_plain: bool) -> Result<FakeKernel, Failure> {
    let Some(kernel) = FakeKernel::new(generation) else {
        let names = FakeKernel::generations().join(", ");
        return Err(format!("{generation} cannot be faked; there are: {names}").into());
    };
    let shared = if is_plain { 0 } else { 1 << (IPA_WIDTH - 1) };
    kernel.set_guest(move |vcpu| program(vcpu, shared + UART));
    Ok(kernel)
}

/// Prints a line. The first vCPU turns the second one on, and that one turns the system off;
/// without a second one, the first does.
fn program(vcpu: u64, uart: u64) -> impl FnMut(Outcome) -> Action + Send {
    let line = format!("a guest of the fake kernel, vCPU {vcpu}\n");
    let mut letters = line.into_bytes().into_iter();
    let mut has_called = false;
    move |outcome| match (letters.next(), outcome) {
        (Some(letter), _) => Action::MmioStore(uart, letter.into(), 1),
        (None, Outcome::Psci(0)) => Action::CpuOff,
        (None, _) if vcpu == 0 && !has_called => {
            has_called = true;
            Action::CpuOn(1, 0, 0)
        }
        (None, _) => Action::SystemOff,
    }
}
