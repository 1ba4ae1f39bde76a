//! A conduit that wraps another or serves it belongs to the machine of that. All of this is safe
//! code, but for the map that stands for the machine's own memory.
#![cfg(feature = "std")]
#![expect(clippy::unwrap_used, reason = "tests")]

use std::cell::RefCell;

use rmi_abi::{Dialect, PaRange};
use rmi_conduits::recording::Recording;
use rmi_conduits::remote::{self, OtherMachine};
use rmi_conduits::tracing::WriteSink;
use rmi_host::linear_map::LinearMap;
use rmi_host::{Conduit, Discovered, Host, SessionError, SessionOptions, Undelegated};
use rmm_model::{Model, Options};

const PAGE: u64 = 0x1000;

fn model() -> Model {
    Model::new(Options::new(Dialect::TfRmm2026_07)).unwrap()
}

fn page(memory: &mut Undelegated) -> Undelegated {
    memory.take_front(PAGE).unwrap()
}

/// A map of memory in place of the real machine's, at the addresses of the models.
#[expect(unsafe_code, reason = "the promise that an embedder makes")]
fn map(bytes: &mut [u8]) -> LinearMap {
    let base = Options::new(Dialect::TfRmm2026_07).dram.base();
    let window = PaRange::with_size(base, bytes.len() as u64).unwrap();
    // SAFETY: the slice is the window, and outlives the map; no conduit of a test reaches a real
    // RMM.
    unsafe { LinearMap::new(window, bytes.as_mut_ptr()) }
}

#[test]
fn sound_3_no_session_opens_on_a_recording_of_parts_of_two_machines() {
    let one = model();
    let mut bytes = vec![0xa5; 0x4000];
    let map = map(&mut bytes);

    // A conduit that wraps another belongs to the machine of the wrapped one, whatever else it is
    // made of.
    let sink = WriteSink::new(RefCell::new(String::new()));
    let recording = Recording::new(&one, map, sink, Dialect::TfRmm2026_07);
    let platform = Host::new(&recording, &recording);
    let failed = Discovered::probe(platform, SessionOptions::default()).unwrap_err();
    assert_eq!(failed.error, SessionError::OtherMachine);
    // This one opens, and the map is never read.
    let mut memory = one.take_memory();
    let platform = Host::new(&recording, &one);
    let found = Discovered::probe(platform, SessionOptions::default()).unwrap();
    let _ = found.configure(&mut memory).unwrap();
    let text = recording.sink().get().borrow().clone();
    assert!(text.contains("call ") && !text.contains("out "), "{text}");
    assert!(bytes.iter().all(|byte| *byte == 0xa5));
}

#[test]
fn sound_3_a_server_serves_one_machine() {
    let (one, two) = (model(), model());
    let (remote, server) = remote::pair(one.open_sessions());
    std::thread::scope(|scope| {
        let served = scope.spawn(|| server.serve(&one));
        let refused: OtherMachine = server.serve(&two).unwrap_err();
        assert_eq!(refused.served(), one.machine());
        let sink = WriteSink::new(RefCell::new(String::new()));
        let mixed = Recording::new(&one, &two, sink, Dialect::TfRmm2026_07);
        assert!(server.serve(&mixed).is_err());

        let mut memory = one.take_memory();
        let rmm = rmm_model::open(remote.into_host(), &mut memory).unwrap();
        let delegated = rmm.delegate(page(&mut memory)).unwrap();
        assert_eq!(rmm.undelegate(delegated).unwrap().machine(), one.machine());
        assert!(rmm.delegate(two.take_memory()).is_err());
        drop(rmm);
        assert_eq!(served.join().unwrap(), Ok(()));
    });
    assert_eq!(two.calls(), 0);
}
