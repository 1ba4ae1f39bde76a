//! Mapping: populated and empty Realm memory, and host memory.

use alloc::vec::Vec;

use rmi_abi::desc::{AddrRangeDesc, BlockSize, OpMemState};
use rmi_abi::flags::{AddrSet, DataFlags, MemAttr, UnprotMapFlags};
use rmi_abi::rtt::{Level, Ripas};
use rmi_abi::{GranuleSize, Ipa, IpaRange, Pa, PaRange, Status};
use rmi_host::Registers;

use super::table::walk;
use super::{Monitor, ipa_range, require_state};
use crate::answer::{Answer, Answered, refuse, require};
use crate::granule::GranuleState;
use crate::memory::GRANULE;
use crate::options::TablesPerCall;
use crate::realm::RealmState;
use crate::rtt::{Entry, Walk};

/// The level whose entries map a block of this size; `None` where no mapping may stand.
fn level_of(size: BlockSize) -> Option<Level> {
    match size {
        BlockSize::Page => Some(Level::L3),
        BlockSize::Level2 => Some(Level::L2),
        BlockSize::Level1 => Some(Level::L1),
        BlockSize::Level0 => None,
    }
}

/// The output addresses of a map command: blocks of one size, one after the other.
struct Blocks {
    descs: Vec<AddrRangeDesc>,
    /// The descriptor in hand, and how many of its blocks are used up.
    at: (usize, u16),
    level: Level,
}

impl Blocks {
    /// The next block, whatever its address; `None` at the end of the list and where the size changes.
    fn peek(&self) -> Option<(Pa, OpMemState)> {
        let (index, used) = self.at;
        let desc = self.descs.get(index).filter(|desc| level_of(desc.size) == Some(self.level))?;
        let offset = u64::from(used).checked_mul(self.level.entry_bytes())?;
        Some((desc.base.checked_add(offset)?, desc.state))
    }

    fn advance(&mut self) {
        let (index, used) = self.at;
        let count = self.descs.get(index).map_or(0, |desc| desc.count);
        self.at = if used + 1 < count { (index, used + 1) } else { (index + 1, 0) };
    }
}

/// One block to be mapped.
struct Block {
    pa: Pa,
    bytes: u64,
    state: OpMemState,
}

impl Monitor {
    /// The blocks that the flags and the descriptor or list of a map command name.
    fn blocks(&self, set: AddrSet, oaddr: u64) -> Result<Blocks, Answer> {
        let words = match set {
            AddrSet::Single => alloc::vec![oaddr],
            AddrSet::List { count } if count != 0 => self.read_list(oaddr, u64::from(count))?,
            _ => return refuse(Status::ErrorInput),
        };
        let decode =
            |word| AddrRangeDesc::decode(word, self.options.dialect, GranuleSize::Size4KiB);
        let descs: Vec<AddrRangeDesc> =
            words.into_iter().map(decode).filter(|desc| desc.count != 0).collect();
        let first = descs.first().ok_or(Status::ErrorInput)?;
        let level = level_of(first.size).ok_or(Status::ErrorInput)?;
        Ok(Blocks { descs, at: (0, 0), level })
    }

    /// Maps blocks one after the other. `map` says what a block's entry becomes, or why it cannot be mapped.
    ///
    /// What is wrong with the first block is the answer; what is wrong with a later one ends the call.
    fn map(
        &mut self,
        rd: u64,
        range: &IpaRange,
        mut blocks: Blocks,
        limit: Option<u64>,
        map: impl Fn(&mut Self, &Walk, &Block) -> Result<Entry, Answer>,
    ) -> Answered {
        let level = blocks.level;
        let bytes = level.entry_bytes();
        require(range.base().is_aligned(bytes), Status::ErrorInput)?;
        let mut table = None;
        let mut ipa = range.base();
        let mut mapped = 0;
        while ipa < range.top() && limit.is_none_or(|limit| mapped < limit) {
            let Some((pa, state)) = blocks.peek() else { break };
            let block = Block { pa, bytes, state };
            let room = range.top().checked_offset_from(ipa).unwrap_or(0);
            let found = walk(self.realm(rd)?, ipa, level)?;
            if self.options.tables_per_call == TablesPerCall::One
                && table.is_some_and(|table| table != found.table)
            {
                break;
            }
            table = Some(found.table);
            let entry = if found.level == level && room >= bytes {
                let reached = self.realm(rd)?.reaches(pa);
                require(reached && pa.is_aligned(bytes), Status::ErrorInput)
                    .and_then(|()| map(self, &found, &block))
            } else {
                Err(Answer::rtt(found.level))
            };
            match entry {
                Ok(entry) => self.realm(rd)?.tree.set(&found, entry),
                Err(refused) if mapped == 0 => return Err(refused),
                Err(_) => break,
            }
            blocks.advance();
            mapped += 1;
            ipa = Ipa::new(found.top());
        }
        Ok(Answer::success().x1(ipa.raw()))
    }

    pub(super) fn rtt_data_map(&mut self, x: &Registers, limit: Option<u64>) -> Answered {
        let [_, rd, base, top, flags, oaddr, ..] = *x;
        let realm = self.realm(rd)?;
        let range = ipa_range(base, top)?;
        require(realm.tree.geometry().range_is_protected(&range), Status::ErrorInput)?;
        require_state(realm, &[RealmState::New, RealmState::Active])?;
        let set = AddrSet::decode(flags).ok_or(Status::ErrorInput)?;
        let blocks = self.blocks(set, oaddr)?;
        self.map(rd, &range, blocks, limit, |monitor, found, block| match found.entry {
            // Mapping again what is mapped changes nothing.
            Entry::Data { pa, .. } if pa == block.pa => Ok(found.entry),
            Entry::Void { ripas } => {
                let memory =
                    PaRange::with_size(block.pa, block.bytes).map_err(|_| Status::ErrorInput)?;
                let is_free = monitor.granules.are(&memory, GranuleState::Delegated);
                require(is_free && block.state == OpMemState::Delegated, Status::ErrorInput)?;
                monitor.convert(block.pa, block.bytes, GranuleState::Data);
                Ok(Entry::Data { pa: block.pa, ripas })
            }
            _ => Err(Answer::rtt(found.level)),
        })
    }

    /// Maps host memory. Which memory, and in whose hands it is, is not looked at: a Realm that reaches what it may not gets an abort.
    pub(super) fn rtt_unprot_map(&mut self, x: &Registers, limit: Option<u64>) -> Answered {
        let [_, rd, base, top, flags, oaddr, ..] = *x;
        let realm = self.realm(rd)?;
        let range = ipa_range(base, top)?;
        let geometry = realm.tree.geometry();
        // Only the end is looked at; a base in the protected half fails at its entry, as in TF-RMM.
        let fits = range.top() > geometry.unprotected_base() && range.top() <= geometry.end();
        require(fits, Status::ErrorInput)?;
        require_state(realm, &[RealmState::New, RealmState::Active])?;
        let flags = UnprotMapFlags::decode(flags).ok_or(Status::ErrorInput)?;
        let valid = !matches!(flags.memattr, MemAttr::Reserved(_)) && flags.s2ap <= 0b11;
        require(valid, Status::ErrorInput)?;
        let attributes = attributes(flags.memattr, flags.s2ap);
        let blocks = self.blocks(flags.addresses, oaddr)?;
        self.map(rd, &range, blocks, limit, |_, found, block| {
            let wanted = Entry::MappedNs { pa: block.pa, attributes };
            match found.entry {
                Entry::VoidNs => Ok(wanted),
                entry if entry == wanted => Ok(wanted),
                _ => Err(Answer::rtt(found.level)),
            }
        })
    }

    pub(super) fn rtt_data_map_init(&mut self, x: &Registers) -> Answered {
        let [_, rd, data, ipa, src, flags, ..] = *x;
        let realm = self.realm(rd)?;
        let at = Ipa::new(ipa);
        let known = DataFlags::MEASURE.bits();
        let valid = realm.is_protected(at, Level::L3.entry_bytes())
            && realm.reaches(Pa::new(data))
            && flags & !known == 0;
        require(valid, Status::ErrorInput)?;
        require_state(realm, &[RealmState::New])?;
        let data = self.fresh(data)?;
        let mut content = [0; GRANULE];
        self.read_host_page(src, &mut content)?;

        let realm = self.realm(rd)?;
        let found = walk(realm, at, Level::L3)?;
        if found.level != Level::L3 || !matches!(found.entry, Entry::Void { .. }) {
            return Err(Answer::rtt(found.level));
        }
        let measured = flags & known != 0;
        realm.measurements.add_data(ipa, flags, measured.then_some(&content));
        realm.tree.set(&found, Entry::Data { pa: data, ripas: Ripas::Ram });
        self.granules.set(data, GranuleState::Data);
        self.memory.write(data, &content);
        Ok(Answer::success())
    }
}

/// The attributes of a mapping of host memory as `RMI_RTT_READ_ENTRY` shows them: MemAttr in bits 5:2, S2AP in bits 7:6.
///
/// The command's flags have the permissions the other way round: bit 0 is write there, and bit 1 read.
fn attributes(memattr: MemAttr, s2ap: u8) -> u64 {
    let s2ap = u64::from(s2ap);
    u64::from(u8::from(memattr)) << 2 | (s2ap & 0b01) << 7 | (s2ap & 0b10) << 5
}

/// The permissions of such attributes: whether the Realm may read, and write.
pub(super) fn permissions(attributes: u64) -> (bool, bool) {
    (attributes & (1 << 6) != 0, attributes & (1 << 7) != 0)
}
