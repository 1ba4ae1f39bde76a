//! Every exit × every answer × every dialect.
//!
//! What is not covered does not pass: exits are matched without a wildcard, the kinds that were
//! seen are compared with all kinds, and the answers that were given with the methods in the
//! sources. Pairs of an exit and an answer that do not belong together are listed, and the list
//! would not compile if a method existed.

extern crate std;

mod absent;
mod on_model;
mod replayed;

use std::boxed::Box;
use std::collections::BTreeSet;
use std::string::String;
use std::vec::Vec;

use rmi_abi::psci::PsciReturnCode;
use rmi_abi::rtt::Geometry;
use rmi_abi::run::{RUN_GPRS, RecEnterFlags};
use rmi_abi::{Dialect, Status};
use rmi_host::command::VdevGranule;
use rmi_host::{Error, Platform, Rmm};
use sro::{Awaiting, EnterError};
use test_support::Crafted;

use super::*;
use crate::{Answer, Rec};

/// A page of RAM, and one of a device, of a Realm with 40-bit addresses.
const RAM: u64 = 0x4000_0000;
const DEVICE: u64 = 0x80_0900_0000;
const DATA_ABORT: u64 = 0x24 << 26;
const FETCH_ABORT: u64 = 0x20 << 26;
const WFX: u64 = 1 << 26;
const SYSREG: u64 = 0x18 << 26;
/// A 4-byte access that the RMM describes.
const VALID: u64 = 1 << 24 | 2 << 22;
const WRITE: u64 = 1 << 6;
const TRANSLATION_L3: u64 = 7;

/// What the host's half of the run page has to contain: flags, and the first registers.
type Wire = (RecEnterFlags, Vec<u64>);

fn plain() -> Wire {
    (RecEnterFlags::empty(), Vec::new())
}

/// What an answer is given with.
struct Scene<'s, P> {
    rmm: &'s Rmm<P>,
    rec: &'s Rec,
    /// The REC that a PSCI request is about.
    target: &'s Rec,
    vdev: &'s VdevGranule,
    /// How many calls were made.
    calls: &'s dyn Fn() -> u64,
    /// Has the RMM refuse the next call, if that is possible.
    refuse: Option<&'s dyn Fn(Status)>,
}

/// An answer: the method that makes it, the answer itself, and what is then in the run page.
type Given = (Option<&'static str>, Answer, Wire);

/// The answers of an exit, one after the other; the exit itself if there is no such answer. The
/// match has no wildcard.
fn give<P: Platform>(exit: Exit, n: usize, scene: &Scene<'_, P>) -> Result<Given, Box<Exit>> {
    macro_rules! one_of {
        ($exit:ident in $variant:ident: $($name:literal => $answer:expr, $wire:expr;)+) => {{
            let mut count = 0;
            $(
                if n == count {
                    return Ok((Some($name), $answer, $wire));
                }
                count += 1;
            )+
            let _ = count;
            Err(Box::new(Exit::$variant($exit)))
        }};
    }
    let flag = |flags| (flags, Vec::new());
    let Scene { rmm, rec, target, vdev, calls, refuse } = *scene;
    match exit {
        Exit::MmioLoad(exit) => one_of! { exit in MmioLoad:
            "MmioLoad::complete" => exit.complete(0xfeed_5eed),
                (RecEnterFlags::EMUL_MMIO, Vec::from([0xfeed_5eed]));
            "MmioLoad::abort" => exit.abort(), flag(RecEnterFlags::INJECT_SEA);
            "MmioLoad::retry" => exit.retry(), plain();
        },
        Exit::MmioStore(exit) => one_of! { exit in MmioStore:
            "MmioStore::complete" => exit.complete(), flag(RecEnterFlags::EMUL_MMIO);
            "MmioStore::abort" => exit.abort(), flag(RecEnterFlags::INJECT_SEA);
            "MmioStore::retry" => exit.retry(), plain();
        },
        Exit::Fault(exit) => one_of! { exit in Fault:
            "Fault::retry" => exit.retry(), plain();
        },
        Exit::SharedFault(exit) => one_of! { exit in SharedFault:
            "SharedFault::abort" => exit.abort(), flag(RecEnterFlags::INJECT_SEA);
            "SharedFault::retry" => exit.retry(), plain();
        },
        Exit::SysRegRead(exit) => one_of! { exit in SysRegRead:
            "SysRegRead::complete" => exit.complete(3), (RecEnterFlags::empty(), Vec::from([3]));
        },
        Exit::PsciRequest(exit) => one_of! { exit in PsciRequest:
            "PsciRequest::completed" => {
                // By other means.
                let (calling, target) = (rec.name(), Some(target.name()));
                rmm.commands().psci_complete(calling, target, PsciReturnCode::Success).unwrap();
                exit.completed()
            }, plain();
            "PsciRequest::accept" => {
                let mut request = exit;
                if let Some(refuse) = refuse {
                    // The RMM can be asked again.
                    refuse(Status::ErrorInput);
                    let refused = request.accept(rmm, rec, target).unwrap_err();
                    assert_eq!(refused.error.status(), Some(Status::ErrorInput));
                    request = refused.kept;
                }
                request.accept(rmm, rec, target).unwrap()
            }, plain();
            "PsciRequest::deny" => {
                let (before, can_be_denied) = (calls(), exit.can_be_denied());
                match exit.deny(rmm, rec, target) {
                    Ok(answer) => {
                        assert!(can_be_denied && calls() == before + 1);
                        answer
                    }
                    Err(refused) => {
                        assert!(matches!(refused.error, Error::Argument { .. }));
                        assert!(!can_be_denied && calls() == before);
                        refused.kept.accept(rmm, rec, target).unwrap()
                    }
                }
            }, plain();
        },
        Exit::RipasChange(exit) => one_of! { exit in RipasChange:
            "RipasChange::accept" => exit.accept(), plain();
            "RipasChange::reject" => {
                let can_be_rejected = exit.can_be_rejected();
                match exit.reject() {
                    Ok(answer) => {
                        assert!(can_be_rejected);
                        answer
                    }
                    Err(kept) => {
                        assert!(!can_be_rejected);
                        return Ok((Some("RipasChange::reject"), kept.accept(), plain()));
                    }
                }
            }, flag(RecEnterFlags::RIPAS_REJECT);
        },
        Exit::HostCall(exit) => one_of! { exit in HostCall:
            "HostCall::complete" => exit.complete([11; RUN_GPRS]),
                (RecEnterFlags::empty(), Vec::from([11; RUN_GPRS]));
            "HostCall::not_supported" => exit.not_supported(), {
                let mut gprs = [0; RUN_GPRS];
                gprs[0] = u64::MAX;
                (RecEnterFlags::empty(), Vec::from(gprs))
            };
        },
        Exit::S2apChange(exit) => one_of! { exit in S2apChange:
            "S2apChange::accept" => exit.accept(), plain();
            "S2apChange::reject" => exit.reject(), flag(RecEnterFlags::S2AP_REJECT);
        },
        Exit::VdevRequest(exit) => one_of! { exit in VdevRequest:
            "VdevRequest::reject" => exit.reject(), plain();
            "VdevRequest::completed" => exit.completed(), plain();
            "VdevRequest::accept" => {
                match refuse {
                    Some(refuse) => {
                        refuse(Status::ErrorDevice);
                        let refused = exit.accept(rmm, rec, vdev).unwrap_err();
                        assert_eq!(refused.error.status(), Some(Status::ErrorDevice));
                        refused.kept.accept(rmm, rec, vdev).unwrap()
                    }
                    // An RMM without devices refuses, and the request can still be rejected.
                    None => exit.accept(rmm, rec, vdev).unwrap_err().kept.reject(),
                }
            }, plain();
        },
        Exit::VdevMapping(exit) => one_of! { exit in VdevMapping:
            "VdevMapping::accept" => exit.accept(), plain();
            "VdevMapping::reject" => exit.reject(), flag(RecEnterFlags::DEV_MEM_REJECT);
        },
        Exit::P2pBinding(exit) => one_of! { exit in P2pBinding:
            "P2pBinding::completed" => exit.completed(), plain();
            "P2pBinding::reject" => exit.reject(), plain();
        },
        Exit::VsmmuCommand(exit) => one_of! { exit in VsmmuCommand:
            "VsmmuCommand::completed" => exit.completed(), plain();
        },
        exit @ (Exit::MemoryError(_)
        | Exit::Abort(_)
        | Exit::SysRegWrite(_)
        | Exit::Wait(_)
        | Exit::Irq
        | Exit::Fiq
        | Exit::PsciNotice(_)
        | Exit::SError { .. }
        | Exit::UnknownSync { .. }
        | Exit::Unknown { .. }) => match n {
            0 => Ok((None, Answer::resume(), plain())),
            _ => Err(Box::new(exit)),
        },
    }
}

/// Asserts that an answer is refused before any call and given back, and that the REC waits for
/// what it waited for.
fn refused<P: Platform>(scene: &Scene<'_, P>, answer: &Answer, expected: EnterError) {
    let (calls, awaiting) = ((scene.calls)(), scene.rec.awaiting());
    let failed = scene.rec.enter(scene.rmm, answer.clone()).unwrap_err();
    assert_eq!((failed.error, failed.kept.as_ref()), (expected, Some(answer)));
    assert_eq!(((scene.calls)(), scene.rec.awaiting()), (calls, awaiting));
}

/// Asserts that an exit is answered, by what `foreign` and an entry without an answer are refused
/// as; then gives its `n`th answer, or its first if there is none with that number.
fn answered<P: Platform>(
    scene: &Scene<'_, P>,
    exit: Exit,
    n: usize,
    foreign: &Answer,
) -> (Given, bool) {
    let wants_answer = exit.wants_answer();
    let waits = matches!(scene.rec.awaiting(), Awaiting::Answer(_));
    assert_eq!(waits, wants_answer, "{exit:?}");
    refused(scene, foreign, EnterError::WrongAnswer);
    if wants_answer {
        refused(scene, &Answer::resume(), EnterError::Unanswered);
    }
    let (given, is_there) = match give(exit, n, scene) {
        Ok(given) => (given, true),
        Err(exit) => (give(*exit, 0, scene).unwrap(), false),
    };
    assert_eq!(given.0.is_some(), wants_answer);
    (given, is_there)
}

/// An answer to an exit of a REC of another machine.
fn foreign() -> Answer {
    let machine = Crafted::new(Dialect::V2_0Bet3);
    machine.exits_with(&replayed::records(0, Dialect::V2_0Bet3)[0]);
    machine.with_rec(|rmm, object, page, _| {
        let rec = Rec::new(object, page, Geometry::new(40).unwrap());
        let Exit::MmioLoad(load) = rec.enter(rmm, Answer::resume()).unwrap().exit else { panic!() };
        load.complete(1)
    })
}

/// The methods that make answers, with the exits that have them: public, and consuming the exit.
fn answers_in_the_sources() -> BTreeSet<(String, String)> {
    let sources = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/exit");
    let mut found = BTreeSet::new();
    for file in std::fs::read_dir(sources).unwrap() {
        let path = file.unwrap().path();
        if path.file_stem().is_some_and(|name| name == "matrix") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for block in text.split("\nimpl ").skip(1) {
            let block = block.split("\n}").next().unwrap();
            let exit = block.split([' ', '<']).next().unwrap();
            for method in block.split("    pub ").skip(1) {
                let signature: String =
                    method.split('{').next().unwrap().split_whitespace().collect();
                let Some((name, rest)) = signature.split_once('(') else { continue };
                let name = name.trim_start_matches("const").trim_start_matches("fn");
                let name = name.split('<').next().unwrap();
                let makes_answer =
                    rest.split_once("->").is_some_and(|(_, to)| to.contains("Answer"));
                if makes_answer && rest.starts_with("self") {
                    found.insert((exit.into(), name.into()));
                }
            }
        }
    }
    // In the run loop a request is completed for the REC that the loop runs.
    found.retain(|(exit, _)| exit != "PsciCall");
    found
}
