//! Which host memory a call makes the RMM read or write.

use core::mem::offset_of;

use rmi_abi::address::MIN_GRANULE;
use rmi_abi::commands::{Form, ParamType};
use rmi_abi::flags::AddrSet;
use rmi_abi::run::{RUN_GPRS, RecEnter, RecExit, RecRun};
use rmi_abi::{Command, Dialect, Fid, Pa};
use rmi_host::conduit::Registers;

/// Size of a word in a list and in a recording, in bytes.
const WORD: u64 = 8;

/// Memory inside one granule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Region {
    pub(super) at: Pa,
    /// Length in bytes, a multiple of 8, at most 4 KiB.
    pub(super) bytes: u64,
    /// Whether this is half of a run page, which contains X0 to X30 of a Realm.
    pub(super) run: bool,
}

impl Region {
    /// `bytes` from `at` on, as far as they lie in one granule.
    fn new(at: u64, bytes: u64) -> Option<Self> {
        let room = MIN_GRANULE - at % MIN_GRANULE;
        let bytes = bytes.min(room) / WORD * WORD;
        (bytes != 0).then_some(Self { at: Pa::new(at), bytes, run: false })
    }

    /// One half of a run page.
    fn half(page: u64, offset: usize, bytes: usize) -> Option<Self> {
        let at = page.checked_add(offset as u64)?;
        Self::new(at, bytes as u64).map(|region| Self { run: true, ..region })
    }

    /// Whether it is half of a run page.
    pub(super) const fn is_run_page(&self) -> bool {
        self.run
    }

    /// Whether the 64-bit word of this number is a register of the Realm.
    pub(super) fn is_gpr(&self, word: usize) -> bool {
        // Both halves of a run page have them at the same offset.
        const {
            assert!(offset_of!(RecEnter, gprs) == offset_of!(RecExit, gprs));
        }
        let first = offset_of!(RecEnter, gprs) / 8;
        self.run && (first..first + RUN_GPRS).contains(&word)
    }
}

/// The memory of one call. No command reads or writes more than one piece of it, not counting what
/// is copied into a Realm.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pages {
    pub(super) reads: Option<Region>,
    pub(super) writes: Option<Region>,
}

impl Pages {
    /// The memory of a call, as far as its registers and the tables of the dialect show.
    pub(super) fn of(dialect: Dialect, registers: &Registers) -> Self {
        let [x0, ..] = *registers;
        let command = Command::from_fid(Fid::from_register(x0), dialect);
        let form = command.and_then(|command| Some((command, command.form(dialect)?)));
        let Some((command, form)) = form else { return Self::default() };
        let inputs = form.inputs().unwrap_or_default();
        let value = |register: u8| registers.get(usize::from(register)).copied().unwrap_or(0);
        for param in inputs {
            let at = value(param.register());
            match (param.name(), param.kind()) {
                ("params_ptr", ParamType::Pa) => return Self::read(Region::new(at, MIN_GRANULE)),
                ("config_ptr", ParamType::Pa) => {
                    let page = Region::new(at, MIN_GRANULE);
                    return match command {
                        Command::RmmConfigGet => Self::written(page),
                        _ => Self::read(page),
                    };
                }
                ("data_ptr", ParamType::Pa) => {
                    let page = Region::new(at, MIN_GRANULE);
                    return Self { reads: page, writes: page };
                }
                ("run_ptr", ParamType::Pa) => {
                    return Self {
                        reads: Region::half(at, 0, size_of::<RecEnter>()),
                        writes: Region::half(at, offset_of!(RecRun, exit), size_of::<RecExit>()),
                    };
                }
                ("list_addr", ParamType::Pa) => {
                    let count = inputs.iter().find(|param| param.name() == "list_count");
                    let count = count.map_or(0, |param| value(param.register()));
                    let list = Region::new(at, count.saturating_mul(WORD));
                    return match command {
                        Command::OpMemReclaim => Self::written(list),
                        _ => Self::read(list),
                    };
                }
                (_, ParamType::AddrSetDesc) => return Self::of_list(form, registers, at),
                _ => {}
            }
        }
        Self::default()
    }

    /// The list that has the output addresses of a map or unmap call, if there is one.
    fn of_list(form: &Form, registers: &Registers, at: u64) -> Self {
        let flags = form.inputs().unwrap_or_default().iter().find(|param| {
            matches!(
                param.kind(),
                ParamType::RttProtMapFlags
                    | ParamType::RttUnmapFlags
                    | ParamType::RttUnprotMapFlags
            )
        });
        let Some(flags) = flags else { return Self::default() };
        let word = registers.get(usize::from(flags.register())).copied().unwrap_or(0);
        let Some(AddrSet::List { count }) = AddrSet::decode(word) else {
            return Self::default();
        };
        let list = Region::new(at, u64::from(count) * WORD);
        match flags.kind() {
            ParamType::RttUnmapFlags => Self::written(list),
            _ => Self::read(list),
        }
    }

    const fn read(reads: Option<Region>) -> Self {
        Self { reads, writes: None }
    }

    const fn written(writes: Option<Region>) -> Self {
        Self { reads: None, writes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pages(command: Command, dialect: Dialect, arguments: &[u64]) -> Pages {
        let mut registers = [0; 8];
        registers[0] = command.fid(dialect).unwrap().0.into();
        registers[1..=arguments.len()].copy_from_slice(arguments);
        Pages::of(dialect, &registers)
    }

    fn region(at: u64, bytes: u64) -> Option<Region> {
        Some(Region { at: Pa::new(at), bytes, run: false })
    }

    #[test]
    fn the_tables_tell_which_memory_a_call_is_about() {
        let dialect = Dialect::V2_0Bet3;
        let create = pages(Command::RecCreate, dialect, &[0x1000, 0x2000, 0x3000]);
        assert_eq!(create, Pages::read(region(0x3000, 0x1000)));
        let get = pages(Command::RmmConfigGet, dialect, &[0x3000]);
        assert_eq!(get, Pages::written(region(0x3000, 0x1000)));
        let set = pages(Command::RmmConfigSet, dialect, &[0x3000]);
        assert_eq!(set, Pages::read(region(0x3000, 0x1000)));
        let donate = pages(Command::OpMemDonate, dialect, &[7, 0x3000, 3, 0]);
        assert_eq!(donate, Pages::read(region(0x3000, 24)));
        let reclaim = pages(Command::OpMemReclaim, dialect, &[7, 0x3ff0, 3]);
        assert_eq!(reclaim, Pages::written(region(0x3ff0, 16)));
        let map = pages(Command::RttDataMap, dialect, &[0, 0, 0, 2 | 4 << 2, 0x3000]);
        assert_eq!(map, Pages::read(region(0x3000, 32)));
        let unmap = pages(Command::RttDataUnmap, dialect, &[0, 0, 0, 2 | 4 << 2, 0x3000]);
        assert_eq!(unmap, Pages::written(region(0x3000, 32)));
        let single = pages(Command::RttDataMap, dialect, &[0, 0, 0, 1, 0x3004]);
        assert_eq!(single, Pages::default());
        // What becomes memory of a Realm is confidential.
        let init = pages(Command::RttDataMapInit, dialect, &[0x1000, 0x2000, 0, 0x3000, 1]);
        assert_eq!(init, Pages::default());
    }

    #[test]
    fn a_run_page_has_two_halves_and_registers_in_both() {
        for dialect in [Dialect::V1_0, Dialect::TfRmm2026_07] {
            let Pages { reads, writes } = pages(Command::RecEnter, dialect, &[0x1000, 0x2000]);
            let (reads, writes) = (reads.unwrap(), writes.unwrap());
            assert_eq!((reads.at, reads.bytes), (Pa::new(0x2000), 0x800));
            assert_eq!((writes.at, writes.bytes), (Pa::new(0x2800), 0x800));
            assert!(reads.is_gpr(64) && writes.is_gpr(94));
            assert!(!reads.is_gpr(63) && !writes.is_gpr(95));
        }
    }

    #[test]
    fn any_registers_at_all() {
        for dialect in Dialect::ALL {
            for number in 0x150..0x220 {
                let fid = u64::from(Fid::from_function_number(number).0);
                for rest in [0, u64::MAX, 0x7fff_ffff_ffff_fff9] {
                    let Pages { reads, writes } =
                        Pages::of(dialect, &[fid, rest, rest, rest, rest, rest, rest, rest]);
                    for region in [reads, writes].into_iter().flatten() {
                        assert!(region.bytes <= 0x1000 && region.bytes.is_multiple_of(8));
                        assert!(region.at.checked_add(region.bytes - 1).is_some());
                    }
                }
            }
        }
    }
}
