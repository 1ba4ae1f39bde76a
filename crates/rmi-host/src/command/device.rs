//! Commands about the memory of devices in a Realm's tables.
#![expect(unsafe_code, reason = "calls go through the conduit")]

use rmi_abi::desc::BlockSize;
use rmi_abi::{Command, Ipa, IpaRange, PaRange};

use crate::channel::{Call, Channel};
use crate::command::list::{MapInto, pass_front};
use crate::command::{
    Mapped, PdevGranule, Rd, RecName, Unmapped, UnmappedList, VdevGranule, VsmmuGranule,
};
use crate::error::{Error, Failed, Subject};
use crate::granules::{Delegated, InUse, Undelegated};
use crate::platform::Platform;

impl<P: Platform> Channel<P> {
    /// `RMI_RTT_DEV_MAP`: maps memory of a device at `ipa`, in blocks. The memory is delegated like
    /// any other and lies in the ranges that the virtual device was created with. `size` is the
    /// size of a block. Returns how much was mapped: an RMM may stop anywhere, and no progress
    /// means "not now".
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_DEV_MAP.
    ///
    /// # Errors
    ///
    /// The memory is returned with [`ErrorRtt`](rmi_abi::Status::ErrorRtt) when a table is missing
    /// or the first entry is in use, [`ErrorInput`](rmi_abi::Status::ErrorInput) when the memory
    /// does not belong to the device or the device does not belong to the Realm,
    /// [`ErrorTracking`](rmi_abi::Status::ErrorTracking) when it is tracked too coarsely,
    /// [`ErrorNotSupported`](rmi_abi::Status::ErrorNotSupported) without device assignment.
    pub fn rtt_dev_map(
        &self,
        rd: &Rd,
        vdev: &VdevGranule,
        ipa: Ipa,
        mut memory: Delegated,
        size: BlockSize,
    ) -> Result<Mapped, Failed<Delegated>> {
        let blocks = (size, self.granule_size());
        let into = MapInto { vdev: Some(vdev.pa()), ..MapInto::new(Command::RttDevMap, rd, ipa) };
        let owned = self.own(into.command, rd).and_then(|()| self.own(into.command, vdev));
        // SAFETY: all granules named are the RMM's.
        match owned.and_then(|()| unsafe { self.map_single(&into, &memory, blocks) }) {
            Ok(bytes) => {
                let mapped = memory.take_front(bytes).unwrap_or_default().into_use();
                Ok(Mapped { mapped, rest: memory })
            }
            Err(error) => Err(Failed::new(memory, error)),
        }
    }

    /// `RMI_RTT_DEV_MAP` with a list: as [`Channel::rtt_dev_map`], for several tokens one after the
    /// other; otherwise as [`Channel::rtt_data_map_list`].
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_DEV_MAP.
    ///
    /// # Errors
    ///
    /// As [`Channel::rtt_dev_map`]; all tokens stay in place.
    pub fn rtt_dev_map_list(
        &self,
        (rd, vdev, ipa): (&Rd, &VdevGranule, Ipa),
        list: &mut Undelegated,
        memory: &mut [Delegated],
        size: BlockSize,
        mapped: &mut dyn FnMut(InUse),
    ) -> Result<Ipa, Error> {
        let blocks = (size, self.granule_size());
        self.own(Command::RttDevMap, rd)?;
        self.own(Command::RttDevMap, vdev)?;
        let into = MapInto { vdev: Some(vdev.pa()), ..MapInto::new(Command::RttDevMap, rd, ipa) };
        // SAFETY: all granules named are the RMM's.
        let bytes = unsafe { self.map_list(&into, list, memory.iter(), blocks)? };
        pass_front(memory, bytes, &mut |part| mapped(part.into_use()));
        Ok(Ipa::new(ipa.raw() + bytes))
    }

    /// `RMI_RTT_DEV_UNMAP`: unmaps memory of devices from the start of `range` up to where the RMM
    /// stops, and returns the contiguous run that was mapped there. The memory is then delegated.
    ///
    /// The caller checks the run against what it mapped.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_DEV_UNMAP.
    ///
    /// # Errors
    ///
    /// [`ErrorRtt`](rmi_abi::Status::ErrorRtt) when the first live entry is not memory of a device
    /// or is larger than the range; [`ErrorNotSupported`](rmi_abi::Status::ErrorNotSupported)
    /// without device assignment.
    pub fn rtt_dev_unmap(&self, rd: &Rd, range: IpaRange) -> Result<Unmapped, Error> {
        let granule = self.granule_size();
        self.own(Command::RttDevUnmap, rd)?;
        self.unmap_single(Command::RttDevUnmap, rd.pa(), range, granule)
    }

    /// `RMI_RTT_DEV_UNMAP` with a list: as [`Channel::rtt_dev_unmap`]; otherwise as
    /// [`Channel::rtt_data_unmap_list`].
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_DEV_UNMAP.
    ///
    /// # Errors
    ///
    /// As [`Channel::rtt_dev_unmap`].
    pub fn rtt_dev_unmap_list(
        &self,
        rd: &Rd,
        range: IpaRange,
        list: &mut Undelegated,
        runs: &mut [PaRange],
    ) -> Result<UnmappedList, Error> {
        let granule = self.granule_size();
        self.own(Command::RttDevUnmap, rd)?;
        self.unmap_to(Command::RttDevUnmap, rd, range, list, runs, granule)
    }

    /// `RMI_RTT_DEV_VALIDATE`: completes the request of `rec` to validate a mapping of memory of a
    /// device, for a range that starts at the current position of the request, and returns how far
    /// it came. Dialects since 2.0-bet1 do not identify the devices.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_DEV_VALIDATE.
    ///
    /// # Errors
    ///
    /// [`ErrorInput`](rmi_abi::Status::ErrorInput) when the range is not what the REC requested,
    /// [`ErrorRec`](rmi_abi::Status::ErrorRec) when it requested nothing or belongs to another
    /// Realm, [`ErrorRtt`](rmi_abi::Status::ErrorRtt) when the mapping is not the expected one,
    /// [`ErrorDevice`](rmi_abi::Status::ErrorDevice) when the virtual device is in the wrong state.
    pub fn rtt_dev_validate(
        &self,
        rd: &Rd,
        rec: RecName<'_>,
        (pdev, vdev): (&PdevGranule, &VdevGranule),
        range: IpaRange,
    ) -> Result<Ipa, Error> {
        self.own(Command::RttDevValidate, rd)?;
        self.own(Command::RttDevValidate, &rec)?;
        self.own(Command::RttDevValidate, pdev)?;
        self.own(Command::RttDevValidate, vdev)?;
        let (command, subject) = (Command::RttDevValidate, Subject::Ipa(range.base()));
        let (rd, rec) = (rd.pa().raw(), rec.pa().raw());
        let (base, top) = (range.base().raw(), range.top().raw());
        let call = if self.dialect().dev_validate_names_devices() {
            Call::new(command, subject, [rd, rec, pdev.pa().raw(), vdev.pa().raw(), base, top])
        } else {
            Call::new(command, subject, [rd, rec, base, top])
        };
        // SAFETY: the command accesses no memory except the Realm's own tables.
        let reply = unsafe { self.complete(&call)? };
        self.reach(&call, range.base(), range.top(), reply.x1())
    }

    fn arch_dev(
        &self,
        command: Command,
        rd: &Rd,
        vsmmu: &VsmmuGranule,
        range: IpaRange,
    ) -> Result<Ipa, Error> {
        let args = [rd.pa().raw(), vsmmu.pa().raw(), range.base().raw(), range.top().raw()];
        let call = Call::new(command, Subject::Ipa(range.base()), args);
        // SAFETY: the command maps registers that the RMM emulates; it names no memory of the host.
        let reply = unsafe { self.complete(&call)? };
        self.reach(&call, range.base(), range.top(), reply.x1())
    }

    /// `RMI_RTT_ARCH_DEV_MAP`: maps the registers of a virtual SMMU, and returns how far it came.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_ARCH_DEV_MAP.
    ///
    /// # Errors
    ///
    /// [`ErrorInput`](rmi_abi::Status::ErrorInput) when the virtual SMMU does not belong to the
    /// Realm, [`ErrorRtt`](rmi_abi::Status::ErrorRtt) when the first entry is in use,
    /// [`ErrorNotSupported`](rmi_abi::Status::ErrorNotSupported) without virtual SMMUs.
    pub fn rtt_arch_dev_map(
        &self,
        rd: &Rd,
        vsmmu: &VsmmuGranule,
        range: IpaRange,
    ) -> Result<Ipa, Error> {
        self.own(Command::RttArchDevMap, rd)?;
        self.own(Command::RttArchDevMap, vsmmu)?;
        self.arch_dev(Command::RttArchDevMap, rd, vsmmu, range)
    }

    /// `RMI_RTT_ARCH_DEV_UNMAP`: unmaps the registers of a virtual SMMU, and returns how far it
    /// came.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_ARCH_DEV_UNMAP.
    ///
    /// # Errors
    ///
    /// [`ErrorNotSupported`](rmi_abi::Status::ErrorNotSupported) without virtual SMMUs; the
    /// conditions of other statuses are not public.
    pub fn rtt_arch_dev_unmap(
        &self,
        rd: &Rd,
        vsmmu: &VsmmuGranule,
        range: IpaRange,
    ) -> Result<Ipa, Error> {
        self.own(Command::RttArchDevUnmap, rd)?;
        self.own(Command::RttArchDevUnmap, vsmmu)?;
        self.arch_dev(Command::RttArchDevUnmap, rd, vsmmu, range)
    }
}
