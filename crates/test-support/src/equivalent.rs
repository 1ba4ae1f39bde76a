//! Commands of RMI 2.0, and what does the same in 1.0.

use rmi_abi::{Command, Dialect};

/// The command that does the same in a dialect: itself, if the dialect has it. `None` if none does.
#[must_use]
pub fn equivalent(command: Command, dialect: Dialect) -> Option<Command> {
    let has = |command: &Command| command.form(dialect).is_some();
    let equivalent = match command {
        _ if has(&command) => command,
        Command::GranuleRangeDelegate => Command::GranuleDelegate,
        Command::GranuleRangeUndelegate => Command::GranuleUndelegate,
        Command::RttDataMap => Command::DataCreateUnknown,
        Command::RttDataMapInit => Command::DataCreate,
        Command::RttDataUnmap => Command::DataDestroy,
        Command::RttUnprotMap => Command::RttMapUnprotected,
        Command::RttUnprotUnmap => Command::RttUnmapUnprotected,
        _ => return None,
    };
    Some(equivalent).filter(has)
}
