//! A small host: it calls by command name, allocates pages and checks the answers.
#![expect(unsafe_code, reason = "the model is called as a real RMM is")]

use std::cell::Cell;
use std::sync::Arc;

use rmi_abi::realm::RealmParams;
use rmi_abi::rec::{Mpidr, RecParams};
use rmi_abi::rtt::{Geometry, Level};
use rmi_abi::run::{ExitReason, RecEnter, RecExit};
use rmi_abi::{Command, Dialect, Pa, ResultWord, Status};
use rmi_host::{Conduit, HostAccess, Registers};
use rmm_model::{Guest, Model, Options, Script};
use zerocopy::{FromZeros, IntoBytes};

/// All dialects.
pub(crate) const ALL: [Dialect; 5] = Dialect::ALL;
/// Those that have operations and ranges.
pub(crate) const DIALECTS: [Dialect; 4] = Options::DIALECTS;
pub(crate) const PAGE: u64 = 0x1000;
pub(crate) const MIB2: u64 = 0x20_0000;
/// The IPA width of the Realms that this host creates, and their first unprotected IPA.
pub(crate) const WIDTH: u8 = 40;
pub(crate) const SHARED: u64 = 1 << 39;

pub(crate) struct Host {
    pub(crate) model: Arc<Model>,
    pub(crate) dialect: Dialect,
    next: Cell<u64>,
    next_block: Cell<u64>,
    next_vmid: Cell<u16>,
}

/// A Realm: its descriptor and root table.
#[derive(Clone, Copy)]
pub(crate) struct Realm {
    pub(crate) rd: u64,
    pub(crate) root: u64,
}

pub(crate) fn word(answer: Registers) -> ResultWord {
    ResultWord(answer[0])
}

pub(crate) fn status(answer: Registers) -> Status {
    word(answer).status()
}

/// `RMI_ERROR_RTT` at a level, as X0.
pub(crate) fn rtt_error(level: Level) -> u64 {
    ResultWord::with_level(Status::ErrorRtt, level).0
}

/// A call with one argument.
pub(crate) fn raw(model: &Model, [fid, x1]: [u64; 2]) -> Registers {
    // SAFETY: the model has memory of its own only.
    unsafe { model.call([fid, x1, 0, 0, 0, 0, 0, 0]) }
}

impl Host {
    /// A host on a machine whose RMM is not activated.
    pub(crate) fn cold(options: Options) -> Self {
        Self::of(Model::new(options).unwrap())
    }

    /// A host on a machine.
    pub(crate) fn of(model: Model) -> Self {
        let dialect = model.options().dialect;
        let model = Arc::new(model);
        Self {
            model,
            dialect,
            next: Cell::new(0x8000_0000),
            next_block: Cell::new(0x9000_0000),
            next_vmid: Cell::new(1),
        }
    }

    /// A host on a machine whose RMM is activated.
    pub(crate) fn new(options: Options) -> Self {
        let host = Self::cold(options);
        if host.dialect.is_2_0() {
            host.done(Command::RmmActivate, &[]);
        }
        host
    }

    /// A host on RMI 1.0.
    pub(crate) fn v1_0() -> Self {
        Self::new(Options::new(Dialect::V1_0))
    }

    pub(crate) fn tf_rmm() -> Self {
        Self::new(Options::new(Dialect::TfRmm2026_07))
    }

    pub(crate) fn call(&self, command: Command, arguments: &[u64]) -> Registers {
        let mut x = [0; 8];
        x[0] = command.fid(self.dialect).unwrap().0.into();
        x[1..=arguments.len()].copy_from_slice(arguments);
        // SAFETY: the model has memory of its own only.
        unsafe { self.model.call(x) }
    }

    /// A call that must succeed.
    pub(crate) fn done(&self, command: Command, arguments: &[u64]) -> Registers {
        let answer = self.call(command, arguments);
        assert_eq!(answer[0], 0, "{command} {arguments:x?}: {:?}", status(answer));
        answer
    }

    /// A call that must fail with a status.
    pub(crate) fn fails(&self, expected: Status, command: Command, arguments: &[u64]) {
        let answer = self.call(command, arguments);
        assert_eq!(status(answer), expected, "{} {command} {arguments:x?}", self.dialect);
    }

    /// A page of host memory that is not used.
    pub(crate) fn page(&self) -> u64 {
        self.next.replace(self.next.get() + PAGE)
    }

    /// Delegated pages, contiguous in memory.
    pub(crate) fn fresh(&self, count: u64) -> u64 {
        let base = self.next.replace(self.next.get() + count * PAGE);
        self.delegate(base, count * PAGE);
        base
    }

    /// A delegated block of 2 MiB.
    pub(crate) fn fresh_block(&self) -> u64 {
        let base = self.next_block.replace(self.next_block.get() + MIB2);
        self.delegate(base, MIB2);
        base
    }

    pub(crate) fn delegate(&self, base: u64, bytes: u64) {
        if self.dialect.is_2_0() {
            return self.whole(Command::GranuleRangeDelegate, base, base + bytes);
        }
        for at in (base..base + bytes).step_by(0x1000) {
            self.done(Command::GranuleDelegate, &[at]);
        }
    }

    pub(crate) fn undelegate(&self, base: u64, bytes: u64) {
        if self.dialect.is_2_0() {
            return self.whole(Command::GranuleRangeUndelegate, base, base + bytes);
        }
        for at in (base..base + bytes).step_by(0x1000) {
            self.done(Command::GranuleUndelegate, &[at]);
        }
    }

    fn whole(&self, command: Command, mut base: u64, top: u64) {
        while base < top {
            let answer = self.done(command, &[base, top]);
            assert!(base < answer[1] && answer[1] <= top);
            base = answer[1];
        }
    }

    pub(crate) fn write(&self, at: u64, bytes: &[u8]) {
        // SAFETY: as above.
        unsafe { self.model.write(Pa::new(at), bytes) }.unwrap();
    }

    pub(crate) fn read<const N: usize>(&self, at: u64) -> [u8; N] {
        let mut into = [0; N];
        // SAFETY: as above.
        unsafe { self.model.read(Pa::new(at), &mut into) }.unwrap();
        into
    }

    pub(crate) fn can_read(&self, at: u64) -> bool {
        // SAFETY: as above.
        unsafe { self.model.read(Pa::new(at), &mut [0; 8]) }.is_ok()
    }

    pub(crate) fn words(&self, at: u64, count: usize) -> Vec<u64> {
        (0..count).map(|n| u64::from_le_bytes(self.read(at + 8 * n as u64))).collect()
    }

    pub(crate) fn list(&self, words: &[u64]) -> u64 {
        let page = self.page();
        self.write(page, words.as_bytes());
        page
    }

    pub(crate) fn params(&self, root: u64) -> RealmParams {
        let mut params = RealmParams::new(Geometry::new(WIDTH).unwrap(), Pa::new(root));
        if !self.dialect.is_2_0() {
            params.vmid = self.next_vmid.replace(self.next_vmid.get() + 1);
        }
        params
    }

    /// A new Realm with tables down to level 3 at IPA 0 and at the first unprotected IPA.
    pub(crate) fn realm(&self) -> Realm {
        let realm = self.bare_realm();
        for base in [0, SHARED] {
            for level in 1..=3 {
                self.table(realm, base, level);
            }
        }
        realm
    }

    /// A new Realm without any table except the root.
    pub(crate) fn bare_realm(&self) -> Realm {
        let (rd, root) = (self.fresh(1), self.fresh(1));
        self.create_realm(rd, &self.params(root))
    }

    /// A new Realm with these parameters, whose descriptor is at `rd`.
    pub(crate) fn create_realm(&self, rd: u64, params: &RealmParams) -> Realm {
        let page = self.page();
        self.write(page, params.encode(self.dialect).unwrap().as_bytes());
        self.done(Command::RealmCreate, &[rd, page]);
        Realm { rd, root: params.rtt_base.raw() }
    }

    pub(crate) fn table(&self, realm: Realm, ipa: u64, level: u64) -> u64 {
        let table = self.fresh(1);
        self.done(Command::RttCreate, &[realm.rd, table, ipa, level]);
        table
    }

    /// State, descriptor and RIPAS of the entry at a level; the entry must exist.
    pub(crate) fn entry(&self, realm: Realm, ipa: u64, level: u64) -> (u64, u64, u64) {
        let answer = self.done(Command::RttReadEntry, &[realm.rd, ipa, level]);
        assert_eq!(answer[1], level, "the walk to {ipa:#x} ended early");
        (answer[2], answer[3], answer[4])
    }

    /// Maps one page of new Realm memory; returns it.
    pub(crate) fn map(&self, realm: Realm, ipa: u64) -> u64 {
        let data = self.fresh(1);
        if !self.dialect.is_2_0() {
            self.done(Command::DataCreateUnknown, &[realm.rd, data, ipa]);
            return data;
        }
        let answer = self.done(Command::RttDataMap, &[realm.rd, ipa, ipa + PAGE, 1, data | 1 << 2]);
        assert_eq!(answer[1], ipa + PAGE);
        data
    }

    /// Populates one page, filled with a byte; returns the memory.
    pub(crate) fn populate(&self, realm: Realm, ipa: u64, byte: u8, flags: u64) -> u64 {
        let (data, src) = (self.fresh(1), self.page());
        self.write(src, &[byte; 0x1000]);
        let populate =
            if self.dialect.is_2_0() { Command::RttDataMapInit } else { Command::DataCreate };
        self.done(populate, &[realm.rd, data, ipa, src, flags]);
        data
    }

    pub(crate) fn rec_params(&self, index: u32, runnable: bool) -> u64 {
        let params =
            RecParams { runnable, mpidr: Mpidr::from_index(index), pc: 0x1000, gprs: [0; 8] };
        let page = self.page();
        self.write(page, params.encode().as_bytes());
        page
    }

    pub(crate) fn rec(&self, realm: Realm, index: u32, runnable: bool) -> u64 {
        let (rec, aux) = (self.fresh(1), self.fresh(16));
        let params = self.rec_params(index, runnable);
        if !self.dialect.is_2_0() {
            self.name_aux(params, aux, 16);
            self.done(Command::RecCreate, &[realm.rd, rec, params]);
            return rec;
        }
        let handle = self.call(Command::RecCreate, &[realm.rd, rec, params])[1];
        let list = self.list(&[aux | 16 << 2]);
        self.call(Command::OpMemDonate, &[handle, list, 1]);
        self.done(Command::OpContinue, &[handle, 0]);
        rec
    }

    /// Writes auxiliary granules into the parameters of a REC of 1.0, all that are in a row.
    pub(crate) fn name_aux(&self, params: u64, aux: u64, count: u64) {
        let mut words = vec![count];
        words.extend((0..count).map(|n| aux + n * PAGE));
        self.write(params + 0x800, words.as_bytes());
    }

    pub(crate) fn destroy_rec(&self, rec: u64) {
        if !self.dialect.is_2_0() {
            self.done(Command::RecDestroy, &[rec]);
            return;
        }
        let answer = self.call(Command::RecDestroy, &[rec]);
        assert_eq!(answer[0], 0x20d);
        let list = self.page();
        assert_eq!(self.call(Command::OpMemReclaim, &[answer[1], list, 512])[0], 0xd);
        self.done(Command::OpContinue, &[answer[1], 0]);
    }

    /// An active Realm with one runnable REC that runs `guest`, and that REC's run page.
    pub(crate) fn running(&self, guest: impl Guest + 'static) -> Running<'_> {
        self.run(self.realm(), guest)
    }

    /// Gives a Realm its first REC, runnable, and activates it; the REC runs `guest`.
    pub(crate) fn run(&self, realm: Realm, guest: impl Guest + 'static) -> Running<'_> {
        let rec = self.rec(realm, 0, true);
        self.done(Command::RealmActivate, &[realm.rd]);
        self.model.set_guest(Pa::new(realm.rd), 0, Box::new(guest));
        Running { host: self, realm, rec, run: self.page() }
    }

    pub(crate) fn script(&self, actions: Vec<rmm_model::Action>) -> Running<'_> {
        self.running(Script::new(actions))
    }
}

/// A REC and its run page.
pub(crate) struct Running<'h> {
    pub(crate) host: &'h Host,
    pub(crate) realm: Realm,
    pub(crate) rec: u64,
    pub(crate) run: u64,
}

impl Running<'_> {
    /// Enters with flags and registers; returns the exit.
    pub(crate) fn enter(&self, flags: u64, gprs: &[u64]) -> (ExitReason, RecExit) {
        let mut enter = RecEnter::new_zeroed();
        enter.flags = flags;
        enter.gprs[..gprs.len()].copy_from_slice(gprs);
        self.enter_with(&enter)
    }

    /// Enters with a record; returns the exit.
    pub(crate) fn enter_with(&self, enter: &RecEnter) -> (ExitReason, RecExit) {
        self.host.write(self.run, enter.as_bytes());
        self.host.done(Command::RecEnter, &[self.rec, self.run]);
        let mut exit = RecExit::new_zeroed();
        exit.as_mut_bytes().copy_from_slice(&self.host.read::<0x800>(self.run + 0x800));
        (ExitReason::decode(exit.exit_reason, self.host.dialect), exit)
    }

    /// Enters with flags that must be refused.
    pub(crate) fn refused(&self, flags: u64, expected: Status) {
        let mut enter = RecEnter::new_zeroed();
        enter.flags = flags;
        self.refused_with(&enter, expected);
    }

    /// Enters with a record that must be refused.
    pub(crate) fn refused_with(&self, enter: &RecEnter, expected: Status) {
        self.host.write(self.run, enter.as_bytes());
        self.host.fails(expected, Command::RecEnter, &[self.rec, self.run]);
    }
}
