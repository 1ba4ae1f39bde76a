//! A model, an active session and Realms on it.
#![expect(unsafe_code, reason = "a conduit between the host and the model")]

use std::cell::{Cell, RefCell};

use realm_builder::{Active, Realm, RealmConfig, RealmStorage, RecStart};
use rec_runtime::{Answer, EnterError, Event, Exit, Rec};
use rmi_abi::run::RecExit;
use rmi_abi::{Command, Dialect, Ipa, Pa};
use rmi_host::{Conduit, CountingLedger, Host, Registers, Rmm, Undelegated};
use rmm_model::{Guest, Model, Options, Script};
use sro::{CallbackMemory, FixedPool, RecObject};
use zerocopy::{FromZeros, IntoBytes};

pub(crate) use rmm_model::Action;

pub(crate) const DIALECTS: [Dialect; 5] = {
    let [first, second, third, fourth] = Options::DIALECTS;
    [first, second, third, fourth, Dialect::V1_0]
};
/// A protected IPA.
pub(crate) const RAM: Ipa = Ipa::new(0x4000_0000);
/// An unprotected IPA: bit 39 of 40.
pub(crate) const DEVICE: Ipa = Ipa::new(0x80_0900_0000);

/// How the next entry is handled.
#[derive(Clone)]
pub(crate) enum Twist {
    /// It does not reach the RMM, and this is the exit record.
    Exit(Box<RecExit>),
    /// The RMM handles it, and this is X0 of the answer.
    Afterwards(u64),
    /// It does not reach the RMM, and this is X0 of the answer.
    Instead(u64),
    /// The RMM handles it, and the conduit unwinds.
    Unwind,
}

/// The model, except for entries that are handled differently.
pub(crate) struct Line<'m> {
    model: &'m Model,
    dialect: Dialect,
    twist: RefCell<Option<Twist>>,
    entries: Cell<u32>,
}

impl Line<'_> {
    /// Sets how the next entry is handled.
    pub(crate) fn twist(&self, twist: Twist) {
        *self.twist.borrow_mut() = Some(twist);
    }

    /// Calls of `RMI_REC_ENTER` so far.
    pub(crate) fn entries(&self) -> u32 {
        self.entries.get()
    }
}

// SAFETY: the RMM behind it has only simulated memory.
unsafe impl Conduit for Line<'_> {
    fn open_sessions(&self) -> &rmi_host::OpenSessions {
        self.model.open_sessions()
    }

    unsafe fn call(&self, call: Registers) -> Registers {
        // SAFETY: the caller's promise is passed on unchanged.
        let pass = || unsafe { self.model.call(call) };
        if Some(call[0]) != Command::RecEnter.fid(self.dialect).map(|fid| fid.0.into()) {
            return pass();
        }
        self.entries.set(self.entries.get() + 1);
        let twist = self.twist.borrow_mut().take();
        match twist {
            None => pass(),
            Some(Twist::Exit(exit)) => {
                self.model.poke(Pa::new(call[2] + 0x800), exit.as_bytes());
                [0; 8]
            }
            Some(Twist::Afterwards(x0)) => {
                pass();
                [x0, 0, 0, 0, 0, 0, 0, 0]
            }
            Some(Twist::Instead(x0)) => [x0, 0, 0, 0, 0, 0, 0, 0],
            Some(Twist::Unwind) => {
                pass();
                panic!("unwinds")
            }
        }
    }
}

pub(crate) type Platform<'m> = Host<&'m Line<'m>, &'m Model, &'m CountingLedger>;
pub(crate) type ActiveRealm<'r, 'm> = Realm<'r, Platform<'m>, Active>;

/// An active session, and memory.
pub(crate) struct Fixture<'b, 'm> {
    pub(crate) rmm: &'b Rmm<Platform<'m>>,
    pub(crate) line: &'m Line<'m>,
    pub(crate) model: &'m Model,
    pub(crate) pool: &'b mut FixedPool<16>,
    pub(crate) memory: Undelegated,
}

/// Runs `test` on a fresh model. In the end no memory may be missing.
pub(crate) fn on(dialect: Dialect, test: impl FnOnce(&mut Fixture<'_, '_>)) {
    let model = Model::new(Options::new(dialect)).unwrap();
    let ledger = CountingLedger::new();
    let line = Line { model: &model, dialect, twist: RefCell::new(None), entries: Cell::new(0) };
    let mut memory = model.take_memory();
    let mut pool = test_support::pool::<16>(&mut memory, 128 << 12);
    let platform = Host::new(&line, &model).with_ledger(&ledger);
    let rmm = test_support::open(platform, &mut pool);
    let mut fixture = Fixture { rmm: &rmm, line: &line, model: &model, pool: &mut pool, memory };
    test(&mut fixture);
    pool.drain(&rmm, &mut |_| {});
    assert_eq!(ledger.balance().outstanding(), 0);
}

impl<'m> Fixture<'_, 'm> {
    /// Runs `test` with an active Realm that has a REC for each program, of which the first can be
    /// entered; then tears it down.
    pub(crate) fn realm(
        &mut self,
        programs: Vec<Box<dyn Guest>>,
        test: impl FnOnce(&mut Self, &ActiveRealm<'_, 'm>, &mut Vec<Rec>),
    ) {
        let mut storage = RealmStorage::<16, 8>::new();
        let mut realm =
            Realm::create(self.rmm, &RealmConfig::new(40), &mut storage, self.pool).unwrap();
        let mut recs = Vec::new();
        for (index, program) in programs.into_iter().enumerate() {
            let start = RecStart { runnable: index == 0, pc: RAM, gprs: [0; 8] };
            recs.push(realm.create_rec(self.pool, &start).unwrap());
            self.model.set_guest(realm.rd().pa(), index as u64, program);
        }
        let realm = realm.activate().unwrap();
        let geometry = realm.geometry();
        let mut recs: Vec<_> = recs
            .into_iter()
            .map(|object| Rec::new(object, self.memory.take_front(0x1000).unwrap(), geometry))
            .collect();
        test(self, &realm, &mut recs);
        let objects: Vec<RecObject> = recs.into_iter().map(|rec| rec.into_parts().0).collect();
        assert_eq!(
            realm.tear_down(&mut CallbackMemory::freeing(self.pool, drop), objects).error,
            None
        );
    }

    /// As [`Fixture::realm`], with one REC that performs these actions.
    pub(crate) fn script(
        &mut self,
        actions: Vec<Action>,
        test: impl FnOnce(&mut Self, &ActiveRealm<'_, 'm>, &mut Rec),
    ) {
        self.realm(vec![script(actions)], |fixture, realm, recs| {
            let [rec] = &mut recs[..] else { panic!() };
            test(fixture, realm, rec);
        });
    }

    /// Enters the REC and returns the exit.
    pub(crate) fn enter(&self, rec: &mut Rec, answer: Answer) -> Exit {
        self.event(rec, answer).exit
    }

    /// Enters the REC and returns the complete event.
    pub(crate) fn event(&self, rec: &mut Rec, answer: Answer) -> Event {
        rec.enter(self.rmm, answer).unwrap()
    }

    /// Decodes an exit record, for a REC that waits for nothing.
    pub(crate) fn decode(&self, rec: &mut Rec, answer: Answer, record: RecExit) -> Exit {
        self.line.twist(Twist::Exit(Box::new(record)));
        self.enter(rec, answer)
    }

    /// The reason why the REC is not entered, and whether the answer is returned.
    pub(crate) fn refused(&self, rec: &mut Rec, answer: Answer) -> (EnterError, Option<Answer>) {
        let failed = rec.enter(self.rmm, answer).unwrap_err();
        (failed.error, failed.kept)
    }
}

pub(crate) fn script(actions: Vec<Action>) -> Box<dyn Guest> {
    Box::new(Script::new(actions))
}

/// The record of a synchronous exit with these syndromes.
pub(crate) fn sync(esr: u64, hpfar: u64) -> RecExit {
    let mut record = RecExit::new_zeroed();
    (record.esr, record.hpfar) = (esr, hpfar);
    record
}
