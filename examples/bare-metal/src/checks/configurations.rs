//! Configurations that no RMM, or not this one, can do: refused by name, before any call.

use alloc::format;

use realm_guest::layout::IPA_WIDTH;
use realm_sdk::abi::realm::{HashAlgorithm, S2apEncoding};
use realm_sdk::abi::rtt::Level;
use realm_sdk::builder::{BuildError, Realm, RealmConfig, Records};

use crate::fixture::Fixture;
use crate::machine::Machine;
use crate::report::{Outcome, Stop};

/// A change that makes a configuration wrong.
type Change = fn(&mut RealmConfig);

/// What is wrong whatever the RMM offers.
const WRONG: [(&str, Change); 18] = [
    ("ipa_width 31", |c| c.ipa_width = 31),
    ("ipa_width 53", |c| c.ipa_width = 53),
    ("ipa_width 255", |c| c.ipa_width = 255),
    ("start_level 2", |c| c.start_level = Some(Level::L2)),
    ("start_level 3", |c| c.start_level = Some(Level::L3)),
    ("start_level -1", |c| c.start_level = Some(Level::MINUS_1)),
    ("root_tables 3", |c| c.root_tables = Some(3)),
    ("an unknown hash", |c| c.hash = HashAlgorithm::Unknown(9)),
    ("num_bps 0", |c| c.num_bps = 0),
    ("num_bps 255", |c| c.num_bps = 255),
    ("num_wps 0", |c| c.num_wps = 0),
    ("num_wps 255", |c| c.num_wps = 255),
    ("sve_vl 255", |c| c.sve_vl = Some(255)),
    ("pmu_num_ctrs 255", |c| c.pmu_num_ctrs = Some(255)),
    ("max_num_vdevs without devices", |c| c.max_num_vdevs = 1),
    ("ats without devices", |c| c.ats = true),
    ("ats_plane without planes", |c| c.ats_plane = 1),
    ("an unknown s2ap", |c| c.s2ap = Some(S2apEncoding::Unknown(2))),
];

pub(super) fn check<M: Machine>(fixture: &Fixture<'_, M>) -> Outcome {
    let calls = fixture.conduit.total().issued;
    let mut memory = fixture.cpu_memory();
    for (name, change) in WRONG {
        let mut config = RealmConfig::new(IPA_WIDTH);
        change(&mut config);
        match Realm::create(fixture.session, &config, Records::growing(), &mut memory) {
            Ok(realm) => {
                let _ = realm.tear_down(&mut memory, []);
                memory.drain(fixture.session);
                return Err(Stop::failed(format!("a Realm with {name} was created")));
            }
            Err(failed) if matches!(failed.error, BuildError::Config(_)) => {}
            Err(failed) => return Err(Stop::failed(format!("{name}: {}", failed.error))),
        }
    }
    memory.drain(fixture.session);
    match fixture.conduit.total().issued - calls {
        0 => Ok(format!("{} refused without a call", WRONG.len())),
        calls => Err(Stop::failed(format!("{calls} calls were made"))),
    }
}
