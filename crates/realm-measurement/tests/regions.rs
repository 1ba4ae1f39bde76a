//! Regions: their order, what is wrong with them, and how they are measured.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use proptest::prelude::*;
use realm_measurement::region::{HasLayout, LayoutProblem, check, joined, sort};
use realm_measurement::rim::RimError;
use realm_measurement::{Content, MeasurementEvent, RegionLayout, Rim};
use rmi_abi::address::GranuleSize;
use rmi_abi::realm::RealmParams;
use rmi_abi::rtt::{Geometry, Level};
use rmi_abi::{Dialect, Ipa, Pa};

const RAM: u64 = 0x8000_0000;
const MIB: u64 = 1 << 20;

fn geometry() -> Geometry {
    Geometry::new(40).unwrap()
}

fn at(ipa: u64, bytes: u64) -> RegionLayout<'static> {
    RegionLayout::unspecified(Ipa::new(ipa), bytes)
}

/// The first problem of sorted regions, with the address of its region.
fn problem(regions: &[RegionLayout<'_>], granule: GranuleSize) -> Option<(u64, LayoutProblem)> {
    let error = check(regions, geometry(), granule).err()?;
    assert!(error.to_string().contains(&error.problem.to_string()));
    Some((error.ipa.raw(), error.problem))
}

#[test]
fn each_problem_is_found() {
    let content = [7; 0x2001];
    let with = |bytes, content| RegionLayout { ipa: Ipa::new(RAM), bytes, content, memory: None };
    let half = 1 << 39;
    let content_problem = LayoutProblem::Content { bytes: 0x2001 };
    for (region, expected) in [
        (at(RAM, 0x1000), None),
        (at(RAM, 0x1000).with_memory(Pa::new(0x1000)), None),
        (RegionLayout::measured(Ipa::new(RAM), &content), None),
        (RegionLayout::unmeasured(Ipa::new(RAM), &content), None),
        (at(half - 0x1000, 0x1000), None),
        (at(RAM, 0), Some(LayoutProblem::Empty)),
        (RegionLayout::measured(Ipa::new(RAM), &[]), Some(LayoutProblem::Empty)),
        (at(RAM + 1, 0x1000), Some(LayoutProblem::Unaligned)),
        (at(RAM, 0x1001), Some(LayoutProblem::Unaligned)),
        (at(RAM, 0x1000).with_memory(Pa::new(0x800)), Some(LayoutProblem::Unaligned)),
        (at(half - 0x1000, 0x2000), Some(LayoutProblem::NotProtected)),
        (at(half, 0x1000), Some(LayoutProblem::NotProtected)),
        (at(0_u64.wrapping_sub(0x1000), 0x2000), Some(LayoutProblem::NotProtected)),
        (with(0x2000, Content::Measured(&content)), Some(content_problem)),
        (with(0x4000, Content::Measured(&content)), Some(content_problem)),
        (with(0x4000, Content::Unmeasured(&content)), Some(content_problem)),
    ] {
        let found = problem(&[region], GranuleSize::Size4KiB);
        assert_eq!(found.map(|(_, problem)| problem), expected, "{region:?}");
    }
    // Aligned to 4 KiB only.
    let found = problem(&[at(RAM, 0x1_0000), at(RAM + 0x1_0000, 0x1000)], GranuleSize::Size16KiB);
    assert_eq!(found, Some((RAM + 0x1_0000, LayoutProblem::Unaligned)));
    // The same IPAs twice, and the last granule of the region before.
    for other in [RAM, RAM + 0x1000] {
        let found = problem(&[at(RAM, 0x2000), at(other, 0x2000)], GranuleSize::Size4KiB);
        assert_eq!(found, Some((other, LayoutProblem::Overlap { at: Ipa::new(RAM) })));
    }
}

#[test]
fn neighbours_in_both_address_spaces_are_joined() {
    let [a, b, c] = [0, 2 * MIB, 4 * MIB]
        .map(|offset| at(RAM + offset, 2 * MIB).with_memory(Pa::new(0x4000_0000 + offset)));
    let all = |regions: &[RegionLayout<'_>]| {
        joined(regions).map(|region| (region.ipa.raw() - RAM, region.bytes)).collect::<Vec<_>>()
    };
    assert_eq!(all(&[a, b, c]), [(0, 6 * MIB)]);
    assert_eq!(all(&[a, c]), [(0, 2 * MIB), (4 * MIB, 2 * MIB)]);
    // Empty regions do not separate others.
    assert_eq!(all(&[a, at(RAM + MIB, 0), b]), [(0, 4 * MIB)]);
    for other in [
        b.with_memory(Pa::new(0x8000_0000)),
        RegionLayout { memory: None, ..b },
        RegionLayout { content: Content::Measured(&[1]), ..b },
    ] {
        assert_eq!(all(&[a, other, c]).len(), 3, "{other:?}");
    }
}

/// The digest of these regions and the number of entries of RIPAS changes.
fn measured(dialect: Dialect, regions: &mut [RegionLayout<'_>]) -> (String, usize) {
    let params = RealmParams::new(geometry(), Pa::new(0));
    let mut events = Vec::new();
    let mut log = |event: &MeasurementEvent| events.push(*event);
    let mut rim = Rim::new(&params, dialect, &mut log).unwrap();
    rim.add_regions(regions, params.geometry, &mut log).unwrap();
    assert_eq!(Rim::replay(&events), Ok(rim));
    let entries = events.iter().filter_map(|event| match event {
        MeasurementEvent::Ripas { range, level } => Some(range.bytes() / level.entry_bytes()),
        _ => None,
    });
    (rim.digest().to_string(), usize::try_from(entries.sum::<u64>()).unwrap())
}

/// In 1.0 the RIPAS of each entry is measured, by the largest entries that the addresses in the
/// Realm allow, wherever the memory is; in 2.0 none of that is measured.
#[test]
fn entries_are_measured_where_ripas_changes_are() {
    let whole = at(RAM, 4 * MIB);
    let aligned = whole.with_memory(Pa::new(0x4000_0000));
    let apart = whole.with_memory(Pa::new(0x4000_1000));
    let [first, second] = [0, 2 * MIB]
        .map(|offset| at(RAM + offset, 2 * MIB).with_memory(Pa::new(0x4000_0000 + offset)));
    let blocks = measured(Dialect::V1_0, &mut [whole]);
    assert_eq!(blocks.1, 2);
    for same in [&mut [aligned][..], &mut [apart], &mut [second, first]] {
        assert_eq!(measured(Dialect::V1_0, same), blocks);
    }
    let tf_rmm = measured(Dialect::TfRmm2026_07, &mut [whole]);
    assert_eq!(measured(Dialect::TfRmm2026_07, &mut [apart]), tf_rmm);
    assert_eq!(tf_rmm.1, 0);
    // Two halves of an entry are one, with memory in two places, or without; a gap, or content,
    // leaves two, of pages.
    let half = |offset| at(RAM + offset, MIB);
    let placed = half(MIB).with_memory(Pa::new(0x7000_0000));
    for same in [&mut [half(MIB), half(0)][..], &mut [placed, half(0)]] {
        assert_eq!(measured(Dialect::V1_0, same).1, 1);
    }
    assert_eq!(half(0).entries(geometry()).next().map(|run| run.level), Some(Level::L3));
    let after = at(RAM + MIB + 0x1000, MIB - 0x1000);
    assert_eq!(measured(Dialect::V1_0, &mut [half(0), after]).1, 511);
    let page = RegionLayout::measured(Ipa::new(RAM + MIB), &[1; 0x1000]);
    assert_eq!(measured(Dialect::V1_0, &mut [half(0), page, after]).1, 511);
    assert_eq!(apart.blocks(geometry()).next().map(|run| run.level), Some(Level::L3));
    assert_eq!(apart.entries(geometry()).next().map(|run| run.level), Some(Level::L2));
}

#[test]
fn regions_that_a_realm_cannot_start_with_are_not_measured() {
    let params = RealmParams::new(geometry(), Pa::new(0));
    let first = RegionLayout::measured(Ipa::new(RAM), &[1; 0x1000]);
    for (other, expected) in [
        (at(RAM + 0x800, 0x1000), None),
        (at(0_u64.wrapping_sub(0x1000), 0x2000), None),
        (at(RAM, 0x1000), Some(LayoutProblem::Overlap { at: Ipa::new(RAM) })),
        (at(1 << 39, 0x1000), Some(LayoutProblem::NotProtected)),
        (
            RegionLayout { bytes: 0x2000, ..RegionLayout::measured(Ipa::new(2 * RAM), &[1; 4]) },
            Some(LayoutProblem::Content { bytes: 4 }),
        ),
    ] {
        let mut rim = Rim::new(&params, Dialect::TfRmm2026_07, &mut |_| {}).unwrap();
        let (before, mut events) = (rim, 0);
        let mut regions = [other, first];
        let refused = rim.add_regions(&mut regions, params.geometry, &mut |_| events += 1);
        match (refused, expected) {
            (Err(RimError::Range(_)), None) => {}
            (Err(RimError::Layout(error)), Some(problem)) => assert_eq!(error.problem, problem),
            other => panic!("{other:?}"),
        }
        assert_eq!((rim, events), (before, 0));
    }
}

proptest! {
    #[test]
    fn the_order_in_the_list_makes_no_difference(
        pieces in prop::collection::vec((0_u64..3, 1_u64..4, any::<bool>()), 1..6),
        seed in any::<u64>(),
    ) {
        let content = [9; 0x3000];
        let (mut regions, mut next) = (Vec::new(), RAM);
        for (gap, pages, is_measured) in pieces {
            let len = usize::try_from(pages << 12).unwrap();
            let ipa = Ipa::new(next + (gap << 12));
            regions.push(match is_measured {
                true => RegionLayout::measured(ipa, content.get(..len).unwrap()),
                false => at(ipa.raw(), pages << 12),
            });
            next += (gap + pages) << 12;
        }
        let expected = regions.clone();
        let before = measured(Dialect::V1_0, &mut regions);
        let turn = usize::try_from(seed % regions.len() as u64).unwrap();
        regions.rotate_left(turn);
        regions.reverse();
        prop_assert_eq!(measured(Dialect::V1_0, &mut regions), before);
        sort(&mut regions);
        prop_assert_eq!(&regions, &expected);
        prop_assert!(regions.iter().all(|region| region.layout() == *region));
    }
}

/// Content fills granules of the RMM's size, and the BSS begins after them.
#[test]
fn a_segment_has_regions_of_each_granule_size() {
    let mut content = vec![0xd5; 0x5123];
    content[8..16].fill(0);
    content[16..24].copy_from_slice(&0x2_1000_u64.to_le_bytes());
    content[24..32].fill(0);
    content[56..60].copy_from_slice(b"ARM\x64");
    let image = realm_measurement::Image::arm64(&content, Ipa::new(0x8000_0000)).unwrap();
    let segment = image.segments().next().unwrap();
    for (granule, expected) in [
        (GranuleSize::Size4KiB, [(0x8000_0000, 0x6000), (0x8000_6000, 0x1_b000)]),
        (GranuleSize::Size16KiB, [(0x8000_0000, 0x8000), (0x8000_8000, 0x1_c000)]),
        (GranuleSize::Size64KiB, [(0x8000_0000, 0x1_0000), (0x8001_0000, 0x2_0000)]),
    ] {
        let regions: Vec<_> = segment.regions_for(granule).collect();
        let found: Vec<_> = regions.iter().map(|region| (region.ipa.raw(), region.bytes)).collect();
        assert_eq!(found, expected, "{granule:?}");
        let geometry = Geometry::with_granule(granule, 40).unwrap();
        assert_eq!(check(&regions, geometry, granule), Ok(()));
        // Those of smaller granules are none of larger ones.
        if granule != GranuleSize::Size4KiB {
            let regions: Vec<_> = segment.regions().collect();
            assert!(check(&regions, geometry, granule).is_err());
        }
    }
    assert!(segment.regions().eq(segment.regions_for(GranuleSize::Size4KiB)));
}
