//! The model RMM accepts what is accepted here.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use rmi_abi::Dialect;
use rmi_abi::feature::Features;
use rmi_host::{Discovered, Progress, SessionOptions};
use rmm_model::{Model, Options};

use super::{any_config, with};

/// Memory for the root tables of one tree, and their alignment.
const ROOTS: u64 = 16 << 12;
const PAGE: u64 = 1 << 12;

/// Machines with different features: no devices, which the model does not have; S2SZ, LPA2, SVE,
/// planes and private contexts.
fn machine() -> impl Strategy<Value = (Dialect, Features)> {
    let dialect = prop::sample::select(&Dialect::ALL[..]);
    (dialect, 32_u64..=52, any::<[bool; 4]>(), 0_u64..=3, 0_u64..=2).prop_map(
        |(dialect, width, [lpa2, sve, indirect, mec], planes, tables)| {
            let features = with(dialect, |registers| {
                registers[0] =
                    registers[0] & !0x3ff | width | u64::from(lpa2) << 8 | u64::from(sve) << 9;
                registers[1] |= 1;
                registers[2] = 0;
                registers[3] = planes | tables << 4 | u64::from(indirect) << 6;
                registers[4] = mec.into();
            });
            (dialect, features)
        },
    )
}

#[test]
fn what_is_valid_can_be_created() {
    let mut runner = TestRunner::deterministic();
    let mut created = [0; 2];
    for _ in 0..600 {
        let (config, (dialect, features)) =
            (any_config(), machine()).new_tree(&mut runner).unwrap().current();
        let Ok(mut params) = config.validate(&features, dialect) else { continue };
        let mut options = Options::new(dialect);
        options.features = features.registers();
        options.list_registers = features.gic_num_lrs().unwrap_or(options.list_registers);
        options.already_active = true;
        let model = Model::new(options).unwrap();
        let mut session = SessionOptions::default();
        session.dialect = Some(dialect);
        let mut memory = model.take_memory();
        let found = Discovered::probe(model.host(), session).unwrap();
        let rmm = found.configure(&mut memory).unwrap().into_active();
        let mut take = |bytes| rmm.delegate(memory.take_front(bytes).unwrap()).unwrap();
        params.rtt_base = take(ROOTS).base();
        if params.tree_per_plane {
            params.aux_rtt_base = [(); 3].map(|()| take(ROOTS).base());
        }
        let rd = take(PAGE);
        let mut page = memory.take_front(PAGE).unwrap();
        let answer = rmm.commands().realm_create(&rd, &mut page, &params.encode(dialect).unwrap());
        assert!(matches!(answer, Ok(Progress::Done(_))), "{config:?}: {answer:?}");
        let trees = if params.tree_per_plane { u64::from(params.num_aux_planes) + 1 } else { 1 };
        let tables = trees * u64::from(params.geometry.root_tables());
        assert_eq!(model.census().rtt, tables);
        created[usize::from(params.tree_per_plane)] += 1;
    }
    assert!(created.iter().all(|count| *count > 5), "{created:?}");
}
