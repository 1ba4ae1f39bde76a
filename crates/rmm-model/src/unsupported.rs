//! Differences between dialects in behaviour, not in encoding, and the answers to commands that are
//! not modelled.
//!
//! What is different in 1.0 is what TF-RMM v0.8.0 does, and is named where it is done.
//!
//! | | tf-rmm-2026-07 | 2.0-bet0 | 2.0-bet1 | 2.0-bet3 |
//! |---|---|---|---|---|
//! | command of an absent feature | mostly as if unknown | `ERROR_NOT_SUPPORTED` | `ERROR_NOT_SUPPORTED` | `ERROR_NOT_SUPPORTED` |
//! | memory that is not FINE | `ERROR_INPUT` | `ERROR_TRACKING` | `ERROR_TRACKING` | `ERROR_TRACKING`, with the place |
//! | `GPT_L1_CREATE` of a table of the firmware | `ERROR_GPT` | `ERROR_GPT` | `ERROR_GPT` | `ERROR_GLOBAL` |
//! | `GRANULE_TRACKING_GET` needs an active RMM | no | yes | no | no |
//! | it answers for | the range asked for | its region | what is tracked alike | what is tracked alike |
//! | a region while it is changed | - | RESERVED | RESERVED | INTERMEDIATE |
//! | a rejected change of permissions | rejected even if done | done is done | done is done | done is done |
//! | the Realm's interface | as TF-RMM | by the text | by the text | by the text |
//! | attestation tokens | profile 2024 | profile 2024 | profile 2024 | profile 2026 |
//!
//! What the texts of 2.0-bet0 and 2.0-bet1 leave open is decided so:
//!
//! - The table of statuses of 2.0-bet0 has `ERROR_INPUT` for a delegation of memory that is not
//!   tracked, its prose `ERROR_TRACKING`; the prose agrees with the later texts.
//! - No text of theirs says what a region is while it is changed. RESERVED, "not for the host", is
//!   the one state that no host takes for one it can use.
//! - They are older than the attestation profile of 2026 (September 2026), and TF-RMM of July 2026
//!   has that of 2024.
//! - The order of checks, how far a call goes, and everything else about memory and RECs is that of
//!   TF-RMM in all dialects.

use rmi_abi::address::MIN_GRANULE;
use rmi_abi::{Command, Dialect, Pa, ResultWord, Status};

use crate::answer::Answer;

/// The answer to a command that the dialect has and the model does not.
///
/// Devices and virtual SMMUs are features that the model does not report, and planes one that it
/// reports only if the options say so. An RMM without a feature answers its commands in one of two
/// forms: by the texts with `RMI_ERROR_NOT_SUPPORTED`; TF-RMM of July 2026 does so for SMMU
/// commands and behaves as if the device commands did not exist.
pub(crate) fn answer(command: Command, dialect: Dialect) -> Answer {
    match command {
        // Commands of auxiliary trees name one by an index; without planes none is valid.
        Command::RttAuxCreate
        | Command::RttAuxDestroy
        | Command::RttAuxFold
        | Command::RttAuxMapProtected
        | Command::RttAuxMapUnprotected
        | Command::RttAuxUnmapProtected
        | Command::RttAuxUnmapUnprotected
        | Command::RttAuxProtMap
        | Command::RttAuxProtUnmap
        | Command::RttAuxUnprotMap
        | Command::RttAuxUnprotUnmap
        // No REC ever waits for a permission change.
        | Command::RttSetS2ap => Answer::from(Status::ErrorInput),
        // The platform's claims do not change.
        Command::AttestPlatTokenRefresh => Answer::success(),
        Command::PsmmuActivate
        | Command::PsmmuDeactivate
        | Command::PsmmuStL2Create
        | Command::PsmmuStL2Destroy
        | Command::PdevStreamKeyPurge => Answer::from(Status::ErrorNotSupported),
        _ if answers_as_tf_rmm(dialect) => Answer::absent(),
        _ => Answer::from(Status::ErrorNotSupported),
    }
}

/// The answer to a command that uses memory that is not tracked, or not as the command needs it.
///
/// 2.0-bet3 reports where, as a level (0 here) and an address. No public source says which bits
/// have the address; this model puts the number of the granule in the bits above the level.
pub(crate) fn untracked(dialect: Dialect, at: Pa) -> Answer {
    match dialect {
        Dialect::V2_0Bet3 => {
            let ResultWord(word) = ResultWord::from_status(Status::ErrorTracking);
            Answer::from(ResultWord(word | (at.raw() / MIN_GRANULE) << 16))
        }
        Dialect::TfRmm2026_07 => Answer::from(Status::ErrorInput),
        _ => Answer::from(Status::ErrorTracking),
    }
}

/// The answer to the creation or destruction of a granule protection table: the firmware built them
/// all.
pub(crate) fn static_gpt(dialect: Dialect) -> Status {
    match dialect {
        Dialect::V2_0Bet3 => Status::ErrorGlobal,
        _ => Status::ErrorGpt,
    }
}

/// The code of an entry of an auxiliary tree that lost a table, where a command of TF-RMM reports
/// it.
pub(crate) const AUX_DESTROYED: u64 = 5;

/// Whether a Realm is told that its change of permissions was rejected when it was carried out to
/// its end, and a rejected change leaves the index open: TF-RMM uses the host's answer alone. In
/// the specifications only what is incomplete can be rejected, and every request locks the index.
pub(crate) fn rejects_what_is_done(dialect: Dialect) -> bool {
    dialect == Dialect::TfRmm2026_07
}

/// Whether an attestation token has the profile of 2024; later it has that of 2026.
pub(crate) fn claims_are_of_2024(dialect: Dialect) -> bool {
    dialect != Dialect::V2_0Bet3
}

/// Whether `RMI_GRANULE_TRACKING_GET` is refused before the RMM is active.
pub(crate) fn tracking_get_needs_active(dialect: Dialect) -> bool {
    dialect == Dialect::V2_0Bet0
}

/// Whether the RMM answers as TF-RMM of July 2026 and v0.8.0, where that differs from the text of
/// the specification.
pub(crate) fn answers_as_tf_rmm(dialect: Dialect) -> bool {
    matches!(dialect, Dialect::TfRmm2026_07 | Dialect::V1_0)
}

/// Whether a measurement that a Realm reads leaves registers above it as they were.
pub(crate) fn keeps_registers_above_measurement(dialect: Dialect) -> bool {
    dialect == Dialect::TfRmm2026_07
}

/// Whether the exit of a wait says that it has a deadline, and when. TF-RMM v0.8.0 does not say so,
/// although the text of 1.0 does.
pub(crate) fn tells_deadline(dialect: Dialect) -> bool {
    dialect.tells_wait_deadline() && dialect.is_2_0()
}

/// Whether the host is told of an access to an unprotected IPA what it is even if the access cannot
/// be emulated, as TF-RMM v0.8.0 does. By the texts it is not.
pub(crate) fn tells_what_cannot_be_emulated(dialect: Dialect) -> bool {
    !dialect.is_2_0()
}

/// Whether the host is told of a permission fault of a fetch, as TF-RMM v0.8.0 does; otherwise the
/// Realm takes it.
pub(crate) fn tells_denied_fetches(dialect: Dialect) -> bool {
    !dialect.is_2_0()
}
