//! Any answers at all.

use proptest::prelude::*;
use rmi_abi::psci::PsciFunction;
use rmi_abi::rhi::{RhiFunction, SessionMode};
use rmi_abi::rsi::{
    HostCallBlock, MemPermission, PlaneRunPage1_1, PlaneRunPage2_0, RealmConfigPage,
    RipasChangeFlags, SysregAddress,
};
use rmi_abi::rtt::Ripas;
use rmi_abi::{Ipa, IpaRange};
use rsi::rhi::SharedBuffer;
use rsi::{Granule, IpaSpace, Measurement, Psci, Registers, Rhi, Rsi};

use crate::fake::{Fake, range};

/// Values that are often near what an RMM answers.
fn value() -> impl Strategy<Value = u64> {
    prop_oneof![
        4 => 0u64..8,
        2 => (0u64..20).prop_map(|page| 0xf_e000 + 0x1000 * page),
        1 => Just(u64::MAX),
        1 => Just(0x1_0001u64),
        1 => any::<u64>(),
    ]
}

fn registers() -> impl Strategy<Value = Registers> {
    prop::collection::vec(value(), 4).prop_map(|values| crate::fake::answer(&values))
}

/// Calls everything; the result does not matter.
fn everything(rsi: &Rsi<Fake>) {
    let _ = (rsi.features(), rsi.realm_config(&mut RealmConfigPage::zeroed()));
    for which in Measurement::ALL {
        let _ = (rsi.measurement(which), rsi.extend_measurement(which, &[1; 64]));
    }
    let _ = (rsi.ripas(range()), rsi.is_all(range(), Ripas::Ram));
    let space = IpaSpace::new(40).unwrap();
    // SAFETY: the calls do nothing.
    unsafe {
        let _ = rsi.change_ripas(range(), Ripas::Empty, RipasChangeFlags::DESTROYED);
        let _ = (rsi.claim_ram(range()), rsi.share(&space, range()), rsi.unshare(range()));
        let _ = rsi.enter_plane(1, &mut PlaneRunPage1_1::zeroed());
        let _ = rsi.enter_plane(1, &mut PlaneRunPage2_0::zeroed());
    }
    let empty = IpaRange::empty(Ipa::new(0));
    let _ = (rsi.ripas(empty), rsi.is_all(empty, Ripas::Ram));
    let _ = (rsi.permission(1, 2), rsi.set_permission(1, 2, MemPermission::Unknown(77)));
    let _ = rsi.change_permission_index(range(), 1);
    let _ = rsi.plane_register(1, SysregAddress(!0));
    let mut block = HostCallBlock::zeroed();
    let _ = rsi.host_call(&mut block);
    let psci = Psci::new(rsi.conduit());
    let _ = (psci.version(), psci.has(PsciFunction::CpuOff), psci.affinity_info(1));
    let _ = (psci.cpu_off(), psci.cpu_suspend(), psci.system_off(), psci.system_reset());
}

/// Reads a token by single calls, as many as it may take.
fn token(rsi: &Rsi<Fake>) {
    let Ok(mut token) = rsi.attestation_token(&[0; 64]) else { return };
    for space in [0, 1, 4096, 8192] {
        let mut bytes = vec![0; space];
        if let Ok(part) = token.next_part(&mut Granule::zeroed(), &mut bytes) {
            assert!(part.bytes <= space.min(4096));
        }
    }
}

proptest! {
    #[test]
    fn no_answer_is_too_strange(answers in prop::collection::vec(registers(), 1..80)) {
        let fake = Fake::default();
        fake.offset.set(Some(0));
        fake.then(&[&[0, 0x1_0001, 0x1_0001]]);
        let rsi = Rsi::open(fake).unwrap();
        for answer in &answers {
            rsi.conduit().then(&[answer]);
        }
        everything(&rsi);
        // 3 pages of progress for each call of a loop would be fewer.
        prop_assert!(rsi.conduit().count() < 10_000);
        rsi.conduit().then(&[&answers[0]]);
        token(&rsi);
    }

    #[test]
    fn any_version_is_opened_or_refused(answers in prop::collection::vec(registers(), 1..3)) {
        let fake = Fake::default();
        for answer in &answers {
            fake.then(&[answer]);
        }
        if let Ok(rsi) = Rsi::open(fake) {
            prop_assert!(Rsi::<Fake>::VERSIONS.contains(&rsi.version()));
        }
    }

    #[test]
    fn no_host_is_too_strange(size in 0u64..0x2000, answers in prop::collection::vec(value(), 6)) {
        // The fake does not write to the block; a host that returns what it was asked does the
        // same.
        let rsi = crate::fake::rsi(&[&[0]]);
        let mut block = HostCallBlock::zeroed();
        let mut rhi = Rhi::new(&rsi, &mut block);
        let buffer = SharedBuffer { ipa: Ipa::new(answers[0]), bytes: size, offset: answers[1] };
        let _ = rhi.version(RhiFunction::from_register(answers[2]));
        let _ = rhi.open_session(answers[3], SessionMode::Blocking);
        let _ = (rhi.send(answers[4], buffer), rhi.receive(answers[5], buffer));
        let _ = (rhi.read_activity_log(buffer), rhi.ipa_change_alignment());
        let _ = rhi.read_device_object(answers[0], answers[1], buffer);
        prop_assert_eq!(rsi.conduit().count(), 7);
    }
}
