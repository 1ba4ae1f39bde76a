//! What a pool knows about the memory that commands ask for.

use rmi_abi::{Command, GranuleSize};

use crate::operation::Need;

/// How many commands a pool remembers the needs of: few commands take memory.
const COMMANDS: usize = 4;

/// What a command is known to ask for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reserve {
    /// In total, in bytes.
    pub(super) bytes: u64,
    /// In blocks of this size, in bytes, aligned to it.
    pub(super) block: u64,
}

/// The needs of commands, as they have asked for memory before.
#[derive(Debug)]
pub(super) struct Reserves([(Command, Reserve); COMMANDS]);

impl Reserves {
    /// An unused entry names `RMI_VERSION`, which takes no memory.
    pub(super) const UNKNOWN: Self =
        Self([(Command::Version, Reserve { bytes: 0, block: 0 }); COMMANDS]);

    /// What a command has asked for; before the first time, what TF-RMM asks for.
    pub(super) fn of(&self, command: Command, granule: GranuleSize) -> Reserve {
        let known = self.0.iter().find(|(known, _)| *known == command);
        known.map_or(
            Reserve {
                bytes: if command == Command::RecCreate { 16 * granule.bytes() } else { 0 },
                block: granule.bytes(),
            },
            |(_, reserve)| *reserve,
        )
    }

    pub(super) fn learn(&mut self, command: Command, bytes: u64, need: Need) {
        let block = if need.contiguous { need.bytes } else { need.block_bytes };
        let known = self.0.iter().position(|(known, _)| *known == command);
        let slot =
            known.or_else(|| self.0.iter().position(|(known, _)| *known == Command::Version));
        if let Some((of, reserve)) = slot.and_then(|slot| self.0.get_mut(slot)) {
            *of = command;
            *reserve = Reserve { bytes: bytes.max(reserve.bytes), block: block.max(reserve.block) };
        }
    }
}

#[cfg(test)]
mod tests {
    use rmi_abi::address::MIN_GRANULE;
    use rmi_abi::desc::{BlockSize, DonateRequest, OpMemState};

    use super::*;

    #[test]
    fn each_command_keeps_the_most_that_it_asked_for() {
        let request = |count, contiguous| {
            let state = OpMemState::Delegated;
            let request = DonateRequest { size: BlockSize::Page, count, contiguous, state };
            Need::new(request, GranuleSize::Size4KiB).unwrap()
        };
        let mut reserves = Reserves::UNKNOWN;
        let of = |reserves: &Reserves, command| {
            let Reserve { bytes, block } = reserves.of(command, GranuleSize::Size4KiB);
            (bytes / MIN_GRANULE, block / MIN_GRANULE)
        };
        assert_eq!(of(&reserves, Command::RecCreate), (16, 1));
        assert_eq!(of(&reserves, Command::RealmCreate), (0, 1));
        reserves.learn(Command::RecCreate, 24 * MIN_GRANULE, request(8, false));
        reserves.learn(Command::RealmCreate, 4 * MIN_GRANULE, request(4, true));
        reserves.learn(Command::RecCreate, 32 * MIN_GRANULE, request(2, true));
        reserves.learn(Command::RecCreate, 8 * MIN_GRANULE, request(8, false));
        reserves.learn(Command::RealmCreate, MIN_GRANULE, request(1, false));
        assert_eq!(of(&reserves, Command::RecCreate), (32, 2));
        assert_eq!(of(&reserves, Command::RealmCreate), (4, 4));
        // There is space for two more commands, and a fifth is not remembered.
        for command in [Command::RttCreate, Command::VsmmuCreate, Command::PdevCreate] {
            reserves.learn(command, MIN_GRANULE, request(1, false));
        }
        let rest = [Command::RttCreate, Command::VsmmuCreate, Command::PdevCreate];
        assert_eq!(rest.map(|command| of(&reserves, command)), [(1, 1), (1, 1), (0, 1)]);
        assert_eq!(of(&reserves, Command::RecCreate), (32, 2));
    }
}
