//! The same for a Realm with a tree for each of two planes.

use super::*;
use crate::realm::Realm;
use crate::rtt::{Entry, Tree};

/// Feature register 3: three auxiliary planes, with a tree for each and with one for all.
pub(super) const FEATURES: u64 = 3 | 1 << 4 | 1 << 6;
/// Root of the auxiliary tree.
const AUX_ROOT: u64 = DRAM + 0x17 * PAGE;

pub(super) fn ask_for(params: &mut RealmParams) {
    (params.num_aux_planes, params.tree_per_plane) = (1, true);
    params.aux_rtt_base[0] = Pa::new(AUX_ROOT);
}

impl Machine {
    pub(super) fn aux_tables(&mut self) {
        for (n, (ipa, level)) in (0x1a..).zip([(0, 2), (0, 3), (1 << 21, 3)]) {
            self.call(Command::RttAuxCreate, &[RD, DRAM + n * PAGE, ipa, level, 1]);
        }
    }
}

/// An auxiliary tree shows what the primary one maps at the same address, and only RAM.
pub(super) fn audit(realm: &Realm, tree: &Tree) {
    let end = realm.tree.geometry().unprotected_base().raw();
    let mut next = Ipa::new(0);
    while let Some(ipa) = tree.first_data(next, end) {
        let shown = tree.walk(ipa, rmi_abi::rtt::Level::L3).unwrap();
        let primary = realm.tree.walk(ipa, rmi_abi::rtt::Level::L3).unwrap();
        let (Entry::Data { pa, ripas, .. }, Entry::Data { pa: of, ripas: is, .. }) =
            (shown.entry, primary.entry)
        else {
            panic!("{ipa}: {shown:?} shows {primary:?}");
        };
        assert_eq!((ripas, is), (Ripas::Ram, Ripas::Ram));
        assert_eq!(pa.raw() - shown.base.raw(), of.raw() - primary.base.raw());
        next = Ipa::new(shown.top().min(primary.top()));
    }
}

/// A call about the auxiliary tree with valid arguments.
pub(super) fn plausible() -> impl Strategy<Value = (Command, Vec<u64>)> {
    let pages = || 1..5_u64;
    let entry = select(vec![Command::RttAuxMapProtected, Command::RttAuxUnmapProtected]);
    let range = select(vec![Command::RttAuxProtMap, Command::RttAuxProtUnmap]);
    let root = select(vec![Command::RttAuxMapUnprotected, Command::RttAuxUnmapUnprotected]);
    let roots = select(vec![Command::RttAuxUnprotMap, Command::RttAuxUnprotUnmap]);
    let table = select(vec![Command::RttAuxDestroy, Command::RttAuxFold]);
    let rec = (0x18..0x1a_u64).prop_map(|page| DRAM + page * PAGE);
    prop_oneof![
        6 => (entry, protected()).prop_map(|(command, ipa)| (command, vec![RD, ipa, 1])),
        6 => (range, protected(), pages(), 0..4_u64).prop_map(|(command, ipa, n, flags)| {
            (command, vec![RD, ipa, ipa + n * PAGE, 1 | flags << 2])
        }),
        1 => root.prop_map(|command| (command, vec![RD, SHARED, 1])),
        1 => roots.prop_map(|command| (command, vec![RD, SHARED, SHARED + (1 << 30), 1])),
        1 => (page(), 0..3_u64).prop_map(|(page, n)| {
            (Command::RttAuxCreate, vec![RD, page, n << 21, 3, 1])
        }),
        1 => (table, 0..3_u64).prop_map(|(command, n)| (command, vec![RD, n << 21, 3, 1])),
        1 => (rec, protected(), pages()).prop_map(|(rec, ipa, n)| {
            (Command::RttSetS2ap, vec![RD, rec, ipa, ipa + n * PAGE])
        }),
    ]
}
