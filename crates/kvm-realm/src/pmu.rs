//! The PMU of a vCPU: its interrupt and its initialisation.
//!
//! KVM does not run a vCPU whose PMU is not initialised, and says so at its first run alone. In a
//! Realm it is too late then: vCPUs are set up before the Realm is created.

use std::os::fd::BorrowedFd;

use crate::calls::Calls;
use crate::error::{CallError, Operation};
use crate::kernel::{DeviceAttr, Kernel};
use crate::uapi;

/// The PPI with which a PMU tells that a counter overflows: 16 to 31.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PmuPpi(pub u8);

impl PmuPpi {
    /// What the architecture recommends: 23.
    pub const RECOMMENDED: Self = Self(23);

    /// Whether it is a PPI.
    #[must_use]
    pub const fn is_valid(self) -> bool {
        self.0 >= 16 && self.0 < 32
    }

    /// Initialises the PMU of a vCPU with this interrupt, which all vCPUs of a VM have. It must be
    /// valid: the kernel refuses others with `EINVAL`. It is that of no timer
    /// ([`TimerPpis`](crate::vgic::TimerPpis)), which only the first KVM_RUN finds: `EINVAL` again.
    ///
    /// The vCPU was initialised with [`VcpuFeatures::pmu`](crate::vcpu::VcpuFeatures::pmu), and so
    /// was the GIC ([`Vgic::init`](crate::vgic::Vgic::init)); the Realm is created afterwards.
    ///
    /// # Errors
    ///
    /// [`CallError`]; `ENODEV` before the GIC is initialised and for a vCPU without the feature,
    /// `EBUSY` for a second time.
    pub fn init<K: Kernel>(
        self,
        calls: &Calls<'_, K>,
        vcpu: BorrowedFd<'_>,
    ) -> Result<(), CallError> {
        let interrupt = u32::from(self.0).to_ne_bytes();
        for (attr, value) in
            [(uapi::VCPU_PMU_INTERRUPT, Some(&interrupt[..])), (uapi::VCPU_PMU_INIT, None)]
        {
            let attr = DeviceAttr { group: uapi::VCPU_PMU, attr, value };
            calls.set_device_attr(Operation::InitPmu, vcpu, &attr)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;
    use crate::errno::Errno;
    use crate::generation::Generation;
    use crate::recorder::{Recorder, fd};

    #[test]
    fn an_interrupt_is_set_before_the_pmu_is_initialised() {
        let kernel = Recorder::default();
        let calls = Calls::new(&kernel, Generation::V10);
        PmuPpi::RECOMMENDED.init(&calls, fd().as_fd()).unwrap();
        assert_eq!(kernel.take(), ["attr 0 0 Some((17, 4))", "attr 0 1 None"]);
        for (fail, made) in [(0, 1), (1, 2)] {
            kernel.fail.set(Some((fail, Errno::ENODEV)));
            let error = PmuPpi(31).init(&calls, fd().as_fd()).unwrap_err();
            assert_eq!((error.operation, error.errno), (Operation::InitPmu, Errno::ENODEV));
            assert_eq!(kernel.take().len(), made);
        }
    }

    #[test]
    fn only_ppis_are_valid() {
        for (number, valid) in [(15, false), (16, true), (23, true), (31, true), (32, false)] {
            assert_eq!(PmuPpi(number).is_valid(), valid, "{number}");
        }
    }
}
