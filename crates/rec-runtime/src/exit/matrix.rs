//! Every exit × every answer × every dialect.
//!
//! What is not covered does not pass: exits are matched without a wildcard, the kinds that were
//! seen are compared with all kinds, and the answers that were given with the methods in the
//! sources.
//! Pairs of an exit and an answer that do not belong together are listed as [absent](absent!), and
//! the list would not compile if a method existed.

extern crate std;

use std::boxed::Box;
use std::collections::BTreeSet;
use std::format;
use std::string::{String, ToString};
use std::vec::Vec;

use rmi_abi::psci::PsciFunction;
use rmi_abi::rtt::{Geometry, Ripas};
use rmi_abi::run::{ExitReason, RUN_GPRS, RecEnterFlags, RecExit};
use rmi_abi::{Dialect, Status};
use rmi_host::command::VdevGranule;
use rmi_host::{Error, Rmm};
use sro::{Awaiting, EnterError};
use test_support::{Crafted, CraftedHost};
use zerocopy::{FromZeros, IntoBytes};

use super::*;
use crate::set::ExitKind;
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

/// Records of exits with this code: the fields of its reason, and elsewhere bytes that mean
/// nothing.
fn records(code: u8, dialect: Dialect) -> Vec<RecExit> {
    let mut record = RecExit::new_zeroed();
    record.as_mut_bytes().fill(0x5a);
    record.exit_reason = code;
    let with = |change: &dyn Fn(&mut RecExit)| {
        let mut record = record;
        change(&mut record);
        record
    };
    match ExitReason::decode(code, dialect) {
        ExitReason::Sync => [
            (DATA_ABORT | VALID | TRANSLATION_L3, DEVICE),
            (DATA_ABORT | VALID | WRITE | TRANSLATION_L3, DEVICE),
            (DATA_ABORT | TRANSLATION_L3, RAM),
            (FETCH_ABORT | TRANSLATION_L3, RAM),
            (DATA_ABORT | TRANSLATION_L3, DEVICE),
            (DATA_ABORT | 0x10, 0),
            (FETCH_ABORT | TRANSLATION_L3, DEVICE),
            (SYSREG | 1, 0),
            (SYSREG, 0),
            (WFX, 0),
            (WFX | 3, 0),
            (0x3c << 26, 0),
        ]
        .into_iter()
        .map(|(esr, ipa)| with(&|exit| (exit.esr, exit.hpfar) = (esr, ipa >> 12 << 4)))
        .collect(),
        ExitReason::Psci => [
            PsciFunction::CpuOn64,
            PsciFunction::AffinityInfo64,
            PsciFunction::CpuOff,
            PsciFunction::CpuSuspend64,
            PsciFunction::SystemOff,
            PsciFunction::SystemReset,
            PsciFunction::Version,
        ]
        .into_iter()
        .map(|function| with(&|exit| exit.gprs = [u32::from(function).into(); RUN_GPRS]))
        .collect(),
        ExitReason::RipasChange => [Ripas::Ram, Ripas::Empty]
            .into_iter()
            .map(|ripas| {
                with(&|exit| {
                    (exit.ripas_base, exit.ripas_top) = (RAM, RAM + 0x3000);
                    exit.ripas_value = ripas.into();
                })
            })
            .collect(),
        ExitReason::S2apChange => {
            Vec::from([with(&|exit| (exit.s2ap_base, exit.s2ap_top) = (RAM, RAM + 0x1000))])
        }
        ExitReason::VdevValidateMapping => Vec::from([with(&|exit| {
            (exit.dev_mem_base, exit.dev_mem_top) = (RAM, RAM + 0x2000);
            (exit.dev_mem_pa, exit.vdev_id_1) = (0x1000_0000, 7);
        })]),
        ExitReason::VdevRequest | ExitReason::VdevP2pBinding => {
            Vec::from([with(&|exit| (exit.vdev_id_1, exit.vdev_id_2) = (7, 8))])
        }
        ExitReason::VsmmuCommand => Vec::from([with(&|exit| exit.vsmmu = 0x8000_7000)]),
        _ => Vec::from([record]),
    }
}

/// The kinds of exits that a dialect has.
fn kinds(dialect: Dialect) -> BTreeSet<String> {
    let is_there = |kind: ExitKind| match kind {
        ExitKind::S2apChange | ExitKind::VdevMapping => dialect != Dialect::V1_0,
        ExitKind::VdevRequest => ![Dialect::V1_0, Dialect::V2_0Bet3].contains(&dialect),
        ExitKind::P2pBinding => [Dialect::V2_0Bet0, Dialect::TfRmm2026_07].contains(&dialect),
        ExitKind::VsmmuCommand => ![Dialect::V1_0, Dialect::TfRmm2026_07].contains(&dialect),
        _ => true,
    };
    ExitKind::ALL.into_iter().filter(|kind| is_there(*kind)).map(|k| format!("{k:?}")).collect()
}

/// What the host's half of the run page has to contain: flags, and the first registers.
type Wire = (RecEnterFlags, Vec<u64>);

fn plain() -> Wire {
    (RecEnterFlags::empty(), Vec::new())
}

/// What an answer is given with.
struct Scene<'s, 'm> {
    machine: &'m Crafted,
    rmm: &'s Rmm<CraftedHost<'m>>,
    rec: &'s Rec,
    vdev: &'s VdevGranule,
}

/// An answer: the method that makes it, the answer itself, and what is then in the run page.
type Given = (Option<&'static str>, Answer, Wire);

/// The answers of an exit, one after the other; the exit itself if there is no such answer. The
/// match has no wildcard.
fn give(exit: Exit, n: usize, scene: &Scene<'_, '_>) -> Result<Given, Box<Exit>> {
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
    let Scene { machine, rmm, rec, vdev } = scene;
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
            "PsciRequest::completed" => exit.completed(), plain();
            "PsciRequest::accept" => {
                // The RMM may refuse, and be asked again.
                machine.refuses_with(u8::from(Status::ErrorInput).into());
                let refused = exit.accept(rmm, rec, rec).unwrap_err();
                assert_eq!(refused.error.status(), Some(Status::ErrorInput));
                refused.kept.accept(rmm, rec, rec).unwrap()
            }, plain();
            "PsciRequest::deny" => {
                let (calls, can_be_denied) = (machine.calls(), exit.can_be_denied());
                match exit.deny(rmm, rec, rec) {
                    Ok(answer) => {
                        assert!(can_be_denied && machine.calls() == calls + 1);
                        answer
                    }
                    Err(refused) => {
                        assert!(matches!(refused.error, Error::Argument { .. }));
                        assert!(!can_be_denied && machine.calls() == calls);
                        refused.kept.accept(rmm, rec, rec).unwrap()
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
                machine.refuses_with(u8::from(Status::ErrorDevice).into());
                let refused = exit.accept(rmm, rec, vdev).unwrap_err();
                assert_eq!(refused.error.status(), Some(Status::ErrorDevice));
                refused.kept.accept(rmm, rec, vdev).unwrap()
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
fn refused(scene: &Scene<'_, '_>, answer: &Answer, expected: EnterError) {
    let (calls, awaiting) = (scene.machine.calls(), scene.rec.awaiting());
    let failed = scene.rec.enter(scene.rmm, answer.clone()).unwrap_err();
    assert_eq!((failed.error, failed.kept.as_ref()), (expected, Some(answer)));
    assert_eq!((scene.machine.calls(), scene.rec.awaiting()), (calls, awaiting));
}

/// An answer to an exit of a REC of another machine.
fn foreign() -> Answer {
    let machine = Crafted::new(Dialect::V2_0Bet3);
    machine.exits_with(&records(0, Dialect::V2_0Bet3)[0]);
    machine.with_rec(|rmm, object, page, _| {
        let rec = Rec::new(object, page, Geometry::new(40).unwrap());
        let Exit::MmioLoad(load) = rec.enter(rmm, Answer::resume()).unwrap().exit else { panic!() };
        load.complete(1)
    })
}

/// Gives the `n`th answer of the exit with this record, after all that the REC refuses. Returns the
/// kind of the exit, and the method that made the answer; `None` if there are not so many answers.
fn cell(
    scene: &Scene<'_, '_>,
    record: &RecExit,
    n: usize,
    foreign: &Answer,
) -> (ExitKind, Option<Option<&'static str>>) {
    scene.machine.exits_with(record);
    let exit = scene.rec.enter(scene.rmm, Answer::resume()).unwrap().exit;
    let (kind, wants_answer) = (ExitKind::of(&exit), exit.wants_answer());
    let waits = matches!(scene.rec.awaiting(), Awaiting::Answer(_));
    assert_eq!(waits, wants_answer, "{exit:?}");
    // Afterwards the REC waits for nothing.
    let mut irq = RecExit::new_zeroed();
    irq.exit_reason = 1;
    scene.machine.exits_with(&irq);

    refused(scene, foreign, EnterError::WrongAnswer);
    if wants_answer {
        refused(scene, &Answer::resume(), EnterError::Unanswered);
    }
    let (is_there, (method, answer, wire)) = match give(exit, n, scene) {
        Ok(given) => (true, given),
        Err(exit) => (false, give(*exit, 0, scene).unwrap()),
    };
    assert_eq!(method.is_some(), wants_answer);
    let calls = scene.machine.calls();
    let exit = scene.rec.enter(scene.rmm, answer.clone()).unwrap().exit;
    assert!(matches!(exit, Exit::Irq), "{exit:?}");
    assert_eq!(scene.machine.calls(), calls + 1);
    let (flags, gprs) = wire;
    let entry = scene.machine.last_entry();
    assert_eq!(entry.flags, flags.bits(), "{method:?}");
    assert_eq!(entry.gprs[..gprs.len()], gprs, "{method:?}");
    // It answers one exit, once.
    if wants_answer {
        refused(scene, &answer, EnterError::WrongAnswer);
    }
    (kind, is_there.then_some(method))
}

#[test]
fn every_exit_has_its_answers_in_every_dialect() {
    let foreign = foreign();
    let mut given = BTreeSet::new();
    for dialect in Dialect::ALL {
        let machine = Crafted::new(dialect);
        let mut seen = BTreeSet::new();
        machine.with_rec(|rmm, object, page, mut rest| {
            let rec = &Rec::new(object, page, Geometry::new(40).unwrap());
            let granule = rmm.delegate(rest.take_front(0x1000).unwrap()).unwrap();
            let scene = Scene { machine: &machine, rmm, rec, vdev: &VdevGranule::new(granule) };
            for record in (0..=u8::MAX).flat_map(|code| records(code, dialect)) {
                for n in 0.. {
                    let (kind, method) = cell(&scene, &record, n, &foreign);
                    seen.insert(format!("{kind:?}"));
                    let Some(method) = method else { break };
                    given.extend(method.map(ToString::to_string));
                }
            }
        });
        assert_eq!(seen, kinds(dialect), "{dialect}");
    }
    let all = answers_in_the_sources();
    assert_eq!(given, all.iter().map(|(exit, answer)| format!("{exit}::{answer}")).collect());
}

/// The methods that make answers, with the exits that have them: public, and consuming the exit.
fn answers_in_the_sources() -> BTreeSet<(String, String)> {
    let sources = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/exit");
    let mut found = BTreeSet::new();
    for file in std::fs::read_dir(sources).unwrap() {
        let path = file.unwrap().path();
        if path.file_name().is_some_and(|name| name == "matrix.rs") {
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

/// What takes the place of a method that does not exist.
struct Absent;

/// The names of all answers, for any type: where an exit has a method of its own, that is called.
trait Fallback: Sized {
    fn complete(self) -> Absent {
        Absent
    }
    fn completed(self) -> Absent {
        Absent
    }
    fn abort(self) -> Absent {
        Absent
    }
    fn retry(self) -> Absent {
        Absent
    }
    fn accept(self) -> Absent {
        Absent
    }
    fn reject(self) -> Absent {
        Absent
    }
    fn deny(self) -> Absent {
        Absent
    }
    fn not_supported(self) -> Absent {
        Absent
    }
}

impl<T> Fallback for T {}

/// Compiles only if the exits have no such methods. Returns the pairs.
macro_rules! absent {
    ($($exit:ident: $($answer:ident)*;)*) => {{
        $($(const _: fn($exit) -> Absent = |exit| exit.$answer();)*)*
        [$((stringify!($exit), &[$(stringify!($answer)),*] as &[&str])),*]
    }};
}

#[test]
fn an_answer_that_does_not_belong_to_an_exit_does_not_exist() {
    let absent = absent! {
        MmioLoad: completed accept reject deny not_supported;
        MmioStore: completed accept reject deny not_supported;
        Fault: complete completed abort accept reject deny not_supported;
        SharedFault: complete completed accept reject deny not_supported;
        SysRegRead: completed abort retry accept reject deny not_supported;
        PsciRequest: complete abort retry reject not_supported;
        RipasChange: complete completed abort retry deny not_supported;
        HostCall: completed abort retry accept reject deny;
        S2apChange: complete completed abort retry deny not_supported;
        VdevRequest: complete abort retry deny not_supported;
        VdevMapping: complete completed abort retry deny not_supported;
        P2pBinding: complete abort retry accept deny not_supported;
        VsmmuCommand: complete abort retry accept reject deny not_supported;
        MemoryError: complete completed abort retry accept reject deny not_supported;
        Abort: complete completed abort retry accept reject deny not_supported;
        SysRegWrite: complete completed abort retry accept reject deny not_supported;
        Wait: complete completed abort retry accept reject deny not_supported;
        PsciNotice: complete completed abort retry accept reject deny not_supported;
    };
    let present = answers_in_the_sources();
    let names: BTreeSet<_> = present.iter().map(|(_, answer)| answer.as_str()).collect();
    for (exit, answers) in absent {
        let mut all: Vec<_> = answers.to_vec();
        let own = present.iter().filter(|(of, _)| of == exit).map(|(_, answer)| answer.as_str());
        all.extend(own);
        assert_eq!(all.iter().copied().collect::<BTreeSet<_>>(), names, "{exit}");
        assert_eq!(all.len(), names.len(), "{exit}");
    }
    // Every exit with an answer is in the list.
    let listed: BTreeSet<_> = absent.iter().map(|(exit, _)| *exit).collect();
    assert!(present.iter().all(|(exit, _)| listed.contains(exit.as_str())));
}
