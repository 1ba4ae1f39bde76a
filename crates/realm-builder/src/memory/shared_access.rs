//! Access of the host to memory that it shares with a Realm, by the Realm's addresses.
//!
//! A device model copies in and out:
//!
//! ```
//! # use realm_builder::{Realm, RealmConfig, RealmStorage};
//! # use rmi_abi::{Dialect, Ipa, IpaRange};
//! # use rmi_host::command::SharedAccess;
//! # use rmi_host::SessionOptions;
//! # use rmm_model::{Model, Options};
//! # use sro::{FixedPool, Pool, open};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let model = Model::new(Options::new(Dialect::TfRmm2026_07))?;
//! # let mut memory = model.take_memory();
//! # let mut pool = FixedPool::<8>::new();
//! # pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
//! # pool.add(memory.take_front(64 << 12).unwrap()).unwrap();
//! # let rmm = open(model.host(), SessionOptions::default(), &mut pool)?;
//! # let mut storage = RealmStorage::<16, 16>::new();
//! # let realm = Realm::create(&rmm, &RealmConfig::new(40), &mut storage, &mut pool)?;
//! let queue = IpaRange::with_size(Ipa::new(1 << 39), 0x4000)?;
//! let pages = memory.take_front(queue.bytes()).expect("1 GiB");
//! realm.share(&mut pool, queue.base(), pages, SharedAccess::MEMORY)?;
//!
//! let ipa = Ipa::new((1 << 39) + 0xffe);
//! realm.write_shared(ipa, b"used")?;
//! let mut back = [0; 4];
//! realm.read_shared(ipa, &mut back)?;
//! assert_eq!(&back, b"used");
//!
//! // For a device that does DMA: the physical addresses.
//! let mut pieces = Vec::new();
//! let bytes =
//!     realm.shared_pieces(queue, &mut |ipas, memory| pieces.push((ipas, memory)))?;
//! assert_eq!((bytes, pieces.len()), (0x4000, 1));
//! # assert!(realm.tear_down(&mut pool, []).error.is_none());
//! # pool.drain(&rmm, &mut drop);
//! # Ok(())
//! # }
//! ```
#![expect(unsafe_code, reason = "reaching physical memory is an unsafe method")]

use rmi_abi::{Ipa, IpaRange, Pa, PaRange};
use rmi_host::{Error, HostAccess, Platform};

use crate::error::{BuildError, RegionProblem};
use crate::memory::realm_core::RealmCore;

impl<P: Platform> RealmCore<'_, P> {
    /// See [`Realm::read_shared`](crate::Realm::read_shared).
    pub(crate) fn read_shared(&self, ipa: Ipa, into: &mut [u8]) -> Result<(), BuildError> {
        let Some(pages) = self.pages_of(ipa, into.len())? else { return Ok(()) };
        let _held = self.hold_to_read(pages)?;
        self.check_shared(pages)?;
        let access = self.rmm.platform().access();
        let mut left = into;
        self.each_part(ipa, left.len(), |at, bytes| {
            let (part, rest) = core::mem::take(&mut left).split_at_mut(bytes);
            left = rest;
            // SAFETY: the token of the memory is in a record of this Realm, and the session is on
            // its machine. It stays there while the claim is held, because taking it out needs an
            // exclusive claim on the range. There are no references into shared memory.
            unsafe { access.read(at, part) }.map_err(Error::from)
        })
    }

    /// See [`Realm::write_shared`](crate::Realm::write_shared).
    pub(crate) fn write_shared(&self, ipa: Ipa, from: &[u8]) -> Result<(), BuildError> {
        let Some(pages) = self.pages_of(ipa, from.len())? else { return Ok(()) };
        let _held = self.hold_to_write(pages)?;
        self.check_shared(pages)?;
        let access = self.rmm.platform().access();
        let mut left = from;
        self.each_part(ipa, left.len(), |at, bytes| {
            let (part, rest) = left.split_at(bytes);
            left = rest;
            // SAFETY: as for reading; and no other thread reads or writes it through the Realm,
            // because this claim is exclusive.
            unsafe { access.write(at, part) }.map_err(Error::from)
        })
    }

    /// See [`Realm::shared_pieces`](crate::Realm::shared_pieces).
    pub(crate) fn shared_pieces(
        &self,
        range: IpaRange,
        each: &mut dyn FnMut(IpaRange, PaRange),
    ) -> Result<u64, BuildError> {
        self.check_unprotected(range, range.bytes())?;
        let _held = self.hold_to_read(range)?;
        let (mut left, mut sum) = (range, 0);
        while let Some((ipas, memory)) = self.first_shared(left) {
            sum += ipas.bytes();
            left = range.after(ipas.top());
            each(ipas, memory);
        }
        Ok(sum)
    }

    /// The first part of a range that is shared, as far as it is one piece.
    pub(crate) fn first_shared(&self, range: IpaRange) -> Option<(IpaRange, PaRange)> {
        if range.is_empty() {
            return None;
        }
        let shadow = self.shadow.lock();
        let (at, _) = shadow.shared_in(&range)?;
        let piece = shadow.shared.get(at).filter(|piece| piece.is_here())?;
        let part = piece.range().intersection(&range)?;
        let before = part.base().checked_offset_from(piece.range().base())?;
        let memory = PaRange::with_size(piece.memory().base().checked_add(before)?, part.bytes());
        Some((part, memory.ok()?))
    }

    /// The granules of some bytes; `None` for no bytes.
    fn pages_of(&self, ipa: Ipa, len: usize) -> Result<Option<IpaRange>, BuildError> {
        let granule = self.granule_bytes();
        let base = ipa.align_down(granule);
        let top = u64::try_from(len).ok().and_then(|len| ipa.checked_add(len)?.align_up(granule));
        let pages = top.and_then(|top| IpaRange::new(base, top).ok());
        if len == 0 {
            return Ok(None);
        }
        let pages = pages.unwrap_or(IpaRange::empty(base));
        self.check_unprotected(pages, pages.bytes().max(granule))?;
        Ok(Some(pages))
    }

    /// Whether all of a range is shared.
    fn check_shared(&self, range: IpaRange) -> Result<(), BuildError> {
        let mut left = range;
        while !left.is_empty() {
            match self.first_shared(left).filter(|(part, _)| part.base() == left.base()) {
                Some((part, _)) => {
                    left = range.after(part.top());
                }
                None => {
                    let problem = RegionProblem::NotShared { ipa: left.base() };
                    return Err(BuildError::Region { range, problem });
                }
            }
        }
        Ok(())
    }

    /// Visits the parts of some bytes that are contiguous in physical memory. All of their granules
    /// are shared, and stay so.
    fn each_part(
        &self,
        ipa: Ipa,
        len: usize,
        mut visit: impl FnMut(Pa, usize) -> Result<(), Error>,
    ) -> Result<(), BuildError> {
        let (mut at, mut left) = (ipa, len);
        while left > 0 {
            let page = self.page_at(at);
            let to_end = page.and_then(|page| {
                let top = self.shared_at(page.base())?.top();
                self.first_shared(IpaRange::new(page.base(), top).ok()?)
            });
            let part = to_end.and_then(|(ipas, memory)| {
                let offset = at.checked_offset_from(ipas.base())?;
                let bytes = usize::try_from(ipas.bytes().checked_sub(offset)?).unwrap_or(left);
                Some((memory.base().checked_add(offset)?, bytes.min(left)))
            });
            // It has the byte at `at`, so it is not empty.
            let Some((memory, bytes)) = part else {
                let range = IpaRange::empty(at);
                let problem = RegionProblem::NotShared { ipa: at };
                return Err(BuildError::Region { range, problem });
            };
            visit(memory, bytes)?;
            left -= bytes;
            at = at.checked_add(bytes as u64).unwrap_or(at);
        }
        Ok(())
    }
}
