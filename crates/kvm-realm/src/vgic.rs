//! The GIC of a Realm: KVM's VGICv3, which every generation demands, and the timers' interrupts.
//!
//! The order is the same in all generations: the GIC is created, its addresses are set, all vCPUs
//! are created and initialised, the timers' interrupts are set, and then the GIC is initialised
//! ([`Vgic::init`]); after that no vCPU can be added, and the Realm is created. A GIC that is not
//! initialised is found at the first run alone, when it is too late for some generations.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rmi_abi::rtt::Geometry;
use rmi_abi::{Ipa, IpaRange};
use thiserror::Error;

use crate::calls::Calls;
use crate::errno::Errno;
use crate::error::{CallError, Operation};
use crate::kernel::{DeviceAttr, Kernel};
use crate::uapi;

/// Bytes of the distributor's registers.
pub const DISTRIBUTOR_BYTES: u64 = 0x1_0000;
/// Bytes of the redistributor's registers of one vCPU.
pub const REDISTRIBUTOR_BYTES: u64 = 0x2_0000;
/// Numbers of interrupts that a GIC can have, SGIs and PPIs included.
const INTERRUPTS: std::ops::RangeInclusive<u32> = 64..=1024;

/// Where a GIC is, and how many interrupts it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VgicConfig {
    /// The distributor, 64 KiB. A multiple of 64 KiB, below the shared half of the IPA space.
    pub distributor: Ipa,
    /// The redistributors, 128 KiB for each vCPU. A multiple of 64 KiB, as above.
    pub redistributors: Ipa,
    /// The number of vCPUs.
    pub vcpus: u32,
    /// The number of interrupts, SGIs and PPIs included: a multiple of 32, from 64 to 1024; `None`
    /// for the kernel's default.
    pub interrupts: Option<u32>,
}

/// What is wrong with the configuration of a GIC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum VgicError {
    /// An address is not a multiple of 64 KiB.
    #[error("{0} is not a multiple of 64 KiB")]
    Unaligned(Ipa),
    /// It reaches outside the protected half of the IPA space, where the Realm cannot address it.
    #[error("the registers at {0} reach outside the lower half of the IPA space")]
    OutOfRange(Ipa),
    /// Distributor and redistributors overlap.
    #[error("the distributor overlaps the redistributors")]
    Overlap,
    /// There are no vCPUs.
    #[error("a GIC has at least one vCPU")]
    NoVcpus,
    /// Not a number of interrupts that a GIC can have.
    #[error("a GIC cannot have {0} interrupts")]
    Interrupts(u32),
    /// The kernel refused it.
    #[error("{0}")]
    Call(#[from] CallError),
}

impl VgicError {
    /// Whether the VM is dead.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Call(call) if call.is_final())
    }
}

/// The GIC of a VM.
#[derive(Debug)]
pub struct Vgic {
    device: OwnedFd,
}

impl VgicConfig {
    /// Checks it against an IPA space.
    ///
    /// # Errors
    ///
    /// Any [`VgicError`] but [`VgicError::Call`].
    pub fn check(&self, geometry: Geometry) -> Result<(), VgicError> {
        if self.vcpus == 0 {
            return Err(VgicError::NoVcpus);
        }
        if let Some(number) = self.interrupts
            && (!INTERRUPTS.contains(&number) || number % 32 != 0)
        {
            return Err(VgicError::Interrupts(number));
        }
        let range = |base: Ipa, bytes: u64| {
            if !base.is_aligned(DISTRIBUTOR_BYTES) {
                return Err(VgicError::Unaligned(base));
            }
            let range = IpaRange::with_size(base, bytes).ok();
            let inside = range.filter(|range| geometry.range_is_protected(range));
            inside.ok_or(VgicError::OutOfRange(base))
        };
        let distributor = range(self.distributor, DISTRIBUTOR_BYTES)?;
        let bytes = u64::from(self.vcpus) * REDISTRIBUTOR_BYTES;
        let redistributors = range(self.redistributors, bytes)?;
        if distributor.overlaps(&redistributors) {
            return Err(VgicError::Overlap);
        }
        Ok(())
    }
}

impl Vgic {
    /// Creates the GIC and sets where it is. The configuration is checked before the first call.
    ///
    /// # Errors
    ///
    /// [`VgicError`]. A VM has one GIC: after a call failed, another VM is needed.
    pub fn create<K: Kernel>(
        calls: &Calls<'_, K>,
        vm: BorrowedFd<'_>,
        geometry: Geometry,
        config: &VgicConfig,
    ) -> Result<Self, VgicError> {
        config.check(geometry)?;
        let device = calls.create_device(Operation::CreateGic, vm, uapi::DEVICE_VGIC_V3)?;
        let set = |group, attr, value: &[u8]| {
            let attr = DeviceAttr { group, attr, value: Some(value) };
            calls.set_device_attr(Operation::ConfigureGic, device.as_fd(), &attr)
        };
        for (attr, base) in [
            (uapi::VGIC_ADDRESS_DISTRIBUTOR, config.distributor),
            (uapi::VGIC_ADDRESS_REDISTRIBUTORS, config.redistributors),
        ] {
            set(uapi::VGIC_ADDRESS, attr, &base.raw().to_ne_bytes())?;
        }
        if let Some(number) = config.interrupts {
            set(uapi::VGIC_INTERRUPTS, 0, &number.to_ne_bytes())?;
        }
        Ok(Self { device })
    }

    /// Ends the set-up, after all vCPUs were created and initialised, and before the Realm is
    /// created.
    ///
    /// # Errors
    ///
    /// [`CallError`].
    pub fn init<K: Kernel>(&self, calls: &Calls<'_, K>) -> Result<(), CallError> {
        let attr =
            DeviceAttr { group: uapi::VGIC_CONTROL, attr: uapi::VGIC_CONTROL_INIT, value: None };
        calls.set_device_attr(Operation::InitGic, self.device.as_fd(), &attr)
    }
}

impl AsFd for Vgic {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.device.as_fd()
    }
}

/// The PPIs of a vCPU's timers, 16 to 31.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerPpis {
    /// Of the virtual timer.
    pub virtual_timer: u8,
    /// Of the physical timer.
    pub physical_timer: u8,
}

impl TimerPpis {
    /// What KVM has where nothing is set: 27 and 30, as the architecture recommends.
    pub const DEFAULT: Self = Self { virtual_timer: 27, physical_timer: 30 };

    /// Whether both are PPIs, and different.
    #[must_use]
    pub const fn are_valid(&self) -> bool {
        let (first, second) = (self.virtual_timer, self.physical_timer);
        first >= 16 && first < 32 && second >= 16 && second < 32 && first != second
    }

    /// Sets them for a vCPU, which sets them for all of the VM, before any runs.
    ///
    /// # Errors
    ///
    /// [`CallError`]; `EINVAL` without a call if they are not valid, since KVM finds two equal ones
    /// at the first run alone; `EBUSY` after a vCPU ran.
    pub fn set<K: Kernel>(
        &self,
        calls: &Calls<'_, K>,
        vcpu: BorrowedFd<'_>,
    ) -> Result<(), CallError> {
        if !self.are_valid() {
            return Err(calls.error(Operation::ConfigureTimer, Errno::EINVAL));
        }
        for (attr, intid) in [
            (uapi::VCPU_TIMER_VIRTUAL, self.virtual_timer),
            (uapi::VCPU_TIMER_PHYSICAL, self.physical_timer),
        ] {
            let value = u32::from(intid).to_ne_bytes();
            let attr = DeviceAttr { group: uapi::VCPU_TIMERS, attr, value: Some(&value) };
            calls.set_device_attr(Operation::ConfigureTimer, vcpu, &attr)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generation::Generation;
    use crate::memory::tests::geometry;
    use crate::recorder::{Recorder, fd};

    const CONFIG: VgicConfig = VgicConfig {
        distributor: Ipa::new(0x0800_0000),
        redistributors: Ipa::new(0x080a_0000),
        vcpus: 2,
        interrupts: Some(128),
    };

    #[test]
    fn a_gic_is_set_up_in_order() {
        let kernel = Recorder::default();
        let calls = Calls::new(&kernel, Generation::V14);
        let vgic = Vgic::create(&calls, fd().as_fd(), geometry(), &CONFIG).unwrap();
        vgic.init(&calls).unwrap();
        assert!(vgic.as_fd().try_clone_to_owned().is_ok());
        assert_eq!(
            kernel.take(),
            [
                "device 7",
                "attr 0 2 Some((8000000, 8))",
                "attr 0 3 Some((80a0000, 8))",
                "attr 3 0 Some((80, 4))",
                "attr 4 0 None"
            ]
        );
        let config = VgicConfig { interrupts: None, ..CONFIG };
        Vgic::create(&calls, fd().as_fd(), geometry(), &config).unwrap();
        assert_eq!(kernel.take().len(), 3);
    }

    #[test]
    fn every_call_can_fail() {
        let kernel = Recorder::default();
        let calls = Calls::new(&kernel, Generation::V14);
        for (fail, operation) in [
            (0, Operation::CreateGic),
            (1, Operation::ConfigureGic),
            (2, Operation::ConfigureGic),
            (3, Operation::ConfigureGic),
        ] {
            kernel.fail.set(Some((fail, Errno::ENODEV)));
            let error = Vgic::create(&calls, fd().as_fd(), geometry(), &CONFIG).unwrap_err();
            let VgicError::Call(error) = error else { panic!("{error}") };
            assert_eq!((error.operation, error.errno), (operation, Errno::ENODEV));
        }
        let vgic = Vgic::create(&calls, fd().as_fd(), geometry(), &CONFIG).unwrap();
        kernel.fail.set(Some((0, Errno::EBUSY)));
        assert_eq!(vgic.init(&calls).unwrap_err().operation, Operation::InitGic);
    }

    #[test]
    fn configurations_are_checked_before_the_first_call() {
        let kernel = Recorder::default();
        let calls = Calls::new(&kernel, Generation::V14);
        let half = geometry().unprotected_base();
        let last = Ipa::new(half.raw() - 0x1_0000);
        for (config, problem) in [
            (VgicConfig { vcpus: 0, ..CONFIG }, VgicError::NoVcpus),
            (VgicConfig { interrupts: Some(32), ..CONFIG }, VgicError::Interrupts(32)),
            (VgicConfig { interrupts: Some(1056), ..CONFIG }, VgicError::Interrupts(1056)),
            (VgicConfig { interrupts: Some(100), ..CONFIG }, VgicError::Interrupts(100)),
            (
                VgicConfig { distributor: Ipa::new(0x0800_8000), ..CONFIG },
                VgicError::Unaligned(Ipa::new(0x0800_8000)),
            ),
            (VgicConfig { distributor: half, ..CONFIG }, VgicError::OutOfRange(half)),
            (VgicConfig { redistributors: last, ..CONFIG }, VgicError::OutOfRange(last)),
            (VgicConfig { redistributors: Ipa::new(0x07fd_0000), ..CONFIG }, VgicError::Overlap),
        ] {
            let refused = Vgic::create(&calls, fd().as_fd(), geometry(), &config).unwrap_err();
            assert_eq!(refused, problem);
        }
        assert!(kernel.take().is_empty());
        for config in [
            VgicConfig { interrupts: Some(64), ..CONFIG },
            VgicConfig { interrupts: Some(1024), ..CONFIG },
            VgicConfig { distributor: last, ..CONFIG },
            VgicConfig { redistributors: Ipa::new(0x07fc_0000), ..CONFIG },
        ] {
            assert_eq!(config.check(geometry()), Ok(()));
        }
    }

    #[test]
    fn timers_have_ppis() {
        let kernel = Recorder::default();
        let calls = Calls::new(&kernel, Generation::V14);
        TimerPpis::DEFAULT.set(&calls, fd().as_fd()).unwrap();
        assert_eq!(kernel.take(), ["attr 1 0 Some((1b, 4))", "attr 1 1 Some((1e, 4))"]);
        for fail in 0..2 {
            kernel.fail.set(Some((fail, Errno::EBUSY)));
            let error = TimerPpis::DEFAULT.set(&calls, fd().as_fd()).unwrap_err();
            assert_eq!(error.operation, Operation::ConfigureTimer);
        }
        let ppis = |virtual_timer, physical_timer| TimerPpis { virtual_timer, physical_timer };
        for (ppis, valid) in [
            (TimerPpis::DEFAULT, true),
            (ppis(16, 31), true),
            (ppis(31, 16), true),
            (ppis(15, 30), false),
            (ppis(30, 15), false),
            (ppis(32, 30), false),
            (ppis(30, 32), false),
            (ppis(20, 20), false),
        ] {
            assert_eq!(ppis.are_valid(), valid, "{ppis:?}");
            kernel.take();
            let set = ppis.set(&calls, fd().as_fd()).map_err(|error| error.errno);
            assert_eq!(set, if valid { Ok(()) } else { Err(Errno::EINVAL) }, "{ppis:?}");
            assert_eq!(kernel.take().len(), if valid { 2 } else { 0 }, "{ppis:?}");
        }
    }
}
