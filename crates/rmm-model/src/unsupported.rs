//! Differences between dialects in behaviour, not in encoding, and the answers to commands that are
//! not modelled.

use rmi_abi::address::MIN_GRANULE;
use rmi_abi::{Command, Dialect, Pa, ResultWord, Status};

use crate::answer::Answer;

/// The answer to a command that the dialect has and the model does not.
///
/// Devices and virtual SMMUs are features that the model does not report, and planes one that it
/// reports only if the options say so. An RMM without a feature answers its commands in one of two
/// forms: 2.0-bet3 with `RMI_ERROR_NOT_SUPPORTED`; TF-RMM of July 2026 does so for SMMU commands
/// and behaves as if the device commands did not exist.
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
        _ if dialect == Dialect::V2_0Bet3 => Answer::from(Status::ErrorNotSupported),
        _ => Answer::absent(),
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
        _ => Answer::from(Status::ErrorInput),
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

/// Whether the RMM answers the Realm's calls as TF-RMM of July 2026, where that differs from the
/// text of the specification.
pub(crate) fn answers_as_tf_rmm(dialect: Dialect) -> bool {
    dialect == Dialect::TfRmm2026_07
}
