//! The measurement of a Realm, predicted for the order in which a kernel makes RMI calls.

use realm_measurement::rim::RimError;
use realm_measurement::{Content, MeasurementEvent, RegionLayout, Rim};
use rmi_abi::realm::RealmParams;
use rmi_abi::rec::{Mpidr, RecParams};
use rmi_abi::rtt::Level;
use rmi_abi::{Dialect, Ipa, IpaRange};

use super::tables::Tables;
use crate::generation::{Generation, InitialRipas};
use crate::memory::PAGE_BYTES;

/// The registers of the vCPU that starts: number 0. Others are turned on by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct BootRegisters {
    /// The program counter.
    pub pc: u64,
    /// X0 to X7.
    pub x: [u64; 8],
}

/// The measurement of a Realm that a kernel of this generation launches.
///
/// | Argument | Meaning |
/// |---|---|
/// | `dialect` | what the RMM speaks: that of the generation's [facts](crate::generation::Facts), or what the VMM knows better; it decides what is measured |
/// | `params` | IPA width, algorithm, SVE, PMU, breakpoints and watchpoints: what the vCPUs have |
/// | `slots` | the ranges of RAM, in the order of their numbers ([`RealmMemory::ranges`](crate::memory::RealmMemory::ranges)) |
/// | `regions` | those of the plan; they are sorted |
/// | `log` | is told each change; its events give the same measurement again ([`Rim::replay`]) |
///
/// Kernels of later series have LPA2 in all Realms if their own limit of the IPA width is above 48
/// bits ([`ipa_limit`](crate::vm::ipa_limit)), whatever the Realm's; `params.lpa2` then says so.
///
/// An RMM of 1.0 measures how memory without content becomes RAM, too. Up to v10 that is done
/// before memory is populated, slot by slot; v12 does it at the first run, after the REC, for all
/// that has no content.
///
/// # Errors
///
/// [`RimError`] for parameters that the dialect does not have, and for regions that no Realm can
/// start with.
pub fn predict(
    generation: Generation,
    dialect: Dialect,
    params: &RealmParams,
    slots: &[IpaRange],
    regions: &mut [RegionLayout<'_>],
    boot: &BootRegisters,
    log: &mut dyn FnMut(&MeasurementEvent),
) -> Result<Rim, RimError> {
    let mut rim = Rim::new(params, dialect, log)?;
    let mut tables = Tables::new(params.geometry.ipa_width());
    let is_first = generation.facts().ripas == InitialRipas::Action;
    if is_first {
        make_ram(&mut rim, &mut tables, slots.iter().copied(), log)?;
    }
    realm_measurement::region::sort(regions);
    for region in regions.iter() {
        match region.content {
            Content::Measured(content) => rim.add_measured(region.ipa, content, log)?,
            Content::Unmeasured(_) => rim.add_unmeasured(region.range(), log)?,
            Content::Unspecified => continue,
        }
        if dialect.init_ripas_is_measured() {
            let range = region.range();
            let pages = (range.base().raw()..range.top().raw()).step_by(PAGE_BYTES);
            pages.for_each(|page| tables.populate(Ipa::new(page)));
        }
    }
    let rec = RecParams { runnable: true, mpidr: Mpidr::from_index(0), pc: boot.pc, gprs: boot.x };
    rim.add_rec(&rec, log)?;
    if !is_first {
        make_ram(&mut rim, &mut tables, by_kernel(slots), log)?;
    }
    Ok(rim)
}

/// Makes slots RAM, where that is measured.
fn make_ram(
    rim: &mut Rim,
    tables: &mut Tables,
    slots: impl Iterator<Item = IpaRange>,
    log: &mut dyn FnMut(&MeasurementEvent),
) -> Result<(), RimError> {
    if !rim.dialect().init_ripas_is_measured() {
        return Ok(());
    }
    let mut changes: Vec<(IpaRange, Level)> = Vec::new();
    for slot in slots {
        tables.make_ram(slot, |range, level| changes.push((range, level)));
    }
    changes.into_iter().try_for_each(|(range, level)| rim.add_ripas(range, level, log))
}

/// Slots in the order in which the kernel goes through them: that of a hash of their numbers, and
/// of equal hashes, the last that was added first.
///
/// Source: Linux, `kvm_for_each_memslot`, `hash_32` (`include/linux/hash.h`).
fn by_kernel(slots: &[IpaRange]) -> impl Iterator<Item = IpaRange> {
    const GOLDEN_RATIO: u32 = 0x61c8_8647;
    const BITS: u32 = 7;
    let mut order: Vec<_> = (0_u32..).zip(slots.iter().copied()).collect();
    order.sort_by_key(|(number, _)| {
        (number.wrapping_mul(GOLDEN_RATIO) >> (32 - BITS), std::cmp::Reverse(*number))
    });
    order.into_iter().map(|(_, range)| range)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_come_in_the_order_of_the_hash_of_their_numbers() {
        let slot = |number: u64| IpaRange::with_size(Ipa::new(number << 12), 0x1000).unwrap();
        let slots: Vec<_> = (0..1000).map(slot).collect();
        let order = |number| -> Vec<u64> {
            by_kernel(&slots[..number]).map(|slot| slot.base().raw() >> 12).collect()
        };
        // The hashes are 0, 48, 97, 18, 67, 116, 37 and 86.
        assert_eq!(order(8), [0, 3, 6, 1, 4, 7, 2, 5]);
        // With more slots than hashes there are equal ones, and the last number comes first.
        let all = order(1000);
        let hash = |number: u64| ((number * 0x61c8_8647) & 0xffff_ffff) >> 25;
        assert!(all.is_sorted_by_key(|number| (hash(*number), std::cmp::Reverse(*number))));
        assert!(all.windows(2).any(|pair| hash(pair[0]) == hash(pair[1])));
    }
}
