//! Every status of every command that the model implements, as the specification lists them, is
//! reached.
//!
//! Not listed, because nothing reaches them here: those that need planes, devices or attestation;
//! `RMI_ERROR_GLOBAL` of `RMI_REALM_CREATE` for lack of VMIDs or randomness; `RMI_ERROR_REC` of
//! `RMI_PSCI_COMPLETE`, where TF-RMM returns `RMI_ERROR_INPUT`; `RMI_BUSY` where an interrupted
//! unmap has yet to clean up, because the model's commands yield before they start. Every command
//! can be answered with `RMI_BUSY` and `RMI_BLOCKED` by [`Options::busy_every`] and
//! [`Options::blocked_every`].

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::sync::{Arc, Barrier};

use rmi_abi::realm::RealmFlags0;
use rmi_abi::{Command, Dialect, Pa, PaRange, Status};
use rmm_model::{Action, GuestCpu, Options};
use zerocopy::IntoBytes;

use crate::host::{DIALECTS, Host, MIB2, PAGE, Realm, SHARED, status};

use Status::{
    ErrorGlobal, ErrorGpt, ErrorInput, ErrorRealm, ErrorRec, ErrorRtt, ErrorTracking, Success,
};

/// Statuses in all dialects of 2.0.
const ALL: &[(Command, &[Status])] = &[
    (Command::Version, &[Success, ErrorInput]),
    (Command::Features, &[Success]),
    (Command::RmmConfigGet, &[Success, ErrorInput]),
    (Command::RmmConfigSet, &[Success, ErrorInput, ErrorGlobal]),
    (Command::RmmActivate, &[Success, ErrorGlobal]),
    (Command::GranuleTrackingGet, &[Success, ErrorInput]),
    (Command::GranuleRangeDelegate, &[Success, ErrorInput, ErrorGlobal]),
    (Command::GranuleRangeUndelegate, &[Success, ErrorInput]),
    (Command::GptL1Create, &[ErrorInput, ErrorGpt]),
    (Command::RealmCreate, &[Success, ErrorInput, ErrorGlobal]),
    (Command::RealmActivate, &[Success, ErrorInput, ErrorRealm]),
    (Command::RealmTerminate, &[Success, ErrorInput, ErrorRealm]),
    (Command::RealmDestroy, &[Success, ErrorInput, ErrorRealm]),
    (Command::RecCreate, &[Success, ErrorInput, ErrorRealm]),
    (Command::RecDestroy, &[Success, ErrorInput, ErrorRec]),
    (Command::RecEnter, &[Success, ErrorInput, ErrorRealm, ErrorRec]),
    (Command::PsciComplete, &[Success, ErrorInput]),
    (Command::RttCreate, &[Success, ErrorInput, ErrorRtt]),
    (Command::RttDestroy, &[Success, ErrorInput, ErrorRtt]),
    (Command::RttFold, &[Success, ErrorInput, ErrorRtt]),
    (Command::RttReadEntry, &[Success, ErrorInput]),
    (Command::RttInitRipas, &[Success, ErrorInput, ErrorRealm, ErrorRtt]),
    (Command::RttSetRipas, &[Success, ErrorInput, ErrorRec, ErrorRtt]),
    (Command::RttDataMapInit, &[Success, ErrorInput, ErrorRealm, ErrorRtt]),
    (Command::RttDataMap, &[Success, ErrorInput, ErrorRealm, ErrorRtt]),
    (Command::RttDataUnmap, &[Success, ErrorInput, ErrorRtt]),
    (Command::RttUnprotMap, &[Success, ErrorInput, ErrorRealm, ErrorRtt]),
    (Command::RttUnprotUnmap, &[Success, ErrorInput, ErrorRtt]),
    (Command::OpContinue, &[ErrorInput]),
    (Command::OpMemDonate, &[ErrorInput]),
    (Command::OpMemReclaim, &[ErrorInput]),
    (Command::OpCancel, &[ErrorInput]),
];

/// Statuses only in 2.0-bet3.
const BET3: &[(Command, &[Status])] = &[
    (Command::RmmDeactivate, &[Success, ErrorGlobal]),
    (Command::GptInfo, &[Success, ErrorInput]),
    (Command::GptL1Create, &[ErrorGlobal]),
    (Command::GptL1Destroy, &[ErrorGlobal]),
];

/// Statuses only where the command exists.
const STATE: &[(Command, &[Status])] = &[(Command::RmmStateGet, &[Success])];

/// Statuses in all dialects but TF-RMM's.
const TEXTS: &[(Command, &[Status])] = &[
    (Command::GranuleTrackingSet, &[Success, ErrorInput]),
    (Command::GptL1Create, &[Success]),
    (Command::GptL1Destroy, &[Success, ErrorInput, ErrorGpt]),
    (Command::GranuleRangeDelegate, &[ErrorTracking, ErrorGpt]),
    (Command::RealmCreate, &[ErrorTracking]),
    (Command::RecCreate, &[ErrorTracking]),
    (Command::RttCreate, &[ErrorTracking]),
    (Command::RttDataMapInit, &[ErrorTracking]),
    (Command::RttDataMap, &[ErrorTracking]),
];

const GIB: u64 = 1 << 30;
const COARSE: u64 = 0xa000_0000;

type Seen = BTreeSet<(Command, u8)>;

/// A host that records the statuses with which commands ended.
struct Tried {
    host: Host,
    seen: RefCell<Seen>,
}

impl Tried {
    fn ends(&self, with: Status, command: Command, arguments: &[u64]) {
        let answer = self.host.call(command, arguments);
        assert_eq!(status(answer), with, "{} {command} {arguments:x?}", self.host.dialect);
        self.seen.borrow_mut().insert((command, u8::from(with)));
    }

    /// `RMI_REC_CREATE` up to its last answer.
    fn rec_create(&self, with: Status, realm: Realm, index: u32) -> u64 {
        let (rec, aux) = (self.host.fresh(1), self.host.fresh(16));
        let params = self.host.rec_params(index, true);
        let list = self.host.list(&[aux | 16 << 2]);
        assert_eq!(self.host.call(Command::RecCreate, &[realm.rd, rec, params])[..2], [0x10d, 0]);
        self.host.call(Command::OpMemDonate, &[0, list, 1]);
        let mut answer = self.host.call(Command::OpContinue, &[0, 0]);
        if status(answer) == Status::Incomplete {
            self.host.call(Command::OpMemReclaim, &[0, list, 512]);
            answer = self.host.call(Command::OpContinue, &[0, 0]);
        }
        assert_eq!(status(answer), with);
        self.seen.borrow_mut().insert((Command::RecCreate, u8::from(with)));
        rec
    }

    fn the_rmm(&self) {
        let page = self.host.page();
        self.ends(ErrorGlobal, Command::GranuleRangeDelegate, &[page, page + PAGE]);
        self.ends(Success, Command::Version, &[0x2_0000]);
        self.ends(ErrorInput, Command::Version, &[0x1_0000]);
        self.ends(Success, Command::Features, &[0]);
        self.ends(Success, Command::RmmConfigGet, &[page]);
        self.ends(ErrorInput, Command::RmmConfigGet, &[page + 8]);
        self.ends(Success, Command::RmmConfigSet, &[page]);
        self.ends(ErrorInput, Command::RmmConfigSet, &[0x1000]);
        self.ends(Success, Command::RmmActivate, &[]);
        self.ends(ErrorGlobal, Command::RmmActivate, &[]);
        self.ends(ErrorGlobal, Command::RmmConfigSet, &[page]);
        self.ends(Success, Command::GranuleTrackingGet, &[page, page + PAGE]);
        self.ends(ErrorInput, Command::GranuleTrackingGet, &[page + 8, page + PAGE]);
        self.ends(Success, Command::GranuleRangeDelegate, &[page, page + PAGE]);
        self.ends(ErrorInput, Command::GranuleRangeDelegate, &[page, page + PAGE]);
        self.ends(Success, Command::GranuleRangeUndelegate, &[page, page + PAGE]);
        self.ends(ErrorInput, Command::GranuleRangeUndelegate, &[page, page + PAGE]);
        self.ends(ErrorInput, Command::GptL1Create, &[page + PAGE]);
        for command in
            [Command::OpContinue, Command::OpMemDonate, Command::OpMemReclaim, Command::OpCancel]
        {
            self.ends(ErrorInput, command, &[7, page, 1]);
        }
    }

    fn tables(&self, rd: u64) {
        let host = &self.host;
        let table = host.fresh(1);
        self.ends(Success, Command::RttCreate, &[rd, table, MIB2, 3]);
        self.ends(ErrorRtt, Command::RttCreate, &[rd, host.fresh(1), MIB2, 3]);
        self.ends(ErrorInput, Command::RttCreate, &[rd, table, 2 * MIB2, 3]);
        self.ends(Success, Command::RttReadEntry, &[rd, MIB2, 3]);
        self.ends(ErrorInput, Command::RttReadEntry, &[rd, MIB2, 4]);
        self.ends(Success, Command::RttFold, &[rd, MIB2, 3]);
        self.ends(ErrorRtt, Command::RttFold, &[rd, MIB2, 3]);
        self.ends(ErrorInput, Command::RttFold, &[rd, PAGE, 3]);
        self.ends(ErrorRtt, Command::RttDestroy, &[rd, MIB2, 3]);
        self.ends(ErrorInput, Command::RttDestroy, &[rd, PAGE, 3]);
        self.ends(Success, Command::RttCreate, &[rd, table, MIB2, 3]);
        self.ends(Success, Command::RttDestroy, &[rd, MIB2, 3]);
    }

    fn mappings(&self, rd: u64) {
        let host = &self.host;
        let (src, data, free) = (host.page(), host.fresh(1), host.fresh(1));
        self.ends(Success, Command::RttInitRipas, &[rd, PAGE, 2 * PAGE]);
        self.ends(ErrorInput, Command::RttInitRipas, &[rd, PAGE, PAGE]);
        // The table at MIB2 was destroyed.
        self.ends(ErrorRtt, Command::RttInitRipas, &[rd, MIB2, MIB2 + PAGE]);
        self.ends(Success, Command::RttDataMapInit, &[rd, data, PAGE, src, 1]);
        self.ends(ErrorRtt, Command::RttDataMapInit, &[rd, free, PAGE, src, 1]);
        self.ends(ErrorInput, Command::RttDataMapInit, &[rd, free, PAGE, src, 2]);
        self.ends(ErrorRtt, Command::RttDataMap, &[rd, PAGE, 2 * PAGE, 1, free | 4]);
        self.ends(ErrorInput, Command::RttDataMap, &[rd, 0, PAGE, 1, src | 4]);
        self.ends(Success, Command::RttDataMap, &[rd, 0, PAGE, 1, free | 4]);
        self.ends(Success, Command::RttDataUnmap, &[rd, 0, PAGE, 1, 0]);
        self.ends(ErrorInput, Command::RttDataUnmap, &[rd, 0, PAGE, 3, 0]);
        self.ends(ErrorRtt, Command::RttDataUnmap, &[rd, MIB2, MIB2 + PAGE, 1, 0]);
        let shared = [rd, SHARED, SHARED + PAGE, 0x1e_0001, src | 4];
        self.ends(Success, Command::RttUnprotMap, &shared);
        let far = SHARED + MIB2;
        self.ends(ErrorRtt, Command::RttUnprotMap, &[rd, far, far + PAGE, 0x1e_0001, src | 4]);
        self.ends(ErrorInput, Command::RttUnprotMap, &[rd, 0, PAGE, 0x1e_0001, src | 4]);
        self.ends(Success, Command::RttUnprotUnmap, &[rd, SHARED, SHARED + PAGE, 1, 0]);
        self.ends(ErrorRtt, Command::RttUnprotUnmap, &[rd, far, far + PAGE, 1, 0]);
        self.ends(ErrorInput, Command::RttUnprotUnmap, &[rd, 0, PAGE, 1, 0]);
    }

    /// A Realm from its creation to its end.
    fn a_realm(&self) {
        let host = &self.host;
        let (rd, root, params) = (host.fresh(1), host.fresh(1), host.page());
        let mut page = host.params(root).encode(host.dialect).unwrap();
        page.flags0 |= RealmFlags0::MEC_PRIVATE.bits();
        host.write(params, page.as_bytes());
        self.ends(ErrorInput, Command::RealmCreate, &[root, params]);
        self.ends(Success, Command::RealmCreate, &[rd, params]);
        // There is only one private memory encryption context.
        let (other, root) = (host.fresh(1), host.fresh(1));
        page.rtt_base = root;
        host.write(params, page.as_bytes());
        self.ends(ErrorGlobal, Command::RealmCreate, &[other, params]);
        let realm = Realm { rd, root };
        for base in [0, SHARED] {
            (1..=3).for_each(|level| _ = host.table(realm, base, level));
        }
        self.tables(rd);
        self.mappings(rd);
        self.a_rec(realm);

        self.ends(ErrorInput, Command::RealmTerminate, &[rd + PAGE]);
        self.ends(ErrorRealm, Command::RealmDestroy, &[rd]);
        self.ends(Success, Command::RealmTerminate, &[rd]);
        self.ends(ErrorRealm, Command::RealmActivate, &[rd]);
        self.ends(ErrorRealm, Command::RttDataMap, &[rd, 0, PAGE, 1, other | 4]);
        let shared = [rd, SHARED, SHARED + PAGE, 0x1e_0001, params | 4];
        self.ends(ErrorRealm, Command::RttUnprotMap, &shared);
        host.done(Command::RttDataUnmap, &[rd, PAGE, 2 * PAGE, 1, 0]);
        for base in [0, SHARED] {
            (1..=3).rev().for_each(|level| _ = host.done(Command::RttDestroy, &[rd, base, level]));
        }
        self.ends(Success, Command::RealmDestroy, &[rd]);
        self.ends(ErrorInput, Command::RealmDestroy, &[rd]);
        self.ends(ErrorInput, Command::RealmActivate, &[rd]);
    }

    fn a_rec(&self, realm: Realm) {
        let host = &self.host;
        let (rd, run) = (realm.rd, host.page());
        self.ends(ErrorInput, Command::RecCreate, &[rd, run, run]);
        self.rec_create(ErrorInput, realm, 1);
        let rec = self.rec_create(Success, realm, 0);
        let second = self.rec_create(Success, realm, 1);
        // The features allow three RECs.
        let third = self.rec_create(Success, realm, 2);
        self.rec_create(ErrorRealm, realm, 3);
        self.ends(ErrorRealm, Command::RecEnter, &[rec, run]);
        self.ends(Success, Command::RealmActivate, &[rd]);
        self.ends(ErrorRealm, Command::RttInitRipas, &[rd, 0, PAGE]);
        let data = host.fresh(1);
        self.ends(ErrorRealm, Command::RttDataMapInit, &[rd, data, 0, run, 0]);
        self.ends(ErrorInput, Command::RecEnter, &[rec, run + 8]);
        self.while_it_runs(realm, rec, run);

        let ipa = |ipa| rmi_abi::Ipa::new(ipa);
        let ram = rmi_abi::rtt::Ripas::Ram;
        host.model.set_guest(
            Pa::new(rd),
            0,
            Box::new(rmm_model::Script::new(vec![
                Action::ipa_state_set(ipa(3 * PAGE), ipa(5 * PAGE), ram, 0),
                // A table is missing there.
                Action::ipa_state_set(ipa(MIB2), ipa(MIB2 + PAGE), ram, 0),
                Action::psci_cpu_on(1, PAGE, 0),
                Action::psci_cpu_off(),
            ])),
        );
        self.ends(Success, Command::RecEnter, &[rec, run]);
        self.ends(Success, Command::RttSetRipas, &[rd, rec, 3 * PAGE, 5 * PAGE]);
        self.ends(ErrorInput, Command::RttSetRipas, &[rd, rec, 3 * PAGE, 5 * PAGE]);
        host.done(Command::RecEnter, &[rec, run]);
        self.ends(ErrorRtt, Command::RttSetRipas, &[rd, rec, MIB2, MIB2 + PAGE]);
        host.done(Command::RecEnter, &[rec, run]);
        let (good, bad) = match host.dialect.psci_complete_names_target() {
            true => (vec![rec, second, 0], vec![rec, third, 0]),
            false => (vec![rec, 0], vec![second, 0]),
        };
        self.ends(ErrorInput, Command::PsciComplete, &bad);
        self.ends(ErrorRec, Command::RecEnter, &[rec, run]);
        self.ends(Success, Command::PsciComplete, &good);
        host.done(Command::RecEnter, &[rec, run]);

        self.ends(ErrorInput, Command::RecDestroy, &[run]);
        [rec, second, third].into_iter().for_each(|rec| host.destroy_rec(rec));
        self.seen.borrow_mut().insert((Command::RecDestroy, u8::from(Success)));
    }

    /// What is refused because a REC runs.
    fn while_it_runs(&self, realm: Realm, rec: u64, run: u64) {
        let host = &self.host;
        let (inside, outside) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(2)));
        let (i, o) = (Arc::clone(&inside), Arc::clone(&outside));
        let guest = move |_: &GuestCpu| {
            i.wait();
            o.wait();
            Action::Fiq
        };
        host.model.set_guest(Pa::new(realm.rd), 0, Box::new(guest));
        let model = &host.model;
        let enter = Command::RecEnter.fid(host.dialect).unwrap().0.into();
        std::thread::scope(|scope| {
            scope.spawn(move || {
                #[expect(unsafe_code, reason = "a raw call")]
                // SAFETY: the model has memory of its own only.
                unsafe {
                    rmi_host::Conduit::call(&model.cpu(1), [enter, rec, run, 0, 0, 0, 0, 0])
                }
            });
            inside.wait();
            self.ends(ErrorRec, Command::RecEnter, &[rec, run]);
            self.ends(ErrorRec, Command::RecDestroy, &[rec]);
            self.ends(ErrorRec, Command::RttSetRipas, &[realm.rd, rec, 0, PAGE]);
            self.ends(ErrorRealm, Command::RealmTerminate, &[realm.rd]);
            outside.wait();
        });
    }

    fn regions(&self) {
        let host = &self.host;
        let gib = 4 * GIB;
        if host.dialect == Dialect::TfRmm2026_07 {
            self.ends(ErrorGpt, Command::GptL1Create, &[gib]);
            return;
        }
        let is_bet3 = host.dialect == Dialect::V2_0Bet3;
        if host.dialect != Dialect::V2_0Bet0 {
            self.ends(Success, Command::RmmStateGet, &[]);
        }
        if is_bet3 {
            self.ends(Success, Command::GptInfo, &[gib, gib + GIB]);
            self.ends(ErrorInput, Command::GptInfo, &[gib, gib]);
            self.ends(ErrorGlobal, Command::RmmDeactivate, &[]);
        }
        self.ends(ErrorGpt, Command::GptL1Destroy, &[3 * GIB]);
        self.ends(Success, Command::GranuleTrackingSet, &[COARSE, 0, 3]);
        self.ends(ErrorInput, Command::GranuleTrackingSet, &[COARSE, 0, 0]);

        let page = host.page();
        host.delegate(COARSE, MIB2);
        let realm = host.realm();
        for (command, arguments) in [
            (Command::GranuleRangeDelegate, vec![COARSE, COARSE + PAGE]),
            (Command::RealmCreate, vec![COARSE, page]),
            (Command::RecCreate, vec![realm.rd, COARSE, page]),
            (Command::RttCreate, vec![realm.rd, COARSE, MIB2, 3]),
            (Command::RttDataMapInit, vec![realm.rd, COARSE, 0, page, 0]),
            (Command::RttDataMap, vec![realm.rd, 0, PAGE, 1, COARSE | 4]),
        ] {
            self.ends(ErrorTracking, command, &arguments);
        }
        let missing = 3 * GIB;
        self.ends(ErrorGpt, Command::GranuleRangeDelegate, &[missing, missing + PAGE]);
        self.ends(Success, Command::GptL1Create, &[missing]);
        self.ends(ErrorGpt, Command::GptL1Create, &[missing]);
        self.ends(Success, Command::GptL1Destroy, &[missing]);
        let is_static = if is_bet3 { ErrorGlobal } else { ErrorGpt };
        self.ends(is_static, Command::GptL1Create, &[2 * GIB]);
        self.ends(is_static, Command::GptL1Destroy, &[2 * GIB]);
        self.ends(ErrorInput, Command::GptL1Destroy, &[PAGE]);
    }
}

#[test]
fn every_status_that_a_command_can_end_with() {
    for dialect in DIALECTS {
        let is_bet3 = dialect == Dialect::V2_0Bet3;
        let mut options = Options::new(dialect).range_capable();
        options.dram = PaRange::with_size(Pa::new(2 * GIB), 2 * GIB).unwrap();
        options.coarse = vec![PaRange::with_size(Pa::new(COARSE), MIB2).unwrap()];
        let is_tf_rmm = dialect == Dialect::TfRmm2026_07;
        if !is_tf_rmm {
            options.gpt_missing = vec![PaRange::with_size(Pa::new(3 * GIB), GIB).unwrap()];
        }
        // At most three RECs, and one private memory encryption context.
        options.features[1] = options.features[1] & !(0xf << 6) | 2 << 6;
        options.features[4] = 1;
        let tried = Tried { host: Host::cold(options), seen: RefCell::default() };
        tried.the_rmm();
        tried.a_realm();
        tried.regions();
        let mut seen = tried.seen.into_inner();
        if is_bet3 {
            let host = Host::new(Options::new(dialect));
            host.done(Command::RmmDeactivate, &[]);
            seen.insert((Command::RmmDeactivate, u8::from(Success)));
        }
        let listed = ALL
            .iter()
            .chain(BET3.iter().filter(|_| is_bet3))
            .chain(TEXTS.iter().filter(|_| !is_tf_rmm))
            .chain(STATE.iter().filter(|(command, _)| command.form(dialect).is_some()));
        let listed: Seen = listed
            .flat_map(|(command, with)| with.iter().map(|with| (*command, u8::from(*with))))
            .collect();
        let named = |missing: Vec<&(Command, u8)>| {
            missing.into_iter().map(|(c, s)| (*c, Status::from(*s))).collect::<Vec<_>>()
        };
        assert_eq!(named(listed.difference(&seen).collect()), [], "{dialect}: listed, not seen");
        assert_eq!(named(seen.difference(&listed).collect()), [], "{dialect}: seen, not listed");
    }
}

#[test]
fn an_rmm_that_is_not_active_refuses_the_rest() {
    for dialect in DIALECTS {
        let host = Host::cold(Options::new(dialect));
        // By the text of 2.0-bet0 this one needs an active RMM.
        let is_bet0 = dialect == Dialect::V2_0Bet0;
        let tracking = if is_bet0 { Command::Version } else { Command::GranuleTrackingGet };
        let any_time = [
            Command::Version,
            Command::Features,
            Command::RmmConfigGet,
            tracking,
            Command::RmmStateGet,
            Command::GptInfo,
            Command::RmmConfigSet,
            Command::RmmActivate,
        ];
        for (command, _) in ALL.iter().chain(BET3).chain(TEXTS) {
            if any_time.contains(command) || command.fid(dialect).is_none() {
                continue;
            }
            host.fails(ErrorGlobal, *command, &[]);
        }
    }
}
