//! An RMM that answers stateful operations arbitrarily, and a host that must not lose memory to it.
//!
//! The adversary wraps the model: it answers the commands that start and drive operations itself,
//! from a string of bytes, and forwards the others. So the model knows what is delegated, and
//! whatever the host believes it has donated can be taken back; what the host owns in the end is
//! compared with that.

use std::cell::{Cell, RefCell};

use rmi_abi::rec::{Mpidr, RecParams};
use rmi_abi::{Command, Dialect, Pa, PaRange};
use rmi_host::command::Rd;
use rmi_host::granules::{AnyGranules, HostOwned};
use rmi_host::{
    Conduit, CountingLedger, Failed, FixedQuarantine, Host, Ledger, LedgerEvent, Registers,
    RetryBudget, Rmm, SessionOptions,
};
use rmm_model::{GranuleState, Model, Options};
use sro::{FixedPool, GranuleSet, Pool, RecObject, open};

/// Bytes in sequence; zeros when they run out.
#[derive(Debug)]
pub(crate) struct Bytes<'b>(Cell<&'b [u8]>);

impl<'b> Bytes<'b> {
    pub(crate) fn new(bytes: &'b [u8]) -> Self {
        Self(Cell::new(bytes))
    }

    pub(crate) fn byte(&self) -> u8 {
        match self.0.get() {
            [first, rest @ ..] => {
                self.0.set(rest);
                *first
            }
            [] => 0,
        }
    }

    fn word(&self) -> u64 {
        u64::from_le_bytes(std::array::from_fn(|_| self.byte()))
    }
}

/// The adversary.
struct Adversary<'b, 'm> {
    model: &'m Model,
    dialect: Dialect,
    bytes: &'b Bytes<'b>,
    /// The last list that was donated: false answers are derived from it.
    donated: RefCell<Vec<u64>>,
    calls: Cell<u64>,
}

impl Adversary<'_, '_> {
    /// X0: a status, mostly INCOMPLETE, with arbitrary other bits.
    fn result(&self) -> u64 {
        match self.bytes.byte() {
            0..=159 => 13 | u64::from(self.bytes.byte() & 0b111) << 8,
            160..=199 => 0,
            200..=219 => u64::from(self.bytes.byte() % 20),
            220..=229 => u64::MAX,
            _ => self.bytes.word(),
        }
    }

    /// A donation request that can be met, or not.
    fn request(&self) -> u64 {
        match self.bytes.byte() {
            0..=199 => {
                let count = u64::from(self.bytes.byte() % 20);
                let flags = u64::from(self.bytes.byte());
                (flags & 1 & u64::from(self.bytes.byte() == 0))
                    | count << 2
                    | (flags >> 1 & 1) << 16
                    | (flags >> 6) << 17
            }
            _ => self.bytes.word(),
        }
    }

    fn answer(&self, command: Command, registers: Registers) -> Registers {
        let [_, x1, x2, x3, ..] = registers;
        let mut out = registers;
        out[0] = self.result();
        out[2] = self.request();
        out[1] = match command {
            Command::OpMemDonate => {
                let mut list = vec![0; usize::try_from(x3.min(512)).unwrap() * 8];
                self.model.peek(Pa::new(x2), &mut list);
                let words = list.chunks(8).map(|word| u64::from_le_bytes(word.try_into().unwrap()));
                self.donated.borrow_mut().extend(words);
                match self.bytes.byte() {
                    0..=127 => (out[2] >> 2 & 0x3fff).min(u64::from(self.bytes.byte() % 20)),
                    128..=229 => u64::from(self.bytes.byte() % 20),
                    _ => self.bytes.word(),
                }
            }
            Command::OpMemReclaim => {
                let count = u64::from(self.bytes.byte() % 6);
                for at in 0..count {
                    let known = self.donated.borrow();
                    let pick = usize::from(self.bytes.byte());
                    let word = match (known.get(pick % known.len().max(1)), self.bytes.byte()) {
                        (Some(word), 0..=127) => *word,
                        (Some(word), 128..=199) => word ^ 1 << (self.bytes.byte() % 64),
                        _ => self.bytes.word(),
                    };
                    self.model.poke(Pa::new(x2 + 8 * at), &word.to_le_bytes());
                }
                if self.bytes.byte() < 230 { count } else { self.bytes.word() }
            }
            _ => x1 ^ u64::from(self.bytes.byte()),
        };
        out
    }
}

#[expect(unsafe_code, reason = "a conduit that answers falsely")]
// SAFETY: there is only simulated memory behind it.
unsafe impl Conduit for Adversary<'_, '_> {
    fn open_sessions(&self) -> &rmi_host::OpenSessions {
        self.model.open_sessions()
    }

    unsafe fn call(&self, registers: Registers) -> Registers {
        self.calls.set(self.calls.get() + 1);
        let fid = rmi_abi::Fid(u32::try_from(registers[0]).unwrap());
        match Command::from_fid(fid, self.dialect) {
            Some(
                command @ (Command::RecAuxCount
                | Command::RecCreate
                | Command::RecDestroy
                | Command::OpContinue
                | Command::OpMemDonate
                | Command::OpMemReclaim
                | Command::OpCancel),
            ) => self.answer(command, registers),
            // SAFETY: the caller's promise is passed on unchanged.
            _ => unsafe { self.model.call(registers) },
        }
    }
}

/// A ledger, and the host memory that a full pool could not keep.
#[derive(Default)]
struct TestLedger {
    counts: CountingLedger,
    untracked: RefCell<Vec<PaRange>>,
}

impl Ledger for TestLedger {
    fn record(&self, event: LedgerEvent, memory: PaRange) {
        self.counts.record(event, memory);
        if event == LedgerEvent::Untracked {
            self.untracked.borrow_mut().push(memory);
        }
    }

    fn operation_dropped(&self, command: Command, handle: u64) {
        self.counts.operation_dropped(command, handle);
    }
}

const DRAM: u64 = 1 << 20;

/// Lets the adversary answer some REC creations and destructions; panics if a granule is lost, or
/// the host does not terminate.
pub(crate) fn attack(input: &[u8]) {
    let bytes = Bytes::new(input);
    let dialect = Dialect::from_index(bytes.byte() % 5).unwrap();
    let mut options = Options::new(dialect);
    options.dram = PaRange::with_size(options.dram.base(), DRAM).unwrap();
    let model = Model::new(options).unwrap();
    let adversary = Adversary {
        model: &model,
        dialect,
        bytes: &bytes,
        donated: RefCell::default(),
        calls: Cell::new(0),
    };
    let ledger = TestLedger::default();
    let quarantine = FixedQuarantine::<128>::new();
    let platform = Host::new(&adversary, &model).with_ledger(&ledger).with_quarantine(&quarantine);

    let whole = model.take_memory();
    let range = whole.range();
    let mut heap: GranuleSet<HostOwned, [AnyGranules; 256]> = GranuleSet::default();
    heap.insert(whole).unwrap();
    let mut pool = FixedPool::<12>::new();
    pool.add(heap.take(Pool::PAGES, 0x1000).unwrap()).unwrap();
    // Several runs, with gaps between them.
    for _ in 0..1 + bytes.byte() % 6 {
        let run = heap.take(u64::from(1 + bytes.byte() % 24) * 0x1000, 0x1000);
        let gap = heap.take(0x1000, 0x1000);
        if let Some(Err(run)) = run.map(|run| pool.add(run)) {
            heap.insert(run).unwrap();
        }
        if let Some(gap) = gap {
            heap.insert(gap).unwrap();
        }
    }

    let mut session = SessionOptions::default();
    session.dialect = Some(dialect);
    session.retry_budget = RetryBudget { busy: 4, blocked: 4, steps: 40, ..RetryBudget::default() };
    let rmm = open(platform, session, &mut pool).unwrap();
    let rd = rmm.delegate(heap.take(0x1000, 0x1000).unwrap()).unwrap();
    let rd = Rd::new(rd);
    let mut recs = Vec::new();
    for index in 0..8 {
        let before = adversary.calls.get();
        act(&rmm, &rd, &mut pool, &mut recs, index, bytes.byte());
        // Steps, retries, and a call for each granule that is delegated or undelegated.
        assert!(adversary.calls.get() - before < 2000, "the host does not come to an end");
    }
    for rec in recs {
        rec.force(&rmm, &mut pool);
    }
    rmm.return_or_quarantine(rd.into_released(), &mut |memory| heap.insert(memory).unwrap());
    pool.drain(&rmm, &mut |memory| heap.insert(memory).unwrap());

    let mut known: Vec<PaRange> =
        heap.iter().chain(ledger.untracked.borrow().iter().copied()).collect();
    for pa in known.iter().flat_map(|range| (range.base().raw()..range.top().raw()).step_by(0x1000))
    {
        assert_eq!(
            model.granule_state(Pa::new(pa)),
            Some(GranuleState::Undelegated),
            "{pa:#x} is not the host's"
        );
    }
    quarantine.for_each(|range, _| known.push(range));
    known.sort();
    let mut at = range.base();
    for part in known {
        assert_eq!(part.base(), at, "lost or doubled");
        at = part.top();
    }
    assert_eq!(at, range.top(), "lost");
    assert_eq!(ledger.counts.balance().outstanding(), 0, "the ledger is wrong");
}

fn act<P: rmi_host::Platform>(
    rmm: &Rmm<P>,
    rd: &Rd,
    pool: &mut Pool,
    recs: &mut Vec<RecObject>,
    index: u32,
    choice: u8,
) {
    match (choice % 3, recs.pop()) {
        (0, Some(rec)) => match rec.destroy(rmm, pool) {
            Ok(()) | Err(Failed { kept: None, .. }) => {}
            Err(Failed { kept: Some(rec), .. }) => recs.push(rec),
        },
        (_, kept) => {
            recs.extend(kept);
            let params =
                RecParams { runnable: true, mpidr: Mpidr::from_index(index), pc: 0, gprs: [0; 8] };
            recs.extend(RecObject::create(rmm, rd, pool, &params));
        }
    }
}
