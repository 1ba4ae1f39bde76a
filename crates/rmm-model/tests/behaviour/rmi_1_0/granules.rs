//! The RMM itself, and granules that change their owner.
#![expect(unsafe_code, reason = "the model is called as a real RMM is")]

use rmi_abi::{Command, Dialect, Fid, Pa, Status};
use rmi_host::{Conduit, Registers};
use rmm_model::{GranuleState, Options};

use crate::host::{Host, PAGE};

const NOT_SUPPORTED: u64 = u64::MAX;

fn raw(host: &Host, fid: u64) -> Registers {
    // SAFETY: the model has memory of its own only.
    unsafe { host.model.call([fid, 1, 2, 3, 4, 5, 6, 7]) }
}

#[test]
fn only_1_0_is_supported() {
    let host = Host::v1_0();
    assert_eq!(host.call(Command::Version, &[0x1_0000]), [0, 0x1_0000, 0x1_0000, 0, 0, 0, 0, 0]);
    for wanted in [0, 0xffff, 0x1_0001, 0x2_0000, 1 << 31 | 0x1_0000, 1 << 32 | 0x1_0000] {
        let answer = host.call(Command::Version, &[wanted]);
        assert_eq!(answer[..3], [1, 0x1_0000, 0x1_0000], "{wanted:#x}");
    }
}

#[test]
fn one_feature_register_has_content() {
    let mut options = Options::new(Dialect::V1_0);
    options.features = [0x283_fc10_4130, 0, 0, 0, 0];
    options.list_registers = 1;
    let host = Host::new(options);
    assert_eq!(host.call(Command::Features, &[0])[..3], [0, 0x283_fc10_4130, 0]);
    for index in [1, 2, 4, 5, 1 << 32, u64::MAX] {
        assert_eq!(host.call(Command::Features, &[index])[..2], [0, 0], "{index:#x}");
    }
}

#[test]
fn what_1_0_does_not_have_is_unknown() {
    let host = Host::v1_0();
    let of_1_0: Vec<Fid> =
        Dialect::V1_0.commands().filter_map(|command| command.fid(Dialect::V1_0)).collect();
    assert_eq!(of_1_0.len(), 23);
    let others = Dialect::ALL
        .into_iter()
        .flat_map(|dialect| dialect.commands().filter_map(move |command| command.fid(dialect)));
    let mut unknown = 0;
    for fid in others.filter(|fid| !of_1_0.contains(fid)) {
        assert_eq!(raw(&host, fid.0.into()), [NOT_SUPPORTED, 0, 0, 0, 4, 5, 6, 7], "{fid:?}");
        unknown += 1;
    }
    assert!(unknown > 200);
    for fid in [0xc400_0156, 0xc400_0160, 0xc400_016a, 0x8400_0150, 0, u64::from(u32::MAX)] {
        assert_eq!(raw(&host, fid)[0], NOT_SUPPORTED, "{fid:#x}");
    }
    // The hint about SVE state does not make another function of it.
    assert_eq!(raw(&host, 0xc401_0165)[0], 0);
}

#[test]
fn a_granule_is_delegated_and_undelegated() {
    let host = Host::v1_0();
    let granule = host.page();
    host.write(granule, &[7; 16]);
    let state = || host.model.granule_state(Pa::new(granule));
    assert_eq!(host.call(Command::GranuleDelegate, &[granule]), [0; 8]);
    assert_eq!(state(), Some(GranuleState::Delegated));
    assert!(!host.can_read(granule));
    host.fails(Status::ErrorInput, Command::GranuleDelegate, &[granule]);
    assert_eq!(state(), Some(GranuleState::Delegated));
    host.done(Command::GranuleUndelegate, &[granule]);
    assert_eq!(state(), Some(GranuleState::Undelegated));
    assert_eq!(host.read(granule), [0; 16], "nothing of it is left");
    host.fails(Status::ErrorInput, Command::GranuleUndelegate, &[granule]);
}

#[test]
fn only_memory_by_granules_can_be_delegated() {
    let host = Host::v1_0();
    let dram = host.model.options().dram;
    let (first, last) = (dram.base().raw(), dram.top().raw() - PAGE);
    for command in [Command::GranuleDelegate, Command::GranuleUndelegate] {
        for at in [first + 1, first + 0x800, first - PAGE, last + PAGE, 0, u64::MAX, 1 << 63] {
            host.fails(Status::ErrorInput, command, &[at]);
        }
        host.done(command, &[first]);
        host.done(command, &[last]);
    }
}
