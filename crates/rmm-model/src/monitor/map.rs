//! Mapping: populated and empty Realm memory, and host memory.

use alloc::vec;
use alloc::vec::Vec;

use rmi_abi::desc::{AddrRangeDesc, BlockSize, OpMemState};
use rmi_abi::flags::{AddrSet, DataFlags, MemAttr, UnprotMapFlags};
use rmi_abi::rtt::{Level, Ripas};
use rmi_abi::{GranuleSize, Ipa, IpaRange, Pa, PaRange, Status};
use rmi_host::Registers;

use super::table::{vacant, walk};
use super::{Monitor, ipa_range, require_state};
use crate::answer::{Answer, Answered, refuse, require};
use crate::granule::GranuleState;
use crate::memory::GRANULE;
use crate::options::TablesPerCall;
use crate::realm::RealmState;
use crate::rtt::{Entry, Walk};

/// The level whose entries map a block of this size; `None` where no mapping is allowed.
fn level_of(size: BlockSize) -> Option<Level> {
    Some(Level::of_block(size)).filter(|level| level.may_map())
}

/// The output addresses of a map command: blocks of one size, one after the other.
pub(super) struct Blocks {
    granule: GranuleSize,
    descs: Vec<AddrRangeDesc>,
    /// The current descriptor, and how many of its blocks are used up.
    at: (usize, u16),
    /// The level that maps blocks of the first descriptor's size, even if that is empty.
    pub(super) level: Level,
    /// The state that every descriptor must name, where one is asked for.
    takes: Option<OpMemState>,
}

impl Blocks {
    /// The next block, and the level that maps it; `None` at the end of the list.
    pub(super) fn peek(&self) -> Option<(Block, Option<Level>)> {
        let (index, used) = self.at;
        let desc = self.descs.get(index)?;
        let bytes = desc.size.bytes(self.granule);
        let pa = desc.base.checked_add(u64::from(used).checked_mul(bytes)?)?;
        Some((Block { pa, bytes, state: desc.state }, level_of(desc.size)))
    }

    /// Bytes of a block of the first descriptor.
    fn bytes(&self) -> u64 {
        self.level.block_size().map_or(0, |size| size.bytes(self.granule))
    }

    fn advance(&mut self) {
        let (index, used) = self.at;
        let count = self.descs.get(index).map_or(0, |desc| desc.count);
        self.at = if used + 1 < count { (index, used + 1) } else { (index + 1, 0) };
    }
}

/// One block to be mapped.
pub(super) struct Block {
    pub(super) pa: Pa,
    pub(super) bytes: u64,
    state: OpMemState,
}

/// Checks the range of a map command against the size of its blocks.
fn check_blocks(range: &IpaRange, blocks: &Blocks) -> Result<(), Answer> {
    let bytes = blocks.bytes();
    require(range.base().is_aligned(bytes), Status::ErrorInput)?;
    if range.bytes() < bytes { Err(Answer::rtt(blocks.level)) } else { Ok(()) }
}

impl Monitor {
    /// The blocks that the flags and the descriptor or list of a map command name.
    fn blocks(
        &self,
        set: AddrSet,
        oaddr: u64,
        takes: Option<OpMemState>,
    ) -> Result<Blocks, Answer> {
        let words = match set {
            AddrSet::Single => alloc::vec![oaddr],
            AddrSet::List { count } if count != 0 => self.read_list(oaddr, u64::from(count))?,
            _ => return refuse(Status::ErrorInput),
        };
        let granule = self.granules.size();
        let decode = |word| AddrRangeDesc::decode(word, self.options.dialect, granule);
        let mut descs: Vec<AddrRangeDesc> = words.into_iter().map(decode).collect();
        let first = *descs.first().ok_or(Status::ErrorInput)?;
        let level = level_of(first.size).ok_or(Status::ErrorInput)?;
        require(takes.is_none_or(|state| state == first.state), Status::ErrorInput)?;
        descs.retain(|desc| desc.count != 0);
        Ok(Blocks { granule, descs, at: (0, 0), level, takes })
    }

    /// Maps blocks one after the other. `map` returns what a block's entry becomes, or why it
    /// cannot be mapped.
    ///
    /// An error of the first block is the answer; an error of a later one ends the call. The caller
    /// has checked the range.
    fn map(
        &mut self,
        rd: u64,
        range: &IpaRange,
        mut blocks: Blocks,
        limit: Option<u64>,
        map: impl Fn(&mut Self, &Walk, &Block) -> Result<Entry, Answer>,
    ) -> Answered {
        let level = blocks.level;
        let first = walk(self.realm(rd)?, range.base(), level)?;
        if first.level != level {
            return Err(Answer::rtt(first.level));
        }
        let mut ipa = range.base();
        let mut mapped = 0;
        while limit.is_none_or(|limit| mapped < limit) {
            let found = match walk(self.realm(rd)?, ipa, level) {
                Ok(found) if found.level == level => found,
                _ => break,
            };
            if self.options.tables_per_call == TablesPerCall::One && found.table != first.table {
                break;
            }
            let entry = self
                .next_block(rd, &blocks, ipa, range)
                .and_then(|block| map(self, &found, &block));
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

    /// The block to be mapped at `ipa`, if it passes the checks, in TF-RMM's order.
    fn next_block(
        &mut self,
        rd: u64,
        blocks: &Blocks,
        ipa: Ipa,
        range: &IpaRange,
    ) -> Result<Block, Answer> {
        let (block, level) = blocks.peek().ok_or(Status::ErrorInput)?;
        let is_expected = blocks.takes.is_none_or(|state| state == block.state);
        require(is_expected, Status::ErrorInput)?;
        let room = range.top().checked_offset_from(ipa).unwrap_or(0);
        if level != Some(blocks.level) || room < block.bytes {
            return Err(Answer::rtt(blocks.level));
        }
        let reached = self.realm(rd)?.reaches(block.pa);
        require(reached && block.pa.is_aligned(block.bytes), Status::ErrorInput)?;
        Ok(block)
    }

    pub(super) fn rtt_data_map(&mut self, x: &Registers, limit: Option<u64>) -> Answered {
        let [_, rd, base, top, flags, oaddr, ..] = *x;
        let granule = self.granules.size();
        let realm = self.realm(rd)?;
        require_state(realm, &[RealmState::New, RealmState::Active])?;
        let range = ipa_range(granule, base, top)?;
        require(realm.tree.geometry().range_is_protected(&range), Status::ErrorInput)?;
        let set = AddrSet::decode(flags).ok_or(Status::ErrorInput)?;
        let blocks = self.blocks(set, oaddr, Some(OpMemState::Delegated))?;
        check_blocks(&range, &blocks)?;
        if let Some(answer) = self.map_in_steps(x, rd, &range, &blocks)? {
            return Ok(answer);
        }
        self.map(rd, &range, blocks, limit, |monitor, found, block| match found.entry {
            // Mapping again what is mapped changes nothing.
            Entry::Data { pa, .. } if pa == block.pa => Ok(found.entry),
            Entry::Void { ripas, perm } => {
                let memory =
                    PaRange::with_size(block.pa, block.bytes).map_err(|_| Status::ErrorInput)?;
                monitor.require_mappable(&memory)?;
                let is_free = monitor.granules.are(&memory, GranuleState::Delegated);
                require(is_free, Status::ErrorInput)?;
                monitor.convert(&memory, GranuleState::Data, 0);
                Ok(Entry::Data { pa: block.pa, ripas, perm })
            }
            _ => Err(Answer::rtt(found.level)),
        })
    }

    /// Maps host memory. Which memory it is, and who owns it, is not checked: a Realm that accesses
    /// what it may not gets an abort.
    pub(super) fn rtt_unprot_map(&mut self, x: &Registers, limit: Option<u64>) -> Answered {
        let [_, rd, base, top, flags, oaddr, ..] = *x;
        let granule = self.granules.size();
        let realm = self.realm(rd)?;
        require_state(realm, &[RealmState::New, RealmState::Active])?;
        let range = ipa_range(granule, base, top)?;
        let geometry = realm.tree.geometry();
        // Only the end is checked; a base in the protected half fails at its entry, as in TF-RMM.
        let fits = range.top() > geometry.unprotected_base() && range.top() <= geometry.end();
        require(fits, Status::ErrorInput)?;
        let flags = UnprotMapFlags::decode(flags).ok_or(Status::ErrorInput)?;
        let blocks = self.blocks(flags.addresses, oaddr, None)?;
        check_blocks(&range, &blocks)?;
        require(flags.s2ap <= 0b11, Status::ErrorInput)?;
        let is_known = !matches!(flags.memattr, MemAttr::Reserved(_));
        let attributes = attributes(flags.memattr, flags.s2ap);
        self.map(rd, &range, blocks, limit, |_, found, block| {
            require(is_known, Status::ErrorInput)?;
            let wanted = Entry::MappedNs { pa: block.pa, attributes };
            match found.entry {
                Entry::VoidNs => Ok(wanted),
                entry if entry == wanted => Ok(wanted),
                _ => Err(Answer::rtt(found.level)),
            }
        })
    }

    /// The source page comes first and the page to be taken last, as in TF-RMM.
    pub(super) fn rtt_data_map_init(&mut self, x: &Registers) -> Answered {
        let [_, rd, data, ipa, src, flags, ..] = *x;
        let is_known = flags & !DataFlags::MEASURE.bits() == 0;
        require(is_known && data != rd, Status::ErrorInput)?;
        let granule = self.granules.bytes();
        let mut content = vec![0; usize::try_from(granule).unwrap_or(GRANULE)];
        self.read_host_page(src, &mut content)?;
        let realm = self.realm(rd)?;
        require_state(realm, &[RealmState::New])?;
        let (found, _, perm) = vacant(realm, ipa, Pa::new(data))?;
        let data = self.fresh(data)?;
        self.populate(rd, &found, perm, data, flags, &content)
    }

    /// Maps a page with content by the vacant entry that a walk found. The page is measured, its
    /// content only if the flags say so.
    pub(super) fn populate(
        &mut self,
        rd: u64,
        found: &Walk,
        perm: u8,
        data: Pa,
        flags: u64,
        content: &[u8],
    ) -> Answered {
        let realm = self.realm(rd)?;
        let is_measured = DataFlags::from_bits_retain(flags).contains(DataFlags::MEASURE);
        let ipa = found.base.raw();
        realm.measurements.add_data(ipa, flags, is_measured.then_some(content));
        realm.tree.set(found, Entry::Data { pa: data, ripas: Ripas::Ram, perm });
        self.granules.set(data, GranuleState::Data);
        self.memory.write(data, content);
        Ok(Answer::success())
    }
}

/// The attributes of a mapping of host memory as `RMI_RTT_READ_ENTRY` shows them: MemAttr in bits
/// 5:2, S2AP in bits 7:6.
///
/// The command's flags have the permissions in the opposite order: bit 0 is write there, and bit 1
/// read.
fn attributes(memattr: MemAttr, s2ap: u8) -> u64 {
    let s2ap = u64::from(s2ap);
    u64::from(u8::from(memattr)) << 2 | (s2ap & 0b01) << 7 | (s2ap & 0b10) << 5
}

/// The permissions of such attributes: whether the Realm may read, and write.
pub(super) fn permissions(attributes: u64) -> (bool, bool) {
    (attributes & (1 << 6) != 0, attributes & (1 << 7) != 0)
}
