//! What errors say.

use super::*;

const ALL: [Operation; 32] = [
    Operation::OpenKvm,
    Operation::CheckExtension,
    Operation::CreateVm,
    Operation::CreateGuestMemfd,
    Operation::MapSharedSide,
    Operation::SetMemoryRegion,
    Operation::SetMemoryAttributes,
    Operation::SetGuestMemfdAttributes,
    Operation::PunchHole,
    Operation::Discard,
    Operation::ConfigureHash,
    Operation::ConfigurePersonalization,
    Operation::CreateRealm,
    Operation::InitRipas,
    Operation::Populate,
    Operation::Activate,
    Operation::CreateVcpu,
    Operation::PreferredTarget,
    Operation::InitVcpu,
    Operation::FinalizeVcpu,
    Operation::SetRegister,
    Operation::GetRegister,
    Operation::CompletePsci,
    Operation::MapRunPage,
    Operation::FirstRun,
    Operation::Run,
    Operation::CreateGic,
    Operation::ConfigureGic,
    Operation::InitGic,
    Operation::ConfigureTimer,
    Operation::InitPmu,
    Operation::FilterCalls,
];

fn error(operation: Operation, errno: Errno, generation: Generation) -> CallError {
    CallError::new(operation, errno, generation)
}

#[test]
fn an_error_says_call_number_generation_meaning_and_advice() {
    let refused = error(Operation::Populate, Errno::ENXIO, Generation::V14);
    assert_eq!(
        refused.to_string(),
        "population: ENXIO (v14): the RMM refused the memory, the realm is dead, or \
         the VM is not to be one; see the kernel's log for the RMM's status, and create another VM"
    );
    let unknown = CallError { generation: None, ..refused };
    assert!(unknown.to_string().starts_with("population: ENXIO: "));
    assert_eq!(std::error::Error::source(&refused).unwrap().to_string(), "ENXIO");
}

#[test]
fn meanings_depend_on_the_generation() {
    let meaning = |operation, errno, generation| error(operation, errno, generation).meaning();
    for operation in [Operation::Populate, Operation::FirstRun] {
        let (old, new) = (
            meaning(operation, Errno::EINVAL, Generation::V10),
            meaning(operation, Errno::EINVAL, Generation::V14),
        );
        assert_ne!(old, new, "{operation}");
    }
    assert_ne!(
        meaning(Operation::FirstRun, Errno::ENODEV, Generation::Tree2026_09),
        meaning(Operation::FirstRun, Errno::EIO, Generation::Tree2026_09)
    );
}

#[test]
fn errors_of_the_gic_depend_on_the_call() {
    for (operation, errno, meaning) in [
        (Operation::CreateGic, Errno::ENODEV, "the kernel has no GICv3 for VMs"),
        (Operation::InitGic, Errno::ENODEV, "no vCPU exists"),
        (Operation::ConfigureGic, Errno::ENXIO, "the GIC has no such attribute"),
        (Operation::InitGic, Errno::ENXIO, "an address is missing"),
        (Operation::ConfigureGic, Errno::E2BIG, "registers beyond the end of the IPA space"),
    ] {
        assert_eq!(error(operation, errno, Generation::V14).meaning(), meaning);
    }
}

#[test]
fn what_ends_a_vm_is_final() {
    for (operation, errno, generation, is_final) in [
        // The first run of these activates, and a failure leaves the Realm dead.
        (Operation::FirstRun, Errno::ENXIO, Generation::V14, true),
        (Operation::FirstRun, Errno::EINVAL, Generation::V14, true),
        (Operation::FirstRun, Errno::ENOMEM, Generation::V14, true),
        (Operation::FirstRun, Errno::EINVAL, Generation::V10, false),
        (Operation::FirstRun, Errno::ENOMEM, Generation::V10, false),
        (Operation::FirstRun, Errno::EHWPOISON, Generation::V10, true),
        // A page of a fault cannot be had, or the Realm asks for what it cannot have.
        (Operation::Run, Errno::ENOMEM, Generation::V14, false),
        (Operation::Run, Errno::EINVAL, Generation::V14, false),
        (Operation::Run, Errno::EHWPOISON, Generation::V14, true),
        (Operation::Run, Errno::ENXIO, Generation::V14, true),
        (Operation::Run, Errno::EIO, Generation::V14, true),
        (Operation::Run, Errno::EIO, Generation::V10, true),
        (Operation::Run, Errno::EAGAIN, Generation::V14, false),
        (Operation::Run, Errno::EINTR, Generation::V14, false),
        (Operation::Run, Errno::EFAULT, Generation::V14, false),
        // Found before anything is done.
        (Operation::FirstRun, Errno::EOPNOTSUPP, Generation::V14, false),
        (Operation::FirstRun, Errno::ENODEV, Generation::V14, false),
        (Operation::Populate, Errno::ENXIO, Generation::V14, true),
        (Operation::Populate, Errno::EINVAL, Generation::V14, false),
        (Operation::Populate, Errno::ENOMEM, Generation::V14, false),
        (Operation::CreateRealm, Errno::ENXIO, Generation::V8, true),
        (Operation::Activate, Errno::ENXIO, Generation::V8, true),
        (Operation::ConfigureHash, Errno::EINVAL, Generation::V8, false),
        (Operation::CreateVm, Errno::EINVAL, Generation::V8, false),
        (Operation::InitRipas, Errno::ENXIO, Generation::V8, true),
        (Operation::FinalizeVcpu, Errno::ENXIO, Generation::V8, true),
        (Operation::PunchHole, Errno::EIO, Generation::V15, true),
        (Operation::PunchHole, Errno::ENOMEM, Generation::V15, false),
        (Operation::SetMemoryAttributes, Errno::ENOMEM, Generation::V14, false),
        (Operation::MapRunPage, Errno::ENOMEM, Generation::V14, false),
        (Operation::MapRunPage, Errno::EINVAL, Generation::V14, false),
    ] {
        let error = error(operation, errno, generation);
        assert_eq!(error.is_final(), is_final, "{error}");
    }
}

#[test]
fn errors_that_hold_one_of_a_call_are_final_as_it_is() {
    use crate::vcpu::{AnswerError, NotAnExit};
    use crate::vgic::VgicError;
    use crate::vm::VmError;
    for (errno, is_final) in [(Errno::EIO, true), (Errno::EINTR, false)] {
        let call = error(Operation::Run, errno, Generation::V14);
        assert_eq!(AnswerError::Call(call).is_final(), is_final);
        assert_eq!(VmError::Call(call).is_final(), is_final);
        assert_eq!(VgicError::Call(call).is_final(), is_final);
    }
    assert!(!AnswerError::NotAnExit(NotAnExit).is_final());
    assert!(!VmError::Width { at_least: 33, at_most: 32 }.is_final());
    assert!(!VgicError::Overlap.is_final());
}

/// Meaning, advice, and whether the VM is dead.
type Answer = (&'static str, &'static str, bool);

/// What an error says and whether it is final, of kernels from v5 to v10, or of newer ones.
fn answer(operation: Operation, errno: Errno, is_old: bool) -> Answer {
    let generations = Generation::ALL.iter().filter(|generation| {
        (generation.facts().steps == crate::generation::Steps::Actions) == is_old
    });
    let mut answers = generations.map(|generation| {
        let error = error(operation, errno, *generation);
        (error.meaning(), error.advice(), error.is_final())
    });
    let first = answers.next().unwrap();
    // No two generations of a family differ.
    assert!(answers.all(|other| other == first), "{operation} {errno}");
    first
}

/// One row for each answer: which errors have it.
fn rows(call: &str, kernel: &str, answers: &[(Errno, Answer)]) -> String {
    let mut groups: Vec<(Vec<Errno>, Answer)> = Vec::new();
    for (errno, answer) in answers {
        match groups.iter_mut().find(|(_, of)| of == answer) {
            Some((errnos, _)) => errnos.push(*errno),
            None => groups.push((vec![*errno], *answer)),
        }
    }
    let row = |(errnos, (meaning, advice, is_final)): (Vec<Errno>, Answer)| {
        let errnos: Vec<_> = errnos.iter().map(Errno::to_string).collect();
        // The others are listed.
        let errnos = if errnos.len() > 10 { "any other".to_owned() } else { errnos.join(", ") };
        let is_final = if is_final { "yes" } else { "" };
        format!("| {call} | {errnos} | {kernel} | {meaning} | {advice} | {is_final} |\n")
    };
    groups.into_iter().map(row).collect()
}

/// The table of the documentation: what is particular to a call, and then what is not.
fn table() -> String {
    let mut table = String::from("| Call | Error | Kernel | Meaning | What to do | VM is dead |\n");
    table += "|---|---|---|---|---|---|\n";
    // What a call says that has no errors of its own.
    let general = |errno| answer(Operation::PreferredTarget, errno, true);
    for operation in ALL {
        let (mut all, mut olds, mut news) = (Vec::new(), Vec::new(), Vec::new());
        for errno in Errno::NAMED.iter().copied() {
            let (old, new) = (answer(operation, errno, true), answer(operation, errno, false));
            if old != new {
                olds.push((errno, old));
                news.push((errno, new));
            } else if old != general(errno) {
                all.push((errno, old));
            }
        }
        for (kernel, answers) in [("all", all), ("v5 to v10", olds), ("from v12 on", news)] {
            table += &rows(operation.name(), kernel, &answers);
        }
    }
    let others = Errno::NAMED.iter().copied().chain([Errno::new(71)]);
    let others: Vec<_> = others.map(|errno| (errno, general(errno))).collect();
    for (errno, answer) in &others {
        assert_eq!(*answer, self::answer(Operation::PreferredTarget, *errno, false));
    }
    table + &rows("any other", "all", &others)
}

#[test]
fn the_documentation_has_what_errors_say() {
    let documented = include_str!("../../docs/errors.md");
    let table = table();
    assert!(documented.ends_with(&table), "docs/errors.md ends with:\n{table}");
    // Each call is one of them.
    let names: std::collections::BTreeSet<_> = ALL.map(Operation::name).into_iter().collect();
    assert_eq!(names.len(), ALL.len());
}

#[test]
fn every_answer_has_a_meaning_also_without_a_generation() {
    for operation in ALL {
        for errno in Errno::NAMED.iter().copied().chain([Errno::new(71)]) {
            let error = CallError { operation, errno, generation: None };
            assert!(!error.meaning().is_empty() && !error.advice().is_empty());
            let text = error.to_string();
            let (meaning, advice) = (error.meaning(), error.advice());
            assert_eq!(text, format!("{operation}: {errno}: {meaning}; {advice}"));
        }
    }
}
