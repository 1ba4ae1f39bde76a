//! Any calls to the model RMM: no panic, and no granule appears or disappears.

#![no_main]

use libfuzzer_sys::fuzz_target;
use rmi_abi::{Command, PaRange};
use rmi_host::Conduit;
use rmm_model::{Model, Options};

fuzz_target!(|input: (u8, bool, Vec<(u8, [u16; 6])>)| {
    let (dialect, ranges, calls) = input;
    let dialect = Options::DIALECTS[usize::from(dialect) % Options::DIALECTS.len()];
    let mut options = Options::new(dialect);
    let base = options.dram.base();
    options.dram = PaRange::with_size(base, 1 << 20).unwrap();
    let model = Model::new(if ranges { options.range_capable() } else { options }).unwrap();
    let total = model.census().total;
    let call = |command: Command, args: [u64; 6]| {
        let Some(fid) = command.fid(dialect) else { return };
        let [a, b, c, d, e, f] = args;
        // SAFETY: the model accesses only its own memory.
        let _ = unsafe { model.call([fid.0.into(), a, b, c, d, e, f, 0]) };
    };
    call(Command::RmmActivate, [0; 6]);
    for (command, args) in calls {
        let Some(command) = Command::ALL.get(usize::from(command) % Command::ALL.len()) else {
            continue;
        };
        // Mostly pages of the machine, small numbers and levels; occasionally arbitrary values.
        let args = args.map(|arg| match arg >> 12 {
            0..=7 => base.raw() + u64::from(arg & 0xff) * 0x1000,
            8..=11 => u64::from(arg & 0xff),
            12 => u64::from(arg & 0xff) * 0x1000,
            13 => u64::from(arg & 0xf).wrapping_sub(2),
            _ => u64::from(arg).wrapping_mul(0x9e37_79b9_7f4a_7c15),
        });
        call(*command, args);
        assert_eq!(model.census().total, total);
    }
});
