//! The cost of operations in SMCs: on an RMM that takes one granule per call (as TF-RMM does) and
//! on one that takes ranges.
// Uses a machine of 1 GiB, which is too large for Miri.
#![cfg(not(miri))]
#![expect(clippy::unwrap_used, reason = "tests")]

use rmi_abi::realm::RealmParams;
use rmi_abi::rec::{Mpidr, RecParams};
use rmi_abi::rtt::Geometry;
use rmi_abi::{Dialect, Ipa};
use rmi_conduits::counting::Counting;
use rmi_host::{Host, Progress, Rd, SessionOptions, Undelegated};
use rmm_model::{Model, Options};
use sro::{FixedPool, Pool, RecObject, open};

const GRANULE: u64 = 0x1000;

/// The costs of one REC.
#[derive(Debug, PartialEq, Eq)]
struct Costs {
    open: u64,
    create: u64,
    destroy: u64,
}

fn costs(options: Options, session: SessionOptions) -> Costs {
    let model = Model::new(options).unwrap();
    let conduit = Counting::new(&model);
    let mut memory = model.take_memory();
    let mut take = |bytes| -> Undelegated { memory.take_front(bytes).unwrap() };
    let mut pool = FixedPool::<8>::new();
    pool.add(take(Pool::PAGES)).unwrap();
    pool.add(take(32 * GRANULE)).unwrap();

    let rmm = open(Host::new(&conduit, &model), session, &mut pool).unwrap();
    let open = conduit.total().issued;

    let roots = rmm.delegate(take(GRANULE)).unwrap();
    let rd = rmm.delegate(take(GRANULE)).unwrap();
    let params = RealmParams::new(Geometry::new(40).unwrap(), roots.base());
    let page = params.encode(rmm.dialect()).unwrap();
    assert!(matches!(
        rmm.commands().realm_create(&rd, pool.pages().page, &page).unwrap(),
        Progress::Done(_)
    ));
    let rd = Rd::new(rd);

    let before = conduit.total();
    pool.prefill(&rmm, 17 * GRANULE, GRANULE).unwrap();
    let params = RecParams {
        runnable: true,
        mpidr: Mpidr::from_index(0),
        pc: Ipa::new(0).raw(),
        gprs: [0; 8],
    };
    let rec = RecObject::create(&rmm, &rd, &mut pool, &params).unwrap();
    let create = conduit.total().issued - before.issued;

    let before_destroy = conduit.total();
    rec.destroy(&rmm, &mut pool).unwrap();
    pool.undelegate(&rmm);
    let destroy = conduit.total().issued - before_destroy.issued;
    assert_eq!(conduit.total().failed, before.failed, "a call failed");
    assert_eq!(pool.bytes(), (32 * GRANULE, 0));
    Costs { open, create, destroy }
}

#[test]
fn a_rec_takes_the_fewest_calls() {
    for dialect in Options::DIALECTS {
        let mut session = SessionOptions::default();
        session.dialect = Some(dialect);
        // VERSION, five feature registers, CONFIG_GET, ACTIVATE.
        let one = costs(Options::new(dialect), session);
        assert_eq!(one, Costs { open: 8, create: 20, destroy: 20 }, "{dialect}");
        let ranges = costs(Options::new(dialect).range_capable(), session);
        assert_eq!(ranges, Costs { open: 8, create: 4, destroy: 4 }, "{dialect}");
        // Probing for the dialect takes one to three calls more.
        let probes = match dialect {
            Dialect::V2_0Bet3 => 1,
            Dialect::V2_0Bet0 => 2,
            _ => 3,
        };
        let open = costs(Options::new(dialect), SessionOptions::default()).open;
        assert_eq!(open, 8 + probes, "{dialect}");
    }
}
