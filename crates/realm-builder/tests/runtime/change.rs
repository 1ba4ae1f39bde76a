//! Changes to a Realm's memory.

use proptest::prelude::*;
use rmi_abi::rtt::Level;

use crate::scale::Scale;
use crate::{BLOCK, GIB, PAGE};

/// One change. Ranges are offsets in a half.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Map { at: u64, bytes: u64, alignment: u64 },
    Scattered { at: u64, pieces: Vec<u64> },
    Reclaim { at: u64, bytes: u64 },
    Split { at: u64, level: Level },
    Fold { at: u64, bytes: u64, void: bool },
    Share { at: u64, bytes: u64, alignment: u64 },
    Unshare { at: u64, bytes: u64 },
    Reshare { at: u64, bytes: u64, write: bool },
}

impl Change {
    /// The same change on an RMM with granules of another size.
    pub(crate) fn scaled(&self, scale: Scale) -> Self {
        let mut scaled = self.clone();
        let scale = |bytes: &mut u64| *bytes = scale.of(*bytes);
        match &mut scaled {
            Self::Map { at, bytes, alignment } | Self::Share { at, bytes, alignment } => {
                [at, bytes, alignment].into_iter().for_each(scale);
            }
            Self::Reclaim { at, bytes }
            | Self::Fold { at, bytes, .. }
            | Self::Unshare { at, bytes }
            | Self::Reshare { at, bytes, .. } => [at, bytes].into_iter().for_each(scale),
            Self::Scattered { at, .. } | Self::Split { at, .. } => scale(at),
        }
        scaled
    }
}

/// Ranges close to each other, at and around the boundaries of entries.
fn range() -> impl Strategy<Value = (u64, u64)> {
    let near = prop_oneof![
        8 => (0u64..4).prop_map(|n| n * BLOCK),
        2 => Just(GIB - 2 * BLOCK),
        2 => Just(GIB),
        1 => Just(2 * GIB - BLOCK),
    ];
    let pages = (near.clone(), 0u64..8, 1u64..12)
        .prop_map(|(at, first, count)| (at + first * PAGE, count * PAGE));
    let long = (near.clone(), 500u64..516, 1u64..1100)
        .prop_map(|(at, first, count)| (at + first * PAGE, count * PAGE));
    let blocks = (near, 1u64..4).prop_map(|(at, count)| (at, count * BLOCK));
    let large = (0u64..3).prop_map(|n| (n * GIB, GIB));
    prop_oneof![6 => pages, 3 => long, 6 => blocks, 2 => large]
}

pub(crate) fn change() -> impl Strategy<Value = Change> {
    let alignment = prop_oneof![1 => Just(PAGE), 3 => Just(BLOCK), 3 => Just(GIB)];
    let pieces = prop::collection::vec(prop_oneof![6 => 1u64..5, 1 => Just(512u64)], 1..12);
    let level = prop_oneof![Just(Level::L2), Just(Level::L3)];
    prop_oneof![
        5 => (range(), alignment.clone())
            .prop_map(|((at, bytes), alignment)| Change::Map { at, bytes, alignment }),
        2 => (range(), pieces).prop_map(|((at, _), pieces)| Change::Scattered { at, pieces }),
        4 => range().prop_map(|(at, bytes)| Change::Reclaim { at, bytes }),
        1 => (range(), level).prop_map(|((at, _), level)| Change::Split { at, level }),
        2 => (range(), any::<bool>())
            .prop_map(|((at, bytes), void)| Change::Fold { at, bytes, void }),
        4 => (range(), alignment)
            .prop_map(|((at, bytes), alignment)| Change::Share { at, bytes, alignment }),
        3 => range().prop_map(|(at, bytes)| Change::Unshare { at, bytes }),
        2 => (range(), any::<bool>())
            .prop_map(|((at, bytes), write)| Change::Reshare { at, bytes, write }),
    ]
}
