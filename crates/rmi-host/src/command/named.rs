//! What a command names: memory or an object, with its machine and address.

use rmi_abi::address::MIN_GRANULE;
use rmi_abi::{Command, Pa};

use crate::channel::Channel;
use crate::error::{Error, Subject};
use crate::granules::{Granules, Machine, Owner, PackedBlock, Undelegated};
use crate::platform::Platform;

/// Something that commands name by an address.
pub(crate) trait Named {
    /// The machine, `None` for something that has no memory, and the address.
    fn place(&self) -> (Option<Machine>, Pa);
}

impl<H: Owner> Named for Granules<H> {
    fn place(&self) -> (Option<Machine>, Pa) {
        ((!self.is_empty()).then_some(self.machine()), self.base())
    }
}

impl Named for PackedBlock {
    fn place(&self) -> (Option<Machine>, Pa) {
        (self.machine(), self.range().map_or(Pa::new(0), |range| range.base()))
    }
}

impl<P: Platform> Channel<P> {
    /// Refuses what belongs to another machine, and an empty token, whose address is not the
    /// caller's.
    pub(crate) fn own(&self, command: Command, named: &impl Named) -> Result<(), Error> {
        self.own_place(command, named.place())
    }

    /// As [`Channel::own`]; not inlined, because every command does it.
    fn own_place(
        &self,
        command: Command,
        (machine, at): (Option<Machine>, Pa),
    ) -> Result<(), Error> {
        let subject = Subject::Pa(at);
        match machine {
            Some(machine) if machine == self.machine() => Ok(()),
            Some(_) => Err(Error::other_machine(command, subject)),
            None => Err(Error::argument(command, "the token is for no memory at all", subject)),
        }
    }

    /// As [`Channel::own`], for a page through which the host and the RMM communicate: an empty
    /// token is a page that the caller has no memory for.
    pub(crate) fn own_page(&self, command: Command, page: &Undelegated) -> Result<(), Error> {
        match page.is_empty() {
            true => Err(Error::need_memory(command, MIN_GRANULE, MIN_GRANULE)),
            false => self.own(command, page),
        }
    }
}
