//! Any exit records in the run loops of a set of RECs, with the default handler and with one that
//! answers everything, and any kicks, notifications and pauses between them: no panic, no loop that
//! goes on without exits, no entry that a pause or an unanswered exit forbids.

#![no_main]

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

use libfuzzer_sys::fuzz_target;
use rec_runtime::exit::{
    Fault, HostCall, MmioLoad, MmioStore, RipasChange, SharedFault, SysRegRead,
};
use rec_runtime::set::{Outcome, PhysicalCpus, RecSlot};
use rec_runtime::{Answer, EnterError, Exit, Flow, Handler, Rec, RecSet};
use rmi_abi::esr::Esr;
use rmi_abi::realm::RealmParams;
use rmi_abi::rec::{Mpidr, RecParams};
use rmi_abi::rtt::Geometry;
use rmi_abi::{Command, Dialect, Pa};
use rmi_host::{Conduit, Host, Rd, Registers, SessionOptions};
use rmm_model::{Model, Options};
use sro::{Awaiting, FixedPool, Pool, RecObject, open};

const RECS: usize = 3;
/// `RMI_ERROR_REALM`, and `RMI_ERROR_REC`.
const ENDED: u64 = 2;
const REFUSED: u64 = 3;

/// The model, except that entering a REC writes the next exit record.
struct ExitConduit<'m> {
    model: &'m Model,
    dialect: Dialect,
    /// Words of the record that change before the next exits: index and value.
    edits: RefCell<VecDeque<(u16, u64)>>,
    exit: Cell<[u8; 0x800]>,
    entries: Cell<u64>,
}

// SAFETY: the RMM behind it has only simulated memory.
unsafe impl Conduit for ExitConduit<'_> {
    fn open_sessions(&self) -> &rmi_host::OpenSessions {
        self.model.open_sessions()
    }

    unsafe fn call(&self, registers: Registers) -> Registers {
        if Some(registers[0]) != Command::RecEnter.fid(self.dialect).map(|fid| fid.0.into()) {
            // SAFETY: the caller's promise is passed on unchanged.
            return unsafe { self.model.call(registers) };
        }
        let Some((at, word)) = self.edits.borrow_mut().pop_front() else {
            return [ENDED, 0, 0, 0, 0, 0, 0, 0];
        };
        if at == u16::MAX {
            return [REFUSED, 0, 0, 0, 0, 0, 0, 0];
        }
        let mut exit = self.exit.get();
        let at = usize::from(at) % 0x100 * 8;
        exit[at..at + 8].copy_from_slice(&word.to_le_bytes());
        self.exit.set(exit);
        self.entries.set(self.entries.get() + 1);
        self.model.poke(Pa::new(registers[2] + 0x800), &exit);
        [0; 8]
    }
}

/// One CPU, which counts its interrupts.
#[derive(Default)]
struct OneCpu(std::sync::atomic::AtomicU64);

impl PhysicalCpus for OneCpu {
    fn current(&self) -> u16 {
        0
    }

    fn interrupt(&self, cpu: u16) {
        assert_eq!(cpu, 0);
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    }
}

/// What an embedder has that writes nothing.
struct Unwritten;

impl Handler for Unwritten {}

/// Answers all it can.
struct Answering(u64);

impl Handler for Answering {
    fn mmio_load(&mut self, load: MmioLoad) -> Flow {
        Flow::Enter(load.complete(self.0))
    }

    fn mmio_store(&mut self, store: MmioStore) -> Flow {
        Flow::Enter(store.complete())
    }

    fn fault(&mut self, fault: Fault) -> Flow {
        Flow::Enter(fault.retry())
    }

    fn shared_fault(&mut self, fault: SharedFault) -> Flow {
        Flow::Enter(fault.retry())
    }

    fn sysreg_read(&mut self, read: SysRegRead) -> Flow {
        Flow::Enter(read.complete(self.0))
    }

    fn ripas_change(&mut self, _: &Rec, change: RipasChange) -> Flow {
        Flow::Enter(change.accept())
    }

    fn host_call(&mut self, call: HostCall) -> Flow {
        Flow::Enter(call.not_supported())
    }

    fn system_error(&mut self, _: Esr) -> Flow {
        Flow::Enter(Answer::resume())
    }

    fn other(&mut self, _: &Exit) -> Flow {
        Flow::Enter(Answer::resume())
    }
}

/// Whether a REC waits for an answer.
fn is_waiting(rec: &Rec) -> bool {
    matches!(rec.awaiting(), Awaiting::Answer(_))
}

/// The size of a step: what, where (2 bytes), and a value (8 bytes).
const STEP: usize = 11;

fuzz_target!(|input: &[u8]| {
    let Some((options, steps)) = input.split_first() else { return };
    let dialect = Options::DIALECTS[usize::from(*options) % Options::DIALECTS.len()];
    let model = Model::new(Options::new(dialect)).unwrap();
    let conduit = ExitConduit {
        model: &model,
        dialect,
        edits: RefCell::default(),
        exit: Cell::new([0; 0x800]),
        entries: Cell::new(0),
    };
    let mut memory = model.take_memory();
    let mut pool = FixedPool::<8>::new();
    pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
    pool.add(memory.take_front(96 << 12).unwrap()).unwrap();
    let rmm = open(Host::new(&conduit, &model), SessionOptions::default(), &mut pool).unwrap();
    let roots = rmm.delegate(memory.take_front(0x1000).unwrap()).unwrap();
    let rd = rmm.delegate(memory.take_front(0x1000).unwrap()).unwrap();
    let geometry = Geometry::new(40).unwrap();
    let params = RealmParams::new(geometry, roots.base()).encode(dialect).unwrap();
    let _ = rmm.commands().realm_create(&rd, pool.pages().page, &params).unwrap();
    let rd = Rd::new(rd);
    let cpus = OneCpu::default();
    let mut slots: [RecSlot; RECS] = Default::default();
    let mut set = RecSet::new(&mut slots, &cpus);
    for index in 0..RECS {
        let mpidr = Mpidr::from_index(index as u32);
        let params = RecParams { runnable: true, mpidr, pc: 0, gprs: [0; 8] };
        let object = RecObject::create(&rmm, &rd, &mut pool, &params).unwrap();
        let rec = Rec::new(object, memory.take_front(0x1000).unwrap(), geometry);
        assert_eq!(set.add(rec, true).unwrap(), index);
    }
    let mut unanswered = [false; RECS];
    let mut pauses = 0_u32;
    for step in steps.chunks_exact(STEP) {
        let [what, low, high, ..] = *step else { return };
        let at = u16::from_le_bytes([low, high]);
        let value = step[3..].try_into().map_or(0, u64::from_le_bytes);
        let index = usize::from(at) % RECS;
        match what % 16 {
            0..8 => conduit.edits.borrow_mut().push_back((at, value)),
            8..11 => {
                let edits = conduit.edits.borrow().len() as u64;
                let before = conduit.entries.get();
                let mut runner = set.claim(index).unwrap();
                assert!(set.claim(index).is_err());
                // Each entry takes an edit; after the last one the RMM refuses.
                let mut should_stop = |entries: u64| {
                    assert!(entries <= edits + 1, "the loop goes on without exits");
                    false
                };
                let outcome = match what % 2 {
                    0 => runner.run_until(&rmm, &mut Unwritten, &mut should_stop),
                    _ => runner.run_until(&rmm, &mut Answering(value), &mut should_stop),
                };
                let entries = conduit.entries.get() - before;
                assert!(entries == 0 || pauses == 0 && !unanswered[index]);
                match outcome {
                    Ok(Outcome::Incomplete { request, .. }) => {
                        runner.set_answer(request.completed());
                    }
                    Ok(Outcome::Left) => unanswered[index] = is_waiting(runner.rec()),
                    Ok(outcome) => assert!(!matches!(outcome, Outcome::Bounded), "{outcome:?}"),
                    Err(EnterError::Unanswered) => assert!(unanswered[index]),
                    Err(error) => assert!(!error.to_string().is_empty()),
                }
                drop(runner);
                // The thread has left the loop, whatever ended it.
                assert_eq!(set.inside().count(), 0);
            }
            11 => assert!(set.kick(index)),
            12 => assert!(set.notify(index)),
            13 => {
                assert_eq!(set.pause().count(), 0);
                pauses = pauses.saturating_add(1).min(255);
                assert!(set.is_paused());
            }
            14 => {
                set.resume();
                pauses = pauses.saturating_sub(1);
                assert_eq!(set.is_paused(), pauses > 0);
            }
            _ => set.set_limit(usize::from(at)),
        }
        let exits: u64 = (0..RECS).map(|i| set.statistics(i).unwrap().all_exits()).sum();
        assert_eq!(exits, conduit.entries.get());
        assert!(set.to_string().starts_with("3 RECs"));
    }
    assert_eq!(cpus.0.load(std::sync::atomic::Ordering::Relaxed), 0, "no thread was inside");
});
