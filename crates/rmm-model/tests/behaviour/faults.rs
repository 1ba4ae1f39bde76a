//! One fault at a time, in both dialects: one argument of a valid call is made invalid.

use rmi_abi::realm::RealmParamsPage;
use rmi_abi::{Command, Dialect, Status};
use rmm_model::Options;
use zerocopy::IntoBytes;

use crate::host::{ALL, DIALECTS, Host, MIB2, PAGE, Realm, SHARED, status};

/// A host with a Realm that has a REC, and one granule of each other kind.
struct Fixture {
    host: Host,
    realm: Realm,
    rec: u64,
    data: u64,
    fresh: u64,
    mine: u64,
}

impl Fixture {
    fn new(dialect: Dialect) -> Self {
        let host = Host::new(Options::new(dialect));
        let realm = host.realm();
        let rec = host.rec(realm, 0, true);
        let data = host.map(realm, 0);
        let (fresh, mine) = (host.fresh(1), host.page());
        Self { host, realm, rec, data, fresh, mine }
    }

    /// Addresses that are not a granule in the state of `good`: unaligned, not memory, or in
    /// another state.
    fn wrong(&self, good: u64) -> Vec<u64> {
        let all = [self.realm.rd, self.realm.root, self.rec, self.data, self.fresh, self.mine];
        let mut wrong: Vec<u64> = all.into_iter().filter(|pa| *pa != good).collect();
        wrong.extend([good + 8, good | 1 << 47, 0, 0x1000, u64::MAX, u64::MAX << 12]);
        wrong
    }

    /// The call fails with ERROR_INPUT when argument `n` (from 0) is a granule of any other kind.
    fn object(&self, command: Command, arguments: &[u64], n: usize) {
        for wrong in self.wrong(arguments[n]) {
            let mut arguments = arguments.to_vec();
            arguments[n] = wrong;
            let before = self.host.model.census();
            self.host.fails(Status::ErrorInput, command, &arguments);
            assert_eq!(self.host.model.census(), before, "{command} {arguments:x?}");
        }
    }

    /// Each of the values makes argument `n` invalid.
    fn values(&self, command: Command, arguments: &[u64], n: usize, wrong: &[u64], why: Status) {
        for value in wrong {
            let mut arguments = arguments.to_vec();
            arguments[n] = *value;
            self.host.fails(why, command, &arguments);
        }
    }
}

#[test]
fn realm_commands() {
    for dialect in DIALECTS {
        let fixture = Fixture::new(dialect);
        let host = &fixture.host;
        let rd = fixture.realm.rd;
        for command in [Command::RealmActivate, Command::RealmTerminate, Command::RealmDestroy] {
            fixture.object(command, &[rd], 0);
        }
        host.fails(Status::ErrorRealm, Command::RealmDestroy, &[rd]);
        host.done(Command::RealmActivate, &[rd]);
        host.fails(Status::ErrorRealm, Command::RealmActivate, &[rd]);
        host.done(Command::RealmTerminate, &[rd]);
        host.done(Command::RealmTerminate, &[rd]);
        host.fails(Status::ErrorRealm, Command::RealmActivate, &[rd]);
        host.fails(Status::ErrorRealm, Command::RealmDestroy, &[rd]);
        let map = [rd, 2 * PAGE, 3 * PAGE, 1, fixture.fresh | 4];
        host.fails(Status::ErrorRealm, Command::RttDataMap, &map);
    }
}

#[test]
fn realm_parameters() {
    for dialect in DIALECTS {
        let host = Host::new(Options::new(dialect));
        let (rd, root, page) = (host.fresh(1), host.fresh(1), host.page());
        let good = host.params(root).encode(dialect).unwrap();
        let wrong: [fn(&mut RealmParamsPage); 21] = [
            |p| p.s2sz = 31,
            |p| p.s2sz = 49,
            |p| p.num_bps = 0,
            |p| p.num_bps = 6,
            |p| p.num_wps = 0,
            |p| p.num_wps = 4,
            |p| p.hash_algo = 3,
            |p| p.num_aux_planes = 1,
            |p| p.ats_plane = 1,
            |p| p.flags1 = 2,
            |p| p.rtt_level_start = 1,
            |p| p.rtt_level_start = -1,
            |p| p.rtt_level_start = 4,
            |p| p.rtt_level_start = i64::MIN,
            |p| p.rtt_num_start = 0,
            |p| p.rtt_num_start = 2,
            |p| p.rtt_base += 8,
            |p| p.rtt_base -= PAGE,
            |p| p.rtt_base += PAGE,
            |p| p.flags0 = 1 << 2,
            |p| p.flags0 = 2 << 7,
        ];
        for (n, change) in wrong.into_iter().enumerate() {
            let mut params = good;
            change(&mut params);
            host.write(page, params.as_bytes());
            let answer = host.call(Command::RealmCreate, &[rd, page]);
            assert_eq!(status(answer), Status::ErrorInput, "{dialect}, fault {n}");
        }
        let mut sve = good;
        (sve.flags0, sve.sve_vl) = (1 << 1, 4);
        host.write(page, sve.as_bytes());
        host.fails(Status::ErrorInput, Command::RealmCreate, &[rd, page]);
        host.write(page, good.as_bytes());
        for params in [page + 8, root, 0, 0x1000] {
            host.fails(Status::ErrorInput, Command::RealmCreate, &[rd, params]);
        }
        for rd in [rd + 8, root, page, 0x1000] {
            host.fails(Status::ErrorInput, Command::RealmCreate, &[rd, page]);
        }
        // Only 2.0-bet0 knows this flag, and the model has no ATS; flags that it does not know are
        // ignored, as by TF-RMM.
        let mut ats = good;
        ats.flags1 = 1 << 2;
        host.write(page, ats.as_bytes());
        if dialect == Dialect::V2_0Bet0 {
            host.fails(Status::ErrorInput, Command::RealmCreate, &[rd, page]);
        } else {
            host.done(Command::RealmCreate, &[rd, page]);
            host.done(Command::RealmTerminate, &[rd]);
            host.done(Command::RealmDestroy, &[rd]);
        }
        sve.sve_vl = 3;
        host.write(page, sve.as_bytes());
        host.done(Command::RealmCreate, &[rd, page]);
    }
}

#[test]
fn delegation() {
    for dialect in DIALECTS {
        let fixture = Fixture::new(dialect);
        let host = &fixture.host;
        let (mine, fresh) = (fixture.mine, fixture.fresh);
        for (base, top) in [(mine, mine), (mine, mine - PAGE), (mine + 8, mine + PAGE), (mine, 0)] {
            host.fails(Status::ErrorInput, Command::GranuleRangeDelegate, &[base, top]);
            host.fails(Status::ErrorInput, Command::GranuleRangeUndelegate, &[base, top]);
        }
        for used in [fresh, fixture.realm.rd, fixture.realm.root, fixture.rec, fixture.data] {
            host.fails(Status::ErrorInput, Command::GranuleRangeDelegate, &[used, used + PAGE]);
        }
        for used in [mine, fixture.realm.rd, fixture.realm.root, fixture.rec, fixture.data] {
            host.fails(Status::ErrorInput, Command::GranuleRangeUndelegate, &[used, used + PAGE]);
        }
        let outside = match dialect {
            Dialect::TfRmm2026_07 => Status::ErrorInput,
            _ => Status::ErrorTracking,
        };
        host.fails(outside, Command::GranuleRangeDelegate, &[0x1000, 0x2000]);
    }
}

#[test]
fn tables() {
    for dialect in ALL {
        let fixture = Fixture::new(dialect);
        let rd = fixture.realm.rd;
        let create = [rd, fixture.fresh, MIB2, 3];
        fixture.object(Command::RttCreate, &create, 0);
        fixture.object(Command::RttCreate, &create, 1);
        let ipas = [MIB2 + 8, MIB2 + PAGE, 1 << 40, u64::MAX << 21];
        fixture.values(Command::RttCreate, &create, 2, &ipas, Status::ErrorInput);
        fixture.values(Command::RttCreate, &create, 3, &[0, 4, u64::MAX], Status::ErrorInput);
        let taken = [0, 1 << 30, SHARED];
        fixture.values(Command::RttCreate, &create, 2, &taken, Status::ErrorRtt);
        for command in [Command::RttDestroy, Command::RttFold] {
            let table = [rd, 0, 3];
            fixture.object(command, &table, 0);
            fixture.values(command, &table, 1, &ipas, Status::ErrorInput);
            fixture.values(command, &table, 2, &[0, 4, u64::MAX], Status::ErrorInput);
            fixture.values(command, &table, 1, &[0, MIB2], Status::ErrorRtt);
        }
        let read = [rd, 0, 3];
        fixture.object(Command::RttReadEntry, &read, 0);
        fixture.values(Command::RttReadEntry, &read, 1, &[8, 1 << 40], Status::ErrorInput);
        fixture.values(Command::RttReadEntry, &read, 2, &[4, u64::MAX], Status::ErrorInput);
    }
}

#[test]
fn mappings() {
    for dialect in DIALECTS {
        let fixture = Fixture::new(dialect);
        let host = &fixture.host;
        let (rd, fresh, mine) = (fixture.realm.rd, fixture.fresh, fixture.mine);
        let undelegated = 1 << dialect.range_state_field().0;
        let (base, top) = (2 * PAGE, 3 * PAGE);
        let map = [rd, base, top, 1, fresh | 4];
        fixture.object(Command::RttDataMap, &map, 0);
        let unit = Status::ErrorInput;
        fixture.values(Command::RttDataMap, &map, 1, &[base + 8, top, SHARED], unit);
        fixture.values(
            Command::RttDataMap,
            &map,
            2,
            &[base, top + 8, SHARED + PAGE, 1 << 50],
            unit,
        );
        fixture.values(Command::RttDataMap, &map, 3, &[0, 2, 3], unit);
        let pages =
            [fresh, mine | 4, rd | 4, fixture.data | 4, fresh | 4 | undelegated, 1 << 48 | 4];
        fixture.values(Command::RttDataMap, &map, 4, &pages, unit);
        fixture.values(Command::RttDataMap, &map, 4, &[fresh | 7], unit);
        host.fails(Status::ErrorRtt, Command::RttDataMap, &[rd, 0, PAGE, 1, fresh | 4]);
        host.fails(Status::ErrorRtt, Command::RttDataMap, &[rd, MIB2, MIB2 + PAGE, 1, fresh | 4]);

        let init = [rd, fresh, base, mine, 1];
        fixture.object(Command::RttDataMapInit, &init, 0);
        fixture.object(Command::RttDataMapInit, &init, 1);
        fixture.values(Command::RttDataMapInit, &init, 2, &[base + 8, SHARED, 1 << 40], unit);
        fixture.values(Command::RttDataMapInit, &init, 3, &[mine + 8, fresh, 0x1000], unit);
        fixture.values(Command::RttDataMapInit, &init, 4, &[2, 3, 1 << 63], unit);
        fixture.values(Command::RttDataMapInit, &init, 2, &[0, MIB2], Status::ErrorRtt);

        let ripas = [rd, base, top];
        fixture.object(Command::RttInitRipas, &ripas, 0);
        fixture.values(Command::RttInitRipas, &ripas, 1, &[base + 8, top, SHARED], unit);
        fixture.values(Command::RttInitRipas, &ripas, 2, &[base, top + 8, SHARED + PAGE], unit);

        let unmap = [rd, 0, PAGE, 1, 0];
        fixture.object(Command::RttDataUnmap, &unmap, 0);
        fixture.values(Command::RttDataUnmap, &unmap, 1, &[8, PAGE, SHARED], unit);
        fixture.values(Command::RttDataUnmap, &unmap, 2, &[0, 8, SHARED + PAGE], unit);
        fixture.values(Command::RttDataUnmap, &unmap, 3, &[2, 3, 4, 5, 6], unit);
        fixture.values(Command::RttDataUnmap, &unmap, 4, &[8, mine], unit);
        for list in [mine + 4, fresh, 0x1000] {
            host.fails(unit, Command::RttDataUnmap, &[rd, 0, PAGE, 6, list]);
        }

        let share = [rd, SHARED, SHARED + PAGE, 0x1e_0001, mine | 4 | undelegated];
        fixture.object(Command::RttUnprotMap, &share, 0);
        fixture.values(Command::RttUnprotMap, &share, 2, &[SHARED, (1 << 40) + PAGE], unit);
        let flags = [0x1e_0000, 0x1e_0003, 0x1c_0001, 0x26_0001];
        fixture.values(Command::RttUnprotMap, &share, 3, &flags, unit);
        fixture.values(Command::RttUnprotMap, &share, 4, &[mine, 1 << 48 | 4], unit);
        host.fails(unit, Command::RttUnprotMap, &[rd, base, top, 0x1e_0001, mine | 4]);
        let unshare = [rd, SHARED, SHARED + PAGE, 1, 0];
        fixture.object(Command::RttUnprotUnmap, &unshare, 0);
        host.fails(unit, Command::RttUnprotUnmap, &[rd, base, top, 1, 0]);
        // Nothing of this has changed anything: the valid calls still work.
        host.done(Command::RttUnprotMap, &share);
        host.done(Command::RttInitRipas, &ripas);
        host.done(Command::RttDataMap, &map);
        host.done(Command::RttDataUnmap, &unmap);
        host.done(Command::RealmActivate, &[rd]);
        host.fails(Status::ErrorRealm, Command::RttInitRipas, &ripas);
        host.fails(Status::ErrorRealm, Command::RttDataMapInit, &init);
    }
}

#[test]
fn recs() {
    for dialect in ALL {
        let fixture = Fixture::new(dialect);
        let host = &fixture.host;
        let (rd, rec, run) = (fixture.realm.rd, fixture.rec, fixture.mine);
        fixture.object(Command::RecCreate, &[rd, fixture.fresh, run], 1);
        fixture.object(Command::RecDestroy, &[rec], 0);
        fixture.object(Command::RecEnter, &[rec, run], 0);
        fixture.object(Command::RecEnter, &[rec, run], 1);
        host.fails(Status::ErrorRealm, Command::RecEnter, &[rec, run]);
        host.done(Command::RealmActivate, &[rd]);
        host.write(run, &1_u64.to_le_bytes());
        host.fails(Status::ErrorRec, Command::RecEnter, &[rec, run]);
        host.write(run, &2_u64.to_le_bytes());
        host.fails(Status::ErrorRec, Command::RecEnter, &[rec, run]);
        host.write(run, &0_u64.to_le_bytes());
        host.done(Command::RecEnter, &[rec, run]);
        let complete =
            if dialect.psci_complete_names_target() { vec![rec, rec, 0] } else { vec![rec, 0] };
        fixture.object(Command::PsciComplete, &complete, 0);
        host.fails(Status::ErrorInput, Command::PsciComplete, &complete);
        let ripas = [rd, rec, 0, PAGE];
        fixture.object(Command::RttSetRipas, &ripas, 0);
        fixture.object(Command::RttSetRipas, &ripas, 1);
        let other = host.realm();
        host.fails(Status::ErrorRec, Command::RttSetRipas, &[other.rd, rec, 0, PAGE]);
    }
}

#[test]
fn commands_of_absent_features() {
    let host = Host::tf_rmm();
    let absent = [Command::PdevGetState, Command::VdevGetState, Command::RttDevMap];
    for command in absent {
        assert_eq!(host.call(command, &[0])[0], u64::MAX);
    }
    host.fails(Status::ErrorNotSupported, Command::PsmmuActivate, &[0, 0]);
    host.fails(Status::ErrorInput, Command::RttAuxCreate, &[0, 0, 0, 1, 1]);
    let host = Host::new(Options::new(Dialect::V2_0Bet3));
    for command in [Command::PdevGetState, Command::RttDevMap, Command::VsmmuFeatures] {
        host.fails(Status::ErrorNotSupported, command, &[0]);
    }
}
