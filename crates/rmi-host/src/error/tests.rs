//! An error that wraps another has it as its source, its text contains that of the source, and `?`
//! takes the error out of what carries one.

use core::error::Error as StdError;
use std::boxed::Box;
use std::string::ToString;

use rmi_abi::{Command, Dialect, Ipa, Pa, ResultWord, Status};

use super::{Error, Failed, Refusal, Subject, Violation};
use crate::access::AccessFault;
use crate::channel::{Failure, Pending};
use crate::command::{DelegateFailed, UndelegateFailed};
use crate::command::{Halted, Rd, ShareFailed, SharedMemory, UnshareFailed};
use crate::granules::{Delegated, Undelegated};
use crate::session::{SessionError, TrackingError};

fn refusal() -> Refusal {
    let result = ResultWord::from_status(Status::ErrorInput);
    let subject = Subject::Pa(Pa::new(0x1000));
    Refusal::new(Command::RttCreate, Dialect::V2_0Bet3, result, subject)
}

fn shared() -> SharedMemory {
    let rd = Rd::new(Delegated::empty());
    SharedMemory::new(&rd, Ipa::new(0), Undelegated::empty())
}

/// The number of sources below an error; the text of each is in that of the error.
fn depth(error: &dyn StdError) -> usize {
    let Some(source) = error.source() else { return 0 };
    let (text, inner) = (error.to_string(), source.to_string());
    assert!(text.contains(&inner), "{text}: {inner}");
    1 + depth(source)
}

#[test]
fn wrapped_errors_are_sources() {
    let call = Error::Refused(refusal());
    assert_eq!(depth(&refusal()), 0);
    assert_eq!(depth(&call), 1);
    assert_eq!(depth(&Error::Unclear(refusal())), 1);
    assert_eq!(depth(&Error::Access(AccessFault { at: Pa::new(0) })), 1);
    assert_eq!(depth(&SessionError::NoRmm), 0);
    assert_eq!(depth(&SessionError::Call(call)), 2);
    assert_eq!(depth(&TrackingError::Call(call)), 2);
    assert_eq!(depth(&Halted::<u64> { error: call, reached: None }), 2);
    assert_eq!(depth(&Failure::Ended(call)), 2);
}

#[test]
fn what_carries_memory_or_progress_has_its_error_as_source() {
    let error = Error::Refused(refusal());
    let (delegated, kept) = (Delegated::empty, Delegated::empty());
    let host = Undelegated::empty;
    let failed = DelegateFailed { error, delegated: delegated(), host: host() };
    assert_eq!(depth(&failed), 2);
    assert_eq!(Error::from(failed), error);
    let failed = UndelegateFailed { error, host: host(), kept };
    assert_eq!(depth(&failed), 2);
    assert_eq!(Error::from(failed), error);
    let failed = ShareFailed { error, shared: shared(), host: host() };
    assert_eq!(depth(&failed), 2);
    assert_eq!(Error::from(failed), error);
    let failed = UnshareFailed { error, kept: shared(), top: None };
    assert_eq!(depth(&failed), 2);
    assert_eq!(Error::from(failed), error);
    assert_eq!(Error::from(Failure::Ended(error)), error);
    assert_eq!(Error::from(Halted { error, reached: Some(0_u64) }), error);
}

/// Neither `Debug` nor `'static`.
struct Borrowed<'a>(#[expect(dead_code, reason = "what is kept is dropped")] &'a u64);

fn refused<'a, X>(kept: &'a u64, error: X) -> Result<(), Failed<Borrowed<'a>, X>> {
    Err(Failed::new(Borrowed(kept), error))
}

#[test]
fn the_question_mark_works_with_any_object() {
    let (local, call) = (7, Error::Refused(refusal()));
    let to_error = || -> Result<(), Error> { Ok(refused(&local, call)?) };
    assert_eq!(to_error(), Err(call));
    let to_session = || -> Result<(), SessionError> { Ok(refused(&local, SessionError::NoRmm)?) };
    assert_eq!(to_session(), Err(SessionError::NoRmm));
    let failed = refused(&local, call).unwrap_err();
    assert_eq!(failed.to_string(), call.to_string());
    assert!(std::format!("{failed:?}").starts_with("Failed { error: Refused("), "{failed:?}");
}

#[cfg(feature = "alloc")]
#[test]
fn the_question_mark_works_with_boxed_errors() {
    let (local, call) = (7, Error::Refused(refusal()));
    let boxed = || -> Result<(), Box<dyn StdError>> { Ok(refused(&local, call)?) };
    assert_eq!(boxed().unwrap_err().downcast_ref(), Some(&call));
    let sendable = || -> Result<(), Box<dyn StdError + Send + Sync>> { Ok(refused(&local, call)?) };
    assert_eq!(sendable().unwrap_err().downcast_ref(), Some(&call));
    let pending = || -> Result<Pending, Box<dyn StdError>> { Err(Failure::Ended(call))? };
    assert!(pending().unwrap_err().is::<Failure>());
}

#[test]
fn texts_are_plain() {
    let (command, subject) = (Command::RecCreate, Subject::Pa(Pa::new(0x1000)));
    let unfinished = Error::unfinished(command, 7, subject);
    assert_eq!(
        unfinished.to_string(),
        "RMI_REC_CREATE for PA 0x1000: operation 0x7 did not complete within the retry budget"
    );
    // It had begun.
    assert!(!unfinished.is_clean());
    assert_eq!(unfinished.command(), Some(command));
}

#[test]
fn an_error_tells_what_it_is_about() {
    let (command, result) = (Command::RttCreate, ResultWord::from_status(Status::ErrorInput));
    for subject in [Subject::Rmm, Subject::Pa(Pa::new(0x1000)), Subject::Ipa(Ipa::new(u64::MAX))] {
        for dialect in Dialect::ALL {
            let refusal = Refusal::new(command, dialect, result, subject);
            assert_eq!((refusal.command(), refusal.dialect()), (command, dialect));
            assert_eq!((refusal.result(), refusal.subject()), (result, subject));
            let unsupported = Error::unsupported(command, dialect);
            for error in [Error::Refused(refusal), Error::Unclear(refusal), unsupported] {
                assert_eq!((error.command(), error.dialect()), (Some(command), Some(dialect)));
            }
        }
        for error in [
            Error::no_progress(command, subject),
            Error::violation(command, Violation::Count, 5, subject),
            Error::no_answer(command, subject, true),
            Error::no_answer(command, subject, false),
            Error::unfinished(command, 7, subject),
            Error::abandoned(command, 7, 0, subject),
            Error::other_machine(command, subject),
            Error::argument(command, "it is wrong", subject),
        ] {
            let about = (error.command(), error.subject(), error.dialect(), error.status());
            assert_eq!(about, (Some(command), Some(subject), None, None));
            let text = std::format!("{error} {error:?}");
            assert!(text.contains(&subject.to_string()) && text.contains("RttCreate"), "{text}");
        }
        let exhausted = Error::exhausted(command, Status::Unknown(0xfe), subject);
        assert_eq!(exhausted.status(), Some(Status::Unknown(0xfe)));
        assert_eq!(exhausted.subject(), Some(subject));
    }
    for command in Command::ALL {
        let error = Error::need_memory(*command, 0x1000, 0x2000);
        assert_eq!((error.command(), error.subject()), (Some(*command), Some(Subject::Rmm)));
    }
    assert_eq!(Error::from(AccessFault { at: Pa::new(0) }).command(), None);
}

#[test]
fn texts_name_what_happened() {
    let (command, subject) = (Command::RttCreate, Subject::Ipa(Ipa::new(0x1000)));
    for (error, text) in [
        (
            Error::unsupported(command, Dialect::V1_0),
            "RMI_RTT_CREATE does not exist in dialect 1.0",
        ),
        (
            Error::exhausted(command, Status::Busy, subject),
            "RMI_RTT_CREATE for IPA 0x1000 still answered RMI_BUSY after all attempts that the \
             retry budget allows",
        ),
        (
            Error::no_progress(command, subject),
            "RMI_RTT_CREATE for IPA 0x1000 made no progress within the retry budget; try again \
             later",
        ),
        (
            Error::violation(command, Violation::Count, 5, subject),
            "RMI_RTT_CREATE for IPA 0x1000: the RMM reported an impossible count (0x5)",
        ),
        (
            Error::no_answer(command, subject, true),
            "RMI_RTT_CREATE for IPA 0x1000: no answer; what the RMM did is unclear",
        ),
        (
            Error::no_answer(command, subject, false),
            "RMI_RTT_CREATE for IPA 0x1000: the call could not be made",
        ),
        (
            Error::need_memory(command, 0x2000, 0x1000),
            "RMI_RTT_CREATE needs 0x2000 more bytes of memory aligned to 0x1000 in the pool",
        ),
        (
            Error::abandoned(command, 7, 0, subject),
            "RMI_RTT_CREATE for IPA 0x1000: operation 0x7 could not be ended and stays in the RMM \
             until it restarts",
        ),
        (
            Error::abandoned(command, 7, 0x1000, subject),
            "RMI_RTT_CREATE for IPA 0x1000: operation 0x7 lacked 0x1000 bytes, could not be \
             undone, and stays in the RMM until it restarts; add more memory to the pool \
             beforehand",
        ),
        (
            Error::other_machine(command, subject),
            "RMI_RTT_CREATE: IPA 0x1000 belongs to another machine than the session",
        ),
        (
            Error::argument(command, "it is wrong", subject),
            "RMI_RTT_CREATE for IPA 0x1000: it is wrong",
        ),
    ] {
        assert_eq!(error.to_string(), text);
    }
}
