//! Mapping by lists: what is in the shadow is listed, and the list is given to the RMM.
//!
//! A list has the addresses of memory whose tokens stay in the shadow, so that no array of tokens
//! is on a stack. It is made and used in one function, while a range lock keeps the tokens in
//! place.
#![expect(unsafe_code, reason = "a list can outlive the tokens of its memory")]

use rmi_abi::Ipa;
use rmi_abi::desc::BlockSize;
use rmi_abi::rtt::Level;
use rmi_host::command::Listed;
use rmi_host::{Error, MapList, Platform, Undelegated};

use super::range_lock::RangeLock;
use crate::memory::realm_core::RealmCore;
use crate::shadow::budget::Budget;

impl<P: Platform> RealmCore<'_, P> {
    /// Maps memory that is in the shadow, from `at` to `top` at most, which is in the claimed
    /// range: as much as one call can name. Returns how many bytes the call named, and how many of
    /// them were mapped.
    pub(super) fn map_some(
        &self,
        _held: &RangeLock<'_, P>,
        page: &mut Undelegated,
        at: Ipa,
        top: Ipa,
    ) -> (u64, Result<u64, Error>) {
        let list = match self.list(page, at, top) {
            Ok(list) => list,
            Err(error) => return (0, Err(error)),
        };
        let named = list.bytes();
        // SAFETY: all memory in the list is in entries of a range that this thread has claimed, and
        // another thread takes nothing out of a claimed entry. The claim outlives this call, and
        // this thread has taken nothing out since it was listed.
        (named, unsafe { self.rmm.commands().rtt_data_map_packed(&self.rd, at, list) })
    }

    /// Lists what is to be mapped from `at` on: blocks of one size, as many as the RMM will take at
    /// once. Where the dialect maps one entry per call, that is one.
    fn list<'l>(&self, page: &'l mut Undelegated, at: Ipa, top: Ipa) -> Result<MapList<'l>, Error> {
        let first = self.shadow.lock().walk(at, Level::L3);
        let level = first.map_or(Level::L3, |at| at.level);
        let size = level.block_size().unwrap_or(BlockSize::Page);
        let mut list = self.rmm.commands().new_list(page, size);
        let end = self.end_of_call(at, level, self.range_hint.is_set());
        let top = end.unwrap_or(top).min(top);
        let mut next = at;
        // Host memory is written without the lock: the embedder determines how that is done.
        loop {
            match self.list_some(&mut list, level, &mut next, top)? {
                Listed::Added => {}
                Listed::Flush => self.rmm.commands().flush_list(&mut list)?,
                Listed::Full => return Ok(list),
            }
        }
    }

    /// Lists what can be listed before something has to be written, or the lock is to be released.
    fn list_some(
        &self,
        list: &mut MapList<'_>,
        level: Level,
        next: &mut Ipa,
        top: Ipa,
    ) -> Result<Listed, Error> {
        let mut budget = Budget::new();
        let shadow = self.shadow.lock();
        while *next < top {
            if !budget.spend_one() {
                return Ok(Listed::Added);
            }
            let Some(entry) = shadow.walk(*next, level).filter(|entry| entry.base == *next) else {
                break;
            };
            match self.rmm.commands().list_packed(list, shadow.look(entry))? {
                Listed::Added => *next = entry.top(),
                Listed::Flush => return Ok(Listed::Flush),
                Listed::Full => break,
            }
        }
        Ok(Listed::Full)
    }
}
