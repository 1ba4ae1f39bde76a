//! What the range commands of 2.0 do, by the commands of 1.0: one granule or one entry per call.
//!
//! A range command may stop anywhere, and who calls it continues from there. So in 1.0 each of them
//! is one call that comes one granule or one entry far.
#![expect(unsafe_code, reason = "calls go through the conduit")]

use rmi_abi::address::MIN_GRANULE;
use rmi_abi::desc::BlockSize;
use rmi_abi::{Command, Ipa, IpaRange, Pa, PaRange};

use crate::channel::{Call, Channel};
use crate::command::list::MapInto;
use crate::command::{Halted, Rd, Unmapped};
use crate::error::{Error, Subject, Violation};
use crate::platform::Platform;

impl<P: Platform> Channel<P> {
    /// `RMI_DATA_CREATE_UNKNOWN`: maps the page at `data`, the first of `bytes` bytes that are to
    /// be mapped in blocks of `size`. Returns how many bytes were mapped.
    ///
    /// # Safety
    ///
    /// The page is the RMM's.
    pub(super) unsafe fn map_first_page(
        &self,
        rd: &Rd,
        ipa: Ipa,
        (data, bytes): (Pa, u64),
        size: BlockSize,
    ) -> Result<u64, Error> {
        let command = Command::DataCreateUnknown;
        let subject = Subject::Ipa(ipa);
        self.require(command)?;
        if size != BlockSize::Page {
            let what = "the dialect maps data by pages only";
            return Err(Error::argument(command, what, subject));
        }
        self.target(&MapInto::new(command, rd, ipa), bytes)?;
        let call = Call::new(command, subject, [rd.pa().raw(), data.raw(), ipa.raw()]);
        // SAFETY: the caller upholds the same contract.
        unsafe { self.complete(&call)? };
        Ok(MIN_GRANULE)
    }

    /// `RMI_DATA_DESTROY`: unmaps the first page of a range, or passes over what is not mapped
    /// there.
    pub(super) fn unmap_first_page(&self, rd: &Rd, range: IpaRange) -> Result<Unmapped, Error> {
        let (command, base) = (Command::DataDestroy, range.base());
        let subject = Subject::Ipa(base);
        let Some((page, _)) = range.split_at(MIN_GRANULE) else {
            return Err(Error::argument(command, "the range is empty", subject));
        };
        match self.data_destroy(rd, base) {
            // What the RMM reports about later entries is not used: each has its own call.
            Ok(done) => match PaRange::with_size(done.data, MIN_GRANULE) {
                Ok(memory) => Ok(Unmapped { top: page.top(), memory: Some(memory) }),
                Err(_) => {
                    let (violation, value) = (Violation::ForeignMemory, done.data.raw());
                    Err(Error::violation(command, violation, value, subject))
                }
            },
            Err(Halted { error, reached }) => match reached {
                // Nothing is live up to there; `base` itself means that a block is mapped.
                Some(top) if top > base => match IpaRange::new(base, top) {
                    Ok(gap) => Ok(Unmapped { top: gap.top().min(range.top()), memory: None }),
                    Err(_) => {
                        Err(Error::violation(command, Violation::Progress, top.raw(), subject))
                    }
                },
                _ => Err(error),
            },
        }
    }

    /// As [`Channel::unmap_first_page`]; passes `run` what was mapped there.
    pub(super) fn unmap_first_page_to(
        &self,
        rd: &Rd,
        range: IpaRange,
        run: &mut dyn FnMut(Ipa, PaRange) -> bool,
    ) -> Result<Ipa, Error> {
        let Unmapped { top, memory } = self.unmap_first_page(rd, range)?;
        match memory.filter(|memory| !run(top, *memory)) {
            None => Ok(top),
            Some(memory) => {
                let (violation, subject) = (Violation::ForeignMemory, Subject::Ipa(range.base()));
                let value = memory.base().raw();
                Err(Error::violation(Command::DataDestroy, violation, value, subject))
            }
        }
    }
}
