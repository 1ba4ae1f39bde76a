//! Range commands about memory that is kept in packed blocks ([`PackedBlock`]).

#![expect(unsafe_code, reason = "calls go through the conduit")]

use rmi_abi::desc::{AddrRangeDesc, BlockSize, OpMemState};
use rmi_abi::flags::AddrSet;
use rmi_abi::{Command, GranuleSize, Ipa, IpaRange, PaRange};
use zerocopy::IntoBytes;

use super::Rd;
use super::list::{MapInto, entries};
use crate::channel::Channel;
use crate::error::{Error, Subject};
use crate::granules::{PackedBlock, Undelegated};
use crate::platform::Platform;

/// How many words are collected before they are written to the list.
const CHUNK: usize = 16;

/// A list of memory for one `RMI_RTT_DATA_MAP`, written to a page of host memory while it is built.
///
/// All blocks have the same size; adjacent ones share a descriptor, and the list has space for as
/// many descriptors as a granule holds: 512, or 2,048 or 8,192 where granules are larger.
///
/// Source: DEN0137 2.0-bet3, RMI_RTT_DATA_MAP, "Address list".
#[doc(hidden)]
#[derive(Debug)]
pub struct MapList<'l> {
    page: &'l mut Undelegated,
    size: BlockSize,
    granule: GranuleSize,
    /// The descriptor that may still be extended.
    open: Option<PaRange>,
    chunk: [u64; CHUNK],
    /// Descriptors that are complete.
    closed: usize,
    /// How many of them are written.
    written: usize,
    bytes: u64,
}

/// The result of adding a packed block to a list.
#[doc(hidden)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listed {
    /// The block is in the list.
    Added,
    /// The block is not in the list: the list has to be [flushed](Channel::flush_list) first.
    Flush,
    /// The block is not in the list and cannot be added: the list is full, or the packed block is
    /// empty or of another size.
    Full,
}

impl MapList<'_> {
    /// Length of the memory in the list, in bytes.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Descriptors in the list.
    #[must_use]
    pub fn descriptors(&self) -> usize {
        self.closed + usize::from(self.open.is_some())
    }

    /// Whether a descriptor of these blocks can hold all of a range.
    fn holds(&self, range: &PaRange) -> bool {
        AddrRangeDesc::from_range(range, self.size, OpMemState::Delegated, self.granule).is_some()
    }
}

impl<P: Platform> Channel<P> {
    /// An empty list on a page of host memory, of blocks of `size`.
    #[doc(hidden)]
    pub fn new_list<'l>(&self, page: &'l mut Undelegated, size: BlockSize) -> MapList<'l> {
        let granule = self.granule_size();
        MapList {
            page,
            size,
            granule,
            open: None,
            chunk: [0; CHUNK],
            closed: 0,
            written: 0,
            bytes: 0,
        }
    }

    /// Adds the memory of a packed block to a list, without writing to host memory: the caller may
    /// have its own lock taken meanwhile.
    ///
    /// # Errors
    ///
    /// [`Error::Argument`] when the memory has no descriptor in this dialect.
    #[doc(hidden)]
    pub fn list_packed(
        &self,
        list: &mut MapList<'_>,
        packed: &PackedBlock,
    ) -> Result<Listed, Error> {
        self.own_page(Command::RttDataMap, list.page)?;
        let fits = |range: &PaRange| range.bytes() == list.size.bytes(list.granule);
        let Some(block) = packed.range().filter(fits) else { return Ok(Listed::Full) };
        self.own(Command::RttDataMap, packed)?;
        if !self.dialect().is_2_0() && list.open.is_some() {
            // A call names one page.
            return Ok(Listed::Full);
        }
        let grown = list
            .open
            .filter(|open| open.top() == block.base())
            .and_then(|open| PaRange::new(open.base(), block.top()).ok())
            .filter(|grown| list.holds(grown));
        if grown.is_none() {
            if list.descriptors() == entries(list.granule) {
                return Ok(Listed::Full);
            }
            if list.closed - list.written == CHUNK {
                return Ok(Listed::Flush);
            }
            self.close(list)?;
        }
        list.open = Some(grown.unwrap_or(block));
        list.bytes += block.bytes();
        Ok(Listed::Added)
    }

    /// Writes what has been collected to the list's page.
    ///
    /// # Errors
    ///
    /// [`Error::Access`] when it cannot be written.
    #[doc(hidden)]
    pub fn flush_list(&self, list: &mut MapList<'_>) -> Result<(), Error> {
        let words = list.chunk.get(..list.closed - list.written).unwrap_or_default();
        self.write_host(list.page, (list.written * 8) as u64, words.as_bytes())?;
        list.written = list.closed;
        Ok(())
    }

    /// Completes the descriptor that may still be extended, if there is one. There must be space
    /// for it.
    fn close(&self, list: &mut MapList<'_>) -> Result<(), Error> {
        let Some(open) = list.open else { return Ok(()) };
        let word = self.word(list, &open)?;
        if let Some(slot) = list.chunk.get_mut(list.closed - list.written) {
            *slot = word;
        }
        list.open = None;
        list.closed += 1;
        Ok(())
    }

    fn word(&self, list: &MapList<'_>, range: &PaRange) -> Result<u64, Error> {
        let (command, subject) = (Command::RttDataMap, Subject::Pa(range.base()));
        let what = "the memory has no descriptor in this dialect";
        AddrRangeDesc::from_range(range, list.size, OpMemState::Delegated, list.granule)
            .and_then(|desc| desc.encode(self.dialect(), list.granule).ok())
            .ok_or(Error::argument(command, what, subject))
    }

    /// `RMI_RTT_DATA_MAP`: as [`Channel::rtt_data_map`], for memory that stays in packed blocks and
    /// was listed by [`Channel::list_packed`]. Returns how many bytes were mapped, from the front:
    /// an RMM may stop anywhere, and no progress means "not now".
    ///
    /// In 1.0 a list has one page, which `RMI_DATA_CREATE_UNKNOWN` maps.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_DATA_MAP; 1.0-rel0, RMI_DATA_CREATE_UNKNOWN.
    ///
    /// # Errors
    ///
    /// As [`Channel::rtt_data_map`]; the memory stays in place.
    ///
    /// # Safety
    ///
    /// All memory in the list is still in the packed blocks that it was listed from: a list holds
    /// addresses, and the memory at an address that is out of date may have another owner.
    ///
    /// ```compile_fail,E0133
    /// # use rmi_abi::Ipa;
    /// # use rmi_host::{PackedBlock, Channel, MapList, Platform, Rd};
    /// fn stale<P: Platform>(
    ///     channel: &Channel<P>,
    ///     rd: &Rd,
    ///     mut list: MapList<'_>,
    ///     mut packed: PackedBlock,
    /// ) {
    ///     let _ = channel.list_packed(&mut list, &packed);
    ///     let memory = packed.take();
    ///     // error: call to unsafe function
    ///     let _ = channel.rtt_data_map_packed(rd, Ipa::new(0), list);
    /// }
    /// ```
    #[doc(hidden)]
    pub unsafe fn rtt_data_map_packed(
        &self,
        rd: &Rd,
        ipa: Ipa,
        mut list: MapList<'_>,
    ) -> Result<u64, Error> {
        self.own(Command::RttDataMap, rd)?;
        let at = self.page_for(Command::RttDataMap, list.page, 0)?;
        if list.granule != self.granule_size() {
            let what = "the list was made in a session with granules of another size";
            return Err(Error::argument(Command::RttDataMap, what, Subject::Ipa(ipa)));
        }
        if !self.dialect().is_2_0() {
            let Some(only) = list.open else {
                let (what, subject) = ("there is no memory", Subject::Ipa(ipa));
                return Err(Error::argument(Command::DataCreateUnknown, what, subject));
            };
            // SAFETY: the page is in a packed block, as the caller promises, so it is the RMM's.
            return unsafe { self.map_first_page(rd, ipa, (only.base(), only.bytes()), list.size) };
        }
        let blocks = (list.size, list.granule);
        let into = MapInto::new(Command::RttDataMap, rd, ipa);
        let range = self.target(&into, list.bytes)?;
        let (set, oaddr) = match (list.open, list.closed) {
            (Some(only), 0) => (AddrSet::Single, self.word(&list, &only)?),
            _ => {
                if list.closed - list.written == CHUNK {
                    self.flush_list(&mut list)?;
                }
                self.close(&mut list)?;
                self.flush_list(&mut list)?;
                let count = u16::try_from(list.closed).unwrap_or(0);
                (AddrSet::List { count }, at.raw())
            }
        };
        let call = self.map_call(&into, range, set, oaddr);
        // SAFETY: everything in the list is in packed blocks, as the caller promises, so it is the
        // RMM's; and the RMM reads a page that the list borrows exclusively.
        let reply = unsafe { self.complete(&call)? };
        self.mapped(&call, range, reply, blocks)
    }

    /// `RMI_RTT_DATA_UNMAP` with a list: as [`Channel::rtt_data_unmap_list`], with a function that
    /// gets how far the command came and each run of memory, and returns whether that was mapped
    /// there. In 1.0 there is at most one run, of one page.
    ///
    /// Source: DEN0137 2.0-bet3, RMI_RTT_DATA_UNMAP; 1.0-rel0, RMI_DATA_DESTROY.
    ///
    /// # Errors
    ///
    /// As [`Channel::rtt_data_unmap_list`]; and
    /// [`Violation::ForeignMemory`](crate::Violation::ForeignMemory) when `run` returns that it was
    /// not. The command was carried out then.
    pub fn rtt_data_unmap_each(
        &self,
        rd: &Rd,
        range: IpaRange,
        list: &mut Undelegated,
        run: &mut dyn FnMut(Ipa, PaRange) -> bool,
    ) -> Result<Ipa, Error> {
        let granule = self.granule_size();
        self.own(Command::RttDataUnmap, rd)?;
        if !self.dialect().is_2_0() {
            return self.unmap_first_page_to(rd, range, run);
        }
        self.unmap_list(Command::RttDataUnmap, rd, range, (list, entries(granule)), granule, run)
    }
}
