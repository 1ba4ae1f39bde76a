//! Any exit record: it decodes to an exit, and the answer to it is accepted once.

#![no_main]

use std::cell::Cell;

use libfuzzer_sys::fuzz_target;
use rec_runtime::exit::RipasChange;
use rec_runtime::{Answer, EnterError, Exit, Rec};
use rmi_abi::realm::RealmParams;
use rmi_abi::rec::{Mpidr, RecParams};
use rmi_abi::rtt::Geometry;
use rmi_abi::{Command, Dialect, Pa};
use rmi_host::{Conduit, Host, Rd, Registers, SessionOptions};
use rmm_model::{Model, Options};
use sro::{FixedPool, Pool, RecObject, open};

/// The model, except that entering a REC only writes an exit record.
struct ExitConduit<'m> {
    model: &'m Model,
    dialect: Dialect,
    exit: Cell<[u8; 0x800]>,
}

// SAFETY: the RMM behind it has only simulated memory.
unsafe impl Conduit for ExitConduit<'_> {
    fn open_sessions(&self) -> &rmi_host::OpenSessions {
        self.model.open_sessions()
    }

    unsafe fn call(&self, registers: Registers) -> Registers {
        if Some(registers[0]) == Command::RecEnter.fid(self.dialect).map(|fid| fid.0.into()) {
            self.model.poke(Pa::new(registers[2] + 0x800), &self.exit.get());
            return [0; 8];
        }
        // SAFETY: the caller's promise is passed on unchanged.
        unsafe { self.model.call(registers) }
    }
}

fuzz_target!(|input: (bool, Vec<(u16, u64)>)| {
    let (bet3, words) = input;
    let dialect = if bet3 { Dialect::V2_0Bet3 } else { Dialect::TfRmm2026_07 };
    let model = Model::new(Options::new(dialect)).unwrap();
    let conduit = ExitConduit { model: &model, dialect, exit: Cell::new([0; 0x800]) };
    let mut memory = model.take_memory();
    let mut pool = FixedPool::<8>::new();
    pool.add(memory.take_front(Pool::PAGES).unwrap()).unwrap();
    pool.add(memory.take_front(32 << 12).unwrap()).unwrap();
    let rmm = open(Host::new(&conduit, &model), SessionOptions::default(), &mut pool).unwrap();
    let roots = rmm.delegate(memory.take_front(0x1000).unwrap()).unwrap();
    let rd = rmm.delegate(memory.take_front(0x1000).unwrap()).unwrap();
    let geometry = Geometry::new(40).unwrap();
    let params = RealmParams::new(geometry, roots.base()).encode(dialect).unwrap();
    let _ = rmm.commands().realm_create(&rd, pool.pages().page, &params).unwrap();
    let rd = Rd::new(rd);
    let params = RecParams { runnable: true, mpidr: Mpidr::from_index(0), pc: 0, gprs: [0; 8] };
    let object = RecObject::create(&rmm, &rd, &mut pool, &params).unwrap();
    let rec = Rec::new(object, memory.take_front(0x1000).unwrap(), geometry);

    let mut answer = Answer::resume();
    for (at, word) in words {
        let mut exit = conduit.exit.get();
        let at = usize::from(at) % 0x100 * 8;
        exit[at..at + 8].copy_from_slice(&word.to_le_bytes());
        conduit.exit.set(exit);
        let event = rec.enter(&rmm, answer).unwrap();
        let (wants, next) = match event.exit {
            Exit::MmioLoad(load) => (true, load.complete(word)),
            Exit::MmioStore(store) => {
                assert!(store.bytes() == 8 || store.value() < 1 << (8 * store.bytes()));
                (true, store.abort())
            }
            Exit::Fault(fault) => (true, fault.retry()),
            Exit::SharedFault(fault) => (true, fault.abort()),
            Exit::SysRegRead(read) => (true, read.complete(word)),
            Exit::PsciRequest(request) => match request.accept(&rmm, &rec, &rec) {
                Ok(answer) => (true, answer),
                Err(failed) => (true, failed.kept.completed()),
            },
            Exit::RipasChange(change) => {
                (true, change.reject().unwrap_or_else(RipasChange::accept))
            }
            Exit::S2apChange(change) => (true, change.reject()),
            Exit::HostCall(call) => (true, call.not_supported()),
            Exit::DeviceRequest(request) => (true, request.reject()),
            _ => (false, Answer::resume()),
        };
        if wants {
            let refused = rec.enter(&rmm, Answer::resume()).unwrap_err();
            assert_eq!(refused.error, EnterError::Unanswered);
        }
        answer = next;
    }
});
