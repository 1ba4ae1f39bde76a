//! Any exit record, in any dialect: it decodes to an exit, and the answer to it is accepted once.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rec_runtime::exit::{RipasChange, Wait};
use rec_runtime::{Answer, EnterError, Exit, Rec};
use rmi_abi::Dialect;
use rmi_abi::rtt::Geometry;
use rmi_abi::run::RecExit;
use test_support::Crafted;
use zerocopy::{FromZeros, IntoBytes};

// The input: a dialect, and for each exit words that change in the record.
fuzz_target!(|input: (u8, Vec<Vec<(u8, u64)>>)| {
    let (dialect, exits) = input;
    let dialect = Dialect::ALL[usize::from(dialect) % Dialect::ALL.len()];
    let machine = Crafted::new(dialect);
    machine.with_rec(|rmm, object, page, _| {
        let rec = Rec::new(object, page, Geometry::new(40).unwrap());
        let mut record = RecExit::new_zeroed();
        let mut answer = Answer::resume();
        for (n, words) in exits.into_iter().enumerate() {
            for (at, word) in words {
                record.as_mut_bytes()[usize::from(at) * 8..][..8]
                    .copy_from_slice(&word.to_le_bytes());
            }
            machine.exits_with(&record);
            let event = rec.enter(rmm, answer).unwrap();
            let _ = format!("{event:?}");
            let wants_answer = event.exit.wants_answer();
            let value = record.gprs[0];
            let next = match event.exit {
                Exit::MmioLoad(load) => load.complete(value),
                Exit::MmioStore(store) => {
                    assert!(store.bytes() == 8 || store.value() < 1 << (8 * store.bytes()));
                    store.abort()
                }
                Exit::Fault(fault) => fault.retry(),
                Exit::SharedFault(fault) => fault.abort(),
                Exit::SysRegRead(read) => read.complete(value),
                Exit::PsciRequest(request) if n % 2 == 0 => {
                    request.accept(rmm, &rec, &rec).unwrap()
                }
                Exit::PsciRequest(request) => match request.deny(rmm, &rec, &rec) {
                    Ok(answer) => answer,
                    Err(failed) => failed.kept.completed(),
                },
                Exit::RipasChange(change) => change.reject().unwrap_or_else(RipasChange::accept),
                Exit::S2apChange(change) => change.reject(),
                Exit::HostCall(call) if n % 2 == 0 => call.not_supported(),
                Exit::HostCall(call) => call.complete([value; 31]),
                Exit::VdevRequest(request) => request.completed(),
                Exit::VdevMapping(mapping) => {
                    if let Some(memory) = mapping.memory() {
                        assert_eq!(memory.bytes(), mapping.range().bytes());
                    }
                    mapping.reject()
                }
                Exit::P2pBinding(binding) => binding.reject(),
                Exit::VsmmuCommand(command) => command.completed(),
                Exit::Wait(wait) => {
                    assert!(Wait::deadline(&wait).is_none_or(|end| wait.ends_at() <= Some(end)));
                    Answer::resume()
                }
                _ => Answer::resume(),
            };
            assert_eq!(next.exit().is_some(), wants_answer);
            if wants_answer {
                let refused = rec.enter(rmm, Answer::resume()).unwrap_err();
                assert_eq!(refused.error, EnterError::Unanswered);
            }
            answer = next;
        }
        let _ = rec.enter(rmm, answer).unwrap();
    });
});
