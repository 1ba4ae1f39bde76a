//! Commands about coherent memory of devices. Only 2.0-bet0 has them, and the registers of those
//! that populate, start, stop and empty it are not public.
#![expect(unsafe_code, reason = "calls go through the conduit")]

use rmi_abi::Command;
use rmi_abi::device::{CmemParamsPage, CmemPdevParamsPage};

use crate::channel::{Call, Channel, Progress};
use crate::command::{CmemGranule, PdevGranule};
use crate::error::{Error, Subject};
use crate::granules::{Delegated, Undelegated};
use crate::platform::Platform;

impl<P: Platform> Channel<P> {
    /// `RMI_CMEM_CREATE`: starts to create a coherent memory object in a delegated granule. `page`
    /// is host memory for the parameters.
    ///
    /// Source: DEN0137 2.0-bet0, RMI_CMEM_CREATE.
    ///
    /// # Errors
    ///
    /// [`Error`]; the statuses are not public.
    ///
    /// # Safety
    ///
    /// `chbcr_addr` of `params` is the address of a host bridge's component registers: the RMM
    /// programs the decoder behind it, and no document says that it knows those addresses itself.
    pub unsafe fn cmem_create(
        &self,
        cmem: &Delegated,
        page: &mut Undelegated,
        params: &CmemParamsPage,
    ) -> Result<Progress, Error> {
        self.own(Command::CmemCreate, cmem)?;
        let command = Command::CmemCreate;
        self.require(command)?;
        let at = self.put(command, page, params)?;
        let args = [cmem.base().raw(), at.raw()];
        let call = Call::new(command, Subject::Pa(cmem.base()), args);
        // SAFETY: the RMM reads a page that this function borrows exclusively; the granule is the
        // RMM's already; the caller vouches for what the RMM programs.
        unsafe { self.start(&call) }
    }

    /// `RMI_CMEM_DESTROY`: starts to destroy a coherent memory object.
    ///
    /// Source: DEN0137 2.0-bet0, RMI_CMEM_DESTROY.
    ///
    /// # Errors
    ///
    /// [`Error`]; the statuses are not public.
    pub fn cmem_destroy(&self, cmem: &CmemGranule) -> Result<Progress, Error> {
        self.own(Command::CmemDestroy, cmem)?;
        let call = Call::new(Command::CmemDestroy, Subject::Pa(cmem.pa()), [cmem.pa().raw()]);
        // SAFETY: the command accesses no memory except the object's own.
        unsafe { self.start(&call) }
    }

    /// `RMI_CMEM_ADD_PDEV`: adds a device to a coherent memory object, as its device number
    /// `index`. `page` is host memory for the parameters.
    ///
    /// Source: DEN0137 2.0-bet0, RMI_CMEM_ADD_PDEV.
    ///
    /// # Errors
    ///
    /// [`Error`]; the statuses are not public.
    pub fn cmem_add_pdev(
        &self,
        cmem: &CmemGranule,
        pdev: &PdevGranule,
        index: u64,
        page: &mut Undelegated,
        params: &CmemPdevParamsPage,
    ) -> Result<(), Error> {
        self.own(Command::CmemAddPdev, cmem)?;
        self.own(Command::CmemAddPdev, pdev)?;
        let command = Command::CmemAddPdev;
        self.require(command)?;
        let at = self.put(command, page, params)?;
        let args = [cmem.pa().raw(), pdev.pa().raw(), index, at.raw()];
        let call = Call::new(command, Subject::Pa(cmem.pa()), args);
        // SAFETY: the RMM reads a page that this function borrows exclusively.
        unsafe { self.complete(&call) }.map(|_| ())
    }

    /// `RMI_CMEM_REMOVE_PDEV`: removes device number `index` from a coherent memory object.
    ///
    /// Source: DEN0137 2.0-bet0, RMI_CMEM_REMOVE_PDEV.
    ///
    /// # Errors
    ///
    /// [`Error`]; the statuses are not public.
    pub fn cmem_remove_pdev(
        &self,
        cmem: &CmemGranule,
        pdev: &PdevGranule,
        index: u64,
    ) -> Result<(), Error> {
        self.own(Command::CmemRemovePdev, cmem)?;
        self.own(Command::CmemRemovePdev, pdev)?;
        let args = [cmem.pa().raw(), pdev.pa().raw(), index];
        let call = Call::new(Command::CmemRemovePdev, Subject::Pa(cmem.pa()), args);
        // SAFETY: the command names no memory except the objects'.
        unsafe { self.complete(&call) }.map(|_| ())
    }
}
