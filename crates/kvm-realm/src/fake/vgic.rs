//! The virtual GICv3.

use std::collections::BTreeSet;

use crate::Errno;

/// Type of the device, and its groups and attributes. Source: Linux, `include/uapi/linux/kvm.h`,
/// `arch/arm64/include/uapi/asm/kvm.h` and `Documentation/virt/kvm/devices/arm-vgic-v3.rst`.
pub(super) const VGIC_V3: u32 = 7;
const ADDR: u32 = 0;
const NR_IRQS: u32 = 3;
const CTRL: u32 = 4;
const ADDR_DIST: u64 = 2;
const ADDR_REDIST: u64 = 3;
const ADDR_REDIST_REGION: u64 = 5;
const CTRL_INIT: u64 = 0;

const FRAME: u64 = 0x1_0000;
const REDISTRIBUTOR: u64 = 2 * FRAME;

/// The device.
#[derive(Debug, Default)]
pub(super) struct Vgic {
    distributor: Option<u64>,
    /// Bases and ends of the regions of redistributors; one without an end is as long as needed.
    redistributors: Vec<(u64, Option<u64>)>,
    interrupts: Option<u32>,
    pub(super) is_initialised: bool,
    /// SPIs that are asserted.
    pub(super) asserted: BTreeSet<u32>,
}

impl Vgic {
    /// KVM_SET_DEVICE_ATTR.
    ///
    /// # Errors
    ///
    /// Those of the kernel.
    pub(super) fn set(
        &mut self,
        (group, attr): (u32, u64),
        value: Option<&[u8]>,
        ipa_bits: u32,
        vcpus: u64,
    ) -> Result<(), Errno> {
        match (group, attr) {
            (ADDR, ADDR_DIST | ADDR_REDIST | ADDR_REDIST_REGION) => {
                let value = value.ok_or(Errno::EFAULT)?;
                let address = value.try_into().map(u64::from_le_bytes);
                self.place(attr, address.map_err(|_| Errno::EFAULT)?, ipa_bits)
            }
            (NR_IRQS, 0) => {
                let value = value.ok_or(Errno::EFAULT)?.try_into();
                let count = value.map(u32::from_le_bytes).map_err(|_| Errno::EFAULT)?;
                if !(64..=1024).contains(&count) || !count.is_multiple_of(32) {
                    return Err(Errno::EINVAL);
                }
                if self.is_initialised || self.interrupts.is_some() {
                    return Err(Errno::EBUSY);
                }
                self.interrupts = Some(count);
                Ok(())
            }
            (CTRL, CTRL_INIT) => {
                if vcpus == 0 {
                    return Err(Errno::ENODEV);
                }
                self.is_initialised = true;
                Ok(())
            }
            _ => Err(Errno::ENXIO),
        }
    }

    /// KVM_HAS_DEVICE_ATTR.
    ///
    /// # Errors
    ///
    /// `ENXIO`.
    pub(super) fn has((group, attr): (u32, u64)) -> Result<(), Errno> {
        match (group, attr) {
            (ADDR, ADDR_DIST | ADDR_REDIST | ADDR_REDIST_REGION)
            | (NR_IRQS, 0)
            | (CTRL, CTRL_INIT) => Ok(()),
            _ => Err(Errno::ENXIO),
        }
    }

    fn place(&mut self, attr: u64, address: u64, ipa_bits: u32) -> Result<(), Errno> {
        if self.is_initialised {
            return Err(Errno::EBUSY);
        }
        let end = 1_u64.checked_shl(ipa_bits).unwrap_or(u64::MAX);
        let (base, bytes) = match attr {
            ADDR_DIST => (address, Some(FRAME)),
            ADDR_REDIST => (address, None),
            // The count, 12 bits from bit 52 on; the base; flags; the index.
            _ => {
                let (count, index) = (address >> 52, address & 0xfff);
                if address >> 12 & 0xf != 0 || count == 0 {
                    return Err(Errno::EINVAL);
                }
                if index != self.redistributors.len() as u64 {
                    return Err(Errno::EINVAL);
                }
                (address & 0x000f_ffff_ffff_0000, Some(count * REDISTRIBUTOR))
            }
        };
        if !base.is_multiple_of(FRAME) {
            return Err(Errno::EINVAL);
        }
        if base.checked_add(bytes.unwrap_or(REDISTRIBUTOR)).is_none_or(|last| last > end) {
            return Err(Errno::E2BIG);
        }
        let overlaps = |at: u64, length: Option<u64>| {
            let end = |base: u64, bytes: Option<u64>| base + bytes.unwrap_or(REDISTRIBUTOR);
            base < end(at, length) && at < end(base, bytes)
        };
        if attr == ADDR_DIST {
            if self.distributor.is_some() {
                return Err(Errno::EEXIST);
            }
            if self.redistributors.iter().any(|(at, length)| overlaps(*at, *length)) {
                return Err(Errno::EINVAL);
            }
            self.distributor = Some(base);
            return Ok(());
        }
        // One region by itself, or any number of them.
        let is_alone = attr == ADDR_REDIST;
        match self.redistributors.first() {
            Some((_, None)) if is_alone => return Err(Errno::EEXIST),
            Some(_) if is_alone => return Err(Errno::EINVAL),
            Some((_, None)) => return Err(Errno::EINVAL),
            _ => {}
        }
        if self.distributor.is_some_and(|at| overlaps(at, Some(FRAME)))
            || self.redistributors.iter().any(|(at, length)| overlaps(*at, *length))
        {
            return Err(Errno::EINVAL);
        }
        self.redistributors.push((base, bytes));
        Ok(())
    }

    /// KVM_IRQ_LINE of an SPI.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a number that is no SPI of this GIC, `EAGAIN` before it is initialised.
    pub(super) fn set_line(&mut self, intid: u32, is_asserted: bool) -> Result<(), Errno> {
        if !(32..self.interrupts.unwrap_or(256)).contains(&intid) {
            return Err(Errno::EINVAL);
        }
        if !self.is_initialised {
            return Err(Errno::EAGAIN);
        }
        if is_asserted {
            self.asserted.insert(intid);
        } else {
            self.asserted.remove(&intid);
        }
        Ok(())
    }

    /// Whether a vCPU can run.
    ///
    /// # Errors
    ///
    /// `EBUSY` if it is not initialised, `ENXIO` if the distributor, or a redistributor for each of
    /// `vcpus` vCPUs, has no address.
    pub(super) fn check(&self, vcpus: u64) -> Result<(), Errno> {
        let space = self.redistributors.iter().fold(0_u64, |sum, (_, bytes)| {
            sum.saturating_add(bytes.map_or(u64::MAX, |bytes| bytes / REDISTRIBUTOR))
        });
        if !self.is_initialised {
            Err(Errno::EBUSY)
        } else if self.distributor.is_none() || space < vcpus {
            Err(Errno::ENXIO)
        } else {
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(vgic: &mut Vgic, group: u32, attr: u64, value: u64) -> Result<(), Errno> {
        let bytes = value.to_le_bytes();
        let length = if group == NR_IRQS { 4 } else { 8 };
        vgic.set((group, attr), bytes.get(..length), 33, 2)
    }

    #[test]
    fn addresses_are_whole_frames_that_do_not_overlap() {
        let mut vgic = Vgic::default();
        assert_eq!(set(&mut vgic, ADDR, ADDR_DIST, 0x0800_1000), Err(Errno::EINVAL));
        assert_eq!(set(&mut vgic, ADDR, ADDR_DIST, (2 << 32) - 0x1_0000), Ok(()));
        assert_eq!(set(&mut vgic, ADDR, ADDR_DIST, 0x800_0000), Err(Errno::EEXIST));
        assert_eq!(set(&mut vgic, ADDR, ADDR_REDIST, (2 << 32) - 0x1_0000), Err(Errno::E2BIG));
        assert_eq!(set(&mut vgic, ADDR, ADDR_REDIST, (2 << 32) - 0x2_0000), Err(Errno::EINVAL));
        assert_eq!(set(&mut vgic, ADDR, ADDR_REDIST, 0x80a_0000), Ok(()));
        assert_eq!(set(&mut vgic, ADDR, ADDR_REDIST, 0x90a_0000), Err(Errno::EEXIST));
        assert_eq!(
            set(&mut vgic, ADDR, ADDR_REDIST_REGION, 1 << 52 | 0xa00_0000 | 1),
            Err(Errno::EINVAL)
        );
        assert_eq!(vgic.check(2), Err(Errno::EBUSY));
        assert_eq!(vgic.set((CTRL, CTRL_INIT), None, 33, 0), Err(Errno::ENODEV));
        assert_eq!(vgic.set((CTRL, CTRL_INIT), None, 33, 2), Ok(()));
        assert_eq!(vgic.check(2), Ok(()));
        assert_eq!(set(&mut vgic, ADDR, ADDR_REDIST, 0x90a_0000), Err(Errno::EBUSY));
        assert_eq!(set(&mut vgic, NR_IRQS, 0, 64), Err(Errno::EBUSY));
    }

    #[test]
    fn regions_are_given_in_the_order_of_their_index() {
        let mut vgic = Vgic::default();
        let region = |index: u64, base: u64, count: u64| count << 52 | base | index;
        assert_eq!(
            set(&mut vgic, ADDR, ADDR_REDIST_REGION, region(1, 0x1000_0000, 1)),
            Err(Errno::EINVAL)
        );
        assert_eq!(
            set(&mut vgic, ADDR, ADDR_REDIST_REGION, region(0, 0x1000_0000, 0)),
            Err(Errno::EINVAL)
        );
        assert_eq!(set(&mut vgic, ADDR, ADDR_REDIST_REGION, region(0, 0x1000_0000, 2)), Ok(()));
        assert_eq!(
            set(&mut vgic, ADDR, ADDR_REDIST_REGION, region(1, 0x1003_0000, 1)),
            Err(Errno::EINVAL)
        );
        assert_eq!(set(&mut vgic, ADDR, ADDR_REDIST_REGION, region(1, 0x1004_0000, 1)), Ok(()));
        assert_eq!(set(&mut vgic, ADDR, ADDR_REDIST, 0x2000_0000), Err(Errno::EINVAL));
        assert_eq!(set(&mut vgic, CTRL, CTRL_INIT, 0), Ok(()));
        assert_eq!(vgic.check(1), Err(Errno::ENXIO));
        vgic.distributor = Some(0);
        assert_eq!((vgic.check(3), vgic.check(4)), (Ok(()), Err(Errno::ENXIO)));
    }

    #[test]
    fn there_are_64_to_1024_interrupts() {
        for count in [0, 32, 63, 80, 1056] {
            assert_eq!(set(&mut Vgic::default(), NR_IRQS, 0, count), Err(Errno::EINVAL), "{count}");
        }
        let mut vgic = Vgic::default();
        assert_eq!(set(&mut vgic, NR_IRQS, 0, 64), Ok(()));
        assert_eq!(set(&mut vgic, NR_IRQS, 0, 64), Err(Errno::EBUSY));
        assert_eq!(set(&mut vgic, 9, 0, 0), Err(Errno::ENXIO));
        assert_eq!(vgic.set_line(63, true), Err(Errno::EAGAIN));
        assert_eq!(set(&mut vgic, CTRL, CTRL_INIT, 0), Ok(()));
        assert_eq!([31, 64].map(|intid| vgic.set_line(intid, true)), [Err(Errno::EINVAL); 2]);
        assert_eq!((vgic.set_line(32, true), vgic.set_line(63, true)), (Ok(()), Ok(())));
        assert_eq!(vgic.set_line(32, false), Ok(()));
        assert_eq!(vgic.asserted, BTreeSet::from([63]));
    }
}
