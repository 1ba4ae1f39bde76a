//! Pages that host and RMM share: they are copied into and out of, and no reference to them is
//! formed.
#![expect(unsafe_code, reason = "reaching physical memory is an unsafe method")]

use rmi_abi::address::MIN_GRANULE;
use rmi_abi::{Command, Pa};
use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::access::{AccessFault, HostAccess};
use crate::channel::Channel;
use crate::error::{Error, Subject};
use crate::granules::{Machine, Undelegated};
use crate::platform::Platform;

/// The address `offset` bytes into `memory`, if that is memory of `machine` and `len` bytes fit
/// there.
fn locate(
    machine: Machine,
    memory: &Undelegated,
    offset: u64,
    len: usize,
) -> Result<Pa, AccessFault> {
    let at = memory.base().checked_add(offset).unwrap_or(memory.range().top());
    let end = u64::try_from(len).ok().and_then(|len| at.checked_add(len));
    match end {
        Some(end) if end <= memory.range().top() && memory.machine() == machine => Ok(at),
        _ => Err(AccessFault { at }),
    }
}

impl<P: Platform> Channel<P> {
    /// Copies `from` into host memory, `offset` bytes after its base.
    ///
    /// # Errors
    ///
    /// [`AccessFault`] when it does not fit, is memory of another machine, or the host cannot write
    /// there.
    pub fn write_host(
        &self,
        memory: &mut Undelegated,
        offset: u64,
        from: &[u8],
    ) -> Result<(), AccessFault> {
        let at = locate(self.machine(), memory, offset, from.len())?;
        // SAFETY: the token owns the memory, is borrowed exclusively, and never lends a reference
        // to it.
        unsafe { self.platform().access().write(at, from) }
    }

    /// Copies host memory, `offset` bytes after its base, into `into`.
    ///
    /// # Errors
    ///
    /// [`AccessFault`] when it is not all there, is memory of another machine, or the host cannot
    /// read it.
    pub fn read_host(
        &self,
        memory: &Undelegated,
        offset: u64,
        into: &mut [u8],
    ) -> Result<(), AccessFault> {
        let at = locate(self.machine(), memory, offset, into.len())?;
        // SAFETY: the token owns the memory and never lends a reference to it.
        unsafe { self.platform().access().read(at, into) }
    }

    /// Writes a parameter page into `page`, which must be at least as large.
    pub(crate) fn put<T: IntoBytes + Immutable>(
        &self,
        command: Command,
        page: &mut Undelegated,
        content: &T,
    ) -> Result<Pa, Error> {
        self.put_bytes(command, page, content.as_bytes())
    }

    /// As [`Channel::put`]; not inlined, because the pages of all commands are written alike.
    #[inline(never)]
    fn put_bytes(
        &self,
        command: Command,
        page: &mut Undelegated,
        content: &[u8],
    ) -> Result<Pa, Error> {
        let at = self.page_for(command, page, content.len())?;
        self.write_host(page, 0, content)?;
        Ok(at)
    }

    /// The address of a page through which the host and the RMM communicate, which has to be of
    /// `bytes` at least, and a whole granule. The page of the RMM's configuration, from which the
    /// size of granules is learnt, is one of 4 KiB.
    pub(crate) fn page_for(
        &self,
        command: Command,
        page: &Undelegated,
        bytes: usize,
    ) -> Result<Pa, Error> {
        self.own_page(command, page)?;
        let granule = match command {
            Command::RmmConfigGet | Command::RmmConfigSet => MIN_GRANULE,
            _ => self.granule_size().bytes(),
        };
        let (at, bytes) = (page.base(), granule.max(bytes as u64));
        if page.bytes() < bytes || !at.is_aligned(granule) {
            return Err(Error::argument(command, "the page is no whole granule", Subject::Pa(at)));
        }
        Ok(at)
    }

    /// Copies a structure out of `page`.
    ///
    /// Generic in the caller's error: converting a result with a large structure would copy that.
    pub(crate) fn get<T: FromBytes + IntoBytes, E: From<AccessFault>>(
        &self,
        page: &Undelegated,
        offset: u64,
    ) -> Result<T, E> {
        let mut content = T::new_zeroed();
        match self.read_host(page, offset, content.as_mut_bytes()) {
            Ok(()) => Ok(content),
            Err(fault) => Err(fault.into()),
        }
    }
}
