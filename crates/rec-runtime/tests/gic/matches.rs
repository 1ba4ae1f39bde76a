//! A GIC and a set belong together if they have the same RECs.

use rec_runtime::gic::{GicMismatch, RealmGic};
use vgic_realm::{Affinity, Gic, GicConfig, GicStorage};

use crate::fixture::{DIALECTS, realm, script};

const RECS: usize = 18;

#[test]
fn a_gic_has_the_affinities_of_the_set() {
    let programs = (0..RECS).map(|_| script(vec![])).collect();
    realm(DIALECTS[0], programs, |fixture| {
        let (set, vtr) = (fixture.set, fixture.model.cpu(0).vtr());
        let new = |affinities: &[Affinity]| {
            let storage = GicStorage::<19, 32>::new();
            let gic = Gic::new(&storage, &GicConfig { affinities, spis: 32, vtr }).unwrap();
            RealmGic::new(&gic, set).map(|joined| joined.gic().recs())
        };
        let right: Vec<_> = set.affinities().collect();
        let expected = (0..16).chain([0x100, 0x101]).map(Affinity::from_mpidr);
        assert_eq!(right, expected.collect::<Vec<_>>());
        assert_eq!(new(&right), Ok(RECS));
        // The indices are the affinities only of the first 16 RECs.
        let indices: Vec<_> = (0..18).map(Affinity::from_mpidr).collect();
        let (gic, in_set) = (Affinity::from_mpidr(16), Affinity::from_mpidr(0x100));
        let mismatch = new(&indices).unwrap_err();
        assert_eq!(mismatch, GicMismatch::Affinity { rec: 16, gic, set: in_set });
        assert_eq!(
            mismatch.to_string(),
            "REC 16 has the affinity 0.0.0.16 in the GIC, and 0.0.1.0 in the set"
        );
        let mismatch = new(&right[..17]).unwrap_err();
        assert_eq!(mismatch, GicMismatch::Count { gic: 17, set: RECS });
        assert_eq!(mismatch.to_string(), "the GIC is for 17 RECs, and the set has 18");
        let more: Vec<_> = right.iter().copied().chain([Affinity::from_mpidr(0x102)]).collect();
        assert_eq!(new(&more), Err(GicMismatch::Count { gic: 19, set: RECS }));
    });
}
