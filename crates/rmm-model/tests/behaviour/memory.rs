//! The memory of the machine is the embedder's.
#![expect(unsafe_code, reason = "memory is accessed by address")]

use rmi_abi::run::ExitReason;
use rmi_abi::{Command, Dialect, Ipa, Pa, PaRange};
use rmm_model::{
    Action, MemoryAccess, Model, Options, OptionsError, PhysicalMemory, Script, SparseMemory,
};

use crate::host::{Host, PAGE};

/// Bytes of the machine's memory: 256 pages, 0x8000_0000 and up.
const BYTES: usize = 0x10_0000;

fn options() -> Options {
    let mut options = Options::new(Dialect::TfRmm2026_07);
    options.dram = PaRange::with_size(Pa::new(0x8000_0000), BYTES as u64).unwrap();
    options
}

#[test]
fn a_realm_runs_in_memory_of_the_program() {
    for access in [MemoryAccess::Plain, MemoryAccess::Volatile] {
        let mut words = vec![0x1111_1111_1111_1111_u64; BYTES / 8];
        let base = words.as_mut_ptr().cast::<u8>();
        // SAFETY: the vector is there until the end, and not used while the model is.
        let memory = unsafe { PhysicalMemory::new(options().dram, base, access) };
        let host = Host::of(Model::with_memory(options(), Box::new(memory)).unwrap());
        host.done(Command::RmmActivate, &[]);
        // Memory has the content that it had.
        assert_eq!(host.words(0x800f_0000, 1), [0x1111_1111_1111_1111]);
        let delegated = host.fresh(1);
        let given_back = host.fresh(1);
        host.undelegate(given_back, PAGE);
        let realm = host.realm();
        let data = host.populate(realm, 0x1000, 0xa5, 1);
        let rec = host.rec(realm, 0, true);
        host.done(Command::RealmActivate, &[realm.rd]);
        let store = Action::Store { ipa: Ipa::new(0x1008), bytes: 8, value: 0x1234_5678_9abc_def0 };
        host.model.set_guest(Pa::new(realm.rd), 0, Box::new(Script::new(vec![store])));
        let running = crate::host::Running { host: &host, realm, rec, run: host.page() };
        assert_eq!(running.enter(0, &[]).0, ExitReason::Fiq);
        let rim = host.model.measurement(Pa::new(realm.rd), 0).unwrap();
        drop(host);

        let word = |at: u64| words[usize::try_from(at - 0x8000_0000).unwrap() / 8];
        assert_eq!((word(data), word(data + 8)), (0xa5a5_a5a5_a5a5_a5a5, 0x1234_5678_9abc_def0));
        assert_eq!((word(delegated), word(given_back)), (0xd5d5_d5d5_d5d5_d5d5, 0));
        assert_eq!(word(0x800f_fff8), 0x1111_1111_1111_1111);

        // It is the Realm that memory on the heap makes.
        let sparse = Host::new(options());
        let (_, _) = (sparse.fresh(1), sparse.fresh(1));
        let other = sparse.realm();
        sparse.populate(other, 0x1000, 0xa5, 1);
        sparse.rec(other, 0, true);
        assert_eq!(sparse.model.measurement(Pa::new(other.rd), 0), Some(rim));
    }
}

#[test]
fn memory_that_is_too_small_is_refused() {
    let dram = options().dram;
    let smaller = PaRange::with_size(dram.base(), dram.bytes() - PAGE).unwrap();
    let higher = PaRange::with_size(Pa::new(dram.base().raw() + PAGE), dram.bytes()).unwrap();
    for range in [smaller, higher] {
        let model = Model::with_memory(options(), Box::new(SparseMemory::new(range)));
        let error = model.map(drop).unwrap_err();
        assert_eq!(error, OptionsError::Memory(dram));
        let text = error.to_string();
        assert!(text.starts_with("not all of ") && text.contains("80000000"), "{text}");
    }
    let larger = PaRange::with_size(dram.base(), dram.bytes() + PAGE).unwrap();
    assert!(Model::with_memory(options(), Box::new(SparseMemory::new(larger))).is_ok());
    let mut wrong = options();
    wrong.list_registers = 0;
    let model = Model::with_memory(wrong, Box::new(SparseMemory::new(dram)));
    assert_eq!(model.map(drop).unwrap_err(), OptionsError::Gic);
}
